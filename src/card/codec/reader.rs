//! Reading and writing the smallest elements, every length checked.
//!
//! **Never here:** what a record or a card is made of. Where next: `card`, `entry`, `forwarded`.

use crate::card::codec::{CodecError, VERSION};
use crate::domain::request::Text;

/// A text that is absent.
pub(super) const ABSENT: u8 = 255;

pub(super) fn text(
    out: &mut Vec<u8>,
    value: &str,
    bytes_max: usize,
    what: &'static str,
) -> Result<(), CodecError> {
    let length = u8::try_from(value.len()).map_err(|_| CodecError::TooLong(what))?;
    if bytes_max < value.len() {
        return Err(CodecError::TooLong(what));
    }
    out.push(length);
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

/// A cursor that cannot read past its end.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn take(
        &mut self,
        count: usize,
        what: &'static str,
    ) -> Result<&'a [u8], CodecError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let taken = rest.get(..count).ok_or(CodecError::Length { at: self.at, what })?;
        self.at += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], CodecError> {
        let at = self.at;
        self.take(N, what)?.try_into().map_err(|_| CodecError::Length { at, what })
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, CodecError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, CodecError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(super) fn version(&mut self) -> Result<(), CodecError> {
        match self.byte("version")? {
            VERSION => Ok(()),
            other => Err(CodecError::Version(other)),
        }
    }

    /// A text that was cut and made printable before it was written.
    pub(super) fn tag<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<Text<N>, CodecError> {
        let length = usize::from(self.byte(what)?);
        if N < length {
            return Err(self.value(what));
        }
        let bytes = self.take(length, what)?;
        let text = Text::new(bytes);
        if text.as_str().as_bytes() == bytes { Ok(text) } else { Err(self.value(what)) }
    }

    /// A text that must be there.
    pub(super) fn present(&mut self, what: &'static str) -> Result<Box<str>, CodecError> {
        self.text(what)?.ok_or_else(|| self.value(what))
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<Option<Box<str>>, CodecError> {
        let length = self.byte(what)?;
        if length == ABSENT {
            return Ok(None);
        }
        let bytes = self.take(usize::from(length), what)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.value(what))?;
        Ok(Some(text.into()))
    }

    pub(super) fn optional<T>(
        &mut self,
        flags: u8,
        flag: u8,
        read: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if flags & flag == 0 { Ok(None) } else { read(self).map(Some) }
    }

    pub(super) fn value(&self, what: &'static str) -> CodecError {
        CodecError::Value { at: self.at, what }
    }

    pub(super) fn end(&self, what: &'static str) -> Result<(), CodecError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(CodecError::Length { at: self.at, what })
        }
    }
}
