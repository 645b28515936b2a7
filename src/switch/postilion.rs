//! The Postilion path: blocks to the nodes' zone key, intent, the node's answer, outcome.
//!
//! The intent is durable before the first byte leaves (design.md rule 3). Whatever happens after it (no answer, a
//! broken connection, a dropped future, our own end) leaves the change unsettled, and `settle` reverses it. **Never
//! here:** a second sending of a request (`host` goes on to another node only while nothing has left).

use crate::card::{Commit, Entry, Receipt, Store};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::forward::{Details, Forwarded};
use crate::domain::outcome::{Declined, Reason, Side};
use crate::domain::pin::{NewPin, PresentedPin, ZonePin};
use crate::domain::request::{CardName, PinRequest};
use crate::host::{Asked, Booking, Forward, Hosts};
use crate::hsm::Hsm;
use crate::switch::cms::{hsm_refused, needed};
use crate::switch::handle::{Halt, Job, Switch, refused, still_awaited};
use crate::switch::name::Named;
use crate::switch::parts::Parts;
use crate::switch::stages::Stage;

/// What is to be sent.
struct Prepared<P: Parts> {
    place: <P::Hosts as Hosts>::Place,
    current: ZonePin,
    new: ZonePin,
    forwarded: Forwarded,
}

impl<P: Parts> Switch<P> {
    /// Sends a change to a node and tells what became of it.
    pub(super) async fn postilion(
        &self,
        job: Job<'_>,
        claim: <P::Store as Store>::Claim,
    ) -> Result<Receipt, Halt> {
        let Some(named) = job.named else { return Err(Reason::CardUnknown.into()) };
        let pan = &*named.pan;
        let at = self.world.clock.wall();
        let prepared = self.prepare(&job, named, at).await;
        job.stages.end(Stage::Hsm, self.world.clock.now());
        let Prepared { place, current, new, forwarded } = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => return self.refuse(&job, claim, reason, at).await,
        };

        //= spec/pin-change.md#9.2
        //# That a request is about to be sent to a host MUST be durable before its first byte leaves.
        let intent = job.entry(Some(Reason::OutcomeUnknown.into()), at);
        let intended = self.world.store.intend(claim, intent, forwarded.clone()).await;
        job.stages.end(Stage::Commit, self.world.clock.now());
        let claim = intended.map_err(|refusal| Halt::from(refusal.error))?;

        let forward = Forward {
            key: &job.request.key,
            pan,
            current: &current,
            new: &new,
            trace: &job.request.trace,
            forwarded: &forwarded,
        };
        let asked = self.world.hosts.ask(place, &forward, job.request.deadline).await;
        job.stages.end(Stage::Host, self.world.clock.now());
        let declined = declined(asked);

