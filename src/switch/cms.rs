//! The CMS path: gates, PIN work, and one commit of card, journal and audit.
//!
//! The verdict on a PIN is told to nobody before its commit (design.md rule 2): every way out of [`Switch::cms`] that
//! looked at a PIN goes through `store.commit`, and a card that changed meanwhile is read and judged again.

use crate::card::product::Product;
use crate::card::record::Undo;
use crate::card::{CardRecord, Commit, Receipt, Store, StoreError, gates};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::outcome::{Declined, Reason, Side};
use crate::domain::pan::Account12;
use crate::domain::pin::{LmkPin, NewPin, PresentedPin, Reference};
use crate::domain::request::{Operation, PinRequest};
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, Verdict};
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::switch::handle::{Halt, Job, Switch, refused, still_awaited};
use crate::switch::parts::Parts;
use crate::switch::script::{Scripted, Wanted};
use crate::switch::stages::Stage;

/// What a request leads to: the card as it shall be (if it changes), whether it is declined, the PIN it gives the card,
/// the PIN to be shown, and what its chip is sent.
struct Judgement {
    card: Option<CardRecord>,
    declined: Option<Reason>,
    new: Option<PresentedPin>,
    show: Option<LmkPin>,
    script: Scripted,
}

impl Judgement {
    fn declined(reason: Reason) -> Self {
        Self { card: None, declined: Some(reason), ..Self::of(None) }
    }

    fn of(card: Option<CardRecord>) -> Self {
        Self { card, declined: None, new: None, show: None, script: Scripted::NotWanted }
    }
}

