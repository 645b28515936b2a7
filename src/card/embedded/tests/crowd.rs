//! Many threads that intend, commit, reverse and settle at random, against a model; then a restart, and again.

use std::collections::BTreeMap;

use super::forwarded::{end, host_declined, intend, of_card, reversed, unknown};
use super::*;

const THREADS: u64 = 8;
const KEYS_EACH: u64 = 150;

/// What a key must answer, and whether its change is listed.
pub(crate) type Model = BTreeMap<u64, (Option<&'static str>, bool)>;

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        // Steele, Lea, Flood: SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// One life of one key; what it must have come to.
pub(crate) async fn live(
    store: &impl Store,
    number: u64,
    dice: &mut Dice,
) -> (Option<&'static str>, bool) {
    let claim = intend(store, number).await;
    let (answer, mut open) = match dice.throw(5) {
        0 => {
            drop(claim);
            ("outcome_unknown", true)
        }
        1 => {
            end(store, claim, unknown(number)).await;
            ("outcome_unknown", true)
        }
        2 => {
            end(store, claim, host_declined(number)).await;
            ("wrong_pin", false)
        }
        3 => {
            let declined = Some(Reason::NotSent.into());
            end(store, claim, Entry { declined, ..of_card(number) }).await;
            return (None, false);
        }
        _ => {
            end(store, claim, of_card(number)).await;
            ("approved", false)
        }
    };
    for turn in 0..dice.throw(4) {
        if dice.throw(2) == 0 {
            let told = store.settle(key(number), reversed(turn)).await;
            assert_eq!(told.is_ok(), open, "{number}: {told:?}");
            open = false;
        } else {
            let reopens = store.forwarded(key(number), None).await.unwrap();
            assert!(reopens.is_some(), "{number}");
            let reversal = 1_000_000 + number * 10 + turn;
            let claim = fresh(store, reversal).await;
            let entry = Entry { original: Some(key(number)), ..of_card(reversal) };
            let told = store.commit(claim, Commit { card: None, entry, reopens }).await;
            let _ = told.map_err(|refused| refused.error).unwrap();
            open = true;
        }
    }
    (Some(answer), open)
}

async fn check(store: &EmbeddedStore, model: &Model, when: &str) {
    check_books(store, model, when).await;
    let open = model.values().filter(|(_, open)| *open).count();
    assert_eq!(store.unsettled_count(), open, "{when}");
}

/// That lists and answers are those of the model.
pub(crate) async fn check_books(store: &impl Store, model: &Model, when: &str) {
    let listed = store.unsettled(HostId::ALL, usize::MAX).await.unwrap();
    assert!(listed.is_sorted_by_key(|change| change.sequence), "{when}");
    let listed: Vec<_> = listed.iter().map(|change| change.entry.fingerprint.0).collect();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    let want: Vec<_> = model.iter().filter(|(_, (_, open))| *open).map(|(n, _)| *n).collect();
    assert_eq!(sorted, want, "{when}");
    for (number, (answer, _)) in model {
        let told = match store.transaction(key(*number)).await.unwrap() {
            None => None,
            Some(Seen::Answered(Outcome::Approved(_))) => Some("approved"),
            Some(Seen::Answered(Outcome::Declined(declined))) => Some(declined.reason.label()),
            other => panic!("{when}: {number} is {other:?}"),
        };
        assert_eq!(told, *answer, "{when}: {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_at_once_agree_with_the_model_and_so_does_every_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    for round in 0..3 {
        let store = Arc::new(open(dir.path()));
        check(&store, &model, &format!("opened for round {round}")).await;
        let mut tasks = tokio::task::JoinSet::new();
        for thread in 0..THREADS {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let mut dice = Dice(round * 100 + thread);
                let mut lived = Model::new();
                let first = (round * THREADS + thread) * KEYS_EACH + 1;
                for number in first..first + KEYS_EACH {
                    lived.insert(number, live(&*store, number, &mut dice).await);
                    if number == first + KEYS_EACH / 2 && thread == 0 {
                        store.fold_all().unwrap();
                    }
                }
                lived
            });
        }
        for lived in tasks.join_all().await {
            model.extend(lived);
        }
        check(&store, &model, &format!("round {round}")).await;
        let store = Arc::into_inner(store).unwrap();
        if round == 1 {
            store.close().unwrap();
        }
    }
    let store = open(dir.path());
    check(&store, &model, "at the end").await;
    store.verify_audit(|_| {}).unwrap();
}

/// A forwarded change and its reversal that cross, as the switch judges: the sender of the reversal is never told that
/// its original was not found, unless the original is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forwarded_change_and_its_reversal_that_cross_agree() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let mut seen = [0; 3];
    for round in 1..=400 {
        let reversal = 1_000_000 + round;
        let (change, reverse) = (Arc::clone(&store), Arc::clone(&store));
        let change = tokio::spawn(async move {
            let Seen::Fresh(claim) = change.claim(key(round), Fingerprint(round)).await.unwrap()
            else {
                return false;
            };
            if round % 3 == 0 {
                tokio::task::yield_now().await;
            }
            let claim =
                change.intend(claim, unknown(round), forwarded::forwarded(round)).await.unwrap();
            end(&*change, claim, of_card(round)).await;
            true
        });
        let reverse = tokio::spawn(async move { judge(&*reverse, reversal, round).await });
        let (sent, told) = (change.await.unwrap(), reverse.await.unwrap());
        let listed = store.unsettled(HostId::ALL, 9).await.unwrap();
        match (sent, told) {
            (false, Some(Reason::OriginalNotFound)) => seen[0] += 1,
            (true, Some(Reason::InProgress)) => seen[1] += 1,
            (true, None) => {
                assert_eq!(listed.len(), 1, "round {round}");
                let _ = store.settle(key(round), reversed(1)).await.unwrap();
                seen[2] += 1;
                continue;
            }
            other => panic!("round {round}: {other:?}"),
        }
        assert_eq!(listed.len(), 0, "round {round}");
    }
    assert!(seen.iter().filter(|count| **count != 0).count() > 1, "they did cross: {seen:?}");
}

/// `switch::reversal` in short.
pub(crate) async fn judge(store: &impl Store, number: u64, original: u64) -> Option<Reason> {
    let mut claim = fresh(store, number).await;
    loop {
        let entry = Entry { original: Some(key(original)), ..of_card(original) };
        let entry = Entry { key: key(number), fingerprint: Fingerprint(number), ..entry };
        let change = store.forwarded(key(original), entry.pan_hash).await.unwrap();
        let (declined, reopens) = match (store.transaction(key(original)).await.unwrap(), change) {
            (Some(Seen::InProgress), _) => return Some(Reason::InProgress),
            (_, Some(change)) => (None, Some(change)),
            (_, None) => (Some(Reason::OriginalNotFound), None),
        };
        let entry = Entry { declined: declined.map(Into::into), ..entry };
        match store.commit(claim, Commit { card: None, entry, reopens }).await {
            Ok(_) => return declined,
            Err(refused) => claim = refused.claim.unwrap(),
        }
    }
}
