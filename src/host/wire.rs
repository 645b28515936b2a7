//! The bytes of one connection to a node: frames in and out, and the session and the mux between them.
//!
//! [`Wire`] is fed by the connection's loop and never waits. When it is dropped, by whatever end, everything that still
//! waits is told whether it was sent. **Never here:** reading a clock, choosing a node.

mod exchange;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_util::codec::Decoder;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::domain::clock::Now;
use crate::domain::request::TransactionKey;
use crate::host::connection::Ending;
use crate::host::job::{Ended, Job, Outgoing, Waiter};
use crate::host::keys::NewKeyError;
use crate::host::meters::Dropped;
use crate::host::mux::{Fate, Match, MatchKey, Mux, Pending};
use crate::host::network::{self, Code, NETWORK_CODE, SECURITY};
use crate::host::node::Node;
use crate::host::pool::Shared;
use crate::host::read::{self, Kind};
use crate::host::session::{Action, Event, Session};
use crate::host::wire::exchange::{AfterKey, Taking};
use crate::host::write::is_key;
use crate::iso8583::frame::{Frame, FrameCodec, Header};
use crate::iso8583::{Layout, Message, decode};
use crate::limits::{HOST_BATCH_BYTES, HOST_UNWRITTEN_MAX, READ_BYTES};

/// Codes of our own answers to a node's 0800.
const ACCEPTED: [u8; 2] = *b"00";
const NOT_SERVED: [u8; 2] = *b"12";
const NOT_NOW: [u8; 2] = *b"91";

/// Who waits for an answer.
enum Awaiter {
    /// A change or a reversal.
    Request(Waiter),
    /// Our own sign-on, sign-off or echo.
    Network(Code),
    /// A wish for a new zone key.
    NewKey(oneshot::Sender<Result<(), NewKeyError>>),
}

/// Both directions of one connection.
pub(super) struct Wire<'a> {
    shared: &'a Shared,
    node: &'a Arc<Node>,
    line: usize,
    codec: FrameCodec,
    session: Session,
    mux: Mux<Awaiter>,
    input: BytesMut,
    output: BytesMut,
    /// Bytes the socket has taken.
    handed: u64,
    /// Since when the node has taken none of `output`.
    stalled_since: Option<Now>,
    /// No later than the earliest deadline of the mux.
    deadline: Option<Now>,
    taking: Option<Taking<'a>>,
    served: bool,
}

impl<'a> Wire<'a> {
    /// A connection that has just come up.
    pub(super) fn new(shared: &'a Shared, node: &'a Arc<Node>, line: usize) -> Self {
        let settings = &shared.settings;
        node.connected(line, true);
        Self {
            shared,
            node,
            line,
            codec: FrameCodec::new(settings.framing),
            session: Session::new(settings.sign_on, settings.timers, shared.clock.now()),
            mux: Mux::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            handed: 0,
            stalled_since: None,
            deadline: None,
            taking: None,
            served: false,
        }
    }

    /// Whether it has ever taken requests.
    pub(super) fn has_served(&self) -> bool {
        self.served
    }

    /// Whether nothing is under way and everything is written.
    pub(super) fn is_idle(&self) -> bool {
        self.mux.is_empty() && self.output.is_empty() && self.taking.is_none()
    }

    /// Whether there is enough to write before more is taken.
    pub(super) fn is_batch(&self) -> bool {
        HOST_BATCH_BYTES <= self.output.len()
    }

    /// Tells the node's balance how much waits here.
    pub(super) fn note_pending(&self) {
        self.node.pending(self.line, self.mux.len());
    }

    /// When something is due.
    pub(super) fn wake_at(&self) -> Now {
        let stalled = self.stalled_since.map(|since| since + self.shared.settings.timers.frame);
        let others = [self.deadline, stalled].into_iter().flatten();
        others.fold(self.session.wake_at(), Now::min)
    }

