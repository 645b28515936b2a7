//! Fields of commands and answers, beside keys: PIN blocks, accounts, PVVs, offsets, counts, text.
//!
//! Those that could tell a PIN are masked in `Debug`. **Never here:** arithmetic; options (`option`).

use std::fmt;

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer, is_hex, nibble};

/// A field of so many characters of one kind.
macro_rules! chars {
    ($(#[$meta:meta])* $name:ident, $count:literal, $fit:path) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub [u8; $count]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(****)"))
            }
        }

        impl<'a> Field<'a> for $name {
            fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
                reader.chars($fit).map(Self)
            }

            fn write(&self, writer: &mut Writer<'_>) {
                writer.put(&self.0);
            }
        }
    };
}

chars!(
    /// Visa PIN verification value: four digits.
    Pvv, 4, u8::is_ascii_digit
);
chars!(
    /// Index of a PVK pair: one digit.
    Pvki, 1, u8::is_ascii_digit
);
chars!(
    /// A MAC of four bytes, in hex digits.
    Mac4, 8, is_hex
);
chars!(
    /// Initial value or MAC of eight bytes, in hex digits.
    Mac8, 16, is_hex
);
chars!(
    /// Key type in two characters, as BU and KA take it; `FF`: the three behind `;` count.
    KeyType2, 2, is_hex
);
chars!(
    /// Firmware: nine characters.
    Firmware, 9, is_graphic
);
chars!(
    /// Reference number of a printed or shown PIN: twelve digits.
    ReferenceNumber, 12, u8::is_ascii_digit
);
chars!(
    /// One character: a mode, a flag, a scheme.
    Letter, 1, is_graphic
);
chars!(
    /// Two digits of a mode.
    Mode2, 2, u8::is_ascii_digit
);

fn is_graphic(byte: &u8) -> bool {
    byte.is_ascii_graphic()
}

/// Text nobody else reads: what B2 echoes, what NO says, random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Text<'a> {
    /// All that is left: only where nothing can follow.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(reader.left().len()).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(self.0);
    }
}

/// Four hex digits of length, then so many bytes as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Counted<'a>(pub &'a [u8]);

impl fmt::Debug for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counted({} bytes)", self.0.len())
    }
}

impl<'a> Field<'a> for Counted<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let length = reader.hex_number(4)?;
        let short = reader.fault(ErrorCode::DATA_LENGTH);
        reader.take(length).map(Self).map_err(|_| short)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.number(self.0.len(), 4, 16);
        writer.put(self.0);
    }
}

/// Four decimal digits of length, then so many bytes as they are (GW).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedDecimal<'a>(pub Counted<'a>);

impl<'a> Field<'a> for CountedDecimal<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let length = reader.number(4)?;
        let short = reader.fault(ErrorCode::DATA_LENGTH);
        reader.take(length).map(|bytes| Self(Counted(bytes))).map_err(|_| short)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.number(self.0.0.len(), 4, 10);
        writer.put(self.0.0);
    }
}

/// Three decimal digits: how many random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count3(pub usize);

impl<'a> Field<'a> for Count3 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.number(3).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.number(self.0, 3, 10);
    }
}

/// The fixed `12` of translations: the longest PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twelve;

impl<'a> Field<'a> for Twelve {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let bad = reader.fault(ErrorCode::INPUT);
        if reader.number(2)? == 12 { Ok(Self) } else { Err(bad) }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(b"12");
    }
}

/// Two decimal digits: a PIN's length, or the digits an offset is checked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count2(pub u8);

impl<'a> Field<'a> for Count2 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        Ok(Self(u8::try_from(reader.number(2)?).unwrap_or(0)))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.number(self.0.into(), 2, 10);
    }
}

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
        if reader.whole {
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

/// An IBM 3624 offset: digits on the left, `F` to twelve characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Offset(pub [u8; 12]);

impl Offset {
    /// The digits before the padding.
    #[must_use]
    pub fn digits(&self) -> &[u8] {
        self.0.split(|b| *b == b'F').next().unwrap_or_default()
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offset(****)")
    }
}

impl<'a> Field<'a> for Offset {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let bad = reader.fault(ErrorCode::INPUT);
        let offset = Self(reader.chars(is_hex)?);
        let digits = offset.digits();
        let padded = offset.0.iter().skip(digits.len()).all(|b| *b == b'F');
        if padded && digits.iter().all(u8::is_ascii_digit) { Ok(offset) } else { Err(bad) }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(&self.0);
    }
}

