//! `pinion demo --exit` as a user runs it: the tour gets every answer it expects, and shows no card and no PIN.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop here")]

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

/// A shift from `from` on under which no port of the demo is taken now. Tests run at the same time: each has its own.
fn free_base(from: u16) -> u16 {
    (0..9)
        .map(|n| from + n * 1_009)
        .find(|base| {
            [1500, 1510, 8080, 8583, 8584, 8585, 8586, 8591, 8592, 9090]
                .iter()
                .all(|port| TcpListener::bind(("127.0.0.1", base + port)).is_ok())
        })
        .expect("free ports")
}

fn demo(ports_from: u16, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinion"))
        .arg("demo")
        .args(arguments)
        .env("PINION_DEMO_PORT_BASE", free_base(ports_from).to_string())
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
    tour(&demo(21_000, &["--exit"]));
}

/// Two simulated devices do the PIN work of the same tour.
#[test]
fn the_tour_goes_by_payshield_devices_as_well() {
    tour(&demo(35_000, &["--exit", "--hsm", "payshield"]));
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
    let first = demo(31_500, &["--exit", "--data", data]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stdout));
    assert!(String::from_utf8_lossy(&first.stdout).contains("Summary"));
    let second = demo(31_500, &["--exit", "--data", data]);
    assert_eq!(second.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&second.stdout).contains("Summary"));
}
