//! A partner changes a zone key while the module serves: what is accepted under which key, and until when.
//!
//! The exchange is of `tests/vectors/make.py`: the new key, its wrapping and the blocks under it are psec's.

use std::path::PathBuf;

use super::*;
use crate::hsm::key::KeyError;
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::{ImportRefused, Imported};

const GRACE: Duration = Duration::from_hours(1);

/// The demo world in files, with vault keys.
struct Place {
    directory: tempfile::TempDir,
    turned: Arc<Turned>,
    vectors: Value,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            turned: Arc::new(Turned::default()),
            vectors: serde_json::from_str(include_str!(
                "../../../../tests/vectors/pin_changes.json"
            ))
            .unwrap(),
        };
        Lmk::demo().create_file(&place.file("lmk")).unwrap();
        let mut file = KeyFile::empty();
        for key in demo_keys() {
            file.add(key).unwrap();
        }
        for (key_type, name) in KeyType::DATA {
            let algorithm = key_type.algorithms()[0];
            file.add(ClearKey::generate(name, key_type, algorithm).unwrap()).unwrap();
        }
        file.write(&place.file("keys"), &Lmk::demo()).unwrap();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn keys(&self) -> KeyFile {
        KeyFile::read(&self.file("keys"), &Lmk::demo(), TestKeys::Allowed).unwrap()
    }

    fn open(&self) -> SoftHsm {
        let clock: Arc<dyn Clock> = Arc::<Turned>::clone(&self.turned);
        SoftHsm::open(&self.file("keys"), &self.file("lmk"), TestKeys::Allowed, clock).unwrap()
    }

    fn turn_to(&self, at: Duration) {
        self.turned.0.store(at.as_secs(), Ordering::Relaxed);
    }

    fn of(&self, name: &str) -> &str {
        self.vectors["exchange"][name].as_str().unwrap()
    }

    /// Blocks of a PIN under the old key and the new one.
    fn blocks(&self, hsm: &SoftHsm, pin: &str) -> [ZonePin; 2] {
        let old = &self.vectors["cards"][PLAIN]["blocks"]["zpk.atm"][pin];
        let new = &self.vectors["exchange"]["blocks"][pin];
        [old, new].map(|hex| block(hsm, "zpk.atm", BlockFormat::Iso0, hex.as_str().unwrap()))
    }

    /// The exchange of the vectors.
    fn exchange(&self, hsm: &SoftHsm) -> Result<Imported, ImportRefused> {
        Self::import(
            hsm,
            "zpk.atm",
            "zmk.partner",
            self.of("wrapped"),
            Some(self.of("check_value")),
        )
    }

    fn import(
        hsm: &SoftHsm,
        key: &str,
        zmk: &str,
        wrapped: &str,
        stated: Option<&str>,
    ) -> Result<Imported, ImportRefused> {
        let (key, zmk) = (hsm.key(key).unwrap(), hsm.key(zmk).unwrap());
        let wrapped = hex::decode(wrapped).unwrap();
        now(hsm.import_key(key, zmk, &wrapped, stated.map(check_value), GRACE))
    }

    /// What becomes of a block: both commands that open one, and they agree.
    #[track_caller]
    fn opens(hsm: &SoftHsm, pin: &ZonePin) -> bool {
        let account = account(PLAIN);
        let verified = now(hsm.verify(&(*pin).into(), &account, &visa(hsm), &pvv("8034")));
        let taken = now(hsm.to_lmk(pin, &account));
        match (verified, taken) {
            (Ok(verdict), Ok(_)) => {
                assert_eq!(verdict, Verdict::Right, "the PIN of the block is 1234");
                true
            }
            (Err(HsmError::NoPinInBlock), Err(HsmError::NoPinInBlock)) => false,
            other => panic!("{other:?}"),
        }
    }
}

fn check_value(hex: &str) -> [u8; 3] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

fn unused(hsm: &SoftHsm, name: &str) -> Option<bool> {
    let keys = hsm.keys();
    let info = keys.iter().find(|key| &*key.name == name).unwrap();
    info.previous.map(|previous| previous.newer_unused)
}

