//! What the black-box tests share: a node to speak to, and an ISO client that is none of ours.
//!
//! **Never here:** a test of its own capability, a private item of the crate. Where next: `node` starts the binary,
//! `iso` writes and reads messages, `request` builds whole requests, `vectors` has the expected values.

pub(crate) mod hsm;
pub(crate) mod iso;
pub(crate) mod node;
#[path = "../../faults/support/peers.rs"]
pub(crate) mod peers;
#[path = "../../support/ports.rs"]
pub(crate) mod ports;
#[path = "../../support/postgres.rs"]
pub(crate) mod postgres;
pub(crate) mod request;
pub(crate) mod store;
pub(crate) mod vectors;
pub(crate) mod wire;

use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test waits for another process")]
    Instant::now()
}

/// Tries until there is a value, or [`PATIENCE`] is over. The one place where the tests wait.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(now() - begun < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
