//! Good configurations come out whole; each broken one is refused with its line, key and reason.

mod host;
mod hsm;
mod route;
mod store;

use super::*;
use crate::domain::pin::BlockFormat;
use crate::domain::request::{Channel, Rights};
use crate::route::Route;

const DEMO: &str = include_str!("../../../deploy/demo/pinion.toml");
const EXAMPLE: &str = include_str!("../../../deploy/pinion.example.toml");
/// What the example cannot show, because it has the other family of the store.
const SHARED_EXAMPLE: &str = include_str!("../../../deploy/pinion.postgres.example.toml");

/// The shortest good file. Line numbers of the tests below count here.
const SHORT: &str = r#"[node]
name = "n1"
[store]
directory = "data"
[hsm]
keys = "keys.toml"
lmk = "lmk.key"
[[link]]
name = "atm-1"
listen = "127.0.0.1:8583"
dialect = "iso87-ascii"
zpk = "zpk.atm"
[[link]]
name = "atm-2"
listen = "127.0.0.1:8584"
dialect = "iso87-bcd"
zpk = "zpk.atm"
[link.mac]
key = "zak.atm"
[[product]]
name = "visa"
bin = "476173"
organization = 600
logo = 1
pin_method = "visa-pvv"
pvk = "pvk.visa"
pvki = 1
route = "cms"
[[product]]
name = "offset"
bin = "541334"
organization = 600
logo = 3
pin_method = "ibm-3624"
pvk = "pvk.ibm"
decimalization_table = "0123456789012345"
validation = { start = 3, length = 12, pad = "F" }
route = "cms"
"#;

fn known(names: &'static [&'static str]) -> impl Fn(&str) -> Result<(), String> {
    move |name| names.contains(&name).then_some(()).ok_or_else(|| format!("{name:?} is unknown"))
}

fn check_names(config: &Config) -> Result<(), ConfigError> {
    config.check_names(&Names {
        dialect: &known(&["iso87-ascii", "iso87-bcd", "postilion"]),
        framing: &known(&["be2"]),
        key: &known(&[
            "zpk.atm",
            "zpk.acquirer",
            "zpk.postilion",
            "zak.acquirer",
            "zak.atm",
            "zmk.partner",
            "pvk.visa",
            "pvk.ibm",
            "bdk.pos",
        ]),
    })
}

/// Replaces `good` in [`SHORT`] by `bad` (where `good` is empty, appends) and expects this error.
#[track_caller]
fn check(good: &str, bad: &str, want: &str) {
    let text = if good.is_empty() {
        format!("{SHORT}{bad}")
    } else {
        assert!(SHORT.contains(good), "the test's own text lacks {good:?}");
        SHORT.replacen(good, bad, 1)
    };
    let parsed = Config::parse(&text, "etc/p.toml");
    let error = parsed.and_then(|config| check_names(&config)).expect_err(bad);
    let shown = error.to_string();
    assert!(
        shown.starts_with(&format!("etc/p.toml:{want}")),
        "\n got: {shown}\nwant: etc/p.toml:{want}"
    );
    assert_eq!(shown.lines().count(), 1, "an error is one line: {shown}");
}

#[test]
fn syntax_errors_name_line_and_key() {
    check("name = \"n1\"", "name = \"n1", "2: node.name: ");
    check("name = \"n1\"", "name \"n1\"", "2: node: ");
    check("[store]", "[store", "3: store: ");
    check("pvki = 1", "pvki = 1\npvki = 2", "28: product.pvki: duplicate key");
    check("[store]", "[node]", "3: node: duplicate key");
    check("", "x = \"\u{7}\"\n", "39: product.x: ");
    check("", "x = [\n", "39: product.x: unclosed array");
}

