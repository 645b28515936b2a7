//! [`Switch::handle`]: one request, read from top to bottom.

use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::card::{CardKey, Entry, Fingerprint, Note, Receipt, Seen, Store, StoreError};
use crate::domain::chip::IssuerScript;
use crate::domain::clock::{Clock, Now, WallMillis};
use crate::domain::memo::{MEMO_BYTES_MAX, Memo};
use crate::domain::outcome::{Declined, Outcome, Reason};
use crate::domain::pan::{Account12, Pan, PanHash, SealedPan};
use crate::domain::pin::{Ksn, NewPin, RevealedPin};
use crate::domain::request::{CardName, Operation, PinRequest};
use crate::domain::vault::Vault;
use crate::limits::NOTE_BYTES_MAX;
use crate::route::{Question, Route};
use crate::switch::name::{Named, Read};
use crate::switch::parts::{Parts, World};
use crate::switch::rules::Rules;
use crate::switch::script::{Scripts, takes_script};
use crate::switch::stages::{Stage, Stages};

/// A number no issuer has: it belongs to nobody.
const NOBODY: &[u8] = b"0000000000000000";

const _: () = assert!(16 + 32 + 2 + MEMO_BYTES_MAX <= NOTE_BYTES_MAX, "a memo's note is not cut");

/// Everything a request needs of the world.
pub struct Switch<P: Parts> {
    pub(super) world: World<P>,
    /// Stands for the number of a card that is not there; `None` where the vault could not seal it.
    pub(super) nobody: Option<SealedPan>,
    rules: ArcSwap<Rules>,
    overrides: metrics::Counter,
    pub(super) scripts: Scripts,
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
    /// A revealed or generated PIN. A repeat may lack it (`spec/pin-change.md` 11.6, 11.7).
    pub pin: Option<RevealedPin>,
    /// What tells the card's chip of the change. A repeat may lack it (`spec/pin-change.md` 12.6).
    pub script: Option<IssuerScript>,
    /// Where the time went.
    pub stages: Stages,
}

/// Why a path ends without a receipt of its own.
pub(super) enum Halt {
    /// Declined, and why.
    Declined(Declined),
    /// Another switch took the request's key first: what it did is the answer.
    KeyTaken,
}

impl From<Declined> for Halt {
    fn from(declined: Declined) -> Self {
        Self::Declined(declined)
    }
}

impl From<Reason> for Halt {
    fn from(reason: Reason) -> Self {
        Self::Declined(reason.into())
    }
}

/// What a refused commit means to the request.
impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::KeyTaken => Self::KeyTaken,
            other => refused(other).into(),
        }
    }
}

/// A request on its way: what the paths need beside the request itself.
pub(super) struct Job<'a> {
    pub(super) request: &'a PinRequest,
    pub(super) rules: &'a Rules,
    pub(super) card: CardKey<'a>,
    /// What was read of the card along with the key, until it is used.
    pub(super) ahead: Option<Read>,
    /// The card; `None` for one that is not there or not the client's.
    pub(super) named: Option<&'a Named<'a>>,
    pub(super) fingerprint: Fingerprint,
    pub(super) overridden: bool,
    pub(super) stages: &'a mut Stages,
    /// The PIN that the answer carries.
    pub(super) shown: &'a mut Option<RevealedPin>,
    /// The issuer script that the answer carries.
    pub(super) script: &'a mut Option<IssuerScript>,
}

