//! [`Deck`]: the cards of one connection, with both of their messages encoded before the run.
//!
//! A card has two messages, first PIN to second and back. What differs from one request to the next is the trace
//! number and the reference, and these are patched into the bytes in the wire's own digits. **Never here:** sockets.

use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::BytesMut;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio_util::codec::Encoder;
use zeroize::Zeroizing;

use crate::card::generate;
use crate::domain::pan::Pan;
use crate::domain::pin::BlockFormat;
use crate::domain::request::Operation;
use crate::iso8583::frame::{FrameCodec, Framing};
use crate::iso8583::{Dialect, Layout, decode};
use crate::sim::pin_pad::{PinPad, TypedPin};
use crate::sim::terminal::{Card, Stamp, Terminal};
use crate::sim::world::World;

/// What all decks of one run share.
pub(super) struct Run<'a> {
    pub(super) dialect: &'a Dialect,
    pub(super) framing: &'a Framing,
    pub(super) zpk: &'a [u8],
    pub(super) pins: [&'a [u8]; 2],
}

/// One connection's cards.
pub(super) struct Deck {
    frames: Vec<u8>,
    cards: Vec<Messages>,
    stan: Numeral,
    rrn: Numeral,
}

/// Where a card's two messages stand among the frames, and how many bytes each has.
#[derive(Clone, Copy)]
struct Messages {
    start: usize,
    bytes: usize,
    /// Which PIN the card has: 0 the first, 1 the second.
    has: usize,
    stan_at: usize,
    rrn_at: usize,
}

/// How the wire writes a number of fixed length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numeral {
    bytes: usize,
    /// The byte of digit zero; a packed number has two digits a byte.
    zero: u8,
    packed: bool,
}

impl Numeral {
    /// Learns it from the wire bytes of zeros.
    pub(super) fn of(zeros: &[u8], digits: usize) -> anyhow::Result<Self> {
        let zero = zeros.first().copied().context("the dialect has no such number")?;
        ensure!(zeros.iter().all(|b| *b == zero), "a number of zeros is not all alike");
        Ok(Self { bytes: zeros.len(), zero, packed: zeros.len() < digits })
    }

    fn write(self, to: &mut [u8], mut number: u64) {
        let base = if self.packed { 100 } else { 10 };
        for byte in to.iter_mut().rev() {
            // Below 100.
            let digit = u8::try_from(number % base).unwrap_or(0);
            *byte =
                if self.packed { ((digit / 10) << 4) | (digit % 10) } else { self.zero | digit };
            number /= base;
        }
    }

    /// The number in these bytes, where it is one.
    pub(super) fn read(self, bytes: &[u8]) -> Option<u64> {
        if bytes.len() != self.bytes {
            return None;
        }
        bytes.iter().try_fold(0_u64, |sum, byte| {
            if self.packed {
                let (high, low) = (byte >> 4, byte & 0x0F);
                (high < 10 && low < 10).then(|| sum * 100 + u64::from(high * 10 + low))
            } else {
                let digit = byte.wrapping_sub(self.zero);
                (digit < 10).then(|| sum * 10 + u64::from(digit))
            }
        })
    }
}

/// Digits of the trace number that are used: what every edition of the standard has.
const STAN_DIGITS: u32 = 6;