#[test]
fn unknown_missing_and_mistyped_keys() {
    check("name = \"n1\"", "nam = \"n1\"", "2: node.nam: unknown field `nam`, expected `name`");
    check("[store]", "[stor]", "3: stor: unknown field `stor`");
    check("zpk = \"zpk.atm\"", "zkp = \"zpk.atm\"", "12: link[0].zkp: unknown field");
    check(
        "validation = { start",
        "validation = { begin",
        "37: product[1].validation.begin: unknown",
    );
    check("key = \"zak.atm\"", "", "18: link[1].mac.key: missing");
    check("name = \"n1\"", "", "1: node.name: missing");
    check("[node]\nname = \"n1\"\n", "", "1: node: missing");
    check("dialect = \"iso87-ascii\"\n", "", "8: link[0].dialect: missing");
    check("route = \"cms\"\n", "", "20: product[0].route: missing");
    check("directory = \"data\"", "directory = 5", "4: store.directory: invalid type: integer `5`");
    check("logo = 1", "logo = \"1\"", "24: product[0].logo: invalid type: string");
    check("logo = 1", "logo = 70000", "24: product[0].logo: invalid value: integer `70000`");
    check("logo = 1", "logo = -1", "24: product[0].logo: invalid value: integer `-1`");
    check("[store]", "[store]\nkind = \"redis\"", "4: store.kind: unknown variant `redis`");
    check("\"127.0.0.1:8583\"", "\"localhost\"", "10: link[0].listen: invalid socket address");
    check(
        "pin_method = \"visa-pvv\"",
        "pin_method = \"pvv\"",
        "25: product[0].pin_method: unknown",
    );
    check("[[product]]", "active = 1\n[[product]]", "20: link[1].mac.active: unknown field");
    let link = |line: &str| format!("zpk = \"zpk.atm\"\n{line}\n");
    let zpk = "zpk = \"zpk.atm\"\n";
    check(zpk, &link("active = \"never\""), "13: link[0].active: invalid value: string \"never\"");
    check(
        zpk,
        &link("active = 1"),
        "13: link[0].active: invalid type: integer `1`, expected \"product\"",
    );
    check(zpk, &link("channel = \"X\""), "13: link[0].channel: unknown variant `X`");
    check(zpk, &link("rights = [\"change\", \"drop\"]"), "13: link[0].rights[1]: unknown variant");
    check(
        zpk,
        &link("pin_block_format = \"iso-9\""),
        "13: link[0].pin_block_format: unknown variant",
    );
    check(zpk, &link("allow = [\"10.0.0.0/33\"]"), "13: link[0].allow");
}

#[test]
fn values_out_of_bounds() {
    let zpk = "zpk = \"zpk.atm\"\n";
    let link = |line: &str| format!("{zpk}{line}\n");
    check(zpk, &link("in_flight = 0"), "13: link[0].in_flight: 0 is outside 1 to 4096");
    check(zpk, &link("in_flight = 4097"), "13: link[0].in_flight: 4097 is outside");
    check(zpk, &link("connections = 0"), "13: link[0].connections: 0 is outside");
    check(zpk, &link("idle_seconds = 0"), "13: link[0].idle_seconds: 0 is outside");
    check(zpk, &link("idle_seconds = 5"), "8: link[0].frame_seconds: 10 is outside 1 to 5");
    check(zpk, &link("frame_seconds = 0"), "13: link[0].frame_seconds: 0 is outside");
    check(zpk, &link("request_ms = 60001"), "13: link[0].request_ms: 60001 is outside");
    check(zpk, &link("request_ms = 20001"), "13: link[0].request_ms: 20001 is longer than limits.");
    check(zpk, &link("institution = \"A\""), "13: link[0].institution: up to 11 digits");
    check(zpk, "zpk = \"\"\n", "12: link[0].zpk: empty");
    check(zpk, "", "8: link[0].zpk: missing: name a zone PIN key");
    check(zpk, &link("pin_bdk = \"bdk.pos\""), "13: link[0].pin_bdk: beside zpk");
    check(zpk, &link("ksn_field = \"62\""), "13: link[0].ksn_field: is for links with pin_bdk");
    check(zpk, &link("new_ksn_field = \"63\""), "13: link[0].new_ksn_field: is for links");
    let bdk = "pin_bdk = \"bdk.pos\"\n";
    check(zpk, bdk, "8: link[0].ksn_field: missing");
    check(zpk, &format!("{bdk}ksn_field = \"\"\n"), "13: link[0].ksn_field: empty");
    let exchange = "ksn_field = \"62\"\nkey_exchange = { zmk = \"zmk.partner\" }\n";
    check(zpk, &format!("{bdk}{exchange}"), "14: link[0].key_exchange: is for links with zpk");
    check("zak.atm\"", "zak.atm\"\nbytes = 3", "20: link[1].mac.bytes: 3 is outside 4 to 8");
    check("atm-1", "ATM 1", "9: link[0].name: 1 to 32 lower-case letters");
    check("n1", "", "2: node.name: 1 to 32 lower-case letters");
    check("\"visa\"", "\"Vis\u{e4}\"", "21: product[0].name: 1 to 32 lower-case letters");
    let store = |line: &str| format!("[store]\n{line}");
    check("[store]", &store("retention_hours = 0"), "4: store.retention_hours: 0 is outside 1 to");
    check("[store]", &store("transaction_keys_max = 0"), "4: store.transaction_keys_max: 0 is");
    check("[hsm]", "[hsm]\nwrong_pins_per_hour = 0", "6: hsm.wrong_pins_per_hour: 0 is outside");
    check("[hsm]", "[log]\nslow_request_ms = 0\n[hsm]", "6: log.slow_request_ms: 0 is outside");
    check("[hsm]", "[limits]\nworkers = 257\n[hsm]", "6: limits.workers: 257 is outside 0 to 256");
    check(
        "[hsm]",
        "[limits]\ndrain_seconds = 4\n[hsm]",
        "5: limits.request_ms: 5000 is longer than",
    );
    check("[hsm]", "[admin]\nlisten = \"0.0.0.0:9090\"\n[hsm]", "6: admin.listen: not a loopback");
}

