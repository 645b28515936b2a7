//! Metrics of one node, as handles made once: the path adds to them and looks nothing up.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Why a message of a node was dropped: the closed set of the label `why`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// It breaks a rule of the dialect.
    Unreadable,
    /// An answer without a response code.
    NoCode,
    /// An answer nobody waits for: never asked, answered before, or with the switch key of something else.
    Stranger,
    /// A node sends no requests.
    Unexpected,
}

impl Dropped {
    const ALL: [Self; 4] = [Self::Unreadable, Self::NoCode, Self::Stranger, Self::Unexpected];

    /// The label.
    const fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NoCode => "no_code",
            Self::Stranger => "stranger",
            Self::Unexpected => "unexpected",
        }
    }
}

/// Handles of one node.
pub(super) struct Meters {
    node: Arc<str>,
    /// 1 while a connection takes requests.
    pub(super) up: Gauge,
    /// Connections.
    pub(super) connections: Gauge,
    /// From a request put into the stream to its answer.
    pub(super) seconds: Histogram,
    /// Answers to what was given up.
    pub(super) late: Counter,
    /// Requests without an answer.
    pub(super) unanswered: Counter,
    dropped: [Counter; Dropped::ALL.len()],
}

impl Meters {
    pub(super) fn new(node: Arc<str>) -> Self {
        let name = || node.to_string();
        let dropped = Dropped::ALL.map(
            |why| counter!("pinion_host_messages_dropped_total", "host" => name(), "why" => why.label()),
        );
        Self {
            up: gauge!("pinion_hosts_up", "host" => name()),
            connections: gauge!("pinion_host_connections", "host" => name()),
            seconds: histogram!("pinion_host_request_seconds", "host" => name()),
            late: counter!("pinion_late_answers_total", "host" => name()),
            unanswered: counter!("pinion_host_unanswered_total", "host" => name()),
            dropped,
            node,
        }
    }

    /// Counts a message that was dropped.
    pub(super) fn dropped(&self, why: Dropped) {
        if let Some(counter) = self.dropped.get(why as usize) {
            counter.increment(1);
        }
    }

    /// Counts the end of a connection, or of an attempt at one.
    pub(super) fn closed(&self, why: &'static str) {
        counter!("pinion_host_closed_total", "host" => self.node.to_string(), "why" => why)
            .increment(1);
    }
}
