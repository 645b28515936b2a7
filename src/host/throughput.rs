//! [`Throughput`]: how many requests a node may have in flight, by how many it answered lately. Lock-free.
//!
//! What a node cannot answer in time only makes it later for the others, and ends as unknown (68) with a reversal on
//! top. By Little's law a node that answers `n` requests a second has an answer for the last of `n` × `t` after `t`:
//! so it gets at most what it answers in half the time an answer is waited for, and the rest is refused (91) before
//! anything is sent. A few are free, so that a node nobody asked lately can show what it does. A node whose answers
//! take less than that half is not held back once it has shown them. **Never here:** whether the node answers at
//! all (`breaker`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::clock::Now;
use crate::limits::IN_FLIGHT_PER_NODE_FREE;

/// How many seconds count: this one, which has only begun, and some before, so that a moment in which nobody could
/// answer (a stalled disk of ours) is not taken for the node's measure. A node that slows down is seen after as many.
const SECONDS: usize = 4;

/// Answers in the last few seconds.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    /// Each: second (32 bits), answers (32 bits).
    seconds: [AtomicU64; SECONDS],
}

/// The second, as it is counted.
fn second(now: Now) -> u64 {
    // From 1, since an empty counter is of second 0.
    (now.as_secs() + 1) & 0xFFFF_FFFF
}

impl Throughput {
    /// A request was answered in time.
    pub(super) fn answered(&self, now: Now) {
        let second = second(now);
        let step = |counter: u64| {
            let counted = if counter >> 32 == second { counter & 0xFFFF_FFFF } else { 0 };
            Some(second << 32 | (counted + 1).min(0xFFFF_FFFF))
        };
        let Ok(at) = usize::try_from(second % SECONDS as u64) else { return };
        let _ = self.seconds[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Requests the node may have in flight, when an answer is waited for so long and never more than `most` are
    /// allowed.
    pub(super) fn limit(&self, now: Now, request_time: Duration, most: usize) -> usize {
        let second = second(now);
        let lately = |counter: &u64| second < (counter >> 32) + SECONDS as u64;
        let counters = self.seconds.iter().map(|counter| counter.load(Ordering::Relaxed));
        let answers = counters.filter(lately).map(|counter| counter & 0xFFFF_FFFF).max();
        let answers = answers.unwrap_or(0);
        let half = u64::try_from(request_time.as_millis() / 2).unwrap_or(u64::MAX);
        let within = usize::try_from(answers.saturating_mul(half) / 1000).unwrap_or(usize::MAX);
        within.max(IN_FLIGHT_PER_NODE_FREE).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Duration = Duration::from_secs(2);
    const MOST: usize = 1024;

    fn at(ms: u64) -> Now {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_node_has_what_it_answers_in_half_the_time() {
        let throughput = Throughput::default();
        assert_eq!(throughput.limit(at(0), REQUEST, MOST), 128, "some are free");
        assert_eq!(throughput.limit(at(0), REQUEST, 5), 5, "never more than is configured");
        for ms in 0..500 {
            throughput.answered(at(ms));
        }
        assert_eq!(throughput.limit(at(500), REQUEST, MOST), 500, "500 a second, one second");
        assert_eq!(throughput.limit(at(1000), REQUEST, MOST), 500, "seconds before count");
        assert_eq!(throughput.limit(at(1000), REQUEST / 2, MOST), 250);
        assert_eq!(throughput.limit(at(1000), REQUEST * 4, MOST), MOST);
        for ms in 0..600 {
            throughput.answered(at(1000 + ms));
        }
        assert_eq!(throughput.limit(at(1700), REQUEST, MOST), 600, "the busiest one");
        assert_eq!(throughput.limit(at(4999), REQUEST, MOST), 600);
        assert_eq!(throughput.limit(at(5000), REQUEST, MOST), 128, "long ago");
        throughput.answered(at(5000));
        assert_eq!(throughput.limit(at(5000), REQUEST, MOST), 128, "an old counter begins again");
    }

    /// A node that does one request after the other, four times more of them than it can do: none waits for longer
    /// than half the time, the node is never idle, and what it could not do in the flood it does not have to do after.
    fn flood(capacity: u64) {
        let throughput = Throughput::default();
        let (mut done, mut longest) = (0_u64, Duration::ZERO);
        let mut queue = std::collections::VecDeque::new();
        for ms in 0..5000 {
            for _ in 0..4 * capacity / 1000 {
                if queue.len() < throughput.limit(at(ms), REQUEST, MOST) {
                    queue.push_back(at(ms));
                }
            }
            for _ in 0..capacity / 1000 {
                let Some(asked) = queue.pop_front() else { continue };
                longest = longest.max(at(ms).saturating_sub(asked));
                throughput.answered(at(ms));
                done += 1;
            }
        }
        assert_eq!(done, 5 * capacity, "the node is never idle");
        assert!(longest <= REQUEST / 2, "{longest:?}");
    }

    #[test]
    fn four_times_too_much_waits_for_half_the_time_at_most() {
        flood(1000);
        flood(5000);
    }

    /// A node with answers that take as long as they take, however many there are: nobody is refused once it is known.
    #[test]
    fn a_slow_node_that_is_not_full_is_not_held_back() {
        let throughput = Throughput::default();
        let takes = 900;
        let mut under_way = std::collections::VecDeque::new();
        let mut refused = 0;
        for ms in 0..20_000 {
            while under_way.front().is_some_and(|asked| asked + takes <= ms) {
                under_way.pop_front();
                throughput.answered(at(ms));
            }
            if ms % 5 == 0 && under_way.len() < throughput.limit(at(ms), REQUEST, MOST) {
                under_way.push_back(ms);
            } else if ms % 5 == 0 && 15_000 <= ms {
                refused += 1;
            }
        }
        assert_eq!(refused, 0);
    }
}
