//! [`AnyStore`]: the store of this binary, whichever family the configuration names. Every call is one `match`.
//!
//! **Never here:** what a store does; an allocation. Where next: `embedded`, `postgres`.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::card::awaited::AwaitedPostgres;
use crate::card::embedded::{self, EmbeddedStore};
use crate::card::{
    CardKey, CardRecord, Commit, CommitRefused, Entry, Fingerprint, Note, Receipt, Seen,
    Settlement, Store, StoreError, StoreStatus, Unsettled, postgres,
};
use crate::domain::forward::{Forwarded, HostId, Stan};
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;

/// One of the families.
#[derive(Debug)]
pub enum AnyStore {
    /// In a directory of this machine.
    Embedded(EmbeddedStore),
    /// In a database that several switches share.
    Postgres(AwaitedPostgres),
}

/// The right to commit one key in one of them.
#[derive(Debug)]
pub enum AnyClaim {
    /// Of the embedded store.
    Embedded(embedded::Claim),
    /// Of the database.
    Postgres(postgres::Claim),
}

impl AnyStore {
    /// How the store is.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        match self {
            Self::Embedded(store) => store.status(),
            Self::Postgres(store) => store.status(),
        }
    }

    /// Whether the store takes work.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreStatus::poisoned`] says why.
    pub fn health(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.health(),
            Self::Postgres(store) => store.get()?.health(),
        }
    }

    /// As [`Store::unsettled`], for operators: of all hosts, and of a store that refuses work, too.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list_unsettled(&self, limit: usize) -> Result<Vec<Arc<Unsettled>>, StoreError> {
        match self {
            Self::Embedded(store) => Ok(store.list_unsettled(limit)),
            Self::Postgres(store) => store.get()?.list_unsettled(limit).await,
        }
    }

    /// Leaves what this switch says of itself for others to compare; the embedded store has no others.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn leave_facts(&self, facts: &[u8]) -> Result<(), StoreError> {
        let Self::Postgres(store) = self else { return Ok(()) };
        store.get()?.leave_facts(facts).await.map_err(|error| {
            tracing::warn!(%error, "what this switch has is not told to the others");
            StoreError::Unavailable
        })
    }

    /// Stops, after what waits is done, and gives back what other switches would wait for. The embedded store has no
    /// others: what it has acknowledged is on the disk, and its end is that of the process.
    pub async fn close(&self) {
        if let Self::Postgres(store) = self {
            store.close().await;
        }
    }
}

/// A claim of the other family: no caller has one.
fn stranger<T>() -> Result<T, CommitRefused<AnyClaim>> {
    Err(CommitRefused { error: StoreError::Unavailable, claim: None })
}

fn refused<C>(
    refused: CommitRefused<C>,
    any: impl FnOnce(C) -> AnyClaim,
) -> CommitRefused<AnyClaim> {
    CommitRefused { error: refused.error, claim: refused.claim.map(any) }
}

fn away(error: StoreError) -> CommitRefused<AnyClaim> {
    CommitRefused { error, claim: None }
}

fn seen<C>(seen: Seen<C>, any: impl FnOnce(C) -> AnyClaim) -> Seen<AnyClaim> {
    match seen {
        Seen::Fresh(claim) => Seen::Fresh(any(claim)),
        Seen::Answered(outcome) => Seen::Answered(outcome),
        Seen::InProgress => Seen::InProgress,
        Seen::Duplicate => Seen::Duplicate,
    }
}

impl Store for AnyStore {
    type Claim = AnyClaim;

    async fn card(&self, key: CardKey<'_>) -> Result<Option<Arc<CardRecord>>, StoreError> {
        match self {
            Self::Embedded(store) => store.card(key).await,
            Self::Postgres(store) => store.get()?.card(key).await,
        }
    }

    async fn claim(
        &self,
        key: TransactionKey,
        fingerprint: Fingerprint,
    ) -> Result<Seen<AnyClaim>, StoreError> {
        match self {
            Self::Embedded(store) => {
                Ok(seen(store.claim(key, fingerprint).await?, AnyClaim::Embedded))
            }
            Self::Postgres(store) => {
                Ok(seen(store.get()?.claim(key, fingerprint).await?, AnyClaim::Postgres))
            }
        }
    }

    async fn transaction(&self, key: TransactionKey) -> Result<Option<Seen<()>>, StoreError> {
        match self {
            Self::Embedded(store) => store.transaction(key).await,
            Self::Postgres(store) => store.get()?.transaction(key).await,
        }
    }

    async fn commit(
        &self,
        claim: AnyClaim,
        commit: Commit,
    ) -> Result<Receipt, CommitRefused<AnyClaim>> {
        match (self, claim) {
            (Self::Embedded(store), AnyClaim::Embedded(claim)) => {
                let done = store.commit(claim, commit).await;
                done.map_err(|error| refused(error, AnyClaim::Embedded))
            }
            (Self::Postgres(store), AnyClaim::Postgres(claim)) => {
                let done = store.get().map_err(away)?.commit(claim, commit).await;
                done.map_err(|error| refused(error, AnyClaim::Postgres))
            }
            _ => stranger(),
        }
    }

    async fn intend(
        &self,
        claim: AnyClaim,
        entry: Entry,
        forwarded: Forwarded,
    ) -> Result<AnyClaim, CommitRefused<AnyClaim>> {
        match (self, claim) {
            (Self::Embedded(store), AnyClaim::Embedded(claim)) => {
                let done = store.intend(claim, entry, forwarded).await;
                done.map(AnyClaim::Embedded).map_err(|error| refused(error, AnyClaim::Embedded))
            }
            (Self::Postgres(store), AnyClaim::Postgres(claim)) => {
                let done = store.get().map_err(away)?.intend(claim, entry, forwarded).await;
                done.map(AnyClaim::Postgres).map_err(|error| refused(error, AnyClaim::Postgres))
            }
            _ => stranger(),
        }
    }

    async fn forwarded(
        &self,
        key: TransactionKey,
        card: Option<PanHash>,
    ) -> Result<Option<Arc<Unsettled>>, StoreError> {
        match self {
            Self::Embedded(store) => store.forwarded(key, card).await,
            Self::Postgres(store) => store.get()?.forwarded(key, card).await,
        }
    }

    async fn unsettled(
        &self,
        hosts: RangeInclusive<HostId>,
        limit: usize,
    ) -> Result<Vec<Arc<Unsettled>>, StoreError> {
        match self {
            Self::Embedded(store) => store.unsettled(hosts, limit).await,
            Self::Postgres(store) => store.get()?.unsettled(hosts, limit).await,
        }
    }

    async fn awaits_reversal(&self, card: PanHash) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.awaits_reversal(card).await,
            Self::Postgres(store) => store.get()?.awaits_reversal(card).await,
        }
    }

    async fn settle(
        &self,
        key: TransactionKey,
        settlement: Settlement,
    ) -> Result<Receipt, StoreError> {
        match self {
            Self::Embedded(store) => store.settle(key, settlement).await,
            Self::Postgres(store) => store.get()?.settle(key, settlement).await,
        }
    }

    async fn note(&self, note: Note) -> Result<Receipt, StoreError> {
        match self {
            Self::Embedded(store) => store.note(note).await,
            Self::Postgres(store) => store.get()?.note(note).await,
        }
    }

    fn last_stan(&self) -> Option<Stan> {
        match self {
            Self::Embedded(store) => store.last_stan(),
            Self::Postgres(store) => store.get().ok().and_then(Store::last_stan),
        }
    }
}
