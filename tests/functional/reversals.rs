//! Undoing a change whose answer the terminal never saw.

use crate::changes::check_echo;
use crate::support::iso::{ISO87_ASCII, ISO93_ASCII, Message};
use crate::support::node::Node;
use crate::support::request::{Terminal, trace};
use crate::support::vectors::{PLAIN, further_cards, reference};

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
const NINETY_THREE: Terminal = Terminal::new(&ISO93_ASCII, "zpk.atm");

/// One link's conversation.
struct Talk<'a> {
    node: &'a Node,
    link: &'static str,
}

impl Talk<'_> {
    #[track_caller]
    fn check(&self, what: &str, request: &Message, code: &str) {
        let answer = self.node.connect(self.link).ask(request);
        assert_eq!(answer.code(), code, "{what}");
        check_echo(request, &answer);
    }
}

#[test]
fn a_reversal_brings_the_old_pin_back() {
    let mut node = Node::world();
    let cards = further_cards();
    for (mti, card) in ["0400", "0401", "0420", "0421"].into_iter().zip(&cards) {
        let talk = Talk { node: &node, link: "atm-1" };
        let change = ATM.change(card, "1234", "2580");
        let reversal = ATM.reversal(mti, &change);
        talk.check("the change", &change, "00");
        let answer = node.connect("atm-1").ask(&reversal);
        let answered = if mti < "0420" { "0410" } else { "0430" };
        assert_eq!((&*answer.mti, &*answer.code()), (answered, "00"), "{mti}");
        check_echo(&reversal, &answer);
        talk.check("the old PIN works again", &ATM.verify(card, "1234"), "00");
        talk.check("the new one does not", &ATM.verify(card, "2580"), "55");
    }
    let stored = node.cards();
    for card in &cards[..4] {
        assert_eq!(stored[card]["pvv"], reference(card, "1234"));
    }
}

/// Makes a reversal of a change.
type Naming = fn(&Message) -> Message;

/// Senders differ in the trace number of a reversal: its own, or the original's with or without field 90.
#[test]
fn however_it_names_its_original() {
    let node = Node::world();
    let talk = Talk { node: &node, link: "atm-1" };
    let rows: [(&str, Naming); 4] = [
        ("field 90 and a trace number of its own", |change| ATM.reversal("0420", change)),
        ("field 90 and the original's trace number", |change| {
            ATM.reversal("0420", change).with(11, &change.fields[&11])
        }),
        ("the original's trace number alone", |change| {
            ATM.reversal("0400", change).with(11, &change.fields[&11]).without(90)
        }),
        ("without its reference number and time", |change| {
            ATM.reversal("0400", change).without(37).without(12).without(13)
        }),
    ];
    for ((what, naming), card) in rows.into_iter().zip(further_cards()) {
        let change = ATM.change(&card, "1234", "2580");
        talk.check(what, &change, "00");
        talk.check(what, &naming(&change), "00");
        talk.check(what, &ATM.verify(&card, "1234"), "00");
    }
}

#[test]
fn a_repeated_reversal_gets_the_stored_answer() {
    let node = Node::world();
    let talk = Talk { node: &node, link: "atm-1" };
    let change = ATM.change(PLAIN, "1234", "2580");
    let reversal = ATM.reversal("0420", &change);
    talk.check("the change", &change, "00");
    talk.check("the reversal", &reversal, "00");
    talk.check("another change", &ATM.change(PLAIN, "1234", "1379"), "00");
    talk.check("the reversal repeated", &reversal.as_mti("0421"), "00");
    talk.check("the other change stays", &ATM.verify(PLAIN, "1379"), "00");
}

/// A second, different reversal of the same change is accepted and does nothing.
#[test]
fn a_second_reversal_changes_nothing() {
    let node = Node::world();
    let talk = Talk { node: &node, link: "atm-1" };
    let change = ATM.change(PLAIN, "1234", "2580");
    talk.check("the change", &change, "00");
    talk.check("the reversal", &ATM.reversal("0400", &change), "00");
    talk.check("a second one", &ATM.reversal("0420", &change), "00");
    talk.check("the old PIN", &ATM.verify(PLAIN, "1234"), "00");
    talk.check("the change repeated is the old answer", &change.as_mti("0101"), "00");
    talk.check("and changes nothing", &ATM.verify(PLAIN, "1234"), "00");
}

/// The reversal overtook its original, or the original is lost.
#[test]
fn a_reversal_without_its_original() {
    let node = Node::world();
    let talk = Talk { node: &node, link: "atm-1" };
    let change = ATM.change(PLAIN, "1234", "2580");
    let reversal = ATM.reversal("0400", &change);
    talk.check("the original never came", &reversal, "25");
    talk.check("the late original", &change, "94");
    talk.check("its repeat", &change.as_mti("0101"), "94");
    talk.check("the reversal repeated", &reversal.as_mti("0401"), "25");
    talk.check("nothing was changed", &ATM.verify(PLAIN, "1234"), "00");
}

