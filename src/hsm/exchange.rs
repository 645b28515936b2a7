//! How keys come from outside: as components that custodians carry, or wrapped under a zone master key.
//!
//! **Never here:** files, prompts. Where next: `cli::keys` reads the parts, `keyfile` keeps the result.

use aes::cipher::{BlockCipherDecrypt, KeyInit};
use des::{TdesEde2, TdesEde3};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::hsm::key::{Algorithm, CheckValue, ClearKey, KeyError, KeyType, TestKeys};

/// Why a key from outside cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The sender's check value is another one.
    #[error(
        "key {name}: check value is {actual}, the sender said {stated}: another zone master key, \
         or a slip of the pen"
    )]
    CheckValue {
        /// Key.
        name: Box<str>,
        /// Of the key that came out.
        actual: String,
        /// As the sender has it.
        stated: String,
    },
    /// Components of different lengths.
    #[error("component {number} has {bytes} bytes, the first one has {first}: enter it again")]
    ComponentLength {
        /// Which, from 1.
        number: usize,
        /// Its bytes.
        bytes: usize,
        /// Bytes of the first.
        first: usize,
    },
    /// One component is a clear key in one pair of hands.
    #[error("{count} components: a key comes in two or more, one custodian each")]
    ComponentCount {
        /// How many there are.
        count: usize,
    },
    /// The key breaks a rule.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The wrapping key is no ZMK.
    #[error("key {name} is a {key_type}: only a ZMK wraps other keys")]
    NotZmk {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
    },
}

/// Exclusive-or of two or more components of one length.
///
/// # Errors
/// [`ExchangeError::ComponentCount`] and [`ExchangeError::ComponentLength`].
pub fn combine(components: &[Zeroizing<Vec<u8>>]) -> Result<Zeroizing<Vec<u8>>, ExchangeError> {
    let [first, others @ ..] = components else {
        return Err(ExchangeError::ComponentCount { count: 0 });
    };
    if others.is_empty() {
        return Err(ExchangeError::ComponentCount { count: 1 });
    }
    let mut key = first.clone();
    for (number, component) in (2..).zip(others) {
        if component.len() != first.len() {
            let (bytes, first) = (component.len(), first.len());
            return Err(ExchangeError::ComponentLength { number, bytes, first });
        }
        for (byte, more) in key.iter_mut().zip(component.iter()) {
            *byte ^= more;
        }
    }
    Ok(key)
}

/// Unwraps a triple-DES key that came under a zone master key in ECB (X9.17: 32 or 48 hex digits).
///
/// ECB protects nothing but secrecy, so odd parity must be right, and the sender's check value where there is one.
///
/// # Errors
/// [`ExchangeError`] names the key.
pub fn unwrap(
    zmk: &ClearKey,
    name: &str,
    key_type: KeyType,
    wrapped: &[u8],
    stated: impl Into<Option<CheckValue>>,
    test_keys: TestKeys,
) -> Result<ClearKey, ExchangeError> {
    if zmk.key_type() != KeyType::Zmk {
        let (name, key_type) = (zmk.name().into(), zmk.key_type());
        return Err(ExchangeError::NotZmk { name, key_type });
    }
    let mut bytes = Zeroizing::new(wrapped.to_vec());
    match zmk.expose_bytes().len() {
        16 => decrypt_ecb::<TdesEde2>(zmk.expose_bytes(), &mut bytes),
        _ => decrypt_ecb::<TdesEde3>(zmk.expose_bytes(), &mut bytes),
    }
    let actual = crate::hsm::key::check_value(Algorithm::Tdes, &bytes);
    if let Some(stated) = stated.into()
        && Algorithm::Tdes.lengths().contains(&bytes.len())
        && !bool::from(actual.ct_eq(&stated))
    {
        return Err(ExchangeError::CheckValue {
            name: name.into(),
            actual: hex::encode_upper(actual),
            stated: hex::encode_upper(stated),
        });
    }
    Ok(ClearKey::new(name, key_type, Algorithm::Tdes, bytes, test_keys)?)
}

fn decrypt_ecb<C: BlockCipherDecrypt + KeyInit>(key: &[u8], bytes: &mut [u8]) {
    let Ok(cipher) = C::new_from_slice(key) else { return };
    for block in bytes.chunks_exact_mut(8) {
        if let Ok(block) = block.try_into() {
            cipher.decrypt_block(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(hex::decode(hex).unwrap())
    }

    fn key(name: &str, key_type: KeyType, hex: &str) -> ClearKey {
        ClearKey::new(name, key_type, Algorithm::Tdes, bytes(hex), TestKeys::Allowed).unwrap()
    }

    /// Commands A6 and FA of the payShield set: ZPK2 under the ZMK, check value 4FE9FD.
    #[test]
    fn a_wrapped_key_of_the_payshield_set() {
        let zmk = key("zmk.partner", KeyType::Zmk, "851A0D9D0B2A1602622AD0B0E9E6B070");
        let take = |zmk: &ClearKey, wrapped: &str, kcv: CheckValue| {
            let wrapped = bytes(wrapped);
            unwrap(zmk, "zpk.new", KeyType::Zpk, &wrapped, kcv, TestKeys::Allowed)
        };
        let wrapped = "EDF0622763F428A3E97C9205623A1D26";
        let got = take(&zmk, wrapped, [0x4F, 0xE9, 0xFD]).unwrap();
        let want = "98519E45CBB9291F49EFAD4AFEFDDC79";
        assert_eq!(hex::encode_upper(got.expose_bytes()), want);
        let other = take(&zmk, wrapped, [0x4F, 0xE9, 0xFE]).unwrap_err();
        assert!(matches!(other, ExchangeError::CheckValue { .. }));
        let zpk = key("zpk.atm", KeyType::Zpk, "851A0D9D0B2A1602622AD0B0E9E6B070");
        let not_zmk = take(&zpk, wrapped, [0; 3]).unwrap_err();
        assert!(matches!(not_zmk, ExchangeError::NotZmk { .. }));
        for wrong in ["", "EDF0622763F428A3", &format!("{wrapped}00")] {
            let got = take(&zmk, wrong, [0; 3]).unwrap_err();
            assert!(matches!(got, ExchangeError::Key(KeyError::Length { .. })), "{got:?}");
        }
    }

    #[test]
    fn components() {
        let three = [bytes("0123"), bytes("FFFF"), bytes("00FF")];
        assert_eq!(*combine(&three).unwrap(), [0xFE, 0x23]);
        assert_eq!(combine(&[]), Err(ExchangeError::ComponentCount { count: 0 }));
        assert_eq!(combine(&three[..1]), Err(ExchangeError::ComponentCount { count: 1 }));
        let uneven = [bytes("0123"), bytes("FF")];
        let want = ExchangeError::ComponentLength { number: 2, bytes: 1, first: 2 };
        assert_eq!(combine(&uneven), Err(want));
    }
}
