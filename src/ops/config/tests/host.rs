//! `[postilion]` and `[link.key_exchange]`: defaults, the demo's and the example's sections, and what is refused.

use super::{DEMO, EXAMPLE, SHORT, check};
use crate::domain::outcome::Reason;
use crate::domain::pin::BlockFormat;
use crate::host::Fixed;
use crate::ops::config::{Config, NewPinSide, Postilion, StanRange};

/// The shortest section: lines 39 and 40. What follows begins on line 41.
const SECTION: &str = "[postilion]\nzpk = \"zpk.atm\"\n";

#[track_caller]
fn section(more: &str) -> Postilion {
    let config = Config::parse(&format!("{SHORT}{SECTION}{more}"), "p.toml").unwrap();
    config.postilion.unwrap()
}

/// Expects this error when `more` follows [`SECTION`].
#[track_caller]
fn refused(more: &str, want: &str) {
    check("", &format!("{SECTION}{more}\n"), want);
}

#[test]
fn the_section_may_be_missing() {
    assert_eq!(Config::parse(SHORT, "p.toml").unwrap().postilion, None);
}

#[test]
fn defaults_are_those_of_the_example() {
    let defaults = section("");
    assert_eq!(defaults.dialect, "postilion");
    assert_eq!((defaults.framing.as_str(), defaults.pin_block_format), ("be2", BlockFormat::Iso0));
    assert_eq!(defaults.new_pin_side, NewPinSide::First);
    assert_eq!((defaults.institution.as_str(), defaults.forwarding_institution.as_str()), ("", ""));
    assert_eq!((defaults.request_ms, defaults.connections, defaults.in_flight), (3000, 2, 1024));
    assert_eq!((defaults.echo_seconds, defaults.echo_answer_seconds), (30, 10));
    assert!(defaults.sign_on && defaults.key_exchange.is_none() && defaults.nodes.is_empty());
    assert_eq!((defaults.connect_ms, defaults.reconnect_ms), (3000, 250));
    assert_eq!(defaults.reconnect_max_ms, 10_000);
    assert_eq!(defaults.stan, StanRange { first: 1, last: 999_999 });
    assert_eq!((defaults.match_fields.as_slice(), defaults.approved.len()), (&[41, 11][..], 1));
    assert_eq!(defaults.reversals.retry_codes, ["68", "90", "91", "96"]);

    // What the example shows as the default is the default.
    let example = Config::parse(EXAMPLE, "p.toml").unwrap().postilion.unwrap();
    let optional = Postilion {
        zpk: defaults.zpk.clone(),
        codes: defaults.codes.clone(),
        fields: defaults.fields.clone(),
        key_exchange: None,
        nodes: Vec::new(),
        ..example.clone()
    };
    assert_eq!(optional, defaults);
    assert_eq!(example.codes.get("05"), Some(&Reason::AccountStatus));
    assert_eq!(example.fields[0], Fixed { field: 22, sub: None, text: "011".into() });
    assert_eq!((example.fields[1].field, example.fields[1].sub), (127, Some(3)));
    let exchange = example.key_exchange.unwrap();
    assert_eq!((exchange.every_hours, exchange.grace_seconds), (Some(24), 300));
}

/// The nodes and keys are those of the outside contract.
#[test]
fn the_demo_has_two_nodes() {
    let demo = Config::parse(DEMO, "p.toml").unwrap().postilion.unwrap();
    let nodes: Vec<_> = demo.nodes.iter().map(|n| (&*n.name, n.address.to_string())).collect();
    let want = [("postilion-1", "127.0.0.1:8591"), ("postilion-2", "127.0.0.1:8592")];
    assert_eq!(nodes, want.map(|(name, address)| (name, address.to_owned())));
    assert_eq!((demo.dialect.as_str(), demo.zpk.as_str()), ("postilion", "zpk.postilion"));
    let exchange = demo.key_exchange.unwrap();
    assert_eq!((exchange.zmk.as_str(), exchange.every_hours), ("zmk.partner", None));
}