#[test]
fn both_keys_are_good_until_the_grace_period_ends() {
    let place = Place::new();
    let hsm = place.open();
    let [old, new] = place.blocks(&hsm, "1234");
    assert!(Place::opens(&hsm, &old) && !Place::opens(&hsm, &new));
    place.turn_to(Duration::from_mins(10));
    let done = place.exchange(&hsm).unwrap();
    let want = Imported {
        before: check_value(place.of("check_value_old")),
        after: check_value(place.of("check_value")),
    };
    assert_eq!(done, want);
    assert_eq!(now(hsm.check_value(hsm.key("zpk.atm").unwrap())), Ok(want.after));
    assert!(Place::opens(&hsm, &old));
    assert_eq!(unused(&hsm, "zpk.atm"), Some(true), "pending until something comes under it");
    assert!(Place::opens(&hsm, &new));
    assert_eq!(unused(&hsm, "zpk.atm"), Some(false));
    assert!(Place::opens(&hsm, &old), "what was on its way");
    let last = Duration::from_mins(69) + Duration::from_secs(59);
    place.turn_to(last);
    assert!(Place::opens(&hsm, &old) && Place::opens(&hsm, &new));
    place.turn_to(last + Duration::from_secs(1));
    assert!(!Place::opens(&hsm, &old) && Place::opens(&hsm, &new));
    assert_eq!(unused(&hsm, "zpk.atm"), None);
}

/// Nobody ever used the new key: the end of the grace period makes it the only one all the same.
#[test]
fn an_unused_key_takes_over_at_the_end() {
    let place = Place::new();
    let hsm = place.open();
    let _ = place.exchange(&hsm).unwrap();
    let [old, new] = place.blocks(&hsm, "1234");
    place.turn_to(GRACE);
    assert!(!Place::opens(&hsm, &old) && Place::opens(&hsm, &new));
}

#[test]
fn a_restart_in_the_grace_period_keeps_both() {
    let place = Place::new();
    let hsm = place.open();
    let _ = place.exchange(&hsm).unwrap();
    let again = place.open();
    let [old, new] = place.blocks(&again, "1234");
    assert!(Place::opens(&again, &old) && Place::opens(&again, &new));
    hsm.reload().unwrap();
    assert!(Place::opens(&hsm, &old) && Place::opens(&hsm, &new));
    place.turn_to(GRACE);
    for hsm in [&again, &place.open()] {
        assert!(!Place::opens(hsm, &old) && Place::opens(hsm, &new));
    }
    let text = std::fs::read_to_string(place.file("keys")).unwrap();
    assert!(text.starts_with('#') && text.contains("version = 2"));
    assert!(!text.contains(place.of("clear")));
    // Nobody gives an old key more time by editing the file.
    std::fs::write(place.file("keys"), text.replace("until = 3600000", "until = 9600000")).unwrap();
    let changed = hsm.reload();
    assert!(matches!(changed, Err(KeyFileError::Sealed { .. })), "{changed:?}");
}

/// What goes out is under the new key at once: whoever sent it has it.
#[test]
fn blocks_go_out_under_the_new_key() {
    let place = Place::new();
    let hsm = place.open();
    let given = block(&hsm, "zpk.acquirer", BlockFormat::Iso0, "1192828DFFDCD798");
    let atm = hsm.key("zpk.atm").unwrap();
    let made = |hsm| now(SoftHsm::translate(hsm, &given, atm, BlockFormat::Iso0, &account(PLAIN)));
    let [old, new] = place.blocks(&hsm, "1234");
    assert_eq!(made(&hsm), Ok(old));
    let _ = place.exchange(&hsm).unwrap();
    assert_eq!(made(&hsm), Ok(new));
}

