//! The seal of one key in the file: AES-256-GCM under a key derived from the local master key.
//!
//! **Never here:** the file's form (`keyfile`).

use std::path::Path;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use crate::domain::clock::WallMillis;
use crate::hsm::key::rsa::PKCS8_BYTES_MAX;
use crate::hsm::key::{Algorithm, ClearKey, KeyType, MacMethod, Terms, TestKeys};
use crate::hsm::keyfile::{KeyFileError, KeyText};
use crate::hsm::lmk::{Lmk, Use};

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

pub(super) fn cipher(lmk: &Lmk) -> Aes256Gcm {
    Aes256Gcm::new((&*lmk.derive(Use::SealKeys)).into())
}

/// What the seal binds a key to: its terms, where it has any, and a previous key to the end of its grace period.
fn associated(
    name: &str,
    key_type: KeyType,
    algorithm: Algorithm,
    terms: Terms,
    until: Option<WallMillis>,
) -> String {
    let (key_type, algorithm) = (key_type.name(), algorithm.name());
    if terms != Terms::default() {
        let until = until.map_or(0, |until| until.0);
        let (exportable, mac) = (!terms.never_exported, terms.mac.map_or("", MacMethod::name));
        return format!(
            "pinion key 3\n{name}\n{key_type}\n{algorithm}\n{until}\n{exportable}\n{mac}"
        );
    }
    match until {
        None => format!("pinion key 1\n{name}\n{key_type}\n{algorithm}"),
        Some(WallMillis(until)) => {
            format!("pinion previous key 2\n{name}\n{key_type}\n{algorithm}\n{until}")
        }
    }
}

/// Nonce, ciphertext, tag.
pub(super) fn seal(
    key: &ClearKey,
    cipher: &Aes256Gcm,
    until: Option<WallMillis>,
) -> Result<Vec<u8>, KeyFileError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| KeyFileError::Random)?;
    let bound = associated(key.name(), key.key_type(), key.algorithm(), key.terms(), until);
    let mut bytes = Zeroizing::new(key.expose_bytes().to_vec());
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), bound.as_bytes(), bytes.as_mut_slice().into())
        .map_err(|_| KeyFileError::Random)?;
    Ok([&nonce[..], &bytes, &tag].concat())
}

/// Opens what one entry of a file has sealed.
pub(super) struct Opener<'a> {
    pub(super) entry: &'a KeyText,
    pub(super) path: &'a Path,
    pub(super) cipher: &'a Aes256Gcm,
    pub(super) test_keys: TestKeys,
}

impl Opener<'_> {
    pub(super) fn key(
        &self,
        sealed: &str,
        kcv: &str,
        until: Option<WallMillis>,
    ) -> Result<ClearKey, KeyFileError> {
        let Self { entry, path, cipher, test_keys } = *self;
        let name: Box<str> = entry.name.as_str().into();
        let syntax = |reason| KeyFileError::Syntax {
            path: path.into(),
            reason: format!("key {}: {reason}", entry.name),
        };
        let key_type: KeyType = entry.key_type.parse().map_err(syntax)?;
        let algorithm: Algorithm = entry.algorithm.parse().map_err(syntax)?;
        let mac = entry.mac.as_deref().map(str::parse).transpose().map_err(syntax)?;
        let terms = Terms { never_exported: entry.exportable == Some(false), mac };
        let sealed = hex::decode(sealed).map_err(|e| syntax(format!("sealed: {e}")))?;
        let changed = || KeyFileError::Sealed { path: path.into(), name: name.clone() };
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(changed)?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or_else(changed)?;
        if body.len() > PKCS8_BYTES_MAX {
            return Err(changed());
        }
        let mut bytes = Zeroizing::new(body.to_vec());
        let bound = associated(&entry.name, key_type, algorithm, terms, until);
        cipher
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                bound.as_bytes(),
                bytes.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| changed())?;
        let key = ClearKey::new(&entry.name, key_type, algorithm, bytes, test_keys)
            .and_then(|key| key.with_terms(terms))
            .map_err(|source| KeyFileError::Key { path: Some(path.into()), source })?;
        let actual = hex::encode_upper(key.check_value());
        if !actual.eq_ignore_ascii_case(kcv) {
            let stated = kcv.to_owned();
            return Err(KeyFileError::CheckValue { path: path.into(), name, actual, stated });
        }
        Ok(key)
    }
}
