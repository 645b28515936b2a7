//! Tests of the store over a real PostgreSQL: what the embedded store promises, and what several switches add to it.
//!
//! Helpers and scenes are those of the embedded store's tests wherever they speak of the trait.

use std::sync::Arc;

use super::*;
use crate::card::Settled;
use crate::card::embedded::tests::crowd::{Dice, Model, check_books, judge, live};
use crate::card::embedded::tests::forwarded::{
    end, forward, forwarded, host_declined, intend, not_sent, of_card, reversed, told, unknown,
};
use crate::card::embedded::tests::{TestClock, TestVault, card, entry, fresh, key, pan};
use crate::card::record::{CardRecord, Identities, Undo};
use crate::domain::clock::WallMillis;
use crate::domain::pin::Reference;
use crate::domain::request::{IdentityKind, Operation};

mod broken;
mod nodes;
mod once;
#[path = "../../../tests/support/ports.rs"]
mod ports;
mod race;
mod retention;
#[path = "../../../tests/support/postgres.rs"]
mod support;

use support::Cluster;

const TODAY: u64 = 1_795_305_600_000;

/// A database with the schema.
async fn database() -> String {
    let url = Cluster::shared().database();
    let report = migrate(&url, None).await.unwrap();
    assert_eq!(report, MigrationReport { from: 0, to: SCHEMA_VERSION });
    url
}

fn options(url: &str, node: u16) -> PostgresOptions {
    let clock = Arc::new(TestClock(TODAY.into()));
    PostgresOptions { connections: 4, ..PostgresOptions::new(url.to_owned(), node, clock) }
}

async fn open(options: PostgresOptions) -> PostgresStore {
    PostgresStore::connect(options, Arc::new(TestVault(7))).await.unwrap()
}

async fn connect(url: &str, node: u16) -> PostgresStore {
    open(options(url, node)).await
}

/// Waits until what was queued before is done: claims that were dropped, too.
async fn flush(store: &PostgresStore) {
    let _ = store.note(Note { at: WallMillis(TODAY), text: "flush".into() }).await.unwrap();
}

async fn commit(
    store: &PostgresStore,
    entry: Entry,
    card: Option<CardRecord>,
) -> Result<Receipt, StoreError> {
    let claim = match store.claim(entry.key, entry.fingerprint).await? {
        Seen::Fresh(claim) => claim,
        other => panic!("key is {other:?}"),
    };
    let told = store.commit(claim, Commit { card, entry, reopens: None }).await;
    told.map_err(|refused| refused.error)
}

async fn find(store: &PostgresStore, number: u64) -> CardRecord {
    let hash = TestVault(7).pan_hash(&pan(number));
    (*store.card(CardKey::Pan(hash, None)).await.unwrap().unwrap()).clone()
}

async fn listed(store: &PostgresStore) -> Vec<u64> {
    let list = store.unsettled(HostId::ALL, 100).await.unwrap();
    list.iter().map(|change| u64::from(change.forwarded.stan.0)).collect()
}

#[tokio::test]
async fn a_schema_is_made_once_and_asked_for() {
    let url = Cluster::shared().database();
    let missing = PostgresStore::connect(options(&url, 1), Arc::new(TestVault(7))).await;
    assert!(matches!(missing, Err(ConnectError::Schema { found: 0 })), "{missing:?}");
    for from in [0, 1] {
        let report = migrate(&url, None).await.unwrap();
        assert_eq!(report, MigrationReport { from, to: 1 });
    }
    let store = connect(&url, 1).await;
    assert_eq!(store.health(), Ok(()));
    store.close().await;
    Cluster::shared().psql(&url, "INSERT INTO schema_version (version) VALUES (2)");
    let newer = PostgresStore::connect(options(&url, 1), Arc::new(TestVault(7))).await;
    assert!(matches!(newer, Err(ConnectError::Schema { found: 2 })), "{newer:?}");
    assert!(matches!(migrate(&url, None).await, Err(MigrateError::Newer { found: 2 })));
}

