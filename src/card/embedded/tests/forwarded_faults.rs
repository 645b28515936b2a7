//! Tests of forwarded changes under faults: lost writes, failed syncs, callers that go away, full queues.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use super::faults::{Faults, open_faulty};
use super::forwarded::{end, forwarded, intend, of_card, reversed, unknown};
use super::*;
use crate::limits::{COMMIT_BATCH_MAX, COMMIT_QUEUE_MAX};

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn stans(store: &EmbeddedStore) -> Vec<u32> {
    store
        .unsettled(HostId::ALL, 100)
        .await
        .unwrap()
        .iter()
        .map(|change| change.forwarded.stan.0)
        .collect()
}

fn is_unknown(seen: Option<&Seen<()>>) -> bool {
    let unknown = |outcome: &Outcome<Receipt>| outcome.reason() == Some(Reason::OutcomeUnknown);
    matches!(seen, Some(Seen::Answered(outcome)) if unknown(outcome))
}

#[tokio::test]
async fn an_acknowledged_intent_is_there_after_a_crash_and_an_outcome_that_was_not_synced_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(dir.path(), &faults);
    faults.lose_unsynced.store(true, Ordering::SeqCst);
    let (one, two) = (intend(&store, 1).await, intend(&store, 2).await);
    end(&store, one, of_card(1)).await;
    faults.fail_after.store(1, Ordering::SeqCst);
    let failed = store.commit(two, Commit { card: None, entry: of_card(2), reopens: None }).await;
    assert_eq!(failed.unwrap_err().error, StoreError::Poisoned);
    // Until the restart nobody knows what is on disk: not answered, not reversed.
    assert!(matches!(store.transaction(key(2)).await.unwrap(), Some(Seen::InProgress)));
    assert_eq!(store.unsettled(HostId::ALL, 9).await.unwrap_err(), StoreError::Poisoned);
    assert_eq!(store.list_unsettled(9).len(), 0);
    assert_eq!(store.settle(key(2), reversed(2)).await, Err(StoreError::Poisoned));
    let note = Note { at: WallMillis(TODAY), text: "x".into() };
    assert_eq!(store.note(note).await, Err(StoreError::Poisoned));
    store.close().unwrap();

    let store = open(dir.path());
    assert_eq!(stans(&store).await, [2]);
    assert!(is_unknown(store.transaction(key(2)).await.unwrap().as_ref()));
    let one = store.transaction(key(1)).await.unwrap();
    assert!(matches!(one, Some(Seen::Answered(Outcome::Approved(_)))), "{one:?}");
    store.verify_audit(|_| {}).unwrap();
}

#[tokio::test]
async fn an_intent_whose_sync_failed_is_refused_and_gives_its_place_back() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(dir.path(), &faults);
    faults.lose_unsynced.store(true, Ordering::SeqCst);
    faults.fail_after.store(1, Ordering::SeqCst);
    let claim = fresh(&store, 1).await;
    let refused = store.intend(claim, unknown(1), forwarded(1)).await.unwrap_err();
    assert_eq!((refused.error, refused.claim.is_none()), (StoreError::Poisoned, true));
    assert!(matches!(store.transaction(key(1)).await.unwrap(), Some(Seen::InProgress)));
    drop(store);
    let store = open(dir.path());
    assert!(store.transaction(key(1)).await.unwrap().is_none());
    assert_eq!(stans(&store).await, [0; 0]);
}

#[tokio::test]
async fn a_claim_dropped_after_the_poison_is_unsettled_and_so_it_is_after_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(dir.path(), &faults);
    let (one, two) = (intend(&store, 1).await, intend(&store, 2).await);
    faults.fail_after.store(1, Ordering::SeqCst);
    let _ = commit(&store, 9, None).await.unwrap_err();
    let late = store.commit(one, Commit { card: None, entry: of_card(1), reopens: None }).await;
    assert_eq!(late.unwrap_err().error, StoreError::Poisoned);
    drop(two);
    assert_eq!(store.list_unsettled(9).len(), 2);
    for number in [1, 2] {
        assert!(is_unknown(store.transaction(key(number)).await.unwrap().as_ref()));
    }
    drop(store);
    assert_eq!(stans(&open(dir.path())).await, [1, 2]);
}

