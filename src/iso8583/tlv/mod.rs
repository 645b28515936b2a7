//! BER-TLV: the tags of chip data (DE 55 and its like), read where they lie and written back byte for byte.
//!
//! [`pieces`] walks a value as elements and the padding between them; concatenating their bytes gives the input again,
//! whatever lengths and unknown tags it had. [`datasets`] is the layer Visa and the 2003 edition put around it.
//!
//! **Never here:** copies, what a tag means to a PIN change, cryptograms. Values are account data: errors carry offsets
//! and lengths only. Rules: ISO/IEC 8825-1 as EMV Book 3, annex B narrows it. Where next: `names` for the tag table.

use std::fmt;

use bytes::BufMut;

mod names;
#[cfg(test)]
mod tests;

pub use names::{TagInfo, TagSecrecy, info};

/// A tag of one to four bytes, as a number: `9F26` is `0x9F26`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u32);

impl Tag {
    /// Checks that `number` is the bytes of exactly one tag. `None` for padding, a cut tag or one tag and more.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        let bytes = number.to_be_bytes();
        let first = bytes.iter().position(|b| *b != 0)?;
        let bytes = &bytes[first..];
        let (tag, length) = Self::read(bytes, 0).ok()?;
        (length == bytes.len() && padding_length(bytes) == 0).then_some(tag)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether its value is made of elements itself: bit 6 of the first byte.
    #[must_use]
    pub fn is_constructed(self) -> bool {
        let bytes = self.0.to_be_bytes();
        bytes.iter().find(|b| **b != 0).is_some_and(|first| first & 0x20 != 0)
    }

    /// Reads one tag and how many bytes it took. `input` is not empty and starts with no padding.
    fn read(input: &[u8], at: usize) -> Result<(Self, usize), TlvError> {
        let first = *input.first().ok_or(TlvError::TagCut { at })?;
        let mut number = u32::from(first);
        if first & 0x1F != 0x1F {
            return Ok((Self(number), 1));
        }
        for more in 1..4 {
            let byte = *input.get(more).ok_or(TlvError::TagCut { at })?;
            number = (number << 8) | u32::from(byte);
            if byte & 0x80 == 0 {
                return Ok((Self(number), more + 1));
            }
        }
        Err(TlvError::TagTooLong { at })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.0 < 0x100 { 2 } else { 4 };
        write!(f, "{:0digits$X}", self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

/// Why bytes are not BER-TLV. Offsets count from the start of the outermost value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlvError {
    /// The identifier or length of a dataset is cut off.
    #[error("dataset at {at}: cut off inside its identifier or length")]
    DatasetCut {
        /// Offset of the dataset.
        at: usize,
    },
    /// An indefinite length, or one of more than three bytes.
    #[error("length at {at}: only definite lengths of up to three bytes are served")]
    LengthForm {
        /// Offset of the length.
        at: usize,
    },
    /// A length is cut off.
    #[error("length at {at}: cut off")]
    LengthCut {
        /// Offset of the length.
        at: usize,
    },
    /// A tag is cut off.
    #[error("tag at {at}: cut off")]
    TagCut {
        /// Offset of the tag.
        at: usize,
    },
    /// A tag of more than four bytes.
    #[error("tag at {at}: longer than four bytes")]
    TagTooLong {
        /// Offset of the tag.
        at: usize,
    },
    /// A value is cut off.
    #[error("value at {at}: {length} bytes announced, {have} there")]
    ValueCut {
        /// Offset of the value.
        at: usize,
        /// Announced length.
        length: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// A value too long to write.
    #[error("value of {length} bytes: the length field holds at most {max}")]
    ValueTooLong {
        /// Its length.
        length: usize,
        /// The limit.
        max: usize,
    },
}

/// One element, borrowed. `Debug` shows tag and length, never the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    tag: Tag,
    at: usize,
    bytes: &'a [u8],
    value_at: usize,
}

impl<'a> Element<'a> {
    /// Its tag.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Offset of the tag from the start of the outermost value.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        &self.bytes[self.value_at..]
    }

    /// Tag, length and value as they came: what to copy to pass it on unchanged.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What a constructed element holds; `None` for a primitive one.
    #[must_use]
    pub fn children(&self) -> Option<Pieces<'a>> {
        let at = self.at + self.value_at;
        self.tag.is_constructed().then(|| Pieces { rest: self.value(), at })
    }
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Element({} at {}, {} bytes)", self.tag, self.at, self.value().len())
    }
}

/// A part of a value: an element, or the padding between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// An element.
    Element(Element<'a>),
    /// Bytes `00` and `FF` without meaning.
    Padding(&'a [u8]),
}

impl<'a> Piece<'a> {
    /// Its bytes as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Element(element) => element.as_bytes(),
            Self::Padding(bytes) => bytes,
        }
    }
}

/// Walks the pieces of `value`. After an error it ends.
#[must_use]
pub fn pieces(value: &[u8]) -> Pieces<'_> {
    Pieces { rest: value, at: 0 }
}

