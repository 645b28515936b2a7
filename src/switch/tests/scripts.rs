//! Issuer scripts: one for the change that was committed, none for what was not, and never of another PIN.
//!
//! Commands are those of `tests/vectors/chip.json`, computed by the Python package pyemv.

use std::sync::atomic::{AtomicU32, Ordering};

use zeroize::Zeroizing;

use super::*;
use crate::domain::chip::{Chip, ScriptRules, ScriptScheme, ScriptTemplate};
use crate::hsm::HsmError;
use crate::hsm::testing::{Asked, Hooked};
use crate::switch::Answer;

enum WithChips {}

impl Parts for WithChips {
    type Clock = SystemClock;
    type Hosts = Option<Arc<Nodes>>;
    type Hsm = Hooked;
    type Store = EmbeddedStore;
}

struct Chips {
    switch: Arc<Switch<WithChips>>,
    hsm: Arc<SoftHsm>,
    /// Scripts the HSM was asked for.
    asked: Arc<AtomicU32>,
    /// So many of the next ones it does not make.
    away: Arc<AtomicU32>,
    _directory: tempfile::TempDir,
}

/// A switch of one card whose product has chips of Visa.
fn chips(required: bool) -> Chips {
    let clock = SystemClock::start();
    let key = |name, key_type, hex: &str| {
        let bytes = Zeroizing::new(hex::decode(hex).unwrap());
        ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed).unwrap()
    };
    let keys = [
        key("zpk.atm", KeyType::Zpk, "2315208C9110AD40A8B6C7D5E5F20210"),
        key("pvk.visa", KeyType::Pvk, "0123456789ABCDEFFEDCBA9876543210"),
        key("smi", KeyType::MkSmi, "0123456789ABCDEFFEDCBA9876543210"),
        key("smc", KeyType::MkSmc, "10101010101010102323232323232323"),
        key("ac", KeyType::MkAc, "FEDCBA98765432100123456789ABCDEF"),
    ];
    let soft = Arc::new(SoftHsm::from_clear(keys, &Lmk::demo(), Arc::new(clock)).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(Arc::new(clock));
    let mut store = EmbeddedStore::open(directory.path(), soft.clone(), options).unwrap();
    let mut bulk = store.bulk("test").unwrap();
    bulk.put(card(&soft), false).unwrap();
    bulk.finish().unwrap();
    let id = |name| soft.key(name).unwrap();
    let issuer_script = Some(ScriptRules {
        scheme: ScriptScheme::Visa { cryptograms: id("ac") },
        integrity: id("smi"),
        confidentiality: id("smc"),
        template: ScriptTemplate::AfterFinal,
        required,
    });
    let product = Product { chip: true, issuer_script, ..product(&soft) };
    let rules = Rules { products: Products::new([product]), routes: Table::default() };
    let (away, asked) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (left, count) = (away.clone(), asked.clone());
    let hsm = Hooked::new(soft.clone(), move |command| {
        let Asked::IssuerScript = command else { return Ok(()) };
        count.fetch_add(1, Ordering::SeqCst);
        let less = |left: u32| left.checked_sub(1);
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(HsmError::Unavailable),
            Err(_) => Ok(()),
        }
    });
    let parts = crate::switch::World { clock, hosts: None, hsm, store, vault: soft.clone() };
    let switch = Arc::new(Switch::new(parts, rules));
    Chips { switch, hsm: soft, asked, away, _directory: directory }
}

/// What the chip of the vectors' first card says, and the command for this PIN.
fn vector(pin: Option<&str>) -> (Chip, String) {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/chip.json")).unwrap();
    let cases = file["scripts"].as_array().unwrap();
    let found = cases.iter().find(|case| {
        case["scheme"] == "visa"
            && case["pan"] == std::str::from_utf8(PAN).unwrap()
            && case["sequence"] == 1
            && case["pin"].as_str() == pin
    });
    let found = found.unwrap();
    let mut chip = Chip { counter: [0; 2], cryptogram: [0; 8], sequence: Some(1) };
    hex::decode_to_slice(found["counter"].as_str().unwrap(), &mut chip.counter).unwrap();
    hex::decode_to_slice(found["cryptogram"].as_str().unwrap(), &mut chip.cryptogram).unwrap();
    (chip, found["command"].as_str().unwrap().to_owned())
}

impl Chips {
    fn block(&self, hex: &str) -> Option<ZonePin> {
        let zpk = self.hsm.key("zpk.atm").unwrap();
        ZonePin::new(&hex::decode(hex).unwrap(), BlockFormat::Iso0, zpk)
    }

    fn change(&self, key: u64, current: &str, new: &str) -> PinRequest {
        PinRequest {
            current: self.block(current).map(Into::into),
            new: self.block(new).map(Into::into),
            chip: Some(vector(Some("2580")).0),
            ..World::request(key, Operation::Change)
        }
    }

