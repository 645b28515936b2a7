//! Cards that live at Postilion: changes go to one of two simulated nodes, and whatever happens has a name.
//!
//! The simulator opens the blocks it gets with arithmetic of its own under `zpk.postilion` (its tests hold it against
//! psec), and tells which PIN it then believes. Requests carry psec's blocks under `zpk.atm`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::changes::check_echo;
use crate::support::iso::{ISO87_ASCII, ISO93_ASCII, Message, POSTILION};
use crate::support::node::{Node, Place, done, pinion, world_links};
use crate::support::peers::Peers;
use crate::support::request::Terminal;
use crate::support::vectors::VERVE;
use crate::support::{eventually, now};

const NODE: Terminal = Terminal::new(&POSTILION, "zpk.atm");
const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
const NINETY_THREE: Terminal = Terminal::new(&ISO93_ASCII, "zpk.atm");

/// A switch and two nodes.
struct Pair {
    node: Node,
    peers: Peers,
}

impl Pair {
    /// Both, connected. `more` goes into the `[postilion]` section.
    #[track_caller]
    fn start(more: &str) -> Self {
        Self::place(more).1
    }

    #[track_caller]
    fn place(more: &str) -> ((), Self) {
        let peers = Peers::start(0, "1111", 1);
        let place = Place::new(world_links());
        place.replace("[[link]]", &format!("{}\n[[link]]", peers.section(more)));
        let pair = Self { node: place.start(), peers };
        pair.until_up(2);
        ((), pair)
    }

    /// Waits until so many nodes take requests.
    #[track_caller]
    fn until_up(&self, count: u64) {
        eventually("nodes are up", || {
            (self.node.metric("pinion_hosts_up", &[]) == count).then_some(())
        });
    }

    #[track_caller]
    fn faults(&self, faults: &Value) {
        self.peers.tell("/faults", &json!({ "faults": faults }));
    }

    /// The answer to a request on a link.
    #[track_caller]
    fn ask(&self, link: &str, request: &Message) -> Message {
        let answer = self.node.connect(link).ask(request);
        check_echo(request, &answer);
        answer
    }

    #[track_caller]
    fn check(&self, what: &str, link: &str, request: &Message, code: &str) {
        assert_eq!(self.ask(link, request).code(), code, "{what}");
    }

    /// What the nodes believe of the card.
    #[track_caller]
    fn card(&self) -> Value {
        let state = self.peers.state();
        let cards = state["cards"].as_array().expect("cards").clone();
        cards
            .into_iter()
            .find(|card| card["pan"] == VERVE)
            .unwrap_or_else(|| json!({ "changes": [] }))
    }

    /// The newest change the nodes know of.
    #[track_caller]
    fn newest(&self) -> Value {
        self.card()["changes"].as_array().and_then(|all| all.last().cloned()).expect("a change")
    }

    #[track_caller]
    fn until_settled(&self) {
        eventually("nothing is unsettled", || {
            // Asked of the store: what /status counts may be a second old.
            let (_, listed) = self.node.get("/admin/unsettled");
            let listed: Value = serde_json::from_str(&listed).expect("JSON");
            listed["unsettled"].as_array().is_some_and(Vec::is_empty).then_some(())
        });
    }

    fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.node.place.admin)
    }
}

