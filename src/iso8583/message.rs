//! Reading a message: one pass that checks every field and notes where each stands, then a view on the bytes.
//!
//! [`Layout`] is the table of places, made once and used again; [`decode`] fills it and allocates nothing. **Never
//! here:** changing a message, looking inside composite fields before somebody asks. Where next: `field` for one field,
//! `composite` for sub-fields, `build` for writing.

use std::fmt;

use super::bitmap::Bitmap;
use super::encoding::{Charset, Text};
use super::field::{FieldSpec, Rule, Secrecy, rule_of};
use super::spec::{Dialect, MtiEncoding, SLOTS};
use super::sub::{self, Sub};
use super::wire::{Unit, field, first_bad};

/// Why bytes are not a message of the dialect. It never carries bytes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field} at byte {offset}: {rule}")]
pub struct DecodeError {
    /// The field; 0 is the message type, 1 the bitmap.
    pub field: u8,
    /// Where in the message, from 0.
    pub offset: usize,
    /// The rule that is broken.
    pub rule: Rule,
}

/// Where one field stands: bytes from the start of the message, and its length in units.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u16,
    value: u16,
    end: u16,
    units: u16,
}

/// Where each field of a message stands. Make one per connection and use it for every message.
#[derive(Clone, Debug)]
pub struct Layout {
    mti: [u8; 4],
    bitmap_end: u16,
    /// What the wire announced.
    announced: Bitmap,
    /// What has been decoded; spans of others are left over from earlier messages.
    present: Bitmap,
    spans: Box<[Span; SLOTS]>,
}

impl Layout {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            mti: [0; 4],
            bitmap_end: 0,
            announced: Bitmap::EMPTY,
            present: Bitmap::EMPTY,
            spans: Box::new([Span::default(); SLOTS]),
        }
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes `bytes`, the message without its framing.
///
/// # Errors
///
/// The first field that breaks its rule. `layout` then holds what was decoded before it: [`Message::partial`].
pub fn decode<'a>(
    dialect: &'a Dialect,
    bytes: &'a [u8],
    layout: &'a mut Layout,
) -> Result<Message<'a>, DecodeError> {
    fill(dialect, bytes, layout)?;
    Ok(Message { dialect, bytes, layout })
}

fn fill(dialect: &Dialect, bytes: &[u8], layout: &mut Layout) -> Result<(), DecodeError> {
    layout.mti = [0; 4];
    layout.bitmap_end = 0;
    layout.announced = Bitmap::EMPTY;
    layout.present = Bitmap::EMPTY;
    let error = |field, offset, rule| Err(DecodeError { field, offset, rule });
    if bytes.len() > usize::from(u16::MAX) {
        return error(0, 0, Rule::MessageTooLong);
    }
    let Some((mti, rest)) = bytes.split_at_checked(dialect.mti.bytes()) else {
        return error(0, 0, Rule::Truncated);
    };
    match read_mti(dialect.mti, mti) {
        Some(digits) => layout.mti = digits,
        None => return error(0, 0, Rule::Mti),
    }
    let rest = match read_bitmaps(dialect, rest, &mut layout.announced) {
        Ok(rest) => rest,
        Err(rule) => return error(1, dialect.mti.bytes(), rule),
    };
    layout.bitmap_end = narrow(bytes.len() - rest.len());
    body(dialect, bytes, rest, layout)
}

/// A length that is at most 65 535 because the whole message is.
fn narrow(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn read_mti(encoding: MtiEncoding, wire: &[u8]) -> Option<[u8; 4]> {
    let digits = match (encoding, wire) {
        (MtiEncoding::Ascii, [a, b, c, d]) => [*a, *b, *c, *d],
        (MtiEncoding::Ebcdic, [a, b, c, d]) => {
            [*a, *b, *c, *d].map(|e| Charset::Ebcdic.to_latin(e))
        }
        (MtiEncoding::Bcd, [a, b]) => {
            [a >> 4, a & 0x0F, b >> 4, b & 0x0F].map(|nibble| nibble | 0x30)
        }
        _ => return None,
    };
    digits.iter().all(u8::is_ascii_digit).then_some(digits)
}

fn read_bitmaps<'a>(
    dialect: &Dialect,
    mut rest: &'a [u8],
    announced: &mut Bitmap,
) -> Result<&'a [u8], Rule> {
    for index in 0..usize::from(dialect.bitmaps) {
        let (wire, after) = rest.split_at_checked(dialect.bitmap.bytes()).ok_or(Rule::Truncated)?;
        let word = dialect.bitmap.read(wire).ok_or(Rule::Bitmap)?;
        announced.set_word(index, word);
        rest = after;
        if word >> 63 == 0 {
            break;
        }
    }
    Ok(rest)
}

