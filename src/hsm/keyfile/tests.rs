//! Sealed files: what opens, and what each tampering is called.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::hsm::key::{Algorithm, ClearKey, KeyError, KeyType, TestKeys};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::lmk::Lmk;

struct Place {
    _dir: tempfile::TempDir,
    keys: PathBuf,
    lmk: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    Place { keys: dir.path().join("keys.toml"), lmk: dir.path().join("lmk"), _dir: dir }
}

fn two_keys() -> KeyFile {
    let mut file = KeyFile::empty();
    file.add(ClearKey::generate("zpk.atm", KeyType::Zpk, Algorithm::Tdes).unwrap()).unwrap();
    file.add(ClearKey::generate("pvk.visa", KeyType::Pvk, Algorithm::Tdes).unwrap()).unwrap();
    file
}

fn parse(text: &str, lmk: &Lmk) -> Result<KeyFile, KeyFileError> {
    KeyFile::parse(text, Path::new("keys.toml"), lmk, TestKeys::Refused)
}

#[test]
fn a_file_comes_back_as_it_was() {
    let place = place();
    let lmk = Lmk::generate().unwrap();
    let file = two_keys();
    file.write(&place.keys, &lmk).unwrap();
    file.write(&place.keys, &lmk).unwrap();
    let back = KeyFile::read(&place.keys, &lmk, TestKeys::Refused).unwrap();
    let both = |file: &KeyFile| -> Vec<_> {
        file.keys().iter().map(|k| (k.name().to_owned(), k.expose_bytes().to_vec())).collect()
    };
    assert_eq!(both(&back), both(&file));
    assert_eq!(back.keys()[0].name(), "pvk.visa", "in order of name");
    let mode = std::fs::metadata(&place.keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(place.keys.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
    let text = std::fs::read_to_string(&place.keys).unwrap();
    for key in file.keys() {
        assert!(!text.contains(&hex::encode_upper(key.expose_bytes())));
    }
}

#[test]
fn tampering_has_a_name() {
    let lmk = Lmk::generate().unwrap();
    let file = two_keys();
    let text = file.text(&lmk).unwrap();
    assert!(parse(&text, &lmk).is_ok());
    let check = |from: &str, to: &str, want: fn(&KeyFileError) -> bool| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let got = parse(&changed, &lmk).unwrap_err();
        assert!(want(&got), "{from} to {to}: {got:?}");
    };
    let sealed = |e: &KeyFileError| matches!(e, KeyFileError::Sealed { .. });
    let syntax = |e: &KeyFileError| matches!(e, KeyFileError::Syntax { .. });
    check("type = \"PVK\"", "type = \"ZPK\"", sealed);
    check("name = \"zpk.atm\"", "name = \"zpk.xyz\"", sealed);
    check("algorithm = \"TDES\"", "algorithm = \"AES\"", sealed);
    check("kcv = \"", "kcv = \"0", |e| matches!(e, KeyFileError::CheckValue { .. }));
    check("sealed = \"", "sealed = \"00", sealed);
    check("sealed = \"", "sealed = \"G", syntax);
    check("version = 1", "version = 4", syntax);
    check("version = 1", "version = 1\nother = 2", syntax);
    check("type = \"PVK\"", "type = \"XYZ\"", syntax);
    check("name = \"zpk.atm\"", "name = \"pvk.visa\"", sealed);
    check("lmk = \"", "lmk = \"0", |e| matches!(e, KeyFileError::WrongLmk { .. }));
    let other = parse(&text, &Lmk::generate().unwrap()).unwrap_err();
    assert!(matches!(other, KeyFileError::WrongLmk { .. }));
    assert!(other.to_string().starts_with("keys.toml: "), "{other}");
}

#[test]
fn names_are_unique() {
    let mut file = two_keys();
    let again = || ClearKey::generate("zpk.atm", KeyType::Zpk, Algorithm::Aes).unwrap();
    assert!(matches!(file.add(again()), Err(KeyFileError::Duplicate { .. })));
    file.replace(again()).unwrap();
    assert_eq!(file.get("zpk.atm").unwrap().algorithm(), Algorithm::Aes);
    assert!(matches!(file.get("zpk.b"), Err(KeyFileError::Unknown { .. })));
}

#[test]
fn the_lmk_file_belongs_to_its_owner() {
    let place = place();
    let lmk = Lmk::generate().unwrap();
    lmk.create_file(&place.lmk).unwrap();
    let again = lmk.create_file(&place.lmk);
    assert!(matches!(again, Err(KeyFileError::Io { doing: "create", .. })));
    let back = Lmk::read(&place.lmk, TestKeys::Refused).unwrap();
    assert_eq!(back.identity(), lmk.identity());
    for mode in [0o640, 0o604, 0o644, 0o660] {
        std::fs::set_permissions(&place.lmk, Permissions::from_mode(mode)).unwrap();
        let got = Lmk::read(&place.lmk, TestKeys::Refused).unwrap_err();
        assert!(got.to_string().contains("chmod 600"), "{got}");
    }
    std::fs::set_permissions(&place.lmk, Permissions::from_mode(0o400)).unwrap();
    assert!(Lmk::read(&place.lmk, TestKeys::Refused).is_ok());
}

#[test]
fn what_is_no_lmk() {
    let check = |text: &str, want: fn(&KeyFileError) -> bool| {
        let place = place();
        std::fs::write(&place.lmk, text).unwrap();
        std::fs::set_permissions(&place.lmk, Permissions::from_mode(0o600)).unwrap();
        let got = Lmk::read(&place.lmk, TestKeys::Refused).unwrap_err();
        assert!(want(&got), "{got:?}");
    };
    let form = |e: &KeyFileError| matches!(e, KeyFileError::LmkForm { .. });
    let key = |e: &KeyFileError| matches!(e, KeyFileError::Key { path: Some(_), .. });
    check("", form);
    check(&"A".repeat(63), form);
    check(&"A".repeat(66), form);
    check(&"A".repeat(500), form);
    check(&"0".repeat(64), key);
    let demo = crate::hsm::published::DEMO_LMK;
    check(&hex::encode(demo), key);
    let refused = Lmk::new(Zeroizing::new(demo), TestKeys::Refused).unwrap_err();
    assert_eq!(refused, KeyError::Published { name: "lmk".into() });
    assert!(Lmk::new(Zeroizing::new(demo), TestKeys::Allowed).is_ok());
}

/// A file written where test keys were allowed does not open where they are not.
#[test]
fn published_keys_are_refused_when_loaded() {
    let lmk = Lmk::generate().unwrap();
    let sample = Zeroizing::new(hex::decode("0123456789ABCDEFFEDCBA9876543210").unwrap());
    let key = ClearKey::new("pvk.visa", KeyType::Pvk, Algorithm::Tdes, sample, TestKeys::Allowed)
        .unwrap();
    let mut file = KeyFile::empty();
    file.add(key).unwrap();
    let text = file.text(&lmk).unwrap();
    let got = parse(&text, &lmk).unwrap_err();
    let source = KeyError::Published { name: "pvk.visa".into() };
    assert!(matches!(&got, KeyFileError::Key { source: s, .. } if *s == source), "{got:?}");
    assert!(KeyFile::parse(&text, Path::new("k"), &lmk, TestKeys::Allowed).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_answered(text in ".{0,200}") {
        let _ = parse(&text, &Lmk::demo());
    }

    #[test]
    fn any_key_comes_back(bytes in proptest::collection::vec(any::<u8>(), 32), size in 0_usize..3) {
        let bytes = Zeroizing::new(bytes[..[16, 24, 32][size]].to_vec());
        let made = ClearKey::new("k", KeyType::Zpk, Algorithm::Aes, bytes, TestKeys::Allowed);
        let Ok(key) = made else { return Ok(()) };
        let want = key.expose_bytes().to_vec();
        let mut file = KeyFile::empty();
        file.add(key).unwrap();
        let lmk = Lmk::demo();
        let back = parse(&file.text(&lmk).unwrap(), &lmk).unwrap();
        prop_assert_eq!(back.keys()[0].expose_bytes(), &want[..]);
    }
}
