//! Who speaks to the database, and which database is spoken to: certificates of both sides, passwords.
//!
//! A database in the place of ours is as bad as one that is gone: requests are refused, `/ready` says why, and the
//! switch goes on by itself once the right one is back. What only the configuration can be wrong about ends with 78.
//! **Never here:** TLS of links and doors, forms of the configuration (unit tests).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::support::database::{Authority, CERTIFIED, GUARDED, Identity, SECRETIVE, make};
use crate::support::eventually;
use crate::support::message::{Client, change, echo, verify};
use crate::support::node::{Node, PINS, Setup, pinion};
use crate::support::postgres::Cluster;

const NAME: &str = "db.test";

/// Writes a file that only its owner may read, and gives its path.
fn private(at: &Path, name: &str, text: &str) -> String {
    let path = at.join(name);
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    path.display().to_string()
}

/// The server shows this certificate to whoever connects from now on; or speaks no TLS.
fn present(cluster: &Cluster, identity: Option<&Identity>) {
    if let Some(Identity { certificate, key }) = identity {
        cluster.write("server.crt", certificate);
        cluster.write("server.key", key);
    }
    let ssl = if identity.is_some() { "on" } else { "off" };
    cluster.psql("postgres", &format!("ALTER SYSTEM SET ssl = {ssl}"));
    cluster.reload();
}

/// Ends the sessions of a role, so that new ones must be made.
fn cut(cluster: &Cluster, role: &str) {
    let sessions = format!("FROM pg_stat_activity WHERE usename = '{role}'");
    cluster.psql("postgres", &format!("SELECT count(pg_terminate_backend(pid)) {sessions}"));
}

/// The switch is not ready and says why; it lives, and refuses changes at once.
#[track_caller]
fn is_refused(node: &Node, why: &str) {
    eventually(why, || {
        let (status, page) = node.page("/ready")?;
        (status == 503 && page.contains(why)).then_some(())
    });
    let mut client = eventually("the link is up", || Client::try_connect(node.atm).ok());
    let request = change(&node.pans[9], PINS[0], PINS[1], node.number());
    assert_eq!(client.code(&request), "96", "{why}");
    assert_eq!(client.code(&echo(node.number())), "00", "{why}");
}

/// A command that needs the database fails, and says why.
#[track_caller]
fn command_fails(node: &Node, code: i32, why: &str) -> String {
    let (told, printed, said) = node.attempt(&["check", "--against-store"]);
    assert_eq!(told, Some(code), "{said}");
    assert!(said.contains(why), "not {why:?}: {said}");
    printed + &said
}

#[track_caller]
fn is_ready(node: &Node) {
    eventually("the switch is ready", || node.page("/ready").filter(|(status, _)| *status == 200));
}

/// Everything goes over TLS with certificates of both sides. A server with another authority's certificate, with one
/// for another name, or without TLS is not spoken to, by a switch that runs as by one that starts; a renewed
/// certificate is taken without a restart.
#[test]
fn only_the_database_with_the_right_certificate_is_spoken_to() {
    let cluster = &*GUARDED;
    let (bank, clients, stranger) =
        (Authority::new("bank"), Authority::new("clients"), Authority::new("stranger"));
    cluster.write("clients.pem", &clients.pem);
    present(cluster, Some(&bank.issue(NAME)));
    make(cluster, "over_tls", CERTIFIED);
    let files = TempDir::new().expect("a directory");
    let own = clients.issue(CERTIFIED);
    let ca = private(files.path(), "pg-ca.pem", &bank.pem);
    let certificate = private(files.path(), "pinion.pem", &own.certificate);
    let key = private(files.path(), "pinion.key", &own.key);
    let ours = format!("certificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let port = cluster.port();
    let database = format!(
        "[store]\nkind = \"postgres\"\n[store.postgres]\nnode = 1\n\
         url = \"postgresql://{CERTIFIED}@{NAME}:{port}/over_tls?hostaddr=127.0.0.1\"\n\
         [store.postgres.tls]\nca = \"{ca}\"\n{ours}"
    );
    // Its schema and its cards are made over TLS, too.
    let mut node =
        Node::new(&Setup { database: &database, cards: 10, level: "info", ..Setup::DEFAULT });
    node.start();
    let mut client = Client::connect(node.atm);
    let pan = node.pans[0].clone();
    assert_eq!(client.code(&change(&pan, PINS[0], PINS[1], node.number())), "00");
    let sessions = format!(
        "SELECT 3 <= count(*) AND bool_and(ssl AND client_dn = '/CN={CERTIFIED}')
         FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = '{CERTIFIED}'"
    );
    assert_eq!(cluster.psql("postgres", &sessions), "t", "every session is encrypted, and ours");

    // The running switch.
    for (identity, why) in
        [(stranger.issue(NAME), "UnknownIssuer"), (bank.issue("other.test"), "not valid for name")]
    {
        present(cluster, Some(&identity));
        cut(cluster, CERTIFIED);
        is_refused(&node, why);
        command_fails(&node, 1, why);
    }
    // One that starts. What it knows is durable: it was killed.
    node.kill();
    present(cluster, None);
    let started = node.spawn();
    node.give_child(started);
    is_refused(&node, "TLS");
    command_fails(&node, 1, "server does not support TLS");

    // A renewed certificate: nobody is restarted.
    present(cluster, Some(&bank.issue(NAME)));
    is_ready(&node);
    let mut client = Client::connect(node.atm);
    assert_eq!(client.code(&verify(&pan, PINS[1], node.number())), "00", "acknowledged before");
    assert_eq!(client.code(&change(&pan, PINS[1], PINS[0], node.number())), "00");
    drop(client);
    node.stop();
    node.audit();

    // What the files are wrong about.
    let text = fs::read_to_string(node.config()).expect("the configuration");
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(node.config(), text.replace(from, to)).expect("written");
    };
    with(&ours, "");
    command_fails(&node, 1, "certificate");
    with(&ca, &format!("{ca}.gone"));
    let said = command_fails(&node, 78, "store.postgres.tls");
    assert!(said.contains("pg-ca.pem.gone"), "names the file: {said}");
}

