//! The embedded store: one directory, one committer thread, everything read from memory.
//!
//! ```text
//! claim ──► index (key in progress)
//! intend ─► queue ─► committer: as below ─► ledger (open until its end is known) ─► another claim
//! commit ─► queue ─► committer: version check, audit chain, write, ONE sync ─► index ─► receipt
//!                                                   journal ─► chores: fold into card rows, trim, expire
//! ```
//!
//! A commit costs its caller three allocations: the key's entry at `claim`, the card's after-image, the slot to wait
//! in. **Never here:** a receipt before the sync, a lock between requests. Where next: `committer` for the order of
//! things, `open` for the directory, `card::codec` for the bytes, `bulk` for imports.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::card::codec::Body;
use crate::card::{
    CardKey, CardRecord, Commit, CommitRefused, Entry, Fingerprint, Note, Receipt, Seen,
    Settlement, Store, StoreError, StoreStatus, Unsettled,
};
use crate::domain::forward::{Forwarded, HostId, Stan};
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;
use crate::domain::vault::Vault;
use crate::limits::COMMIT_QUEUE_MAX;

mod bulk;
mod checkpoint;
mod chores;
mod claim;
mod committer;
mod index;
mod journal;
mod ledger;
mod moving;
mod open;
#[cfg(test)]
pub(crate) mod tests;
mod work;

pub use bulk::{Bulk, BulkError};
pub use checkpoint::TablesError;
pub use claim::Claim;
pub use journal::JournalError;
pub use open::{OpenError, StoreOptions};

pub(crate) use checkpoint::Anchor;
pub(crate) use ledger::Fate;

use checkpoint::Tables;
use chores::Chores;
use committer::{Committer, Shared};
use index::Index;
use journal::{FjallJournal, Journal};
use open::{DirectoryLock, Opened};
use work::{Told, Work, poisoned};

/// The handle. Dropping it stops its threads as a crash would, losing nothing; [`EmbeddedStore::close`] also folds,
/// so that the next start is quick.
pub struct EmbeddedStore {
    dir: PathBuf,
    index: Arc<Index>,
    shared: Arc<Shared>,
    journal: Arc<dyn Journal>,
    tables: Arc<Tables>,
    vault: Arc<dyn Vault>,
    options: StoreOptions,
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Work>>,
    committer: Option<JoinHandle<()>>,
    chores: Option<Chores>,
    /// Of the newest intent when the store was opened.
    last_stan: Option<Stan>,
    /// Last: the directory is free when everything else is gone.
    _lock: DirectoryLock,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, making it if it is not there. Takes about a second for a million cards.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the directory and what to do.
    pub fn open(
        dir: &Path,
        vault: Arc<dyn Vault>,
        options: StoreOptions,
    ) -> Result<Self, OpenError> {
        moving::check_marker(dir)?;
        Self::open_with(dir, vault, options, |journal| Arc::new(journal))
    }

    fn open_with(
        dir: &Path,
        vault: Arc<dyn Vault>,
        options: StoreOptions,
        wrap: impl FnOnce(FjallJournal) -> Arc<dyn Journal>,
    ) -> Result<Self, OpenError> {
        let Opened { lock, tables, journal, index, checkpoint, last, head, stan } =
            open::open(dir, &*vault, &options, wrap)?;
        let tables = Arc::new(tables);
        let shared = Arc::new(Shared::default());
        shared.durable.store(last, Ordering::Release);
        shared.checkpoint.store(checkpoint, Ordering::Release);
        let committer = Committer::new(
            Arc::clone(&journal),
            Arc::clone(&vault),
            Arc::clone(&options.clock),
            Arc::clone(&index),
            Arc::clone(&shared),
            head,
        );
        let (queue, waiting) = mpsc::channel(COMMIT_QUEUE_MAX);
        let spawned = std::thread::Builder::new()
            .name("pinion-commit".to_owned())
            .spawn(move || committer.run(waiting));
        let committer = spawned.map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?;
        let mut store = Self {
            dir: dir.to_owned(),
            index,
            shared,
            journal,
            tables,
            vault,
            options,
            queue: Some(queue),
            committer: Some(committer),
            chores: None,
            last_stan: stan,
            _lock: lock,
        };
        store.note_interrupted_bulk()?;
        store.chores = Some(
            Chores::start(&store)
                .map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?,
        );
        Ok(store)
    }

