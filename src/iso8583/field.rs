//! One field: what its file says about it, and how its bytes are taken off and checked.
//!
//! [`FieldSpec`] is the description, its `Wire` the same boiled down to what the hot path needs. **Never here:** which
//! field follows which. Where next: `message` and `composite` walk fields, `build` writes them.

use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::{Err as NomErr, IResult, Parser};

use super::composite::Inner;
use super::encoding::{
    CLASS_A, CLASS_AN, CLASS_ANS, CLASS_BCD, CLASS_BCD_Z, CLASS_HEX, CLASS_N, CLASS_Z, Charset,
    Sink, hex_digit, hex_value,
};

/// The rule a message or a value breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// The message ends inside the field.
    #[error("the message ends before the field does")]
    Truncated,
    /// The dialect has no rule for this field.
    #[error("the dialect does not define this field")]
    UnknownField,
    /// The length prefix is not a number.
    #[error("the length prefix is not a number")]
    LengthPrefix,
    /// Longer than the dialect allows.
    #[error("longer than the dialect allows")]
    TooLong,
    /// Not the fixed length the dialect gives.
    #[error("not the length the dialect gives")]
    WrongLength,
    /// A byte outside the field's character class.
    #[error("a character that the field's format does not allow")]
    Characters,
    /// The padding half-byte of an odd number of digits is neither 0 nor F.
    #[error("padding of an odd number of digits is neither 0 nor F")]
    Padding,
    /// The sign of an amount is neither C nor D.
    #[error("the sign is neither C nor D")]
    Sign,
    /// Bytes follow the last field.
    #[error("bytes follow the last field")]
    Trailing,
    /// The message type is not four digits.
    #[error("the message type is not four digits")]
    Mti,
    /// The bitmap is not hexadecimal, or is cut short.
    #[error("the bitmap is malformed")]
    Bitmap,
    /// Longer than any message this switch reads.
    #[error("longer than any message may be")]
    MessageTooLong,
    /// Sub-fields do not add up to their field.
    #[error("the sub-fields do not add up to the field")]
    SubFields,
    /// Fields are set out of order.
    #[error("fields must be set in ascending order")]
    Order,
    /// The value has another kind than the field: text for binary or the reverse.
    #[error("the field holds another kind of value")]
    Kind,
}

impl<I> ParseError<I> for Rule {
    fn from_error_kind(_: I, _: ErrorKind) -> Self {
        Self::Truncated
    }

    fn append(_: I, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Digits.
    N,
    /// Letters and spaces.
    A,
    /// Letters, digits and spaces.
    An,
    /// Printable characters.
    Ans,
    /// Track 2 or 3 code set: digits and the separators `=` and `D`.
    Z,
    /// Bytes.
    B,
    /// A sign, C or D, and digits. Lengths count the digits.
    Xn,
}

impl Format {
    /// The notation of the standard.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::N => "n",
            Self::A => "a",
            Self::An => "an",
            Self::Ans => "ans",
            Self::Z => "z",
            Self::B => "b",
            Self::Xn => "x+n",
        }
    }
}

/// How a field's content travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One ASCII character a byte.
    Ascii,
    /// One EBCDIC character a byte, code page 037.
    Ebcdic,
    /// Two digits a byte; an odd number is padded on the left.
    BcdLeft,
    /// Two digits a byte; an odd number is padded on the right.
    BcdRight,
    /// Bytes as they are.
    Binary,
    /// Two hexadecimal ASCII digits a byte.
    Hex,
}

impl Encoding {
    /// The word in a dialect file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Ebcdic => "ebcdic",
            Self::BcdLeft => "bcd-left",
            Self::BcdRight => "bcd-right",
            Self::Binary => "binary",
            Self::Hex => "hex",
        }
    }
}

/// How a length prefix travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixEncoding {
    /// ASCII digits.
    Ascii,
    /// EBCDIC digits.
    Ebcdic,
    /// Packed digits, left padded: LL is one byte, LLL and LLLL are two.
    Bcd,
    /// A big-endian number: one byte up to LL, two bytes above, or what the file says.
    Binary,
}

/// How long a field is. Digits or bytes, whichever the field counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Always this long.
    Fixed(u32),
    /// At most `max`, after a length prefix of `digits` digits.
    Variable {
        /// Digits of the length: LL is 2.
        digits: u8,
        /// The longest content.
        max: u32,
    },
}

/// Who may see a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Everybody.
    Public,
    /// First six and last four of an account number; of anything else nothing.
    Masked,
    /// Nobody.
    Secret,
}

/// What a dialect says of one field or sub-field.
#[derive(Clone, Debug)]
pub struct FieldSpec {
    pub(super) number: u32,
    pub(super) name: Box<str>,
    pub(super) format: Format,
    pub(super) encoding: Encoding,
    pub(super) length: Length,
    pub(super) prefix: PrefixEncoding,
    pub(super) counts_bytes: bool,
    pub(super) pad: u8,
    pub(super) secrecy: Secrecy,
    pub(super) lenient: bool,
    pub(super) inner: Option<Box<Inner>>,
    pub(super) wire: Wire,
}

