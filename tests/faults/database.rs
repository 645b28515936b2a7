//! A database that is away, slow or standing still, and a switch that leaves it in good order.
//!
//! What is promised: whoever asks is answered, at once where nothing can be done; what was refused was not done; the
//! switch goes on by itself. **Never here:** a database that dies under load (`active_active`), who may connect
//! (`database_access`), the bound of the store's own queue (unit tests).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::active_active::changes_in;
use crate::support::database::{GUARDED, Held, make};
use crate::support::message::{Client, Message, change, echo, pans, verify};
use crate::support::node::{Node, PINS, Setup};
use crate::support::pair::{Pair, section};
use crate::support::peers::{BIN, Peers, SEED};
use crate::support::postgres::{Cluster, Order};
use crate::support::{eventually, now};

/// Changes of cards from their first PIN to their second.
fn changes(node: &Node, pans: &[String]) -> Vec<Message> {
    pans.iter().map(|pan| change(pan, PINS[0], PINS[1], node.number())).collect()
}

fn all(code: &str, count: usize) -> Vec<String> {
    vec![code.to_owned(); count]
}

/// The same requests again.
fn repeated(requests: &[Message]) -> Vec<Message> {
    requests.iter().map(|request| request.clone().under("0101")).collect()
}

/// The switch starts without its database and says so; requests are refused at once, and served as soon as the database
/// is there. Without it, it can be stopped.
#[test]
fn a_database_that_is_away_at_the_start_is_waited_for() {
    const CARDS: usize = 40;
    let cluster = Cluster::start(&[]);
    make(&cluster, "awaited", "pinion");
    let database = section(&cluster.url("awaited"), 1);
    let cards = CARDS as u64;
    let mut node = Node::new(&Setup { database: &database, cards, ..Setup::DEFAULT });
    cluster.order(Order::Stop);
    for first in [true, false] {
        let started = node.spawn();
        node.give_child(started);
        eventually("the admin port is up", || node.page("/live"));
        if first {
            node.stop();
        }
    }
    let pid = node.pid();
    let mut client = eventually("the link is up", || Client::try_connect(node.atm).ok());
    assert_eq!(client.code(&echo(node.number())), "00", "the link lives");
    let requests = changes(&node, &node.pans);
    let begun = now();
    let codes: Vec<String> = requests.iter().map(|request| client.code(request)).collect();
    assert_eq!(codes, all("96", CARDS));
    // One after the other: each would wait for a connection otherwise, which may take two seconds.
    assert!(begun.elapsed() < Duration::from_secs(2), "refused at once: {:?}", begun.elapsed());
    let (status, page) = node.page("/ready").expect("a page");
    assert_eq!(status, 503);
    assert!(page.contains("database: ") && page.contains("onnect"), "says why: {page}");
    assert_eq!(node.page("/live").expect("a page").0, 200);
    eventually("the metric behind the alert says it", || {
        let (_, page) = node.page("/metrics")?;
        page.contains("pinion_ready{latch=\"store\"} 0").then_some(())
    });

    cluster.order(Order::Start);
    eventually("ready", || node.page("/ready").filter(|(status, _)| *status == 200));
    assert_eq!(node.pid(), pid, "without a restart");
    // The same connection; nothing of what was refused was done or kept.
    assert_eq!(client.codes(&repeated(&requests)), all("00", CARDS));

    // Gone again, and stopped while it is gone.
    drop(client);
    cluster.order(Order::Stop);
    eventually("red again", || node.page("/ready").filter(|(status, _)| *status == 503));
    node.stop();
    cluster.order(Order::Start);
    assert_eq!(changes_in(&node), CARDS, "each change once");
    node.audit();
}

