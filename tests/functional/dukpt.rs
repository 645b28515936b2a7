//! POS terminals with DUKPT: each block under a key of its own, named by the serial number beside it.
//!
//! Blocks and serial numbers are those of `tests/vectors/dukpt.json`: pydukpt and psec for triple DES and format 0, the
//! standard's pseudo-code over the package cryptography for AES and format 4. With devices the AES terminals are left
//! out: payShield commands for AES DUKPT are not public, so the client has none.

use std::fs;
use std::sync::LazyLock;

use serde_json::Value;

use crate::changes::check_echo;
use crate::support::eventually;
use crate::support::iso::{ISO87_ASCII, Message, POS_AES, POS_AES_FILE, POSTILION};
use crate::support::node::{Link, Node, Place, done, pinion, with_devices, world_links};
use crate::support::peers::Peers;
use crate::support::request::Terminal;
use crate::support::vectors::{PLAIN, VERVE, further_cards, reference};

const POS: Terminal = Terminal::new(&ISO87_ASCII, "none");
const POS_4: Terminal = Terminal::new(&POS_AES, "none");
const POS_NODE: Terminal = Terminal::new(&POSTILION, "none");

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../vectors/dukpt.json")).expect("the vectors")
});

/// Block and serial number of a PIN in transaction `count` of the terminal, from 1.
#[track_caller]
fn block(kind: &str, count: usize, pan: &str, pin: &str) -> (Vec<u8>, String) {
    let mut cases = VECTORS[kind].as_array().expect("cases").iter();
    let counter = format!("{count}");
    let found = cases.find(|case| {
        case["pin"] == pin
            && case["pan"] == pan
            && case["ksn"].as_str().expect("hex").ends_with(&counter)
    });
    let text = |name: &str| found.expect("a case")[name].as_str().expect("text").to_owned();
    (hex::decode(text("block")).expect("hex"), text("ksn"))
}

fn link_is_left_out(name: &str) -> bool {
    name == "pos-aes" && with_devices()
}

/// Links of the world, and POS terminals of both kinds.
fn links() -> Vec<Link> {
    let mut links = world_links();
    for (name, dialect, lines) in [
        ("pos", &ISO87_ASCII, "pin_bdk = \"bdk.pos\"\nksn_field = \"62\""),
        (
            "pos-two",
            &ISO87_ASCII,
            "pin_bdk = \"bdk.pos\"\nksn_field = \"62\"\nnew_ksn_field = \"63\"",
        ),
        ("pos-node", &POSTILION, "pin_bdk = \"bdk.pos\"\nksn_field = \"127.9\""),
        (
            "pos-aes",
            &POS_AES,
            "pin_bdk = \"bdk.aes\"\nksn_field = \"62\"\npin_block_format = \"iso-4\"",
        ),
    ] {
        if link_is_left_out(name) {
            continue;
        }
        let rights = r#"rights = ["change", "reverse", "verify", "unblock"]"#;
        let mut link = Link::new(name, dialect).with(lines).with(rights);
        link.zpk = "";
        links.push(link);
    }
    links
}

/// Nothing running yet: the world's keys and the AES base derivation key of the standard's samples, in two components.
fn place() -> Place {
    let place = Place::new(links());
    if with_devices() {
        return place;
    }
    fs::write(place.path(POS_AES.name), POS_AES_FILE).expect("written");
    let path = |name: &str| place.path(name).display().to_string();
    let bdk = hex::decode("FEDCBA9876543210F1F1F1F1F1F1F1F1").expect("hex");
    let masked: Vec<u8> = bdk.iter().map(|byte| byte ^ 0x5A).collect();
    let parts = [path("a"), path("b")];
    fs::write(&parts[0], hex::encode(masked)).expect("written");
    fs::write(&parts[1], "5A".repeat(16)).expect("written");
    let (keys, lmk) = (path("keys.toml"), path("lmk.key"));
    let files = ["keys", "--keys", &keys, "--lmk", &lmk, "--allow-test-keys"];
    let import = ["import", "bdk.aes", "--type", "BDK", "--algorithm", "AES"];
    let components = ["--component", &parts[0], "--component", &parts[1]];
    done(&[&files[..], &import, &components].concat(), "");
    place
}

