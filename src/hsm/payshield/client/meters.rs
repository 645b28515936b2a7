//! Metrics of one device, as handles made once: the path adds to them and looks nothing up but after an error.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::hsm::payshield::wire::{Class, ErrorCode, meaning};

/// Commands the client sends: the closed set of the label `command`.
#[rustfmt::skip]
const COMMANDS: [[u8; 2]; 30] = [
    *b"A6", *b"BA", *b"BC", *b"BE", *b"BK", *b"BU", *b"CA", *b"CC", *b"CU", *b"DA", *b"DC", *b"DE", *b"DG", *b"DU",
    *b"EA", *b"EC", *b"FW", *b"G0", *b"GO", *b"GQ", *b"JA", *b"JC", *b"JE", *b"JG", *b"KU", *b"KY",
    *b"M6", *b"M8", *b"NC", *b"NG",
];

/// Handles of one device.
pub(super) struct Meters {
    device: Arc<str>,
    seconds: [Histogram; COMMANDS.len()],
    /// 1 while it takes commands.
    pub(super) up: Gauge,
    /// Connections.
    pub(super) connections: Gauge,
    /// Commands under way.
    pub(super) in_flight: Gauge,
    /// When it last passed its diagnosis, Unix time.
    pub(super) diagnosed: Gauge,
    /// Time a command waits until it is written to a connection.
    pub(super) waited: Histogram,
    /// 1 while its breaker lets nothing through.
    pub(super) breaker: Gauge,
    /// 1 while an operator has it out of service.
    pub(super) drained: Gauge,
    /// 1 while it has another LMK, or a key does not pass its check.
    pub(super) quarantined: Gauge,
    /// Answers to what was given up.
    pub(super) late: Counter,
    /// Answers to nothing.
    pub(super) strangers: Counter,
    /// Commands that another device was asked again.
    pub(super) again: Counter,
}

impl Meters {
    pub(super) fn new(device: Arc<str>) -> Self {
        let name = || device.to_string();
        let seconds = COMMANDS.map(|code| {
            let command = String::from_utf8_lossy(&code).into_owned();
            histogram!("pinion_hsm_command_seconds", "hsm" => name(), "command" => command)
        });
        let unmatched = |why: &'static str| counter!("pinion_hsm_answers_dropped_total", "hsm" => name(), "why" => why);
        let meters = Self {
            seconds,
            up: gauge!("pinion_hsm_up", "hsm" => name()),
            connections: gauge!("pinion_hsm_connections", "hsm" => name()),
            in_flight: gauge!("pinion_hsm_in_flight", "hsm" => name()),
            diagnosed: gauge!("pinion_hsm_diagnosed_timestamp_seconds", "hsm" => name()),
            waited: histogram!("pinion_hsm_queue_seconds", "hsm" => name()),
            breaker: gauge!("pinion_hsm_breaker_open", "hsm" => name()),
            drained: gauge!("pinion_hsm_drained", "hsm" => name()),
            quarantined: gauge!("pinion_hsm_quarantined", "hsm" => name()),
            late: unmatched("late"),
            strangers: unmatched("stranger"),
            again: counter!("pinion_hsm_retries_total", "hsm" => name()),
            device,
        };
        for gauge in [&meters.up, &meters.connections, &meters.in_flight, &meters.breaker] {
            gauge.set(0.0);
        }
        meters.drained.set(0.0);
        meters.quarantined.set(0.0);
        meters
    }

    /// An answer came after so long.
    pub(super) fn answered(&self, command: [u8; 2], error: ErrorCode, after: Duration) {
        if let Ok(at) = COMMANDS.binary_search(&command)
            && let Some(seconds) = self.seconds.get(at)
        {
            seconds.record(after);
        }
        match meaning(command, error).class {
            Class::Done | Class::DoneWithWarning => {}
            // Not in any list: a label must be of a closed set.
            Class::Unlisted => self.failed("unlisted"),
            _ => {
                let code = error.to_string();
                counter!("pinion_hsm_errors_total", "hsm" => self.device.to_string(), "code" => code)
                    .increment(1);
            }
        }
    }

    /// A command failed without an answer: `timeout`, `transport`, `unreadable`.
    pub(super) fn failed(&self, why: &'static str) {
        counter!("pinion_hsm_errors_total", "hsm" => self.device.to_string(), "code" => why)
            .increment(1);
    }

    /// Counts the end of a connection, or of an attempt at one.
    pub(super) fn closed(&self, why: &'static str) {
        counter!("pinion_hsm_closed_total", "hsm" => self.device.to_string(), "why" => why)
            .increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_by_their_code() {
        assert!(COMMANDS.is_sorted());
    }
}
