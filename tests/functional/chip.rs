//! Issuer scripts: a change with the chip's data is answered with the command that tells the chip its new PIN.
//!
//! Commands are those of `tests/vectors/chip.json`: the Python package pyemv derived the card's keys, encrypted the PIN
//! and made the MAC.

use std::fs;
use std::sync::LazyLock;

use serde_json::Value;

use crate::support::hsm::key_table;
use crate::support::iso::{
    CMF, Dialect, ISO87_ASCII, ISO87_BCD, ISO93_ASCII, MASTERCARD, Message, VISA,
};
use crate::support::node::{Link, Node, Place, done, pinion, with_devices, world_links};
use crate::support::request::Terminal;
use crate::support::vectors::{PLAIN, further_cards};

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
const SCHEMES: [&str; 3] = ["visa", "mastercard", "emv-common"];

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../vectors/chip.json")).expect("vectors"));

/// What a chip says, and the command that answers it.
struct Case {
    counter: Vec<u8>,
    cryptogram: Vec<u8>,
    sequence: u8,
    command: Vec<u8>,
}

#[track_caller]
fn case(scheme: &str, pan: &str, sequence: u8, pin: Option<&str>) -> Case {
    let cases = VECTORS["scripts"].as_array().expect("scripts");
    let wanted = |case: &&Value| {
        case["scheme"] == scheme
            && case["pan"] == pan
            && case["sequence"] == sequence
            && case["pin"].as_str() == pin
    };
    let found = cases.iter().find(wanted).expect("a case of this card");
    let bytes = |name: &str| hex::decode(found[name].as_str().expect("hex")).expect("hex");
    let (counter, cryptogram, command) = (bytes("counter"), bytes("cryptogram"), bytes("command"));
    Case { counter, cryptogram, sequence, command }
}

fn tag(tag: &[u8], value: &[u8]) -> Vec<u8> {
    [tag, &[u8::try_from(value.len()).expect("short")], value].concat()
}

impl Case {
    /// Chip data as a terminal sends them, with what else is usual.
    fn data(&self) -> Vec<u8> {
        [
            tag(&[0x82], &[0x3C, 0x00]),
            tag(&[0x9F, 0x26], &self.cryptogram),
            tag(&[0x9F, 0x10], &[0x06, 0x01, 0x0A, 0x03, 0xA0, 0xA0, 0x00]),
            tag(&[0x5F, 0x34], &[self.sequence]),
            tag(&[0x9F, 0x36], &self.counter),
            tag(&[0x9F, 0x37], &[1, 2, 3, 4]),
        ]
        .concat()
    }

    /// The script that answers them.
    fn script(&self, template: u8) -> Vec<u8> {
        tag(&[template], &tag(&[0x86], &self.command))
    }
}

/// Nothing running yet: the cards of `visa-debit` have chips, whose keys are in the key file or with the devices.
fn place(links: Vec<Link>, scheme: &str, more: &str) -> Place {
    let place = Place::new(links);
    let cryptograms = if scheme == "visa" { "cryptograms = \"ac.chip\", " } else { "" };
    let table = format!(
        "chip = true\nissuer_script = {{ scheme = \"{scheme}\", integrity = \"smi.chip\", \
         confidentiality = \"smc.chip\", {cryptograms}{more} }}\npvki = 1\n"
    );
    place.replace("pvki = 1\n", &table.replace(",  }", " }"));
    let keys = VECTORS["keys"].as_object().expect("keys");
    for (name, described) in keys {
        let (kind, clear) = (described["type"].as_str(), described["clear"].as_str());
        let (kind, clear) = (kind.expect("a type"), clear.expect("hex"));
        if with_devices() {
            let table = key_table(name, kind, &hex::decode(clear).expect("hex"));
            place.replace("[admin]", &format!("{table}\n[admin]"));
        } else {
            import(&place, name, kind, clear);
        }
    }
    place
}

/// In two components, as custodians would.
fn import(place: &Place, name: &str, kind: &str, clear: &str) {
    let path = |name: &str| place.path(name).display().to_string();
    let masked =
        hex::decode(clear).expect("hex").iter().map(|byte| byte ^ 0x5A).collect::<Vec<_>>();
    let parts = [path("a"), path("b")];
    fs::write(&parts[0], hex::encode(masked)).expect("written");
    fs::write(&parts[1], "5A".repeat(16)).expect("written");
    let (keys, lmk) = (path("keys.toml"), path("lmk.key"));
    let files = ["keys", "--keys", &keys, "--lmk", &lmk, "--allow-test-keys"];
    let import = ["import", name, "--type", kind];
    let components = ["--component", &parts[0], "--component", &parts[1]];
    done(&[&files[..], &import, &components].concat(), "");
}

