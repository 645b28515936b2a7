//! `pinion route explain`: every rule with its verdict, the policy, the decision, and never a whole card number; and
//! what the same rules do to requests.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::iso::ISO87_ASCII;
use crate::support::node::{Link, Place, done, pinion, with_devices, world_links};
use crate::support::request::Terminal;
use crate::support::vectors::{PLAIN, VERVE};

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
const VERVE_MASKED: &str = "506099*********1002";
const DEBIT: &str = "4761739001010010";

/// A dialect whose messages may carry a wish.
const WITH_WISH: &str = r#"base = "iso87-ascii"

[pin_change]
active = { field = 60, yes = ["1"], no = ["0"] }
"#;

/// Rules of one configuration, written before its links.
const RULES: &str = r#"[routing]
policy = "force-active"

[[route]]
name = "voice-to-nobody"
links = ["vcr-1"]
to = "none"

[[route]]
name = "institution"
institutions = ["627629"]
wish = false
to = "cms"

[[route]]
name = "verve-as-wished"
products = ["verve"]
to = "client"

[[route]]
name = "debit"
bins = ["476173"]
to = "cms"

"#;

fn place() -> Place {
    let place = Place::new(world_links());
    place.replace("[[link]]", &format!("{RULES}[[link]]"));
    place
}

fn explain(place: &Place, arguments: &[&str], input: &str) -> Value {
    let config = place.config();
    let start = ["route", "explain", "--json", "--config", &config];
    serde_json::from_str(&done(&[&start[..], arguments].concat(), input)).expect("JSON")
}

#[test]
fn explain_tells_every_rule_and_the_reason() {
    let place = place();
    let verdicts = |told: &Value| -> Vec<String> {
        let rules = told["rules"].as_array().expect("rules").iter();
        rules.map(|rule| rule["verdict"].as_str().expect("a word").to_owned()).collect()
    };
    let told = explain(
        &place,
        &["--pan", "-", "--wish", "false", "--institution", "627629", "--link", "atm-1"],
        &format!("{VERVE}\n"),
    );
    // The wish is true by the time rules are asked, so the second does not match.
    assert_eq!(verdicts(&told), ["fails", "fails", "decides", "not_reached"]);
    let failed: Vec<_> =
        told["rules"].as_array().expect("rules").iter().map(|r| &r["failed"]).collect();
    assert_eq!(failed, [&json!("links"), &json!("wish"), &Value::Null, &Value::Null]);
    assert_eq!(told["rules"][0]["wants"], json!(["vcr-1"]));
    assert_eq!((&told["wish"], &told["wish_after_policy"]), (&json!(false), &json!(true)));
    assert_eq!((&told["policy"], &told["wish_overridden"]), (&json!("force-active"), &json!(true)));
    assert_eq!((&told["route"], &told["rule"]), (&json!("postilion"), &json!("verve-as-wished")));
    assert_eq!((&told["pan"], &told["product"]), (&json!(VERVE_MASKED), &json!("verve")));

    let told = explain(&place, &["--pan", VERVE], "");
    assert_eq!(verdicts(&told), ["fails", "fails", "passes", "fails"]);
    assert_eq!(
        (&told["route"], &told["rule"]),
        (&json!("postilion"), &json!("product of the BIN"))
    );
    assert_eq!(told["wish_overridden"], false);

    let told = explain(&place, &["--pan", DEBIT, "--link", "vcr-1"], "");
    assert_eq!(verdicts(&told), ["decides", "not_reached", "not_reached", "not_reached"]);
    assert_eq!((&told["route"], &told["rule"]), (&Value::Null, &json!("voice-to-nobody")));
}

#[test]
fn explain_for_people_masks_the_number() {
    let place = place();
    let config = place.config();
    let arguments = ["route", "explain", "--config", &config, "--pan", VERVE, "--wish", "false"];
    let text = done(&arguments, "");
    assert!(text.contains(VERVE_MASKED) && !text.contains(VERVE), "{text}");
    for said in [
        "policy       force-active: overrides the wish, now true",
        "rule 1       voice-to-nobody  fails on links: wants vcr-1",
        "rule 3       verve-as-wished  decides postilion",
        "rule 4       debit            not reached",
        "route        postilion, by verve-as-wished",
    ] {
        assert!(text.lines().any(|line| line.starts_with(said)), "{said:?} in\n{text}");
    }
}

/// Without a configuration the demo's rules are asked; a link's own wish counts where none is given.
#[test]
fn explain_without_a_configuration_and_with_a_links_wish() {
    for place in [&["--data", "nowhere"][..], &[]] {
        let arguments = [&["route", "explain", "--json", "--pan", VERVE], place].concat();
        let told: Value = serde_json::from_str(&done(&arguments, "")).expect("JSON");
        assert_eq!((&told["route"], &told["policy"]), (&json!("postilion"), &json!("client")));
    }
    let links = vec![Link::new("atm-1", &ISO87_ASCII).with("active = true")];
    let place = Place::new(links);
    let stranger = "4000000000000002";
    let told = explain(&place, &["--pan", stranger, "--link", "atm-1"], "");
    assert_eq!((&told["wish"], &told["rule"]), (&json!(true), &json!("wish of the caller")));
    let told = explain(&place, &["--pan", stranger, "--link", "atm-1", "--wish", "false"], "");
    assert_eq!((&told["wish"], &told["route"]), (&json!(false), &json!("cms")));
}

