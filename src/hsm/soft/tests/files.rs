//! A module opened from files: what a reload and an exchange of a zone key keep and change.

use crate::hsm::Hsm;
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::SoftHsm;
use crate::hsm::soft::tests::{clock, demo, now};

/// A reload keeps ids, also of keys that moved in the order of names. One that went has no name any more; what was
/// under way with it still finds it for a while, however often the files are read.
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
    hsm.reload().unwrap();
    assert_eq!(hsm.key("zpk.b"), Some(b));
    assert_eq!(hsm.key("zpk.c"), None);
    assert!(hsm.keys().iter().all(|key| &*key.name != "zpk.c"));
    assert!(now(hsm.check_value(c)).is_ok());
    hsm.reload().unwrap();
    assert!(now(hsm.check_value(c)).is_ok());
    assert!(hsm.key("zpk.a").is_some_and(|a| a != b && a != c));
    let a = hsm.key("zpk.a");
    file.replace(ClearKey::generate("audit", KeyType::Audit, Algorithm::Hmac).unwrap()).unwrap();
    file.write(&keys, &lmk).unwrap();
    assert!(matches!(hsm.reload(), Err(KeyFileError::NeedsRestart)));
    file.remove("audit").unwrap();
    file.write(&keys, &lmk).unwrap();
    let missing = hsm.reload().unwrap_err();
    assert!(matches!(missing, KeyFileError::Missing { key_type: KeyType::Audit, .. }));
    assert_eq!(
        (hsm.key("zpk.a"), hsm.key("zpk.b")),
        (a, Some(b)),
        "a refused reload changes nothing"
    );
    assert!(matches!(demo().reload(), Err(KeyFileError::NoFile)));
}