fn node(scheme: &str, more: &str) -> Node {
    place(world_links(), scheme, more).start()
}

/// The code, and the chip data of the answer as hex.
#[track_caller]
fn told(node: &Node, link: &str, request: &Message) -> (String, String) {
    let answer = node.connect(link).ask(request);
    (answer.code(), answer.fields.get(&55).map(hex::encode_upper).unwrap_or_default())
}

#[track_caller]
fn check(node: &Node, what: &str, request: &Message, code: &str, data: &[u8]) {
    let want = (code.to_owned(), hex::encode_upper(data));
    assert_eq!(told(node, "atm-1", request), want, "{what}");
}

/// The first card of each scheme changes its PIN, and forgives its wrong ones.
#[test]
fn a_change_and_an_unblock_are_told_to_the_chip() {
    for (scheme, more, template) in [
        ("visa", "template = 71", 0x71),
        ("mastercard", "template = 72", 0x72),
        ("emv-common", "", 0x72),
    ] {
        let node = node(scheme, more);
        let chip = case(scheme, PLAIN, 0, Some("2580"));
        let request = ATM.change(PLAIN, "1234", "2580").with(55, chip.data());
        check(&node, scheme, &request, "00", &chip.script(template));
        // Field 23 comes before 5F34.
        let chip = case(scheme, PLAIN, 1, Some("1379"));
        let wrong = Case { sequence: 0x42, ..case(scheme, PLAIN, 1, Some("1379")) };
        let unknown = ATM.change(PLAIN, "2580", "1379").with(23, "001").with(55, wrong.data());
        check(&node, "no such card", &unknown, "14", &[]);
        let request = ATM.change(PLAIN, "2580", "1379").with(55, chip.data());
        check(&node, scheme, &request, "00", &chip.script(template));
        let chip = case(scheme, PLAIN, 1, None);
        check(
            &node,
            scheme,
            &ATM.unblock(PLAIN).with(55, chip.data()),
            "00",
            &chip.script(template),
        );
        check(&node, "a verification", &ATM.verify(PLAIN, "1379").with(55, chip.data()), "00", &[]);
        assert_eq!(node.metric("pinion_issuer_scripts_total", &[("result", "sent")]), 3);
        assert_eq!(node.metric("pinion_issuer_scripts_total", &[]), 3);
    }
}

/// What is declined, forwarded or out of the chip's reach has no script, and so has what comes without chip data.
#[test]
fn who_gets_no_script() {
    let node = node("visa", "");
    let chip = case("visa", PLAIN, 0, Some("2580"));
    let change = |current| ATM.change(PLAIN, current, "2580").with(55, chip.data());
    check(&node, "a wrong PIN", &change("4321"), "55", &[]);
    check(&node, "a weak PIN", &ATM.change(PLAIN, "1234", "7777").with(55, chip.data()), "89", &[]);
    assert_eq!(told(&node, "vcr-1", &change("1234")), ("58".into(), String::new()), "by voice");
    check(&node, "no chip data", &change("1234").without(55), "00", &[]);
    let half = tag(&[0x9F, 0x36], &chip.counter);
    let back = |data: &[u8]| ATM.change(PLAIN, "2580", "1379").with(55, data);
    check(&node, "no cryptogram", &back(&half), "00", &[]);
    assert_eq!(node.metric("pinion_issuer_scripts_total", &[("result", "no_chip_data")]), 2);
    // Another product has no table.
    let offset = crate::support::vectors::OFFSET;
    let other = ATM.change(offset, "13579", "24680").with(55, chip.data());
    check(&node, "another product", &other, "00", &[]);
    assert_eq!(node.metric("pinion_issuer_scripts_total", &[]), 2);
}

