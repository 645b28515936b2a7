//! The commands against the demo world (computed by psec) and the payShield vectors, and what must be refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::clock::{Clock, Now, WallMillis};
use crate::domain::pan::{Account12, Pan, SealedPan};
use crate::domain::pin::{BlockFormat, KeyId, Method, PinRules, PresentedPin, Reference, ZonePin};
use crate::domain::vault::{Vault, VaultError};
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::{MethodError, SoftHsm, ThrottleLimit};
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, Verdict};
use crate::pin::ibm3624::Ibm3624Error;

mod doors;
mod dukpt;
mod exchange;
mod files;
mod payshield;
mod script;
mod usage;

/// A clock the test turns.
#[derive(Default)]
struct Turned(AtomicU64);

impl Clock for Turned {
    fn now(&self) -> Now {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::Relaxed) * 1000)
    }
    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(Turned::default())
}

fn now<T>(ready: impl Future<Output = T>) -> T {
    ready.now_or_never().expect("every command of the software HSM is ready at once")
}

fn secret(hex: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hex::decode(hex).unwrap())
}

fn world() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/world.json")).unwrap()
}

fn key(name: &str, key_type: KeyType, algorithm: Algorithm, hex: &str) -> ClearKey {
    ClearKey::new(name, key_type, algorithm, secret(hex), TestKeys::Allowed).unwrap()
}

/// The demo world's keys, and two AES zone keys.
fn demo_keys() -> Vec<ClearKey> {
    let world = world();
    let aes = "AF8CB133A78F8DC2D1359F18527593FB";
    let mut keys = vec![
        key("zpk.aes", KeyType::Zpk, Algorithm::Aes, aes),
        key("zpk.aes256", KeyType::Zpk, Algorithm::Aes, &aes.repeat(2)),
    ];
    for (name, entry) in world["keys"].as_object().unwrap() {
        let key_type = entry["type"].as_str().unwrap().parse().unwrap();
        keys.push(key(name, key_type, Algorithm::Tdes, entry["clear"].as_str().unwrap()));
    }
    keys
}

fn demo() -> SoftHsm {
    SoftHsm::from_clear(demo_keys(), &Lmk::demo(), clock()).unwrap()
}

fn account(pan: &str) -> Account12 {
    Pan::parse(pan.as_bytes()).unwrap().account12()
}

const PLAIN: &str = "4761739001010010";

fn block(hsm: &SoftHsm, key: &str, format: BlockFormat, hex: &str) -> ZonePin {
    ZonePin::new(&hex::decode(hex).unwrap(), format, hsm.key(key).unwrap()).unwrap()
}

fn sample(hsm: &SoftHsm) -> (ZonePin, ZonePin) {
    let iso_0 = |hex| block(hsm, "zpk.atm", BlockFormat::Iso0, hex);
    (iso_0("6773584E4C616F77"), iso_0("09AC44C7E013D0A9"))
}

fn visa(hsm: &SoftHsm) -> Method {
    Method::VisaPvv { pvk: hsm.key("pvk.visa").unwrap(), pvki: b'1' }
}

fn ibm(hsm: &SoftHsm) -> Method {
    Method::Ibm3624 {
        pvk: hsm.key("pvk.ibm").unwrap(),
        decimalization_table: *b"0123456789012345",
        validation_start: 3,
        validation_length: 12,
        validation_pad: b'F',
    }
}

fn any_rules() -> PinRules {
    PinRules { lengths: 0b1_1111_1111_0000, ..PinRules::default() }
}

fn offset(digits: &str) -> Reference {
    let mut values = [0; 12];
    for (to, ascii) in values.iter_mut().zip(digits.bytes()) {
        *to = ascii - b'0';
    }
    Reference::Offset { digits: values, len: u8::try_from(digits.len()).unwrap() }
}

fn pvv(digits: &str) -> Reference {
    Reference::Pvv(digits.as_bytes().try_into().unwrap())
}

fn change(
    hsm: &SoftHsm,
    current: &ZonePin,
    new: &PresentedPin,
    reference: &Reference,
    rules: &PinRules,
) -> Result<ChangeVerdict, HsmError> {
    let account = account(PLAIN);
    let method = visa(hsm);
    let current = &PresentedPin::Zone(*current);
    let change = Change { current, new, account: &account, method: &method, reference, rules };
    now(hsm.verify_and_derive(&change))
}