#[test]
fn products_that_contradict_themselves() {
    check("bin = \"476173\"", "bin = \"47617x\"", "22: product[0].bin: 4 to 12 digits");
    check(
        "organization = 600",
        "organization = 999",
        "23: product[0].organization: 999 is outside",
    );
    check("pvki = 1", "pvki = 7", "27: product[0].pvki: 7 is outside 0 to 6");
    check("pvki = 1\n", "", "20: product[0].pvki: missing: visa-pvv needs it");
    check("\"ibm-3624\"", "\"lmk-pin\"", "35: product[1].pvk: has no meaning with lmk-pin");
    check("012345\"", "01234F\"", "36: product[1].decimalization_table: sixteen decimal digits");
    check("length = 12", "length = 0", "37: product[1].validation.length: 0 is outside 1 to 16");
    check("start = 3", "start = 7", "37: product[1].validation.start: 7 is outside 0 to 6");
    check("pad = \"F\"", "pad = \"G\"", "37: product[1].validation.pad: one hex digit");
    let script = |more: &str| {
        let keys = "integrity = \"smi\", confidentiality = \"smc\"";
        format!("issuer_script = {{ scheme = \"mastercard\", {keys}{more} }}")
    };
    check("", &script(""), "39: product[1].issuer_script: only with chip = true");
    let with_chip = |more: &str| format!("{}\nchip = true", script(more));
    let at = "39: product[1].issuer_script";
    check("", &with_chip(", template = 73"), &format!("{at}.template: 71 or 72"));
    let cryptograms = with_chip(", cryptograms = \"ac\"");
    check(
        "",
        &cryptograms,
        &format!("{at}.cryptograms: has a meaning with scheme = \"visa\" only"),
    );
    let visa = with_chip("").replace("mastercard", "visa");
    check("", &visa, &format!("{at}.cryptograms: missing: the PIN block of visa"));
    check("", &with_chip(", smi = 1"), &format!("{at}.smi: unknown field"));
    check("", "recoverable = true", "39: product[1].recoverable: only with pin_method");
    check("", "tries_max = 0", "39: product[1].tries_max: 0 is outside 1 to 15");
    check("", "changes_per_day = 0", "39: product[1].changes_per_day: 0 is outside 1 to 255");
    check("", "pin_lengths = []", "39: product[1].pin_lengths: at least one length");
    check("", "pin_lengths = [4, 3]", "39: product[1].pin_lengths[1]: 3 is outside 4 to 12");
    check("", "new_pin_rules = [\"strong\"]", "39: product[1].new_pin_rules[0]: unknown variant");
    check(
        "",
        "refused_pins = [\"12345\"]",
        "39: product[1].refused_pins[0]: digits only, of a length",
    );
}

