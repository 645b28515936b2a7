//! Message authentication: ISO 9797-1 algorithm 3 (the retail MAC of ANSI X9.19), padding method 1.
//!
//! Single DES with the first key over all blocks, then decryption with the second and encryption with the third (the
//! first again for a double-length key). **Never here:** which bytes of a message enter (`iso8583::mac`).

use des::Des;
use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

/// A MAC key with its schedules prepared.
pub(super) struct RetailMac {
    chain: Des,
    middle: Des,
    last: Des,
}

impl RetailMac {
    /// From 16 or 24 bytes; `None` for another number.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let part = |at: usize| Des::new_from_slice(key.get(at..at + 8)?).ok();
        match key.len() {
            16 => Some(Self { chain: part(0)?, middle: part(8)?, last: part(0)? }),
            24 => Some(Self { chain: part(0)?, middle: part(8)?, last: part(16)? }),
            _ => None,
        }
    }

    /// The eight bytes. An empty message counts as one block of zeros.
    pub(super) fn compute(&self, message: &[u8]) -> [u8; 8] {
        let mut state = [0; 8];
        let mut blocks = message.chunks(8);
        let first = blocks.next().unwrap_or_default();
        for block in std::iter::once(first).chain(blocks) {
            for (byte, more) in state.iter_mut().zip(block) {
                *byte ^= more;
            }
            self.chain.encrypt_block((&mut state).into());
        }
        self.middle.decrypt_block((&mut state).into());
        self.last.encrypt_block((&mut state).into());
        state
    }
}
