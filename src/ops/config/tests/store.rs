//! `[store]`: the two families, what each needs, and that a password is never told.

use std::path::Path;

use super::{EXAMPLE, SHARED_EXAMPLE, SHORT, check};
use crate::ops::config::{Config, StoreKind};

/// Lines 3 to 5 of a file whose store is a database; what follows is line 6.
const SECTION: &str = "[store]\nkind = \"postgres\"\n[store.postgres]\n";

#[track_caller]
fn parse(more: &str) -> Config {
    let text = SHORT.replace("[store]\ndirectory = \"data\"\n", &format!("{SECTION}{more}\n"));
    Config::parse(&text, "/etc/pinion/p.toml").unwrap()
}

/// Expects this error when `more` follows [`SECTION`].
#[track_caller]
fn refused(more: &str, want: &str) {
    check("[store]\ndirectory = \"data\"\n", &format!("{SECTION}{more}\n"), want);
}

const LOCAL: &str = "url = \"postgresql://pinion@localhost/pinion\"\nnode = 1";

#[test]
fn a_database_with_its_defaults() {
    let config = parse(LOCAL);
    assert_eq!((config.store.kind, config.store.retention_hours), (StoreKind::Postgres, 24));
    let postgres = config.store.postgres.unwrap();
    assert_eq!((postgres.node, postgres.connections, postgres.allow_plain), (1, 3, false));
    assert_eq!(postgres.url.masked(), "postgresql://pinion@localhost/pinion");
    let files = "password_file = \"pg.password\"\n[store.postgres.tls]\nca = \"ca.pem\"\n\
                 certificate = \"/keys/pg.pem\"\nkey = \"pg.key\"";
    let postgres = parse(&format!("{LOCAL}\n{files}")).store.postgres.unwrap();
    assert_eq!(postgres.password_file.as_deref(), Some(Path::new("/etc/pinion/pg.password")));
    let tls = postgres.tls.unwrap();
    assert_eq!(tls.ca, Path::new("/etc/pinion/ca.pem"));
    assert_eq!(tls.certificate.as_deref(), Some(Path::new("/keys/pg.pem")));
    assert_eq!(tls.key.as_deref(), Some(Path::new("/etc/pinion/pg.key")));
}

/// The embedded store stays the default, and the example shows it.
#[test]
fn the_default_is_embedded() {
    for text in [SHORT, EXAMPLE] {
        let config = Config::parse(text, "p.toml").unwrap();
        assert_eq!((config.store.kind, config.store.postgres), (StoreKind::Embedded, None));
    }
}

#[test]
fn the_shared_example() {
    let config = Config::parse(SHARED_EXAMPLE, "/etc/pinion/p.toml").unwrap();
    assert_eq!((config.store.kind, config.store.retention_hours), (StoreKind::Postgres, 24));
    let postgres = config.store.postgres.unwrap();
    assert_eq!((postgres.node, postgres.connections), (1, 3));
    assert!(!postgres.url.has_password() && postgres.tls.is_some());
    let stan = config.postilion.unwrap().stan;
    assert_eq!((stan.first, stan.last), (1, 499_999));
}

