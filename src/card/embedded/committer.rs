//! The one thread that writes: takes what waits, makes it durable with one sync, publishes it, answers.
//!
//! While a sync runs the next batch gathers in the queue, so batches grow with the load by themselves. Nothing is
//! published or answered before the sync returned. A failed write or sync poisons the store: the kernel may have
//! dropped the pages, so nothing written later could be trusted. **Never here:** waiting for anything but the queue
//! and the disk; folding, expiry, trimming (see `checkpoint`).

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use crate::card::codec::{self, Change, CodecError};
use crate::card::embedded::claim::Claim;
use crate::card::embedded::index::{AlreadyHashed, Index, Late};
use crate::card::embedded::journal::{Batch, Journal, JournalError};
use crate::card::embedded::ledger::end_of_flight;
use crate::card::embedded::work::{Accepted, Answer, Told, Work, refuse_poisoned};
use crate::card::{
    CardKey, CardRecord, CommitRefused, Entry, Receipt, Settlement, StoreError, Unsettled,
};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::outcome::Reason;
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;
use crate::domain::vault::Vault;
use crate::limits::COMMIT_BATCH_MAX;

/// What committer, chores and handle share.
#[derive(Default)]
pub(crate) struct Shared {
    /// The newest durable and published record.
    pub(crate) durable: AtomicU64,
    /// The newest record that is folded into the card rows.
    pub(crate) checkpoint: AtomicU64,
    poisoned: AtomicBool,
    why: OnceLock<String>,
}

impl Shared {
    /// Whether the store refuses work.
    pub(crate) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Why it does.
    pub(crate) fn why(&self) -> Option<&str> {
        self.poisoned().then(|| self.why.get().map_or("", String::as_str))
    }

    pub(crate) fn poison(&self, why: String) {
        tracing::error!(
            why,
            "store poisoned: nothing acknowledged is lost; free the disk, restart"
        );
        let _ = self.why.set(why);
        self.poisoned.store(true, Ordering::Release);
    }
}

/// Poisons the store when the committer panics, so that nobody waits for it.
pub(crate) struct PanicPoisons(pub(crate) Arc<Shared>);

impl Drop for PanicPoisons {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("the committer panicked: see the log".to_owned());
        }
    }
}

/// The thread's state.
pub(crate) struct Committer {
    journal: Arc<dyn Journal>,
    vault: Arc<dyn Vault>,
    clock: Arc<dyn Clock>,
    index: Arc<Index>,
    shared: Arc<Shared>,
    /// MAC of the newest record.
    head: [u8; 32],
    batch: Batch,
    accepted: Vec<Accepted>,
    /// Of this batch: their card changed since it was read.
    conflicts: Vec<(Claim, oneshot::Sender<Answer>)>,
    /// Of this batch: told twice, or not unsettled.
    unsettleable: Vec<oneshot::Sender<Told>>,
    /// Keys that earlier settlements of the same batch name.
    settling: Vec<TransactionKey>,
    /// Versions that earlier commits of the same batch gave.
    versions: HashMap<(PanHash, u16), u32, BuildHasherDefault<AlreadyHashed>>,
    batch_size: metrics::Histogram,
    seconds: metrics::Histogram,
}

