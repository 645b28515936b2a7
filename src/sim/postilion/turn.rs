//! One connection's turn: everything that has arrived or has come due is answered into one buffer.
//!
//! A [`Session`] knows no socket: bytes in, bytes out, and a [`Step`] that says what else must happen. **Never here:**
//! waiting. Where next: `connection` for the socket, `core` for what an answer is.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::codec::Decoder as _;

use crate::domain::clock::{Clock as _, Now};
use crate::iso8583::frame::{Frame, FrameCodec};
use crate::iso8583::{Dialect, EncodeError, Layout, Message, decode};
use crate::limits::SIM_HELD_MAX;
use crate::sim::postilion::ask::{self, Kind};
use crate::sim::postilion::core::{Core, Node, Push, Pushed};
use crate::sim::postilion::event::Code;
use crate::sim::postilion::fault::{Dice, Fault, FaultKind};
use crate::sim::postilion::push;
use crate::sim::postilion::word::Word;
use crate::sim::postilion::zone::ZoneKey;

/// What else a turn asks for, once what it wrote has been sent.
#[derive(Debug)]
pub(super) enum Step {
    /// Close the connection.
    Close,
    /// Send these bytes one by one over so many milliseconds, then take another turn.
    Slow { bytes: BytesMut, ms: u64 },
    /// Wait for more.
    Wait,
}

/// Something held back until its time.
#[derive(Debug)]
struct Held {
    due: Now,
    order: u64,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Answer(BytesMut),
    Request(Bytes, Option<Fault>),
}

impl Ord for Held {
    /// The earliest is the greatest, as a heap gives it out first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Held {}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

/// A key that was pushed and not answered yet.
#[derive(Debug)]
struct Waiting {
    stan: Word<6>,
    key: ZoneKey,
    push: Push,
}

/// One connection without its socket.
#[derive(Debug)]
pub(super) struct Session<'d> {
    dialect: &'d Dialect,
    codec: FrameCodec,
    /// Index of its node.
    node: usize,
    /// Number of the connection.
    id: u64,
    pushes: mpsc::Sender<Push>,
    signed_on: bool,
    held: BinaryHeap<Held>,
    order: u64,
    waiting: Option<Waiting>,
}

impl<'d> Session<'d> {
    pub(super) fn new(
        dialect: &'d Dialect,
        codec: FrameCodec,
        node: usize,
        id: u64,
        pushes: mpsc::Sender<Push>,
    ) -> Self {
        let held = BinaryHeap::new();
        let (signed_on, order, waiting) = (false, 0, None);
        Self { dialect, codec, node, id, pushes, signed_on, held, order, waiting }
    }

    /// Whether there is room for more; else nothing should be read.
    pub(super) fn has_room(&self) -> bool {
        self.held.len() < SIM_HELD_MAX
    }

    /// When the next thing comes due.
    pub(super) fn next_due(&self) -> Option<Now> {
        self.held.peek().map(|held| held.due)
    }

