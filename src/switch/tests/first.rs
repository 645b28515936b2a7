//! Another switch was first with a request: its answer is given, and the request is not judged again.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::card::embedded::Claim;
use crate::card::{
    Commit, CommitRefused, Entry, Fingerprint, Note, Receipt, Seen, Settlement, Store, StoreError,
    Unsettled,
};
use crate::domain::forward::{Forwarded, HostId, Stan};
use crate::domain::pan::PanHash;

/// A store that is told of its first commit that another switch had the key before; what that one did is `other`.
struct Second {
    inner: EmbeddedStore,
    told: AtomicBool,
    other: fn(Entry) -> Option<Entry>,
}

impl Store for Second {
    type Claim = Claim;

    async fn card(&self, key: CardKey<'_>) -> Result<Option<Arc<CardRecord>>, StoreError> {
        self.inner.card(key).await
    }

    async fn claim(
        &self,
        key: TransactionKey,
        fingerprint: Fingerprint,
    ) -> Result<Seen<Claim>, StoreError> {
        self.inner.claim(key, fingerprint).await
    }

    async fn transaction(&self, key: TransactionKey) -> Result<Option<Seen<()>>, StoreError> {
        self.inner.transaction(key).await
    }

    async fn commit(&self, claim: Claim, commit: Commit) -> Result<Receipt, CommitRefused<Claim>> {
        if self.told.swap(true, Ordering::SeqCst) {
            return self.inner.commit(claim, commit).await;
        }
        drop(claim);
        if let Some(entry) = (self.other)(commit.entry) {
            let claim = self.inner.claim(entry.key, entry.fingerprint).await.unwrap();
            let Seen::Fresh(claim) = claim else { panic!("{claim:?}") };
            let theirs = Commit { card: None, entry, reopens: None };
            let _ = self.inner.commit(claim, theirs).await.unwrap();
        }
        Err(CommitRefused { error: StoreError::KeyTaken, claim: None })
    }

    async fn intend(
        &self,
        claim: Claim,
        entry: Entry,
        forwarded: Forwarded,
    ) -> Result<Claim, CommitRefused<Claim>> {
        self.inner.intend(claim, entry, forwarded).await
    }

    async fn forwarded(
        &self,
        key: TransactionKey,
        card: Option<PanHash>,
    ) -> Result<Option<Arc<Unsettled>>, StoreError> {
        self.inner.forwarded(key, card).await
    }

    async fn unsettled(
        &self,
        hosts: RangeInclusive<HostId>,
        limit: usize,
    ) -> Result<Vec<Arc<Unsettled>>, StoreError> {
        self.inner.unsettled(hosts, limit).await
    }

    async fn awaits_reversal(&self, card: PanHash) -> Result<bool, StoreError> {
        self.inner.awaits_reversal(card).await
    }

    async fn settle(
        &self,
        key: TransactionKey,
        settlement: Settlement,
    ) -> Result<Receipt, StoreError> {
        self.inner.settle(key, settlement).await
    }

    async fn note(&self, note: Note) -> Result<Receipt, StoreError> {
        self.inner.note(note).await
    }

    fn last_stan(&self) -> Option<Stan> {
        self.inner.last_stan()
    }
}

enum TwoSwitches {}

impl Parts for TwoSwitches {
    type Clock = SystemClock;
    type Hosts = Option<Arc<Nodes>>;
    type Hsm = Arc<SoftHsm>;
    type Store = Second;
}

/// Rule 4.6 of `spec/pin-change.md`.
#[tokio::test]
async fn the_answer_of_the_switch_that_was_first_is_given() {
    let approved: fn(Entry) -> Option<Entry> = |entry| Some(Entry { declined: None, ..entry });
    let wrong = |entry| Some(Entry { declined: Some(Reason::WrongPin.into()), ..entry });
    let other_card = |entry| Some(Entry { fingerprint: Fingerprint(7), ..entry });
    for (other, want) in [
        (approved, None),
        (wrong, Some(Reason::WrongPin)),
        (other_card, Some(Reason::Duplicate)),
        (|_| None, Some(Reason::Unavailable)),
    ] {
        let world = world();
        // The PIN is wrong: judged again it would use up a try.
        let request = world.change(1, PIN_5678, PIN_1234);
        let World { switch, hsm, _directory: directory } = world;
        drop(switch);
        let clock = SystemClock::start();
        let options = StoreOptions::new(Arc::new(clock));
        let inner = EmbeddedStore::open(directory.path(), hsm.clone(), options).unwrap();
        let store = Second { inner, told: AtomicBool::new(false), other };
        let parts = crate::switch::World {
            clock,
            hosts: None,
            hsm: hsm.clone(),
            store,
            vault: hsm.clone(),
        };
        let rules = Rules { products: Products::new([product(&hsm)]), routes: Table::default() };
        let switch = Switch::<TwoSwitches>::new(parts, rules);
        let answer = switch.handle(&request).await;
        assert_eq!(answer.outcome.reason(), want);
        assert_eq!(answer.repeated, matches!(want, None | Some(Reason::WrongPin)));
        let hash = hsm.pan_hash(&Pan::parse(PAN).unwrap());
        let card = switch.store().card(CardKey::Pan(hash, None)).await.unwrap().unwrap();
        assert_eq!((card.pin_tries_used, card.version), (0, 0), "{want:?}");
    }
}