impl Committer {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        vault: Arc<dyn Vault>,
        clock: Arc<dyn Clock>,
        index: Arc<Index>,
        shared: Arc<Shared>,
        head: [u8; 32],
    ) -> Self {
        Self {
            journal,
            vault,
            clock,
            index,
            shared,
            head,
            batch: Batch::default(),
            accepted: Vec::with_capacity(COMMIT_BATCH_MAX),
            conflicts: Vec::with_capacity(COMMIT_BATCH_MAX),
            unsettleable: Vec::new(),
            settling: Vec::new(),
            versions: HashMap::with_capacity_and_hasher(
                COMMIT_BATCH_MAX,
                BuildHasherDefault::default(),
            ),
            batch_size: metrics::histogram!("pinion_commit_batch_size"),
            seconds: metrics::histogram!("pinion_commit_seconds"),
        }
    }

    /// Works until every sender is gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let _poisons = PanicPoisons(Arc::clone(&self.shared));
        let mut waiting = Vec::with_capacity(COMMIT_BATCH_MAX);
        while queue.blocking_recv_many(&mut waiting, COMMIT_BATCH_MAX) != 0 {
            if self.shared.poisoned() {
                waiting.drain(..).for_each(refuse_poisoned);
                continue;
            }
            self.take(&mut waiting);
            if !self.accepted.is_empty() {
                match self.make_durable() {
                    Ok(()) => self.publish(),
                    Err(error) => {
                        self.shared.poison(error.to_string());
                        self.accepted.drain(..).for_each(Accepted::refuse_poisoned);
                    }
                }
            }
            self.answer_conflicts();
        }
    }

    /// Only after the batch is published: who is told of a conflict reads the card again, and must see what won.
    fn answer_conflicts(&mut self) {
        for (claim, answer) in self.conflicts.drain(..) {
            let refused = CommitRefused { error: StoreError::Conflict, claim: Some(claim) };
            let _ = answer.send(Err(refused));
        }
        for answer in self.unsettleable.drain(..) {
            let _ = answer.send(Err(StoreError::Conflict));
        }
    }

    /// Writes the records of what may be committed into the batch; the rest are conflicts.
    fn take(&mut self, waiting: &mut Vec<Work>) {
        self.batch.reset(self.shared.durable.load(Ordering::Relaxed) + 1);
        self.versions.clear();
        self.settling.clear();
        for work in waiting.drain(..) {
            let accepted = match work {
                Work::Change { claim, entry, card, reopens, answer } => {
                    self.take_change(claim, entry, card, reopens, answer)
                }
                Work::Intent { claim, change, answer } => self.take_intent(claim, change, answer),
                Work::Settle { key, settlement, answer } => {
                    self.take_settlement(key, &settlement, answer)
                }
                Work::Note { note, answer } => {
                    let sequence = self.batch.next();
                    match self.push(|out| codec::encode_note(out, sequence, note.at, &note.text)) {
                        Ok(()) => Some(Accepted::Note(answer)),
                        Err(_) => None,
                    }
                }
                Work::Bulk { at, note, answer } => {
                    let sequence = self.batch.next();
                    match self.push(|out| codec::encode_bulk(out, sequence, at, &note)) {
                        Ok(()) => Some(Accepted::Bulk(answer)),
                        Err(_) => None,
                    }
                }
            };
            self.accepted.extend(accepted);
        }
        assert_eq!(self.batch.len(), self.accepted.len(), "one record for each accepted commit");
    }

    fn take_change(
        &mut self,
        claim: Claim,
        entry: Entry,
        card: Option<Arc<CardRecord>>,
        reopens: Option<Arc<Unsettled>>,
        answer: oneshot::Sender<Answer>,
    ) -> Option<Accepted> {
        debug_assert_eq!(claim.key(), entry.key, "an entry is committed under its own claim");
        if let Some(card) = &card
            && !self.is_next_version(card)
        {
            self.conflicts.push((claim, answer));
            return None;
        }
        let ledger = &self.index.ledger;
        if let Some(change) = &reopens
            && ledger.is_full()
            && !ledger.is_open(change.entry.key)
        {
            let _ = answer.send(Err(CommitRefused { error: StoreError::Full, claim: None }));
            return None;
        }
        if self.original_arrived(&entry)
            || reopens.as_ref().is_some_and(|change| self.original_came_again(change, entry.at))
        {
            self.conflicts.push((claim, answer));
            return None;
        }
        let sequence = self.batch.next();
        let change = Change {
            entry: &entry,
            intent: claim.intent().map(|change| change.sequence),
            reopens: reopens.as_deref(),
            card: card.as_deref(),
        };
        if let Err(error) = self.push(|out| codec::encode_change(out, sequence, change)) {
            let _ = answer.send(Err(unwritable(error, entry.key)));
            return None;
        }
        if let Some(card) = &card {
            self.versions.insert((card.pan_hash, card.sequence), card.version);
        }
        Some(Accepted::Change { claim, entry, card, reopens, answer })
    }

    fn take_intent(
        &mut self,
        claim: Claim,
        mut change: Arc<Unsettled>,
        answer: oneshot::Sender<Result<Claim, CommitRefused<Claim>>>,
    ) -> Option<Accepted> {
        let (sequence, key) = (self.batch.next(), claim.key());
        let unavailable = || CommitRefused { error: StoreError::Unavailable, claim: None };
        // A key is open once at most: its reversal may have reopened it while the key expired.
        let Some(sole) = Arc::get_mut(&mut change).filter(|_| !self.index.ledger.is_open(key))
        else {
            let _ = answer.send(Err(unavailable()));
            return None;
        };
        sole.sequence = sequence;
        let (entry, forwarded) = (&change.entry, &change.forwarded);
        if let Err(error) = self.push(|out| codec::encode_intent(out, sequence, entry, forwarded)) {
            let _ = answer.send(Err(unwritable(error, key)));
            return None;
        }
        // Before it is durable, so that a reversal in this batch or later finds it (`original_arrived`).
        self.index.ledger.remember(&change);
        Some(Accepted::Intent { claim, change, answer })
    }

    fn take_settlement(
        &mut self,
        key: TransactionKey,
        settlement: &Settlement,
        answer: oneshot::Sender<Told>,
    ) -> Option<Accepted> {
        let unsettled = self.index.ledger.unsettled(key);
        let Some(change) = unsettled.filter(|_| !self.settling.contains(&key)) else {
            self.unsettleable.push(answer);
            return None;
        };
        let (sequence, how) = (self.batch.next(), &settlement.how);
        let pushed = self.push(|out| codec::encode_settled(out, sequence, key, settlement.at, how));
        if let Err(error) = pushed {
            let _ = answer.send(Err(unwritable(error, key).error));
            return None;
        }
        self.settling.push(key);
        Some(Accepted::Settle { change, answer })
    }

    /// Whether a reversal that found no original must be judged again, because the original came meanwhile. From here
    /// on a late original is refused: its key is taken before the batch is written, so that the two cannot cross.
    fn original_arrived(&self, entry: &Entry) -> bool {
        let reason = entry.declined.map(|declined| declined.reason);
        let (Some(Reason::OriginalNotFound), Some(original)) = (reason, entry.original) else {
            return false;
        };
        // Reversals do not copy every element of the key: a change of this card with the same trace is the original,
        // too, and who judges again finds it.
        if self.index.ledger.newest(original, entry.pan_hash).is_some() {
            return true;
        }
        match self.index.refuse_late(original, entry.at) {
            Late::Refused => false,
            Late::InProgress => true,
            Late::Answered => {
                self.index.done_by_host(original)
                    || entry.pan_hash.is_some_and(|hash| self.index.last_change_is(hash, original))
            }
        }
    }

    /// Whether a change that a reversal reopens is in flight again: nothing had been sent, its key was free, and a
    /// repeat came. From here on a repeat is refused, so that the two cannot cross.
    fn original_came_again(&self, change: &Unsettled, at: WallMillis) -> bool {
        let (key, ledger) = (change.entry.key, &self.index.ledger);
        let another = |(known, sequence)| known == key && sequence != change.sequence;
        self.index.refuse_late(key, at) == Late::InProgress
            || ledger.newest(key, change.entry.pan_hash).is_some_and(another)
    }

    /// Compare-and-set: against this batch's own commits first, then against what is published.
    fn is_next_version(&self, card: &CardRecord) -> bool {
        let key = (card.pan_hash, card.sequence);
        let current = self.versions.get(&key).copied().or_else(|| {
            let card = self.index.card(CardKey::Pan(key.0, Some(key.1)))?;
            Some(card.version)
        });
        current.is_some_and(|current| current.wrapping_add(1) == card.version)
    }

    fn push(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let head = &mut self.head;
        self.batch.push(write, |record| {
            *head = self.vault.chain(head, record);
            *head
        })
    }

    fn make_durable(&mut self) -> Result<(), JournalError> {
        let begun = self.clock.now();
        self.journal.write(&self.batch)?;
        self.journal.sync()?;
        self.seconds.record(self.clock.now().saturating_sub(begun).as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "at most COMMIT_BATCH_MAX")]
        self.batch_size.record(self.batch.len() as f64);
        Ok(())
    }

    /// Only here, after the sync, receipts are minted.
    fn publish(&mut self) {
        let first = self.batch.first;
        for (sequence, accepted) in (first..).zip(&mut self.accepted) {
            match accepted {
                Accepted::Change { claim, entry, card, reopens, .. } => {
                    if let Some(card) = card {
                        self.index.put(Arc::clone(card));
                    }
                    match claim.intent() {
                        None => self.index.answer(sequence, entry, false),
                        Some(change) => end_of_flight(&self.index, sequence, entry, change),
                    }
                    if let Some(change) = reopens {
                        self.index.ledger.reopen(change);
                    }
                }
                Accepted::Intent { claim, change, .. } => claim.intended(Arc::clone(change)),
                Accepted::Settle { change, .. } => self.index.ledger.close(change),
                Accepted::Note(_) | Accepted::Bulk(_) => {}
            }
        }
        self.shared.durable.store(self.batch.next() - 1, Ordering::Release);
        for (sequence, accepted) in (first..).zip(self.accepted.drain(..)) {
            match accepted {
                Accepted::Change { claim, answer, .. } => {
                    claim.settle();
                    // A caller that went away finds the answer under its key.
                    let _ = answer.send(Ok(Receipt::mint(sequence)));
                }
                Accepted::Intent { claim, answer, .. } => {
                    // A caller that went away sends nothing. Its claim is dropped here, and the change reversed: to
                    // a host that is a reversal of something it never saw.
                    let _ = answer.send(Ok(claim));
                }
                Accepted::Settle { answer, .. } | Accepted::Note(answer) => {
                    let _ = answer.send(Ok(Receipt::mint(sequence)));
                }
                Accepted::Bulk(answer) => {
                    let _ = answer.send(Ok(()));
                }
            }
        }
    }
}

fn unwritable(error: CodecError, key: TransactionKey) -> CommitRefused<Claim> {
    tracing::error!(%error, key = %key.text(), "commit refused: record not writable");
    CommitRefused { error: StoreError::Unavailable, claim: None }
}
