//! Tests of forwarded changes: the life of an intent on every branch, across restarts, checkpoints and trimming.

use super::*;
use crate::card::codec::decode_record;
use crate::card::{Settled, Settlement};
use crate::domain::forward::{Details, HostId};
use crate::domain::outcome::{Declined, HostCode};
use crate::domain::request::Tag;

pub(crate) fn forwarded(number: u64) -> Forwarded {
    Forwarded {
        host: HostId(u16::try_from(number % 2).unwrap()),
        stan: Stan(u32::try_from(number).unwrap()),
        transmitted: WallMillis(TODAY),
        pan: SealedPan([number.to_le_bytes()[0]; SealedPan::BYTES]),
        sequence: Some(1),
        institution: Tag::new(b"476173"),
        details: Details { expiry: Some(*b"4912"), ..Details::default() },
    }
}

pub(crate) fn of_card(number: u64) -> Entry {
    Entry { pan_hash: Some(PanHash([number.to_le_bytes()[0]; 16])), ..entry(number) }
}

pub(crate) fn unknown(number: u64) -> Entry {
    Entry { declined: Some(Reason::OutcomeUnknown.into()), ..of_card(number) }
}

pub(crate) fn host_declined(number: u64) -> Entry {
    let declined = Declined { reason: Reason::WrongPin, host: HostCode::new(b"55") };
    Entry { declined: Some(declined), ..of_card(number) }
}

pub(crate) fn not_sent(number: u64) -> Entry {
    Entry { declined: Some(Reason::NotSent.into()), ..of_card(number) }
}

pub(crate) fn reversed(number: u64) -> Settlement {
    let how = Settled::Reversed { host: HostId(1), code: HostCode::new(b"00") };
    Settlement { at: WallMillis(TODAY + number), how }
}

pub(crate) async fn intend<S: Store>(store: &S, number: u64) -> S::Claim {
    let claim = fresh(store, number).await;
    let intended = store.intend(claim, unknown(number), forwarded(number)).await;
    intended.map_err(|refused| refused.error).unwrap()
}

pub(crate) async fn end<S: Store>(store: &S, claim: S::Claim, entry: Entry) {
    let committed = store.commit(claim, Commit { card: None, entry, reopens: None }).await;
    let _ = committed.map_err(|refused| refused.error).unwrap();
}

/// A change that is forwarded and ends at once.
pub(crate) async fn forward<S: Store>(store: &S, number: u64, outcome: Entry) {
    let claim = intend(store, number).await;
    end(store, claim, outcome).await;
}

/// What a repeat is told: the reason, and the host's code.
pub(crate) async fn told<S: Store>(store: &S, number: u64) -> String {
    match store.transaction(key(number)).await.unwrap() {
        None => "free".to_owned(),
        Some(Seen::InProgress) => "in progress".to_owned(),
        Some(Seen::Duplicate) => "duplicate".to_owned(),
        Some(Seen::Fresh(())) => "fresh".to_owned(),
        Some(Seen::Answered(Outcome::Approved(_))) => "approved".to_owned(),
        Some(Seen::Answered(Outcome::Declined(declined))) => {
            let code = declined.host.map_or(String::new(), |host| format!(" {host:?}"));
            format!("{}{code}", declined.reason.label())
        }
    }
}

async fn unsettled(store: &EmbeddedStore) -> Vec<u64> {
    let list = store.unsettled(HostId::ALL, 100).await.unwrap();
    assert_eq!(store.unsettled_count(), list.len());
    list.iter().map(|change| u64::from(change.forwarded.stan.0)).collect()
}

