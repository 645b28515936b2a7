//! What a store needs done with keys it must not hold: hash, seal and open an account number, chain the audit.
//!
//! The trait is here because `hsm` implements it and `card` calls it, and the two do not know each other.

use crate::domain::pan::{Pan, PanHash, SealedPan};

/// Keyed operations on data at rest. The keys stay behind the implementation (`hsm::soft`).
pub trait Vault: Send + Sync {
    /// The keyed hash a card is found by.
    fn pan_hash(&self, pan: &Pan) -> PanHash;
    /// Encrypts an account number for the store, under a fresh random nonce.
    ///
    /// # Errors
    /// [`VaultError::Random`] when the machine gives no randomness.
    fn seal_pan(&self, pan: &Pan) -> Result<SealedPan, VaultError>;
    /// Decrypts one.
    ///
    /// # Errors
    /// [`VaultError::Forged`] when it was not sealed under this key or was changed since.
    fn open_pan(&self, sealed: &SealedPan) -> Result<Pan, VaultError>;
    /// The next link of the audit chain: HMAC-SHA-256 over the link before and the record.
    fn chain(&self, before: &[u8; 32], record: &[u8]) -> [u8; 32];
}

/// Why the vault could not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A sealed value does not open.
    #[error("sealed account number does not open: another key, or changed bytes")]
    Forged,
    /// No randomness.
    #[error("the operating system gave no randomness")]
    Random,
}
