//! Fields of commands and answers, beside keys: PIN blocks, accounts, PVVs, offsets, counts, text.
//!
//! Those that could tell a PIN are masked in `Debug`. **Never here:** arithmetic; options (`option`); accounts and PINs
//! (`pin_field`, whose fields are also found here).

use std::fmt;

use crate::hsm::payshield::wire::error::ErrorCode;
pub use crate::hsm::payshield::wire::pin_field::{
    Account, AnyAccount, FormatCode, OpenPin, PinBlock, SealedPin,
};
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

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "as `u8::is_ascii_digit`, beside which it is passed"
)]
fn is_graphic(byte: &u8) -> bool {
    byte.is_ascii_graphic()
}

/// Text nobody else reads: what NO says.
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

/// Bytes as they are, to the end: what B2 echoes, random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Raw<'a> {
    /// All that is left: only where nothing can follow.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.binary(reader.left().len()).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.binary(self.0);
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
        reader.binary(length).map(Self).map_err(|_| short)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.number(self.0.len(), 4, 16);
        writer.binary(self.0);
    }
}

/// Four decimal digits of length, then so many bytes as they are (GW).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedDecimal<'a>(pub Counted<'a>);

impl<'a> Field<'a> for CountedDecimal<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let length = reader.number(4)?;
        let short = reader.fault(ErrorCode::DATA_LENGTH);
        reader.binary(length).map(|bytes| Self(Counted(bytes))).map_err(|_| short)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.number(self.0.0.len(), 4, 10);
        writer.binary(self.0.0);
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
        let marks = twelve.split(|b| *b == b'N').count();
        if marks == 2 { Ok(Self::Twelve(twelve)) } else { Err(bad) }
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
        reader.derived = true;
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
