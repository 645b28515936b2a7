//! PINs that come clear or RSA-encrypted, are drawn, and are shown. Ciphertexts are those of the Python package
//! cryptography (`tests/vectors/make_rsa.py`).

use proptest::prelude::*;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::pin::{BlockFormat, Method, PinRules, PresentedPin, Reference, RsaPadding};
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::SoftHsm;
use crate::hsm::soft::tests::{
    PLAIN, account, any_rules, clock, demo, demo_keys, now, pvv, sample, secret, visa,
};
use crate::hsm::{Hsm, HsmError, Verdict};

fn padding(label: &str) -> RsaPadding {
    match label {
        "oaep-sha1" => RsaPadding::OaepSha1,
        "oaep-sha256" => RsaPadding::OaepSha256,
        "pkcs1-v1_5" => RsaPadding::Pkcs1v15,
        other => panic!("{other}"),
    }
}

/// Every good ciphertext gives its PIN, every other one the same error: wrong length, no number below the modulus,
/// another padding, another key, a changed bit, a content that is no PIN.
#[test]
fn rsa_ciphertexts_of_another_program() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/rsa.json")).unwrap();
    let pair = |(name, key): (&String, &Value)| {
        let pkcs8 = secret(key["pkcs8"].as_str().unwrap());
        ClearKey::new(name, KeyType::Rsa, Algorithm::Rsa, pkcs8, TestKeys::Allowed).unwrap()
    };
    let pairs = vectors["keys"].as_object().unwrap().iter().map(pair);
    let hsm = SoftHsm::from_clear(demo_keys().into_iter().chain(pairs), &Lmk::demo(), clock());
    let hsm = hsm.unwrap();
    let account = account(PLAIN);
    let (mut opened, mut refused) = (0, 0);
    for case in vectors["cases"].as_array().unwrap() {
        let text = |field: &str| case[field].as_str().unwrap();
        let key = hsm.key(text("key")).unwrap();
        let cipher = hex::decode(text("cipher")).unwrap();
        let got = now(hsm.decrypt_pin(key, &cipher, padding(text("padding")), &account));
        if let Some(pin) = case["pin"].as_str() {
            let shown = now(hsm.reveal(&got.unwrap(), &account)).unwrap();
            assert_eq!(&shown[..], pin.as_bytes());
            opened += 1;
        } else {
            assert_eq!(got, Err(HsmError::NoPinInBlock), "{}", text("why"));
            refused += 1;
        }
    }
    assert_eq!((opened, refused), (63, 162));
    let zpk = hsm.key("zpk.atm").unwrap();
    let got = now(hsm.decrypt_pin(zpk, &[0; 256], RsaPadding::OaepSha256, &account));
    assert_eq!(got, Err(HsmError::KeyUnusable));
}

#[test]
fn a_clear_pin_is_taken_in_and_verified() {
    let hsm = demo();
    let account = account(PLAIN);
    let take = |digits: &[u8]| now(hsm.encrypt_pin(Zeroizing::new(digits.to_vec()), &account));
    let check = |digits: &[u8]| {
        let pin = take(digits).unwrap().into();
        now(hsm.verify(&pin, &account, &visa(&hsm), &pvv("8034"))).unwrap()
    };
    assert_eq!(check(b"1234"), Verdict::Right);
    assert_eq!(check(b"1235"), Verdict::Wrong);
    for bad in [&b"123"[..], b"1234567890123", b"12a4", b""] {
        assert_eq!(take(bad), Err(HsmError::NewPinUnacceptable));
    }
}

#[test]
fn a_set_may_not_keep_the_pin() {
    let hsm = demo();
    let (account, method) = (account(PLAIN), visa(&hsm));
    let (current, new) = sample(&hsm);
    let [current, new] = [current, new].map(PresentedPin::Zone);
    let rules = PinRules { not_the_current: true, ..any_rules() };
    let derive = |pin, had: Reference| now(hsm.derive(pin, &account, &method, &rules, &had));
    assert_eq!(derive(&current, pvv("8034")), Err(HsmError::NewPinUnacceptable));
    assert_eq!(derive(&new, pvv("8034")), Ok(pvv("3128")));
    assert_eq!(derive(&current, Reference::None), Ok(pvv("8034")));
    let kept = now(hsm.derive(&current, &account, &method, &any_rules(), &pvv("8034")));
    assert_eq!(kept, Ok(pvv("8034")), "without the rule it may");
}