#[test]
fn chip_data_of_a_wrong_form() {
    let node = node("mastercard", "");
    let chip = case("mastercard", PLAIN, 0, Some("2580"));
    let change = |data: Vec<u8>| ATM.change(PLAIN, "1234", "2580").with(55, data);
    let (counter, cryptogram) = ([0x9F, 0x36], [0x9F, 0x26]);
    for (what, data) in [
        ("counter", [tag(&counter, &[1]), tag(&cryptogram, &[1; 8])].concat()),
        ("long counter", [tag(&counter, &[1; 3]), tag(&cryptogram, &[1; 8])].concat()),
        ("cryptogram", [tag(&counter, &[1; 2]), tag(&cryptogram, &[1; 7])].concat()),
        ("sequence number", {
            let sequence = tag(&[0x5F, 0x34], &[0, 1]);
            [tag(&counter, &[1; 2]), tag(&cryptogram, &[1; 8]), sequence].concat()
        }),
        ("half a sequence number", {
            let sequence = tag(&[0x5F, 0x34], &[0x0A]);
            [tag(&counter, &[1; 2]), tag(&cryptogram, &[1; 8]), sequence].concat()
        }),
    ] {
        check(&node, what, &change(data), "30", &[]);
    }
    check(&node, "three digits", &change(chip.data()).with(23, "100"), "30", &[]);
    // What is no BER-TLV is none of ours: passed over.
    check(&node, "no tags", &change(vec![0x9F]), "00", &[]);
}

/// A repeat gets the same script while its change is the card's last one; with another block it is none.
#[test]
fn a_repeat_gets_its_script_again() {
    for scheme in SCHEMES {
        let node = node(scheme, "");
        let chip = case(scheme, PLAIN, 0, Some("2580"));
        let change = ATM.change(PLAIN, "1234", "2580").with(55, chip.data());
        let script = chip.script(0x72);
        check(&node, "the change", &change, "00", &script);
        let repeat = change.as_mti("0101");
        check(&node, "its repeat", &repeat, "00", &script);
        check(&node, "once more", &repeat.clone().with(7, "1122051730"), "00", &script);
        assert_eq!(node.metric("pinion_issuer_scripts_total", &[("result", "repeated")]), 2);

        let stan = change.text(11);
        let other = ATM.change(PLAIN, "1234", "1379").as_mti("0101").with(11, &stan);
        check(&node, "another PIN", &other.with(55, chip.data()), "94", &[]);
        let later = Case { counter: vec![0x77, 0x77], ..case(scheme, PLAIN, 0, Some("2580")) };
        check(&node, "another counter", &repeat.clone().with(55, later.data()), "94", &[]);
        let later = Case { cryptogram: vec![7; 8], ..case(scheme, PLAIN, 0, Some("2580")) };
        check(&node, "another cryptogram", &repeat.clone().with(55, later.data()), "94", &[]);
        let later = Case { sequence: 1, ..case(scheme, PLAIN, 0, Some("2580")) };
        check(&node, "another card", &repeat.clone().with(55, later.data()), "94", &[]);
        check(&node, "none", &repeat.clone().without(55), "94", &[]);
        // The current PIN proves nothing any more, so it does not tell repeats apart.
        let current = ATM.change(PLAIN, "1234", "2580").fields[&52].clone();
        check(&node, "the same again", &repeat.clone().with(52, current), "00", &script);

        // A reversal puts the old PIN back: the chip must not get the new one then.
        let mut atm = node.connect("atm-1");
        assert_eq!(atm.code(&ATM.reversal("0400", &change)), "00");
        let (code, data) = told(&node, "atm-1", &repeat);
        assert_eq!(data, "", "after the reversal, answered {code}");

        let chip = case(scheme, PLAIN, 1, Some("2580"));
        let change = ATM.change(PLAIN, "1234", "2580").with(55, chip.data());
        check(&node, "a change", &change, "00", &chip.script(0x72));
        assert_eq!(atm.code(&ATM.change(PLAIN, "2580", "1379")), "00");
        check(&node, "after another change", &change.as_mti("0101"), "00", &[]);

        let chip = case(scheme, PLAIN, 0, None);
        let unblock = ATM.unblock(PLAIN).with(55, chip.data());
        check(&node, "an unblock", &unblock, "00", &chip.script(0x72));
        check(&node, "its repeat", &unblock.as_mti("0101"), "00", &chip.script(0x72));
        assert_eq!(atm.code(&ATM.verify(PLAIN, "4321")), "55");
        check(&node, "after a wrong PIN", &unblock.as_mti("0101"), "00", &[]);
    }
}

