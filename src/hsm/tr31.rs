//! Key blocks of TR-31 (ASC X9.143), versions A to D: a key, what it is for, and a MAC over both.
//!
//! ```text
//! version 1 │ length 4 │ usage 2 │ algorithm 1 │ mode 1 │ key version 2 │ exportability 1 │ count 2 │ reserved 2
//! optional blocks: id 2 │ length 2 (or 00 02 0100) │ text … up to whole cipher blocks
//! hex of the encrypted (length in bits 2 │ key │ padding) │ hex of the MAC: 4 bytes (A, C), 8 (B), 16 (D)
//! ```
//!
//! A and C: the keys are variants of the protection key (`45` to encrypt, `4D` to authenticate), CBC from the header,
//! CBC-MAC over header and ciphertext. B and D: the keys are derived by CMAC, the MAC is over header and clear key, and
//! CBC starts from it. **Never here:** which usage a key of ours may have (`exchange::block`), a key by name.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::hsm::key::Algorithm;
use crate::hsm::modes;

mod header;

pub use header::{Header, Optional};

/// Characters of a header without optional blocks.
pub const HEADER_BYTES: usize = 16;
/// Longest block: its length has four digits.
pub const BLOCK_BYTES_MAX: usize = 9999;
/// Bytes of padding a caller provides; never more than one cipher block of it is used.
pub const PAD_BYTES: usize = 16;

/// How a block is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Variants of a triple-DES key. Deprecated: for partners who have nothing else.
    A,
    /// Derived triple-DES keys.
    B,
    /// As A, with a field renamed.
    C,
    /// Derived AES keys.
    D,
}

impl Version {
    /// The one of a letter.
    #[must_use]
    pub const fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'A' => Self::A,
            b'B' => Self::B,
            b'C' => Self::C,
            b'D' => Self::D,
            _ => return None,
        })
    }

    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::A => b'A',
            Self::B => b'B',
            Self::C => b'C',
            Self::D => b'D',
        }
    }

    /// What the key that protects it must be a key for.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::A | Self::B | Self::C => Algorithm::Tdes,
            Self::D => Algorithm::Aes,
        }
    }

    /// Bytes of a cipher block; optional blocks fill whole ones.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::A | Self::B | Self::C => 8,
            Self::D => 16,
        }
    }

    const fn mac_bytes(self) -> usize {
        match self {
            Self::A | Self::C => 4,
            Self::B => 8,
            Self::D => 16,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(self.letter()))
    }
}

/// Why a block cannot be read or written. Names places and fields, never their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Tr31Error {
    /// MAC and block do not agree.
    #[error(
        "key block does not authenticate: another key protects it, or it was changed: compare the \
         check value of the protection key with the sender's"
    )]
    Authentication,
    /// A field of the header.
    #[error("key block: {name} (character {at}) has no value that the standard knows")]
    Field {
        /// Which.
        name: &'static str,
        /// Where, from 1.
        at: usize,
    },
    /// The length inside is not that of the key, or not one of whole bytes.
    #[error("key block: the length of the key inside is wrong: ask the sender for a new block")]
    KeyLength,
    /// Another number of characters than the header states, or than the version can have.
    #[error("key block: {actual} characters, its header says {stated}: copy all of it")]
    Length {
        /// In the header.
        stated: usize,
        /// What came.
        actual: usize,
    },
    /// A character that belongs to no hex digit or text.
    #[error("key block: character {at} cannot stand there")]
    Character {
        /// Where, from 1.
        at: usize,
    },
    /// An optional block.
    #[error("key block: optional block {number} is cut off, has a bad name or leaves a rest")]
    Optional {
        /// Which, from 1.
        number: usize,
    },
    /// The protection key is no key for this version.
    #[error("key block of version {version}: it is protected by a key for {}", version.algorithm())]
    Protection {
        /// Of the block.
        version: Version,
    },
    /// Header, key and MAC are longer than a block can be.
    #[error("key block: more than {BLOCK_BYTES_MAX} characters: leave optional blocks out")]
    TooLong,
    /// No version A to D.
    #[error("key block: its first character is no version A, B, C or D")]
    Version,
}

/// Opens a block: what it says of its key, and the key. Nothing of the key is looked at before the MAC is right.
///
/// # Errors
/// [`Tr31Error`].
pub fn open(
    algorithm: Algorithm,
    protection: &[u8],
    block: &[u8],
) -> Result<(Header, Zeroizing<Vec<u8>>), Tr31Error> {
    let (header, start) = Header::read(block)?;
    let version = header.version();
    let keys = Keys::new(version, algorithm, protection)?;
    let (text, body) = block.split_at_checked(start).ok_or(Tr31Error::KeyLength)?;
    let body = unhex(body, start)?;
    let at = body.len().checked_sub(version.mac_bytes()).ok_or(Tr31Error::KeyLength)?;
    let (sealed, mac) = body.split_at(at);
    let mut clear = Zeroizing::new(sealed.to_vec());
    let actual = match version {
        Version::A | Version::C => {
            let actual = keys.mac(text, sealed)?;
            keys.decrypt(text.get(..8).unwrap_or_default(), &mut clear)?;
            actual
        }
        Version::B | Version::D => {
            keys.decrypt(mac, &mut clear)?;
            keys.mac(text, &clear)?
        }
    };
    if !bool::from(actual.ct_eq(mac)) {
        return Err(Tr31Error::Authentication);
    }
    let bits = clear.first_chunk().map_or(0, |bits: &[u8; 2]| u16::from_be_bytes(*bits));
    let key = clear.get(2..2 + usize::from(bits / 8)).filter(|key| !key.is_empty());
    let key = key.filter(|_| bits.is_multiple_of(8)).ok_or(Tr31Error::KeyLength)?;
    Ok((header, Zeroizing::new(key.to_vec())))
}

