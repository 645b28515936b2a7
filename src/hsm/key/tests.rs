//! Check values, parity and the refusals, by vectors of standards and manuals.

use zeroize::Zeroizing;

use crate::hsm::key::{
    Algorithm, ClearKey, KeyError, KeyType, TestKeys, check_name, check_value, set_odd_parity,
};

fn make(
    key_type: KeyType,
    algorithm: Algorithm,
    hex: &str,
    test_keys: TestKeys,
) -> Result<ClearKey, KeyError> {
    let bytes = Zeroizing::new(hex::decode(hex).unwrap());
    ClearKey::new("zpk.x", key_type, algorithm, bytes, test_keys)
}

/// Triple DES: `tests/vectors` and openemv/tr31. AES: the CMAC of the Python package cryptography.
#[test]
fn check_values() {
    #[track_caller]
    fn check(algorithm: Algorithm, key: &str, want: &str) {
        let got = check_value(algorithm, &hex::decode(key).unwrap());
        assert_eq!(hex::encode_upper(got), want, "{key}");
    }
    check(Algorithm::Tdes, "0123456789ABCDEFFEDCBA9876543210", "08D7B4");
    check(Algorithm::Tdes, "C7152C20BC2C830EA7EC9E8334ABE3FE", "6F1E3F");
    check(Algorithm::Tdes, "5DB50B454F8389ADCE573BE50861F2BF", "5C9405");
    check(Algorithm::Tdes, "1FA1F7CEC798D91545DA8AE0C7796BD9", "FF5087");
    check(Algorithm::Aes, "2B7E151628AED2A6ABF7158809CF4F3C", "7AD386");
    check(Algorithm::Aes, "AF8CB133A78F8DC2D1359F18527593FB", "98964F");
    check(Algorithm::Aes, "000102030405060708090A0B0C0D0E0F1011121314151617", "D4FFB8");
    let long = "8C1AB7BEE973829E30242E0BBBDD4946D540C98FC1B5BDCF94790001A23FD502";
    check(Algorithm::Aes, long, "4817F1");
    check(Algorithm::Aes, "00", "000000");
}

#[test]
fn what_no_key_file_takes() {
    #[track_caller]
    fn check(got: Result<ClearKey, KeyError>, want: Result<(), KeyError>) {
        assert_eq!(got.err(), want.err());
    }
    use Algorithm::{Aes, Hmac, Tdes};
    use KeyType::{PanHash, PanSeal, Pvk, Zpk};
    use TestKeys::{Allowed, Refused};
    let name: Box<str> = "zpk.x".into();
    let sample = "0123456789ABCDEFFEDCBA9876543210";
    check(make(Zpk, Tdes, sample, Allowed), Ok(()));
    check(make(Zpk, Tdes, sample, Refused), Err(KeyError::Published { name: name.clone() }));
    // Without its parity bits it is the same key.
    let stripped = "0022446688AACCEEFEDCBA9876543210";
    check(make(Zpk, Aes, stripped, Refused), Err(KeyError::Published { name: name.clone() }));
    let even = "0023456789ABCDEFFEDCBA9876543210";
    check(make(Zpk, Tdes, even, Allowed), Err(KeyError::Parity { name: name.clone(), byte: 1 }));
    let zeros = "00".repeat(16);
    check(make(Zpk, Tdes, &zeros, Allowed), Err(KeyError::AllZero { name: name.clone() }));
    check(make(Zpk, Aes, &zeros, Allowed), Err(KeyError::AllZero { name: name.clone() }));
    let halves = "0123456789ABCDEF".repeat(2);
    check(
        make(Zpk, Tdes, &halves, Allowed),
        Err(KeyError::EqualParts { name: name.clone(), part: 2 }),
    );
    let thirds = "FEDCBA98765432100123456789ABCDEF0123456789ABCDEF";
    check(
        make(Zpk, Tdes, thirds, Allowed),
        Err(KeyError::EqualParts { name: name.clone(), part: 3 }),
    );
    check(
        make(Zpk, Tdes, "0123456789ABCDEF", Allowed),
        Err(KeyError::Length { name: name.clone(), algorithm: Tdes, bytes: 8 }),
    );
    check(
        make(PanHash, Hmac, sample, Allowed),
        Err(KeyError::Length { name: name.clone(), algorithm: Hmac, bytes: 16 }),
    );
    check(
        make(Pvk, Aes, sample, Allowed),
        Err(KeyError::Algorithm { name: name.clone(), key_type: Pvk, algorithm: Aes }),
    );
    check(
        make(PanSeal, Aes, sample, Allowed),
        Err(KeyError::Length { name, algorithm: Aes, bytes: 16 }),
    );
}

#[test]
fn errors_say_which_key_and_what_to_do() {
    let published =
        make(KeyType::Zpk, Algorithm::Tdes, "0123456789ABCDEFFEDCBA9876543210", TestKeys::Refused);
    let text = published.unwrap_err().to_string();
    assert!(text.contains("zpk.x") && text.contains("pinion keys generate"), "{text}");
    assert!(!text.contains("0123"), "{text}");
    let key =
        make(KeyType::Zpk, Algorithm::Tdes, "0123456789ABCDEFFEDCBA9876543210", TestKeys::Allowed);
    assert_eq!(format!("{:?}", key.unwrap()), "ClearKey(zpk.x ZPK TDES, ****)");
}

/// Every key of the demo world is recognised.
#[test]
fn demo_keys_are_refused() {
    let world = include_str!("../../../tests/vectors/world.json");
    let world: serde_json::Value = serde_json::from_str(world).unwrap();
    for (name, entry) in world["keys"].as_object().unwrap() {
        let got = make(
            KeyType::Zpk,
            Algorithm::Tdes,
            entry["clear"].as_str().unwrap(),
            TestKeys::Refused,
        );
        assert!(matches!(got, Err(KeyError::Published { .. })), "{name}");
    }
}

#[test]
fn parity_changes_the_lowest_bit_only() {
    let mut all: Vec<u8> = (0..=255).collect();
    set_odd_parity(&mut all);
    for (before, after) in (0..=255_u8).zip(all) {
        assert_eq!(after.count_ones() % 2, 1);
        assert_eq!(before | 1, after | 1);
    }
}

#[test]
fn names() {
    for right in ["zpk.atm", "a", "pan-hash", "k_1"] {
        assert_eq!(check_name(right), Ok(()), "{right}");
    }
    let long = "a".repeat(65);
    for wrong in ["", "1a", "ZPK", "a b", "a\"b", "a\nb", ".a", &long] {
        assert!(check_name(wrong).is_err(), "{wrong:?}");
    }
}
