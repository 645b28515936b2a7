//! The numbers of a load run: rate, latency percentiles, response codes, processor time. **Never here:** the run.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::cli::load::drive::{Pace, Plan};
use crate::cli::load::line::{Answered, Code, approved};
use crate::domain::clock::Now;

/// Latencies are kept in microseconds with three digits, up to this.
const LATENCY_MICROS_MAX: u64 = 120_000_000;
/// The percentiles that are shown.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Everything measured.
pub(super) struct Report {
    plan: Plan,
    latency: Histogram<u64>,
    codes: Vec<(Code, u64)>,
    /// Changes approved before the time was up.
    in_time: u64,
    unanswered: u64,
    server_cpu: Option<Duration>,
    own_cpu: Duration,
}

impl Report {
    pub(super) fn new(plan: &Plan) -> anyhow::Result<Self> {
        Ok(Self {
            plan: *plan,
            latency: Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3)
                .context("latency histogram")?,
            codes: Vec::with_capacity(64),
            in_time: 0,
            unanswered: 0,
            server_cpu: None,
            own_cpu: Duration::ZERO,
        })
    }

    /// One answer while measuring.
    pub(super) fn take(&mut self, now: Now, answered: &Answered) {
        self.in_time += u64::from(approved(answered.code));
        self.take_late(now, answered);
    }

    /// One answer to a request that was under way when the time was up.
    pub(super) fn take_late(&mut self, now: Now, answered: &Answered) {
        let micros = now.saturating_sub(answered.due).as_micros();
        self.latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX).max(1));
        match self.codes.iter_mut().find(|(code, _)| *code == answered.code) {
            Some((_, count)) => *count += 1,
            None => self.codes.push((answered.code, 1)),
        }
    }

    pub(super) fn unanswered(&mut self, count: usize) {
        self.unanswered = count as u64;
    }

    pub(super) fn server_cpu(&mut self, spent: Duration) {
        self.server_cpu = Some(spent);
    }

    pub(super) fn own_cpu(&mut self, spent: Duration) {
        self.own_cpu = spent;
    }

    /// Requests that got no answer.
    pub(super) fn errors(&self) -> u64 {
        self.unanswered
    }

    /// Whether every answer was an approval.
    pub(super) fn all_approved(&self) -> bool {
        self.codes.iter().all(|(code, _)| approved(*code))
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> f64 {
        self.in_time as f64 / self.plan.duration.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "a cost for people")]
    fn per_change(&self, spent: Duration) -> f64 {
        spent.as_secs_f64() * 1e6 / self.in_time.max(1) as f64
    }

    fn percentile(&self, at: f64) -> u64 {
        self.latency.value_at_percentile(at)
    }

    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            say!("{}", self.json());
            return;
        }
        say!("{:.0} changes/s, {} in {:?}", self.rate(), self.in_time, self.plan.duration);
        let shown: Vec<_> = PERCENTILES
            .iter()
            .map(|(name, at)| format!("{name} {}", millis(self.percentile(*at))))
            .collect();
        say!("latency ms: {}, max {}", shown.join(", "), millis(self.latency.max()));
        for (code, count) in &self.codes {
            say!("code {}: {count}", text(*code));
        }
        if 0 < self.unanswered {
            say!("no answer: {}", self.unanswered);
        }
        if let Some(spent) = self.server_cpu {
            say!("switch: {:.2} µs of processor time a change", self.per_change(spent));
        }
        say!("generator: {:.2} µs of processor time a change", self.per_change(self.own_cpu));
    }

    fn json(&self) -> Value {
        let latency: serde_json::Map<_, _> = PERCENTILES
            .iter()
            .map(|(name, at)| ((*name).to_owned(), json!(self.percentile(*at))))
            .chain([("max".to_owned(), json!(self.latency.max()))])
            .collect();
        let codes: serde_json::Map<_, _> =
            self.codes.iter().map(|(code, count)| (text(*code), json!(count))).collect();
        let pace = match self.plan.pace {
            Pace::Closed { in_flight } => json!({ "in_flight": in_flight }),
            Pace::Rate(rate) => json!({ "rate": rate }),
        };
        json!({
            "pace": pace,
            "seconds": self.plan.duration.as_secs_f64(),
            "changes": self.in_time,
            "changes_per_second": self.rate(),
            "latency_us": latency,
            "codes": codes,
            "unanswered": self.unanswered,
            "server_cpu_us_per_change": self.server_cpu.map(|spent| self.per_change(spent)),
            "generator_cpu_us_per_change": self.per_change(self.own_cpu),
        })
    }
}

/// Microseconds as milliseconds.
fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

fn text(code: Code) -> String {
    String::from_utf8_lossy(&code).trim_end().to_owned()
}

/// Processor time a process has used, user and system.
pub(super) struct CpuTime(Duration);

impl CpuTime {
    /// Of a process.
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    /// Of this one.
    pub(super) fn own() -> anyhow::Result<Self> {
        Self::read("/proc/self/stat")
    }

    pub(super) fn since(&self, before: &Self) -> Duration {
        self.0.saturating_sub(before.0)
    }

    fn read(path: &str) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
        let ticks = ticks(&stat).with_context(|| format!("{path}: not as proc(5) has it"))?;
        let a_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Self(Duration::from_millis(ticks.saturating_mul(1000) / a_second)))
    }
}

/// `utime` and `stime`, fields 14 and 15 of proc(5), counted from behind the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of proc(5) whose process has a name meant to confuse.
    #[test]
    fn processor_time_of_a_stat_line() {
        let line = "4242 (a) R 9 (b) S 1 4242 4242 0 -1 4194304 100 0 0 0 731 269 0 0 20 0 1 0 5 6";
        assert_eq!(ticks(line), Some(1000));
        assert_eq!(ticks("1 (x) S 1 2"), None);
    }
}
