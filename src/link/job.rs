//! One message on its way to its answer: MAC check, the switch, the MAC of the answer.
//!
//! **Never here:** sockets and frames (`answer`), what a message means (`translate`).

use std::panic::AssertUnwindSafe;

use bytes::BytesMut;
use futures_util::FutureExt;

use crate::domain::chip::IssuerScript;
use crate::domain::clock::{Clock, Now};
use crate::domain::exchange::WrappedKey;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::request::{Operation, PinRequest, Tag, TransactionKey};
use crate::hsm::{Hsm, Verdict};
use crate::link::codes::Code;
use crate::link::exchange::take_key;
use crate::link::listener::{InFlight, Link};
use crate::link::meters::Finished;
use crate::link::reply::Reply;
use crate::link::session::Event;
use crate::link::settings::{MacRule, Settings};
use crate::route::Route;
use crate::switch::{Answer, Parts, Stage, Stages};

/// One message that gets an answer.
pub(super) struct Job<'a> {
    pub(super) reply: Reply,
    pub(super) work: Work,
    pub(super) mac: Option<ReceivedMac>,
    pub(super) network: bool,
    /// What an accepted network message does to the session, where its MAC has to be checked first.
    pub(super) event: Option<Event>,
    /// Held until the answer is there.
    pub(super) place: InFlight<'a>,
    pub(super) arrived: Now,
    pub(super) stages: Stages,
}

/// What a job is.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once; a box would cost an allocation a request"
)]
pub(super) enum Work {
    /// The answer is known: refused, shed, or a network message accepted.
    Answer {
        /// What to answer.
        code: Code,
        /// Why, unless it is accepted.
        declined: Option<Reason>,
    },
    /// The switch decides.
    Ask(PinRequest),
    /// The HSM takes a new zone key.
    Exchange(WrappedKey),
}

/// A MAC as received: how many bytes of the frame it covers, and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceivedMac {
    pub(super) covered: usize,
    pub(super) value: [u8; 8],
}

/// One answered message.
pub(super) struct Done {
    pub(super) reply: Reply,
    pub(super) code: Code,
    /// What an approval carries for the card's chip.
    pub(super) script: Option<IssuerScript>,
    /// The whole answer with its MAC, on links that have one.
    pub(super) sealed: Option<BytesMut>,
    /// The link wants a MAC and the HSM made none: no answer leaves, since the peer would refuse it anyway.
    pub(super) unsealable: bool,
    event: Option<Event>,
    asked: Option<(Operation, TransactionKey, Tag)>,
    route: Option<Route>,
    declined: Option<Reason>,
    repeated: bool,
    arrived: Now,
    stages: Stages,
}

/// Takes one job to its answer. A panic inside is this request's 96 and nobody else's.
pub(super) async fn serve<P: Parts>(link: &Link<P>, job: Job<'_>) -> Done {
    let settings = link.settings();
    let _place = job.place;
    let mut done = Done {
        reply: job.reply,
        code: settings.codes.of(Reason::SystemError),
        script: None,
        sealed: None,
        unsealable: false,
        event: job.event,
        asked: None,
        route: None,
        declined: None,
        repeated: false,
        arrived: job.arrived,
        stages: job.stages,
    };
    match &job.work {
        Work::Answer { code, declined } => {
            (done.code, done.declined) = (*code, *declined);
            // A network message may come without a MAC; one that has a wrong one is not accepted.
            if let (Some(rule), Some(mac), None) = (settings.mac, job.mac, declined)
                && let Err(reason) = genuine(link, rule, &done.reply, mac).await
            {
                (done.code, done.declined) = (settings.codes.of(reason), Some(reason));
            }
        }
        Work::Ask(request) => {
            done.asked = Some((request.operation, request.key, request.trace.stan));
            let ask = AssertUnwindSafe(ask(link, &settings, &done.reply, request, job.mac));
            //= spec/pin-change.md#3.4
            //# A panic in one request MUST be that request's system error (96) and MUST NOT harm
            //# another request.
            match ask.catch_unwind().await {
                Ok(answer) => done.take(&settings, request.operation, answer),
                Err(_) => done.declined = Some(Reason::SystemError),
            }
        }
        Work::Exchange(key) => {
            let taken = AssertUnwindSafe(exchange(link, &settings, &done.reply, key, job.mac));
            match taken.catch_unwind().await.unwrap_or(Err(Reason::SystemError)) {
                Ok(()) => done.code = settings.codes.network(),
                Err(reason) => {
                    (done.code, done.declined) = (settings.codes.of(reason), Some(reason));
                }
            }
        }
    }
    if let Some(rule) = settings.mac
        && (job.mac.is_some() || !job.network)
    {
        //= spec/pin-change.md#2.3
        //# On such a link the answer to a request or reversal MUST carry a MAC, and an answer that
        //# cannot be given one MUST NOT be sent.
        let seal = AssertUnwindSafe(seal(link, &settings, rule, &done));
        done.sealed = seal.catch_unwind().await.unwrap_or(None);
        done.unsealable = done.sealed.is_none();
    }
    done
}

/// The MAC first: a request whose MAC is wrong or missing is answered so, and nothing else happens.
async fn ask<P: Parts>(
    link: &Link<P>,
    settings: &Settings,
    reply: &Reply,
    request: &PinRequest,
    mac: Option<ReceivedMac>,
) -> Result<Answer, Reason> {
    if let Some(rule) = settings.mac {
        match mac {
            Some(mac) => genuine(link, rule, reply, mac).await?,
            //= spec/pin-change.md#2.2
            //# Where the link requires a MAC, a request or reversal without one MUST be treated as
            //# one whose MAC is wrong.
            None if rule.required => return Err(Reason::MacWrong),
            None => {}
        }
    }
    Ok(link.switch.handle(request).await)
}

