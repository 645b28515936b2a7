//! Tests of the embedded store as a whole: what is answered is there after a reopen, and nothing else is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::chores::Chore;
use super::*;
use crate::card::Entry;
use crate::card::record::{AccountStatus, AccountType, CardStatus, Identities, ProductKey};
use crate::domain::clock::{Clock, Now, WallMillis};
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::pan::{Pan, PanHash, SealedPan};
use crate::domain::pin::Reference;
use crate::domain::request::{IdentityKind, LinkId, Operation, Trace};
use crate::domain::vault::VaultError;

pub(crate) mod crowd;
mod faults;
pub(crate) mod forwarded;
mod forwarded_faults;

const HOUR: u64 = 3_600_000;
/// 2026-11-22, in milliseconds.
const TODAY: u64 = 1_795_305_600_000;

/// A vault with a fixed key. "Sealed" is the number exclusive-or the key: no secrecy, which no test needs.
pub(crate) struct TestVault(pub(crate) u8);

impl TestVault {
    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&[self.0; 32]).unwrap();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl Vault for TestVault {
    fn pan_hash(&self, pan: &Pan) -> PanHash {
        PanHash(*self.mac(&[b"pan", pan.expose_digits()]).first_chunk().unwrap())
    }

    fn seal_pan(&self, pan: &Pan) -> Result<SealedPan, VaultError> {
        let mut sealed = [self.0; SealedPan::BYTES];
        sealed[0] = u8::try_from(pan.expose_digits().len()).unwrap();
        sealed.iter_mut().skip(1).zip(pan.expose_digits()).for_each(|(to, from)| *to ^= from);
        Ok(SealedPan(sealed))
    }

    fn open_pan(&self, sealed: &SealedPan) -> Result<Pan, VaultError> {
        let digits: Vec<u8> =
            sealed.0[1..].iter().take(usize::from(sealed.0[0])).map(|b| b ^ self.0).collect();
        Pan::parse(&digits).map_err(|_| VaultError::Forged)
    }

    fn chain(&self, before: &[u8; 32], record: &[u8]) -> [u8; 32] {
        self.mac(&[before, record])
    }
}

/// Time that tests move.
pub(crate) struct TestClock(pub(crate) AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Now {
        Duration::ZERO
    }

    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::Relaxed))
    }

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock(AtomicU64::new(TODAY)))
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions::new(clock())
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, Arc::new(TestVault(7)), options()).unwrap()
}

pub(crate) fn pan(number: u64) -> Pan {
    Pan::parse(format!("47617390{number:08}").as_bytes()).unwrap()
}

pub(crate) fn card(number: u64, sequence: u16) -> CardRecord {
    let (vault, pan) = (TestVault(7), pan(number));
    CardRecord {
        pan_hash: vault.pan_hash(&pan),
        sequence,
        version: 1,
        sealed_pan: vault.seal_pan(&pan).unwrap(),
        expiry: 3012,
        product: ProductKey { organization: 600, logo: 1 },
        status: CardStatus::Active,
        account_status: AccountStatus::Active,
        account_type: AccountType::Ordinary,
        pin_suppressed: false,
        pin_tries_used: 0,
        changes: 0,
        changes_day: 0,
        reference: Reference::Pvv(*b"8034"),
        undo: None,
        identities: None,
    }
}

fn fill(store: &mut EmbeddedStore, cards: impl IntoIterator<Item = CardRecord>) {
    let mut bulk = store.bulk("test").unwrap();
    cards.into_iter().for_each(|card| bulk.put(card, false).unwrap());
    bulk.finish().unwrap();
}

pub(crate) fn key(number: u64) -> TransactionKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    TransactionKey(key)
}

pub(crate) fn entry(number: u64) -> Entry {
    Entry {
        key: key(number),
        fingerprint: Fingerprint(number),
        operation: Operation::Change,
        pan_hash: None,
        declined: None,
        at: WallMillis(TODAY),
        link: LinkId(0),
        trace: Trace::default(),
        original: None,
        overridden: false,
    }
}

pub(crate) async fn fresh<S: Store>(store: &S, number: u64) -> S::Claim {
    match store.claim(key(number), Fingerprint(number)).await.unwrap() {
        Seen::Fresh(claim) => claim,
        _ => panic!("key {number} is known"),
    }
}

