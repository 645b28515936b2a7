//! The same request twice is one change, wherever the second one comes in.

use crate::support::iso::{ISO87_ASCII, Message, POSTILION};
use crate::support::node::Node;
use crate::support::request::Terminal;
use crate::support::vectors::{PLAIN, further_cards};
use crate::support::wire::framed;

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");

/// A repeat gets the first answer and changes nothing, whatever the card's PIN is by then.
#[test]
fn a_repeat_gets_the_first_answer_and_changes_nothing() {
    let node = Node::world();
    let later = |message: Message| message.with(7, "1122051730");
    let rows: [(&str, &str, &str, &str); 6] = [
        ("0101 on the same link", "0100", "0101", "atm-1"),
        ("0601 on the same link", "0600", "0601", "atm-1"),
        ("the very same message", "0100", "0100", "atm-1"),
        ("0101 on another link", "0100", "0101", "vcr-1"),
        ("0600 retransmitted on another link", "0600", "0600", "vcr-1"),
        ("0101 of a 0600", "0600", "0101", "atm-1"),
    ];
    for ((what, first, repeat, link), card) in rows.into_iter().zip(further_cards()) {
        let mut atm = node.connect("atm-1");
        let request = ATM.change(&card, "1234", "2580").as_mti(first);
        let answer = atm.ask(&request);
        assert_eq!(answer.code(), "00", "{what}: the change");
        assert_eq!(atm.code(&ATM.change(&card, "2580", "1379")), "00", "{what}: another one");

        let again = later(request.as_mti(repeat));
        let repeated = node.connect(link).ask(&again);
        assert_eq!(repeated.code(), "00", "{what}: the repeat");
        let mti = format!("{}10", &repeat[..2]);
        assert_eq!(repeated.mti, mti, "{what}");
        assert_eq!(repeated.fields[&7], again.fields[&7], "{what}: its own time comes back");

        assert_eq!(atm.code(&ATM.verify(&card, "1379")), "00", "{what}: the PIN stays");
    }
}

/// The dialect does not matter: Postilion's link has the same institution, trace number and terminal.
#[test]
fn a_repeat_in_another_dialect_is_a_repeat() {
    let node = Node::world();
    let mut atm = node.connect("atm-1");
    let request = ATM.change(PLAIN, "1234", "2580").as_mti("0600");
    assert_eq!(atm.code(&request), "00");
    let mut other = Terminal::new(&POSTILION, "zpk.atm").change(PLAIN, "1234", "2580");
    for field in [11, 12, 13, 32, 37, 41] {
        other = other.with(field, &request.fields[&field]);
    }
    assert_eq!(node.connect("postilion-in").code(&other.as_mti("0601")), "00");
    assert_eq!(atm.code(&ATM.verify(PLAIN, "2580")), "00");
}

/// A repeated wrong PIN counts once: four repeats leave two tries.
#[test]
fn a_repeated_decline_counts_once() {
    let node = Node::world();
    let mut atm = node.connect("atm-1");
    let wrong = ATM.change(PLAIN, "4321", "2580");
    for attempt in 0..5 {
        let mti = if attempt == 0 { "0100" } else { "0101" };
        assert_eq!(atm.code(&wrong.as_mti(mti)), "55", "attempt {attempt}");
    }
    for (pin, code) in [("4321", "55"), ("1234", "00")] {
        assert_eq!(atm.code(&ATM.verify(PLAIN, pin)), code);
    }
}

/// The same key with other content is no repeat.
#[test]
fn the_same_key_for_something_else_is_refused() {
    let node = Node::world();
    let mut atm = node.connect("atm-1");
    let cards = further_cards();
    let (card, other) = (&cards[0], &cards[1]);
    let request = ATM.change(card, "1234", "2580");
    assert_eq!(atm.code(&request), "00");
    let stan = &request.fields[&11];
    for (what, second) in [
        ("another card", ATM.change(other, "1234", "2580")),
        ("a verification", ATM.verify(card, "2580")),
        ("an unblock", ATM.unblock(card)),
    ] {
        assert_eq!(atm.code(&second.with(11, stan)), "94", "{what}");
    }
    assert_eq!(atm.code(&ATM.verify(other, "1234")), "00", "the other card is as it was");
    // What tells requests apart: another terminal or another acquirer may use the same trace number.
    for (field, value) in [(41, "TERM0002"), (32, "970013"), (37, "000000099999"), (12, "051501")] {
        let second = ATM.change(other, "1234", "2580").with(11, stan).with(field, value);
        let undo = ATM.change(other, "2580", "1234");
        // The way back is a run, so it is refused, and the next row's current PIN would be wrong: verify only.
        assert_eq!(atm.code(&ATM.verify(other, "1234").with(11, stan).with(field, value)), "00");
        assert_eq!(atm.code(&second), "94", "field {field} made the key another one, now in use");
        assert_eq!(atm.code(&undo), "55", "field {field}: nothing was changed");
        assert_eq!(atm.code(&ATM.verify(other, "1234")), "00");
    }
}

/// A retransmission that overtakes the answer is told to wait; once the answer is there, it gets that.
#[test]
fn a_retransmission_while_in_progress() {
    let node = Node::world();
    let mut atm = node.connect("atm-1");
    let mut waited = 0;
    for card in further_cards().into_iter().take(8) {
        let request = ATM.change(&card, "1234", "2580");
        let frame = framed(&atm.bytes(&request));
        atm.send_bytes(&[frame.clone(), frame].concat());
        let mut codes = [atm.receive().code(), atm.receive().code()];
        codes.sort();
        assert_eq!(codes[0], "00", "one of them is the change");
        assert!(["00", "94"].contains(&codes[1].as_str()), "{codes:?}");
        waited += usize::from(codes[1] == "94");
        assert_eq!(atm.code(&request.as_mti("0101")), "00", "the repeat afterwards");
        assert_eq!(atm.code(&ATM.verify(&card, "2580")), "00");
    }
    assert!(0 < waited, "no retransmission was told to wait");
}
