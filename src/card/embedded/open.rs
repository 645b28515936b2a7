//! Opening the directory: the lock, format and keys, cards from rows, the journal's tail on top.
//!
//! ```text
//! DIR/pinion.lock   locked while a process has the store; holds its process id
//! DIR/cards/        fjall: `cards` (rows up to the checkpoint), `open` (forwarded changes that were open there),
//!                   `meta` (format, keys, checkpoint, anchor, trace number)
//! DIR/journal/      fjall: `journal` (every record by its number)
//! ```
//!
//! **Never here:** a repair. What does not fit together is named and refused. Where next: `checkpoint`, `mod`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::card::codec::{self, Body, MAC_BYTES};
use crate::card::embedded::checkpoint::{Tables, TablesError, first_since, record_damaged};
use crate::card::embedded::index::Index;
use crate::card::embedded::journal::{FjallJournal, Journal, JournalError};
use crate::card::embedded::ledger::{Fate, Ledger, end_of_flight};
use crate::card::{Entry, Unsettled};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::forward::Stan;
use crate::domain::pan::{Pan, SealedPan};
use crate::domain::vault::{Vault, VaultError};
use crate::limits::{TRANSACTION_KEYS_MAX, UNSETTLED_MAX};

/// Version of the directory this program writes. 1 had no forwarded changes: it is read, and marked as 2, since a
/// program that knows only 1 would forget the open ones.
const FORMAT: u32 = 2;
/// A number no issuer has: hashed and sealed to tell whether the keys are the ones of the beginning.
const PROBE: &[u8] = b"0000000000000";

/// How the store is to behave.
#[derive(Clone)]
pub struct StoreOptions {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How long the answer to a transaction key is kept.
    pub transaction_retention: Duration,
    /// Most transaction keys kept; then [`crate::card::StoreError::Full`].
    pub transaction_keys_max: usize,
    /// Most forwarded changes that may be without a known end, those in flight included; then
    /// [`crate::card::StoreError::Full`].
    pub unsettled_max: usize,
    /// Days the journal is kept, 0 for ever. The default of 400 covers the twelve months that PCI DSS 10.5.1 asks
    /// for audit records, and a month to notice.
    pub journal_retention_days: u32,
    /// Records the journal may be ahead of the card rows before they are folded under load. Idle stores fold at once.
    /// It bounds what a start replays: about a second for the default.
    pub fold_after_records: u64,
}

impl StoreOptions {
    /// The defaults, with this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            transaction_retention: Duration::from_hours(24),
            transaction_keys_max: TRANSACTION_KEYS_MAX,
            unsettled_max: UNSETTLED_MAX,
            journal_retention_days: 400,
            fold_after_records: 1_000_000,
        }
    }

    /// Keys answered before this are forgotten.
    pub(crate) fn transactions_since(&self, now: WallMillis) -> WallMillis {
        before(now, self.transaction_retention)
    }

    /// Journal records made before this may go; `None` keeps all.
    pub(crate) fn journal_since(&self, now: WallMillis) -> Option<WallMillis> {
        if self.journal_retention_days == 0 {
            return None;
        }
        let days = Duration::from_hours(24) * self.journal_retention_days;
        // Twice the window of the keys, so that a clock set back never trims what dedupe needs.
        Some(before(now, days.max(self.transaction_retention * 2)))
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions")
            .field("transaction_retention", &self.transaction_retention)
            .field("transaction_keys_max", &self.transaction_keys_max)
            .field("unsettled_max", &self.unsettled_max)
            .field("journal_retention_days", &self.journal_retention_days)
            .field("fold_after_records", &self.fold_after_records)
            .finish_non_exhaustive()
    }
}

fn before(now: WallMillis, span: Duration) -> WallMillis {
    WallMillis(now.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

/// Why a store could not be opened, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The parts of the directory do not belong together, or bytes were changed.
    #[error("{dir}: {why}", dir = dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// No space.
    #[error("{dir}: no space left: free some and start again", dir = dir.display())]
    Full {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused something.
    #[error("{dir}: {source}", dir = dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{dir}: in use by process {pid}: stop it first, or use another directory", dir = dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The other process, 0 if it did not say.
        pid: u32,
    },
    /// Written by a newer program.
    #[error(
        "{dir}: written by a newer program (format {found}, this one knows {FORMAT}): upgrade",
        dir = dir.display()
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The key file is not the one the store was made with.
    #[error(
        "{dir}: made with other keys: point the configuration at the key file it was made with",
        dir = dir.display()
    )]
    OtherKeys {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory cannot be written.
    #[error("{dir}: not writable: check its owner, mode and mount options", dir = dir.display())]
    ReadOnly {
        /// The directory.
        dir: PathBuf,
    },
    /// The vault failed.
    #[error("{0}")]
    Vault(#[from] VaultError),
}

/// An open directory with everything read.
pub(crate) struct Opened {
    pub(crate) lock: DirectoryLock,
    pub(crate) tables: Tables,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) index: Arc<Index>,
    pub(crate) checkpoint: u64,
    pub(crate) last: u64,
    /// MAC of the last record.
    pub(crate) head: [u8; MAC_BYTES],
    /// Trace number of the newest intent.
    pub(crate) stan: Option<Stan>,
}