#[test]
fn a_change_goes_to_a_node_and_back() {
    let pair = Pair::start("");
    let change = NODE.change(VERVE, "1111", "2580");
    let answer = pair.ask("postilion-in", &change);
    assert_eq!((&*answer.mti, &*answer.code()), ("0610", "00"));
    assert_eq!(pair.card()["pin"], "2580", "what the node opened is what the caller chose");
    let sent = pair.newest();
    assert_eq!((&sent["times_processed"], &sent["state"]), (&json!(1), &json!("applied")));
    assert_ne!(sent["stan"], change.text(11), "the node sees a trace number of the switch");
    assert_eq!(sent["terminal"], change.text(41));

    pair.check("a repeat", "postilion-in", &change.as_mti("0601"), "00");
    assert_eq!(pair.newest()["times_received"], 1, "a repeat does not reach a node");
    pair.check("the old PIN", "atm-1", &ATM.change(VERVE, "1111", "1379"), "55");
    pair.check("the same PIN", "atm-1", &ATM.change(VERVE, "2580", "2580"), "C0");
    // Three digits: the node's code does not fit, so the reason's own is given.
    pair.check("the same PIN, 1993", "iso93", &NINETY_THREE.change(VERVE, "2580", "2580"), "182");
    pair.check("what is not forwarded", "atm-1", &ATM.verify(VERVE, "2580"), "12");
    assert_eq!(pair.card()["pin"], "2580");
    let (up, counted) = (
        pair.node.metric("pinion_requests_total", &[("route", "postilion"), ("code", "00")]),
        pair.node.metric("pinion_host_request_seconds_count", &[]),
    );
    assert!(1 <= up && 4 <= counted, "{up} {counted}");
}

/// The sample of the demo world, as it is printed there: 1111 to 2222.
#[test]
fn the_sample_of_the_world_works() {
    let pair = Pair::start("");
    let block = |pin: &str| crate::support::vectors::block("zpk.atm", VERVE, pin);
    let change = NODE.change_blocks(VERVE, &block("1111"), &block("2222"));
    pair.check("the world's sample", "postilion-in", &change, "00");
    assert_eq!(pair.card()["pin"], "2222");
}

#[test]
fn with_one_node_stopped_the_other_takes_it_and_with_both_nothing_is_sent() {
    let pair = Pair::start("");
    pair.peers.tell("/nodes/1/stop", &json!({}));
    pair.until_up(1);
    pair.check("node 2 alone", "postilion-in", &NODE.change(VERVE, "1111", "2580"), "00");
    assert_eq!(pair.newest()["node"], 2);

    pair.peers.tell("/nodes/2/stop", &json!({}));
    pair.until_up(0);
    let change = NODE.change(VERVE, "2580", "1379");
    let mut connection = pair.node.connect("postilion-in");
    let begun = now();
    assert_eq!(connection.code(&change), "91");
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(pair.card()["changes"].as_array().map(Vec::len), Some(1), "nothing was sent");
    eventually("/ready tells it, and stays 200 for the cards of the switch's own", || {
        let (status, ready) = pair.node.get("/ready");
        (status == 200 && ready.contains("no node of Postilion")).then_some(())
    });

    // Nothing was kept either: the same request is tried again.
    pair.peers.tell("/nodes/1/start", &json!({}));
    pair.until_up(1);
    pair.check("the repeat", "postilion-in", &change.as_mti("0601"), "00");
    assert_eq!(pair.card()["pin"], "1379");
}

#[test]
fn no_answer_is_unknown_and_reversed() {
    let mut pair = Pair::start("");
    pair.faults(&json!({ "drop_answer": { "share": 1, "reversals": 0 } }));
    let change = NODE.change(VERVE, "1111", "2580");
    pair.check("no answer", "postilion-in", &change, "68");
    pair.check("its repeat", "postilion-in", &change.as_mti("0601"), "68");
    pair.until_settled();
    assert_eq!(pair.newest()["state"], "reversed");
    assert_eq!(pair.card()["pin"], "1111");
    assert_eq!(pair.newest()["times_processed"], 1);
    let acknowledged = [("result", "acknowledged")];
    assert_eq!(pair.node.metric("pinion_reversals_total", &acknowledged), 1);
    pair.faults(&json!({}));
    pair.check("the old PIN again", "postilion-in", &NODE.change(VERVE, "1111", "1379"), "00");
    pair.node.stop();
    let config = pair.node.place.config();
    done(&["audit", "verify", "--config", &config], "");
}

#[test]
fn while_a_reversal_is_under_way_the_card_waits() {
    let pair = Pair::start("");
    pair.faults(&json!({ "drop_answer": { "share": 1, "reversals": 1 } }));
    pair.check("no answer", "atm-1", &ATM.change(VERVE, "1111", "2580"), "68");
    pair.check("a further change", "atm-1", &ATM.change(VERVE, "1111", "1379"), "91");
    assert_eq!(pair.card()["changes"].as_array().map(Vec::len), Some(1), "it was not sent");
    pair.faults(&json!({}));
    pair.until_settled();
    pair.check("and again", "atm-1", &ATM.change(VERVE, "1111", "1379"), "00");
}