/// Writes a block. `pad` is random: of it the end of the last cipher block is filled.
///
/// The length of the key is not hidden by more padding than that, as devices do not hide it either.
///
/// # Errors
/// [`Tr31Error::Protection`], [`Tr31Error::KeyLength`] and [`Tr31Error::TooLong`].
pub fn seal(
    algorithm: Algorithm,
    protection: &[u8],
    header: &Header,
    key: &[u8],
    pad: &[u8; PAD_BYTES],
) -> Result<Vec<u8>, Tr31Error> {
    let version = header.version();
    let keys = Keys::new(version, algorithm, protection)?;
    let bits = u16::try_from(key.len() * 8).ok().filter(|bits| *bits != 0);
    let bits = bits.ok_or(Tr31Error::KeyLength)?.to_be_bytes();
    let whole = (bits.len() + key.len()).next_multiple_of(version.block_bytes());
    // Room for all, so that growing leaves no copy behind.
    let mut body = Zeroizing::new(Vec::with_capacity(whole));
    body.extend_from_slice(&bits);
    body.extend_from_slice(key);
    body.extend(pad.iter().take(whole - bits.len() - key.len()));
    let mut text = header.write(2 * (whole + version.mac_bytes()))?;
    let mac = match version {
        Version::A | Version::C => {
            keys.encrypt(text.get(..8).unwrap_or_default(), &mut body)?;
            keys.mac(&text, &body)?
        }
        Version::B | Version::D => {
            let mac = keys.mac(&text, &body)?;
            keys.encrypt(&mac, &mut body)?;
            mac
        }
    };
    text.extend_from_slice(hex::encode_upper(&*body).as_bytes());
    text.extend_from_slice(hex::encode_upper(&*mac).as_bytes());
    Ok(text)
}

/// The two keys made of one that protects blocks. Wiped on drop.
struct Keys {
    version: Version,
    encrypt: Zeroizing<Vec<u8>>,
    authenticate: Zeroizing<Vec<u8>>,
}

impl Keys {
    fn new(version: Version, algorithm: Algorithm, key: &[u8]) -> Result<Self, Tr31Error> {
        let refused = Tr31Error::Protection { version };
        if algorithm != version.algorithm() || !algorithm.lengths().contains(&key.len()) {
            return Err(refused);
        }
        let made = |variant: u8, usage: u16| match version {
            Version::A | Version::C => {
                Some(Zeroizing::new(key.iter().map(|byte| byte ^ variant).collect()))
            }
            Version::B | Version::D => modes::derive(algorithm, key, usage),
        };
        let (encrypt, authenticate) = (made(0x45, 0), made(0x4D, 1));
        Ok(Self {
            version,
            encrypt: encrypt.ok_or(refused)?,
            authenticate: authenticate.ok_or(refused)?,
        })
    }

    fn mac(&self, header: &[u8], body: &[u8]) -> Result<Zeroizing<Vec<u8>>, Tr31Error> {
        let (algorithm, key) = (self.version.algorithm(), &self.authenticate);
        let mut message = Zeroizing::new(Vec::with_capacity(header.len() + body.len()));
        message.extend_from_slice(header);
        message.extend_from_slice(body);
        let mac = match self.version {
            Version::A | Version::C => modes::cbc_mac(algorithm, key, &message),
            Version::B | Version::D => modes::cmac(algorithm, key, &message),
        };
        let mut mac = mac.ok_or(Tr31Error::Protection { version: self.version })?;
        mac.truncate(self.version.mac_bytes());
        Ok(mac)
    }

    fn encrypt(&self, iv: &[u8], body: &mut [u8]) -> Result<(), Tr31Error> {
        modes::encrypt_cbc(self.version.algorithm(), &self.encrypt, iv, body)
            .ok_or(Tr31Error::KeyLength)
    }

    fn decrypt(&self, iv: &[u8], body: &mut [u8]) -> Result<(), Tr31Error> {
        modes::decrypt_cbc(self.version.algorithm(), &self.encrypt, iv, body)
            .ok_or(Tr31Error::KeyLength)
    }
}

/// Hex digits, of which the first is character `start`.
fn unhex(text: &[u8], start: usize) -> Result<Vec<u8>, Tr31Error> {
    hex::decode(text).map_err(|error| match error {
        hex::FromHexError::InvalidHexCharacter { index, .. } => {
            Tr31Error::Character { at: start + index + 1 }
        }
        _ => Tr31Error::KeyLength,
    })
}

#[cfg(test)]
mod tests;
