//! Keys by name: what each may be used for, its check value, and the rules every key must pass.
//!
//! A [`ClearKey`] has passed them: length, odd parity, halves that differ, not published (unless that is allowed). It
//! is wiped on drop and masked in `Debug`. **Never here:** files (`keyfile`), the local master key (`lmk`), prepared
//! schedules (`soft`).

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use zeroize::Zeroizing;

use crate::hsm::{modes, published};

mod error;
pub mod rsa;
mod terms;

pub use error::KeyError;
pub use terms::{MacMethod, Terms};

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
    /// Issuer's master key of cryptograms: Visa's PIN blocks for cards are made with a key below it.
    MkAc,
    /// Issuer's master key of confidentiality: encrypts what an issuer script hides.
    MkSmc,
    /// Issuer's master key of integrity: MACs issuer scripts.
    MkSmi,
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
pub(super) const TYPE_NAMES: &[(KeyType, &str)] = &[
    (KeyType::Audit, "AUDIT"),
    (KeyType::Bdk, "BDK"),
    (KeyType::MkAc, "MK-AC"),
    (KeyType::MkSmc, "MK-SMC"),
    (KeyType::MkSmi, "MK-SMI"),
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
            Self::Zpk | Self::Bdk | Self::Zak | Self::Zmk => &[Algorithm::Tdes, Algorithm::Aes],
            Self::MkAc | Self::MkSmc | Self::MkSmi | Self::Pvk => &[Algorithm::Tdes],
            Self::PanSeal => &[Algorithm::Aes],
            Self::PanHash | Self::Audit | Self::Signature => &[Algorithm::Hmac],
            Self::Rsa => &[Algorithm::Rsa],
        }
    }

    /// Lengths in bytes a key of this type may have; none are fixed for RSA.
    ///
    /// DUKPT has no triple-length base derivation key (X9.24-1), and of AES only the lengths of its terminals
    /// (X9.24-3). Cards' keys are derived from keys of double length (EMV Book 2, A1.4).
    #[must_use]
    pub fn lengths(self, algorithm: Algorithm) -> &'static [usize] {
        match (self, algorithm) {
            (Self::Bdk | Self::MkAc | Self::MkSmc | Self::MkSmi, Algorithm::Tdes) => &[16],
            (Self::Bdk, Algorithm::Aes) => &[16, 32],
            (Self::PanSeal, _) => &[KEY_BYTES_MAX],
            _ => algorithm.lengths(),
        }
    }

    /// Whether keys of this type are ever passed on: those that two sides share.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        match self {
            Self::Bdk
            | Self::MkAc
            | Self::MkSmc
            | Self::MkSmi
            | Self::Pvk
            | Self::Signature
            | Self::Zak
            | Self::Zpk => true,
            Self::Audit | Self::PanHash | Self::PanSeal | Self::Rsa | Self::Zmk => false,
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

/// A named key in the clear. Wiped on drop.
pub struct ClearKey {
    name: Box<str>,
    key_type: KeyType,
    algorithm: Algorithm,
    terms: Terms,
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
            return Ok(Self { name, key_type, algorithm, terms: Terms::default(), bytes });
        }
        if !key_type.lengths(algorithm).contains(&bytes.len()) {
            return Err(KeyError::Length { name, key_type, algorithm, bytes: bytes.len() });
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
        Ok(Self { name, key_type, algorithm, terms: Terms::default(), bytes })
    }

    /// The same key under terms.
    ///
    /// # Errors
    /// [`KeyError::Mac`].
    pub fn with_terms(mut self, terms: Terms) -> Result<Self, KeyError> {
        let (key_type, algorithm) = (self.key_type, self.algorithm);
        if let Some(method) = terms.mac
            && !terms.go_with(key_type, algorithm)
        {
            return Err(KeyError::Mac { name: self.name, key_type, algorithm, method });
        }
        // What is usual is not said, so that the same key has the same entry in the file.
        let mac = terms.mac.filter(|method| *method != MacMethod::usual(algorithm));
        self.terms = Terms { mac, ..terms };
        Ok(self)
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

    /// What binds it beyond its type.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// How it makes MACs, if its type does.
    #[must_use]
    pub fn mac_method(&self) -> MacMethod {
        self.terms.mac.unwrap_or_else(|| MacMethod::usual(self.algorithm))
    }

    /// Whether it may be passed on, under a key of the same strength.
    #[must_use]
    pub fn is_exportable(&self) -> bool {
        self.key_type.is_shared() && !self.terms.never_exported
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
