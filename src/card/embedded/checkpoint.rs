//! Card rows and the store's own facts on disk: loading them, folding the journal into them, trimming the journal.
//!
//! Folding writes after-images into `cards`, in the order of the journal, and moves the checkpoint in the last of its
//! batches: rows and checkpoint share one write-ahead file, so a crash keeps a prefix of them and replaying the tail
//! again gives the same cards. The forwarded changes that are open at the checkpoint have rows of their own, written in
//! one batch with it. Each row is a copy of its intent, so the journal's trimming and the retention may pass the intent
//! itself, and the change is still there until it is settled.
//!
//! Trimming first makes the anchor durable (number and MAC of the last record that may go), so that the audit chain can
//! be verified from there. **Never here:** the acknowledging path.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::card::codec::{self, Body, CodecError, MAC_BYTES};
use crate::card::embedded::index::Index;
use crate::card::embedded::journal::{Journal, JournalError};
use crate::card::embedded::ledger::Fate;
use crate::card::{CardRecord, Unsettled};
use crate::domain::clock::WallMillis;
use crate::domain::forward::Stan;
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;

/// Records read from the journal between two moves of the checkpoint.
const FOLD_RECORDS_MAX: usize = 32_768;
/// Rows of one write: small, so that fjall's lock is held briefly.
const FOLD_ROWS_MAX: usize = 512;

/// Write-ahead files fjall may keep, the least it allows: a start replays all of them, which is slower than reading
/// tables.
const WRITE_AHEAD_BYTES_MAX: u64 = 64 << 20;

const KEY_ANCHOR: &str = "anchor";
const KEY_BULK: &str = "bulk";
const KEY_CHECKPOINT: &str = "checkpoint";
const KEY_FORMAT: &str = "format";
const KEY_STAN: &str = "stan";
const KEY_VAULT: &str = "vault";

/// Where the audit chain begins: the last record that may be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) sequence: u64,
    pub(crate) mac: [u8; MAC_BYTES],
}

/// What went wrong beside the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
    /// fjall failed.
    #[error("{doing} the card rows failed: {why}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// fjall's words.
        why: fjall::Error,
    },
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Stored bytes do not decode.
    #[error("{what} is damaged: {why}; restore the directory from a copy")]
    Damaged {
        /// Which thing.
        what: Box<str>,
        /// In which way.
        why: CodecError,
    },
}

fn engine(doing: &'static str) -> impl FnOnce(fjall::Error) -> TablesError {
    move |why| TablesError::Engine { doing, why }
}

/// The database of card rows and facts.
pub(crate) struct Tables {
    database: Database,
    cards: Keyspace,
    meta: Keyspace,
    /// Forwarded changes that were open at the checkpoint, by key.
    open: Keyspace,
}