impl FieldSpec {
    /// The number; for a sub-field its position, bit or tag.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// How it travels.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Length {
        self.length
    }

    /// How the length prefix travels.
    #[must_use]
    pub fn prefix(&self) -> PrefixEncoding {
        self.prefix
    }

    /// Whether the length counts bytes on the wire rather than digits or characters.
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        self.counts_bytes
    }

    /// Who may see it.
    #[must_use]
    pub fn secrecy(&self) -> Secrecy {
        self.secrecy
    }

    /// Whether its characters go unchecked.
    #[must_use]
    pub fn lenient(&self) -> bool {
        self.lenient
    }

    /// How it is divided, when it is.
    #[must_use]
    pub fn inner(&self) -> Option<&Inner> {
        self.inner.as_deref()
    }

    /// Writes the content as canonical text: Latin-1, digits as digits, the separator of a packed track as `=`.
    pub(super) fn text_into(&self, value: &[u8], units: u32, out: &mut dyn Sink) -> Option<()> {
        if self.format == Format::B {
            return None;
        }
        match self.encoding {
            Encoding::Ascii => out.push_slice(value),
            Encoding::Ebcdic => {
                value.iter().try_for_each(|b| out.push(Charset::Ebcdic.to_latin(*b)))
            }
            Encoding::BcdLeft | Encoding::BcdRight => {
                let (value, units) = if self.format == Format::Xn {
                    let (sign, digits) = value.split_first()?;
                    out.push(*sign)?;
                    (digits, units.saturating_sub(1))
                } else {
                    (value, units)
                };
                let units = usize::try_from(units).ok()?;
                let left = units % 2 == 1 && self.encoding == Encoding::BcdLeft;
                let nibbles = value.iter().flat_map(|b| [b >> 4, b & 0x0F]);
                for nibble in nibbles.skip(usize::from(left)).take(units) {
                    let packed_separator = nibble == 0xD && self.format == Format::Z;
                    out.push(if packed_separator { b'=' } else { hex_digit(nibble) })?;
                }
                Some(())
            }
            Encoding::Binary | Encoding::Hex => None,
        }
    }

    /// Writes the content as bytes, un-hexed when the wire is hexadecimal. Binary fields only.
    pub(super) fn binary_into(&self, value: &[u8], out: &mut dyn Sink) -> Option<()> {
        match (self.format, self.encoding) {
            (Format::B, Encoding::Hex) => value.chunks(2).try_for_each(|pair| match pair {
                [high, low] => out.push(hex_value(*high)? << 4 | hex_value(*low)?),
                _ => None,
            }),
            (Format::B, _) => out.push_slice(value),
            _ => None,
        }
    }
}

/// What one unit of a length is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// No such field.
    Undefined,
    /// A byte.
    Byte,
    /// Half a byte.
    Nibble,
    /// Two hexadecimal digits.
    HexPair,
    /// A sign byte, then half bytes; the sign counts as one unit.
    SignedNibble,
}

/// What stands before the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    Fixed,
    Ascii2,
    Ascii,
    Ebcdic,
    Bcd,
    Binary,
}

/// A field boiled down for the hot path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// Units of a fixed field, most units of a variable one.
    pub(super) max: u32,
    pub(super) unit: Unit,
    pub(super) prefix: Prefix,
    /// Bytes of the length prefix.
    pub(super) prefix_bytes: u8,
    /// The length counts bytes though the content is half bytes.
    pub(super) counts_bytes: bool,
    /// The odd half byte is on the right.
    pub(super) pad_right: bool,
    /// The first unit is a sign.
    pub(super) signed: bool,
    pub(super) charset: Charset,
    /// Class bits a byte must have one of; 0 checks nothing.
    pub(super) mask: u8,
}

impl Wire {
    pub(super) const UNDEFINED: Self = Self {
        max: 0,
        unit: Unit::Undefined,
        prefix: Prefix::Fixed,
        prefix_bytes: 0,
        counts_bytes: false,
        pad_right: false,
        signed: false,
        charset: Charset::Ascii,
        mask: 0,
    };

    /// Bytes that `units` take on the wire.
    pub(super) const fn content_bytes(&self, units: usize) -> usize {
        match self.unit {
            Unit::Undefined | Unit::Byte => units,
            Unit::Nibble => units.div_ceil(2),
            Unit::HexPair => units.saturating_mul(2),
            Unit::SignedNibble => units.saturating_add(2) / 2,
        }
    }
}

/// The class bit of a format in an encoding.
pub(super) const fn class_of(format: Format, encoding: Encoding) -> u8 {
    match (encoding, format) {
        (Encoding::BcdLeft | Encoding::BcdRight, Format::Z) => CLASS_BCD_Z,
        (Encoding::BcdLeft | Encoding::BcdRight, _) => CLASS_BCD,
        (Encoding::Hex, _) => CLASS_HEX,
        (_, Format::N | Format::Xn) => CLASS_N,
        (_, Format::A) => CLASS_A,
        (_, Format::An) => CLASS_AN,
        (_, Format::Ans) => CLASS_ANS,
        (_, Format::Z) => CLASS_Z,
        (_, Format::B) => 0,
    }
}