/// Opens `dir`, making it if it is not there. `wrap` may put another journal around ours.
pub(crate) fn open(
    dir: &Path,
    vault: &dyn Vault,
    options: &StoreOptions,
    wrap: impl FnOnce(FjallJournal) -> Arc<dyn Journal>,
) -> Result<Opened, OpenError> {
    std::fs::create_dir_all(dir).map_err(|e| io_error(dir, e))?;
    let lock = lock(dir)?;
    let tables = Tables::open(&dir.join("cards")).map_err(|e| engine_error(dir, e))?;
    check_format_and_keys(dir, &tables, vault)?;
    let journal = FjallJournal::open(&dir.join("journal")).map_err(|e| engine_error(dir, e))?;
    let journal = wrap(journal);
    let failed = |e| tables_error(dir, e);
    let (checkpoint, anchor) =
        (tables.checkpoint().map_err(failed)?, tables.anchor().map_err(failed)?);
    let last = journal.last().map_err(|e| failed(e.into()))?.unwrap_or(anchor.sequence);
    if last < checkpoint || checkpoint < anchor.sequence {
        let why = format!(
            "the journal ends at record {last}, the card rows are at {checkpoint}: \
             part of the directory is missing; restore all of it from one copy"
        );
        return Err(OpenError::Damaged { dir: dir.to_owned(), why });
    }
    let index = Arc::new(Index::new(
        tables.rows(),
        options.transaction_keys_max,
        Ledger::new(options.unsettled_max),
    ));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    tables.load(&index, threads).map_err(failed)?;
    let since = options.transactions_since(options.clock.wall());
    // An eighth of the window as slack for times that are out of order.
    let slack = before(since, options.transaction_retention / 8);
    let from = first_since(&*journal, anchor.sequence + 1, last, slack).map_err(failed)?;
    let from = from.min(checkpoint + 1);
    let stan = tables.stan().map_err(failed)?;
    let mut replay =
        Replay { index: &index, checkpoint, since, next: from, head: anchor.mac, stan };
    tables.each_open(|change| replay.open(&Arc::new(change))).map_err(failed)?;
    if anchor.sequence < last {
        replay.run(&*journal, last).map_err(failed)?;
    }
    if replay.next != last + 1 {
        let why =
            format!("journal record {} is missing: restore the directory from a copy", replay.next);
        return Err(OpenError::Damaged { dir: dir.to_owned(), why });
    }
    let (head, stan) = (replay.head, replay.stan);
    Ok(Opened { lock, tables, journal, index, checkpoint, last, head, stan })
}

/// Puts the journal's tail on top of the rows.
struct Replay<'a> {
    index: &'a Index,
    checkpoint: u64,
    since: WallMillis,
    next: u64,
    head: [u8; MAC_BYTES],
    stan: Option<Stan>,
}

impl Replay<'_> {
    fn run(&mut self, journal: &dyn Journal, last: u64) -> Result<(), TablesError> {
        let mut damaged = None;
        // The last record is read even when nothing is replayed: its MAC is the head of the chain.
        self.next = self.next.min(last);
        journal.scan(self.next, &mut |sequence, bytes| {
            if sequence != self.next {
                return ControlFlow::Break(());
            }
            match codec::decode_record(bytes) {
                Ok(record) => self.take(record),
                Err(why) => {
                    damaged = Some(record_damaged(sequence, why));
                    return ControlFlow::Break(());
                }
            }
            self.next += 1;
            ControlFlow::Continue(())
        })?;
        damaged.map_or(Ok(()), Err)
    }

    fn take(&mut self, record: codec::Record) {
        self.head = record.mac;
        let sequence = record.sequence;
        // What is older is in the rows: cards, and which changes were open.
        let is_tail = self.checkpoint < sequence;
        match record.body {
            Body::Change { entry, intent, reopens, card } => {
                // First, since the entry names the change as an original, which would be refused as late.
                if let Some(change) = reopens
                    && is_tail
                {
                    self.open(&Arc::from(change));
                }
                self.take_answer(sequence, &entry, intent);
                if let Some(card) = card
                    && is_tail
                {
                    self.index.put(Arc::new(card));
                }
            }
            Body::Intent(change) => {
                let change: Arc<Unsettled> = Arc::from(change);
                if is_tail {
                    self.stan = Some(change.forwarded.stan);
                    self.open(&change);
                } else if self.since <= change.entry.at
                    || self.index.ledger.is_open(change.entry.key)
                {
                    self.index.answer(sequence, &change.entry, true);
                    self.index.ledger.remember(&change);
                }
            }
            Body::Settled { key, .. } => {
                if is_tail && let Some(change) = self.index.ledger.open(key) {
                    self.index.ledger.close(&change);
                }
            }
            Body::Bulk(_) | Body::Note(_) => {}
        }
    }

    /// Opens a change: nothing is in flight any more, so it is unsettled until a later record says otherwise. However
    /// old it is, its key answers that the outcome is unknown, unless it has an answer.
    fn open(&self, change: &Arc<Unsettled>) {
        let (index, key) = (self.index, change.entry.key);
        if index.transaction(key).is_none() {
            index.answer(change.sequence, &change.entry, true);
        }
        index.ledger.remember(change);
        index.ledger.reopen(change);
    }

    fn take_answer(&self, sequence: u64, entry: &Entry, intent: Option<u64>) {
        let open = self.index.ledger.open(entry.key);
        match (intent, open) {
            (None, _) if self.since <= entry.at => self.index.answer(sequence, entry, false),
            (Some(intent), Some(change)) if change.sequence == intent => {
                if self.checkpoint < sequence {
                    end_of_flight(self.index, sequence, entry, &change);
                } else {
                    // Open in the rows: unknown, or reopened since.
                    self.index.answer(sequence, entry, true);
                }
            }
            (Some(_), _) if self.since <= entry.at => match Fate::of(entry) {
                Fate::NotSent => self.index.free(entry.key),
                Fate::Settled | Fate::Unknown => self.index.answer(sequence, entry, true),
            },
            _ => {}
        }
    }
}

