//! A link whose messages carry a MAC: nothing is done without the right one, and answers carry one too.

use crate::changes::check_echo;
use crate::support::iso::{ISO87_BCD, Message};
use crate::support::node::{Node, Place, world_links};
use crate::support::request::{Terminal, trace};
use crate::support::vectors::{PLAIN, key, reference};
use crate::support::wire::{Connection, framed, sealed};

const ACQUIRER: Terminal = Terminal::new(&ISO87_BCD, "zpk.acquirer");

fn zak() -> Vec<u8> {
    key("zak.acquirer")
}

/// Sends bytes and gives the answer, whose MAC the connection checks.
#[track_caller]
fn ask(link: &mut Connection, bytes: &[u8]) -> Message {
    link.send_bytes(&framed(bytes));
    link.receive()
}

/// The MAC is the last field: 64 where the message has one bitmap, else 128.
#[test]
fn right_macs_are_served() {
    let mut node = Node::world();
    let mut link = node.connect("acquirer-1");
    let change = ACQUIRER.change(PLAIN, "1234", "2580");
    for (what, request, at, code) in [
        ("verify", ACQUIRER.verify(PLAIN, "1234"), 64, "00"),
        ("wrong PIN", ACQUIRER.verify(PLAIN, "4321"), 64, "55"),
        ("change", change.clone(), 128, "00"),
        ("repeat", change.as_mti("0101"), 128, "00"),
        ("reversal", ACQUIRER.reversal("0420", &change), 128, "00"),
        ("change again", ACQUIRER.change(PLAIN, "1234", "1379"), 128, "00"),
        ("refused", ACQUIRER.unblock(PLAIN), 64, "58"),
        ("no new PIN", change.clone().with(11, trace(&ISO87_BCD)).without(125), 64, "30"),
    ] {
        let bytes = link.bytes(&request);
        let (sent, _) = ISO87_BCD.decode(&bytes);
        assert!(sent.fields.contains_key(&at), "{what}: the request's MAC is in field {at}");
        // `receive` checks the answer's MAC.
        let answer = ask(&mut link, &bytes);
        assert_eq!(answer.code(), code, "{what}");
        assert!(answer.fields.contains_key(&64), "{what}: an answer needs one bitmap");
        check_echo(&request, &answer);
    }
    assert_eq!(node.cards()[PLAIN]["pvv"], reference(PLAIN, "1379"));
}

#[test]
fn wrong_or_missing_macs_change_nothing() {
    let mut node = Node::world();
    let mut link = node.connect("acquirer-1");
    let whole = sealed(&ISO87_BCD, &zak(), &ACQUIRER.change(PLAIN, "1234", "2580"));
    let flipped = |at: usize, bit: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= bit;
        bytes
    };
    let last = whole.len() - 1;
    let other_key =
        sealed(&ISO87_BCD, &key("zmk.partner"), &ACQUIRER.change(PLAIN, "1234", "2580"));
    let verify = sealed(&ISO87_BCD, &key("zmk.partner"), &ACQUIRER.verify(PLAIN, "4321"));
    let zeros = ISO87_BCD.encode(&ACQUIRER.change(PLAIN, "1234", "2580").with(128, [0; 8]));
    let missing = ISO87_BCD.encode(&ACQUIRER.change(PLAIN, "1234", "2580"));
    // Field 64 is there, but not the last: it covers nothing behind it.
    let early = ISO87_BCD.encode(&ACQUIRER.change(PLAIN, "1234", "2580").with(64, [0; 8]));
    for (what, bytes) in [
        ("a bit of the MAC", flipped(last, 1)),
        ("a bit of its first byte", flipped(last - 7, 0x80)),
        ("a bit of the new PIN", flipped(last - 8, 1)),
        ("another key", other_key),
        ("another key, to verify a wrong PIN", verify),
        ("zeros", zeros),
        ("none", missing),
        ("one that is not the last field", early),
    ] {
        let answer = ask(&mut link, &bytes);
        assert_eq!(answer.code(), "63", "{what}");
    }
    // Not even a wrong PIN was counted, and the key of the request is still free.
    assert_eq!(link.code(&ACQUIRER.verify(PLAIN, "1234")), "00");
    assert_eq!(ask(&mut link, &whole).code(), "00", "the request as it was meant");
    assert_eq!(node.cards()[PLAIN]["pvv"], reference(PLAIN, "2580"));
}

/// A reversal with a wrong MAC undoes nothing.
#[test]
fn reversals_need_one_too() {
    let node = Node::world();
    let mut link = node.connect("acquirer-1");
    let change = ACQUIRER.change(PLAIN, "1234", "2580");
    assert_eq!(link.code(&change), "00");
    let reversal = ACQUIRER.reversal("0400", &change);
    assert_eq!(ask(&mut link, &ISO87_BCD.encode(&reversal)).code(), "63");
    assert_eq!(link.code(&ACQUIRER.verify(PLAIN, "2580")), "00");
    assert_eq!(link.code(&reversal), "00");
    assert_eq!(link.code(&ACQUIRER.verify(PLAIN, "1234")), "00");
}

/// Network messages go with or without; their answers do as they did.
#[test]
fn network_messages_may_do_without() {
    let node = Node::world();
    let mut link = node.connect("acquirer-1");
    let echo = || Message::new("0800").with(7, "1122051500").with(11, trace(&ISO87_BCD));
    assert_eq!(link.code(&echo().with(70, "301")), "00");
    let mut plain = Connection { mac: None, ..node.connect("acquirer-1") };
    let answer = plain.ask(&echo().with(70, "301"));
    assert_eq!(answer.code(), "00");
    assert!(!answer.fields.contains_key(&64) && !answer.fields.contains_key(&128));
}

/// Four bytes that count, where the peer sends no more: the rest of the field is zero.
#[test]
fn shortened_macs() {
    let place = Place::new(world_links());
    place
        .replace("mac = { key = \"zak.acquirer\" }", "mac = { key = \"zak.acquirer\", bytes = 4 }");
    let node = place.start();
    let request = ACQUIRER.verify(PLAIN, "1234");
    let mut bytes = sealed(&ISO87_BCD, &zak(), &request);
    let end = bytes.len();
    bytes[end - 4..].fill(0);
    let mut link = Connection { mac: None, ..node.connect("acquirer-1") };
    link.send_bytes(&framed(&bytes));
    let frame = link.frame().expect("an answer");
    let (answer, covered) = ISO87_BCD.decode(&frame);
    assert_eq!(answer.code(), "00");
    let mac = crate::support::vectors::retail_mac(&zak(), &frame[..covered]);
    assert_eq!(answer.fields[&64], [&mac[..4], &[0; 4]].concat());
    bytes[end - 8] ^= 1;
    link.send_bytes(&framed(&bytes));
    let (answer, _) = ISO87_BCD.decode(&link.frame().expect("an answer"));
    assert_eq!(answer.code(), "63");
}