/// Another session holds a table, first the one that changes are written to, then the one that cards are read from.
/// What a link has no room for is refused at once, what it has is answered while the table is still held, nothing of it
/// was done, and the switch does not grow.
#[test]
fn a_table_that_is_held_sheds_what_comes_and_answers_what_waits() {
    const CARDS: usize = 400;
    const ROOM: usize = 16;
    const GROWTH_KIB: u64 = 16 * 1024;
    let cluster = &*GUARDED;
    make(cluster, "held", "pinion");
    let database = section(&cluster.url("held"), 1);
    let link = &format!("in_flight = {ROOM}");
    let setup = Setup { database: &database, cards: CARDS as u64, link, ..Setup::DEFAULT };
    let node = Node::started(&Setup { level: "info", ..setup });
    let mut client = Client::connect(node.atm);
    // What the first requests of a process allocate is no growth.
    let warm = node.pans.iter().map(|pan| verify(pan, PINS[0], node.number()));
    warm.for_each(|request| assert_eq!(client.code(&request), "00"));
    let (before, mut shed) = (node.resident_kib(), 0);
    let (parts, mut done) = (node.pans.split_at(CARDS / 2), 0);
    for (table, pans) in [("journal", parts.0), ("card", parts.1)] {
        let requests = changes(&node, pans);
        let held = Held::take(cluster, "held", table);
        let bytes: Vec<u8> = requests.iter().flat_map(Message::framed).collect();
        client.write(&bytes).expect("written");
        let answers: Vec<Message> =
            requests.iter().map(|_| client.read().expect("an answer")).collect();
        let codes: BTreeMap<u32, &str> = answers.iter().map(|a| (a.stan(), a.code())).collect();
        assert_eq!(codes.len(), requests.len(), "{table}: an answer to each");
        // Nothing was done yet, since the table is held.
        assert!(codes.values().all(|code| *code == "91"), "{table}: {codes:?}");
        // Those that had a place were answered last: the others waited for nothing.
        let first: Vec<u32> = requests[..ROOM].iter().map(Message::stan).collect();
        let (at_once, waited) = answers.split_at(answers.len() - ROOM);
        assert!(waited.iter().all(|answer| first.contains(&answer.stan())), "{table}: {first:?}");
        shed += at_once.len() as u64;
        assert_eq!(node.metric("pinion_shed_total", &["atm-1"]), shed, "{table}");
        assert_eq!(client.code(&echo(node.number())), "00", "the link lives");
        let queued = node.json("/status")["store"]["queue_depth"].as_u64().expect("a number");
        assert!(queued <= ROOM as u64, "{table}: {queued} wait");
        drop(held);

        let mut client = Client::connect(node.other);
        eventually("changes go on", || {
            let code = client.code(&repeated(&requests[..1])[0]);
            assert!(code == "00" || code == "91", "{table}: {code}");
            (code == "00").then_some(())
        });
        // The others have their first PIN, and are changed when they are asked again.
        let still: Vec<Message> =
            pans[1..].iter().map(|pan| verify(pan, PINS[0], node.number())).collect();
        assert_eq!(client.codes(&still), all("00", still.len()), "{table}: nothing was done");
        let codes = client.codes(&repeated(&requests));
        assert_eq!(codes, all("00", requests.len()), "{table}: nothing was kept");
        done += requests.len();
    }
    let grown = node.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the switch grew by {grown} KiB");
    assert!(node.page("/ready").is_some_and(|(status, _)| status == 200));
    assert_eq!(changes_in(&node), done, "each change once");
    node.audit();
}

/// A switch that is stopped gives back what it alone may do: the other need not wait until its leases run out.
#[test]
fn a_switch_that_stops_leaves_its_reversals_to_the_other_at_once() {
    const CHANGES: usize = 3;
    const PIN: &str = PINS[0];
    let cluster = &*GUARDED;
    make(cluster, "handed_over", "pinion");
    let peers = Peers::start(CHANGES, PIN, 1);
    let more = |stans: &str| peers.section(stans);
    let mut pair = Pair::new(&cluster.url("handed_over"), 1, more);
    let pans = pans(BIN, SEED, CHANGES as u64);
    for node in &mut pair.nodes {
        for pan in &pans {
            node.secrets.card(pan, PIN);
        }
    }
    let leases = |number: usize| {
        let valid = "FROM lease WHERE clock_timestamp() < until AND node";
        cluster.psql("handed_over", &format!("SELECT count(*) {valid} = {number} AND 0 <= first"))
    };
    let [one, two] = &mut pair.nodes;
    one.start();
    eventually("it has the leases of both hosts", || (leases(1) == "2").then_some(()));
    two.start();
    eventually("the hosts are up", || (one.metric("pinion_hosts_up", &[]) == 2).then_some(()));
    // Hosts that do what they are asked, and say nothing.
    let silent = json!({"seed": 1, "faults": {"drop_answer": {"share": 1.0, "reversals": 1.0}}});
    peers.tell("/faults", &silent);
    let codes = Client::connect(one.atm).codes(&changes(one, &pans));
    assert_eq!(codes, all("68", CHANGES));
    eventually("it tries to take them back", || {
        (0 < one.metric("pinion_reversals_total", &["unanswered"])).then_some(())
    });

    one.stop();
    assert_eq!(leases(1), "0", "given back");
    peers.tell("/faults", &json!({}));
    eventually("the other has sent them", || {
        (two.metric("pinion_reversals_total", &["acknowledged"]) == CHANGES as u64).then_some(())
    });
    // Its number is free, too: the next process with it is there at once.
    one.start();
    assert!(!one.output().contains("is taken by"), "the number was not given back");
    pair.stop();
    pair.nodes[0].audit();
    let state = peers.state();
    for card in state["cards"].as_array().expect("cards") {
        assert_eq!(card["pin"], PIN, "taken back: {card}");
    }
}
