//! What waits for the writer, and how each of it ends.
//!
//! **Never here:** SQL, the order of things. Where next: `batch`.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::card::codec::BulkNote;
use crate::card::postgres::claim::{Claim, Held};
use crate::card::{
    CardRecord, CommitRefused, Entry, Note, Receipt, Settlement, StoreError, Unsettled,
};
use crate::domain::clock::WallMillis;
use crate::domain::request::TransactionKey;

/// What waits for the writer.
pub(super) enum Work {
    /// One request's result.
    Change {
        claim: Claim,
        entry: Entry,
        /// The card's after-image; its version is one above the one that was read.
        card: Option<Box<CardRecord>>,
        reopens: Option<Arc<Unsettled>>,
        answer: oneshot::Sender<Result<Receipt, CommitRefused<Claim>>>,
    },
    /// A request that is about to be sent to a host. The writer numbers it.
    Intent {
        claim: Claim,
        change: Box<Unsettled>,
        answer: oneshot::Sender<Result<Claim, CommitRefused<Claim>>>,
    },
    /// A change in flight whose claim was dropped.
    Release { held: Held },
    /// The end of an unsettled change.
    Settle { key: TransactionKey, settlement: Settlement, answer: Told },
    /// Something that is no request.
    Note { note: Note, answer: Told },
    /// The audit record of an import.
    Bulk { at: WallMillis, note: BulkNote, answer: Told },
}

/// What others than commits are told.
pub(super) type Told = oneshot::Sender<Result<Receipt, StoreError>>;

impl Work {
    /// Its record is durable.
    pub(super) fn done(self, position: u64) {
        // Whoever went away finds the answer under its key.
        match self {
            Self::Change { claim, answer, .. } => {
                claim.settle();
                let _ = answer.send(Ok(Receipt::mint(position)));
            }
            Self::Intent { mut claim, answer, .. } => {
                claim.intended(position);
                // A caller that went away sends nothing. Its claim is dropped here, and the change reversed: to a host
                // that is a reversal of something it never saw.
                let _ = answer.send(Ok(claim));
            }
            Self::Settle { answer, .. } | Self::Note { answer, .. } | Self::Bulk { answer, .. } => {
                let _ = answer.send(Ok(Receipt::mint(position)));
            }
            Self::Release { .. } => {}
        }
    }

    /// Nothing of it was written: its key is free again, but for a change that is in flight, which stays unsettled. On
    /// a conflict the claim goes back.
    pub(super) fn refuse(self, error: StoreError) {
        let back = |claim| CommitRefused {
            error,
            claim: (error == StoreError::Conflict).then_some(claim),
        };
        match self {
            Self::Change { claim, answer, .. } => {
                let _ = answer.send(Err(back(claim)));
            }
            Self::Intent { claim, answer, .. } => {
                let _ = answer.send(Err(back(claim)));
            }
            Self::Settle { answer, .. } | Self::Note { answer, .. } | Self::Bulk { answer, .. } => {
                let _ = answer.send(Err(error));
            }
            Self::Release { .. } => {}
        }
    }

    /// Whether it was written is not known, and its caller waits no longer. What comes back keeps the key taken, and a
    /// change in flight: reversing one now whose approval comes back later would make that a lie.
    pub(super) fn give_up(self) -> Doubt {
        let error = StoreError::Unavailable;
        let told = CommitRefused { error, claim: None };
        match self {
            Self::Change { claim, answer, .. } => {
                let _ = answer.send(Err(told));
                Doubt { claim: Some(claim), is_intent: false }
            }
            Self::Intent { claim, answer, .. } => {
                let _ = answer.send(Err(CommitRefused { error, claim: None }));
                Doubt { claim: Some(claim), is_intent: true }
            }
            Self::Settle { answer, .. } | Self::Note { answer, .. } | Self::Bulk { answer, .. } => {
                let _ = answer.send(Err(error));
                Doubt { claim: None, is_intent: false }
            }
            Self::Release { .. } => Doubt { claim: None, is_intent: false },
        }
    }
}

/// A claim whose commit nobody knows the end of.
pub(super) struct Doubt {
    claim: Option<Claim>,
    is_intent: bool,
}

impl Doubt {
    /// It was written.
    pub(super) fn done(self, position: u64) {
        let Some(mut claim) = self.claim else { return };
        if self.is_intent {
            // Nothing was sent under it. Dropped, it is reversed: to a host something it never saw.
            claim.intended(position);
        } else {
            claim.settle();
        }
    }
}
