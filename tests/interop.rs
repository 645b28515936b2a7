//! Programs that are not ours, against the simulated payShield: a load generator for real devices, and a simulator by
//! somebody else that is asked the same. `make test` installs both; `tests/interop/README.md` has results.
//!
//! **Never here:** what we believe of answers ourselves (`hsm::payshield::simulator::tests`).

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test: what is not there fails it")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// A simulator on a port of its own.
struct Simulator {
    child: Child,
    port: String,
}

impl Simulator {
    #[track_caller]
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pinion"))
            .args(["sim", "payshield", "--listen", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("where it listens");
        let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let address = said["ports"][0].as_str().expect("an address");
        let (_, port) = address.rsplit_once(':').expect("a port");
        Self { port: port.to_owned(), child }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

/// `payshield-pressuretest` checks length, header and answer code of each answer and decodes it.
#[test]
fn the_pressure_test_of_payshield_devices() {
    let simulator = Simulator::start();
    for (mode, decoded) in [
        ("--nc", "LMK CRC: 2686040000000000"),
        ("--no", "Number of TCP sockets:  0064"),
        ("--pci", "Some of the security settings"),
        ("--b2", "Payload echoed:  PayShieldStress Echo Test"),
        ("--pingen", "Pin under the LMK: "),
        ("--randgen", "Random payload:(HEX) "),
    ] {
        let output = Command::new("payshield-pressuretest")
            .args(["127.0.0.1", "-p", &simulator.port, mode, "--times", "100"])
            .args(["--decode", "--no-upd-check"])
            .output()
            .expect("payshield-pressuretest: run the tests by `make test`");
        let text = succeeded(&output);
        assert_eq!(text.matches("Return code: 00 No error").count(), 100, "{mode}\n{text}");
        assert_eq!(text.matches(decoded).count(), 100, "{mode}\n{text}");
        assert!(text.contains("DONE"), "{mode}\n{text}");
    }
}

/// pythales and we agree wherever pythales is right: see `tests/interop/pythales_peer.py`.
#[test]
fn pythales_agrees() {
    let simulator = Simulator::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/pythales_peer.py");
    let output = Command::new("python3")
        .args([script, "127.0.0.1", &simulator.port])
        .output()
        .expect("python3: run the tests by `make test`");
    let text = succeeded(&output);
    assert_eq!(text.matches("ok   ").count(), 13, "{text}");
    assert!(text.contains("0 disagreements"), "{text}");
}