#[test]
fn explain_refuses_what_it_cannot_ask_for() {
    let place = place();
    let config = place.config();
    for (arguments, said) in [
        (&["--pan", "506099000000015100x"][..], "--pan"),
        (&["--pan", "5060"], "--pan"),
        (&["--pan", VERVE, "--link", "nobody"], "there are: "),
        (&["--pan", VERVE, "--institution", "123456789012"], "--institution"),
    ] {
        let arguments = [&["route", "explain", "--config", &config], arguments].concat();
        let Output { status, stdout, stderr } = pinion(&arguments).output().expect("ended");
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(64), "{arguments:?}: {stderr}");
        assert!(stdout.is_empty() && stderr.contains(said), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("5060990000000151"), "{stderr}");
    }
}

/// Requests go where the rules say: nowhere is 15, a host that is not there 91, our own records 00.
#[test]
fn requests_follow_the_rules() {
    let node = place().start();
    let code =
        |link: &str, card: &str| node.connect(link).ask(&ATM.change(card, "1234", "2580")).code();
    assert_eq!(code("vcr-1", PLAIN), "15");
    assert_eq!(code("vcr-1", VERVE), "15");
    assert_eq!(code("atm-1", VERVE), "91");
    assert_eq!(code("atm-1", PLAIN), "00");
}

/// A message's own wish, where the dialect has an element for it: yes, no, none, and neither.
#[test]
fn a_message_carries_its_wish() {
    let place = Place::new(vec![Link::new("atm-1", &ISO87_ASCII).with("active = \"message\"")]);
    std::fs::write(place.path("mine.toml"), WITH_WISH).expect("written");
    place.replace("\"iso87-ascii\"", "\"mine.toml\"");
    let rule = "[[route]]\nname = \"as-wished\"\nto = \"client\"\n\n";
    place.replace("[[link]]", &format!("{rule}[[link]]"));
    let node = place.start();
    let code = |wish: &str| {
        let request = ATM.change(PLAIN, "1234", "2580").with(60, wish);
        node.connect("atm-1").ask(&request).code()
    };
    assert_eq!(code("1"), "91", "active-active, and no host is configured");
    assert_eq!(code("7"), "30", "neither yes nor no");
    assert_eq!(code("0"), "00", "the card management system");
    // Without a wish the product decides: the same card, whose PIN is the new one by now.
    let answer = node.connect("atm-1").ask(&ATM.verify(PLAIN, "2580"));
    assert_eq!(answer.code(), "00");
}

/// Broken rules are refused with their place by every command that reads the file.
#[test]
fn rules_that_name_nobody_are_78() {
    let place = place();
    let config = place.config();
    let good = place.read();
    for (from, to, key) in [
        ("links = [\"vcr-1\"]", "links = [\"vcr-9\"]", "route[0].links[0]: "),
        ("products = [\"verve\"]", "products = [\"vervet\"]", "route[2].products[0]: "),
        ("name = \"debit\"", "name = \"institution\"", "route[3].name: "),
        ("bins = [\"476173\"]", "bins = [\"47617x\"]", "route[3].bins[0]: "),
    ] {
        place.write(&good.replacen(from, to, 1));
        let line = good.lines().position(|line| line == from).expect("a line") + 1;
        for command in [&["check"][..], &["serve"], &["route", "explain", "--pan", VERVE]] {
            let output =
                pinion(&[command, &["--config", &config]].concat()).output().expect("ended");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{command:?}: {stderr}");
            assert!(
                stderr.contains(&format!("pinion.toml:{line}: {key}")),
                "{command:?}: {stderr}"
            );
        }
    }
}

#[test]
fn a_wish_of_messages_needs_a_dialect_that_has_one() {
    let place = Place::new(vec![Link::new("atm-1", &ISO87_ASCII).with("active = \"message\"")]);
    let config = place.config();
    let check = ["check", "--config", &config];
    let output = pinion(&check).output().expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    for said in ["link[0].active: ", "\"atm-1\"", "\"iso87-ascii\""] {
        assert!(stderr.contains(said), "{stderr}");
    }
    std::fs::write(place.path("mine.toml"), WITH_WISH).expect("written");
    place.replace("\"iso87-ascii\"", "\"mine.toml\"");
    done(&check, "");
    std::fs::write(place.path("mine.toml"), WITH_WISH.replace("[\"0\"]", "[]")).expect("written");
    let output = pinion(&check).output().expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("mine.toml:4: "), "{stderr}");
}

#[test]
fn check_tells_what_it_would_connect_to() {
    let place = place();
    let config = place.config();
    let output = pinion(&["check", "--config", &config]).output().expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("product[3].route: no [[postilion.node]] is configured"), "{stderr}");
    // With devices of the HSM it connects to those.
    let named = if with_devices() { "hsm-1 (payshield" } else { "connects to nothing" };
    assert!(String::from_utf8_lossy(&output.stdout).contains(named));
    let nodes = "[postilion]\nzpk = \"zpk.postilion\"\nconnections = 1\n\
                 stan = { first = 1, last = 499999 }\n\
                 [[postilion.node]]\nname = \"p1\"\naddress = \"postilion.example:8591\"\n\n";
    place.replace("[[link]]", &format!("{nodes}[[link]]"));
    let text = done(&["check", "--config", &config], "");
    let line = text.lines().find(|line| line.starts_with("connect ")).expect("a line a node");
    assert!(
        line.contains("postilion.example:8591") && line.contains("p1 (postilion, 1 "),
        "{line}"
    );
    assert!(text.contains("routes   4, policy force-active"), "{text}");
    let document: Value =
        serde_json::from_str(&done(&["check", "--json", "--config", &config], "")).expect("JSON");
    assert_eq!(document["connects"][0]["address"], "postilion.example:8591");
    assert_eq!(document["warnings"], json!([]));
}
