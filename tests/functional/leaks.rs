//! Where card data must not be: the log at its loudest, the pages of the admin port, the files of the store.
//!
//! Every other test searches its node's log as well, when the node ends (`support::node`).

use std::path::Path;

use crate::support::iso::{ISO87_ASCII, ISO93_ASCII, Message, POSTILION};
use crate::support::node::{Node, assert_no_leak};
use crate::support::request::Terminal;
use crate::support::vectors::{CHIP, OFFSET, PLAIN, VECTORS};
use crate::support::wire::framed;

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");

/// Good and bad messages, each full of what must not be seen.
fn traffic(node: &Node) {
    let full = |message: Message| {
        message
            .with(35, format!("{PLAIN}=30121011234567890"))
            .with(45, format!("B{PLAIN} TEST CARD 3012101"))
    };
    let mut atm = node.connect("atm-1");
    for (request, code) in [
        (full(ATM.change(PLAIN, "1234", "2580")), "00"),
        (full(ATM.change(PLAIN, "1234", "1379")), "55"),
        (ATM.change(CHIP, "2580", "1379"), "00"),
        (ATM.change(OFFSET, "13579", "24680"), "00"),
        (full(ATM.change(PLAIN, "2580", "1379")).with(4, "00000000000X"), "30"),
        (full(ATM.change(PLAIN, "2580", "1379")).with(2, "47617390010100X0"), "30"),
        (full(ATM.change(PLAIN, "2580", "1379")).with(3, "000000"), "12"),
        // The number where other things belong.
        (ATM.change(PLAIN, "2580", "1379").with(37, &PLAIN[..12]).with(42, &PLAIN[..15]), "00"),
    ] {
        assert_eq!(atm.code(&request), code);
    }
    let whole = framed(&ISO87_ASCII.encode(&full(ATM.change(PLAIN, "1379", "2580"))));
    for cut in [30, 60, 100, whole.len() - 9, whole.len() - 1] {
        let mut short = whole[..cut].to_vec();
        let length = u16::try_from(cut - 2).expect("short").to_be_bytes();
        short[..2].copy_from_slice(&length);
        let mut link = node.connect("atm-1");
        link.send_bytes(&short);
        link.receive();
    }
    for (link, dialect) in [("postilion-in", &POSTILION), ("iso93", &ISO93_ASCII)] {
        let terminal = Terminal::new(dialect, "zpk.atm");
        node.connect(link).ask(&terminal.change(PLAIN, "1379", "2580"));
        node.connect(link).ask(&terminal.change(PLAIN, "1379", "2580").without(52));
    }
}

#[test]
fn card_data_is_nowhere_in_the_clear() {
    let mut node = Node::world();
    traffic(&node);
    for path in ["/", "/live", "/metrics", "/ready", "/status"] {
        assert_no_leak(&node.get(path).1);
    }
    node.stop();
    let log = node.output();
    assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "the log is at its loudest");
    assert_no_leak(&log);
    let mut seen = 0;
    search(&node.place.store(), &mut seen);
    assert!(100 < seen, "the store was searched: {seen} bytes");
}

/// Looks for numbers as digits and packed, and for PIN blocks, in every file.
fn search(place: &Path, seen: &mut usize) {
    for entry in std::fs::read_dir(place).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            search(&path, seen);
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        // The journal is reserved ahead: the zeros behind its end hold nothing.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let bytes = &bytes[..end];
        *seen += end;
        let name = path.display();
        for (pan, card) in VECTORS["cards"].as_object().expect("cards") {
            let packed = hex::decode(format!("{pan:0>20}")).expect("digits");
            let packed = &packed[packed.len() - pan.len() / 2..];
            assert!(!contains(bytes, pan.as_bytes()), "{name}: a number in the clear");
            assert!(!contains(bytes, packed), "{name}: a packed number");
            if ![PLAIN, CHIP, OFFSET].contains(&pan.as_str()) {
                continue;
            }
            for block in card["blocks"]["zpk.atm"].as_object().expect("blocks").values() {
                let block = hex::decode(block.as_str().expect("hex")).expect("hex");
                assert!(!contains(bytes, &block), "{name}: a PIN block");
            }
        }
    }
}

/// Searches by the first byte: the files are long and the needles rare.
fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}