fn body(
    dialect: &Dialect,
    bytes: &[u8],
    mut rest: &[u8],
    layout: &mut Layout,
) -> Result<(), DecodeError> {
    let mut last = 1;
    for index in 0..3_u8 {
        let mut word = layout.announced.word(usize::from(index));
        if dialect.announces(index * 64 + 1) {
            word &= u64::MAX >> 1;
        }
        let whole = word;
        while word != 0 {
            let bit = word.leading_zeros();
            let mask = 1 << 63 >> bit;
            #[expect(clippy::cast_possible_truncation, reason = "bit < 64")]
            let number = index * 64 + bit as u8 + 1;
            let wire = &dialect.wires[usize::from(number)];
            let start = bytes.len() - rest.len();
            let failed = |offset, rule| DecodeError { field: number, offset, rule };
            let (after, taken) = match field(wire, rest) {
                Ok(done) if wire.unit != Unit::Undefined => done,
                Ok(_) => {
                    layout.present.set_word(usize::from(index), whole & !(u64::MAX >> bit));
                    return Err(failed(start, Rule::UnknownField));
                }
                Err(error) => {
                    layout.present.set_word(usize::from(index), whole & !(u64::MAX >> bit));
                    let (at, rule) = place(dialect, number, rest, &error);
                    return Err(failed(start + at, rule));
                }
            };
            let end = bytes.len() - after.len();
            layout.spans[usize::from(number)] = Span {
                start: narrow(start),
                value: narrow(end - taken.value.len()),
                end: narrow(end),
                units: u16::try_from(taken.units).unwrap_or(u16::MAX),
            };
            rest = after;
            last = number;
            word &= !mask;
        }
        layout.present.set_word(usize::from(index), whole);
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(DecodeError { field: last, offset: bytes.len() - rest.len(), rule: Rule::Trailing })
    }
}

/// Where inside a field it broke: at the bad character, else at its first byte.
#[cold]
fn place(dialect: &Dialect, number: u8, input: &[u8], error: &nom::Err<Rule>) -> (usize, Rule) {
    let rule = rule_of(error);
    let mut wire = dialect.wires[usize::from(number)];
    if rule != Rule::Characters {
        return (0, rule);
    }
    let checked = wire;
    wire.mask = 0;
    let at = field(&wire, input).map_or(0, |(after, taken)| {
        let prefix = input.len() - after.len() - taken.value.len();
        prefix + first_bad(&checked, taken.value)
    });
    (at, rule)
}

/// A view on a message. Values borrow from its bytes.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    dialect: &'a Dialect,
    bytes: &'a [u8],
    layout: &'a Layout,
}

impl<'a> Message<'a> {
    /// A view on what was decoded of `bytes` before [`decode`] failed with this `layout`.
    #[must_use]
    pub fn partial(dialect: &'a Dialect, bytes: &'a [u8], layout: &'a Layout) -> Self {
        Self { dialect, bytes, layout }
    }

