//! A PIN change through every dialect that can carry one, for every way a product keeps PINs.

use crate::support::iso::{
    CMF, Dialect, ISO87_ASCII, ISO87_ASCII_HEX, ISO87_BCD, ISO93_ASCII, ISO93_BCD, MASTERCARD,
    Message, POSTILION, POSTILION_FIRST, VISA,
};
use crate::support::node::{Link, Node, Place};
use crate::support::request::{Terminal, bare};
use crate::support::vectors::{CHIP, OFFSET, PLAIN, block, further_cards, reference};

/// Message types of requests, each with its answer's.
type Types = &'static [(&'static str, &'static str)];

const LINKS: [(&str, &Dialect); 9] = [
    ("iso87-ascii", &ISO87_ASCII),
    ("iso87-ascii-hex", &ISO87_ASCII_HEX),
    ("iso87-bcd", &ISO87_BCD),
    ("iso93-ascii", &ISO93_ASCII),
    ("iso93-bcd", &ISO93_BCD),
    ("cmf", &CMF),
    ("postilion", &POSTILION),
    ("mastercard", &MASTERCARD),
    ("visa", &VISA),
];

/// Checks what an answer gives back: of the elements named by the contract those the request had, unchanged,
/// and the response code. No PIN block, no track, no chip data.
#[track_caller]
pub(crate) fn check_echo(request: &Message, answer: &Message) {
    let echoed = [2, 3, 4, 7, 11, 12, 13, 32, 37, 41, 42, 49];
    for (field, value) in answer.fields.iter().filter(|(n, _)| !matches!(**n, 39 | 64 | 128)) {
        assert!(echoed.contains(field), "field {field} does not belong into an answer");
        assert_eq!(request.fields.get(field), Some(value), "field {field}");
    }
    let missing: Vec<_> = echoed
        .iter()
        .filter(|n| request.fields.contains_key(n) && !answer.fields.contains_key(n))
        .collect();
    assert!(missing.is_empty(), "the answer lacks {missing:?}");
}

/// Sends one change and checks type, echo and code of its answer.
#[track_caller]
fn check(node: &Node, link: &str, request: &Message, answered: &str, code: &str) {
    let answer = node.connect(link).ask(request);
    let what = format!("{} on {link}", request.mti);
    assert_eq!((answer.mti.as_str(), answer.code().as_str()), (answered, code), "{what}");
    check_echo(request, &answer);
}

