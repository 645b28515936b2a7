//! Every code that a command's table lists: provoked, or named here with the reason why not.
//!
//! Keys as key blocks are broken at every place where a command has one. **Never here:** the other errors (`errors`).

use std::collections::BTreeSet;

use crate::hsm::payshield::simulator::fault::{Chance, FaultRules};
use crate::hsm::payshield::simulator::key::{Lmk, OpenKey, Sealing, Wanted};
use crate::hsm::payshield::simulator::tests::errors::{Forms, NAMES, REFUSED};
use crate::hsm::payshield::simulator::tests::{answered, ask};
use crate::hsm::payshield::simulator::{Device, Kind, Setup};
use crate::hsm::payshield::wire::key::{Key, KeyType, Scheme};
use crate::hsm::payshield::wire::message::answer_code;
use crate::hsm::payshield::wire::{ErrorCode, Request, has_data, listed};

/// Codes that no command gets of a simulated device by itself, and why. They are injected.
const NOT_PROVOKED: &[(&str, &str, &str)] = &[
    ("*", "21", "there is no user storage, so any index is 12"),
    ("*", "40", "hardware"),
    ("*", "41", "hardware, and a system without random bytes"),
    ("*", "42", "hardware"),
    ("*", "67", "everything is licensed"),
    ("*", "68", "no command can be disabled; unknown ones get it"),
    ("CA", "69", "no format can be disabled"),
    ("CC", "69", "no format can be disabled"),
    ("G0", "69", "no format can be disabled"),
    ("A0", "17", "which key types need authorization is a device's setting"),
    ("A6", "17", "which key types need authorization is a device's setting"),
    ("A8", "17", "which key types need authorization is a device's setting"),
    ("BU", "A6", "a key of any use has a check value"),
    ("BU", "A8", "a key of any use has a check value"),
];

/// Type, usage and mode of each named key.
const USES: &[(&str, &[u8; 3], &[u8; 3])] = &[
    ("{T}", b"002", b"71N"),
    ("{Z}", b"001", b"72N"),
    ("{Y}", b"001", b"72N"),
    ("{P}", b"002", b"V2N"),
    ("{S}", b"002", b"V1N"),
    ("{K}", b"003", b"M3N"),
    ("{B}", b"009", b"B0N"),
    ("{M}", b"000", b"K0N"),
    ("{I}", b"209", b"E2N"),
    ("{C}", b"309", b"E1N"),
    ("{A}", b"109", b"E0N"),
];

/// Commands that are done under a key block LMK. In `[]`: keys of any use.
const DONE: &[&str] = &[
    "A01FFFS;0{M}X%01#P0T2N00E00",
    "A6FFF{M}XEDF0622763F428A3E97C9205623A1D26S%01#P0T2N00E00",
    "A8FFF{M}[{Y}]X%01",
    "BC{T}{told}01{acct}{pin}%01",
    "BE{Z}{old}01{acct}{pin}%01",
    "BKFFF{Z}{S}{new}0104{acct}{ibm}%01",
    "BUFFF[{Z}];FFF;001%01",
    "CA{T}{Z}12{told}0101{acct}%01",
    "CC{Z}{Y}12{old}0101{acct}%01",
    "CUFFF{Z}{P}{old}01{acct}19616{new}%01",
    "DA{T}{S}12{told}0104{acct}{ibm}0199FFFFFFFF%01",
    "DC{T}{P}{told}01{acct}19616%01",
    "DE{S}{pin}04{acct}{ibm}%01",
    "DG{P}{pin}{acct}1%01",
    "DUFFF{Z}{S}{old}0104{acct}{ibm}0199FFFFFFFF{new}%01",
    "EA{Z}{S}12{old}0104{acct}{ibm}0199FFFFFFFF%01",
    "EC{Z}{P}{old}01{acct}19616%01",
    "EE{S}0199FFFFFFFF04{acct}{ibm}%01",
    "FA{M}{zmk}%01",
    "FWFFF{Z}{P}{new}01{acct}1%01",
    "G0{B}{Z}{ksn}{dukpt}0101{acct}%01",
    "GO0{B}{S}{ksn}{dukpt}0104{acct}{ibm}0199FFFFFFFF%01",
    "GQ0{B}{P}{ksn}{dukpt}01{acct}19616%01",
    "GW4A{B}{ksn}0004ABCD%01",
    "JC{T}{told}01{acct}%01",
    "JE{Z}{old}01{acct}%01",
    "JG{Z}01{acct}{pin}%01",
    "KU40{I}CARDCARDSESSIONS0005PLAIN;{C}SESSIONS00050008{raw};F{Z}0141{acct}{A}%01",
    "KY40{I}CARDCARDSESSIONS0005PLAIN;{C}00050008{raw};F{Z}0141{acct}{A}%01",
    "M601031FFF{K}0004ABCD%01",
    "M811031FFF{K}0010ABCD000000000000%01",
];

