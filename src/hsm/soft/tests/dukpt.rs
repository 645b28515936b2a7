//! Blocks of DUKPT terminals, computed by other programs (`tests/vectors/make_dukpt.py`), and what is refused of them.

use super::*;
use crate::domain::pin::Ksn;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../tests/vectors/dukpt.json")).unwrap()
}

fn of<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap()
}

/// A module with the one base derivation key of a case, and zone keys.
fn module(bdk: &str, algorithm: Algorithm) -> SoftHsm {
    let mut keys = demo_keys();
    keys.push(key("bdk.test", KeyType::Bdk, algorithm, bdk));
    SoftHsm::from_clear(keys, &Lmk::demo(), clock()).unwrap()
}

fn derived(hsm: &SoftHsm, block: &str, format: BlockFormat, ksn: &str) -> ZonePin {
    let ksn = Ksn::new(&hex::decode(ksn).unwrap()).unwrap();
    self::block(hsm, "bdk.test", format, block).derived(ksn)
}

/// A hundred terminals of either kind: every block opens to its PIN.
#[test]
fn blocks_of_other_programs() {
    let vectors = vectors();
    for (name, algorithm, format) in
        [("tdes", Algorithm::Tdes, BlockFormat::Iso0), ("aes", Algorithm::Aes, BlockFormat::Iso4)]
    {
        let cases = vectors[name].as_array().unwrap();
        assert_eq!(cases.len(), 100);
        for case in cases {
            let hsm = module(of(case, "bdk"), algorithm);
            let pan = account(of(case, "pan"));
            let presented = derived(&hsm, of(case, "block"), format, of(case, "ksn"));
            let opened = now(hsm.to_lmk(&presented, &pan)).unwrap();
            let shown = now(hsm.reveal(&opened, &pan)).unwrap();
            assert_eq!(shown.as_slice(), of(case, "pin").as_bytes(), "{case}");
        }
    }
}

/// One terminal, its changes and their ends: verification, change, translation to a zone key.
#[test]
fn every_command_takes_them() {
    let vectors = vectors();
    for (name, algorithm, format) in [
        ("world_tdes", Algorithm::Tdes, BlockFormat::Iso0),
        ("world_aes", Algorithm::Aes, BlockFormat::Iso4),
    ] {
        let cases = vectors[name].as_array().unwrap();
        let hsm = module(of(&cases[0], "bdk"), algorithm);
        let find = |pin: &str| {
            let found = cases.iter().find(|c| of(c, "pin") == pin && of(c, "pan") == PLAIN);
            let case = found.unwrap();
            derived(&hsm, of(case, "block"), format, of(case, "ksn"))
        };
        let (pan, method) = (account(PLAIN), visa(&hsm));
        let (old, new) = (PresentedPin::Zone(find("1234")), PresentedPin::Zone(find("2580")));
        // PVVs of the demo world, by psec.
        let pins: Value =
            serde_json::from_str(include_str!("../../../../tests/vectors/pin_changes.json"))
                .unwrap();
        let pvv = |pin: &str| {
            let text = pins["cards"][PLAIN]["references"][pin].as_str().unwrap();
            Reference::Pvv(text.as_bytes().try_into().unwrap())
        };
        let change = Change {
            current: &old,
            new: &new,
            account: &pan,
            method: &method,
            reference: &pvv("1234"),
            rules: &any_rules(),
        };
        let got = now(hsm.verify_and_derive(&change)).unwrap();
        assert_eq!(got, ChangeVerdict::Right(pvv("2580")));
        assert_eq!(now(hsm.verify(&old, &pan, &method, &pvv("1234"))), Ok(Verdict::Right));
        assert_eq!(now(hsm.verify(&old, &pan, &method, &pvv("2580"))), Ok(Verdict::Wrong));
        let derive = now(hsm.derive(&new, &pan, &method, &any_rules(), &Reference::None));
        assert_eq!(derive, Ok(pvv("2580")));
        let zone = hsm.key("zpk.postilion").unwrap();
        let moved = now(hsm.translate(&find("2580"), zone, BlockFormat::Iso0, &pan)).unwrap();
        assert!(moved.ksn().is_none() && moved.key() == zone);
        // Format 0 has nothing random: psec made the same block.
        let want = pins["cards"][PLAIN]["blocks"]["zpk.postilion"]["2580"].as_str().unwrap();
        assert_eq!(hex::encode_upper(moved.block()), want);
    }
}

