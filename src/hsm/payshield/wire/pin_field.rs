//! PIN blocks, their formats, the accounts they are bound to, PINs under the LMK.
//!
//! How long one is depends on what was read before: the reader remembers the key's algorithm and the formats. **Never
//! here:** a clear block.

use std::fmt;

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer, is_hex};

/// An encrypted PIN block: 16 hex digits, 32 under an AES key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PinBlock {
    bytes: [u8; 16],
    wide: bool,
}

impl PinBlock {
    /// Takes 8 or 16 bytes.
    #[must_use]
    pub fn new(block: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        bytes.get_mut(..block.len())?.copy_from_slice(block);
        [8, 16].contains(&block.len()).then_some(Self { bytes, wide: block.len() == 16 })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.wide { &self.bytes } else { &self.bytes[..8] }
    }
}

impl fmt::Debug for PinBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinBlock(****)")
    }
}

impl<'a> Field<'a> for PinBlock {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if reader.block == 32 {
            return reader.unhex().map(|bytes| Self { bytes, wide: true });
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&reader.unhex::<8>()?);
        Ok(Self { bytes, wide: false })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.hex(self.bytes());
    }
}

/// Two digits that name the layout of a PIN block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatCode(pub [u8; 2]);

impl FormatCode {
    /// ISO 9564-1 format 0.
    pub const ISO_0: Self = Self(*b"01");
    /// Docutel.
    pub const DOCUTEL: Self = Self(*b"02");
    /// Diebold and IBM ATM.
    pub const DIEBOLD: Self = Self(*b"03");
    /// PLUS network.
    pub const PLUS: Self = Self(*b"04");
    /// ISO 9564-1 format 1.
    pub const ISO_1: Self = Self(*b"05");
    /// ISO 9564-1 format 2, of a card.
    pub const ISO_2: Self = Self(*b"34");
    /// Mastercard: format 2 with an account.
    pub const PAY_NOW: Self = Self(*b"35");
    /// Visa: a new PIN for a card.
    pub const VISA_NEW: Self = Self(*b"41");
    /// Visa: the same over the current one.
    pub const VISA_BOTH: Self = Self(*b"42");
    /// ISO 9564-1 format 3.
    pub const ISO_3: Self = Self(*b"47");
    /// ISO 9564-1 format 4.
    pub const ISO_4: Self = Self(*b"48");
}

impl<'a> Field<'a> for FormatCode {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let code = Self(reader.chars(u8::is_ascii_digit)?);
        reader.plus |= code == Self::PLUS;
        reader.whole |= code == Self::ISO_4;
        Ok(code)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(&self.0);
    }
}

/// The account a PIN is bound to.
///
/// For format 48 it is the whole number and `;`: so random PINs under an AES LMK have it in a trace; for PIN blocks no
/// public source says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The twelve rightmost digits without the check digit.
    Twelve([u8; 12]),
    /// Format 04: eighteen characters, digits with `F` on their left.
    Plus([u8; 18]),
    /// The whole number: digits, and how many count.
    Whole([u8; 19], u8),
}

impl Account {
    /// The whole number, of 12 to 19 ASCII digits.
    #[must_use]
    pub fn whole(digits: &[u8]) -> Option<Self> {
        let mut number = [0; 19];
        number.get_mut(..digits.len())?.copy_from_slice(digits);
        let fits = 12 <= digits.len() && digits.iter().all(u8::is_ascii_digit);
        fits.then_some(Self::Whole(number, u8::try_from(digits.len()).unwrap_or(0)))
    }

    fn read_whole(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let bad = reader.fault(ErrorCode::INPUT);
        let count = reader.left().iter().take_while(|b| b.is_ascii_digit()).count();
        let account = Self::whole(reader.take(count)?).ok_or(bad)?;
        if reader.skip(b';') { Ok(account) } else { Err(bad) }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(****)")
    }
}

