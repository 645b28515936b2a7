//! Keys in TR-31 key blocks: which usage and mode of use a key of ours may come with, and what it is given on its way
//! out.
//!
//! **Never here:** the bytes of a block (`tr31`), files.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::hsm::exchange::{ExchangeError, check_strength, zmk_of};
use crate::hsm::key::{
    Algorithm, CheckValue, ClearKey, KeyType, MacMethod, Terms, TestKeys, check_value,
    set_odd_parity,
};
use crate::hsm::tr31::{self, Header, PAD_BYTES, Version};

/// Usages and modes of use a key of a type may have; the first of each is what we write.
///
/// A key here works both ways, so one that may only encrypt, only decrypt, only make or only verify is refused.
#[must_use]
pub fn uses(key_type: KeyType) -> (&'static [[u8; 2]], &'static [u8]) {
    match key_type {
        KeyType::Bdk => (&[[b'B', b'0']], b"XN"),
        // EMV master keys: of cryptograms, of confidentiality, of integrity. They derive (X) other keys.
        KeyType::MkAc => (&[[b'E', b'0']], b"XN"),
        KeyType::MkSmc => (&[[b'E', b'1']], b"XN"),
        KeyType::MkSmi => (&[[b'E', b'2']], b"XN"),
        // Of any PVK; for PVVs; for IBM 3624.
        KeyType::Pvk => (&[[b'V', b'0'], [b'V', b'2'], [b'V', b'1']], b"CN"),
        KeyType::Signature => (&[[b'M', b'7']], b"CN"),
        // ISO 9797-1 algorithm 3; CMAC.
        KeyType::Zak => (&[[b'M', b'3'], [b'M', b'6']], b"CN"),
        KeyType::Zmk => (&[[b'K', b'0'], [b'K', b'1']], b"BN"),
        KeyType::Zpk => (&[[b'P', b'0']], b"BN"),
        KeyType::Audit | KeyType::PanHash | KeyType::PanSeal | KeyType::Rsa => (&[], b""),
    }
}

/// How a key leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrapping {
    /// Version of the block; B under triple DES and D under AES if not given.
    pub version: Option<Version>,
    /// One of [`uses`], where a type has several.
    pub usage: Option<[u8; 2]>,
    /// Tell the receiver never to pass it on (`N`); else `E`.
    pub final_copy: bool,
}

/// Opens a key block under a zone master key.
///
/// Usage, mode of use and algorithm must be those of `key_type`; a key that must not be passed on stays one. Parity of
/// a triple-DES key is set: the block's MAC is a better proof than it.
///
/// # Errors
/// [`ExchangeError`] names the key.
pub fn unwrap_block(
    zmk: &ClearKey,
    name: &str,
    key_type: KeyType,
    block: &[u8],
    stated: Option<CheckValue>,
    test_keys: TestKeys,
) -> Result<ClearKey, ExchangeError> {
    zmk_of(zmk)?;
    let (header, mut bytes) = tr31::open(zmk.algorithm(), zmk.expose_bytes(), block)
        .map_err(|source| ExchangeError::Block { name: name.into(), source })?;
    let refused = || ExchangeError::Use {
        name: name.into(),
        key_type,
        usage: header.usage().map(char::from),
        algorithm: header.algorithm().into(),
        mode: header.mode().into(),
    };
    let (usages, modes) = uses(key_type);
    if !usages.contains(header.usage()) || !modes.contains(&header.mode()) {
        return Err(refused());
    }
    let algorithm = match header.algorithm() {
        b'A' => Algorithm::Aes,
        b'H' => Algorithm::Hmac,
        b'T' => Algorithm::Tdes,
        _ => return Err(refused()),
    };
    let mac = match (key_type, header.usage()) {
        (KeyType::Zak, b"M3") => Some(MacMethod::Retail),
        (KeyType::Zak, _) => Some(MacMethod::Cmac),
        _ => None,
    };
    if algorithm == Algorithm::Tdes {
        set_odd_parity(&mut bytes);
    }
    if let Some(stated) = stated {
        let actual = check_value(algorithm, &bytes);
        if !bool::from(actual.ct_eq(&stated)) {
            return Err(ExchangeError::check_value(name, actual, stated));
        }
    }
    let terms = Terms { never_exported: header.exportability() == b'N', mac };
    Ok(ClearKey::new(name, key_type, algorithm, bytes, test_keys)?.with_terms(terms)?)
}

