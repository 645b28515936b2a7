//! [`Stans`]: one sequence of trace numbers (DE 11) for all nodes.
//!
//! Every request gets the next number of this switch's range; the last is followed by the first. A restart goes on
//! after the last number that the store knows. Switches over one store have ranges that do not meet, so that no node
//! sees one number from two of them. **Never here:** whether a number is still in use: `mux` refuses one that is.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::domain::forward::Stan;

/// The sequence.
#[derive(Debug)]
pub(super) struct Stans {
    first: u32,
    /// How many numbers there are, at least one.
    room: u32,
    /// Place of the next number in the range.
    next: AtomicU32,
}

impl Stans {
    /// Goes on after `last`; from the first when there is none, or when it is of another range.
    pub(super) fn after(range: &RangeInclusive<Stan>, last: Option<Stan>) -> Self {
        let first = range.start().0;
        let room = range.end().0.saturating_sub(first) + 1;
        let after = |last: Stan| (last.0 - first + 1) % room;
        let next = last.filter(|last| range.contains(last)).map_or(0, after);
        Self { first, room, next: AtomicU32::new(next) }
    }

    /// Goes on after `last`, if it is of the range.
    pub(super) fn go_on(&self, range: &RangeInclusive<Stan>, last: Option<Stan>) {
        let next = Self::after(range, last).next;
        self.next.store(next.into_inner(), Ordering::Relaxed);
    }

    /// The next number.
    pub(super) fn take(&self) -> Stan {
        let step = |next: u32| Some((next + 1) % self.room);
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        Stan(self.first + taken.unwrap_or_else(|next| next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check((first, end): (u32, u32), last: Option<u32>, want: &[u32]) {
        let stans = Stans::after(&(Stan(first)..=Stan(end)), last.map(Stan));
        let got: Vec<u32> = want.iter().map(|_| stans.take().0).collect();
        assert_eq!(got, want, "after {last:?}");
    }

    #[test]
    fn numbers_go_on_and_wrap() {
        let all = (1, 999_999);
        check(all, None, &[1, 2, 3]);
        check(all, Some(41), &[42, 43]);
        check(all, Some(999_998), &[999_999, 1, 2]);
        check(all, Some(999_999), &[1, 2]);
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let second = (500_000, 999_999);
        check(second, None, &[500_000, 500_001]);
        check(second, Some(999_999), &[500_000, 500_001]);
        check(second, Some(600_000), &[600_001]);
        // The range was changed, or the store is another one's.
        check(second, Some(499_999), &[500_000]);
        check(second, Some(0), &[500_000]);
        check((7, 8), Some(7), &[8, 7, 8]);
    }
}
