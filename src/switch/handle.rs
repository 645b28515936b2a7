//! [`Switch::handle`]: one request, read from top to bottom.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::card::{CardKey, CardRecord, Entry, Fingerprint, Receipt, Seen, Store, StoreError};
use crate::domain::clock::{Clock, Now, WallMillis};
use crate::domain::outcome::{Declined, Outcome, Reason};
use crate::domain::pan::{Account12, Pan, PanHash};
use crate::domain::request::{CardName, Operation, PinRequest};
use crate::route::{Question, Route};
use crate::switch::parts::{Parts, World};
use crate::switch::rules::Rules;
use crate::switch::stages::{Stage, Stages};

/// Everything a request needs of the world.
pub struct Switch<P: Parts> {
    pub(super) world: World<P>,
    rules: ArcSwap<Rules>,
    overrides: metrics::Counter,
}

/// How a request ended, and what is worth telling about the way.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Approved with proof, or why not.
    pub outcome: Outcome<Receipt>,
    /// Where it went; `None` when it never got that far.
    pub route: Option<Route>,
    /// The answer was stored by an earlier request with the same key.
    pub repeated: bool,
    /// Where the time went.
    pub stages: Stages,
}

/// A request on its way: what the paths need beside the request itself.
pub(super) struct Job<'a> {
    pub(super) request: &'a PinRequest,
    pub(super) rules: &'a Rules,
    pub(super) card: CardKey<'a>,
    pub(super) fingerprint: Fingerprint,
    pub(super) overridden: bool,
    pub(super) stages: &'a mut Stages,
}

impl<P: Parts> Switch<P> {
    /// Puts a switch together. It opens nothing and spawns nothing.
    pub fn new(world: World<P>, rules: Rules) -> Self {
        let overrides = metrics::counter!("pinion_route_overrides_total");
        Self { world, rules: ArcSwap::from_pointee(rules), overrides }
    }

