//! Everything of an embedded store into an archive, and an archive into a new directory.
//!
//! Records of an embedded store move as they are: the chain from its anchor stays the one it was. Records of other
//! nodes are written after it in the order of their times, under new numbers and MACs of this chain, and a note says
//! which they were and what their own chains ended with; cards, keys and open changes come from the parts of the
//! archive. A marker keeps a directory whose import did not end from being opened. **Never here:** a part of an
//! import that is kept when another part fails.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::card::archive::{
    Answer, Archive, ArchiveError, ArchiveWriter, Chain, EMBEDDED_NODE, Known, Line, Part,
};
use crate::card::codec::{self, Body, Change, Record};
use crate::card::embedded::checkpoint::{self, Anchor, Tables};
use crate::card::embedded::journal::{Batch, FjallJournal, Journal};
use crate::card::embedded::open::{OpenError, check_format_and_keys};
use crate::card::embedded::{EmbeddedStore, StoreOptions};
use crate::card::{CardRecord, Unsettled};
use crate::domain::clock::WallMillis;
use crate::domain::forward::{HostId, Stan};
use crate::domain::vault::Vault;
use crate::limits::COMMIT_BATCH_MAX;

/// In a directory into which an import has begun.
const MARKER: &str = "importing";
/// Cards of one write.
const ROWS: usize = 1024;

/// Refuses a directory whose import did not end.
pub(super) fn check_marker(dir: &Path) -> Result<(), OpenError> {
    if !dir.join(MARKER).exists() {
        return Ok(());
    }
    let why = "an import into it did not end: remove it, and import again".to_owned();
    Err(OpenError::Damaged { dir: dir.to_owned(), why })
}