/// The password of a file, of the URL, or of the environment is used and told nobody; a wrong one is refused, and the
/// switch goes on once the database has the right one.
#[test]
fn a_password_is_used_and_told_nobody() {
    // What has a meaning in a URL, in SQL or in a log has none in a password.
    const PASSWORD: &str = "q9: @/?%25&#{}k ö7";
    const OTHER: &str = "zw4:other@pass/word?";
    let encoded = |text: &str| text.bytes().fold(String::new(), |to, b| to + &format!("%{b:02X}"));
    let cluster = &*GUARDED;
    let set = |password: &str| {
        cluster.psql("postgres", &format!("ALTER ROLE {SECRETIVE} PASSWORD '{password}'"));
    };
    set(PASSWORD);
    make(cluster, "with_password", SECRETIVE);
    let files = TempDir::new().expect("a directory");
    let file = private(files.path(), "pg.password", &format!("{PASSWORD}\nsecond line\n"));
    let host = format!("127.0.0.1:{}", cluster.port());
    let from_file = format!(
        "url = \"postgresql://{SECRETIVE}@{host}/with_password\"\npassword_file = \"{file}\"\n"
    );
    let database = format!("[store]\nkind = \"postgres\"\n[store.postgres]\nnode = 1\n{from_file}");
    // At the level at which libraries tell most.
    let mut node =
        Node::new(&Setup { database: &database, cards: 10, level: "trace", ..Setup::DEFAULT });
    node.start();
    let mut client = Client::connect(node.atm);
    let pan = node.pans[0].clone();
    assert_eq!(client.code(&change(&pan, PINS[0], PINS[1], node.number())), "00");
    drop(client);
    node.stop();

    // Another one than the database has.
    set(OTHER);
    let started = node.spawn();
    node.give_child(started);
    is_refused(&node, "password authentication failed");
    let mut printed = command_fails(&node, 1, "password authentication failed");
    set(PASSWORD);
    is_ready(&node);
    let mut client = Client::connect(node.atm);
    assert_eq!(client.code(&verify(&pan, PINS[1], node.number())), "00");
    drop(client);
    node.stop();

    // In the URL, and wherever it may be printed.
    let text = fs::read_to_string(node.config()).expect("the configuration");
    let with = |lines: &str| {
        assert!(text.contains(&from_file));
        fs::write(node.config(), text.replace(&from_file, lines)).expect("written");
    };
    let secret = encoded(PASSWORD);
    with(&format!("url = \"postgresql://{SECRETIVE}:{secret}@{host}/with_password\"\n"));
    let (code, told, said) = node.attempt(&["check", "--against-store"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(told.contains(&format!("{SECRETIVE}:***@{host}")), "shown without it: {told}");
    printed += &(told + &said);
    // In the environment, where the configuration names none.
    with(&format!("url = \"postgresql://{SECRETIVE}@{host}/with_password\"\n"));
    for (password, ends) in [(PASSWORD, Some(0)), (OTHER, Some(1))] {
        let mut check = pinion(&["check", "--against-store", "--config", &node.config()]);
        let output = check.env("PGPASSWORD", password).output().expect("started");
        assert_eq!(output.status.code(), ends);
        printed += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    with(&format!("url = \"postgresql://{SECRETIVE}:{secret}@{host}\"\n"));
    printed += &command_fails(&node, 78, "store.postgres.url");
    with(&from_file);
    fs::write(&file, "\n").expect("written");
    printed += &command_fails(&node, 78, "store.postgres.password_file");
    fs::write(&file, PASSWORD).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
    printed += &command_fails(&node, 78, "store.postgres.password_file");

    printed += &node.output();
    printed += &fs::read_to_string(node.path("pages.log")).expect("pages");
    for password in [PASSWORD, OTHER] {
        let in_url = encoded(password);
        for form in [password.to_owned(), in_url.to_lowercase(), in_url] {
            assert!(!printed.contains(&form), "a password is told");
        }
    }
}
