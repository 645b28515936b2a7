//! A batch: what waits for the writer, judged against what the database has, and what is written of it.
//!
//! The rules are those of `embedded::committer`, one for one. A row that is refused leaves the others alone: its keys
//! are given back in the second round. **Never here:** SQL, a connection. Where next: `write`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::card::codec::{self, Change, CodecError};
use crate::card::embedded::Fate;
use crate::card::postgres::ask::{ANSWERED, Ask, Found, SENT, code_and_host, original_is_missing};
use crate::card::postgres::shared::Shared;
use crate::card::postgres::work::{Doubt, Work};
use crate::card::postgres::write::{CardRow, OpenRow, Outcome, Written};
use crate::card::{CardRecord, Entry, StoreError, Unsettled};
use crate::domain::clock::WallMillis;
use crate::domain::outcome::Reason;
use crate::domain::request::TransactionKey;
use crate::domain::vault::Vault;

/// The newest record of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) position: u64,
    pub(super) mac: [u8; 32],
}

/// What became of one work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Its record is in the batch.
    Accepted(u64),
    /// It needs no record.
    Unrecorded,
    Refused(StoreError),
}

/// Works that are made durable together.
pub(super) struct Batch {
    works: Vec<Work>,
    verdicts: Vec<Verdict>,
    /// The chain's end when the batch is committed.
    pub(super) head: Head,
    /// Places of open changes that it gives back.
    closed: usize,
}

/// What judging carries from row to row.
struct Judge<'a> {
    shared: &'a Shared,
    vault: &'a dyn Vault,
    found: &'a Found,
    head: Head,
    written: Written,
    /// Cards that an earlier row of the batch changes.
    changed: HashSet<([u8; 16], u16)>,
    /// Changes that an earlier row settles.
    settled: HashSet<TransactionKey>,
    reopened: BTreeSet<[u8; 16]>,
    /// Changes whose flight an earlier row ends.
    released: HashSet<TransactionKey>,
    /// Keys of refused originals that stay.
    kept: HashSet<[u8; 16]>,
    closed: usize,
}

impl Batch {
    pub(super) fn new(works: Vec<Work>, head: Head) -> Self {
        let verdicts = vec![Verdict::Unrecorded; works.len()];
        Self { works, verdicts, head, closed: 0 }
    }

    /// What has to be asked before the batch can be judged.
    pub(super) fn ask(&self, shared: &Shared) -> Ask {
        let mut ask = Ask::default();
        let mut position = self.head.position;
        for (place, work) in self.works.iter().enumerate() {
            position += u64::from(!matches!(work, Work::Release { .. }));
            ask.add(place, work, position, shared);
        }
        ask
    }

    /// Judges as if everything were as it was read. `None`, and nothing is judged: it has to be looked at.
    pub(super) fn hope(
        &mut self,
        shared: &Shared,
        vault: &dyn Vault,
        ask: &Ask,
    ) -> Option<Written> {
        let found = ask.hoped(&self.works)?;
        let before = self.head;
        let written = self.judge(shared, vault, &found);
        if written.is_usual() {
            return Some(written);
        }
        self.forget(before);
        None
    }

    /// Takes back a judgement that wrote nothing.
    pub(super) fn forget(&mut self, before: Head) {
        self.head = before;
        self.verdicts.fill(Verdict::Unrecorded);
        self.closed = 0;
    }

