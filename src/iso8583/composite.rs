//! Fields made of fields: positional, bitmap inside, tag and length, BER-TLV, data sets, Postilion's structured data.
//!
//! Everything is lazy: decoding a message does not look inside; [`walk`] does when somebody asks. **Never here:**
//! changing a value; what does not parse stays as it came. Where next: `message` for lookups, `json` for the whole
//! tree.

use super::bitmap::BitmapForm;
use super::encoding::Charset;
use super::field::{FieldSpec, Format, Rule, rule_of};
use super::wire::field;

/// How a field is divided.
#[derive(Clone, Debug)]
pub enum Inner {
    /// One sub-field after the other on the field's text, numbered from 1.
    Positional(Box<[FieldSpec]>),
    /// A bitmap, then the sub-fields it names. Bit 1 is a sub-field like any other.
    Bitmap {
        /// How the bitmap travels.
        form: BitmapForm,
        /// Bits it has: 8 to 64.
        bits: u8,
        /// The sub-fields, ascending.
        subs: Box<[FieldSpec]>,
    },
    /// Tag and length in digits, repeated.
    Tagged {
        /// Digits of a tag.
        tag_digits: u8,
        /// Digits of a length; 0: what follows a tag is as long as its sub-field says.
        length_digits: u8,
        /// Characters before the first tag, sub-field 0.
        lead: u8,
        /// The character set of tag and length.
        charset: Ebcdic,
        /// What is known of the tags, ascending.
        subs: Box<[FieldSpec]>,
    },
    /// BER-TLV as EMV uses it.
    Tlv(Box<[FieldSpec]>),
    /// One byte of data set id, two bytes of length, BER-TLV inside; repeated.
    DataSets(Box<[FieldSpec]>),
    /// Postilion's 127.22: digits of the length, length, key, and the same for the value; repeated.
    Structured,
}

/// Whether digits are EBCDIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ebcdic {
    /// They are ASCII.
    No,
    /// They are EBCDIC.
    Yes,
}

impl Ebcdic {
    pub(super) fn charset(self) -> Charset {
        match self {
            Self::No => Charset::Ascii,
            Self::Yes => Charset::Ebcdic,
        }
    }
}

impl Inner {
    /// What is known of the sub-fields.
    #[must_use]
    pub fn subs(&self) -> &[FieldSpec] {
        match self {
            Self::Positional(subs)
            | Self::Bitmap { subs, .. }
            | Self::Tagged { subs, .. }
            | Self::Tlv(subs)
            | Self::DataSets(subs) => subs,
            Self::Structured => &[],
        }
    }

    /// What is known of sub-field `number`.
    #[must_use]
    pub fn sub(&self, number: u32) -> Option<&FieldSpec> {
        let subs = self.subs();
        subs.binary_search_by_key(&number, FieldSpec::number).ok().and_then(|i| subs.get(i))
    }

    /// The word in a dialect file.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Positional(_) => "positional",
            Self::Bitmap { .. } => "bitmap",
            Self::Tagged { .. } => "tag-length",
            Self::Tlv(_) => "ber-tlv",
            Self::DataSets(_) => "data-sets",
            Self::Structured => "structured",
        }
    }
}

/// What names a sub-field in its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A position, a bit or a decimal tag.
    Number(u32),
    /// A BER tag or a data set id.
    Tag(u32),
    /// A key of structured data.
    Name(&'a [u8]),
}

impl Key<'_> {
    /// The number of a position, bit or tag.
    #[must_use]
    pub const fn number(self) -> Option<u32> {
        match self {
            Self::Number(n) | Self::Tag(n) => Some(n),
            Self::Name(_) => None,
        }
    }
}

/// One sub-field on the wire.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// What names it.
    pub key: Key<'a>,
    /// What the dialect knows of it.
    pub spec: Option<&'a FieldSpec>,
    /// Its bytes, tag and length included.
    pub raw: &'a [u8],
    /// Its content.
    pub value: &'a [u8],
    pub(super) units: u32,
}

/// The sub-fields of a value in wire order. A value that breaks a rule gives one error and ends.
///
/// Positional fields are divided on their text, not on the wire: use [`super::Message::sub`]; here they are one error.
#[must_use]
pub fn walk<'a>(inner: &'a Inner, value: &'a [u8]) -> Walk<'a> {
    let state = match inner {
        Inner::Positional(_) => State::Failed(Rule::SubFields),
        Inner::Bitmap { form, bits, .. } => {
            let bytes = form.bytes() * usize::from(*bits) / 64;
            match value.split_at_checked(bytes) {
                Some((bitmap, rest)) => match form.read(bitmap) {
                    Some(word) => State::Bits { word, rest },
                    None => State::Failed(Rule::Bitmap),
                },
                None => State::Failed(Rule::Truncated),
            }
        }
        Inner::Tagged { lead, .. } if *lead > 0 => State::Lead(value),
        Inner::Tagged { .. } | Inner::Tlv(_) | Inner::DataSets(_) | Inner::Structured => {
            State::Rest(value)
        }
    };
    Walk { inner, state }
}

