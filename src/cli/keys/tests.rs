//! The commands on files of a temporary directory; keys and check values are those of the payShield vectors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::cli::keys::input::parse_hex;
use crate::cli::keys::{Keys, KeysError};
use crate::hsm::exchange::ExchangeError;
use crate::hsm::key::{KeyError, KeyType, MacMethod, TestKeys};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::lmk::Lmk;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    keys: Keys,
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    fn run(&self, line: &[&str]) -> Result<(), KeysError> {
        let [keys, lmk] = [self.path("keys.toml"), self.path("lmk")];
        let files = ["keys", "--keys", keys.to_str().unwrap(), "--lmk", lmk.to_str().unwrap()];
        Line::try_parse_from(files.iter().chain(line)).unwrap().keys.run()
    }

    fn kcv(&self, name: &str) -> String {
        let lmk = Lmk::read(&self.path("lmk"), TestKeys::Allowed).unwrap();
        let file = KeyFile::read(&self.path("keys.toml"), &lmk, TestKeys::Allowed).unwrap();
        hex::encode_upper(file.get(name).unwrap().check_value())
    }
}

#[test]
fn the_command_line_is_consistent() {
    Line::command().debug_assert();
}

#[test]
fn a_first_day() {
    let place = Place::new();
    assert!(matches!(place.run(&["list"]), Err(KeysError::File(KeyFileError::Io { .. }))));
    place.run(&["init"]).unwrap();
    let mode = fs::metadata(place.path("lmk")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    place.run(&["check"]).unwrap();
    place.run(&["generate", "pvk.visa", "--type", "pvk"]).unwrap();
    place.run(&["generate", "zpk.new", "--type", "ZPK", "--algorithm", "aes"]).unwrap();
    let before = place.kcv("pvk.visa");
    let again = place.run(&["generate", "pvk.visa", "--type", "PVK"]).unwrap_err();
    assert!(matches!(again, KeysError::File(KeyFileError::Duplicate { .. })));
    assert_eq!(place.kcv("pvk.visa"), before);
    place.run(&["generate", "pvk.visa", "--type", "PVK", "--replace"]).unwrap();
    assert_ne!(place.kcv("pvk.visa"), before);
    place.run(&["list"]).unwrap();
    place.run(&["list", "--json"]).unwrap();
    place.run(&["check", "--json"]).unwrap();
    let twice = place.run(&["init"]).unwrap_err();
    assert_eq!(twice.exit_code(), 64);
    let wrong = place.run(&["generate", "pvk.x", "--type", "PVK", "--algorithm", "AES"]);
    assert_eq!(wrong.unwrap_err().exit_code(), 78);
}

/// The ZMK of the payShield set in two components, then ZPK2 wrapped under it (commands A6 and FA).
#[test]
fn keys_from_a_partner() {
    let place = Place::new();
    place.run(&["init"]).unwrap();
    let one = place.write("one", "1111 1111 1111 1111  2222 2222 2222 2222\n");
    let two = place.write("two", "940B 1C8C 1A3B 0713  4008 F292 CBC4 9252\n");
    let import = |kcv: &str, name: &str| {
        let wrapped = place.write("wrapped", "EDF0622763F428A3E97C9205623A1D26");
        place.run(&[
            "import",
            name,
            "--type",
            "ZPK",
            "--under",
            "zmk.partner",
            "--wrapped",
            &wrapped,
            "--kcv",
            kcv,
            "--allow-test-keys",
        ])
    };
    let components = ["import", "zmk.partner", "--type", "ZMK", "--component", &one, "--component"];
    let zmk = [&components[..], &[&two, "--allow-test-keys"]].concat();
    let refused = place.run(&[&components[..], &[&two]].concat()).unwrap_err();
    let published = matches!(
        refused,
        KeysError::File(KeyFileError::Key { source: KeyError::Published { .. }, .. })
    );
    assert!(published);
    place.run(&zmk).unwrap();
    assert_eq!(place.kcv("zmk.partner"), "E14F4E");
    import("4FE9FD", "zpk.partner").unwrap();
    assert_eq!(place.kcv("zpk.partner"), "4FE9FD");
    let wrong = import("4FE9FE", "zpk.other").unwrap_err();
    assert!(matches!(wrong, KeysError::Exchange(ExchangeError::CheckValue { .. })));
    assert_eq!(import("4FE9", "zpk.other").unwrap_err().exit_code(), 64);
    let alone = place.run(&["import", "zpk.x", "--type", "ZPK", "--component", &one]).unwrap_err();
    let count = ExchangeError::ComponentCount { count: 1 };
    assert!(matches!(alone, KeysError::Exchange(got) if got == count));
    let none = place.run(&["import", "zpk.x", "--type", "ZPK"]).unwrap_err();
    assert_eq!(none.exit_code(), 64);
    // Listing shows published keys, checking refuses them.
    place.run(&["list"]).unwrap();
    assert_eq!(place.run(&["check"]).unwrap_err().exit_code(), 78);
}

/// Imports a ZMK in three components.
fn import_zmk(place: &Place, name: &str, algorithm: &str, hex: &str) {
    let [ones, tens] = ["11", "10"].map(|byte| byte.repeat(hex.len() / 2));
    let last: Vec<_> = hex::decode(hex).unwrap().iter().map(|byte| byte ^ 0x11 ^ 0x10).collect();
    let parts = [ones, tens, hex::encode(last)]
        .map(|part| place.write(&format!("part-{}", &part[..4]), &part));
    let [a, b, c] = &parts;
    let line = ["import", name, "--type", "ZMK", "--algorithm", algorithm];
    place
        .run(&[&line[..], &["--component", a, "--component", b, "--component", c]].concat())
        .unwrap();
}

/// A key of a payShield 10K in each version of key block, and what leaves again.
#[test]
fn keys_in_key_blocks() {
    let place = Place::new();
    place.run(&["init"]).unwrap();
    import_zmk(&place, "zmk.tdes", "TDES", "EFE0853B256B583D868F251CE99EA1D9");
    import_zmk(&place, "zmk.aes", "AES", &"41".repeat(32));
    // K0 in the block: a ZMK, and nothing else.
    let block = place.write(
        "block",
        "B0080K0TN00N00001C414014375212C24995E405B5EE052CB92B67F455EA2680F6751088F9F1C228\n",
    );
    let import = |key_type: &str, more: &[&str]| {
        let line =
            ["import", "zmk.new", "--type", key_type, "--under", "zmk.tdes", "--tr31", &block];
        place.run(&[&line[..], more].concat())
    };
    assert_eq!(import("ZPK", &[]).unwrap_err().exit_code(), 1);
    assert_eq!(import("ZMK", &["--kcv", "5C9406"]).unwrap_err().exit_code(), 1);
    assert_eq!(import("ZMK", &["--algorithm", "AES"]).unwrap_err().exit_code(), 1);
    import("ZMK", &["--kcv", "5C9405"]).unwrap();
    assert_eq!(place.kcv("zmk.new"), "5C9405");

    place.run(&["generate", "zpk.ours", "--type", "ZPK"]).unwrap();
    place.run(&["generate", "zak.ours", "--type", "ZAK", "--algorithm", "AES"]).unwrap();
    place.run(&["generate", "zpk.stay", "--type", "ZPK", "--never-export"]).unwrap();
    let sealed = fs::read_to_string(place.path("keys.toml")).unwrap();
    assert!(sealed.contains("version = 3") && sealed.contains("exportable = false"));
    for (name, key_type, under) in [
        ("zpk.ours", "ZPK", "zmk.tdes"),
        ("zpk.ours", "ZPK", "zmk.aes"),
        ("zak.ours", "ZAK", "zmk.aes"),
    ] {
        let (out, copy) = (format!("{name}.{under}.block"), format!("{name}.{under}"));
        let path = place.path(&out).display().to_string();
        let export = ["export", name, "--under", under, "--tr31", "--out", &path];
        place.run(&export).unwrap();
        assert_eq!(place.run(&export).unwrap_err().exit_code(), 78, "never overwritten");
        place
            .run(&["import", &copy, "--type", key_type, "--under", under, "--tr31", &path])
            .unwrap();
        assert_eq!(place.kcv(&copy), place.kcv(name));
    }
    let last = place.path("final").display().to_string();
    let export =
        ["export", "zpk.ours", "--under", "zmk.tdes", "--tr31", "A", "--final", "--out", &last];
    place.run(&export).unwrap();
    assert!(fs::read_to_string(&last).unwrap().starts_with("A0072P0TB00N0000"));
    place
        .run(&["import", "zpk.last", "--type", "ZPK", "--under", "zmk.tdes", "--tr31", &last])
        .unwrap();
    place.run(&["export", "zpk.ours", "--under", "zmk.tdes", "--ecb", "--json"]).unwrap();
    for (line, code) in [
        (&["export", "zpk.last", "--under", "zmk.tdes", "--tr31"][..], 1),
        (&["export", "zpk.stay", "--under", "zmk.tdes", "--ecb"], 1),
        (&["export", "pan-seal", "--under", "zmk.aes", "--tr31"], 1),
        (&["export", "zmk.new", "--under", "zmk.tdes", "--tr31"], 1),
        (&["export", "zak.ours", "--under", "zmk.tdes", "--tr31"], 1),
        (&["export", "zpk.ours", "--under", "zmk.tdes", "--tr31", "D"], 1),
        (&["export", "zpk.ours", "--under", "zpk.last", "--tr31"], 1),
        (&["export", "zpk.ours", "--under", "zmk.tdes", "--tr31", "--usage", "V2"], 64),
        (&["export", "zpk.nobody", "--under", "zmk.tdes", "--tr31"], 78),
        (&["import", "zpk.x", "--type", "ZPK", "--under", "zmk.tdes"], 64),
    ] {
        // The ZMKs are published.
        let line = [line, &["--allow-test-keys"]].concat();
        assert_eq!(place.run(&line).unwrap_err().exit_code(), code, "{line:?}");
    }
}

/// The ZMK of the payShield set from three custodians; what ends a ceremony leaves nothing.
#[test]
fn ceremonies() {
    let place = Place::new();
    place.run(&["init"]).unwrap();
    // 1111.. 2222.. and two more whose exclusive-or is the key 851A0D9D0B2A1602 622AD0B0E9E6B070.
    let one = place.write("one", "1111 1111 1111 1111  2222 2222 2222 2222\n");
    let two = place.write("two", "0123 4567 89AB CDEF  FEDC BA98 7654 3210\n");
    let three = place.write("three", "9528 59EB 9390 CAFC  BED4 480A BD90 A042\n");
    let record = place.path("record.jsonl").display().to_string();
    let before = fs::read_to_string(place.path("keys.toml")).unwrap();
    let run = |custodians: &[&str], components: &[&str], more: &[&str]| {
        let mut line = vec!["ceremony", "zmk.partner", "--type", "ZMK", "--allow-test-keys"];
        line.extend(custodians.iter().flat_map(|name| ["--custodian", *name]));
        line.extend(components.iter().flat_map(|path| ["--component", *path]));
        line.extend(["--record", &record]);
        place.run(&[&line[..], more].concat())
    };
    let all = [&*one, &*two, &*three];
    for (custodians, components, more, code) in [
        (&["Ana"][..], &all[..1], &[][..], 64),
        (&["Ana", "ana"], &all[..2], &[], 64),
        (&["Ana", " "], &all[..2], &[], 64),
        (&["Ana", "Bo", "Cem"], &all[..2], &[], 64),
        (&["Ana", "Bo", "Cem"], &all, &["--kcv", "E14F4F"], 1),
        (&["Ana", "Bo", "Cem"], &all, &["--kcv", "E14F"], 64),
        (&["Ana", "Bo", "Cem"], &[&one, &two, &one], &[], 1),
        (&["Ana", "Bo"], &[&one, "nowhere"], &[], 78),
        (&["Ana", "Bo", "Cem"], &all, &["--algorithm", "RSA"], 64),
        (&["Ana", "Bo", "Cem"], &all, &["--mac", "cmac"], 78),
    ] {
        let error = run(custodians, components, more).unwrap_err();
        assert_eq!(error.exit_code(), code, "{custodians:?} {more:?}: {error}");
        assert_eq!(fs::read_to_string(place.path("keys.toml")).unwrap(), before);
        assert!(!place.path("record.jsonl").exists(), "{custodians:?} {more:?}");
    }
    run(&["Ana", "Bo", "Cem"], &all, &["--kcv", "e14f4e"]).unwrap();
    assert_eq!(place.kcv("zmk.partner"), "E14F4E");
    let written = fs::read_to_string(&record).unwrap();
    let line: serde_json::Value = serde_json::from_str(written.trim_end()).unwrap();
    assert_eq!(line["ceremony"]["kcv"], "E14F4E");
    assert_eq!(line["announced"], "E14F4E");
    let names: Vec<_> = line["custodians"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["Ana", "Bo", "Cem"]);
    // Check value of 0123456789ABCDEF FEDCBA9876543210: of many manuals.
    assert_eq!(line["custodians"][1]["kcv"], "08D7B4");
    for secret in ["11111111", "01234567", "952859EB", "851A0D9D"] {
        assert!(!written.to_uppercase().contains(secret), "{secret}");
    }
    // The name is taken: nobody has to enter anything to learn that.
    assert_eq!(run(&["Ana", "Bo"], &["nowhere", "nowhere"], &[]).unwrap_err().exit_code(), 78);
    run(&["Ana", "Bo", "Cem"], &all, &["--replace", "--json"]).unwrap();
    assert_eq!(fs::read_to_string(&record).unwrap().lines().count(), 2);
}

#[test]
fn how_a_key_makes_macs() {
    let place = Place::new();
    place.run(&["init"]).unwrap();
    let make = |name: &str, key_type: &str, mac: &str| {
        place.run(&["generate", name, "--type", key_type, "--mac", mac])
    };
    make("zak.a", "ZAK", "x9.19-pad2").unwrap();
    make("zak.b", "ZAK", "cmac").unwrap();
    make("zak.c", "ZAK", "x9.19").unwrap();
    assert_eq!(make("zpk.a", "ZPK", "cmac").unwrap_err().exit_code(), 78);
    let lmk = Lmk::read(&place.path("lmk"), TestKeys::Refused).unwrap();
    let file = KeyFile::read(&place.path("keys.toml"), &lmk, TestKeys::Refused).unwrap();
    let methods = ["zak.a", "zak.b", "zak.c"].map(|name| file.get(name).unwrap().mac_method());
    assert_eq!(methods, [MacMethod::Retail2, MacMethod::Cmac, MacMethod::Retail]);
    // The seal covers it.
    let text = fs::read_to_string(place.path("keys.toml")).unwrap();
    fs::write(place.path("keys.toml"), text.replace("mac = \"cmac\"\n", "")).unwrap();
    let changed = KeyFile::read(&place.path("keys.toml"), &lmk, TestKeys::Refused).unwrap_err();
    assert!(matches!(changed, KeyFileError::Sealed { .. }), "{changed}");
}

/// The key pair is one that the Python package cryptography made (`tests/vectors/rsa.json`): published.
#[test]
fn rsa_key_pairs() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/rsa.json")).unwrap();
    let demo = &vectors["keys"]["demo"];
    let place = Place::new();
    place.run(&["init"]).unwrap();
    let pem = place.write("demo.pem", demo["pem"].as_str().unwrap());
    let import = ["import", "rsa.demo", "--type", "RSA", "--pem", &pem];
    let refused = place.run(&import).unwrap_err();
    assert!(matches!(
        refused,
        KeysError::File(KeyFileError::Key { source: KeyError::Published { .. }, .. })
    ));
    place.run(&[&import[..], &["--allow-test-keys"]].concat()).unwrap();
    let digest = demo["public_sha256"].as_str().unwrap().to_uppercase();
    assert_eq!(place.kcv("rsa.demo"), digest[..6]);
    place.run(&["public", "rsa.demo"]).unwrap();

    place.run(&["generate", "rsa.new", "--type", "RSA", "--allow-test-keys"]).unwrap();
    assert_ne!(place.kcv("rsa.new"), place.kcv("rsa.demo"));
    place.run(&["public", "rsa.new", "--json"]).unwrap();
    place.run(&["list"]).unwrap();
    let sealed = fs::read_to_string(place.path("keys.toml")).unwrap();
    assert!(!sealed.contains(&demo["pkcs8"].as_str().unwrap().to_uppercase()[..64]), "sealed");
    for (line, code) in [
        (&["generate", "rsa.x", "--type", "RSA", "--bits", "1024"][..], 64),
        (&["generate", "zpk.x", "--type", "ZPK", "--bits", "2048"], 64),
        (&["import", "rsa.x", "--type", "RSA", "--components", "2"], 64),
        (&["import", "zpk.x", "--type", "ZPK", "--pem", &pem, "--allow-test-keys"], 78),
        (&["import", "rsa.x", "--type", "RSA", "--pem", &place.write("no.pem", "no key")], 1),
        (&["public", "pan-seal"], 64),
        (&["public", "rsa.nobody"], 78),
    ] {
        assert_eq!(place.run(line).unwrap_err().exit_code(), code, "{line:?}");
    }
}

