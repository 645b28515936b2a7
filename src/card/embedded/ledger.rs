//! Forwarded changes whose end is not known: in flight, or unsettled. In memory, lock-free.
//!
//! ```text
//! book ─► opened (in flight) ─► closed                      the outcome is durable
//!                   └─► waits (unsettled) ─► closed         dropped, or outcome unknown; settled
//! reopen ───────────────► waits                             its caller takes the change back
//! ```
//!
//! An intent without an outcome is unsettled by nature: leaving the flight writes nothing. The committer alone opens,
//! settles and reopens; whoever drops a claim in flight makes it wait. What was forwarded within the retention is
//! found by trace and card, too, since reversals do not copy every element of the key.
//!
//! **Never here:** the disk. Where next: `claim` for the flight, `committer` for the order, `checkpoint` for the rows
//! that outlive the journal's tail.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;
use papaya::HashMap;

use crate::card::embedded::index::Index;
use crate::card::{Entry, Unsettled};
use crate::domain::clock::WallMillis;
use crate::domain::forward::HostId;
use crate::domain::outcome::Reason;
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;

/// What is open, and the newest forwarded change of each card and trace.
pub(crate) struct Ledger {
    /// In flight and unsettled ones.
    open: HashMap<TransactionKey, Arc<Unsettled>>,
    /// Unsettled ones by the position of their intents: the order in which they were sent.
    waiting: SkipMap<u64, Arc<Unsettled>>,
    /// The same ones by card.
    waiting_cards: SkipMap<([u8; 16], u64), ()>,
    /// What was forwarded within the retention: 32 bytes each, beside the map's own.
    traces: HashMap<CardTrace, Newest>,
    /// Open ones, and booked ones that are not open yet.
    places: AtomicUsize,
    places_max: usize,
}

/// How an intended claim ends, by the entry it is committed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was sent: the key is free again.
    NotSent,
    /// A host answered.
    Settled,
    /// Nobody knows.
    Unknown,
}

impl Fate {
    /// Anything but what nobody knows and what was not sent is a host's answer.
    pub(crate) fn of(entry: &Entry) -> Self {
        match entry.declined {
            Some(declined) if declined.reason == Reason::OutcomeUnknown => Self::Unknown,
            Some(declined) if declined.reason == Reason::NotSent => Self::NotSent,
            Some(_) | None => Self::Settled,
        }
    }
}

/// Institution, trace number and terminal, and eight bytes of the card's hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CardTrace([u8; 8], [u8; 8]);

/// The newest change of a [`CardTrace`].
#[derive(Clone, Copy)]
struct Newest {
    /// The other half of its key.
    rest: [u8; 8],
    /// Position of its intent.
    sequence: u64,
}

impl Ledger {
    /// Room for so many open changes.
    pub(crate) fn new(places_max: usize) -> Self {
        Self {
            open: HashMap::new(),
            waiting: SkipMap::new(),
            waiting_cards: SkipMap::new(),
            traces: HashMap::new(),
            places: AtomicUsize::new(0),
            places_max,
        }
    }