        //= spec/pin-change.md#9.3
        //# What a host answered MUST be durable before the caller is told.
        let commit = Commit { card: None, entry: job.entry(declined, at), reopens: None };
        let committed = self.world.store.commit(claim, commit).await;
        job.stages.end(Stage::Commit, self.world.clock.now());
        match (committed, declined) {
            (Ok(receipt), None) => Ok(receipt),
            (Ok(_), Some(declined)) => Err(declined.into()),
            // The intent is all that lasts: from now on nobody knows how it ended, and it will be reversed.
            (Err(_), _) => Err(Reason::OutcomeUnknown.into()),
        }
    }

    /// A place at a node first, since without one nothing is worth doing; then the PIN blocks.
    async fn prepare(
        &self,
        job: &Job<'_>,
        named: &Named<'_>,
        at: WallMillis,
    ) -> Result<Prepared<P>, Reason> {
        let (request, pan) = (job.request, &*named.pan);
        //= spec/pin-change.md#9.4
        //# The current PIN MUST be given on the Postilion route.
        let (current, new) = (needed(request.current.as_ref())?, needed(request.new.as_ref())?);
        still_awaited(request, job.stages.last())?;
        //= spec/pin-change.md#9.8
        //# While a change of a card waits for its reversal, a further change of that card MUST be
        //# answered as unavailable (91): nobody knows which PIN the card has.
        if let Some(card) = job.pan_hash()
            && self.world.store.awaits_reversal(card).await.map_err(refused)?
        {
            return Err(Reason::Unavailable);
        }
        let hosts = &self.world.hosts;
        //= spec/pin-change.md#9.5
        //# When no node takes requests, a request MUST be answered as unavailable (91) at once,
        //# nothing MUST be sent, and the same request may be tried again.
        let zone = hosts.zone().ok_or(Reason::Unavailable)?;
        let place = hosts.reserve().map_err(|_| Reason::Unavailable)?;
        let account = pan.account12();
        let hsm = &self.world.hsm;
        let translate = |block| hsm.translate(block, zone.key, zone.format, &account);
        let from_lmk = |pin| hsm.from_lmk(pin, zone.key, zone.format, &account);
        let current = match current {
            PresentedPin::Lmk(pin) => from_lmk(pin).await,
            PresentedPin::Zone(block) => translate(block).await,
        };
        let new = match new {
            // Nobody but the node knows its rules.
            NewPin::Generate { .. } => return Err(Reason::NotSupported),
            NewPin::Lmk(pin) => from_lmk(pin).await,
            NewPin::Zone(block) => translate(block).await,
        };
        let (current, new) = (current.map_err(hsm_refused)?, new.map_err(hsm_refused)?);
        let Booking { host, stan } = hosts.booking(&place);
        let sealed = self.world.vault.seal_pan(pan).map_err(|_| Reason::SystemError)?;
        let forwarded = Forwarded {
            host,
            stan,
            transmitted: at,
            pan: sealed,
            sequence: sequence(&request.card, named),
            institution: request.institution.unwrap_or_default(),
            details: details(request, named),
        };
        Ok(Prepared { place, current, new, forwarded })
    }

    /// A decline before anything was sent. One by the caller's fault is kept, so that a repeat gets the same answer.
    pub(super) async fn refuse(
        &self,
        job: &Job<'_>,
        claim: <P::Store as Store>::Claim,
        reason: Reason,
        at: WallMillis,
    ) -> Result<Receipt, Halt> {
        if reason.side() == Side::Caller {
            let entry: Entry = job.entry(Some(reason.into()), at);
            let commit = Commit { card: None, entry, reopens: None };
            let committed = self.world.store.commit(claim, commit).await;
            let _receipt = committed.map_err(|refusal| Halt::from(refusal.error))?;
        }
        Err(reason.into())
    }
}

/// The card's sequence number: as the request has it, or that of the record of a card named otherwise.
fn sequence(card: &CardName, named: &Named<'_>) -> Option<u16> {
    match card {
        CardName::Pan { sequence, .. } => *sequence,
        CardName::Identity { .. } => named.record.as_ref().map(|record| record.sequence),
    }
}

/// What the host is told besides. A card named otherwise brings its expiry.
fn details(request: &PinRequest, named: &Named<'_>) -> Details {
    let mut details = request.details;
    if let (CardName::Identity { .. }, Some(record)) = (&request.card, &named.record) {
        let mut rest = record.expiry % 10_000;
        let mut digits = [b'0'; 4];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10).to_le_bytes()[0];
            rest /= 10;
        }
        details.expiry = Some(digits);
    }
    details
}

fn declined(asked: Asked) -> Option<Declined> {
    match asked {
        Asked::Answered(answer) => answer.declined,
        Asked::NotSent(_) => Some(Reason::NotSent.into()),
        //= spec/pin-change.md#9.6
        //# A request that may have reached a host and got no answer in time MUST be answered as
        //# unknown (68), and MUST be reversed until a host has acknowledged it.
        Asked::Unknown(_) => Some(Reason::OutcomeUnknown.into()),
    }
}
