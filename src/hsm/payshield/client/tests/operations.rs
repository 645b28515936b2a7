//! Every operation, once with the devices and once with the software module: they agree.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::domain::pin::{BlockFormat, LmkPin, Method, PinRules, PresentedPin, Reference, ZonePin};
use crate::hsm::key::{ClearKey, KeyType, TestKeys};
use crate::hsm::keyfile::KeyFile;
use crate::hsm::lmk::Lmk;
use crate::hsm::payshield::client::tests::bench::*;
use crate::hsm::payshield::client::{OpenError, PayShield, UnfitProduct};
use crate::hsm::payshield::simulator::Kind;
use crate::hsm::soft::SoftHsm;
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, ImportRefused, Verdict};

const LMKS: [Kind; 2] = [Kind::Variant, Kind::TdesBlock];
const FORMATS: [BlockFormat; 2] = [BlockFormat::Iso0, BlockFormat::Iso3];

fn rules(lengths: &[u8]) -> PinRules {
    PinRules {
        lengths: lengths.iter().fold(0, |bits, length| bits | 1 << length),
        not_one_digit_repeated: true,
        not_a_run: true,
        not_the_current: true,
        refused: vec![b"2580".as_slice().into()],
    }
}

fn lengths_only(lengths: &[u8]) -> PinRules {
    PinRules { lengths: rules(lengths).lengths, ..PinRules::default() }
}

/// What a module says of a change from one PIN to another. A reference of the PIN's own bytes is told by the PIN.
async fn change(
    hsm: &impl Hsm,
    method: &Method,
    reference: &Reference,
    (current, new): (PresentedPin, PresentedPin),
    rules: &PinRules,
) -> Result<ChangeVerdict, HsmError> {
    let account = &account();
    let change = Change { current: &current, new: &new, account, method, reference, rules };
    match hsm.verify_and_derive(&change).await? {
        ChangeVerdict::Right(Reference::Lmk(pin)) => {
            let clear = hsm.reveal(&pin, account).await?;
            let mut told = [0; 16];
            told[..clear.len()].copy_from_slice(&clear);
            Ok(ChangeVerdict::Right(Reference::Lmk(LmkPin(told))))
        }
        verdict => Ok(verdict),
    }
}

async fn reference(hsm: &impl Hsm, method: &Method, pin: &[u8]) -> Reference {
    let new = PresentedPin::Lmk(lmk_pin(hsm, pin).await);
    let any = lengths_only(&[4, 5, 6, 7, 8, 9, 10, 11, 12]);
    hsm.derive(&new, &account(), method, &any, &Reference::None).await.unwrap()
}

