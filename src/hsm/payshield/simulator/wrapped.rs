//! Keys under a ZMK or TMK: X9.17 and variant forms, Thales key blocks, TR-31 key blocks.
//!
//! **Never here:** keys under the LMK (`key`); the form of a TR-31 block ([`crate::hsm::tr31`]).

use zeroize::Zeroizing;

use crate::hsm::key::Algorithm;
use crate::hsm::payshield::simulator::key::{OpenKey, SealedKey, has_parity, seal_ecb};
use crate::hsm::payshield::simulator::keyblock::Protection;
use crate::hsm::payshield::simulator::lmk::{Way, apply};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::key::{BLOCK_HEADER, Key, Scheme};
use crate::hsm::tr31::{self, Header, Tr31Error, Version};

/// What ciphers take it for.
fn algorithm(key: &OpenKey) -> Algorithm {
    if key.is_aes() { Algorithm::Aes } else { Algorithm::Tdes }
}

/// What a device answers to a TR-31 block that is none.
fn code(error: &Tr31Error) -> ErrorCode {
    match error {
        Tr31Error::Authentication => ErrorCode::AUTHENTICATION,
        Tr31Error::KeyLength => ErrorCode::BLOCK_LENGTH,
        Tr31Error::Protection { .. } => ErrorCode::KEY_LENGTH,
        _ => ErrorCode::KEY_BLOCK,
    }
}

/// Opens a key that came under a ZMK. Parity is corrected; whether it had to be is told.
pub(super) fn open(zmk: &OpenKey, key: &Key<'_>) -> Result<(OpenKey, bool), ErrorCode> {
    match key {
        Key::Ecb(scheme, digits) => {
            let mut bytes = Zeroizing::new(hex::decode(digits).map_err(|_| ErrorCode::INPUT)?);
            apply(&*zmk.double()?, *scheme, Way::Open, &mut bytes);
            let right = has_parity(&bytes);
            for byte in bytes.iter_mut().filter(|byte| byte.count_ones() % 2 == 0) {
                *byte ^= 1;
            }
            Ok((OpenKey::new(bytes, false), right))
        }
        Key::Block(block) => {
            let protection = Protection::tdes(&*zmk.double()?).ok_or(ErrorCode::KEY_LENGTH)?;
            let header = *block.first_chunk::<BLOCK_HEADER>().ok_or(ErrorCode::KEY_BLOCK)?;
            let bytes = protection.open(block)?;
            Ok((OpenKey::of(bytes, header[7] == b'A', Some(header)), true))
        }
        Key::Tr31(block) => {
            let opened = tr31::open(algorithm(zmk), zmk.expose(), block);
            let (header, bytes) = opened.map_err(|error| code(&error))?;
            let fits = match header.algorithm() {
                b'T' | b'D' => [8, 16, 24].contains(&bytes.len()),
                b'A' => [16, 24, 32].contains(&bytes.len()),
                _ => return Err(ErrorCode::ALGORITHM),
            };
            if !fits {
                return Err(ErrorCode::BLOCK_LENGTH);
            }
            // Both kinds of header have the same fields at the same places; optional blocks do not come along.
            let mut kept = *block.first_chunk::<BLOCK_HEADER>().ok_or(ErrorCode::KEY_BLOCK)?;
            kept[12..].copy_from_slice(b"00FF");
            Ok((OpenKey::of(bytes, header.algorithm() == b'A', Some(kept)), true))
        }
        Key::Stored(..) => Err(ErrorCode::STORAGE),
    }
}

/// Seals a key under a ZMK as its scheme says.
pub(super) fn seal_ecb_under(
    zmk: &OpenKey,
    scheme: Scheme,
    key: &OpenKey,
) -> Result<SealedKey, ErrorCode> {
    seal_ecb(&*zmk.double()?, scheme, key)
}

/// A Thales key block under a TDES ZMK; its LMK id is `FF`.
pub(super) fn seal_block(
    zmk: &OpenKey,
    header: [u8; BLOCK_HEADER],
    key: &OpenKey,
    fill: &[u8],
) -> Result<SealedKey, ErrorCode> {
    let protection = Protection::tdes(&*zmk.double()?).ok_or(ErrorCode::KEY_LENGTH)?;
    let mut header = header;
    header[14..].copy_from_slice(b"FF");
    Ok(SealedKey::Block(protection.seal(header, key.expose(), fill)))
}

/// A TR-31 key block; of version B under a TDES key, D under an AES key, if none is asked for. Usages that are Thales's
/// own become those of the standard, and the key version is 00.
pub(super) fn seal_tr31(
    zmk: &OpenKey,
    version: Option<u8>,
    header: [u8; BLOCK_HEADER],
    key: &OpenKey,
    fill: &[u8; tr31::PAD_BYTES],
) -> Result<SealedKey, ErrorCode> {
    let own = if zmk.is_aes() { b'D' } else { b'B' };
    let version = Version::of(version.unwrap_or(own)).ok_or(ErrorCode::KEY_BLOCK)?;
    let usage = match &header[5..7] {
        b"71" | b"72" => *b"P0",
        b"51" | b"52" => *b"K0",
        b"21" | b"22" | b"23" => *b"D0",
        usage => [usage[0], usage[1]],
    };
    let header = Header::new(version, usage, header[7], header[8], header[11]);
    let sealed = header
        .and_then(|header| tr31::seal(algorithm(zmk), zmk.expose(), &header, key.expose(), fill));
    sealed.map(SealedKey::Tr31).map_err(|error| code(&error))
}
