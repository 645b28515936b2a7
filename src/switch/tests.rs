//! The switch over the software HSM and an embedded store in a temporary directory: what concurrency must not break.
//!
//! PIN blocks and the PVV are those of the demo world (`deploy/demo/world.json`), computed by the Python package psec.

use std::sync::Arc;

use crate::card::embedded::{EmbeddedStore, StoreOptions};
use crate::card::product::{Product, Products};
use crate::card::record::{AccountStatus, AccountType, CardStatus, ProductKey};
use crate::card::{CardKey, CardRecord};
use crate::domain::clock::{Now, SystemClock};
use crate::domain::forward::Details;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::pan::Pan;
use crate::domain::pin::{BlockFormat, Method, PinRules, Reference, ZonePin};
use crate::domain::request::{
    CardName, Channel, LinkId, Operation, PinRequest, Rights, Trace, TransactionKey,
};
use crate::domain::vault::Vault;
use crate::host::Nodes;
use crate::hsm::Hsm;
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::SoftHsm;
use crate::route::Table;
use crate::switch::{Parts, Rules, Switch};

mod doors;
mod first;
mod scripts;

const PAN: &[u8] = b"4761739001010010";
const PIN_1234: &str = "6773584E4C616F77";
const PIN_5678: &str = "09AC44C7E013D0A9";
const PVV_1234: [u8; 4] = *b"8034";
const PVV_5678: [u8; 4] = *b"3128";

enum Test {}

impl Parts for Test {
    type Clock = SystemClock;
    type Hosts = Option<Arc<Nodes>>;
    type Hsm = Arc<SoftHsm>;
    type Store = EmbeddedStore;
}

type TestSwitch = Switch<Test>;

struct World {
    switch: Arc<TestSwitch>,
    hsm: Arc<SoftHsm>,
    _directory: tempfile::TempDir,
}

fn world() -> World {
    let clock = SystemClock::start();
    let key = |name, key_type, hex: &str| {
        let bytes = zeroize::Zeroizing::new(hex::decode(hex).unwrap());
        ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed).unwrap()
    };
    let keys = [
        key("zpk.atm", KeyType::Zpk, "2315208C9110AD40A8B6C7D5E5F20210"),
        key("pvk.visa", KeyType::Pvk, "0123456789ABCDEFFEDCBA9876543210"),
    ];
    let hsm = Arc::new(SoftHsm::from_clear(keys, &Lmk::demo(), Arc::new(clock)).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut store =
        EmbeddedStore::open(directory.path(), hsm.clone(), StoreOptions::new(Arc::new(clock)))
            .unwrap();
    let mut bulk = store.bulk("test").unwrap();
    bulk.put(card(&hsm), false).unwrap();
    bulk.finish().unwrap();
    let rules = Rules { products: Products::new([product(&hsm)]), routes: Table::default() };
    let parts =
        crate::switch::World { clock, hosts: None, hsm: hsm.clone(), store, vault: hsm.clone() };
    let switch = Arc::new(Switch::new(parts, rules));
    World { switch, hsm, _directory: directory }
}

fn product(hsm: &SoftHsm) -> Product {
    Product {
        name: "visa-debit".into(),
        key: ProductKey { organization: 600, logo: 1 },
        bin: "476173".into(),
        chip: false,
        issuer_script: None,
        method: Method::VisaPvv { pvk: hsm.key("pvk.visa").unwrap(), pvki: b'1' },
        rules: PinRules { lengths: 1 << 4, ..PinRules::default() },
        tries_max: 3,
        changes_per_day_max: None,
        allow_set: false,
        recoverable: false,
    }
}

fn card(hsm: &SoftHsm) -> CardRecord {
    let pan = Pan::parse(PAN).unwrap();
    CardRecord {
        pan_hash: hsm.pan_hash(&pan),
        sequence: 0,
        version: 0,
        sealed_pan: hsm.seal_pan(&pan).unwrap(),
        expiry: 9912,
        product: ProductKey { organization: 600, logo: 1 },
        status: CardStatus::Active,
        account_status: AccountStatus::Active,
        account_type: AccountType::Ordinary,
        pin_suppressed: false,
        pin_tries_used: 0,
        changes: 0,
        changes_day: 0,
        reference: Reference::Pvv(PVV_1234),
        undo: None,
        identities: None,
    }
}

impl World {
    fn request(key: u64, operation: Operation) -> PinRequest {
        PinRequest {
            key: key_of(key),
            operation,
            card: CardName::Pan { pan: Pan::parse(PAN).unwrap(), sequence: None },
            owner: None,
            current: None,
            new: None,
            fingerprint: None,
            chip: None,
            memo: None,
            original: None,
            wish: None,
            institution: None,
            details: Details::default(),
            channel: Channel::Atm,
            link: LinkId(0),
            rights: Rights {
                change: true,
                reverse: true,
                unblock: true,
                verify: true,
                set: true,
                reveal: true,
            },
            trace: Trace::default(),
            arrived: Now::ZERO,
            deadline: Now::from_hours(1),
        }
    }

