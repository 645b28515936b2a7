//! The commands on files of a temporary directory; keys and check values are those of the payShield vectors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::cli::keys::input::parse_hex;
use crate::cli::keys::{Keys, KeysError};
use crate::hsm::exchange::ExchangeError;
use crate::hsm::key::{KeyError, KeyType, TestKeys};
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
