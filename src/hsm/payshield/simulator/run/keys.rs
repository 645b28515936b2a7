//! A0, A6, A8, FA, BU.
//!
//! **Never here:** how a key is encrypted (`key`, `lmk`, `keyblock`).

use zeroize::Zeroizing;

use crate::hsm::payshield::simulator::key::{OpenKey, SealedKey, Sealing, Wanted};
use crate::hsm::payshield::simulator::run::{Desk, Done};
use crate::hsm::payshield::simulator::wrapped;
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::keys::{
    CheckKey, Checked, ExportKey, GenerateKey, Generated, ImportKey, ImportZpk, KeyAndCheck,
    NewForm, scheme_of,
};
use crate::hsm::payshield::wire::field::{CheckValue, Letter};
use crate::hsm::payshield::wire::key::{BLOCK_HEADER, Key, KeyType, Scheme};
use crate::hsm::payshield::wire::option::{Attributes, BlockVersion};

fn six(key: &OpenKey) -> Result<CheckValue, ErrorCode> {
    let digits = key.check_value()?;
    Ok(CheckValue::Six(digits.first_chunk().copied().unwrap_or_default()))
}

/// Opens the key that wraps: a ZMK, or with `terminal` a TMK.
fn wrapping(desk: &Desk<'_>, key: &Key<'_>, terminal: bool) -> Result<OpenKey, ErrorCode> {
    let types: &[KeyType] = match (terminal, desk.state.pci) {
        (false, _) => &[KeyType(*b"000")],
        (true, false) => &[KeyType(*b"002"), KeyType(*b"80D")],
        (true, true) => &[KeyType(*b"80D")],
    };
    let usages: &[&[u8; 2]] = if terminal { &[b"K0", b"51"] } else { &[b"K0", b"52"] };
    let wanted = Wanted { types, usages, modes: b"NBED", parity: ErrorCode::SOURCE_PARITY };
    desk.lmk.open(key, &wanted)
}

/// Header of a new key block. Attributes, if given, say what it is.
fn header(attributes: Attributes) -> [u8; BLOCK_HEADER] {
    let mut header = *b"00000000000000FF";
    header[5..7].copy_from_slice(&attributes.usage);
    header[7] = attributes.algorithm[0];
    header[8] = attributes.mode.0[0];
    header[9..11].copy_from_slice(&attributes.version);
    header[11] = attributes.export.0[0];
    header
}

/// What form a key takes under the LMK.
fn sealing(
    letter: Letter,
    key_type: KeyType,
    attributes: Option<&Attributes>,
    kept: Option<[u8; BLOCK_HEADER]>,
) -> Result<Sealing, ErrorCode> {
    match scheme_of(letter) {
        Some(NewForm::Block) => {
            let header = attributes.copied().map(header).or(kept).ok_or(ErrorCode::INPUT)?;
            Ok(Sealing::Block(header))
        }
        // Under the LMK a key block is Thales's own.
        Some(NewForm::Tr31) => Err(ErrorCode::SCHEME),
        Some(NewForm::Scheme(Scheme::Z)) | None if letter.0[0] != b'0' && letter.0[0] != b'Z' => {
            Err(ErrorCode::SCHEME)
        }
        Some(NewForm::Scheme(Scheme::Z)) | None => Ok(Sealing::Scheme(Scheme::Bare, key_type)),
        Some(NewForm::Scheme(scheme)) => Ok(Sealing::Scheme(scheme, key_type)),
    }
}

