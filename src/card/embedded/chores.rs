//! The low-priority thread behind the committer: expires transaction keys, folds the journal, trims it.
//!
//! Keys expire in buckets of a twenty-fourth of their window, one pass over the table each. Folding runs when the
//! store is idle or the journal is far ahead. **Never here:** anything a commit waits for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::card::embedded::EmbeddedStore;
use crate::card::embedded::checkpoint::{Tables, TablesError};
use crate::card::embedded::committer::Shared;
use crate::card::embedded::index::Index;
use crate::card::embedded::journal::Journal;
use crate::card::embedded::open::StoreOptions;
use crate::domain::clock::WallMillis;

/// How often the thread looks whether there is something to do.
const TICK: Duration = Duration::from_secs(1);
/// Buckets of the transaction keys' window.
const BUCKETS: u64 = 24;
/// Between two looks at what the journal may drop.
const TRIM_MILLIS: u64 = 3_600_000;
/// How nice the thread is to the committer.
const NICENESS: i32 = 10;

/// The running thread. Dropping it stops it.
pub(crate) struct Chores {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works on.
pub(crate) struct Chore {
    journal: Arc<dyn Journal>,
    tables: Arc<Tables>,
    index: Arc<Index>,
    shared: Arc<Shared>,
    options: StoreOptions,
    expired_at: WallMillis,
    trimmed_at: WallMillis,
    durable_before: u64,
}

impl Chore {
    pub(crate) fn new(store: &EmbeddedStore) -> Self {
        let now = store.options.clock.wall();
        Self {
            journal: Arc::clone(&store.journal),
            tables: Arc::clone(&store.tables),
            index: Arc::clone(&store.index),
            shared: Arc::clone(&store.shared),
            options: store.options.clone(),
            expired_at: now,
            // The first tick trims.
            trimmed_at: WallMillis(0),
            durable_before: 0,
        }
    }

    /// One look.
    pub(crate) fn tick(&mut self, now: WallMillis) -> Result<(), TablesError> {
        let window = u64::try_from(self.options.transaction_retention.as_millis()).unwrap_or(0);
        if window / BUCKETS <= now.0.saturating_sub(self.expired_at.0) {
            self.expired_at = now;
            self.index.expire(self.options.transactions_since(now));
        }
        if self.shared.poisoned() {
            return Ok(());
        }
        let durable = self.shared.durable.load(Ordering::Acquire);
        let ahead = durable.saturating_sub(self.shared.checkpoint.load(Ordering::Acquire));
        let idle = durable == self.durable_before;
        self.durable_before = durable;
        if self.options.fold_after_records <= ahead || (idle && ahead != 0) {
            fold_all(&*self.journal, &self.tables, &self.shared)?;
        }
        if TRIM_MILLIS <= now.0.saturating_sub(self.trimmed_at.0)
            && let Some(cut) = self.options.journal_since(now)
        {
            self.trimmed_at = now;
            let checkpoint = self.shared.checkpoint.load(Ordering::Acquire);
            self.tables.trim(&*self.journal, checkpoint, cut)?;
        }
        Ok(())
    }
}

/// Folds what is durable now.
pub(crate) fn fold_all(
    journal: &dyn Journal,
    tables: &Tables,
    shared: &Shared,
) -> Result<(), TablesError> {
    let durable = shared.durable.load(Ordering::Acquire);
    let mut checkpoint = shared.checkpoint.load(Ordering::Acquire);
    while checkpoint < durable {
        let moved = tables.fold(journal, checkpoint, durable)?;
        if moved == checkpoint {
            break;
        }
        checkpoint = moved;
        shared.checkpoint.store(checkpoint, Ordering::Release);
    }
    Ok(())
}

impl Chores {
    pub(crate) fn start(store: &EmbeddedStore) -> io::Result<Self> {
        let mut chore = Chore::new(store);
        let (stop, stopped) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("pinion-chores".to_owned()).spawn(move || {
                // Refused only where the system knows no priorities; then it runs as any thread does.
                let _ = rustix::process::nice(NICENESS);
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    let now = chore.options.clock.wall();
                    if let Err(error) = chore.tick(now) {
                        // Rows that cannot be written mean a disk in trouble: stop before the journal grows for ever.
                        chore.shared.poison(error.to_string());
                    }
                }
            })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
