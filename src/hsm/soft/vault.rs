//! Data at rest: account numbers hashed and sealed, the audit chained ([`Vault`]).
//!
//! The HMAC states are prepared with their keys in, so a hash costs two compressions and allocates nothing. **Never
//! here:** where the results are kept (`card`).

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::pan::{PAN_DIGITS_MAX, Pan, PanHash, SealedPan};
use crate::domain::vault::{Vault, VaultError};
use crate::hsm::soft::SoftHsm;

const NONCE_BYTES: usize = 12;
/// A length byte and nineteen places.
const BODY_BYTES: usize = 1 + PAN_DIGITS_MAX;

/// The three keys of the vault, prepared.
pub(super) struct DataKeys {
    hash: Hmac<Sha256>,
    seal: Aes256Gcm,
    audit: Hmac<Sha256>,
}

impl DataKeys {
    /// `None` unless each key has 32 bytes.
    pub(super) fn new(hash: &[u8], seal: &[u8], audit: &[u8]) -> Option<Self> {
        let hmac = |key: &[u8]| Hmac::new_from_slice(key.first_chunk::<32>()?).ok();
        let seal = Aes256Gcm::new_from_slice(seal).ok()?;
        Some(Self { hash: hmac(hash)?, seal, audit: hmac(audit)? })
    }
}

impl Vault for SoftHsm {
    fn pan_hash(&self, pan: &Pan) -> PanHash {
        let full = self.data.hash.clone().chain_update(pan.expose_digits()).finalize();
        PanHash(full.into_bytes().first_chunk().copied().unwrap_or_default())
    }

    fn seal_pan(&self, pan: &Pan) -> Result<SealedPan, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| VaultError::Random)?;
        let digits = pan.expose_digits();
        let mut body = Zeroizing::new([0; BODY_BYTES]);
        body[0] = u8::try_from(digits.len()).map_err(|_| VaultError::Forged)?;
        body[1..=digits.len()].copy_from_slice(digits);
        let tag = self
            .data
            .seal
            .encrypt_inout_detached(&Nonce::from(nonce), b"pan", body.as_mut_slice().into())
            .map_err(|_| VaultError::Random)?;
        let mut sealed = [0; SealedPan::BYTES];
        sealed[..NONCE_BYTES].copy_from_slice(&nonce);
        sealed[NONCE_BYTES..NONCE_BYTES + BODY_BYTES].copy_from_slice(&body[..]);
        sealed[NONCE_BYTES + BODY_BYTES..].copy_from_slice(&tag);
        Ok(SealedPan(sealed))
    }

    fn open_pan(&self, sealed: &SealedPan) -> Result<Pan, VaultError> {
        let (nonce, rest) =
            sealed.0.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Forged)?;
        let (body, tag) = rest.split_first_chunk::<BODY_BYTES>().ok_or(VaultError::Forged)?;
        let tag = tag.first_chunk::<16>().ok_or(VaultError::Forged)?;
        let mut body = Zeroizing::new(*body);
        self.data
            .seal
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                b"pan",
                body.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| VaultError::Forged)?;
        let digits = body[1..].get(..usize::from(body[0])).ok_or(VaultError::Forged)?;
        Pan::parse(digits).map_err(|_| VaultError::Forged)
    }

    fn chain(&self, before: &[u8; 32], record: &[u8]) -> [u8; 32] {
        let link = self.data.audit.clone().chain_update(before).chain_update(record).finalize();
        link.into_bytes().into()
    }
}
