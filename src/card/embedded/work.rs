//! What waits for the committer, what it has taken into its batch, and what both are told when the store fails.
//!
//! **Never here:** the order of things. Where next: `committer`.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::oneshot;

use crate::card::codec::BulkNote;
use crate::card::embedded::claim::Claim;
use crate::card::{
    CardRecord, CommitRefused, Entry, Note, Receipt, Settlement, StoreError, Unsettled,
};
use crate::domain::clock::WallMillis;
use crate::domain::request::TransactionKey;

/// What waits for the committer.
pub(crate) enum Work {
    /// One request's result.
    Change {
        claim: Claim,
        entry: Entry,
        /// The card's after-image; its version is one above the one that was read.
        card: Option<Arc<CardRecord>>,
        reopens: Option<Arc<Unsettled>>,
        answer: oneshot::Sender<Answer>,
    },
    /// A request that is about to be sent to a host. Nobody else has the change yet.
    Intent {
        claim: Claim,
        change: Arc<Unsettled>,
        answer: oneshot::Sender<Result<Claim, CommitRefused<Claim>>>,
    },
    /// The end of an unsettled change.
    Settle { key: TransactionKey, settlement: Settlement, answer: oneshot::Sender<Told> },
    /// Something that is no request.
    Note { note: Note, answer: oneshot::Sender<Told> },
    /// The audit record of a bulk load.
    Bulk { at: WallMillis, note: BulkNote, answer: SyncSender<Result<(), StoreError>> },
}

/// What a commit is told.
pub(crate) type Answer = Result<Receipt, CommitRefused<Claim>>;
/// What others are told.
pub(crate) type Told = Result<Receipt, StoreError>;

/// A commit whose record is in the batch.
pub(crate) enum Accepted {
    Change {
        claim: Claim,
        entry: Entry,
        card: Option<Arc<CardRecord>>,
        reopens: Option<Arc<Unsettled>>,
        answer: oneshot::Sender<Answer>,
    },
    Intent {
        claim: Claim,
        change: Arc<Unsettled>,
        answer: oneshot::Sender<Result<Claim, CommitRefused<Claim>>>,
    },
    Settle {
        change: Arc<Unsettled>,
        answer: oneshot::Sender<Told>,
    },
    Note(oneshot::Sender<Told>),
    Bulk(SyncSender<Result<(), StoreError>>),
}

impl Accepted {
    /// Whether the record is on disk is not known, so the key stays taken; and a change stays in flight until the
    /// restart, which knows more: reversing one now whose approval comes back then would make that a lie.
    pub(crate) fn refuse_poisoned(self) {
        match self {
            Self::Change { claim, answer, .. } => {
                claim.settle();
                let _ = answer.send(Err(poisoned()));
            }
            Self::Intent { claim, answer, .. } => {
                claim.settle();
                let _ = answer.send(Err(poisoned()));
            }
            Self::Settle { answer, .. } | Self::Note(answer) => {
                let _ = answer.send(Err(StoreError::Poisoned));
            }
            Self::Bulk(answer) => {
                let _ = answer.send(Err(StoreError::Poisoned));
            }
        }
    }
}

/// Nothing of it was written: its claim ends as if dropped.
pub(crate) fn refuse_poisoned(work: Work) {
    match work {
        Work::Change { answer, .. } => {
            let _ = answer.send(Err(poisoned()));
        }
        Work::Intent { answer, .. } => {
            let _ = answer.send(Err(poisoned()));
        }
        Work::Settle { answer, .. } | Work::Note { answer, .. } => {
            let _ = answer.send(Err(StoreError::Poisoned));
        }
        Work::Bulk { answer, .. } => {
            let _ = answer.send(Err(StoreError::Poisoned));
        }
    }
}

pub(crate) fn poisoned() -> CommitRefused<Claim> {
    CommitRefused { error: StoreError::Poisoned, claim: None }
}