#[test]
fn a_late_answer_is_recognised() {
    let pair = Pair::start("");
    pair.faults(&json!({ "answer_late": { "share": 1, "reversals": 0, "ms": 1000 } }));
    pair.check("too late", "atm-1", &ATM.change(VERVE, "1111", "2580"), "68");
    eventually("the late answer", || {
        (pair.node.metric("pinion_late_answers_total", &[]) == 1).then_some(())
    });
    pair.until_settled();
    assert_eq!(pair.card()["pin"], "1111");
}

#[test]
fn a_caller_takes_a_change_back() {
    let pair = Pair::start("");
    let change = NODE.change(VERVE, "1111", "2580");
    pair.check("the change", "postilion-in", &change, "00");
    let reversal = NODE.reversal("0420", &change);
    let answer = pair.ask("postilion-in", &reversal);
    assert_eq!((&*answer.mti, &*answer.code()), ("0430", "00"));
    pair.until_settled();
    assert_eq!(
        (&pair.card()["pin"], &pair.newest()["state"]),
        (&json!("1111"), &json!("reversed"))
    );
    pair.check("its repeat", "postilion-in", &reversal.as_mti("0421"), "00");
    // A reversal without an original: refused, and so is its late original.
    let never = NODE.change(VERVE, "1111", "1379");
    pair.check("no original", "postilion-in", &NODE.reversal("0420", &never), "25");
    pair.check("the late original", "postilion-in", &never, "94");
    assert_eq!(pair.card()["pin"], "1111");
}

