//! M6 and M8.
//!
//! **Never here:** the algorithms (`mac`).

use std::borrow::Cow;

use subtle::ConstantTimeEq;

use crate::hsm::payshield::simulator::key::{OpenKey, Wanted};
use crate::hsm::payshield::simulator::mac::{Cipher, retail};
use crate::hsm::payshield::simulator::run::verify::verdict;
use crate::hsm::payshield::simulator::run::{Desk, Done};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::mac::{GenerateMac, MacInput, MacValue, VerifyMac};
use crate::hsm::payshield::wire::key::KeyType;

pub(super) fn generate(desk: &Desk<'_>, it: &GenerateMac<'_>) -> Done {
    let made = compute(desk, &it.0)?;
    let whole = it.0.whole || !it.0.piece.is_end();
    Ok(desk.reply(&MacValue::cut(made, whole)))
}

pub(super) fn verify(desk: &Desk<'_>, it: &VerifyMac<'_>) -> Done {
    let made = compute(desk, &it.input)?;
    match &it.mac {
        None => Ok(desk.reply(&MacValue::Whole(made))),
        Some(stated) => {
            let made = MacValue::cut(made, it.input.whole);
            verdict(made.digits().ct_eq(stated.digits()))
        }
    }
}

/// Sixteen digits: the MAC, or the value for the next piece.
fn compute(desk: &Desk<'_>, it: &MacInput<'_>) -> Result<[u8; 16], ErrorCode> {
    let types: &[KeyType] = match &it.key_type.0 {
        b"FFF" if !desk.takes_block(&it.key) => return Err(ErrorCode::LENGTH_FLAG),
        b"FFF" => &[],
        _ => &[it.key_type],
    };
    let usages: &[&[u8; 2]] = match it.algorithm {
        b'1' => &[b"M0", b"M1", b"M5"],
        b'3' => &[b"M1", b"M3"],
        _ => &[b"M6"],
    };
    let wanted = Wanted { types, usages, modes: b"NCGV", parity: ErrorCode::SOURCE_PARITY };
    let key = desk.lmk.open(&it.key, &wanted)?;
    let message = match it.format {
        b'1' => Cow::Owned(hex::decode(it.message).map_err(|_| ErrorCode::INPUT)?),
        _ => Cow::Borrowed(it.message),
    };
    let cipher = key.cipher()?;
    let size = cipher.block_bytes();
    if size != 8 && it.before.is_some() {
        // Eight bytes cannot carry the state of AES.
        return Err(ErrorCode::KEY_TYPE);
    }
    let before = it.before.map_or_else(|| vec![0; size], |before| before.to_vec());
    let made = if it.piece.is_end() {
        finish(it, &key, &before, message)?
    } else if message.is_empty() || !message.len().is_multiple_of(size) {
        return Err(ErrorCode::MAC_LENGTH);
    } else if it.algorithm == b'3' {
        let first = key.expose().get(..8).ok_or(ErrorCode::KEY_LENGTH)?;
        let single = Cipher::des(first);
        single.ok_or(ErrorCode::KEY_LENGTH)?.chain(&before, &message)
    } else {
        cipher.chain(&before, &message)
    };
    let mut digits = [0; 16];
    hex::encode_to_slice(made.get(..8).ok_or(ErrorCode::KEY_TYPE)?, &mut digits)
        .map_err(|_| ErrorCode::INPUT)?;
    digits.make_ascii_uppercase();
    Ok(digits)
}

/// Pads, and makes the MAC.
fn finish(
    it: &MacInput<'_>,
    key: &OpenKey,
    before: &[u8],
    message: Cow<'_, [u8]>,
) -> Result<Vec<u8>, ErrorCode> {
    if it.algorithm == b'6' {
        let before = it.before.is_some().then_some(before);
        return key.cmac(before, &message).map(|made| made.to_vec());
    }
    let cipher = key.cipher()?;
    let size = cipher.block_bytes();
    let mut message = message.into_owned();
    match it.padding {
        b'0' if message.is_empty() || !message.len().is_multiple_of(size) => {
            return Err(ErrorCode::MAC_LENGTH);
        }
        b'0' => {}
        padding => {
            if padding == b'2' {
                message.push(0x80);
            }
            let padded = message.len().max(1).next_multiple_of(size);
            message.resize(padded, 0);
        }
    }
    if it.algorithm == b'3' {
        if size != 8 {
            return Err(ErrorCode::KEY_TYPE);
        }
        return retail(key.expose(), before, &message).ok_or(ErrorCode::KEY_LENGTH);
    }
    Ok(cipher.chain(before, &message))
}
