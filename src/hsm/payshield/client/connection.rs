//! One connection to a device: takes commands, writes them together, reads answers, ends waiters. One poll loop.
//!
//! One wake-up appends every waiting command to one buffer and writes once; it reads as many answers as the socket
//! holds. There is one timer. An answer that cannot be read ends the connection: the stream cannot be trusted any
//! more. **Never here:** connecting (`keeper`), which device a command goes to (`pool`).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::domain::clock::{Clock, Now};
use crate::hsm::key::CheckValue;
use crate::hsm::payshield::client::buffer::Buffer;
use crate::hsm::payshield::client::device::{Device, Ended, Job, Quarantine, Waiter};
use crate::hsm::payshield::client::mux::{Id, Match, Mux, Range};
use crate::hsm::payshield::client::reply::{self, Data, Reply};
use crate::hsm::payshield::client::session::{Action, Event, Session, Why};
use crate::hsm::payshield::client::settings::Settings;
use crate::hsm::payshield::wire::command::diagnose::{Diagnose, Diagnosed};
use crate::hsm::payshield::wire::message::Opening;
use crate::hsm::payshield::wire::{
    Class, Envelope, Request, Scratch, Settings as WireSettings, encode_request, frame,
};
use crate::iso8583::Charset;
use crate::limits::{HSM_BATCH_BYTES, HSM_UNWRITTEN_MAX, READ_BYTES};
use crate::peer::breaker::BreakerState;

/// The shortest time a timer is armed for.
const GRAIN: Duration = Duration::from_millis(1);

/// What every connection needs.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) why: Ending,
    /// It has taken commands.
    pub(super) served: bool,
}

/// Why a connection ended: its word is a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ending {
    #[error("the device could not be reached: {0}; check its address, and that it listens")]
    NotConnected(std::io::ErrorKind),
    #[error("the device closed the connection, or it broke: {0}")]
    Broken(std::io::ErrorKind),
    #[error(
        "an answer cannot be read: check header and ebcdic of [[hsm.device]], and hsm.pin_length, \
         against the device"
    )]
    Unreadable,
    #[error("the device has another LMK")]
    OtherLmk,
    #[error("the device has firmware that is not on the list")]
    OtherFirmware,
    #[error("the device did not answer in time")]
    Silent,
    #[error("the device says that it cannot work: see its console")]
    Unwell,
    #[error("a fault of our own ended the connection: see the log, and report it")]
    Panicked,
    #[error("we stop")]
    Stopped,
}

impl Ending {
    /// The label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::NotConnected(_) => "not_connected",
            Self::Broken(_) => "broken",
            Self::Unreadable => "unreadable",
            Self::OtherLmk => "other_lmk",
            Self::OtherFirmware => "other_firmware",
            Self::Silent => "silent",
            Self::Unwell => "unwell",
            Self::Panicked => "panic",
            Self::Stopped => "stopped",
        }
    }
}

impl From<Why> for Ending {
    fn from(why: Why) -> Self {
        match why {
            Why::OtherLmk => Self::OtherLmk,
            Why::OtherFirmware => Self::OtherFirmware,
            Why::Silent => Self::Silent,
            Why::Unwell => Self::Unwell,
            Why::Stopped => Self::Stopped,
        }
    }
}

/// Who waits for an answer.
enum Awaiter {
    /// A command of somebody's.
    Command([u8; 2], Waiter),
    /// Our own question.
    Probe,
}

/// Both directions of one connection.
struct Wire<'a> {
    shared: &'a Shared,
    device: &'a Arc<Device>,
    line: usize,
    form: WireSettings,
    session: Session,
    mux: Mux<Awaiter>,
    input: Buffer,
    output: Buffer,
    scratch: Scratch,
    deadline: Option<Now>,
    served: bool,
}