    /// Answers what is due and what `input` holds into `out`. What it decided is in the file when it returns.
    pub(super) fn turn(
        &mut self,
        core: &mut Core,
        layout: &mut Layout,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Step {
        let step = self.work(core, layout, input, out);
        if core.commit().is_err() {
            // Not in the file, so not answered.
            out.clear();
            return Step::Close;
        }
        step
    }

    fn work(
        &mut self,
        core: &mut Core,
        layout: &mut Layout,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Step {
        if !self.held.is_empty() {
            let now = core.now();
            while self.next_due().is_some_and(|due| due <= now) {
                let step = match self.held.pop().map(|held| held.work) {
                    Some(Work::Answer(bytes)) => {
                        out.extend_from_slice(&bytes);
                        None
                    }
                    Some(Work::Request(bytes, fault)) => {
                        let message = decode(self.dialect, &bytes, layout).ok();
                        message.and_then(|message| self.process(core, &message, fault, out))
                    }
                    None => None,
                };
                if let Some(step) = step {
                    return step;
                }
            }
        }
        while self.has_room() {
            let step = match self.codec.decode(input) {
                Ok(Some(Frame::Message { message, .. })) => {
                    self.message(core, layout, &message, out)
                }
                Ok(Some(Frame::Poll(_))) => {
                    self.codec.poll(out);
                    None
                }
                Ok(None) => return Step::Wait,
                Err(_) => Some(self.bad(core)),
            };
            if let Some(step) = step {
                return step;
            }
        }
        Step::Wait
    }

    /// Counts what cannot be read; the connection has lost its place, or its peer speaks something else.
    fn bad(&self, core: &mut Core) -> Step {
        if let Some(node) = core.node(self.node) {
            node.counters.bad += 1;
        }
        Step::Close
    }

    fn message(
        &mut self,
        core: &mut Core,
        layout: &mut Layout,
        bytes: &Bytes,
        out: &mut BytesMut,
    ) -> Option<Step> {
        let Ok(message) = decode(self.dialect, bytes, layout) else {
            return Some(self.bad(core));
        };
        let clock = core.clock;
        let sign_on_needed = core.sign_on_needed;
        let node = core.node(self.node)?;
        node.counters.received.add(message.mti());
        let kind = Kind::of(message.mti());
        match kind {
            Kind::Request | Kind::Reversal if sign_on_needed && !self.signed_on => {
                self.answer(node, &message, Code::UNAVAILABLE, None, out);
                None
            }
            Kind::Request | Kind::Reversal => {
                let now = || clock.now();
                let fault = core.fault(&message, self.node);
                let node = core.node(self.node)?;
                if fault.is_some_and(|fault| fault.kind == FaultKind::CloseBefore) {
                    node.counters.faults.add(FaultKind::CloseBefore);
                    return Some(Step::Close);
                }
                let mut due = node.turn_of(now);
                let delay = fault.filter(|fault| fault.kind == FaultKind::Delay);
                if let Some(delay) = delay {
                    node.counters.faults.add(FaultKind::Delay);
                    due = Some(due.unwrap_or_else(now) + Duration::from_millis(delay.ms));
                }
                let fault = fault.filter(|_| delay.is_none());
                if let Some(due) = due.filter(|due| now() < *due) {
                    self.hold(due, Work::Request(bytes.clone(), fault));
                    return None;
                }
                self.process(core, &message, fault, out)
            }
            Kind::Network => self.network(core, &message, out),
            Kind::NetworkAnswer => {
                self.pushed(core, &message);
                None
            }
            Kind::Answer => {
                node.counters.unasked += 1;
                None
            }
            Kind::Other => {
                self.answer(node, &message, Code::NOT_SUPPORTED, None, out);
                None
            }
        }
    }

    fn hold(&mut self, due: Now, work: Work) {
        self.order += 1;
        self.held.push(Held { due, order: self.order, work });
    }

    /// Processes a change or reversal, and does its fault.
    fn process(
        &mut self,
        core: &mut Core,
        message: &Message<'_>,
        fault: Option<Fault>,
        out: &mut BytesMut,
    ) -> Option<Step> {
        let fixed = fault.filter(|fault| fault.kind == FaultKind::FixedCode);
        let verdict = match (fixed, Kind::of(message.mti())) {
            (Some(fault), _) => fault.code,
            (None, Kind::Reversal) => core.reversal(message, self.node),
            (None, _) => core.change(message, self.node),
        };
        let clock = core.clock;
        let node = core.node(self.node)?;
        let Some(fault) = fault else {
            self.answer(node, message, verdict, None, out);
            return None;
        };
        node.counters.faults.add(fault.kind);
        match fault.kind {
            FaultKind::AnswerLate => {
                let mut bytes = BytesMut::new();
                self.answer(node, message, verdict, None, &mut bytes);
                self.hold(clock.now() + Duration::from_millis(fault.ms), Work::Answer(bytes));
            }
            FaultKind::CloseAfter => return Some(Step::Close),
            FaultKind::DropAnswer => {}
            FaultKind::DuplicateAnswer => {
                self.answer(node, message, verdict, None, out);
                self.answer(node, message, verdict, None, out);
            }
            FaultKind::GarbageBytes => {
                // A length no frame of ours may have, then noise.
                out.put_slice(&[0xFF; 2]);
                noise(fault.noise, out);
            }
            FaultKind::GarbageFrame => {
                let mark = self.codec.begin(out, None);
                noise(fault.noise, out);
                // 32 bytes are a frame of any framing's.
                let _ = self.codec.end(out, mark);
            }
            FaultKind::SlowBytes => {
                let mut bytes = BytesMut::new();
                self.answer(node, message, verdict, None, &mut bytes);
                return Some(Step::Slow { bytes, ms: fault.ms });
            }
            FaultKind::WrongStan => {
                self.answer(node, message, verdict, Some(other_stan(ask::stan(message))), out);
            }
            FaultKind::CloseBefore
            | FaultKind::Delay
            | FaultKind::FixedCode
            | FaultKind::RefuseSignOn
            | FaultKind::WrongCheckValue => self.answer(node, message, verdict, None, out),
        }
        None
    }

    /// Writes one answer.
    fn answer(
        &self,
        node: &mut Node,
        message: &Message<'_>,
        code: Code,
        stan: Option<Word<6>>,
        out: &mut BytesMut,
    ) {
        self.frame(node, code, out, |out| ask::write_answer(message, code, stan, out));
    }

    fn frame(
        &self,
        node: &mut Node,
        code: Code,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) {
        let mark = self.codec.begin(out, None);
        if write(out).is_err() {
            self.codec.cancel(out, mark);
            node.counters.bad += 1;
        } else if self.codec.end(out, mark).is_ok() {
            node.counters.answered.add(code);
        }
    }

    fn network(
        &mut self,
        core: &mut Core,
        message: &Message<'_>,
        out: &mut BytesMut,
    ) -> Option<Step> {
        let mut key = None;
        let node = core.node(self.node)?;
        let verdict = match ask::network_code(message).as_bytes() {
            b"001" if node.chance.of_session(FaultKind::RefuseSignOn) => {
                node.counters.faults.add(FaultKind::RefuseSignOn);
                Code::UNAVAILABLE
            }
            b"001" => {
                self.sign_off(node);
                self.signed_on = true;
                node.lines.push((self.id, self.pushes.clone()));
                Code::APPROVED
            }
            b"002" => {
                self.sign_off(node);
                Code::APPROVED
            }
            b"301" => Code::APPROVED,
            b"101" | b"161" if !message.has(53) => {
                let wrong = node.chance.of_session(FaultKind::WrongCheckValue);
                if wrong {
                    node.counters.faults.add(FaultKind::WrongCheckValue);
                }
                let new = core.new_key()?;
                key = Some(core.field_53(&new, wrong));
                if !wrong {
                    core.take_key(new);
                }
                Code::APPROVED
            }
            _ => Code::NOT_SUPPORTED,
        };
        let node = core.node(self.node)?;
        self.frame(node, verdict, out, |out| {
            ask::write_network(message, verdict, key.as_ref(), out)
        });
        None
    }

    fn sign_off(&mut self, node: &mut Node) {
        self.signed_on = false;
        node.lines.retain(|(id, _)| *id != self.id);
    }

    /// Hands out a new key: writes the 0800. Its answer puts the key in force.
    pub(super) fn push(&mut self, core: &mut Core, push: Push, out: &mut BytesMut) {
        let Some(key) = core.new_key() else { return };
        let field = core.field_53(&key, push.wrong_check_value);
        self.order += 1;
        let stan = push::stan(self.order);
        let mark = self.codec.begin(out, None);
        if push::write(self.dialect, &core.clock, stan, &field, out).is_err() {
            self.codec.cancel(out, mark);
        } else if self.codec.end(out, mark).is_ok() {
            self.waiting = Some(Waiting { stan, key, push });
        }
    }

    fn pushed(&mut self, core: &mut Core, message: &Message<'_>) {
        let ours = self.waiting.take_if(|waiting| waiting.stan == ask::stan(message));
        let Some(Waiting { key, push, .. }) = ours else {
            if let Some(node) = core.node(self.node) {
                node.counters.unasked += 1;
            }
            return;
        };
        let verdict = ask::response_code(message);
        let check_value = key.check_value();
        if verdict == Code::APPROVED {
            core.take_key(key);
        }
        // Whoever asked may have given up.
        let _ = push.done.send(Pushed { code: verdict, check_value });
    }
}

/// Thirty-two bytes of noise.
fn noise(seed: u64, out: &mut BytesMut) {
    let mut dice = Dice::new(seed, 0);
    for _ in 0..4 {
        out.put_u64(dice.throw());
    }
}

/// Half the room away, so that it is hardly one in use.
fn other_stan(stan: Word<6>) -> Word<6> {
    let number: u32 = stan.as_str().parse().unwrap_or(0);
    push::stan(u64::from(number) + 500_000)
}