#[track_caller]
fn check(node: &Node, link: &str, what: &str, request: &Message, code: &str) {
    let answer = node.connect(link).ask(request);
    assert_eq!(answer.code(), code, "{link}: {what}");
    check_echo(request, &answer);
    for field in [62, 63, 127] {
        assert!(!answer.fields.contains_key(&field), "{link}: {what}: field {field} came back");
    }
}

/// A change whose two blocks come under transaction `count`.
#[track_caller]
fn change(
    terminal: &Terminal,
    kind: &str,
    count: usize,
    pan: &str,
    [current, new]: [&str; 2],
) -> Message {
    let (current, ksn) = block(kind, count, pan, current);
    let (new, _) = block(kind, count, pan, new);
    terminal.change_blocks(pan, &current, &new).with(62, ksn)
}

#[track_caller]
fn verify(terminal: &Terminal, kind: &str, count: usize, pin: &str) -> Message {
    let (block, ksn) = block(kind, count, PLAIN, pin);
    let bare = crate::support::request::bare(terminal.dialect, terminal.mti(), "900000", PLAIN);
    bare.with(52, block).with(62, ksn)
}

/// Verification, change, repeat, reversal, unblock: as for any other terminal.
#[test]
fn changes_of_pos_terminals() {
    for (link, terminal, kind) in [("pos", POS, "world_tdes"), ("pos-aes", POS_4, "world_aes")] {
        if link_is_left_out(link) {
            continue;
        }
        let mut node = place().start();
        let check = |what: &str, request: &Message, code: &str| {
            check(&node, link, what, request, code);
        };
        check("verify", &verify(&terminal, kind, 1, "1234"), "00");
        check("a wrong PIN", &verify(&terminal, kind, 2, "4826"), "55");
        let first = change(&terminal, kind, 3, PLAIN, ["1234", "2580"]);
        check("change", &first, "00");
        check("the repeat", &first.as_mti("0101"), "00");
        check("the new PIN", &verify(&terminal, kind, 4, "2580"), "00");
        check("the reversal", &terminal.reversal("0420", &first), "00");
        check("the old PIN", &verify(&terminal, kind, 5, "1234"), "00");
        check("unblock", &terminal.unblock(PLAIN), "00");
        check("another change", &change(&terminal, kind, 6, PLAIN, ["1234", "1379"]), "00");
        assert_eq!(node.cards()[PLAIN]["pvv"], reference(PLAIN, "1379"), "{link}");
        assert_no_serial_number(&node.output());
    }
}

/// The log names the field, and nothing of what stood in it.
#[track_caller]
fn assert_no_serial_number(log: &str) {
    let log = log.to_uppercase();
    for ksn in ["9876543210E0", "FFFF987654", "123456789012345600"] {
        assert!(!log.contains(ksn), "a serial number is in the log");
    }
}

/// Each PIN of a transaction under a key of its own.
#[test]
fn a_serial_number_for_each_block() {
    let mut node = place().start();
    let (current, first) = block("world_tdes", 1, PLAIN, "1234");
    let (new, second) = block("world_tdes", 2, PLAIN, "2580");
    let request = || POS.change_blocks(PLAIN, &current, &new).with(62, &first);
    check(&node, "pos-two", "one missing", &request(), "30");
    check(&node, "pos-two", "the same for both", &request().with(63, &first), "81");
    check(&node, "pos-two", "both", &request().with(63, &second), "00");
    assert_eq!(node.cards()[PLAIN]["pvv"], reference(PLAIN, "2580"));
    assert!(node.output().contains("no key serial number of the right form"));
}