/// Seals the named key as a block under an LMK, with another header or other bytes.
fn block(lmk: &Lmk, name: &str, change: impl FnOnce(&mut [u8; 16], &mut Vec<u8>)) -> String {
    let (_, key_type, usage) = USES.iter().find(|(known, ..)| *known == name).unwrap();
    let (_, sealed) = NAMES.iter().find(|(known, _)| *known == name).unwrap();
    let (scheme, digits) = match sealed.strip_prefix('U') {
        Some(digits) => (Scheme::U, digits),
        None => (Scheme::Bare, *sealed),
    };
    let types = [KeyType(**key_type)];
    let wanted = Wanted { types: &types, usages: &[], modes: &[], parity: ErrorCode::WRONG };
    let variant = Lmk::new(Kind::Variant, 0);
    let mut bytes =
        variant.open(&Key::Ecb(scheme, digits.as_bytes()), &wanted).unwrap().expose().to_vec();
    let mut header = *b"00000..T.00E00FF";
    header[5..7].copy_from_slice(&usage[..2]);
    header[8] = usage[2];
    change(&mut header, &mut bytes);
    let key = OpenKey::new(zeroize::Zeroizing::new(bytes), false);
    let sealed = lmk.seal(&key, &Sealing::Block(header), &[0x5A; 16]).unwrap();
    let Key::Block(text) = sealed.as_key() else { panic!("a block") };
    format!("S{}", str::from_utf8(text).unwrap())
}

/// A device with variant, TDES and AES LMKs, and the second one once more as 03.
fn device() -> (Device, Lmk, Lmk) {
    let lmks = vec![Kind::Variant, Kind::TdesBlock, Kind::AesBlock, Kind::TdesBlock];
    let device = Device::new(&Setup { lmks, ..Setup::default() });
    (device, Lmk::new(Kind::TdesBlock, 1), Lmk::new(Kind::TdesBlock, 3))
}

/// What a key is replaced by, and the code of it. A key of any use is told by its brackets.
fn broken(lmk: &Lmk, other: &Lmk, name: &str, any_use: bool) -> Vec<(String, &'static str)> {
    let good = block(lmk, name, |_, _| {});
    let variant = NAMES.iter().find(|(known, _)| *known == name).unwrap().1.to_owned();
    let mut all = vec![
        ("K001".to_owned(), "12"),
        (format!("Q{variant}"), "26"),
        (format!("S00015{}", &good[6..]), "83"),
        (variant, "A1"),
        (block(other, name, |_, _| {}), "A2"),
        (format!("{}N{}", &good[..12], &good[13..]), "A4"),
        (block(lmk, name, |_, key| key.truncate(5)), "A5"),
        (block(lmk, name, |header, _| header[7] = b'R'), "A7"),
        (format!("{}01{}", &good[..13], &good[15..]), "AB"),
    ];
    if !any_use {
        all.push((block(lmk, name, |header, _| header[5..7].copy_from_slice(b"99")), "A6"));
        all.push((block(lmk, name, |header, _| header[8] = b'S'), "A8"));
    }
    all
}

/// Names of keys in a template, in order, with whether each is of any use.
fn keys_of(template: &str) -> Vec<(usize, &'static str, bool)> {
    let mut found = Vec::new();
    for (name, ..) in USES {
        for (at, _) in template.match_indices(name) {
            found.push((at, *name, template[..at].ends_with('[')));
        }
    }
    found.sort_unstable();
    found
}

