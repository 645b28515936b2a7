//! A module opened from files: what a reload and an exchange of a zone key keep and change.

use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::tests::{clock, demo, key, now};
use crate::hsm::soft::{RekeyError, SoftHsm};
use crate::hsm::{Hsm, HsmError};

/// A reload keeps ids, also of keys that moved in the order of names, and leaves a hole for one that went.
#[test]
fn reload_keeps_key_ids() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, lmk_file) = (dir.path().join("keys.toml"), dir.path().join("lmk"));
    let lmk = Lmk::generate().unwrap();
    lmk.create_file(&lmk_file).unwrap();
    let mut file = KeyFile::empty();
    for key in [("zpk.b", KeyType::Zpk), ("zpk.c", KeyType::Zpk)]
        .into_iter()
        .chain(KeyType::DATA.map(|(key_type, name)| (name, key_type)))
    {
        file.add(ClearKey::generate(key.0, key.1, key.1.algorithms()[0]).unwrap()).unwrap();
    }
    file.write(&keys, &lmk).unwrap();
    let hsm = SoftHsm::open(&keys, &lmk_file, TestKeys::Refused, clock()).unwrap();
    let (b, c) = (hsm.key("zpk.b").unwrap(), hsm.key("zpk.c").unwrap());
    file.remove("zpk.c").unwrap();
    file.add(ClearKey::generate("zpk.a", KeyType::Zpk, Algorithm::Aes).unwrap()).unwrap();
    file.write(&keys, &lmk).unwrap();
    let hsm = hsm.reload().unwrap();
    assert_eq!(hsm.key("zpk.b"), Some(b));
    assert_eq!(hsm.key("zpk.c"), None);
    assert_eq!(now(hsm.check_value(c)), Err(HsmError::KeyUnknown));
    assert!(hsm.key("zpk.a").is_some_and(|a| a != b && a != c));
    file.remove("audit").unwrap();
    file.write(&keys, &lmk).unwrap();
    let missing = hsm.reload().unwrap_err();
    assert!(matches!(missing, KeyFileError::Missing { key_type: KeyType::Audit, .. }));
    assert!(matches!(demo().reload(), Err(KeyFileError::NoFile)));
}

/// ZPK2 of the payShield set under its ZMK (commands A6 and FA) replaces a zone key while the module serves.
#[test]
fn a_partner_changes_a_zone_key() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, lmk_file) = (dir.path().join("keys.toml"), dir.path().join("lmk"));
    let lmk = Lmk::generate().unwrap();
    lmk.create_file(&lmk_file).unwrap();
    let mut file = KeyFile::empty();
    for (key_type, name) in KeyType::DATA {
        file.add(ClearKey::generate(name, key_type, key_type.algorithms()[0]).unwrap()).unwrap();
    }
    let zmk = "851A0D9D0B2A1602622AD0B0E9E6B070";
    file.add(key("zmk.partner", KeyType::Zmk, Algorithm::Tdes, zmk)).unwrap();
    file.add(ClearKey::generate("zpk.partner", KeyType::Zpk, Algorithm::Tdes).unwrap()).unwrap();
    file.write(&keys, &lmk).unwrap();
    let hsm = SoftHsm::open(&keys, &lmk_file, TestKeys::Allowed, clock()).unwrap();
    let id = hsm.key("zpk.partner").unwrap();
    let before = now(hsm.check_value(id)).unwrap();
    let wrapped = hex::decode("EDF0622763F428A3E97C9205623A1D26").unwrap();
    let wrong = hsm.rekey("zpk.partner", "zmk.partner", &wrapped, [0; 3]).unwrap_err();
    assert!(matches!(wrong, RekeyError::Exchange(_)));
    let not_zone = hsm.rekey("zmk.partner", "zmk.partner", &wrapped, [0; 3]).unwrap_err();
    assert!(matches!(not_zone, RekeyError::NotZoneKey { .. }));
    assert_eq!(now(hsm.reload().unwrap().check_value(id)), Ok(before));
    let next = hsm.rekey("zpk.partner", "zmk.partner", &wrapped, [0x4F, 0xE9, 0xFD]).unwrap();
    assert_eq!(now(next.check_value(id)), Ok([0x4F, 0xE9, 0xFD]));
    assert_eq!(now(hsm.check_value(id)), Ok(before), "requests under way keep the old module");
}