    fn block(&self, hex: &str) -> Option<ZonePin> {
        let bytes = hex::decode(hex).unwrap();
        ZonePin::new(&bytes, BlockFormat::Iso0, self.hsm.key("zpk.atm").unwrap())
    }

    fn change(&self, key: u64, current: &str, new: &str) -> PinRequest {
        PinRequest {
            current: self.block(current).map(Into::into),
            new: self.block(new).map(Into::into),
            ..Self::request(key, Operation::Change)
        }
    }

    fn verify(&self, key: u64, current: &str) -> PinRequest {
        PinRequest {
            current: self.block(current).map(Into::into),
            ..Self::request(key, Operation::Verify)
        }
    }

    fn reverse(key: u64, original: u64) -> PinRequest {
        let original = Some(key_of(original));
        PinRequest { original, ..Self::request(key, Operation::Reverse) }
    }

    fn card(&self) -> Arc<CardRecord> {
        let hash = self.hsm.pan_hash(&Pan::parse(PAN).unwrap());
        self.switch.store().find(CardKey::Pan(hash, None)).unwrap()
    }

    /// What a caller is told: `None` approved.
    async fn told(&self, request: &PinRequest) -> Option<Reason> {
        self.switch.handle(request).await.outcome.reason()
    }

    /// Hands all requests over at once, from as many tasks, and returns what each was told.
    async fn told_at_once(&self, requests: Vec<PinRequest>) -> Vec<Option<Reason>> {
        let mut tasks = tokio::task::JoinSet::new();
        for request in requests {
            let switch = self.switch.clone();
            tasks.spawn(async move { switch.handle(&request).await.outcome.reason() });
        }
        tasks.join_all().await
    }
}

fn key_of(number: u64) -> TransactionKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    TransactionKey(key)
}

#[track_caller]
fn check_counts(told: &[Option<Reason>], want: &[(Option<Reason>, usize)]) {
    for (what, count) in want {
        let got = told.iter().filter(|t| *t == what).count();
        assert_eq!(got, *count, "{what:?} of {told:?}");
    }
}

#[tokio::test]
async fn a_change_makes_the_pvv_that_psec_makes_and_a_repeat_changes_nothing() {
    let world = world();
    let change = world.change(1, PIN_1234, PIN_5678);
    assert_eq!(world.told(&change).await, None);
    let after = world.card();
    assert_eq!(after.reference, Reference::Pvv(PVV_5678));

    let repeat = world.switch.handle(&change).await;
    assert!(repeat.repeated, "the stored answer");
    assert!(matches!(repeat.outcome, Outcome::Approved(_)));
    assert_eq!(world.card(), after, "a repeat changes nothing");
    assert_eq!(world.told(&world.change(2, PIN_1234, PIN_5678)).await, Some(Reason::WrongPin));
}

#[tokio::test]
async fn a_key_used_for_something_else_is_a_duplicate() {
    let world = world();
    assert_eq!(world.told(&world.change(1, PIN_1234, PIN_5678)).await, None);
    let before = world.card();
    assert_eq!(world.told(&world.verify(1, PIN_5678)).await, Some(Reason::Duplicate));
    assert_eq!(world.card(), before);
}