/// What form it takes under a ZMK.
fn seal_under_zmk(
    desk: &Desk<'_>,
    zmk: &OpenKey,
    (letter, version): (Letter, Option<BlockVersion>),
    key: &OpenKey,
    attributes: Option<[u8; BLOCK_HEADER]>,
) -> Result<SealedKey, ErrorCode> {
    match scheme_of(letter) {
        Some(NewForm::Scheme(Scheme::Z)) => wrapped::seal_ecb_under(zmk, Scheme::Bare, key),
        Some(NewForm::Scheme(scheme)) => wrapped::seal_ecb_under(zmk, scheme, key),
        Some(NewForm::Block) => {
            let header = attributes.ok_or(ErrorCode::INPUT)?;
            wrapped::seal_block(zmk, header, key, &desk.fresh::<16>()?)
        }
        Some(NewForm::Tr31) => {
            let header = attributes.ok_or(ErrorCode::INPUT)?;
            let version = version.map(|version| version.0.0[0]);
            wrapped::seal_tr31(zmk, version, header, key, &desk.fresh()?)
        }
        None if letter.0[0] == b'0' => wrapped::seal_ecb_under(zmk, Scheme::Bare, key),
        None => Err(ErrorCode::SCHEME),
    }
}

/// Bytes of a new key.
fn new_bytes(letter: Letter, attributes: Option<&Attributes>) -> Result<(usize, bool), ErrorCode> {
    let algorithm = attributes.map(|attributes| attributes.algorithm);
    Ok(match (letter.0[0], algorithm) {
        (b'S', Some([b'T', b'1'] | [b'D', _])) | (b'0' | b'Z', _) => (8, false),
        (b'S', Some([b'T', b'2'])) | (b'U' | b'X', _) => (16, false),
        (b'S', Some([b'T', b'3'])) | (b'T' | b'Y', _) => (24, false),
        (b'S', Some([b'A', b'1'])) => (16, true),
        (b'S', Some([b'A', b'2'])) => (24, true),
        (b'S', Some([b'A', b'3'])) => (32, true),
        (b'S', Some(_)) => return Err(ErrorCode::ALGORITHM),
        (b'S', None) => return Err(ErrorCode::INPUT),
        _ => return Err(ErrorCode::SCHEME),
    })
}

pub(super) fn generate(desk: &Desk<'_>, it: &GenerateKey<'_>) -> Done {
    let exports = match it.mode.0[0] {
        b'0' => false,
        b'1' => true,
        _ => return Err(ErrorCode::INPUT),
    };
    if exports != it.export.is_some() {
        return Err(ErrorCode::INPUT);
    }
    let attributes = it.attributes.as_ref();
    let (count, aes) = new_bytes(it.scheme, attributes)?;
    let mut bytes = Zeroizing::new(desk.fresh::<32>()?[..count].to_vec());
    if !aes {
        bytes.iter_mut().filter(|byte| byte.count_ones() % 2 == 0).for_each(|byte| *byte ^= 1);
    }
    let key = OpenKey::new(bytes, aes);
    let form = sealing(it.scheme, it.key_type, attributes, None)?;
    let sealed = desk.lmk.seal(&key, &form, &desk.fresh::<16>()?)?;
    let under = it.export.as_ref().map(|under| {
        let zmk = wrapping(desk, &under.key, under.kind.0[0] == b'1')?;
        seal_under_zmk(desk, &zmk, (under.scheme, None), &key, it.attributes.map(header))
    });
    let exported = under.transpose()?;
    let exported = exported.as_ref().map(SealedKey::as_key);
    Ok(desk.reply(&Generated { key: sealed.as_key(), exported, check: six(&key)? }))
}

pub(super) fn import(desk: &Desk<'_>, it: &ImportKey<'_>) -> Done {
    let zmk = wrapping(desk, &it.zmk, false)?;
    let (key, right) = wrapped::open(&zmk, &it.key)?;
    let form = sealing(it.scheme, it.key_type, it.attributes.as_ref(), key.header())?;
    let sealed = desk.lmk.seal(&key, &form, &desk.fresh::<16>()?)?;
    let code = if right { ErrorCode::OK } else { ErrorCode::WRONG };
    Ok(desk.reply_with(code, &KeyAndCheck { key: sealed.as_key(), check: six(&key)? }))
}

