//! [`Drained`]: which devices an operator has taken out of service. Kept until the switch ends, and no longer.
//!
//! One word for all devices, so that two operators at once cannot take out the last two. **Never here:** what a device
//! has under way (`device`), HTTP.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::HSM_DEVICES_MAX;

/// One bit a device.
#[derive(Debug, Default)]
pub(super) struct Drained(AtomicU32);

/// Why a device is not taken out of service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainRefused {
    /// It is the last one.
    #[error(
        "{name} is the last device that takes commands: every request would get 86; resume another \
         one first, or say --force"
    )]
    Last {
        /// Its name.
        name: Box<str>,
    },
    /// The software module does the PIN work.
    #[error("this switch has no devices: hsm.kind is \"soft\"")]
    NoDevices,
    /// There is none of that name.
    #[error("no device {name:?}: there are {known}")]
    NoSuchDevice {
        /// What was asked for.
        name: Box<str>,
        /// Those there are.
        known: String,
    },
}

/// A device's bit.
pub(super) const fn bit(index: usize) -> u32 {
    const { assert!(HSM_DEVICES_MAX <= 32, "one bit a device") };
    1 << (index % 32)
}

impl Drained {
    /// Whether a device is out of service.
    // SeqCst here and where a place at a device is counted: whoever sees none taken after a device went out of service
    // sees none taken later.
    pub(super) fn has(&self, index: usize) -> bool {
        self.0.load(Ordering::SeqCst) & bit(index) != 0
    }

    /// Takes a device out of service, if that `may` be with those that are out already. Whether it is out.
    pub(super) fn add(&self, index: usize, may: impl Fn(&dyn Fn(usize) -> bool) -> bool) -> bool {
        let update = |drained: u32| {
            let is_drained = |other: usize| drained & bit(other) != 0;
            (is_drained(index) || may(&is_drained)).then_some(drained | bit(index))
        };
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update).is_ok()
    }

    /// Puts a device back.
    pub(super) fn remove(&self, index: usize) {
        self.0.fetch_and(!bit(index), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_goes_out_only_if_it_may() {
        let drained = Drained::default();
        let other_serves =
            |index: usize| move |is_drained: &dyn Fn(usize) -> bool| !is_drained(1 - index);
        assert!(drained.add(0, other_serves(0)));
        assert!(!drained.add(1, other_serves(1)));
        assert_eq!((drained.has(0), drained.has(1)), (true, false));
        assert!(drained.add(0, |_| false), "it is out already");
        assert!(drained.add(1, |_| true));
        drained.remove(0);
        assert_eq!((drained.has(0), drained.has(1)), (false, true));
    }
}
