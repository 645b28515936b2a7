//! What happens to the simulated hosts as a whole: a node goes away, both do, their machine stands still.
//!
//! **Never here:** faults of single requests; the simulator does those by itself (`Peers::tell`).

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::let_pass;
use super::peers::Peers;

/// The whole process stands still for so long: connections stay, and nothing is answered.
#[track_caller]
pub(crate) fn stand_still(peers: &Peers, span: Duration) {
    let id = i32::try_from(peers.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(id, Signal::STOP).expect("a signal");
    let_pass(span);
    kill_process(id, Signal::CONT).expect("a signal");
}

/// Closes one node's port and cuts its connections, or opens it again. Nodes count from 1.
#[track_caller]
pub(crate) fn set_up(peers: &Peers, node: usize, up: bool) {
    let what = if up { "start" } else { "stop" };
    peers.tell(&format!("/nodes/{node}/{what}"), &Value::Null);
}

/// Both nodes are away for so long.
#[track_caller]
pub(crate) fn away(peers: &Peers, span: Duration) {
    (1..=2).for_each(|node| set_up(peers, node, false));
    let_pass(span);
    (1..=2).for_each(|node| set_up(peers, node, true));
}
