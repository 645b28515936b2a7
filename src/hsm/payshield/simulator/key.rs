//! Keys of commands in the clear: opened under the LMK for what a command needs, sealed again for answers.
//!
//! A variant LMK cannot tell what a key is: one of another type opens to bytes of wrong parity. A key block says what
//! it is, and for what. **Never here:** which key a command needs (`run`); keys under a ZMK (`wrapped`).

use std::fmt;
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use crate::hsm::key::Algorithm;
use crate::hsm::modes;
use crate::hsm::payshield::simulator::kept::Kept;
use crate::hsm::payshield::simulator::keyblock::Protection;
use crate::hsm::payshield::simulator::lmk::{self, Kind, Way, apply, key_of};
use crate::hsm::payshield::simulator::mac::Cipher;
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::key::{BLOCK_HEADER, Key, KeyType, Scheme};
use crate::pin::tdes::Tdes;

/// A key in the clear with its ciphers, which are set up when first asked for. Wiped on drop, masked in `Debug`.
#[derive(Clone)]
pub(super) struct OpenKey(Arc<Opened>);

struct Opened {
    bytes: Zeroizing<Vec<u8>>,
    aes: bool,
    header: Option<[u8; BLOCK_HEADER]>,
    tdes: OnceLock<Tdes>,
    cipher: OnceLock<Cipher>,
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenKey(****)")
    }
}

impl OpenKey {
    /// Takes the bytes.
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>, aes: bool) -> Self {
        Self::of(bytes, aes, None)
    }

    /// With the header of the block it came in.
    pub(super) fn of(
        bytes: Zeroizing<Vec<u8>>,
        aes: bool,
        header: Option<[u8; BLOCK_HEADER]>,
    ) -> Self {
        let (tdes, cipher) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Opened { bytes, aes, header, tdes, cipher }))
    }

    /// The clear bytes.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether it is an AES key.
    pub(super) fn is_aes(&self) -> bool {
        self.0.aes
    }

    /// Header of the block it came in.
    pub(super) fn header(&self) -> Option<[u8; BLOCK_HEADER]> {
        self.0.header
    }

    /// Ready for triple DES; a single-length key three times.
    ///
    /// # Errors
    /// An AES key: A7.
    pub(super) fn tdes(&self) -> Result<&Tdes, ErrorCode> {
        if self.0.aes {
            return Err(ErrorCode::ALGORITHM);
        }
        if ![8, 16, 24].contains(&self.0.bytes.len()) {
            return Err(ErrorCode::KEY_LENGTH);
        }
        Ok(self.0.tdes.get_or_init(|| {
            let mut triple = Zeroizing::new([0; 24]);
            let again = self.0.bytes.iter().cycle();
            triple.iter_mut().zip(again).for_each(|(to, from)| *to = *from);
            Tdes::triple(&triple)
        }))
    }

    /// As a double-length key.
    ///
    /// # Errors
    /// Another length, or AES: 27.
    pub(super) fn double(&self) -> Result<Zeroizing<[u8; 16]>, ErrorCode> {
        let bytes = <[u8; 16]>::try_from(self.expose()).map_err(|_| ErrorCode::KEY_LENGTH)?;
        if self.0.aes { Err(ErrorCode::KEY_LENGTH) } else { Ok(Zeroizing::new(bytes)) }
    }

    /// As a cipher of its own kind.
    pub(super) fn cipher(&self) -> Result<&Cipher, ErrorCode> {
        if let Some(made) = self.0.cipher.get() {
            return Ok(made);
        }
        let bytes = self.expose();
        let made = if self.0.aes { Cipher::aes(bytes) } else { Cipher::des(bytes) };
        let made = made.ok_or(ErrorCode::KEY_LENGTH)?;
        Ok(self.0.cipher.get_or_init(|| made))
    }

    /// CMAC of a message, or of its end, where the pieces before it have left a chaining value.
    ///
    /// # Errors
    /// A key of a length that no cipher has: 27.
    pub(super) fn cmac(
        &self,
        before: Option<&[u8]>,
        message: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ErrorCode> {
        // The block that encrypts to the chaining value stands for the pieces before.
        let mut whole = Zeroizing::new(before.unwrap_or_default().to_vec());
        self.cipher()?.decrypt(&mut whole);
        whole.extend_from_slice(message);
        let key = self.expose();
        let made = match (self.0.aes, key.len()) {
            (true, _) => modes::cmac(Algorithm::Aes, key, &whole),
            (false, 8) => modes::cmac(Algorithm::Tdes, &Zeroizing::new(key.repeat(3)), &whole),
            (false, _) => modes::cmac(Algorithm::Tdes, key, &whole),
        };
        made.ok_or(ErrorCode::KEY_LENGTH)
    }

    /// Sixteen hex digits of its check value: zeros encrypted, or for AES their CMAC.
    pub(super) fn check_value(&self) -> Result<[u8; 16], ErrorCode> {
        let cipher = self.cipher()?;
        let mut zeros = Zeroizing::new(vec![0; cipher.block_bytes()]);
        if self.0.aes {
            zeros = self.cmac(None, &[0; 16])?;
        } else {
            cipher.encrypt(&mut zeros);
        }
        let mut digits = [0; 16];
        hex::encode_to_slice(zeros.get(..8).unwrap_or_default(), &mut digits)
            .map_err(|_| ErrorCode::INPUT)?;
        digits.make_ascii_uppercase();
        Ok(digits)
    }
}