    /// Replaces products and routes. Requests under way keep the snapshot they began with.
    pub fn reload(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// The HSM, for links that check MACs.
    pub fn hsm(&self) -> &P::Hsm {
        &self.world.hsm
    }

    /// The store, for operation and its endpoints.
    pub fn store(&self) -> &P::Store {
        &self.world.store
    }

    /// The nodes beyond us.
    pub fn hosts(&self) -> &P::Hosts {
        &self.world.hosts
    }

    /// The clock all parts share.
    pub fn clock(&self) -> &P::Clock {
        &self.world.clock
    }

    /// Takes one request to its outcome.
    pub async fn handle(&self, request: &PinRequest) -> Answer {
        let mut stages = Stages::start(self.world.clock.now());
        let mut answer = Answer {
            outcome: Outcome::Declined(Reason::SystemError.into()),
            route: None,
            repeated: false,
            stages,
        };
        answer.outcome = match self.run(request, &mut stages, &mut answer).await {
            Ok(receipt) => Outcome::Approved(receipt),
            Err(declined) => Outcome::Declined(declined),
        };
        answer.stages = stages;
        answer
    }

    /// The straight line. Every early return is a decline; the only approvals are receipts.
    async fn run(
        &self,
        request: &PinRequest,
        stages: &mut Stages,
        answer: &mut Answer,
    ) -> Result<Receipt, Declined> {
        //= spec/pin-change.md#3.1
        //# A request that its link has no right to MUST be refused (58) before its key or its card
        //# is looked up.
        if !request.rights.allow(request.operation) {
            return Err(Reason::ChannelNotAllowed.into());
        }
        still_awaited(request, stages.last())?;

        // Dedupe: seen? The stored answer.
        let card = match &request.card {
            CardName::Pan { pan, sequence } => {
                CardKey::Pan(self.world.vault.pan_hash(pan), *sequence)
            }
            CardName::Identity { kind, value } => CardKey::Identity(*kind, value),
        };
        let fingerprint = fingerprint(request.operation, card);
        let claim = match self.world.store.claim(request.key, fingerprint).await.map_err(refused)? {
            Seen::Fresh(claim) => claim,
            //= spec/pin-change.md#4.1
            //# A request with the key, the card and the operation of an earlier one MUST get the
            //# answer of that one and MUST change nothing.
            Seen::Answered(outcome) => {
                answer.repeated = true;
                return match outcome {
                    Outcome::Approved(receipt) => Ok(receipt),
                    Outcome::Declined(declined) => Err(declined),
                };
            }
            //= spec/pin-change.md#4.2
            //# While the earlier one is being worked on, the later one MUST be refused as in
            //# progress (94).
            Seen::InProgress => return Err(Reason::InProgress.into()),
            //= spec/pin-change.md#4.3
            //# A request with the key of an earlier one but another card or operation MUST be
            //# refused as a duplicate (94) and MUST change nothing.
            Seen::Duplicate => return Err(Reason::Duplicate.into()),
        };
        stages.end(Stage::Dedupe, self.world.clock.now());

        // Route: Postilion or CMS, and why.
        let rules = self.rules.load_full();
        let (route, overridden) = match &request.card {
            CardName::Pan { pan, .. } => self.choose(&rules, request, pan),
            CardName::Identity { .. } => (Some(Route::Cms), false),
        };
        answer.route = route;
        stages.end(Stage::Route, self.world.clock.now());
        let route = route.ok_or(Reason::NoRoute)?;

        let job = Job { request, rules: &rules, card, fingerprint, overridden, stages };
        match (route, request.operation) {
            (_, Operation::Reverse) => self.reverse(job, claim).await,
            (Route::Cms, Operation::Change | Operation::Unblock | Operation::Verify) => {
                self.cms(job, claim).await
            }
            (Route::Postilion, Operation::Change) => self.postilion(job, claim).await,
            //= spec/pin-change.md#9.1
            //# Only changes and reversals MUST be forwarded; another operation for a card of the
            //# Postilion route MUST be refused as not supported (12).
            (Route::Postilion, Operation::Unblock | Operation::Verify) => {
                Err(Reason::NotSupported.into())
            }
        }
    }

    /// Where the request goes, and whether policy turned its wish round, which is told, counted and journaled.
    fn choose(&self, rules: &Rules, request: &PinRequest, pan: &Pan) -> (Option<Route>, bool) {
        let (wish, institution, link) = (request.wish, request.institution, Some(request.link));
        let question = Question { pan, wish, institution, link };
        if tracing::enabled!(tracing::Level::DEBUG) {
            let explanation = rules.routes.explain(question);
            tracing::debug!(key = %request.key.text(), %explanation, "route");
        }
        let decision = rules.routes.decide(question);
        if decision.wish_overridden {
            self.overrides.increment(1);
            tracing::info!(key = %request.key.text(), rule = decision.rule,
                route = decision.route.map_or("none", Route::label), "wish overridden by policy");
        }
        (decision.route, decision.wish_overridden)
    }

    /// The number's account field: from the request, or opened from the record of a card named otherwise.
    pub(super) fn account(
        &self,
        request: &PinRequest,
        card: &CardRecord,
    ) -> Result<Account12, Reason> {
        match &request.card {
            CardName::Pan { pan, .. } => Ok(pan.account12()),
            CardName::Identity { .. } => self
                .world
                .vault
                .open_pan(&card.sealed_pan)
                .map(|pan| pan.account12())
                .map_err(|_| Reason::SystemError),
        }
    }
}

impl Job<'_> {
    /// The journal's line for this request.
    pub(super) fn entry(&self, declined: Option<Declined>, at: WallMillis) -> Entry {
        Entry {
            key: self.request.key,
            fingerprint: self.fingerprint,
            operation: self.request.operation,
            pan_hash: named_by_pan(self.card),
            declined,
            at,
            link: self.request.link,
            trace: self.request.trace,
            original: self.request.original,
            overridden: self.overridden,
        }
    }
}

/// Work for a caller that no longer waits is not started. `now` is the newest reading of the clock.
pub(super) fn still_awaited(request: &PinRequest, now: Now) -> Result<(), Reason> {
    //= spec/pin-change.md#3.2
    //# Work whose deadline has passed MUST NOT be started, and is answered as unavailable (91).
    if request.deadline <= now {
        return Err(Reason::Unavailable);
    }
    Ok(())
}

/// What a refusal of the store means to the caller: full is overload, everything else is our failure.
pub(super) fn refused(error: StoreError) -> Reason {
    match error {
        StoreError::Conflict | StoreError::Full => Reason::Unavailable,
        StoreError::Poisoned | StoreError::Unavailable => Reason::SystemError,
    }
}

/// Eight bytes over the card and the operation. The PAN hash is a keyed hash already; folding the operation in keeps
/// a change and a verification under one key apart.
fn fingerprint(operation: Operation, card: CardKey<'_>) -> Fingerprint {
    let card = named_by_pan(card).map_or(0, |hash| {
        let (first, _) = hash.0.split_at(8);
        u64::from_le_bytes(first.try_into().unwrap_or_default())
    });
    Fingerprint(card.rotate_left(8) ^ u64::from(operation.code()))
}

fn named_by_pan(card: CardKey<'_>) -> Option<PanHash> {
    match card {
        CardKey::Identity(..) => None,
        CardKey::Pan(hash, _) => Some(hash),
    }
}
