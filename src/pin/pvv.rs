//! Visa PIN verification value.
//!
//! Eleven account digits, the key index and the first four PIN digits, encrypted under the PIN verification key pair;
//! the first four decimal digits of the result, then letters less ten (Visa; payShield manual, commands DG and FW).
//! **Never here:** comparison with a stored value: `hsm::soft` does it in constant time.

use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::pin::clear::ClearPin;
use crate::pin::tdes::Tdes;
use crate::pin::{pack_account, unpack};

/// The four ASCII digits for `pin`. `pvki` is the key index as a value, 0 to 9. Digits after the fourth do not count.
#[must_use]
pub fn pvv(pvk: &Tdes, account: &Account12, pvki: u8, pin: &ClearPin) -> [u8; 4] {
    let eleven = pack_account(account) & 0x0FFF_FFFF_FFFF;
    let four = pin.expose_packed() >> 40;
    let security = eleven << 20 | u64::from(pvki & 0x0F) << 16 | four;
    let mut block = Zeroizing::new(security.to_be_bytes());
    pvk.encrypt(&mut block);
    decimalize(&Zeroizing::new(unpack(u64::from_be_bytes(*block))))
}

/// Takes the decimal digits from left to right, then the letters from left to right less ten, until four.
fn decimalize(nibbles: &[u8; 16]) -> [u8; 4] {
    // Every place is written and only kept when it counts: which ones do is random, and a branch on it mispredicts.
    let mut digits = [0; 16];
    let mut count = 0;
    for nibble in nibbles {
        digits[count & 15] = *nibble;
        count += usize::from(*nibble <= 9);
    }
    let letters = nibbles.iter().filter(|nibble| **nibble > 9);
    for (digit, letter) in digits.iter_mut().skip(count).zip(letters) {
        *digit = letter - 10;
    }
    let [first, second, third, fourth, ..] = digits;
    [first, second, third, fourth].map(|digit| b'0' + digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked by hand from the rule.
    #[test]
    fn letters_come_after_digits() {
        #[track_caller]
        fn check(nibbles: u64, want: [u8; 4]) {
            assert_eq!(decimalize(&unpack(nibbles)), want);
        }
        check(0x0FAB_9CDE_8123_4567, *b"0981");
        check(0xFFFF_FFFF_FFFF_FF12, *b"1255");
        check(0xABCD_EF1A_BCDE_FABC, *b"1012");
        check(0xABCD_EFAB_CDEF_ABCD, *b"0123");
        check(0x1234_5678_9012_3456, *b"1234");
        check(0xFEDC_FEDC_FEDC_9876, *b"9876");
    }
}
