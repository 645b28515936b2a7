//! Taking one field off the wire: length prefix, content, characters. The hot path.
//!
//! A [`Wire`] is a field's description boiled down to sixteen bytes; `nom` cuts, a table of 256 entries checks. **Never
//! here:** names, secrecy, what a value means. Where next: `message` and `composite` walk fields with it.

use nom::bytes::complete::take;
use nom::{Err as NomErr, IResult, Parser};

use super::encoding::{
    CLASS_A, CLASS_AN, CLASS_ANS, CLASS_BCD, CLASS_BCD_Z, CLASS_HEX, CLASS_N, CLASS_Z, Charset,
};
use super::field::{Encoding, Format, Rule};

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
#[expect(clippy::inline_always, reason = "the loop over a message's fields: a third of its time")]
#[inline(always)]
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

#[expect(clippy::inline_always, reason = "the loop over a message's fields: a third of its time")]
#[inline(always)]
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
#[expect(clippy::inline_always, reason = "the loop over a message's fields: a third of its time")]
#[inline(always)]
pub(super) fn characters(wire: &Wire, value: &[u8], units: usize) -> Result<(), Rule> {
    if wire.signed {
        return signed(wire, value, units);
    }
    if wire.unit == Unit::Nibble && units % 2 == 1 {
        return odd_digits(wire, value);
    }
    class(wire, value)
}

#[expect(clippy::inline_always, reason = "the loop over a message's fields: a third of its time")]
#[inline(always)]
fn class(wire: &Wire, value: &[u8]) -> Result<(), Rule> {
    let allowed = match (wire.charset, wire.mask) {
        (Charset::Ascii, CLASS_N) => eights(value, not_digits, wire),
        (Charset::Ascii, CLASS_ANS) => eights(value, not_printable, wire),
        _ => table(wire, value),
    };
    if allowed { Ok(()) } else { Err(Rule::Characters) }
}

#[inline]
fn table(wire: &Wire, value: &[u8]) -> bool {
    let classes = wire.charset.classes();
    let common = value.iter().fold(u8::MAX, |bits, byte| bits & classes[usize::from(*byte)]);
    common & wire.mask != 0
}

/// Checks eight bytes at a time; the last eight, or the two ends of a shorter value, may overlap what was checked.
#[expect(clippy::inline_always, reason = "the loop over a message's fields: a third of its time")]
#[inline(always)]
fn eights(value: &[u8], bad: impl Fn(u64) -> u64, wire: &Wire) -> bool {
    if let Some(last) = value.last_chunk::<8>() {
        let (whole, _) = value.as_chunks::<8>();
        let found = whole.iter().fold(0, |found, eight| found | bad(u64::from_be_bytes(*eight)));
        return (found | bad(u64::from_be_bytes(*last))) & HIGH == 0;
    }
    match (value.first_chunk::<4>(), value.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
            bad(u64::from(first) << 32 | u64::from(last)) & HIGH == 0
        }
        _ => table(wire, value),
    }
}

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * EACH;

/// High bits where a byte is no ASCII digit. A carry starts only at a byte that is itself flagged.
#[inline]
fn not_digits(eight: u64) -> u64 {
    let digit = eight ^ (0x30 * EACH);
    digit.wrapping_add(0x76 * EACH) | digit
}

/// High bits where a byte is outside 20 to 7E hex. A carry starts only at a byte that is itself flagged, and forcing
/// the high bits first keeps the subtraction inside each byte.
#[inline]
fn not_printable(eight: u64) -> u64 {
    let below = !((eight | HIGH).wrapping_sub(0x20 * EACH));
    below | eight.wrapping_add(EACH) | eight
}

#[inline(never)]
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

#[inline(never)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iso8583::encoding::ASCII_CLASS;

    #[test]
    fn eight_at_a_time_agrees_with_the_table() {
        for mask in [CLASS_N, CLASS_ANS] {
            let wire = Wire { unit: Unit::Byte, mask, ..Wire::UNDEFINED };
            let good = if mask == CLASS_N { b'5' } else { b'~' };
            for byte in 0..=255_u8 {
                for (len, at) in (1..20).flat_map(|len| (0..len).map(move |at| (len, at))) {
                    let mut value = [good; 20];
                    value[at] = byte;
                    let want = ASCII_CLASS[usize::from(byte)] & mask != 0;
                    assert_eq!(
                        class(&wire, &value[..len]).is_ok(),
                        want,
                        "{byte} at {at} of {len}"
                    );
                }
            }
        }
    }
}