impl<'a> Field<'a> for Account {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if reader.whole && !reader.derived {
            return Self::read_whole(reader);
        }
        if !reader.plus {
            return reader.chars(u8::is_ascii_digit).map(Self::Twelve);
        }
        let bad = reader.fault(ErrorCode::INPUT);
        let padded: [u8; 18] = reader.chars(is_hex)?;
        let digits = padded.iter().skip_while(|b| **b == b'F');
        if digits.clone().count() < 12 || !digits.clone().all(u8::is_ascii_digit) {
            return Err(bad);
        }
        Ok(Self::Plus(padded))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Twelve(digits) => writer.put(digits),
            Self::Plus(padded) => writer.put(padded),
            Self::Whole(digits, count) => {
                writer.put(digits.get(..usize::from(*count)).unwrap_or_default());
                writer.byte(b';');
            }
        }
    }
}

/// The account of commands that name no format (JA, BA, NG): twelve digits, or the whole number and `;`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyAccount(pub Account);

impl<'a> Field<'a> for AnyAccount {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        // Whole where the run of digits ends at a `;`: nothing else may stand behind an account.
        let run = reader.left().iter().take_while(|b| b.is_ascii_digit()).count();
        let ends = reader.left().get(run) == Some(&b';');
        reader.whole = ends && (12..=19).contains(&run);
        Account::read(reader).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
    }
}

/// A PIN under the LMK: as many characters as the device is set to, or `J` and 32 hex digits under an AES LMK.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SealedPin {
    /// Digits, and how many count.
    Digits([u8; 13], u8),
    /// A block.
    Block([u8; 16]),
}

impl SealedPin {
    /// Takes up to thirteen hex digits.
    #[must_use]
    pub fn digits(digits: &[u8]) -> Option<Self> {
        let mut kept = [0; 13];
        kept.get_mut(..digits.len())?.copy_from_slice(digits);
        Some(Self::Digits(kept, u8::try_from(digits.len()).ok()?))
    }
}

impl fmt::Debug for SealedPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedPin(****)")
    }
}

impl<'a> Field<'a> for SealedPin {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if reader.skip(b'J') {
            return reader.unhex().map(Self::Block);
        }
        let bad = reader.fault(ErrorCode::INPUT);
        let digits = reader.hex(reader.settings.pin_digits)?;
        Self::digits(digits).ok_or(bad)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Digits(digits, count) => {
                writer.put(digits.get(..usize::from(*count)).unwrap_or_default());
            }
            Self::Block(block) => {
                writer.byte(b'J');
                writer.hex(block);
            }
        }
    }
}

/// A clear PIN, digits with `F` behind them, as long as a PIN under the LMK (BA, NG).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OpenPin {
    /// Characters.
    pub padded: [u8; 13],
    /// How many count.
    pub count: u8,
}

impl OpenPin {
    /// Pads digits to `width` characters, at most 13.
    #[must_use]
    pub fn new(digits: &[u8], width: usize) -> Option<Self> {
        let mut padded = [b'F'; 13];
        padded.get_mut(..digits.len())?.copy_from_slice(digits);
        let fits = digits.len() <= width && width <= 13;
        fits.then_some(Self { padded, count: u8::try_from(width).ok()? })
    }

    /// The digits before the padding.
    #[must_use]
    pub fn expose_digits(&self) -> &[u8] {
        let shown = self.padded.get(..usize::from(self.count)).unwrap_or_default();
        shown.split(|b| *b == b'F').next().unwrap_or_default()
    }
}

impl fmt::Debug for OpenPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenPin(****)")
    }
}

impl<'a> Field<'a> for OpenPin {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let bad = reader.fault(ErrorCode::INPUT);
        let shown = reader.hex(reader.settings.pin_digits)?;
        let digits = shown.split(|b| *b == b'F').next().unwrap_or_default();
        let padded = shown.iter().skip(digits.len()).all(|b| *b == b'F');
        if !padded || !digits.iter().all(u8::is_ascii_digit) {
            return Err(bad);
        }
        Self::new(digits, shown.len()).ok_or(bad)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(self.padded.get(..usize::from(self.count)).unwrap_or_default());
    }
}
