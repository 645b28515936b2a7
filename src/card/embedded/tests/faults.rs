//! Tests of the embedded store under faults: forged records, failed syncs, cut files, other keys, dead loads.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::card::codec::decode_record;
use crate::card::embedded::journal::{Batch, FjallJournal, Journal, JournalError, Visit};

#[tokio::test]
async fn a_changed_record_breaks_the_chain_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..5 {
        commit(&store, number, None).await.unwrap();
    }
    let mut forged = Vec::new();
    store
        .journal
        .scan(3, &mut |_, bytes| {
            forged = bytes.to_vec();
            ControlFlow::Break(())
        })
        .unwrap();
    // Byte 13 is in the time of the request.
    forged[13] ^= 1;
    let mut batch = Batch::default();
    batch.reset(3);
    let (record, mac) = forged.split_last_chunk::<32>().unwrap();
    let written: Result<(), ()> = batch.push(
        |out| {
            out.extend_from_slice(record);
            Ok(())
        },
        |_| *mac,
    );
    written.unwrap();
    store.journal.write(&batch).unwrap();
    let broken = store.verify_audit(|_| {}).unwrap_err();
    assert!(matches!(broken, crate::card::audit::AuditError::Broken { sequence: 3 }), "{broken}");
}

/// A journal that can be told to fail or to wait.
#[derive(Default)]
pub(super) struct Faults {
    /// Syncs still to succeed, where a failure is wanted: 0 is none wanted.
    pub(super) fail_after: AtomicU64,
    /// Syncs wait.
    pub(super) hold: AtomicBool,
    /// Writes are forgotten unless synced.
    pub(super) lose_unsynced: AtomicBool,
}

struct FaultyJournal {
    inner: FjallJournal,
    faults: Arc<Faults>,
    unsynced: arc_swap::ArcSwapOption<Batch>,
}

impl Journal for FaultyJournal {
    fn write(&self, batch: &Batch) -> Result<(), JournalError> {
        if self.faults.lose_unsynced.load(Ordering::SeqCst) {
            let mut copy = Batch::default();
            copy.reset(batch.first);
            for (_, record) in batch.iter() {
                let (bytes, mac) = record.split_last_chunk::<32>().unwrap();
                let push: Result<(), ()> = copy.push(
                    |out| {
                        out.extend_from_slice(bytes);
                        Ok(())
                    },
                    |_| *mac,
                );
                push.unwrap();
            }
            self.unsynced.store(Some(Arc::new(copy)));
            return Ok(());
        }
        self.inner.write(batch)
    }

    fn sync(&self) -> Result<(), JournalError> {
        while self.faults.hold.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        if self.faults.fail_after.load(Ordering::SeqCst) != 0
            && self.faults.fail_after.fetch_sub(1, Ordering::SeqCst) == 1
        {
            return Err(JournalError { doing: "syncing", why: "injected".into() });
        }
        if let Some(batch) = self.unsynced.swap(None) {
            self.inner.write(&batch)?;
        }
        self.inner.sync()
    }

    fn scan(&self, from: u64, visit: Visit<'_>) -> Result<(), JournalError> {
        self.inner.scan(from, visit)
    }

    fn last(&self) -> Result<Option<u64>, JournalError> {
        self.inner.last()
    }

    fn trim(&self, through: u64) -> Result<(), JournalError> {
        self.inner.trim(through)
    }
}

pub(super) fn open_faulty(dir: &Path, faults: &Arc<Faults>) -> EmbeddedStore {
    let faults = Arc::clone(faults);
    EmbeddedStore::open_with(dir, Arc::new(TestVault(7)), options(), |inner| {
        Arc::new(FaultyJournal { inner, faults, unsynced: arc_swap::ArcSwapOption::empty() })
    })
    .unwrap()
}

/// The third sync fails: two commits are answered, everything after is refused, reads go on, and a restart has exactly
/// what was answered (the failed one may or may not be there: here the journal loses it).
#[tokio::test]
async fn a_failed_sync_poisons_and_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let mut store = open_faulty(dir.path(), &faults);
    fill(&mut store, [card(1, 0)]);
    faults.lose_unsynced.store(true, Ordering::SeqCst);
    faults.fail_after.store(3, Ordering::SeqCst);
    commit(&store, 1, Some(card(1, 0))).await.unwrap();
    commit(&store, 2, None).await.unwrap();
    let failed = commit(&store, 3, Some(CardRecord { version: 2, ..card(1, 0) })).await;
    assert_eq!(failed.unwrap_err().error, StoreError::Poisoned);
    assert_eq!(store.health(), Err(StoreError::Poisoned));
    let why = store.status().poisoned.unwrap();
    assert!(why.contains("injected"), "{why}");
    let refused = store.claim(key(4), Fingerprint(4)).await.unwrap_err();
    assert_eq!(refused, StoreError::Poisoned);
    assert_eq!(store.find(by_pan(1, None)).unwrap().version, 2, "reads go on, without the failed");
    assert!(matches!(store.transaction(key(3)).await.unwrap(), Some(Seen::InProgress)));
    store.close().unwrap();

    let store = open(dir.path());
    assert_eq!(store.find(by_pan(1, None)).unwrap().version, 2);
    assert!(store.transaction(key(2)).await.unwrap().is_some());
    assert!(store.transaction(key(3)).await.unwrap().is_none());
    assert_eq!(commit(&store, 3, None).await.unwrap(), 4);
    store.verify_audit(|_| {}).unwrap();
}

