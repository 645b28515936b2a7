//! What handle, writer, readers and chores share: keys in progress here, how the database is, counts for `/status`.
//!
//! **Never here:** a connection. Where next: `claim` for the keys, `writer` for who sets the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use papaya::HashMap;

use crate::card::{Away, Fingerprint, StoreError, StoreStatus};
use crate::domain::clock::Clock;
use crate::domain::request::TransactionKey;

const UP: u8 = 0;
const DOWN: u8 = 1;
const POISONED: u8 = 2;

/// Records a node may number: at 30 000 a second ten years.
const RECORDS_MAX: u64 = 10_000_000_000_000;

/// The position before a node's first record. Positions are unique over all nodes, and fit a double.
pub(super) fn origin(node: u16) -> u64 {
    u64::from(node) * RECORDS_MAX
}

/// Whether a node has no number left for a whole batch.
pub(super) fn is_exhausted(node: u16, position: u64, batch: usize) -> bool {
    origin(node) + RECORDS_MAX <= position.saturating_add(batch as u64 + 1)
}

/// What is shared.
pub(super) struct Shared {
    pub(super) node: u16,
    /// Keys that a request of this process works on.
    in_progress: HashMap<TransactionKey, Fingerprint>,
    in_progress_max: usize,
    state: AtomicU8,
    why: ArcSwapOption<Away>,
    clock: Arc<dyn Clock>,
    /// The newest durable record of this node.
    pub(super) durable: AtomicU64,
    /// Forwarded changes without a known end on all nodes, as far as this one knows.
    pub(super) open: AtomicUsize,
    pub(super) open_max: usize,
    /// What the chores counted last.
    pub(super) counted: ArcSwap<StoreStatus>,
}

/// What a key is to this process.
pub(super) enum Taken {
    /// Nobody had it; now the caller does.
    Now,
    /// A request works on it.
    Before(Fingerprint),
    /// There is no room.
    Full,
}

impl Shared {
    pub(super) fn new(
        node: u16,
        in_progress_max: usize,
        open_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            node,
            in_progress: HashMap::new(),
            in_progress_max,
            state: AtomicU8::new(DOWN),
            why: ArcSwapOption::empty(),
            clock,
            durable: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            open_max,
            counted: ArcSwap::from_pointee(StoreStatus::default()),
        }
    }

    /// Takes a key for a request.
    pub(super) fn take(&self, key: TransactionKey, fingerprint: Fingerprint) -> Taken {
        let keys = self.in_progress.pin();
        if self.in_progress_max <= keys.len() && !keys.contains_key(&key) {
            return Taken::Full;
        }
        match keys.try_insert(key, fingerprint) {
            Ok(_) => Taken::Now,
            Err(occupied) => Taken::Before(*occupied.current),
        }
    }

    /// Frees a key: what became of it stands in the database, if anything did.
    pub(super) fn free(&self, key: TransactionKey) {
        self.in_progress.pin().remove(&key);
    }

    /// Whether a request of this process works on a key.
    pub(super) fn is_in_progress(&self, key: TransactionKey) -> bool {
        self.in_progress.pin().contains_key(&key)
    }

    pub(super) fn in_progress_count(&self) -> usize {
        self.in_progress.len()
    }

    /// Takes a place for one more open change, if there is one.
    pub(super) fn book(&self) -> bool {
        let more = |open| (open < self.open_max).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Gives places back.
    pub(super) fn unbook(&self, places: usize) {
        let less = |open: usize| Some(open.saturating_sub(places));
        let _ = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Whether the store takes work.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        match self.state.load(Ordering::Acquire) {
            UP => Ok(()),
            POISONED => Err(StoreError::Poisoned),
            _ => Err(StoreError::Unavailable),
        }
    }

    /// Why it does not.
    pub(super) fn why(&self) -> Option<String> {
        self.health().err()?;
        Some(self.why.load().as_deref().map(|away| away.why.clone()).unwrap_or_default())
    }

    /// Since when the database is gone, and why. Whoever lost its number has one still.
    pub(super) fn away(&self) -> Option<Away> {
        let is_away = self.health() == Err(StoreError::Unavailable);
        is_away.then(|| self.why.load().as_deref().cloned().unwrap_or_default())
    }

    /// The database answers again. A store that is poisoned stays so.
    pub(super) fn up(&self) {
        let before = self.state.compare_exchange(DOWN, UP, Ordering::AcqRel, Ordering::Acquire);
        if before.is_ok() && self.why.swap(None).is_some() {
            tracing::info!(node = self.node, "the database answers again");
        }
    }

    /// The database is gone. Requests are refused at once until it is back.
    pub(super) fn down(&self, why: String) {
        let before = self.state.compare_exchange(UP, DOWN, Ordering::AcqRel, Ordering::Acquire);
        if before.is_ok() {
            tracing::error!(
                node = self.node,
                why,
                "the database is gone: requests are refused until it is back"
            );
        }
        if before != Err(POISONED) {
            let known = self.why.load().as_deref().map(|away| away.since);
            let since = known.unwrap_or_else(|| self.clock.wall());
            self.why.store(Some(Arc::new(Away { since, why })));
        }
    }

    /// Somebody else writes as this node: no work any more.
    pub(super) fn poison(&self, why: String) {
        tracing::error!(
            node = self.node,
            why,
            "store refuses all work: nothing acknowledged is lost"
        );
        self.why.store(Some(Arc::new(Away { since: self.clock.wall(), why })));
        self.state.store(POISONED, Ordering::Release);
    }
}
