//! PIN arithmetic on clear values: block layouts, Visa PVV, IBM 3624, the rules for new PINs, triple DES.
//!
//! Pure functions; digits are worked on sixteen at a time, packed in 64 bits, because a loop over them would cost as
//! much as a cipher block. **Never here:** a key by name, an allocation, input or output, a log line. Only `hsm::soft`
//! and the simulated payShield import this module, because only there do clear PINs exist. Where next: [`block`] for
//! what is encrypted, [`pvv`] and [`ibm3624`] for what is stored.

pub mod aes;
pub mod block;
pub mod clear;
pub mod dukpt;
pub mod dukpt_aes;
pub mod emv;
pub mod ibm3624;
pub mod legacy;
pub mod policy;
pub mod pvv;
pub mod tdes;

/// One in each of the sixteen places.
const ONES: u64 = 0x1111_1111_1111_1111;

/// A one in each place that holds more than nine: bit 3 is set, and bit 2 or bit 1.
pub(crate) const fn letters(nibbles: u64) -> u64 {
    (nibbles >> 3) & ((nibbles >> 2) | (nibbles >> 1)) & ONES
}

/// Packs eight ASCII digits into 32 bits, the first one highest.
pub(crate) fn pack(ascii: [u8; 8]) -> u64 {
    let mut packed = u64::from_be_bytes(ascii) & 0x0F0F_0F0F_0F0F_0F0F;
    packed = (packed | packed >> 4) & 0x00FF_00FF_00FF_00FF;
    packed = (packed | packed >> 8) & 0x0000_FFFF_0000_FFFF;
    (packed | packed >> 16) & 0xFFFF_FFFF
}

/// The sixteen values of 64 bits, the highest first.
pub(crate) fn unpack(nibbles: u64) -> [u8; 16] {
    let mut values = [0; 16];
    for (pair, byte) in values.chunks_exact_mut(2).zip(nibbles.to_be_bytes()) {
        pair[0] = byte >> 4;
        pair[1] = byte & 0x0F;
    }
    values
}

/// The twelve digits of an account, packed in the low 48 bits.
pub(crate) fn pack_account(account: &crate::domain::pan::Account12) -> u64 {
    let mut padded = [b'0'; 16];
    padded[4..].copy_from_slice(account.expose_digits());
    let (high, low) = padded.split_at(8);
    let part = |half: &[u8]| pack(half.first_chunk().copied().unwrap_or_default());
    part(high) << 32 | part(low)
}

#[cfg(test)]
mod tests;
