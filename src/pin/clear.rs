//! [`ClearPin`]: a PIN nobody can log, copy by accident or leave behind in memory.
//!
//! **Never here:** text, an allocation. Where next: `block` makes them and takes them apart.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::pin::{letters, unpack};

/// Shortest PIN (ISO 9564-1).
pub const PIN_DIGITS_MIN: usize = 4;
/// Longest PIN (ISO 9564-1).
pub const PIN_DIGITS_MAX: usize = 12;

/// The fourteen places of a block that hold digits and fill: all but control and length.
pub(crate) const PLACES: u64 = 0x00FF_FFFF_FFFF_FFFF;

/// A clear PIN of 4 to 12 digits. Wiped on drop, masked in `Debug`, not `Clone`.
pub struct ClearPin {
    // As in a block: 14 places in the low 56 bits, digits first. Invariant: the first `len` are 0 to 9, all else is
    // zero, 4 <= len <= 12.
    packed: u64,
    len: u8,
}

/// The places of a block that a PIN of `len` digits leaves to fill. A `len` that is none fills nothing or all.
pub(crate) fn fill_places(len: u8) -> u64 {
    PLACES.checked_shr(4 * u32::from(len.min(14))).unwrap_or(0)
}

impl ClearPin {
    /// Takes ASCII digits. `None` for anything but 4 to 12 of them.
    #[must_use]
    pub fn from_ascii(ascii: &[u8]) -> Option<Self> {
        if ascii.len() > PIN_DIGITS_MAX || !ascii.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut packed =
            ascii.iter().fold(0, |packed, digit| packed << 4 | u64::from(digit & 0x0F));
        packed <<= 4 * (14 - ascii.len());
        Self::from_packed(packed, u8::try_from(ascii.len()).ok()?)
    }

    /// Takes the places of a block, zero where there is fill. `None` if they are no PIN.
    ///
    /// Every place is looked at before it says so.
    #[must_use]
    pub(crate) fn from_packed(packed: u64, len: u8) -> Option<Self> {
        let beyond = packed & !(PLACES & !fill_places(len));
        let bad = letters(packed) | beyond | u64::from(!(4..=12).contains(&len));
        (bad == 0).then_some(Self { packed, len })
    }

    /// The clear digits in the fourteen places of a block, zero where fill goes.
    #[must_use]
    pub(crate) fn expose_packed(&self) -> u64 {
        self.packed
    }

    /// The clear digits as values 0 to 9, zero after the last. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_digits(&self) -> Zeroizing<[u8; PIN_DIGITS_MAX]> {
        let mut digits = Zeroizing::new([0; PIN_DIGITS_MAX]);
        let mut places = unpack(self.packed << 8);
        digits.copy_from_slice(&places[..PIN_DIGITS_MAX]);
        places.zeroize();
        digits
    }

    /// How many digits, 4 to 12.
    #[must_use]
    pub fn digit_count(&self) -> u8 {
        self.len
    }

    /// Whether both are the same PIN, in a time that depends on neither.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> Choice {
        self.packed.ct_eq(&other.packed) & self.len.ct_eq(&other.len)
    }
}

impl fmt::Debug for ClearPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClearPin(****)")
    }
}

impl Drop for ClearPin {
    fn drop(&mut self) {
        self.packed.zeroize();
        self.len.zeroize();
    }
}