/// See [`walk`].
pub struct Walk<'a> {
    inner: &'a Inner,
    state: State<'a>,
}

enum State<'a> {
    Bits { word: u64, rest: &'a [u8] },
    Lead(&'a [u8]),
    Rest(&'a [u8]),
    Failed(Rule),
    Done,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Entry<'a>, Rule>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = match std::mem::replace(&mut self.state, State::Done) {
            State::Done | State::Bits { word: 0, rest: [] } | State::Rest([]) => return None,
            State::Bits { word: 0, .. } => Err(Rule::SubFields),
            State::Bits { word, rest } => bit(self.inner, word, rest),
            State::Lead(value) => lead(self.inner, value),
            State::Rest(value) => match self.inner {
                Inner::Tagged { tag_digits, length_digits, charset, .. } => {
                    tagged(self.inner, (*tag_digits, *length_digits), charset.charset(), value)
                }
                Inner::Tlv(_) => tlv(self.inner, value),
                Inner::DataSets(_) => data_set(value),
                Inner::Structured => structured(value),
                Inner::Positional(_) | Inner::Bitmap { .. } => Err(Rule::SubFields),
            },
            State::Failed(rule) => Err(rule),
        };
        match step {
            Ok((entry, state)) => {
                self.state = state;
                Some(Ok(entry))
            }
            Err(rule) => Some(Err(rule)),
        }
    }
}

type Step<'a> = Result<(Entry<'a>, State<'a>), Rule>;

fn bit<'a>(inner: &'a Inner, word: u64, input: &'a [u8]) -> Step<'a> {
    let bit = word.leading_zeros();
    let spec = inner.sub(bit + 1).ok_or(Rule::UnknownField)?;
    let (rest, taken) = field(&spec.wire, input).map_err(|error| rule_of(&error))?;
    let raw = &input[..input.len() - rest.len()];
    let entry = Entry {
        key: Key::Number(bit + 1),
        spec: Some(spec),
        raw,
        value: taken.value,
        units: taken.units,
    };
    Ok((entry, State::Bits { word: word & !(1 << 63 >> bit), rest }))
}

fn split(input: &[u8], at: usize) -> Result<(&[u8], &[u8]), Rule> {
    input.split_at_checked(at).ok_or(Rule::Truncated)
}

fn units_of(value: &[u8]) -> u32 {
    u32::try_from(value.len()).unwrap_or(u32::MAX)
}

fn lead<'a>(inner: &'a Inner, input: &'a [u8]) -> Step<'a> {
    let Inner::Tagged { lead, .. } = inner else { return Err(Rule::SubFields) };
    let (value, rest) = split(input, usize::from(*lead))?;
    let entry = Entry {
        key: Key::Number(0),
        spec: inner.sub(0),
        raw: value,
        value,
        units: units_of(value),
    };
    Ok((entry, State::Rest(rest)))
}

pub(super) fn number(digits: &[u8], charset: Charset) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, byte| {
        let digit = charset.to_latin(*byte).wrapping_sub(b'0');
        (digit <= 9).then(|| sum * 10 + u32::from(digit))
    })
}

fn tagged<'a>(inner: &'a Inner, digits: (u8, u8), charset: Charset, input: &'a [u8]) -> Step<'a> {
    let (tag, rest) = split(input, usize::from(digits.0))?;
    if digits.1 == 0 {
        return tagged_field(inner, number(tag, charset).ok_or(Rule::Characters)?, input, rest);
    }
    let (length, rest) = split(rest, usize::from(digits.1))?;
    let tag = number(tag, charset).ok_or(Rule::Characters)?;
    let length = number(length, charset).ok_or(Rule::LengthPrefix)?;
    let (value, rest) = split(rest, length as usize)?;
    let raw = &input[..input.len() - rest.len()];
    let entry = Entry { key: Key::Number(tag), spec: inner.sub(tag), raw, value, units: length };
    Ok((entry, State::Rest(rest)))
}