#[test]
fn check_values_of_the_demo_world() {
    let hsm = demo();
    for (name, entry) in world()["keys"].as_object().unwrap() {
        let id = hsm.key(name).unwrap();
        let value = now(hsm.check_value(id)).unwrap();
        assert_eq!(hex::encode_upper(value), *entry["kcv"].as_str().unwrap(), "{name}");
    }
    assert_eq!(now(hsm.check_value(KeyId(999))), Err(HsmError::KeyUnknown));
    assert!(hsm.key("zpk.nobody").is_none());
}

/// Each sample is a whole change: new block to the LMK, current verified, new reference made.
#[test]
fn changes_of_the_demo_world() {
    let hsm = demo();
    let world = world();
    for sample in world["pin_block_samples"].as_array().unwrap() {
        let of = |name: &str| sample[name].as_str().unwrap();
        let account = account(of("pan"));
        let iso_0 = |name| block(&hsm, of("zpk"), BlockFormat::Iso0, of(name));
        let card = world["cards"].as_array().unwrap();
        let card = card.iter().find(|card| card["pan"] == sample["pan"]).unwrap();
        let want = &sample["new_reference"];
        let (method, had, want) = match want.get("pvv").and_then(Value::as_str) {
            Some(want) => (visa(&hsm), pvv(card["pvv"].as_str().unwrap()), pvv(want)),
            None => (
                ibm(&hsm),
                offset(card["offset"].as_str().unwrap()),
                offset(want["offset"].as_str().unwrap()),
            ),
        };
        let new = iso_0("new_block").into();
        let change = Change {
            current: &iso_0("current_block").into(),
            new: &new,
            account: &account,
            method: &method,
            reference: &had,
            rules: &any_rules(),
        };
        assert_eq!(now(hsm.verify_and_derive(&change)), Ok(ChangeVerdict::Right(want)));
        let derived = now(hsm.derive(&new, &account, &method, &any_rules(), &Reference::None));
        assert_eq!(derived, Ok(want));
        let verified = now(hsm.verify(change.current, &account, &method, &want));
        assert_eq!(verified, Ok(Verdict::Wrong), "the current PIN against the new reference");
    }
}

#[test]
fn the_verdict_on_the_current_pin_comes_first() {
    let hsm = demo();
    let (current, new) = sample(&hsm);
    let (new, same) = (PresentedPin::Zone(new), PresentedPin::Zone(current));
    let none = PinRules::default();
    let not_the_current = PinRules { not_the_current: true, ..any_rules() };
    let right = pvv("8034");
    let unacceptable = Ok(ChangeVerdict::RightButUnacceptable);
    assert_eq!(change(&hsm, &current, &new, &right, &none), unacceptable);
    assert_eq!(change(&hsm, &current, &new, &pvv("8035"), &none), Ok(ChangeVerdict::Wrong));
    assert_eq!(change(&hsm, &current, &same, &right, &not_the_current), unacceptable);
    assert_eq!(
        change(&hsm, &current, &same, &right, &any_rules()),
        Ok(ChangeVerdict::Right(right))
    );
    let empty = block(&hsm, "zpk.atm", BlockFormat::Iso0, "0000000000000000").into();
    for reference in [right, pvv("8035")] {
        let no_pin = Err(HsmError::NoPinInBlock);
        assert_eq!(change(&hsm, &current, &empty, &reference, &none), no_pin, "costs no try");
    }
    assert_eq!(change(&hsm, &current, &new, &Reference::None, &none), Ok(ChangeVerdict::Wrong));
    assert_eq!(
        change(&hsm, &current, &new, &offset("1234"), &none),
        Err(HsmError::StoredPinCorrupt)
    );
}

#[test]
fn comparison_with_the_pin_under_the_lmk() {
    let hsm = demo();
    let account = account(PLAIN);
    let (current, other) = sample(&hsm);
    let digits = Zeroizing::new(b"1234".to_vec());
    let stored = Reference::Lmk(now(hsm.encrypt_pin(digits, &account)).unwrap());
    let check = |pin: &ZonePin| now(hsm.verify(&(*pin).into(), &account, &Method::LmkPin, &stored));
    assert_eq!(check(&current), Ok(Verdict::Right));
    assert_eq!(check(&other), Ok(Verdict::Wrong));
    for refused in ["123", "1234567890123", "12x4", ""] {
        let digits = Zeroizing::new(refused.as_bytes().to_vec());
        let got = now(hsm.encrypt_pin(digits, &account));
        assert_eq!(got, Err(HsmError::NewPinUnacceptable), "{refused:?}");
    }
}