    /// How the store is.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            cards: self.index.cards_count(),
            transaction_keys: self.index.transactions_count(),
            queue_depth: self.queue.as_ref().map_or(0, |q| q.max_capacity() - q.capacity()),
            last_sequence: self.shared.durable.load(Ordering::Acquire),
            checkpoint: self.shared.checkpoint.load(Ordering::Acquire),
            unsettled: self.unsettled_count(),
            unsettled_since: self.index.ledger.unsettled_since(),
            poisoned: self.shared.why().map(str::to_owned),
            database: None,
        }
    }

    /// How many forwarded changes wait for their reversal.
    #[must_use]
    pub fn unsettled_count(&self) -> usize {
        self.index.ledger.unsettled_count()
    }

    /// As [`Store::unsettled`], for operators: a store that refuses work lists them, too.
    #[must_use]
    pub fn list_unsettled(&self, limit: usize) -> Vec<Arc<Unsettled>> {
        self.index.ledger.oldest(&HostId::ALL, limit)
    }

    /// Whether the store takes work.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] since a failed write or sync; [`EmbeddedStore::status`] says why.
    pub fn health(&self) -> Result<(), StoreError> {
        if self.shared.poisoned() { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Visits every card, in no order.
    pub fn each_card(&self, visit: impl FnMut(&Arc<CardRecord>)) {
        self.index.each_card(visit);
    }

    /// The card, without a future: reading never waits.
    #[must_use]
    pub fn find(&self, key: CardKey<'_>) -> Option<Arc<CardRecord>> {
        self.index.card(key)
    }

    /// Stops, after folding what the journal has, so that the next start need not replay it.
    ///
    /// # Errors
    /// [`TablesError`]; nothing is lost then either.
    pub fn close(mut self) -> Result<(), TablesError> {
        self.stop();
        if self.shared.poisoned() {
            return Ok(());
        }
        self.fold_all()?;
        self.tables.settle()
    }

    /// Walks the audit chain from its anchor to the newest record.
    ///
    /// # Errors
    /// [`crate::card::audit::AuditError`] names the first record that is wrong.
    pub fn verify_audit(
        &self,
        progress: impl FnMut(u64),
    ) -> Result<crate::card::audit::AuditReport, crate::card::audit::AuditError> {
        let anchor = self.tables.anchor()?;
        let last = self.shared.durable.load(Ordering::Acquire);
        crate::card::audit::walk(&*self.vault, anchor, last, progress, |from, visit| {
            self.journal.scan(from, visit)
        })
    }

    /// Tells the records of the audit chain as JSON, without card data.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub fn tell_audit(
        &self,
        told: impl FnMut(&serde_json::Value),
    ) -> Result<(), crate::card::audit::AuditError> {
        let anchor = self.tables.anchor()?;
        crate::card::audit::tell(anchor, told, |from, visit| self.journal.scan(from, visit))
    }

    /// Folds everything durable.
    fn fold_all(&self) -> Result<(), TablesError> {
        chores::fold_all(&*self.journal, &self.tables, &self.shared)
    }

    fn stop(&mut self) {
        drop(self.chores.take());
        drop(self.queue.take());
        if let Some(committer) = self.committer.take() {
            // A panic of it has poisoned the store and was logged.
            let _ = committer.join();
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbeddedStore({})", self.dir.display())
    }
}

impl Store for EmbeddedStore {
    type Claim = Claim;

    async fn card(&self, key: CardKey<'_>) -> Result<Option<Arc<CardRecord>>, StoreError> {
        Ok(self.index.card(key))
    }

    async fn claim(
        &self,
        key: TransactionKey,
        fingerprint: Fingerprint,
    ) -> Result<Seen<Claim>, StoreError> {
        self.health()?;
        self.index.claim(key, fingerprint)
    }

    async fn transaction(&self, key: TransactionKey) -> Result<Option<Seen<()>>, StoreError> {
        Ok(self.index.transaction(key))
    }

    async fn commit(&self, claim: Claim, commit: Commit) -> Result<Receipt, CommitRefused<Claim>> {
        if self.shared.poisoned() {
            return Err(poisoned());
        }
        let (answer, wait) = oneshot::channel();
        let card = commit.card.map(|mut card| {
            card.version = card.version.wrapping_add(1);
            Arc::new(card)
        });
        let is_outcome = claim.intent().is_some();
        let Commit { entry, reopens, .. } = commit;
        let work = Work::Change { claim, entry, card, reopens, answer };
        if is_outcome {
            // What a host has done is never shed: it waits for a place. Open changes are bounded, so those who wait
            // are, too. Who stops waiting leaves the change unsettled.
            let queue = self.queue.as_ref().ok_or_else(poisoned)?;
            queue.send(work).await.map_err(|_| poisoned())?;
        } else {
            self.queue(work).map_err(|error| CommitRefused { error, claim: None })?;
        }
        wait.await.unwrap_or_else(|_| Err(poisoned()))
    }

    async fn intend(
        &self,
        mut claim: Claim,
        entry: Entry,
        forwarded: Forwarded,
    ) -> Result<Claim, CommitRefused<Claim>> {
        let refused = |error| CommitRefused { error, claim: None };
        self.health().map_err(refused)?;
        if !claim.book() {
            return Err(refused(StoreError::Full));
        }
        let (answer, wait) = oneshot::channel();
        // The committer numbers it.
        let change = Arc::new(Unsettled { sequence: 0, entry, forwarded });
        self.queue(Work::Intent { claim, change, answer }).map_err(refused)?;
        wait.await.unwrap_or_else(|_| Err(poisoned()))
    }

    async fn forwarded(
        &self,
        key: TransactionKey,
        card: Option<PanHash>,
    ) -> Result<Option<Arc<Unsettled>>, StoreError> {
        let ledger = &self.index.ledger;
        if let Some(change) = ledger.open(key) {
            return Ok(Some(change));
        }
        if let Some(sequence) = self.index.forwarded(key)
            && let Some(change) = self.intent_at(sequence)?
        {
            return Ok(Some(change));
        }
        let Some((newest, sequence)) = ledger.newest(key, card) else { return Ok(None) };
        let found = match ledger.open(newest) {
            Some(change) => Some(change),
            None => self.intent_at(sequence)?,
        };
        // The map knows eight bytes of the hash.
        Ok(found.filter(|change| change.entry.pan_hash == card))
    }

    async fn unsettled(
        &self,
        hosts: RangeInclusive<HostId>,
        limit: usize,
    ) -> Result<Vec<Arc<Unsettled>>, StoreError> {
        // A poisoned store cannot note that one is settled: reversing it again and again would help nobody.
        self.health()?;
        Ok(self.index.ledger.oldest(&hosts, limit))
    }

    async fn awaits_reversal(&self, card: PanHash) -> Result<bool, StoreError> {
        Ok(self.index.ledger.awaits_reversal(card))
    }

    async fn settle(
        &self,
        key: TransactionKey,
        settlement: Settlement,
    ) -> Result<Receipt, StoreError> {
        self.told(|answer| Work::Settle { key, settlement, answer }).await
    }

    async fn note(&self, note: Note) -> Result<Receipt, StoreError> {
        self.told(|answer| Work::Note { note, answer }).await
    }

    fn last_stan(&self) -> Option<Stan> {
        self.last_stan
    }
}

impl EmbeddedStore {
    /// Hands work to the committer, if there is room. Work that is refused drops its claim, which frees the key.
    fn queue(&self, work: Work) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::Poisoned)?;
        queue.try_send(work).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Full,
            mpsc::error::TrySendError::Closed(_) => StoreError::Poisoned,
        })
    }

    async fn told(
        &self,
        work: impl FnOnce(oneshot::Sender<Told>) -> Work,
    ) -> Result<Receipt, StoreError> {
        self.health()?;
        let (answer, wait) = oneshot::channel();
        self.queue(work(answer))?;
        wait.await.unwrap_or(Err(StoreError::Poisoned))
    }

    /// The intent that a record is, or names. Reads the journal.
    fn intent_at(&self, sequence: u64) -> Result<Option<Arc<Unsettled>>, StoreError> {
        let read = |sequence| {
            checkpoint::read(&*self.journal, sequence).map_err(|error| {
                tracing::error!(%error, sequence, "a forwarded change cannot be read back");
                StoreError::Unavailable
            })
        };
        let mut body = read(sequence)?.map(|record| record.body);
        if let Some(Body::Change { intent: Some(intent), .. }) = body {
            body = read(intent)?.map(|record| record.body);
        }
        match body {
            Some(Body::Intent(change)) => Ok(Some(Arc::from(change))),
            _ => Ok(None),
        }
    }
}
