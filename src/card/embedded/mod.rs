//! The embedded store: one directory, one committer thread, everything read from memory.
//!
//! ```text
//! claim ──► index (key in progress)
//! commit ─► queue ─► committer: version check, audit chain, write, ONE sync ─► index ─► receipt
//!                                                   journal ─► chores: fold into card rows, trim, expire
//! ```
//!
//! A commit costs its caller three allocations: the key's entry at `claim`, the card's after-image, the slot to wait
//! in. **Never here:** a receipt before the sync, a lock between requests. Where next: `committer` for the order of
//! things, `open` for the directory, `codec` for the bytes, `bulk` for imports.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::card::{
    CardKey, CardRecord, Commit, CommitRefused, Entry, Fingerprint, Note, Receipt, Seen,
    Settlement, Store, StoreError, Unsettled,
};
use crate::domain::forward::{Forwarded, Stan};
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;
use crate::domain::vault::Vault;
use crate::limits::COMMIT_QUEUE_MAX;

mod bulk;
mod checkpoint;
mod chores;
mod codec;
mod committer;
mod index;
mod journal;
mod open;
#[cfg(test)]
pub(crate) mod tests;

pub use bulk::{Bulk, BulkError};
pub use checkpoint::TablesError;
pub use codec::CodecError;
pub use index::Claim;
pub use journal::JournalError;
pub use open::{OpenError, StoreOptions};

pub(crate) use checkpoint::Anchor;
pub(crate) use codec::{decode_record, split_mac};

use checkpoint::Tables;
use chores::Chores;
use committer::{Committer, Shared, Work, poisoned};
use index::Index;
use journal::{FjallJournal, Journal};
use open::Opened;

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
    /// Last: the directory is free when everything else is gone.
    _lock: File,
}

/// What a store has and how it is: for `/status` and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Cards.
    pub cards: usize,
    /// Transaction keys in memory.
    pub transaction_keys: usize,
    /// Commits that wait for the committer.
    pub queue_depth: usize,
    /// Number of the newest durable record.
    pub last_sequence: u64,
    /// Number of the newest record folded into the card rows.
    pub checkpoint: u64,
    /// Why the store refuses work, if it does.
    pub poisoned: Option<String>,
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
        Self::open_with(dir, vault, options, |journal| Arc::new(journal))
    }

    fn open_with(
        dir: &Path,
        vault: Arc<dyn Vault>,
        options: StoreOptions,
        wrap: impl FnOnce(FjallJournal) -> Arc<dyn Journal>,
    ) -> Result<Self, OpenError> {
        let Opened { lock, tables, journal, index, checkpoint, last, head } =
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
            poisoned: self.shared.why().map(str::to_owned),
        }
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
        let Some(queue) = &self.queue else { return Err(poisoned()) };
        let (answer, wait) = oneshot::channel();
        let card = commit.card.map(|mut card| {
            card.version = card.version.wrapping_add(1);
            Arc::new(card)
        });
        let work = Work::Change { claim, entry: commit.entry, card, answer };
        // A refused work drops its claim, which frees the key.
        queue.try_send(work).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                CommitRefused { error: StoreError::Full, claim: None }
            }
            mpsc::error::TrySendError::Closed(_) => poisoned(),
        })?;
        wait.await.unwrap_or_else(|_| Err(poisoned()))
    }

    async fn intend(
        &self,
        claim: Claim,
        _entry: Entry,
        _forwarded: Forwarded,
    ) -> Result<Claim, CommitRefused<Claim>> {
        drop(claim);
        Err(CommitRefused { error: StoreError::Unavailable, claim: None })
    }

    async fn forwarded(
        &self,
        _key: TransactionKey,
        _card: Option<PanHash>,
    ) -> Result<Option<Arc<Unsettled>>, StoreError> {
        Ok(None)
    }

    async fn unsettled(&self, _limit: usize) -> Result<Vec<Arc<Unsettled>>, StoreError> {
        Ok(Vec::new())
    }

    async fn settle(
        &self,
        _key: TransactionKey,
        _settlement: Settlement,
    ) -> Result<Receipt, StoreError> {
        Err(StoreError::Conflict)
    }

    async fn note(&self, _note: Note) -> Result<Receipt, StoreError> {
        Err(StoreError::Unavailable)
    }

    fn last_stan(&self) -> Option<Stan> {
        None
    }
}
