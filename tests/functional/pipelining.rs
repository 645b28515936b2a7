//! Many requests at once, and frames that come in pieces.

use std::collections::BTreeMap;

use crate::support::iso::{ISO87_ASCII, Message};
use crate::support::node::Node;
use crate::support::request::Terminal;
use crate::support::vectors::{PLAIN, further_cards};
use crate::support::wire::{Connection, framed};

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");

/// Requests as one run of bytes.
fn batch(link: &Connection, requests: &[Message]) -> Vec<u8> {
    requests.iter().flat_map(|request| framed(&link.bytes(request))).collect()
}

/// Receives as many answers as there are requests, each matched by its trace number.
#[track_caller]
fn codes(link: &mut Connection, requests: &[Message]) -> BTreeMap<String, String> {
    let answers = requests.iter().map(|_| link.receive());
    let codes: BTreeMap<_, _> = answers.map(|answer| (answer.text(11), answer.code())).collect();
    for request in requests {
        assert!(codes.contains_key(&request.text(11)), "no answer for {}", request.text(11));
    }
    codes
}

#[test]
fn two_hundred_requests_in_one_write() {
    let node = Node::world();
    let mut link = node.connect("atm-1");
    let cards = further_cards();
    let requests: Vec<_> = (0..200).map(|n| ATM.verify(&cards[n % cards.len()], "1234")).collect();
    link.send_bytes(&batch(&link, &requests));
    let codes = codes(&mut link, &requests);
    assert_eq!(codes.len(), 200);
    let declined: Vec<_> = codes.iter().filter(|(_, code)| *code != "00").collect();
    assert!(declined.is_empty(), "{declined:?}");
}

/// Changes of one card in one write: each is judged on its own, and they add up to one PIN.
#[test]
fn changes_of_one_card_side_by_side() {
    let node = Node::world();
    let mut link = node.connect("atm-1");
    let requests: Vec<_> =
        ["2580", "1379", "4826"].map(|new| ATM.change(PLAIN, "1234", new)).to_vec();
    link.send_bytes(&batch(&link, &requests));
    let codes = codes(&mut link, &requests);
    let approved: Vec<_> = ["2580", "1379", "4826"]
        .into_iter()
        .zip(&requests)
        .filter(|(_, request)| codes[&request.text(11)] == "00")
        .collect();
    assert_eq!(approved.len(), 1, "all had the same current PIN: {codes:?}");
    assert_eq!(link.code(&ATM.verify(PLAIN, approved[0].0)), "00");
}

#[test]
fn two_frames_in_one_segment() {
    let node = Node::world();
    let mut link = node.connect("atm-1");
    let requests = [ATM.verify(PLAIN, "1234"), ATM.verify(PLAIN, "1234")];
    link.send_bytes(&batch(&link, &requests));
    assert_eq!(codes(&mut link, &requests).len(), 2);
}

#[test]
fn one_byte_at_a_time() {
    let node = Node::world();
    let mut link = node.connect("atm-1");
    let request = ATM.change(PLAIN, "1234", "2580");
    for byte in batch(&link, std::slice::from_ref(&request)) {
        link.send_bytes(&[byte]);
    }
    assert_eq!(link.receive().code(), "00");
}

/// A frame and a half, then the rest.
#[test]
fn a_frame_cut_anywhere() {
    let node = Node::world();
    let mut link = node.connect("atm-1");
    let requests = [ATM.verify(PLAIN, "1234"), ATM.verify(PLAIN, "1234")];
    let bytes = batch(&link, &requests);
    let half = bytes.len() / 2;
    for cut in [1, 2, half - 1, half, half + 1, half + 2, bytes.len() - 1] {
        let requests = [ATM.verify(PLAIN, "1234"), ATM.verify(PLAIN, "1234")];
        let bytes = batch(&link, &requests);
        link.send_bytes(&bytes[..cut]);
        if half <= cut {
            assert_eq!(link.receive().code(), "00", "cut at {cut}: the first is whole");
        }
        link.send_bytes(&bytes[cut..]);
        let left = if half <= cut { 1 } else { 2 };
        for _ in 0..left {
            assert_eq!(link.receive().code(), "00", "cut at {cut}");
        }
    }
}

/// A peer that closes its half still gets its answers.
#[test]
fn answers_come_after_the_peer_s_last_word() {
    let node = Node::world();
    let mut link = node.connect("atm-1");
    let requests: Vec<_> = (0..10).map(|_| ATM.verify(PLAIN, "1234")).collect();
    link.send_bytes(&batch(&link, &requests));
    link.stream.shutdown(std::net::Shutdown::Write).expect("closed");
    assert_eq!(codes(&mut link, &requests).len(), 10);
    assert!(link.is_closed());
}