#[test]
fn duplicates_name_the_first() {
    check("atm-2", "atm-1", "14: link[1].name: name of a link \"atm-1\" is taken by link[0].name");
    check("1:8584", "1:8583", "15: link[1].listen: 127.0.0.1:8583 is taken by link[0].listen");
    check("127.0.0.1:8584", "0.0.0.0:8583", "15: link[1].listen: 0.0.0.0:8583 is taken by");
    check("1:8584", "1:9090", "15: link[1].listen: 127.0.0.1:9090 is taken by admin.listen");
    check("\"offset\"", "\"visa\"", "30: product[1].name: name of a product \"visa\" is taken by");
    check("541334", "476173", "31: product[1].bin: bin \"476173\" is taken by product[0].bin");
    check("logo = 3", "logo = 1", "33: product[1].logo: organization/logo \"600/1\" is taken by");
}

#[test]
fn names_nobody_knows() {
    check("\"iso87-bcd\"", "\"iso88\"", "16: link[1].dialect: \"iso88\" is unknown");
    check("\"iso87-bcd\"", "\"iso87-bcd\"\nframing = \"le9\"", "17: link[1].framing: \"le9\" is");
    check("zpk = \"zpk.atm\"", "zpk = \"zpk.x\"", "12: link[0].zpk: \"zpk.x\" is unknown");
    check("zak.atm", "zak.x", "19: link[1].mac.key: \"zak.x\" is unknown");
    check("pvk.visa", "pvk.x", "26: product[0].pvk: \"pvk.x\" is unknown");
}

#[test]
fn a_file_that_cannot_be_read() {
    let error = Config::load(Path::new("/nowhere/p.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/p.toml:1: file: cannot be read: "), "{error}");
    let long = "#".repeat(limits::CONFIG_BYTES_MAX + 1);
    let error = Config::parse(&long, "p.toml").unwrap_err().to_string();
    assert_eq!(error, "p.toml:1: file: is longer than 1048576 bytes");
}

#[test]
fn nothing_at_all_is_refused() {
    let error = Config::parse("", "p.toml").unwrap_err().to_string();
    assert_eq!(error, "p.toml:1: node: missing");
    let head = SHORT.split("[[link]]").next().unwrap();
    let error = Config::parse(head, "p.toml").unwrap_err().to_string();
    assert!(error.starts_with("p.toml:1: link: missing: at least one [[link]]"), "{error}");
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = Config::parse(SHORT, "/etc/pinion/p.toml").unwrap();
    assert_eq!(config.admin.listen, "127.0.0.1:9090".parse().unwrap());
    assert_eq!(config.store.directory, Path::new("/etc/pinion/data"));
    assert_eq!(config.hsm.lmk, Path::new("/etc/pinion/lmk.key"));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Info));
    let link = &config.links[0];
    assert_eq!((link.framing.as_str(), link.pin_block_format), ("be2", BlockFormat::Iso0));
    assert_eq!((link.in_flight, link.connections, link.idle_seconds), (2048, 1024, 300));
    let usual = Rights { change: true, reverse: true, verify: true, ..Rights::default() };
    assert_eq!(link.rights, usual);
    assert_eq!((link.active, config.request_ms(link)), (ActiveWish::Product, 5000));
    let mac = config.links[1].mac.as_ref().unwrap();
    assert_eq!((mac.required, mac.bytes), (true, 8));
    let product = &config.products[0];
    assert_eq!((product.tries_max, product.rules.lengths), (3, 1 << 4));
    assert!(product.rules.not_a_run && product.rules.not_the_current);
}