    async fn told(&self, request: &PinRequest) -> (Option<Reason>, Option<String>) {
        let Answer { outcome, script, .. } = self.switch.handle(request).await;
        (outcome.reason(), script.map(|script| hex::encode_upper(script.command.as_bytes())))
    }

    fn card(&self) -> Arc<CardRecord> {
        let hash = self.hsm.pan_hash(&Pan::parse(PAN).unwrap());
        self.switch.store().find(CardKey::Pan(hash, None)).unwrap()
    }
}

/// `tests/vectors/pin_changes.json`, zpk.atm.
const PIN_2580: &str = "8FEC03F6B4501DEB";

#[tokio::test]
async fn a_script_goes_with_its_receipt_only() {
    let chips = chips(false);
    let (_, script) = vector(Some("2580"));
    assert_eq!(
        chips.told(&chips.change(1, PIN_5678, PIN_2580)).await,
        (Some(Reason::WrongPin), None)
    );
    assert_eq!(chips.asked.load(Ordering::SeqCst), 0, "nothing is sealed for a wrong PIN");
    let change = chips.change(2, PIN_1234, PIN_2580);
    assert_eq!(chips.told(&change).await, (None, Some(script.clone())));
    let again = chips.switch.handle(&change).await;
    assert!(again.repeated);
    assert_eq!(chips.told(&change).await, (None, Some(script)));
    // Another block of the same PIN, or the data of another transaction, is another request.
    let other = PinRequest { new: chips.change(2, PIN_1234, PIN_5678).new, ..change.clone() };
    assert_eq!(chips.told(&other).await, (Some(Reason::Duplicate), None));
    let later = Chip { counter: [9, 9], ..change.chip.unwrap() };
    let other = PinRequest { chip: Some(later), ..change.clone() };
    assert_eq!(chips.told(&other).await, (Some(Reason::Duplicate), None));
    let other = PinRequest { chip: None, ..change };
    assert_eq!(chips.told(&other).await, (Some(Reason::Duplicate), None));
}

#[tokio::test]
async fn what_cannot_be_told_to_the_chip_is_not_done() {
    let chips = chips(false);
    let (_, script) = vector(Some("2580"));
    let before = chips.card();
    chips.away.store(2, Ordering::SeqCst);
    let change = chips.change(1, PIN_1234, PIN_2580);
    for _ in 0..2 {
        assert_eq!(chips.told(&change).await, (Some(Reason::HsmUnavailable), None));
        assert_eq!(chips.card(), before, "nothing changed");
    }
    assert_eq!(chips.told(&change).await, (None, Some(script.clone())), "it may be tried again");
    // A repeat for which there is no HSM says so, and the change stands.
    let after = chips.card();
    chips.away.store(1, Ordering::SeqCst);
    assert_eq!(chips.told(&change).await, (Some(Reason::HsmUnavailable), None));
    assert_eq!(chips.told(&change).await, (None, Some(script)));
    assert_eq!(chips.card(), after);
}

#[tokio::test]
async fn required_chip_data_are_asked_for_before_any_pin() {
    let chips = chips(true);
    let bare = |request: PinRequest| PinRequest { chip: None, ..request };
    for key in 1..6 {
        let wrong = bare(chips.change(key, PIN_5678, PIN_2580));
        assert_eq!(chips.told(&wrong).await, (Some(Reason::FormatError), None));
    }
    assert_eq!(chips.card().pin_tries_used, 0);
    let unblock = World::request(10, Operation::Unblock);
    assert_eq!(chips.told(&unblock).await.0, Some(Reason::FormatError));
    let current = chips.block(PIN_1234).map(Into::into);
    let verify = PinRequest { current, ..World::request(11, Operation::Verify) };
    assert_eq!(chips.told(&verify).await, (None, None));
    let (chip, script) = vector(None);
    let unblock = PinRequest { chip: Some(chip), ..World::request(12, Operation::Unblock) };
    assert_eq!(chips.told(&unblock).await, (None, Some(script)));
    // A voice reaches no chip: nothing is asked of it that it cannot give.
    let voice =
        PinRequest { channel: Channel::CallCentre, ..World::request(13, Operation::Unblock) };
    assert_eq!(chips.told(&voice).await, (None, None));
}

/// The same change under sixteen keys at once: one of them is done, and one script leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_changes_leave_one_script() {
    for round in 0..8 {
        let chips = chips(false);
        let mut tasks = tokio::task::JoinSet::new();
        for key in 0..16 {
            let request = chips.change(100 * round + key, PIN_1234, PIN_2580);
            let switch = Arc::clone(&chips.switch);
            tasks.spawn(async move { switch.handle(&request).await });
        }
        let answers = tasks.join_all().await;
        let approved = answers.iter().filter(|answer| answer.outcome.reason().is_none()).count();
        let scripts = answers.iter().filter(|answer| answer.script.is_some()).count();
        assert_eq!((approved, scripts), (1, 1), "round {round}");
    }
}