impl<P: Parts> Switch<P> {
    /// Puts a switch together. It opens nothing and spawns nothing.
    pub fn new(world: World<P>, rules: Rules) -> Self {
        let overrides = metrics::counter!("pinion_route_overrides_total");
        let nobody = Pan::parse(NOBODY).ok().and_then(|pan| world.vault.seal_pan(&pan).ok());
        let rules = ArcSwap::from_pointee(rules);
        Self { world, nobody, rules, overrides, scripts: Scripts::new() }
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
            pin: None,
            script: None,
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
        let card = card_key(&*self.world.vault, &request.card);
        let fingerprint = match request.fingerprint {
            Some(digest) => Fingerprint(digest),
            None => fingerprint(request, card),
        };
        // The card is asked for along with the key: a store beyond a network answers both in one round trip. Its
        // version is compared at the commit, so it is no matter which of the two was read first.
        let store = &self.world.store;
        let (claim, ahead) = tokio::join!(store.claim(request.key, fingerprint), store.card(card));
        let claim = match claim.map_err(refused)? {
            Seen::Fresh(claim) => claim,
            //= spec/pin-change.md#4.1
            //# A request with the key, the card and the operation of an earlier one, and beside chip
            //# data with the same chip data and the same new PIN block, MUST get the answer of that
            //# one and MUST change nothing.
            Seen::Answered(outcome) => return self.repeat(request, outcome, answer).await,
            //= spec/pin-change.md#4.2
            //# While the earlier one is being worked on, the later one MUST be refused as in
            //# progress (94).
            Seen::InProgress => return Err(Reason::InProgress.into()),
            //= spec/pin-change.md#4.3
            //# A request with the key of an earlier one but another card or operation, or beside chip
            //# data with other chip data or another new PIN block, MUST be refused as a duplicate
            //# (94) and MUST change nothing.
            Seen::Duplicate => return Err(Reason::Duplicate.into()),
        };
        stages.end(Stage::Dedupe, self.world.clock.now());

        // Route: Postilion or CMS, and why.
        let rules = self.rules.load_full();
        if let Some(memo) = &request.memo {
            self.note_memo(request, memo).await?;
        }
        //= spec/pin-change.md#11.9
        //# A card named by another identity MUST be routed by its number, and MUST be forwarded with
        //# the number, the sequence number and the expiry of its record.
        let named = self.name(request, &rules, &ahead)?;
        let (route, overridden) = match &named {
            Some(named) => self.choose(&rules, request, &named.pan),
            None => (Some(Route::Cms), false),
        };
        answer.route = route;
        stages.end(Stage::Route, self.world.clock.now());
        let route = route.ok_or(Reason::NoRoute)?;

        let (named, shown, script) = (named.as_ref(), &mut answer.pin, &mut answer.script);
        let job = Job {
            request,
            rules: &rules,
            card,
            ahead: Some(ahead),
            named,
            fingerprint,
            overridden,
            stages,
            shown,
            script,
        };
        match self.follow(route, job, claim).await {
            Ok(receipt) => Ok(receipt),
            Err(Halt::Declined(declined)) => Err(declined),
            Err(Halt::KeyTaken) => self.first_answer(request, fingerprint, answer).await,
        }
    }

    /// The path of the route.
    async fn follow(
        &self,
        route: Route,
        job: Job<'_>,
        claim: <P::Store as Store>::Claim,
    ) -> Result<Receipt, Halt> {
        if job.named.is_none() {
            return self.refuse(&job, claim, Reason::CardUnknown, self.world.clock.wall()).await;
        }
        match (route, job.request.operation) {
            (_, Operation::Reverse) => self.reverse(job, claim).await,
            (
                Route::Cms,
                Operation::Change
                | Operation::Reveal
                | Operation::Set
                | Operation::Unblock
                | Operation::Verify,
            ) => self.cms(job, claim).await,
            (Route::Postilion, Operation::Change) => self.postilion(job, claim).await,
            //= spec/pin-change.md#9.1
            //# Only changes and reversals MUST be forwarded; another operation for a card of the
            //# Postilion route MUST be refused as not supported (12).
            (
                Route::Postilion,
                Operation::Reveal | Operation::Set | Operation::Unblock | Operation::Verify,
            ) => Err(Reason::NotSupported.into()),
        }
    }

    /// The stored answer of an earlier request with the same key.
    async fn repeat(
        &self,
        request: &PinRequest,
        outcome: Outcome<Receipt>,
        answer: &mut Answer,
    ) -> Result<Receipt, Declined> {
        answer.repeated = true;
        match outcome {
            Outcome::Approved(receipt) => {
                let rules = self.rules.load_full();
                answer.pin = self.show_again(request, &rules).await?;
                answer.script = self.script_again(request, &rules).await?;
                Ok(receipt)
            }
            Outcome::Declined(declined) => Err(declined),
        }
    }

