//! Which batches are one statement, and what becomes of one that is not as hoped.

use super::*;

/// What the writer's session sent last.
fn last(url: &str) -> String {
    let sql = "SELECT left(query, 9) FROM pg_stat_activity
        WHERE application_name = 'pinion node 1 writes' AND datname = current_database()";
    Cluster::shared().psql(url, sql)
}

#[tokio::test]
async fn a_usual_batch_is_one_statement_and_a_forwarded_change_is_not() {
    let url = database().await;
    let store = connect(&url, 1).await;
    store.import(&[card(1, 0)], false).await.unwrap();
    let _ = commit(&store, entry(1), Some(card(1, 0))).await.unwrap();
    assert_eq!(last(&url), "WITH head");
    flush(&store).await;
    assert_eq!(last(&url), "WITH head", "a note is usual, too");
    let claim = intend(&store, 2).await;
    assert_eq!(last(&url), "COMMIT");
    end(&store, claim, of_card(2)).await;
    assert_eq!(last(&url), "COMMIT");
    let _ = commit(&store, entry(3), None).await.unwrap();
    assert_eq!(last(&url), "WITH head");
    store.verify_audit(|_| {}).await.unwrap();
}

/// The key is another switch's, or the card is not as it was read: the one statement writes nothing, the long way tells
/// which row it was, and after a while one statement is tried again.
#[tokio::test]
async fn a_batch_that_is_not_as_hoped_goes_the_long_way() {
    let url = database().await;
    let (one, two) = (connect(&url, 1).await, connect(&url, 2).await);
    one.import(&[card(1, 0)], false).await.unwrap();

    let late = fresh(&one, 1).await;
    let _ = commit(&two, entry(1), None).await.unwrap();
    let refused = one.commit(late, Commit { card: None, entry: entry(1), reopens: None }).await;
    assert_eq!(refused.unwrap_err().error, StoreError::KeyTaken);
    assert_eq!(last(&url), "ROLLBACK", "it had nothing to write");
    let kept =
        "SELECT count(*) FROM journal WHERE position BETWEEN 10000000000001 AND 19999999999999";
    assert_eq!(Cluster::shared().psql(&url, kept), "0", "an import is no record of a node");

    for number in 0..u64::from(writer::WARY_BATCHES) {
        let _ = commit(&one, entry(100 + number), None).await.unwrap();
        assert_eq!(last(&url), "COMMIT");
    }
    let _ = commit(&one, entry(2), None).await.unwrap();
    assert_eq!(last(&url), "WITH head");

    let read = find(&one, 1).await;
    let _ = commit(&two, entry(3), Some(read.clone())).await.unwrap();
    assert_eq!(commit(&one, entry(4), Some(read)).await, Err(StoreError::Conflict));
    flush(&one).await;
    assert_eq!((told(&one, 4).await, find(&one, 1).await.version), ("free".to_owned(), 2));
    one.verify_audit(|_| {}).await.unwrap();
}