#[tokio::test]
async fn committed_is_read_back_by_another_switch() {
    let url = database().await;
    let (one, two) = (connect(&url, 1).await, connect(&url, 2).await);
    assert_eq!(one.import(&[card(1, 0)], false).await.unwrap(), 0);
    let changed = CardRecord { reference: Reference::Pvv(*b"3128"), ..find(&one, 1).await };
    let receipt = commit(&one, entry(1), Some(changed)).await.unwrap();
    assert_eq!(receipt.sequence(), shared::origin(1) + 1);
    for store in [&one, &two] {
        let found = find(store, 1).await;
        assert_eq!((found.version, found.reference), (2, Reference::Pvv(*b"3128")));
        match store.claim(key(1), Fingerprint(1)).await.unwrap() {
            Seen::Answered(Outcome::Approved(again)) => assert_eq!(again, receipt),
            other => panic!("{other:?}"),
        }
        let other = store.claim(key(1), Fingerprint(2)).await.unwrap();
        assert!(matches!(other, Seen::Duplicate), "{other:?}");
    }
    let audits = two.verify_audit(|_| {}).await.unwrap();
    let audits: Vec<_> = audits.iter().map(|a| (a.node, a.report.records)).collect();
    assert_eq!(audits, [(1, 1), (2, 0)]);
}

