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
use crate::sim::dukpt::{KSN_BYTES, of_terminal, pin_key, serial_numbers};
use crate::sim::pin_pad::{PinBlock, PinPad, TypedPin};
use crate::sim::terminal::{Card, Stamp, Terminal};
use crate::sim::world::World;

/// What all decks of one run share.
pub(super) struct Run<'a> {
    pub(super) dialect: &'a Dialect,
    pub(super) framing: &'a Framing,
    pub(super) pin_key: &'a PinKey,
    pub(super) pins: [&'a [u8]; 2],
}

/// The key of the PIN blocks of a run.
pub(super) enum PinKey {
    /// One for all.
    Zone(Zeroizing<Vec<u8>>),
    /// One for each message, derived from this key by a serial number that goes with it.
    Derived {
        /// Base derivation key.
        bdk: Zeroizing<[u8; 16]>,
        /// Where the terminal of the first connection begins to count; those of the others have the next numbers.
        first: [u8; KSN_BYTES],
        /// Field of the serial number.
        field: u8,
    },
}

/// What PINs are typed into: one pad, or one for each message.
enum Pads<'a> {
    Zone(PinPad),
    Derived(&'a [u8; 16], u8, Box<dyn Iterator<Item = [u8; KSN_BYTES]>>),
}

impl<'a> Pads<'a> {
    fn new(key: &'a PinKey, number: u16) -> anyhow::Result<Self> {
        match key {
            PinKey::Zone(zpk) => Ok(Self::Zone(PinPad::new(zpk, BlockFormat::Iso0)?)),
            PinKey::Derived { bdk, first, field } => {
                let own = of_terminal(*first, number);
                let own = own.context("--ksn: too few terminal numbers are left above it")?;
                Ok(Self::Derived(bdk, *field, Box::new(serial_numbers(own))))
            }
        }
    }

    /// The blocks of one message, and the field and text of their serial number.
    fn blocks(&mut self, pins: [&TypedPin; 2], pan: &Pan) -> anyhow::Result<Blocks> {
        let of = |pad: &PinPad| pins.map(|pin| pad.block(pin, pan, [0; 16]));
        match self {
            Self::Zone(pad) => Ok(Blocks { pins: of(pad), ksn: None }),
            Self::Derived(bdk, field, numbers) => {
                let ksn = numbers.next();
                let ksn =
                    ksn.context("a terminal has used up its keys: --connections, or fewer cards")?;
                let pad = PinPad::new(&*pin_key(bdk, ksn), BlockFormat::Iso0)?;
                Ok(Blocks { pins: of(&pad), ksn: Some((*field, hex::encode_upper(ksn))) })
            }
        }
    }
}

/// The blocks of one message, current and new.
struct Blocks {
    pins: [PinBlock; 2],
    ksn: Option<(u8, String)>,
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
        let mut pads = Pads::new(run.pin_key, number)?;
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
            let start = deck.frames.len();
            let blocks = pads.blocks([&pins[0], &pins[1]], &card.pan)?;
            let there = encoder.encode(card, &blocks, &mut deck.frames)?;
            let bytes = deck.frames.len() - start;
            let blocks = pads.blocks([&pins[1], &pins[0]], &card.pan)?;
            let back = encoder.encode(card, &blocks, &mut deck.frames)?;
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
        blocks: &Blocks,
        frames: &mut Vec<u8>,
    ) -> anyhow::Result<Places> {
        let dialect = self.run.dialect;
        let [current, new] = &blocks.pins;
        let mut request =
            self.terminal.ask(Operation::Change, &self.stamp, card, Some(current), Some(new))?;
        if let Some((field, ksn)) = &blocks.ksn {
            request.text(*field, ksn.as_bytes());
        }
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

/// The clear test key in a file, or the demo's of that name.
pub(super) fn clear_key(file: Option<&Path>, name: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let Some(path) = file else {
        let world = World::embedded()?;
        let key = world.clear_key(name).with_context(|| format!("no demo key {name:?}"))?;
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

    /// Blocks and serial numbers of `tests/vectors/dukpt.json`, which other programs made: the way there is the first
    /// transaction of the terminal, the way back the second.
    #[test]
    fn every_message_of_a_dukpt_terminal_has_a_key_of_its_own() {
        let dialect = Dialect::builtin("iso87-ascii").unwrap();
        let framing: Framing = "be2".parse().unwrap();
        let bdk = clear_key(None, "bdk.pos").unwrap();
        let first = hex::decode("FFFF9876543210E00001").unwrap().try_into().unwrap();
        let bdk = Zeroizing::new(<[u8; 16]>::try_from(&bdk[..]).unwrap());
        let key = PinKey::Derived { bdk, first, field: 62 };
        let run =
            Run { dialect: &dialect, framing: &framing, pin_key: &key, pins: [b"1234", b"2580"] };
        let pan = "4761739001010010";
        let card = Card { pan: Pan::parse(pan.as_bytes()).unwrap(), expiry: None, sequence: None };
        let mut deck = Deck::new(&run, 0, &[card]).unwrap();
        let vectors = include_str!("../../../tests/vectors/dukpt.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let block = |ksn: &str, pin: &str| {
            let mut cases = vectors["world_tdes"].as_array().unwrap().iter();
            let case = cases.find(|c| c["ksn"] == ksn && c["pin"] == pin && c["pan"] == pan);
            hex::decode(case.unwrap()["block"].as_str().unwrap()).unwrap()
        };
        for (ksn, [current, new]) in
            [("FFFF9876543210E00001", ["1234", "2580"]), ("FFFF9876543210E00002", ["2580", "1234"])]
        {
            let mut out = Vec::new();
            deck.write(0, 1, 1, &mut out);
            deck.changed(0);
            let mut layout = Layout::new();
            let message = decode(&dialect, &out[2..], &mut layout).unwrap();
            assert_eq!(message.text(62).unwrap().as_bytes(), ksn.as_bytes());
            assert_eq!(message.binary(52).unwrap().as_bytes(), block(ksn, current));
            let whole = &out[..];
            assert!(whole.windows(8).any(|part| part == block(ksn, new)), "the new PIN");
        }
        // A second connection is another terminal.
        assert!(Deck::new(&run, u16::MAX, &[]).is_ok());
    }

    /// Every dialect a terminal speaks: the patched message is the one the codec reads.
    #[test]
    fn patched_messages_decode() {
        for name in Terminal::dialects() {
            let dialect = Dialect::builtin(name).unwrap();
            let framing: Framing = "be2".parse().unwrap();
            let key = PinKey::Zone(clear_key(None, "zpk.atm").unwrap());
            let run = Run {
                dialect: &dialect,
                framing: &framing,
                pin_key: &key,
                pins: [b"1357", b"2468"],
            };
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