#[tokio::test]
async fn each_outcome_leaves_what_it_should_and_a_restart_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    forward(&store, 1, of_card(1)).await;
    forward(&store, 2, host_declined(2)).await;
    forward(&store, 3, unknown(3)).await;
    forward(&store, 4, not_sent(4)).await;
    drop(intend(&store, 5).await);
    let late = Declined { reason: Reason::OutcomeUnknown, host: HostCode::new(b"68") };
    forward(&store, 6, Entry { declined: Some(late), ..of_card(6) }).await;
    for restart in ["live", "after a crash", "after a close"] {
        let mut all = Vec::new();
        for number in 1..=6 {
            all.push(told(&store, number).await);
        }
        let want = [
            "approved",
            "wrong_pin 55",
            "outcome_unknown",
            "free",
            "outcome_unknown",
            "outcome_unknown 68",
        ];
        assert_eq!(all, want, "{restart}");
        assert_eq!(unsettled(&store).await, [3, 5, 6], "{restart}");
        let change = store.forwarded(key(5), None).await.unwrap().unwrap();
        assert_eq!((&change.entry, &change.forwarded), (&unknown(5), &forwarded(5)));
        for number in [1, 2, 3] {
            let change = store.forwarded(key(number), None).await.unwrap().unwrap();
            assert_eq!(change.forwarded, forwarded(number), "{restart}");
            assert_eq!(change.entry, unknown(number), "{restart}");
        }
        assert!(store.forwarded(key(4), None).await.unwrap().is_none());
        assert_eq!(store.status().unsettled_since, Some(WallMillis(TODAY)));
        if restart == "live" {
            assert_eq!(store.last_stan(), None);
            drop(store);
        } else {
            assert_eq!(store.last_stan(), Some(Stan(6)));
            store.close().unwrap();
        }
        store = open(dir.path());
    }
    store.verify_audit(|_| {}).unwrap();
}

#[tokio::test]
async fn a_change_in_flight_is_in_progress_and_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let claim = intend(&store, 1).await;
    assert_eq!(told(&store, 1).await, "in progress");
    assert_eq!(unsettled(&store).await, [0; 0]);
    let change = store.forwarded(key(1), None).await.unwrap().unwrap();
    assert_eq!((change.sequence, &change.forwarded), (1, &forwarded(1)));
    assert_eq!(store.settle(key(1), reversed(1)).await, Err(StoreError::Conflict));
    drop(claim);
    assert_eq!(
        (told(&store, 1).await, unsettled(&store).await),
        ("outcome_unknown".into(), vec![1])
    );
}

#[tokio::test]
async fn what_is_in_flight_at_a_crash_is_unsettled_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let claim = intend(&store, 1).await;
    drop(store);
    drop(claim);
    let store = open(dir.path());
    assert_eq!(
        (told(&store, 1).await, unsettled(&store).await),
        ("outcome_unknown".into(), vec![1])
    );
}

#[tokio::test]
async fn nothing_sent_frees_the_key_for_another_intent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    forward(&store, 1, not_sent(1)).await;
    let claim = fresh(&store, 1).await;
    let again = Forwarded { stan: Stan(77), ..forwarded(1) };
    let claim = store.intend(claim, unknown(1), again.clone()).await.unwrap();
    end(&store, claim, of_card(1)).await;
    assert_eq!(told(&store, 1).await, "approved");
    drop(store);
    let store = open(dir.path());
    assert_eq!(told(&store, 1).await, "approved");
    assert_eq!(store.forwarded(key(1), None).await.unwrap().unwrap().forwarded, again);
    assert_eq!(store.last_stan(), Some(Stan(77)));
}

#[tokio::test]
async fn a_settled_change_stays_settled_and_keeps_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for number in 1..=3 {
        drop(intend(&store, number).await);
    }
    let receipt = store.settle(key(2), reversed(2)).await.unwrap();
    assert_eq!(receipt.sequence(), 4);
    let reason: Box<str> = "the node's operator said so".into();
    let by_hand = Settlement { at: WallMillis(TODAY), how: Settled::ByHand { reason } };
    let _ = store.settle(key(3), by_hand.clone()).await.unwrap();
    for restart in ["live", "after a crash", "after a close", "again"] {
        assert_eq!(unsettled(&store).await, [1], "{restart}");
        assert_eq!(told(&store, 2).await, "outcome_unknown", "{restart}");
        let twice = store.settle(key(2), reversed(2)).await;
        assert_eq!(twice, Err(StoreError::Conflict), "{restart}");
        let never = store.settle(key(9), by_hand.clone()).await;
        assert_eq!(never, Err(StoreError::Conflict), "{restart}");
        let change = store.forwarded(key(2), None).await.unwrap().unwrap();
        assert_eq!(change.forwarded, forwarded(2), "{restart}");
        if restart == "live" {
            drop(store);
        } else {
            store.close().unwrap();
        }
        store = open(dir.path());
    }
    let mut settled = Vec::new();
    store
        .journal
        .scan(4, &mut |_, bytes| {
            settled.push(decode_record(bytes).unwrap().body);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let want = [(key(2), reversed(2)), (key(3), by_hand)]
        .map(|(key, settlement)| Body::Settled { key, settlement });
    assert_eq!(settled, want);
}

#[tokio::test]
async fn two_settlements_in_one_batch_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(faults::Faults::default());
    let store = faults::open_faulty(dir.path(), &gate);
    drop(intend(&store, 1).await);
    gate.hold.store(true, Ordering::SeqCst);
    let release = async {
        while store.status().queue_depth == 9 {
            tokio::task::yield_now().await;
        }
        gate.hold.store(false, Ordering::SeqCst);
    };
    let all = futures_util::future::join_all((0..9).map(|n| store.settle(key(1), reversed(n))));
    let (told, ()) = tokio::join!(all, release);
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1);
    assert_eq!(told.iter().filter(|told| **told == Err(StoreError::Conflict)).count(), 8);
    assert_eq!((unsettled(&store).await, store.status().last_sequence), (vec![], 2));
}