/// Serves one connection until it ends. Whatever waits for it then has been told. `next` counts headers.
pub(super) async fn run<IO>(
    shared: &Shared,
    device: &Arc<Device>,
    (line, next): (usize, &mut u64),
    mut io: IO,
    jobs: &mut mpsc::Receiver<Job>,
    stop: impl Future<Output = ()>,
) -> Closed
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(shared, device, line, *next);
    let mut stop = pin!(stop);
    let mut stopping = false;
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut armed = Now::ZERO;
    let mut started = false;
    let why = poll_fn(|cx| {
        let mut now = shared.clock.now();
        let begun = if started { Ok(()) } else { wire.event(now, Event::Connected) };
        started = true;
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
        }
        let stop = if stopping { wire.event(now, Event::Stop) } else { Ok(()) };
        if let Err(why) = begun.and(stop).and_then(|()| wire.tick(now)) {
            return Poll::Ready(why);
        }
        loop {
            let read = match wire.input.poll_read(Pin::new(&mut io), cx, READ_BYTES) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(Ending::Broken(error.kind())),
                Poll::Pending => false,
            };
            if read {
                now = shared.clock.now();
                if let Err(why) = wire.read_answers(now) {
                    return Poll::Ready(why);
                }
            }
            while wire.has_room()
                && let Poll::Ready(Some(job)) = jobs.poll_recv(cx)
            {
                wire.take(job, now);
                if HSM_BATCH_BYTES <= wire.output.left().len()
                    && let Poll::Ready(Err(error)) = wire.output.poll_write(Pin::new(&mut io), cx)
                {
                    return Poll::Ready(Ending::Broken(error.kind()));
                }
            }
            if let Poll::Ready(Err(error)) = wire.output.poll_write(Pin::new(&mut io), cx) {
                return Poll::Ready(Ending::Broken(error.kind()));
            }
            if stopping
                && wire.mux.len() == 0
                && let Err(why) = wire.event(now, Event::Idle)
            {
                return Poll::Ready(why);
            }
            if !read {
                break;
            }
        }
        arm(sleep.as_mut(), &mut armed, cx, now, wire.wake_at());
        Poll::Pending
    })
    .await;
    *next = wire.mux.next();
    let served = wire.served;
    wire.end();
    Closed { why, served }
}

/// Has the task woken at `at` at the latest. What is armed for an earlier time stays: it wakes once for nothing, which
/// is cheaper than to arm a timer with every command.
fn arm(mut sleep: Pin<&mut Sleep>, armed: &mut Now, cx: &mut Context<'_>, now: Now, at: Now) {
    if at < *armed || sleep.as_mut().poll(cx).is_ready() {
        // Never shorter than the timer's own grain: a deadline just missed does not spin. Never longer than a day.
        let wait = at.saturating_sub(now).clamp(GRAIN, Duration::from_hours(24));
        *armed = now + wait;
        sleep.set(tokio::time::sleep(wait));
        // Registers the task; a millisecond is not over yet.
        let _ = sleep.as_mut().poll(cx);
    }
}

/// Why a device that is well is kept out, and what that means to its connection.
fn misfit(diagnosed: &Diagnosed, settings: &Settings) -> Option<(Quarantine, Event)> {
    if shown(diagnosed) != Some(settings.lmk_check_value) {
        let shown = diagnosed.lmk_check.0.get(..6).unwrap_or_default();
        let why = Quarantine::OtherLmk { shown: shown.escape_ascii().to_string() };
        return Some((why, Event::OtherLmk));
    }
    let firmware = &diagnosed.firmware.0;
    let is_allowed = settings.firmware.is_empty()
        || settings.firmware.iter().any(|allowed| allowed.as_bytes() == firmware);
    let shown = firmware.escape_ascii().to_string();
    (!is_allowed).then_some((Quarantine::OtherFirmware { shown }, Event::OtherFirmware))
}

/// The check value that NC shows, in bytes.
fn shown(diagnosed: &Diagnosed) -> Option<CheckValue> {
    let mut value = CheckValue::default();
    hex::decode_to_slice(diagnosed.lmk_check.0.get(..6)?, &mut value).ok()?;
    Some(value)
}

impl<'a> Wire<'a> {
    fn new(shared: &'a Shared, device: &'a Arc<Device>, line: usize, next: u64) -> Self {
        let settings = &device.settings;
        let range = Range::of(settings.header, line, settings.connections);
        device.connected(line, true);
        Self {
            shared,
            device,
            line,
            form: settings.wire(shared.settings.pin_digits),
            session: Session::new(shared.settings.health),
            mux: Mux::new(range, settings.window, next),
            input: Buffer::default(),
            output: Buffer::default(),
            scratch: Scratch::default(),
            deadline: None,
            served: false,
        }
    }