impl EmbeddedStore {
    /// Writes everything into an archive. Keys that were answered before the archive's time are left out.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn export(&self, to: &mut ArchiveWriter) -> Result<(), ArchiveError> {
        let mut done = Ok(());
        self.index.each_card(|card| {
            if done.is_ok() {
                done = to.card(card);
            }
        });
        done?;
        self.export_keys(to)?;
        for change in self.index.ledger.oldest(&HostId::ALL, usize::MAX) {
            to.unsettled(&change)?;
        }
        let anchor = self.tables.anchor().map_err(ArchiveError::store)?;
        let (mut last, mut head) = (anchor.sequence, anchor.mac);
        let mut failed = Ok(());
        let scanned = self.journal.scan(anchor.sequence + 1, &mut |sequence, record| {
            failed = to.record(EMBEDDED_NODE, sequence, record).and_then(|()| {
                let (_, mac) = codec::split_mac(record)?;
                (last, head) = (sequence, *mac);
                Ok(())
            });
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        scanned.map_err(ArchiveError::store)?;
        failed?;
        let stan = self.last_stan.map(|stan| stan.0);
        to.chain(Chain {
            node: EMBEDDED_NODE,
            anchor: anchor.sequence,
            anchor_mac: anchor.mac,
            last,
            head,
            stan,
        });
        Ok(())
    }

    fn export_keys(&self, to: &mut ArchiveWriter) -> Result<(), ArchiveError> {
        let since = to.since().0 / 60_000;
        let mut known = Vec::new();
        self.index.each_known(|row, is_forwarded| {
            if since <= row.at.0 / 60_000 || self.index.ledger.is_open(row.key) {
                known.push((row, is_forwarded));
            }
        });
        for (mut row, is_forwarded) in known {
            if is_forwarded {
                row.forwarded = Some(self.forwarded_by(&row)?);
            }
            to.known(&row)?;
        }
        Ok(())
    }

    /// The intent of a key that was forwarded, and its card.
    fn forwarded_by(
        &self,
        row: &Known,
    ) -> Result<(u64, Option<crate::domain::pan::PanHash>), ArchiveError> {
        if let Some(change) = self.index.ledger.open(row.key) {
            return Ok((change.sequence, change.entry.pan_hash));
        }
        let record = checkpoint::read(&*self.journal, row.position).map_err(ArchiveError::store)?;
        Ok(match record.map(|record| record.body) {
            Some(Body::Change { entry, intent: Some(intent), .. }) => (intent, entry.pan_hash),
            Some(Body::Intent(change)) => (row.position, change.entry.pan_hash),
            _ => (row.position, None),
        })
    }

    /// Makes a store of an archive, in a directory that is not there or empty. What came out is compared with what went
    /// in, before the directory can be opened.
    ///
    /// # Errors
    /// [`ArchiveError`]; the directory is then of no use.
    pub fn import(
        dir: &Path,
        vault: &Arc<dyn Vault>,
        options: &StoreOptions,
        archive: &Archive,
    ) -> Result<(), ArchiveError> {
        let io = |source| ArchiveError::Io { file: dir.to_owned(), source };
        if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(ArchiveError::NotEmpty { place: dir.display().to_string() });
        }
        fs::create_dir_all(dir).map_err(io)?;
        let marker = dir.join(MARKER);
        File::create_new(&marker).and_then(|file| file.sync_all()).map_err(io)?;
        sync_directory(dir).map_err(io)?;
        fill(dir, &**vault, options, archive)?;

        // What it holds now, by what a start makes of it; with the keys' window as long as the archive's.
        let manifest = archive.manifest();
        let mut wide = options.clone();
        let age = options.clock.wall().0.saturating_sub(manifest.since) + 60_000;
        wide.transaction_retention = Duration::from_millis(age);
        let store = Self::open_with(dir, Arc::clone(vault), wide, |journal| Arc::new(journal));
        let store = store.map_err(ArchiveError::store)?;
        let mut counted = ArchiveWriter::counting(WallMillis(manifest.since));
        store.export(&mut counted)?;
        counted.check(manifest, &[Part::Cards, Part::Transactions, Part::Unsettled])?;
        store.verify_audit(|_| {}).map_err(ArchiveError::store)?;
        store.close().map_err(ArchiveError::store)?;
        fs::remove_file(&marker).and_then(|()| sync_directory(dir)).map_err(io)
    }
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn fill(
    dir: &Path,
    vault: &dyn Vault,
    options: &StoreOptions,
    archive: &Archive,
) -> Result<(), ArchiveError> {
    let tables = Tables::open(&dir.join("cards")).map_err(ArchiveError::store)?;
    check_format_and_keys(dir, &tables, vault).map_err(ArchiveError::store)?;
    let mut rows: Vec<CardRecord> = Vec::with_capacity(ROWS);
    for card in archive.cards()? {
        rows.push(card?);
        if ROWS <= rows.len() {
            tables.put(&rows).map_err(ArchiveError::store)?;
            rows.clear();
        }
    }
    tables.put(&rows).map_err(ArchiveError::store)?;

    let journal = FjallJournal::open(&dir.join("journal")).map_err(ArchiveError::store)?;
    let open: Vec<Unsettled> = archive.unsettled()?.collect::<Result<_, _>>()?;
    let mut moving = Moving::new(&journal, vault, archive, &open);
    moving.own(archive)?;
    moving.others(archive)?;
    let open = moving.renumber(open)?;
    moving.note(archive, options.clock.wall())?;
    moving.write()?;
    let (anchor, last) = (moving.anchor, moving.batch.next() - 1);
    journal.sync().map_err(ArchiveError::store)?;
    let stan = archive.manifest().chains.iter().find_map(|chain| chain.stan).map(Stan);
    tables.install(anchor, last, open, stan).map_err(ArchiveError::store)
}

/// Writes the journal of a moved store.
struct Moving<'a> {
    journal: &'a FjallJournal,
    vault: &'a dyn Vault,
    anchor: Anchor,
    head: [u8; 32],
    batch: Batch,
    /// New positions of intents whose outcome is still to come, or that are open.
    moved: HashMap<u64, u64>,
    /// Old positions of open changes.
    open: HashSet<u64>,
    /// The last record of an embedded store.
    own_last: u64,
}

impl<'a> Moving<'a> {
    fn new(
        journal: &'a FjallJournal,
        vault: &'a dyn Vault,
        archive: &Archive,
        open: &[Unsettled],
    ) -> Self {
        let own = archive.manifest().chains.iter().find(|chain| chain.node == EMBEDDED_NODE);
        let anchor = own.map_or_else(Anchor::default, |chain| Anchor {
            sequence: chain.anchor,
            mac: chain.anchor_mac,
        });
        let mut batch = Batch::default();
        batch.reset(anchor.sequence + 1);
        let open = open.iter().map(|change| change.sequence).collect();
        let own_last = own.map_or(0, |chain| chain.last);
        let (head, moved) = (anchor.mac, HashMap::new());
        Self { journal, vault, anchor, head, batch, moved, open, own_last }
    }

