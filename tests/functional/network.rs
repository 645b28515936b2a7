//! Sign-on, sign-off, echo, and the empty frame that keeps a connection open.

use crate::support::iso::{CMF, Dialect, ISO87_ASCII, ISO93_ASCII, Message};
use crate::support::node::{Link, Node, Place};
use crate::support::request::{Terminal, trace};
use crate::support::vectors::PLAIN;

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");

fn message(dialect: &Dialect, code: &str) -> Message {
    let (mti, field) = match dialect.year {
        1987 => ("0800", 70),
        1993 => ("1804", 24),
        _ => ("2804", 24),
    };
    Message::new(mti).with(7, "1122051500").with(11, trace(dialect)).with(field, code)
}

#[track_caller]
fn check(node: &Node, link: &str, code: &str, answered: &str, want: &str) {
    let mut link = node.connect(link);
    let request = message(link.dialect, code);
    let answer = link.ask(&request);
    assert_eq!((&*answer.mti, &*answer.code()), (answered, want), "{code}");
    // Everything comes back, the code of the request among it.
    let mut expected = request.fields.clone();
    expected.insert(39, want.into());
    assert_eq!(answer.fields, expected, "{code}");
}

#[test]
fn in_every_version() {
    let links = vec![
        Link::new("iso87", &ISO87_ASCII),
        Link::new("iso93", &ISO93_ASCII),
        Link::new("cmf", &CMF),
    ];
    let node = Place::new(links).start();
    for code in ["001", "002", "301"] {
        check(&node, "iso87", code, "0810", "00");
    }
    for code in ["801", "802", "831"] {
        check(&node, "iso93", code, "1814", "800");
        check(&node, "cmf", code, "2814", "0000");
    }
    check(&node, "iso87", "999", "0810", "12");
    check(&node, "iso93", "999", "1814", "902");
    let nameless = message(&ISO87_ASCII, "001").without(70);
    assert_eq!(node.connect("iso87").code(&nameless), "30");
}

/// Where a sign-on is wanted, work is refused before it, and after a sign-off; an echo is always answered.
#[test]
fn sign_on_comes_first_where_it_is_required() {
    let link = Link::new("atm-1", &ISO87_ASCII).with("require_sign_on = true");
    let node = Place::new(vec![link]).start();
    let mut atm = node.connect("atm-1");
    let network = |code: &str| message(&ISO87_ASCII, code);
    for (step, (request, code)) in [
        (ATM.verify(PLAIN, "1234"), "91"),
        (network("301"), "00"),
        (ATM.change(PLAIN, "1234", "2580"), "91"),
        (network("001"), "00"),
        (ATM.verify(PLAIN, "1234"), "00"),
        (network("301"), "00"),
        (ATM.change(PLAIN, "1234", "2580"), "00"),
        (network("002"), "00"),
        (ATM.verify(PLAIN, "2580"), "91"),
        (network("001"), "00"),
        (ATM.verify(PLAIN, "2580"), "00"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(atm.code(&request), code, "step {step}");
    }
    // Every connection signs on for itself.
    assert_eq!(node.connect("atm-1").code(&ATM.verify(PLAIN, "2580")), "91");
}

/// Where it is not, a sign-off changes nothing.
#[test]
fn sign_off_is_a_courtesy_elsewhere() {
    let node = Node::world();
    let mut atm = node.connect("atm-1");
    assert_eq!(atm.code(&message(&ISO87_ASCII, "002")), "00");
    assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "00");
}

#[test]
fn an_empty_frame_comes_back() {
    let node = Node::world();
    let mut atm = node.connect("atm-1");
    for _ in 0..3 {
        atm.send_bytes(&[0, 0]);
        assert_eq!(atm.frame().as_deref(), Some(&[][..]));
    }
    assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "00");
}
