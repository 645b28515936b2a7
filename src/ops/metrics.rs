//! The catalogue of metrics, and the recorder that keeps them.
//!
//! [`CATALOGUE`] is the whole list: what is not in it is not measured, and `tests/tidy.rs` holds every name in the
//! source against it. Code that measures uses the macros of the crate `metrics` with handles made at start.
//!
//! **Never here:** a label that is not from a closed set: never an account number, a terminal or a trace number.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Prometheus name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

impl Kind {
    /// Its word in Prometheus.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

/// Every metric, by name.
#[rustfmt::skip]
pub const CATALOGUE: &[Metric] = &[
    gauge("pinion_build_info", &["version", "commit"], "Always 1; its labels name the build."),
    gauge("pinion_certificate_expires_seconds", &["use", "name", "file"], "End of a file's certificates, Unix time."),
    histogram("pinion_commit_batch_size", &[], "Records one commit made durable together."),
    histogram("pinion_commit_seconds", &[], "Time one commit took, sync included."),
    counter("pinion_declines_total", &["reason"], "Requests declined, by reason."),
    counter("pinion_frames_rejected_total", &["link", "why"], "Frames refused as no request."),
    counter("pinion_host_closed_total", &["host", "why"], "Connections to a host that ended, or never came up."),
    gauge("pinion_host_connections", &["host"], "Connections to the host."),
    counter("pinion_host_messages_dropped_total", &["host", "why"], "Messages of a host that were dropped."),
    histogram("pinion_host_request_seconds", &["host"], "Time from a request sent to a host to its answer."),
    counter("pinion_host_unanswered_total", &["host"], "Requests and reversals sent to a host that got no answer."),
    gauge("pinion_hosts_up", &["host"], "1 while the host is signed on, else 0."),
    counter("pinion_hsm_answers_dropped_total", &["hsm", "why"], "Answers of a device nobody waited for."),
    gauge("pinion_hsm_breaker_open", &["hsm"], "1 while the device is left alone because it did not answer."),
    counter("pinion_hsm_closed_total", &["hsm", "why"], "Connections to a device that ended, or never came up."),
    histogram("pinion_hsm_command_seconds", &["hsm", "command"], "Time one HSM command took."),
    gauge("pinion_hsm_connections", &["hsm"], "Connections to the device."),
    gauge("pinion_hsm_diagnosed_timestamp_seconds", &["hsm"], "Unix time when the device last passed NC."),
    gauge("pinion_hsm_drained", &["hsm"], "1 while an operator has the device out of service."),
    counter("pinion_hsm_errors_total", &["hsm", "code"], "HSM commands that failed."),
    gauge("pinion_hsm_firmware_differs", &[], "1 while two devices show different firmware."),
    gauge("pinion_hsm_in_flight", &["hsm"], "Commands under way at the device."),
    gauge("pinion_hsm_quarantined", &["hsm"], "1 while the device is kept out for another LMK, firmware or key."),
    histogram("pinion_hsm_queue_seconds", &["hsm"], "Time a command waited until it was written to a connection."),
    counter("pinion_hsm_retries_total", &["hsm"], "Commands that another device was asked again."),
    gauge("pinion_hsm_up", &["hsm"], "1 while the device takes commands and its keys have passed."),
    gauge("pinion_in_flight", &["link"], "Requests being worked on."),
    counter("pinion_issuer_scripts_total", &["result"], "Issuer scripts: sent, no_chip_data, failed, repeated."),
    counter("pinion_key_exchanges_total", &["peer", "result"], "Zone keys exchanged at run time, by result."),
    counter("pinion_late_answers_total", &["host"], "Answers that came after their request was given up."),
    gauge("pinion_links_up", &["link"], "Connections the link holds."),
    counter("pinion_log_lines_dropped_total", &[], "Log lines dropped because stderr did not take them in time."),
    gauge("pinion_ready", &["latch"], "1 while this part of the switch is in order, else 0: what /ready tells."),
    histogram("pinion_request_seconds", &["link", "operation", "route"], "From frame read to answer written."),
    counter("pinion_requests_total", &["link", "operation", "route", "code"], "Requests answered, by response code."),
    counter("pinion_reversals_total", &["host", "result"], "Reversals sent to a host, by result."),
    counter("pinion_route_overrides_total", &[], "Requests routed otherwise than their active-active wish."),
    counter("pinion_shed_total", &["link"], "Requests refused at once because too much was in flight."),
    histogram("pinion_stage_seconds", &["stage"], "Time one stage of a request took."),
    gauge("pinion_switches_differ", &[], "1 while a switch of the same database is configured otherwise."),
    gauge("pinion_unsettled", &[], "Forwarded changes whose outcome is unknown."),
    gauge("pinion_unsettled_age_seconds", &[], "Age of the oldest of them."),
];

/// Upper bounds of buckets in seconds: dense below 10 ms, where a change should end, and up to the longest deadlines.
const SECONDS: &[f64] = &[
    0.000_01, 0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.000_75, 0.001, 0.001_5, 0.002, 0.003,
    0.005, 0.007_5, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];
/// Upper bounds of buckets in records of a batch, up to `limits::COMMIT_BATCH_MAX`.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const _: () = assert!(crate::limits::COMMIT_BATCH_MAX == 512, "the last bucket of BATCH");

/// How often [`Metrics::spawn_upkeep`] should run. Values of histograms wait in memory until then: at 100 000 changes a
/// second and eight histograms a change, about 7 MB a second.
pub const UPKEEP: Duration = Duration::from_secs(1);

/// The recorder of this process.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Why there are no metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Someone else installed a recorder.
    #[error("another metrics recorder is installed in this process")]
    Taken,
}

