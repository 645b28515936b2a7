//! Writing a message: fields in ascending order straight into the output buffer, the bitmap at the end.
//!
//! Nothing is allocated but what the buffer itself grows by; a builder that is dropped unfinished takes back what it
//! wrote. **Never here:** padding or cutting a value to make it fit. Where next: `compose` writes
//! composite fields, `mac` closes a message with a MAC.

use bytes::BytesMut;

use super::bitmap::Bitmap;
use super::compose::CompositeBuilder;
use super::encoding::{Charset, hex_digit, hex_value};
use super::field::{Encoding, FieldSpec, Format, Length, PrefixEncoding, Rule, rule_of};
use super::message::Message;
use super::spec::{Dialect, MtiEncoding};
use super::wire::{Unit, Wire, characters, field};

/// Why a value cannot be written. It never carries the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: {rule}")]
pub struct EncodeError {
    /// The field, or the sub-field inside a composite.
    pub field: u32,
    /// The rule the value breaks.
    pub rule: Rule,
}

/// Writes one message at the end of a buffer.
#[derive(Debug)]
pub struct Builder<'d, 'o> {
    pub(super) dialect: &'d Dialect,
    pub(super) out: &'o mut BytesMut,
    pub(super) start: usize,
    bitmap_at: usize,
    bitmaps: u8,
    present: Bitmap,
    pub(super) last: u8,
    finished: bool,
}

impl<'d, 'o> Builder<'d, 'o> {
    /// Starts a message of type `mti`, four ASCII digits, after what `out` holds already.
    pub fn new(dialect: &'d Dialect, mti: [u8; 4], out: &'o mut BytesMut) -> Self {
        let start = out.len();
        match dialect.mti {
            MtiEncoding::Ascii => out.extend_from_slice(&mti),
            MtiEncoding::Ebcdic => out.extend_from_slice(&mti.map(|d| Charset::Ebcdic.to_wire(d))),
            MtiEncoding::Bcd => {
                let [a, b, c, d] = mti.map(|digit| digit & 0x0F);
                out.extend_from_slice(&[a << 4 | b, c << 4 | d]);
            }
        }
        let bitmap_at = out.len();
        out.extend_from_slice(&[0; 16][..dialect.bitmap.bytes()]);
        Self {
            dialect,
            out,
            start,
            bitmap_at,
            bitmaps: 1,
            present: Bitmap::EMPTY,
            last: 0,
            finished: false,
        }
    }

    /// Copies a field as it came: its wire bytes with length prefix, of a message in the same dialect.
    ///
    /// # Errors
    ///
    /// The field is out of order or unknown, or the bytes are not exactly one such field.
    pub fn raw(&mut self, n: u8, wire: &[u8]) -> Result<(), EncodeError> {
        self.write(n, |spec, out| {
            let failed = |rule| EncodeError { field: n.into(), rule };
            check_raw(&spec.wire, wire).map_err(failed)?;
            out.extend_from_slice(wire);
            Ok(())
        })
    }

    /// Copies field `n` of `message` when it has it, without a further check: `message` was decoded by this dialect.
    ///
    /// # Errors
    ///
    /// The field is out of order, unknown, or `message` has another dialect.
    pub fn copy(&mut self, message: &Message<'_>, n: u8) -> Result<(), EncodeError> {
        let Some(wire) = message.raw(n) else { return Ok(()) };
        if !std::ptr::eq(message.dialect(), self.dialect) {
            return self.raw(n, wire);
        }
        self.open(n)?;
        self.out.extend_from_slice(wire);
        self.close(n);
        Ok(())
    }

    /// Writes a text or numeric field from its canonical text: ASCII (Latin-1), `=` as track separator.
    ///
    /// # Errors
    ///
    /// The field is out of order, unknown or binary, or the text breaks its length or characters.
    pub fn text(&mut self, n: u8, ascii: &[u8]) -> Result<(), EncodeError> {
        self.write(n, |spec, out| put_text(spec, ascii, out))
    }

    /// Writes a binary field from its bytes.
    ///
    /// # Errors
    ///
    /// The field is out of order, unknown or text, or the bytes break its length.
    pub fn binary(&mut self, n: u8, bytes: &[u8]) -> Result<(), EncodeError> {
        self.write(n, |spec, out| put_binary(spec, bytes, out))
    }