#[test]
fn an_operator_takes_a_node_out_and_back() {
    let pair = Pair::start("");
    let admin = pair.admin();
    done(&["hosts", "drain", "postilion-1", "--admin", &admin], "");
    let mut pins = ["1111", "2580"];
    for _ in 0..4 {
        pair.check("a change", "atm-1", &ATM.change(VERVE, pins[0], pins[1]), "00");
        assert_eq!(pair.newest()["node"], 2);
        pins.reverse();
    }
    let listed = done(&["hosts", "list", "--json", "--admin", &admin], "");
    assert!(
        listed.lines().next().is_some_and(|line| line.contains("\"drained\":true")),
        "{listed}"
    );
    done(&["hosts", "resume", "postilion-1", "--admin", &admin], "");
    let nodes: Vec<Value> = (0..4)
        .map(|_| {
            pair.check("a change", "atm-1", &ATM.change(VERVE, pins[0], pins[1]), "00");
            pins.reverse();
            pair.newest()["node"].clone()
        })
        .collect();
    assert!(nodes.contains(&json!(1)) && nodes.contains(&json!(2)), "both take turns: {nodes:?}");
    let unknown = pinion(&["hosts", "drain", "nobody", "--admin", &admin]).output().expect("run");
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn a_change_is_settled_by_hand_and_the_audit_knows() {
    let mut pair = Pair::start("");
    let admin = pair.admin();
    pair.faults(&json!({ "drop_answer": { "share": 1, "reversals": 1 } }));
    pair.check("no answer", "atm-1", &ATM.change(VERVE, "1111", "2580"), "68");
    let listed = done(&["unsettled", "list", "--json", "--admin", &admin], "");
    let row: Value = serde_json::from_str(listed.lines().next().expect("a row")).expect("JSON");
    let key = row["key"].as_str().expect("a key");
    assert_eq!(row["terminal"], "TERM0001");
    let shown = done(&["unsettled", "show", key, "--json", "--admin", &admin], "");
    assert!(shown.contains(key));
    let settle = ["unsettled", "settle", key, "--by", "ann", "--reason", "ticket 812"];
    done(&[&settle[..], &["--admin", &admin]].concat(), "");
    pair.until_settled();
    let again = pinion(&[&settle[..], &["--admin", &admin]].concat()).output().expect("run");
    assert_eq!(again.status.code(), Some(1), "told twice");
    assert_eq!(done(&["unsettled", "list", "--admin", &admin], "").trim(), "none");
    // It survives a restart as settled.
    pair.node.kill_and_restart();
    pair.until_settled();
    pair.node.stop();
    let config = pair.node.place.config();
    done(&["audit", "verify", "--config", &config], "");
    let records = done(&["audit", "export", "--config", &config], "");
    assert!(
        records.lines().any(|line| line.contains("ticket 812") && line.contains(key)),
        "{records}"
    );
}

/// Killed after the intent and before an answer: after the restart the change is unknown, and reversed.
#[test]
fn a_crash_between_intent_and_answer_ends_in_a_reversal() {
    let mut pair = Pair::start("");
    pair.faults(&json!({ "drop_answer": { "share": 1, "reversals": 0 } }));
    let change = ATM.change(VERVE, "1111", "2580");
    let mut connection = pair.node.connect("atm-1");
    connection.send(&change);
    eventually("the node has it", || (pair.card()["pin"] == "2580").then_some(()));
    pair.node.kill_and_restart();
    pair.check("the repeat", "atm-1", &change.as_mti("0101"), "68");
    pair.until_settled();
    assert_eq!(
        (&pair.card()["pin"], &pair.newest()["state"]),
        (&json!("1111"), &json!("reversed"))
    );
}

#[test]
fn zone_keys_are_exchanged_both_ways() {
    let exchange = "[postilion.key_exchange]\nzmk = \"zmk.partner\"\n";
    let mut pair = Pair::start(exchange);
    let admin = pair.admin();
    let mut pins = ["1111", "2580"];
    let mut change = |pair: &Pair| {
        pair.check("a change", "atm-1", &ATM.change(VERVE, pins[0], pins[1]), "00");
        pins.reverse();
    };
    change(&pair);
    let check_value = |pair: &Pair| {
        let (_, status) = pair.node.get("/status");
        let status: Value = serde_json::from_str(&status).expect("JSON");
        let keys = status["keys"].as_array().expect("keys").clone();
        keys.into_iter().find(|key| key["name"] == "zpk.postilion").expect("the key")["kcv"].clone()
    };
    let first = check_value(&pair);
    pair.peers.tell("/rekey", &json!({}));
    let second = eventually("the pushed key is taken", || {
        Some(check_value(&pair)).filter(|value| *value != first)
    });
    change(&pair);
    done(&["hosts", "exchange-key", "postilion-1", "--admin", &admin], "");
    let third = check_value(&pair);
    assert_ne!(third, second);
    change(&pair);
    // A key with a wrong check value is refused, and the old one goes on.
    pair.faults(&json!({ "wrong_check_value": { "share": 1 } }));
    let ask = pinion(&["hosts", "exchange-key", "postilion-1", "--admin", &admin]).output();
    assert_eq!(ask.expect("run").status.code(), Some(1));
    assert_eq!(check_value(&pair), third);
    pair.faults(&json!({}));
    change(&pair);
    pair.node.kill_and_restart();
    pair.until_up(2);
    assert_eq!(check_value(&pair), third, "after a restart");
    change(&pair);
    assert_eq!(pair.peers.state()["keys"]["check_values"][0], third, "the nodes have the same key");
}

#[test]
fn a_wish_that_policy_overrides_is_counted() {
    let peers = Peers::start(0, "1111", 1);
    let mut links = world_links();
    links[0] = links[0].clone().with("active = false");
    let place = Place::new(links);
    let routing =
        "[routing]\npolicy = \"force_active\"\n[[route]]\nname = \"wishes\"\nto = \"client\"\n";
    place.replace("[[link]]", &format!("{}\n{routing}\n[[link]]", peers.section("")));
    let pair = Pair { node: place.start(), peers };
    pair.until_up(2);
    pair.check("forced to a node", "atm-1", &ATM.change(VERVE, "1111", "2580"), "00");
    assert_eq!(pair.card()["pin"], "2580");
    assert_eq!(pair.node.metric("pinion_route_overrides_total", &[]), 1);
}
