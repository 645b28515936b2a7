//! PIN blocks of every format: opened under their key, made under another; and which translations are allowed.
//!
//! **Never here:** PINs under the LMK (`lmk_pin`); what is verified (`run`).

use crate::domain::pan::{Account12, Pan};
use crate::hsm::payshield::simulator::key::OpenKey;
use crate::hsm::payshield::simulator::mac::Cipher;
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::field::{Account, FormatCode, PinBlock};
use crate::pin::block::{
    account_field_4, decode_0, decode_1, decode_3, encode_0, encode_1, encode_3, pin_field_4,
    read_pin_field_4,
};
use crate::pin::clear::ClearPin;
use crate::pin::legacy::{decode_diebold, decode_docutel, encode_diebold, encode_docutel};

/// An account as algorithms take it.
pub(super) struct Bound {
    /// The twelve digits, and the whole number where it is known.
    pub(super) account: Account12,
    /// The leftmost twelve, for format 04.
    leftmost: Option<Account12>,
    /// Whether the whole number is known: format 48 needs it.
    whole: bool,
}

/// Twelve digits with a check digit nobody looks at.
fn of_twelve(twelve: &[u8]) -> Result<Account12, ErrorCode> {
    let mut number = [b'0'; 13];
    number.iter_mut().zip(twelve).for_each(|(to, from)| *to = *from);
    Pan::parse(&number).map(|pan| pan.account12()).map_err(|_| ErrorCode::INPUT)
}

impl Bound {
    /// Of a command's field.
    ///
    /// # Errors
    /// 22 for a whole number of twelve digits: it has no twelve without its check digit.
    pub(super) fn of(account: &Account) -> Result<Self, ErrorCode> {
        let whole = |digits: &[u8]| {
            Pan::parse(digits).map(|pan| pan.account12()).map_err(|_| ErrorCode(*b"22"))
        };
        match account {
            Account::Twelve(twelve) => {
                Ok(Self { account: of_twelve(twelve)?, leftmost: None, whole: false })
            }
            Account::Plus(padded) => {
                let start = padded.iter().take_while(|byte| **byte == b'F').count();
                let digits = padded.get(start..).unwrap_or_default();
                // Whether the check digit is among them, the manual does not say: taken as there is none.
                let right = digits.len().checked_sub(12).and_then(|at| digits.get(at..));
                let account = of_twelve(right.unwrap_or_default())?;
                Ok(Self { account, leftmost: Some(of_twelve(digits)?), whole: false })
            }
            Account::Whole(digits, count) => {
                let account = whole(digits.get(..usize::from(*count)).unwrap_or_default())?;
                Ok(Self { account, leftmost: None, whole: true })
            }
        }
    }

    /// With twelve digits.
    pub(super) fn of_twelve(twelve: &[u8; 12]) -> Result<Self, ErrorCode> {
        Self::of(&Account::Twelve(*twelve))
    }
}

/// Opens a block.
///
/// # Errors
/// 23 for an unknown format, 20 where there is no PIN, 24 for a length that is none, 27 for a key of the wrong kind.
pub(super) fn open(
    key: &OpenKey,
    block: &PinBlock,
    format: FormatCode,
    bound: &Bound,
) -> Result<ClearPin, ErrorCode> {
    known(format)?;
    if format == FormatCode::ISO_4 {
        return open_4(key, block, bound);
    }
    let mut clear = <[u8; 8]>::try_from(block.bytes()).map_err(|_| ErrorCode::KEY_LENGTH)?;
    key.tdes()?.decrypt(&mut clear);
    let read = match format {
        FormatCode::ISO_0 => decode_0(&clear, &bound.account),
        FormatCode::PLUS => decode_0(&clear, bound.leftmost.as_ref().ok_or(ErrorCode(*b"22"))?),
        FormatCode::ISO_1 => decode_1(&clear),
        FormatCode::ISO_3 => decode_3(&clear, &bound.account),
        FormatCode::DOCUTEL => decode_docutel(&clear),
        _ => decode_diebold(&clear),
    };
    let iso = [FormatCode::ISO_0, FormatCode::PLUS, FormatCode::ISO_1, FormatCode::ISO_3];
    let control = match format {
        FormatCode::ISO_1 => 1,
        FormatCode::ISO_3 => 3,
        _ => 0,
    };
    read.map_err(|_| {
        let framed = iso.contains(&format) && clear[0] >> 4 == control;
        let fits = (4..=12).contains(&(clear[0] & 0x0F));
        if framed && !fits { ErrorCode::PIN_DIGITS } else { ErrorCode::PIN_BLOCK }
    })
}