/// design.md rule 2: a thousand parallel guesses buy exactly three tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_parallel_wrong_guesses_buy_exactly_three() {
    let world = world();
    let guesses = (1..=1000).map(|key| world.verify(key, PIN_5678)).collect();
    let told = world.told_at_once(guesses).await;
    check_counts(&told, &[(Some(Reason::WrongPin), 3), (Some(Reason::TriesExceeded), 997)]);
    assert_eq!(world.card().pin_tries_used, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_request_sent_a_hundred_times_at_once_is_one_change() {
    let world = world();
    let requests = (0..100).map(|_| world.change(7, PIN_1234, PIN_5678)).collect();
    let told = world.told_at_once(requests).await;
    for answer in &told {
        assert!(matches!(answer, None | Some(Reason::InProgress)), "{answer:?}");
    }
    assert_eq!(world.card().version, 1, "one change");
    assert_eq!(world.card().reference, Reference::Pvv(PVV_5678));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_changes_with_one_current_pin_one_wins() {
    let world = world();
    // Three at most, so that the losers' wrong PINs do not use up the tries.
    let requests = (1..=3).map(|key| world.change(key, PIN_1234, PIN_5678)).collect();
    let told = world.told_at_once(requests).await;
    check_counts(&told, &[(None, 1), (Some(Reason::WrongPin), 2)]);
    assert_eq!(world.card().pin_tries_used, 2);
}

/// Losers of a conflict were told before the winner was published: they read the old card again, and fifty requests for
/// one card spent their retries on one batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_right_pins_at_once_are_all_right() {
    let world = world();
    for round in 0..4 {
        let first = round * 50 + 1;
        let requests = (first..first + 50).map(|key| world.verify(key, PIN_1234)).collect();
        let told = world.told_at_once(requests).await;
        check_counts(&told, &[(None, 50)]);
    }
    assert_eq!(world.card().version, 200, "one commit each");
}

#[tokio::test]
async fn a_reversal_puts_the_old_pin_back_once() {
    let world = world();
    assert_eq!(world.told(&world.change(1, PIN_1234, PIN_5678)).await, None);
    // A wrong guess in between belongs to the card, not to the change.
    assert_eq!(world.told(&world.verify(2, PIN_1234)).await, Some(Reason::WrongPin));
    assert_eq!(world.told(&World::reverse(3, 1)).await, None);
    assert_eq!(world.card().reference, Reference::Pvv(PVV_1234));
    assert_eq!(world.card().pin_tries_used, 1, "tries never go down by a reversal");
    let before = world.card();
    assert_eq!(world.told(&World::reverse(4, 1)).await, None, "already undone: accepted again");
    assert_eq!(world.card(), before);
}

#[tokio::test]
async fn a_reversal_after_a_later_change_finds_nothing_to_undo() {
    let world = world();
    assert_eq!(world.told(&world.change(1, PIN_1234, PIN_5678)).await, None);
    assert_eq!(world.told(&world.change(2, PIN_5678, PIN_1234)).await, None);
    assert_eq!(world.told(&World::reverse(3, 1)).await, Some(Reason::OriginalNotFound));
    assert_eq!(world.card().reference, Reference::Pvv(PVV_1234));
}

#[tokio::test]
async fn a_reversal_of_a_declined_change_is_accepted() {
    let world = world();
    assert_eq!(world.told(&world.change(1, PIN_5678, PIN_1234)).await, Some(Reason::WrongPin));
    let before = world.card();
    assert_eq!(world.told(&World::reverse(2, 1)).await, None);
    assert_eq!(world.card(), before);
}

#[tokio::test]
async fn a_reversal_that_comes_first_refuses_its_original() {
    let world = world();
    assert_eq!(world.told(&World::reverse(2, 1)).await, Some(Reason::OriginalNotFound));
    assert_eq!(world.told(&world.change(1, PIN_1234, PIN_5678)).await, Some(Reason::Duplicate));
    assert_eq!(world.card().reference, Reference::Pvv(PVV_1234));
}

/// A change and its reversal that cross: whatever the order, what both callers were told must fit the card.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_and_its_reversal_that_cross_agree_with_the_card() {
    let world = world();
    let mut pins = [(PIN_1234, PVV_1234), (PIN_5678, PVV_5678)];
    for round in 0..300 {
        let [(current, old), (new, fresh)] = pins;
        let (change, reversal) = (10_000 + round, 20_000 + round);
        let (change, reversal) =
            (world.change(change, current, new), World::reverse(reversal, change));
        let (told_change, told_reversal) =
            tokio::join!(tokio::spawn(told(&world, change)), tokio::spawn(told(&world, reversal)));
        let told = (told_change.unwrap(), told_reversal.unwrap());
        let now = world.card().reference;
        match told {
            // Undone, or declined because the reversal came first.
            (None, None) | (Some(Reason::Duplicate | Reason::InProgress), _) => {
                assert_eq!(now, Reference::Pvv(old), "round {round}: {told:?}");
            }
            // The reversal was not done for good: its sender repeats it.
            (None, Some(Reason::InProgress)) => {
                assert_eq!(now, Reference::Pvv(fresh), "round {round}: {told:?}");
                pins.swap(0, 1);
            }
            other => panic!("round {round}: {other:?}"),
        }
    }
}

fn told(
    world: &World,
    request: PinRequest,
) -> impl Future<Output = Option<Reason>> + Send + 'static {
    let switch = world.switch.clone();
    async move { switch.handle(&request).await.outcome.reason() }
}

#[tokio::test]
async fn work_for_a_caller_that_stopped_waiting_is_not_started() {
    let world = world();
    let late = PinRequest { deadline: Now::ZERO, ..world.change(1, PIN_1234, PIN_5678) };
    assert_eq!(world.told(&late).await, Some(Reason::Unavailable));
    assert_eq!(world.card().version, 0);
    assert_eq!(world.told(&world.change(1, PIN_1234, PIN_5678)).await, None, "the key is free");
}