    /// Decides about every row, and says what is to be written.
    pub(super) fn judge(&mut self, shared: &Shared, vault: &dyn Vault, found: &Found) -> Written {
        let mut judge = Judge {
            shared,
            vault,
            found,
            head: self.head,
            written: Written::default(),
            changed: HashSet::new(),
            settled: HashSet::new(),
            reopened: BTreeSet::new(),
            released: HashSet::new(),
            kept: HashSet::new(),
            closed: 0,
        };
        let (mut expected, mut kept) = (self.head.position, BTreeMap::new());
        for ((place, work), verdict) in self.works.iter_mut().enumerate().zip(&mut self.verdicts) {
            expected += u64::from(!matches!(work, Work::Release { .. }));
            let place = i32::try_from(place).unwrap_or(i32::MAX);
            *verdict = match judge.take(place, work) {
                Ok(Some(position)) => Verdict::Accepted(position),
                Ok(None) => Verdict::Unrecorded,
                Err(error) => Verdict::Refused(error),
            };
            if let (Verdict::Accepted(position), Some(key)) = (*verdict, own_key(work)) {
                kept.insert(key.0, (position != expected).then_some(position));
            }
        }
        self.head = judge.head;
        self.closed = judge.closed;
        let mut written = judge.written;
        for key in found.taken.keys() {
            match kept.get(key) {
                Some(Some(position)) => written.renumbered.push((*key, *position)),
                Some(None) => {}
                None if judge.kept.contains(key) => {}
                None => written.freed.push(*key),
            }
        }
        written.head = self.head;
        written
    }

    /// Tells everybody, after the commit.
    pub(super) fn publish(self, shared: &Shared) {
        shared.unbook(self.closed);
        for (work, verdict) in self.works.into_iter().zip(self.verdicts) {
            match verdict {
                Verdict::Accepted(position) => work.done(position),
                Verdict::Unrecorded => work.done(0),
                // Only now: who is told of a conflict reads the card again, and must see what won.
                Verdict::Refused(error) => work.refuse(error),
            }
        }
    }

    /// Nothing was committed.
    pub(super) fn refuse(self, error: StoreError) {
        // Those that were refused for a reason of their own are told that one.
        for (work, verdict) in self.works.into_iter().zip(self.verdicts) {
            match verdict {
                Verdict::Refused(why) if why != StoreError::Conflict => work.refuse(why),
                _ => work.refuse(error),
            }
        }
    }

    /// Nobody knows whether it was committed, and its callers wait no longer.
    pub(super) fn give_up(self) -> Doubts {
        let mut doubts = Vec::new();
        for (work, verdict) in self.works.into_iter().zip(self.verdicts) {
            match verdict {
                Verdict::Accepted(position) => doubts.push((work.give_up(), position)),
                Verdict::Unrecorded => {}
                Verdict::Refused(error) => work.refuse(error),
            }
        }
        Doubts { doubts, closed: self.closed }
    }
}

/// The claims of a batch whose end nobody knows yet. Dropped, nothing of it was written.
pub(super) struct Doubts {
    doubts: Vec<(Doubt, u64)>,
    closed: usize,
}

impl Doubts {
    /// It was written.
    pub(super) fn done(self, shared: &Shared) {
        shared.unbook(self.closed);
        self.doubts.into_iter().for_each(|(doubt, position)| doubt.done(position));
    }
}

/// The key that a work takes for itself.
fn own_key(work: &Work) -> Option<TransactionKey> {
    match work {
        Work::Change { claim, entry, .. } => claim.intent().is_none().then_some(entry.key),
        Work::Intent { change, .. } => Some(change.entry.key),
        Work::Release { .. } | Work::Settle { .. } | Work::Note { .. } | Work::Bulk { .. } => None,
    }
}

