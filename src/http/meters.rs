//! Metrics of one door, as handles made once: the path adds to them and looks nothing up.
//!
//! The names are those of ISO links, so one dashboard shows both; the label `link` is the door's name and `code` the
//! HTTP status. **Never here:** a client's name as a label: how many there are is not bounded by us.

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::domain::outcome::Reason;
use crate::http::door::{Asked, Door};
use crate::route::Route;
use crate::switch::{Stage, Stages};

/// Every status a door answers with; the last place is for one that is not among them.
const STATUSES: [u16; 16] =
    [200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503, 504, 0];
const OPERATIONS: usize = 4;
const ROUTES: usize = Route::ALL.len() + 1;

/// What an answered request is counted under.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finished {
    /// `None` for a request that was refused before its operation was known.
    pub(super) operation: Option<Asked>,
    /// `None` for a request that was refused before its route was chosen.
    pub(super) route: Option<Route>,
    /// Why the switch declined it.
    pub(super) declined: Option<Reason>,
    /// As sent.
    pub(super) status: u16,
}

/// Handles of one door.
pub(super) struct Meters {
    door: &'static str,
    // First use registers a handle; the label sets are closed, so the tables are small and never grow.
    requests: Box<[OnceLock<Counter>]>,
    request_seconds: Box<[OnceLock<Histogram>]>,
    declines: Box<[OnceLock<Counter>]>,
    stages: [Histogram; Stage::ALL.len()],
    pub(super) in_flight: Gauge,
    pub(super) shed: Counter,
}

impl Meters {
    /// Registers what is always there.
    pub(super) fn new(door: Door) -> Self {
        let door = door.name();
        Self {
            door,
            requests: (0..OPERATIONS * ROUTES * STATUSES.len()).map(|_| OnceLock::new()).collect(),
            request_seconds: (0..OPERATIONS * ROUTES).map(|_| OnceLock::new()).collect(),
            declines: Reason::ALL.iter().map(|_| OnceLock::new()).collect(),
            stages: Stage::ALL.map(|s| histogram!("pinion_stage_seconds", "stage" => s.label())),
            in_flight: gauge!("pinion_in_flight", "link" => door),
            shed: counter!("pinion_shed_total", "link" => door),
        }
    }

    /// Counts one answered request and where its time went.
    pub(super) fn finished(&self, finished: Finished, stages: &Stages, seconds: f64) {
        let (place, operation) = match finished.operation {
            None => (0, "other"),
            Some(Asked::Change) => (1, "change"),
            Some(Asked::Set) => (2, "set"),
            Some(Asked::Reveal) => (3, "reveal"),
        };
        let route = finished.route.map_or("none", Route::label);
        let place =
            place * ROUTES + finished.route.map_or(0, |r| 1 + usize::from(r == Route::Postilion));
        let end = STATUSES.iter().position(|status| *status == finished.status);
        let end = end.unwrap_or(STATUSES.len() - 1);
        if let Some(requests) = self.requests.get(place * STATUSES.len() + end) {
            requests
                .get_or_init(|| {
                    counter!("pinion_requests_total", "link" => self.door, "operation" => operation,
                        "route" => route, "code" => finished.status.to_string())
                })
                .increment(1);
        }
        if let Some(request_seconds) = self.request_seconds.get(place) {
            request_seconds
                .get_or_init(|| {
                    histogram!("pinion_request_seconds", "link" => self.door,
                        "operation" => operation, "route" => route)
                })
                .record(seconds);
        }
        if let Some(reason) = finished.declined
            && let Some(at) = Reason::ALL.iter().position(|r| *r == reason)
            && let Some(declines) = self.declines.get(at)
        {
            declines
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
}
