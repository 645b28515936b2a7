//! What a terminal asks for, as messages: a PIN change, its repeat, its reversal, sign-on, echo.
//!
//! A [`Terminal`] knows its own names and its dialect's habits. PINs come in encrypted by a
//! [`PinPad`](crate::sim::pin_pad::PinPad), time and numbers come in as a [`Stamp`]. The habits are written down here
//! once more, apart from `spec/*.toml`, so that a wrong line there does not answer to itself.
//!
//! **Never here:** clocks, sockets, clear PINs, reading an answer.

use jiff::civil::DateTime;

use crate::domain::pan::Pan;
use crate::domain::request::Operation;
use crate::sim::pin_pad::PinBlock;
use crate::sim::request::Request;

#[cfg(test)]
mod tests;

/// What makes one message different from the next.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// DE 11; the last six digits count, twelve in the 2003 edition.
    pub stan: u64,
    /// DE 37; the last twelve digits count.
    pub rrn: u64,
    /// DE 7 is in universal time.
    pub utc: DateTime,
    /// DE 12 and 13 are in the terminal's time.
    pub local: DateTime,
}

/// The card in the reader.
#[derive(Clone, Debug)]
pub struct Card {
    /// DE 2.
    pub pan: Pan,
    /// DE 14, as YYMM.
    pub expiry: Option<u16>,
    /// DE 23.
    pub sequence: Option<u16>,
}

/// What the card's chip says of the transaction.
#[derive(Clone, Copy, Debug)]
pub struct ChipData {
    /// 9F36.
    pub counter: [u8; 2],
    /// 9F26.
    pub cryptogram: [u8; 8],
}

/// Session messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Are you there.
    Echo,
    /// The session ends.
    SignOff,
    /// The session starts.
    SignOn,
}

/// Why a terminal cannot ask for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The dialect has no message for it.
    #[error("dialect {dialect} has no message for {operation}")]
    Operation {
        /// The dialect's habits.
        dialect: &'static str,
        /// What was asked.
        operation: &'static str,
    },
    /// A PIN is missing.
    #[error("{operation} needs the {which} PIN")]
    Pin {
        /// `current` or `new`.
        which: &'static str,
        /// What was asked.
        operation: &'static str,
    },
    /// The message is no request that can be reversed.
    #[error("message lacks DE {field}: not one that can be reversed")]
    NotReversible {
        /// What it lacks.
        field: u8,
    },
}

/// Edition of the standard: which fields exist and how dates look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edition {
    Y1987,
    Y1993,
    Y2003,
}

/// Where the new PIN block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NewPin {
    /// A whole field.
    Field(u8),
    /// DE 53 of 48 bytes, the block last, zeros before it: as the Postilion driver in the field does it.
    Last48(u8),
    /// A sub-field.
    Sub(u8, u32),
}

/// Habits of one dialect.
#[derive(Debug)]
struct Habits {
    dialect: &'static str,
    edition: Edition,
    mti: [u8; 4],
    change: &'static [u8; 2],
    unblock: Option<&'static [u8; 2]>,
    verify: Option<&'static [u8; 2]>,
    new_pin: NewPin,
}