/// The ports, dialects and rights are those of the outside contract.
#[test]
fn the_demo_configuration() {
    let config = Config::parse(DEMO, "pinion.toml").unwrap();
    check_names(&config).unwrap();
    let links = config.links.iter();
    let links: Vec<_> = links
        .map(|l| {
            (
                l.name.as_str(),
                l.listen.port(),
                l.dialect.as_str(),
                l.zpk.as_deref().unwrap(),
                l.channel,
            )
        })
        .collect();
    assert_eq!(
        links,
        [
            ("atm-1", 8583, "iso87-ascii", "zpk.atm", Channel::Atm),
            ("acquirer-1", 8584, "iso87-bcd", "zpk.acquirer", Channel::Atm),
            ("postilion-in", 8585, "postilion", "zpk.atm", Channel::Atm),
            ("vcr-1", 8586, "iso87-ascii", "zpk.atm", Channel::VoiceResponse),
        ]
    );
    let unblock: Vec<_> = config.links.iter().map(|l| l.rights.unblock).collect();
    assert_eq!(unblock, [true, false, true, false]);
    assert_eq!(config.links[1].mac.as_ref().unwrap().key, "zak.acquirer");
    assert!(config.links.iter().all(|l| l.listen.ip().is_loopback() && l.tls.is_none()));
    assert!(config.hsm.allow_test_keys);
    let names: Vec<_> = config.products.iter().map(|p| (p.name.as_str(), p.route)).collect();
    assert_eq!(
        names,
        [
            ("visa-debit", Route::Cms),
            ("mc-chip", Route::Cms),
            ("mc-offset", Route::Cms),
            ("verve", Route::Postilion),
            ("virtual", Route::Cms),
        ]
    );
    assert_eq!(config.products[4].rules.refused, Vec::<Box<[u8]>>::new());
    assert!(config.products[4].allow_set && !config.products[0].allow_set);
    assert!(config.products[4].recoverable && !config.products[4].rules.not_a_run);
}

#[test]
fn the_example_shows_every_key() {
    let config = Config::parse(EXAMPLE, "/etc/pinion/pinion.toml").unwrap();
    let tls = config.links[0].tls.as_ref().unwrap();
    assert_eq!(tls.certificate, Path::new("/etc/pinion/tls/atm-1.pem"));
    assert_eq!(config.request_ms(&config.links[0]), 4000);
    assert_eq!(config.links[0].allow, ["10.1.0.0/16".parse().unwrap()]);
    assert_eq!(config.links[1].dialect, "/etc/pinion/partner-1.toml");
    assert_eq!(config.links[1].active, ActiveWish::Message);
    assert_eq!(config.warnings(), []);

    // Each table is asked for its keys by a key it does not have; all of them must stand in a table of that name.
    let shown = [EXAMPLE, SHARED_EXAMPLE].map(|text| toml::from_str(text).unwrap());
    let is_shown =
        |path: &str, key: &str| shown.iter().any(|file: &serde_json::Value| shows(file, path, key));
    let header = |line: &str| Some(line.strip_prefix('[')?.split(']').next()?.replace('[', ""));
    let mut asked = 0;
    let lines =
        [EXAMPLE, SHARED_EXAMPLE].map(|text| text.lines().enumerate().map(move |l| (text, l)));
    for (text, (number, line)) in lines.into_iter().flatten() {
        let Some(path) = header(line) else { continue };
        let mut lines: Vec<_> = text.lines().collect();
        lines.insert(number + 1, "unheard-of = 1");
        let error = Config::parse(&lines.join("\n"), "p.toml").unwrap_err();
        let Some((_, keys)) = error.reason().split_once("expected ") else {
            assert!(["postilion.codes", "postilion.fields"].contains(&&*path), "{error}");
            continue;
        };
        assert_eq!(error.line(), number + 2, "{error}");
        for key in keys.split('`').skip(1).step_by(2) {
            assert!(is_shown(&path, key), "{path}.{key} is not in the example");
            asked += 1;
        }
    }
    assert!(100 < asked, "{asked} keys");
}

/// Whether one of the tables at `path` has `key`.
fn shows(value: &serde_json::Value, path: &str, key: &str) -> bool {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match value {
        serde_json::Value::Array(items) => items.iter().any(|item| shows(item, path, key)),
        _ if path.is_empty() => value.get(key).is_some(),
        _ => value.get(first).is_some_and(|inner| shows(inner, rest, key)),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Whatever an editor left in the file: an answer, and an error of one line with a place.
    #[test]
    fn no_text_breaks_the_reader(
        at in 0..SHORT.len(),
        cut in 0_usize..40,
        put in "[\\[\\]=\"'#.\n a-z0-9\u{e4}-\u{ff}]{0,12}",
    ) {
        let end = (at + cut).min(SHORT.len());
        let text = format!("{}{put}{}", &SHORT[..at], &SHORT[end..]);
        if let Err(error) = Config::parse(&text, "p.toml") {
            let shown = error.to_string();
            assert_eq!(shown.lines().count(), 1, "{shown}");
            assert!(shown.starts_with("p.toml:") && !error.key().is_empty(), "{shown}");
            assert!((1..=text.lines().count().max(1) + 1).contains(&error.line()), "{shown}");
        }
    }
}
