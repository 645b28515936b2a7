//! Keys by name: what each may be used for, its check value, and the rules every key must pass.
//!
//! A [`ClearKey`] has passed them: length, odd parity, halves that differ, not published (unless that is allowed). It
//! is wiped on drop and masked in `Debug`. **Never here:** files (`keyfile`), the local master key (`lmk`), prepared
//! schedules (`soft`).

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use zeroize::Zeroizing;

use crate::hsm::key::rsa::RsaError;
use crate::hsm::{modes, published};

pub mod rsa;

/// Longest symmetric key in bytes.
pub const KEY_BYTES_MAX: usize = 32;
/// Longest name.
pub const NAME_BYTES_MAX: usize = 64;

/// First three bytes of the encryption of zeros.
pub type CheckValue = [u8; 3];

/// What a key is for. A key of one type is never accepted where another is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyType {
    /// MACs the audit chain.
    Audit,
    /// Base derivation key of DUKPT terminals.
    Bdk,
    /// Hashes account numbers.
    PanHash,
    /// Seals account numbers at rest.
    PanSeal,
    /// PIN verification key.
    Pvk,
    /// RSA key pair: PINs come encrypted under its public half.
    Rsa,
    /// Secret shared with a client of the HTTP doors: it signs its requests.
    Signature,
    /// Zone authentication key: MACs messages.
    Zak,
    /// Zone master key: wraps zone keys in an exchange.
    Zmk,
    /// Zone PIN key: encrypts PIN blocks.
    Zpk,
}

/// Every type with its name in files and on the command line.
const TYPE_NAMES: &[(KeyType, &str)] = &[
    (KeyType::Audit, "AUDIT"),
    (KeyType::Bdk, "BDK"),
    (KeyType::PanHash, "PAN-HASH"),
    (KeyType::PanSeal, "PAN-SEAL"),
    (KeyType::Pvk, "PVK"),
    (KeyType::Rsa, "RSA"),
    (KeyType::Signature, "SIGNATURE"),
    (KeyType::Zak, "ZAK"),
    (KeyType::Zmk, "ZMK"),
    (KeyType::Zpk, "ZPK"),
];

impl KeyType {
    /// The types a vault cannot do without, with the names they go by.
    pub const DATA: [(Self, &'static str); 3] =
        [(Self::PanHash, "pan-hash"), (Self::PanSeal, "pan-seal"), (Self::Audit, "audit")];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        TYPE_NAMES.iter().find(|(t, _)| *t == self).map_or("", |(_, name)| *name)
    }

    /// Algorithms a key of this type may have; the first is the default.
    #[must_use]
    pub const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Zpk | Self::Bdk => &[Algorithm::Tdes, Algorithm::Aes],
            Self::Zmk | Self::Zak | Self::Pvk => &[Algorithm::Tdes],
            Self::PanSeal => &[Algorithm::Aes],
            Self::PanHash | Self::Audit | Self::Signature => &[Algorithm::Hmac],
            Self::Rsa => &[Algorithm::Rsa],
        }
    }

    /// Bytes of a newly generated key that is nothing but random bytes; none for RSA.
    #[must_use]
    pub const fn default_bytes(self, algorithm: Algorithm) -> usize {
        match (self, algorithm) {
            (_, Algorithm::Tdes) => 16,
            (_, Algorithm::Aes | Algorithm::Hmac) => 32,
            (_, Algorithm::Rsa) => 0,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = TYPE_NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(t, _)| *t).ok_or_else(|| {
            let names: Vec<_> = TYPE_NAMES.iter().map(|(_, name)| *name).collect();
            format!("key type {text:?} unknown: one of {}", names.join(", "))
        })
    }
}

/// Which cipher a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// AES of 128, 192 or 256 bits.
    Aes,
    /// HMAC-SHA-256 with a key of 32 bytes.
    Hmac,
    /// RSA of 2048 to 4096 bits, as a PKCS #8 document.
    Rsa,
    /// Triple DES with two or three keys.
    Tdes,
}

/// Every algorithm with its name in files and the lengths in bytes it has, where they are a few.
const ALGORITHMS: &[(Algorithm, &str, &[usize])] = &[
    (Algorithm::Aes, "AES", &[16, 24, 32]),
    (Algorithm::Hmac, "HMAC", &[32]),
    (Algorithm::Rsa, "RSA", &[]),
    (Algorithm::Tdes, "TDES", &[16, 24]),
];

impl Algorithm {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALGORITHMS.iter().find(|(a, ..)| *a == self).map_or("", |(_, name, _)| *name)
    }

    /// Key lengths it has, in bytes.
    #[must_use]
    pub fn lengths(self) -> &'static [usize] {
        ALGORITHMS.iter().find(|(a, ..)| *a == self).map_or(&[], |(.., lengths)| *lengths)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = ALGORITHMS.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(text));
        found
            .map(|(a, ..)| *a)
            .ok_or_else(|| format!("algorithm {text:?} unknown: one of AES, HMAC, RSA, TDES"))
    }
}