#[test]
fn unknown_missing_and_mistyped_keys() {
    check("", "[postilion]\n", "39: postilion.zpk: missing");
    refused("zkp = \"x\"", "41: postilion.zkp: unknown field `zkp`");
    refused("new_pin_side = \"either\"", "41: postilion.new_pin_side: unknown variant `either`");
    refused("pin_block_format = \"iso-9\"", "41: postilion.pin_block_format: unknown variant");
    refused("sign_on = 1", "41: postilion.sign_on: invalid type: integer `1`");
    refused("match_fields = [41, 300]", "41: postilion.match_fields[1]: invalid value");
    refused("[postilion.breaker]\nfail = 1", "42: postilion.breaker.fail: unknown field `fail`");
    refused("[postilion.reversals]\nage = 1", "42: postilion.reversals.age: unknown field `age`");
    refused("[postilion.key_exchange]", "41: postilion.key_exchange.zmk: missing");
    refused("[[postilion.node]]\nname = \"p\"", "41: postilion.node[0].address: missing");
    let node = |address: &str| format!("[[postilion.node]]\nname = \"p\"\naddress = \"{address}\"");
    for bad in ["host", "host:0", "host:99999", ":8591", "a b:1", "::1:8591"] {
        refused(&node(bad), "43: postilion.node[0].address: a host and a port, such as");
    }
}

#[test]
fn values_out_of_bounds() {
    refused("framing = \"\"", "41: postilion.framing: empty");
    refused("dialect = \"\"", "41: postilion.dialect: empty");
    check("", "[postilion]\nzpk = \"\"\n", "40: postilion.zpk: empty");
    refused("institution = \"A\"", "41: postilion.institution: up to 11 digits");
    refused(
        "forwarding_institution = \"123456789012\"",
        "41: postilion.forwarding_institution: up",
    );
    refused("request_ms = 0", "41: postilion.request_ms: 0 is outside 1 to 60000");
    refused(
        "request_ms = 5000",
        "41: postilion.request_ms: 5000 is not less than limits.request_ms",
    );
    check(
        "[hsm]",
        &format!("[limits]\nrequest_ms = 3000\n{SECTION}[hsm]"),
        "7: postilion.request_ms: 3000 is not less than limits.request_ms (3000)",
    );
    refused("connections = 65", "41: postilion.connections: 65 is outside 1 to 64");
    refused("in_flight = 0", "41: postilion.in_flight: 0 is outside 1 to 16384");
    refused("echo_seconds = 0", "41: postilion.echo_seconds: 0 is outside 1 to 3600");
    refused("echo_seconds = 9", "39: postilion.echo_answer_seconds: 10 is outside 1 to 9");
    refused("connect_ms = 0", "41: postilion.connect_ms: 0 is outside 1 to 60000");
    refused("reconnect_ms = 10001", "41: postilion.reconnect_ms: 10001 is outside 1 to 10000");
    refused("reconnect_max_ms = 600001", "41: postilion.reconnect_max_ms: 600001 is outside");
    refused("stan = { first = 1 }", "41: postilion.stan.last: missing");
    refused("stan = { first = 0, last = 5 }", "41: postilion.stan.first: 0 is outside 1 to 999999");
    refused(
        "stan = { first = 1, last = 1000000 }",
        "41: postilion.stan.last: 1000000 is outside 1",
    );
    refused(
        "stan = { first = 500000, last = 499999 }",
        "41: postilion.stan.last: 499999 is less than stan.first (500000): the range is empty",
    );
    refused(
        "stan = { first = 1, last = 1024 }",
        "41: postilion.stan: 1024 numbers are not more than the 1024 requests that may be unanswered",
    );
    refused("match_fields = []", "41: postilion.match_fields: 0 is outside 1 to 8");
    refused("match_fields = [41]", "41: postilion.match_fields: must contain 11");
    refused("match_fields = [11, 1]", "41: postilion.match_fields[1]: 1 is outside 2 to 128");
    refused("match_fields = [11, 41, 11]", "41: postilion.match_fields[2]: 11 is named before");
    let breaker = |line: &str| format!("[postilion.breaker]\n{line}");
    refused(&breaker("failures = 0"), "42: postilion.breaker.failures: 0 is outside 1 to 1000");
    refused(&breaker("open_ms = 0"), "42: postilion.breaker.open_ms: 0 is outside 1 to 600000");
    for share in ["0", "-0.5", "1.01", "nan", "inf"] {
        let line = format!("eject_share = {share}");
        refused(&breaker(&line), "42: postilion.breaker.eject_share: ");
    }
    let reversals = |line: &str| format!("[postilion.reversals]\n{line}");
    refused(&reversals("first_ms = 3600001"), "42: postilion.reversals.first_ms: 3600001 is");
    refused(&reversals("retry_ms = 60001"), "42: postilion.reversals.retry_ms: 60001 is outside");
    refused(&reversals("retry_max_ms = 0"), "42: postilion.reversals.retry_max_ms: 0 is outside");
    refused(&reversals("alarm_seconds = 0"), "42: postilion.reversals.alarm_seconds: 0 is outside");
    let exchange = |line: &str| format!("[postilion.key_exchange]\nzmk = \"zmk.partner\"\n{line}");
    refused(&exchange("every_hours = 0"), "43: postilion.key_exchange.every_hours: 0 is outside");
    refused(&exchange("grace_seconds = 86401"), "43: postilion.key_exchange.grace_seconds: 86401");
}

