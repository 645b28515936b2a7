//! [`Node`]: one node as all its connections and all requests see it. Only atomics, no lock.
//!
//! **Never here:** what a connection says (`connection`), when it is made (`keeper`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;

use crate::domain::clock::Now;
use crate::domain::forward::HostId;
use crate::host::balance::Turn;
use crate::host::job::Job;
use crate::host::meters::Meters;
use crate::host::settings::{NodeSettings, Settings};
use crate::host::throughput::Throughput;
use crate::peer::breaker::{Breaker, BreakerRule, BreakerState, Pass};

/// One node.
pub(super) struct Node {
    pub(super) id: HostId,
    pub(super) name: Arc<str>,
    pub(super) address: Box<str>,
    pub(super) breaker: Breaker,
    throughput: Throughput,
    pub(super) turn: Turn,
    pub(super) meters: Meters,
    pub(super) lines: Box<[Line]>,
    outstanding: AtomicUsize,
    /// Connections that take requests.
    open: AtomicUsize,
    last_error: ArcSwapOption<String>,
}

/// One connection of a node, as the others see it.
pub(super) struct Line {
    jobs: mpsc::Sender<Job>,
    connected: AtomicBool,
    takes: AtomicBool,
    /// Requests that wait for an answer on it.
    pending: AtomicUsize,
}

/// One node, for `/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Host and port.
    pub address: String,
    /// Connections that are up.
    pub connections: usize,
    /// Of these, those that take requests.
    pub signed_on: usize,
    /// Requests in flight.
    pub outstanding: usize,
    /// What its breaker says.
    pub breaker: BreakerState,
    /// An operator has taken it out.
    pub drained: bool,
    /// Why the last connection ended or did not come up.
    pub last_error: Option<String>,
}

impl Node {
    pub(super) fn new(
        id: HostId,
        settings: &NodeSettings,
        rule: BreakerRule,
        jobs: Vec<mpsc::Sender<Job>>,
    ) -> Self {
        let line = |jobs| Line {
            jobs,
            connected: AtomicBool::new(false),
            takes: AtomicBool::new(false),
            pending: AtomicUsize::new(0),
        };
        let node = Self {
            id,
            name: Arc::clone(&settings.name),
            address: settings.address.clone(),
            breaker: Breaker::new(rule),
            throughput: Throughput::default(),
            turn: Turn::default(),
            meters: Meters::new(Arc::clone(&settings.name)),
            lines: jobs.into_iter().map(line).collect(),
            outstanding: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            last_error: ArcSwapOption::empty(),
        };
        node.meters.up.set(0.0);
        node.meters.connections.set(0.0);
        node
    }

    /// Whether it takes requests, an ejection aside.
    pub(super) fn is_usable(&self, now: Now) -> bool {
        0 < self.open.load(Ordering::Acquire)
            && !self.breaker.is_drained()
            && self.breaker.allows(now)
    }

    /// Requests in flight.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// Requests it may have in flight now.
    pub(super) fn limit(&self, now: Now, settings: &Settings) -> usize {
        self.throughput.limit(now, settings.request_time, settings.in_flight)
    }

    /// A request was answered.
    pub(super) fn answered(&self, now: Now) {
        self.throughput.answered(now);
        self.breaker.answered(now);
    }

    /// Takes a place among at most `most`; [`Node::leave`] gives it back.
    pub(super) fn enter(&self, now: Now, most: usize) -> Option<Pass> {
        let before = self.outstanding.fetch_add(1, Ordering::AcqRel);
        let pass = if before < most { self.breaker.admit(now) } else { None };
        if pass.is_none() {
            self.leave();
        }
        pass
    }

    pub(super) fn leave(&self) {
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
    }

    /// Hands a job to the connection with the fewest requests of those that take any.
    ///
    /// # Errors
    /// The job, when none does.
    pub(super) fn send(&self, mut job: Job) -> Result<(), Job> {
        for _ in &self.lines {
            let open = self.lines.iter().filter(|line| line.takes.load(Ordering::Acquire));
            let Some(line) = open.min_by_key(|line| line.pending.load(Ordering::Relaxed)) else {
                break;
            };
            line.pending.fetch_add(1, Ordering::Relaxed);
            match line.jobs.try_send(job) {
                Ok(()) => return Ok(()),
                Err(
                    mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
                ) => {
                    line.pending.fetch_sub(1, Ordering::Relaxed);
                    job = back;
                }
            }
        }
        Err(job)
    }

    /// Connection `line` is up, or no longer.
    pub(super) fn connected(&self, line: usize, up: bool) {
        let Some(line) = self.lines.get(line) else { return };
        if line.connected.swap(up, Ordering::AcqRel) != up {
            self.meters.connections.increment(if up { 1.0 } else { -1.0 });
        }
    }

    /// Connection `line` takes requests, or no longer.
    pub(super) fn takes(&self, line: usize, takes: bool) {
        let Some(line) = self.lines.get(line) else { return };
        // Only its own connection changes it; asking first keeps every answer from writing here.
        if line.takes.load(Ordering::Acquire) == takes {
            return;
        }
        line.takes.store(takes, Ordering::Release);
        if takes {
            self.open.fetch_add(1, Ordering::AcqRel);
        } else {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
        let up = 0 < self.open.load(Ordering::Acquire);
        self.meters.up.set(if up { 1.0 } else { 0.0 });
    }

    /// How many requests wait on connection `line`.
    pub(super) fn pending(&self, line: usize, pending: usize) {
        if let Some(line) = self.lines.get(line) {
            line.pending.store(pending, Ordering::Relaxed);
        }
    }

    /// Keeps why a connection ended.
    pub(super) fn failed(&self, error: String) {
        self.last_error.store(Some(Arc::new(error)));
    }

    pub(super) fn status(&self, now: Now) -> NodeStatus {
        let count = |what: fn(&Line) -> &AtomicBool| {
            self.lines.iter().filter(|line| what(line).load(Ordering::Acquire)).count()
        };
        NodeStatus {
            name: self.name.to_string(),
            address: self.address.to_string(),
            connections: count(|line| &line.connected),
            signed_on: count(|line| &line.takes),
            outstanding: self.outstanding(),
            breaker: self.breaker.state(now),
            drained: self.breaker.is_drained(),
            last_error: self.last_error.load().as_deref().cloned(),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.name)
    }
}