/// A decimalization table: 16 characters that are the table or its ciphertext as the device is set, one in user
/// storage, or `L` and 32 hex digits under an AES LMK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Sixteen hex digits.
    Given([u8; 16]),
    /// `K` and its index.
    Stored([u8; 3]),
    /// `L` and sixteen bytes.
    Wide([u8; 16]),
}

impl<'a> Field<'a> for Table {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if reader.skip(b'K') {
            return reader.chars(is_hex).map(Self::Stored);
        }
        if reader.skip(b'L') {
            return reader.unhex().map(Self::Wide);
        }
        reader.chars(is_hex).map(Self::Given)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Given(digits) => writer.put(digits),
            Self::Stored(index) => {
                writer.byte(b'K');
                writer.put(index);
            }
            Self::Wide(bytes) => {
                writer.byte(b'L');
                writer.hex(bytes);
            }
        }
    }
}

/// What IBM 3624 encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidationData {
    /// Twelve characters: hex digits, and one `N` in the place of the last five digits of the account.
    Twelve([u8; 12]),
    /// `P` and the sixteen hex digits themselves.
    Whole([u8; 16]),
}

impl ValidationData {
    /// The eight bytes, with the last five of `account` in the place of the `N`.
    #[must_use]
    pub fn bytes(&self, account: &[u8]) -> Option<[u8; 8]> {
        let mut digits = [0; 16];
        match self {
            Self::Whole(whole) => digits = *whole,
            Self::Twelve(twelve) => {
                let (before, after) = twelve.split_at(twelve.iter().position(|b| *b == b'N')?);
                let five = account.get(account.len().checked_sub(5)?..)?;
                let row = before.iter().chain(five).chain(after.iter().skip(1));
                digits.iter_mut().zip(row).for_each(|(to, from)| *to = *from);
            }
        }
        let mut bytes = [0; 8];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit));
        }
        Some(bytes)
    }
}

impl<'a> Field<'a> for ValidationData {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if reader.skip(b'P') {
            return reader.chars(is_hex).map(Self::Whole);
        }
        let bad = reader.fault(ErrorCode::INPUT);
        let twelve: [u8; 12] = reader.chars(|b| is_hex(b) || *b == b'N')?;
        let marks = twelve.iter().filter(|b| **b == b'N').count();
        if marks == 1 { Ok(Self::Twelve(twelve)) } else { Err(bad) }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Twelve(twelve) => writer.put(twelve),
            Self::Whole(whole) => {
                writer.byte(b'P');
                writer.put(whole);
            }
        }
    }
}

/// KSN descriptor and key serial number of a DUKPT terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ksn {
    /// Hex digits of BDK id, sub-key id and device id.
    pub descriptor: [u8; 3],
    /// The number in hex digits, on the left, and how many count.
    pub digits: [u8; 20],
    /// 12 to 20.
    pub count: u8,
}

impl Ksn {
    /// As ten bytes, `F` on the left where it is shorter.
    #[must_use]
    pub fn padded(&self) -> [u8; 10] {
        let count = usize::from(self.count).min(20);
        let mut digits = [b'F'; 20];
        digits[20 - count..].copy_from_slice(&self.digits[..count]);
        let mut bytes = [0; 10];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit));
        }
        bytes
    }

    /// Whether the parts of the descriptor leave room for the counter's five digits.
    #[must_use]
    pub fn fits(&self) -> bool {
        let parts: u32 = self.descriptor.iter().map(|digit| u32::from(nibble(*digit))).sum();
        parts + 5 <= u32::from(self.count)
    }
}

impl<'a> Field<'a> for Ksn {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let descriptor = reader.chars(is_hex)?;
        let number = reader.hex(reader.assume.ksn)?;
        let mut digits = [b'0'; 20];
        digits.iter_mut().zip(number).for_each(|(to, from)| *to = *from);
        Ok(Self { descriptor, digits, count: u8::try_from(number.len()).unwrap_or(20) })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(&self.descriptor);
        writer.put(self.digits.get(..usize::from(self.count)).unwrap_or_default());
    }
}

/// A check value: 6 hex digits, or all 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckValue {
    /// Three bytes.
    Six([u8; 6]),
    /// Eight bytes.
    Sixteen([u8; 16]),
}

impl<'a> Field<'a> for CheckValue {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if reader.assume.check == 16 {
            return reader.chars(is_hex).map(Self::Sixteen);
        }
        reader.chars(is_hex).map(Self::Six)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Six(digits) => writer.put(digits),
            Self::Sixteen(digits) => writer.put(digits),
        }
    }
}
