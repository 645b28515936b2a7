//! Visa PIN verification value.
//!
//! Eleven account digits, the key index and the first four PIN digits, encrypted under the PIN verification key pair;
//! the first four decimal digits of the result, then letters less ten (Visa; payShield manual, commands DG and FW).
//! **Never here:** comparison with a stored value: `hsm::soft` does it in constant time.

use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::pin::clear::ClearPin;
use crate::pin::tdes::Tdes;
use crate::pin::{pack, unpack};

/// The four ASCII digits for `pin`. `pvki` is the key index as a value, 0 to 9. Digits after the fourth do not count.
#[must_use]
pub fn pvv(pvk: &Tdes, account: &Account12, pvki: u8, pin: &ClearPin) -> [u8; 4] {
    let mut transformed = Zeroizing::new([0; 16]);
    let digits = account.expose_digits()[1..].iter().map(|ascii| ascii & 0x0F);
    let digits = digits.chain([pvki]).chain(pin.expose_digits()[..4].iter().copied());
    for (nibble, digit) in transformed.iter_mut().zip(digits) {
        *nibble = digit;
    }
    let mut block = Zeroizing::new(pack(&transformed));
    pvk.encrypt(&mut block);
    decimalize(&Zeroizing::new(unpack(*block)))
}

/// Takes the decimal digits from left to right, then the letters from left to right less ten, until four.
fn decimalize(nibbles: &[u8; 16]) -> [u8; 4] {
    let decimals = nibbles.iter().filter(|n| **n <= 9).copied();
    let letters = nibbles.iter().filter(|n| **n > 9).map(|n| n - 10);
    let mut value = [b'0'; 4];
    for (ascii, digit) in value.iter_mut().zip(decimals.chain(letters)) {
        *ascii = b'0' + digit;
    }
    value
}
