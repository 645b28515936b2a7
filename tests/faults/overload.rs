//! More requests than a link may have in flight: the surplus is answered at once, and none is lost.

use std::collections::BTreeMap;

use crate::support::eventually;
use crate::support::message::{Client, Message, verify};
use crate::support::node::{Node, PINS, Setup};

#[test]
fn the_surplus_is_shed_at_once_and_counted() {
    const REQUESTS: usize = 500;
    let cards = 100;
    let node = Node::started(&Setup { link: "in_flight = 8", cards, ..Setup::DEFAULT });
    let mut client = Client::connect(node.atm);
    let pans = node.pans.iter().cycle().take(REQUESTS);
    let requests: BTreeMap<u32, Message> = pans
        .map(|pan| (node.number(), pan))
        .map(|(number, pan)| (number, verify(pan, PINS[0], number)))
        .collect();
    let bytes: Vec<u8> = requests.values().flat_map(Message::framed).collect();
    client.write(&bytes).expect("written");
    let answers: Vec<Message> = (0..REQUESTS).map(|_| client.read().expect("an answer")).collect();

    let distinct: BTreeMap<u32, &str> = answers.iter().map(|a| (a.stan(), a.code())).collect();
    assert_eq!(distinct.len(), REQUESTS, "an answer to each request");
    assert!(distinct.keys().all(|number| requests.contains_key(number)));
    let count = |code: &str| answers.iter().filter(|answer| answer.code() == code).count();
    let (served, shed) = (count("00"), count("91"));
    assert_eq!(served + shed, REQUESTS, "{distinct:?}");
    assert!(8 <= served && 0 < shed, "{served} served, {shed} shed");
    // The first eight wait for the disk; the others wait for nothing.
    assert_eq!(answers[0].code(), "91", "the surplus is answered before the work is done");
    assert_eq!(node.metric("pinion_shed_total", &["atm-1"]), shed as u64);
    eventually("nothing is in flight", || {
        (node.metric("pinion_in_flight", &["atm-1"]) == 0).then_some(())
    });

    // Shed is not done: the same requests under their own keys are served now.
    for number in distinct.iter().filter(|(_, code)| **code == "91").map(|(n, _)| n).take(20) {
        assert_eq!(client.code(&requests[number].clone().under("0101")), "00");
    }
}
