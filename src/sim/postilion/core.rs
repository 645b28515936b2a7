//! What the nodes share: the book, the zone keys, the file; and what each node counts and is told.
//!
//! One lock guards all of it (`shared`); nothing here waits. **Never here:** frames, sockets, faults being done.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::domain::clock::{Clock as _, Now, SystemClock};
use crate::domain::pan::Pan;
use crate::iso8583::Message;
use crate::sim::postilion::ask::{self, DE53_BYTES};
use crate::sim::postilion::book::{Book, Content};
use crate::sim::postilion::event::{Code, Event};
use crate::sim::postilion::fault::{Attempts, Chance, Fault, FaultError, FaultKind, FaultRules};
use crate::sim::postilion::journal::Journal;
use crate::sim::postilion::word::Word;
use crate::sim::postilion::zone::{KEY_BYTES, KeyRing, ZoneKey};

/// How often each of a few things was seen.
#[derive(Clone, Debug)]
pub(super) struct Tally<K>(Vec<(K, u64)>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq> Tally<K> {
    pub(super) fn add(&mut self, key: K) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) => *count += 1,
            None => self.0.push((key, 1)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, u64)> {
        self.0.iter()
    }
}

/// What a node counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// Connections that were opened.
    pub(super) connections: u64,
    /// Messages by type.
    pub(super) received: Tally<[u8; 4]>,
    /// Answers by code.
    pub(super) answered: Tally<Code>,
    /// Faults done.
    pub(super) faults: Tally<FaultKind>,
    /// Changes that had come before.
    pub(super) repeats: u64,
    /// Messages that could not be read or not be answered, and frames that were none.
    pub(super) bad: u64,
    /// Answers to nothing we asked.
    pub(super) unasked: u64,
}

/// What the admin port asks a connection to do: hand out a new key.
#[derive(Debug)]
pub(super) struct Push {
    /// With a check value that is wrong.
    pub(super) wrong_check_value: bool,
    /// Told when the peer has answered.
    pub(super) done: oneshot::Sender<Pushed>,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pushed {
    /// The peer's code.
    pub(super) code: Code,
    /// Check value of the new key, as it really is.
    pub(super) check_value: [u8; 3],
}

/// One node as the others see it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) chance: Chance,
    pub(super) counters: Counters,
    /// Connections that are open.
    pub(super) open: u64,
    /// Connections that are signed on.
    pub(super) lines: Vec<(u64, mpsc::Sender<Push>)>,
    capacity: Option<u32>,
    next_free: Now,
}

impl Node {
    pub(super) fn new(seed: u64, number: usize) -> Self {
        Self {
            chance: Chance::new(seed, number),
            counters: Counters::default(),
            open: 0,
            lines: Vec::new(),
            capacity: None,
            next_free: Now::ZERO,
        }
    }

    /// When the node gets round to a request that comes now; `None` without a bound.
    pub(super) fn turn_of(&mut self, now: impl FnOnce() -> Now) -> Option<Now> {
        let each = Duration::from_secs(1) / self.capacity?;
        let start = self.next_free.max(now());
        self.next_free = start + each;
        Some(start)
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) book: Book,
    pub(super) keys: KeyRing,
    pub(super) nodes: Vec<Node>,
    pub(super) sign_on_needed: bool,
    pub(super) clock: SystemClock,
    zone_master_key: ZoneKey,
    journal: Option<Journal>,
    attempts: Attempts,
    /// The file failed: nothing is answered any more.
    broken: bool,
}

impl Core {
    pub(super) fn new(
        book: Book,
        keys: KeyRing,
        zone_master_key: ZoneKey,
        nodes: Vec<Node>,
        sign_on_needed: bool,
    ) -> Self {
        Self {
            book,
            keys,
            nodes,
            sign_on_needed,
            clock: SystemClock::start(),
            zone_master_key,
            journal: None,
            attempts: Attempts::default(),
            broken: false,
        }
    }

    /// Makes true what the file says. To be called for each event of it before [`Self::keep`].
    pub(super) fn replay(&mut self, event: &Event) {
        match event {
            Event::Key { zpk } => {
                let bytes = hex::decode(zpk.as_bytes()).unwrap_or_default();
                if let Some(key) = ZoneKey::new(&bytes) {
                    self.keys.add(key);
                }
            }
            Event::KeysRetired { count } => self.keys.retire(*count),
            Event::Change(_) | Event::Reversal(_) => {}
        }
        self.book.apply(event);
    }