/// The template with its keys as blocks, but for the one at `broken`.
fn with_blocks(lmk: &Lmk, template: &str, broken: Option<(usize, &str)>) -> String {
    let (mut text, mut from) = (String::new(), 0);
    for (at, name, _) in keys_of(template) {
        text.push_str(&template[from..at]);
        match broken {
            Some((place, key)) if place == at => text.push_str(key),
            _ => text.push_str(&block(lmk, name, |_, _| {})),
        }
        from = at + name.len();
    }
    text.push_str(&template[from..]);
    text.replace(['[', ']'], "")
}

/// Breaks every key of every command; what was provoked.
fn broken_keys(provoked: &mut BTreeSet<(String, String)>) -> Vec<String> {
    let (device, lmk, other) = device();
    let forms = Forms::new(&device);
    let (zmk, zpk) = (block(&lmk, "{M}", |_, _| {}), block(&lmk, "{Z}", |_, _| {}));
    let exported = ask(&device, &format!("A8FFF{zmk}{zpk}S%01"));
    let wrapped = &exported[4..exported.len() - 6];
    let mut wrong = Vec::new();
    for template in DONE {
        let template = template.replace("{zmk}", wrapped);
        let command = template[..2].to_owned();
        let code = answer_code(command.as_bytes().try_into().unwrap());
        let mut check = |text: &str, want: &str| {
            let answer = answered(&device, &forms.filled(text));
            if !answer.starts_with(&[&code, want.as_bytes()].concat()) {
                wrong.push(format!("{text}: {}, not {want}", answer.escape_ascii()));
            }
        };
        check(&with_blocks(&lmk, &template, None), "00");
        for (at, name, any_use) in keys_of(&template) {
            for (key, want) in broken(&lmk, &other, name, any_use) {
                check(&with_blocks(&lmk, &template, Some((at, &key))), want);
                provoked.insert((command.clone(), want.to_owned()));
            }
        }
    }
    wrong
}

#[test]
fn every_listed_code_is_provoked_or_named() {
    let mut provoked = BTreeSet::new();
    let wrong = broken_keys(&mut provoked);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    let (device, lmk, _) = device();
    for (template, code) in REFUSED {
        provoked.insert((template[..2].to_owned(), (*code).to_owned()));
    }
    // No LMK 07, and something behind the last field: of every command.
    for command in Request::CODES {
        let command = str::from_utf8(command).unwrap();
        let done = DONE.iter().find(|template| template.starts_with(command));
        let simple =
            ["B20000", "BA1234FFFFFFFFF{acct}", "JA{acct}", "N0001", "NC", "NG{acct}{pin}", "NO00"];
        let done = done.or_else(|| simple.iter().find(|template| template.starts_with(command)));
        let done = with_blocks(&lmk, done.unwrap(), None)
            .replace("%01", "")
            .replace("{zmk}", "XEDF0622763F428A3E97C9205623A1D26");
        let forms = Forms::new(&device);
        let without = done.split('#').next().unwrap();
        let (no_lmk, behind) = (format!("{without}%07"), format!("{done}$"));
        for (text, code) in [(no_lmk, "13"), (behind, "15")] {
            let answer = answered(&device, &forms.filled(&text));
            if answer[2..] == *code.as_bytes() {
                provoked.insert((command.to_owned(), code.to_owned()));
            }
        }
    }
    // What depends on how the device is set: see `states_of_the_device`, `what_is_refused_of_export`.
    for (command, code) in [("BA", "24"), ("NG", "14"), ("BU", "17"), ("A8", "AA")] {
        provoked.insert((command.to_owned(), code.to_owned()));
    }
    let mut missing = Vec::new();
    for command in Request::CODES {
        for code in listed(*command) {
            let pair = (command.escape_ascii().to_string(), code.to_string());
            let named = NOT_PROVOKED
                .iter()
                .any(|(of, known, _)| (*of == "*" || *of == pair.0) && *known == pair.1);
            if provoked.contains(&pair) == named {
                missing.push(format!("{} {}", pair.0, pair.1));
            }
        }
    }
    assert!(missing.is_empty(), "neither provoked nor named, or both: {}", missing.join(", "));
}

