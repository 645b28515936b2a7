//! Loaded keys with their schedules prepared: a command finds its key by one index and never sets one up.
//!
//! **Never here:** clear key bytes after [`Loaded::new`] returned; files.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use crate::hsm::key::{Algorithm, CheckValue, ClearKey, KeyType};
use crate::hsm::soft::mac::RetailMac;
use crate::pin::tdes::Tdes;

/// One key, ready for its one use.
pub(super) struct Loaded {
    pub(super) name: Box<str>,
    pub(super) key_type: KeyType,
    pub(super) check_value: CheckValue,
    pub(super) schedule: Schedule,
}

/// What a key is prepared for.
pub(super) enum Schedule {
    /// Blocks of format 4.
    Aes(AesBlocks),
    /// MACs.
    Mac(RetailMac),
    /// No command here uses it.
    None,
    /// Blocks of the eight-byte formats; PVVs and offsets.
    Tdes {
        /// The cipher.
        cipher: Tdes,
        /// Whether the key has two parts: a PVV takes no other.
        double: bool,
    },
}

/// AES of any key length.
pub(super) enum AesBlocks {
    Bits128(Aes128),
    Bits192(Aes192),
    Bits256(Aes256),
}

impl Loaded {
    pub(super) fn new(key: &ClearKey) -> Self {
        let bytes = key.expose_bytes();
        let schedule = match key.key_type() {
            KeyType::Zpk | KeyType::Pvk => match key.algorithm() {
                Algorithm::Tdes => tdes(bytes),
                Algorithm::Aes => AesBlocks::new(bytes).map(Schedule::Aes),
                Algorithm::Hmac => None,
            },
            KeyType::Zak => RetailMac::new(bytes).map(Schedule::Mac),
            KeyType::Audit | KeyType::Bdk | KeyType::PanHash | KeyType::PanSeal | KeyType::Zmk => {
                None
            }
        };
        Self {
            name: key.name().into(),
            key_type: key.key_type(),
            check_value: key.check_value(),
            schedule: schedule.unwrap_or(Schedule::None),
        }
    }
}

fn tdes(bytes: &[u8]) -> Option<Schedule> {
    if let Ok(double) = bytes.try_into() {
        return Some(Schedule::Tdes { cipher: Tdes::double(double), double: true });
    }
    let triple = bytes.try_into().ok()?;
    Some(Schedule::Tdes { cipher: Tdes::triple(triple), double: false })
}

impl AesBlocks {
    fn new(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            16 => Aes128::new_from_slice(bytes).ok().map(Self::Bits128),
            24 => Aes192::new_from_slice(bytes).ok().map(Self::Bits192),
            32 => Aes256::new_from_slice(bytes).ok().map(Self::Bits256),
            _ => None,
        }
    }

    pub(super) fn encrypt(&self, block: &mut [u8; 16]) {
        let block: &mut Array<u8, _> = block.into();
        match self {
            Self::Bits128(cipher) => cipher.encrypt_block(block),
            Self::Bits192(cipher) => cipher.encrypt_block(block),
            Self::Bits256(cipher) => cipher.encrypt_block(block),
        }
    }

    pub(super) fn decrypt(&self, block: &mut [u8; 16]) {
        let block: &mut Array<u8, _> = block.into();
        match self {
            Self::Bits128(cipher) => cipher.decrypt_block(block),
            Self::Bits192(cipher) => cipher.decrypt_block(block),
            Self::Bits256(cipher) => cipher.decrypt_block(block),
        }
    }
}