async fn commit(
    store: &EmbeddedStore,
    number: u64,
    card: Option<CardRecord>,
) -> Result<u64, CommitRefused<Claim>> {
    commit_entry(store, entry(number), card).await
}

async fn commit_entry(
    store: &EmbeddedStore,
    entry: Entry,
    card: Option<CardRecord>,
) -> Result<u64, CommitRefused<Claim>> {
    let claim = match store.claim(entry.key, entry.fingerprint).await.unwrap() {
        Seen::Fresh(claim) => claim,
        other => panic!("key is {other:?}"),
    };
    store.commit(claim, Commit { card, entry, reopens: None }).await.map(Receipt::sequence)
}

fn by_pan(number: u64, sequence: Option<u16>) -> CardKey<'static> {
    CardKey::Pan(TestVault(7).pan_hash(&pan(number)), sequence)
}

#[tokio::test]
async fn committed_is_read_back_and_survives_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, [card(1, 0)]);
    let mut changed = (*store.find(by_pan(1, None)).unwrap()).clone();
    changed.reference = Reference::Pvv(*b"3128");
    let receipt = commit(&store, 1, Some(changed)).await.unwrap();
    drop(store);
    let store = open(dir.path());
    let found = store.find(by_pan(1, Some(0))).unwrap();
    assert_eq!((found.version, found.reference), (2, Reference::Pvv(*b"3128")));
    match store.claim(key(1), Fingerprint(1)).await.unwrap() {
        Seen::Answered(Outcome::Approved(again)) => assert_eq!(again.sequence(), receipt),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_of_each_reason_survives_and_another_fingerprint_is_a_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for reason in Reason::ALL {
        let number = u64::from(reason.code());
        let entry = Entry { declined: Some((*reason).into()), ..entry(number) };
        commit_entry(&store, entry, None).await.unwrap();
    }
    drop(store);
    let store = open(dir.path());
    for reason in Reason::ALL {
        let number = u64::from(reason.code());
        match store.transaction(key(number)).await.unwrap() {
            Some(Seen::Answered(Outcome::Declined(got))) => assert_eq!(got, (*reason).into()),
            other => panic!("{reason:?}: {other:?}"),
        }
        let other = store.claim(key(number), Fingerprint(999)).await.unwrap();
        assert!(matches!(other, Seen::Duplicate), "{other:?}");
    }
    assert!(store.transaction(key(1000)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_dropped_claim_frees_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let claim = fresh(&store, 1).await;
    assert!(matches!(store.claim(key(1), Fingerprint(1)).await.unwrap(), Seen::InProgress));
    drop(claim);
    drop(fresh(&store, 1).await);
    assert_eq!(store.status().transaction_keys, 0);
}

#[tokio::test]
async fn a_full_table_still_knows_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { transaction_keys_max: 2, ..options() };
    let store = EmbeddedStore::open(dir.path(), Arc::new(TestVault(7)), options).unwrap();
    let (_one, _two) = (fresh(&store, 1).await, fresh(&store, 2).await);
    let full = store.claim(key(3), Fingerprint(3)).await.unwrap_err();
    assert_eq!(full, StoreError::Full);
    assert!(matches!(store.claim(key(1), Fingerprint(1)).await.unwrap(), Seen::InProgress));
}

#[tokio::test]
async fn a_late_original_is_refused_after_its_reversal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let reversal = Entry {
        operation: Operation::Reverse,
        declined: Some(Reason::OriginalNotFound.into()),
        original: Some(key(1)),
        ..entry(2)
    };
    commit_entry(&store, reversal, None).await.unwrap();
    let late = store.claim(key(1), Fingerprint(1)).await.unwrap();
    assert!(matches!(late, Seen::Duplicate), "{late:?}");
    drop(store);
    let late = open(dir.path()).claim(key(1), Fingerprint(1)).await.unwrap();
    assert!(matches!(late, Seen::Duplicate), "after a restart: {late:?}");
}