#[tokio::test]
async fn what_is_open_outlives_checkpoint_retention_and_trimming() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut chore = Chore::new(&store);
    forward(&store, 1, of_card(1)).await;
    let flying = intend(&store, 2).await;
    drop(intend(&store, 3).await);
    drop(intend(&store, 4).await);
    let _ = store.settle(key(4), reversed(4)).await.unwrap();
    store.fold_all().unwrap();
    assert_eq!(store.status().checkpoint, 6);
    // Keys expire but for the open ones, and every record goes.
    chore.tick(WallMillis(TODAY + 30 * HOUR)).unwrap();
    let anchor = store.tables.trim(&*store.journal, 6, WallMillis(u64::MAX)).unwrap();
    assert_eq!(anchor.sequence, 6);
    assert_eq!([told(&store, 1).await, told(&store, 4).await], ["free", "free"]);
    assert_eq!([told(&store, 2).await, told(&store, 3).await], ["in progress", "outcome_unknown"]);
    drop(chore);
    drop(store);
    drop(flying);
    let later = clock();
    later.0.store(TODAY + 1000 * HOUR, Ordering::Relaxed);
    let options = StoreOptions::new(later);
    for restart in 0..3 {
        let store =
            EmbeddedStore::open(dir.path(), Arc::new(TestVault(7)), options.clone()).unwrap();
        assert_eq!(unsettled(&store).await, [2, 3], "{restart}");
        for number in [2, 3] {
            assert_eq!(told(&store, number).await, "outcome_unknown");
            let change = store.forwarded(key(number), None).await.unwrap().unwrap();
            assert_eq!((&change.entry, &change.forwarded), (&unknown(number), &forwarded(number)));
        }
        assert_eq!(store.last_stan(), Some(Stan(4)), "it is kept, too");
        store.close().unwrap();
    }
    let store = EmbeddedStore::open(dir.path(), Arc::new(TestVault(7)), options.clone()).unwrap();
    let _ = store.settle(key(2), reversed(2)).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path(), Arc::new(TestVault(7)), options).unwrap();
    assert_eq!(unsettled(&store).await, [3]);
    store.verify_audit(|_| {}).unwrap();
}

/// The checkpoint between an intent and its outcome, at every place, and the crash after each.
#[tokio::test]
async fn a_checkpoint_anywhere_in_a_life_gives_the_same_after_a_restart() {
    for fold_at in 0..=6 {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let fold = |step: u64| {
            if step == fold_at {
                store.fold_all().unwrap();
            }
        };
        fold(0);
        let one = intend(&store, 1).await;
        fold(1);
        let two = intend(&store, 2).await;
        fold(2);
        end(&store, one, of_card(1)).await;
        fold(3);
        end(&store, two, unknown(2)).await;
        fold(4);
        let change = store.forwarded(key(1), None).await.unwrap();
        let reversal =
            Entry { operation: Operation::Reverse, original: Some(key(1)), ..of_card(3) };
        let claim = fresh(&store, 3).await;
        let commit = Commit { card: None, entry: reversal, reopens: change };
        let _ = store.commit(claim, commit).await.unwrap();
        fold(5);
        let _ = store.settle(key(2), reversed(2)).await.unwrap();
        fold(6);
        drop(store);
        for _ in 0..2 {
            let store = open(dir.path());
            assert_eq!(unsettled(&store).await, [1], "folded at {fold_at}");
            let all = [told(&store, 1).await, told(&store, 2).await, told(&store, 3).await];
            assert_eq!(all, ["approved", "outcome_unknown", "approved"], "folded at {fold_at}");
            store.close().unwrap();
        }
    }
}