/// Older terminals leave the first two bytes of the serial number out: they are FF.
#[test]
fn eight_bytes_are_ten() {
    let vectors = vectors();
    let case = &vectors["world_tdes"][0];
    let hsm = module(of(case, "bdk"), Algorithm::Tdes);
    let short = derived(&hsm, of(case, "block"), BlockFormat::Iso0, &of(case, "ksn")[4..]);
    assert!(now(hsm.to_lmk(&short, &account(PLAIN))).is_ok());
}

#[track_caller]
fn check(case: &Value, algorithm: Algorithm, format: BlockFormat, ksn: &str, want: HsmError) {
    let hsm = module(of(case, "bdk"), algorithm);
    let pin = derived(&hsm, of(case, "block"), format, ksn);
    assert_eq!(now(hsm.to_lmk(&pin, &account(PLAIN))).err(), Some(want), "{ksn}");
}

#[test]
fn what_no_terminal_sends_opens_nothing() {
    let vectors = vectors();
    let (tdes, aes) = (&vectors["world_tdes"][0], &vectors["world_aes"][0]);
    let unusable = HsmError::KeyUnusable;
    let (iso_0, iso_4) = (BlockFormat::Iso0, BlockFormat::Iso4);
    for (ksn, want) in [
        ("FFFF9876543210E00000", unusable),
        ("FFFF9876543210E007FF", unusable),
        ("FFFF9876543210FFF801", unusable),
        ("123456789012345600000001", unusable),
        ("FFFF9876543210E00002", HsmError::NoPinInBlock),
        ("FFFF9876543230E00001", HsmError::NoPinInBlock),
    ] {
        check(tdes, Algorithm::Tdes, iso_0, ksn, want);
    }
    for (ksn, want) in [
        ("123456789012345600000000", unusable),
        ("12345678901234560001FFFF", unusable),
        ("1234567890123456FFFF0001", unusable),
        ("FFFF9876543210E00001", unusable),
        ("123456789012345600000002", HsmError::NoPinInBlock),
        ("123456789012345700000001", HsmError::NoPinInBlock),
    ] {
        check(aes, Algorithm::Aes, iso_4, ksn, want);
    }
    // A format that does not go with the algorithm.
    let hsm = module(of(tdes, "bdk"), Algorithm::Tdes);
    let long = derived(&hsm, of(aes, "block"), iso_4, of(tdes, "ksn"));
    assert_eq!(now(hsm.to_lmk(&long, &account(PLAIN))).err(), Some(unusable));
    let hsm = module(of(aes, "bdk"), Algorithm::Aes);
    let short = derived(&hsm, of(tdes, "block"), iso_0, of(aes, "ksn"));
    assert_eq!(now(hsm.to_lmk(&short, &account(PLAIN))).err(), Some(unusable));
}

proptest! {
    /// A block and a serial number of anybody's: an answer, and never a PIN of another transaction.
    #[test]
    fn any_serial_number_is_survived(
        ksn in prop::sample::select(vec![8_usize, 10, 12])
            .prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)),
        bytes in prop::collection::vec(any::<u8>(), 16),
        aes in any::<bool>(),
    ) {
        let (bdk, algorithm, format, len) = if aes {
            ("FEDCBA9876543210F1F1F1F1F1F1F1F1", Algorithm::Aes, BlockFormat::Iso4, 16)
        } else {
            ("0123456789ABCDEFFEDCBA9876543210", Algorithm::Tdes, BlockFormat::Iso3, 8)
        };
        let hsm = module(bdk, algorithm);
        let pin = derived(&hsm, &hex::encode(&bytes[..len]), format, &hex::encode(ksn));
        let _ = now(hsm.to_lmk(&pin, &account(PLAIN)));
    }
}