#[tokio::test]
async fn a_reversal_leaves_the_answer_of_an_original_that_came() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, 1, None).await.unwrap();
    let reversal = Entry { original: Some(key(1)), ..entry(2) };
    commit_entry(&store, reversal, None).await.unwrap();
    let original = store.transaction(key(1)).await.unwrap();
    assert!(matches!(original, Some(Seen::Answered(Outcome::Approved(_)))), "{original:?}");
}

#[tokio::test]
async fn a_conflict_gives_the_claim_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, [card(1, 0)]);
    let read = card(1, 0);
    commit(&store, 1, Some(read.clone())).await.unwrap();
    let refused = commit(&store, 2, Some(read.clone())).await.unwrap_err();
    assert_eq!(refused.error, StoreError::Conflict);
    let claim = refused.claim.expect("the claim comes back");
    let newer = CardRecord { version: 2, ..read };
    let receipt =
        store.commit(claim, Commit { card: Some(newer), entry: entry(2), reopens: None }).await;
    assert_eq!(receipt.unwrap().sequence(), 3, "one is the note of the bulk load");
    let unknown = commit(&store, 3, Some(card(2, 0))).await.unwrap_err();
    assert_eq!(unknown.error, StoreError::Conflict, "a card that is not there has no version");
}

/// All commits are in the queue before the committer may take them, so they meet in one batch.
#[tokio::test]
async fn conflicts_within_one_batch_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(faults::Faults::default());
    let mut store = faults::open_faulty(dir.path(), &gate);
    fill(&mut store, [card(1, 0)]);
    gate.hold.store(true, Ordering::SeqCst);
    let mut claims = Vec::new();
    for number in 0..9 {
        claims.push((number, fresh(&store, number).await));
    }
    let commits = claims.into_iter().map(|(number, claim)| {
        let card = (number != 0).then(|| card(1, 0));
        store.commit(claim, Commit { card, entry: entry(number), reopens: None })
    });
    let all = futures_util::future::join_all(commits);
    let release = async {
        // All are queued by now. The committer takes one or more, the rest waits behind its sync.
        while store.status().queue_depth == 9 {
            tokio::task::yield_now().await;
        }
        gate.hold.store(false, Ordering::SeqCst);
    };
    let (answers, ()) = tokio::join!(all, release);
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 2, "the plain one and the first");
    assert_eq!(store.find(by_pan(1, None)).unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_claims_of_one_key_one_is_fresh() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.claim(key(1), Fingerprint(1)).await.unwrap() })
        })
        .collect();
    let seen: Vec<_> = futures_util::future::join_all(tasks).await;
    let fresh = seen.iter().filter(|s| matches!(s, Ok(Seen::Fresh(_)))).count();
    let waiting = seen.iter().filter(|s| matches!(s, Ok(Seen::InProgress))).count();
    assert_eq!((fresh, waiting), (1, 999));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_parallel_wrong_pins_count_a_thousand() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, [card(1, 0)]);
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..1000)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut claim = fresh(&*store, number).await;
                loop {
                    let mut card = (*store.find(by_pan(1, None)).unwrap()).clone();
                    // Tries wrap at 256, `changes_day` counts on.
                    card.pin_tries_used = card.pin_tries_used.wrapping_add(1);
                    card.changes_day += 1;
                    let commit = Commit { card: Some(card), entry: entry(number), reopens: None };
                    match store.commit(claim, commit).await {
                        Ok(_) => return,
                        Err(refused) => claim = refused.claim.unwrap(),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let check = |card: &CardRecord| {
        assert_eq!((card.changes_day, card.version), (1000, 1001));
    };
    check(&store.find(by_pan(1, None)).unwrap());
    drop(store);
    check(&open(dir.path()).find(by_pan(1, None)).unwrap());
}

#[tokio::test]
async fn numbers_with_several_cards_need_their_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let identities = |token: &str| {
        Some(Box::new(Identities { pan_token: Some(token.into()), ..Identities::default() }))
    };
    let one = CardRecord { identities: identities("one"), ..card(1, 1) };
    let two = CardRecord { identities: identities("two"), ..card(1, 2) };
    fill(&mut store, [one, two, card(2, 3)]);
    for store in [&store] {
        assert_eq!(store.find(by_pan(1, None)), None, "which of the two?");
        for (sequence, token) in [(1, "one"), (2, "two")] {
            assert_eq!(store.find(by_pan(1, Some(sequence))).unwrap().sequence, sequence);
            let named = store.find(CardKey::Identity(IdentityKind::PanToken, token));
            assert_eq!(named.unwrap().sequence, sequence);
        }
        assert_eq!(store.find(by_pan(1, Some(3))), None);
        assert_eq!(store.find(by_pan(2, None)).unwrap().sequence, 3);
        assert_eq!(store.find(by_pan(2, Some(0))), None);
        assert_eq!(store.find(CardKey::Identity(IdentityKind::CardId, "one")), None);
        assert_eq!(store.status().cards, 3);
    }
    let taken = CardRecord { identities: identities("one"), ..card(5, 0) };
    let refused = store.check_new(&taken, false).unwrap_err();
    assert!(matches!(refused, BulkError::IdentityTaken(IdentityKind::PanToken)), "{refused}");
    let there = store.check_new(&card(1, 1), false).unwrap_err();
    assert!(matches!(there, BulkError::Exists), "{there}");
}