/// Missing, malformed, of another transaction, used up: nothing is done, no try is used up, nothing is logged of it.
#[test]
fn serial_numbers_that_name_no_key() {
    let mut node = place().start();
    let request = |count| change(&POS, "world_tdes", count, PLAIN, ["1234", "2580"]);
    // A device derives for any counter, and finds no PIN.
    let no_key = if with_devices() { "81" } else { "88" };
    for (what, ksn, code) in [
        ("of another transaction", "FFFF9876543210E00002", "81"),
        ("of another terminal", "FFFF9876543230E00001", "81"),
        ("digits cut off", "FFFF9876543210E0000", "30"),
        ("too short", "FFFF9876543210E000", "30"),
        ("of an AES terminal", "123456789012345600000001", "30"),
        ("no digits", "FFFF9876543210E0000X", "30"),
        ("empty", "", "30"),
        ("no transaction yet", "FFFF9876543210E00000", no_key),
        ("a counter that is skipped", "FFFF9876543210E007FF", no_key),
        ("a counter that is used up", "FFFF9876543210FFF801", no_key),
    ] {
        check(&node, "pos", what, &request(1).with(62, ksn), code);
    }
    check(&node, "pos", "missing", &request(1).without(62), "30");
    let four = |ksn: &str| change(&POS_4, "world_aes", 1, PLAIN, ["1234", "2580"]).with(62, ksn);
    for (what, ksn, code) in [
        ("of another transaction", "123456789012345600000002", "81"),
        ("of a TDES terminal", "FFFF9876543210E00001", "30"),
        ("no transaction yet", "123456789012345600000000", "88"),
        ("a counter that is skipped", "12345678901234560001FFFF", "88"),
        ("a counter that is used up", "1234567890123456FFFF0001", "88"),
    ] {
        if !link_is_left_out("pos-aes") {
            check(&node, "pos-aes", what, &four(ksn), code);
        }
    }
    if !link_is_left_out("pos-aes") {
        check(&node, "pos-aes", "missing", &four("").without(62), "30");
    }
    // The card has all its tries.
    for count in [1, 2] {
        check(&node, "pos", "a wrong PIN", &verify(&POS, "world_tdes", count, "4826"), "55");
    }
    check(&node, "pos", "as it should be", &request(3), "00");
    assert_eq!(node.cards()[PLAIN]["pvv"], reference(PLAIN, "2580"));
    let log = node.output();
    assert!(log.contains("no key serial number of the right form") && log.contains("62"));
    assert_no_serial_number(&log);
}

/// A card at Postilion: the blocks go out under the nodes' zone key, in the nodes' format, and say the same PINs.
#[test]
fn changes_that_are_forwarded() {
    let peers = Peers::start(0, "1111", 1);
    let place = place();
    place.replace("[[link]]", &format!("{}\n[[link]]", peers.section("")));
    let node = place.start();
    eventually("nodes are up", || (node.metric("pinion_hosts_up", &[]) == 2).then_some(()));
    let pin = || {
        let state = peers.state();
        let cards = state["cards"].as_array().expect("cards").clone();
        let card = cards.into_iter().find(|card| card["pan"] == VERVE);
        card.expect("the card")["pin"].as_str().expect("a PIN").to_owned()
    };
    let first = change(&POS, "world_tdes", 1, VERVE, ["1111", "2580"]);
    check(&node, "pos", "format 0", &first, "00");
    assert_eq!(pin(), "2580");
    if link_is_left_out("pos-aes") {
        check(&node, "pos", "again", &change(&POS, "world_tdes", 2, VERVE, ["2580", "1379"]), "00");
    } else {
        let four = change(&POS_4, "world_aes", 2, VERVE, ["2580", "1379"]);
        check(&node, "pos-aes", "format 4", &four, "00");
    }
    assert_eq!(pin(), "1379");
    check(
        &node,
        "pos",
        "another key",
        &first.clone().with(11, "900001").with(62, "FFFF9876543210E00002"),
        "81",
    );
    check(&node, "pos", "none", &first.with(11, "900002").without(62), "30");
    assert_eq!(pin(), "1379");
    // The serial number in a sub-field of 127: its bitmap, then a length of three digits and the text.
    let (current, ksn) = block("world_tdes", 3, VERVE, "1379");
    let (new, _) = block("world_tdes", 3, VERVE, "4826");
    let bitmap = (1_u64 << (64 - 9)).to_be_bytes();
    let private = [&bitmap[..], format!("{:03}{ksn}", ksn.len()).as_bytes()].concat();
    let request = POS_NODE.change_blocks(VERVE, &current, &new).with(127, private);
    check(&node, "pos-node", "a sub-field", &request, "00");
    assert_eq!(pin(), "4826");
    assert_no_serial_number(&node.output());
}