#[test]
fn a_key_serves_its_own_type_and_format_only() {
    let hsm = demo();
    let account = account(PLAIN);
    let use_as_zone_key = |name: &str, format: BlockFormat| {
        let hex = "00".repeat(format.block_bytes());
        now(hsm.to_lmk(&block(&hsm, name, format, &hex), &account)).unwrap_err()
    };
    assert_eq!(use_as_zone_key("pvk.visa", BlockFormat::Iso0), HsmError::KeyUnusable);
    assert_eq!(use_as_zone_key("zak.acquirer", BlockFormat::Iso0), HsmError::KeyUnusable);
    assert_eq!(use_as_zone_key("zpk.atm", BlockFormat::Iso4), HsmError::KeyUnusable);
    assert_eq!(use_as_zone_key("zpk.aes", BlockFormat::Iso0), HsmError::KeyUnusable);
    assert_eq!(use_as_zone_key("zpk.atm", BlockFormat::Iso0), HsmError::NoPinInBlock);
    assert_eq!(use_as_zone_key("zpk.aes", BlockFormat::Iso4), HsmError::NoPinInBlock);
    let (current, _) = sample(&hsm);
    let method = Method::VisaPvv { pvk: hsm.key("zpk.atm").unwrap(), pvki: b'1' };
    let got = now(hsm.verify(&current.into(), &account, &method, &pvv("8034")));
    assert_eq!(got, Err(HsmError::KeyUnusable));
    assert_eq!(now(hsm.mac(hsm.key("zpk.atm").unwrap(), b"x")), Err(HsmError::KeyUnusable));
    assert_eq!(now(hsm.mac(KeyId(999), b"x")), Err(HsmError::KeyUnknown));
}

#[test]
fn methods_are_checked_when_configured() {
    #[track_caller]
    fn check(hsm: &SoftHsm, change: impl FnOnce(&mut Method), want: Result<&(), &MethodError>) {
        let mut method = ibm(hsm);
        change(&mut method);
        assert_eq!(hsm.check_method(&method).as_ref(), want);
    }
    let hsm = demo();
    let atm = hsm.key("zpk.atm").unwrap();
    assert_eq!(hsm.check_method(&visa(&hsm)), Ok(()));
    assert_eq!(hsm.check_method(&Method::LmkPin), Ok(()));
    check(&hsm, |_| (), Ok(&()));
    let unusable = MethodError::KeyUnusable { name: "zpk.atm".into() };
    check(&hsm, |m| *m = Method::VisaPvv { pvk: atm, pvki: b'1' }, Err(&unusable));
    let unknown = Method::VisaPvv { pvk: KeyId(999), pvki: b'1' };
    check(&hsm, |m| *m = unknown, Err(&MethodError::KeyUnknown));
    let no_index = Method::VisaPvv { pvk: atm, pvki: 1 };
    check(&hsm, |m| *m = no_index, Err(&MethodError::Pvki));
    let lopsided = |m: &mut Method| {
        if let Method::Ibm3624 { decimalization_table, .. } = m {
            *decimalization_table = [b'0'; 16];
        }
    };
    check(&hsm, lopsided, Err(&Ibm3624Error::TableLopsided.into()));
    let beyond = |m: &mut Method| {
        if let Method::Ibm3624 { validation_start, .. } = m {
            *validation_start = 8;
        }
    };
    check(&hsm, beyond, Err(&Ibm3624Error::ValidationRange.into()));
}

/// PCI PIN 3-3, all sixteen pairs: rows from, columns to formats 0, 1, 3, 4.
#[test]
fn formats_that_may_become_others() {
    use BlockFormat::{Iso0, Iso1, Iso3, Iso4};
    const FORMATS: [BlockFormat; 4] = [Iso0, Iso1, Iso3, Iso4];
    let table = FORMATS.map(|from| FORMATS.map(|to| u8::from(from.may_become(to))));
    assert_eq!(table, [[1, 0, 1, 1], [1, 1, 1, 1], [1, 0, 1, 1], [1, 0, 1, 1]]);
    let hsm = demo();
    let (current, _) = sample(&hsm);
    let got = now(hsm.translate(&current, current.key(), Iso1, &account(PLAIN)));
    assert_eq!(got, Err(HsmError::TranslationForbidden));
}

