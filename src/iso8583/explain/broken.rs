//! A message that does not decode: where it broke, what to try, and which of its bytes may be looked at.
//!
//! Every built-in dialect is tried. One that reads the message whole, or further than the one that was asked for, also
//! says what must stay hidden: a message that is read by the wrong dialect shows its account number in a field that the
//! wrong dialect calls public. **Never here:** guessing a value.

use std::fmt::Write as _;
use std::ops::Range;

use super::parts::open_to_all;
use super::{Row, Shown, hidden};
use crate::iso8583::field::{Encoding, FieldSpec, Format, Length, Rule};
use crate::iso8583::message::{DecodeError, Layout, Message, decode};
use crate::iso8583::spec::{Dialect, MtiEncoding};
use crate::iso8583::wire::field;

/// What is known of a break.
#[derive(Clone, Debug)]
pub struct Break {
    /// The field, offset and rule.
    pub error: DecodeError,
    /// The name of the field; `message type` and `bitmap` for 0 and 1.
    pub name: String,
    /// What the dialect wants there; empty when it says nothing of it.
    pub wants: String,
    /// What to try, one line each.
    pub hints: Vec<String>,
    /// Built-in dialects that read the whole message.
    pub decodes_as: Vec<&'static str>,
    /// The bytes around it.
    pub peek: Peek,
}

/// Bytes around a break, hidden ones as `None`.
#[derive(Clone, Debug)]
pub struct Peek {
    /// Offset of the first one.
    pub start: usize,
    /// The bytes.
    pub bytes: Vec<Option<u8>>,
    /// The ones to point at, as offsets in the message.
    pub point: Range<usize>,
}

/// Bytes before and after the break that [`Peek`] shows, rounded to lines of sixteen.
const AROUND: usize = 16;
/// Bytes shown of a message that does not even start like one, and after the last field.
const START_BYTES: usize = 12;
const TRAILING_BYTES: usize = 4;

/// Explains why [`decode`] failed with `error` and left `layout`. Hides in `rows` what another dialect knows to be
/// secret.
#[must_use]
pub fn broken(
    dialect: &Dialect,
    bytes: &[u8],
    layout: &Layout,
    error: DecodeError,
    clear: bool,
    rows: &mut [Row],
) -> Break {
    let message = Message::partial(dialect, bytes, layout);
    let spec = dialect.field(error.field);
    let extent = extent(&message, spec, error);
    let others = others(dialect, bytes, message.present().len(), error.offset);
    let later = later(dialect, bytes);
    let mut veil = vec![false; bytes.len()];
    if !clear {
        for secrets in others.iter().map(|other| &other.secrets).chain(later.as_ref().map(|l| &l.1))
        {
            cover(&mut veil, secrets);
        }
        hide(rows, &veil);
        cover(&mut veil, &secrets(&message));
        cover(&mut veil, &[unseen(bytes, spec, error, &extent)]);
    }
    let decodes_as: Vec<_> = others.iter().filter(|o| o.whole).map(|o| o.name).collect();
    let hints = match later {
        Some((start, _)) if decodes_as.is_empty() => vec![later_hint(bytes, start)],
        _ => hints(&message, spec, error, &extent, &others),
    };
    let name = match (error.field, spec) {
        (0, _) => "message type".into(),
        (1, _) => "bitmap".into(),
        (_, Some(spec)) => spec.name().to_owned(),
        (_, None) => "not in the dialect".into(),
    };
    let wants = spec.filter(|_| error.rule != Rule::Trailing).map(wants).unwrap_or_default();
    Break { error, name, wants, hints, decodes_as, peek: peek(bytes, &veil, &extent) }
}

/// The broken bytes: where the field starts, what to point at, where the field ends as far as that is known.
struct Extent {
    field: usize,
    point: Range<usize>,
    end: usize,
}

