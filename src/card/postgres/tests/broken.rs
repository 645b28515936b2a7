//! Connections that break, and a database that goes away: who is told what, and that the books agree afterwards.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::Order;
use super::*;
use crate::limits::{COMMIT_BATCH_MAX, COMMIT_QUEUE_MAX};

/// What a proxy does with the bytes.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Mode {
    Pass,
    /// The commit is done, and its answer lost.
    LoseTheAnswer,
    /// The commit is lost.
    LoseTheCommit,
    /// As the first, and no connection is made after it.
    LoseTheAnswerAndGo,
    /// No connection is made.
    Gone,
}

/// Stands between a store and its database.
struct Proxy {
    mode: Arc<AtomicU8>,
    url: String,
}

impl Proxy {
    async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let there = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
        let url = url.replace(&there, &here.to_string());
        let mode = Arc::new(AtomicU8::new(Mode::Pass as u8));
        let shared = Arc::clone(&mode);
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let server = TcpStream::connect(&there).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Self { mode, url }
    }

    fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

/// Knows the commit of the writer's batches when it passes.
#[derive(Default)]
struct Watch {
    /// How a call of the one statement begins: its portal, which has no name, and its own name.
    at_once: Option<Vec<u8>>,
}

impl Watch {
    /// Whether the bytes commit a batch; and what the server says when that is done.
    fn commit(&mut self, sent: &[u8]) -> Option<&'static [u8]> {
        let has = |what: &[u8]| sent.windows(what.len()).any(|bytes| bytes == what);
        let query = b"\0WITH head AS (";
        if let Some(end) = sent.windows(query.len()).position(|bytes| bytes == query) {
            // Other messages may stand before it; a name is `s` and digits.
            let name = sent[..end].iter().rposition(|byte| !byte.is_ascii_digit()).unwrap();
            self.at_once = Some([b"\0", &sent[name..=end]].concat());
        }
        match &self.at_once {
            // Ready, and outside a transaction.
            Some(call) if has(call) => Some(b"Z\0\0\0\x05I"),
            // The long way has its statements before it; the commit of the chores comes alone.
            _ if 64 < sent.len() && has(b"COMMIT\0") => Some(b"COMMIT\0"),
            _ => None,
        }
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, shared: Arc<AtomicU8>) {
    let (mut sent, mut got) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut watch = Watch::default();
    loop {
        if shared.load(Ordering::SeqCst) == Mode::Gone as u8 {
            return;
        }
        tokio::select! {
            read = client.read(&mut sent) => {
                let Ok(length @ 1..) = read else { return };
                let mode = shared.load(Ordering::SeqCst);
                let commits = watch.commit(&sent[..length]);
                if let (Some(done), true) = (commits, mode != Mode::Pass as u8) {
                    let next = if mode == Mode::LoseTheAnswerAndGo as u8 { Mode::Gone } else { Mode::Pass };
                    shared.store(next as u8, Ordering::SeqCst);
                    if mode == Mode::LoseTheCommit as u8 {
                        return;
                    }
                    server.write_all(&sent[..length]).await.unwrap();
                    // Its word that the commit is done.
                    let mut all = Vec::new();
                    while !all.windows(done.len()).any(|bytes| bytes == done) {
                        let length = server.read(&mut got).await.unwrap();
                        assert!(length != 0, "the server answers");
                        all.extend_from_slice(&got[..length]);
                    }
                    return;
                }
                if server.write_all(&sent[..length]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut got) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&got[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn until_healthy(store: &PostgresStore) {
    while store.health().is_err() || store.transaction(key(0)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

/// The commit was done, and its answer lost: the caller is told that it was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_looked_up() {
    let proxy = Proxy::start(&database().await).await;
    let store = connect(&proxy.url, 1).await;
    store.import(&[card(1, 0)], false).await.unwrap();
    proxy.set(Mode::LoseTheAnswer);
    let receipt = commit(&store, entry(1), Some(card(1, 0))).await.unwrap();
    assert_eq!(receipt.sequence(), shared::origin(1) + 1);
    until_healthy(&store).await;
    assert_eq!((told(&store, 1).await, find(&store, 1).await.version), ("approved".to_owned(), 2));
    // And one that opens a change.
    proxy.set(Mode::LoseTheAnswer);
    let claim = intend(&store, 2).await;
    until_healthy(&store).await;
    assert_eq!(told(&store, 2).await, "in progress");
    end(&store, claim, of_card(2)).await;
    assert_eq!(told(&store, 2).await, "approved");
    store.verify_audit(|_| {}).await.unwrap();
}

/// The commit never arrived: the caller is told that nothing was done, and may try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_lost_leaves_nothing() {
    let proxy = Proxy::start(&database().await).await;
    let store = connect(&proxy.url, 1).await;
    store.import(&[card(1, 0)], false).await.unwrap();
    proxy.set(Mode::LoseTheCommit);
    let refused = commit(&store, entry(1), Some(card(1, 0))).await;
    assert_eq!(refused, Err(StoreError::Unavailable));
    until_healthy(&store).await;
    assert_eq!((told(&store, 1).await, find(&store, 1).await.version), ("free".to_owned(), 1));
    let receipt = commit(&store, entry(1), Some(card(1, 0))).await.unwrap();
    assert_eq!(receipt.sequence(), shared::origin(1) + 1, "its number is used again");
    // An outcome that was lost leaves its change unsettled.
    let claim = intend(&store, 2).await;
    proxy.set(Mode::LoseTheCommit);
    let outcome = Commit { card: None, entry: of_card(2), reopens: None };
    let refused = store.commit(claim, outcome).await.unwrap_err();
    assert_eq!(refused.error, StoreError::Unavailable);
    until_healthy(&store).await;
    flush(&store).await;
    Cluster::shared().psql(&proxy.url, "UPDATE unsettled SET in_flight_until = '-infinity'");
    assert_eq!((told(&store, 2).await, listed(&store).await), ("outcome_unknown".into(), vec![2]));
}

/// The database cannot be asked before patience ends: the caller is told so, the key stays taken, and once the database
/// is back the key has the answer that was committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_can_look_up_keeps_its_key_until_it_is_known() {
    let proxy = Proxy::start(&database().await).await;
    let store = connect(&proxy.url, 1).await;
    proxy.set(Mode::LoseTheAnswerAndGo);
    assert_eq!(commit(&store, entry(1), None).await, Err(StoreError::Unavailable));
    assert_eq!(store.health(), Err(StoreError::Unavailable));
    assert!(matches!(store.transaction(key(1)).await, Ok(Some(Seen::InProgress))));
    assert_eq!(commit(&store, entry(2), None).await, Err(StoreError::Unavailable), "at once");
    proxy.set(Mode::Pass);
    until_healthy(&store).await;
    assert_eq!((told(&store, 1).await, store.in_progress()), ("approved".to_owned(), 0));
    let receipt = commit(&store, entry(3), None).await.unwrap();
    assert_eq!(receipt.sequence(), shared::origin(1) + 2);
    store.verify_audit(|_| {}).await.unwrap();
}

/// Another session holds the journal. What waits for the writer is bounded, and what comes after it is refused at once;
/// when the journal is free again, what waited is done, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_held_up_sheds_what_its_queue_has_no_room_for() {
    const MORE: usize = 300;
    const ALL: usize = COMMIT_QUEUE_MAX + COMMIT_BATCH_MAX + MORE;
    let url = database().await;
    let store = Arc::new(connect(&url, 1).await);
    let numbers: Vec<u64> = (1..=ALL as u64).collect();
    let mut claims = Vec::new();
    // A part at a time: questions have a bound of their own.
    for part in numbers.chunks(1000) {
        let asked = part.iter().map(async |number| (*number, fresh(&*store, *number).await));
        claims.extend(futures_util::future::join_all(asked).await);
    }
    let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let _driver = tokio::spawn(connection);
    holder.batch_execute("BEGIN; LOCK TABLE journal IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, claim) in claims {
        let store = Arc::clone(&store);
        let commit = Commit { card: None, entry: entry(number), reopens: None };
        tasks.spawn(async move { store.commit(claim, commit).await.map_err(|told| told.error) });
    }
    for _ in 0..MORE {
        let told = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(told, Err(StoreError::Full), "the journal is held");
    }
    assert!(store.status().queue_depth <= COMMIT_QUEUE_MAX);
    holder.batch_execute("ROLLBACK").await.unwrap();
    let told = tasks.join_all().await;
    let done = told.iter().filter(|told| told.is_ok()).count();
    let shed = told.iter().filter(|told| **told == Err(StoreError::Full)).count();
    assert_eq!(done + shed, told.len(), "done or shed, nothing else");
    assert!(COMMIT_QUEUE_MAX / 2 < done, "only {done} were done");
    let kept = Cluster::shared().psql(&url, "SELECT count(*) FROM transaction");
    assert_eq!(kept, done.to_string());
    assert_eq!(store.in_progress(), 0);
    store.verify_audit(|_| {}).await.unwrap();
}

/// What was acknowledged, and what the database has.
struct Books {
    acknowledged: Vec<u64>,
    refused: u64,
}

/// Changes until told to stop; a refused one is tried again under its key, as a caller would.
async fn work(store: Arc<PostgresStore>, first: u64, stop: Arc<AtomicBool>) -> Books {
    let mut books = Books { acknowledged: Vec::new(), refused: 0 };
    let mut number = first;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        loop {
            match attempt(&store, number).await {
                Ok(()) => {
                    books.acknowledged.push(number);
                    break;
                }
                Err(()) if stop.load(Ordering::SeqCst) => break,
                Err(()) => {
                    books.refused += 1;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
    }
    books
}

async fn attempt(store: &PostgresStore, number: u64) -> Result<(), ()> {
    let claim = match store.claim(key(number), Fingerprint(number)).await {
        Ok(Seen::Fresh(claim)) => claim,
        Ok(Seen::Answered(Outcome::Approved(_))) => return Ok(()),
        _ => return Err(()),
    };
    let mut claim = claim;
    loop {
        let hash = TestVault(7).pan_hash(&pan(number % 4));
        let Ok(Some(card)) = store.card(CardKey::Pan(hash, None)).await else { return Err(()) };
        let mut card = (*card).clone();
        card.changes_day += 1;
        let commit = Commit { card: Some(card), entry: entry(number), reopens: None };
        match store.commit(claim, commit).await {
            Ok(_) => return Ok(()),
            Err(CommitRefused { claim: Some(back), .. }) => claim = back,
            Err(_) => return Err(()),
        }
    }
}

/// Runs load on two switches while `trouble` happens, then compares the books.
async fn under(cluster: &Cluster, trouble: impl AsyncFnOnce(&str)) {
    let url = cluster.database();
    migrate(&url, None).await.unwrap();
    let stores = [Arc::new(connect(&url, 1).await), Arc::new(connect(&url, 2).await)];
    let cards: Vec<_> = (0..4).map(|number| card(number, 0)).collect();
    stores[0].import(&cards, false).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let store = Arc::clone(&stores[usize::from(task % 2 == 1)]);
        tasks.spawn(work(store, (task + 1) * 1_000_000, Arc::clone(&stop)));
    }
    trouble(&url).await;
    stop.store(true, Ordering::SeqCst);
    let books = tasks.join_all().await;
    for store in &stores {
        until_healthy(store).await;
    }
    let refused: u64 = books.iter().map(|books| books.refused).sum();
    assert!(refused != 0, "it was felt");
    let mut acknowledged = 0;
    for number in books.iter().flat_map(|books| &books.acknowledged) {
        assert_eq!(told(&*stores[1], *number).await, "approved", "{number} was acknowledged");
        acknowledged += 1;
    }
    let mut changes = 0;
    for number in 0..4 {
        let card = find(&stores[0], number).await;
        assert_eq!(card.changes_day + 1, card.version);
        changes += u64::from(card.changes_day);
    }
    let kept: u64 = cluster.psql(&url, "SELECT count(*) FROM transaction").parse().unwrap();
    assert_eq!(changes, kept, "one change a key");
    assert!(acknowledged <= kept && 50 < acknowledged, "{acknowledged} of {kept}");
    let audits = stores[0].verify_audit(|_| {}).await.unwrap();
    assert_eq!(audits.iter().map(|audit| audit.report.records).sum::<u64>(), kept);
    assert_eq!([stores[0].in_progress(), stores[1].in_progress()], [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_are_ended_at_random_lose_nothing() {
    let cluster = Cluster::shared();
    under(cluster, async |url| {
        for _ in 0..40 {
            let one = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name LIKE 'pinion node % writes' AND datname = current_database()
                ORDER BY random() LIMIT 1";
            tokio::task::block_in_place(|| cluster.psql(url, one));
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_is_killed_and_comes_back_loses_nothing() {
    let cluster = Cluster::start(&[]);
    under(&cluster, async |_| {
        for how in [Order::Kill, Order::Stop, Order::Kill] {
            tokio::time::sleep(Duration::from_millis(300)).await;
            tokio::task::block_in_place(|| cluster.order(how));
            tokio::task::block_in_place(|| cluster.order(Order::Start));
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_is_refused_at_once_and_says_why() {
    let cluster = Cluster::start(&[]);
    let url = cluster.database();
    migrate(&url, None).await.unwrap();
    let store = connect(&url, 1).await;
    let _ = commit(&store, entry(1), None).await.unwrap();
    tokio::task::block_in_place(|| cluster.order(Order::Stop));
    while store.health().is_ok() {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        let claimed = store.claim(key(2), Fingerprint(2)).await;
        assert!(matches!(claimed, Err(StoreError::Unavailable)), "{claimed:?}");
    }
    let why = store.status().poisoned.unwrap();
    assert!(why.contains("database") || why.contains("connection"), "{why}");
    assert!(store.unsettled(HostId::ALL, 1).await.is_err());
    tokio::task::block_in_place(|| cluster.order(Order::Start));
    until_healthy(&store).await;
    assert_eq!(told(&store, 1).await, "approved");
    let receipt = commit(&store, entry(2), None).await.unwrap();
    assert_eq!(receipt.sequence(), shared::origin(1) + 2);
    store.verify_audit(|_| {}).await.unwrap();
}

/// With `fsync = off` a database says that a commit is durable when it is not: it counts as away until it is on again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_sync_is_not_written_to() {
    let cluster = Cluster::start(&[]);
    let url = cluster.database();
    migrate(&url, None).await.unwrap();
    let store = connect(&url, 1).await;
    let set = |to: &str| {
        tokio::task::block_in_place(|| {
            cluster.psql("postgres", &format!("ALTER SYSTEM SET fsync = {to}"));
            cluster.order(Order::Kill);
            cluster.order(Order::Start);
        });
    };
    set("off");
    while !store.status().poisoned.is_some_and(|why| why.contains("turn fsync on")) {
        tokio::task::yield_now().await;
    }
    let claimed = store.claim(key(1), Fingerprint(1)).await;
    assert!(matches!(claimed, Err(StoreError::Unavailable)), "{claimed:?}");
    let another = PostgresStore::connect(options(&url, 2), Arc::new(TestVault(7))).await;
    let Err(another) = another else { panic!("connected") };
    assert!(another.to_string().contains("turn fsync on"), "{another}");
    set("on");
    until_healthy(&store).await;
    let _ = commit(&store, entry(1), None).await.unwrap();
}
