//! Keys as they stand in commands: under a variant LMK, as Thales key blocks, as TR-31 blocks, by index.
//!
//! A key says itself how long it is, except one without a scheme: its length is in the reader's
//! [`crate::hsm::payshield::wire::scan::Assume`].
//! **Never here:** opening one (`simulator`).

use std::fmt;

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer};

/// How a key under a variant LMK or a ZMK is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// No letter: 16 or 32 hex digits.
    Bare,
    /// `Z`: single length.
    Z,
    /// `U`: double length, variant method.
    U,
    /// `T`: triple length, variant method.
    T,
    /// `X`: double length, X9.17 method.
    X,
    /// `Y`: triple length, X9.17 method.
    Y,
}

impl Scheme {
    /// The one of a letter.
    #[must_use]
    pub const fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'Z' => Self::Z,
            b'U' => Self::U,
            b'T' => Self::T,
            b'X' => Self::X,
            b'Y' => Self::Y,
            _ => return None,
        })
    }

    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> Option<u8> {
        Some(match self {
            Self::Bare => return None,
            Self::Z => b'Z',
            Self::U => b'U',
            Self::T => b'T',
            Self::X => b'X',
            Self::Y => b'Y',
        })
    }

    /// Hex digits behind the letter; none are fixed where there is no letter.
    #[must_use]
    pub const fn digits(self) -> Option<usize> {
        match self {
            Self::Bare => None,
            Self::Z => Some(16),
            Self::U | Self::X => Some(32),
            Self::T | Self::Y => Some(48),
        }
    }
}

/// A key in a command. `Debug` shows its form only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// Encrypted as a scheme says, in hex digits.
    Ecb(Scheme, &'a [u8]),
    /// A Thales key block without its `S`: from the version on.
    Block(&'a [u8]),
    /// A TR-31 key block without its `R`: from the version on.
    Tr31(&'a [u8]),
    /// In user storage: `K` and three hex digits.
    Stored(Option<Scheme>, [u8; 3]),
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecb(scheme, digits) => write!(f, "Key({scheme:?}, {} digits)", digits.len()),
            Self::Block(text) => write!(f, "Key(S, {} characters)", text.len()),
            Self::Tr31(text) => write!(f, "Key(R, {} characters)", text.len()),
            Self::Stored(..) => f.write_str("Key(stored)"),
        }
    }
}

/// Characters of a key block's header without optional blocks.
pub const BLOCK_HEADER: usize = 16;

impl<'a> Key<'a> {
    /// The algorithm a key block names; TDES under a variant LMK.
    #[must_use]
    pub fn algorithm(&self) -> u8 {
        match self {
            Self::Block(text) | Self::Tr31(text) => text.get(7).copied().unwrap_or(b'T'),
            Self::Ecb(..) | Self::Stored(..) => b'T',
        }
    }

    fn read_bare(reader: &mut Reader<'a>, digits: usize) -> Result<Self, Fault> {
        let Some(first) = reader.peek() else { return Err(reader.fault(ErrorCode::INPUT)) };
        if let Some(scheme) = Scheme::of(first) {
            reader.take(1)?;
            if reader.skip(b'K') {
                return Ok(Self::Stored(Some(scheme), reader.unpacked()?));
            }
            return Ok(Self::Ecb(scheme, reader.hex(scheme.digits().unwrap_or(digits))?));
        }
        match first {
            b'K' => {
                reader.take(1)?;
                Ok(Self::Stored(None, reader.unpacked()?))
            }
            b'S' => Ok(Self::Block(block(reader, b"01")?)),
            b'R' => Ok(Self::Tr31(block(reader, b"ABCD")?)),
            b'G'..=b'Z' => Err(reader.fault(ErrorCode::SCHEME)),
            _ => Ok(Self::Ecb(Scheme::Bare, reader.hex(digits)?)),
        }
    }
}

/// A letter and a block that says its length: version, four digits.
fn block<'a>(reader: &mut Reader<'a>, versions: &[u8]) -> Result<&'a [u8], Fault> {
    let bad = reader.fault(ErrorCode::KEY_BLOCK);
    reader.take(1)?;
    let mut ahead = reader.clone();
    let version = ahead.take(1).map_err(|_| bad)?;
    let length = ahead.number(4).map_err(|_| bad)?;
    if !versions.contains(&version[0]) || length < BLOCK_HEADER {
        return Err(bad);
    }
    // Header, ciphertext and MAC are letters and digits; an optional block holds printable characters.
    reader.of(length, |byte| byte.is_ascii_graphic() || *byte == b' ').map_err(|_| bad)
}

impl Reader<'_> {
    fn unpacked(&mut self) -> Result<[u8; 3], Fault> {
        self.chars(crate::hsm::payshield::wire::scan::is_hex)
    }
}

impl<'a> Field<'a> for Key<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        Self::read_bare(reader, reader.assume.bare)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Ecb(scheme, digits) => {
                scheme.letter().into_iter().for_each(|letter| writer.byte(letter));
                writer.put(digits);
            }
            Self::Block(text) => {
                writer.byte(b'S');
                writer.put(text);
            }
            Self::Tr31(text) => {
                writer.byte(b'R');
                writer.put(text);
            }
            Self::Stored(scheme, index) => {
                scheme.and_then(Scheme::letter).into_iter().for_each(|letter| writer.byte(letter));
                writer.byte(b'K');
                writer.put(index);
            }
        }
    }
}

/// The key PIN blocks behind it are under: an AES key makes them 16 bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinKey<'a>(pub Key<'a>);

impl<'a> Field<'a> for PinKey<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let key = Key::read(reader)?;
        reader.block = if key.algorithm() == b'A' { 32 } else { 16 };
        Ok(Self(key))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
    }
}

/// A pair of PVKs: 32 hex digits where it has no scheme. One of 16 is read, too: the device answers 27 to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PvkPair<'a>(pub Key<'a>);

impl<'a> Field<'a> for PvkPair<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        Key::read_bare(reader, reader.assume.pair).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
    }
}

/// Three characters that say what a key is: `001` ZPK, `002` PVK or TPK, `70D` TPK, `FFF` any key block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyType(pub [u8; 3]);

impl KeyType {
    /// Whatever a key block says.
    pub const BLOCK: Self = Self(*b"FFF");
    /// Zone PIN key.
    pub const ZPK: Self = Self(*b"001");
    /// PVK, and in legacy mode TPK and TMK.
    pub const PVK: Self = Self(*b"002");
    /// TPK where the device separates it.
    pub const TPK: Self = Self(*b"70D");
}

impl<'a> Field<'a> for KeyType {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.unpacked().map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(&self.0);
    }
}