#[tokio::test]
async fn keys_expire_and_keys_in_progress_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut chore = Chore::new(&store);
    commit(&store, 1, None).await.unwrap();
    let _held = fresh(&store, 2).await;
    chore.tick(WallMillis(TODAY + 23 * HOUR)).unwrap();
    assert_eq!(store.status().transaction_keys, 2);
    chore.tick(WallMillis(TODAY + 25 * HOUR)).unwrap();
    assert_eq!(store.status().transaction_keys, 1);
    assert!(matches!(store.claim(key(2), Fingerprint(2)).await.unwrap(), Seen::InProgress));
}

#[tokio::test]
async fn keys_older_than_the_window_are_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (number, hours_ago) in [(1, 30), (2, 25), (3, 23), (4, 0)] {
        let entry = Entry { at: WallMillis(TODAY - hours_ago * HOUR), ..entry(number) };
        commit_entry(&store, entry, None).await.unwrap();
    }
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(store.status().checkpoint, 4);
    for (number, known) in [(1, false), (2, false), (3, true), (4, true)] {
        assert_eq!(store.transaction(key(number)).await.unwrap().is_some(), known, "{number}");
    }
}

#[tokio::test]
async fn folding_and_trimming_keep_cards_keys_and_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, (0..20).map(|n| card(n, 0)));
    let mut chore = Chore::new(&store);
    for number in 0..40 {
        let card = store.find(by_pan(number % 20, None)).unwrap();
        // The first twenty are two years old.
        let days = if number < 20 { 730 } else { 0 };
        let at = WallMillis(TODAY - days * 24 * HOUR);
        let entry = Entry { at, ..entry(number) };
        commit_entry(&store, entry, Some((*card).clone())).await.unwrap();
    }
    // Two looks without a commit between them: idle.
    chore.tick(WallMillis(TODAY)).unwrap();
    chore.tick(WallMillis(TODAY + 2 * HOUR)).unwrap();
    assert_eq!(store.status().checkpoint, 41);
    let report = store.verify_audit(|_| {}).unwrap();
    assert_eq!((report.anchor, report.last, report.records), (21, 41, 20));
    let anchor = store.tables.trim(&*store.journal, 41, WallMillis(TODAY + 1)).unwrap();
    assert_eq!(anchor.sequence, 41);
    commit(&store, 50, None).await.unwrap();
    for _ in 0..2 {
        let report = store.verify_audit(|_| {}).unwrap();
        assert_eq!((report.anchor, report.last, report.records), (41, 42, 1));
    }
    drop(chore);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.verify_audit(|_| {}).unwrap().records, 1);
    for number in 0..20 {
        assert_eq!(store.find(by_pan(number, None)).unwrap().version, 3);
    }
}

#[tokio::test]
async fn trimming_everything_leaves_a_store_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..3 {
        commit(&store, number, None).await.unwrap();
    }
    store.fold_all().unwrap();
    let anchor = store.tables.trim(&*store.journal, 3, WallMillis(u64::MAX)).unwrap();
    assert_eq!(anchor.sequence, 3);
    drop(store);
    let store = open(dir.path());
    assert_eq!(commit(&store, 9, None).await.unwrap(), 4);
    assert_eq!(store.verify_audit(|_| {}).unwrap().records, 1);
}
