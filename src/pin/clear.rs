//! [`ClearPin`]: a PIN nobody can log, copy by accident or leave behind in memory.
//!
//! **Never here:** text, an allocation, a way out but [`ClearPin::expose_digits`]. Where next: `block` makes them and
//! takes them apart.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// Shortest PIN (ISO 9564-1).
pub const PIN_DIGITS_MIN: usize = 4;
/// Longest PIN (ISO 9564-1).
pub const PIN_DIGITS_MAX: usize = 12;

/// A clear PIN of 4 to 12 digits. Wiped on drop, masked in `Debug`, not `Clone`.
pub struct ClearPin {
    // Invariant: `digits[..len]` are values 0 to 9, the rest are zero, 4 <= len <= 12.
    digits: [u8; PIN_DIGITS_MAX],
    len: u8,
}

impl ClearPin {
    /// Takes ASCII digits. `None` for anything but 4 to 12 of them.
    #[must_use]
    pub fn from_ascii(ascii: &[u8]) -> Option<Self> {
        let mut digits = [0; PIN_DIGITS_MAX];
        let head = digits.get_mut(..ascii.len())?;
        for (digit, byte) in head.iter_mut().zip(ascii) {
            *digit = byte.wrapping_sub(b'0');
        }
        Self::from_values(digits, u8::try_from(ascii.len()).ok()?)
    }

    /// Takes digit values, zero after the first `len`. `None` if they are not a PIN.
    ///
    /// All twelve are looked at whatever they are, so that the time taken says nothing of where a wrong one is.
    #[must_use]
    pub(crate) fn from_values(mut digits: [u8; PIN_DIGITS_MAX], len: u8) -> Option<Self> {
        let mut bad = u8::from(!(4..=12).contains(&len));
        for (at, digit) in (0..).zip(&digits) {
            let most = if at < len { 9 } else { 0 };
            bad |= u8::from(*digit > most);
        }
        if bad != 0 {
            digits.zeroize();
            return None;
        }
        Some(Self { digits, len })
    }

    /// The clear digits as values 0 to 9. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_digits(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }

    /// How many digits, 4 to 12.
    #[must_use]
    pub fn digit_count(&self) -> u8 {
        self.len
    }

    /// Whether both are the same PIN, in a time that depends on neither.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> Choice {
        self.digits.ct_eq(&other.digits) & self.len.ct_eq(&other.len)
    }
}

impl fmt::Debug for ClearPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClearPin(****)")
    }
}

impl Drop for ClearPin {
    fn drop(&mut self) {
        self.digits.zeroize();
        self.len.zeroize();
    }
}
