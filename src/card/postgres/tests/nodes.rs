//! Numbers of nodes, leases of hosts, and who takes over what.

use super::*;

#[tokio::test]
async fn a_number_is_one_process() {
    let url = database().await;
    let first = connect(&url, 1).await;
    let second = PostgresStore::connect(options(&url, 1), Arc::new(TestVault(7))).await;
    let Err(ConnectError::NodeTaken { node: 1, by }) = second else { panic!("{second:?}") };
    assert!(by.contains("process"), "{by}");
    let _ = commit(&first, entry(1), None).await.unwrap();
    first.close().await;
    let second = connect(&url, 1).await;
    let receipt = commit(&second, entry(2), None).await.unwrap();
    assert_eq!(receipt.sequence(), shared::origin(1) + 2, "it goes on where the first ended");
    for node in [0, STORE_NODES_MAX + 1] {
        let refused = PostgresStore::connect(options(&url, node), Arc::new(TestVault(7))).await;
        assert!(matches!(refused, Err(ConnectError::NoNode { .. })), "{refused:?}");
    }
}

/// A process that lost its number while it was cut off writes nothing more.
#[tokio::test]
async fn who_lost_its_number_is_fenced() {
    let url = database().await;
    let store = connect(&url, 1).await;
    let _ = commit(&store, entry(1), None).await.unwrap();
    Cluster::shared().psql(&url, "UPDATE chain SET epoch = epoch + 1");
    assert_eq!(commit(&store, entry(2), None).await, Err(StoreError::Poisoned));
    assert_eq!(store.health(), Err(StoreError::Poisoned));
    assert!(store.status().poisoned.unwrap().contains("node 1"));
    let count = Cluster::shared().psql(&url, "SELECT count(*) FROM transaction");
    assert_eq!(count, "1");
}

#[tokio::test]
async fn one_switch_sends_the_reversals_of_a_host_and_another_takes_over() {
    let url = database().await;
    let (one, two) = (connect(&url, 1).await, connect(&url, 2).await);
    drop(intend(&one, 1).await);
    drop(intend(&two, 2).await);
    flush(&one).await;
    flush(&two).await;
    assert_eq!(listed(&one).await, [1, 2]);
    assert_eq!(listed(&two).await, [0; 0], "the other has the lease");
    // A part of the same hosts is the other's, too.
    let part = two.unsettled(HostId(1)..=HostId(1), 9).await.unwrap();
    assert_eq!(part, []);
    assert_eq!(two.list_unsettled(9).await.unwrap().len(), 2, "operators see all");
    // A lease that ran out, as when its switch died.
    drop(one);
    Cluster::shared().psql(&url, "UPDATE lease SET until = '-infinity'");
    while listed(&two).await != [1, 2] {
        tokio::task::yield_now().await;
    }
}

/// A switch that stops in good order. Others still have the handle: they are refused.
#[tokio::test]
async fn a_closed_store_leaves_its_hosts_and_its_number_to_others_at_once() {
    let url = database().await;
    let (one, two) = (connect(&url, 1).await, connect(&url, 2).await);
    drop(intend(&one, 1).await);
    flush(&one).await;
    assert_eq!((listed(&one).await, listed(&two).await), (vec![1], vec![]));
    one.close().await;
    let valid = "SELECT count(*) FROM lease WHERE node = 1 AND clock_timestamp() < until";
    assert_eq!(Cluster::shared().psql(&url, valid), "0");
    while listed(&two).await != [1] {
        tokio::task::yield_now().await;
    }
    assert_eq!(one.health(), Err(StoreError::Unavailable));
    let refused = one.claim(key(2), Fingerprint(2)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable)), "{refused:?}");
    assert_eq!(one.unsettled(HostId::ALL, 1).await, Err(StoreError::Unavailable));
    one.close().await;
    let again = connect(&url, 1).await;
    let _ = commit(&again, entry(3), None).await.unwrap();
}

/// A switch dies between a host's answer and its commit, or is too slow: its change is taken over, and its late outcome
/// refused.
#[tokio::test]
async fn a_late_outcome_is_refused_once_its_change_is_due() {
    let url = database().await;
    let (one, two) = (connect(&url, 1).await, connect(&url, 2).await);
    let claim = intend(&one, 1).await;
    assert_eq!((told(&two, 1).await, listed(&two).await), ("in progress".into(), vec![]));
    let in_time = "SELECT in_flight_until - clock_timestamp() > interval '70 s' FROM unsettled";
    assert_eq!(Cluster::shared().psql(&url, in_time), "t");
    Cluster::shared().psql(&url, "UPDATE unsettled SET in_flight_until = clock_timestamp()");
    assert_eq!((told(&two, 1).await, listed(&two).await), ("outcome_unknown".into(), vec![1]));
    let late = Commit { card: None, entry: of_card(1), reopens: None };
    let refused = one.commit(claim, late).await.unwrap_err();
    assert_eq!((refused.error, refused.claim.is_none()), (StoreError::Unavailable, true));
    let _ = two.settle(key(1), reversed(1)).await.unwrap();
    assert_eq!(one.settle(key(1), reversed(2)).await, Err(StoreError::Conflict));
    assert_eq!(told(&one, 1).await, "outcome_unknown");
}

/// What a process had in flight when it ended is unsettled as soon as its number is taken again.
#[tokio::test]
async fn what_was_in_flight_is_unsettled_after_a_restart() {
    let url = database().await;
    let store = connect(&url, 1).await;
    let claim = intend(&store, 1).await;
    store.close().await;
    drop(claim);
    let store = connect(&url, 1).await;
    assert_eq!((told(&store, 1).await, listed(&store).await), ("outcome_unknown".into(), vec![1]));
}