    /// Writes a composite field from its sub-fields.
    ///
    /// # Errors
    ///
    /// The field is out of order, unknown or not composite, or whatever `fill` returns.
    pub fn composite(
        &mut self,
        n: u8,
        fill: impl FnOnce(&mut CompositeBuilder<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.write(n, |spec, out| put_composite(spec, out, fill))
    }

    /// Writes one field, or nothing of it.
    fn write(
        &mut self,
        n: u8,
        put: impl FnOnce(&FieldSpec, &mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let spec = self.open(n)?;
        let at = self.out.len();
        match put(spec, self.out) {
            Ok(()) => {
                self.close(n);
                Ok(())
            }
            Err(error) => {
                self.out.truncate(at);
                Err(error)
            }
        }
    }

    /// Announces at least `bitmaps` bitmaps even if the fields need fewer.
    pub fn announce(&mut self, bitmaps: u8) {
        while self.bitmaps < bitmaps.min(self.dialect.bitmaps) {
            self.grow();
        }
    }

    /// Ends the message.
    pub fn finish(mut self) {
        self.patch();
        self.finished = true;
    }

    /// Checks that field `n` may come next, and makes room in the bitmap.
    pub(super) fn open(&mut self, n: u8) -> Result<&'d FieldSpec, EncodeError> {
        let failed = |rule| Err(EncodeError { field: n.into(), rule });
        let Some(spec) = self.dialect.field(n) else { return failed(Rule::UnknownField) };
        if self.dialect.announces(n) {
            return failed(Rule::UnknownField);
        }
        if n <= self.last {
            return failed(Rule::Order);
        }
        while n > self.bitmaps.saturating_mul(64) {
            self.grow();
        }
        Ok(spec)
    }

    pub(super) fn close(&mut self, n: u8) {
        self.present.insert(n);
        self.last = n;
    }

    fn grow(&mut self) {
        let bytes = self.dialect.bitmap.bytes();
        let at = self.bitmap_at + bytes * usize::from(self.bitmaps);
        let end = self.out.len();
        self.out.extend_from_slice(&[0; 16][..bytes]);
        self.out.copy_within(at..end, at + bytes);
        self.bitmaps += 1;
    }

    /// Writes the bitmaps.
    pub(super) fn patch(&mut self) {
        let mut announced = self.present;
        if self.bitmaps > 1 {
            announced.insert(1);
        }
        if self.bitmaps > 2 {
            announced.insert(65);
        }
        let form = self.dialect.bitmap;
        for index in 0..usize::from(self.bitmaps) {
            let at = self.bitmap_at + index * form.bytes();
            if let Some(wire) = self.out.get_mut(at..at + form.bytes()) {
                form.write(announced.word(index), wire);
            }
        }
    }

    /// Highest field of the bitmaps announced so far.
    pub(super) fn reach(&self) -> u8 {
        self.bitmaps.saturating_mul(64)
    }
}

impl Drop for Builder<'_, '_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// The bytes of exactly one field.
pub(super) fn check_raw(wire: &Wire, bytes: &[u8]) -> Result<(), Rule> {
    match field(wire, bytes) {
        Ok(([], _)) => Ok(()),
        Ok(_) => Err(Rule::Trailing),
        Err(error) => Err(rule_of(&error)),
    }
}

/// Writes prefix and content of a text field.
pub(super) fn put_text(
    spec: &FieldSpec,
    ascii: &[u8],
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let failed = |rule| EncodeError { field: spec.number, rule };
    let wire = &spec.wire;
    if spec.format == Format::B {
        return Err(failed(Rule::Kind));
    }
    put_prefix(spec, ascii.len(), out)?;
    let at = out.len();
    match spec.encoding {
        Encoding::Ascii => out.extend_from_slice(ascii),
        Encoding::Ebcdic => {
            out.extend_from_slice(ascii);
            for byte in &mut out[at..] {
                *byte = Charset::Ebcdic.to_wire(*byte);
            }
        }
        Encoding::BcdLeft | Encoding::BcdRight => {
            let digits = match (spec.format, ascii.split_first()) {
                (Format::Xn, Some((sign, digits))) => {
                    out.extend_from_slice(&[*sign]);
                    digits
                }
                _ => ascii,
            };
            put_digits(spec, digits, out).map_err(failed)?;
        }
        Encoding::Binary | Encoding::Hex => return Err(failed(Rule::Kind)),
    }
    if wire.mask == 0 {
        return Ok(());
    }
    characters(wire, &out[at..], ascii.len()).map_err(failed)
}

fn put_digits(spec: &FieldSpec, digits: &[u8], out: &mut BytesMut) -> Result<(), Rule> {
    let nibble = |byte: u8| match byte {
        b'=' => Some(0x0D),
        other => hex_value(other),
    };
    let pack = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    };
    let odd = digits.len() % 2 == 1;
    let (first, rest) = digits.split_at(usize::from(odd && spec.encoding == Encoding::BcdLeft));
    if let [digit] = first {
        out.extend_from_slice(&[spec.pad << 4 | nibble(*digit).ok_or(Rule::Characters)?]);
    }
    for pair in rest.chunks(2) {
        let byte = match pair {
            [digit] => nibble(*digit).map(|high| high << 4 | spec.filler()),
            pair => pack(pair),
        };
        out.extend_from_slice(&[byte.ok_or(Rule::Characters)?]);
    }
    Ok(())
}

