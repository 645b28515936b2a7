//! Writing the inside of a composite field: a bitmap's sub-fields, tags, data sets, structured data.
//!
//! [`super::Builder::composite`] hands out a [`CompositeBuilder`]. **Never here:** the field's own length prefix;
//! `build` writes it afterwards. Where next: `composite` is the reading side.

use bytes::BytesMut;

use super::build::{EncodeError, check_raw, put_binary, put_composite, put_text, write_count};
use super::composite::{Ebcdic, Inner};
use super::field::{FieldSpec, Format, PrefixEncoding, Rule};

/// Writes the sub-fields of one composite field. Bitmap sub-fields come in ascending order, others as they should
/// stand.
#[derive(Debug)]
pub struct CompositeBuilder<'o> {
    inner: &'o Inner,
    pub(super) out: &'o mut BytesMut,
    bitmap_at: usize,
    word: u64,
    last: u32,
}

impl<'o> CompositeBuilder<'o> {
    pub(super) fn new(inner: &'o Inner, out: &'o mut BytesMut) -> Result<Self, EncodeError> {
        let bitmap_at = out.len();
        match inner {
            Inner::Positional(_) => return Err(EncodeError { field: 0, rule: Rule::Kind }),
            Inner::Bitmap { form, bits, .. } => {
                out.extend_from_slice(&[0; 16][..form.bytes() * usize::from(*bits) / 64]);
            }
            Inner::Tagged { .. } | Inner::Tlv(_) | Inner::DataSets(_) | Inner::Structured => {}
        }
        Ok(Self { inner, out, bitmap_at, word: 0, last: 0 })
    }

    /// Writes a text sub-field from its canonical text.
    ///
    /// # Errors
    ///
    /// As [`super::Builder::text`].
    pub fn text(&mut self, key: u32, ascii: &[u8]) -> Result<(), EncodeError> {
        match self.inner {
            Inner::Bitmap { .. } => {
                let spec = self.open(key)?;
                put_text(spec, ascii, self.out)
            }
            Inner::Tagged { charset, .. } => {
                let charset = *charset;
                self.tagged(key, ascii, charset)
            }
            _ => Err(EncodeError { field: key, rule: Rule::Kind }),
        }
    }

    /// Writes a binary sub-field, BER-TLV tag or data set from its bytes.
    ///
    /// # Errors
    ///
    /// As [`super::Builder::binary`].
    pub fn binary(&mut self, key: u32, bytes: &[u8]) -> Result<(), EncodeError> {
        let failed = |rule| EncodeError { field: key, rule };
        match self.inner {
            Inner::Bitmap { .. } => {
                let spec = self.open(key)?;
                put_binary(spec, bytes, self.out)
            }
            Inner::Tlv(_) => tlv(self.out, key, bytes).ok_or_else(|| failed(Rule::TooLong)),
            Inner::DataSets(_) => {
                let id = u8::try_from(key).map_err(|_| failed(Rule::UnknownField))?;
                let [high, low] =
                    u16::try_from(bytes.len()).map_err(|_| failed(Rule::TooLong))?.to_be_bytes();
                self.out.extend_from_slice(&[id, high, low]);
                self.out.extend_from_slice(bytes);
                Ok(())
            }
            Inner::Tagged { .. } => self.tagged(key, bytes, Ebcdic::No),
            Inner::Positional(_) | Inner::Structured => Err(failed(Rule::Kind)),
        }
    }

    /// Copies a bitmap sub-field as it came, with its length prefix.
    ///
    /// # Errors
    ///
    /// As [`super::Builder::raw`].
    pub fn raw(&mut self, key: u32, wire: &[u8]) -> Result<(), EncodeError> {
        let failed = |rule| EncodeError { field: key, rule };
        let spec = self.open(key)?;
        check_raw(&spec.wire, wire).map_err(failed)?;
        self.out.extend_from_slice(wire);
        Ok(())
    }

