//! Import and export against the demo world, whose values were computed by another program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::card::embedded::EmbeddedStore;
use crate::card::embedded::tests::{TestVault, options};
use crate::card::record::{AccountStatus, AccountType, CardStatus, ProductKey};
use crate::card::{CardKey, CardRecord};
use crate::domain::pin::{LmkPin, Method, PinRules};
use crate::domain::request::IdentityKind;

const WORLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/world.json");

/// The products of the demo world, as far as an import looks at them.
pub(crate) fn products() -> Products {
    let world: serde_json::Value = serde_json::from_slice(&std::fs::read(WORLD).unwrap()).unwrap();
    let number = |v: &serde_json::Value| u16::try_from(v.as_u64().unwrap()).unwrap();
    Products::new(world["products"].as_object().unwrap().iter().map(|(name, product)| Product {
        name: name.as_str().into(),
        key: ProductKey {
            organization: number(&product["organization"]),
            logo: number(&product["logo"]),
        },
        bin: product["bin"].as_str().unwrap().into(),
        chip: product["chip"].as_bool().unwrap(),
        issuer_script: None,
        method: Method::LmkPin,
        rules: PinRules::default(),
        tries_max: 3,
        changes_per_day_max: None,
        allow_set: false,
        recoverable: false,
    }))
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, Arc::new(TestVault(7)), options()).unwrap()
}

fn import_into(store: &mut EmbeddedStore, path: &Path) -> Result<u64, ImportError> {
    let mut by = Import {
        vault: &TestVault(7),
        products: &products(),
        replace: false,
        reference: &mut |_, _, pin| match pin {
            Some(_) => Ok(Reference::Lmk(LmkPin([1; 16]))),
            None => Err("no reference and no PIN"),
        },
        progress: &mut |_| {},
    };
    import(store, path, &mut by)
}

fn find(store: &EmbeddedStore, pan: &str, seq: u16) -> Arc<CardRecord> {
    let hash = TestVault(7).pan_hash(&Pan::parse(pan.as_bytes()).unwrap());
    store.find(CardKey::Pan(hash, Some(seq))).unwrap()
}

#[test]
fn the_demo_world_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    assert_eq!(import_into(&mut store, Path::new(WORLD)).unwrap(), 16);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.status().cards, 16);

    let plain = find(&store, "4761739001010010", 0);
    assert_eq!(plain.reference, Reference::Pvv(*b"8034"));
    assert_eq!((plain.expiry, plain.product), (3012, ProductKey { organization: 600, logo: 1 }));
    let offset = find(&store, "5413340089010011", 0);
    let digits = [9, 1, 5, 2, 9, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(offset.reference, Reference::Offset { digits, len: 5 });
    let lmk = find(&store, "5413330089010012", 1);
    assert_eq!(lmk.reference, Reference::Lmk(LmkPin([1; 16])));

    let states: Vec<_> = ["28", "44", "93"]
        .map(|end| find(&store, &format!("47617390010100{end}"), 0).status)
        .into();
    assert_eq!(states, [CardStatus::Blocked, CardStatus::NotActivated, CardStatus::Closed]);
    assert_eq!(find(&store, "4761739001010101", 0).status, CardStatus::Lost);
    assert_eq!(find(&store, "4761739001010119", 0).status, CardStatus::Stolen);
    assert!(find(&store, "4761739001010051", 0).pin_suppressed);
    assert_eq!(find(&store, "4761739001010069", 0).pin_tries_used, 3);
    let blocked = find(&store, "4761739001010077", 0);
    assert_eq!(blocked.account_status, AccountStatus::Blocked);
    assert_eq!(find(&store, "4761739001010085", 0).account_type, AccountType::NotAllowed);

    for (kind, value) in [
        (IdentityKind::PaymentInstrument, "0009544410000000011"),
        (IdentityKind::PanToken, "000123456ID5IXX1234"),
        (IdentityKind::CardId, "9eefa38e-6db4-40de-bc1b-719cd9d2cf05"),
    ] {
        assert!(store.find(CardKey::Identity(kind, value)).is_some(), "{kind:?}");
    }
}