/// What a power cut leaves: a copy of the files while the store is open, then the write-ahead file cut at any length.
#[tokio::test]
async fn a_cut_off_write_ahead_file_opens_with_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, [card(1, 0)]);
    // The checkpoint stays at the load, so that every cut after it opens.
    drop(store.chores.take());
    for number in 0..8 {
        let card = (*store.find(by_pan(1, None)).unwrap()).clone();
        commit(&store, number, Some(card)).await.unwrap();
    }
    let journal_file = Path::new("journal/0.jnl");
    let bytes = std::fs::read(dir.path().join(journal_file)).unwrap();
    let used = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    let mut versions = std::collections::BTreeSet::new();
    for cut in (0..8).map(|eighth| used - used * eighth / 16) {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(dir.path(), copy.path());
        std::fs::write(copy.path().join(journal_file), &bytes[..cut]).unwrap();
        match EmbeddedStore::open(copy.path(), Arc::new(TestVault(7)), options()) {
            Ok(store) => {
                let version = store.find(by_pan(1, None)).unwrap().version;
                assert_eq!(u64::from(version), store.status().last_sequence, "one prefix of all");
                versions.insert(version);
                store.verify_audit(|_| {}).unwrap();
            }
            // Cut below the checkpoint: named, not repaired.
            Err(OpenError::Damaged { why, .. }) => assert!(why.contains("missing"), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(versions.last(), Some(&9), "uncut, nothing is lost");
    assert!(3 < versions.len(), "{versions:?}");
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_second_process_a_newer_format_and_other_keys_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let again = EmbeddedStore::open(dir.path(), Arc::new(TestVault(7)), options()).unwrap_err();
    let ours = std::process::id();
    assert!(matches!(again, OpenError::Locked { pid, .. } if pid == ours), "{again}");
    drop(store);
    let other = EmbeddedStore::open(dir.path(), Arc::new(TestVault(8)), options()).unwrap_err();
    assert!(matches!(other, OpenError::OtherKeys { .. }), "{other}");
    let tables = Tables::open(&dir.path().join("cards")).unwrap();
    tables.begin(3, b"").unwrap();
    drop(tables);
    let newer = EmbeddedStore::open(dir.path(), Arc::new(TestVault(7)), options()).unwrap_err();
    assert!(matches!(newer, OpenError::Newer { found: 3, .. }), "{newer}");
}

#[test]
fn a_bulk_load_that_died_is_noted_at_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut bulk = store.bulk("cards.csv").unwrap();
    (0..3000).for_each(|n| bulk.put(card(n, 0), false).unwrap());
    drop(bulk);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.status().last_sequence, 1, "the note");
    let mut note = None;
    store
        .journal
        .scan(1, &mut |_, bytes| {
            note = Some(decode_record(bytes).unwrap().body);
            ControlFlow::Continue(())
        })
        .unwrap();
    match note {
        Some(Body::Bulk(note)) => {
            assert_eq!((note.complete, &*note.source), (false, "cards.csv"));
        }
        other => panic!("{other:?}"),
    }
    drop(store);
    assert_eq!(open(dir.path()).status().last_sequence, 1, "noted once");
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The caller's connection is gone while its commit waits for the sync: the change is done, and its key says so.
#[tokio::test]
async fn a_commit_whose_caller_went_away_is_answered_under_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(dir.path(), &faults);
    faults.hold.store(true, Ordering::SeqCst);
    let claim = fresh(&store, 1).await;
    let mut commit =
        Box::pin(store.commit(claim, Commit { card: None, entry: entry(1), reopens: None }));
    assert!(poll(commit.as_mut()).is_pending());
    drop(commit);
    assert!(matches!(store.transaction(key(1)).await.unwrap(), Some(Seen::InProgress)));
    faults.hold.store(false, Ordering::SeqCst);
    drop(store);
    let store = open(dir.path());
    let known = store.transaction(key(1)).await.unwrap();
    assert!(matches!(known, Some(Seen::Answered(Outcome::Approved(_)))), "{known:?}");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_frees_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(dir.path(), &faults);
    faults.hold.store(true, Ordering::SeqCst);
    let mut waiting = Vec::new();
    let mut refused = None;
    // One batch may be with the committer; the next commit beyond a full queue is refused.
    let most = u64::try_from(COMMIT_QUEUE_MAX + crate::limits::COMMIT_BATCH_MAX).unwrap();
    for number in 0..=most {
        let claim = fresh(&store, number).await;
        let mut commit = Box::pin(
            store.commit(claim, Commit { card: None, entry: entry(number), reopens: None }),
        );
        match poll(commit.as_mut()) {
            Poll::Pending => waiting.push(commit),
            Poll::Ready(answer) => {
                refused = Some((number, answer.unwrap_err().error));
                break;
            }
        }
    }
    let (number, error) = refused.expect("the queue is bounded");
    assert_eq!(error, StoreError::Full);
    drop(fresh(&store, number).await);
    faults.hold.store(false, Ordering::SeqCst);
    for commit in waiting {
        let _ = commit.await.unwrap();
    }
    assert_eq!(store.status().last_sequence, number);
}

#[test]
fn errors_of_the_operating_system_are_named() {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    for (kind, want) in [
        (PermissionDenied, "DIR: not writable: check its owner, mode and mount options"),
        (ReadOnlyFilesystem, "DIR: not writable: check its owner, mode and mount options"),
        (StorageFull, "DIR: no space left: free some and start again"),
        (NotFound, "DIR: entity not found"),
    ] {
        let engine = fjall::Error::Io(kind.into());
        let error = open::engine_error(Path::new("DIR"), engine);
        assert_eq!(error.to_string(), want);
    }
}
