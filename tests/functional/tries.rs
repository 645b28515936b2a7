//! Wrong PINs in a row, what resets their count, and who may reset it.

use crate::support::iso::{
    Dialect, ISO87_ASCII, ISO87_ASCII_HEX, ISO87_BCD, MASTERCARD, Message, VISA,
};
use crate::support::node::{Link, Node, Place};
use crate::support::request::{Terminal, bare};
use crate::support::vectors::{OFFSET, PLAIN};

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
const ACQUIRER: Terminal = Terminal::new(&ISO87_BCD, "zpk.acquirer");

/// Sends requests one after the other and checks their codes.
#[track_caller]
fn check(node: &Node, script: &[(&str, Message, &str)]) {
    let mut atm = node.connect("atm-1");
    for (step, (what, request, code)) in script.iter().enumerate() {
        assert_eq!(atm.code(request), *code, "step {step}: {what}");
    }
}

#[test]
fn the_third_wrong_pin_closes_and_an_unblock_opens() {
    let node = Node::world();
    let wrong = || ATM.change(PLAIN, "4321", "2580");
    let script = [
        ("wrong", wrong(), "55"),
        ("wrong", wrong(), "55"),
        ("wrong", wrong(), "55"),
        ("wrong once more", wrong(), "75"),
        ("right, too late", ATM.change(PLAIN, "1234", "2580"), "75"),
        ("right, too late", ATM.verify(PLAIN, "1234"), "75"),
        ("unblock", ATM.unblock(PLAIN), "00"),
        ("right", ATM.verify(PLAIN, "1234"), "00"),
        ("change", ATM.change(PLAIN, "1234", "2580"), "00"),
    ];
    check(&node, &script);
}

#[test]
fn a_right_pin_starts_the_count_anew() {
    let node = Node::world();
    let wrong = || ATM.verify(PLAIN, "4321");
    let script = [
        ("wrong", wrong(), "55"),
        ("wrong", wrong(), "55"),
        ("right", ATM.verify(PLAIN, "1234"), "00"),
        ("wrong", wrong(), "55"),
        ("wrong", wrong(), "55"),
        ("right, with a new PIN that is refused", ATM.change(PLAIN, "1234", "7777"), "89"),
        ("wrong", wrong(), "55"),
        ("wrong", ATM.change(PLAIN, "4321", "2580"), "55"),
        ("right", ATM.change(PLAIN, "1234", "2580"), "00"),
        ("wrong", wrong(), "55"),
        ("wrong", wrong(), "55"),
        ("wrong", wrong(), "55"),
        ("wrong", wrong(), "75"),
    ];
    check(&node, &script);
}

/// Changes and verifications share one count, and it is there after a kill.
#[test]
fn the_count_survives_a_kill() {
    let mut node = Node::world();
    check(
        &node,
        &[
            ("verify", ATM.verify(OFFSET, "24680"), "55"),
            ("change", ATM.change(OFFSET, "24680", "97531"), "55"),
        ],
    );
    node.kill_and_restart();
    check(
        &node,
        &[
            ("the third", ATM.verify(OFFSET, "24680"), "55"),
            ("closed", ATM.verify(OFFSET, "13579"), "75"),
        ],
    );
}

/// The dialects that have an unblock, each with its own processing code.
#[test]
fn every_unblock_opens() {
    let all = "rights = [\"change\", \"verify\", \"unblock\"]";
    let rows: [(&'static str, &'static Dialect, &str); 5] = [
        ("iso87-ascii", &ISO87_ASCII, "910000"),
        ("iso87-ascii-hex", &ISO87_ASCII_HEX, "910000"),
        ("iso87-bcd", &ISO87_BCD, "910000"),
        ("mastercard", &MASTERCARD, "910000"),
        ("visa", &VISA, "720000"),
    ];
    for (name, dialect, processing) in rows {
        let node = Place::new(vec![Link::new(name, dialect).with(all)]).start();
        let mut link = node.connect(name);
        let terminal = Terminal::new(dialect, "zpk.atm");
        // The world's card with no try left.
        let closed = "4761739001010069";
        for (what, request, code) in [
            ("closed", terminal.change(closed, "1234", "2580"), "75"),
            ("unblock", bare(dialect, "0100", processing, closed), "00"),
            ("open", terminal.change(closed, "1234", "2580"), "00"),
        ] {
            assert_eq!(link.code(&request), code, "{name}: {what}");
        }
    }
}

/// Guesses side by side buy no extra try.
#[test]
fn guesses_at_once_are_counted_one_by_one() {
    let node = Node::world();
    let mut atm = node.connect("atm-1");
    let guesses: Vec<u8> = (0..20)
        .flat_map(|_| crate::support::wire::framed(&atm.bytes(&ATM.verify(PLAIN, "4321"))))
        .collect();
    atm.send_bytes(&guesses);
    let codes: Vec<_> = (0..20).map(|_| atm.receive().code()).collect();
    let count = |code: &str| codes.iter().filter(|c| *c == code).count();
    assert_eq!((count("55"), count("75")), (3, 17), "{codes:?}");
    assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "75");
}

#[test]
fn only_who_has_the_right_unblocks() {
    let node = Node::world();
    for _ in 0..3 {
        assert_eq!(node.connect("atm-1").code(&ATM.verify(PLAIN, "4321")), "55");
    }
    assert_eq!(node.connect("acquirer-1").code(&ACQUIRER.unblock(PLAIN)), "58");
    assert_eq!(node.connect("acquirer-1").code(&ACQUIRER.verify(PLAIN, "1234")), "75");
    assert_eq!(node.connect("atm-1").code(&ATM.unblock(PLAIN)), "00");
    assert_eq!(node.connect("acquirer-1").code(&ACQUIRER.verify(PLAIN, "1234")), "00");
}
