//! [`Breaker`]: whether a node (a host or a device) gets requests, by how it answered the last ones. Lock-free, and
//! time is an argument.
//!
//! Closed, it lets everything through; after some unanswered requests in a row it opens, and after a while lets a
//! single one through to see. Beside it a sliding window counts asked and unanswered requests: a node that is clearly
//! worse than another is ejected for a time that grows. An operator's drain is a third reason. **Never here:** whether
//! the node is connected, which node is chosen.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::clock::Now;

/// Buckets of the sliding window, of one second each.
const BUCKETS: usize = 10;
/// Requests a window needs before its share means anything.
const ASKED_MIN: u32 = 20;
/// The first ejection; each further one doubles it.
const EJECTED_FIRST: Duration = Duration::from_secs(5);
/// The longest ejection.
const EJECTED_MAX: Duration = Duration::from_mins(1);

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerRule {
    /// Unanswered requests in a row that open it.
    pub failures: u32,
    /// How long it stays open before one request is let through.
    pub open: Duration,
    /// Share of unanswered requests in the window, 0 to 1, from which a node is ejected.
    pub eject_share: f64,
}

/// What a breaker says of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// None pass.
    Open,
    /// One passes, to see.
    HalfOpen,
    /// The node is clearly worse than another: none pass for a while, unless there is no other.
    Ejected,
}

impl BreakerState {
    /// A word for `/status`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Ejected => "ejected",
        }
    }
}

/// How a request got through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// As any other.
    Usual,
    /// As the single one that shows whether an open breaker may close.
    Probe,
}

/// The breaker of one node.
#[derive(Debug)]
pub struct Breaker {
    rule: BreakerRule,
    failures: AtomicU32,
    // Milliseconds of `Now`, plus one; 0 is never.
    open_until: AtomicU64,
    probe_until: AtomicU64,
    ejected_until: AtomicU64,
    ejections: AtomicU32,
    drained: AtomicBool,
    // Each: second (32 bits), asked (16 bits), unanswered (16 bits).
    window: [AtomicU64; BUCKETS],
}

