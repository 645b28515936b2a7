//! What a running switch answers on its admin port, against what `deploy/` expects of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pinion::ops::metrics::{CATALOGUE, Kind};

use crate::place::pinion;
use crate::ports::free_base;
use crate::{list, repository, text, yaml};

/// Metrics that come with the first event of their kind, which the demo's tour has none of, or with TLS.
const ON_THE_FIRST_EVENT: [&str; 8] = [
    "pinion_certificate_expires_seconds",
    "pinion_frames_rejected_total",
    "pinion_host_closed_total",
    "pinion_hsm_answers_dropped_total",
    "pinion_hsm_closed_total",
    "pinion_hsm_errors_total",
    "pinion_key_exchanges_total",
    "pinion_log_lines_dropped_total",
];

/// The demo after its tour.
struct Demo {
    child: Child,
    base: u16,
}

impl Demo {
    #[track_caller]
    fn start() -> Self {
        let base = free_base();
        let mut child = pinion(&["demo", "--hsm", "payshield"])
            .env("PINION_DEMO_PORT_BASE", base.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let done = lines.any(|line| line.is_ok_and(|line| line.contains("answers as expected")));
        assert!(done, "the tour did not end");
        // What it may still say goes nowhere, and holds it up nowhere.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, base }
    }

    /// Waits until a line is among the metrics.
    #[track_caller]
    fn until(&self, line: &str) {
        for _ in 0..600 {
            if self.get("/metrics").1.lines().any(|one| one == line) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        panic!("{line} does not come");
    }

    #[track_caller]
    fn get(&self, path: &str) -> (String, String) {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.base + 9090)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let ask = format!("GET {path} HTTP/1.1\r\nHost: pinion\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        (head.to_owned(), body.to_owned())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names of the labels of each metric in an exposition, without the parts of histograms.
fn labels(exposition: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for line in exposition.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let histograms = CATALOGUE.iter().filter(|metric| metric.kind == Kind::Histogram);
        let of = histograms
            .map(|m| m.name)
            .find(|m| name.strip_prefix(m).is_some_and(|p| p.starts_with('_')));
        let labels =
            labels.split("\",").filter_map(|label| label.split_once("=\"")).map(|(l, _)| l);
        let labels = labels.filter(|label| *label != "le").map(str::to_owned);
        found.entry(of.unwrap_or(name).to_owned()).or_insert_with(BTreeSet::new).extend(labels);
    }
    found
}

#[test]
fn a_running_switch_has_the_metrics_and_answers_the_probes() {
    let demo = Demo::start();
    let (head, exposition) = demo.get("/metrics");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: run the tests by `make test`");
    let mut input = promtool.stdin.take().expect("its input");
    input.write_all(exposition.as_bytes()).expect("written");
    drop(input);
    let judged = promtool.wait_with_output().expect("judged");
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));

    let served = labels(&exposition);
    for metric in CATALOGUE {
        let listed: BTreeSet<_> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        let Some(labels) = served.get(metric.name) else {
            assert!(ON_THE_FIRST_EVENT.contains(&metric.name), "{} is not there", metric.name);
            continue;
        };
        assert_eq!(*labels, listed, "{}", metric.name);
    }
    // Looked at once a second: what the tour did to the nodes last may not show yet.
    for latch in ["draining", "hosts", "hsm", "links", "store"] {
        demo.until(&format!("pinion_ready{{latch=\"{latch}\"}} 1"));
    }

    let prometheus = &yaml(&repository("deploy/prometheus/prometheus.yml"))[0];
    let jobs = list(prometheus, "/scrape_configs");
    assert_eq!(text(&jobs[0], "/metrics_path"), "/metrics");
    assert_eq!(text(&jobs[0], "/job_name"), "pinion");
    assert_eq!(text(&jobs[0], "/static_configs/0/targets/0"), "127.0.0.1:9090");
    for path in ["/live", "/ready"] {
        let (head, _) = demo.get(path);
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    }
}
