//! Two switches on one database, the same cards and keys: no change twice, every try counted, one answer a key.

use std::collections::BTreeMap;

use super::*;

const CARDS: u64 = 8;
const KEYS: u64 = 300;
const TASKS: u64 = 6;

/// One request, as the switch treats it: judged again on a conflict, never after another switch was first.
async fn change(store: &PostgresStore, number: u64) -> Result<Receipt, &'static str> {
    let claim = match store.claim(key(number), Fingerprint(number)).await.unwrap() {
        Seen::Fresh(claim) => claim,
        Seen::Answered(Outcome::Approved(receipt)) => return Ok(receipt),
        Seen::InProgress => return Err("in progress"),
        other => panic!("{number}: {other:?}"),
    };
    let mut claim = claim;
    loop {
        let mut card = find(store, number % CARDS).await;
        card.changes_day += 1;
        card.pin_tries_used = card.pin_tries_used.wrapping_add(1);
        let commit = Commit { card: Some(card), entry: entry(number), reopens: None };
        match store.commit(claim, commit).await {
            Ok(receipt) => return Ok(receipt),
            Err(CommitRefused { error: StoreError::Conflict, claim: Some(back) }) => claim = back,
            Err(CommitRefused { error: StoreError::KeyTaken, claim: None }) => return Err("taken"),
            Err(refused) => panic!("{number}: {refused:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_change_is_made_twice_by_two_switches() {
    let url = database().await;
    let stores = [Arc::new(connect(&url, 1).await), Arc::new(connect(&url, 2).await)];
    let cards: Vec<_> = (0..CARDS).map(|number| card(number, 0)).collect();
    stores[0].import(&cards, false).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS * 2 {
        let store = Arc::clone(&stores[usize::from(task % 2 == 1)]);
        tasks.spawn(async move {
            let mut dice = Dice(task);
            let mut told = Vec::new();
            for _ in 0..KEYS {
                let number = dice.throw(KEYS) + 1;
                told.push((number, change(&store, number).await));
            }
            told
        });
    }
    let (mut answers, mut taken) = (BTreeMap::new(), 0);
    for (number, told) in tasks.join_all().await.into_iter().flatten() {
        match told {
            Ok(receipt) => {
                let first = *answers.entry(number).or_insert(receipt);
                assert_eq!(receipt, first, "one answer for key {number}");
            }
            Err("taken") => taken += 1,
            Err(_) => {}
        }
    }
    assert!(taken != 0, "the switches did meet at a key");
    let mut changes = 0;
    for number in 0..CARDS {
        let card = find(&stores[0], number).await;
        assert_eq!(card.changes_day + 1, card.version, "card {number}");
        changes += card.changes_day;
    }
    assert_eq!(usize::try_from(changes).unwrap(), answers.len(), "one change a key");
    let audits = stores[1].verify_audit(|_| {}).await.unwrap();
    let records: u64 = audits.iter().map(|audit| audit.report.records).sum();
    assert_eq!(records, u64::from(changes), "one record a change");
    assert_eq!([stores[0].in_progress(), stores[1].in_progress()], [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_at_once_on_two_switches_agree_with_the_model() {
    let url = database().await;
    let mut model = Model::new();
    for round in 0..2_u64 {
        let stores = [Arc::new(connect(&url, 1).await), Arc::new(connect(&url, 2).await)];
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8_u64 {
            let store = Arc::clone(&stores[usize::from(task % 2 == 1)]);
            tasks.spawn(async move {
                let (mut dice, mut lived) = (Dice(round * 100 + task), Model::new());
                let first = (round * 8 + task) * 60 + 1;
                for number in first..first + 60 {
                    lived.insert(number, live(&*store, number, &mut dice).await);
                }
                lived
            });
        }
        for lived in tasks.join_all().await {
            model.extend(lived);
        }
        for store in &stores {
            flush(store).await;
        }
        // In the order of sending, which over two nodes is not that of the positions.
        let keep = |name: &str| format!("round {round}: {name}");
        for (number, (answer, _)) in &model {
            let want = answer.unwrap_or("free");
            let got = told(&*stores[1], *number).await;
            assert_eq!(got.split(' ').next(), Some(want), "{}", keep("answers"));
        }
        let open = stores[0].unsettled(HostId::ALL, usize::MAX).await.unwrap();
        let mut open: Vec<_> = open.iter().map(|change| change.entry.fingerprint.0).collect();
        open.sort_unstable();
        let want: Vec<_> = model.iter().filter(|(_, (_, o))| *o).map(|(n, _)| *n).collect();
        assert_eq!(open, want, "{}", keep("open ones"));
        stores[0].verify_audit(|_| {}).await.unwrap();
        for store in stores {
            Arc::into_inner(store).unwrap().close().await;
        }
    }
}

/// As on one switch, where the order of positions is that of sending.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_switch_lists_in_the_order_of_its_records() {
    let store = Arc::new(connect(&database().await, 1).await);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let (mut dice, mut lived) = (Dice(task), Model::new());
            for number in task * 40 + 1..=task * 40 + 40 {
                lived.insert(number, live(&*store, number, &mut dice).await);
            }
            lived
        });
    }
    let mut model = Model::new();
    for lived in tasks.join_all().await {
        model.extend(lived);
    }
    flush(&store).await;
    check_books(&*store, &model, "live").await;
}

/// A forwarded change on one switch and its reversal on the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forwarded_change_and_its_reversal_that_cross_agree() {
    let url = database().await;
    let (one, two) = (Arc::new(connect(&url, 1).await), Arc::new(connect(&url, 2).await));
    let mut seen = [0; 3];
    for round in 1..=120 {
        let (change, reverse) = (Arc::clone(&one), Arc::clone(&two));
        let change = tokio::spawn(async move {
            let Seen::Fresh(claim) = change.claim(key(round), Fingerprint(round)).await.unwrap()
            else {
                return false;
            };
            match change.intend(claim, unknown(round), forwarded(round)).await {
                Ok(claim) => {
                    end(&*change, claim, of_card(round)).await;
                    true
                }
                Err(refused) => {
                    assert_eq!(refused.error, StoreError::KeyTaken);
                    false
                }
            }
        });
        let reverse = tokio::spawn(async move {
            for _ in 0..round % 4 {
                let _ = reverse.transaction(key(round)).await;
            }
            judge(&*reverse, 1_000_000 + round, round).await
        });
        let (sent, told) = (change.await.unwrap(), reverse.await.unwrap());
        let open = one.unsettled(HostId::ALL, 9).await.unwrap();
        match (sent, told) {
            (false, Some(Reason::OriginalNotFound)) => seen[0] += 1,
            (true, Some(Reason::InProgress)) => seen[1] += 1,
            (true, None) => {
                assert_eq!(open.len(), 1, "round {round}");
                let _ = two.settle(key(round), reversed(1)).await.unwrap();
                seen[2] += 1;
                continue;
            }
            other => panic!("round {round}: {other:?}"),
        }
        assert_eq!(open.len(), 0, "round {round}");
    }
    assert!(seen.iter().filter(|count| **count != 0).count() > 1, "they did cross: {seen:?}");
}