#[test]
fn drawn_pins_meet_the_rules() {
    let hsm = demo();
    let account = account(PLAIN);
    let strict = PinRules {
        lengths: 1 << 4 | 1 << 6,
        not_one_digit_repeated: true,
        not_a_run: true,
        ..PinRules::default()
    };
    let mut seen = std::collections::HashSet::new();
    let mut counts = [0_u32; 10];
    for _ in 0..2000 {
        let pin = now(hsm.random_pin(&account, 4, &strict)).unwrap();
        let digits = now(hsm.reveal(&pin, &account)).unwrap();
        assert_eq!(digits.len(), 4);
        assert!(digits.windows(2).any(|w| w[0] != w[1]));
        digits.iter().for_each(|digit| counts[usize::from(digit - b'0')] += 1);
        seen.insert(digits.to_vec());
    }
    // 2000 of 10,000 give about 1813 different ones, and each digit 800 times (standard deviation 27).
    assert!(1700 < seen.len(), "{}", seen.len());
    assert!(counts.iter().all(|count| (600..1000).contains(count)), "{counts:?}");
    let six = now(hsm.random_pin(&account, 6, &strict)).unwrap();
    assert_eq!(now(hsm.reveal(&six, &account)).unwrap().len(), 6);
    for digits in [0, 3, 5, 13, 255] {
        let got = now(hsm.random_pin(&account, digits, &strict));
        assert_eq!(got, Err(HsmError::NewPinUnacceptable), "{digits}");
    }
    let every = (0..10_000).map(|pin| format!("{pin:04}").into_bytes().into()).collect();
    let nothing = PinRules { refused: every, ..strict };
    let got = now(hsm.random_pin(&account, 4, &nothing));
    assert_eq!(got, Err(HsmError::NewPinUnacceptable), "draws are bounded");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A PIN goes out under a zone key and comes in again as the same PIN; never in a block bound to no account.
    #[test]
    fn out_and_in_again(digits in "[0-9]{4,12}", pan in "[0-9]{13,19}", other in "[0-9]{16}") {
        let hsm = demo();
        let account = account(&pan);
        let pin = now(hsm.encrypt_pin(Zeroizing::new(digits.clone().into_bytes()), &account)).unwrap();
        let shown = now(hsm.reveal(&pin, &account)).unwrap();
        prop_assert_eq!(&shown[..], digits.as_bytes());
        let (atm, aes) = (hsm.key("zpk.atm").unwrap(), hsm.key("zpk.aes256").unwrap());
        for (key, format) in [(atm, BlockFormat::Iso0), (atm, BlockFormat::Iso3), (aes, BlockFormat::Iso4)] {
            let block = now(hsm.from_lmk(&pin, key, format, &account)).unwrap();
            let back = now(hsm.to_lmk(&block, &account)).unwrap();
            let shown = now(hsm.reveal(&back, &account)).unwrap();
            prop_assert_eq!(&shown[..], digits.as_bytes());
            let same = now(hsm.verify(&block.into(), &account, &Method::LmkPin, &Reference::Lmk(back)));
            prop_assert_eq!(same, Ok(Verdict::Right));
        }
        let free = now(hsm.from_lmk(&pin, atm, BlockFormat::Iso1, &account));
        prop_assert_eq!(free, Err(HsmError::TranslationForbidden));
        if other != pan {
            let stranger = crate::hsm::soft::tests::account(&other);
            prop_assert_eq!(now(hsm.reveal(&pin, &stranger)).map(|_| ()), Err(HsmError::StoredPinCorrupt));
        }
    }
}