/// X9.19 of psec under the old key; the new one is compared by what it makes itself.
#[test]
fn macs_go_out_under_the_new_key_and_come_in_under_either() {
    let place = Place::new();
    let hsm = place.open();
    let zak = hsm.key("zak.acquirer").unwrap();
    let sample = &place.vectors["macs"][0];
    let message = hex::decode(sample["message"].as_str().unwrap()).unwrap();
    let old: [u8; 8] = hex::decode(sample["mac"].as_str().unwrap()).unwrap().try_into().unwrap();
    let mac = || now(hsm.mac(zak, &message)).unwrap();
    let check = |mac: [u8; 8]| now(hsm.verify_mac(zak, &message, &mac)).unwrap();
    assert_eq!(mac(), old);
    let (wrapped, stated) = (place.of("wrapped"), place.of("check_value"));
    let _ = Place::import(&hsm, "zak.acquirer", "zmk.partner", wrapped, Some(stated)).unwrap();
    let new = mac();
    assert_ne!(new, old);
    assert_eq!(check(old), Verdict::Right);
    assert_eq!(unused(&hsm, "zak.acquirer"), Some(true));
    assert_eq!(check([0; 8]), Verdict::Wrong);
    assert_eq!(check(new), Verdict::Right);
    assert_eq!(unused(&hsm, "zak.acquirer"), Some(false));
    place.turn_to(GRACE);
    assert_eq!((check(old), check(new)), (Verdict::Wrong, Verdict::Right));
}

#[test]
fn what_is_refused_changes_nothing() {
    #[track_caller]
    fn check(got: Result<Imported, ImportRefused>, want: fn(&ImportRefused) -> bool) {
        let got = got.unwrap_err();
        assert!(want(&got), "{got:?}");
        assert!(!got.to_string().contains("CD7FB6"), "{got}");
    }
    let place = Place::new();
    let hsm = place.open();
    let before = std::fs::read(place.file("keys")).unwrap();
    let (right, value) = (place.of("wrapped"), place.of("check_value"));
    let import = |key, zmk, wrapped, stated| Place::import(&hsm, key, zmk, wrapped, stated);
    let zmk = "zmk.partner";
    check(
        import("zpk.atm", zmk, right, Some("FD1181")),
        |e| matches!(e, ImportRefused::CheckValueWrong { actual, .. } if actual == "FD1180"),
    );
    check(import("zpk.atm", zmk, place.of("wrapped_even_parity"), Some(value)), |e| {
        matches!(e, ImportRefused::Key(KeyError::Parity { byte: 1, .. }))
    });
    check(import("zpk.atm", zmk, place.of("wrapped_even_parity"), None), |e| {
        matches!(e, ImportRefused::Key(KeyError::Parity { .. }))
    });
    let long = format!("{right}00");
    for wrong in ["", "45EA1BABF836A885", &long] {
        check(import("zpk.atm", zmk, wrong, Some(value)), |e| {
            matches!(e, ImportRefused::Key(KeyError::Length { .. }))
        });
    }
    check(import("pvk.visa", zmk, right, Some(value)), |e| {
        matches!(e, ImportRefused::NotZoneKey { key_type: KeyType::Pvk, .. })
    });
    check(import(zmk, zmk, right, Some(value)), |e| matches!(e, ImportRefused::NotZoneKey { .. }));
    check(import("zpk.atm", "zpk.acquirer", right, Some(value)), |e| {
        matches!(e, ImportRefused::NotZmk { .. })
    });
    check(import("zpk.aes", zmk, right, Some(value)), |e| {
        matches!(e, ImportRefused::NotTripleDes { .. })
    });
    let nobody = now(hsm.import_key(KeyId(999), hsm.key(zmk).unwrap(), &[], None, GRACE));
    check(nobody, |e| matches!(e, ImportRefused::KeyUnknown));
    let no_file = demo();
    check(place.exchange(&no_file), |e| matches!(e, ImportRefused::File(KeyFileError::NoFile)));
    assert_eq!(std::fs::read(place.file("keys")).unwrap(), before);
    let [old, new] = place.blocks(&hsm, "1234");
    assert!(Place::opens(&hsm, &old) && !Place::opens(&hsm, &new));
    // The file was edited and not reloaded: which key would be the previous one?
    let mut file = place.keys();
    file.replace(ClearKey::generate("zpk.atm", KeyType::Zpk, Algorithm::Tdes).unwrap()).unwrap();
    file.write(&place.file("keys"), &Lmk::demo()).unwrap();
    check(place.exchange(&hsm), |e| matches!(e, ImportRefused::FileAhead { .. }));
}