#[test]
fn through_every_dialect() {
    let links = LINKS.map(|(name, dialect)| Link::new(name, dialect));
    let mut node = Place::new(links.to_vec()).start();
    let rows: [(&str, &'static Dialect, Types); 10] = [
        ("iso87-ascii", &ISO87_ASCII, &[("0100", "0110"), ("0600", "0610")]),
        ("iso87-ascii-hex", &ISO87_ASCII_HEX, &[("0100", "0110"), ("0600", "0610")]),
        ("iso87-bcd", &ISO87_BCD, &[("0100", "0110"), ("0600", "0610")]),
        ("postilion", &POSTILION, &[("0600", "0610")]),
        ("postilion", &POSTILION_FIRST, &[("0600", "0610")]),
        ("iso93-ascii", &ISO93_ASCII, &[("1100", "1110"), ("1604", "1614")]),
        ("iso93-bcd", &ISO93_BCD, &[("1100", "1110"), ("1604", "1614")]),
        ("cmf", &CMF, &[("2600", "2610"), ("2100", "2110")]),
        ("mastercard", &MASTERCARD, &[("0100", "0110")]),
        ("visa", &VISA, &[("0100", "0110")]),
    ];
    let mut cards = further_cards().into_iter();
    let mut changed = Vec::new();
    for (link, dialect, types) in rows {
        let terminal = Terminal::new(dialect, "zpk.atm");
        let [approved, wrong_pin, unacceptable] = dialect.codes;
        for (mti, answered) in types {
            let card = cards.next().expect("enough cards");
            let send = |current: &str, new: &str, code: &str| {
                let request = terminal.change(&card, current, new).as_mti(mti);
                check(&node, link, &request, answered, code);
            };
            send("1234", "2580", approved);
            // The old PIN is refused, the new one proves the cardholder of the next change.
            send("1234", "4826", wrong_pin);
            send("2580", "5678", unacceptable);
            send("2580", "1379", approved);
            changed.push(card.clone());
        }
    }
    let stored = node.cards();
    for card in changed {
        assert_eq!(stored[&card]["pvv"], reference(&card, "1379"), "{}", &card[12..]);
    }
}

#[test]
fn for_every_way_a_product_keeps_pins() {
    let mut node = Node::world();
    let terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
    let mut link = node.connect("atm-1");
    for (card, old, new, newer) in [
        (PLAIN, "1234", "2580", "1379"),
        (CHIP, "2580", "1379", "482615"),
        (OFFSET, "13579", "24680", "97531"),
    ] {
        let mut code = |request: &Message| link.code(request);
        let ending = &card[12..];
        assert_eq!(code(&terminal.verify(card, old)), "00", "{ending}: the PIN at the start");
        assert_eq!(code(&terminal.change(card, old, new)), "00", "{ending}: the change");
        assert_eq!(code(&terminal.verify(card, old)), "55", "{ending}: the old PIN");
        assert_eq!(code(&terminal.verify(card, new)), "00", "{ending}: the new PIN");
        assert_eq!(code(&terminal.change(card, new, newer)), "00", "{ending}: once more");
        assert_eq!(code(&terminal.verify(card, newer)), "00", "{ending}: the newest PIN");
    }
    let stored = node.cards();
    assert_eq!(stored[PLAIN]["pvv"], reference(PLAIN, "1379"));
    assert_eq!(stored[OFFSET]["offset"], reference(OFFSET, "97531"));
}

/// A link whose PIN blocks are of ISO 9564-1 format 3, whatever their random fill.
#[test]
fn with_blocks_of_format_3() {
    let link = Link::new("atm-1", &ISO87_ASCII).with("pin_block_format = \"iso-3\"");
    let mut node = Place::new(vec![link]).start();
    let mut link = node.connect("atm-1");
    let terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
    let blocks = &crate::support::vectors::VECTORS["format_3_blocks"];
    let block_3 = |pin: &str| hex::decode(blocks[pin].as_str().expect("a block")).expect("hex");
    for (current, new, code) in
        [("1234", "2580", "00"), ("1234", "1379", "55"), ("2580", "1379", "00")]
    {
        let request = terminal.change_blocks(PLAIN, &block_3(current), &block_3(new));
        assert_eq!(link.code(&request), code, "{current} to {new}");
    }
    assert_eq!(link.code(&terminal.verify(PLAIN, "1379")), "81", "format 0 is another one");
    assert_eq!(node.cards()[PLAIN]["pvv"], reference(PLAIN, "1379"));
}

/// The samples of the demo world itself: the run is refused, the offset sample is none.
#[test]
fn samples_of_the_world() {
    let node = Node::world();
    let mut link = node.connect("atm-1");
    let terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
    let samples = crate::support::vectors::WORLD["pin_block_samples"].as_array().expect("samples");
    let mut seen = 0;
    for sample in samples.iter().filter(|sample| sample["zpk"] == "zpk.atm") {
        let text = |name: &str| sample[name].as_str().expect("a text");
        let block = |name: &str| hex::decode(text(name)).expect("hex");
        let request =
            terminal.change_blocks(text("pan"), &block("current_block"), &block("new_block"));
        let want = if text("new") == "5678" { "89" } else { "00" };
        assert_eq!(link.code(&request), want, "{} to {}", text("current"), text("new"));
        seen += 1;
    }
    assert_eq!(seen, 2);
}

/// A change survives a kill without warning, and so does the answer to its repeat.
#[test]
fn changes_survive_a_kill() {
    let mut node = Node::world();
    let terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
    let request = terminal.change(PLAIN, "1234", "2580");
    assert_eq!(node.connect("atm-1").code(&request), "00");
    node.kill_and_restart();
    let mut link = node.connect("atm-1");
    assert_eq!(link.code(&terminal.verify(PLAIN, "2580")), "00");
    assert_eq!(link.code(&request.as_mti("0101")), "00");
    assert_eq!(link.code(&terminal.verify(PLAIN, "1234")), "55");
}

/// A terminal that sends track 2 and no number; a sequence number that must fit.
#[test]
fn ways_to_name_the_card() {
    let node = Node::world();
    let mut link = node.connect("atm-1");
    let verify = Terminal::new(&ISO87_ASCII, "zpk.atm").verify(PLAIN, "1234");
    let renewed = |message: Message| message.with(11, crate::support::request::trace(&ISO87_ASCII));
    for (what, request, code) in [
        ("track 2 with =", verify.clone().without(2).with(35, format!("{PLAIN}=3012101")), "00"),
        ("track 2 with D", verify.clone().without(2).with(35, format!("{PLAIN}D3012101")), "00"),
        ("number and track 2", verify.clone().with(35, format!("{PLAIN}=3012101")), "00"),
        ("its sequence number", verify.clone().with(23, "000"), "00"),
        ("another sequence number", verify.with(23, "001"), "14"),
    ] {
        let request = renewed(request);
        let answer = link.ask(&request);
        assert_eq!(answer.code(), code, "{what}");
        check_echo(&request, &answer);
    }
}

/// A request full of secrets: none of them comes back.
#[test]
fn answers_give_back_no_secret() {
    let node = Node::world();
    let terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
    let chip_data = hex::decode("9F2608112233445566778895050000000000").expect("hex");
    let full = |message: Message| {
        message
            .with(23, "000")
            .with(35, format!("{PLAIN}=3012101"))
            .with(45, format!("B{PLAIN} TEST CARD 3012101"))
            .with(55, &chip_data)
            .with(53, "2001010100000000")
            .with(100, "970012")
    };
    for request in [
        full(terminal.change(PLAIN, "4321", "2580")),
        full(terminal.change(PLAIN, "1234", "2580")),
        full(bare(&ISO87_ASCII, "0100", "920000", PLAIN).with(52, block("zpk.atm", PLAIN, "2580"))),
    ] {
        let mut link = node.connect("atm-1");
        let answer = link.ask(&request);
        check_echo(&request, &answer);
    }
}
