//! A device is taken out of service under load, switched off, and comes back: no request waits for it, and none is
//! asked of another device again.
//!
//! **Never here:** which device is chosen, which the client's unit tests have.

use serde_json::{Value, json};

use crate::payshield::{during, node_with, span, state};
use crate::support::hsm::Device;
use crate::support::message::{Client, verify};
use crate::support::node::{Node, PINS, Setup};
use crate::support::{eventually, let_pass};

#[track_caller]
fn done(node: &Node, arguments: &[&str]) -> String {
    let (status, stdout, stderr) = node.operate(&[&["hsm"], arguments].concat());
    assert_eq!(status, Some(0), "{arguments:?}: {stderr}");
    stdout
}

#[track_caller]
fn refused(node: &Node, arguments: &[&str], why: &str) {
    let (status, _, stderr) = node.operate(&[&["hsm"], arguments].concat());
    assert_eq!(status, Some(1), "{arguments:?}: {stderr}");
    assert!(stderr.contains(why), "{arguments:?}: {stderr}");
}

/// Whether each device is drained, by `pinion hsm list`.
#[track_caller]
fn drained(node: &Node) -> Vec<Value> {
    let listed = done(node, &["list", "--json"]);
    let rows = listed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    rows.map(|row| row["drained"].clone()).collect()
}

/// Changes that the first device was asked for.
fn changes(node: &Node) -> u64 {
    node.metric("pinion_hsm_command_seconds_count", &["hsm-1", "\"DU\""])
}

#[track_caller]
fn wait_for(node: &Node, device: usize, what: &str) {
    eventually(what, || (state(node, device) == what).then_some(()));
}

#[test]
fn a_drained_device_is_switched_off_without_a_retry() {
    let (first, second) = (Device::start(&[]), Device::start(&[]));
    let ports = [first.port, second.port];
    let mut node = node_with(&ports);
    node.start();
    eventually("both are up", || (node.metric("pinion_hsm_up", &[]) == 2).then_some(()));
    let mut back = None;
    let told = during(&node, || {
        eventually("it works", || (0 < changes(&node)).then_some(()));
        let said = done(&node, &["drain", "hsm-1"]);
        assert!(said.contains("in_flight"), "{said}");
        eventually("nothing is under way there", || {
            let flying = node.json("/status")["hsm"]["devices"][0]["in_flight"].clone();
            (flying == json!(0)).then_some(())
        });
        let before = changes(&node);
        assert_eq!(
            (drained(&node), state(&node, 0).as_str()),
            (vec![json!(true), json!(false)], "up")
        );
        assert_eq!(node.metric("pinion_hsm_drained", &["hsm-1"]), 1);
        let_pass(span() / 5);
        drop(first);
        wait_for(&node, 0, "down");
        let_pass(span() / 5);
        refused(&node, &["drain", "hsm-2"], "hsm-2 is the last device that takes commands");
        back = Some(Device::start_at(ports[0], &[]));
        wait_for(&node, 0, "up");
        let_pass(span() / 5);
        assert_eq!(changes(&node), before, "it is well, and gets no commands");
        done(&node, &["resume", "hsm-1"]);
        eventually("it works again", || (before < changes(&node)).then_some(()));
    });
    eprintln!("{told:?}");
    assert_eq!(told.keys().collect::<Vec<_>>(), ["00", "55"], "{told:?}");
    assert!(100 < told["00"], "{told:?}");
    assert_eq!(node.metric("pinion_hsm_retries_total", &[]), 0, "no command was asked again");

    // The last one goes by force only: 86 at once, not ready; then it is back.
    let code = || Client::connect(node.atm).code(&verify(&node.pans[0], PINS[0], node.number()));
    done(&node, &["drain", "hsm-1"]);
    refused(&node, &["drain", "hsm-2"], "say --force");
    assert_eq!(code(), "00");
    done(&node, &["drain", "hsm-2", "--force"]);
    assert_eq!(code(), "86");
    eventually("not ready", || node.page("/ready").filter(|(status, _)| *status == 503));
    done(&node, &["resume", "hsm-2"]);
    assert_eq!(code(), "00");
    eventually("ready", || node.page("/ready").filter(|(status, _)| *status == 200));
    refused(&node, &["drain", "hsm-3"], "there are hsm-1, hsm-2");

    // A restart forgets it; the audit does not.
    node.stop();
    node.start();
    assert_eq!(drained(&node), [json!(false), json!(false)]);
    node.stop();
    node.audit();
    let audit = node.command(&["audit", "export"]);
    for note in [
        "device hsm-1 taken out of service\"",
        "device hsm-1 put back into service",
        "device hsm-2 taken out of service by force",
    ] {
        assert!(audit.contains(note), "{note} is not in the audit");
    }
    drop((back, second));
}

#[test]
fn a_switch_without_devices_says_so() {
    let node = Node::started(&Setup { level: "info", ..Setup::DEFAULT });
    assert!(done(&node, &["list"]).contains("no devices"));
    assert_eq!(done(&node, &["list", "--json"]), "");
    for act in ["drain", "resume"] {
        refused(&node, &[act, "hsm-1"], "this switch has no devices");
    }
}