/// Two switches that both have the default would send a node two live requests under one trace number.
#[test]
fn switches_over_one_database_are_told_to_share_trace_numbers_out() {
    let warned = |text: &str| {
        let warnings = Config::parse(text, "p.toml").unwrap().warnings();
        warnings.iter().map(|w| w.key().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(warned(SHARED_EXAMPLE), Vec::<String>::new());
    let lines = SHARED_EXAMPLE.lines().filter(|line| !line.starts_with("stan = "));
    assert_eq!(warned(&lines.collect::<Vec<_>>().join("\n")), ["postilion.stan"]);
    let alone =
        "[postilion]\nzpk = \"zpk.atm\"\n[[postilion.node]]\nname = \"p\"\naddress = \"p:1\"\n";
    assert_eq!(
        warned(&format!("{SHORT}{alone}")),
        Vec::<String>::new(),
        "the embedded store is one switch's"
    );
}

#[test]
fn each_family_has_its_keys_and_not_the_others() {
    check("directory = \"data\"\n", "", "3: store.directory: missing");
    let both = "[store]\ndirectory = \"data\"\n[store.postgres]\n";
    check(
        "[store]\ndirectory = \"data\"\n",
        &format!("{both}{LOCAL}\n"),
        "5: store.postgres: the store is embedded",
    );
    let none = "[store]\nkind = \"postgres\"\n";
    check("[store]\ndirectory = \"data\"\n", none, "3: store.postgres: missing");
    check(
        "[store]\ndirectory = \"data\"\n",
        &format!("[store]\nkind = \"postgres\"\ndirectory = \"d\"\n[store.postgres]\n{LOCAL}\n"),
        "5: store.directory: of the embedded store",
    );
}

#[test]
fn values_that_are_refused() {
    refused("node = 1", "5: store.postgres.url: missing");
    refused("url = \"postgresql://p@localhost/p\"", "5: store.postgres.node: missing");
    let with = |line: &str| format!("{LOCAL}\n{line}");
    refused(&LOCAL.replace("= 1", "= 0"), "7: store.postgres.node: 0 is outside 1 to 254");
    refused(&LOCAL.replace("= 1", "= 255"), "7: store.postgres.node: 255 is outside 1 to 254");
    refused(&with("connections = 0"), "8: store.postgres.connections: 0 is outside 3 to 64");
    refused(&with("connections = 65"), "8: store.postgres.connections: 65 is outside 3 to 64");
    refused(&with("sslmode = 1"), "8: store.postgres.sslmode: unknown field");
    refused(&with("[store.postgres.tls]"), "8: store.postgres.tls.ca: missing");
    let tls = |line: &str| with(&format!("[store.postgres.tls]\nca = \"ca.pem\"\n{line}"));
    refused(&tls("certificate = \"c\""), "8: store.postgres.tls.key: missing");
    refused(&tls("key = \"k\""), "8: store.postgres.tls.certificate: missing");
}

#[test]
fn urls() {
    let url = |url: &str| format!("url = \"{url}\"\nnode = 1");
    for bad in [
        "",
        "mysql://p@localhost/p",
        "postgresql://localhost/p",
        "postgresql://p@localhost",
        "postgresql://p@localhost/",
        "host=localhost user=p",
        "postgresql://p@local host/p",
    ] {
        refused(&url(bad), "6: store.postgres.url: a URL such as");
    }
    for local in [
        "postgresql://p@127.0.0.1:5433/p",
        "postgres://p@[::1]:5432,localhost/p?target_session_attrs=read-write",
        "postgresql://p@%2Frun%2Fpostgresql/p",
        "postgresql://p@/p?host=/run/postgresql",
    ] {
        parse(&url(local));
    }
    for remote in ["postgresql://p@db-1/p", "postgresql://p@localhost,10.0.0.1:5432/p"] {
        refused(&url(remote), "6: store.postgres.url: a database on another machine without TLS");
        parse(&format!("{}\nallow_plain = true", url(remote)));
        parse(&format!("{}\n[store.postgres.tls]\nca = \"ca.pem\"", url(remote)));
    }
    refused(
        &url("postgresql://p@localhost/p?sslmode=require"),
        "6: store.postgres.url: says how to encrypt",
    );
}

/// A password is nowhere that people look: not in an error, not in `Debug`, not in the masked form.
#[test]
fn passwords_are_masked() {
    let url = |url: &str| format!("url = \"{url}\"\nnode = 1");
    for (text, masked) in [
        ("postgresql://p:s3cret@localhost/d", "postgresql://p:***@localhost/d"),
        ("postgresql://p:s3cret/@s3cret@localhost/d", "postgresql://p:***@localhost/d"),
        (
            "postgresql://p@localhost/d?connect_timeout=2&password=s3cret",
            "postgresql://p@localhost/d?connect_timeout=2&password=***",
        ),
    ] {
        let config = parse(&url(text));
        let postgres = config.store.postgres.as_ref().unwrap();
        assert_eq!(postgres.url.masked(), masked);
        assert!(postgres.url.has_password());
        assert!(!format!("{config:?}").contains("s3cret"), "{text}");
        assert_eq!(postgres.url.expose_url(), text);
    }
    let url_of = |text: &str| parse(&url(text)).store.postgres.unwrap().url;
    let whole = url_of("postgresql://p@localhost/d").with_password("s3 %/@é");
    assert_eq!(whole.expose_url(), "postgresql://p:%73%33%20%25%2f%40%c3%a9@localhost/d");
    assert_eq!(whole.masked(), "postgresql://p:***@localhost/d");
    let both = "postgresql://p:s3cret@localhost/d\"\npassword_file = \"f";
    refused(&url(both), "7: store.postgres.password_file: the URL has a password already");
    let text = SHORT.replace(
        "[store]\ndirectory = \"data\"\n",
        &format!("{SECTION}{}\n", url("mysql://p:s3cret@localhost/d")),
    );
    let error = Config::parse(&text, "p.toml").unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
}
