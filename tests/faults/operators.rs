//! What operators of two switches over one PostgreSQL see in `/status`: each other, who sends whose reversals, whether
//! their configurations agree, and a database that is gone.
//!
//! **Never here:** what callers are answered meanwhile (`active_active`).

use std::fs;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::Node;
use crate::support::pair::Pair;
use crate::support::peers::Peers;
use crate::support::postgres::{Cluster, Order};

/// What stands in the URL, and is a secret where the database asks for one.
const PASSWORD: &str = "none-of-anybodys-business";

fn status(node: &Node) -> Option<Value> {
    let (_, body) = node.page("/status")?;
    serde_json::from_str(&body).ok()
}

/// Waits until `/status` is as wanted; what it is then.
#[track_caller]
fn until(what: &str, node: &Node, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || status(node).filter(|status| is_so(status)))
}

/// Number, epoch and presence of each switch.
fn switches(status: &Value) -> Value {
    let rows = status["switches"].as_array().expect("switches").iter();
    rows.map(|row| json!([row["node"], row["epoch"], row["connected"]])).collect()
}

/// Who sends the reversals of each host.
fn senders(status: &Value) -> Vec<Option<u64>> {
    let rows = status["hosts"].as_array().expect("hosts").iter();
    rows.map(|row| row["reversals_by"].as_u64()).collect()
}

#[test]
fn each_switch_sees_the_other_and_who_sends_reversals() {
    let cluster = Cluster::start(&[]);
    cluster.create("seen", "template0");
    let peers = Peers::start(1, "1234", 1);
    let mut pair = Pair::new(&cluster.url("seen"), 1, |stans| peers.section(stans));
    pair.start();
    let both = json!([[1, 1, true], [2, 1, true]]);
    let held = |status: &Value| senders(status).iter().all(Option::is_some);
    for (node, number) in pair.nodes.iter().zip(1..) {
        let seen = until("both are seen", node, |status| {
            switches(status) == both && held(status) && status["store"]["agrees"] == true
        });
        let store = &seen["store"];
        assert_eq!((&store["kind"], &store["node"]), (&json!("postgres"), &json!(number)));
        assert_eq!((&store["database"], &store["away_since"]), (&json!("there"), &Value::Null));
        assert_eq!(seen["switches"][0]["name"], "faults");
        assert_eq!(seen["switches"][1]["program"], env!("CARGO_PKG_VERSION"));
        let (_, page) = node.page("/").expect("the page");
        assert!(page.contains("<h2>switches</h2>") && page.contains("reversals_by"), "{page}");
    }
    // Both say the same of who sends, and it is what the database has.
    let sql =
        "SELECT node FROM lease WHERE 0 <= first AND clock_timestamp() < until ORDER BY first";
    let held_by = cluster.psql("seen", sql);
    let held_by: Vec<Option<u64>> = held_by.lines().map(|node| node.parse().ok()).collect();
    for node in &pair.nodes {
        assert_eq!(senders(&status(node).expect("a status")), held_by);
    }

    // Who sends dies: it is gone at once, and the other sends, once the lease has run out.
    let dying = usize::from(held_by[0] == Some(2));
    let (number, other) = (dying as u64 + 1, 2 - dying as u64);
    pair.nodes[dying].kill();
    let one = |living: &Value| senders(living).iter().all(|sender| *sender == Some(other));
    let seen = until("the other takes over", &pair.nodes[1 - dying], one);
    let mut gone = both;
    gone[dying][2] = json!(false);
    assert_eq!(switches(&seen), gone);
    pair.nodes[dying].start();
    gone[dying] = json!([number, 2, true]);
    until("its second process", &pair.nodes[1 - dying], |status| switches(status) == gone);
    pair.stop();
}

