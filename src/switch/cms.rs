//! The CMS path: gates, PIN work, and one commit of card, journal and audit.
//!
//! The verdict on a PIN is told to nobody before its commit (design.md rule 2): every way out of [`Switch::cms`] that
//! looked at a PIN goes through `store.commit`, and a card that changed meanwhile is read and judged again.

use crate::card::product::Product;
use crate::card::record::Undo;
use crate::card::{CardRecord, Commit, Receipt, Store, StoreError, gates};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::outcome::{Declined, Reason, Side};
use crate::domain::pin::{LmkPin, Reference, ZonePin};
use crate::domain::request::{Operation, PinRequest};
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, Verdict};
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::switch::handle::{Job, Switch, refused, still_awaited};
use crate::switch::parts::Parts;
use crate::switch::stages::Stage;

/// What a request leads to: the card as it shall be (if it changes), and whether it is declined.
struct Judgement {
    card: Option<CardRecord>,
    declined: Option<Reason>,
}

impl Judgement {
    fn declined(reason: Reason) -> Self {
        Self { card: None, declined: Some(reason) }
    }
}

impl<P: Parts> Switch<P> {
    /// Reads the card, judges the request, commits; again if another request changed the card in between.
    pub(super) async fn cms(
        &self,
        job: Job<'_>,
        mut claim: <P::Store as Store>::Claim,
    ) -> Result<Receipt, Declined> {
        for _ in 0..CONFLICT_RETRIES_MAX {
            still_awaited(job.request, job.stages.last())?;
            let judgement = match self.world.store.card(job.card).await.map_err(refused)? {
                Some(card) => self.judge(&job, &card).await,
                None => Judgement::declined(Reason::CardUnknown),
            };
            job.stages.end(Stage::Hsm, self.world.clock.now());

            // What is not the caller's doing is not stored: the same request may be tried again.
            //= spec/pin-change.md#4.5
            //# A decline that is not the caller's doing MUST NOT be kept: the same request may be
            //# tried again.
            if let Some(reason) = judgement.declined
                && reason.side() != Side::Caller
            {
                return Err(reason.into());
            }
            let declined = judgement.declined.map(Declined::from);
            let entry = job.entry(declined, self.world.clock.wall());
            let commit = Commit { card: judgement.card, entry, reopens: None };
            //= spec/pin-change.md#5.2
            //# The verdict on a PIN MUST NOT be told before its commit is durable.
            let committed = self.world.store.commit(claim, commit).await;
            job.stages.end(Stage::Commit, self.world.clock.now());
            match committed {
                Ok(receipt) => return declined.map_or(Ok(receipt), Err),
                Err(refusal) => match (refusal.error, refusal.claim) {
                    //= spec/pin-change.md#5.3
                    //# When the card changed since it was read, the request MUST be judged again on
                    //# the card as it is now.
                    (StoreError::Conflict, Some(back)) => claim = back,
                    (error, _) => return Err(refused(error).into()),
                },
            }
        }
        Err(Reason::Unavailable.into())
    }

    /// Gates first, then the PIN work of the operation.
    async fn judge(&self, job: &Job<'_>, card: &CardRecord) -> Judgement {
        let request = job.request;
        let Some(product) = job.rules.products.get(card.product) else {
            tracing::error!(product = ?card.product, "a card's product is not configured: add a [[product]]");
            return Judgement::declined(Reason::SystemError);
        };
        let wall = self.world.clock.wall();
        //= spec/pin-change.md#5.1
        //# The gates of card, account and channel MUST be checked before any PIN is looked at.
        if let Err(reason) = gates::check(card, product, request.operation, request.channel, wall) {
            return Judgement::declined(reason);
        }
        let judged = match request.operation {
            Operation::Change => self.judge_change(request, card, product, wall).await,
            Operation::Verify => self.judge_verify(request, card, product).await,
            Operation::Unblock => Ok(unblocked(card)),
            Operation::Reverse => Err(Reason::SystemError),
        };
        judged.unwrap_or_else(Judgement::declined)
    }

    async fn judge_change(
        &self,
        request: &PinRequest,
        card: &CardRecord,
        product: &Product,
        wall: WallMillis,
    ) -> Result<Judgement, Reason> {
        let (current, new) = (needed(request.current.as_ref())?, needed(request.new.as_ref())?);
        let account = self.account(request, card)?;
        let new: LmkPin = self.world.hsm.to_lmk(new, &account).await.map_err(hsm_refused)?;
        let change = Change {
            current,
            new: &new,
            account: &account,
            method: &product.method,
            reference: &card.reference,
            rules: &product.rules,
        };
        match self.world.hsm.verify_and_derive(&change).await.map_err(hsm_refused)? {
            ChangeVerdict::Right(reference) => Ok(changed(card, reference, request, wall)),
            //= spec/pin-change.md#5.5
            //# Whether the rules refuse the new PIN MUST be told only to a sender whose current PIN
            //# was right.
            ChangeVerdict::RightButUnacceptable => {
                let card = CardRecord { pin_tries_used: 0, ..card.clone() };
                Ok(Judgement { card: Some(card), declined: Some(Reason::NewPinUnacceptable) })
            }
            ChangeVerdict::Wrong => Ok(wrong_pin(card)),
        }
    }

    async fn judge_verify(
        &self,
        request: &PinRequest,
        card: &CardRecord,
        product: &Product,
    ) -> Result<Judgement, Reason> {
        let current = needed(request.current.as_ref())?;
        let account = self.account(request, card)?;
        let verified =
            self.world.hsm.verify(current, &account, &product.method, &card.reference).await;
        match verified.map_err(hsm_refused)? {
            Verdict::Right => Ok(unblocked(card)),
            Verdict::Wrong => Ok(wrong_pin(card)),
        }
    }
}

pub(super) fn needed(pin: Option<&ZonePin>) -> Result<&ZonePin, Reason> {
    pin.ok_or(Reason::FormatError)
}

fn changed(
    card: &CardRecord,
    reference: Reference,
    request: &PinRequest,
    wall: WallMillis,
) -> Judgement {
    let today = wall.day();
    let changes = if card.changes_day == today { card.changes.saturating_add(1) } else { 1 };
    let undo = Some(Undo { key: request.key, reference: card.reference });
    let card = CardRecord {
        reference,
        undo,
        pin_tries_used: 0,
        changes,
        changes_day: today,
        ..card.clone()
    };
    Judgement { card: Some(card), declined: None }
}

fn unblocked(card: &CardRecord) -> Judgement {
    Judgement { card: Some(CardRecord { pin_tries_used: 0, ..card.clone() }), declined: None }
}

fn wrong_pin(card: &CardRecord) -> Judgement {
    //= spec/pin-change.md#5.4
    //# A wrong current PIN MUST use up one try.
    let card = CardRecord { pin_tries_used: card.pin_tries_used.saturating_add(1), ..card.clone() };
    Judgement { card: Some(card), declined: Some(Reason::WrongPin) }
}

/// What a refusal of the HSM means to the caller.
pub(super) fn hsm_refused(error: HsmError) -> Reason {
    match error {
        HsmError::KeyUnknown | HsmError::KeyUnusable => Reason::KeyOutOfStep,
        HsmError::NewPinUnacceptable => Reason::NewPinUnacceptable,
        HsmError::NoPinInBlock => Reason::NoPinInBlock,
        HsmError::StoredPinCorrupt => Reason::SystemError,
        HsmError::Throttled => Reason::TriesExceeded,
        HsmError::TranslationForbidden => Reason::FormatError,
        HsmError::Unavailable => Reason::HsmUnavailable,
    }
}
