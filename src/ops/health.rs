//! Readiness: what must be in order before work may be sent here.
//!
//! A set of named latches. Each part of the switch opens its own when it is fit and closes it with a reason when it is
//! not; the switch is ready when all that it cannot do without are open. Reading and writing take no lock.
//!
//! **Never here:** liveness. A process that answers is alive; a load balancer asks for readiness.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// What must be in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Latch {
    /// Closed while the switch stops: requests in flight are finished, new ones go elsewhere.
    Draining,
    /// A node of Postilion takes requests. Without one the switch still serves the cards of its own, so it stays ready;
    /// `/ready` tells it.
    Hosts,
    /// The HSM answers and its keys pass their check.
    Hsm,
    /// The configured listeners are bound.
    Links,
    /// The store is open and has not failed.
    Store,
}

impl Latch {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Draining, Self::Hosts, Self::Hsm, Self::Links, Self::Store];

    /// Whether the switch can do no work while this is closed.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        match self {
            Self::Draining | Self::Hsm | Self::Links | Self::Store => true,
            Self::Hosts => false,
        }
    }

    /// Its word in `/ready`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Hosts => "hosts",
            Self::Hsm => "hsm",
            Self::Links => "links",
            Self::Store => "store",
        }
    }
}

/// The latches of one switch. `None` is open.
#[derive(Debug)]
pub struct Readiness {
    closed: [ArcSwapOption<Cow<'static, str>>; Latch::ALL.len()],
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// All closed as "starting", except `draining` and `hosts`, which a switch may have none of.
    #[must_use]
    pub fn new() -> Self {
        let starting = Arc::new(Cow::Borrowed("starting"));
        Self {
            closed: Latch::ALL.map(|latch| match latch {
                Latch::Draining | Latch::Hosts => ArcSwapOption::empty(),
                Latch::Hsm | Latch::Links | Latch::Store => {
                    ArcSwapOption::new(Some(Arc::clone(&starting)))
                }
            }),
        }
    }

    /// This part is fit.
    pub fn open(&self, latch: Latch) {
        self.closed[latch as usize].store(None);
    }

    /// This part is not fit. The reason is for the operator: what is wrong, never card data.
    pub fn close(&self, latch: Latch, reason: impl Into<Cow<'static, str>>) {
        self.closed[latch as usize].store(Some(Arc::new(reason.into())));
    }

    /// Whether all latches are open that the switch cannot do without.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let open = |latch: Latch| self.closed[latch as usize].load().is_none();
        Latch::ALL.into_iter().all(|latch| !latch.is_needed() || open(latch))
    }

    /// Each latch with the reason it is closed for, or `None`.
    #[must_use]
    pub fn latches(&self) -> [(Latch, Option<Arc<Cow<'static, str>>>); Latch::ALL.len()] {
        Latch::ALL.map(|latch| (latch, self.closed[latch as usize].load_full()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_are_open_and_not_before() {
        let readiness = Readiness::new();
        for latch in [Latch::Hsm, Latch::Links, Latch::Store] {
            assert!(!readiness.is_ready(), "{latch:?} is still closed");
            readiness.open(latch);
        }
        assert!(readiness.is_ready());
        readiness.close(Latch::Hosts, "no node is up");
        assert!(readiness.is_ready(), "our own cards are served without a host");
        readiness.open(Latch::Hosts);
        readiness.close(Latch::Draining, "stopping");
        assert!(!readiness.is_ready());
        let closed: Vec<_> =
            readiness.latches().into_iter().filter_map(|(l, why)| Some((l, why?))).collect();
        assert_eq!(closed, [(Latch::Draining, Arc::new(Cow::Borrowed("stopping")))]);
    }

    #[test]
    fn latches_are_in_the_order_of_their_numbers() {
        for (index, latch) in Latch::ALL.into_iter().enumerate() {
            assert_eq!(latch as usize, index, "{latch:?}");
        }
    }
}