/// Whether published keys may be used. They protect nothing, so a switch must be told in as many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestKeys {
    /// In a demo or a test: `allow_test_keys = true`.
    Allowed,
    /// Everywhere else.
    Refused,
}

/// Why bytes are not an acceptable key. Names the key, never its bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The type does not go with the algorithm.
    #[error("key {name}: a {key_type} cannot be a key for {algorithm}; use {}", names(*key_type))]
    Algorithm {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
        /// The algorithm that does not fit.
        algorithm: Algorithm,
    },
    /// All bytes are zero.
    #[error("key {name}: all zeros; enter the components again, or generate another key")]
    AllZero {
        /// Key.
        name: Box<str>,
    },
    /// Two neighbouring thirds or halves are the same: triple DES would be single DES.
    #[error(
        "key {name}: part {part} equals the part before it, which makes triple DES single DES; \
         generate another key"
    )]
    EqualParts {
        /// Key.
        name: Box<str>,
        /// Second or third eight bytes.
        part: u8,
    },
    /// Another number of bytes than the algorithm takes.
    #[error("key {name}: {bytes} bytes; {algorithm} takes {lengths:?}", lengths = algorithm.lengths())]
    Length {
        /// Key.
        name: Box<str>,
        /// Algorithm.
        algorithm: Algorithm,
        /// What came.
        bytes: usize,
    },
    /// A name other than lower-case letters, digits, `.`, `-`, `_`.
    #[error("key name {name:?}: use 1 to 64 of a-z, 0-9, '.', '-', '_', starting with a letter")]
    Name {
        /// As given.
        name: Box<str>,
    },
    /// A byte has an even number of one bits.
    #[error(
        "key {name}: byte {byte} has even parity; a DES key has odd parity in every byte: \
         it was entered wrong or decrypted under another key"
    )]
    Parity {
        /// Key.
        name: Box<str>,
        /// First such byte, from 1.
        byte: usize,
    },
    /// No acceptable RSA key pair.
    #[error("key {name}: {source}")]
    Rsa {
        /// Key.
        name: Box<str>,
        /// What is wrong with it.
        source: RsaError,
    },
    /// A published key.
    #[error(
        "key {name}: this is a published test key and protects nothing; generate one with \
         `pinion keys generate`, or set allow_test_keys = true in a test installation"
    )]
    Published {
        /// Key.
        name: Box<str>,
    },
}

fn names(key_type: KeyType) -> String {
    let names: Vec<_> = key_type.algorithms().iter().map(|a| a.name()).collect();
    names.join(" or ")
}

/// A named key in the clear. Wiped on drop.
pub struct ClearKey {
    name: Box<str>,
    key_type: KeyType,
    algorithm: Algorithm,
    bytes: Zeroizing<Vec<u8>>,
}

