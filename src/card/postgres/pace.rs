//! How often a connection asks: a round begins a little after the one before began, not at once.
//!
//! A round costs the database and both ends about as much with one question as with ten. Under load the next one would
//! begin the moment the last ended, with the few questions that came meanwhile, and the processor would go into rounds
//! instead of answers; so what comes is gathered for a moment. Nobody waits for it when the connection was idle. The
//! writer has no such beat: its own rounds and the disk's sync are slow enough to gather a batch. **Never here:** a
//! round.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::clock::{Clock, Now};
use crate::limits::STORE_PACE_MICROS;

const BEAT: Duration = Duration::from_micros(STORE_PACE_MICROS);

/// The beat of one connection.
pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    /// When the last round began.
    begun: Option<Now>,
}

impl Pace {
    /// No round has begun.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, begun: None }
    }

    /// Returns when a round may begin.
    pub(super) async fn wait(&self) {
        let rest = rest(self.begun, self.clock.now());
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
    }

    /// A round begins.
    pub(super) fn begin(&mut self) {
        self.begun = Some(self.clock.now());
    }
}

/// Time until a round may begin.
fn rest(begun: Option<Now>, now: Now) -> Duration {
    begun.map_or(Duration::ZERO, |begun| (begun + BEAT).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_waits_only_for_one_that_has_just_begun() {
        let start = Duration::from_secs(7);
        assert_eq!(rest(None, start), Duration::ZERO, "the first begins at once");
        assert_eq!(rest(Some(start), start), BEAT);
        assert_eq!(rest(Some(start), start + BEAT / 4), BEAT * 3 / 4, "it counts from the start");
        assert_eq!(rest(Some(start), start + BEAT), Duration::ZERO);
        assert_eq!(rest(Some(start), start + 9 * BEAT), Duration::ZERO, "idle: nobody waits");
    }
}
