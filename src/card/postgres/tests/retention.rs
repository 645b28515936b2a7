//! What is too old goes, and nothing else.

use std::time::Duration;

use super::*;
use crate::card::postgres::trim::{self, Sweep};

const HOUR: u64 = 3_600_000;

#[tokio::test]
async fn keys_expire_but_for_those_of_open_changes() {
    let url = database().await;
    let store = connect(&url, 1).await;
    for (number, hours_ago) in [(1, 30), (2, 25), (3, 23)] {
        let at = WallMillis(TODAY - hours_ago * HOUR);
        let _ = commit(&store, Entry { at, ..entry(number) }, None).await.unwrap();
    }
    let old = |number| Entry { at: WallMillis(TODAY - 30 * HOUR), ..unknown(number) };
    let claim = fresh(&store, 4).await;
    drop(store.intend(claim, old(4), forwarded(4)).await.unwrap());
    flush(&store).await;
    let session = store.connector.connect().await.unwrap();
    let (day, now) = (Duration::from_hours(24), WallMillis(TODAY));
    Sweep::default().step(&session.client, now, day).await.unwrap();
    let mut known = Vec::new();
    for number in 1..=4 {
        known.push(told(&store, number).await);
    }
    assert_eq!(known, ["free", "free", "approved", "outcome_unknown"]);
}

#[tokio::test]
async fn trimming_moves_the_anchor_and_the_chain_holds() {
    let url = database().await;
    let store = connect(&url, 1).await;
    for number in 1..=6 {
        let days = if number <= 3 { 500 } else { 0 };
        let at = WallMillis(TODAY - days * 24 * HOUR);
        let _ = commit(&store, Entry { at, ..entry(number) }, None).await.unwrap();
    }
    let mut session = store.connector.connect().await.unwrap();
    let keep = Duration::from_hours(24 * 400);
    let mut sweep = Sweep::default();
    trim::step(&mut session.client, &mut sweep, WallMillis(TODAY), keep).await.unwrap();
    let report = store.verify_audit(|_| {}).await.unwrap()[0].report;
    let origin = shared::origin(1);
    assert_eq!((report.anchor, report.records, report.last), (origin + 3, 3, origin + 6));
    store.close().await;
    let store = connect(&url, 1).await;
    let _ = commit(&store, entry(7), None).await.unwrap();
    assert_eq!(store.verify_audit(|_| {}).await.unwrap()[0].report.records, 4);
}
