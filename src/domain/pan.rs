//! Account numbers that cannot be logged.
//!
//! [`Pan`] is the clear number: wiped on drop, masked in `Debug`, never `Display`. [`PanHash`] is how a card is found,
//! [`SealedPan`] is how it rests. Nothing here allocates. Where next: `domain::vault` makes hashes and seals.

use std::fmt;

use zeroize::Zeroize;

/// Longest account number ISO/IEC 7812 allows.
pub const PAN_DIGITS_MAX: usize = 19;
/// Shortest account number we serve; the twelve digits a PIN block is bound to need one more.
pub const PAN_DIGITS_MIN: usize = 13;

/// A primary account number, checked on the way in and wiped on the way out.
///
/// The check digit is not verified: private-label issuers do without one, and a wrong one is simply a card unknown.
#[derive(Clone, PartialEq, Eq)]
pub struct Pan {
    // Invariant: `digits[..len]` are ASCII digits, the rest are zero bytes.
    digits: [u8; PAN_DIGITS_MAX],
    len: u8,
}

impl Pan {
    /// Parses ASCII digits.
    ///
    /// # Errors
    ///
    /// [`PanError`] says which rule broke. It never carries the digits.
    pub fn parse(ascii: &[u8]) -> Result<Self, PanError> {
        let len = ascii.len();
        if !(PAN_DIGITS_MIN..=PAN_DIGITS_MAX).contains(&len) {
            return Err(PanError::Length { len });
        }
        if !ascii.iter().all(u8::is_ascii_digit) {
            return Err(PanError::NotDigits);
        }
        let mut digits = [0; PAN_DIGITS_MAX];
        digits[..len].copy_from_slice(ascii);
        #[expect(clippy::cast_possible_truncation, reason = "len <= 19")]
        let len = len as u8;
        Ok(Self { digits, len })
    }

    /// The clear digits. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_digits(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }

    /// The twelve rightmost digits without the check digit: what a PIN block and a PVV are bound to (ISO 9564-1).
    #[must_use]
    pub fn account12(&self) -> Account12 {
        let digits = self.expose_digits();
        let end = digits.len() - 1;
        let mut twelve = [0; 12];
        twelve.copy_from_slice(&digits[end - 12..end]);
        Account12 { twelve, pan: self.clone() }
    }

    /// First six and last four digits, stars between: the most PCI DSS 3.4.1 lets anybody see. At most 19 bytes.
    #[must_use]
    pub fn masked(&self) -> impl fmt::Display + '_ {
        Masked(self)
    }
}

impl fmt::Debug for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pan({})", self.masked())
    }
}

impl Drop for Pan {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}

struct Masked<'a>(&'a Pan);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.expose_digits();
        let hidden_end = digits.len() - 4;
        for (at, digit) in digits.iter().enumerate() {
            let shown = if (6..hidden_end).contains(&at) { b'*' } else { *digit };
            fmt::Write::write_char(f, char::from(shown))?;
        }
        Ok(())
    }
}

/// The account as PIN algorithms take it: the twelve digits of ISO 9564-1 formats 0 and 3 and of the PVV, and the whole
/// number for format 4 and IBM 3624. Wiped on drop, masked in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Account12 {
    // Invariant: `twelve` are the twelve digits of `pan` before its last.
    twelve: [u8; 12],
    pan: Pan,
}

impl Account12 {
    /// The twelve clear digits.
    #[must_use]
    pub fn expose_digits(&self) -> &[u8; 12] {
        &self.twelve
    }

    /// The whole number they were taken from.
    #[must_use]
    pub fn pan(&self) -> &Pan {
        &self.pan
    }
}

impl fmt::Debug for Account12 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account12(************)")
    }
}

impl Drop for Account12 {
    fn drop(&mut self) {
        self.twelve.zeroize();
    }
}

/// A keyed hash of an account number (HMAC-SHA-256, first 16 bytes): what a card is found by.
///
/// Sixteen bytes keep ten million cards apart with a collision chance below 10^-24.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PanHash(pub [u8; 16]);

impl fmt::Debug for PanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PanHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// An account number at rest: AES-256-GCM, a nonce of 12 bytes, ciphertext of the 20-byte padded number, tag of 16.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedPan(pub [u8; Self::BYTES]);

impl SealedPan {
    /// Nonce, ciphertext (one length byte, 19 digits zero filled), tag.
    pub const BYTES: usize = 12 + 20 + 16;
}

impl fmt::Debug for SealedPan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedPan(..)")
    }
}

/// Why bytes are not an account number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PanError {
    /// Fewer than 13 or more than 19 digits.
    #[error("length {len} is outside 13..=19")]
    Length {
        /// How many bytes came in.
        len: usize,
    },
    /// A byte other than `0`-`9`.
    #[error("not all digits")]
    NotDigits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, want: Result<&str, PanError>) {
        let got = Pan::parse(input.as_bytes()).map(|p| format!("{p:?}"));
        assert_eq!(got.as_deref(), want.as_ref().map(|s| *s), "input {input:?}");
    }

    #[test]
    fn parse_and_mask() {
        check("4111111111111111", Ok("Pan(411111******1111)"));
        check("5060990000000151002", Ok("Pan(506099*********1002)"));
        check("4000000000000", Ok("Pan(400000***0000)"));
        check("411111111111111x", Err(PanError::NotDigits));
        check("411111111111", Err(PanError::Length { len: 12 }));
        check("41111111111111111111", Err(PanError::Length { len: 20 }));
        check("", Err(PanError::Length { len: 0 }));
    }

    /// `domain/hsm.md` 5.1: the account field of PAN 4761739001010010 is 173900101001.
    #[test]
    fn account_field_drops_the_check_digit() {
        let pan = Pan::parse(b"4761739001010010").unwrap();
        assert_eq!(pan.account12().expose_digits(), b"173900101001");
    }

    #[test]
    fn debug_of_derived_values_shows_no_digit() {
        let pan = Pan::parse(b"4761739001010010").unwrap();
        assert_eq!(format!("{:?}", pan.account12()), "Account12(************)");
    }
}