impl Deck {
    /// Encodes both messages of every card for connection `number`, whose terminal name is new in every run: the same
    /// trace numbers in two runs must not look like repeats.
    pub(super) fn new(run: &Run<'_>, number: u16, cards: &[Card]) -> anyhow::Result<Self> {
        let now = Timestamp::now();
        let id = format!("{:05}{number:03}", now.as_second().rem_euclid(100_000));
        let terminal = Terminal::new(run.dialect.name(), &id, "PINION LOAD", "400001");
        let terminal = terminal.ok_or_else(|| {
            let known: Vec<_> = Terminal::dialects().collect();
            anyhow!("no terminal speaks {}; there are {}", run.dialect.name(), known.join(", "))
        })?;
        let stamp = Stamp {
            stan: 0,
            rrn: 0,
            utc: now.to_zoned(TimeZone::UTC).datetime(),
            local: now.to_zoned(TimeZone::UTC).datetime(),
        };
        let pad = PinPad::new(run.zpk, BlockFormat::Iso0)?;
        let pins = [TypedPin::new(run.pins[0])?, TypedPin::new(run.pins[1])?];
        let mut encoder = Encode {
            run,
            terminal,
            stamp,
            codec: FrameCodec::new(*run.framing),
            layout: Layout::new(),
            message: BytesMut::new(),
        };
        let (stan, rrn) = (
            Numeral { bytes: 0, zero: 0, packed: false },
            Numeral { bytes: 0, zero: 0, packed: false },
        );
        let mut deck = Self { frames: Vec::new(), cards: Vec::new(), stan, rrn };
        deck.cards.reserve_exact(cards.len());
        for card in cards {
            let blocks = [&pins[0], &pins[1]].map(|pin| pad.block(pin, &card.pan, [0; 16]));
            let start = deck.frames.len();
            let there = encoder.encode(card, [&blocks[0], &blocks[1]], &mut deck.frames)?;
            let bytes = deck.frames.len() - start;
            let back = encoder.encode(card, [&blocks[1], &blocks[0]], &mut deck.frames)?;
            ensure!(deck.frames.len() - start == 2 * bytes && there == back, "one card, two sizes");
            (deck.stan, deck.rrn) = (there.stan, there.rrn);
            deck.cards.push(Messages {
                start,
                bytes,
                has: 0,
                stan_at: there.stan_at,
                rrn_at: there.rrn_at,
            });
        }
        Ok(deck)
    }

    pub(super) fn len(&self) -> usize {
        self.cards.len()
    }

    /// How trace numbers look on the wire.
    pub(super) fn stan(&self) -> Numeral {
        self.stan
    }

    /// Largest trace number, plus one.
    pub(super) fn stans() -> u64 {
        10_u64.pow(STAN_DIGITS)
    }

    /// Appends the next change of a card.
    pub(super) fn write(&self, card: usize, stan: u64, rrn: u64, out: &mut Vec<u8>) {
        let Messages { start, bytes, has, stan_at, rrn_at } = self.cards[card];
        let from = start + has * bytes;
        let at = out.len();
        out.extend_from_slice(&self.frames[from..from + bytes]);
        self.stan.write(&mut out[at + stan_at..][..self.stan.bytes], stan);
        self.rrn.write(&mut out[at + rrn_at..][..self.rrn.bytes], rrn);
    }

    /// The change was approved: the card has the other PIN now.
    pub(super) fn changed(&mut self, card: usize) {
        self.cards[card].has ^= 1;
    }

    /// Whether the card has its first PIN.
    pub(super) fn has_first_pin(&self, card: usize) -> bool {
        self.cards[card].has == 0
    }
}

struct Encode<'a> {
    run: &'a Run<'a>,
    terminal: Terminal,
    stamp: Stamp,
    codec: FrameCodec,
    layout: Layout,
    message: BytesMut,
}

/// Where the numbers of a frame stand.
struct Places {
    stan_at: usize,
    rrn_at: usize,
    stan: Numeral,
    rrn: Numeral,
}

impl PartialEq for Places {
    fn eq(&self, other: &Self) -> bool {
        self.stan_at == other.stan_at && self.rrn_at == other.rrn_at
    }
}

impl Encode<'_> {
    /// Appends the frame of one change and says where its numbers stand.
    fn encode(
        &mut self,
        card: &Card,
        [current, new]: [&crate::sim::pin_pad::PinBlock; 2],
        frames: &mut Vec<u8>,
    ) -> anyhow::Result<Places> {
        let dialect = self.run.dialect;
        let request =
            self.terminal.ask(Operation::Change, &self.stamp, card, Some(current), Some(new))?;
        self.message.clear();
        request.write(dialect, None, &mut self.message)?;
        let mut frame = BytesMut::new();
        self.codec.encode(&self.message[..], &mut frame)?;
        let head = frame.windows(self.message.len()).position(|part| part == self.message);
        let head = head.context("the frame does not hold its message")?;
        let message = decode(dialect, &self.message, &mut self.layout)?;
        let place = |n: u8| {
            let (raw, value) = message.raw(n).zip(message.value(n))?;
            let prefix = raw.len() - value.len();
            Some((head + message.offset(n)? + prefix, value))
        };
        let ((stan_at, stan), (rrn_at, rrn)) = place(11).zip(place(37)).context("DE 11 or 37")?;
        let digits = if dialect.version() < 2003 { 6 } else { 12 };
        let places = Places {
            stan_at,
            rrn_at,
            stan: Numeral::of(stan, digits)?,
            rrn: Numeral::of(rrn, 12)?,
        };
        frames.extend_from_slice(&frame);
        Ok(places)
    }
}

