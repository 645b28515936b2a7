//! How keys come and go: as components that custodians carry, or wrapped under a zone master key.
//!
//! **Never here:** files, prompts. Where next: `block` for keys in key blocks, `cli::keys` reads the parts, `keyfile`
//! keeps the result.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::hsm::key::{Algorithm, CheckValue, ClearKey, KeyError, KeyType, TestKeys};
use crate::hsm::modes;
use crate::hsm::tr31::Tr31Error;

pub mod block;

/// Why a key from outside cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// A key block that does not open, or cannot be written.
    #[error("key {name}: {source}")]
    Block {
        /// Key.
        name: Box<str>,
        /// What is wrong with the block.
        source: Tr31Error,
    },
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
    /// Two that are the same cancel out, and one of zeros adds nothing: the key would be in fewer hands than there are.
    #[error("component {number} is all zeros or equals another one: it adds nothing to the key")]
    ComponentEmpty {
        /// Which, from 1.
        number: usize,
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
    /// A key that stays where it is.
    #[error(
        "key {name} never leaves this key file: it is a {key_type} of ours alone, or came with the \
         order not to pass it on"
    )]
    NotExportable {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
    },
    /// ECB is for triple DES under triple DES.
    #[error("key {name} is no TDES key: exchange it as a key block (--tr31)")]
    NotTripleDes {
        /// Key.
        name: Box<str>,
    },
    /// No randomness.
    #[error("the operating system gave no randomness")]
    Random,
    /// A strong key under a weak one is a weak key.
    #[error("key {name} is stronger than {zmk}: export it under a ZMK of at least its strength")]
    Stronger {
        /// Key.
        name: Box<str>,
        /// The zone master key.
        zmk: Box<str>,
    },
    /// A key block for another use.
    #[error(
        "key {name}: usage {}{}, algorithm {algorithm}, mode {mode} is no use for a {key_type}",
        usage[0], usage[1]
    )]
    Use {
        /// Key.
        name: Box<str>,
        /// The type it should be.
        key_type: KeyType,
        /// As the block says.
        usage: [char; 2],
        /// As the block says.
        algorithm: char,
        /// As the block says.
        mode: char,
    },
    /// The wrapping key is no ZMK.
    #[error("key {name} is a {key_type}: only a ZMK wraps other keys")]
    NotZmk {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
    },
}

impl ExchangeError {
    fn check_value(name: &str, actual: CheckValue, stated: CheckValue) -> Self {
        Self::CheckValue {
            name: name.into(),
            actual: hex::encode_upper(actual),
            stated: hex::encode_upper(stated),
        }
    }
}

/// Whether a key may wrap others.
fn zmk_of(zmk: &ClearKey) -> Result<(), ExchangeError> {
    if zmk.key_type() == KeyType::Zmk {
        return Ok(());
    }
    let (name, key_type) = (zmk.name().into(), zmk.key_type());
    Err(ExchangeError::NotZmk { name, key_type })
}

