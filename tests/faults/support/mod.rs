//! What the fault tests share. **Never here:** a private item of the crate. Where next: `node` runs the binary,
//! `message` writes and reads ISO 8583, `leak` searches what was written.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

pub(crate) mod caller;
pub(crate) mod compare;
pub(crate) mod database;
#[path = "../../functional/support/hsm.rs"]
pub(crate) mod hsm;
pub(crate) mod leak;
pub(crate) mod message;
pub(crate) mod node;
pub(crate) mod pair;
pub(crate) mod peers;
#[path = "../../support/ports.rs"]
pub(crate) mod ports;
#[path = "../../support/postgres.rs"]
pub(crate) mod postgres;
pub(crate) mod trouble;

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test watches another process")]
    Instant::now()
}

/// Tries until there is a value or the time is over. The one place where these tests wait.
pub(crate) fn poll<T>(patience: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = now();
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        let left = patience.checked_sub(begun.elapsed())?;
        std::thread::park_timeout(left.min(Duration::from_millis(3)));
    }
}

/// Tries until there is a value; fails when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    poll(PATIENCE, attempt).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Lets a random moment pass, so that a kill comes at any point of the work.
pub(crate) fn let_pass(span: Duration) {
    let never = poll(span, || None::<()>);
    assert_eq!(never, None);
}

/// Random numbers by `SplitMix64`. The seed is printed, and `PINION_TEST_SEED` repeats a run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(test: &str) -> Self {
        let given = std::env::var("PINION_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("{test}: PINION_TEST_SEED={seed}");
        Self(seed)
    }

    /// Another one, whose numbers follow from the first one's.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
