//! Connections that are slow, silent, too many, or from elsewhere; framings other than two bytes of length.

use std::io::{Read, Write};

use crate::support::eventually;
use crate::support::iso::{ISO87_ASCII, Message};
use crate::support::node::{Link, Node, Place};
use crate::support::request::Terminal;
use crate::support::vectors::PLAIN;
use crate::support::wire::tcp;

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");

fn node(lines: &str) -> Node {
    Place::new(vec![Link::new("atm-1", &ISO87_ASCII).with(lines)]).start()
}

fn rejected(node: &Node, why: &str) -> u64 {
    node.metric("pinion_frames_rejected_total", &[("link", "atm-1"), ("why", why)])
}

/// Whether a new connection gets an answer.
fn is_served(node: &Node) -> bool {
    let mut link = node.connect("atm-1");
    let bytes = crate::support::wire::framed(&link.bytes(&ATM.verify(PLAIN, "1234")));
    link.stream.write_all(&bytes).is_ok() && link.stream.read_exact(&mut [0]).is_ok()
}

#[test]
fn half_a_frame_is_not_waited_for_for_ever() {
    let node = node("frame_seconds = 1\nidle_seconds = 300");
    let mut half = node.connect("atm-1");
    let mut whole = node.connect("atm-1");
    half.send_bytes(&[0, 100, b'0', b'1']);
    assert!(half.is_closed());
    assert_eq!(rejected(&node, "half_frame"), 1);
    assert_eq!(whole.code(&ATM.verify(PLAIN, "1234")), "00", "the other connection stays");
}

#[test]
fn silence_closes_and_counts_nothing() {
    let node = node("idle_seconds = 1\nframe_seconds = 1");
    let mut silent = node.connect("atm-1");
    assert!(silent.is_closed());
    eventually("it is gone", || {
        (node.metric("pinion_links_up", &[("link", "atm-1")]) == 0).then_some(())
    });
    assert_eq!(node.metric("pinion_frames_rejected_total", &[("link", "atm-1")]), 0);
}

#[test]
fn one_connection_too_many() {
    let node = node("connections = 2");
    let (mut first, mut second) = (node.connect("atm-1"), node.connect("atm-1"));
    assert_eq!(first.code(&ATM.verify(PLAIN, "1234")), "00");
    assert_eq!(second.code(&ATM.verify(PLAIN, "1234")), "00");
    assert!(node.connect("atm-1").is_closed(), "the third");
    assert_eq!(rejected(&node, "too_many_connections"), 1);
    drop(first);
    eventually("a place is free again", || is_served(&node).then_some(()));
    assert_eq!(second.code(&ATM.verify(PLAIN, "1234")), "00");
}

#[test]
fn who_is_not_on_the_allow_list() {
    let elsewhere = node("allow = [\"10.1.0.0/16\", \"192.0.2.7\"]");
    assert!(!is_served(&elsewhere));
    eventually("it is counted", || (0 < rejected(&elsewhere, "not_allowed")).then_some(()));
    assert!(is_served(&node("allow = [\"10.1.0.0/16\", \"127.0.0.0/8\"]")));
}

/// A message in the framing of a row, as the channel's public description has it: length form, header, trailer.
type Frame = fn(&[u8]) -> Vec<u8>;

fn with_length(length: Vec<u8>, body: &[u8]) -> Vec<u8> {
    [length, body.to_vec()].concat()
}

fn be(bytes: usize, length: usize) -> Vec<u8> {
    length.to_be_bytes()[8 - bytes..].to_vec()
}

#[test]
fn in_every_framing() {
    let rows: [(&str, Frame, Frame); 12] = [
        ("be2", |m| with_length(be(2, m.len()), m), |m| with_length(be(2, m.len()), m)),
        ("be3", |m| with_length(be(3, m.len()), m), |m| with_length(be(3, m.len()), m)),
        ("be4", |m| with_length(be(4, m.len()), m), |m| with_length(be(4, m.len()), m)),
        (
            "be2-inclusive",
            |m| with_length(be(2, m.len() + 2), m),
            |m| with_length(be(2, m.len() + 2), m),
        ),
        ("be2-zero2", framed_zero2, framed_zero2),
        ("zero2-be2", framed_zero_first, framed_zero_first),
        ("ascii4", |m| framed_text(m, 10), |m| framed_text(m, 10)),
        ("hex4", |m| framed_text(m, 16), |m| framed_text(m, 16)),
        ("bcd4", framed_bcd, framed_bcd),
        (
            "be2+tpdu",
            |m| framed_header(&[0x60, 0, 1, 0, 2], m),
            |m| framed_header(&[0x60, 0, 2, 0, 1], m),
        ),
        (
            "be2+header:ISO70100000",
            |m| framed_header(b"ISO70100000", m),
            |m| framed_header(b"ISO70100000", m),
        ),
        ("be2+trailer:03", framed_trailer, framed_trailer),
    ];
    for (framing, request, answer) in rows {
        let node = node(&format!("framing = \"{framing}\""));
        let mut stream = tcp(node.place.port("atm-1"));
        for pin in ["1234", "4321"] {
            let verify: Message = ATM.verify(PLAIN, pin);
            stream.write_all(&request(&ISO87_ASCII.encode(&verify))).expect("written");
            let code = if pin == "1234" { "00" } else { "55" };
            let mut wanted = verify.as_mti("0110").with(39, code);
            wanted.fields.remove(&52);
            let wanted = answer(&ISO87_ASCII.encode(&wanted));
            let mut got = vec![0; wanted.len()];
            stream.read_exact(&mut got).unwrap_or_else(|error| panic!("{framing}: {error}"));
            assert_eq!(hex::encode(got), hex::encode(wanted), "{framing}");
        }
    }
}

fn framed_zero2(message: &[u8]) -> Vec<u8> {
    with_length([be(2, message.len()), vec![0, 0]].concat(), message)
}

fn framed_zero_first(message: &[u8]) -> Vec<u8> {
    with_length([vec![0, 0], be(2, message.len())].concat(), message)
}

fn framed_text(message: &[u8], radix: u32) -> Vec<u8> {
    let length = message.len();
    let text = if radix == 16 { format!("{length:04X}") } else { format!("{length:04}") };
    with_length(text.into_bytes(), message)
}

fn framed_bcd(message: &[u8]) -> Vec<u8> {
    with_length(hex::decode(format!("{:04}", message.len())).expect("digits"), message)
}

fn framed_header(header: &[u8], message: &[u8]) -> Vec<u8> {
    let body = [header, message].concat();
    with_length(be(2, body.len()), &body)
}

fn framed_trailer(message: &[u8]) -> Vec<u8> {
    let body = [message, &[3]].concat();
    with_length(be(2, body.len()), &body)
}