fn stamp(now: Now) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1) + 1
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(rule: BreakerRule) -> Self {
        Self {
            rule,
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            probe_until: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            drained: AtomicBool::new(false),
            window: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// What it is at.
    #[must_use]
    pub fn state(&self, now: Now) -> BreakerState {
        let open_until = self.open_until.load(Ordering::Acquire);
        match stamp(now) {
            at if at < open_until => BreakerState::Open,
            _ if open_until != 0 => BreakerState::HalfOpen,
            _ if self.is_ejected(now) => BreakerState::Ejected,
            _ => BreakerState::Closed,
        }
    }

    /// Whether a request would get through, an ejection aside.
    #[must_use]
    pub fn allows(&self, now: Now) -> bool {
        match self.state(now) {
            BreakerState::Closed | BreakerState::Ejected => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => self.probe_until.load(Ordering::Acquire) <= stamp(now),
        }
    }

    /// Lets one request through; `None` when it must not.
    #[must_use]
    pub fn admit(&self, now: Now) -> Option<Pass> {
        match self.state(now) {
            BreakerState::Closed | BreakerState::Ejected => Some(Pass::Usual),
            BreakerState::Open => None,
            BreakerState::HalfOpen => {
                let probe = self.probe_until.load(Ordering::Acquire);
                // A probe that never came back does not keep the node out for good.
                let until = stamp(now + self.rule.open);
                let (from, to) = (Ordering::AcqRel, Ordering::Acquire);
                let mine = probe <= stamp(now)
                    && self.probe_until.compare_exchange(probe, until, from, to).is_ok();
                mine.then_some(Pass::Probe)
            }
        }
    }

    /// A probe was not sent after all: the next request may be one.
    pub fn give_back(&self) {
        self.probe_until.store(0, Ordering::Release);
    }

    /// A request was answered.
    pub fn answered(&self, now: Now) {
        self.count(now, 0);
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.open_until.load(Ordering::Relaxed) != 0 {
            self.open_until.store(0, Ordering::Release);
            self.probe_until.store(0, Ordering::Release);
        }
    }

    /// A request got no answer. `true` when this has opened the breaker.
    pub fn unanswered(&self, now: Now) -> bool {
        self.count(now, 1);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let state = self.state(now);
        if state == BreakerState::Open
            || (failures < self.rule.failures && state != BreakerState::HalfOpen)
        {
            return false;
        }
        self.open_until.store(stamp(now + self.rule.open), Ordering::Release);
        self.probe_until.store(0, Ordering::Release);
        true
    }

    fn count(&self, now: Now, unanswered: u64) {
        let second = now.as_secs() & 0xFFFF_FFFF;
        let Ok(at) = usize::try_from(second % BUCKETS as u64) else { return };
        let step = |bucket: u64| {
            let same = bucket >> 32 == second;
            let (asked, lost) =
                if same { (bucket >> 16 & 0xFFFF, bucket & 0xFFFF) } else { (0, 0) };
            // Halved when full: the share stays.
            let (asked, lost) = if asked == 0xFFFF { (asked / 2, lost / 2) } else { (asked, lost) };
            Some(second << 32 | (asked + 1) << 16 | (lost + unanswered))
        };
        let _ = self.window[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Share of unanswered requests in the window; `None` while too few were asked.
    #[must_use]
    pub fn share(&self, now: Now) -> Option<f64> {
        let first = now.as_secs().saturating_sub(BUCKETS as u64 - 1);
        let (mut asked, mut lost) = (0_u32, 0_u32);
        for bucket in &self.window {
            let bucket = bucket.load(Ordering::Relaxed);
            if first <= bucket >> 32 && bucket != 0 {
                asked += u32::try_from(bucket >> 16 & 0xFFFF).unwrap_or(0);
                lost += u32::try_from(bucket & 0xFFFF).unwrap_or(0);
            }
        }
        (ASKED_MIN <= asked).then(|| f64::from(lost) / f64::from(asked))
    }

    /// Whether its share of unanswered requests calls for an ejection when the best of the others has `best`.
    #[must_use]
    pub fn is_outlier(&self, now: Now, best: f64) -> bool {
        let share = self.share(now);
        share.is_some_and(|share| self.rule.eject_share <= share && best * 2.0 < share)
    }

    /// Keeps the node out for a while, longer each time.
    pub fn eject(&self, now: Now) -> Duration {
        let before = self.ejected_until.load(Ordering::Acquire);
        // After a long good time it starts from the shortest again.
        let quiet = before + stamp(EJECTED_MAX) < stamp(now);
        let times = if quiet { 0 } else { self.ejections.load(Ordering::Relaxed).min(8) };
        let time = EJECTED_FIRST.saturating_mul(1 << times).min(EJECTED_MAX);
        self.ejections.store(times + 1, Ordering::Relaxed);
        self.ejected_until.store(stamp(now + time), Ordering::Release);
        // What led to it is not counted against it when it comes back.
        for bucket in &self.window {
            bucket.store(0, Ordering::Relaxed);
        }
        time
    }

    /// Whether the node is kept out as worse than another.
    #[must_use]
    pub fn is_ejected(&self, now: Now) -> bool {
        stamp(now) < self.ejected_until.load(Ordering::Acquire)
    }

    /// An operator takes the node out, or puts it back.
    pub fn drain(&self, drained: bool) {
        self.drained.store(drained, Ordering::Release);
    }

    /// Whether an operator has taken the node out.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BreakerRule =
        BreakerRule { failures: 3, open: Duration::from_secs(2), eject_share: 0.5 };

    const fn at(ms: u64) -> Now {
        Duration::from_millis(ms)
    }

    #[test]
    fn it_opens_lets_one_through_and_closes() {
        let breaker = Breaker::new(RULE);
        assert!(!breaker.unanswered(at(0)) && !breaker.unanswered(at(1)));
        breaker.answered(at(2));
        assert!(!breaker.unanswered(at(3)) && !breaker.unanswered(at(4)), "in a row");
        assert!(breaker.unanswered(at(5)));
        assert_eq!(breaker.admit(at(6)), None);
        assert!(!breaker.allows(at(2004)) && breaker.allows(at(2005)));
        assert_eq!(breaker.admit(at(2005)), Some(Pass::Probe));
        assert_eq!((breaker.admit(at(2006)), breaker.allows(at(2006))), (None, false));
        breaker.answered(at(2010));
        assert_eq!(breaker.admit(at(2011)), Some(Pass::Usual));
    }

    #[test]
    fn a_probe_without_an_answer_opens_it_again() {
        let breaker = Breaker::new(RULE);
        for ms in 0..3 {
            let _ = breaker.unanswered(at(ms));
        }
        assert_eq!(breaker.admit(at(3000)), Some(Pass::Probe));
        assert!(breaker.unanswered(at(3100)));
        assert_eq!(breaker.state(at(3101)), BreakerState::Open);
        assert_eq!(breaker.admit(at(5100)), Some(Pass::Probe));
        breaker.give_back();
        assert_eq!(breaker.admit(at(5101)), Some(Pass::Probe), "the one before was not sent");
        assert_eq!(breaker.admit(at(7101)), Some(Pass::Probe), "the one before never came back");
    }

    #[test]
    fn a_node_much_worse_than_another_is_ejected_for_a_growing_time() {
        let breaker = Breaker::new(BreakerRule { failures: u32::MAX, ..RULE });
        for ms in 0..10 {
            breaker.answered(at(ms));
            let _ = breaker.unanswered(at(ms));
        }
        assert_eq!(breaker.share(at(100)), Some(0.5));
        assert!(breaker.is_outlier(at(100), 0.1));
        assert!(!breaker.is_outlier(at(100), 0.3), "not clearly worse than 0.3");
        assert_eq!(breaker.share(at(11_000)), None, "the window has slid on");
        assert_eq!(breaker.eject(at(100)), EJECTED_FIRST);
        assert!(breaker.is_ejected(at(5099)) && !breaker.is_ejected(at(5100)));
        assert_eq!(breaker.eject(at(6000)), EJECTED_FIRST * 2);
        for _ in 0..9 {
            let _ = breaker.eject(at(6000));
        }
        assert_eq!(breaker.eject(at(6000)), EJECTED_MAX);
        assert_eq!(breaker.eject(at(300_000)), EJECTED_FIRST, "after a long good time");
    }

    #[test]
    fn few_requests_have_no_share() {
        let breaker = Breaker::new(RULE);
        for _ in 0..ASKED_MIN - 1 {
            let _ = breaker.unanswered(at(0));
        }
        assert_eq!(breaker.share(at(0)), None);
    }

    #[test]
    fn a_full_bucket_keeps_its_share() {
        let breaker = Breaker::new(RULE);
        for n in 0..100_000 {
            if n % 4 == 0 {
                let _ = breaker.unanswered(at(0));
            } else {
                breaker.answered(at(0));
            }
        }
        let share = breaker.share(at(0)).unwrap();
        assert!((0.24..0.26).contains(&share), "{share}");
    }
}