/// What a command needs a key for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Types under a variant LMK: the first whose parity is right counts.
    pub(super) types: &'a [KeyType],
    /// Usages of key blocks.
    pub(super) usages: &'a [&'a [u8; 2]],
    /// Modes of use of key blocks.
    pub(super) modes: &'a [u8],
    /// Code for wrong parity.
    pub(super) parity: ErrorCode,
}

/// An LMK with its id.
pub(super) struct Lmk {
    /// Which one.
    pub(super) kind: Kind,
    /// 0 to 99.
    pub(super) id: u8,
    protection: Option<Protection>,
    kept: Kept,
}

impl Lmk {
    /// A published LMK under an id.
    pub(super) fn new(kind: Kind, id: u8) -> Self {
        let protection = match kind {
            Kind::Variant => None,
            Kind::TdesBlock => Protection::tdes(&lmk::TDES_BLOCK),
            Kind::AesBlock => Protection::aes(&lmk::AES_BLOCK),
        };
        Self { kind, id, protection, kept: Kept::default() }
    }

    /// Opens a key for what is wanted of it.
    pub(super) fn open(&self, key: &Key<'_>, wanted: &Wanted<'_>) -> Result<OpenKey, ErrorCode> {
        match (key, &self.protection) {
            (Key::Ecb(scheme, digits), None) => self.open_variant(*scheme, digits, wanted),
            (Key::Block(block), Some(protection)) => self.open_block(protection, block, wanted),
            (Key::Stored(..), _) => Err(ErrorCode::STORAGE),
            (Key::Ecb(..), Some(_)) | (Key::Block(_), None) | (Key::Tr31(_), _) => {
                Err(ErrorCode::LMK_SCHEME)
            }
        }
    }

    fn open_block(
        &self,
        protection: &Protection,
        block: &[u8],
        wanted: &Wanted<'_>,
    ) -> Result<OpenKey, ErrorCode> {
        let header = *block.first_chunk::<BLOCK_HEADER>().ok_or(ErrorCode::KEY_BLOCK)?;
        let key = self.kept.block(block, || {
            if header[14..] != two_digits(self.id) && header[0] == self.version() {
                return Err(ErrorCode::LMK_ID);
            }
            let bytes = protection.open(block)?;
            match (header[7], bytes.len()) {
                (b'T', 8 | 16 | 24) | (b'D', 8) => Ok(OpenKey::of(bytes, false, Some(header))),
                (b'A', 16 | 24 | 32) => Ok(OpenKey::of(bytes, true, Some(header))),
                (b'T' | b'D' | b'A', _) => Err(ErrorCode::BLOCK_LENGTH),
                _ => Err(ErrorCode::ALGORITHM),
            }
        })?;
        if !wanted.usages.is_empty() && !wanted.usages.iter().any(|usage| header[5..7] == **usage) {
            return Err(ErrorCode::USAGE);
        }
        if !wanted.modes.is_empty() && !wanted.modes.contains(&header[8]) {
            return Err(ErrorCode::MODE);
        }
        Ok(key)
    }