/// A tag and a sub-field that knows its own length.
fn tagged_field<'a>(inner: &'a Inner, tag: u32, input: &'a [u8], content: &'a [u8]) -> Step<'a> {
    let spec = inner.sub(tag).ok_or(Rule::UnknownField)?;
    let (rest, taken) = field(&spec.wire, content).map_err(|error| rule_of(&error))?;
    let raw = &input[..input.len() - rest.len()];
    let (value, units) = (taken.value, taken.units);
    let entry = Entry { key: Key::Number(tag), spec: Some(spec), raw, value, units };
    Ok((entry, State::Rest(rest)))
}

/// EMV book 3, annex B: tags of up to three bytes here, lengths of up to two bytes after the marker.
fn tlv<'a>(inner: &'a Inner, input: &'a [u8]) -> Step<'a> {
    let (tag, rest) = ber_tag(input)?;
    let (length, rest) = ber_length(rest)?;
    let (value, rest) = split(rest, length)?;
    let raw = &input[..input.len() - rest.len()];
    let entry =
        Entry { key: Key::Tag(tag), spec: inner.sub(tag), raw, value, units: units_of(value) };
    Ok((entry, State::Rest(rest)))
}

fn ber_tag(input: &[u8]) -> Result<(u32, &[u8]), Rule> {
    let (first, mut rest) = input.split_first().ok_or(Rule::Truncated)?;
    let mut tag = u32::from(*first);
    if first & 0x1F != 0x1F {
        return Ok((tag, rest));
    }
    for _ in 0..3 {
        let (next, after) = rest.split_first().ok_or(Rule::Truncated)?;
        tag = tag << 8 | u32::from(*next);
        rest = after;
        if next & 0x80 == 0 {
            return Ok((tag, rest));
        }
    }
    Err(Rule::SubFields)
}

fn ber_length(input: &[u8]) -> Result<(usize, &[u8]), Rule> {
    match input {
        [short @ 0..=0x7F, rest @ ..] => Ok((usize::from(*short), rest)),
        [0x81, length, rest @ ..] => Ok((usize::from(*length), rest)),
        [0x82, high, low, rest @ ..] => Ok((usize::from(u16::from_be_bytes([*high, *low])), rest)),
        _ => Err(Rule::LengthPrefix),
    }
}

fn data_set(input: &[u8]) -> Step<'_> {
    let [id, high, low, rest @ ..] = input else { return Err(Rule::Truncated) };
    let (value, rest) = split(rest, usize::from(u16::from_be_bytes([*high, *low])))?;
    let raw = &input[..input.len() - rest.len()];
    let entry =
        Entry { key: Key::Tag(u32::from(*id)), spec: None, raw, value, units: units_of(value) };
    Ok((entry, State::Rest(rest)))
}

fn structured(input: &[u8]) -> Step<'_> {
    let (key, rest) = counted(input)?;
    let (value, rest) = counted(rest)?;
    let raw = &input[..input.len() - rest.len()];
    let entry = Entry { key: Key::Name(key), spec: None, raw, value, units: units_of(value) };
    Ok((entry, State::Rest(rest)))
}

/// One digit that says how many digits the length has, the length, the bytes.
fn counted(input: &[u8]) -> Result<(&[u8], &[u8]), Rule> {
    let (digits, rest) = split(input, 1)?;
    let digits = number(digits, Charset::Ascii).ok_or(Rule::LengthPrefix)?;
    let (length, rest) = split(rest, digits as usize)?;
    let length = number(length, Charset::Ascii).ok_or(Rule::LengthPrefix)?;
    split(rest, length as usize)
}

/// The BER-TLV inside one data set.
pub(super) fn walk_tlv<'a>(inner: &'a Inner, value: &'a [u8]) -> DataSetWalk<'a> {
    DataSetWalk { inner, rest: value }
}

/// See [`walk_tlv`].
pub(super) struct DataSetWalk<'a> {
    inner: &'a Inner,
    rest: &'a [u8],
}

impl<'a> Iterator for DataSetWalk<'a> {
    type Item = Result<Entry<'a>, Rule>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match tlv(self.inner, self.rest) {
            Ok((entry, State::Rest(rest))) => {
                self.rest = rest;
                Some(Ok(entry))
            }
            Ok(_) => None,
            Err(rule) => {
                self.rest = &[];
                Some(Err(rule))
            }
        }
    }
}

/// Whether a field of this format can be divided this way.
pub(super) fn divisible(format: Format, inner: &Inner) -> bool {
    match inner {
        Inner::Positional(_) => format != Format::B,
        Inner::Tlv(_) | Inner::DataSets(_) => format == Format::B,
        Inner::Bitmap { .. } | Inner::Tagged { .. } | Inner::Structured => true,
    }
}