    /// Takes a place for one more change, if there is one. [`Ledger::close`] or [`Ledger::unbook`] gives it back.
    pub(crate) fn book(&self) -> bool {
        let more = |taken| (taken < self.places_max).then_some(taken + 1);
        self.places.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Gives a place back that was not used.
    pub(crate) fn unbook(&self) {
        self.places.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether there is no place.
    pub(crate) fn is_full(&self) -> bool {
        self.places_max <= self.places.load(Ordering::Acquire)
    }

    /// Puts a booked change in flight: its intent is durable.
    pub(crate) fn opened(&self, change: &Arc<Unsettled>) {
        self.open.pin().insert(change.entry.key, Arc::clone(change));
    }

    /// From now on the change waits for its reversal.
    pub(crate) fn wait(&self, change: &Arc<Unsettled>) {
        if let Some(card) = change.entry.pan_hash {
            self.waiting_cards.insert((card.0, change.sequence), ());
        }
        self.waiting.insert(change.sequence, Arc::clone(change));
    }

    /// The change has ended.
    pub(crate) fn close(&self, change: &Unsettled) {
        self.waiting.remove(&change.sequence);
        if let Some(card) = change.entry.pan_hash {
            self.waiting_cards.remove(&(card.0, change.sequence));
        }
        if self.open.pin().remove(&change.entry.key).is_some() {
            self.unbook();
        }
    }

    /// Makes a change wait whatever it was: one that waits already stays as it is.
    pub(crate) fn reopen(&self, change: &Arc<Unsettled>) {
        let open = self.open.pin();
        let known = open.get_or_insert_with(change.entry.key, || {
            self.places.fetch_add(1, Ordering::AcqRel);
            Arc::clone(change)
        });
        self.wait(known);
    }

    /// The open change of a key.
    pub(crate) fn open(&self, key: TransactionKey) -> Option<Arc<Unsettled>> {
        self.open.pin().get(&key).map(Arc::clone)
    }

    /// Whether a key's change is open.
    pub(crate) fn is_open(&self, key: TransactionKey) -> bool {
        self.open.pin().contains_key(&key)
    }

    /// The unsettled change of a key.
    pub(crate) fn unsettled(&self, key: TransactionKey) -> Option<Arc<Unsettled>> {
        self.open(key).filter(|change| self.waiting.contains_key(&change.sequence))
    }

    /// Unsettled ones of these hosts in the order they were sent.
    pub(crate) fn oldest(
        &self,
        hosts: &RangeInclusive<HostId>,
        limit: usize,
    ) -> Vec<Arc<Unsettled>> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let waiting = self.waiting.iter().map(|entry| Arc::clone(entry.value()));
        waiting.filter(|change| hosts.contains(&change.forwarded.host)).take(limit).collect()
    }

    /// Whether a change of this card is among them.
    pub(crate) fn awaits_reversal(&self, card: PanHash) -> bool {
        let all = (card.0, 0)..=(card.0, u64::MAX);
        !self.waiting_cards.is_empty() && self.waiting_cards.range(all).next().is_some()
    }

    /// How many are unsettled.
    pub(crate) fn unsettled_count(&self) -> usize {
        self.waiting.len()
    }

    /// When the oldest unsettled one was asked for.
    pub(crate) fn unsettled_since(&self) -> Option<WallMillis> {
        self.waiting.front().map(|oldest| oldest.value().entry.at)
    }

    /// Remembers a forwarded change under its card and trace. One caller at a time.
    pub(crate) fn remember(&self, change: &Unsettled) {
        let Some(card) = change.entry.pan_hash else { return };
        let (trace, rest) = halves(change.entry.key);
        let trace = CardTrace(trace, half_of_hash(card));
        let traces = self.traces.pin();
        if traces.get(&trace).is_none_or(|newest| newest.sequence < change.sequence) {
            traces.insert(trace, Newest { rest, sequence: change.sequence });
        }
    }

    /// Nothing was sent under this key.
    pub(crate) fn forget(&self, change: &Unsettled) {
        let Some(card) = change.entry.pan_hash else { return };
        let trace = CardTrace(halves(change.entry.key).0, half_of_hash(card));
        // Refused when a newer one is there, which is as it should be.
        let _ = self.traces.pin().remove_if(&trace, |_, newest| newest.sequence == change.sequence);
    }

    /// Key and position of the intent of the newest change of `card` whose key has the same trace.
    pub(crate) fn newest(
        &self,
        key: TransactionKey,
        card: Option<PanHash>,
    ) -> Option<(TransactionKey, u64)> {
        let (trace, _) = halves(key);
        let newest = *self.traces.pin().get(&CardTrace(trace, half_of_hash(card?)))?;
        Some((whole(trace, newest.rest), newest.sequence))
    }

    /// Forgets the traces of keys that are not `known` any more.
    pub(crate) fn expire(&self, known: impl Fn(TransactionKey) -> bool) {
        self.traces.pin().retain(|trace, newest| known(whole(trace.0, newest.rest)));
    }
}

/// What a durable outcome says of its change. Live and when the journal is read again, so that both agree.
///
/// The answer is kept before the change is closed: whoever does not find it open any more finds it under its key.
pub(crate) fn end_of_flight(index: &Index, sequence: u64, entry: &Entry, change: &Arc<Unsettled>) {
    match Fate::of(entry) {
        Fate::NotSent => {
            index.ledger.forget(change);
            index.ledger.close(change);
            index.free(entry.key);
        }
        Fate::Settled => {
            index.answer(sequence, entry, true);
            index.ledger.close(change);
        }
        Fate::Unknown => {
            index.ledger.wait(change);
            index.answer(sequence, entry, true);
        }
    }
}

fn halves(key: TransactionKey) -> ([u8; 8], [u8; 8]) {
    let (mut trace, mut rest) = ([0; 8], [0; 8]);
    trace.copy_from_slice(&key.0[..8]);
    rest.copy_from_slice(&key.0[8..]);
    (trace, rest)
}

fn whole(trace: [u8; 8], rest: [u8; 8]) -> TransactionKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&trace);
    key[8..].copy_from_slice(&rest);
    TransactionKey(key)
}

fn half_of_hash(card: PanHash) -> [u8; 8] {
    halves(TransactionKey(card.0)).0
}