pub(super) fn check_format_and_keys(
    dir: &Path,
    tables: &Tables,
    vault: &dyn Vault,
) -> Result<(), OpenError> {
    let pan = Pan::parse(PROBE).map_err(|_| OpenError::OtherKeys { dir: dir.to_owned() })?;
    let failed = |e| tables_error(dir, e);
    let mut proof = vault.chain(&[0; 32], b"pinion store").to_vec();
    proof.extend_from_slice(&vault.pan_hash(&pan).0);
    match tables.format().map_err(failed)? {
        None => {
            proof.extend_from_slice(&vault.seal_pan(&pan)?.0);
            tables.begin(FORMAT, &proof).map_err(failed)
        }
        Some(found) if FORMAT < found => Err(OpenError::Newer { dir: dir.to_owned(), found }),
        Some(found) => {
            let stored = tables.vault().map_err(failed)?.unwrap_or_default();
            let same =
                stored.split_last_chunk::<{ SealedPan::BYTES }>().is_some_and(|(keyed, sealed)| {
                    keyed == proof && vault.open_pan(&SealedPan(*sealed)).is_ok_and(|p| p == pan)
                });
            if !same {
                return Err(OpenError::OtherKeys { dir: dir.to_owned() });
            }
            if found < FORMAT { tables.set_format(FORMAT).map_err(failed) } else { Ok(()) }
        }
    }
}

/// A directory that is this process's until it is dropped.
pub(crate) struct DirectoryLock(File);

impl Drop for DirectoryLock {
    /// Closing the file is not enough: a child of this process has a copy of it between its fork and its program, and
    /// with the copy the lock.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Takes the directory for this process.
fn lock(dir: &Path) -> Result<DirectoryLock, OpenError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("pinion.lock"))
        .map_err(|e| io_error(dir, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let pid = text.trim().parse().unwrap_or(0);
            return Err(OpenError::Locked { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(e)) => return Err(io_error(dir, e)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| io_error(dir, e))?;
    Ok(DirectoryLock(file))
}

fn io_error(dir: &Path, source: io::Error) -> OpenError {
    let dir = dir.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly { dir }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::Full { dir },
        _ => OpenError::Io { dir, source },
    }
}

pub(crate) fn engine_error(dir: &Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => io_error(dir, e),
        fjall::Error::Locked => OpenError::Locked { dir: dir.to_owned(), pid: 0 },
        fjall::Error::InvalidVersion(Some(found)) => {
            OpenError::Newer { dir: dir.to_owned(), found: u32::from(found as u8) }
        }
        other => OpenError::Damaged { dir: dir.to_owned(), why: other.to_string() },
    }
}

pub(crate) fn tables_error(dir: &Path, error: TablesError) -> OpenError {
    match error {
        TablesError::Engine { why, .. } => engine_error(dir, why),
        TablesError::Journal(JournalError { doing, why }) => match why.downcast::<fjall::Error>() {
            Ok(why) => engine_error(dir, *why),
            Err(why) => {
                OpenError::Damaged { dir: dir.to_owned(), why: format!("{doing} failed: {why}") }
            }
        },
        damaged @ TablesError::Damaged { .. } => {
            OpenError::Damaged { dir: dir.to_owned(), why: damaged.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another thread started a program while a store was dropped, and the next one was told that it is in use.
    #[test]
    fn a_copy_of_the_file_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        // As a fork makes it.
        let copy = first.0.try_clone().unwrap();
        assert!(matches!(lock(dir.path()), Err(OpenError::Locked { .. })));
        drop(first);
        let _second = lock(dir.path()).unwrap();
        drop(copy);
        assert!(matches!(lock(dir.path()), Err(OpenError::Locked { .. })));
    }
}