/// ISO 9564-1 format 4 of openemv/pinblock and the AES DUKPT tables: random half 2F69ADDE2E9E7ACE.
#[test]
fn format_4_of_public_vectors() {
    let hsm = demo();
    let account = account("4111111111111111");
    let given = block(&hsm, "zpk.aes", BlockFormat::Iso4, "A912150391AB65A67E52883D81CE2D15");
    let pin = now(hsm.to_lmk(&given, &account)).unwrap();
    let want = now(hsm.encrypt_pin(Zeroizing::new(b"1234".to_vec()), &account)).unwrap();
    let check = |stored| now(hsm.verify(&given.into(), &account, &Method::LmkPin, &stored));
    assert_eq!(check(Reference::Lmk(pin)), Ok(Verdict::Right));
    assert_eq!(check(Reference::Lmk(want)), Ok(Verdict::Right));
    let other = self::account("4111111111111129");
    assert_eq!(now(hsm.to_lmk(&given, &other)), Err(HsmError::NoPinInBlock));
}

/// Guesses are counted an account at a time, in windows, and never hold another account back.
#[test]
fn guessing_is_held_back() {
    let turned = Arc::new(Turned::default());
    let clock: Arc<dyn Clock> = Arc::<Turned>::clone(&turned);
    let hsm = SoftHsm::from_clear(demo_keys(), &Lmk::demo(), clock).unwrap();
    let limit = ThrottleLimit { wrong: 3, window: Duration::from_mins(1) };
    let hsm = hsm.with_throttle(limit).unwrap();
    let (current, _) = sample(&hsm);
    let (account, method) = (account(PLAIN), visa(&hsm));
    let check = |reference| now(hsm.verify(&current.into(), &account, &method, &pvv(reference)));
    for _ in 0..3 {
        assert_eq!(check("0000"), Ok(Verdict::Wrong));
    }
    assert_eq!(check("0000"), Err(HsmError::Throttled));
    assert_eq!(check("8034"), Err(HsmError::Throttled), "the right PIN is not told either");
    let other = self::account("5060990000000151002");
    let theirs = block(&hsm, "zpk.postilion", BlockFormat::Iso0, "D2EC1630723AE273");
    let got = now(hsm.verify(&theirs.into(), &other, &method, &pvv("5779")));
    assert_eq!(got, Ok(Verdict::Right));
    turned.0.store(61, Ordering::Relaxed);
    assert_eq!(check("8034"), Ok(Verdict::Right));
    assert_eq!(check("0000"), Ok(Verdict::Wrong));
}

/// X9.19 as published with a simulator's command M6, and how many bytes are compared.
#[test]
fn macs() {
    let tak = "7962D9ECE03D1ACD4C76089DCE131543";
    let keys = [key("zak", KeyType::Zak, Algorithm::Tdes, tak)];
    let hsm = SoftHsm::from_clear(keys, &Lmk::demo(), clock()).unwrap();
    let zak = hsm.key("zak").unwrap();
    let data = "72C29C2371CC9BDB65B779B8E8D37B29ECC154AA56A8799FAE2F498F76ED92F2";
    let data = hex::decode(data).unwrap();
    let mac = now(hsm.mac(zak, &data)).unwrap();
    assert_eq!(hex::encode_upper(mac), "AAE3F35132ED3465");
    // Padding 2 is padding 1 over the message with one bit more.
    let more = [&data[..], &[0x80]].concat();
    assert_eq!(hex::encode_upper(now(hsm.mac(zak, &more)).unwrap()), "5F1448EEA8AD90A7");
    let check = |expected: &[u8]| now(hsm.verify_mac(zak, &data, expected)).unwrap();
    for length in 4..=8 {
        assert_eq!(check(&mac[..length]), Verdict::Right);
    }
    assert_eq!(check(&mac[..3]), Verdict::Wrong);
    assert_eq!(check(&[]), Verdict::Wrong);
    assert_eq!(check(&[&mac[..], &[0]].concat()), Verdict::Wrong);
    assert_eq!(check(&[0; 8]), Verdict::Wrong);
}

