//! Clear PIN blocks of ISO 9564-1: formats 0, 1, 3 and the two fields of format 4.
//!
//! Encoding cannot fail, because a [`ClearPin`] and an `Account12` are already right. Decoding has one error,
//! [`NoPin`], whatever is wrong, and looks at every place before it says so: an attacker who can submit blocks must
//! not learn which check failed. **Never here:** a cipher. Where next: `hsm::soft` decrypts first and decodes then.

use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::pin::clear::{ClearPin, PLACES, fill_places};
use crate::pin::{ONES, letters, pack, pack_account};

/// Control value of format 0.
const CONTROL_0: u64 = 0;
/// Control value of format 1.
const CONTROL_1: u64 = 1;
/// Control value of format 3.
const CONTROL_3: u64 = 3;
/// Control value of format 4.
const CONTROL_4: u64 = 4;
/// Fill of format 0, in every place.
pub(super) const FILL_0: u64 = 0xF * ONES;
/// Fill of format 4, in every place.
const FILL_4: u64 = 0xA * ONES;

/// A clear block of formats 0, 1 and 3.
pub type Block8 = Zeroizing<[u8; 8]>;

/// The bytes hold no PIN: control, length, a digit or the fill is not what the format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block holds no PIN")]
pub struct NoPin;

/// Format 0: `0`, length, PIN, fill `F`; exclusive-or the account.
#[must_use]
pub fn encode_0(pin: &ClearPin, account: &Account12) -> Block8 {
    Zeroizing::new((lay_out(CONTROL_0, pin, FILL_0) ^ pack_account(account)).to_be_bytes())
}

/// Reads format 0.
///
/// # Errors
/// [`NoPin`].
pub fn decode_0(block: &[u8; 8], account: &Account12) -> Result<ClearPin, NoPin> {
    let clear = u64::from_be_bytes(*block) ^ pack_account(account);
    read(clear, CONTROL_0, |clear| clear ^ FILL_0)
}

/// Format 1: `1`, length, PIN, fill from `random`; no account.
#[must_use]
pub fn encode_1(pin: &ClearPin, random: [u8; 8]) -> Block8 {
    Zeroizing::new(lay_out(CONTROL_1, pin, u64::from_be_bytes(random)).to_be_bytes())
}

/// Reads format 1: any fill is right.
///
/// # Errors
/// [`NoPin`].
pub fn decode_1(block: &[u8; 8]) -> Result<ClearPin, NoPin> {
    read(u64::from_be_bytes(*block), CONTROL_1, |_| 0)
}

/// Format 3: `3`, length, PIN, fill `A` to `F` from `random`; exclusive-or the account.
#[must_use]
pub fn encode_3(pin: &ClearPin, account: &Account12, random: [u8; 16]) -> Block8 {
    // Six shares of 256: the largest is larger than the smallest by one part in forty-two.
    let letter = |byte: u8| 0xA + u64::from(byte) * 6 / 256;
    let fill = random.iter().fold(0, |fill, byte| fill << 4 | letter(*byte));
    Zeroizing::new((lay_out(CONTROL_3, pin, fill) ^ pack_account(account)).to_be_bytes())
}

/// Reads format 3.
///
/// # Errors
/// [`NoPin`].
pub fn decode_3(block: &[u8; 8], account: &Account12) -> Result<ClearPin, NoPin> {
    let clear = u64::from_be_bytes(*block) ^ pack_account(account);
    read(clear, CONTROL_3, |clear| letters(clear) ^ ONES)
}

/// Plain-text PIN field of format 4: `4`, length, PIN, fill `A` to eight bytes, then eight random bytes.
#[must_use]
pub fn pin_field_4(pin: &ClearPin, random: [u8; 8]) -> Zeroizing<[u8; 16]> {
    let head = u128::from(lay_out(CONTROL_4, pin, FILL_4));
    let tail = u128::from(u64::from_be_bytes(random));
    Zeroizing::new((head << 64 | tail).to_be_bytes())
}

/// Reads the PIN field of format 4; the second half is random and not looked at.
///
/// # Errors
/// [`NoPin`].
pub fn read_pin_field_4(field: &[u8; 16]) -> Result<ClearPin, NoPin> {
    let head = field.first_chunk().copied().unwrap_or_default();
    read(u64::from_be_bytes(head), CONTROL_4, |clear| clear ^ FILL_4)
}

/// Plain-text account field of format 4: digits beyond twelve (one place), the whole number, zeros to sixteen bytes.
#[must_use]
pub fn account_field_4(account: &Account12) -> Zeroizing<[u8; 16]> {
    let digits = account.pan().expose_digits();
    let mut padded = Zeroizing::new([b'0'; 24]);
    padded[..digits.len()].copy_from_slice(digits);
    let packed = padded
        .as_chunks()
        .0
        .iter()
        .fold(0, |packed: u128, eight| packed << 32 | u128::from(pack(*eight)));
    // 13 to 19 digits by `Pan`'s invariant, so one place holds what is beyond twelve.
    let beyond = u128::from(digits.len().saturating_sub(12).to_le_bytes()[0]);
    Zeroizing::new((beyond << 124 | packed << 28).to_be_bytes())
}

/// Control, length, digits, fill: the layout all formats share.
pub(super) fn lay_out(control: u64, pin: &ClearPin, fill: u64) -> u64 {
    let len = pin.digit_count();
    control << 60 | u64::from(len) << 56 | pin.expose_packed() | fill & fill_places(len)
}

/// Reads the shared layout. `wrong` marks places that are not fill; it is asked of all, and counts where fill belongs.
fn read(clear: u64, control: u64, wrong: impl Fn(u64) -> u64) -> Result<ClearPin, NoPin> {
    let len = (clear >> 56).to_le_bytes()[0] & 0x0F;
    let fill = fill_places(len);
    let bad = (clear >> 60 ^ control) | (wrong(clear) & fill);
    // Digits and length are `ClearPin`'s own check; it is made whatever came out before.
    let pin = ClearPin::from_packed(clear & PLACES & !fill, len);
    pin.filter(|_| bad == 0).ok_or(NoPin)
}