    /// Writes events to this file from now on.
    pub(super) fn keep(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// Monotonic time.
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// A node by its index.
    pub(super) fn node(&mut self, index: usize) -> Option<&mut Node> {
        self.nodes.get_mut(index)
    }

    /// What happens to a request or reversal that came to node `index`.
    pub(super) fn fault(&mut self, message: &Message<'_>, index: usize) -> Option<Fault> {
        let chance = &self.nodes.get(index)?.chance;
        if !chance.has_rules() {
            return None;
        }
        let request = ask::named(message);
        chance.of_request(request, self.attempts.next(request))
    }

    /// Writes what was decided since. Only then may its answers leave.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = self.journal.as_mut().map_or(Ok(()), Journal::write);
        self.broken = written.is_err();
        written
    }

    fn record(&mut self, event: &Event) {
        self.book.apply(event);
        self.log(event);
    }

    fn log(&mut self, event: &Event) {
        if let Some(journal) = &mut self.journal {
            self.broken |= journal.push(event).is_err();
        }
    }

    /// The code for a change that came to node `index`.
    pub(super) fn change(&mut self, message: &Message<'_>, index: usize) -> Code {
        let change = ask::change(message, number(index));
        if let Some(code) = self.book.repeat(&change) {
            if let Some(node) = self.node(index) {
                node.counters.repeats += 1;
            }
            return code;
        }
        let content = match ask::blocks(message) {
            Ok(blocks) => self.open(blocks, change.pan),
            Err(code) => Content::Refused(code),
        };
        match self.book.decide(change, content) {
            Ok(event) => {
                self.record(&event);
                match event {
                    Event::Change(change) => change.code,
                    _ => Code::APPROVED,
                }
            }
            Err(code) => code,
        }
    }

    fn open(&mut self, blocks: [[u8; 8]; 2], pan: Option<Word<19>>) -> Content {
        let pan = pan.and_then(|pan| Pan::parse(pan.as_bytes()).ok());
        let Some(([current, new], older)) = pan.and_then(|pan| self.keys.open(blocks, &pan)) else {
            return Content::NoPin;
        };
        if self.keys.used(older) {
            self.keys.retire(older);
            self.log(&Event::KeysRetired { count: older });
        }
        Content::Pins { current, new }
    }

    /// The code for a reversal that came to node `index`.
    pub(super) fn reversal(&mut self, message: &Message<'_>, index: usize) -> Code {
        let (code, event) = self.book.reverse(ask::reversal(message, number(index)));
        if let Some(event) = event {
            self.record(&event);
        }
        code
    }

    /// A new zone key of random bytes; not in force yet.
    pub(super) fn new_key(&self) -> Option<ZoneKey> {
        ZoneKey::from_random(self.clock.random())
    }

    /// The key as DE 53 carries it: 16 bytes under the zone master key, the check value, zeros.
    pub(super) fn field_53(&self, key: &ZoneKey, wrong_check_value: bool) -> [u8; DE53_BYTES] {
        let mut field = [0; DE53_BYTES];
        field[..KEY_BYTES].copy_from_slice(&self.zone_master_key.wrap(key));
        field[KEY_BYTES..KEY_BYTES + 3].copy_from_slice(&key.check_value());
        field[KEY_BYTES] ^= if wrong_check_value { 0xFF } else { 0 };
        field
    }

    /// Takes a key in force beside the older ones.
    pub(super) fn take_key(&mut self, key: ZoneKey) {
        let zpk = Word::new(hex::encode_upper(key.expose_bytes()).as_bytes());
        if let Some(zpk) = zpk {
            self.log(&Event::Key { zpk });
        }
        self.keys.add(key);
    }

    /// Tells one node, or every node, what to do wrong from now on.
    pub(super) fn tell(&mut self, rules: &FaultRules) -> Result<(), FaultError> {
        rules.check()?;
        let nodes = self.nodes.len();
        if let Some(node) = rules.node.filter(|node| !(1..=nodes).contains(node)) {
            return Err(FaultError::Node { node, nodes });
        }
        if rules.seed.is_some() {
            self.attempts.clear();
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if rules.node.is_none_or(|number| number == index + 1) {
                node.chance.set(rules);
                node.capacity = rules.capacity;
                node.next_free = Now::ZERO;
            }
        }
        Ok(())
    }
}

/// Nodes count from 1.
fn number(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}