#[test]
fn codes_that_contradict_themselves() {
    let codes = |line: &str| format!("[postilion.codes]\n{line}");
    let good =
        section("[postilion.codes]\n\"05\" = \"account_status\"\nC0 = \"new_pin_unacceptable\"");
    assert_eq!(good.codes.get("C0"), Some(&Reason::NewPinUnacceptable));
    refused(
        &codes("\"05\" = \"mood\""),
        "42: postilion.codes.05: no reason \"mood\": one of format_error",
    );
    refused(&codes("\"00\" = \"duplicate\""), "42: postilion.codes.00: approves: it has no reason");
    refused(&codes("\"5\" = \"duplicate\""), "42: postilion.codes.5: a response code has 2 to 4");
    refused(&codes("\"5-\" = \"duplicate\""), "42: postilion.codes.5-: a response code has");
    refused("approved = []", "41: postilion.approved: 0 is outside 1 to");
    refused("approved = [\"00\", \"00000\"]", "41: postilion.approved[1]: a response code has");
    let retry = |codes: &str| format!("[postilion.reversals]\nretry_codes = {codes}");
    assert!(section(&retry("[]")).reversals.retry_codes.is_empty());
    refused(&retry("[\"9\"]"), "42: postilion.reversals.retry_codes[0]: a response code has");
    refused(&retry("[\"91\", \"00\"]"), "42: postilion.reversals.retry_codes[1]: approves");
}

#[test]
fn elements_that_cannot_be_fixed() {
    let fields = |line: &str| format!("[postilion.fields]\n{line}");
    let two = section(&fields(
        "\"123\" = \"x y\"\n\"22\" = \"011\"\n\"127.13\" = \"a\"\n\"127.3\" = \"b\"",
    ));
    let keys: Vec<_> = two.fields.iter().map(Fixed::key).collect();
    assert_eq!(keys, ["22", "123", "127.3", "127.13"], "in the order of their numbers");
    for key in ["x", "022", "256", "127.", "127.03", "127.3.1"] {
        refused(&fields(&format!("\"{key}\" = \"1\"")), "42: postilion.fields");
    }
    for field in [2, 14, 23, 35, 45, 52, 53, 55, 3, 7, 11, 12, 13, 37, 39, 90, 32, 33, 64, 128] {
        let want = format!("42: postilion.fields.{field}: cannot be fixed: {field} ");
        refused(&fields(&format!("{field} = \"1\"")), &want);
    }
    refused(
        &fields("41 = \"1\""),
        "42: postilion.fields.41: cannot be fixed: match_fields names it",
    );
    refused(
        &fields("\"127.2\" = \"1\""),
        "42: postilion.fields.127.2: cannot be fixed: the switch key",
    );
    refused(
        &fields("\"127.3\" = \"1\"\n127 = \"1\""),
        "42: postilion.fields.127.3: 127 is fixed as a",
    );
    refused(&fields("22 = \"\""), "42: postilion.fields.22: 1 to 255 bytes");
    refused(&fields("22 = \"\u{e4}\""), "42: postilion.fields.22: printable ASCII only");
    refused(&fields("22 = 11"), "42: postilion.fields.22: invalid type: integer `11`");
    let many: Vec<_> = (0..65).map(|n| format!("\"127.{}\" = \"1\"\n", n + 3)).collect();
    refused(&fields(&many.concat()), "41: postilion.fields: 65 is outside 0 to 64");
}