/// The rule that injects errors reaches every code of every command.
#[test]
fn every_listed_code_can_be_injected() {
    let device = Device::new(&Setup::default());
    for command in Request::CODES {
        for code in listed(*command) {
            let name = str::from_utf8(command).unwrap().to_owned();
            let rules = FaultRules {
                errors: [(name.clone(), code.to_string())].into(),
                ..FaultRules::default()
            };
            rules.check().unwrap();
            let fate = Chance::new(rules, 1).next(Some(*command));
            let mut out = bytes::BytesMut::new();
            device.refuse(format!("HEAD{name}").as_bytes(), fate.error.unwrap(), &mut out);
            let want = [b"HEAD", &answer_code(*command)[..], &code.0].concat();
            assert_eq!(out, want);
            assert!(code != ErrorCode::OK && !has_data(*b"NC", code));
        }
    }
}

/// A key that may not be exported.
#[test]
fn what_is_refused_of_export() {
    let (device, lmk, _) = device();
    let zmk = block(&lmk, "{M}", |_, _| {});
    let fixed = block(&lmk, "{Z}", |header, _| header[11] = b'N');
    assert_eq!(ask(&device, &format!("A8FFF{zmk}{fixed}X%01")), "A9AA");
}

/// TR-31 blocks come in under a ZMK and go out under one; both are blocks that psec and a device made.
#[test]
fn tr31_under_a_zmk() {
    let (device, lmk, _) = device();
    let zmk = |header: &mut [u8; 16], key: &mut Vec<u8>| {
        header[5..7].copy_from_slice(b"K0");
        *key = hex::decode("EFE0853B256B583D868F251CE99EA1D9").unwrap();
    };
    let zmk = block(&lmk, "{M}", zmk);
    for came in [
        "RA0072K0TN00N0000F40D5672C6D0EC86F860BA88D44D00F0CA9A8CE8CD2F640287A9A9EB",
        "RB0080K0TN00N00001C414014375212C24995E405B5EE052CB92B67F455EA2680F6751088F9F1C228",
        "RC0072K0TN00N0000C9B875FF7A5316BF221C09ED52080DE0B45632A4EA9CE87699CB565E",
    ] {
        let taken = ask(&device, &format!("A6FFF{zmk}{came}S%01"));
        let key = taken.strip_prefix("A700").unwrap().strip_suffix("5C9405").unwrap();
        assert_eq!(&key[..17], "S00072K0TN00N0001");
        let checked = ask(&device, &format!("BUFFF{key};FFF;001%01"));
        assert_eq!(checked, "BV005C9405");
        // It may not go out again.
        assert_eq!(ask(&device, &format!("A8FFF{zmk}{key}R%01")), "A9AA");
        let changed = came.replace("TN00N", "TN00E");
        assert_eq!(ask(&device, &format!("A6FFF{zmk}{changed}S%01")), "A7A4");
    }
    let key = block(&lmk, "{Z}", |_, _| {});
    for (version, want) in
        [("", "RB0080P0TN00E0000"), ("!A", "RA0072P0TN00E0000"), ("!C", "RC0072P0TN00E0000")]
    {
        let went = ask(&device, &format!("A8FFF{zmk}{key}R%01{version}"));
        let (came, check) = went.strip_prefix("A900").unwrap().split_at(went.len() - 10);
        assert!(came.starts_with(want), "{came}");
        let again = ask(&device, &format!("A6FFF{zmk}{came}S%01"));
        assert!(again.starts_with("A700S") && again.ends_with(check), "{again}");
    }
    assert_eq!(ask(&device, &format!("A8FFF{zmk}{key}R%01!D")), "A927");
    assert_eq!(ask(&device, &format!("A8FFF{zmk}{key}R%01!E")), "A983");
    // Under a variant LMK it becomes a key of the type that is asked for.
    let own = "UE7EF2FB6BA695C63F43BB490CF74D327";
    assert!(
        ask(&device, &format!("A8001U1457FF6ADF6250C66C368416B4C9D383{own}R")).starts_with("A915")
    );
}
