//! What the card management system knows: cards, products, gates, and the journal of every change.
//!
//! [`Store`] is the trait; [`embedded`] its default family, [`postgres`] the one of several switches.
//! **Never here:** PIN arithmetic, response codes, a socket but the database's.
//! Where next: `record` for a card, `product` for its rules, `gates` for who is refused, `embedded` for the disk.

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::domain::clock::WallMillis;
use crate::domain::forward::{Forwarded, HostId, Stan};
use crate::domain::outcome::{Declined, HostCode, Outcome};
use crate::domain::pan::PanHash;
use crate::domain::request::{IdentityKind, LinkId, Operation, Trace, TransactionKey};

pub mod archive;
pub mod audit;
mod awaited;
mod choice;
mod codec;
pub mod embedded;
pub mod gates;
pub mod generate;
mod load;
pub mod postgres;
pub mod product;
pub mod receipt;
pub mod record;
mod status;
pub mod transfer;

pub use awaited::AwaitedPostgres;
pub use choice::{AnyClaim, AnyStore};
pub use codec::CodecError;
pub use load::{Cards, Load};
pub use receipt::Receipt;
pub use record::CardRecord;
pub use status::{Away, DatabaseStatus, StoreStatus, SwitchStatus};

/// How a lookup names a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardKey<'a> {
    /// By another identity.
    Identity(IdentityKind, &'a str),
    /// By hash and, where given, sequence number. Without one the number must belong to exactly one card.
    Pan(PanHash, Option<u16>),
}

/// What is to be made durable for one request, atomically: the card's after-image, the journal entry, the audit record.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The card as it shall be, or `None` when the card stays as it is.
    ///
    /// Its `version` is the one that was read; the store refuses with [`StoreError::Conflict`] unless that is still the
    /// card's version, and stores it as `version + 1`.
    pub card: Option<CardRecord>,
    /// What goes to the journal and the audit.
    pub entry: Entry,
    /// A forwarded change that is to be reversed from now on: its caller asks for it with this request.
    ///
    /// One that is in flight is refused with [`StoreError::Conflict`], to be judged again; one that would be one open
    /// change too many with [`StoreError::Full`].
    pub reopens: Option<Arc<Unsettled>>,
}

/// A change that was sent to a host, or may have been: kept until how it ended there is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// Position of its intent in the journal.
    pub sequence: u64,
    /// The intent's line of the journal. Its outcome is [`crate::domain::outcome::Reason::OutcomeUnknown`].
    pub entry: Entry,
    /// What was sent.
    pub forwarded: Forwarded,
}

/// How an unsettled change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Wall time.
    pub at: WallMillis,
    /// In which way.
    pub how: Settled,
}

/// In which way an unsettled change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// An operator said so, with a reason.
    ByHand {
        /// Who and why: at most [`crate::limits::SETTLE_REASON_BYTES_MAX`] bytes.
        reason: Box<str>,
    },
    /// A host acknowledged the reversal.
    Reversed {
        /// Which one.
        host: HostId,
        /// Its answer.
        code: Option<HostCode>,
    },
}

/// Something that is no request and belongs into the audit: an exchanged key, an operator's act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Wall time.
    pub at: WallMillis,
    /// What happened, without card data or keys: at most [`crate::limits::NOTE_BYTES_MAX`] bytes.
    pub text: Box<str>,
}

/// One line of the journal. What it does not have it does not need: no PIN, no block, no clear PAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key of the request.
    pub key: TransactionKey,
    /// Tells a repeat from another request under the same key.
    pub fingerprint: Fingerprint,
    /// The operation.
    pub operation: Operation,
    /// The card, where one was found or named by number.
    pub pan_hash: Option<PanHash>,
    /// How it ended: `None` approved.
    pub declined: Option<Declined>,
    /// Wall time of the request.
    pub at: WallMillis,
    /// Link or door.
    pub link: LinkId,
    /// Names of the far end.
    pub trace: Trace,
    /// For a reversal, the key of the original: a late original is refused from now on.
    pub original: Option<TransactionKey>,
    /// The caller's wish for a route was overridden by policy.
    pub overridden: bool,
}

/// Eight bytes of a hash over PAN hash and operation (for HTTP, over the body).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

/// What the store knows of a request's key.
#[derive(Debug)]
pub enum Seen<Claim> {
    /// Nothing: the key is ours until the claim is committed or dropped.
    Fresh(Claim),
    /// The same request, and its answer.
    Answered(Outcome<Receipt>),
    /// The same request is being worked on.
    InProgress,
    /// Another request has this key, or a reversal of it came first.
    Duplicate,
}

