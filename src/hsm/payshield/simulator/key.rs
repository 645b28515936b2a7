//! Keys of commands in the clear: opened under the LMK for what a command needs, sealed again for answers.
//!
//! A variant LMK cannot tell what a key is: one of another type opens to bytes of wrong parity. A key block says what
//! it is, and for what. **Never here:** which key a command needs (`run`).

use std::fmt;

use zeroize::Zeroizing;

use crate::hsm::payshield::simulator::keyblock::Protection;
use crate::hsm::payshield::simulator::lmk::{self, Kind, Way, apply, key_of};
use crate::hsm::payshield::simulator::mac::Cipher;
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::key::{BLOCK_HEADER, Key, KeyType, Scheme};
use crate::pin::tdes::Tdes;

/// A key in the clear. Wiped on drop, masked in `Debug`.
#[derive(Clone)]
pub(super) struct OpenKey {
    bytes: Zeroizing<Vec<u8>>,
    aes: bool,
    /// Header of the block it came in.
    pub(super) header: Option<[u8; BLOCK_HEADER]>,
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenKey(****)")
    }
}

impl OpenKey {
    /// Takes the bytes.
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>, aes: bool) -> Self {
        Self { bytes, aes, header: None }
    }

    /// The clear bytes.
    pub(super) fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is an AES key.
    pub(super) fn is_aes(&self) -> bool {
        self.aes
    }

    /// Ready for triple DES; a single-length key three times.
    ///
    /// # Errors
    /// An AES key: A7.
    pub(super) fn tdes(&self) -> Result<Tdes, ErrorCode> {
        if self.aes {
            return Err(ErrorCode::ALGORITHM);
        }
        match self.bytes.len() {
            8 | 16 => {
                let mut double = Zeroizing::new([0; 16]);
                let twice = self.bytes.iter().chain(self.bytes.iter());
                double.iter_mut().zip(twice).for_each(|(to, from)| *to = *from);
                Ok(Tdes::double(&double))
            }
            _ => {
                let triple: &[u8; 24] = self.bytes.first_chunk().ok_or(ErrorCode::KEY_LENGTH)?;
                Ok(Tdes::triple(triple))
            }
        }
    }

    /// As a double-length key.
    ///
    /// # Errors
    /// Another length, or AES: 27.
    pub(super) fn double(&self) -> Result<Zeroizing<[u8; 16]>, ErrorCode> {
        let bytes = <[u8; 16]>::try_from(&self.bytes[..]).map_err(|_| ErrorCode::KEY_LENGTH)?;
        if self.aes { Err(ErrorCode::KEY_LENGTH) } else { Ok(Zeroizing::new(bytes)) }
    }

    /// As a cipher of its own kind.
    pub(super) fn cipher(&self) -> Result<Cipher, ErrorCode> {
        let made = if self.aes { Cipher::aes(&self.bytes) } else { Cipher::des(&self.bytes) };
        made.ok_or(ErrorCode::KEY_LENGTH)
    }

    /// Sixteen hex digits of its check value: zeros encrypted, or for AES their CMAC.
    pub(super) fn check_value(&self) -> Result<[u8; 16], ErrorCode> {
        let cipher = self.cipher()?;
        let mut zeros = vec![0; cipher.block_bytes()];
        if self.aes {
            zeros = cipher.cmac(&[0; 16], &[0; 16]);
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
}

impl Lmk {
    /// A published LMK under an id.
    pub(super) fn new(kind: Kind, id: u8) -> Self {
        let protection = match kind {
            Kind::Variant => None,
            Kind::TdesBlock => Protection::tdes(&lmk::TDES_BLOCK),
            Kind::AesBlock => Protection::aes(&lmk::AES_BLOCK),
        };
        Self { kind, id, protection }
    }

    /// Opens a key for what is wanted of it.
    pub(super) fn open(&self, key: &Key<'_>, wanted: &Wanted<'_>) -> Result<OpenKey, ErrorCode> {
        match (key, &self.protection) {
            (Key::Ecb(scheme, digits), None) => open_variant(*scheme, digits, wanted),
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
        let bytes = {
            if header[14..] != two_digits(self.id) && header[0] == self.version() {
                return Err(ErrorCode::LMK_ID);
            }
            protection.open(block)?
        };
        let aes = match (header[7], bytes.len()) {
            (b'T', 8 | 16 | 24) | (b'D', 8) => false,
            (b'A', 16 | 24 | 32) => true,
            (b'T' | b'D' | b'A', _) => return Err(ErrorCode::BLOCK_LENGTH),
            _ => return Err(ErrorCode::ALGORITHM),
        };
        if !wanted.usages.is_empty() && !wanted.usages.iter().any(|usage| header[5..7] == **usage) {
            return Err(ErrorCode::USAGE);
        }
        if !wanted.modes.is_empty() && !wanted.modes.contains(&header[8]) {
            return Err(ErrorCode::MODE);
        }
        Ok(OpenKey { bytes, aes, header: Some(header) })
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
}

impl SealedKey {
    /// As the wire has it.
    pub(super) fn as_key(&self) -> Key<'_> {
        match self {
            Self::Ecb(scheme, digits) => Key::Ecb(*scheme, digits),
            Self::Block(block) => Key::Block(block),
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

fn open_variant(scheme: Scheme, digits: &[u8], wanted: &Wanted<'_>) -> Result<OpenKey, ErrorCode> {
    let sealed = Zeroizing::new(hex::decode(digits).map_err(|_| ErrorCode::INPUT)?);
    for key_type in wanted.types {
        let under = key_of(*key_type).ok_or(ErrorCode::KEY_TYPE)?;
        let mut bytes = sealed.clone();
        apply(&under, scheme, Way::Open, &mut bytes);
        if has_parity(&bytes) {
            return Ok(OpenKey::new(bytes, false));
        }
    }
    Err(wanted.parity)
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

/// Opens a key that came under a ZMK. Parity is corrected; whether it had to be is told.
pub(super) fn open_under_zmk(zmk: &[u8; 16], key: &Key<'_>) -> Result<(OpenKey, bool), ErrorCode> {
    match key {
        Key::Ecb(scheme, digits) => {
            let mut bytes = Zeroizing::new(hex::decode(digits).map_err(|_| ErrorCode::INPUT)?);
            apply(zmk, *scheme, Way::Open, &mut bytes);
            let right = has_parity(&bytes);
            for byte in bytes.iter_mut().filter(|byte| byte.count_ones() % 2 == 0) {
                *byte ^= 1;
            }
            Ok((OpenKey::new(bytes, false), right))
        }
        Key::Block(block) => {
            let protection = Protection::tdes(zmk).ok_or(ErrorCode::KEY_LENGTH)?;
            let header = *block.first_chunk::<BLOCK_HEADER>().ok_or(ErrorCode::KEY_BLOCK)?;
            let bytes = protection.open(block)?;
            let opened = OpenKey { bytes, aes: header[7] == b'A', header: Some(header) };
            Ok((opened, true))
        }
        Key::Tr31(_) | Key::Stored(..) => Err(ErrorCode::SCHEME),
    }
}

/// A key block under a TDES ZMK; its LMK id is `FF`.
pub(super) fn seal_block_under_zmk(
    zmk: &[u8; 16],
    header: [u8; BLOCK_HEADER],
    key: &OpenKey,
    fill: &[u8],
) -> Result<SealedKey, ErrorCode> {
    let protection = Protection::tdes(zmk).ok_or(ErrorCode::KEY_LENGTH)?;
    let mut header = header;
    header[14..].copy_from_slice(b"FF");
    Ok(SealedKey::Block(protection.seal(header, key.expose(), fill)))
}