/// `pinion load` as two terminals: every change is approved, and the cards have their first PIN again.
#[test]
fn load_of_pos_terminals() {
    let mut node = place().start();
    let cards = node.place.path("load.csv");
    let pans = [PLAIN.to_owned(), further_cards()[0].clone()];
    fs::write(&cards, format!("pan\n{}\n", pans.join("\n"))).expect("written");
    let (to, cards) =
        (format!("127.0.0.1:{}", node.place.port("pos")), cards.display().to_string());
    for pan in &pans {
        // 1234 is none that a card may get.
        let atm = Terminal::new(&ISO87_ASCII, "zpk.atm");
        check(&node, "atm-1", "a PIN to begin with", &atm.change(pan, "1234", "2580"), "00");
    }
    let load = ["load", "--to", &to, "--cards", &cards, "--pins", "2580", "1379", "--json"];
    let pace = ["--connections", "2", "--in-flight", "1", "--duration", "300ms", "--warm-up", "0s"];
    let terminal = ["--bdk", "bdk.pos", "--ksn", "FFFF9876543210E00001"];
    let shown = done(&[&load[..], &pace, &terminal].concat(), "");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert!(shown.to_string().contains("\"00\""), "{shown}");
    // With the zone key of another link nothing is approved.
    let zone = pinion(&[&load[..], &pace].concat()).output().expect("ran");
    assert_eq!(zone.status.code(), Some(2));
    let bad = pinion(&[&load[..], &["--ksn", "FFFF9876543210E00001"]].concat()).output();
    assert_eq!(bad.expect("ran").status.code(), Some(64));
    let kept = node.cards();
    for pan in &pans {
        assert_eq!(kept[pan]["pvv"], reference(pan, "2580"));
    }
    assert_no_serial_number(&node.output());
}

#[test]
fn links_that_cannot_work_are_refused() {
    #[track_caller]
    fn refused(from: &str, to: &str, want: &str) {
        let place = place();
        place.replace(from, to);
        let output = pinion(&["check", "--config", &place.config()]).output().expect("ran");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{to}: {said}");
        assert!(said.contains(want), "{to}: {said}");
    }
    let place = place();
    let shown = done(&["check", "--config", &place.config(), "--json"], "");
    assert!(shown.contains("pos-aes") != with_devices());
    refused("pin_bdk = \"bdk.pos\"", "pin_bdk = \"zpk.atm\"", "is a ZPK: name a BDK");
    refused("zpk = \"zpk.atm\"", "zpk = \"bdk.pos\"", "is a BDK: name a ZPK");
    refused("pin_bdk = \"bdk.pos\"", "pin_bdk = \"bdk.no\"", "link[5].pin_bdk");
    refused("pin_bdk = \"bdk.pos\"", "pin_bdk = \"bdk.pos\"\nzpk = \"zpk.atm\"", "beside zpk");
    refused("ksn_field = \"62\"", "ksn_field = \"190\"", "none that dialect");
    refused("ksn_field = \"62\"", "ksn_field = \"11\"", "holds digits");
    refused("ksn_field = \"62\"\n", "", "link[5].ksn_field: missing");
}