fn extent(message: &Message<'_>, spec: Option<&FieldSpec>, error: DecodeError) -> Extent {
    let bytes = message.bytes();
    let at = error.offset.min(bytes.len());
    let one = at..(at + 1).min(bytes.len());
    let ends =
        message.fields().filter_map(|(n, _)| Some(message.offset(n)? + message.raw(n)?.len()));
    let after_bitmap = message.dialect().mti_encoding().bytes() + message.bitmap_wire().len();
    let start = ends.last().unwrap_or(after_bitmap).min(at);
    let to = |length: usize| at.saturating_add(length).min(bytes.len());
    match error.rule {
        Rule::Mti => Extent {
            field: 0,
            point: 0..to(message.dialect().mti_encoding().bytes()),
            end: START_BYTES.min(bytes.len()),
        },
        Rule::Bitmap => {
            let end = to(message.dialect().bitmap_form().bytes());
            Extent { field: at, point: at..end, end }
        }
        Rule::Trailing => {
            let shown = to(TRAILING_BYTES);
            Extent { field: at, point: at..bytes.len(), end: shown }
        }
        Rule::LengthPrefix | Rule::TooLong => {
            let prefix = spec.map_or(1, |spec| usize::from(spec.wire.prefix_bytes));
            Extent { field: at, point: at..to(prefix), end: to(prefix) }
        }
        Rule::Truncated => {
            // A length that is wrong swallows whatever follows: only a fixed field is known to be itself.
            let variable = spec.filter(|spec| matches!(spec.length(), Length::Variable { .. }));
            let end = variable.map_or(bytes.len(), |spec| to(spec.wire.prefix_bytes.into()));
            Extent { field: at, point: at..bytes.len(), end }
        }
        Rule::UnknownField => Extent { field: at, point: one, end: at },
        _ => {
            // Characters, padding and sign: the length is right, so the end is known.
            let mut wire = spec.map(|spec| spec.wire);
            if let Some(wire) = &mut wire {
                wire.mask = 0;
                wire.signed = false;
            }
            let rest = bytes.get(start..).unwrap_or_default();
            let taken = wire.and_then(|wire| field(&wire, rest).ok());
            let end = taken.map_or(at, |(after, _)| bytes.len() - after.len());
            Extent { field: start, point: one, end: end.max(at) }
        }
    }
}

/// What must not be shown at and after a break: the field itself when it is not public, and whatever follows it,
/// because nobody knows what that is.
fn unseen(
    bytes: &[u8],
    spec: Option<&FieldSpec>,
    error: DecodeError,
    extent: &Extent,
) -> Range<usize> {
    let public = match error.field {
        0 | 1 => true,
        _ => spec.is_some_and(open_to_all),
    };
    // The prefix of a secret field is no secret.
    let prefix = matches!(error.rule, Rule::LengthPrefix | Rule::TooLong);
    let trailing = error.rule == Rule::Trailing;
    if public || prefix || trailing { extent.end..bytes.len() } else { extent.field..bytes.len() }
}

/// Places of what is not public in a message.
fn secrets(message: &Message<'_>) -> Vec<Range<usize>> {
    let hidden = message.fields().filter(|(_, spec)| !open_to_all(spec));
    hidden
        .filter_map(|(n, _)| {
            let (start, raw, value) = (message.offset(n)?, message.raw(n)?, message.value(n)?);
            let end = start + raw.len();
            Some(end - value.len()..end)
        })
        .collect()
}

fn cover(veil: &mut [bool], ranges: &[Range<usize>]) {
    for range in ranges {
        if let Some(covered) = veil.get_mut(range.clone()) {
            covered.fill(true);
        }
    }
}

/// Hides the rows whose bytes another dialect calls secret, and numbers that look like an account number.
fn hide(rows: &mut [Row], veil: &[bool]) {
    for row in rows {
        let covered = row.offset.is_some_and(|at| {
            veil.get(at..at + row.bytes).is_some_and(|bytes| bytes.contains(&true))
        });
        let value = match &row.shown {
            Shown::Bytes(text) | Shown::Text(text) => text,
            Shown::Hidden(_) | Shown::Parts => continue,
        };
        if covered || luhn(value.as_bytes()) {
            row.shown = Shown::Hidden(hidden(row.bytes));
            row.note = String::new();
        }
    }
}