fn open_4(key: &OpenKey, block: &PinBlock, bound: &Bound) -> Result<ClearPin, ErrorCode> {
    let mut clear = <[u8; 16]>::try_from(block.bytes()).map_err(|_| ErrorCode::KEY_LENGTH)?;
    let cipher = aes(key, bound)?;
    cipher.decrypt(&mut clear);
    mix(&mut clear, bound);
    cipher.decrypt(&mut clear);
    read_pin_field_4(&clear).map_err(|_| ErrorCode::PIN_BLOCK)
}

/// AES of a key for format 48.
fn aes<'k>(key: &'k OpenKey, bound: &Bound) -> Result<&'k Cipher, ErrorCode> {
    if !bound.whole {
        return Err(ErrorCode(*b"22"));
    }
    if key.is_aes() { key.cipher() } else { Err(ErrorCode::KEY_LENGTH) }
}

fn mix(block: &mut [u8; 16], bound: &Bound) {
    let field = account_field_4(&bound.account);
    block.iter_mut().zip(field.iter()).for_each(|(to, from)| *to ^= from);
}

fn known(format: FormatCode) -> Result<(), ErrorCode> {
    let formats = [b"01", b"02", b"03", b"04", b"05", b"47", b"48"];
    if formats.contains(&&format.0) { Ok(()) } else { Err(ErrorCode::FORMAT) }
}

/// Makes a block. `random` fills formats that have a random part.
///
/// # Errors
/// As [`open`]; 24 for a PIN too long for Docutel.
pub(super) fn make(
    key: &OpenKey,
    pin: &ClearPin,
    format: FormatCode,
    bound: &Bound,
    random: [u8; 16],
) -> Result<PinBlock, ErrorCode> {
    known(format)?;
    let eight = random.first_chunk().copied().unwrap_or_default();
    if format == FormatCode::ISO_4 {
        let cipher = aes(key, bound)?;
        let mut block = *pin_field_4(pin, eight);
        cipher.encrypt(&mut block);
        mix(&mut block, bound);
        cipher.encrypt(&mut block);
        return PinBlock::new(&block).ok_or(ErrorCode::INPUT);
    }
    let mut block = match format {
        FormatCode::ISO_0 => encode_0(pin, &bound.account),
        FormatCode::PLUS => encode_0(pin, bound.leftmost.as_ref().ok_or(ErrorCode(*b"22"))?),
        FormatCode::ISO_1 => encode_1(pin, eight),
        FormatCode::ISO_3 => encode_3(pin, &bound.account, random),
        FormatCode::DOCUTEL => encode_docutel(pin).ok_or(ErrorCode::PIN_DIGITS)?,
        _ => encode_diebold(pin),
    };
    if key.is_aes() {
        return Err(ErrorCode::KEY_LENGTH);
    }
    key.tdes()?.encrypt(&mut block);
    PinBlock::new(&block[..]).ok_or(ErrorCode::INPUT)
}

/// Whether PCI PIN 3-3 lets a device translate from one format to another.
pub(super) fn may_translate(from: FormatCode, to: FormatCode) -> bool {
    let bound = [FormatCode::ISO_0, FormatCode::ISO_3, FormatCode::ISO_4];
    match (bound.contains(&from), bound.contains(&to)) {
        (true, true) => true,
        (false, true) => from == FormatCode::ISO_1,
        (false, false) => from == FormatCode::ISO_1 && to == FormatCode::ISO_1,
        (true, false) => false,
    }
}