/// A field off the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken<'a> {
    pub(super) value: &'a [u8],
    /// Digits, characters or bytes of the value, by the field's format.
    pub(super) units: u32,
}

/// Takes one field: prefix, content, characters. On error nothing is consumed.
#[inline]
pub(super) fn field<'a>(wire: &Wire, input: &'a [u8]) -> IResult<&'a [u8], Taken<'a>, Rule> {
    let (input, count) = match wire.prefix {
        Prefix::Fixed => (input, wire.max),
        _ => length_prefix(wire, input)?,
    };
    let (content, units) = if wire.counts_bytes {
        (count as usize, count.saturating_mul(2))
    } else {
        (wire.content_bytes(count as usize), count)
    };
    let (rest, value) = take::<_, _, Rule>(content).parse_complete(input)?;
    let units = if wire.counts_bytes { units - filler(wire, value) } else { units };
    if wire.mask != 0 {
        characters(wire, value, units as usize).map_err(NomErr::Error)?;
    }
    Ok((rest, Taken { value, units }))
}

/// Of a packed field whose length counts bytes: 1 when the last half byte is the filler F.
fn filler(wire: &Wire, value: &[u8]) -> u32 {
    u32::from(wire.pad_right && value.last().is_some_and(|b| b & 0x0F == 0x0F))
}

#[inline]
fn length_prefix<'a>(wire: &Wire, input: &'a [u8]) -> IResult<&'a [u8], u32, Rule> {
    let (rest, digits) =
        take::<_, _, Rule>(usize::from(wire.prefix_bytes)).parse_complete(input)?;
    let count = match wire.prefix {
        Prefix::Ascii2 => match digits {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
            }
            _ => None,
        },
        Prefix::Ascii => decimal(digits, b'0'),
        Prefix::Ebcdic => decimal(digits, 0xF0),
        Prefix::Bcd => digits.iter().try_fold(0_u32, |sum, byte| {
            let (high, low) = (byte >> 4, byte & 0x0F);
            (high <= 9 && low <= 9).then(|| sum * 100 + u32::from(high) * 10 + u32::from(low))
        }),
        Prefix::Binary => Some(digits.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))),
        Prefix::Fixed => Some(wire.max),
    };
    let count = count.ok_or(NomErr::Error(Rule::LengthPrefix))?;
    let most = if wire.counts_bytes { wire.max.div_ceil(2) } else { wire.max };
    if count > most {
        return Err(NomErr::Error(Rule::TooLong));
    }
    Ok((rest, count))
}

fn decimal(digits: &[u8], zero: u8) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, byte| {
        let digit = byte.wrapping_sub(zero);
        (digit <= 9).then(|| sum * 10 + u32::from(digit))
    })
}

/// Checks every byte of a value against the field's class.
#[inline]
pub(super) fn characters(wire: &Wire, value: &[u8], units: usize) -> Result<(), Rule> {
    if wire.signed {
        return signed(wire, value, units);
    }
    if wire.unit == Unit::Nibble && units % 2 == 1 {
        return odd_digits(wire, value);
    }
    class(wire, value)
}

#[inline]
fn class(wire: &Wire, value: &[u8]) -> Result<(), Rule> {
    let classes = wire.charset.classes();
    let common = value.iter().fold(u8::MAX, |bits, byte| bits & classes[usize::from(*byte)]);
    if common & wire.mask == 0 { Err(Rule::Characters) } else { Ok(()) }
}

fn odd_digits(wire: &Wire, value: &[u8]) -> Result<(), Rule> {
    let (odd, whole) = if wire.pad_right {
        value.split_last().ok_or(Rule::WrongLength)?
    } else {
        value.split_first().ok_or(Rule::WrongLength)?
    };
    let (digit, pad) = if wire.pad_right { (odd >> 4, odd & 0x0F) } else { (odd & 0x0F, odd >> 4) };
    if pad != 0 && pad != 0x0F {
        return Err(Rule::Padding);
    }
    class(wire, &[digit])?;
    class(wire, whole)
}

fn signed(wire: &Wire, value: &[u8], units: usize) -> Result<(), Rule> {
    let (sign, digits) = value.split_first().ok_or(Rule::WrongLength)?;
    if !matches!(wire.charset.to_latin(*sign), b'C' | b'D') {
        return Err(Rule::Sign);
    }
    if wire.unit == Unit::SignedNibble && units.is_multiple_of(2) {
        return odd_digits(wire, digits);
    }
    class(wire, digits)
}

/// Offset in `value` of the first byte outside the class: where an error points.
pub(super) fn first_bad(wire: &Wire, value: &[u8]) -> usize {
    let classes = wire.charset.classes();
    let skip = usize::from(wire.signed);
    let bad = |byte: &u8| classes[usize::from(*byte)] & wire.mask == 0;
    value.iter().skip(skip).position(bad).map_or(0, |at| at + skip)
}