    fn open_variant(
        &self,
        scheme: Scheme,
        digits: &[u8],
        wanted: &Wanted<'_>,
    ) -> Result<OpenKey, ErrorCode> {
        for key_type in wanted.types {
            let under = key_of(*key_type).ok_or(ErrorCode::KEY_TYPE)?;
            let opened = self.kept.variant(*key_type, scheme, digits, || {
                let sealed = hex::decode(digits).map_err(|_| ErrorCode::INPUT)?;
                let mut bytes = Zeroizing::new(sealed);
                apply(&under, scheme, Way::Open, &mut bytes);
                Ok(has_parity(&bytes).then(|| OpenKey::new(bytes, false)))
            })?;
            if let Some(key) = opened {
                return Ok(key);
            }
        }
        Err(wanted.parity)
    }

    const fn version(&self) -> u8 {
        match self.kind {
            Kind::AesBlock => b'1',
            Kind::Variant | Kind::TdesBlock => b'0',
        }
    }

    /// Seals a key for an answer: under a variant LMK with a scheme, else as a block with this header.
    pub(super) fn seal(
        &self,
        key: &OpenKey,
        form: &Sealing,
        fill: &[u8],
    ) -> Result<SealedKey, ErrorCode> {
        match (form, &self.protection) {
            (Sealing::Scheme(scheme, key_type), None) => {
                let under = key_of(*key_type).ok_or(ErrorCode::KEY_TYPE)?;
                seal_ecb(&under, *scheme, key)
            }
            (Sealing::Block(header), Some(protection)) => {
                let mut header = *header;
                header[14..].copy_from_slice(&two_digits(self.id));
                Ok(SealedKey::Block(protection.seal(header, key.expose(), fill)))
            }
            (Sealing::Scheme(..), Some(_)) | (Sealing::Block(_), None) => Err(ErrorCode::SCHEME),
        }
    }
}

/// How a key is to be sealed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sealing {
    /// Under a variant LMK.
    Scheme(Scheme, KeyType),
    /// As a block.
    Block([u8; BLOCK_HEADER]),
}

/// A key for an answer, which owns its text.
#[derive(Clone)]
pub(super) enum SealedKey {
    /// Scheme and digits.
    Ecb(Scheme, Vec<u8>),
    /// Without its `S`.
    Block(Vec<u8>),
    /// Without its `R`.
    Tr31(Vec<u8>),
}

impl SealedKey {
    /// As the wire has it.
    pub(super) fn as_key(&self) -> Key<'_> {
        match self {
            Self::Ecb(scheme, digits) => Key::Ecb(*scheme, digits),
            Self::Block(block) => Key::Block(block),
            Self::Tr31(block) => Key::Tr31(block),
        }
    }
}

/// Two decimal digits.
pub(super) fn two_digits(number: u8) -> [u8; 2] {
    [b'0' + number / 10 % 10, b'0' + number % 10]
}

/// Whether every byte has odd parity.
pub(super) fn has_parity(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.count_ones() % 2 == 1)
}

/// Bytes that a scheme holds; 8 and 16 without a letter.
fn fits(scheme: Scheme, bytes: usize) -> bool {
    match scheme.digits() {
        Some(digits) => digits == 2 * bytes,
        None => bytes == 8 || bytes == 16,
    }
}

/// Seals under a double-length key: an LMK key, or a ZMK.
pub(super) fn seal_ecb(
    under: &[u8; 16],
    scheme: Scheme,
    key: &OpenKey,
) -> Result<SealedKey, ErrorCode> {
    if key.is_aes() || !fits(scheme, key.expose().len()) {
        return Err(ErrorCode::SCHEME);
    }
    let mut bytes = Zeroizing::new(key.expose().to_vec());
    apply(under, scheme, Way::Seal, &mut bytes);
    Ok(SealedKey::Ecb(scheme, hex::encode_upper(&*bytes).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38B, D.4: whole, and in pieces of whole blocks of which the last may be nothing.
    #[test]
    fn a_cmac_goes_on_where_the_pieces_before_have_ended() {
        let bytes = |hex: &str| hex::decode(hex).unwrap();
        let key = bytes("8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5");
        let key = OpenKey::new(Zeroizing::new(key), false);
        let message = bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        for (length, want) in [(20, "743ddbe0ce2dc2ed"), (32, "33e6b1092400eae5")] {
            let message = &message[..length];
            assert_eq!(hex::encode(&*key.cmac(None, message).unwrap()), want);
            for cut in (8..=length).step_by(8) {
                let (first, rest) = message.split_at(cut);
                let before = key.cipher().unwrap().chain(&[0; 8], first);
                let made = key.cmac(Some(&before), rest).unwrap();
                assert_eq!(hex::encode(&*made), want, "{length} cut at {cut}");
            }
        }
    }
}
