//! PIN arithmetic on clear values: block layouts, Visa PVV, IBM 3624, the rules for new PINs, triple DES.
//!
//! Pure functions over fixed arrays. **Never here:** a key by name, an allocation on the path, input or output, a log
//! line. Only `hsm::soft` imports this module, because only there do clear PINs exist. Where next: [`block`] for what is
//! encrypted, [`pvv`] and [`ibm3624`] for what is stored.

pub mod block;
pub mod clear;
pub mod des;
pub mod ibm3624;
pub mod policy;
pub mod pvv;
pub mod tdes;

/// Packs sixteen values of four bits into eight bytes, first value in the high half of the first byte.
pub(crate) fn pack(nibbles: &[u8; 16]) -> [u8; 8] {
    let mut bytes = [0; 8];
    for (byte, pair) in bytes.iter_mut().zip(nibbles.chunks_exact(2)) {
        *byte = pair[0] << 4 | (pair[1] & 0x0F);
    }
    bytes
}

/// The inverse of [`pack`].
pub(crate) fn unpack(bytes: [u8; 8]) -> [u8; 16] {
    let mut nibbles = [0; 16];
    for (pair, byte) in nibbles.chunks_exact_mut(2).zip(bytes) {
        pair[0] = byte >> 4;
        pair[1] = byte & 0x0F;
    }
    nibbles
}

#[cfg(test)]
mod tests;
