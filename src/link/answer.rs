//! The bytes of one connection: frames in, answers out, and the session between them.
//!
//! [`Wire`] owns both buffers. It is fed by the connection's loop and never waits. **Never here:** awaiting anything,
//! deciding anything about a PIN.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::Decoder;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::domain::clock::{Clock, Now};
use crate::domain::outcome::Reason;
use crate::iso8583::frame::{Frame, FrameCodec, Header};
use crate::iso8583::{Builder, Layout, Message, decode};
use crate::limits::{ANSWER_BYTES_MAX, READ_BYTES};
use crate::link::job::{Done, Job, ReceivedMac, Work};
use crate::link::listener::{InFlight, Link};
use crate::link::map::Class;
use crate::link::meters::Rejected;
use crate::link::reply::Reply;
use crate::link::session::{Action, Event, Session};
use crate::link::settings::Settings;
use crate::link::translate::{Asked, translate};
use crate::switch::{Parts, Stage, Stages};

/// Both directions of one connection.
pub(super) struct Wire {
    settings: Arc<Settings>,
    codec: FrameCodec,
    session: Session,
    layout: Layout,
    input: BytesMut,
    output: BytesMut,
    // Since when the peer has not taken what we want to write.
    stalled_since: Option<Now>,
    end_of_stream: bool,
    draining: bool,
}

impl Wire {
    /// A connection that has just been accepted.
    pub(super) fn new(settings: Arc<Settings>, now: Now) -> Self {
        Self {
            codec: FrameCodec::new(settings.framing),
            session: Session::new(settings.require_sign_on, settings.timers, now),
            layout: Layout::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            stalled_since: None,
            end_of_stream: false,
            draining: false,
            settings,
        }
    }

    /// Takes no more work from here on.
    pub(super) fn drain(&mut self, now: Now) {
        self.draining = true;
        let _ = self.session.step(now, Event::Drain);
    }

