//! Time and randomness as an argument: [`Clock`] is one of the four traits the switch sees the world through.
//!
//! Monotonic time ([`Now`]) drives timers and deadlines, wall time goes to the journal, once per request.

use std::time::{Duration, Instant};

/// Monotonic time since the process started.
pub type Now = Duration;

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallMillis(pub u64);

impl WallMillis {
    /// Days since 1970-01-01 UTC.
    #[must_use]
    pub fn day(self) -> u32 {
        u32::try_from(self.0 / 86_400_000).unwrap_or(u32::MAX)
    }

    /// Seconds since 1970-01-01 UTC, as metrics show time.
    #[must_use]
    pub fn unix_seconds(self) -> f64 {
        Duration::from_millis(self.0).as_secs_f64()
    }
}

/// Where time and randomness come from.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time.
    fn now(&self) -> Now;
    /// Wall time.
    fn wall(&self) -> WallMillis;
    /// Sixteen random bytes, for keys of requests that brought none.
    fn random(&self) -> [u8; 16];
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts counting now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_types, reason = "this is the one place that reads the clock")]
    fn wall(&self) -> WallMillis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        WallMillis(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // Without randomness the key is made of time alone: unique enough for a key nobody repeats.
        if getrandom::fill(&mut bytes).is_err() {
            bytes[..8].copy_from_slice(&self.wall().0.to_le_bytes());
            bytes[8..]
                .copy_from_slice(&self.start.elapsed().subsec_nanos().to_le_bytes().repeat(2));
        }
        bytes
    }
}