/// The key of the vectors is published, so a module that refuses such keys refuses it.
#[test]
fn a_published_key_is_refused() {
    let place = Place::new();
    let mut file = KeyFile::empty();
    let keys = [("zpk.atm", KeyType::Zpk), ("zmk.partner", KeyType::Zmk)];
    for (name, key_type) in keys.into_iter().chain(KeyType::DATA.map(|(t, name)| (name, t))) {
        let algorithm = key_type.algorithms()[0];
        file.add(ClearKey::generate(name, key_type, algorithm).unwrap()).unwrap();
    }
    // The vectors' ZMK is published too, so the key is wrapped under one that is not.
    let zmk = file.get("zmk.partner").unwrap().expose_bytes();
    let wrapped = wrap(zmk, place.of("clear"));
    let lmk = Lmk::generate().unwrap();
    std::fs::remove_file(place.file("lmk")).unwrap();
    lmk.create_file(&place.file("lmk")).unwrap();
    file.write(&place.file("keys"), &lmk).unwrap();
    let open = |test_keys| {
        SoftHsm::open(&place.file("keys"), &place.file("lmk"), test_keys, clock()).unwrap()
    };
    let stated = Some(check_value(place.of("check_value")));
    let refused = open(TestKeys::Refused).rekey("zpk.atm", "zmk.partner", &wrapped, stated, GRACE);
    let published = matches!(refused, Err(ImportRefused::Key(KeyError::Published { .. })));
    assert!(published, "{refused:?}");
    let taken = open(TestKeys::Allowed).rekey("zpk.atm", "zmk.partner", &wrapped, stated, GRACE);
    assert!(taken.is_ok());
}

/// A repeated push, and a push back to the key before, whether or not the new one was used.
#[test]
fn exchanges_that_follow_each_other() {
    for used in [false, true] {
        let place = Place::new();
        let hsm = place.open();
        let [old, new] = place.blocks(&hsm, "1234");
        let _ = place.exchange(&hsm).unwrap();
        let text = std::fs::read(place.file("keys")).unwrap();
        let again = place.exchange(&hsm).unwrap();
        assert_eq!(again.before, again.after);
        assert_eq!(std::fs::read(place.file("keys")).unwrap(), text, "nothing to write");
        assert!(Place::opens(&hsm, &old));
        if used {
            assert!(Place::opens(&hsm, &new));
        }
        let (back, value) = (place.of("wrapped_old"), place.of("check_value_old"));
        let _ = Place::import(&hsm, "zpk.atm", "zmk.partner", back, Some(value)).unwrap();
        assert!(Place::opens(&hsm, &old) && Place::opens(&hsm, &new));
        place.turn_to(GRACE);
        assert!(Place::opens(&hsm, &old) && !Place::opens(&hsm, &new));
        // The file holds no more than it must once something is written again.
        let _ = place.exchange(&hsm).unwrap();
        assert_eq!(place.keys().previous("zpk.atm").unwrap().until.0, 2 * 3_600_000);
    }
}

/// Two pushes before anything came under the first: what is in use is still the key before both.
#[test]
fn an_unused_key_is_never_the_previous_one() {
    for used in [false, true] {
        let place = Place::new();
        let hsm = place.open();
        let [old, new] = place.blocks(&hsm, "1234");
        let _ = place.exchange(&hsm).unwrap();
        if used {
            assert!(Place::opens(&hsm, &new));
        }
        // The Postilion zone's key: no block here is under it.
        let zmk = hex::decode(world()["keys"]["zmk.partner"]["clear"].as_str().unwrap()).unwrap();
        let third = hex::encode(wrap(&zmk, "8A7F3E1C5D2A6B4998E0D0C2B3A49486"));
        let _ = Place::import(&hsm, "zpk.atm", "zmk.partner", &third, None).unwrap();
        assert_eq!(Place::opens(&hsm, &old), !used);
        assert_eq!(Place::opens(&hsm, &new), used);
    }
}