/// From 7268 to each of these: right and wrong current PINs, weak, long, short and equal new ones, by each method and
/// each way a PIN comes in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_as_the_software_module_has_them() {
    let soft = soft();
    for lmk in LMKS {
        let (client, _device) = one(lmk).await;
        let hsm = &client.hsm;
        let methods =
            [(visa(&soft), visa(hsm)), (ibm(&soft), ibm(hsm)), (Method::LmkPin, Method::LmkPin)];
        for (ours, theirs) in &methods {
            let stored = reference(&soft, ours, b"7268").await;
            let stored_there = reference(hsm, theirs, b"7268").await;
            if !matches!(stored, Reference::Lmk(_)) {
                assert_eq!(stored, stored_there);
            }
            for current in [&b"7268"[..], b"7269", b"72680"] {
                for new in [
                    &b"4915"[..],
                    b"1234",
                    b"5555",
                    b"2580",
                    b"7268",
                    b"491502",
                    b"49150",
                    b"123456789012",
                ] {
                    for rules in
                        [rules(&[4]), rules(&[4, 6]), rules(&[5, 12]), lengths_only(&[4, 5])]
                    {
                        for (from, to) in [
                            ("zpk.a", "zpk.a"),
                            ("zpk.a", "zpk.b"),
                            ("", "zpk.a"),
                            ("zpk.b", ""),
                            ("", ""),
                        ] {
                            let ours_in = pair(&soft, &soft, (current, from), (new, to)).await;
                            let theirs_in = pair(hsm, &soft, (current, from), (new, to)).await;
                            let want = change(&soft, ours, &stored, ours_in, &rules).await;
                            let got = change(hsm, theirs, &stored_there, theirs_in, &rules).await;
                            // The one thing a PVV cannot tell: a longer PIN that begins alike.
                            let same =
                                rules.not_the_current && want == Ok(ChangeVerdict::Right(stored));
                            let want =
                                if same { Ok(ChangeVerdict::RightButUnacceptable) } else { want };
                            let name = |pin: &[u8]| pin.escape_ascii().to_string();
                            assert_eq!(
                                got,
                                want,
                                "{lmk:?} {theirs:?} {} {from:?} to {} {to:?} {rules:?}",
                                name(current),
                                name(new)
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Both PINs as a module takes them: under a key, or without a key's name under its LMK.
async fn pair(
    hsm: &impl Hsm,
    soft: &SoftHsm,
    current: (&[u8], &str),
    new: (&[u8], &str),
) -> (PresentedPin, PresentedPin) {
    (presented(hsm, soft, current).await, presented(hsm, soft, new).await)
}

async fn presented(hsm: &impl Hsm, soft: &SoftHsm, (pin, key): (&[u8], &str)) -> PresentedPin {
    if key.is_empty() {
        return PresentedPin::Lmk(lmk_pin(hsm, pin).await);
    }
    let made = block(soft, pin, key, FORMATS[pin.len() % 2]).await;
    PresentedPin::Zone(as_of(hsm, soft, &made))
}

#[tokio::test]
async fn verification_and_references_are_as_the_software_module_has_them() {
    let soft = soft();
    let (client, _device) = one(Kind::Variant).await;
    let hsm = &client.hsm;
    for (ours, theirs) in
        [(visa(&soft), visa(hsm)), (ibm(&soft), ibm(hsm)), (Method::LmkPin, Method::LmkPin)]
    {
        for stored in [&b"7268"[..], b"726801"] {
            let (here, there) =
                (reference(&soft, &ours, stored).await, reference(hsm, &theirs, stored).await);
            for current in [&b"7268"[..], b"726801", b"7269", b"72680", b"726802"] {
                for key in ["zpk.a", ""] {
                    let a = presented(&soft, &soft, (current, key)).await;
                    let b = presented(hsm, &soft, (current, key)).await;
                    let want = soft.verify(&a, &account(), &ours, &here).await;
                    assert_eq!(
                        hsm.verify(&b, &account(), &theirs, &there).await,
                        want,
                        "{theirs:?} {key}"
                    );
                    let none = hsm.verify(&b, &account(), &theirs, &Reference::None).await;
                    assert_eq!(none, Ok(Verdict::Wrong));
                }
            }
            let other = Reference::Pvv(*b"1234");
            if !matches!(theirs, Method::VisaPvv { .. }) {
                let pin = presented(hsm, &soft, (stored, "zpk.a")).await;
                let refused = hsm.verify(&pin, &account(), &theirs, &other).await;
                assert_eq!(refused, Err(HsmError::StoredPinCorrupt));
            }
        }
    }
}

#[tokio::test]
async fn pins_go_from_key_to_key() {
    let soft = soft();
    for lmk in LMKS {
        let (client, _device) = one(lmk).await;
        let hsm = &client.hsm;
        for pin in [&b"7268"[..], b"123456789012"] {
            for from in FORMATS {
                let made = block(&soft, pin, "zpk.a", from).await;
                let given = as_of(hsm, &soft, &made);
                for to in FORMATS {
                    let key = hsm.key("zpk.b").unwrap();
                    let moved = hsm.translate(&given, key, to, &account()).await.unwrap();
                    assert_eq!(
                        opened(&soft, &as_of(&soft, &soft, &named(&soft, &moved))).await,
                        pin
                    );
                    let sealed = hsm.to_lmk(&given, &account()).await.unwrap();
                    assert_eq!(&**hsm.reveal(&sealed, &account()).await.unwrap(), pin);
                    let back = hsm.from_lmk(&sealed, key, to, &account()).await.unwrap();
                    assert_eq!(opened(&soft, &named(&soft, &back)).await, pin);
                }
                let forbidden =
                    hsm.translate(&given, given.key(), BlockFormat::Iso1, &account()).await;
                assert_eq!(forbidden, Err(HsmError::TranslationForbidden));
            }
            let sealed = lmk_pin(hsm, pin).await;
            let iso_1 = hsm
                .from_lmk(&sealed, hsm.key("zpk.a").unwrap(), BlockFormat::Iso1, &account())
                .await;
            assert_eq!(iso_1, Err(HsmError::TranslationForbidden));
        }
        for wrong in [&b"123"[..], b"1234567890123", b"12a4", b""] {
            let pin = Zeroizing::new(wrong.to_vec());
            assert_eq!(hsm.encrypt_pin(pin, &account()).await, Err(HsmError::NewPinUnacceptable));
        }
        let nothing =
            ZonePin::new(&[0xAB; 8], BlockFormat::Iso0, hsm.key("zpk.a").unwrap()).unwrap();
        assert_eq!(hsm.to_lmk(&nothing, &account()).await, Err(HsmError::NoPinInBlock));
    }
}

/// The same block under the key of that name of the other module: all have the same order of keys.
fn named(soft: &SoftHsm, pin: &ZonePin) -> ZonePin {
    ZonePin::new(pin.block(), pin.format(), soft.key("zpk.b").unwrap()).unwrap()
}

#[tokio::test]
async fn drawn_pins_keep_the_rules() {
    let (client, _device) = one(Kind::Variant).await;
    let hsm = &client.hsm;
    for digits in [4, 6, 12] {
        for _ in 0..50 {
            let pin = hsm.random_pin(&account(), digits, &rules(&[4, 6, 12])).await.unwrap();
            let clear = hsm.reveal(&pin, &account()).await.unwrap();
            assert_eq!(clear.len(), usize::from(digits));
            let derived = hsm
                .derive(&pin.into(), &account(), &visa(hsm), &rules(&[4, 6, 12]), &Reference::None)
                .await;
            assert!(derived.is_ok());
        }
    }
    let other = hsm.random_pin(&account(), 5, &rules(&[4])).await;
    assert_eq!(other, Err(HsmError::NewPinUnacceptable));
}

#[tokio::test]
async fn macs_are_as_the_software_module_has_them() {
    let soft = soft();
    let (client, _device) = one(Kind::Variant).await;
    let hsm = &client.hsm;
    let (ours, theirs) = (soft.key("zak").unwrap(), hsm.key("zak").unwrap());
    for length in [1, 7, 8, 9, 300, 4000] {
        let message: Vec<u8> = (0..length).map(|n| u8::try_from(n % 256).unwrap()).collect();
        let want = soft.mac(ours, &message).await.unwrap();
        assert_eq!(hsm.mac(theirs, &message).await, Ok(want));
        for bytes in 0..=8 {
            let mut mac = want[..bytes].to_vec();
            let expected = soft.verify_mac(ours, &message, &mac).await;
            assert_eq!(hsm.verify_mac(theirs, &message, &mac).await, expected, "{bytes} bytes");
            if let Some(last) = mac.last_mut() {
                *last ^= 1;
                assert_eq!(hsm.verify_mac(theirs, &message, &mac).await, Ok(Verdict::Wrong));
            }
        }
    }
    let zpk = hsm.key("zpk.a").unwrap();
    assert_eq!(hsm.mac(zpk, b"x").await, Err(HsmError::KeyUnusable));
    assert_eq!(hsm.check_value(theirs).await, soft.check_value(ours).await);
}

/// A new zone key is on disk before it is used, the old one is good for the grace period, and a client that starts
/// anew has both.
#[tokio::test]
async fn a_partner_changes_a_zone_key() {
    let directory = TempDir::new().unwrap();
    let soft = soft();
    let device = device(Kind::Variant).await;
    let mut with_state = settings(device.ports(), Kind::Variant);
    with_state.state = Some(directory.path().join("keys.toml"));
    let plan = plan(Kind::Variant);
    let client = start(with_state.clone(), &plan).await.unwrap();
    let hsm = &client.hsm;
    let (key, zmk) = (hsm.key("zpk.a").unwrap(), hsm.key("zmk").unwrap());
    let new = "0DF8F7E6D373863729E6451FA8D0981F";
    let hour = Duration::from_hours(1);

    let wrong = hsm.import_key(key, zmk, &wrapped(new), Some([1, 2, 3]), hour).await;
    assert!(matches!(wrong, Err(ImportRefused::CheckValueWrong { .. })), "{wrong:?}");
    let even = hsm.import_key(key, zmk, &[0x11; 16], None, hour).await;
    assert!(matches!(even, Err(ImportRefused::Device { .. })), "{even:?}");
    let not_zmk = hsm.import_key(key, key, &wrapped(new), None, hour).await;
    assert!(matches!(not_zmk, Err(ImportRefused::NotZmk { .. })), "{not_zmk:?}");
    let pvk = hsm.key("pvk.visa").unwrap();
    let not_zone = hsm.import_key(pvk, zmk, &wrapped(new), None, hour).await;
    assert!(matches!(not_zone, Err(ImportRefused::NotZoneKey { .. })), "{not_zone:?}");

    let old_block = as_of(hsm, &soft, &block(&soft, b"7268", "zpk.a", BlockFormat::Iso0).await);
    let taken = hsm.import_key(key, zmk, &wrapped(new), Some(check_of(new)), hour).await.unwrap();
    assert_eq!(taken.after, check_of(new));
    let again = hsm.import_key(key, zmk, &wrapped(new), None, hour).await.unwrap();
    assert_eq!((again.before, again.after), (taken.after, taken.after));

    let after = start(with_state, &plan).await.unwrap();
    for hsm in [hsm, &after.hsm] {
        assert_eq!(hsm.check_value(key).await, Ok(check_of(new)));
        let sealed = hsm.to_lmk(&old_block, &account()).await.expect("under the old key");
        assert_eq!(&**hsm.reveal(&sealed, &account()).await.unwrap(), b"7268");
        let out = hsm.from_lmk(&sealed, key, BlockFormat::Iso0, &account()).await.unwrap();
        assert_ne!(out, old_block, "what goes out is under the new key");
        assert_eq!(hsm.to_lmk(&out, &account()).await.map(|_| ()), Ok(()));
    }
}

/// A key that goes with a reload: what is under way with it is finished, and nobody finds it by its name.
#[tokio::test]
async fn a_key_that_goes_with_a_reload_serves_what_is_under_way() {
    let directory = TempDir::new().unwrap();
    let (keys, lmk) = (directory.path().join("keys.toml"), directory.path().join("lmk"));
    let made = Lmk::generate().unwrap();
    made.create_file(&lmk).unwrap();
    let mut file = KeyFile::empty();
    for (key_type, name) in KeyType::DATA {
        file.add(ClearKey::generate(name, key_type, key_type.algorithms()[0]).unwrap()).unwrap();
    }
    file.write(&keys, &made).unwrap();
    let vault = SoftHsm::open(&keys, &lmk, TestKeys::Allowed, clock()).unwrap();
    let device = device(Kind::Variant).await;
    let settings = settings(device.ports(), Kind::Variant);
    let hsm = Arc::new(PayShield::open(settings, &plan(Kind::Variant), vault, clock()).unwrap());
    let _running = hsm.start().await.unwrap();

    let key = hsm.key("zpk.a").unwrap();
    let mut fewer = plan(Kind::Variant);
    fewer.keys.retain(|key| &*key.name != "zpk.a");
    for _ in 0..2 {
        let reread = hsm.reread(&fewer, hsm.soft().reread().unwrap()).unwrap();
        hsm.examine(&reread).await.unwrap();
        hsm.adopt(&reread).unwrap();
        assert_eq!((hsm.key("zpk.a"), hsm.diagnose().await), (None, Ok(())));
        assert!(hsm.keys().iter().all(|key| &*key.name != "zpk.a"));
        let check_value = hsm.check_value(key).await;
        assert_eq!(check_value, Ok(check_of("C7152C20BC2C830EA7EC9E8334ABE3FE")));
    }
    // It comes back under the id it had.
    let reread = hsm.reread(&plan(Kind::Variant), hsm.soft().reread().unwrap()).unwrap();
    hsm.examine(&reread).await.unwrap();
    hsm.adopt(&reread).unwrap();
    assert_eq!(hsm.key("zpk.a"), Some(key));
}

fn vault() -> SoftHsm {
    SoftHsm::from_clear([], &Lmk::demo(), clock()).unwrap()
}

#[tokio::test]
async fn products_that_devices_cannot_keep_are_refused() {
    let (client, _device) = one(Kind::Variant).await;
    let hsm = &client.hsm;
    assert_eq!(hsm.check_product(&visa(hsm), &rules(&[4])), Ok(()));
    assert_eq!(hsm.check_product(&Method::LmkPin, &rules(&[4])), Ok(()));
    let refused = (0..90).map(|n| format!("{:04}", 1000 + 7 * n).into_bytes().into()).collect();
    let long = PinRules { refused, ..rules(&[4, 5]) };
    let too_many = hsm.check_product(&visa(hsm), &long);
    assert_eq!(too_many, Err(UnfitProduct::Excluded { length: 4, pins: 114 }));

    let mut plan = plan(Kind::Variant);
    (plan.transit_zpk, plan.policy_pvk) = (None, None);
    let open = |plan| PayShield::open(settings(&[], Kind::Variant), plan, vault(), clock());
    let bare = open(&plan).unwrap();
    assert_eq!(bare.check_product(&visa(&bare), &rules(&[4])), Ok(()));
    assert_eq!(bare.check_product(&ibm(&bare), &lengths_only(&[4])), Ok(()));
    assert!(matches!(
        bare.check_product(&visa(&bare), &lengths_only(&[4])),
        Err(UnfitProduct::NeedsTransit { .. })
    ));
    assert_eq!(bare.check_product(&Method::LmkPin, &rules(&[4])), Err(UnfitProduct::NeedsPolicy));
    assert!(matches!(
        bare.check_product(&Method::LmkPin, &lengths_only(&[4])),
        Err(UnfitProduct::NeedsTransit { .. })
    ));

    let vault = SoftHsm::from_clear([zpk_in_clear()], &Lmk::demo(), clock()).unwrap();
    let refused = PayShield::open(settings(&[], Kind::Variant), &plan, vault, clock());
    assert!(matches!(refused, Err(OpenError::NotSoft { .. })), "{refused:?}");
}
