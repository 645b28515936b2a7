//! What the embedded store costs: closed-loop throughput, latency at a fixed rate, start-up with many cards.
//!
//! `cargo bench --bench store -- [closed|forward|rate|load] [N]`. Latencies are counted from the moment a commit
//! should have begun, so that a stall is seen by everybody it delayed (coordinated omission). `benches/BENCHMARKS.md`
//! tells how to read the numbers. **Never here:** a claim; only numbers of this machine.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::unwrap_used, reason = "a bench that fails has no better way to say so")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pinion::card::embedded::{EmbeddedStore, StoreOptions};
use pinion::card::{Commit, Entry, Seen, Store as _};
use pinion::domain::clock::SystemClock;
use pinion::domain::forward::{Details, Forwarded, HostId, Stan};
use pinion::domain::outcome::Reason;
use pinion::domain::pan::{PanHash, SealedPan};
use pinion::domain::request::Tag;
use pinion::domain::vault::Vault as _;

#[path = "support/cards.rs"]
mod shared;

use shared::{card, change, entry, pan, vault};

fn open(dir: &Path) -> EmbeddedStore {
    let options = StoreOptions::new(Arc::new(SystemClock::start()));
    EmbeddedStore::open(dir, vault(), options).unwrap()
}

fn fill(store: &mut EmbeddedStore, cards: u64) {
    let vault = vault();
    let mut bulk = store.bulk("bench").unwrap();
    for number in 0..cards {
        bulk.put(card(&vault, number), true).unwrap();
    }
    bulk.finish().unwrap();
}

/// One forwarded change without its host: claim, intent, outcome.
async fn forward(store: &EmbeddedStore, clock: SystemClock, number: u64, hash: PanHash) {
    let declined = Some(Reason::OutcomeUnknown.into());
    let entry = Entry { declined, ..entry(number, hash, clock) };
    let at = entry.at;
    let forwarded = Forwarded {
        host: HostId(0),
        stan: Stan(u32::try_from(number % 999_999).unwrap() + 1),
        transmitted: at,
        pan: SealedPan([7; SealedPan::BYTES]),
        sequence: None,
        institution: Tag::new(b"476173"),
        details: Details {
            expiry: Some(*b"4912"),
            time: Some(*b"120000"),
            date: Some(*b"1122"),
            entry_mode: Some(*b"051"),
            condition: Some(*b"00"),
            currency: Some(*b"710"),
            acquirer: Tag::new(b"12345678901"),
            acceptor: Tag::new(b"TERMID0000000ZA"),
            ..Details::default()
        },
    };
    let claim = match store.claim(entry.key, entry.fingerprint).await.unwrap() {
        Seen::Fresh(claim) => claim,
        other => unreachable!("{other:?}"),
    };
    let claim = store.intend(claim, entry.clone(), forwarded).await.unwrap();
    let entry = Entry { declined: None, ..entry };
    let _ = store.commit(claim, Commit { card: None, entry, reopens: None }).await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn tell(what: &str, count: u64, took: Duration, latency: &Histogram<u64>) {
    let us = |q| latency.value_at_quantile(q);
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let rate = count as f64 / seconds;
    println!(
        "{what:24} {rate:9.0}/s  us: p50 {:6} p99 {:6} p99.9 {:6} p99.99 {:6} max {:6}",
        us(0.5),
        us(0.99),
        us(0.999),
        us(0.9999),
        latency.max()
    );
}

/// What a task does again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Change,
    Forward,
}

