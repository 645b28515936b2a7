//! How fast one client may ask: the generic cell rate algorithm in one atomic number.
//!
//! **Never here:** a clock (time is an argument), what a refused request is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::clock::Now;

/// A rate and what has been used of it.
#[derive(Debug)]
pub struct Bucket {
    // Nanoseconds one request costs, and how far ahead of time a burst may run.
    cost: u64,
    ahead: u64,
    // Time at which everything asked so far is paid for.
    paid: AtomicU64,
}

impl Bucket {
    /// `per_second` requests for as long as one likes, `burst` at once.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let cost = 1_000_000_000 / u64::from(per_second.max(1));
        Self { cost, ahead: cost * u64::from(burst.max(1)), paid: AtomicU64::new(0) }
    }

    /// Whether both grant the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.cost == other.cost && self.ahead == other.ahead
    }

    /// Takes one request.
    ///
    /// # Errors
    /// How long to wait, when there is none to take.
    pub fn take(&self, now: Now) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut paid = self.paid.load(Ordering::Relaxed);
        loop {
            let next = paid.max(now).saturating_add(self.cost);
            let until = now.saturating_add(self.ahead);
            if until < next {
                return Err(Duration::from_nanos(next - until));
            }
            // Relaxed: nothing else hangs on the number.
            let order = Ordering::Relaxed;
            match self.paid.compare_exchange_weak(paid, next, order, order) {
                Ok(_) => return Ok(()),
                Err(newer) => paid = newer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let bucket = Bucket::new(10, 3);
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert_eq!(bucket.take(at(0)), Ok(()));
        }
        assert_eq!(bucket.take(at(0)), Err(at(100)), "the burst is used up");
        assert_eq!(bucket.take(at(99)), Err(at(1)));
        assert_eq!(bucket.take(at(100)), Ok(()));
        assert_eq!(bucket.take(at(100)), Err(at(100)));
        // Long silence saves up one burst and no more.
        for _ in 0..3 {
            assert_eq!(bucket.take(at(60_000)), Ok(()));
        }
        assert_eq!(bucket.take(at(60_000)), Err(at(100)));
    }

    #[test]
    fn over_a_long_time_the_rate_holds() {
        let bucket = Bucket::new(50, 5);
        let granted = (0..10_000).filter(|ms| bucket.take(Duration::from_millis(*ms)).is_ok());
        assert_eq!(granted.count(), 504, "50 a second for 10 s, and the burst less the first");
    }

    #[test]
    fn threads_do_not_get_more_than_there_is() {
        let bucket = Bucket::new(1, 100);
        let granted: usize = std::thread::scope(|scope| {
            let take = || (0..100).filter(|_| bucket.take(Duration::ZERO).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(granted, 100);
    }
}
