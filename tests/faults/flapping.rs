//! One node of two goes away and comes back all the time: nobody is told anything wrong, and hardly anybody is refused.
//!
//! Ten seconds of it; a minute with `PINION_TEST_LONG=1`. **Never here:** kills of the switch (`ledger`).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::caller::{CALLERS, Caller, Line, PIN};
use crate::support::message::pans;
use crate::support::node::{Node, Setup};
use crate::support::peers::{BIN, Peers, SEED};
use crate::support::{Random, compare, eventually, let_pass, now, trouble};

const CARDS: usize = 400;
const EACH: Duration = Duration::from_millis(300);

#[test]
fn a_node_that_flaps_costs_only_what_was_on_its_connections() {
    let mut random = Random::new("a_node_that_flaps_costs_only_what_was_on_its_connections");
    let long = std::env::var_os("PINION_TEST_LONG").is_some();
    let span = Duration::from_secs(if long { 60 } else { 10 });
    let peers = Peers::start(CARDS, PIN, random.next());
    let mut node = Node::new(&Setup { level: "info", more: &peers.section(""), ..Setup::DEFAULT });
    let all = pans(BIN, SEED, CARDS as u64);
    for pan in &all {
        node.secrets.card(pan, PIN);
    }
    node.start();
    eventually("both nodes are up", || (node.metric("pinion_hosts_up", &[]) == 2).then_some(()));

    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut books: Vec<Vec<Line>> = Vec::new();
    std::thread::scope(|scope| {
        let mut callers = Vec::new();
        for which in 0..CALLERS {
            let caller = Caller::new(&[node.atm, node.other], &all, which, random.next(), &answers)
                .keeping();
            callers.push(scope.spawn(|| caller.run(&stop)));
        }
        let begun = now();
        while begun.elapsed() < span {
            trouble::set_up(&peers, 1, false);
            let_pass(EACH);
            trouble::set_up(&peers, 1, true);
            let_pass(EACH);
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            books.push(caller.join().expect("a caller that ends well"));
        }
    });
    eventually("everything is settled", || {
        (node.metric("pinion_unsettled", &[]) == 0).then_some(())
    });

    let state = peers.state();
    let counts = compare::books(&state, &all, &books);
    let asked: usize = counts.values().sum();
    let told = |code: &str| counts.get(code).copied().unwrap_or(0);
    let unsent = node.metric("pinion_declines_total", &["not_sent"]);
    eprintln!("{span:?}: {asked} requests, told {counts:?}; {unsent} of them found no other node");
    assert_eq!(told("00") + told("68") + told("91"), asked, "{counts:?}");
    assert!(1000 < told("00"), "{counts:?}");
    // 91 is for cards that wait for their reversal: the other node takes whatever was not sent.
    assert!(told("91") * 100 <= asked, "more than one in a hundred is refused: {counts:?}");
    node.stop();
    node.audit();
    let journal = compare::journals(&state, &node.command(&["audit", "export"]));
    for (key, change) in &journal {
        let unknown = change.outcome == "outcome_unknown";
        assert!(!unknown || change.host == 0, "{key} was at the node that stayed, and is unknown");
    }
    // Each break takes with it what its two connections had under way, which is what callers have under way at most.
    let unknown = journal.values().filter(|change| change.outcome == "outcome_unknown").count();
    assert_eq!(unknown, told("68"), "{counts:?}");
}