#[test]
fn what_is_exported_comes_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir.path().join("one"));
    import_into(&mut store, Path::new(WORLD)).unwrap();
    for (form, name) in [(Form::Csv, "cards.csv"), (Form::Json, "cards.json")] {
        let file = dir.path().join(name);
        let out = File::create(&file).unwrap();
        assert_eq!(export(&store, &TestVault(7), form, out, |_| {}).unwrap(), 16);
        let mut other = open(&dir.path().join(name).with_extension(""));
        assert_eq!(import_into(&mut other, &file).unwrap(), 16, "{name}");
        store.each_card(|card| {
            let key = CardKey::Pan(card.pan_hash, Some(card.sequence));
            assert_eq!(other.find(key).as_ref(), Some(card));
        });
        drop(other);
        std::fs::remove_dir_all(dir.path().join(name).with_extension("")).unwrap();
    }
}

#[track_caller]
fn check_refused(name: &str, content: &str, want: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join(name);
    std::fs::write(&file, content).unwrap();
    let mut store = open(&dir.path().join("store"));
    let error = import_into(&mut store, &file).unwrap_err().to_string();
    assert_eq!(error, format!("{}:{want}", file.display()));
    assert_eq!(store.status().cards, 0, "a refused file changes nothing");
}

#[test]
fn errors_name_line_and_column_and_no_number() {
    const HEAD: &str = "pan,seq,expiry,product,status,pvv\n";
    const GOOD: &str = "4761739001010010,000,3012,visa-debit,active,8034\n";
    let csv = |rows: &str, want: &str| check_refused("c.csv", &format!("{HEAD}{GOOD}{rows}"), want);
    csv("476173900101,000,3012,visa-debit,active,8034", "3: pan: 13 to 19 digits wanted");
    csv(
        "4761739001010028,000,3013,visa-debit,active,8034",
        "3: expiry: YYMM wanted, with a month of 01 to 12",
    );
    csv("4761739001010028,x,3012,visa-debit,active,8034", "3: seq: 0 to 999 wanted");
    csv(
        "4761739001010028,000,3012,visa,active,8034",
        "3: product: no such product in the configuration",
    );
    csv("4761739001010028,000,3012,visa-debit,asleep,8034", "3: status: word not known");
    csv("4761739001010028,000,3012,visa-debit,active,80345", "3: pvv: 4 digits wanted");
    csv(
        "4761739001010028,000,3012,visa-debit,active,",
        "3: pin_for_tests: no reference and no PIN",
    );
    csv("4761739001010028,000", "3: row: 2 columns, the header has 6");
    csv(GOOD, "3: pan: card 476173******0010 stands in the file twice");
    check_refused(
        "c.csv",
        "pan,PIN\n",
        &format!("1: row: column \"PIN\" is not known; known: {}", COLUMNS.join(" ")),
    );
    check_refused("c.json", "[{\"pan\": 47617", "0: row: not JSON (line 1, column 14)");
    check_refused(
        "c.json",
        "[{\"pan\": \"4761739001010010\"}]",
        "1: product: product, or organization and logo, wanted",
    );
}

#[test]
fn a_card_that_is_there_is_refused_unless_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    import_into(&mut store, Path::new(WORLD)).unwrap();
    let error = import_into(&mut store, Path::new(WORLD)).unwrap_err().to_string();
    let want = "1: pan: the card is in the store already: allow replacing, or leave it out \
                (card 476173******0010)";
    assert_eq!(error, format!("{WORLD}:{want}"));
    let mut by = Import {
        vault: &TestVault(7),
        products: &products(),
        replace: true,
        reference: &mut |_, _, _| Ok(Reference::None),
        progress: &mut |_| {},
    };
    assert_eq!(import(&mut store, Path::new(WORLD), &mut by).unwrap(), 16);
    assert_eq!(find(&store, "4761739001010010", 0).version, 2);
    let report = store.verify_audit(|_| {}).unwrap();
    assert_eq!(report.records, 2, "one audit record for each file that was written");
}