/// Whether `zmk` is at least as strong as `key` (NIST SP 800-57: two keys of triple DES are worth 80 bits, three 112).
fn check_strength(zmk: &ClearKey, key: &ClearKey) -> Result<(), ExchangeError> {
    let strength = |key: &ClearKey| match (key.algorithm(), key.expose_bytes().len()) {
        (Algorithm::Tdes, 16) => 80,
        (Algorithm::Tdes, _) => 112,
        (Algorithm::Aes | Algorithm::Hmac | Algorithm::Rsa, bytes) => 8 * bytes,
    };
    if strength(key) <= strength(zmk) {
        return Ok(());
    }
    Err(ExchangeError::Stronger { name: key.name().into(), zmk: zmk.name().into() })
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
    for (number, component) in (1..).zip(components) {
        let zeros = component.iter().all(|byte| *byte == 0);
        let before = components.iter().take(number - 1);
        if zeros || before.into_iter().any(|other| bool::from(other.ct_eq(component))) {
            return Err(ExchangeError::ComponentEmpty { number });
        }
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
    zmk_of(zmk)?;
    if zmk.algorithm() != Algorithm::Tdes {
        return Err(ExchangeError::NotTripleDes { name: zmk.name().into() });
    }
    let mut bytes = Zeroizing::new(wrapped.to_vec());
    // Not whole blocks: the length is refused below.
    let _ = modes::decrypt_ecb(zmk.algorithm(), zmk.expose_bytes(), &mut bytes);
    let actual = crate::hsm::key::check_value(Algorithm::Tdes, &bytes);
    if let Some(stated) = stated.into()
        && Algorithm::Tdes.lengths().contains(&bytes.len())
        && !bool::from(actual.ct_eq(&stated))
    {
        return Err(ExchangeError::check_value(name, actual, stated));
    }
    Ok(ClearKey::new(name, key_type, Algorithm::Tdes, bytes, test_keys)?)
}

/// Wraps a triple-DES key under a zone master key in ECB (X9.17), for a partner who reads no key blocks.
///
/// # Errors
/// [`ExchangeError`] names the key.
pub fn wrap(zmk: &ClearKey, key: &ClearKey) -> Result<String, ExchangeError> {
    zmk_of(zmk)?;
    if !key.is_exportable() {
        let (name, key_type) = (key.name().into(), key.key_type());
        return Err(ExchangeError::NotExportable { name, key_type });
    }
    if let Some(other) = [zmk, key].iter().find(|key| key.algorithm() != Algorithm::Tdes) {
        return Err(ExchangeError::NotTripleDes { name: other.name().into() });
    }
    check_strength(zmk, key)?;
    let mut bytes = Zeroizing::new(key.expose_bytes().to_vec());
    modes::encrypt_ecb(zmk.algorithm(), zmk.expose_bytes(), &mut bytes)
        .ok_or_else(|| ExchangeError::NotTripleDes { name: zmk.name().into() })?;
    Ok(hex::encode_upper(&*bytes))
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
        assert_eq!(wrap(&zmk, &got).unwrap(), wrapped);
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

    /// ECB neither takes AES keys nor a key that must stay.
    #[test]
    fn what_ecb_does_not_carry() {
        let zmk = key("zmk.partner", KeyType::Zmk, "851A0D9D0B2A1602622AD0B0E9E6B070");
        let zpk = key("zpk.one", KeyType::Zpk, "98519E45CBB9291F49EFAD4AFEFDDC79");
        let aes = |key_type| {
            let bytes = bytes("00112233445566778899AABBCCDDEEFF");
            ClearKey::new("k.aes", key_type, Algorithm::Aes, bytes, TestKeys::Allowed).unwrap()
        };
        let not_tdes = ExchangeError::NotTripleDes { name: "k.aes".into() };
        assert_eq!(wrap(&zmk, &aes(KeyType::Zpk)), Err(not_tdes.clone()));
        assert_eq!(wrap(&aes(KeyType::Zmk), &zpk), Err(not_tdes.clone()));
        let taken =
            unwrap(&aes(KeyType::Zmk), "k", KeyType::Zpk, &[1; 16], None, TestKeys::Allowed);
        assert_eq!(taken.err(), Some(not_tdes));
        let stays =
            ExchangeError::NotExportable { name: "zmk.partner".into(), key_type: KeyType::Zmk };
        assert_eq!(wrap(&zmk, &zmk), Err(stays));
        assert!(matches!(wrap(&zpk, &zpk), Err(ExchangeError::NotZmk { .. })));
        let triple = "98519E45CBB9291F49EFAD4AFEFDDC790123456789ABCDEF";
        let strong = wrap(&zmk, &key("zpk.long", KeyType::Zpk, triple));
        assert!(matches!(strong, Err(ExchangeError::Stronger { .. })));
    }

    #[test]
    fn components() {
        let three = [bytes("0123"), bytes("FFFF"), bytes("00FF")];
        assert_eq!(*combine(&three).unwrap(), [0xFE, 0x23]);
        assert_eq!(combine(&[]), Err(ExchangeError::ComponentCount { count: 0 }));
        assert_eq!(combine(&three[..1]), Err(ExchangeError::ComponentCount { count: 1 }));
        let empty = |number| Err(ExchangeError::ComponentEmpty { number });
        assert_eq!(combine(&[bytes("0123"), bytes("FFFF"), bytes("0123")]), empty(3));
        assert_eq!(combine(&[bytes("0123"), bytes("0000")]), empty(2));
        assert_eq!(combine(&[bytes("0000"), bytes("0123")]), empty(1));
        let uneven = [bytes("0123"), bytes("FF")];
        let want = ExchangeError::ComponentLength { number: 2, bytes: 1, first: 2 };
        assert_eq!(combine(&uneven), Err(want));
    }
}
