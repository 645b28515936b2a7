//! The log under the store: append a batch, make it durable, read it back, drop its oldest part.
//!
//! [`Journal`] is small so that another log can replace fjall. [`FjallJournal`] is a database of its own, apart from
//! the card rows: folding rows takes neither its write lock nor a share of its sync. **Never here:** what a record
//! means. Where next: `committer` appends, `checkpoint` reads and trims.

use std::ops::ControlFlow;
use std::path::Path;

use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::limits::COMMIT_BATCH_MAX;

/// Size of the in-memory table fjall fills before it writes one out. Each write-out holds the journal's lock for some
/// milliseconds, so it is made rare: at 30 000 records a second once in about 10 seconds.
const MEMTABLE_BYTES: u64 = 128 << 20;
/// Write-ahead files fjall may keep. Twice two tables, so that it never forces one out early.
const WRITE_AHEAD_BYTES_MAX: u64 = 1 << 30;

/// Consecutive records, back to back in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) first: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// Empties it; its memory stays.
    pub(crate) fn reset(&mut self, first: u64) {
        self.first = first;
        self.bytes.clear();
        self.ends.clear();
    }

    /// The sequence number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Lets `write` append one record and `seal` see what it wrote. Nothing is kept when `write` fails.
    pub(crate) fn push<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        seal: impl FnOnce(&[u8]) -> [u8; 32],
    ) -> Result<(), E> {
        let start = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        let mac = seal(&self.bytes[start..]);
        self.bytes.extend_from_slice(&mac);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// The records with their sequence numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let spans = starts.zip(self.ends.iter().copied());
        (self.first..).zip(spans).map(|(at, (from, to))| (at, &self.bytes[from..to]))
    }
}

/// An append-only log of records with consecutive sequence numbers.
pub(crate) trait Journal: Send + Sync + 'static {
    /// Appends. Durable only after [`Journal::sync`].
    fn write(&self, batch: &Batch) -> Result<(), JournalError>;
    /// Returns when everything written is durable.
    fn sync(&self) -> Result<(), JournalError>;
    /// Visits the records from `from` on, in order, until told to stop.
    fn scan(&self, from: u64, visit: Visit<'_>) -> Result<(), JournalError>;
    /// The number of the newest record.
    fn last(&self) -> Result<Option<u64>, JournalError>;
    /// May drop records up to and with `through`.
    fn trim(&self, through: u64) -> Result<(), JournalError>;
}

/// Takes one record and says whether to go on.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>;

/// A log that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} the journal failed: {why}")]
pub struct JournalError {
    pub(crate) doing: &'static str,
    pub(crate) why: Box<dyn std::error::Error + Send + Sync>,
}

impl JournalError {
    pub(crate) fn new(doing: &'static str) -> impl FnOnce(fjall::Error) -> Self {
        move |why| Self { doing, why: Box::new(why) }
    }
}

/// The log as a keyspace of fjall.
pub(crate) struct FjallJournal {
    database: Database,
    records: Keyspace,
}

impl FjallJournal {
    pub(crate) fn open(path: &Path) -> Result<Self, fjall::Error> {
        let database = Database::builder(path)
            .worker_threads(1)
            .cache_size(8 << 20)
            .max_journaling_size(WRITE_AHEAD_BYTES_MAX)
            .manual_journal_persist(true)
            .open()?;
        let records = database.keyspace("journal", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .expect_point_read_hits(true)
        })?;
        Ok(Self { database, records })
    }
}

impl Journal for FjallJournal {
    fn write(&self, batch: &Batch) -> Result<(), JournalError> {
        debug_assert!(batch.len() <= COMMIT_BATCH_MAX);
        let mut write = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), batch.len());
        for (sequence, record) in batch.iter() {
            write.insert(&self.records, sequence.to_be_bytes(), record);
        }
        write.commit().map_err(JournalError::new("writing"))
    }

    fn sync(&self) -> Result<(), JournalError> {
        // fdatasync of fjall's write-ahead file: it also makes a grown file's length durable, which is all the
        // metadata that reading it back needs.
        self.database.persist(PersistMode::SyncData).map_err(JournalError::new("syncing"))
    }

    fn scan(&self, from: u64, visit: Visit<'_>) -> Result<(), JournalError> {
        for pair in self.records.range(from.to_be_bytes()..) {
            let (key, record) = pair.into_inner().map_err(JournalError::new("reading"))?;
            let key: [u8; 8] = (*key).try_into().map_err(|_| JournalError {
                doing: "reading",
                why: "a key is not eight bytes".into(),
            })?;
            if visit(u64::from_be_bytes(key), &record).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self) -> Result<Option<u64>, JournalError> {
        let Some(pair) = self.records.last_key_value() else { return Ok(None) };
        let key = pair.key().map_err(JournalError::new("reading"))?;
        Ok(key.first_chunk().copied().map(u64::from_be_bytes))
    }

    fn trim(&self, through: u64) -> Result<(), JournalError> {
        // Whole tables go at once; records in a table that reaches further stay until the next time.
        self.records
            .tree
            .drop_range(..=through.to_be_bytes())
            .map_err(|why| JournalError { doing: "trimming", why: Box::new(why) })
    }
}