#[tokio::test]
async fn an_answer_of_each_reason_is_kept() {
    let store = connect(&database().await, 1).await;
    for reason in Reason::ALL {
        let number = u64::from(reason.code());
        let entry = Entry { declined: Some((*reason).into()), ..entry(number) };
        let _ = commit(&store, entry, None).await.unwrap();
        match store.transaction(key(number)).await.unwrap() {
            Some(Seen::Answered(Outcome::Declined(got))) => assert_eq!(got, (*reason).into()),
            other => panic!("{reason:?}: {other:?}"),
        }
    }
    assert!(store.transaction(key(1000)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_dropped_claim_frees_its_key_and_a_held_one_is_in_progress() {
    let store = connect(&database().await, 1).await;
    let claim = fresh(&store, 1).await;
    assert!(matches!(store.claim(key(1), Fingerprint(1)).await.unwrap(), Seen::InProgress));
    assert!(matches!(store.claim(key(1), Fingerprint(2)).await.unwrap(), Seen::Duplicate));
    assert!(matches!(store.transaction(key(1)).await.unwrap(), Some(Seen::InProgress)));
    drop(claim);
    drop(fresh(&store, 1).await);
    assert_eq!(store.in_progress(), 0);
}

#[tokio::test]
async fn a_conflict_gives_the_claim_back_and_leaves_nothing_behind() {
    let store = connect(&database().await, 1).await;
    store.import(&[card(1, 0)], false).await.unwrap();
    let _ = commit(&store, entry(1), Some(card(1, 0))).await.unwrap();
    let claim = fresh(&store, 2).await;
    let stale = Commit { card: Some(card(1, 0)), entry: entry(2), reopens: None };
    let refused = store.commit(claim, stale).await.unwrap_err();
    assert_eq!(refused.error, StoreError::Conflict);
    let newer = CardRecord { version: 2, ..card(1, 0) };
    let again = Commit { card: Some(newer), entry: entry(2), reopens: None };
    let receipt = store.commit(refused.claim.unwrap(), again).await.unwrap();
    assert_eq!(receipt.sequence(), shared::origin(1) + 2);
    let unknown = commit(&store, entry(3), Some(card(2, 0))).await;
    assert_eq!(unknown, Err(StoreError::Conflict), "a card that is not there has no version");
    assert!(store.transaction(key(3)).await.unwrap().is_none());
}

/// A batch that holds a conflict: what comes after it has another number than it was taken with.
#[tokio::test]
async fn a_refused_row_leaves_the_others_of_its_batch_alone() {
    let store = connect(&database().await, 1).await;
    store.import(&[card(1, 0), card(2, 0)], false).await.unwrap();
    let mut claims = Vec::new();
    for number in 1..=9 {
        claims.push((number, fresh(&store, number).await));
    }
    let commits = claims.into_iter().map(|(number, claim)| {
        // 1 wins the first card, 2 to 6 lose it, 7 has the second, 8 and 9 none.
        let card = match number {
            1..=6 => Some(card(1, 0)),
            7 => Some(card(2, 0)),
            _ => None,
        };
        store.commit(claim, Commit { card, entry: entry(number), reopens: None })
    });
    let told = futures_util::future::join_all(commits).await;
    let accepted: Vec<_> = (1..).zip(&told).filter(|(_, t)| t.is_ok()).map(|(n, _)| n).collect();
    assert_eq!(accepted, [1, 7, 8, 9]);
    for (number, told) in (1..).zip(told) {
        let known = store.transaction(key(number)).await.unwrap();
        match told {
            Ok(receipt) => {
                let Some(Seen::Answered(Outcome::Approved(kept))) = known else {
                    panic!("{known:?}")
                };
                assert_eq!(kept, receipt, "{number}");
            }
            Err(refused) => {
                assert_eq!(refused.error, StoreError::Conflict);
                assert!(matches!(known, Some(Seen::InProgress)), "the claim came back: {known:?}");
                drop(refused);
                assert!(store.transaction(key(number)).await.unwrap().is_none());
            }
        }
    }
    assert_eq!(store.verify_audit(|_| {}).await.unwrap()[0].report.records, 4);
}

#[tokio::test]
async fn a_late_original_is_refused_and_an_earlier_one_keeps_its_answer() {
    let url = database().await;
    let (one, two) = (connect(&url, 1).await, connect(&url, 2).await);
    let reversal = |number, original| Entry {
        operation: Operation::Reverse,
        declined: Some(Reason::OriginalNotFound.into()),
        original: Some(key(original)),
        ..entry(number)
    };
    let _ = commit(&one, reversal(2, 1), None).await.unwrap();
    for store in [&one, &two] {
        let late = store.claim(key(1), Fingerprint(1)).await.unwrap();
        assert!(matches!(late, Seen::Duplicate), "{late:?}");
    }
    let _ = commit(&one, entry(3), None).await.unwrap();
    let _ = commit(&two, Entry { declined: None, ..reversal(4, 3) }, None).await.unwrap();
    let kept = two.transaction(key(3)).await.unwrap();
    assert!(matches!(kept, Some(Seen::Answered(Outcome::Approved(_)))), "{kept:?}");
}

/// The original is committed between the reversal's look and its commit.
#[tokio::test]
async fn a_reversal_that_crosses_its_original_is_judged_again() {
    let url = database().await;
    let (one, two) = (connect(&url, 1).await, connect(&url, 2).await);
    one.import(&[card(1, 0)], false).await.unwrap();
    let hash = Some(card(1, 0).pan_hash);
    let undo = Some(Undo { key: key(1), reference: Reference::Pvv(*b"8034") });
    let changed = CardRecord { undo, ..card(1, 0) };
    let _ = commit(&two, Entry { pan_hash: hash, ..entry(1) }, Some(changed)).await.unwrap();
    let declined = Some(Reason::OriginalNotFound.into());
    let reversal = Entry { pan_hash: hash, declined, original: Some(key(1)), ..entry(2) };
    assert_eq!(commit(&one, reversal, None).await, Err(StoreError::Conflict));
    // In the other order the original is refused, and nothing of it is kept.
    let reversal = Entry { pan_hash: hash, declined, original: Some(key(3)), ..entry(4) };
    let claim = fresh(&two, 3).await;
    let _ = commit(&one, reversal, None).await.unwrap();
    let late = Commit { card: Some(find(&two, 1).await), entry: entry(3), reopens: None };
    let refused = two.commit(claim, late).await.unwrap_err();
    assert_eq!((refused.error, refused.claim.is_none()), (StoreError::KeyTaken, true));
    assert_eq!(find(&one, 1).await.version, 2);
    assert!(matches!(two.claim(key(3), Fingerprint(3)).await.unwrap(), Seen::Duplicate));
}

#[tokio::test]
async fn each_outcome_leaves_what_it_should_and_a_restart_changes_nothing() {
    let url = database().await;
    let mut store = connect(&url, 1).await;
    forward(&store, 1, of_card(1)).await;
    forward(&store, 2, host_declined(2)).await;
    forward(&store, 3, unknown(3)).await;
    forward(&store, 4, not_sent(4)).await;
    drop(intend(&store, 5).await);
    flush(&store).await;
    for restart in ["live", "after a close", "again"] {
        let mut all = Vec::new();
        for number in 1..=5 {
            all.push(told(&store, number).await);
        }
        let want = ["approved", "wrong_pin 55", "outcome_unknown", "free", "outcome_unknown"];
        assert_eq!(all, want, "{restart}");
        assert_eq!(listed(&store).await, [3, 5], "{restart}");
        for number in [1, 2, 3, 5] {
            let change = store.forwarded(key(number), None).await.unwrap().unwrap();
            assert_eq!((&change.entry, &change.forwarded), (&unknown(number), &forwarded(number)));
        }
        assert!(store.forwarded(key(4), None).await.unwrap().is_none());
        assert!(store.awaits_reversal(of_card(5).pan_hash.unwrap()).await.unwrap());
        assert!(!store.awaits_reversal(of_card(1).pan_hash.unwrap()).await.unwrap());
        let stan = (restart != "live").then_some(Stan(5));
        assert_eq!(store.last_stan(), stan, "{restart}");
        store.close().await;
        store = connect(&url, 1).await;
    }
    let how = Settled::ByHand { reason: "the node's operator said so".into() };
    let by_hand = Settlement { at: WallMillis(TODAY), how };
    let _ = store.settle(key(3), by_hand.clone()).await.unwrap();
    let twice = store.settle(key(3), by_hand.clone()).await;
    assert_eq!(twice, Err(StoreError::Conflict));
    assert_eq!(store.settle(key(9), by_hand).await, Err(StoreError::Conflict));
    assert_eq!((listed(&store).await, told(&store, 3).await), (vec![5], "outcome_unknown".into()));
    store.verify_audit(|_| {}).await.unwrap();
    let mut lines = Vec::new();
    store.tell_audit(|line| lines.push(line["kind"].to_string())).await.unwrap();
    assert_eq!(lines.iter().filter(|kind| *kind == "\"intent\"").count(), 5);
    assert_eq!(lines.iter().filter(|kind| *kind == "\"settled\"").count(), 1);
}

#[tokio::test]
async fn a_reversal_reopens_once_and_lists_in_the_order_of_sending() {
    let store = connect(&database().await, 1).await;
    forward(&store, 1, of_card(1)).await;
    drop(intend(&store, 2).await);
    for (reversal, original) in [(11, 2), (12, 1), (13, 1)] {
        let reopens = store.forwarded(key(original), None).await.unwrap();
        assert!(reopens.is_some());
        let claim = fresh(&store, reversal).await;
        let entry = Entry { original: Some(key(original)), ..of_card(reversal) };
        let _ = store.commit(claim, Commit { card: None, entry, reopens }).await.unwrap();
    }
    assert_eq!(listed(&store).await, [1, 2]);
    assert_eq!(told(&store, 1).await, "approved", "the answer stays");
    let _ = store.settle(key(1), reversed(1)).await.unwrap();
    assert_eq!(listed(&store).await, [2]);
    let _flying = intend(&store, 3).await;
    let reopens = store.forwarded(key(3), None).await.unwrap();
    let claim = fresh(&store, 14).await;
    let entry = Entry { original: Some(key(3)), ..of_card(14) };
    let refused = store.commit(claim, Commit { card: None, entry, reopens }).await.unwrap_err();
    assert_eq!((refused.error, refused.claim.is_some()), (StoreError::Conflict, true), "in flight");
}

/// A reversal copies institution, trace number and terminal, and perhaps nothing else.
#[tokio::test]
async fn the_newest_change_of_the_card_with_the_same_trace_is_found() {
    let store = connect(&database().await, 1).await;
    let with_rest = |rest: u8, card: u8| Entry {
        key: TransactionKey([[5; 8], [rest; 8]].concat().try_into().unwrap()),
        pan_hash: Some(PanHash([card; 16])),
        ..unknown(u64::from(rest))
    };
    for (rest, card) in [(1, 1), (2, 1), (3, 2)] {
        let entry = with_rest(rest, card);
        let Seen::Fresh(claim) = store.claim(entry.key, entry.fingerprint).await.unwrap() else {
            panic!("a new key");
        };
        let claim = store.intend(claim, entry.clone(), forwarded(u64::from(rest))).await.unwrap();
        end(&store, claim, Entry { declined: None, ..entry }).await;
    }
    let asked = with_rest(9, 1);
    let found = store.forwarded(asked.key, asked.pan_hash).await.unwrap().unwrap();
    assert_eq!(found.forwarded.stan, Stan(2));
    assert!(store.forwarded(asked.key, None).await.unwrap().is_none());
    assert!(store.forwarded(asked.key, Some(PanHash([9; 16]))).await.unwrap().is_none());
    // And a reversal that did not find it is judged again.
    let declined = Some(Reason::OriginalNotFound.into());
    let reversal =
        Entry { declined, original: Some(asked.key), pan_hash: asked.pan_hash, ..entry(7) };
    assert_eq!(commit(&store, reversal, None).await, Err(StoreError::Conflict));
}

#[tokio::test]
async fn open_changes_have_a_bound() {
    let options = PostgresOptions { unsettled_max: 2, ..options(&database().await, 1) };
    let store = open(options).await;
    let one = intend(&store, 1).await;
    drop(intend(&store, 2).await);
    let claim = fresh(&store, 3).await;
    let refused = store.intend(claim, unknown(3), forwarded(3)).await.unwrap_err();
    assert_eq!((refused.error, told(&store, 3).await), (StoreError::Full, "free".to_owned()));
    end(&store, one, of_card(1)).await;
    forward(&store, 3, not_sent(3)).await;
    forward(&store, 4, of_card(4)).await;
}

#[tokio::test]
async fn numbers_with_several_cards_need_their_sequence_and_identities_find_theirs() {
    let store = connect(&database().await, 1).await;
    let named = |token: &str, sequence| CardRecord {
        identities: Some(Box::new(Identities {
            pan_token: Some(token.into()),
            ..Identities::default()
        })),
        ..card(1, sequence)
    };
    let all = [named("one", 1), named("two", 2), card(2, 3)];
    store.import(&all, false).await.unwrap();
    let hash = |number| TestVault(7).pan_hash(&pan(number));
    assert_eq!(store.card(CardKey::Pan(hash(1), None)).await.unwrap(), None, "which of the two?");
    for (sequence, token) in [(1, "one"), (2, "two")] {
        for key in [
            CardKey::Pan(hash(1), Some(sequence)),
            CardKey::Identity(IdentityKind::PanToken, token),
        ] {
            assert_eq!(store.card(key).await.unwrap().unwrap().sequence, sequence);
        }
    }
    assert_eq!(store.card(CardKey::Pan(hash(2), None)).await.unwrap().unwrap().sequence, 3);
    assert_eq!(store.card(CardKey::Pan(hash(2), Some(0))).await.unwrap(), None);
    assert_eq!(store.card(CardKey::Identity(IdentityKind::CardId, "one")).await.unwrap(), None);
    // An import that breaks a rule leaves everything as it was.
    let there = store.import(&[card(9, 0), card(2, 3)], false).await.unwrap_err();
    assert!(matches!(there, ImportError::Exist(1)), "{there}");
    let taken = CardRecord { pan_hash: hash(5), ..named("one", 0) };
    let taken = store.import(&[card(9, 0), taken], true).await.unwrap_err();
    assert!(matches!(taken, ImportError::IdentityTaken { .. }), "{taken}");
    assert_eq!(store.count_cards().await.unwrap(), 3);
    assert_eq!(store.import(&[card(2, 3)], true).await.unwrap(), 1);
    let mut versions = Vec::new();
    store.each_card(|card| versions.push((card.sequence, card.version))).await.unwrap();
    versions.sort_unstable();
    assert_eq!(versions, [(1, 1), (2, 1), (3, 2)], "replaced: the next version");
    let _ = store.note_import("cards.csv", 3, true).await.unwrap();
}

#[tokio::test]
async fn other_keys_are_refused() {
    let url = database().await;
    connect(&url, 1).await.close().await;
    let other = PostgresStore::connect(options(&url, 2), Arc::new(TestVault(8))).await;
    assert!(matches!(other, Err(ConnectError::OtherKeys)), "{other:?}");
}

#[tokio::test]
async fn a_changed_record_breaks_the_chain_where_it_is() {
    let url = database().await;
    let store = connect(&url, 3).await;
    for number in 1..=5 {
        let _ = commit(&store, entry(number), None).await.unwrap();
    }
    let third = shared::origin(3) + 3;
    let forge = "UPDATE journal SET record = set_byte(record, 30, 1) WHERE position =";
    Cluster::shared().psql(&url, &format!("{forge} {third}"));
    let broken = store.verify_audit(|_| {}).await.unwrap_err();
    assert_eq!(broken.to_string().split(':').next(), Some(&*format!("record {third}")));
    Cluster::shared().psql(&url, &format!("DELETE FROM journal WHERE position = {third}"));
    let missing = store.verify_audit(|_| {}).await.unwrap_err();
    assert_eq!(missing.to_string(), format!("record {third}: missing"));
}