#[tokio::test]
async fn a_caller_that_goes_away_in_an_intent_or_an_outcome_leaves_what_holds() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(dir.path(), &faults);
    let two = intend(&store, 2).await;
    faults.hold.store(true, Ordering::SeqCst);
    let claim = fresh(&store, 1).await;
    let mut intent = Box::pin(store.intend(claim, unknown(1), forwarded(1)));
    assert!(poll(intent.as_mut()).is_pending());
    drop(intent);
    let outcome = Commit { card: None, entry: of_card(2), reopens: None };
    let mut outcome = Box::pin(store.commit(two, outcome));
    assert!(poll(outcome.as_mut()).is_pending());
    drop(outcome);
    assert!(matches!(store.transaction(key(1)).await.unwrap(), Some(Seen::InProgress)));
    faults.hold.store(false, Ordering::SeqCst);
    // Behind both in the queue.
    commit(&store, 3, None).await.unwrap();
    let check = async |store: &EmbeddedStore| {
        assert_eq!(stans(store).await, [1]);
        assert!(is_unknown(store.transaction(key(1)).await.unwrap().as_ref()));
        let two = store.transaction(key(2)).await.unwrap();
        assert!(matches!(two, Some(Seen::Answered(Outcome::Approved(_)))), "{two:?}");
    };
    check(&store).await;
    drop(store);
    check(&open(dir.path())).await;
}

/// Intents are shed, outcomes wait; one that stops waiting is unsettled.
#[tokio::test]
async fn a_full_queue_sheds_intents_and_never_an_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(dir.path(), &faults);
    let most = u64::try_from(COMMIT_QUEUE_MAX + COMMIT_BATCH_MAX).unwrap();
    let (one, two) = (intend(&store, most + 1).await, intend(&store, most + 2).await);
    faults.hold.store(true, Ordering::SeqCst);
    let mut waiting = Vec::new();
    for number in 0..=most {
        let claim = fresh(&store, number).await;
        let commit = Commit { card: None, entry: entry(number), reopens: None };
        let mut commit = Box::pin(store.commit(claim, commit));
        match poll(commit.as_mut()) {
            Poll::Pending => waiting.push(commit),
            Poll::Ready(answer) => {
                assert_eq!(answer.unwrap_err().error, StoreError::Full);
                break;
            }
        }
    }
    let claim = fresh(&store, most + 3).await;
    let shed = store.intend(claim, unknown(most + 3), forwarded(3)).await.unwrap_err();
    assert_eq!(shed.error, StoreError::Full);
    let outcome = |number| Commit { card: None, entry: of_card(number), reopens: None };
    let mut waits = Box::pin(store.commit(one, outcome(most + 1)));
    assert!(poll(waits.as_mut()).is_pending());
    let mut gives_up = Box::pin(store.commit(two, outcome(most + 2)));
    assert!(poll(gives_up.as_mut()).is_pending());
    drop(gives_up);
    assert!(is_unknown(store.transaction(key(most + 2)).await.unwrap().as_ref()));
    faults.hold.store(false, Ordering::SeqCst);
    for commit in waiting {
        let _ = commit.await.unwrap();
    }
    let _ = waits.await.unwrap();
    let list = store.unsettled(HostId::ALL, 9).await.unwrap();
    assert_eq!(list.iter().map(|change| change.entry.key).collect::<Vec<_>>(), [key(most + 2)]);
}

#[tokio::test]
async fn a_panic_of_the_request_leaves_the_change_unsettled() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let task = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let _claim = intend(&*store, 1).await;
            panic!("injected");
        })
    };
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(stans(&store).await, [1]);
    assert!(is_unknown(store.transaction(key(1)).await.unwrap().as_ref()));
}