/// `width` at a time, each begun when one ended.
fn closed(work: Work, width: u64, count: u64) {
    let dir = tempfile::tempdir_in("target").unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 100_000);
    let (store, clock, hasher) = (Arc::new(store), SystemClock::start(), vault());
    let begun = Instant::now();
    let mut all = histogram();
    runtime().block_on(async {
        let tasks: Vec<_> = (0..width)
            .map(|task| {
                let (store, hasher) = (Arc::clone(&store), Arc::clone(&hasher));
                tokio::spawn(async move {
                    let mut latency = histogram();
                    for number in (task..count).step_by(usize::try_from(width).unwrap()) {
                        let hash = hasher.pan_hash(&pan(number % 100_000));
                        let begun = Instant::now();
                        match work {
                            Work::Change => change(&*store, clock, number, hash).await,
                            Work::Forward => forward(&store, clock, number, hash).await,
                        }
                        latency.saturating_record(micros(begun.elapsed()));
                    }
                    latency
                })
            })
            .collect();
        for task in tasks {
            all.add(task.await.unwrap()).unwrap();
        }
    });
    let what = match work {
        Work::Change => "closed loop",
        Work::Forward => "intent and outcome",
    };
    tell(&format!("{what}, {width} wide"), count, begun.elapsed(), &all);
}

/// Changes begun by the clock, whether or not earlier ones ended.
fn rate(per_second: u64, seconds: u64) {
    let dir = tempfile::tempdir_in("target").unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 100_000);
    let (store, clock, hasher) = (Arc::new(store), SystemClock::start(), vault());
    let begun = Instant::now();
    let count = per_second * seconds;
    let latency = runtime().block_on(async {
        let (done, mut answers) = tokio::sync::mpsc::channel(65_536);
        let sums = tokio::spawn(async move {
            let mut latency = histogram();
            while let Some(took) = answers.recv().await {
                latency.saturating_record(micros(took));
            }
            latency
        });
        let mut number = 0;
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        while number < count {
            tick.tick().await;
            let due = u64::try_from(begun.elapsed().as_micros()).unwrap() * per_second / 1_000_000;
            while number < due.min(count) {
                let (store, hasher) = (Arc::clone(&store), Arc::clone(&hasher));
                let done = done.clone();
                // The timer's own grain of a millisecond is not the store's: counted from here.
                let at = Instant::now();
                tokio::spawn(async move {
                    let hash = hasher.pan_hash(&pan(number * 7919 % 100_000));
                    change(&*store, clock, number, hash).await;
                    let _ = done.send(at.elapsed()).await;
                });
                number += 1;
            }
        }
        drop(done);
        sums.await.unwrap()
    });
    tell(&format!("rate {per_second}/s"), count, begun.elapsed(), &latency);
    println!("{:24} {:?}", "", store.status());
}

/// Many cards: writing them, opening again, memory.
fn load(cards: u64) {
    let dir = tempfile::tempdir_in("target").unwrap();
    let mut store = open(dir.path());
    let begun = Instant::now();
    fill(&mut store, cards);
    println!("bulk of {cards}: {:.1} s", begun.elapsed().as_secs_f64());
    store.close().unwrap();
    let before = resident_mib();
    let begun = Instant::now();
    let store = open(dir.path());
    let after = resident_mib();
    println!(
        "open with {} cards: {:.1} s, resident {before} -> {after} MiB",
        store.status().cards,
        begun.elapsed().as_secs_f64()
    );
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Microseconds, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).unwrap()
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let which = words.first().map_or("all", String::as_str);
    let number = words.get(1).and_then(|n| n.parse::<u64>().ok());
    if ["all", "closed"].contains(&which) {
        for width in [1, 8, 64, 256, 1024] {
            closed(
                Work::Change,
                width,
                number.unwrap_or(if width == 1 { 20_000 } else { 300_000 }),
            );
        }
    }
    if ["all", "forward"].contains(&which) {
        for width in [1, 64, 256] {
            closed(
                Work::Forward,
                width,
                number.unwrap_or(if width == 1 { 10_000 } else { 150_000 }),
            );
        }
    }
    if ["all", "rate"].contains(&which) {
        for per_second in [10_000, 30_000] {
            rate(per_second, number.unwrap_or(30));
        }
    }
    if ["all", "load"].contains(&which) {
        load(number.unwrap_or(1_000_000));
    }
}
