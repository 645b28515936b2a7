//! `pinion demo --exit` as a user runs it: the tour gets every answer it expects, and shows no card and no PIN.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop here")]

use std::process::{Command, Output};

use serde_json::Value;

#[path = "support/ports.rs"]
mod ports;

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinion"))
        .arg("demo")
        .args(arguments)
        .env("PINION_DEMO_PORT_BASE", ports::free_base().to_string())
        .output()
        .expect("runs")
}

/// Account numbers of the demo world.
fn pans() -> Vec<String> {
    let world: Value = serde_json::from_str(include_str!("../deploy/demo/world.json")).unwrap();
    let cards = world["cards"].as_array().unwrap();
    cards.iter().map(|card| card["pan"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_tour_gets_every_answer_and_shows_no_secret() {
    tour(&demo(&["--exit"]));
}

/// Two simulated devices do the PIN work of the same tour.
#[test]
fn the_tour_goes_by_payshield_devices_as_well() {
    tour(&demo(&["--exit", "--hsm", "payshield"]));
}

#[track_caller]
fn tour(output: &Output) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(stdout.contains("answers as expected") && !stdout.contains("FAILED"), "{stdout}");
    for text in [&stdout, &stderr] {
        for pan in pans() {
            assert!(!text.contains(&pan), "an account number");
        }
        // The PINs that are used, as words of their own: the digits may be part of a trace number.
        let words: Vec<_> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        for pin in ["1234", "2580", "4321", "5678", "13579", "24680", "1379", "1111"] {
            assert!(!words.contains(&pin), "a PIN: {pin}");
        }
    }
}

#[test]
fn a_kept_state_is_not_toured_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("state");
    let data = data.to_str().unwrap();
    let first = demo(&["--exit", "--data", data]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(String::from_utf8_lossy(&first.stdout).contains("Summary"));
    let second = demo(&["--exit", "--data", data]);
    assert_eq!(second.status.code(), Some(0), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(!String::from_utf8_lossy(&second.stdout).contains("Summary"));
}