#[test]
fn nodes_are_told_apart_and_are_not_ourselves() {
    let node = |name: &str, address: &str| {
        format!("[[postilion.node]]\nname = \"{name}\"\naddress = \"{address}\"\n")
    };
    let two = |name: &str, address: &str| node("p1", "10.0.0.1:8591") + &node(name, address);
    assert_eq!(section(&two("p2", "[::1]:8591")).nodes[1].address.host, "::1");
    refused(
        &two("p1", "10.0.0.2:8591"),
        "45: postilion.node[1].name: name of a node \"p1\" is taken",
    );
    refused(
        &two("p2", "10.0.0.1:8591"),
        "46: postilion.node[1].address: address \"10.0.0.1:8591\" is",
    );
    refused(&two("P2", "10.0.0.2:8591"), "45: postilion.node[1].name: 1 to 32 lower-case letters");
    refused(
        &node("p1", "127.0.0.1:8583"),
        "43: postilion.node[0].address: is where link \"atm-1\"",
    );
    let many: String =
        (0..17).map(|n| node(&format!("p{n}"), &format!("host:{}", n + 1))).collect();
    refused(&many, "41: postilion.node: 17 is outside 0 to 16");
}

#[test]
fn names_nobody_knows() {
    refused("dialect = \"iso88\"", "41: postilion.dialect: \"iso88\" is unknown");
    refused("framing = \"le9\"", "41: postilion.framing: \"le9\" is unknown");
    check("", "[postilion]\nzpk = \"zpk.x\"\n", "40: postilion.zpk: \"zpk.x\" is unknown");
    let exchange = "[postilion.key_exchange]\nzmk = \"zmk.x\"";
    refused(exchange, "42: postilion.key_exchange.zmk: \"zmk.x\" is unknown");
}

#[test]
fn key_exchange_of_a_link() {
    let mac = "[link.mac]\n";
    let exchange = |lines: &str| format!("[link.key_exchange]\n{lines}\n[link.mac]\n");
    let text = SHORT.replacen(mac, &exchange("zmk = \"zmk.partner\""), 1);
    let links = Config::parse(&text, "p.toml").unwrap().links;
    assert_eq!(links[0].key_exchange, None);
    let got = links[1].key_exchange.as_ref().unwrap();
    assert_eq!((got.zmk.as_str(), got.grace_seconds), ("zmk.partner", 300));
    check(mac, &exchange("zmk = \"\""), "19: link[1].key_exchange.zmk: empty");
    check(mac, &exchange("zmk = \"zmk.x\""), "19: link[1].key_exchange.zmk: \"zmk.x\" is unknown");
    check(mac, &exchange("grace_seconds = 1"), "18: link[1].key_exchange.zmk: missing");
    let long = "zmk = \"zmk.partner\"\ngrace_seconds = 86401";
    check(mac, &exchange(long), "20: link[1].key_exchange.grace_seconds: 86401 is outside 0 to");
    let hours = "zmk = \"zmk.partner\"\nevery_hours = 24";
    check(mac, &exchange(hours), "20: link[1].key_exchange.every_hours: unknown field");
}