impl ClearKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`KeyError`] names the key and says what to do.
    pub fn new(
        name: &str,
        key_type: KeyType,
        algorithm: Algorithm,
        bytes: Zeroizing<Vec<u8>>,
        test_keys: TestKeys,
    ) -> Result<Self, KeyError> {
        check_name(name)?;
        let name: Box<str> = name.into();
        if !key_type.algorithms().contains(&algorithm) {
            return Err(KeyError::Algorithm { name, key_type, algorithm });
        }
        if algorithm == Algorithm::Rsa {
            let rsa = |source| KeyError::Rsa { name: name.clone(), source };
            rsa::bits(&bytes).map_err(rsa)?;
            let published = published::is_published_rsa(&rsa::fingerprint(&bytes).map_err(rsa)?);
            if test_keys == TestKeys::Refused && published {
                return Err(KeyError::Published { name });
            }
            return Ok(Self { name, key_type, algorithm, bytes });
        }
        let data_key_too_short = key_type == KeyType::PanSeal && bytes.len() != KEY_BYTES_MAX;
        if !algorithm.lengths().contains(&bytes.len()) || data_key_too_short {
            return Err(KeyError::Length { name, algorithm, bytes: bytes.len() });
        }
        if bytes.iter().all(|b| *b == 0) {
            return Err(KeyError::AllZero { name });
        }
        if algorithm == Algorithm::Tdes {
            check_tdes(&name, &bytes)?;
        }
        if test_keys == TestKeys::Refused && published::is_published(&bytes) {
            return Err(KeyError::Published { name });
        }
        Ok(Self { name, key_type, algorithm, bytes })
    }

    /// Makes a random key.
    ///
    /// # Errors
    /// [`KeyError`] for a bad name or algorithm, else what the operating system says of its randomness.
    pub fn generate(
        name: &str,
        key_type: KeyType,
        algorithm: Algorithm,
    ) -> Result<Self, crate::hsm::keyfile::KeyFileError> {
        if algorithm == Algorithm::Rsa {
            return Self::generate_rsa(name, key_type, rsa::BITS_MIN);
        }
        let mut bytes = Zeroizing::new(vec![0; key_type.default_bytes(algorithm)]);
        getrandom::fill(&mut bytes).map_err(|_| crate::hsm::keyfile::KeyFileError::Random)?;
        if algorithm == Algorithm::Tdes {
            set_odd_parity(&mut bytes);
        }
        Ok(Self::new(name, key_type, algorithm, bytes, TestKeys::Refused)?)
    }

    /// Makes an RSA key pair of so many bits, one of [`rsa::BITS_MADE`].
    ///
    /// # Errors
    /// As [`ClearKey::generate`].
    pub fn generate_rsa(
        name: &str,
        key_type: KeyType,
        bits: usize,
    ) -> Result<Self, crate::hsm::keyfile::KeyFileError> {
        check_name(name)?;
        let rsa = |source| KeyError::Rsa { name: name.into(), source };
        let bytes = rsa::generate(bits).map_err(rsa)?;
        Ok(Self::new(name, key_type, Algorithm::Rsa, bytes, TestKeys::Refused)?)
    }

    /// Its length in bits: of an RSA key that of its modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        match self.algorithm {
            Algorithm::Rsa => rsa::bits(&self.bytes).unwrap_or_default(),
            Algorithm::Aes | Algorithm::Hmac | Algorithm::Tdes => self.bytes.len() * 8,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Its cipher.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The clear bytes. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its check value.
    #[must_use]
    pub fn check_value(&self) -> CheckValue {
        check_value(self.algorithm, &self.bytes)
    }
}

impl fmt::Debug for ClearKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClearKey({} {} {}, ****)", self.name, self.key_type, self.algorithm)
    }
}

/// Whether `name` may name a key: it goes into files and error messages, so nothing that needs escaping.
///
/// # Errors
/// [`KeyError::Name`].
pub fn check_name(name: &str) -> Result<(), KeyError> {
    let usable = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let right = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(usable);
    if right { Ok(()) } else { Err(KeyError::Name { name: name.into() }) }
}

fn check_tdes(name: &str, bytes: &[u8]) -> Result<(), KeyError> {
    if let Some(at) = bytes.iter().position(|b| b.count_ones() % 2 == 0) {
        return Err(KeyError::Parity { name: name.into(), byte: at + 1 });
    }
    for (part, pair) in (2..).zip(bytes.windows(16).step_by(8)) {
        if pair[..8] == pair[8..] {
            return Err(KeyError::EqualParts { name: name.into(), part });
        }
    }
    Ok(())
}

/// Sets the lowest bit of each byte so that it has an odd number of ones. DES does not look at that bit.
pub fn set_odd_parity(bytes: &mut [u8]) {
    for byte in bytes {
        let even = (*byte >> 1).count_ones().is_multiple_of(2);
        *byte = (*byte & 0xFE) | u8::from(even);
    }
}

/// The check value of any key or component of the algorithm's length; zeros for another length.
///
/// Triple DES: eight zero bytes encrypted. AES: AES-CMAC of sixteen zero bytes (ANSI X9.24-1 annex A). HMAC:
/// HMAC-SHA-256 of sixteen zero bytes. RSA: SHA-256 of the public key. The first three bytes of each.
#[must_use]
pub fn check_value(algorithm: Algorithm, bytes: &[u8]) -> CheckValue {
    let leftmost = |block: &[u8]| block.first_chunk().copied().unwrap_or_default();
    match (algorithm, bytes.len()) {
        (Algorithm::Tdes, _) => {
            let mut block = [0; 8];
            let made = modes::encrypt_ecb(algorithm, bytes, &mut block);
            made.map(|()| leftmost(&block)).unwrap_or_default()
        }
        (Algorithm::Aes, _) => {
            modes::cmac(algorithm, bytes, &[0; 16]).map(|mac| leftmost(&mac)).unwrap_or_default()
        }
        (Algorithm::Rsa, _) => {
            rsa::fingerprint(bytes).map(|digest| leftmost(&digest)).unwrap_or_default()
        }
        (Algorithm::Hmac, 32) => Hmac::<sha2::Sha256>::new_from_slice(bytes)
            .map(|mac| leftmost(&mac.chain_update([0; 16]).finalize().into_bytes()))
            .unwrap_or_default(),
        _ => CheckValue::default(),
    }
}

#[cfg(test)]
mod tests;