    /// Writes a bitmap sub-field that is a composite itself.
    ///
    /// # Errors
    ///
    /// As [`super::Builder::composite`].
    pub fn composite(
        &mut self,
        key: u32,
        fill: impl FnOnce(&mut CompositeBuilder<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let spec = self.open(key)?;
        put_composite(spec, self.out, fill)
    }

    /// Writes one key and value of structured data.
    ///
    /// # Errors
    ///
    /// The field is not structured data, or a part is longer than nine digits can say.
    pub fn named(&mut self, name: &[u8], value: &[u8]) -> Result<(), EncodeError> {
        let failed = |rule| EncodeError { field: 0, rule };
        if !matches!(self.inner, Inner::Structured) {
            return Err(failed(Rule::Kind));
        }
        for part in [name, value] {
            let digits = part.len().checked_ilog10().unwrap_or(0) + 1;
            let digits = u8::try_from(digits).ok().filter(|d| *d <= 9);
            let digits = digits.ok_or_else(|| failed(Rule::TooLong))?;
            self.out.extend_from_slice(&[b'0' + digits]);
            let at = self.out.len();
            self.out.extend_from_slice(&[0; 9][..usize::from(digits)]);
            write_count(PrefixEncoding::Ascii, part.len(), &mut self.out[at..]);
            self.out.extend_from_slice(part);
        }
        Ok(())
    }

    pub(super) fn open(&mut self, key: u32) -> Result<&'o FieldSpec, EncodeError> {
        let failed = |rule| EncodeError { field: key, rule };
        let Inner::Bitmap { bits, .. } = self.inner else { return Err(failed(Rule::Kind)) };
        let spec = self.inner.sub(key).ok_or_else(|| failed(Rule::UnknownField))?;
        if key == 0 || key > u32::from(*bits) {
            return Err(failed(Rule::UnknownField));
        }
        if key <= self.last {
            return Err(failed(Rule::Order));
        }
        self.last = key;
        self.word |= 1 << 63 >> (key - 1);
        Ok(spec)
    }

    fn tagged(&mut self, key: u32, value: &[u8], translate: Ebcdic) -> Result<(), EncodeError> {
        let failed = |rule| EncodeError { field: key, rule };
        let Inner::Tagged { tag_digits, length_digits, lead, charset, .. } = self.inner else {
            return Err(failed(Rule::Kind));
        };
        let prefix = match charset {
            Ebcdic::No => PrefixEncoding::Ascii,
            Ebcdic::Yes => PrefixEncoding::Ebcdic,
        };
        let mut count = |digits: u8, number: usize| {
            if number >= 10_usize.pow(digits.into()) {
                return Err(failed(Rule::TooLong));
            }
            let at = self.out.len();
            self.out.extend_from_slice(&[0; 8][..usize::from(digits)]);
            write_count(prefix, number, &mut self.out[at..]);
            Ok(())
        };
        if key == 0 && *lead > 0 {
            if value.len() != usize::from(*lead) || self.out.len() != self.bitmap_at {
                return Err(failed(Rule::WrongLength));
            }
        } else if *length_digits == 0 {
            count(*tag_digits, key as usize)?;
            let spec = self.inner.sub(key).ok_or_else(|| failed(Rule::UnknownField))?;
            return match spec.format {
                Format::B => put_binary(spec, value, self.out),
                _ => put_text(spec, value, self.out),
            };
        } else {
            count(*tag_digits, key as usize)?;
            count(*length_digits, value.len())?;
        }
        let at = self.out.len();
        self.out.extend_from_slice(value);
        for byte in &mut self.out[at..] {
            *byte = translate.charset().to_wire(*byte);
        }
        Ok(())
    }

    pub(super) fn close(self) {
        if let Inner::Bitmap { form, bits, .. } = self.inner {
            let end = self.bitmap_at + form.bytes() * usize::from(*bits) / 64;
            if let Some(wire) = self.out.get_mut(self.bitmap_at..end) {
                form.write(self.word, wire);
            }
        }
    }
}

/// Appends one BER-TLV element in shortest form.
pub(super) fn tlv(out: &mut BytesMut, tag: u32, value: &[u8]) -> Option<()> {
    let bytes = tag.to_be_bytes();
    let skip = (tag.leading_zeros() / 8).min(3) as usize;
    let [high, low] = u16::try_from(value.len()).ok()?.to_be_bytes();
    out.extend_from_slice(&bytes[skip..]);
    match (high, low) {
        (0, 0..=0x7F) => out.extend_from_slice(&[low]),
        (0, _) => out.extend_from_slice(&[0x81, low]),
        _ => out.extend_from_slice(&[0x82, high, low]),
    }
    out.extend_from_slice(value);
    Some(())
}