impl FieldSpec {
    /// What fills the half byte after an odd number of digits: F where only it tells that the number is odd.
    fn filler(&self) -> u8 {
        if self.wire.counts_bytes { 0x0F } else { self.pad }
    }
}

/// Writes prefix and content of a binary field.
pub(super) fn put_binary(
    spec: &FieldSpec,
    bytes: &[u8],
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let failed = |rule| EncodeError { field: spec.number, rule };
    if spec.format != Format::B {
        return Err(failed(Rule::Kind));
    }
    let characters = spec.encoding == Encoding::Hex && spec.wire.unit == Unit::Byte;
    put_prefix(spec, if characters { bytes.len() * 2 } else { bytes.len() }, out)?;
    if spec.encoding == Encoding::Hex {
        for byte in bytes {
            out.extend_from_slice(&[hex_digit(byte >> 4), hex_digit(*byte)]);
        }
    } else {
        out.extend_from_slice(bytes);
    }
    Ok(())
}

/// Checks a length of `units` and writes the prefix that says it.
fn put_prefix(spec: &FieldSpec, units: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    let failed = |rule| EncodeError { field: spec.number, rule };
    let max = spec.wire.max as usize;
    match spec.length {
        Length::Fixed(_) if units != max => Err(failed(Rule::WrongLength)),
        Length::Fixed(_) => Ok(()),
        Length::Variable { .. } if units > max => Err(failed(Rule::TooLong)),
        Length::Variable { .. } => {
            let count = if spec.wire.counts_bytes { units.div_ceil(2) } else { units };
            let at = out.len();
            let bytes = usize::from(spec.wire.prefix_bytes);
            out.extend_from_slice(&[0; 8][..bytes]);
            write_count(spec.prefix, count, &mut out[at..]);
            Ok(())
        }
    }
}

pub(super) fn write_count(prefix: PrefixEncoding, count: usize, slots: &mut [u8]) {
    let mut rest = count;
    for slot in slots.iter_mut().rev() {
        let base = match prefix {
            PrefixEncoding::Ascii | PrefixEncoding::Ebcdic => 10,
            PrefixEncoding::Bcd => 100,
            PrefixEncoding::Binary => 256,
        };
        #[expect(clippy::cast_possible_truncation, reason = "less than 256")]
        let digit = (rest % base) as u8;
        rest /= base;
        *slot = match prefix {
            PrefixEncoding::Ascii => b'0' + digit,
            PrefixEncoding::Ebcdic => 0xF0 + digit,
            PrefixEncoding::Bcd => (digit / 10) << 4 | (digit % 10),
            PrefixEncoding::Binary => digit,
        };
    }
}

/// Writes a composite: room for the prefix, the sub-fields, then the prefix.
pub(super) fn put_composite(
    spec: &FieldSpec,
    out: &mut BytesMut,
    fill: impl FnOnce(&mut CompositeBuilder<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let failed = |rule| EncodeError { field: spec.number, rule };
    let Some(inner) = spec.inner() else { return Err(failed(Rule::Kind)) };
    let at = out.len();
    let prefix = usize::from(spec.wire.prefix_bytes);
    out.extend_from_slice(&[0; 8][..prefix]);
    let mut builder = CompositeBuilder::new(inner, out)?;
    fill(&mut builder)?;
    builder.close();
    let units = out.len() - at - prefix;
    match spec.length {
        Length::Fixed(_) if units != spec.wire.max as usize => Err(failed(Rule::WrongLength)),
        Length::Fixed(_) => Ok(()),
        Length::Variable { .. } if units > spec.wire.max as usize => Err(failed(Rule::TooLong)),
        Length::Variable { .. } => {
            write_count(spec.prefix, units, &mut out[at..at + prefix]);
            Ok(())
        }
    }
}
