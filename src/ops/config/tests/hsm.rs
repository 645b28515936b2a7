//! `[hsm]` with devices: defaults, and what is refused.

use super::{SHORT, check};
use crate::ops::config::{Config, HsmKind};

/// Follows the line `lmk`, the seventh of [`SHORT`].
const DEVICES: &str = r#"
kind = "payshield"
lmk_check_value = "5A1C3E"
transit_zpk = "zpk.transit"
[[hsm.device]]
name = "hsm-1"
address = "10.3.0.1:1500"
[[hsm.key]]
name = "zpk.transit"
type = "ZPK"
token = "U1EF828AA8F6B80EB83E19FBC373F3A85"
check_value = "6F1E3F"
"#;
const LMK: &str = "lmk = \"lmk.key\"\n";

fn with(section: &str) -> String {
    SHORT.replacen(LMK, &format!("{LMK}{section}"), 1)
}

/// Expects this error when `good` in [`DEVICES`] is replaced by `bad`.
#[track_caller]
fn refused(good: &str, bad: &str, want: &str) {
    assert!(DEVICES.contains(good), "the test's own text lacks {good:?}");
    check(LMK, &format!("{LMK}{}", DEVICES.replacen(good, bad, 1)), want);
}

#[test]
fn devices_have_defaults() {
    let hsm = Config::parse(&with(DEVICES), "p.toml").unwrap().hsm;
    assert_eq!((hsm.kind, hsm.timeout_ms, hsm.health_seconds), (HsmKind::Payshield, 500, 5));
    assert_eq!((hsm.pin_length, hsm.breaker.failures, hsm.breaker.open_ms), (12, 5, 2000));
    let device = &hsm.devices[0];
    assert_eq!((device.header, device.connections, device.window), (4, 2, 64));
    assert!(device.lmk_id.is_none() && device.tls.is_none());
    assert_eq!(Config::parse(SHORT, "p.toml").unwrap().hsm.kind, HsmKind::Soft);
}

/// Limits of one device. What it does not say is said for all.
#[test]
fn a_device_has_limits_of_its_own() {
    let own = "name = \"hsm-1\"\ntimeout_ms = 1500\nbreaker = { failures = 2 }";
    let text = with(&DEVICES.replacen("name = \"hsm-1\"", own, 1));
    let hsm = Config::parse(&text, "p.toml").unwrap().hsm;
    let device = &hsm.devices[0];
    assert_eq!((device.timeout_ms, device.connect_ms), (Some(1500), None));
    let breaker = device.breaker.unwrap();
    assert_eq!((breaker.failures, breaker.open_ms), (2, 2000));
    assert_eq!((hsm.timeout_ms, hsm.connect_ms, hsm.breaker.failures), (500, 2000, 5));
}

#[test]
fn devices_need_what_they_are_checked_by() {
    refused("lmk_check_value = \"5A1C3E\"", "", "5: hsm.lmk_check_value: six hex digits");
    refused("\"5A1C3E\"", "\"5A1C3\"", "10: hsm.lmk_check_value: six hex digits");
    let listed = "lmk_check_value = \"5A1C3E\"\nfirmware = [\"1500-0041\", \"1500\"]";
    let short = "11: hsm.firmware[1]: nine characters, as NC and /status show them";
    refused("lmk_check_value = \"5A1C3E\"", listed, short);
    refused("\"6F1E3F\"", "\"6F1E\"", "19: hsm.key[0].check_value: six hex digits");
    let published = "10: hsm.lmk_check_value: a published test LMK";
    for test_lmk in ["268604", "165126", "9d04a0"] {
        refused("5A1C3E", test_lmk, published);
    }
    refused("type = \"ZPK\"", "type = \"CVK\"", "17: hsm.key[0].type: key type \"CVK\" unknown");
    refused("F3A85", "F3A8", "18: hsm.key[0].token: no key under an LMK");
    let single = "type = \"MK-SMI\"\ntoken = \"BAB32D775A38E4AB\"\n#";
    refused(
        "type = \"ZPK\"\n",
        single,
        "18: hsm.key[0].token: cards' keys are derived from keys of double",
    );
    refused(
        "U1EF828AA8F6B80EB83E19FBC373F3A85",
        "RA0072K0TN00N0000F40D5672C6D0EC86F860BA88D44D00F0CA9A8CE8CD2F640287A9A9EB",
        "18: hsm.key[0].token: a TR-31 key block (R) is a key under a ZMK",
    );
    refused("10.3.0.1:1500", "10.3.0.1", "14: hsm.device[0].address: a host and a port");
    refused(
        "transit_zpk = \"zpk.transit\"",
        "transit_zpk = \"zpk.x\"",
        "11: hsm.transit_zpk: no key",
    );
    refused(
        "name = \"hsm-1\"",
        "name = \"hsm-1\"\nwindow = 0",
        "14: hsm.device[0].window: 0 is outside",
    );
    refused(
        "name = \"hsm-1\"",
        "name = \"hsm-1\"\nlmk_id = 100",
        "14: hsm.device[0].lmk_id: 100 is outside",
    );
    refused("\"5A1C3E\"", "\"5A1C3E\"\ntimeout_ms = 0", "11: hsm.timeout_ms: 0 is outside");
    refused("\"5A1C3E\"", "\"5A1C3E\"\ncolour = 1", "11: hsm.colour: unknown field");
    for (line, want) in [
        ("timeout_ms = 0", "timeout_ms: 0 is outside"),
        ("timeout_ms = 10001", "timeout_ms: 10001 is outside"),
        ("connect_ms = 0", "connect_ms: 0 is outside"),
        ("breaker = { failures = 0 }", "breaker.failures: 0 is outside"),
        ("breaker = { open_ms = 0 }", "breaker.open_ms: 0 is outside"),
    ] {
        let device = format!("name = \"hsm-1\"\n{line}");
        refused("name = \"hsm-1\"", &device, &format!("14: hsm.device[0].{want}"));
    }
    let tls = "name = \"hsm-1\"\ntls = { ca = \"a\", key = \"k\" }";
    refused("name = \"hsm-1\"", tls, "14: hsm.device[0].tls.certificate: missing");
    let twice = "[[hsm.device]]\nname = \"hsm-1\"\naddress = \"10.3.0.2:1500\"\n[[hsm.key]]";
    refused("[[hsm.key]]", twice, "16: hsm.device[1].name: name of a device \"hsm-1\" is taken by");
    let none =
        &DEVICES[DEVICES.find("[[hsm.device]]").unwrap()..DEVICES.find("[[hsm.key]]").unwrap()];
    refused(none, "", "5: hsm.device: missing: at least one");
    let table = "[[hsm.table]]\ndigits = \"0123456789012345\"\ntoken = \"X\"\n[[hsm.key]]";
    refused("[[hsm.key]]", table, "17: hsm.table[0].token: sixteen hex digits");
    // What only devices have is refused with the software family.
    refused("kind = \"payshield\"", "kind = \"soft\"", "12: hsm.device: only with hsm.kind");
}