#[tokio::test]
async fn a_reversal_reopens_once_and_lists_in_the_order_of_sending() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    forward(&store, 1, of_card(1)).await;
    drop(intend(&store, 2).await);
    for (reversal, original) in [(11, 2), (12, 1), (13, 1)] {
        let reopens = store.forwarded(key(original), None).await.unwrap();
        assert!(reopens.is_some());
        let claim = fresh(&store, reversal).await;
        let entry = Entry { original: Some(key(original)), ..of_card(reversal) };
        let _ = store.commit(claim, Commit { card: None, entry, reopens }).await.unwrap();
    }
    assert_eq!(unsettled(&store).await, [1, 2]);
    assert_eq!(told(&store, 1).await, "approved", "the answer stays");
    let _ = store.settle(key(1), reversed(1)).await.unwrap();
    assert_eq!(unsettled(&store).await, [2]);
    drop(store);
    assert_eq!(unsettled(&open(dir.path())).await, [2]);
}

#[tokio::test]
async fn a_change_in_flight_is_not_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let _flying = intend(&store, 1).await;
    let reopens = store.forwarded(key(1), None).await.unwrap();
    let claim = fresh(&store, 2).await;
    let entry = Entry { original: Some(key(1)), ..of_card(2) };
    let refused = store.commit(claim, Commit { card: None, entry, reopens }).await.unwrap_err();
    assert_eq!(refused.error, StoreError::Conflict);
    assert!(refused.claim.is_some(), "to be judged again");
}

/// A reversal copies institution, trace number and terminal, and perhaps nothing else.
#[tokio::test]
async fn the_newest_change_of_the_card_with_the_same_trace_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let with_rest = |rest: u8, card: u8| Entry {
        key: TransactionKey([[5; 8], [rest; 8]].concat().try_into().unwrap()),
        pan_hash: Some(PanHash([card; 16])),
        ..unknown(u64::from(rest))
    };
    for (rest, card) in [(1, 1), (2, 1), (3, 2)] {
        let entry = with_rest(rest, card);
        let Seen::Fresh(claim) = store.claim(entry.key, entry.fingerprint).await.unwrap() else {
            panic!("taken");
        };
        let claim = store.intend(claim, entry.clone(), forwarded(u64::from(rest))).await.unwrap();
        let _ = store
            .commit(
                claim,
                Commit { card: None, entry: Entry { declined: None, ..entry }, reopens: None },
            )
            .await
            .unwrap();
    }
    let asked = with_rest(9, 0).key;
    let check = async |store: &EmbeddedStore| {
        for (card, want) in [(1, Some(2)), (2, Some(3)), (3, None)] {
            let found = store.forwarded(asked, Some(PanHash([card; 16]))).await.unwrap();
            assert_eq!(found.map(|change| change.forwarded.stan.0), want, "card {card}");
        }
        assert!(store.forwarded(asked, None).await.unwrap().is_none());
        let exact = store.forwarded(with_rest(1, 1).key, Some(PanHash([1; 16]))).await.unwrap();
        assert_eq!(exact.unwrap().forwarded.stan, Stan(1), "the key itself comes first");
        // Its sender is not told that it was not found.
        let claim = fresh(store, 20).await;
        let reversal = Entry {
            declined: Some(Reason::OriginalNotFound.into()),
            original: Some(asked),
            pan_hash: Some(PanHash([1; 16])),
            ..entry(20)
        };
        let commit = Commit { card: None, entry: reversal, reopens: None };
        let refused = store.commit(claim, commit).await.unwrap_err();
        assert_eq!(refused.error, StoreError::Conflict);
    };
    check(&store).await;
    drop(store);
    let store = open(dir.path());
    check(&store).await;
    // They are forgotten with their keys.
    Chore::new(&store).tick(WallMillis(TODAY + 30 * HOUR)).unwrap();
    assert!(store.forwarded(asked, Some(PanHash([1; 16]))).await.unwrap().is_none());
}