    /// The dialect it was read by.
    #[must_use]
    pub fn dialect(&self) -> &'a Dialect {
        self.dialect
    }

    /// The message type in ASCII digits; zero bytes when a partial message has none.
    #[must_use]
    pub fn mti(&self) -> [u8; 4] {
        self.layout.mti
    }

    /// The whole message.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether field `n` is there. The bits that announce further bitmaps are no fields.
    #[must_use]
    pub fn has(&self, n: u8) -> bool {
        self.layout.present.has(n)
    }

    /// The fields that are there.
    #[must_use]
    pub fn present(&self) -> &'a Bitmap {
        &self.layout.present
    }

    /// The fields that are there with what the dialect says of them, ascending.
    pub fn fields(&self) -> impl Iterator<Item = (u8, &'a FieldSpec)> + use<'a> {
        let dialect = self.dialect;
        self.layout.present.iter().filter_map(move |n| Some((n, dialect.field(n)?)))
    }

    fn span(&self, n: u8) -> Option<Span> {
        if self.has(n) { self.layout.spans.get(usize::from(n)).copied() } else { None }
    }

    /// The wire bytes of field `n`, length prefix included.
    #[must_use]
    pub fn raw(&self, n: u8) -> Option<&'a [u8]> {
        let span = self.span(n)?;
        self.bytes.get(usize::from(span.start)..usize::from(span.end))
    }

    /// The content of field `n` in wire encoding.
    #[must_use]
    pub fn value(&self, n: u8) -> Option<&'a [u8]> {
        let span = self.span(n)?;
        self.bytes.get(usize::from(span.value)..usize::from(span.end))
    }

    /// The content with its length in units: digits, characters or bytes.
    pub(super) fn content(&self, n: u8) -> Option<(&'a [u8], u32)> {
        let span = self.span(n)?;
        Some((self.value(n)?, u32::from(span.units)))
    }

    /// Where field `n` starts in the message.
    #[must_use]
    pub fn offset(&self, n: u8) -> Option<usize> {
        self.span(n).map(|span| usize::from(span.start))
    }

    /// The wire bytes of the bitmaps.
    #[must_use]
    pub fn bitmap_wire(&self) -> &'a [u8] {
        let start = self.dialect.mti.bytes();
        self.bytes.get(start..usize::from(self.layout.bitmap_end)).unwrap_or_default()
    }

    /// The canonical text of field `n`: digits and characters in ASCII whatever the wire. `None` when the field is
    /// absent, binary, or longer than [`super::TEXT_BYTES_MAX`].
    #[must_use]
    pub fn text(&self, n: u8) -> Option<Text> {
        let (value, units) = self.content(n)?;
        let mut text = Text::new();
        self.dialect.field(n)?.text_into(value, units, &mut text)?;
        Some(text)
    }

    /// The canonical text of field `n` however long, in a string of its own: for tools, not for the hot path.
    #[must_use]
    pub fn long_text(&self, n: u8) -> Option<String> {
        let (value, units) = self.content(n)?;
        let mut text = Vec::new();
        self.dialect.field(n)?.text_into(value, units, &mut text)?;
        Some(text.into_iter().map(char::from).collect())
    }

    /// The bytes of binary field `n`, un-hexed when the wire is hexadecimal. `None` when the field is absent, not
    /// binary, or longer than [`super::TEXT_BYTES_MAX`].
    #[must_use]
    pub fn binary(&self, n: u8) -> Option<Text> {
        let (value, _) = self.content(n)?;
        let mut bytes = Text::new();
        self.dialect.field(n)?.binary_into(value, &mut bytes)?;
        Some(bytes)
    }

    /// The sub-field of field `n` that `path` leads to: positions, bits or tags. `None` when it is absent or the field
    /// does not divide.
    #[must_use]
    pub fn sub(&self, n: u8, path: &[u32]) -> Option<Sub<'a>> {
        let (value, units) = self.content(n)?;
        sub::find(self.dialect.field(n)?, value, units, path)
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} {}", self.dialect.name(), String::from_utf8_lossy(&self.mti()))?;
        for (n, spec) in self.fields() {
            let public = spec.secrecy() == Secrecy::Public && spec.inner().is_none();
            match self.text(n) {
                Some(text) if public => {
                    write!(f, " {n}={}", text.escape_ascii())?;
                }
                _ => write!(f, " {n}=<{} bytes>", self.value(n).map_or(0, <[u8]>::len))?,
            }
        }
        f.write_str(")")
    }
}
