//! `isActiveActive`: the door postcard says whether Postilion or the CMS handles a request, unless policy overrides it.

use serde_json::{Value, json};

use super::client::{Doors, clients, encrypted, place};
use crate::support::eventually;
use crate::support::peers::Peers;
use crate::support::vectors::{VERVE, reference};

/// Doors, and two nodes of Postilion beyond them.
fn start(policy: &str) -> (Doors, Peers) {
    let peers = Peers::start(0, "1111", 1);
    let routing = format!(
        "[routing]\npolicy = \"{policy}\"\n[[route]]\nname = \"wishes\"\nlinks = [\"postcard\"]\n\
         to = \"client\"\n"
    );
    let (place, port) = place(&clients(), "");
    place.replace("[[link]]", &format!("{}\n{routing}\n[[link]]", peers.section("")));
    let doors = Doors::of((place, port));
    eventually("both nodes are up", || {
        (doors.node.metric("pinion_hosts_up", &[]) == 2).then_some(())
    });
    (doors, peers)
}

/// A change as seed 002 prints it, for its own card.
fn body(doors: &Doors, current: &str, new: &str) -> Value {
    json!({
        "pan": VERVE, "seqNr": "001", "expiryDate": "5004", "accountType": "20", "userId": "Alex",
        "pin": encrypted(doors, &hex::encode(new)), "oldPin": encrypted(doors, &hex::encode(current)),
        "cvv2": "123",
    })
}

/// The PIN that the nodes believe in, if they ever heard of the card.
fn at_nodes(peers: &Peers) -> Option<String> {
    let state = peers.state();
    let cards = state["cards"].as_array().expect("cards");
    let card = cards.iter().find(|card| card["pan"] == VERVE)?;
    card["pin"].as_str().map(str::to_owned)
}

#[test]
fn the_client_chooses() {
    let (mut doors, peers) = start("client");
    let cms = doors.postcard("isActiveActive=false", &body(&doors, "1111", "1379"));
    assert_eq!((cms.status, &cms.json()["code"]), (200, &json!("00")), "{cms:?}");
    assert_eq!(at_nodes(&peers), None, "nothing went to a node");
    let active = doors.postcard("isActiveActive=true", &body(&doors, "1111", "2580"));
    assert_eq!((active.status, &active.json()["code"]), (200, &json!("00")), "{active:?}");
    assert_eq!(at_nodes(&peers).as_deref(), Some("2580"));
    let wrong = doors.postcard("isActiveActive=true", &body(&doors, "1111", "4826"));
    assert_eq!((wrong.status, &wrong.json()["code"]), (422, &json!("11005")), "{wrong:?}");
    let stored = doors.node.cards();
    assert_eq!(stored[VERVE]["pvv"], reference(VERVE, "1379"), "the CMS has its own");
}

#[test]
fn policy_overrides_a_wish_for_the_cms() {
    let (doors, peers) = start("force_active");
    let answer = doors.postcard("isActiveActive=false", &body(&doors, "1111", "2580"));
    assert_eq!((answer.status, &answer.json()["code"]), (200, &json!("00")), "{answer:?}");
    assert_eq!(at_nodes(&peers).as_deref(), Some("2580"));
    assert_eq!(doors.node.metric("pinion_route_overrides_total", &[]), 1);
}

/// No answer in time is told as such, and reversed, like a request of a link.
#[test]
fn an_unknown_outcome_is_told_and_reversed() {
    let (doors, peers) = start("client");
    peers.tell("/faults", &json!({ "faults": { "drop_answer": { "share": 1 } } }));
    let answer = doors.postcard("isActiveActive=true", &body(&doors, "1111", "2580"));
    assert_eq!((answer.status, &answer.json()["code"]), (504, &json!("11024")), "{answer:?}");
    eventually("the reversal", || (at_nodes(&peers)? == "1111").then_some(()));
}