impl Metrics {
    /// Installs the recorder, or gives the one that is installed.
    ///
    /// # Errors
    /// [`MetricsError::Taken`] when something other than this function installed one.
    pub fn install() -> Result<Self, MetricsError> {
        static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let recorder = builder().build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            describe();
            Some(handle)
        });
        handle.clone().map(|handle| Self { handle }).ok_or(MetricsError::Taken)
    }

    /// All metrics as text for Prometheus. Takes a few milliseconds with many series: call it off the request path.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds the values of histograms into their buckets, every `period`, until the runtime ends. Without it they stay
    /// in memory for as long as nobody scrapes.
    pub fn spawn_upkeep(&self, period: Duration) {
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let mut timer = tokio::time::interval(period);
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                timer.tick().await;
                let handle = handle.clone();
                // On a thread of its own: a worker that folds a second's values would hold up requests.
                if tokio::task::spawn_blocking(move || handle.run_upkeep()).await.is_err() {
                    tracing::error!("metrics upkeep failed");
                }
            }
        });
    }
}

/// The catalogue as a Markdown table.
#[must_use]
pub fn markdown() -> String {
    let row = |metric: &Metric| {
        let Metric { name, kind, labels, help } = metric;
        format!("| `{name}` | {} | {} | {help} |\n", kind.label(), labels.join(", "))
    };
    let head = "| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n";
    std::iter::once(head.to_owned()).chain(CATALOGUE.iter().map(row)).collect()
}

fn builder() -> PrometheusBuilder {
    let histograms = CATALOGUE.iter().filter(|m| m.kind == Kind::Histogram);
    histograms.fold(PrometheusBuilder::new(), |builder, metric| {
        let buckets = if metric.name.ends_with("_seconds") { SECONDS } else { BATCH };
        let matcher = Matcher::Full(metric.name.to_owned());
        // Refused only for empty buckets; without them the metric would be a summary.
        builder.set_buckets_for_metric(matcher, buckets).unwrap_or_default()
    })
}

fn describe() {
    for metric in CATALOGUE {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    let commit = option_env!("PINION_COMMIT").unwrap_or("unknown");
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!("pinion_build_info", "version" => version, "commit" => commit).set(1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sorted_and_follows_the_naming_rules() {
        for pair in CATALOGUE.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[1].name, pair[0].name);
        }
        for Metric { name, kind, labels, help } in CATALOGUE {
            assert!(name.starts_with("pinion_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let sized = name.ends_with("_seconds") || name.ends_with("_batch_size");
            assert!(*kind != Kind::Histogram || sized, "{name} has no buckets");
            assert!(help.ends_with('.'), "{name}");
            for label in *labels {
                let leaks = ["pan", "terminal", "stan", "rrn", "card"].contains(label);
                assert!(!leaks, "{name} must not have the label {label}");
            }
        }
    }

    #[test]
    fn installed_twice_it_is_the_same_and_histograms_have_buckets() {
        let first = Metrics::install().unwrap();
        let second = Metrics::install().unwrap();
        // The recorder is the process's, and other tests count, too: a label of our own.
        metrics::histogram!("pinion_commit_seconds", "of" => "us").record(0.0004);
        metrics::histogram!("pinion_commit_batch_size", "of" => "us").record(3.0);
        metrics::counter!("pinion_declines_total", "of" => "us").increment(2);
        first.handle.run_upkeep();
        let text = second.render();
        for line in [
            "# TYPE pinion_commit_seconds histogram",
            "pinion_commit_seconds_bucket{of=\"us\",le=\"0.0005\"} 1",
            "pinion_commit_seconds_bucket{of=\"us\",le=\"0.0003\"} 0",
            "pinion_commit_batch_size_bucket{of=\"us\",le=\"4\"} 1",
            "pinion_declines_total{of=\"us\"} 2",
            "# HELP pinion_declines_total Requests declined, by reason.",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
        assert!(text.contains("pinion_build_info{version=\""), "{text}");
    }

    /// Where the README lists the metrics, between two marks, the list is the catalogue.
    #[test]
    fn the_readme_lists_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap_or_default();
        if let Some((_, rest)) = readme.split_once("<!-- metrics -->\n") {
            let listed = rest.split("<!-- end of metrics -->").next().unwrap();
            assert_eq!(listed.trim(), markdown().trim(), "copy the right side into README.md");
        }
    }
}