/// Cards and journal, durable. One family is embedded, one speaks to PostgreSQL.
pub trait Store: Send + Sync + 'static {
    /// The right to commit one key. Dropping it uncommitted frees the key, so that a repeat may try again.
    type Claim: Send;

    /// Looks a card up. The record is a snapshot: commit it with the version it has.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn card(
        &self,
        key: CardKey<'_>,
    ) -> impl Future<Output = Result<Option<Arc<CardRecord>>, StoreError>> + Send;

    /// Claims a key, or says what became of it (design.md rule 5).
    ///
    /// # Errors
    /// [`StoreError::Full`] when the table of keys is full: shed.
    fn claim(
        &self,
        key: TransactionKey,
        fingerprint: Fingerprint,
    ) -> impl Future<Output = Result<Seen<Self::Claim>, StoreError>> + Send;

    /// Looks a key up without claiming it: how an original ended. `None`: never seen, or older than the retention.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn transaction(
        &self,
        key: TransactionKey,
    ) -> impl Future<Output = Result<Option<Seen<()>>, StoreError>> + Send;

    /// Makes one request's result durable and ends its claim. On [`StoreError::Conflict`] the claim comes back.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn commit(
        &self,
        claim: Self::Claim,
        commit: Commit,
    ) -> impl Future<Output = Result<Receipt, CommitRefused<Self::Claim>>> + Send;

    /// Makes durable that a request is about to be sent to a host, before its first byte leaves (design.md rule 3).
    ///
    /// `entry` says [`crate::domain::outcome::Reason::OutcomeUnknown`], which is what holds if nothing follows. The
    /// claim that comes back is another one: dropping it leaves the change unsettled. [`Store::commit`] ends it:
    /// with a host's answer it is settled and the answer kept; with `OutcomeUnknown` it is unsettled and that answer
    /// kept; with `NotSent` nothing was sent, and the key is free again.
    ///
    /// # Errors
    /// See [`StoreError`]: [`StoreError::Full`] also when too many changes are open. Nothing may be sent then.
    fn intend(
        &self,
        claim: Self::Claim,
        entry: Entry,
        forwarded: Forwarded,
    ) -> impl Future<Output = Result<Self::Claim, CommitRefused<Self::Claim>>> + Send;

    /// What was forwarded under a key, whatever became of it, or else the newest change of `card` whose key has the
    /// same trace; `None` when nothing was, or longer ago than the retention.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn forwarded(
        &self,
        key: TransactionKey,
        card: Option<PanHash>,
    ) -> impl Future<Output = Result<Option<Arc<Unsettled>>, StoreError>> + Send;

    /// Changes that wait for their reversal, in the order they were sent, at most `limit`. Those still in flight are
    /// not among them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Poisoned`], since no settlement can be noted then.
    fn unsettled(
        &self,
        hosts: RangeInclusive<HostId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Arc<Unsettled>>, StoreError>> + Send;

    /// Whether a change of this card waits for its reversal: until that is settled nobody knows the card's PIN.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn awaits_reversal(
        &self,
        card: PanHash,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Ends an unsettled change. Told twice, the second changes nothing and gives [`StoreError::Conflict`].
    ///
    /// # Errors
    /// See [`StoreError`].
    fn settle(
        &self,
        key: TransactionKey,
        settlement: Settlement,
    ) -> impl Future<Output = Result<Receipt, StoreError>> + Send;

    /// Puts a note into the audit chain.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn note(&self, note: Note) -> impl Future<Output = Result<Receipt, StoreError>> + Send;

    /// The trace number of the newest intent, after which the next ones go on.
    fn last_stan(&self) -> Option<Stan>;
}

/// A refused commit. The claim comes back when the caller may try again with a newer card.
#[derive(Debug)]
pub struct CommitRefused<Claim> {
    /// Why.
    pub error: StoreError,
    /// The claim, on [`StoreError::Conflict`] only.
    pub claim: Option<Claim>,
}

/// Why the store did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The card changed since it was read. Read it again.
    #[error("the card changed since it was read")]
    Conflict,
    /// A bounded queue or table is full.
    #[error("the store is full: a bounded queue or table has no place")]
    Full,
    /// Another switch took the key of this request first. Look it up: what became of it there is the answer here.
    #[error("another switch took the key of this request first")]
    KeyTaken,
    /// A write or sync failed; the store refuses all further commits until restart.
    #[error(
        "the store refuses work since a failed write or sync: see the log, free the disk, restart"
    )]
    Poisoned,
    /// The store cannot be reached.
    #[error("the store is not available")]
    Unavailable,
}
