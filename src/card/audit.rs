//! Walking the audit chain: each journal record's MAC covers the record and the MAC before it.
//!
//! The chain begins at the anchor, which trimming moves. A changed, missing or exchanged record breaks it; what was cut
//! off at the end and the rows together cannot be seen from inside (compare the last number with an older report).
//! **Never here:** a repair. Where next: `embedded::committer` and `postgres::batch`, which link it.

mod line;

use std::ops::ControlFlow;

use crate::card::codec::{CodecError, decode_record, split_mac};
use crate::card::embedded::{Anchor, JournalError, TablesError};
use crate::card::postgres::ConnectError;
use crate::domain::vault::Vault;

/// A chain that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// The record before the first that was checked.
    pub anchor: u64,
    /// How many were checked.
    pub records: u64,
    /// The last of them.
    pub last: u64,
    /// Its MAC: writing it down elsewhere shows later whether the end was cut off.
    pub head: [u8; 32],
}

/// Where the chain breaks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The MAC of a record is not the one its bytes and the record before ask for.
    #[error("record {sequence}: the chain breaks here: it or the record before was changed")]
    Broken {
        /// Its number.
        sequence: u64,
    },
    /// The database cannot be asked.
    #[error(transparent)]
    Database(#[from] ConnectError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A record is not there.
    #[error("record {sequence}: missing")]
    Missing {
        /// Its number.
        sequence: u64,
    },
    /// The anchor cannot be read.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// A record does not decode.
    #[error("record {sequence}: {why}")]
    Unreadable {
        /// Its number.
        sequence: u64,
        /// In which way.
        why: CodecError,
    },
}

/// A walk along one chain, record by record.
pub(crate) struct Walk<'a> {
    vault: &'a dyn Vault,
    anchor: u64,
    last: u64,
    next: u64,
    head: [u8; 32],
}

impl<'a> Walk<'a> {
    /// From the record after `anchor` up to `last`.
    pub(crate) fn new(vault: &'a dyn Vault, anchor: Anchor, last: u64) -> Self {
        let Anchor { sequence, mac } = anchor;
        Self { vault, anchor: sequence, last, next: sequence + 1, head: mac }
    }

    /// The number of the record that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Checks one record, stored under `sequence`.
    pub(crate) fn take(&mut self, sequence: u64, bytes: &[u8]) -> Result<(), AuditError> {
        self.head = check(self.vault, &self.head, self.next, sequence, bytes)?;
        self.next += 1;
        Ok(())
    }

    /// The end of the walk.
    pub(crate) fn finish(self) -> Result<AuditReport, AuditError> {
        if self.next <= self.last {
            return Err(AuditError::Missing { sequence: self.next });
        }
        Ok(AuditReport {
            anchor: self.anchor,
            records: self.next - 1 - self.anchor,
            last: self.next - 1,
            head: self.head,
        })
    }
}

/// Walks the records after `anchor` up to `last`, which `scan` brings in order.
pub(crate) fn walk(
    vault: &dyn Vault,
    anchor: Anchor,
    last: u64,
    mut progress: impl FnMut(u64),
    scan: impl FnOnce(u64, &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>) -> Result<(), JournalError>,
) -> Result<AuditReport, AuditError> {
    let mut walk = Walk::new(vault, anchor, last);
    let mut wrong = None;
    scan(walk.next(), &mut |sequence, bytes| {
        if last < walk.next() {
            return ControlFlow::Break(());
        }
        if let Err(error) = walk.take(sequence, bytes) {
            wrong = Some(error);
            return ControlFlow::Break(());
        }
        progress(sequence);
        ControlFlow::Continue(())
    })?;
    wrong.map_or_else(|| walk.finish(), Err)
}

/// One record as JSON, without card data.
pub(crate) fn tell_record(sequence: u64, bytes: &[u8]) -> Result<serde_json::Value, AuditError> {
    let record = decode_record(bytes).map_err(|why| AuditError::Unreadable { sequence, why })?;
    Ok(line::line(&record))
}

/// Tells every record after `anchor`, in order, as JSON without card data.
///
/// # Errors
/// The first record that cannot be read.
pub(crate) fn tell(
    anchor: Anchor,
    mut told: impl FnMut(&serde_json::Value),
    scan: impl FnOnce(u64, &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>) -> Result<(), JournalError>,
) -> Result<(), AuditError> {
    let mut wrong = None;
    scan(anchor.sequence + 1, &mut |sequence, bytes| match tell_record(sequence, bytes) {
        Ok(line) => {
            told(&line);
            ControlFlow::Continue(())
        }
        Err(error) => {
            wrong = Some(error);
            ControlFlow::Break(())
        }
    })?;
    wrong.map_or(Ok(()), Err)
}

fn check(
    vault: &dyn Vault,
    head: &[u8; 32],
    next: u64,
    sequence: u64,
    bytes: &[u8],
) -> Result<[u8; 32], AuditError> {
    if sequence != next {
        return Err(AuditError::Missing { sequence: next });
    }
    let unreadable = |why| AuditError::Unreadable { sequence, why };
    let (record, mac) = split_mac(bytes).map_err(unreadable)?;
    if vault.chain(head, record) != *mac {
        return Err(AuditError::Broken { sequence });
    }
    // The number inside is under the MAC; the key it is stored under is not.
    if decode_record(bytes).map_err(unreadable)?.sequence != sequence {
        return Err(AuditError::Broken { sequence });
    }
    Ok(*mac)
}
