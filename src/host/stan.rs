//! [`Stans`]: one sequence of trace numbers (DE 11) for all nodes.
//!
//! Every request gets the next number, 999999 is followed by 1. A restart goes on after the last number that the store
//! knows. **Never here:** whether a number is still in use: `mux` refuses one that is.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::domain::forward::Stan;

/// The sequence.
#[derive(Debug)]
pub(super) struct Stans {
    // How many have been given out since number 1, without end: the number is its remainder.
    given: AtomicU32,
}

impl Stans {
    /// Goes on after `last`; from 1 when there is none.
    pub(super) fn after(last: Option<Stan>) -> Self {
        Self { given: AtomicU32::new(last.map_or(0, |last| last.0 % Stan::MAX.0)) }
    }

    /// The next number.
    pub(super) fn take(&self) -> Stan {
        let step = |given: u32| Some((given + 1) % Stan::MAX.0);
        let given = self.given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        Stan(given.unwrap_or_else(|given| given) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(last: Option<u32>, want: &[u32]) {
        let stans = Stans::after(last.map(Stan));
        let got: Vec<u32> = want.iter().map(|_| stans.take().0).collect();
        assert_eq!(got, want, "after {last:?}");
    }

    #[test]
    fn numbers_go_on_and_wrap() {
        check(None, &[1, 2, 3]);
        check(Some(41), &[42, 43]);
        check(Some(999_998), &[999_999, 1, 2]);
        check(Some(999_999), &[1, 2]);
    }
}
