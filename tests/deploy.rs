//! What `deploy/` hands to an operator, held against the binary and judged by the programs that will read it: promtool,
//! systemd-analyze, kubectl. `make test` gets promtool; the other two judge where they are installed.
//!
//! **Never here:** a switch over PostgreSQL, a cluster of Kubernetes, a service manager.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test: what is not there fails it")]

#[path = "deploy/container.rs"]
mod container;
#[path = "deploy/dashboards.rs"]
mod dashboards;
#[path = "deploy/database.rs"]
mod database;
#[path = "deploy/kubernetes.rs"]
mod kubernetes;
#[path = "deploy/metrics.rs"]
mod metrics;
#[path = "deploy/place.rs"]
mod place;
#[path = "support/ports.rs"]
mod ports;
#[path = "deploy/promql.rs"]
mod promql;
#[path = "deploy/rules.rs"]
mod rules;
#[path = "deploy/systemd.rs"]
mod systemd;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file of `deploy/`.
#[track_caller]
fn deploy(path: &str) -> String {
    let path = repository("deploy").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a program that `make test` provides; both its outputs as text, and whether it was content.
#[track_caller]
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output();
    let output =
        output.unwrap_or_else(|e| panic!("{command:?}: {e}: run the tests by `make test`"));
    let Output { status, stdout, stderr } = output;
    let text = [stdout, stderr].map(|part| String::from_utf8_lossy(&part).into_owned()).concat();
    (status.success(), text)
}

/// Runs it and expects it to be content.
#[track_caller]
fn approved(command: &mut Command) -> String {
    let (good, text) = run(command);
    assert!(good, "{command:?}\n{text}");
    text
}

/// Whether a judge is on this machine. Where it is not, that is said, and its test ends.
fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--help").output().is_ok();
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// The documents of a YAML file.
#[track_caller]
fn yaml(path: &Path) -> Vec<Value> {
    let script = repository("tests/deploy/yaml_to_json.py");
    let text = approved(Command::new("python3").arg(script).arg(path));
    let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    all.into_iter().map(|mut one| one["document"].take()).collect()
}

/// The trace numbers that a configuration gives its switch: no other switch over its database may have one of them.
#[track_caller]
fn trace_numbers(config: &toml::Table) -> RangeInclusive<i64> {
    let number = |end: &str| config["postilion"]["stan"][end].as_integer().expect("a number");
    number("first")..=number("last")
}

/// A text at a path of a document.
#[track_caller]
fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {pointer} of {value}"))
}

/// A list at a path of a document.
#[track_caller]
fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list at {pointer} of {value}"))
}