const fn habits(
    dialect: &'static str,
    edition: Edition,
    mti: [u8; 4],
    codes: (&'static [u8; 2], Option<&'static [u8; 2]>, Option<&'static [u8; 2]>),
    new_pin: NewPin,
) -> Habits {
    Habits { dialect, edition, mti, change: codes.0, unblock: codes.1, verify: codes.2, new_pin }
}

/// How each dialect asks, one line each: message type, DE 3 codes for change, unblock, verify, place of the new PIN.
#[rustfmt::skip]
const HABITS: &[Habits] = {
    use Edition::{Y1987, Y1993, Y2003};
    use NewPin::{Field, Last48, Sub};
    &[
        habits("cmf",             Y2003, *b"2600", (b"70", None,        None),        Sub(113, 52)),
        habits("iso87-ascii",     Y1987, *b"0100", (b"92", Some(b"91"), Some(b"90")), Field(125)),
        habits("iso87-ascii-hex", Y1987, *b"0100", (b"92", Some(b"91"), Some(b"90")), Field(125)),
        habits("iso87-bcd",       Y1987, *b"0100", (b"92", Some(b"91"), Some(b"90")), Field(125)),
        habits("iso93-ascii",     Y1993, *b"1100", (b"92", Some(b"91"), Some(b"90")), Field(125)),
        habits("iso93-bcd",       Y1993, *b"1100", (b"92", Some(b"91"), Some(b"90")), Field(125)),
        habits("mastercard",      Y1987, *b"0100", (b"92", Some(b"91"), None),        Field(125)),
        habits("postilion",       Y1987, *b"0600", (b"92", Some(b"91"), Some(b"90")), Last48(53)),
        habits("visa",            Y1987, *b"0100", (b"70", Some(b"72"), None),        Field(152)),
    ]
};

/// A terminal of one dialect.
#[derive(Clone, Debug)]
pub struct Terminal {
    habits: &'static Habits,
    id: [u8; 8],
    acceptor: [u8; 15],
    institution: Box<[u8]>,
}

impl Terminal {
    /// Names of the dialects a terminal speaks.
    pub fn dialects() -> impl Iterator<Item = &'static str> {
        HABITS.iter().map(|line| line.dialect)
    }

    /// A terminal with the names of DE 41, 42 and 32; longer ones are cut. `None` for an unknown dialect.
    #[must_use]
    pub fn new(dialect: &str, id: &str, acceptor: &str, institution: &str) -> Option<Self> {
        let habits = HABITS.iter().find(|line| line.dialect == dialect)?;
        let institution = institution.as_bytes();
        Some(Self {
            habits,
            id: padded(id),
            acceptor: padded(acceptor),
            institution: institution[..institution.len().min(11)].into(),
        })
    }

    /// A request for `operation`. Change needs both PINs, verify the current one, unblock none.
    ///
    /// # Errors
    /// [`AskError`]: no such message in this dialect, or a PIN is missing.
    pub fn ask(
        &self,
        operation: Operation,
        stamp: &Stamp,
        card: &Card,
        current: Option<&PinBlock>,
        new: Option<&PinBlock>,
    ) -> Result<Request, AskError> {
        let habits = self.habits;
        let label = operation.label();
        let unknown = AskError::Operation { dialect: habits.dialect, operation: label };
        let (code, needs_current, needs_new) = match operation {
            Operation::Change => (Some(habits.change), true, true),
            Operation::Unblock => (habits.unblock, false, false),
            Operation::Verify => (habits.verify, true, false),
            Operation::Reverse | Operation::Reveal | Operation::Set => (None, false, false),
        };
        let [high, low] = *code.ok_or(unknown)?;
        let missing = |which| AskError::Pin { which, operation: label };
        if needs_current && current.is_none() {
            return Err(missing("current"));
        }
        if needs_new && new.is_none() {
            return Err(missing("new"));
        }
        let mut request = Request::new(habits.mti);
        request.text(2, card.pan.expose_digits()).text(3, &[high, low, b'0', b'0', b'0', b'0']);
        self.stamp(&mut request, stamp);
        self.names(&mut request, stamp.rrn);
        if let Some(expiry) = card.expiry {
            request.text(14, &digits::<4>(expiry.into()));
        }
        if let Some(sequence) = card.sequence {
            request.text(23, &digits::<3>(sequence.into()));
        }
        match habits.edition {
            // Key entry at a terminal that has a PIN pad; normal presentment; an ATM's merchant type; euro.
            Edition::Y1987 => {
                request.text(4, b"000000000000").text(18, b"6011").text(22, b"011");
                request.text(25, b"00").text(49, b"978");
            }
            // Function code 100: original authorization; an ATM's business code.
            Edition::Y1993 => {
                request.text(4, b"000000000000").text(24, b"100").text(26, b"6011");
                request.text(49, b"978");
            }
            Edition::Y2003 => {
                request.text(24, b"100").text(26, b"6011");
            }
        }
        if let Some(block) = current {
            request.binary(52, block.as_bytes());
        }
        if let Some(block) = new.filter(|_| needs_new) {
            put_new(&mut request, habits.new_pin, block);
        }
        Ok(request)
    }

    /// Adds what the chip says: DE 55, for Visa in the data set of chip data.
    pub fn add_chip(&self, request: &mut Request, chip: &ChipData) {
        let mut tags = [0x9F, 0x36, 2, 0, 0, 0x9F, 0x26, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        tags[3..5].copy_from_slice(&chip.counter);
        tags[8..].copy_from_slice(&chip.cryptogram);
        if self.habits.dialect == "visa" {
            request.binary_sub(55, 1, &tags);
        } else {
            request.binary(55, &tags);
        }
    }

    /// The reversal of a request: an advice (0420, 1420, 2420) that names it in DE 90 or 56 and repeats its reference.
    ///
    /// The stamp's `stan` and `utc` are the reversal's own; time, date and reference stay those of the original.
    ///
    /// # Errors
    /// [`AskError::NotReversible`] when `original` is no request of a terminal.
    pub fn reverse(&self, stamp: &Stamp, original: &Request) -> Result<Request, AskError> {
        let field = |number| {
            let value = original.get(number).ok_or(AskError::NotReversible { field: number })?;
            Ok(value.as_bytes())
        };
        let mti = [self.habits.mti[0], b'4', b'2', b'0'];
        let mut request = Request::new(mti);
        for kept in original.fields() {
            if [2, 3, 4, 12, 13, 14, 18, 22, 23, 25, 26, 32, 37, 41, 42, 49].contains(&kept.number)
            {
                request.put(kept.number, None, kept.value);
            }
        }
        request.text(7, &moment(stamp.utc)).text(11, &self.stan(stamp.stan));
        // The original may be a repeat; its name is that of the first attempt.
        let mut named = original.mti();
        named[3] = b'0';
        let institution = original.get(32).map_or(&[][..], |value| value.as_bytes());
        let mut place = Vec::with_capacity(48);
        place.extend_from_slice(&named);
        place.extend_from_slice(field(11)?);
        if self.habits.edition == Edition::Y1987 {
            // Type, STAN, DE 7, DE 32 and 33 filled with zeros on the left: 42 digits.
            place.extend_from_slice(field(7)?);
            place.resize(place.len() + 11_usize.saturating_sub(institution.len()), b'0');
            place.extend_from_slice(institution);
            place.extend_from_slice(b"00000000000");
            request.text(90, &place);
        } else {
            // Type, STAN, DE 12, then DE 32 with its length.
            place.extend_from_slice(field(12)?);
            place.extend_from_slice(&digits::<2>(institution.len() as u64));
            place.extend_from_slice(institution);
            // Function code 400: full reversal; reason 4021: no answer in time.
            request.text(24, b"400").text(25, b"4021").text(56, &place);
        }
        Ok(request)
    }

    /// A session message: 0800 with DE 70, 1804 and 2804 with DE 24.
    #[must_use]
    pub fn network(&self, what: Network, stamp: &Stamp) -> Request {
        let edition = self.habits.edition;
        let origin = if edition == Edition::Y1987 { b'0' } else { b'4' };
        let mut request = Request::new([self.habits.mti[0], b'8', b'0', origin]);
        self.stamp(&mut request, stamp);
        match edition {
            Edition::Y1987 => request.text(
                70,
                match what {
                    Network::Echo => b"301",
                    Network::SignOff => b"002",
                    Network::SignOn => b"001",
                },
            ),
            Edition::Y1993 | Edition::Y2003 => request.text(
                24,
                match what {
                    Network::Echo => b"831",
                    Network::SignOff => b"802",
                    Network::SignOn => b"801",
                },
            ),
        };
        request
    }

    fn stamp(&self, request: &mut Request, stamp: &Stamp) {
        request.text(7, &moment(stamp.utc)).text(11, &self.stan(stamp.stan));
        let local = stamp.local;
        let date = [two(local.month()), two(local.day())].concat();
        let time = [two(local.hour()), two(local.minute()), two(local.second())].concat();
        let year = digits::<4>(u64::from(local.year().unsigned_abs()));
        match self.habits.edition {
            Edition::Y1987 => request.text(12, &time).text(13, &date),
            Edition::Y1993 => request.text(12, &[&year[2..], &date, &time].concat()),
            Edition::Y2003 => request.text(12, &[&year[..], &date, &time].concat()),
        };
    }

    fn stan(&self, stan: u64) -> Vec<u8> {
        match self.habits.edition {
            Edition::Y1987 | Edition::Y1993 => digits::<6>(stan).to_vec(),
            Edition::Y2003 => digits::<12>(stan).to_vec(),
        }
    }

    fn names(&self, request: &mut Request, rrn: u64) {
        request.text(32, &self.institution).text(37, &digits::<12>(rrn));
        request.text(41, &self.id).text(42, &self.acceptor);
    }
}

fn put_new(request: &mut Request, place: NewPin, block: &PinBlock) {
    let block = block.as_bytes();
    match place {
        NewPin::Field(number) => request.binary(number, block),
        NewPin::Last48(number) => {
            let mut wide = [0; 48];
            wide[48 - block.len()..].copy_from_slice(block);
            request.binary(number, &wide)
        }
        NewPin::Sub(number, sub) => request.binary_sub(number, sub, block),
    };
}

/// The last `N` decimal digits.
fn digits<const N: usize>(mut value: u64) -> [u8; N] {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        // Below ten.
        *digit += u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    text
}

fn two(value: i8) -> [u8; 2] {
    digits(value.unsigned_abs().into())
}

/// DE 7: `MMDDhhmmss`.
fn moment(at: DateTime) -> [u8; 10] {
    let parts = [at.month(), at.day(), at.hour(), at.minute(), at.second()];
    let mut text = [b'0'; 10];
    for (to, part) in text.chunks_mut(2).zip(parts) {
        to.copy_from_slice(&two(part));
    }
    text
}

/// Cut or filled with spaces to `N`.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [b' '; N];
    for (to, from) in out.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    out
}
