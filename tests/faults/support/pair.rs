//! Two switches over one PostgreSQL: the same cards, the same keys, each with a number and trace numbers of its own.
//!
//! **Never here:** what they are sent.

use super::node::{Node, Setup};

/// The two.
pub(crate) struct Pair {
    pub(crate) nodes: [Node; 2],
}

/// The tables `[store]` of switch `number` over the database at `url`.
pub(crate) fn section(url: &str, number: usize) -> String {
    format!(
        "[store]\nkind = \"postgres\"\n[store.postgres]\nurl = \"{url}\"\nnode = {number}\n\
         connections = 3\n"
    )
}

/// The trace numbers of switch `number`, as a line of `[postilion]`.
fn stans(number: usize) -> &'static str {
    match number {
        1 => "stan = { first = 1, last = 499999 }",
        _ => "stan = { first = 500000, last = 999999 }",
    }
}

impl Pair {
    /// Makes schema, cards and both directories. Nothing runs yet. `more` makes further tables of a switch from a line
    /// of `[postilion]`.
    pub(crate) fn new(url: &str, cards: u64, more: impl Fn(&str) -> String) -> Self {
        let of = |number| (section(url, number), more(stans(number)));
        let ((database, more), (other_database, other_more)) = (of(1), of(2));
        let common = Setup { level: "info", ..Setup::DEFAULT };
        let first = Node::new(&Setup { database: &database, more: &more, cards, ..common });
        let second = Setup { database: &other_database, more: &other_more, ..common };
        let second = Node::beside(&first, &second);
        Self { nodes: [first, second] }
    }

    /// Starts both.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.nodes.iter_mut().for_each(Node::start);
    }

    /// Stops both.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.nodes.iter_mut().for_each(Node::stop);
    }

    /// A number that no request had.
    pub(crate) fn number(&self) -> u32 {
        self.nodes[0].number()
    }

    /// Ports of both, two each.
    pub(crate) fn ports(&self) -> [u16; 4] {
        let [one, two] = &self.nodes;
        [one.atm, one.other, two.atm, two.other]
    }
}
