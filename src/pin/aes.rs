//! AES of any key length with its key schedule prepared once.
//!
//! **Never here:** chaining modes. Where next: `dukpt_aes`, and `hsm::soft` for blocks of format 4.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};

/// An AES key ready for work. The cipher wipes itself on drop.
pub struct Aes(Schedule);

enum Schedule {
    Bits128(Aes128),
    Bits192(Aes192),
    Bits256(Aes256),
}

impl Aes {
    /// From 16, 24 or 32 bytes; `None` for another number.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let schedule = match bytes.len() {
            16 => Aes128::new_from_slice(bytes).ok().map(Schedule::Bits128),
            24 => Aes192::new_from_slice(bytes).ok().map(Schedule::Bits192),
            32 => Aes256::new_from_slice(bytes).ok().map(Schedule::Bits256),
            _ => None,
        };
        schedule.map(Self)
    }

    /// Encrypts one block in place.
    pub fn encrypt(&self, block: &mut [u8; 16]) {
        let block: &mut Array<u8, _> = block.into();
        match &self.0 {
            Schedule::Bits128(cipher) => cipher.encrypt_block(block),
            Schedule::Bits192(cipher) => cipher.encrypt_block(block),
            Schedule::Bits256(cipher) => cipher.encrypt_block(block),
        }
    }

    /// Decrypts one block in place.
    pub fn decrypt(&self, block: &mut [u8; 16]) {
        let block: &mut Array<u8, _> = block.into();
        match &self.0 {
            Schedule::Bits128(cipher) => cipher.decrypt_block(block),
            Schedule::Bits192(cipher) => cipher.decrypt_block(block),
            Schedule::Bits256(cipher) => cipher.decrypt_block(block),
        }
    }
}

impl std::fmt::Debug for Aes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Aes(****)")
    }
}