pub(super) fn export(desk: &Desk<'_>, it: &ExportKey<'_>) -> Done {
    let zmk = wrapping(desk, &it.zmk, it.flag.is_some_and(|flag| flag.0.0[0] == b'1'))?;
    let types: &[KeyType] = if it.key_type == KeyType::BLOCK { &[] } else { &[it.key_type] };
    let wanted = Wanted { types, usages: &[], modes: &[], parity: ErrorCode::DESTINATION_PARITY };
    let key = desk.lmk.open(&it.key, &wanted)?;
    if key.header().is_some_and(|header| header[11] == b'N') {
        return Err(ErrorCode::EXPORTABILITY);
    }
    let header = key.header().map(|mut header| {
        if let Some(exportability) = it.exportability {
            header[11] = exportability.0.0[0];
        }
        header
    });
    let sealed = seal_under_zmk(desk, &zmk, (it.scheme, it.version), &key, header)?;
    Ok(desk.reply(&KeyAndCheck { key: sealed.as_key(), check: six(&key)? }))
}

pub(super) fn import_zpk(desk: &Desk<'_>, it: &ImportZpk<'_>) -> Done {
    let zmk = wrapping(desk, &it.zmk, false)?;
    let (key, right) = wrapped::open(&zmk, &it.key)?;
    let letter = it.schemes.map_or_else(|| own_letter(&it.key), |schemes| schemes.lmk);
    let sealed =
        desk.lmk.seal(&key, &sealing(letter, KeyType::ZPK, None, key.header())?, &[0; 16])?;
    let check = match it.schemes.map(|schemes| schemes.check.0[0]) {
        Some(b'1') => six(&key)?,
        _ => CheckValue::Sixteen(key.check_value()?),
    };
    let code = if right { ErrorCode::OK } else { ErrorCode::WRONG };
    Ok(desk.reply_with(code, &KeyAndCheck { key: sealed.as_key(), check }))
}

/// Without schemes the key keeps the one it came with; `X` and `Y` become `U` and `T`.
fn own_letter(key: &Key<'_>) -> Letter {
    Letter([match key {
        Key::Ecb(Scheme::U | Scheme::X, _) => b'U',
        Key::Ecb(Scheme::T | Scheme::Y, _) => b'T',
        Key::Block(_) | Key::Tr31(_) => b'S',
        Key::Ecb(..) | Key::Stored(..) => b'0',
    }])
}

pub(super) fn check(desk: &Desk<'_>, it: &CheckKey<'_>) -> Done {
    let key_type = match (&it.key_type.0, it.long_type) {
        (b"FF", Some(long)) => long.0,
        (b"FF", None) => return Err(ErrorCode::KEY_TYPE),
        (short, _) => KeyType([b'0', short[0], short[1]]),
    };
    let types: &[KeyType] = if key_type == KeyType::BLOCK { &[] } else { &[key_type] };
    let wanted = Wanted { types, usages: &[], modes: &[], parity: ErrorCode::SOURCE_PARITY };
    let key = desk.lmk.open(&it.key, &wanted)?;
    let fits = match (it.length.0[0], key.expose().len(), matches!(it.key, Key::Block(_))) {
        (b'F', _, block) => block,
        (b'0', bytes, _) => bytes == 8,
        (b'1', bytes, _) => bytes == 16,
        (b'2', bytes, _) => bytes == 24,
        _ => false,
    };
    if !fits {
        return Err(ErrorCode::LENGTH_FLAG);
    }
    let check = match it.check.map(|check| check.0.0[0]) {
        Some(b'1') => six(&key)?,
        None | Some(b'0') if desk.state.pci && !desk.state.authorised => {
            return Err(ErrorCode::UNAUTHORISED);
        }
        None | Some(b'0') => CheckValue::Sixteen(key.check_value()?),
        Some(_) => return Err(ErrorCode::INPUT),
    };
    Ok(desk.reply(&Checked { check }))
}
