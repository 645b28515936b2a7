//! Clear PIN blocks of ISO 9564-1: formats 0, 1, 3 and the two fields of format 4.
//!
//! Encoding cannot fail, because a [`ClearPin`] and an `Account12` are already right. Decoding has one error, [`NoPin`],
//! whatever is wrong, and looks at every nibble before it says so: an attacker who can submit blocks must not learn
//! which check failed. **Never here:** a cipher. Where next: `hsm::soft` decrypts first and decodes then.

use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::pin::clear::{ClearPin, PIN_DIGITS_MAX};
use crate::pin::{pack, unpack};

/// Control value of format 0.
const CONTROL_0: u8 = 0;
/// Control value of format 1.
const CONTROL_1: u8 = 1;
/// Control value of format 3.
const CONTROL_3: u8 = 3;
/// Control value of format 4.
const CONTROL_4: u8 = 4;

/// A clear block of formats 0, 1 and 3.
pub type Block8 = Zeroizing<[u8; 8]>;

/// The bytes hold no PIN: control, length, a digit or the fill is not what the format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block holds no PIN")]
pub struct NoPin;

/// Format 0: `0`, length, PIN, fill `F`; exclusive-or the account.
#[must_use]
pub fn encode_0(pin: &ClearPin, account: &Account12) -> Block8 {
    let mut block = lay_out(CONTROL_0, pin, |_| 0x0F);
    mix(&mut block, account);
    block
}

/// Reads format 0.
///
/// # Errors
/// [`NoPin`].
pub fn decode_0(block: &[u8; 8], account: &Account12) -> Result<ClearPin, NoPin> {
    let mut clear = Zeroizing::new(*block);
    mix(&mut clear, account);
    read(&clear, CONTROL_0, 0x0F..=0x0F)
}

/// Format 1: `1`, length, PIN, fill from `random`; no account.
#[must_use]
pub fn encode_1(pin: &ClearPin, random: [u8; 8]) -> Block8 {
    let fill = Zeroizing::new(unpack(random));
    lay_out(CONTROL_1, pin, |at| fill[at])
}

/// Reads format 1: any fill is right.
///
/// # Errors
/// [`NoPin`].
pub fn decode_1(block: &[u8; 8]) -> Result<ClearPin, NoPin> {
    read(&Zeroizing::new(*block), CONTROL_1, 0..=0x0F)
}

/// Format 3: `3`, length, PIN, fill `A` to `F` from `random`; exclusive-or the account.
#[must_use]
pub fn encode_3(pin: &ClearPin, account: &Account12, random: [u8; 16]) -> Block8 {
    // Six of 256 shares: the largest differs from the smallest by one in forty-two.
    let mut block = lay_out(CONTROL_3, pin, |at| {
        let share = u16::from(random[at]) * 6 / 256;
        0x0A + share.to_be_bytes()[1]
    });
    mix(&mut block, account);
    block
}

/// Reads format 3.
///
/// # Errors
/// [`NoPin`].
pub fn decode_3(block: &[u8; 8], account: &Account12) -> Result<ClearPin, NoPin> {
    let mut clear = Zeroizing::new(*block);
    mix(&mut clear, account);
    read(&clear, CONTROL_3, 0x0A..=0x0F)
}

/// Plain-text PIN field of format 4: `4`, length, PIN, fill `A` to eight bytes, then eight random bytes.
#[must_use]
pub fn pin_field_4(pin: &ClearPin, random: [u8; 8]) -> Zeroizing<[u8; 16]> {
    let head = lay_out(CONTROL_4, pin, |_| 0x0A);
    let mut field = Zeroizing::new([0; 16]);
    field[..8].copy_from_slice(&head[..]);
    field[8..].copy_from_slice(&random);
    field
}

/// Reads the PIN field of format 4; the second half is random and not looked at.
///
/// # Errors
/// [`NoPin`].
pub fn read_pin_field_4(field: &[u8; 16]) -> Result<ClearPin, NoPin> {
    let mut head = Zeroizing::new([0; 8]);
    head.copy_from_slice(&field[..8]);
    read(&head, CONTROL_4, 0x0A..=0x0A)
}

/// Plain-text account field of format 4: digits beyond twelve (one nibble), the whole number, zeros to sixteen bytes.
#[must_use]
pub fn account_field_4(account: &Account12) -> Zeroizing<[u8; 16]> {
    let digits = account.pan().expose_digits();
    let mut field = Zeroizing::new([0; 16]);
    // 13 to 19 digits by `Pan`'s invariant, so one nibble holds what is beyond twelve.
    field[0] = u8::try_from(digits.len().saturating_sub(12)).unwrap_or(0) << 4;
    for (at, digit) in (1..).zip(digits) {
        let value = digit & 0x0F;
        field[at / 2] |= if at % 2 == 0 { value << 4 } else { value };
    }
    field
}

/// Control, length, digits, fill: the layout all four formats share. `fill` is asked by nibble position, 0 to 15.
fn lay_out(control: u8, pin: &ClearPin, fill: impl Fn(usize) -> u8) -> Block8 {
    let mut nibbles = Zeroizing::new([0; 16]);
    nibbles[0] = control;
    nibbles[1] = pin.digit_count();
    for at in 2..16 {
        nibbles[at] = match pin.expose_digits().get(at - 2) {
            Some(digit) => *digit,
            None => fill(at),
        };
    }
    Zeroizing::new(pack(&nibbles))
}

/// Exclusive-or with four zeros and the twelve digits.
fn mix(block: &mut [u8; 8], account: &Account12) {
    let pairs = account.expose_digits().chunks_exact(2);
    for (byte, pair) in block[2..].iter_mut().zip(pairs) {
        *byte ^= pair[0] << 4 | (pair[1] & 0x0F);
    }
}

/// Reads the shared layout, every nibble of it whatever the first ones are.
fn read(
    clear: &Block8,
    control: u8,
    fill: std::ops::RangeInclusive<u8>,
) -> Result<ClearPin, NoPin> {
    let nibbles = Zeroizing::new(unpack(**clear));
    let len = nibbles[1];
    let mut bad = nibbles[0] ^ control;
    let mut digits = [0; PIN_DIGITS_MAX];
    for (at, nibble) in (0..).zip(&nibbles[2..]) {
        let in_pin = at < len;
        let good = if in_pin { *nibble <= 9 } else { fill.contains(nibble) };
        bad |= u8::from(!good);
        if let Some(digit) = digits.get_mut(usize::from(at)) {
            *digit = if in_pin { *nibble } else { 0 };
        }
    }
    // A PIN of 4 to 12 digits is `ClearPin`'s own check.
    let pin = ClearPin::from_values(digits, len).ok_or(NoPin)?;
    if bad == 0 { Ok(pin) } else { Err(NoPin) }
}