/// A later change has replaced the one that is reversed: putting an older reference back would undo that one.
#[test]
fn a_reversal_after_a_later_change() {
    let node = Node::world();
    let talk = Talk { node: &node, link: "atm-1" };
    let change = ATM.change(PLAIN, "1234", "2580");
    talk.check("the change", &change, "00");
    talk.check("a later one", &ATM.change(PLAIN, "2580", "1379"), "00");
    talk.check("the reversal of the first", &ATM.reversal("0420", &change), "25");
    talk.check("the later PIN stays", &ATM.verify(PLAIN, "1379"), "00");
}

#[test]
fn a_reversal_of_a_declined_change() {
    let node = Node::world();
    let talk = Talk { node: &node, link: "atm-1" };
    let wrong = ATM.change(PLAIN, "4321", "2580");
    talk.check("declined", &wrong, "55");
    talk.check("its reversal", &ATM.reversal("0400", &wrong), "00");
    talk.check("nothing was changed", &ATM.verify(PLAIN, "1234"), "00");
}

/// Another terminal, another acquirer, another card: not the original that is meant.
#[test]
fn a_reversal_of_somebody_else_s_change() {
    let node = Node::world();
    let talk = Talk { node: &node, link: "atm-1" };
    let other = &further_cards()[0];
    let change = ATM.change(PLAIN, "1234", "2580");
    talk.check("the change", &change, "00");
    for (what, reversal) in [
        ("another terminal", ATM.reversal("0400", &change).with(41, "TERM0002")),
        ("another acquirer", ATM.reversal("0400", &change).with(32, "970013")),
        ("another card", ATM.reversal("0400", &change).with(2, other)),
    ] {
        talk.check(what, &reversal, "25");
        talk.check(what, &ATM.verify(PLAIN, "2580"), "00");
    }
}

/// What a reversal does not undo: the count of wrong PINs since.
#[test]
fn on_a_link_without_the_right() {
    let place = crate::support::node::Place::new(crate::support::node::world_links());
    place.replace("\"reverse\", ", "");
    let node = place.start();
    let talk = Talk { node: &node, link: "atm-1" };
    let change = ATM.change(PLAIN, "1234", "2580");
    talk.check("the change", &change, "00");
    talk.check("its reversal", &ATM.reversal("0400", &change), "58");
    talk.check("the PIN stays", &ATM.verify(PLAIN, "2580"), "00");
}

/// 1993 has the original in field 56, with local time and a length before the acquirer. It verifies nothing, so
/// that the PIN that is right is told by another link.
#[test]
fn in_1993() {
    let node = Node::world();
    let talk = Talk { node: &node, link: "iso93" };
    let atm = Talk { node: &node, link: "atm-1" };
    let mut cards = further_cards().into_iter();
    for mti in ["1400", "1401", "1420", "1421"] {
        let card = cards.next().expect("a card");
        let change = NINETY_THREE.change(&card, "1234", "2580");
        talk.check("the change", &change, "000");
        talk.check("the reversal", &NINETY_THREE.reversal(mti, &change), "400");
        atm.check("the old PIN", &ATM.verify(&card, "1234"), "00");
        atm.check("the new PIN", &ATM.verify(&card, "2580"), "55");
    }
    let never = NINETY_THREE.change(PLAIN, "1234", "2580");
    talk.check("never came", &NINETY_THREE.reversal("1400", &never), "914");
    talk.check("late", &never, "913");

    // A reversal sent later has a local time of its own in field 12; field 56 has the original's.
    let later = |change| NINETY_THREE.reversal("1420", change).with(12, "261122051700");
    let card = cards.next().expect("a card");
    let change = NINETY_THREE.change(&card, "1234", "2580");
    talk.check("the change", &change, "000");
    talk.check("the reversal two minutes later", &later(&change), "400");
    atm.check("the old PIN", &ATM.verify(&card, "1234"), "00");
    let never = NINETY_THREE.change(PLAIN, "1234", "2580");
    talk.check("two minutes later, never came", &later(&never), "914");
    talk.check("late", &never, "913");
    let declined = NINETY_THREE.change(PLAIN, "4321", "2580");
    talk.check("declined", &declined, "117");
    talk.check("its reversal", &later(&declined), "400");
}

/// Many changes and their reversals on one connection, none waiting for another.
#[test]
fn pipelined_behind_their_originals() {
    let node = Node::world();
    let mut atm = node.connect("atm-1");
    let cards = further_cards();
    for card in cards.iter().take(10) {
        let change = ATM.change(card, "1234", "2580");
        let reversal = ATM.reversal("0420", &change).with(11, trace(&ISO87_ASCII));
        let bytes = [&change, &reversal].map(|m| crate::support::wire::framed(&atm.bytes(m)));
        atm.send_bytes(&bytes.concat());
        let mut answers = [atm.receive(), atm.receive()];
        answers.sort_by(|a, b| a.mti.cmp(&b.mti));
        let [changed, reversed] = answers.map(|answer| answer.code());
        let pin = match (&*changed, &*reversed) {
            // In order; the reversal came while the change was under way; the reversal came first.
            ("00", "00") | ("94", "25") => "1234",
            ("00", "94") => "2580",
            other => panic!("{other:?}"),
        };
        assert_eq!(atm.code(&ATM.verify(card, pin)), "00", "{changed} {reversed}");
    }
}