#[test]
fn a_product_may_require_chip_data() {
    let node = node("visa", "required = true");
    let chip = case("visa", PLAIN, 0, Some("2580"));
    for _ in 0..4 {
        // Refused before any PIN is looked at: no try is used up.
        check(&node, "a wrong PIN", &ATM.change(PLAIN, "4321", "2580"), "30", &[]);
    }
    check(&node, "an unblock", &ATM.unblock(PLAIN), "30", &[]);
    check(&node, "a verification", &ATM.verify(PLAIN, "1234"), "00", &[]);
    let change = ATM.change(PLAIN, "1234", "2580");
    check(&node, "a change", &change, "30", &[]);
    let again = ATM.change(PLAIN, "1234", "2580").with(55, chip.data());
    check(&node, "with chip data", &again, "00", &chip.script(0x72));
    assert_eq!(node.metric("pinion_issuer_scripts_total", &[("result", "no_chip_data")]), 6);
}

/// Each dialect with its own field 55, in data sets for Visa; a MAC covers the script as it covers the rest.
#[test]
fn every_dialect_that_has_chip_data() {
    let dialects: [(&'static str, &'static Dialect, &'static str); 5] = [
        ("acquirer-1", &ISO87_BCD, "zpk.acquirer"),
        ("iso93", &ISO93_ASCII, "zpk.atm"),
        ("cmf", &CMF, "zpk.atm"),
        ("mastercard", &MASTERCARD, "zpk.atm"),
        ("visa", &VISA, "zpk.atm"),
    ];
    let mut links = world_links();
    for (name, dialect, _) in &dialects[2..] {
        links.push(Link::new(name, dialect));
    }
    let node = place(links, "visa", "").start();
    for ((link, dialect, zpk), pan) in dialects.into_iter().zip(further_cards()) {
        let chip = case("visa", &pan, 1, Some("2580"));
        let (data, script) = (chip.data(), chip.script(0x72));
        let in_set = |data: Vec<u8>| match link {
            "visa" => {
                let length = u16::try_from(data.len()).expect("short").to_be_bytes();
                [&[0x01][..], &length, &data].concat()
            }
            _ => data,
        };
        let terminal = Terminal::new(dialect, zpk);
        let request = terminal.change(&pan, "1234", "2580").with(55, in_set(data));
        let want = (dialect.codes[0].to_owned(), hex::encode_upper(in_set(script)));
        assert_eq!(told(&node, link, &request), want, "{link}");
    }
}

/// Exit 78, with the place and the reason.
#[test]
fn tables_that_are_refused() {
    let good = "scheme = \"mastercard\", integrity = \"smi.chip\", confidentiality = \"smc.chip\"";
    for (from, to, place_of, reason) in [
        ("chip = true\n", "", "issuer_script", "only with chip = true"),
        ("mastercard", "visa", "issuer_script.cryptograms", "missing: the PIN block of visa"),
        ("mastercard", "amex", "issuer_script.scheme", "unknown variant"),
        ("smi.chip", "smc.chip", "issuer_script.integrity", "is a MK-SMC: name a MK-SMI"),
        ("smc.chip", "smi.chip", "issuer_script.confidentiality", "is a MK-SMI: name a MK-SMC"),
        ("smi.chip", "zpk.atm", "issuer_script.integrity", "is a ZPK: name a MK-SMI"),
        ("smc.chip", "smc.none", "issuer_script.confidentiality", "no key \"smc.none\""),
        (good, &format!("{good}, template = 70"), "issuer_script.template", "71 or 72"),
        (
            good,
            &format!("{good}, cryptograms = \"ac.chip\""),
            "issuer_script.cryptograms",
            "\"visa\" only",
        ),
    ] {
        let place = place(world_links(), "mastercard", "");
        let text = place.read();
        let at = text.find("issuer_script").expect("the table");
        // From the product on: names of keys stand before it, too.
        let start = text[..at].rfind("[[product]]").expect("its product");
        let (head, tail) = text.split_at(start);
        assert!(tail.contains(from), "{from}");
        place.write(&format!("{head}{}", tail.replacen(from, to, 1)));
        let ended = pinion(&["check", "--config", &place.config()]).output().expect("ended");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(78), "{to}: {said}");
        assert!(
            said.contains(&format!("product[0].{place_of}")) && said.contains(reason),
            "{said}"
        );
    }
}

/// Runs the script again where there is a Python with the package; `make test` provides one.
#[test]
fn the_scripts_are_what_pyemv_computes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/make_chip.py");
    let python =
        |arguments: &[&str]| std::process::Command::new("python3").args(arguments).output();
    let has = python(&["-W", "ignore", "-c", "import pyemv"]);
    if !has.is_ok_and(|import| import.status.success()) {
        eprintln!("skipped: python3 has no pyemv; `make test` installs tests/requirements.txt");
        return;
    }
    let checked = python(&["-W", "ignore", script, "--check"]).expect("python3");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
