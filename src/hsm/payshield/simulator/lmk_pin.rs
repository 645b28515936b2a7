//! PINs under the LMK. How a device makes them is not public: these are the simulator's own, and no device reads them.
//!
//! Under a variant or TDES key block LMK: as many digits as the device is set to. All PINs are counted, shorter ones
//! first, and the number goes through ten rounds of a Feistel network over digits whose round function is a CBC-MAC
//! with account and round in its first block. Nine in ten numbers are no PIN, so a wrong account is nearly always seen.
//! Under an AES LMK: the construction of the software HSM, 16 bytes. **Never here:** blocks under other keys (`pins`).

use zeroize::Zeroizing;

use crate::domain::pan::{Account12, Pan};
use crate::domain::pin::LmkPin;
use crate::hsm::payshield::simulator::lmk::PIN_PAIR;
use crate::hsm::payshield::wire::field::SealedPin;
use crate::hsm::soft::lmk_pin::PinSeal;
use crate::pin::clear::{ClearPin, PIN_DIGITS_MIN};
use crate::pin::tdes::Tdes;

const ROUNDS: u8 = 10;
/// Key of 16-byte PINs: public, as every key here.
const WIDE_KEY: &[u8; 32] = b"pinion simulated payshield pins1";

/// Both ways of keeping PINs.
pub(super) struct PinLmk {
    cipher: Tdes,
    wide: PinSeal,
}

impl PinLmk {
    pub(super) fn new() -> Self {
        Self { cipher: Tdes::double(&PIN_PAIR), wide: PinSeal::new(WIDE_KEY) }
    }

    /// Sixteen bytes.
    pub(super) fn seal_wide(
        &self,
        pin: &ClearPin,
        account: &Account12,
        random: [u8; 4],
    ) -> SealedPin {
        SealedPin::Block(self.wide.seal(pin, &of_twelve(account), random).0)
    }

    /// `width` digits. `None` for a PIN as long as that, or longer.
    pub(super) fn seal(
        &self,
        pin: &ClearPin,
        account: &Account12,
        width: usize,
    ) -> Option<SealedPin> {
        let number = self.feistel(rank(pin), account, width, false);
        let mut digits = [b'0'; 13];
        let shown = digits.get_mut(..width)?;
        let mut left = number;
        for digit in shown.iter_mut().rev() {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
            left /= 10;
        }
        let short = usize::from(pin.digit_count()) < width;
        SealedPin::digits(shown).filter(|_| short)
    }

    /// The PIN. `None` where it does not open.
    pub(super) fn open(&self, sealed: &SealedPin, account: &Account12) -> Option<ClearPin> {
        match sealed {
            SealedPin::Block(block) => self.wide.open(&LmkPin(*block), &of_twelve(account)).ok(),
            SealedPin::Digits(digits, count) => {
                let width = usize::from(*count);
                let shown = digits.get(..width)?;
                if !shown.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                let number = shown.iter().fold(0, |n, digit| n * 10 + u64::from(digit & 0x0F));
                pin_of(self.feistel(number, account, width, true), width)
            }
        }
    }

    /// Ten rounds over the two halves of `width` digits, or the same backwards.
    fn feistel(&self, number: u64, account: &Account12, width: usize, back: bool) -> u64 {
        let low = power(width / 2);
        let high = power(width - width / 2);
        let (mut a, mut b) = (number / low, number % low);
        for step in 0..ROUNDS {
            let round = if back { ROUNDS - 1 - step } else { step };
            let (of, other, size) =
                if round % 2 == 0 { (&mut a, b, high) } else { (&mut b, a, low) };
            let by = self.round(round, width, account, other) % size;
            *of = if back { (*of + size - by) % size } else { (*of + by) % size };
        }
        a * low + b
    }

    fn round(&self, round: u8, width: usize, account: &Account12, half: u64) -> u64 {
        let mut block = Zeroizing::new([0; 8]);
        block[0] = round;
        block[1] = u8::try_from(width).unwrap_or(0);
        for (byte, pair) in block[2..].iter_mut().zip(account.expose_digits().chunks_exact(2)) {
            *byte = (pair[0] & 0x0F) << 4 | (pair[1] & 0x0F);
        }
        self.cipher.encrypt(&mut block);
        *block = (u64::from_be_bytes(*block) ^ half).to_be_bytes();
        self.cipher.encrypt(&mut block);
        u64::from_be_bytes(*block)
    }
}

/// The account of its twelve digits alone: some commands bring no more of it.
fn of_twelve(account: &Account12) -> Account12 {
    let mut number = Zeroizing::new([b'0'; 13]);
    number[..12].copy_from_slice(account.expose_digits());
    Pan::parse(&number[..]).map_or_else(|_| account.clone(), |pan| pan.account12())
}

/// Ten to so many.
fn power(digits: usize) -> u64 {
    10_u64.pow(u32::try_from(digits.min(13)).unwrap_or(0))
}

/// Its place among all PINs, shorter ones first.
fn rank(pin: &ClearPin) -> u64 {
    let count = usize::from(pin.digit_count());
    let shorter: u64 = (PIN_DIGITS_MIN..count).map(power).sum();
    let digits = pin.expose_digits();
    shorter + digits.iter().take(count).fold(0, |n, digit| n * 10 + u64::from(*digit))
}

/// The PIN in a place, of fewer digits than `width`. `None` beyond the last.
fn pin_of(rank: u64, width: usize) -> Option<ClearPin> {
    let mut left = rank;
    for count in PIN_DIGITS_MIN..width {
        if left < power(count) {
            let text = Zeroizing::new(format!("{left:0count$}"));
            return ClearPin::from_ascii(text.as_bytes());
        }
        left -= power(count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(twelve: &str) -> Account12 {
        Pan::parse(format!("{twelve}0").as_bytes()).unwrap().account12()
    }

    #[test]
    fn every_pin_comes_back_and_other_accounts_do_not_open_it() {
        let lmk = PinLmk::new();
        let (own, other) = (account("173900101001"), account("173900101002"));
        let (mut sealed_before, mut opened) = (Vec::new(), 0);
        for width in [5, 6, 7, 13] {
            for pin in
                ["0000", "1234", "9999", "00000", "54321", "999999", "000000000000", "999999999999"]
            {
                let clear = ClearPin::from_ascii(pin.as_bytes()).unwrap();
                let sealed = lmk.seal(&clear, &own, width);
                assert_eq!(sealed.is_some(), pin.len() < width, "{pin} in {width}");
                let Some(sealed) = sealed else { continue };
                assert!(bool::from(lmk.open(&sealed, &own).unwrap().same_as(&clear)));
                opened += usize::from(lmk.open(&sealed, &other).is_some());
                assert!(!sealed_before.contains(&sealed));
                sealed_before.push(sealed);
            }
        }
        // One in nine by chance.
        assert!(opened < 8, "{opened} of {}", sealed_before.len());
    }

    #[test]
    fn sixteen_bytes_hold_every_pin() {
        let lmk = PinLmk::new();
        let clear = ClearPin::from_ascii(b"123456789012").unwrap();
        let sealed = lmk.seal_wide(&clear, &account("173900101001"), [1, 2, 3, 4]);
        assert!(lmk.open(&sealed, &account("173900101001")).is_some());
        assert!(lmk.open(&sealed, &account("173900101002")).is_none());
    }
}
