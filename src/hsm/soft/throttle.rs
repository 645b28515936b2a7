//! The module's own brake on guessing: wrong verifications of one account in a window of time.
//!
//! The try counter in the card record is the first line. This is the second, for a switch that was taken over or is
//! broken: it does not depend on a store. It is generous, because requests that lose a compare-and-set on the card
//! verify again, so that parallel wrong guesses may be counted several times. **Never here:** a lock, an allocation
//! after start, an account number: accounts are two places in a table, found by a keyed hash.
//!
//! Two accounts may share one place but rarely both; an account is held back only when both its places are full, so a
//! stranger's guesses hardly ever hold anybody back, and never hide somebody's own. Windows are fixed, so twice the
//! limit fits around the edge of two; requests already under way when the limit is reached still finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use crate::domain::clock::Clock;
use crate::domain::pan::Account12;
use crate::pin::block::account_field_4;

/// Places of one row; there are two rows of eight-byte places: 512 KiB.
const ROW: usize = 1 << 15;

/// How many wrong verifications of one account are allowed, and in how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleLimit {
    /// So many are answered, the next one is refused.
    pub wrong: u32,
    /// Length of a window; below one second counts as one.
    pub window: Duration,
}

impl Default for ThrottleLimit {
    /// 4096 an hour.
    fn default() -> Self {
        Self { wrong: 4096, window: Duration::from_hours(1) }
    }
}

/// Both places of one account.
#[derive(Clone, Copy)]
pub(super) struct Places([usize; 2]);

/// The table. A place holds the number of its window in the high half and a count in the low half.
pub(super) struct Throttle {
    places: Box<[AtomicU64]>,
    hash: Aes256,
    limit: ThrottleLimit,
    clock: Arc<dyn Clock>,
}

impl Throttle {
    /// An empty table. `None` when the operating system gives no randomness.
    pub(super) fn new(limit: ThrottleLimit, clock: Arc<dyn Clock>) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut key[..]).ok()?;
        let places = (0..2 * ROW).map(|_| AtomicU64::new(0)).collect();
        Some(Self { places, hash: Aes256::new((&*key).into()), limit, clock })
    }

    /// Where time comes from.
    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Where an account is counted.
    pub(super) fn places(&self, account: &Account12) -> Places {
        let mut block = account_field_4(account);
        self.hash.encrypt_block((&mut *block).into());
        let place = |row: usize, high: u8, low: u8| {
            row * ROW + usize::from(u16::from_be_bytes([high, low])) % ROW
        };
        Places([place(0, block[0], block[1]), place(1, block[2], block[3])])
    }

    /// Whether the account has used its wrong verifications up. Reads the clock only when its counts are full.
    pub(super) fn is_closed(&self, places: Places) -> bool {
        let counts = places.0.map(|at| self.places[at].load(Ordering::Relaxed));
        let full = counts.iter().all(|count| low(*count) >= u64::from(self.limit.wrong));
        full && {
            let window = self.window();
            counts.iter().all(|count| high(*count) == window)
        }
    }

    /// Counts one.
    pub(super) fn count_wrong(&self, places: Places) {
        let window = self.window();
        for at in places.0 {
            // The closure always gives a value, so this cannot fail.
            let _ = self.places[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |had| {
                let count = if high(had) == window { low(had) } else { 0 };
                Some(window << 32 | (count + 1).min(u64::from(u32::MAX)))
            });
        }
    }

    /// Number of the current window, from 1, so that an untouched place belongs to none.
    fn window(&self) -> u64 {
        let length = self.limit.window.as_secs().max(1);
        (self.clock.now().as_secs() / length + 1) & u64::from(u32::MAX)
    }
}

const fn high(place: u64) -> u64 {
    place >> 32
}

const fn low(place: u64) -> u64 {
    place & 0xFFFF_FFFF
}
