//! Triple DES with its key schedules prepared once.
//!
//! Setting up a schedule costs more than a block, so [`Tdes`] is made when a key is loaded and used from then on.
//! **Never here:** parity or weak-key checks (`hsm::key`), chaining modes. Where next: `pvv`, `ibm3624`.

use crate::pin::des::{Des, close, open};

/// A triple-DES key ready for work. The schedules wipe themselves on drop.
pub struct Tdes {
    first: Des,
    second: Des,
    third: Des,
}

impl Tdes {
    /// From a double-length key: first, second, first.
    #[must_use]
    pub fn double(key: &[u8; 16]) -> Self {
        let [first, second] = split(key);
        Self { first: Des::new(first), second: Des::new(second), third: Des::new(first) }
    }

    /// From a triple-length key.
    #[must_use]
    pub fn triple(key: &[u8; 24]) -> Self {
        let [first, second, third] = split(key);
        Self { first: Des::new(first), second: Des::new(second), third: Des::new(third) }
    }

    /// Encrypts one block in place. Between the three ciphers the outer permutations cancel out.
    pub fn encrypt(&self, block: &mut [u8; 8]) {
        let halves = self.second.backward(self.first.forward(open(block)));
        *block = close(self.third.forward(halves));
    }

    /// Decrypts one block in place.
    pub fn decrypt(&self, block: &mut [u8; 8]) {
        let halves = self.second.forward(self.third.backward(open(block)));
        *block = close(self.first.backward(halves));
    }
}

/// A key as its single-length parts.
fn split<const BYTES: usize, const PARTS: usize>(key: &[u8; BYTES]) -> [&[u8; 8]; PARTS] {
    const { assert!(BYTES == 8 * PARTS, "whole parts") };
    let (parts, _) = key.as_chunks::<8>();
    std::array::from_fn(|at| &parts[at])
}

impl std::fmt::Debug for Tdes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tdes(****)")
    }
}
