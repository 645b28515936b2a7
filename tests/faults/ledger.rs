//! The ledger: callers that change PINs, hosts that fail in every way, and a switch that is killed over and over.
//!
//! Callers keep what they sent and what they were told. Each request has a terminal id of its own, by which it is
//! found in what the simulated hosts believe. At the end the two are compared, card by card: who was told 00 finds
//! the change at the host, who was told anything else does not, and nothing was done twice. `PINION_TEST_SEED` repeats
//! the decisions of callers and faults: both follow from a request's number, not from the order of requests. **Never
//! here:** a look into the switch's own files.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::caller::{CALLERS, Caller, Line, PIN};
use crate::support::message::pans;
use crate::support::node::{Node, Setup};
use crate::support::peers::{BIN, Peers, SEED};
use crate::support::{Random, compare, eventually, let_pass, trouble};

const KILLS: usize = 30;
const CARDS: usize = 240;

/// What hosts do wrong, of every kind.
pub(crate) fn faults(seed: u64) -> Value {
    json!({ "seed": seed, "faults": {
        "delay": { "share": 0.02, "reversals": 0.05, "ms": 60 },
        "drop_answer": { "share": 0.006, "reversals": 0.10 },
        "answer_late": { "share": 0.006, "reversals": 0.05, "ms": 900 },
        "close_before": { "share": 0.004, "reversals": 0.05 },
        "close_after": { "share": 0.004, "reversals": 0.05 },
        "duplicate_answer": { "share": 0.02, "reversals": 0.05 },
        "wrong_stan": { "share": 0.006, "reversals": 0.03 },
        "garbage_frame": { "share": 0.004, "reversals": 0.03 },
        "garbage_bytes": { "share": 0.004, "reversals": 0.02 },
        "slow_bytes": { "share": 0.004, "reversals": 0.02, "ms": 60 },
        "fixed_code": { "share": 0.02, "code": "C1" },
        "refuse_sign_on": { "share": 0.05 },
    }})
}

#[test]
fn thirty_kills_with_faulty_hosts_and_both_ledgers_agree() {
    let mut random = Random::new("thirty_kills_with_faulty_hosts_and_both_ledgers_agree");
    let seed = random.next();
    let peers = Peers::start(CARDS, PIN, seed);
    let setup = Setup { level: "info", more: &peers.section(""), ..Setup::DEFAULT };
    let mut node = Node::new(&setup);
    let all = pans(BIN, SEED, CARDS as u64);
    for pan in &all {
        node.secrets.card(pan, PIN);
    }
    node.start();
    eventually("both nodes are up", || (node.metric("pinion_hosts_up", &[]) == 2).then_some(()));
    peers.tell("/faults", &faults(seed));

    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut ledger: Vec<Vec<Line>> = Vec::new();
    // Callers hold the node's ports while it dies and lives: the part that changes is the child.
    let child = node.take_child();
    let child = std::thread::scope(|scope| {
        let mut callers = Vec::new();
        for which in 0..CALLERS {
            let caller = Caller::new(&[node.atm, node.other], &all, which, random.next(), &answers);
            callers.push(scope.spawn(|| caller.run(&stop)));
        }
        let mut child = child;
        for _ in 0..KILLS {
            // Answers first, so that no life of the switch is spent on starting alone.
            let before = answers.load(Ordering::Relaxed);
            eventually("answers come", || {
                let failed = callers.iter().any(std::thread::ScopedJoinHandle::is_finished);
                (failed || before + 60 <= answers.load(Ordering::Relaxed)).then_some(())
            });
            match random.below(6) {
                // The hosts' machine stands still, then goes on as if nothing had been.
                0 => trouble::stand_still(&peers, Duration::from_millis(300)),
                // Both are away at once.
                1 => trouble::away(&peers, Duration::from_millis(150)),
                _ => {}
            }
            let_pass(Duration::from_millis(u64::try_from(random.below(400)).expect("small")));
            child.kill().expect("killed");
            child.wait().expect("ended");
            child = node.spawn();
        }
        peers.tell("/faults", &json!({}));
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            ledger.push(caller.join().expect("a caller that ends well"));
        }
        child
    });
    node.give_child(child);

    eventually("everything is settled", || {
        let (_, status) = node.page("/status")?;
        let status: Value = serde_json::from_str(&status).ok()?;
        (status["unsettled"] == 0).then_some(())
    });
    let state = peers.state();
    let counts = compare::books(&state, &all, &ledger);
    eprintln!("told: {counts:?}; {} answers", answers.load(Ordering::Relaxed));
    for needed in ["00", "68"] {
        assert!(0 < counts.get(needed).copied().unwrap_or(0), "no request was told {needed}");
    }
    node.stop();
    node.audit();
    compare::journals(&state, &node.command(&["audit", "export"]));
}
