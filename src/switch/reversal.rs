//! Undoing a change of ours (design.md "Reversals").
//!
//! The old reference comes back only while the card's last PIN change is the one the reversal names. A reversal whose
//! original never came is remembered, so that a late original is refused. A change that was forwarded is reversed at
//! the host. **Never here:** the sending of such a reversal (`settle`).

use std::sync::Arc;

use crate::card::record::Undo;
use crate::card::{CardRecord, Commit, Entry, Receipt, Seen, Store, StoreError, Unsettled};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::outcome::{Declined, Outcome, Reason};
use crate::domain::pin::Reference;
use crate::domain::request::TransactionKey;
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::switch::handle::{Halt, Job, Switch, refused, still_awaited};
use crate::switch::parts::Parts;
use crate::switch::stages::Stage;

impl<P: Parts> Switch<P> {
    /// Finds the original, undoes it, commits; again if another request changed the card in between.
    pub(super) async fn reverse(
        &self,
        job: Job<'_>,
        mut claim: <P::Store as Store>::Claim,
    ) -> Result<Receipt, Halt> {
        let original = job.request.original.ok_or(Reason::FormatError)?;
        for _ in 0..CONFLICT_RETRIES_MAX {
            still_awaited(job.request, job.stages.last())?;
            let mut commit = self.judge_reversal(&job, original).await?;
            let declined = commit.entry.declined;
            commit.entry.at = self.world.clock.wall();
            let committed = self.world.store.commit(claim, commit).await;
            job.stages.end(Stage::Commit, self.world.clock.now());
            match committed {
                Ok(receipt) => return declined.map_or(Ok(receipt), |d| Err(d.into())),
                Err(refusal) => match (refusal.error, refusal.claim) {
                    //= spec/pin-change.md#7.6
                    //# When a reversal and its original cross, the reversal MUST be judged again,
                    //# so that neither sender is told what did not happen.
                    (StoreError::Conflict, Some(back)) => claim = back,
                    (error, _) => return Err(error.into()),
                },
            }
        }
        Err(Reason::Unavailable.into())
    }

    /// What the reversal does: to the card, or to a change that was forwarded.
    async fn judge_reversal(
        &self,
        job: &Job<'_>,
        original: TransactionKey,
    ) -> Result<Commit, Reason> {
        let entry = job.entry(None, WallMillis::default());
        let store = &self.world.store;
        if let Some(change) = store.forwarded(original, entry.pan_hash).await.map_err(refused)? {
            return self.judge_forwarded(entry, change).await;
        }
        let card = store.card(job.card).await.map_err(refused)?;
        let last_change = card.as_deref().and_then(|card| undo_of(card, original));
        let (card, declined) = match (card.as_deref(), last_change) {
            (Some(card), Some(undo)) => (undone(card, undo), None),
            _ => (None, self.without_change(original).await?),
        };
        let entry = Entry { declined: declined.map(Declined::from), ..entry };
        Ok(Commit { card, entry, reopens: None })
    }

    /// A change that went to a host is reversed there, by store and forward: what is answered here is that it will be.
    async fn judge_forwarded(
        &self,
        entry: Entry,
        change: Arc<Unsettled>,
    ) -> Result<Commit, Reason> {
        let key = change.entry.key;
        let entry = Entry { original: Some(key), ..entry };
        match self.world.store.transaction(key).await.map_err(refused)? {
            Some(Seen::InProgress) => Err(Reason::InProgress),
            //= spec/pin-change.md#7.7
            //# A reversal of a change that was forwarded MUST be accepted as soon as it is durable
            //# that it will be sent to a host until that has acknowledged it.
            Some(Seen::Answered(outcome)) => {
                let at_host = outcome.reason().is_none_or(|r| r == Reason::OutcomeUnknown);
                Ok(Commit { card: None, entry, reopens: at_host.then_some(change) })
            }
            Some(Seen::Duplicate | Seen::Fresh(())) | None => {
                Ok(Commit { card: None, entry, reopens: Some(change) })
            }
        }
    }

    /// What to say when the named change is not the card's last one.
    ///
    /// A declined original changed nothing, so there is nothing to undo and the reversal is accepted. One that is still
    /// under way is not answered for good: the caller repeats the reversal. Otherwise the original is not found, which
    /// includes one that a later change has replaced.
    async fn without_change(&self, original: TransactionKey) -> Result<Option<Reason>, Reason> {
        match self.world.store.transaction(original).await.map_err(refused)? {
            //= spec/pin-change.md#7.3
            //# A reversal of a change that was declined, or that is undone already, MUST be
            //# accepted and MUST change nothing.
            Some(Seen::Answered(Outcome::Declined(_))) => Ok(None),
            //= spec/pin-change.md#7.4
            //# A reversal whose original is still being worked on MUST be refused as in progress
            //# (94), and this answer MUST NOT be kept.
            Some(Seen::InProgress) => Err(Reason::InProgress),
            //= spec/pin-change.md#7.5
            //# A reversal whose original is not found MUST be answered so (25), and an original
            //# that comes after it MUST be refused (94).
            Some(Seen::Answered(Outcome::Approved(_)) | Seen::Duplicate | Seen::Fresh(()))
            | None => Ok(Some(Reason::OriginalNotFound)),
        }
    }
}

/// The card's way back, if its last change is the one named. Institution, trace number and terminal are enough, since
/// the card is the same: senders of reversals do not always copy every other element.
fn undo_of(card: &CardRecord, original: TransactionKey) -> Option<&Undo> {
    //= spec/pin-change.md#7.1
    //# A reversal MUST undo a change only while that is the last PIN change of its card.
    card.undo.as_ref().filter(|undo| undo.key.same_trace(&original))
}

/// The card with its old reference, or unchanged when another reversal of the same change came first.
fn undone(card: &CardRecord, undo: &Undo) -> Option<CardRecord> {
    if undo.reference == Reference::None {
        return None;
    }
    //= spec/pin-change.md#7.2
    //# Undoing MUST put back the reference from before the change, and MUST leave the count of
    //# wrong PINs as it is.
    let spent = Some(Undo { key: undo.key, reference: Reference::None });
    Some(CardRecord { reference: undo.reference, undo: spent, ..card.clone() })
}