    fn has_room(&self) -> bool {
        self.session.serves() && self.mux.has_room()
    }

    fn wake_at(&self) -> Now {
        self.deadline.unwrap_or(Now::MAX).min(self.session.wake_at())
    }

    /// Tells the session what happened, and does what it says.
    fn event(&mut self, now: Now, event: Event) -> Result<(), Ending> {
        let action = self.session.step(now, event);
        self.device.serves(self.line, self.session.serves());
        if event == Event::Well && self.device.breaker.state(now) != BreakerState::Closed {
            self.session.ask_by(now + self.device.settings.breaker.open);
        }
        match action {
            Action::Ask => self.ask(now),
            Action::Serve => {
                self.served = true;
                tracing::info!(hsm = %self.device.settings.name, line = self.line, "a device serves");
            }
            Action::Close(why) => return Err(why.into()),
            Action::Wait => {}
        }
        Ok(())
    }

    /// Looks at everything that time decides.
    fn tick(&mut self, now: Now) -> Result<(), Ending> {
        let mut silent = false;
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let device = self.device;
            let mut unanswered = false;
            self.deadline = self.mux.expire(now, |pending| {
                device.meters.failed("timeout");
                if device.breaker.unanswered(now) {
                    tracing::warn!(hsm = %device.settings.name,
                        "a device does not answer: it gets no commands until it does");
                }
                match pending.waiter {
                    Awaiter::Probe => silent = true,
                    Awaiter::Command(_, waiter) => {
                        unanswered = true;
                        waiter.end(Ended::TimedOut);
                    }
                }
            });
            if unanswered {
                self.event(now, Event::Unanswered)?;
            }
        }
        if silent {
            self.event(now, Event::Silence)?;
        }
        if self.session.wake_at() <= now {
            self.event(now, Event::Tick)?;
        }
        Ok(())
    }

    /// Puts a command into the stream, or ends it.
    fn take(&mut self, job: Job, now: Now) {
        let Job { body, command, made_at, waiter } = job;
        let time = self.device.settings.timeout;
        // One that has waited too long for its turn may still be done by another device. A peer that takes nothing
        // gets nothing more; behind an open breaker nothing is worth waiting for.
        let is_open = self.device.breaker.state(now) != BreakerState::Closed;
        if time <= now.saturating_sub(made_at)
            || HSM_UNWRITTEN_MAX <= self.output.left().len()
            || is_open
        {
            waiter.end(Ended::Broken);
            return;
        }
        match self.mux.insert(now, time, false, Awaiter::Command(command, waiter)) {
            Ok(id) => {
                self.device.meters.waited.record(now.saturating_sub(made_at));
                self.write(id, &body.0);
                if command == *b"BA" {
                    self.output.has_secret();
                }
                self.wait_until(now + time);
            }
            Err(Awaiter::Command(_, waiter)) => waiter.end(Ended::Broken),
            Err(Awaiter::Probe) => {}
        }
    }

    /// Sends NC.
    fn ask(&mut self, now: Now) {
        let time = self.device.settings.timeout;
        let Ok(id) = self.mux.insert(now, time, true, Awaiter::Probe) else { return };
        let mut body = BytesMut::with_capacity(8);
        let envelope = Envelope { lmk: self.device.settings.lmk, ..Envelope::default() };
        let request = Request::Diagnose(Diagnose {});
        encode_request(&envelope, &request, self.form.charset, &mut body);
        self.write(id, &body);
        self.wait_until(now + time);
    }

    fn write(&mut self, id: Id, body: &[u8]) {
        let header = self.form.header;
        // The pool refuses bodies that a frame cannot hold.
        let length = u16::try_from(header + body.len()).unwrap_or(u16::MAX);
        let room = self.output.grow(frame::LENGTH_BYTES + usize::from(length));
        if let Some((prefix, rest)) = room.split_first_chunk_mut::<{ frame::LENGTH_BYTES }>() {
            *prefix = length.to_be_bytes();
            if let Some((place, fields)) = rest.split_at_mut_checked(header) {
                Range::of(header, self.line, self.device.settings.connections).write(id, place);
                if self.form.charset != Charset::Ascii {
                    for byte in place {
                        *byte = self.form.charset.to_wire(*byte);
                    }
                }
                fields.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
            }
        }
    }

    fn wait_until(&mut self, deadline: Now) {
        self.deadline = Some(self.deadline.map_or(deadline, |earliest| earliest.min(deadline)));
    }

    /// Reads every whole frame there is.
    fn read_answers(&mut self, now: Now) -> Result<(), Ending> {
        loop {
            let left = self.input.left();
            let Some((length, rest)) = left.split_first_chunk::<{ frame::LENGTH_BYTES }>() else {
                return Ok(());
            };
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(body) = rest.get(..length) else { return Ok(()) };
            let opening = Opening::of(body, self.form, &mut self.scratch);
            let event = match self.mux.answer(opening.label) {
                Match::Matched(pending) => {
                    let after = now.saturating_sub(pending.sent_at);
                    let command = match &pending.waiter {
                        Awaiter::Command(command, _) => *command,
                        Awaiter::Probe => *b"NC",
                    };
                    let read = reply::read(command, &opening, self.form);
                    let Ok(reply) = read else {
                        if let Awaiter::Command(_, waiter) = pending.waiter {
                            waiter.end(Ended::Broken);
                        }
                        self.device.meters.failed("unreadable");
                        return Err(Ending::Unreadable);
                    };
                    if command == *b"NG" {
                        self.input.has_secret();
                        self.scratch.wipe();
                    }
                    self.device.meters.answered(command, reply.error, after);
                    self.answered(now, pending.waiter, reply)
                }
                Match::Late => {
                    self.device.meters.late.increment(1);
                    None
                }
                Match::Stranger => {
                    self.device.meters.strangers.increment(1);
                    None
                }
            };
            self.input.skip(frame::LENGTH_BYTES + length);
            if let Some(event) = event {
                self.event(now, event)?;
            }
        }
    }

    fn answered(&self, now: Now, waiter: Awaiter, reply: Reply) -> Option<Event> {
        let device = self.device;
        match waiter {
            Awaiter::Command(_, waiter) => {
                if reply.class() != Class::OutOfService {
                    device.breaker.answered(now);
                } else if device.breaker.unanswered(now) {
                    tracing::error!(hsm = %device.settings.name, code = %reply.error,
                        "a device says that it cannot work: it gets no commands for a while");
                }
                waiter.end(Ended::Answered(reply));
                None
            }
            Awaiter::Probe => {
                let Data::Diagnosed(diagnosed) = &reply.data else {
                    tracing::error!(hsm = %device.settings.name, code = %reply.error,
                        "a device does not pass its diagnosis (NC): see its console");
                    return Some(Event::Unwell);
                };
                device.has_firmware(&diagnosed.firmware.0);
                if let Some((why, event)) = misfit(diagnosed, &self.shared.settings) {
                    let text = why.to_string();
                    if device.quarantine(why) {
                        tracing::error!(hsm = %device.settings.name, why = text, "a device is quarantined");
                    }
                    return Some(event);
                }
                if device.quarantined().is_some_and(|why| why.is_of_diagnosis()) {
                    device.release();
                }
                device.meters.diagnosed.set(self.shared.clock.wall().unix_seconds());
                // A breaker that has just opened stays so for its time; then one right answer closes it.
                if device.breaker.state(now) != BreakerState::Open {
                    device.breaker.answered(now);
                }
                Some(Event::Well)
            }
        }
    }

    /// Tells whatever waits.
    fn end(&mut self) {
        let device = self.device;
        device.serves(self.line, false);
        device.connected(self.line, false);
        self.mux.broken(|pending| {
            if let Awaiter::Command(_, waiter) = pending.waiter {
                device.meters.failed("transport");
                waiter.end(Ended::Broken);
            }
        });
    }
}

impl Drop for Wire<'_> {
    /// Also after a panic.
    fn drop(&mut self) {
        self.end();
    }
}
