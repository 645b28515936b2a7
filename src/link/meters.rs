//! Metrics of one link, as handles made once: the path adds to them and looks nothing up.

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::domain::outcome::Reason;
use crate::domain::request::Operation;
use crate::route::Route;
use crate::switch::{Stage, Stages};

/// Why a frame or connection was turned away: the closed set of the label `why`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// The length prefix, a header or a trailer breaks the framing.
    Framing(&'static str),
    /// The message cannot be read far enough to answer it.
    Unreadable,
    /// A response that nobody waits for.
    Unexpected,
    /// A frame was begun and not completed in time.
    HalfFrame,
    /// The peer does not read its answers.
    SlowReader,
    /// The address is not on the allow list.
    NotAllowed,
    /// The link holds as many connections as it may.
    TooManyConnections,
    /// The TLS handshake failed.
    Handshake,
}

impl Rejected {
    /// The label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Framing(why) => why,
            Self::Unreadable => "unreadable",
            Self::Unexpected => "unexpected",
            Self::HalfFrame => "half_frame",
            Self::SlowReader => "slow_reader",
            Self::NotAllowed => "not_allowed",
            Self::TooManyConnections => "too_many_connections",
            Self::Handshake => "handshake",
        }
    }
}

/// How an exchange of a zone key ended: the closed set of the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchanged {
    /// The new key is in force.
    Done,
    /// It is not.
    Refused,
    /// It is not, because the key that came out is another one than its sender meant.
    CheckValueWrong,
}

impl Exchanged {
    /// The label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::CheckValueWrong => "check_value_wrong",
        }
    }
}

/// What a finished request is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished<'a> {
    /// `None` for a message that was refused before its operation was known.
    pub(super) operation: Option<Operation>,
    /// `None` for a request that was refused before its route was chosen.
    pub(super) route: Option<Route>,
    /// `None` approved.
    pub(super) declined: Option<Reason>,
    /// Response code as sent.
    pub(super) code: &'a str,
}

const OPERATIONS: usize = Operation::ALL.len() + 1;
const ROUTES: usize = Route::ALL.len() + 1;
const ENDS: usize = Reason::ALL.len() + 1;

/// Handles of one link.
pub(super) struct Meters {
    link: std::sync::Arc<str>,
    // First use registers a handle; the label sets are closed, so the tables are small and never grow.
    requests: Box<[OnceLock<Counter>]>,
    request_seconds: Box<[OnceLock<Histogram>]>,
    declines: Box<[OnceLock<Counter>]>,
    stages: [Histogram; Stage::ALL.len()],
    pub(super) connections: Gauge,
    pub(super) in_flight: Gauge,
    pub(super) shed: Counter,
}

impl Meters {
    /// Registers what is always there.
    pub(super) fn new(link: std::sync::Arc<str>) -> Self {
        let name = link.to_string();
        Self {
            requests: (0..OPERATIONS * ROUTES * ENDS).map(|_| OnceLock::new()).collect(),
            request_seconds: (0..OPERATIONS * ROUTES).map(|_| OnceLock::new()).collect(),
            declines: (0..ENDS).map(|_| OnceLock::new()).collect(),
            stages: Stage::ALL.map(|s| histogram!("pinion_stage_seconds", "stage" => s.label())),
            connections: gauge!("pinion_links_up", "link" => name.clone()),
            in_flight: gauge!("pinion_in_flight", "link" => name.clone()),
            shed: counter!("pinion_shed_total", "link" => name),
            link,
        }
    }

    /// Counts one answered request and where its time went.
    pub(super) fn finished(&self, finished: Finished<'_>, stages: &Stages, seconds: f64) {
        let operation = finished.operation.map_or("other", Operation::label);
        let route = finished.route.map_or("none", Route::label);
        let place = finished.operation.map_or(0, |o| usize::from(o.code())) * ROUTES
            + finished.route.map_or(0, |r| 1 + usize::from(r == Route::Postilion));
        let end = finished
            .declined
            .and_then(|reason| Reason::ALL.iter().position(|r| *r == reason))
            .map_or(0, |at| at + 1);
        self.requests[place * ENDS + end]
            .get_or_init(|| {
                counter!("pinion_requests_total", "link" => self.link.to_string(),
                    "operation" => operation, "route" => route, "code" => finished.code.to_owned())
            })
            .increment(1);
        self.request_seconds[place]
            .get_or_init(|| {
                histogram!("pinion_request_seconds", "link" => self.link.to_string(),
                    "operation" => operation, "route" => route)
            })
            .record(seconds);
        if let Some(reason) = finished.declined {
            self.declines[end]
                .get_or_init(|| counter!("pinion_declines_total", "reason" => reason.label()))
                .increment(1);
        }
        for (stage, histogram) in Stage::ALL.into_iter().zip(&self.stages) {
            let spent = stages.spent(stage);
            if !spent.is_zero() {
                histogram.record(spent.as_secs_f64());
            }
        }
    }

    /// Counts an exchange of the zone key. Not on the path: looked up each time.
    pub(super) fn exchanged(&self, how: Exchanged) {
        counter!("pinion_key_exchanges_total",
            "peer" => self.link.to_string(), "result" => how.label())
        .increment(1);
    }

    /// Counts a frame or connection turned away. Not on the path: looked up each time.
    pub(super) fn rejected(&self, why: Rejected) {
        counter!("pinion_frames_rejected_total",
            "link" => self.link.to_string(), "why" => why.label())
        .increment(1);
    }
}
