//! [`Line`]: one connection's requests in flight, what is to be written, and answers matched to requests.
//!
//! Answers are matched by trace number without parsing them: where it and the response code stand is learned from the
//! codec once for each form of answer, and checked by the codec for the first ones. **Never here:** sockets, clocks.

use std::collections::VecDeque;
use std::ops::Range;

use anyhow::{Context, ensure};
use bytes::BytesMut;
use tokio_util::codec::Decoder;

use crate::cli::load::deck::{Deck, Numeral};
use crate::domain::clock::Now;
use crate::iso8583::frame::{Frame, FrameCodec, Framing};
use crate::iso8583::{Dialect, Layout, decode};

/// Requests one connection may have in flight: a power of two, so that a trace number finds its place with a mask.
const IN_FLIGHT_MAX: usize = 8192;
/// Bytes a connection may have unwritten before it waits with further requests.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Answers the codec reads whole, to check the learned places.
const CHECKED: u32 = 64;
/// Forms of answers whose places are kept: one for each length a card's number has, and then some.
const FORMS_MAX: usize = 16;

/// One response code as it is on the wire, at most four characters.
pub(super) type Code = [u8; 4];

/// Whether a change was made: `00`, `000` or `0000`, as the dialect has it.
pub(super) fn approved(code: Code) -> bool {
    code.iter().all(|digit| matches!(digit, b'0' | b' '))
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// When it was due.
    pub(super) due: Now,
    /// What the switch said.
    pub(super) code: Code,
}

/// One connection.
pub(super) struct Line {
    deck: Deck,
    idle: VecDeque<u32>,
    ending: bool,
    slots: Box<[Option<Slot>]>,
    in_flight: usize,
    sent: u64,
    output: Vec<u8>,
    written: usize,
    input: BytesMut,
    codec: FrameCodec,
    forms: Vec<Form>,
    layout: Layout,
    unchecked: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    stan: u64,
    card: u32,
    due: Now,
}

/// Answers of one length with one message type and bitmap: where things stand in them.
struct Form {
    bytes: usize,
    head: Box<[u8]>,
    stan: Range<usize>,
    code: Range<usize>,
}

impl Line {
    pub(super) fn new(deck: Deck, framing: &Framing) -> Self {
        let cards = deck.len();
        Self {
            idle: (0..).take(cards).collect(),
            ending: false,
            slots: vec![None; IN_FLIGHT_MAX].into_boxed_slice(),
            in_flight: 0,
            sent: 0,
            output: Vec::with_capacity(OUTPUT_BYTES_MAX),
            written: 0,
            input: BytesMut::new(),
            codec: FrameCodec::new(*framing),
            forms: Vec::new(),
            layout: Layout::new(),
            unchecked: CHECKED,
            deck,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// From here on a card that has its first PIN is not changed again.
    pub(super) fn only_second_pins(&mut self) {
        self.ending = true;
        let deck = &self.deck;
        self.idle.retain(|card| !deck.has_first_pin(*card as usize));
    }

    /// Puts the next change into the output. `false` when no card is idle, or too much is under way.
    pub(super) fn send(&mut self, due: Now) -> bool {
        let stan = self.sent % Deck::stans();
        let Some(slot) = self.slots.get_mut(place(stan)) else { return false };
        if slot.is_some() || OUTPUT_BYTES_MAX <= self.output.len() {
            return false;
        }
        let Some(card) = self.idle.pop_front() else { return false };
        *slot = Some(Slot { stan, card, due });
        self.deck.write(card as usize, stan, self.sent, &mut self.output);
        self.sent += 1;
        self.in_flight += 1;
        true
    }

    /// What waits to be written.
    pub(super) fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// So many bytes of it are written.
    pub(super) fn written(&mut self, count: usize) {
        self.written += count;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
    }

    /// Takes what was read and tells of each answer in it.
    pub(super) fn receive(
        &mut self,
        dialect: &Dialect,
        bytes: &[u8],
        mut tell: impl FnMut(Answered),
    ) -> anyhow::Result<()> {
        self.input.extend_from_slice(bytes);
        while let Some(frame) = self.codec.decode(&mut self.input)? {
            let Frame::Message { message, .. } = frame else { continue };
            let (stan, code) = self.read(dialect, &message)?;
            let slot = self.slots.get_mut(place(stan)).and_then(Option::take);
            let slot = slot.filter(|slot| slot.stan == stan);
            let slot = slot.context("an answer that nobody waits for")?;
            self.in_flight -= 1;
            if approved(code) {
                self.deck.changed(slot.card as usize);
            }
            // A declined change of the ending would be declined again.
            if !self.ending {
                self.idle.push_back(slot.card);
            }
            tell(Answered { due: slot.due, code });
        }
        Ok(())
    }

    /// Trace number and response code of one answer.
    fn read(&mut self, dialect: &Dialect, message: &[u8]) -> anyhow::Result<(u64, Code)> {
        let numeral = self.deck.stan();
        let known = self
            .forms
            .iter()
            .find(|form| form.bytes == message.len() && message.starts_with(&form.head));
        let quick = known.and_then(|form| form.read(numeral, message));
        if let (Some(quick), 0) = (quick, self.unchecked) {
            return Ok(quick);
        }
        let form = Form::learn(dialect, message, &mut self.layout)?;
        let whole = form.read(numeral, message).context("an answer's trace number is none")?;
        ensure!(quick.is_none_or(|quick| quick == whole), "an answer's form is not what it was");
        self.unchecked = self.unchecked.saturating_sub(1);
        if known.is_none() && self.forms.len() < FORMS_MAX {
            self.forms.push(form);
        }
        Ok(whole)
    }
}

impl Form {
    fn learn(dialect: &Dialect, message: &[u8], layout: &mut Layout) -> anyhow::Result<Self> {
        let answer = decode(dialect, message, layout).context("an answer that cannot be read")?;
        let place = |n: u8| {
            let (raw, value) = answer.raw(n).zip(answer.value(n))?;
            let start = answer.offset(n)? + raw.len() - value.len();
            Some(start..start + value.len())
        };
        let (stan, code) = place(11).zip(place(39)).context("an answer without DE 11 or 39")?;
        let head = answer.present().iter().next().and_then(|first| answer.offset(first));
        let head = message.get(..head.unwrap_or(0)).unwrap_or_default();
        Ok(Self { bytes: message.len(), head: head.into(), stan, code })
    }

    fn read(&self, numeral: Numeral, message: &[u8]) -> Option<(u64, Code)> {
        let wire = message.get(self.code.clone())?;
        let mut code = *b"    ";
        for (to, from) in code.iter_mut().zip(wire) {
            // EBCDIC digits are F0 to F9, ASCII ones 30 to 39.
            *to = if (0xF0..=0xF9).contains(from) { from & 0x3F } else { *from };
        }
        Some((numeral.read(message.get(self.stan.clone())?)?, code))
    }
}

fn place(stan: u64) -> usize {
    usize::try_from(stan % IN_FLIGHT_MAX as u64).unwrap_or(0)
}
