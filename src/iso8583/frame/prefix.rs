//! The length in front of a frame: its digits, its filler bytes, what it counts.
//!
//! Reading looks at bytes strictly in order, so a frame that comes byte by byte fails at the same place with the same
//! error as one that comes whole. **Never here:** headers, trailers, buffers that grow.

use super::FrameError;

/// How the number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Ascii,
    Bcd,
    BigEndian,
    HexAscii,
    LittleEndian,
}

/// A length prefix. `before` and `after` are constant bytes around the number; they are checked and never counted,
/// except by `inclusive`, which adds the whole prefix to the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) number: Number,
    /// Bytes of the number itself.
    pub(super) width: u8,
    pub(super) before: &'static [u8],
    pub(super) after: &'static [u8],
    pub(super) inclusive: bool,
}

/// Two zero bytes beside the number: jPOS `CSChannel` and `VAPChannel` after it, `GICCChannel` before it.
const ZERO2: &[u8] = &[0, 0];
/// Protocol id of jPOS `RBPChannel`, and its "last part" flag.
const RBP: &[u8] = &[0xD0, 0x4A];

const fn plain(number: Number, width: u8) -> Prefix {
    Prefix { number, width, before: &[], after: &[], inclusive: false }
}

/// Every length form by its name in a configuration.
#[rustfmt::skip]
pub(super) const FORMS: &[(&str, Prefix)] = &[
    ("ascii1",    plain(Number::Ascii, 1)),
    ("ascii2",    plain(Number::Ascii, 2)),
    ("ascii3",    plain(Number::Ascii, 3)),
    ("ascii4",    plain(Number::Ascii, 4)),
    ("ascii5",    plain(Number::Ascii, 5)),
    ("ascii6",    plain(Number::Ascii, 6)),
    ("bcd4",      plain(Number::Bcd, 2)),
    ("be2",       plain(Number::BigEndian, 2)),
    ("be2-zero2", Prefix { after: ZERO2, ..plain(Number::BigEndian, 2) }),
    ("be3",       plain(Number::BigEndian, 3)),
    ("be4",       plain(Number::BigEndian, 4)),
    ("hex4",      plain(Number::HexAscii, 4)),
    ("le2",       plain(Number::LittleEndian, 2)),
    ("le4",       plain(Number::LittleEndian, 4)),
    ("rbp",       Prefix { before: RBP, after: ZERO2, ..plain(Number::BigEndian, 2) }),
    ("zero2-be2", Prefix { before: ZERO2, ..plain(Number::BigEndian, 2) }),
];

impl Prefix {
    /// Two bytes, big-endian.
    pub(super) const BE2: Self = plain(Number::BigEndian, 2);

    /// Bytes the prefix takes on the wire.
    pub(super) const fn bytes(&self) -> usize {
        self.before.len() + self.width as usize + self.after.len()
    }

    /// Largest number the digits can write.
    const fn number_max(&self) -> usize {
        let width = self.width as u32;
        match self.number {
            Number::Ascii => 10_usize.pow(width) - 1,
            Number::Bcd => 10_usize.pow(width * 2) - 1,
            Number::BigEndian | Number::LittleEndian => (1 << (8 * width)) - 1,
            Number::HexAscii => (1 << (4 * width)) - 1,
        }
    }

    /// Longest body (header, message, trailer) this prefix can announce.
    pub(super) const fn body_max(&self) -> usize {
        if self.inclusive { self.number_max() - self.bytes() } else { self.number_max() }
    }

    /// Reads the length of the body. `None`: more bytes are needed. `Some(0)`: a poll.
    pub(super) fn read(&self, src: &[u8], max: usize) -> Result<Option<usize>, FrameError> {
        if !constant(src, 0, self.before)? {
            return Ok(None);
        }
        let start = self.before.len();
        let end = start + usize::from(self.width);
        let Some(digits) = src.get(start..end) else {
            return Ok(None);
        };
        let number = self.value(digits, start)?;
        // A zero is a poll in both counts: jPOS AmexChannel writes 00 00, although its own two bytes count.
        let length = if number == 0 || !self.inclusive {
            number
        } else {
            let min = self.bytes();
            number.checked_sub(min).ok_or(FrameError::LengthTooShort { length: number, min })?
        };
        if max < length {
            return Err(FrameError::TooLong { length, max });
        }
        Ok(constant(src, end, self.after)?.then_some(length))
    }

    fn value(&self, digits: &[u8], start: usize) -> Result<usize, FrameError> {
        let push = |base: usize, value: usize, digit: Option<usize>, at: usize| match digit {
            Some(digit) if digit < base => Ok(value * base + digit),
            Some(_) | None => Err(FrameError::LengthNotANumber { at: start + at }),
        };
        let ascii = |byte: u8| char::from(byte).to_digit(16).map(|d| d as usize);
        let mut value = 0;
        for (at, &byte) in digits.iter().enumerate() {
            value = match self.number {
                Number::Ascii => push(10, value, ascii(byte), at)?,
                Number::HexAscii => push(16, value, ascii(byte), at)?,
                Number::Bcd => {
                    let high = push(10, value, Some(usize::from(byte >> 4)), at)?;
                    push(10, high, Some(usize::from(byte & 0x0F)), at)?
                }
                Number::BigEndian => (value << 8) | usize::from(byte),
                Number::LittleEndian => value | (usize::from(byte) << (8 * at)),
            };
        }
        Ok(value)
    }

    /// Writes the prefix of a body of `length` bytes into `dst`, which is [`Self::bytes`] long. `length` fits: the
    /// caller compared it with [`Self::body_max`]. A poll is written as zero.
    pub(super) fn write(&self, length: usize, dst: &mut [u8]) {
        debug_assert!(length <= self.body_max() && dst.len() == self.bytes());
        let (before, rest) = dst.split_at_mut(self.before.len());
        let (digits, after) = rest.split_at_mut(usize::from(self.width));
        before.copy_from_slice(self.before);
        after.copy_from_slice(self.after);
        let mut left = if self.inclusive && length != 0 { length + self.bytes() } else { length };
        let mut put = |base: usize| {
            let digit = left % base;
            left /= base;
            // `digit` is below 256 because `base` is at most that.
            u8::try_from(digit).unwrap_or(u8::MAX)
        };
        let order = |byte: u8| char::from_digit(u32::from(byte), 16).map_or(b'0', |c| c as u8);
        if self.number == Number::LittleEndian {
            for byte in digits {
                *byte = put(256);
            }
            return;
        }
        for byte in digits.iter_mut().rev() {
            *byte = match self.number {
                Number::Ascii => order(put(10)),
                Number::Bcd => put(10) | (put(10) << 4),
                Number::BigEndian | Number::LittleEndian => put(256),
                Number::HexAscii => order(put(16)).to_ascii_uppercase(),
            };
        }
    }
}

/// Whether all of `want` stands at `at`; an error at the first byte that differs.
fn constant(src: &[u8], at: usize, want: &[u8]) -> Result<bool, FrameError> {
    for (offset, expected) in want.iter().enumerate() {
        match src.get(at + offset) {
            None => return Ok(false),
            Some(byte) if byte == expected => (),
            Some(_) => return Err(FrameError::BadHeader { at: at + offset }),
        }
    }
    Ok(true)
}

const _: () = {
    let mut i = 0;
    while i < FORMS.len() {
        assert!(FORMS[i].1.bytes() <= 8 && 0 < FORMS[i].1.width, "prefixes are short");
        i += 1;
    }
};
