//! Randomness of the simulated device: of the operating system, or from a seed, so that a test runs twice alike.
//!
//! **Never here:** the dice of faults (`fault`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::hsm::payshield::wire::ErrorCode;

/// Where random bytes come from.
#[derive(Debug)]
pub(super) enum Random {
    /// The operating system.
    System,
    /// splitmix64, of Steele, Lea and Flood (2014).
    Seeded(AtomicU64),
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// From a seed, if there is one.
    pub(super) fn new(seed: Option<u64>) -> Self {
        seed.map_or(Self::System, |seed| Self::Seeded(AtomicU64::new(seed)))
    }

    /// Fills with random bytes.
    ///
    /// # Errors
    /// 41: the operating system gives none.
    pub(super) fn fill(&self, bytes: &mut [u8]) -> Result<(), ErrorCode> {
        match self {
            Self::System => getrandom::fill(bytes).map_err(|_| ErrorCode(*b"41")),
            Self::Seeded(state) => {
                for part in bytes.chunks_mut(8) {
                    let at = state.fetch_add(STEP, Ordering::Relaxed);
                    let drawn = mixed(at.wrapping_add(STEP)).to_le_bytes();
                    part.iter_mut().zip(drawn).for_each(|(to, from)| *to = from);
                }
                Ok(())
            }
        }
    }
}

/// The output function of splitmix64.
pub(super) fn mixed(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of splitmix64 with the seed 1234567, as its published test vectors have them.
    #[test]
    fn a_seed_gives_the_published_sequence() {
        let random = Random::new(Some(1_234_567));
        let mut bytes = [0; 24];
        random.fill(&mut bytes).unwrap();
        let drawn: Vec<_> =
            bytes.as_chunks().0.iter().map(|part| u64::from_le_bytes(*part)).collect();
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
