//! Four times more changes than the hosts can do: the surplus is refused at once, the rest is done in good time.
//!
//! The sender is an open loop: a request is sent when it is due, whatever the answers do, and its latency counts from
//! then. Each request has a card of its own, so that at the end the host's cards tell what was done. **Never here:**
//! a link's own bound (`overload`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::message::{Client, change, pans};
use crate::support::node::{Node, Setup};
use crate::support::peers::{BIN, Peers, SEED};
use crate::support::{eventually, let_pass, now};

const PIN: &str = "917364";
const NEW: &str = "582046";
/// Changes a second that one of the two nodes does.
const CAPACITY: u32 = 400;
const FLOOD: Part = Part { rate: 8 * CAPACITY, seconds: 4 };
const AFTER: Part = Part { rate: CAPACITY, seconds: 3 };
const CONNECTIONS: u32 = 4;
/// `request_ms` of [`Peers::section`].
const REQUEST: Duration = Duration::from_millis(700);
/// What the switch may grow by during the flood, once it has seen a second of it.
const GROWTH_KIB: u64 = 32 * 1024;

/// Requests at one rate.
struct Part {
    rate: u32,
    seconds: u32,
}

impl Part {
    const fn count(&self) -> u32 {
        self.rate * self.seconds
    }
}

/// When request `n` is due, from the start.
fn due(n: u32) -> Duration {
    let flood = FLOOD.count();
    if n < flood {
        Duration::from_secs(n.into()) / FLOOD.rate
    } else {
        Duration::from_secs(FLOOD.seconds.into())
            + Duration::from_secs((n - flood).into()) / AFTER.rate
    }
}

/// One answer.
struct Told {
    n: u32,
    code: String,
    latency: Duration,
}

/// Sends the requests of one connection when they are due, and reads their answers.
fn converse(port: u16, requests: &BTreeMap<u32, Vec<u8>>, begun: Instant) -> Vec<Told> {
    let mut client = Client::connect(port);
    let mut writer = client.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut left = requests.iter().peekable();
            while left.peek().is_some() {
                let at = begun.elapsed();
                let mut bytes = Vec::new();
                while let Some((_, request)) = left.next_if(|(n, _)| due(**n) <= at) {
                    bytes.extend(request);
                }
                writer.write_all(&bytes).expect("written");
                let_pass(Duration::from_millis(4));
            }
        });
        let read = |_| {
            let answer = client.read().expect("an answer to each request");
            let (n, at) = (answer.stan(), begun.elapsed());
            Told { n, code: answer.code().to_owned(), latency: at.saturating_sub(due(n)) }
        };
        (0..requests.len()).map(read).collect()
    })
}

#[test]
fn what_the_hosts_cannot_do_is_refused_at_once() {
    let count = FLOOD.count() + AFTER.count();
    let peers = Peers::start(count as usize, PIN, 1);
    let mut node = Node::new(&Setup { level: "info", more: &peers.section(""), ..Setup::DEFAULT });
    let all = pans(BIN, SEED, count.into());
    for pan in all.iter().step_by(1000) {
        node.secrets.card(pan, PIN);
    }
    let mut requests = vec![BTreeMap::new(); CONNECTIONS as usize];
    for (n, pan) in (0..).zip(&all) {
        let bytes = change(pan, PIN, NEW, n).framed();
        requests[(n % CONNECTIONS) as usize].insert(n, bytes);
    }
    node.start();
    eventually("both nodes are up", || (node.metric("pinion_hosts_up", &[]) == 2).then_some(()));
    peers.tell("/faults", &json!({ "capacity": CAPACITY }));

    let begun = now();
    let until = |at: Duration| let_pass(at.saturating_sub(begun.elapsed()));
    let mut told: Vec<Told> = Vec::new();
    let mut grown = 0;
    std::thread::scope(|scope| {
        let mut connections = Vec::new();
        for (part, port) in requests.iter().zip([node.atm, node.other].into_iter().cycle()) {
            connections.push(scope.spawn(move || converse(port, part, begun)));
        }
        until(Duration::from_secs(1));
        let before = node.resident_kib();
        until(due(FLOOD.count()));
        grown = node.resident_kib().saturating_sub(before);
        for connection in connections {
            told.extend(connection.join().expect("answers"));
        }
    });

    let distinct: BTreeSet<u32> = told.iter().map(|told| told.n).collect();
    assert_eq!((told.len(), distinct.len()), (count as usize, count as usize), "one answer each");
    let (flood, after): (Vec<&Told>, _) = told.iter().partition(|told| told.n < FLOOD.count());
    let recovered = due(FLOOD.count()) + Duration::from_secs(1);
    let late = after.iter().filter(|told| recovered <= due(told.n));
    report("flood", &flood);
    report("after", &after);
    eprintln!("grown by {grown} KiB");
    let refused: Vec<&str> = late.map(|told| &*told.code).filter(|code| *code != "00").collect();

    let of = |code: &str| told.iter().filter(|told| told.code == code).count();
    assert_eq!(of("00") + of("91"), told.len(), "done or refused, nothing else");
    let done = flood.iter().filter(|told| told.code == "00").count();
    let could = 2 * CAPACITY * FLOOD.seconds;
    assert!(could as usize * 8 / 10 <= done, "{done} of {could} that the hosts could do");
    assert!(percentile(&flood, "00", 99) < REQUEST, "p99 of what was done");
    assert!(percentile(&flood, "91", 99) < REQUEST, "p99 of what was refused");
    assert_eq!(refused, [""; 0], "a second after the flood");
    assert!(grown <= GROWTH_KIB, "grown by {grown} KiB during the flood");
    eventually("nothing is unsettled", || {
        (node.metric("pinion_unsettled", &[]) == 0).then_some(())
    });

    let state = peers.state();
    let cards = state["cards"].as_array().expect("cards");
    let changed: BTreeSet<&str> = cards
        .iter()
        .filter(|card| card["pin"] == NEW)
        .map(|card| card["pan"].as_str().expect("a number"))
        .collect();
    assert_eq!(changed.len(), of("00"));
    for told in &told {
        let at_host = changed.contains(all[told.n as usize].as_str());
        assert_eq!(told.code == "00", at_host, "request {} was told {}", told.n, told.code);
    }
    node.stop();
    node.audit();
}

/// Latency of the answers with this code.
fn percentile(told: &[&Told], code: &str, percent: usize) -> Duration {
    let of_code = told.iter().filter(|told| told.code == code);
    let mut latencies: Vec<Duration> = of_code.map(|told| told.latency).collect();
    latencies.sort_unstable();
    let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
    latencies.get(at).copied().unwrap_or_default()
}

fn report(what: &str, told: &[&Told]) {
    let codes: BTreeSet<&str> = told.iter().map(|told| &*told.code).collect();
    for code in codes {
        let count = told.iter().filter(|told| told.code == code).count();
        let [p50, p99, most] = [50, 99, 100].map(|percent| percentile(told, code, percent));
        eprintln!("{what}: {count} told {code}, p50 {p50:?}, p99 {p99:?}, max {most:?}");
    }
}
