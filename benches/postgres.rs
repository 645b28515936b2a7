//! What the store over PostgreSQL costs, beside the ceiling of the same statements: both on one throw-away cluster.
//!
//! `cargo bench --bench postgres -- [SECONDS] [CARDS] [IN_FLIGHT] [CONNECTIONS]`. The ceiling writes batches of the
//! writer's size from one connection, one after the other, with nothing waiting, compared or judged: the chain's row
//! and cards updated, keys inserted, records appended, in one statement.
//! **Never here:** a claim; only numbers of this machine.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::unwrap_used, reason = "a bench that fails has no better way to say so")]
#![expect(clippy::expect_used, reason = "as above, in the cluster's file")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pinion::card::postgres::{PostgresOptions, PostgresStore, migrate};
use pinion::domain::clock::SystemClock;
use pinion::domain::pan::PanHash;
use pinion::limits::{COMMIT_BATCH_MAX, STORE_IMPORT_ROWS};
use tokio_postgres::NoTls;

#[path = "../tests/support/postgres.rs"]
mod cluster;
#[path = "../tests/support/ports.rs"]
mod ports;
#[path = "support/cards.rs"]
mod shared;

use shared::{card, change, key, vault};

/// Changes a second, and how long one takes, with so many under way at once.
async fn closed(
    store: Arc<PostgresStore>,
    hashes: Arc<Vec<PanHash>>,
    under_way: u64,
    time: Duration,
) -> f64 {
    let (next, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (clock, begun) = (SystemClock::start(), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..under_way {
        let (store, hashes) = (Arc::clone(&store), Arc::clone(&hashes));
        let (next, stop) = (Arc::clone(&next), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut times = Histogram::<u64>::new(3).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed) + 1;
                let place = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % hashes.len() as u64;
                let begun = Instant::now();
                let hash = hashes[usize::try_from(place).unwrap()];
                change(&*store, clock, number, hash).await;
                times.record(u64::try_from(begun.elapsed().as_micros()).unwrap()).unwrap();
            }
            times
        });
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Histogram::<u64>::new(3).unwrap();
    for one in tasks.join_all().await {
        times.add(one).unwrap();
    }
    let (p50, p99) = (times.value_at_quantile(0.5), times.value_at_quantile(0.99));
    let rate = rate(times.len(), begun.elapsed());
    println!("store    {rate:>9.0} changes/s   p50 {p50} us   p99 {p99} us");
    rate
}

/// Batches by hand, one after the other.
async fn ceiling(url: &str, hashes: &[PanHash], time: Duration) -> f64 {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
        SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";
    client.batch_execute(settings).await.unwrap();
    let sql = "WITH head AS (UPDATE chain SET stan = 1 WHERE node = 1),
        put AS (UPDATE card SET version = card.version + 1, body = w.body
            FROM unnest($1::bytea[], $2::bytea[]) AS w (hash, body)
            WHERE card.pan_hash = w.hash AND card.sequence = 0),
        keys AS (INSERT INTO transaction (key, fingerprint, state, code, host, position, at)
            SELECT w.key, 0, 0, 0, 0, w.position, 0 FROM unnest($3::bytea[], $4::int8[]) AS w (key, position))
        INSERT INTO journal (position, at, record)
        SELECT w.position, 0, w.record FROM unnest($4::int8[], $5::bytea[]) AS w (position, record)";
    let sql = client.prepare(sql).await.unwrap();
    let begun = Instant::now();
    let mut number = 1_u64 << 40;
    while begun.elapsed() < time {
        let numbers: Vec<u64> = (number..number + COMMIT_BATCH_MAX as u64).collect();
        number += COMMIT_BATCH_MAX as u64;
        let mut cards: Vec<&[u8]> = numbers
            .iter()
            .map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % hashes.len() as u64)
            .map(|place| &hashes[usize::try_from(place).unwrap()].0[..])
            .collect();
        cards.sort_unstable();
        cards.dedup();
        let taken: Vec<[u8; 16]> = numbers.iter().map(|n| key(*n).0).collect();
        let taken: Vec<&[u8]> = taken.iter().map(|key| &key[..]).collect();
        let positions: Vec<i64> = numbers.iter().map(|n| n.cast_signed()).collect();
        let (bodies, records) =
            (vec![&[7_u8; 118][..]; cards.len()], vec![&[7_u8; 250][..]; taken.len()]);
        let appended =
            client.execute(&sql, &[&cards, &bodies, &taken, &positions, &records]).await.unwrap();
        assert_eq!(appended, taken.len() as u64);
    }
    let rate = rate(number - (1 << 40), begun.elapsed());
    println!("ceiling  {rate:>9.0} changes/s   batches of {COMMIT_BATCH_MAX}, one connection");
    rate
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(changes: u64, time: Duration) -> f64 {
    changes as f64 / time.as_secs_f64()
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (time, cards) = (Duration::from_secs(number(0, 20)), number(1, 100_000));
    let (under_way, connections) = (number(2, 1024), number(3, 6));
    let cluster = cluster::Cluster::start(&["max_wal_size=8GB", "shared_buffers=512MB"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = cluster.database();
        migrate(&url, None).await.unwrap();
        let vault = vault();
        let clock = Arc::new(SystemClock::start());
        let connections = usize::try_from(connections).unwrap();
        let options =
            PostgresOptions { connections, ..PostgresOptions::new(url.clone(), 1, clock) };
        let store = Arc::new(PostgresStore::connect(options, vault.clone()).await.unwrap());
        let all: Vec<_> = (0..cards).map(|number| card(&vault, number)).collect();
        for some in all.chunks(STORE_IMPORT_ROWS) {
            store.import(some, false).await.unwrap();
        }
        let hashes: Arc<Vec<_>> = Arc::new(all.iter().map(|card| card.pan_hash).collect());
        println!("{cards} cards, {under_way} under way, {connections} connections, {time:?} each");
        let ours = closed(Arc::clone(&store), Arc::clone(&hashes), under_way, time).await;
        // Its cards do not decode, so it comes second; and its chain's row is locked, never moved.
        let theirs = ceiling(&url, &hashes, time).await;
        println!("ratio    {:>9.2}", ours / theirs);
    });
}
