//! Random fill for PIN blocks without a system call: AES-256 over a counter, under a key drawn at start.
//!
//! It never gives the same sixteen bytes twice in one process, and nothing of it outlives the process. Random PINs are
//! drawn here, too. **Never here:** keys or nonces: those come from the operating system.

use std::sync::atomic::{AtomicU64, Ordering};

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::{Zeroize, Zeroizing};

use crate::pin::clear::{ClearPin, PIN_DIGITS_MAX};

/// The generator.
pub(super) struct Fill {
    cipher: Aes256,
    counter: AtomicU64,
}

impl Fill {
    /// One with a fresh key. `None` when the operating system gives no randomness.
    pub(super) fn new() -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut key[..]).ok()?;
        Some(Self { cipher: Aes256::new((&*key).into()), counter: AtomicU64::new(0) })
    }

    /// The next sixteen bytes.
    pub(super) fn next(&self) -> [u8; 16] {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut block = [0; 16];
        block[..8].copy_from_slice(&count.to_be_bytes());
        self.cipher.encrypt_block((&mut block).into());
        block
    }

    /// The next eight.
    pub(super) fn next_8(&self) -> [u8; 8] {
        self.next().first_chunk().copied().unwrap_or_default()
    }

    /// A PIN, every one of `digits` digits as likely as another. `None` for a length that is none.
    pub(super) fn pin(&self, digits: u8) -> Option<ClearPin> {
        let mut ascii = Zeroizing::new([0; PIN_DIGITS_MAX]);
        let wanted = ascii.get_mut(..digits.into())?;
        let mut at = 0;
        while at < wanted.len() {
            let mut drawn = self.next();
            // 250 and above would make low digits more likely.
            for byte in drawn.iter().filter(|byte| **byte < 250) {
                if let Some(place) = wanted.get_mut(at) {
                    *place = b'0' + byte % 10;
                    at += 1;
                }
            }
            drawn.zeroize();
        }
        ClearPin::from_ascii(wanted)
    }
}
