//! Triple DES with its key schedule prepared once.
//!
//! Setting up a schedule costs more than a block, so [`Tdes`] is made when a key is loaded and used from then on.
//! **Never here:** parity or weak-key checks (`hsm::key`), chaining modes. Where next: `pvv`, `ibm3624`.

use des::TdesEde3;
use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

/// A triple-DES key ready for work. The cipher wipes itself on drop.
pub struct Tdes(TdesEde3);

impl Tdes {
    /// From a double-length key: first, second, first.
    #[must_use]
    pub fn double(key: &[u8; 16]) -> Self {
        let mut triple = Zeroizing::new([0; 24]);
        triple[..16].copy_from_slice(key);
        triple[16..].copy_from_slice(&key[..8]);
        Self::triple(&triple)
    }

    /// From a triple-length key.
    #[must_use]
    pub fn triple(key: &[u8; 24]) -> Self {
        Self(TdesEde3::new(key.into()))
    }

    /// Encrypts one block in place.
    pub fn encrypt(&self, block: &mut [u8; 8]) {
        self.0.encrypt_block(block.into());
    }

    /// Decrypts one block in place.
    pub fn decrypt(&self, block: &mut [u8; 8]) {
        self.0.decrypt_block(block.into());
    }
}

impl std::fmt::Debug for Tdes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tdes(****)")
    }
}
