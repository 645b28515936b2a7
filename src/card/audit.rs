//! Walking the audit chain: each journal record's MAC covers the record and the MAC before it.
//!
//! The chain begins at the anchor, which trimming moves. A changed, missing or exchanged record breaks it; what was cut
//! off at the end and the rows together cannot be seen from inside (compare the last number with an older report).
//! **Never here:** a repair. Where next: `embedded::committer`, which links it.

mod line;

use std::ops::ControlFlow;

use crate::card::embedded::{
    Anchor, CodecError, JournalError, TablesError, decode_record, split_mac,
};
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

/// Walks the records after `anchor` up to `last`, which `scan` brings in order.
pub(crate) fn walk(
    vault: &dyn Vault,
    anchor: Anchor,
    last: u64,
    mut progress: impl FnMut(u64),
    scan: impl FnOnce(u64, &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>) -> Result<(), JournalError>,
) -> Result<AuditReport, AuditError> {
    let mut head = anchor.mac;
    let mut next = anchor.sequence + 1;
    let mut wrong = None;
    scan(next, &mut |sequence, bytes| {
        if last < next {
            return ControlFlow::Break(());
        }
        match check(vault, &head, next, sequence, bytes) {
            Ok(mac) => head = mac,
            Err(error) => {
                wrong = Some(error);
                return ControlFlow::Break(());
            }
        }
        progress(sequence);
        next += 1;
        ControlFlow::Continue(())
    })?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    if next <= last {
        return Err(AuditError::Missing { sequence: next });
    }
    Ok(AuditReport {
        anchor: anchor.sequence,
        records: next - 1 - anchor.sequence,
        last: next - 1,
        head,
    })
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
    scan(anchor.sequence + 1, &mut |sequence, bytes| match decode_record(bytes) {
        Ok(record) => {
            told(&line::line(&record));
            ControlFlow::Continue(())
        }
        Err(why) => {
            wrong = Some(AuditError::Unreadable { sequence, why });
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
