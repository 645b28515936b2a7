//! The simulator's state as JSON, so that tests can compare what Postilion believes with what callers were told.
//!
//! It shows card numbers and PINs in clear: they are test cards. **Never here:** HTTP (`admin`).

use std::net::SocketAddr;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::sim::postilion::book::{Book, Card, Entry, State};
use crate::sim::postilion::core::{Core, Node};
use crate::sim::postilion::shared::Shared;

/// Everything, ready to be written. It is made card by card: there may be a million changes.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    cards: Cards<'a>,
    changes: Value,
    reversals_remembered: Vec<Value>,
    keys: Value,
    nodes: Vec<Value>,
}

struct Cards<'a> {
    book: &'a Book,
    touched_only: bool,
}

impl Serialize for Cards<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = |card: &&Card| !self.touched_only || !card.history.is_empty();
        let cards = self.book.cards().iter().filter(shown);
        serializer.collect_seq(cards.map(|shown| card(self.book, shown)))
    }
}

/// Where each node listens, and whether it does.
pub(super) fn places(shared: &Shared) -> Vec<(SocketAddr, bool)> {
    let addresses = shared.addresses().enumerate();
    addresses.map(|(index, address)| (address, shared.is_up(index))).collect()
}

/// Everything; with `touched_only`, only the cards that were ever named in a request.
pub(super) fn state<'a>(
    core: &'a Core,
    places: &[(SocketAddr, bool)],
    touched_only: bool,
) -> Shown<'a> {
    let (kept, forgotten) = core.book.sizes();
    let nodes = core.nodes.iter().zip(places).zip(1..).map(|((node, (address, up)), number)| {
        let mut shown = self::node(node);
        shown["node"] = json!(number);
        shown["listen"] = json!(address.to_string());
        shown["up"] = json!(up);
        shown
    });
    Shown {
        cards: Cards { book: &core.book, touched_only },
        changes: json!({ "kept": kept, "forgotten": forgotten }),
        reversals_remembered: remembered(&core.book),
        keys: keys(core),
        nodes: nodes.collect(),
    }
}

/// One card with its changes, oldest first.
pub(super) fn card(book: &Book, card: &Card) -> Value {
    let changes = card.history.iter().filter_map(|number| {
        let entry = book.entry(*number)?;
        Some(change(entry, *number, card.last))
    });
    json!({
        "pan": card.pan,
        "pin": card.pin,
        "tries": card.tries,
        "changes": changes.collect::<Vec<_>>(),
    })
}

fn change(entry: &Entry, number: u64, last: Option<u64>) -> Value {
    let change = &entry.change;
    let state = match entry.state {
        State::Applied if last == Some(number) => "applied",
        State::Applied => "superseded",
        State::Declined => "declined",
        State::Reversed => "reversed",
    };
    json!({
        "number": number,
        "switch_key": change.switch_key,
        "stan": change.stan,
        "sent": change.sent,
        "terminal": change.terminal,
        "from": change.from,
        "to": change.to,
        "node": change.node,
        "state": state,
        "code": change.code,
        "reversal": entry.reversal,
        "times_processed": entry.processed,
        "times_received": entry.received,
    })
}

fn remembered(book: &Book) -> Vec<Value> {
    let shown = book.remembered().map(|remembered| {
        let reversal = &remembered.reversal;
        json!({
            "original_key": reversal.key,
            "original_data": reversal.data,
            "terminal": reversal.terminal,
            "node": reversal.node,
            "times_received": remembered.received,
            "originals_refused": remembered.refused,
        })
    });
    shown.collect()
}

fn keys(core: &Core) -> Value {
    let (uses, retired) = core.keys.counts();
    let values: Vec<_> = core.keys.check_values().map(hex::encode_upper).collect();
    json!({
        "check_values": values,
        "used_newest": uses.newest,
        "used_older": uses.older,
        "retired": retired,
    })
}

fn node(node: &Node) -> Value {
    let counters = &node.counters;
    let map = |entries: &mut dyn Iterator<Item = (String, u64)>| {
        entries.map(|(key, count)| (key, json!(count))).collect::<Map<_, _>>()
    };
    let mti = |(mti, count): &([u8; 4], u64)| (String::from_utf8_lossy(mti).into_owned(), *count);
    json!({
        "connections": node.open,
        "connections_total": counters.connections,
        "signed_on": node.lines.len(),
        "received": map(&mut counters.received.iter().map(mti)),
        "answered": map(&mut counters.answered.iter().map(|(c, n)| (c.0.as_str().to_owned(), *n))),
        "faults": map(&mut counters.faults.iter().map(|(f, n)| (f.label().to_owned(), *n))),
        "repeats": counters.repeats,
        "bad": counters.bad,
        "unasked": counters.unasked,
    })
}