    /// Looks at the timers, and takes over changed settings.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub(super) fn tick(&mut self, settings: Arc<Settings>, now: Now) -> Result<(), Closed> {
        self.settings = settings;
        if self.output.is_empty() {
            self.stalled_since = None;
        } else {
            let since = *self.stalled_since.get_or_insert(now);
            if self.settings.timers.frame <= now.saturating_sub(since) {
                return Err(Closed::Because(Rejected::SlowReader));
            }
        }
        match self.session.step(now, Event::Tick) {
            // We are the ones who do not read: its rest may wait in the socket.
            Action::CloseHalfFrame if ANSWER_BYTES_MAX <= self.output.len() => Ok(()),
            Action::CloseHalfFrame => Err(Closed::Because(Rejected::HalfFrame)),
            Action::CloseIdle => Err(Closed::Quietly),
            Action::Accept | Action::Refuse | Action::Serve | Action::Wait => Ok(()),
        }
    }

    /// Reads once. `true` when bytes came. Nothing is read while the peer leaves too many answers untaken.
    pub(super) fn poll_read<IO: AsyncRead>(
        &mut self,
        io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.end_of_stream || ANSWER_BYTES_MAX <= self.output.len() {
            return Poll::Pending;
        }
        self.input.reserve(READ_BYTES);
        let read = ready!(poll_read_buf(io, cx, &mut self.input))?;
        self.end_of_stream = read == 0;
        Poll::Ready(Ok(0 < read))
    }

    /// The stream has lost its place: what was read before is answered, then the connection ends.
    pub(super) fn read_no_more(&mut self) {
        self.end_of_stream = true;
        self.input.clear();
    }

    /// Writes what there is.
    pub(super) fn poll_write<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            if ready!(poll_write_buf(io.as_mut(), cx, &mut self.output))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.stalled_since = None;
        }
        io.poll_flush(cx)
    }

    /// Whether nothing is left to do: the peer is done, or we drain, and every answer is written.
    pub(super) fn finished(&self, no_work: bool) -> bool {
        (self.end_of_stream || self.draining) && no_work && self.output.is_empty()
    }

    /// The next message of the buffer as a job, `None` when no whole frame is left.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub(super) fn next_job<'l, P: Parts>(
        &mut self,
        link: &'l Link<P>,
        arrived: Now,
    ) -> Result<Option<Job<'l>>, Closed> {
        loop {
            let frame = self.codec.decode(&mut self.input).map_err(|error| {
                tracing::info!(link = %link.name, %error, "frame refused");
                Closed::Because(Rejected::Framing(error.why()))
            })?;
            match frame {
                Some(Frame::Message { message, header }) => {
                    if let Some(job) = self.job(link, &message, header, arrived)? {
                        return Ok(Some(job));
                    }
                }
                Some(Frame::Poll(_)) => {
                    let _ = self.session.step(arrived, Event::Echo);
                    self.codec.poll(&mut self.output);
                }
                None => {
                    if !self.input.is_empty() {
                        let _ = self.session.step(arrived, Event::Partial);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Reads one message and says what becomes of it; `None` when it gets no answer.
    fn job<'l, P: Parts>(
        &mut self,
        link: &'l Link<P>,
        frame: &Bytes,
        header: Header,
        arrived: Now,
    ) -> Result<Option<Job<'l>>, Closed> {
        let settings = &*self.settings;
        let map = &settings.map;
        let (message, asked) = match decode(&settings.dialect, frame, &mut self.layout) {
            Ok(message) => {
                let asked = translate(settings, &message, arrived);
                (message, asked)
            }
            Err(error) => {
                tracing::info!(link = %link.name, %error, "message refused");
                let partial = Message::partial(&settings.dialect, frame, &self.layout);
                //= spec/pin-change.md#1.1
                //# A message that breaks a rule of its dialect MUST be answered as a format error
                //# (30) when it can be read far enough to be answered, and MUST close its
                //# connection when it cannot.
                if partial.present().is_empty() && error.field < 2 {
                    return Err(Closed::Because(Rejected::Unreadable));
                }
                let asked = match map.class(partial.mti()) {
                    Class::Network | Class::Request | Class::Reversal => {
                        Asked::Refused(Reason::FormatError)
                    }
                    Class::Response => Asked::Unexpected,
                    Class::Other => Asked::Refused(Reason::NotSupported),
                };
                (partial, asked)
            }
        };
        let network = map.class(message.mti()) == Class::Network;
        let refused =
            |reason| Work::Answer { code: settings.codes.of(reason), declined: Some(reason) };
        let mut event = None;
        let work = match asked {
            Asked::Session(asked) => {
                // With a MAC to check it takes effect with its answer.
                let unproven = settings.mac.is_some() && message.mac().is_some();
                event = Some(asked).filter(|_| unproven && !self.draining);
                let step = if event.is_some() { Event::Echo } else { asked };
                match self.session.step(arrived, step) {
                    Action::Accept => {
                        Work::Answer { code: settings.codes.network(), declined: None }
                    }
                    _ => refused(Reason::Unavailable),
                }
            }
            // Who may not ask may not change the key either.
            Asked::KeyChange(key) => {
                admitted(&mut self.session, link, settings, arrived, Work::Exchange(key))
            }
            Asked::Switch(request) => {
                admitted(&mut self.session, link, settings, arrived, Work::Ask(request))
            }
            Asked::Refused(reason) => {
                let _ = self.session.step(arrived, Event::Echo);
                refused(reason)
            }
            //= spec/pin-change.md#1.5
            //# A response that nobody waits for MUST be counted and MUST NOT be answered.
            Asked::Unexpected => {
                let _ = self.session.step(arrived, Event::Echo);
                link.meters.rejected(Rejected::Unexpected);
                return Ok(None);
            }
        };
        let also = network.then_some(map.network_code);
        let mac = message.mac().and_then(|mac| {
            let value = message.binary(mac.field)?;
            Some(ReceivedMac {
                covered: mac.covered.len(),
                value: value.as_bytes().try_into().ok()?,
            })
        });
        let mut stages = Stages::start(arrived);
        stages.end(Stage::Decode, link.switch.clock().now());
        let reply = Reply::to(&message, frame.clone(), header, &map.echo_fields, also);
        let place = InFlight::enter(link);
        Ok(Some(Job { reply, work, mac, network, event, place, arrived, stages }))
    }

    /// Appends a finished answer to what will be written.
    pub(super) fn answer<P: Parts>(&mut self, link: &Link<P>, done: Done) {
        if let Some(event) = done.event() {
            let _ = self.session.step(link.switch.clock().now(), event);
        }
        let settings = &*self.settings;
        let mark = self.codec.begin(&mut self.output, Some(done.reply.header()));
        let written = if let Some(message) = &done.sealed {
            self.output.extend_from_slice(message);
            true
        } else {
            let (map, script) = (&settings.map, done.script.as_ref());
            done.reply
                .write(&settings.dialect, map, done.code, script, &mut self.output)
                .map(Builder::finish)
                .is_ok()
        };
        if written && !done.unsealable {
            if let Err(error) = self.codec.end(&mut self.output, mark) {
                tracing::error!(link = %link.name, %error, "an answer does not fit its frame");
            }
        } else {
            self.codec.cancel(&mut self.output, mark);
            tracing::error!(link = %link.name, "an answer could not be built");
        }
        done.count(link, settings);
    }
}

/// The work, if the session is signed on and the link has room for it; else its refusal.
fn admitted<P: Parts>(
    session: &mut Session,
    link: &Link<P>,
    settings: &Settings,
    arrived: Now,
    work: Work,
) -> Work {
    match session.step(arrived, Event::Request) {
        Action::Serve if link.has_room(settings) => return work,
        //= spec/pin-change.md#3.3
        //# A request beyond its link's bound of requests in flight MUST be refused at once
        //# (91) and MUST be counted.
        Action::Serve => link.meters.shed.increment(1),
        _ => {}
    }
    Work::Answer {
        code: settings.codes.of(Reason::Unavailable),
        declined: Some(Reason::Unavailable),
    }
}

/// Why a connection ends before its peer wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Counted under this word.
    Because(Rejected),
    /// Idle: nothing wrong, nothing counted.
    Quietly,
}