impl<P: Parts> Switch<P> {
    /// Reads the card, judges the request, commits; again if another request changed the card in between.
    pub(super) async fn cms(
        &self,
        mut job: Job<'_>,
        mut claim: <P::Store as Store>::Claim,
    ) -> Result<Receipt, Halt> {
        for _ in 0..CONFLICT_RETRIES_MAX {
            still_awaited(job.request, job.stages.last())?;
            let card = match job.ahead.take() {
                Some(card) => card,
                None => self.world.store.card(job.card).await,
            };
            let judgement = match card.map_err(refused)? {
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
                Ok(receipt) => {
                    *job.script = self.scripts.sent(judgement.script);
                    //= spec/pin-change.md#11.5
                    //# A PIN MUST NOT leave the HSM in the clear before the request for it is durable
                    //# in the journal.
                    if let (None, Some(pin)) = (declined, judgement.show) {
                        self.show_new(job, &pin).await?;
                    }
                    return declined.map_or(Ok(receipt), |declined| Err(declined.into()));
                }
                Err(refusal) => match (refusal.error, refusal.claim) {
                    //= spec/pin-change.md#5.3
                    //# When the card changed since it was read, the request MUST be judged again on
                    //# the card as it is now.
                    (StoreError::Conflict, Some(back)) => claim = back,
                    (error, _) => return Err(error.into()),
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
        let wanted = Wanted::of(product, request);
        if wanted == Wanted::Required {
            let script = Scripted::NoChipData;
            return Judgement { script, ..Judgement::declined(Reason::FormatError) };
        }
        let judged = match request.operation {
            Operation::Change => self.judge_change(job, card, product, wall).await,
            Operation::Reveal => Ok(revealed(card)),
            Operation::Set => self.judge_set(job, card, product, wall).await,
            Operation::Verify => self.judge_verify(job, card, product).await,
            Operation::Unblock => Ok(unblocked(card)),
            Operation::Reverse => Err(Reason::SystemError),
        };
        let judgement = judged.unwrap_or_else(Judgement::declined);
        if judgement.declined.is_some() {
            return judgement;
        }
        match self.script(job, card, wanted, judgement.new.as_ref()).await {
            Ok(script) => Judgement { script, ..judgement },
            Err(reason) => Judgement::declined(reason),
        }
    }

    async fn judge_change(
        &self,
        job: &Job<'_>,
        card: &CardRecord,
        product: &Product,
        wall: WallMillis,
    ) -> Result<Judgement, Reason> {
        let request = job.request;
        let (current, wanted) = (needed(request.current.as_ref())?, needed(request.new.as_ref())?);
        let account = job.account()?;
        let new = self.new_pin(wanted, &account, product).await?;
        let change = Change {
            current,
            new: &new,
            account: &account,
            method: &product.method,
            reference: &card.reference,
            rules: &product.rules,
        };
        match self.world.hsm.verify_and_derive(&change).await.map_err(hsm_refused)? {
            ChangeVerdict::Right(reference) => Ok(Judgement {
                new: Some(new),
                show: generated(wanted, new),
                ..changed(card, reference, request, wall)
            }),
            //= spec/pin-change.md#5.5
            //# Whether the rules refuse the new PIN MUST be told only to a sender whose current PIN
            //# was right.
            ChangeVerdict::RightButUnacceptable => {
                let card = CardRecord { pin_tries_used: 0, ..card.clone() };
                let declined = Some(Reason::NewPinUnacceptable);
                Ok(Judgement { declined, ..Judgement::of(Some(card)) })
            }
            ChangeVerdict::Wrong => Ok(wrong_pin(card)),
        }
    }

    /// As a change, but nobody proves the current PIN.
    async fn judge_set(
        &self,
        job: &Job<'_>,
        card: &CardRecord,
        product: &Product,
        wall: WallMillis,
    ) -> Result<Judgement, Reason> {
        let wanted = needed(job.request.new.as_ref())?;
        let account = job.account()?;
        let new = self.new_pin(wanted, &account, product).await?;
        //= spec/pin-change.md#11.3
        //# The rules of the product MUST hold for a PIN that is set or generated as for one that is
        //# changed to, that it is not the current one too.
        let (method, rules) = (&product.method, &product.rules);
        let derived = self.world.hsm.derive(&new, &account, method, rules, &card.reference).await;
        let reference = derived.map_err(hsm_refused)?;
        Ok(Judgement {
            new: Some(new),
            show: generated(wanted, new),
            ..changed(card, reference, job.request, wall)
        })
    }

    /// The new PIN: as it came, or drawn now.
    async fn new_pin(
        &self,
        wanted: &NewPin,
        account: &Account12,
        product: &Product,
    ) -> Result<PresentedPin, Reason> {
        match wanted {
            NewPin::Generate { digits } => {
                let drawn = self.world.hsm.random_pin(account, *digits, &product.rules).await;
                drawn.map(PresentedPin::Lmk).map_err(hsm_refused)
            }
            NewPin::Lmk(pin) => Ok(PresentedPin::Lmk(*pin)),
            NewPin::Zone(block) => Ok(PresentedPin::Zone(*block)),
        }
    }

    /// Shows a PIN after its commit. A PIN that is set stays set when it cannot be shown.
    async fn show_new(&self, job: Job<'_>, pin: &LmkPin) -> Result<(), Reason> {
        match self.show(pin, &job.account()?).await {
            Ok(shown) => *job.shown = Some(shown),
            Err(reason) if job.request.operation == Operation::Reveal => return Err(reason),
            Err(reason) => {
                tracing::error!(key = %job.request.key.text(), reason = reason.label(),
                    "a generated PIN is set and cannot be shown");
            }
        }
        Ok(())
    }

    async fn judge_verify(
        &self,
        job: &Job<'_>,
        card: &CardRecord,
        product: &Product,
    ) -> Result<Judgement, Reason> {
        let current = needed(job.request.current.as_ref())?;
        let account = job.account()?;
        let verified =
            self.world.hsm.verify(current, &account, &product.method, &card.reference).await;
        match verified.map_err(hsm_refused)? {
            Verdict::Right => Ok(unblocked(card)),
            Verdict::Wrong => Ok(wrong_pin(card)),
        }
    }
}

pub(super) fn needed<T>(pin: Option<&T>) -> Result<&T, Reason> {
    pin.ok_or(Reason::FormatError)
}

/// A PIN nobody has seen yet is shown; the others their sender knows.
fn generated(wanted: &NewPin, new: PresentedPin) -> Option<LmkPin> {
    match (wanted, new) {
        (NewPin::Generate { .. }, PresentedPin::Lmk(pin)) => Some(pin),
        _ => None,
    }
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
    Judgement::of(Some(card))
}

fn unblocked(card: &CardRecord) -> Judgement {
    let card = CardRecord { pin_tries_used: 0, ..card.clone() };
    Judgement::of(Some(card))
}

/// The card stays as it is, but is committed: what is shown is its PIN at that moment and not an earlier one.
fn revealed(card: &CardRecord) -> Judgement {
    match card.reference {
        Reference::Lmk(pin) => Judgement { show: Some(pin), ..Judgement::of(Some(card.clone())) },
        Reference::None | Reference::Offset { .. } | Reference::Pvv(_) => {
            Judgement::declined(Reason::NotRecoverable)
        }
    }
}

fn wrong_pin(card: &CardRecord) -> Judgement {
    //= spec/pin-change.md#5.4
    //# A wrong current PIN MUST use up one try.
    let card = CardRecord { pin_tries_used: card.pin_tries_used.saturating_add(1), ..card.clone() };
    Judgement { declined: Some(Reason::WrongPin), ..Judgement::of(Some(card)) }
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
