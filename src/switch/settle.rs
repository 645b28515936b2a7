//! [`Reversals`]: store and forward of reversals, one worker a node.
//!
//! Changes whose outcome nobody knows, and those whose caller takes them back, wait in the store, so they survive our
//! end. A worker sends their reversals in order, one at a time, again and again until a node acknowledges. **Never
//! here:** a timer or a task: [`Reversals::step`] says how long to wait, and whoever runs the worker waits.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::card::{Settled, Settlement, Store, StoreError, Unsettled};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::forward::HostId;
use crate::domain::request::TransactionKey;
use crate::host::{Advice, Asked, HostAnswer, Hosts};
use crate::limits::REVERSALS_A_LOOK;
use crate::switch::handle::Switch;
use crate::switch::parts::Parts;

/// How long an idle worker waits before it looks again.
const IDLE: Duration = Duration::from_millis(50);

/// How reversals are paced.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Wait between the end of a change and its first reversal.
    pub first: Duration,
    /// Wait before the first repeat; doubled for each further one.
    pub retry: Duration,
    /// The longest wait.
    pub retry_max: Duration,
    /// How long an acknowledgement is waited for.
    pub answer: Duration,
    /// Age from which an unsettled change is an alarm.
    pub alarm: Duration,
}

/// The worker of one node.
pub struct Reversals {
    hosts: RangeInclusive<HostId>,
    name: Arc<str>,
    pace: Pace,
    /// What is older was begun by an earlier process, which may have sent its reversal already.
    started: WallMillis,
    /// The one that was sent last.
    sent: Option<TransactionKey>,
    /// Unsuccessful ones in a row.
    failures: u32,
    alarmed: Option<TransactionKey>,
    acknowledged: metrics::Counter,
    repeated: metrics::Counter,
    unsent: metrics::Counter,
}

impl Reversals {
    /// A worker that has done nothing yet, for the reversals of one node; the last node's takes over those of nodes
    /// that are configured no more. `started` is when this process began to forward.
    #[must_use]
    pub fn new(
        hosts: RangeInclusive<HostId>,
        name: Arc<str>,
        pace: Pace,
        started: WallMillis,
    ) -> Self {
        let counter = |result: &'static str| {
            let host = name.to_string();
            metrics::counter!("pinion_reversals_total", "host" => host, "result" => result)
        };
        let (acknowledged, repeated, unsent) =
            (counter("acknowledged"), counter("unanswered"), counter("unsent"));
        Self {
            hosts,
            name,
            pace,
            started,
            sent: None,
            failures: 0,
            alarmed: None,
            acknowledged,
            repeated,
            unsent,
        }
    }

    /// Sends at most one look's worth of reversals and says how long to wait before the next step.
    pub async fn step<P: Parts>(&mut self, switch: &Switch<P>) -> Duration {
        let found = switch.world.store.unsettled(self.hosts.clone(), REVERSALS_A_LOOK).await;
        let Ok(waiting) = found else {
            return self.pace.retry;
        };
        let mut idle = true;
        for change in &waiting {
            let now = switch.world.clock.wall();
            let age = Duration::from_millis(now.0.saturating_sub(change.entry.at.0));
            if age < self.pace.first {
                break;
            }
            self.alarm(change, age);
            idle = false;
            if let Err(wait) = self.reverse(switch, change, now).await {
                return wait;
            }
        }
        if idle { IDLE } else { Duration::ZERO }
    }

    /// One transmission. `Err` says how long to wait before the next: the same one again, since they go in order.
    async fn reverse<P: Parts>(
        &mut self,
        switch: &Switch<P>,
        change: &Unsettled,
        now: WallMillis,
    ) -> Result<(), Duration> {
        let Ok(pan) = switch.world.vault.open_pan(&change.forwarded.pan) else {
            tracing::error!(key = %change.entry.key.text(),
                "a reversal cannot be made: its account number does not open under this key; settle it by hand");
            return Err(self.pace.retry_max);
        };
        let key = change.entry.key;
        let advice = Advice {
            original: &key,
            pan: &pan,
            trace: &change.entry.trace,
            forwarded: &change.forwarded,
            at: now,
            repeat: self.sent == Some(key) || change.entry.at < self.started,
        };
        let deadline = switch.world.clock.now() + self.pace.answer;
        let asked = switch.world.hosts.reverse(&advice, deadline).await;
        match asked {
            //= spec/pin-change.md#9.7
            //# A reversal MUST be repeated until a host has acknowledged it, whatever the answer's
            //# code, unless the code means that the host could not take it now.
            Asked::Answered(answer) if !answer.later => {
                self.acknowledged.increment(1);
                self.sent = None;
                self.failures = 0;
                self.settle(switch, key, answer).await
            }
            Asked::Answered(_) | Asked::Unknown(_) => {
                self.sent = Some(key);
                self.repeated.increment(1);
                Err(self.back_off())
            }
            Asked::NotSent(_) => {
                self.unsent.increment(1);
                Err(self.back_off())
            }
        }
    }

    async fn settle<P: Parts>(
        &self,
        switch: &Switch<P>,
        key: TransactionKey,
        answer: HostAnswer,
    ) -> Result<(), Duration> {
        let how = Settled::Reversed { host: answer.host, code: Some(answer.code) };
        let settlement = Settlement { at: switch.world.clock.wall(), how };
        match switch.world.store.settle(key, settlement).await {
            Ok(_receipt) => {
                tracing::info!(host = %self.name, key = %key.text(), code = answer.code.as_str(), "reversed");
                Ok(())
            }
            // An operator was quicker.
            Err(StoreError::Conflict) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, key = %key.text(), "an acknowledged reversal is not noted; it is sent again");
                Err(self.pace.retry)
            }
        }
    }

    fn back_off(&mut self) -> Duration {
        let doubled = self.pace.retry.saturating_mul(1_u32 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.pace.retry_max)
    }

    fn alarm(&mut self, change: &Unsettled, age: Duration) {
        let key = change.entry.key;
        if self.pace.alarm <= age && self.alarmed != Some(key) {
            self.alarmed = Some(key);
            tracing::error!(host = %self.name, key = %key.text(), age_seconds = age.as_secs(),
                "a change is unsettled for too long: see `pinion unsettled list`");
        }
    }
}