    /// Looks at everything that time decides.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub(super) fn tick(&mut self, now: Now) -> Result<(), Ending> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let node = self.node;
            let patience = self.shared.settings.request_time / 4;
            self.deadline = self.mux.expire(now, |pending| {
                if let Awaiter::Request(waiter) = pending.waiter {
                    // A caller with little time left says nothing about the node.
                    let slow = patience <= now.saturating_sub(pending.sent_at);
                    node.meters.unanswered.increment(1);
                    if slow && node.breaker.unanswered(now) {
                        tracing::warn!(host = %node.name, "a node does not answer: it gets no requests for a while");
                    }
                    waiter.end(Ended::Unanswered);
                }
            });
        }
        let frame_time = self.shared.settings.timers.frame;
        if self.stalled_since.is_some_and(|since| frame_time <= now.saturating_sub(since)) {
            return Err(Ending::SlowReader);
        }
        if self.session.wake_at() <= now {
            self.event(now, Event::Tick)?;
        }
        Ok(())
    }

    /// Tells the session what happened, and does what it says.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub(super) fn event(&mut self, now: Now, event: Event) -> Result<Action, Ending> {
        let action = self.session.step(now, event);
        let takes = self.session.takes_requests();
        if takes && !self.served {
            self.served = true;
            tracing::info!(host = %self.node.name, "a node takes requests");
        }
        self.node.takes(self.line, takes);
        match action {
            Action::SendSignOn => self.ask(now, Code::SignOn, Awaiter::Network(Code::SignOn)),
            Action::SendSignOff => self.ask(now, Code::SignOff, Awaiter::Network(Code::SignOff)),
            Action::SendEcho => self.ask(now, Code::Echo, Awaiter::Network(Code::Echo)),
            Action::Close(why) => return Err(why.into()),
            Action::Accept | Action::Refuse | Action::Wait => {}
        }
        Ok(action)
    }

    /// Reads once.
    pub(super) fn poll_read<IO: AsyncRead>(
        &mut self,
        io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.input.reserve(READ_BYTES);
        if ready!(poll_read_buf(io, cx, &mut self.input))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what there is.
    pub(super) fn poll_write<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
        now: Now,
    ) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match poll_write_buf(io.as_mut(), cx, &mut self.output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    self.handed += u64::try_from(bytes).unwrap_or(0);
                    self.stalled_since = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.stalled_since.get_or_insert(now);
                    return Poll::Pending;
                }
            }
        }
        io.poll_flush(cx)
    }

    /// Puts a job into the stream, or ends it as not sent.
    pub(super) fn take(&mut self, job: Job, now: Now, layout: &mut Layout) {
        if !self.session.takes_requests() {
            return job.refuse();
        }
        match job {
            Job::NewKey(tell) if self.taking.is_some() => {
                let _ = tell.send(Err(NewKeyError::Busy));
            }
            Job::NewKey(tell) => self.ask(now, Code::Key, Awaiter::NewKey(tell)),
            Job::Send(outgoing) => self.send(outgoing, now, layout),
        }
    }

    fn send(&mut self, outgoing: Outgoing, now: Now, layout: &mut Layout) {
        let Outgoing { message, switch_key, deadline, mut waiter } = outgoing;
        // What is put into the stream may leave later, when the node reads again: it is sent from then on.
        if deadline <= now || HOST_UNWRITTEN_MAX <= self.output.len() {
            return waiter.end(Ended::Unsent);
        }
        let settings = &self.shared.settings;
        let read = decode(&settings.dialect, &message, layout).ok();
        let Some(key) = read.and_then(|read| MatchKey::of(&read, &settings.match_fields)) else {
            tracing::error!(host = %self.node.name, "a message of ours cannot be read: it is not sent");
            return waiter.end(Ended::Unsent);
        };
        waiter.place.used = true;
        let start = self.queued();
        let pending = Pending {
            switch_key: Some(switch_key),
            start,
            sent_at: now,
            deadline,
            waiter: Awaiter::Request(waiter),
        };
        if let Err(duplicate) = self.mux.insert(key, pending) {
            return end(duplicate.0.waiter, Ended::Unsent);
        }
        let mark = self.codec.begin(&mut self.output, None);
        self.output.extend_from_slice(&message);
        if let Err(error) = self.codec.end(&mut self.output, mark) {
            tracing::error!(host = %self.node.name, %error, "a message does not fit its frame: it is not sent");
            if let Match::Matched(pending) = self.mux.answer(&key, |_| true) {
                end(pending.waiter, Ended::Unsent);
            }
            return;
        }
        self.wait_until(deadline);
    }

    /// Bytes of the stream so far, written or not.
    fn queued(&self) -> u64 {
        self.handed + u64::try_from(self.output.len()).unwrap_or(u64::MAX)
    }

    fn wait_until(&mut self, deadline: Now) {
        self.deadline = Some(self.deadline.map_or(deadline, |earliest| earliest.min(deadline)));
    }

    /// Sends an 0800 of our own.
    fn ask(&mut self, now: Now, code: Code, waiter: Awaiter) {
        let Shared { settings, clock, stans, .. } = self.shared;
        let (stan, at, start) = (stans.take(), clock.wall(), self.queued());
        let mark = self.codec.begin(&mut self.output, None);
        let written = network::request(&settings.dialect, code, stan, at, &mut self.output);
        if written.is_ok() {
            let _ = self.codec.end(&mut self.output, mark);
        } else {
            self.codec.cancel(&mut self.output, mark);
        }
        let deadline = now + settings.timers.answer;
        let pending = Pending { switch_key: None, start, sent_at: now, deadline, waiter };
        let Some(key) = MatchKey::network(&stan.digits(), &code.digits()) else { return };
        match self.mux.insert(key, pending) {
            Ok(()) => self.wait_until(deadline),
            Err(duplicate) => end(duplicate.0.waiter, Ended::Unsent),
        }
    }

    /// Reads every whole frame there is.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub(super) fn read_frames(&mut self, now: Now, layout: &mut Layout) -> Result<(), Ending> {
        loop {
            match self.codec.decode(&mut self.input).map_err(Ending::Framing)? {
                Some(Frame::Message { message, header }) => {
                    self.message(&message, header, now, layout)?;
                }
                Some(Frame::Poll(_)) => {
                    self.codec.poll(&mut self.output);
                    self.event(now, Event::Heard)?;
                }
                None => {
                    if !self.input.is_empty() {
                        self.event(now, Event::Partial)?;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn message(
        &mut self,
        frame: &Bytes,
        header: Header,
        now: Now,
        layout: &mut Layout,
    ) -> Result<(), Ending> {
        let message = match decode(&self.shared.settings.dialect, frame, layout) {
            Ok(message) => message,
            Err(error) => {
                tracing::info!(host = %self.node.name, %error, "a message of a node is dropped");
                return self.drop_message(now, Dropped::Unreadable);
            }
        };
        match read::kind(message.mti()) {
            Kind::Answer => self.answered(&message, now),
            Kind::Network => self.asked(&message, frame, header, now),
            Kind::Other => self.drop_message(now, Dropped::Unexpected),
        }
    }

    fn drop_message(&mut self, now: Now, why: Dropped) -> Result<(), Ending> {
        self.node.meters.dropped(why);
        self.event(now, Event::Heard).map(|_| ())
    }

    /// An answer to something of ours.
    fn answered(&mut self, message: &Message<'_>, now: Now) -> Result<(), Ending> {
        let settings = &self.shared.settings;
        let Some(code) = read::code(message) else {
            return self.drop_message(now, Dropped::NoCode);
        };
        let switch_key = if message.has(127) { message.sub(127, &[2]) } else { None };
        let carries = |key: &TransactionKey| {
            switch_key.as_ref().is_none_or(|sub| sub.text().is_some_and(|text| is_key(&text, key)))
        };
        let found = match MatchKey::of(message, &settings.match_fields) {
            Some(key) => self.mux.answer(&key, carries),
            None => Match::Stranger,
        };
        let pending = match found {
            Match::Matched(pending) => pending,
            Match::Late(key) => {
                self.node.meters.late.increment(1);
                let key = key.as_ref().map(|key| key.text().to_string()).unwrap_or_default();
                let approves = settings.approved.contains(&code);
                tracing::warn!(host = %self.node.name, key, code = code.as_str(), approves,
                    "an answer came after its request was given up: its reversal is under way");
                return self.event(now, Event::Heard).map(|_| ());
            }
            Match::Stranger => return self.drop_message(now, Dropped::Stranger),
        };
        let accepted = settings.approved.contains(&code);
        let event = match pending.waiter {
            Awaiter::Request(waiter) => {
                let node = self.node;
                node.meters.seconds.record(now.saturating_sub(pending.sent_at));
                node.answered(now);
                waiter.end(Ended::Answered(read::answer(settings, node.id, code)));
                Event::Heard
            }
            Awaiter::Network(Code::SignOn) if accepted => Event::SignOnAccepted,
            Awaiter::Network(Code::SignOn) => Event::SignOnRefused,
            Awaiter::Network(Code::SignOff) => Event::SignOffAnswered,
            Awaiter::Network(Code::Echo | Code::Key) => Event::EchoAnswered,
            Awaiter::NewKey(tell) => {
                self.key_given(message, accepted.then_some(()).ok_or(code), tell);
                Event::Heard
            }
        };
        self.event(now, event).map(|_| ())
    }

    /// An 0800 of the node's.
    fn asked(
        &mut self,
        message: &Message<'_>,
        frame: &Bytes,
        header: Header,
        now: Now,
    ) -> Result<(), Ending> {
        let code = message.text(NETWORK_CODE).and_then(|digits| Code::of(&digits));
        let event = match code {
            Some(Code::SignOn) => Event::PeerSignOn,
            Some(Code::SignOff) => Event::PeerSignOff,
            Some(Code::Echo) => Event::PeerEcho,
            Some(Code::Key) | None => Event::Heard,
        };
        let action = self.event(now, event)?;
        match (code, message.binary(SECURITY)) {
            (Some(Code::Key), Some(_)) if self.taking.is_some() => {
                self.answer(message, &header, NOT_NOW);
            }
            (Some(Code::Key), Some(field)) => {
                let taken = self.shared.taker.take(&field);
                let then = AfterKey::Answer(frame.clone(), header);
                self.taking = Some(Taking { taken, then });
            }
            // We give no keys, and serve no other network messages.
            (Some(Code::Key) | None, _) => self.answer(message, &header, NOT_SERVED),
            (Some(_), _) if action == Action::Accept => self.answer(message, &header, ACCEPTED),
            (Some(_), _) => self.answer(message, &header, NOT_NOW),
        }
        Ok(())
    }

    /// Answers an 0800.
    fn answer(&mut self, message: &Message<'_>, header: &Header, code: [u8; 2]) {
        let mark = self.codec.begin(&mut self.output, Some(header));
        let dialect = &self.shared.settings.dialect;
        if network::answer(dialect, message, &code, &mut self.output).is_ok() {
            let _ = self.codec.end(&mut self.output, mark);
        } else {
            self.codec.cancel(&mut self.output, mark);
        }
    }
}

fn end(waiter: Awaiter, ended: Ended) {
    match waiter {
        Awaiter::Request(waiter) => waiter.end(ended),
        Awaiter::NewKey(tell) => {
            let _ = tell.send(Err(NewKeyError::Unanswered));
        }
        Awaiter::Network(_) => {}
    }
}

/// However the connection ends: what waits is told whether it was sent.
impl Drop for Wire<'_> {
    fn drop(&mut self) {
        let node = self.node;
        // First, so that nobody who is told comes back here.
        node.takes(self.line, false);
        node.connected(self.line, false);
        let mut lost = false;
        self.mux.broken(self.handed, |pending, fate| {
            let sent = fate == Fate::Sent;
            if sent && matches!(pending.waiter, Awaiter::Request(_)) {
                lost = true;
                node.meters.unanswered.increment(1);
            }
            end(pending.waiter, if sent { Ended::Unanswered } else { Ended::Unsent });
        });
        // One break is one failure, however many requests were on it.
        if lost {
            let _ = node.breaker.unanswered(self.shared.clock.now());
        }
    }
}
