//! Tests of the store over a real PostgreSQL: what the embedded store promises, and what several switches add to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::card::embedded::tests::{TestClock, TestVault, card, entry, pan};
use crate::card::record::CardRecord;
use crate::domain::clock::WallMillis;
use crate::domain::pin::Reference;

#[path = "../../../tests/support/postgres.rs"]
mod support;

use support::Cluster;

/// A database with the schema.
async fn database() -> String {
    let url = Cluster::shared().database();
    let report = migrate(&url, None).await.unwrap();
    assert_eq!(report, MigrationReport { from: 0, to: SCHEMA_VERSION });
    url
}

fn options(url: &str, node: u16) -> PostgresOptions {
    let clock = Arc::new(TestClock(1_795_305_600_000.into()));
    PostgresOptions { connections: 4, ..PostgresOptions::new(url.to_owned(), node, clock) }
}

async fn connect(url: &str, node: u16) -> PostgresStore {
    let store = PostgresStore::connect(options(url, node), Arc::new(TestVault(7))).await.unwrap();
    while !store.lanes.iter().all(|lane| lane.up.load(Ordering::Acquire)) {
        tokio::task::yield_now().await;
    }
    store
}

fn key(number: u64) -> TransactionKey {
    entry(number).key
}

async fn fresh(store: &PostgresStore, number: u64) -> Claim {
    match store.claim(key(number), Fingerprint(number)).await.unwrap() {
        Seen::Fresh(claim) => claim,
        other => panic!("key {number} is {other:?}"),
    }
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
    let hash = TestVault(7).pan_hash(&pan(1));
    let read = one.card(CardKey::Pan(hash, None)).await.unwrap().unwrap();
    let changed = CardRecord { reference: Reference::Pvv(*b"3128"), ..(*read).clone() };
    let claim = fresh(&one, 1).await;
    let commit = Commit { card: Some(changed), entry: entry(1), reopens: None };
    let receipt = one.commit(claim, commit).await.unwrap();
    assert_eq!(receipt.sequence(), shared::origin(1) + 1);
    for store in [&one, &two] {
        let found = store.card(CardKey::Pan(hash, Some(0))).await.unwrap().unwrap();
        assert_eq!((found.version, found.reference), (2, Reference::Pvv(*b"3128")));
        match store.claim(key(1), Fingerprint(1)).await.unwrap() {
            Seen::Answered(Outcome::Approved(again)) => assert_eq!(again, receipt),
            other => panic!("{other:?}"),
        }
        let other = store.claim(key(1), Fingerprint(2)).await.unwrap();
        assert!(matches!(other, Seen::Duplicate), "{other:?}");
    }
    let audits = two.verify_audit(|_| {}).await.unwrap();
    assert_eq!(
        audits.iter().map(|a| (a.node, a.report.records)).collect::<Vec<_>>(),
        [(1, 1), (2, 0)]
    );
    let _ = WallMillis(0);
}