    /// The answer of the switch that was first. The request is not judged again, whatever that answer is.
    async fn first_answer(
        &self,
        request: &PinRequest,
        fingerprint: Fingerprint,
        answer: &mut Answer,
    ) -> Result<Receipt, Declined> {
        //= spec/pin-change.md#4.6
        //# When another switch was first with a request, its answer MUST be given, and the request
        //# MUST NOT be judged again.
        match self.world.store.claim(request.key, fingerprint).await.map_err(refused)? {
            Seen::Answered(outcome) => self.repeat(request, outcome, answer).await,
            Seen::InProgress => Err(Reason::InProgress.into()),
            Seen::Duplicate => Err(Reason::Duplicate.into()),
            // Nothing was sent there, and the key is free again: so it is for the next repeat.
            Seen::Fresh(_) => Err(Reason::Unavailable.into()),
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

    /// What the sender wants in the audit, before anything is done.
    async fn note_memo(&self, request: &PinRequest, memo: &Memo) -> Result<(), Reason> {
        let (operation, key) = (request.operation.label(), request.key.text());
        let text = format!("{operation} {key}: {}", memo.as_str());
        let note = Note { at: self.world.clock.wall(), text: text.into() };
        self.world.store.note(note).await.map(drop).map_err(refused)
    }
}

impl Job<'_> {
    /// The account field of the card's number.
    pub(super) fn account(&self) -> Result<Account12, Reason> {
        self.named.map(|named| named.pan.account12()).ok_or(Reason::SystemError)
    }

    /// The journal's line for this request.
    pub(super) fn entry(&self, declined: Option<Declined>, at: WallMillis) -> Entry {
        Entry {
            key: self.request.key,
            fingerprint: self.fingerprint,
            operation: self.request.operation,
            pan_hash: self.pan_hash(),
            declined,
            at,
            link: self.request.link,
            trace: self.request.trace,
            original: self.request.original,
            overridden: self.overridden,
        }
    }

    /// The hash of the card's number, where it is known.
    pub(super) fn pan_hash(&self) -> Option<PanHash> {
        let record = self.named.and_then(|named| named.record.as_deref());
        named_by_pan(self.card).or_else(|| record.map(|record| record.pan_hash))
    }
}

/// How the store is asked for the card of that name.
pub(super) fn card_key<'a>(vault: &dyn Vault, name: &'a CardName) -> CardKey<'a> {
    match name {
        CardName::Pan { pan, sequence } => CardKey::Pan(vault.pan_hash(pan), *sequence),
        CardName::Identity { kind, value } => CardKey::Identity(*kind, value),
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
        StoreError::Conflict | StoreError::Full | StoreError::KeyTaken => Reason::Unavailable,
        StoreError::Poisoned | StoreError::Unavailable => Reason::SystemError,
    }
}

/// Eight bytes over the card and the operation. The PAN hash is a keyed hash already; folding the operation in keeps
/// a change and a verification under one key apart.
///
/// Beside chip data they are over those and the new PIN block as well: a repeat gets its issuer script made anew, and
/// must not get one of another PIN, or for another transaction of the card. The block cannot be tried out from them:
/// the cryptogram is kept nowhere, and the PAN hash is keyed.
fn fingerprint(request: &PinRequest, card: CardKey<'_>) -> Fingerprint {
    let eight = |bytes: &[u8]| bytes.first_chunk().copied().map_or(0, u64::from_le_bytes);
    let card = match card {
        CardKey::Identity(_, value) => eight(&Sha256::digest(value)),
        CardKey::Pan(hash, _) => eight(&hash.0),
    };
    let plain = card.rotate_left(8) ^ u64::from(request.operation.code());
    let (Some(chip), true) = (&request.chip, takes_script(request.operation)) else {
        return Fingerprint(plain);
    };
    let mut hash = Sha256::new_with_prefix(b"chip");
    hash.update(plain.to_le_bytes());
    hash.update(chip.counter);
    hash.update(chip.cryptogram);
    hash.update([chip.sequence.unwrap_or(u8::MAX)]);
    if let Some(NewPin::Zone(block)) = &request.new {
        let ksn = block.ksn().map(Ksn::bytes).unwrap_or_default();
        for part in [block.block(), ksn] {
            hash.update([u8::try_from(part.len()).unwrap_or(u8::MAX)]);
            hash.update(part);
        }
    }
    Fingerprint(eight(&hash.finalize()))
}

fn named_by_pan(card: CardKey<'_>) -> Option<PanHash> {
    match card {
        CardKey::Identity(..) => None,
        CardKey::Pan(hash, _) => Some(hash),
    }
}