#[test]
fn a_local_master_key_comes_back_from_its_components() {
    let place = Place::new();
    let parts = ["1", "2"].map(|digit| place.write(digit, &format!("{digit}A").repeat(32)));
    let init = ["init", "--component", &parts[0], "--component", &parts[1]];
    place.run(&init).unwrap();
    fs::remove_file(place.path("lmk")).unwrap();
    let other =
        ["init", "--component", &parts[0], "--component", &place.write("3", &"3B".repeat(32))];
    let wrong = place.run(&other).unwrap_err();
    assert!(matches!(wrong, KeysError::File(KeyFileError::WrongLmk { .. })));
    assert!(!place.path("lmk").exists());
    place.run(&init).unwrap();
    place.run(&["check"]).unwrap();
    let lmk = Lmk::read(&place.path("lmk"), TestKeys::Refused).unwrap();
    let file = KeyFile::read(&place.path("keys.toml"), &lmk, TestKeys::Refused).unwrap();
    assert!(file.keys().iter().any(|key| key.key_type() == KeyType::PanHash));
}

#[test]
fn what_is_read_is_hex_of_a_key() {
    let check = |text: &str, want: Result<usize, &str>| {
        let got = parse_hex(text.as_bytes()).map(|bytes| bytes.len());
        assert_eq!(got.as_ref().map_err(String::as_str), want.as_ref().map_err(|s| *s), "{text:?}");
    };
    check("00112233 44556677\n8899aabb ccddeeff\r\n", Ok(16));
    check("", Err("0 hex digits; a key has 32, 48 or 64"));
    check("001", Err("3 hex digits; a key has 32, 48 or 64"));
    check("00x1", Err("character 3 is no hex digit"));
    check(&"00".repeat(33), Err("66 hex digits; a key has 32, 48 or 64"));
}