#[test]
fn configurations_that_drift_apart_are_seen() {
    let cluster = Cluster::start(&[]);
    cluster.create("drifting", "template0");
    let mut pair = Pair::new(&cluster.url("drifting"), 1, |_| String::new());
    pair.start();
    let [one, two] = &pair.nodes;
    for node in [one, two] {
        until("they agree", node, |status| status["store"]["agrees"] == true);
    }
    let file = two.path("pinion.toml");
    let text = fs::read_to_string(&file).expect("the configuration");
    let other =
        text.replacen("name = \"visa-debit\"\n", "name = \"visa-debit\"\ntries_max = 2\n", 1);
    assert_ne!(text, other);
    fs::write(&file, other).expect("written");
    two.signal(Signal::HUP);
    for (node, other) in [(one, 1), (two, 0)] {
        let seen = until("they differ", node, |status| status["store"]["agrees"] == false);
        let rows = &seen["switches"];
        assert_eq!(rows[other]["differences"], json!(["product \"visa-debit\" differs"]));
        assert_eq!(rows[1 - other]["differences"], json!([]), "a switch is as it is itself");
        eventually("its metric", || {
            (node.metric("pinion_switches_differ", &[]) == 1).then_some(())
        });
    }
    fs::write(&file, text).expect("written");
    two.signal(Signal::HUP);
    for node in [one, two] {
        until("they agree again", node, |status| status["store"]["agrees"] == true);
        eventually("its metric", || {
            (node.metric("pinion_switches_differ", &[]) == 0).then_some(())
        });
    }
    pair.stop();
}

#[test]
fn a_database_that_is_gone_is_told_with_its_time() {
    let cluster = Cluster::start(&[]);
    cluster.create("gone", "template0");
    let url = cluster.url("gone").replace("pinion@", &format!("pinion:{PASSWORD}@"));
    let mut pair = Pair::new(&url, 1, |_| String::new());
    pair.start();
    let at = |status: &Value| -> Timestamp {
        let since = status["store"]["away_since"].as_str().expect("a time");
        since.parse().expect("a time as RFC 3339 has it")
    };
    // As old as what is told: milliseconds.
    let now = || Timestamp::from_millisecond(Timestamp::now().as_millisecond()).expect("a time");
    let is_away = |status: &Value| status["store"]["database"] == "away";
    until("both are seen", &pair.nodes[0], |status| {
        switches(status) == json!([[1, 1, true], [2, 1, true]])
    });
    let before = now();
    // One of them ends with the database, and starts while it is gone.
    pair.nodes[1].stop();
    cluster.order(Order::Kill);
    let second = pair.nodes[1].spawn();
    pair.nodes[1].give_child(second);
    let mut told = Vec::new();
    // The second has read nothing in this life.
    for (node, known) in pair.nodes.iter().zip([2, 0]) {
        let seen = until("it is gone", node, is_away);
        let since = at(&seen);
        assert!(before <= since && since <= now(), "{before} to {}: {since}", now());
        assert!(seen["store"]["away_why"].as_str().is_some_and(|why| !why.is_empty()), "{seen}");
        assert_eq!(seen["store"]["agrees"], Value::Null, "nobody knows who is there");
        let rows = seen["switches"].as_array().expect("switches");
        assert_eq!(rows.len(), known);
        assert!(rows.iter().all(|row| row["connected"].is_null()), "{seen}");
        told.push(since);
    }
    // The words may change while it stays away, the time does not.
    for (node, since) in pair.nodes.iter().zip(told) {
        eventually("it is not ready", || node.page("/ready").filter(|(status, _)| *status == 503));
        assert_eq!(at(&status(node).expect("a status")), since);
        for path in ["/", "/ready", "/status"] {
            let (_, page) = node.page(path).expect("a page");
            assert!(!page.contains(PASSWORD), "{path}: {page}");
        }
        assert!(!node.output().contains(PASSWORD), "{}", node.output());
    }
    cluster.order(Order::Start);
    for node in &pair.nodes {
        // What was read before it went is shown until the next look.
        let seen = until("it is there again", node, |status| {
            status["store"]["database"] == "there"
                && status["store"]["agrees"] == true
                && switches(status) == json!([[1, 1, true], [2, 2, true]])
        });
        for none in ["away_since", "away_why", "poisoned"] {
            assert_eq!(seen["store"][none], Value::Null, "{none}");
        }
    }
    pair.stop();
}
