//! M6 makes a MAC, M8 verifies one, of a message in one piece or in several.
//!
//! The length counts characters as they are sent: with input format 1 it is the number of hex digits. **Never here:**
//! DUKPT MACs (`dukpt`).

use std::fmt;

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::hsm::payshield::wire::key::{Key, KeyType};
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer, is_hex};

/// Which piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The whole message: 0.
    Only,
    /// 1.
    First,
    /// 2.
    Middle,
    /// 3.
    Last,
}

impl Piece {
    /// Whether a value of the piece before comes with it.
    #[must_use]
    pub const fn has_before(self) -> bool {
        matches!(self, Self::Middle | Self::Last)
    }

    /// Whether the MAC comes out of it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Only | Self::Last)
    }
}

/// What M6 and M8 have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MacInput<'a> {
    /// Which piece.
    pub piece: Piece,
    /// `0` binary, `1` hex digits, `2` text: characters, so that in EBCDIC the MAC is over their ASCII form. That no
    /// public source says.
    pub format: u8,
    /// Whether the MAC is of 16 hex digits, not 8.
    pub whole: bool,
    /// `1` ISO 9797-1 algorithm 1, `3` algorithm 3, `6` CMAC.
    pub algorithm: u8,
    /// `0` none, `1` and `2` methods of ISO 9797-1.
    pub padding: u8,
    /// `003` TAK, `008` ZAK, `FFF` key block.
    pub key_type: KeyType,
    /// The key.
    pub key: Key<'a>,
    /// Value of the piece before.
    pub before: Option<[u8; 8]>,
    /// The message as it is sent.
    pub message: &'a [u8],
}

impl fmt::Debug for MacInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacInput({:?}, {} characters)", self.piece, self.message.len())
    }
}

impl MacInput<'_> {
    /// Digits of the MAC.
    #[must_use]
    pub const fn digits(&self) -> usize {
        if self.whole { 16 } else { 8 }
    }
}

/// One character out of several, or the code of its error.
fn one_of(reader: &mut Reader<'_>, known: &[u8], code: ErrorCode) -> Result<u8, Fault> {
    let bad = reader.fault(code);
    let byte = reader.take(1)?[0];
    if known.contains(&byte) { Ok(byte) } else { Err(bad) }
}

impl<'a> Field<'a> for MacInput<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let piece = match one_of(reader, b"0123", ErrorCode::SHORT_KEY)? {
            b'0' => Piece::Only,
            b'1' => Piece::First,
            b'2' => Piece::Middle,
            _ => Piece::Last,
        };
        let format = one_of(reader, b"012", ErrorCode::COUNT)?;
        let whole = one_of(reader, b"01", ErrorCode::KEY_TYPE)? == b'1';
        let algorithm = one_of(reader, b"136", ErrorCode::KEY_TYPE)?;
        let padding = one_of(reader, b"012", ErrorCode::PADDING)?;
        let bad = reader.fault(ErrorCode::LENGTH_FLAG);
        let key_type = KeyType::read(reader)?;
        if ![b"003", b"008", b"FFF"].contains(&&key_type.0) {
            return Err(bad);
        }
        let key = Key::read(reader)?;
        let before = if piece.has_before() { Some(reader.unhex()?) } else { None };
        let length = reader.hex_number(4)?;
        let short = reader.fault(ErrorCode::MAC_LENGTH);
        if format == b'1' && !length.is_multiple_of(2) {
            return Err(short);
        }
        let bad = reader.fault(ErrorCode::INPUT);
        let message = if format == b'0' { reader.binary(length) } else { reader.take(length) };
        let message = message.map_err(|_| short)?;
        if format == b'1' && !message.iter().all(is_hex) {
            return Err(bad);
        }
        Ok(Self { piece, format, whole, algorithm, padding, key_type, key, before, message })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(match self.piece {
            Piece::Only => b'0',
            Piece::First => b'1',
            Piece::Middle => b'2',
            Piece::Last => b'3',
        });
        writer.put(&[
            self.format,
            if self.whole { b'1' } else { b'0' },
            self.algorithm,
            self.padding,
        ]);
        self.key_type.write(writer);
        self.key.write(writer);
        self.before.iter().for_each(|before| writer.hex(before));
        writer.number(self.message.len(), 4, 16);
        if self.format == b'0' {
            writer.binary(self.message);
        } else {
            writer.put(self.message);
        }
    }
}

/// A MAC of 8 or 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacValue {
    /// Four bytes.
    Half([u8; 8]),
    /// Eight bytes; or the value for the next piece.
    Whole([u8; 16]),
}

impl MacValue {
    /// The digits.
    #[must_use]
    pub fn digits(&self) -> &[u8] {
        match self {
            Self::Half(digits) => digits,
            Self::Whole(digits) => digits,
        }
    }

    /// The first of sixteen digits.
    #[must_use]
    pub fn cut(digits: [u8; 16], whole: bool) -> Self {
        if whole {
            return Self::Whole(digits);
        }
        Self::Half(digits.first_chunk().copied().unwrap_or_default())
    }
}

impl<'a> Field<'a> for MacValue {
    /// In an answer nothing hexadecimal follows it.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if 16 <= reader.left().iter().take_while(|byte| is_hex(byte)).count() {
            return reader.chars(is_hex).map(Self::Whole);
        }
        reader.chars(is_hex).map(Self::Half)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(self.digits());
    }
}

/// M6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerateMac<'a>(pub MacInput<'a>);

impl<'a> Field<'a> for GenerateMac<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.field("MAC input").map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
    }
}

/// M8. The MAC comes with the piece that ends the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyMac<'a> {
    /// What is verified.
    pub input: MacInput<'a>,
    /// The MAC.
    pub mac: Option<MacValue>,
}

impl<'a> Field<'a> for VerifyMac<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let input: MacInput<'a> = reader.field("MAC input")?;
        let mac = match (input.piece.is_end(), input.whole) {
            (false, _) => None,
            (true, true) => Some(MacValue::Whole(reader.chars(is_hex)?)),
            (true, false) => Some(MacValue::Half(reader.chars(is_hex)?)),
        };
        Ok(Self { input, mac })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.input.write(writer);
        self.mac.iter().for_each(|mac| mac.write(writer));
    }
}