/// Whether a text may be an account number: 13 to 19 digits with a right check digit (ISO/IEC 7812-1).
fn luhn(text: &[u8]) -> bool {
    if !(13..=19).contains(&text.len()) || !text.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = text
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let double = u32::from(digit & 0x0F) << (at % 2);
            double / 10 + double % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A built-in dialect that reads the message better.
struct Other {
    name: &'static str,
    whole: bool,
    fields: usize,
    offset: usize,
    secrets: Vec<Range<usize>>,
}

fn others(dialect: &Dialect, bytes: &[u8], fields: usize, reached: usize) -> Vec<Other> {
    let mut layout = Layout::new();
    let mut found = Vec::new();
    for name in Dialect::builtin_names().filter(|name| *name != dialect.name()) {
        let Some(other) = Dialect::builtin(name) else { continue };
        let (whole, offset) = match decode(&other, bytes, &mut layout) {
            Ok(_) => (true, bytes.len()),
            Err(error) => (false, error.offset),
        };
        let message = Message::partial(&other, bytes, &layout);
        let count = message.present().len();
        // An empty message is whole in any dialect with the same message type.
        let further = count > fields && offset > reached && !hex_bitmap(&message);
        if (whole && count > 0) || further {
            let mut secrets = secrets(&message);
            if !whole {
                secrets.push(offset..bytes.len());
            }
            found.push(Other { name, whole, fields: count, offset, secrets });
        }
    }
    found
}

/// Longest length prefix and header that is looked for in front of a message.
const FRONT_BYTES_MAX: usize = 28;

/// Where the message starts when something stands in front of it, and what of it is not public.
fn later(dialect: &Dialect, bytes: &[u8]) -> Option<(usize, Vec<Range<usize>>)> {
    let mut layout = Layout::new();
    (1..=FRONT_BYTES_MAX.min(bytes.len())).find_map(|start| {
        let message = decode(dialect, &bytes[start..], &mut layout).ok()?;
        let shifted = |range: Range<usize>| range.start + start..range.end + start;
        let secrets = secrets(&message).into_iter().map(shifted).collect();
        (message.present().len() > 1).then_some((start, secrets))
    })
}

fn later_hint(bytes: &[u8], start: usize) -> String {
    let try_this = match (start, bytes) {
        (2, _) => "try --framed",
        (4, [b'0'..=b'9', ..]) => "try --framed --framing ascii4",
        (4, _) => "try --framed --framing be4",
        (5, [0x60, ..]) => "a TPDU stands before it, cut it off",
        (7, [_, _, 0x60, ..]) => "try --framed --framing be2+tpdu",
        (22, [0x16, ..]) => "a Visa header stands before it, cut it off",
        (24, [_, _, 0x16, ..]) => "try --framed --framing be2+visa22",
        _ => "cut off what stands before it, or name it with --framed --framing",
    };
    format!("the message starts at byte {start}: {try_this}")
}

/// Whether a bitmap that should be binary is made of hexadecimal characters: chance hardly ever does that.
fn hex_bitmap(message: &Message<'_>) -> bool {
    let wire = message.bitmap_wire();
    message.dialect().bitmap_form().bytes() == 8
        && !wire.is_empty()
        && wire.iter().all(u8::is_ascii_hexdigit)
}

/// The rule of a field in words: `12 digits`, `up to 19 digits after a length of 2 digits`.
fn wants(spec: &FieldSpec) -> String {
    let unit = match spec.format() {
        Format::N => "digits",
        Format::A => "letters",
        Format::An => "letters or digits",
        Format::Ans => "characters",
        Format::Z => "digits of a track",
        Format::B => "bytes",
        Format::Xn => "digits after C or D",
    };
    let how = spec.encoding().label();
    match spec.length() {
        Length::Fixed(units) => format!("{units} {unit} in {how}"),
        Length::Variable { digits, max } => {
            format!("up to {max} {unit} in {how}, after a length of {digits} digits")
        }
    }
}

fn hints(
    message: &Message<'_>,
    spec: Option<&FieldSpec>,
    error: DecodeError,
    extent: &Extent,
    others: &[Other],
) -> Vec<String> {
    let mut hints = Vec::new();
    let bytes = message.bytes();
    let whole: Vec<_> = others.iter().filter(|other| other.whole).collect();
    for other in &whole {
        hints.push(format!("it decodes whole as {}: try --dialect {0}", other.name));
    }
    let furthest = others.iter().max_by_key(|other| other.fields);
    if let (true, Some(other)) = (whole.is_empty(), furthest) {
        hints.push(format!(
            "{} reads {} fields, up to byte {}: try --dialect {0}",
            other.name, other.fields, other.offset
        ));
    }
    if !whole.is_empty() {
        return hints;
    }
    if hex_bitmap(message) {
        hints.push(
            "the bitmap is made of hexadecimal characters: try a dialect with hex bitmaps".into(),
        );
    }
    match error.rule {
        Rule::Mti => hints.extend(start_hint(bytes, message.dialect())),
        Rule::Bitmap => hints.push("compare the dialect's bitmap: binary or hexadecimal".into()),
        Rule::Characters | Rule::Padding | Rule::Sign => {
            if let Some(spec) = spec.filter(|spec| open_to_all(spec)) {
                hints.extend(byte_hint(bytes, spec, error.offset, extent.field));
            }
        }
        Rule::Truncated => {
            let left = bytes.len().saturating_sub(extent.field);
            let mut hint = match left {
                0 => "nothing is left: was the paste cut".to_owned(),
                1 => "1 byte is left: was the paste cut".to_owned(),
                left => format!("{left} bytes are left: was the paste cut"),
            };
            let announced = error.field > 1;
            hint.push_str(if announced { ", or is a bit set whose field was not sent?" } else { "?" });
            hints.push(hint);
        }
        Rule::Trailing => hints.push(trailing_hint(bytes, error)),
        Rule::UnknownField => hints.push(format!(
            "bit {} is set: is the bitmap right, or does the peer use a field that a dialect file of your own should \
             define?",
            error.field
        )),
        Rule::LengthPrefix | Rule::TooLong => {
            hints.push("a length in another encoding, or the field before it ended elsewhere".into());
        }
        _ => {}
    }
    hints
}

/// What a message that starts with no message type may start with.
fn start_hint(bytes: &[u8], dialect: &Dialect) -> Option<String> {
    match (dialect.mti_encoding(), bytes) {
        (MtiEncoding::Ascii | MtiEncoding::Ebcdic, [0..=0x29, ..]) => {
            Some("the message type looks packed: try --dialect iso87-bcd".into())
        }
        (MtiEncoding::Ascii, [0xF0..=0xF9, ..]) => {
            Some("the message type is EBCDIC: try --dialect mastercard".into())
        }
        (MtiEncoding::Bcd, [b'0'..=b'9', ..]) => {
            Some("the message type is ASCII: try --dialect iso87-ascii".into())
        }
        _ => None,
    }
}

/// What one wrong byte of a public field says.
fn byte_hint(bytes: &[u8], spec: &FieldSpec, at: usize, field: usize) -> Option<String> {
    let byte = *bytes.get(at)?;
    let mut hint = format!("byte {} of the field is 0x{byte:02X}", at - field.min(at));
    let packed = matches!(spec.encoding(), Encoding::BcdLeft | Encoding::BcdRight);
    let more = match (spec.format(), byte) {
        _ if packed => "",
        (Format::N, b' ') => ": the peer fills numbers with spaces",
        (Format::N | Format::Z, 0xF0..=0xF9) => ": a digit in EBCDIC",
        (Format::N, b'A'..=b'F' | b'a'..=b'f') => {
            ": hexadecimal, or the field before it ended elsewhere"
        }
        (Format::N, other) if other >> 4 <= 9 && other & 0x0F <= 9 => {
            ": does the peer send packed digits (BCD)?"
        }
        (_, 0x0A | 0x0D) => ": a line end, from the paste?",
        _ => "",
    };
    // Writing to a text cannot fail.
    let _ = write!(hint, "{more}");
    Some(hint)
}

fn trailing_hint(bytes: &[u8], error: DecodeError) -> String {
    let rest = bytes.get(error.offset..).unwrap_or_default();
    match rest {
        [0x03] => "one byte 0x03 (ETX) follows: try --framed --framing be2+trailer:03".to_owned(),
        [b'\n'] | [b'\r', b'\n'] => "a line end follows: it is not of the message".into(),
        _ => format!(
            "{} bytes follow field {}: a bit of the bitmap is missing, or two messages stand one after the other",
            rest.len(),
            error.field
        ),
    }
}

fn peek(bytes: &[u8], veil: &[bool], extent: &Extent) -> Peek {
    let first = extent.point.start.min(bytes.len());
    let start = first.saturating_sub(AROUND) / AROUND * AROUND;
    let last = extent.point.end.min(first + 2 * AROUND).max(first);
    let end = (last + AROUND).next_multiple_of(AROUND).min(bytes.len());
    let shown = bytes.iter().zip(veil).map(|(byte, hidden)| (!hidden).then_some(*byte));
    Peek {
        start,
        bytes: shown.skip(start).take(end.saturating_sub(start)).collect(),
        point: extent.point.clone(),
    }
}