impl Tables {
    pub(crate) fn open(path: &Path) -> Result<Self, fjall::Error> {
        let database = Database::builder(path)
            .worker_threads(1)
            .cache_size(16 << 20)
            .max_journaling_size(WRITE_AHEAD_BYTES_MAX)
            .manual_journal_persist(true)
            .open()?;
        let cards = database
            .keyspace("cards", || KeyspaceCreateOptions::default().expect_point_read_hits(true))?;
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default)?;
        let open = database.keyspace("open", KeyspaceCreateOptions::default)?;
        Ok(Self { database, cards, meta, open })
    }

    fn fact(&self, key: &str) -> Result<Option<fjall::Slice>, TablesError> {
        self.meta.get(key).map_err(engine("reading"))
    }

    fn set_fact(&self, key: &str, value: &[u8]) -> Result<(), TablesError> {
        self.meta.insert(key, value).map_err(engine("writing"))?;
        self.persist()
    }

    /// Makes everything written so far durable.
    pub(crate) fn persist(&self) -> Result<(), TablesError> {
        self.database.persist(PersistMode::SyncData).map_err(engine("syncing"))
    }

    /// Version of the directory, `None` when it is new.
    pub(crate) fn format(&self) -> Result<Option<u32>, TablesError> {
        let Some(bytes) = self.fact(KEY_FORMAT)? else { return Ok(None) };
        Ok(Some(u32::from_le_bytes(fixed(&bytes, "format")?)))
    }

    /// Marks a new directory, all at once.
    pub(crate) fn begin(&self, format: u32, vault: &[u8]) -> Result<(), TablesError> {
        let mut write = self.database.batch();
        write.insert(&self.meta, KEY_VAULT, vault);
        write.insert(&self.meta, KEY_FORMAT, format.to_le_bytes());
        write.commit().map_err(engine("writing"))?;
        self.persist()
    }

    /// Marks a directory that an older program made.
    pub(crate) fn set_format(&self, format: u32) -> Result<(), TablesError> {
        self.set_fact(KEY_FORMAT, &format.to_le_bytes())
    }

    /// Trace number of the newest intent at the checkpoint.
    pub(crate) fn stan(&self) -> Result<Option<Stan>, TablesError> {
        let Some(bytes) = self.fact(KEY_STAN)? else { return Ok(None) };
        Ok(Some(Stan(u32::from_le_bytes(fixed(&bytes, "trace number")?))))
    }

    /// The changes that were open at the checkpoint.
    pub(crate) fn each_open(&self, mut visit: impl FnMut(Unsettled)) -> Result<(), TablesError> {
        for row in self.open.iter() {
            let row = row.value().map_err(engine("reading"))?;
            let change = codec::decode_open(&row).map_err(|why| TablesError::Damaged {
                what: "a row of an open change".into(),
                why,
            })?;
            visit(change);
        }
        Ok(())
    }

    /// What tells that the same keys are used as at the beginning.
    pub(crate) fn vault(&self) -> Result<Option<Vec<u8>>, TablesError> {
        Ok(self.fact(KEY_VAULT)?.map(|bytes| bytes.to_vec()))
    }

    pub(crate) fn checkpoint(&self) -> Result<u64, TablesError> {
        let Some(bytes) = self.fact(KEY_CHECKPOINT)? else { return Ok(0) };
        Ok(u64::from_le_bytes(fixed(&bytes, "checkpoint")?))
    }

    pub(crate) fn anchor(&self) -> Result<Anchor, TablesError> {
        let Some(bytes) = self.fact(KEY_ANCHOR)? else { return Ok(Anchor::default()) };
        let bytes: [u8; 8 + MAC_BYTES] = fixed(&bytes, "anchor")?;
        let mut anchor = Anchor::default();
        let (sequence, mac) = bytes.split_at(8);
        anchor.sequence = u64::from_le_bytes(fixed(sequence, "anchor")?);
        anchor.mac = fixed(mac, "anchor")?;
        Ok(anchor)
    }

    fn set_anchor(&self, anchor: Anchor) -> Result<(), TablesError> {
        let mut bytes = anchor.sequence.to_le_bytes().to_vec();
        bytes.extend_from_slice(&anchor.mac);
        self.set_fact(KEY_ANCHOR, &bytes)
    }

    /// Name of the bulk load that has begun and not ended.
    pub(crate) fn open_bulk(&self) -> Result<Option<String>, TablesError> {
        Ok(self.fact(KEY_BULK)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(crate) fn begin_bulk(&self, source: &str) -> Result<(), TablesError> {
        self.set_fact(KEY_BULK, source.as_bytes())
    }

    pub(crate) fn end_bulk(&self) -> Result<(), TablesError> {
        self.meta.remove(KEY_BULK).map_err(engine("writing"))?;
        self.persist()
    }

    /// Writes the rows in memory out as a table, so that the next start need not replay them.
    pub(crate) fn settle(&self) -> Result<(), TablesError> {
        self.cards.rotate_memtable_and_wait().map_err(engine("writing out"))
    }

    /// How many rows there are, roughly.
    pub(crate) fn rows(&self) -> usize {
        self.cards.approximate_len()
    }

    /// Writes rows, not yet durable.
    pub(crate) fn put<'a>(
        &self,
        cards: impl IntoIterator<Item = &'a CardRecord>,
    ) -> Result<(), TablesError> {
        let mut write = self.database.batch();
        self.add_rows(&mut write, cards)?;
        write.commit().map_err(engine("writing"))
    }

    fn add_rows<'a>(
        &self,
        write: &mut fjall::OwnedWriteBatch,
        cards: impl IntoIterator<Item = &'a CardRecord>,
    ) -> Result<(), TablesError> {
        let mut row = Vec::with_capacity(256);
        for card in cards {
            row.clear();
            codec::encode_card(&mut row, card)
                .map_err(|why| TablesError::Damaged { what: "a card in memory".into(), why })?;
            write.insert(&self.cards, card_row_key(card.pan_hash, card.sequence), &*row);
        }
        Ok(())
    }

    /// Reads every row into the index, on `threads` threads.
    pub(crate) fn load(&self, index: &Index, threads: usize) -> Result<(), TablesError> {
        let parts = u8::try_from(threads.clamp(1, 16)).unwrap_or(1);
        let width = 256 / u16::from(parts);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..u16::from(parts))
                .map(|part| {
                    // Keys begin with a keyed hash: ranges of its first byte are parts of one size.
                    let from = u8::try_from(part * width).unwrap_or(u8::MAX);
                    let last = part + 1 == u16::from(parts);
                    let to = (!last).then(|| u8::try_from((part + 1) * width).unwrap_or(u8::MAX));
                    scope.spawn(move || self.load_range(index, from, to))
                })
                .collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    fn load_range(&self, index: &Index, from: u8, to: Option<u8>) -> Result<(), TablesError> {
        let rows = match to {
            Some(to) => self.cards.range([from]..[to]),
            None => self.cards.range([from]..),
        };
        for row in rows {
            let value = row.value().map_err(engine("reading"))?;
            let card = codec::decode_card(&value)
                .map_err(|why| TablesError::Damaged { what: "a card row".into(), why })?;
            index.put(Arc::new(card));
        }
        Ok(())
    }

    /// Folds records after `checkpoint` up to `durable` into rows. Returns the new checkpoint: call again until it is
    /// `durable`.
    pub(crate) fn fold(
        &self,
        journal: &dyn Journal,
        checkpoint: u64,
        durable: u64,
    ) -> Result<u64, TablesError> {
        let mut folded = Folded::default();
        let mut through = checkpoint;
        let mut left = FOLD_RECORDS_MAX;
        let mut damaged = None;
        journal.scan(checkpoint + 1, &mut |sequence, bytes| {
            if durable < sequence || left == 0 {
                return ControlFlow::Break(());
            }
            match codec::decode_record(bytes) {
                Ok(record) => folded.take(record.body),
                Err(why) => {
                    damaged = Some(record_damaged(sequence, why));
                    return ControlFlow::Break(());
                }
            }
            through = sequence;
            left -= 1;
            ControlFlow::Continue(())
        })?;
        if let Some(damaged) = damaged {
            return Err(damaged);
        }
        let mut rows = folded.cards.values().peekable();
        while rows.peek().is_some() {
            self.put(rows.by_ref().take(FOLD_ROWS_MAX))?;
            std::thread::yield_now();
        }
        self.move_checkpoint(through, &folded)?;
        Ok(through)
    }

    /// Rows of open changes, trace number and checkpoint in one batch. So the rows are those of the checkpoint, never
    /// of a later record: what the tail says of a change is said to a table that has not heard it.
    fn move_checkpoint(&self, through: u64, folded: &Folded) -> Result<(), TablesError> {
        let mut write = self.database.batch();
        let mut row = Vec::with_capacity(256);
        for (key, change) in &folded.open {
            if let Some(change) = change {
                row.clear();
                codec::encode_open(&mut row, change)
                    .map_err(|why| TablesError::Damaged { what: "an open change".into(), why })?;
                write.insert(&self.open, key.0, &*row);
            } else if self.open.contains_key(key.0).map_err(engine("reading"))? {
                write.remove(&self.open, key.0);
            }
        }
        if let Some(stan) = folded.stan {
            write.insert(&self.meta, KEY_STAN, stan.0.to_le_bytes());
        }
        write.insert(&self.meta, KEY_CHECKPOINT, through.to_le_bytes());
        write.commit().map_err(engine("writing"))?;
        self.persist()
    }

    /// Begins with rows that were moved here, and everything beside them: where the journal begins, that it is folded
    /// to its end, what is open.
    pub(super) fn install(
        &self,
        anchor: Anchor,
        checkpoint: u64,
        open: Vec<Unsettled>,
        stan: Option<Stan>,
    ) -> Result<(), TablesError> {
        let open = open.into_iter().map(|change| (change.entry.key, Some(Box::new(change))));
        let folded = Folded { open: open.collect(), stan, ..Folded::default() };
        self.persist()?;
        self.set_anchor(anchor)?;
        self.move_checkpoint(checkpoint, &folded)
    }

    /// Drops journal records made before `cut`, as far as they are folded. Returns the new anchor.
    pub(crate) fn trim(
        &self,
        journal: &dyn Journal,
        checkpoint: u64,
        cut: WallMillis,
    ) -> Result<Anchor, TablesError> {
        let anchor = self.anchor()?;
        let keep = first_since(journal, anchor.sequence + 1, checkpoint, cut)?;
        let through = keep - 1;
        if through <= anchor.sequence {
            return Ok(anchor);
        }
        let Some(last) = read(journal, through)? else { return Ok(anchor) };
        let anchor = Anchor { sequence: through, mac: last.mac };
        self.set_anchor(anchor)?;
        journal.trim(through)?;
        Ok(anchor)
    }
}

