//! [`WrappedKey`]: a zone key under a zone master key, as a message of key exchange carries it.
//!
//! Links and hosts read the same form. **Never here:** a clear key, unwrapping (`hsm`), which field carries it.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a double-length key.
const DOUBLE: usize = 16;
/// Bytes of a triple-length key.
const TRIPLE: usize = 24;
/// Bytes of a check value.
const CHECK_VALUE: usize = 3;

/// A wrapped key with its sender's check value. Wiped on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct WrappedKey {
    bytes: [u8; TRIPLE],
    len: usize,
    check_value: Option<[u8; CHECK_VALUE]>,
}

/// Why a field holds no wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no wrapped key: 16 or 24 bytes, the check value of 3 bytes or none, then zeros only")]
pub struct NotWrapped;

impl WrappedKey {
    /// Reads a field: 16 or 24 bytes of the key, 3 of its check value or none, zeros to the end
    /// (`domain/iso8583.md` 2).
    ///
    /// # Errors
    /// [`NotWrapped`], also for a key with eight bytes of zeros.
    pub fn from_field(field: &[u8]) -> Result<Self, NotWrapped> {
        let [double, triple] = [DOUBLE, TRIPLE].map(|len| Self::of_length(field, len));
        double.or(triple).ok_or(NotWrapped)
    }

    fn of_length(field: &[u8], len: usize) -> Option<Self> {
        let zero = |bytes: &[u8]| bytes.iter().all(|b| *b == 0);
        let (key, rest) = field.split_at_checked(len)?;
        let check_value = match rest.split_first_chunk::<CHECK_VALUE>() {
            _ if zero(rest) => None,
            Some((value, fill)) if zero(fill) => Some(*value),
            _ => return None,
        };
        let mut bytes = [0; TRIPLE];
        bytes.get_mut(..len)?.copy_from_slice(key);
        // No part of eight bytes encrypts to zeros in practice; fill does.
        let whole = !key.chunks(8).any(zero);
        whole.then_some(Self { bytes, len, check_value })
    }

    /// The encrypted key: 16 or 24 bytes.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The check value its sender gave.
    #[must_use]
    pub fn check_value(&self) -> Option<[u8; CHECK_VALUE]> {
        self.check_value
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({} bytes, ****)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 24] = [0xA5; 24];
    const VALUE: [u8; 3] = [0x4F, 0xE9, 0xFD];

    #[track_caller]
    fn check(parts: &[&[u8]], want: Option<(usize, Option<[u8; 3]>)>) {
        let got = WrappedKey::from_field(&parts.concat());
        let got = got.map(|key| (key.expose_bytes().to_vec(), key.check_value()));
        let want = want.map(|(len, value)| (KEY[..len].to_vec(), value)).ok_or(NotWrapped);
        assert_eq!(got, want, "{parts:?}");
    }

    #[test]
    fn forms() {
        let (double, zeros) = (&KEY[..16], [0; 48]);
        check(&[double, &VALUE, &zeros[..29]], Some((16, Some(VALUE))));
        check(&[&KEY, &VALUE, &zeros[..21]], Some((24, Some(VALUE))));
        check(&[double, &zeros[..32]], Some((16, None)));
        check(&[&KEY, &zeros[..24]], Some((24, None)));
        check(&[double], Some((16, None)));
        check(&[double, &VALUE], Some((16, Some(VALUE))));
        check(&[&KEY], Some((24, None)));
        check(&[&KEY, &VALUE], Some((24, Some(VALUE))));
        check(&[], None);
        check(&[&zeros], None);
        check(&[&KEY[..8], &zeros[..40]], None);
        check(&[&KEY[..15]], None);
        check(&[double, &VALUE[..2]], None);
        check(&[double, &VALUE, &[1]], None);
        check(&[&KEY, &VALUE, &[1]], None);
        check(&[&zeros[..16], &VALUE, &zeros[..29]], None);
        check(&[&KEY, &VALUE, &zeros[..20], &[1]], None);
    }

    #[test]
    fn it_shows_nothing() {
        let key = WrappedKey::from_field(&KEY).unwrap();
        assert_eq!(format!("{key:?}"), "WrappedKey(24 bytes, ****)");
    }

    proptest! {
        #[test]
        fn any_field_is_answered(field in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(key) = WrappedKey::from_field(&field) {
                prop_assert!(field.starts_with(key.expose_bytes()));
            }
        }
    }
}