impl Judge<'_> {
    /// The position of the work's record, if it has one; or why it is refused.
    fn take(&mut self, place: i32, work: &mut Work) -> Result<Option<u64>, StoreError> {
        let position = self.head.position + 1;
        match work {
            Work::Change { claim, entry, card, reopens, .. } => {
                if let Some(intent) = claim.intent() {
                    self.take_outcome(position, entry, intent)?;
                } else {
                    self.take_change(place, position, entry, card.as_deref(), reopens.as_ref())?;
                }
            }
            Work::Intent { change, .. } => self.take_intent(position, change)?,
            Work::Release { held } => {
                if self.found.open.get(&held.key.0).is_some_and(|open| open.ours) {
                    self.written.waits.push(held.key.0);
                    self.released.insert(held.key);
                }
                return Ok(None);
            }
            Work::Settle { key, settlement, .. } => {
                let is_open = self.found.open.contains_key(&key.0);
                if !is_open || self.is_in_flight(*key) || self.settled.contains(key) {
                    return Err(StoreError::Conflict);
                }
                let (at, how) = (settlement.at, &settlement.how);
                self.push(*key, at, |out| codec::encode_settled(out, position, *key, at, how))?;
                self.settled.insert(*key);
                self.close(*key);
            }
            Work::Note { note, .. } => {
                let (at, text) = (note.at, &note.text);
                self.push(TransactionKey([0; 16]), at, |out| {
                    codec::encode_note(out, position, at, text)
                })?;
            }
            Work::Bulk { at, note, .. } => {
                let at = *at;
                self.push(TransactionKey([0; 16]), at, |out| {
                    codec::encode_bulk(out, position, at, note)
                })?;
            }
        }
        Ok(Some(position))
    }

    /// The result of a request that was not sent anywhere.
    fn take_change(
        &mut self,
        place: i32,
        position: u64,
        entry: &Entry,
        card: Option<&CardRecord>,
        reopens: Option<&Arc<Unsettled>>,
    ) -> Result<(), StoreError> {
        if !self.found.taken.contains_key(&entry.key.0) {
            return Err(StoreError::KeyTaken);
        }
        if let Some(card) = card
            && !self.is_next_version(card)
        {
            return Err(StoreError::Conflict);
        }
        if self.original_arrived(place, entry) {
            return Err(StoreError::Conflict);
        }
        if let Some(change) = reopens {
            self.check_reopened(change)?;
        }
        let row = card.map(|card| CardRow::of(card, entry.key)).transpose()?;
        let open = reopens.map(|change| self.row_of_reopened(change)).transpose()?;
        let change = Change { entry, intent: None, reopens: reopens.map(|c| &**c), card };
        self.push(entry.key, entry.at, |out| codec::encode_change(out, position, change))?;
        if let Some(card) = card {
            self.changed.insert((card.pan_hash.0, card.sequence));
        }
        self.written.cards.extend(row);
        self.kept.extend(entry.original.map(|original| original.0));
        if let (Some(change), Some(open)) = (reopens, open) {
            let key = change.entry.key.0;
            self.kept.insert(key);
            if self.reopened.insert(key) {
                self.written.opened.push(open);
            }
        }
        Ok(())
    }

    /// Compare-and-set: one change of a card in a batch, and only from the version that was read.
    fn is_next_version(&self, card: &CardRecord) -> bool {
        let key = (card.pan_hash.0, card.sequence);
        let found = self.found.versions.get(&(key.0, key.1.cast_signed()));
        let is_next = found.is_some_and(|version| version + 1 == i64::from(card.version));
        is_next && !self.changed.contains(&key)
    }

    /// Whether a reversal that found no original must be judged again, because the original came meanwhile. From here
    /// on a late original is refused: its key is taken, so that the two cannot cross.
    fn original_arrived(&self, place: i32, entry: &Entry) -> bool {
        let Some(original) = entry.original.filter(|_| original_is_missing(entry)) else {
            return false;
        };
        // Reversals do not copy every element of the key: a change of this card with the same trace is the original,
        // too, and who judges again finds it.
        if self.found.newest.contains(&place) || self.shared.is_in_progress(original) {
            return true;
        }
        let is_last_change = |card: &CardRecord| {
            entry.pan_hash == Some(card.pan_hash)
                && card.undo.as_ref().is_some_and(|undo| undo.key == original)
        };
        match self.found.known.get(&original.0) {
            Some(known) if known.state == SENT => true,
            Some(known) if known.state == ANSWERED => {
                let unknown = i16::from(Reason::OutcomeUnknown.code());
                let done_by_host =
                    known.intent.is_some() && (known.code == 0 || known.code == unknown);
                done_by_host || self.found.cards.iter().any(is_last_change)
            }
            _ => false,
        }
    }

    /// Whether a change can be reopened: not while it is in flight, or in flight again. Nothing had been sent then, its
    /// key was free, and a repeat came; from here on a repeat is refused, so that the two cannot cross.
    fn check_reopened(&self, change: &Unsettled) -> Result<(), StoreError> {
        let key = change.entry.key;
        let known = self.found.known.get(&key.0);
        let came_again = known.and_then(|known| known.intent);
        let is_another = came_again.is_some_and(|intent| intent != change.sequence.cast_signed());
        let open = self.found.open.get(&key.0);
        let in_progress = self.shared.is_in_progress(key) && !self.released.contains(&key);
        if is_another || in_progress || self.is_in_flight(key) {
            return Err(StoreError::Conflict);
        }
        if open.is_none() && !self.reopened.contains(&key.0) && !self.shared.book() {
            return Err(StoreError::Full);
        }
        Ok(())
    }

    /// In its old place in the order of sending.
    fn row_of_reopened(&self, change: &Unsettled) -> Result<OpenRow, StoreError> {
        let known = self.found.known.get(&change.entry.key.0);
        OpenRow::of(change, known.and_then(|known| known.sent), true)
    }

    fn take_intent(&mut self, position: u64, change: &mut Unsettled) -> Result<(), StoreError> {
        let key = change.entry.key;
        let Some(sent) = self.found.taken.get(&key.0) else { return Err(StoreError::KeyTaken) };
        // A key is open once at most.
        if self.found.open.contains_key(&key.0) {
            return Err(StoreError::Unavailable);
        }
        change.sequence = position;
        let row = OpenRow::of(change, *sent, false)?;
        let (entry, forwarded) = (&change.entry, &change.forwarded);
        self.push(key, entry.at, |out| codec::encode_intent(out, position, entry, forwarded))?;
        self.written.stan = Some(forwarded.stan);
        self.written.opened.push(row);
        Ok(())
    }

    /// How a change in flight ended. One whose time was over may have been reversed: it is not ours any more.
    fn take_outcome(
        &mut self,
        position: u64,
        entry: &Entry,
        intent: u64,
    ) -> Result<(), StoreError> {
        if !self.found.open.get(&entry.key.0).is_some_and(|open| open.ours) {
            tracing::error!(key = %entry.key.text(), "the outcome of a change came too late: it is reversed");
            return Err(StoreError::Unavailable);
        }
        let change = Change { entry, intent: Some(intent), reopens: None, card: None };
        self.push(entry.key, entry.at, |out| codec::encode_change(out, position, change))?;
        let (code, host) = code_and_host(entry.declined);
        let answered = Outcome { key: entry.key.0, code, host, position, at: entry.at };
        match Fate::of(entry) {
            Fate::NotSent => {
                self.written.freed.push(entry.key.0);
                self.close(entry.key);
            }
            Fate::Settled => {
                self.written.answered.push(answered);
                self.close(entry.key);
            }
            Fate::Unknown => {
                self.written.answered.push(answered);
                self.written.waits.push(entry.key.0);
            }
        }
        Ok(())
    }

    fn is_in_flight(&self, key: TransactionKey) -> bool {
        let open = self.found.open.get(&key.0);
        open.is_some_and(|open| open.in_flight) && !self.released.contains(&key)
    }

    fn close(&mut self, key: TransactionKey) {
        self.written.closed.push(key.0);
        self.closed += 1;
    }

    /// Appends one record and links it. Nothing is kept when it cannot be written.
    fn push(
        &mut self,
        key: TransactionKey,
        at: WallMillis,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Result<(), StoreError> {
        let mut record = Vec::with_capacity(384);
        if let Err(error) = write(&mut record) {
            tracing::error!(%error, key = %key.text(), "commit refused: record not writable");
            return Err(StoreError::Unavailable);
        }
        self.head.mac = self.vault.chain(&self.head.mac, &record);
        self.head.position += 1;
        record.extend_from_slice(&self.head.mac);
        self.written.records.push(self.head.position, at, record);
        Ok(())
    }
}