/// The MAC first, here too; and where the link has a MAC key, a new zone key never comes without one.
async fn exchange<P: Parts>(
    link: &Link<P>,
    settings: &Settings,
    reply: &Reply,
    key: &WrappedKey,
    mac: Option<ReceivedMac>,
) -> Result<(), Reason> {
    //= spec/pin-change.md#10.2
    //# On a link with a MAC key a key change whose MAC is wrong or missing MUST be answered so (63)
    //# and MUST change nothing.
    if let Some(rule) = settings.mac {
        genuine(link, rule, reply, mac.ok_or(Reason::MacWrong)?).await?;
    }
    take_key(link, settings, key).await
}

/// Whether the message is what its sender authenticated.
async fn genuine<P: Parts>(
    link: &Link<P>,
    rule: MacRule,
    reply: &Reply,
    mac: ReceivedMac,
) -> Result<(), Reason> {
    let covered = reply.frame().get(..mac.covered).unwrap_or_default();
    let value = mac.value.get(..rule.bytes).unwrap_or(&mac.value);
    match link.switch.hsm().verify_mac(rule.key, covered, value).await {
        Ok(Verdict::Right) => Ok(()),
        //= spec/pin-change.md#2.1
        //# On a link with a MAC key, a message whose MAC is wrong MUST be answered so (63) and MUST
        //# NOT reach the switch.
        Ok(Verdict::Wrong) => Err(Reason::MacWrong),
        Err(_) => Err(Reason::HsmUnavailable),
    }
}

/// The whole answer with its MAC, or nothing when the HSM cannot make one.
async fn seal<P: Parts>(
    link: &Link<P>,
    settings: &Settings,
    rule: MacRule,
    done: &Done,
) -> Option<BytesMut> {
    let mut out = BytesMut::with_capacity(512);
    let (map, script) = (&settings.map, done.script.as_ref());
    let written = done.reply.write(&settings.dialect, map, done.code, script, &mut out);
    let mut builder = written.ok()?;
    let covered = builder.begin_mac().ok()?;
    let mut mac = link.switch.hsm().mac(rule.key, covered).await.ok()?;
    mac.get_mut(rule.bytes..)?.fill(0);
    builder.finish_with_mac(&mac).ok()?;
    Some(out)
}

impl Done {
    /// What is still to be done to the session, now that the message has proved genuine.
    pub(super) fn event(&self) -> Option<Event> {
        self.event.filter(|_| self.declined.is_none())
    }

    fn take(&mut self, settings: &Settings, operation: Operation, answer: Result<Answer, Reason>) {
        match answer {
            Ok(answer) => {
                let reversal = operation == Operation::Reverse;
                self.code = settings.codes.outcome(&answer.outcome, reversal);
                self.declined = match answer.outcome {
                    Outcome::Approved(_) => None,
                    Outcome::Declined(declined) => Some(declined.reason),
                };
                self.script = answer.script;
                self.route = answer.route;
                self.repeated = answer.repeated;
                self.stages.follow(&answer.stages);
            }
            Err(reason) => {
                self.code = settings.codes.of(reason);
                self.declined = Some(reason);
            }
        }
    }

    /// Counts the answer, and logs it when it was slow or our fault.
    pub(super) fn count<P: Parts>(mut self, link: &Link<P>, settings: &Settings) {
        let now = link.switch.clock().now();
        self.stages.end(Stage::Encode, now);
        let took = now.saturating_sub(self.arrived);
        let operation = self.asked.map(|(operation, ..)| operation);
        link.meters.finished(
            Finished {
                operation,
                route: self.route,
                declined: self.declined,
                code: self.code.as_str(),
            },
            &self.stages,
            took.as_secs_f64(),
        );
        if settings.slow_request <= took {
            self.log_slow(link, took);
        }
        self.log(link);
    }

    fn log_slow<P: Parts>(&self, link: &Link<P>, took: Now) {
        let spent = |stage| self.stages.spent(stage).as_micros();
        let key = self.asked.map(|(_, key, _)| key.text().to_string());
        tracing::warn!(link = %link.name, key, took_us = took.as_micros(),
            decode_us = spent(Stage::Decode), dedupe_us = spent(Stage::Dedupe),
            route_us = spent(Stage::Route), hsm_us = spent(Stage::Hsm),
            commit_us = spent(Stage::Commit), host_us = spent(Stage::Host), encode_us = spent(Stage::Encode),
            "slow request");
    }

    /// One line a request, at debug when all is well: a busy switch must not drown its log.
    fn log<P: Parts>(&self, link: &Link<P>) {
        use crate::domain::outcome::Side;
        let Some((operation, key, stan)) = &self.asked else { return };
        let (operation, code) = (operation.label(), self.code.as_str());
        let reason = self.declined.map_or("approved", Reason::label);
        match self.declined.map(Reason::side) {
            Some(Side::Us | Side::Host) => tracing::warn!(link = %link.name, key = %key.text(),
                stan = stan.as_str(), operation, reason, code, "answered"),
            Some(Side::Caller) | None => tracing::debug!(link = %link.name, key = %key.text(),
                stan = stan.as_str(), operation, reason, code, repeated = self.repeated, "answered"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