    /// Records of an embedded store stay what they were.
    fn own(&mut self, archive: &Archive) -> Result<(), ArchiveError> {
        for line in archive.journal_of(EMBEDDED_NODE)? {
            let Line { position, record, .. } = line?;
            let (covered, mac) = codec::split_mac(&record)?;
            let is_next = position == self.batch.next();
            if !is_next || self.vault.chain(&self.head, covered) != *mac {
                let why = format!("record {position}: the chain breaks here");
                return Err(ArchiveError::Store(why));
            }
            if self.open.contains(&position) {
                self.moved.insert(position, position);
            }
            self.push(|out| {
                out.extend_from_slice(covered);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Records of other nodes, by their times.
    fn others(&mut self, archive: &Archive) -> Result<(), ArchiveError> {
        let others = archive.manifest().chains.iter().filter(|chain| chain.node != EMBEDDED_NODE);
        let mut chains = Vec::new();
        for chain in others {
            let mut lines = archive.journal_of(chain.node)?;
            if let Some(first) = next(&mut lines)? {
                chains.push((first, lines));
            }
        }
        loop {
            let oldest = (0..chains.len()).min_by_key(|at| chains[*at].0.at);
            let Some(oldest) = oldest else { return Ok(()) };
            let (record, lines) = &mut chains[oldest];
            self.again(record)?;
            match next(lines)? {
                Some(following) => *record = following,
                None => drop(chains.swap_remove(oldest)),
            }
        }
    }

    /// A record of another node, under the next number.
    fn again(&mut self, record: &Record) -> Result<(), ArchiveError> {
        let sequence = self.batch.next();
        let at = record.at;
        match &record.body {
            Body::Bulk(note) => self.push(|out| codec::encode_bulk(out, sequence, at, note)),
            Body::Note(text) => self.push(|out| codec::encode_note(out, sequence, at, text)),
            Body::Settled { key, settlement } => {
                self.push(|out| codec::encode_settled(out, sequence, *key, at, &settlement.how))
            }
            Body::Intent(change) => {
                self.moved.insert(record.sequence, sequence);
                let Unsettled { entry, forwarded, .. } = &**change;
                self.push(|out| codec::encode_intent(out, sequence, entry, forwarded))
            }
            Body::Change { entry, intent, reopens, card } => {
                // What an embedded store numbered keeps its number. One that is not there any more is none.
                let kept = |old| if old <= self.own_last { old } else { 0 };
                let moved = |old: u64| self.moved.get(&old).copied().unwrap_or_else(|| kept(old));
                let reopens = reopens
                    .as_deref()
                    .map(|change| Unsettled { sequence: moved(change.sequence), ..change.clone() });
                let change = Change {
                    entry,
                    intent: intent.map(moved),
                    reopens: reopens.as_ref(),
                    card: card.as_ref(),
                };
                self.push(|out| codec::encode_change(out, sequence, change))?;
                if let Some(intent) = intent.filter(|intent| !self.open.contains(intent)) {
                    self.moved.remove(&intent);
                }
                Ok(())
            }
        }
    }

    /// Open changes with the new positions of their intents. One whose intent is not in the journal any more gets a
    /// new record of it.
    fn renumber(&mut self, open: Vec<Unsettled>) -> Result<Vec<Unsettled>, ArchiveError> {
        let mut renumbered = Vec::with_capacity(open.len());
        for change in open {
            let sequence = if let Some(moved) = self.moved.get(&change.sequence) {
                *moved
            } else {
                let sequence = self.batch.next();
                let Unsettled { entry, forwarded, .. } = &change;
                self.push(|out| codec::encode_intent(out, sequence, entry, forwarded))?;
                sequence
            };
            renumbered.push(Unsettled { sequence, ..change });
        }
        Ok(renumbered)
    }

    /// Which chains the records came from.
    fn note(&mut self, archive: &Archive, at: WallMillis) -> Result<(), ArchiveError> {
        for chain in &archive.manifest().chains {
            let Chain { node, anchor, last, head, .. } = chain;
            let text = format!(
                "moved here: node {node}, records {} to {last}, head {}",
                anchor + 1,
                hex::encode(head)
            );
            let sequence = self.batch.next();
            self.push(|out| codec::encode_note(out, sequence, at, &text))?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), codec::CodecError>,
    ) -> Result<(), ArchiveError> {
        let (head, vault) = (&mut self.head, self.vault);
        self.batch.push(write, |record| {
            *head = vault.chain(head, record);
            *head
        })?;
        if COMMIT_BATCH_MAX <= self.batch.len() { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), ArchiveError> {
        if self.batch.len() != 0 {
            self.journal.write(&self.batch).map_err(ArchiveError::store)?;
            let next = self.batch.next();
            self.batch.reset(next);
        }
        Ok(())
    }
}

fn next(
    lines: &mut impl Iterator<Item = Result<Line, ArchiveError>>,
) -> Result<Option<Record>, ArchiveError> {
    let Some(line) = lines.next().transpose()? else { return Ok(None) };
    Ok(Some(codec::decode_record(&line.record)?))
}

/// What the index knows of a key, for an archive.
pub(super) fn answer(code: u8, host: [u8; 4]) -> Answer {
    Answer::Code(code, crate::domain::outcome::HostCode::from_bytes(host))
}