/// Walks the elements of `value` without the padding.
pub fn elements(value: &[u8]) -> impl Iterator<Item = Result<Element<'_>, TlvError>> {
    pieces(value).filter_map(|piece| match piece {
        Ok(Piece::Element(element)) => Some(Ok(element)),
        Ok(Piece::Padding(_)) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The first element of that tag, templates not searched.
///
/// # Errors
/// [`TlvError`] of anything that stands before it.
pub fn find(value: &[u8], tag: Tag) -> Result<Option<Element<'_>>, TlvError> {
    for element in elements(value) {
        let element = element?;
        if element.tag == tag {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

/// Iterator of [`pieces`].
#[derive(Clone)]
pub struct Pieces<'a> {
    rest: &'a [u8],
    at: usize,
}

impl fmt::Debug for Pieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({} bytes from {})", self.rest.len(), self.at)
    }
}

impl<'a> Pieces<'a> {
    fn element(&self) -> Result<Element<'a>, TlvError> {
        let (tag, tag_bytes) = Tag::read(self.rest, self.at)?;
        let length_at = self.at + tag_bytes;
        let (length, length_bytes) = read_length(&self.rest[tag_bytes..], length_at)?;
        let value_at = tag_bytes + length_bytes;
        let have = self.rest.len() - value_at;
        // At most 2^24 and a few bytes: no overflow.
        let bytes = self.rest.get(..value_at + length).ok_or(TlvError::ValueCut {
            at: self.at + value_at,
            length,
            have,
        })?;
        Ok(Element { tag, at: self.at, bytes, value_at })
    }

    fn advance(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count);
        (self.rest, self.at) = (rest, self.at + count);
        taken
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, TlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let padding = padding_length(self.rest);
        if 0 < padding {
            return Some(Ok(Piece::Padding(self.advance(padding))));
        }
        Some(match self.element() {
            Ok(element) => {
                self.advance(element.bytes.len());
                Ok(Piece::Element(element))
            }
            Err(error) => {
                self.rest = &[];
                Err(error)
            }
        })
    }
}

impl std::iter::FusedIterator for Pieces<'_> {}

/// Bytes of padding at the start. `FF` is padding only before `00`, another `FF` or the end: private tags such as
/// `FF60` start with the same byte.
fn padding_length(bytes: &[u8]) -> usize {
    let mut count = 0;
    loop {
        match bytes[count..] {
            [0x00, ..] | [0xFF] | [0xFF, 0x00 | 0xFF, ..] => count += 1,
            _ => return count,
        }
    }
}

fn read_length(bytes: &[u8], at: usize) -> Result<(usize, usize), TlvError> {
    let first = *bytes.first().ok_or(TlvError::LengthCut { at })?;
    let more = match first {
        0..=0x7F => return Ok((usize::from(first), 1)),
        0x81..=0x83 => usize::from(first & 0x7F),
        0x80 | 0x84..=0xFF => return Err(TlvError::LengthForm { at }),
    };
    let digits = bytes.get(1..=more).ok_or(TlvError::LengthCut { at })?;
    let length = digits.iter().fold(0, |value, byte| (value << 8) | usize::from(*byte));
    Ok((length, 1 + more))
}

/// Largest length three bytes can write.
const LENGTH_MAX: usize = 0xFF_FFFF;

/// Appends one element with the shortest length form.
///
/// # Errors
/// [`TlvError::ValueTooLong`] above 16777215 bytes; `dst` is then as it was.
pub fn put(dst: &mut impl BufMut, tag: Tag, value: &[u8]) -> Result<(), TlvError> {
    let length = value.len();
    let [b0, b1, b2, b3] = match u32::try_from(length) {
        Ok(short) if length <= LENGTH_MAX => short.to_be_bytes(),
        _ => return Err(TlvError::ValueTooLong { length, max: LENGTH_MAX }),
    };
    debug_assert_eq!(b0, 0);
    let tag = tag.0.to_be_bytes();
    let first = tag.iter().position(|b| *b != 0).unwrap_or(3);
    dst.put_slice(&tag[first..]);
    match length {
        0..=0x7F => dst.put_u8(b3),
        0x80..=0xFF => dst.put_slice(&[0x81, b3]),
        0x100..=0xFFFF => dst.put_slice(&[0x82, b2, b3]),
        _ => dst.put_slice(&[0x83, b1, b2, b3]),
    }
    dst.put_slice(value);
    Ok(())
}

/// One dataset of Visa's DE 55 or of a 2003 field: identifier, two-byte length, content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dataset<'a> {
    /// Its identifier: `01` is chip data in DE 55.
    pub id: u8,
    at: usize,
    content: &'a [u8],
}

impl<'a> Dataset<'a> {
    /// What it holds.
    #[must_use]
    pub fn content(&self) -> &'a [u8] {
        self.content
    }

    /// Its content as BER-TLV; offsets count from the start of the field.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'a> {
        Pieces { rest: self.content, at: self.at + 3 }
    }
}

impl fmt::Debug for Dataset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({:02X} at {}, {} bytes)", self.id, self.at, self.content.len())
    }
}

/// Walks the datasets of a field. After an error it ends.
pub fn datasets(field: &[u8]) -> impl Iterator<Item = Result<Dataset<'_>, TlvError>> {
    let mut rest = field;
    std::iter::from_fn(move || {
        let at = field.len() - rest.len();
        let (dataset, after) = match std::mem::take(&mut rest) {
            [] => return None,
            [id, high, low, after @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let Some((content, after)) = after.split_at_checked(length) else {
                    let have = after.len();
                    return Some(Err(TlvError::ValueCut { at: at + 3, length, have }));
                };
                (Dataset { id: *id, at, content }, after)
            }
            _ => return Some(Err(TlvError::DatasetCut { at })),
        };
        rest = after;
        Some(Ok(dataset))
    })
}

/// Appends one dataset.
///
/// # Errors
/// [`TlvError::ValueTooLong`] above 65535 bytes; `dst` is then as it was.
pub fn put_dataset(dst: &mut impl BufMut, id: u8, content: &[u8]) -> Result<(), TlvError> {
    let length = u16::try_from(content.len()).map_err(|_| TlvError::ValueTooLong {
        length: content.len(),
        max: usize::from(u16::MAX),
    })?;
    dst.put_u8(id);
    dst.put_u16(length);
    dst.put_slice(content);
    Ok(())
}