/// Cards as `pinion cards generate` makes them.
pub(super) fn generated(bin: &str, seed: u64, count: u64) -> anyhow::Result<Vec<Card>> {
    let card = |index| {
        let pan = generate::pan(bin, seed, index).context("--bin takes 1 to 14 digits")?;
        Ok(Card { pan, expiry: None, sequence: None })
    };
    (0..count).map(card).collect()
}

/// Cards from the columns `pan` and `seq` of a CSV file.
pub(super) fn from_file(path: &Path) -> anyhow::Result<Vec<Card>> {
    let file = || path.display().to_string();
    let mut rows = csv::Reader::from_path(path).with_context(file)?;
    let headers = rows.headers().with_context(file)?.clone();
    let column = |name: &str| headers.iter().position(|h| h == name);
    let Some(pan_at) = column("pan") else { bail!("{}: no column `pan`", path.display()) };
    let sequence_at = column("seq");
    let mut cards = Vec::new();
    for (row, line) in rows.records().zip(2..) {
        let row = row.with_context(file)?;
        let at = || format!("{}:{line}", path.display());
        let pan = Pan::parse(row.get(pan_at).unwrap_or("").as_bytes()).with_context(at)?;
        let sequence = sequence_at.and_then(|at| row.get(at)).filter(|text| !text.is_empty());
        let sequence = sequence.map(str::parse).transpose().with_context(at)?;
        cards.push(Card { pan, expiry: None, sequence });
    }
    Ok(cards)
}

/// The clear test key in a file, or the demo's.
pub(super) fn clear_key(file: Option<&Path>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let Some(path) = file else {
        let world = World::embedded()?;
        let key = world.clear_key("zpk.atm").context("the demo world has no zpk.atm")?;
        return Ok(Zeroizing::new(key.to_vec()));
    };
    let name = || path.display().to_string();
    let text = Zeroizing::new(std::fs::read_to_string(path).with_context(name)?);
    let key = hex::decode(text.trim()).map_err(|_| anyhow!("{}: not hex", path.display()))?;
    Ok(Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zeros: &[u8], digits: usize, number: u64, want: &[u8]) {
        let numeral = Numeral::of(zeros, digits).unwrap();
        let mut wire = zeros.to_vec();
        numeral.write(&mut wire, number);
        assert_eq!(wire, want);
        assert_eq!(numeral.read(&wire), Some(number));
    }

    #[test]
    fn numbers_in_the_digits_of_the_wire() {
        check(b"000000", 6, 123, b"000123");
        check(&[0; 3], 6, 123_456, &[0x12, 0x34, 0x56]);
        check(&[0xF0; 6], 6, 42, &[0xF0, 0xF0, 0xF0, 0xF0, 0xF4, 0xF2]);
        assert!(Numeral::of(b"0000x0", 6).is_err());
    }

    /// Every dialect a terminal speaks: the patched message is the one the codec reads.
    #[test]
    fn patched_messages_decode() {
        for name in Terminal::dialects() {
            let dialect = Dialect::builtin(name).unwrap();
            let framing: Framing = "be2".parse().unwrap();
            let zpk = clear_key(None).unwrap();
            let run =
                Run { dialect: &dialect, framing: &framing, zpk: &zpk, pins: [b"1357", b"2468"] };
            let mut deck = Deck::new(&run, 0, &generated("476173", 1, 3).unwrap()).unwrap();
            let mut out = Vec::new();
            deck.write(1, 654_321, 77, &mut out);
            deck.changed(1);
            assert!(!deck.has_first_pin(1) && deck.has_first_pin(0));
            let mut layout = Layout::new();
            let message = decode(&dialect, &out[2..], &mut layout).unwrap();
            let stan = message.text(11).unwrap();
            assert!(stan.as_bytes().ends_with(b"654321"), "{name}");
            assert_eq!(message.text(37).unwrap().as_bytes(), b"000000000077", "{name}");
            let before = out.clone();
            out.clear();
            deck.write(1, 654_321, 77, &mut out);
            assert_ne!(out, before, "{name}: the way back has other blocks");
        }
    }
}