/// Writes a key into a block under a zone master key of at least its strength.
///
/// # Errors
/// [`ExchangeError`] names the key that may not leave, or not under this one.
pub fn wrap_block(zmk: &ClearKey, key: &ClearKey, how: Wrapping) -> Result<String, ExchangeError> {
    zmk_of(zmk)?;
    if !key.is_exportable() {
        let (name, key_type) = (key.name().into(), key.key_type());
        return Err(ExchangeError::NotExportable { name, key_type });
    }
    check_strength(zmk, key)?;
    let (usages, modes) = uses(key.key_type());
    let usual = match (key.key_type(), key.mac_method()) {
        (KeyType::Zak, MacMethod::Cmac) => usages.last(),
        _ => usages.first(),
    };
    let algorithm = match key.algorithm() {
        Algorithm::Aes => b'A',
        Algorithm::Hmac => b'H',
        Algorithm::Tdes | Algorithm::Rsa => b'T',
    };
    let usage = how.usage.or_else(|| usual.copied()).unwrap_or_default();
    let mode = modes.first().copied().unwrap_or_default();
    let other_use = key.key_type() == KeyType::Zak && Some(&usage) != usual;
    if !usages.contains(&usage) || other_use {
        return Err(ExchangeError::Use {
            name: key.name().into(),
            key_type: key.key_type(),
            usage: usage.map(char::from),
            algorithm: algorithm.into(),
            mode: mode.into(),
        });
    }
    let usual = if zmk.algorithm() == Algorithm::Aes { Version::D } else { Version::B };
    let version = how.version.unwrap_or(usual);
    let in_block = |source| ExchangeError::Block { name: key.name().into(), source };
    let exportability = if how.final_copy { b'N' } else { b'E' };
    let header = Header::new(version, usage, algorithm, mode, exportability).map_err(in_block)?;
    let mut pad = Zeroizing::new([0; PAD_BYTES]);
    getrandom::fill(&mut pad[..]).map_err(|_| ExchangeError::Random)?;
    let bytes = key.expose_bytes();
    let block = tr31::seal(zmk.algorithm(), zmk.expose_bytes(), &header, bytes, &pad);
    // Header, hex and hex: ASCII.
    Ok(String::from_utf8_lossy(&block.map_err(in_block)?).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hsm::tr31::Tr31Error;

    fn clear(name: &str, key_type: KeyType, algorithm: Algorithm, hex: &str) -> ClearKey {
        let bytes = Zeroizing::new(hex::decode(hex).unwrap());
        ClearKey::new(name, key_type, algorithm, bytes, TestKeys::Allowed).unwrap()
    }

    fn tdes_zmk() -> ClearKey {
        clear("zmk.a", KeyType::Zmk, Algorithm::Tdes, "EFE0853B256B583D868F251CE99EA1D9")
    }

    fn aes_zmk() -> ClearKey {
        clear("zmk.b", KeyType::Zmk, Algorithm::Aes, &"41".repeat(32))
    }

    const DOUBLE: &str = "5DB50B454F8389ADCE573BE50861F2BF";

    /// Every type that is shared, in each algorithm it has, under each key that is strong enough: out, and in again.
    #[test]
    fn there_and_back() {
        let aes = "AF8CB133A78F8DC2D1359F18527593FB".repeat(2);
        let triple = format!("{DOUBLE}0123456789ABCDEF");
        let keys = [
            clear("k", KeyType::Zpk, Algorithm::Tdes, DOUBLE),
            clear("k", KeyType::Zpk, Algorithm::Tdes, &triple),
            clear("k", KeyType::Zpk, Algorithm::Aes, &aes),
            clear("k", KeyType::Zak, Algorithm::Tdes, DOUBLE),
            clear("k", KeyType::Zak, Algorithm::Aes, &aes),
            clear("k", KeyType::Pvk, Algorithm::Tdes, DOUBLE),
            clear("k", KeyType::Bdk, Algorithm::Tdes, DOUBLE),
            clear("k", KeyType::Bdk, Algorithm::Aes, &aes[..32]),
            clear("k", KeyType::MkAc, Algorithm::Tdes, DOUBLE),
            clear("k", KeyType::MkSmc, Algorithm::Tdes, DOUBLE),
            clear("k", KeyType::MkSmi, Algorithm::Tdes, DOUBLE),
            clear("k", KeyType::Signature, Algorithm::Hmac, &aes),
        ];
        for key in &keys {
            for zmk in [tdes_zmk(), aes_zmk()] {
                for final_copy in [false, true] {
                    let how = Wrapping { final_copy, ..Wrapping::default() };
                    let Ok(block) = wrap_block(&zmk, key, how) else {
                        let strong = zmk.algorithm() == Algorithm::Aes;
                        let weak = key.algorithm() == Algorithm::Tdes && key.bits() == 128;
                        assert!(!strong && !weak, "{key:?} under {zmk:?}");
                        continue;
                    };
                    let open = |key_type, stated| {
                        unwrap_block(
                            &zmk,
                            "k",
                            key_type,
                            block.as_bytes(),
                            stated,
                            TestKeys::Allowed,
                        )
                    };
                    let back = open(key.key_type(), Some(key.check_value())).unwrap();
                    assert_eq!(back.expose_bytes(), key.expose_bytes(), "{key:?}");
                    assert_eq!(back.mac_method(), key.mac_method());
                    assert_eq!(back.is_exportable(), !final_copy);
                    let wrong = open(key.key_type(), Some([1, 2, 3])).unwrap_err();
                    assert!(matches!(wrong, ExchangeError::CheckValue { .. }));
                    // As no other type.
                    for (other, _) in crate::hsm::key::TYPE_NAMES {
                        if *other != key.key_type() {
                            let refused = open(*other, None).unwrap_err();
                            assert!(matches!(refused, ExchangeError::Use { .. }), "{refused}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_leave() {
        #[track_caller]
        fn check(zmk: &ClearKey, key: &ClearKey, how: Wrapping, want: &str) {
            let got = wrap_block(zmk, key, how).unwrap_err().to_string();
            assert!(got.contains(want), "{got}");
        }
        let usual = Wrapping::default();
        let zpk = clear("zpk", KeyType::Zpk, Algorithm::Tdes, DOUBLE);
        let bound = Terms { never_exported: true, mac: None };
        check(&aes_zmk(), &aes_zmk(), usual, "never leaves");
        let never = clear("zpk", KeyType::Zpk, Algorithm::Tdes, DOUBLE).with_terms(bound).unwrap();
        check(&tdes_zmk(), &never, usual, "never leaves");
        check(&zpk, &zpk, usual, "only a ZMK wraps");
        let aes = clear("zpk", KeyType::Zpk, Algorithm::Aes, DOUBLE);
        check(&tdes_zmk(), &aes, usual, "stronger");
        let usage = |usage| Wrapping { usage: Some(usage), ..usual };
        check(&tdes_zmk(), &zpk, usage(*b"K0"), "no use for a ZPK");
        let zak = clear("zak", KeyType::Zak, Algorithm::Tdes, DOUBLE);
        check(&tdes_zmk(), &zak, usage(*b"M6"), "no use for a ZAK");
        let version = Wrapping { version: Some(Version::D), ..usual };
        check(&tdes_zmk(), &zpk, version, "version D");
    }

    /// What the header says goes by the standard: a key that may only encrypt is none for both ways.
    #[test]
    fn uses_that_are_refused() {
        let zmk = tdes_zmk();
        let take = |usage: &[u8; 2], algorithm, mode, key_type| {
            let header = Header::new(Version::B, *usage, algorithm, mode, b'E').unwrap();
            let bytes = hex::decode(DOUBLE).unwrap();
            let block = tr31::seal(Algorithm::Tdes, zmk.expose_bytes(), &header, &bytes, &[1; 16]);
            unwrap_block(&zmk, "k", key_type, &block.unwrap(), None, TestKeys::Allowed)
        };
        assert!(take(b"P0", b'T', b'B', KeyType::Zpk).is_ok());
        assert!(take(b"P0", b'T', b'N', KeyType::Zpk).is_ok());
        assert!(take(b"V1", b'T', b'C', KeyType::Pvk).is_ok());
        for (usage, algorithm, mode, key_type) in [
            (b"P0", b'T', b'E', KeyType::Zpk),
            (b"P0", b'T', b'D', KeyType::Zpk),
            (b"D0", b'T', b'B', KeyType::Zpk),
            (b"P0", b'D', b'B', KeyType::Zpk),
            (b"M1", b'T', b'C', KeyType::Zak),
            (b"M3", b'T', b'G', KeyType::Zak),
            (b"B1", b'T', b'X', KeyType::Bdk),
            (b"K0", b'T', b'E', KeyType::Zmk),
            (b"P0", b'T', b'B', KeyType::PanSeal),
            (b"E1", b'T', b'X', KeyType::MkSmi),
            (b"E4", b'T', b'X', KeyType::MkAc),
            (b"E2", b'T', b'B', KeyType::MkSmi),
        ] {
            let got = take(usage, algorithm, mode, key_type).unwrap_err();
            assert!(matches!(got, ExchangeError::Use { .. }), "{got}");
        }
        // AES with the retail MAC, and a key of the wrong length: the rules of every key.
        assert!(take(b"M3", b'A', b'C', KeyType::Zak).is_err());
        assert!(take(b"M7", b'H', b'C', KeyType::Signature).is_err());
        let other = unwrap_block(&zmk, "k", KeyType::Zpk, b"B0080", None, TestKeys::Allowed);
        let source = Tr31Error::Length { stated: 16, actual: 5 };
        assert_eq!(other.err(), Some(ExchangeError::Block { name: "k".into(), source }));
    }

    proptest! {
        #[test]
        fn any_block_is_survived(text in prop::collection::vec(any::<u8>(), 0..160)) {
            for zmk in [tdes_zmk(), aes_zmk()] {
                let got = unwrap_block(&zmk, "k", KeyType::Zpk, &text, None, TestKeys::Allowed);
                prop_assert!(got.is_err());
            }
        }
    }
}