/// HMAC-SHA-256 of RFC 4231 is the crate's business; here: stable, keyed, bound to every input.
#[test]
fn the_vault_is_keyed() {
    let (hsm, again) = (demo(), demo());
    let other = SoftHsm::from_clear(demo_keys(), &Lmk::generate().unwrap(), clock()).unwrap();
    let pan = Pan::parse(PLAIN.as_bytes()).unwrap();
    assert_eq!(hsm.pan_hash(&pan), again.pan_hash(&pan));
    assert_ne!(hsm.pan_hash(&pan), other.pan_hash(&pan));
    let sealed = hsm.seal_pan(&pan).unwrap();
    assert_eq!(again.open_pan(&sealed).unwrap(), pan);
    assert_ne!(hsm.seal_pan(&pan).unwrap(), sealed, "a fresh nonce each time");
    assert_eq!(other.open_pan(&sealed), Err(VaultError::Forged));
    let link = hsm.chain(&[0; 32], b"record");
    assert_eq!(link, again.chain(&[0; 32], b"record"));
    assert_ne!(link, hsm.chain(&[1; 32], b"record"));
    assert_ne!(link, hsm.chain(&[0; 32], b"recorD"));
    assert_ne!(link, other.chain(&[0; 32], b"record"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every pair of formats that may become each other, there and back.
    #[test]
    fn translation_keeps_the_pin(digits in "[0-9]{4,12}", pan in "[0-9]{13,19}") {
        let hsm = demo();
        let account = account(&pan);
        let sealed = now(hsm.encrypt_pin(Zeroizing::new(digits.into_bytes()), &account)).unwrap();
        let stored = Reference::Lmk(sealed);
        let atm = hsm.key("zpk.atm").unwrap();
        let aes = hsm.key("zpk.aes256").unwrap();
        let clear = hsm.open_lmk(&sealed, &account).unwrap();
        let start = hsm.make_block(&hsm.ring.load(), &clear, &account, atm, BlockFormat::Iso1).unwrap();
        let steps = [
            (atm, BlockFormat::Iso1),
            (aes, BlockFormat::Iso4),
            (atm, BlockFormat::Iso3),
            (aes, BlockFormat::Iso4),
            (atm, BlockFormat::Iso0),
        ];
        let mut at = start;
        for (key, format) in steps {
            at = now(hsm.translate(&at, key, format, &account)).unwrap();
            let got = now(hsm.verify(&at.into(), &account, &Method::LmkPin, &stored));
            prop_assert_eq!(got, Ok(Verdict::Right));
        }
    }

    /// Another account, or one changed bit, is noticed.
    #[test]
    fn a_pin_under_the_lmk_is_bound(
        digits in "[0-9]{4,12}",
        pan in "[0-9]{16}",
        other in "[0-9]{16}",
        bit in 0_usize..128,
    ) {
        prop_assume!(pan != other);
        let hsm = demo();
        let sealed = now(hsm.encrypt_pin(Zeroizing::new(digits.into_bytes()), &account(&pan))).unwrap();
        let derive = |pin, pan: &str| {
            now(hsm.derive(pin, &account(pan), &Method::LmkPin, &any_rules(), &Reference::None))
        };
        let presented = PresentedPin::Lmk(sealed);
        prop_assert_eq!(derive(&presented, &pan), Ok(Reference::Lmk(sealed)));
        prop_assert_eq!(derive(&presented, &other), Err(HsmError::StoredPinCorrupt));
        let mut changed = sealed;
        changed.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(derive(&changed.into(), &pan), Err(HsmError::StoredPinCorrupt));
    }

    #[test]
    fn any_block_is_answered(bytes in any::<[u8; 16]>(), pan in "[0-9]{13,19}", key in 0_u16..12) {
        use BlockFormat::{Iso0, Iso1, Iso3, Iso4};
        let hsm = demo();
        for format in [Iso0, Iso1, Iso3, Iso4] {
            let block = &bytes[..format.block_bytes()];
            let pin = ZonePin::new(block, format, KeyId(key)).unwrap();
            let _ = now(hsm.to_lmk(&pin, &account(&pan)));
        }
    }

    #[test]
    fn a_sealed_account_number_opens_unchanged_only(
        pan in "[0-9]{13,19}",
        bit in 0_usize..SealedPan::BYTES * 8,
    ) {
        let hsm = demo();
        let pan = Pan::parse(pan.as_bytes()).unwrap();
        let mut sealed = hsm.seal_pan(&pan).unwrap();
        prop_assert_eq!(hsm.open_pan(&sealed), Ok(pan));
        sealed.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(hsm.open_pan(&sealed), Err(VaultError::Forged));
    }
}
