//! Where the time of one request went. One clock reading a stage, plain numbers, no allocation.

use crate::domain::clock::Now;

/// The rooms a message walks through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes to message to request.
    Decode,
    /// Key claimed or found.
    Dedupe,
    /// Route chosen, card read.
    Route,
    /// PIN work.
    Hsm,
    /// Made durable.
    Commit,
    /// Waiting for a host.
    Host,
    /// Outcome to bytes.
    Encode,
}

impl Stage {
    /// In the order of the line.
    pub const ALL: [Self; 7] = [
        Self::Decode,
        Self::Dedupe,
        Self::Route,
        Self::Hsm,
        Self::Commit,
        Self::Host,
        Self::Encode,
    ];

    /// A word for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Dedupe => "dedupe",
            Self::Route => "route",
            Self::Hsm => "hsm",
            Self::Commit => "commit",
            Self::Host => "host",
            Self::Encode => "encode",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Decode => 0,
            Self::Dedupe => 1,
            Self::Route => 2,
            Self::Hsm => 3,
            Self::Commit => 4,
            Self::Host => 5,
            Self::Encode => 6,
        }
    }
}

/// Time spent in each stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    spent: [Now; 7],
    since: Now,
}

impl Stages {
    /// Starts the watch.
    #[must_use]
    pub fn start(now: Now) -> Self {
        Self { spent: [Now::ZERO; 7], since: now }
    }

    /// Ends a stage: the time since the last one ended is added to it.
    pub fn end(&mut self, stage: Stage, now: Now) {
        self.spent[stage.index()] += now.saturating_sub(self.since);
        self.since = now;
    }

    /// When the last stage ended: the newest reading of the clock.
    #[must_use]
    pub fn last(&self) -> Now {
        self.since
    }

    /// Takes over the stages of a later part of the line, which ended last.
    pub fn follow(&mut self, later: &Self) {
        for (total, spent) in self.spent.iter_mut().zip(later.spent) {
            *total += spent;
        }
        self.since = later.since;
    }

    /// Time spent in one stage; zero where it was not entered.
    #[must_use]
    pub fn spent(&self, stage: Stage) -> Now {
        self.spent[stage.index()]
    }
}