fn wrap(zmk: &[u8], clear: &str) -> Vec<u8> {
    let cipher = crate::pin::tdes::Tdes::double(zmk.try_into().unwrap());
    let mut bytes = hex::decode(clear).unwrap();
    for part in bytes.chunks_exact_mut(8) {
        cipher.encrypt(part.try_into().unwrap());
    }
    bytes
}

/// Guesses are counted in a grace period as ever, whichever key their block is under.
#[test]
fn the_brake_holds_in_the_grace_period() {
    let place = Place::new();
    let limit = ThrottleLimit { wrong: 4, window: Duration::from_mins(1) };
    let hsm = place.open().with_throttle(limit).unwrap();
    let _ = place.exchange(&hsm).unwrap();
    let verify =
        |pin: &ZonePin| now(hsm.verify(&(*pin).into(), &account(PLAIN), &visa(&hsm), &pvv("8034")));
    let [old, new] = place.blocks(&hsm, "4321");
    for guess in [&old, &new, &old, &new] {
        assert_eq!(verify(guess), Ok(Verdict::Wrong));
    }
    for pin in ["4321", "1234"] {
        for block in place.blocks(&hsm, pin) {
            assert_eq!(verify(&block), Err(HsmError::Throttled));
        }
    }
}

/// Commands in other threads while the key changes: each sees one table, and no right block is ever refused.
#[test]
fn commands_and_exchanges_at_once() {
    let place = Place::new();
    let hsm = place.open();
    let [old, new] = place.blocks(&hsm, "1234");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    assert!(Place::opens(&hsm, &old));
                }
                for _ in 0..200 {
                    assert!(Place::opens(&hsm, &new) && Place::opens(&hsm, &old));
                }
            });
        }
        scope.spawn(|| {
            let taken = place.exchange(&hsm);
            done.store(true, Ordering::Release);
            assert!(taken.is_ok());
        });
    });
    assert_eq!(unused(&hsm, "zpk.atm"), Some(false));
}

#[test]
fn a_reload_does_not_undo_an_exchange() {
    let place = Place::new();
    let hsm = place.open();
    let reread = hsm.reread().unwrap();
    let _ = place.exchange(&hsm).unwrap();
    assert!(matches!(hsm.adopt(&reread), Err(KeyFileError::Exchanged)));
    let [old, new] = place.blocks(&hsm, "1234");
    assert!(Place::opens(&hsm, &old) && Place::opens(&hsm, &new));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every block made before the exchange and every block made after it opens to its PIN, in any order.
    #[test]
    fn every_block_opens_to_its_pin(
        digits in "[0-9]{4,12}",
        pan in "[0-9]{13,19}",
        format in 0_usize..2,
        order in proptest::collection::vec(any::<bool>(), 1..6),
    ) {
        // One place for all cases would meet an exchange that was done already.
        let place = Place::new();
        let hsm = place.open();
        let (account, atm) = (account(&pan), hsm.key("zpk.atm").unwrap());
        let format = [BlockFormat::Iso0, BlockFormat::Iso3][format];
        let sealed = now(hsm.encrypt_pin(Zeroizing::new(digits.into_bytes()), &account)).unwrap();
        let stored = Reference::Lmk(sealed);
        let make = || {
            let clear = hsm.open_lmk(&sealed, &account).unwrap();
            hsm.make_block(&hsm.ring.load(), &clear, &account, atm, format).unwrap()
        };
        let old = make();
        let _ = place.exchange(&hsm).unwrap();
        let new = make();
        for newer in order {
            let block = if newer { &new } else { &old };
            let verdict = now(hsm.verify(&(*block).into(), &account, &Method::LmkPin, &stored));
            prop_assert_eq!(verdict, Ok(Verdict::Right));
            let lmk = now(hsm.to_lmk(block, &account)).unwrap();
            let again = now(hsm.verify(&old.into(), &account, &Method::LmkPin, &Reference::Lmk(lmk)));
            prop_assert_eq!(again, Ok(Verdict::Right));
        }
    }
}