#[tokio::test]
async fn a_reversal_is_not_told_that_a_forwarded_original_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let not_found = |number| Entry {
        declined: Some(Reason::OriginalNotFound.into()),
        original: Some(key(1)),
        // Without a card, so that the key alone decides.
        ..entry(number)
    };
    let try_it = async |number| {
        let claim = fresh(&store, number).await;
        let commit = Commit { card: None, entry: not_found(number), reopens: None };
        store.commit(claim, commit).await.map_err(|refused| refused.error)
    };
    let claim = intend(&store, 1).await;
    assert_eq!(try_it(11).await, Err(StoreError::Conflict), "in flight");
    end(&store, claim, of_card(1)).await;
    assert_eq!(try_it(12).await, Err(StoreError::Conflict), "approved");
    drop(store);
    let store = open(dir.path());
    let claim = fresh(&store, 13).await;
    let commit = Commit { card: None, entry: not_found(13), reopens: None };
    let refused = store.commit(claim, commit).await.unwrap_err();
    assert_eq!(refused.error, StoreError::Conflict, "approved before the restart");
}

#[tokio::test]
async fn open_changes_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { unsettled_max: 2, ..options() };
    let store = EmbeddedStore::open(dir.path(), Arc::new(TestVault(7)), options).unwrap();
    let refused = async |number| {
        let claim = fresh(&store, number).await;
        let refused = store.intend(claim, unknown(number), forwarded(number)).await.unwrap_err();
        assert!(refused.claim.is_none());
        assert_eq!(told(&store, number).await, "free");
        refused.error
    };
    let one = intend(&store, 1).await;
    drop(intend(&store, 2).await);
    assert_eq!(refused(3).await, StoreError::Full);
    // Each end gives its place back: an answer, nothing sent, a settlement.
    end(&store, one, of_card(1)).await;
    forward(&store, 3, not_sent(3)).await;
    forward(&store, 4, host_declined(4)).await;
    let _flying = intend(&store, 5).await;
    assert_eq!(refused(6).await, StoreError::Full);
    // A caller takes a change back that has ended: refused, but for one that is open anyway.
    for (reversal, original, want) in [(11, 1, Err(StoreError::Full)), (12, 2, Ok(()))] {
        let reopens = store.forwarded(key(original), None).await.unwrap();
        let claim = fresh(&store, reversal).await;
        let commit = Commit { card: None, entry: of_card(reversal), reopens };
        let told = store.commit(claim, commit).await;
        assert_eq!(told.map(|_| ()).map_err(|refused| refused.error), want);
    }
    let _ = store.settle(key(2), reversed(2)).await.unwrap();
    drop(intend(&store, 6).await);
    assert_eq!(refused(7).await, StoreError::Full);
    assert_eq!(unsettled(&store).await, [6]);
}

#[tokio::test]
async fn a_note_is_in_the_chain_and_cut_at_a_character() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let text = format!("{}é and more", "x".repeat(crate::limits::NOTE_BYTES_MAX - 1));
    let _ = store.note(Note { at: WallMillis(TODAY), text: text.into() }).await.unwrap();
    let record = checkpoint::read(&*store.journal, 1).unwrap().unwrap();
    let want = "x".repeat(crate::limits::NOTE_BYTES_MAX - 1);
    assert_eq!((record.at, record.body), (WallMillis(TODAY), Body::Note(want.into())));
    forward(&store, 2, unknown(2)).await;
    let _ = store.settle(key(2), reversed(2)).await.unwrap();
    assert_eq!(store.verify_audit(|_| {}).unwrap().records, 4, "every kind is walked");
}

#[tokio::test]
async fn a_directory_of_the_first_format_opens_and_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, 1, None).await.unwrap();
    store.tables.set_format(1).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(told(&store, 1).await, "approved");
    assert_eq!(store.tables.format().unwrap(), Some(2));
    assert_eq!((unsettled(&store).await, store.last_stan()), (vec![], None));
}
