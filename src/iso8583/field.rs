//! One field: what its file says about it, and the rules it can break.
//!
//! [`FieldSpec`] is the description, its `Wire` the same boiled down to what the hot path needs. **Never here:** which
//! field follows which. Where next: `wire` takes fields off the wire, `build` writes them.

use nom::Err as NomErr;
use nom::error::{ErrorKind, ParseError};

use super::composite::Inner;
use super::encoding::{Charset, Sink, hex_digit, hex_value};
use super::wire::Wire;

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

/// The rule inside a parser's error.
pub(super) fn rule_of(error: &nom::Err<Rule>) -> Rule {
    match error {
        NomErr::Error(rule) | NomErr::Failure(rule) => *rule,
        NomErr::Incomplete(_) => Rule::Truncated,
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