/// What a part of the journal adds up to.
#[derive(Default)]
struct Folded {
    cards: HashMap<(PanHash, u16), CardRecord>,
    /// `None`: the change is not open any more.
    open: HashMap<TransactionKey, Option<Box<Unsettled>>>,
    stan: Option<Stan>,
}

impl Folded {
    fn take(&mut self, body: Body) {
        match body {
            Body::Change { entry, intent, reopens, card } => {
                if intent.is_some() && Fate::of(&entry) != Fate::Unknown {
                    self.open.insert(entry.key, None);
                }
                if let Some(change) = reopens {
                    self.open.insert(change.entry.key, Some(change));
                }
                if let Some(card) = card {
                    self.cards.insert((card.pan_hash, card.sequence), card);
                }
            }
            Body::Intent(change) => {
                self.stan = Some(change.forwarded.stan);
                self.open.insert(change.entry.key, Some(change));
            }
            Body::Settled { key, .. } => {
                self.open.insert(key, None);
            }
            Body::Bulk(_) | Body::Note(_) => {}
        }
    }
}

/// The first of the records `from..=last` made at or after `wall`, else `last + 1`. Times in the journal rise but for
/// the moments that requests overlap, which is less than any caller's slack.
pub(crate) fn first_since(
    journal: &dyn Journal,
    from: u64,
    last: u64,
    wall: WallMillis,
) -> Result<u64, TablesError> {
    let (mut low, mut high) = (from, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match read(journal, middle)? {
            Some(record) if wall <= record.at => high = middle,
            // A record that is gone is older than any that is there.
            _ => low = middle + 1,
        }
    }
    Ok(low)
}

/// One record, if it is there.
pub(crate) fn read(
    journal: &dyn Journal,
    sequence: u64,
) -> Result<Option<codec::Record>, TablesError> {
    let mut found = None;
    journal.scan(sequence, &mut |at, bytes| {
        if at == sequence {
            found = Some(codec::decode_record(bytes));
        }
        ControlFlow::Break(())
    })?;
    found.transpose().map_err(|why| record_damaged(sequence, why))
}

pub(crate) fn record_damaged(sequence: u64, why: CodecError) -> TablesError {
    TablesError::Damaged { what: format!("journal record {sequence}").into(), why }
}

fn card_row_key(hash: PanHash, sequence: u16) -> [u8; 18] {
    let mut key = [0; 18];
    key[..16].copy_from_slice(&hash.0);
    key[16..].copy_from_slice(&sequence.to_be_bytes());
    key
}

fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], TablesError> {
    bytes.try_into().map_err(|_| TablesError::Damaged {
        what: what.into(),
        why: CodecError::Length { at: 0, what },
    })
}
