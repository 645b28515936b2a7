//! The store of several switches: one PostgreSQL, or what speaks its protocol, and nothing kept on the switch.
//!
//! ```text
//! claim ─► keys in progress here ─► lane: keys known to the database
//! card ──► lane: every question that waits, in one round trip
//! commit, intend, settle, note ─► queue ─► writer: one transaction a batch, one round trip or two ─► receipt
//! unsettled ─► keeper: the lease of the hosts ─► changes that are due
//! ```
//!
//! It promises what the embedded store promises. What is new is that other switches write, too: a card's version and a
//! key's uniqueness are the database's, so the second of two switches learns at its commit that it is second. It never
//! judges again then: [`StoreError::KeyTaken`].
//!
//! **Never here:** a receipt before the commit, a lock between requests. Where next: `writer` for the order of things,
//! `ask` for isolation, `fence` for one process a node, `schema` for the tables.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot, watch};

use crate::card::{
    CardKey, CardRecord, Commit, CommitRefused, DatabaseStatus, Entry, Fingerprint, Note, Receipt,
    Seen, Settlement, Store, StoreError, StoreStatus, Unsettled,
};
use crate::domain::clock::Clock;
use crate::domain::forward::{Forwarded, HostId, Stan};
use crate::domain::outcome::{Declined, Outcome, Reason};
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;
use crate::domain::vault::Vault;
use crate::limits::{COMMIT_QUEUE_MAX, STORE_CONNECTIONS_MIN, STORE_NODES_MAX, UNSETTLED_MAX};

mod agreement;
mod ask;
mod audit;
mod batch;
mod bulk;
mod claim;
mod connect;
mod fence;
mod keeper;
mod lookup;
mod moving;
mod once;
mod others;
mod pace;
mod proof;
mod reader;
mod schema;
mod shared;
mod sql;
#[cfg(test)]
mod tests;
mod tls;
mod trim;
mod ways;
mod work;
mod write;
mod writer;

pub use audit::NodeAudit;
pub use bulk::ImportError;
pub use claim::Claim;
pub use connect::ConnectError;
pub use moving::{export, import};
pub use schema::{MigrateError, MigrationReport, SCHEMA_VERSION, migrate};

use connect::Connector;
use fence::{Begun, Fence};
use keeper::{Keeper, Look};
use lookup::KeyRow;
use reader::{Lane, Question, Reply};
use shared::{Shared, Taken};
use ways::Ways;
use work::Work;
use writer::Writer;

/// Keys that requests of this process may work on at a time.
const IN_PROGRESS_MAX: usize = 8 * COMMIT_QUEUE_MAX;

/// How the store is to behave.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Where the database is: a URL or `key=value` pairs, as libpq reads them. With several hosts the one that takes
    /// writes is used.
    pub url: String,
    /// How it is encrypted; `None` is plain.
    pub tls: Option<Arc<ClientConfig>>,
    /// The number of this switch among those of the database, 1 to [`STORE_NODES_MAX`]. No two have the same.
    pub node: u16,
    /// Connections: one writes, one does chores, the others read. At least [`STORE_CONNECTIONS_MIN`] are made.
    pub connections: usize,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How long the answer to a transaction key is kept.
    pub transaction_retention: Duration,
    /// Most forwarded changes that may be without a known end, over all switches; then [`StoreError::Full`].
    pub unsettled_max: usize,
    /// Days the journal is kept, 0 for ever. The default of 400 covers the twelve months that PCI DSS 10.5.1 asks for
    /// audit records, and a month to notice.
    pub journal_retention_days: u32,
}

impl PostgresOptions {
    /// The defaults, for this database, node and clock.
    #[must_use]
    pub fn new(url: String, node: u16, clock: Arc<dyn Clock>) -> Self {
        Self {
            url,
            tls: None,
            node,
            connections: STORE_CONNECTIONS_MIN,
            clock,
            transaction_retention: Duration::from_hours(24),
            unsettled_max: UNSETTLED_MAX,
            journal_retention_days: 400,
        }
    }

    fn journal_retention(&self) -> Option<Duration> {
        let days = Duration::from_hours(24) * self.journal_retention_days;
        // Twice the window of the keys, as in the embedded store.
        (self.journal_retention_days != 0).then(|| days.max(self.transaction_retention * 2))
    }
}

impl std::fmt::Debug for PostgresOptions {
    /// Without the URL: a password may stand in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("node", &self.node)
            .field("connections", &self.connections)
            .field("transaction_retention", &self.transaction_retention)
            .finish_non_exhaustive()
    }
}

/// The handle. Dropping it stops its tasks as a crash would, losing nothing; [`PostgresStore::close`] also gives its
/// leases back, so that another switch need not wait for them.
pub struct PostgresStore {
    shared: Arc<Shared>,
    vault: Arc<dyn Vault>,
    connector: Connector,
    /// `None` once the store is closed.
    ways: ArcSwapOption<Ways>,
    /// Closed when the last task has ended.
    ended: watch::Receiver<()>,
    /// Of this node's newest intent when it connected.
    last_stan: Option<Stan>,
    clock: Arc<dyn Clock>,
}

/// Starts a task, which holds `alive` until it ends.
fn start(alive: &watch::Sender<()>, task: impl Future<Output = ()> + Send + 'static) {
    let alive = alive.clone();
    tokio::spawn(async move {
        task.await;
        drop(alive);
    });
}

impl PostgresStore {
    /// Connects and takes the node's number. It changes no schema, and refuses one that is not its own.
    ///
    /// # Errors
    /// [`ConnectError`] says what is wrong and what to do.
    pub async fn connect(
        options: PostgresOptions,
        vault: Arc<dyn Vault>,
    ) -> Result<Self, ConnectError> {
        let node = options.node;
        if !(1..=STORE_NODES_MAX).contains(&node) {
            return Err(ConnectError::NoNode { node });
        }
        let name = format!("pinion node {node}");
        let connector = Connector::new(&options.url, options.tls.clone(), &name)?;
        let Begun { fence, writing: lane, head, stan } =
            Fence::begin(connector.named(&format!("{name} writes")), node).await?;
        proof::check(&lane.session.client, &*vault).await?;
        let clock = Arc::clone(&options.clock);
        let shared = Arc::new(Shared::new(node, IN_PROGRESS_MAX, options.unsettled_max, clock));
        shared.durable.store(head.position, Ordering::Release);
        let (queue, waiting) = mpsc::channel(COMMIT_QUEUE_MAX);
        let epoch = fence.epoch;
        let writer = Writer {
            fence,
            shared: Arc::clone(&shared),
            vault: Arc::clone(&vault),
            clock: Arc::clone(&options.clock),
            head,
            queue: waiting,
            wary: 0,
            batch_size: metrics::histogram!("pinion_commit_batch_size"),
            seconds: metrics::histogram!("pinion_commit_seconds"),
        };
        let (asks, looked) = mpsc::channel(COMMIT_QUEUE_MAX);
        let keeper = Keeper {
            connector: connector.named(&format!("{name} chores")),
            shared: Arc::clone(&shared),
            clock: Arc::clone(&options.clock),
            epoch,
            retention: options.transaction_retention,
            journal_retention: options.journal_retention(),
            queue: looked,
        };
        let looks = keeper.open().await?;
        let (alive, ended) = watch::channel(());
        start(&alive, writer.run(lane));
        start(&alive, keeper.run(looks));
        let mut lanes = Vec::new();
        for _ in 0..options.connections.saturating_sub(2).max(1) {
            let clock = Arc::clone(&options.clock);
            let (lane, task) = Lane::open(connector.named(&format!("{name} reads")), clock).await?;
            lanes.push(lane);
            start(&alive, task);
        }
        shared.up();
        Ok(Self {
            shared,
            vault,
            connector,
            ways: ArcSwapOption::from_pointee(Ways::new(queue, lanes, asks)),
            ended,
            last_stan: stan,
            clock: options.clock,
        })
    }

    /// How the store is. Counts are a second old at most; those of cards and keys are the database's estimates.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let durable = self.shared.durable.load(Ordering::Acquire);
        let counted = (**self.shared.counted.load()).clone();
        let ways = self.ways.load();
        let away = self.shared.away().or_else(|| ways.as_ref()?.away());
        let database = DatabaseStatus {
            node: self.shared.node,
            away: away.clone(),
            ..counted.database.unwrap_or_default()
        };
        StoreStatus {
            queue_depth: ways.as_ref().map_or(0, |ways| ways.waiting()),
            last_sequence: durable,
            checkpoint: durable,
            poisoned: self.shared.why().or_else(|| away.map(|away| away.why)),
            database: Some(database),
            ..counted
        }
    }

    /// How many forwarded changes wait for their reversal, on all nodes: a second old at most.
    #[must_use]
    pub fn unsettled_count(&self) -> usize {
        self.shared.counted.load().unsettled
    }

    /// The number of this switch among those of the database.
    #[must_use]
    pub fn node(&self) -> u16 {
        self.shared.node
    }

    /// Keys that requests of this process work on.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.shared.in_progress_count()
    }

    /// Whether the store takes work.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is gone or answers no questions, [`StoreError::Poisoned`] when
    /// another process has this node's number; [`PostgresStore::status`] says why.
    pub fn health(&self) -> Result<(), StoreError> {
        self.shared.health()?;
        if self.ways()?.is_up() { Ok(()) } else { Err(StoreError::Unavailable) }
    }

    /// As [`Store::unsettled`], for operators: of all hosts, whoever sends their reversals.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list_unsettled(&self, limit: usize) -> Result<Vec<Arc<Unsettled>>, StoreError> {
        keeper::list(&self.connector, limit).await.map_err(|error| {
            tracing::warn!(%error, "unsettled changes cannot be listed");
            StoreError::Unavailable
        })
    }

    /// Stops, after what waits is done, and gives the leases back. What is asked from now on is refused.
    pub async fn close(&self) {
        drop(self.ways.swap(None));
        // Nothing is ever sent: this fails when the last task has ended.
        let _ = self.ended.clone().changed().await;
    }

    /// The ways to the tasks.
    fn ways(&self) -> Result<Arc<Ways>, StoreError> {
        self.ways.load_full().ok_or(StoreError::Unavailable)
    }

    /// Asks on a connection that is up, if there is one with room.
    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Question) -> Result<T, StoreError> {
        let (reply, wait) = oneshot::channel();
        self.shared.health()?;
        self.ways()?.put(question(reply))?;
        wait.await.unwrap_or(Err(StoreError::Unavailable))
    }

    fn hand(&self, work: Work) -> Result<(), StoreError> {
        self.ways()?.hand(work)
    }

    async fn told(&self, work: impl FnOnce(work::Told) -> Work) -> Result<Receipt, StoreError> {
        self.shared.health()?;
        let (answer, wait) = oneshot::channel();
        self.hand(work(answer))?;
        wait.await.unwrap_or(Err(StoreError::Unavailable))
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresStore(node {})", self.shared.node)
    }
}

/// What a row says to a request with this fingerprint.
fn seen<C>(row: &KeyRow, fingerprint: u64) -> Seen<C> {
    if row.state == ask::REFUSED || row.fingerprint != fingerprint {
        return Seen::Duplicate;
    }
    let declined = |reason| Seen::Answered(Outcome::Declined(Declined { reason, host: row.host }));
    match (row.state, row.code) {
        (ask::SENT, _) if row.in_flight => Seen::InProgress,
        // Nobody told how it ended.
        (ask::SENT, _) => declined(Reason::OutcomeUnknown),
        (_, 0) => Seen::Answered(Outcome::Approved(Receipt::mint(row.position))),
        (_, code) => declined(Reason::from_code(code).unwrap_or(Reason::SystemError)),
    }
}

fn gone<C>() -> CommitRefused<C> {
    CommitRefused { error: StoreError::Unavailable, claim: None }
}

impl Store for PostgresStore {
    type Claim = Claim;

    async fn card(&self, key: CardKey<'_>) -> Result<Option<Arc<CardRecord>>, StoreError> {
        self.ask(|reply| match key {
            CardKey::Identity(kind, value) => Question::Named { kind, value: value.into(), reply },
            CardKey::Pan(hash, sequence) => Question::Card { hash, sequence, reply },
        })
        .await
    }

    async fn claim(
        &self,
        key: TransactionKey,
        fingerprint: Fingerprint,
    ) -> Result<Seen<Claim>, StoreError> {
        self.shared.health()?;
        let held = match self.shared.take(key, fingerprint) {
            Taken::Now => claim::Held::new(key, Arc::clone(&self.shared)),
            Taken::Before(other) if other == fingerprint => return Ok(Seen::InProgress),
            Taken::Before(_) => return Ok(Seen::Duplicate),
            Taken::Full => return Err(StoreError::Full),
        };
        // Taken here first: of two requests on this switch one asks, and the other is in progress.
        match self.ask(|reply| Question::Key { key, reply }).await? {
            Some(row) => Ok(seen(&row, fingerprint.0)),
            None => Ok(Seen::Fresh(Claim::new(held, self.ways()?.queue.downgrade()))),
        }
    }

    async fn transaction(&self, key: TransactionKey) -> Result<Option<Seen<()>>, StoreError> {
        if self.shared.is_in_progress(key) {
            return Ok(Some(Seen::InProgress));
        }
        let row = self.ask(|reply| Question::Key { key, reply }).await?;
        Ok(row.map(|row| seen(&row, row.fingerprint)))
    }

    async fn commit(&self, claim: Claim, commit: Commit) -> Result<Receipt, CommitRefused<Claim>> {
        let refused = |error| CommitRefused { error, claim: None };
        let (answer, wait) = oneshot::channel();
        let card = commit.card.map(|mut card| {
            card.version = card.version.wrapping_add(1);
            Box::new(card)
        });
        let is_outcome = claim.intent().is_some();
        let Commit { entry, reopens, .. } = commit;
        let work = Work::Change { claim, entry, card, reopens, answer };
        if is_outcome {
            // What a host has done is never shed: it waits for a place, and for a database that is gone as long as
            // there is patience. Who stops waiting leaves the change unsettled.
            let queue = self.ways().map_err(refused)?.queue.clone();
            queue.send(work).await.map_err(|_| refused(StoreError::Poisoned))?;
        } else {
            self.shared.health().map_err(refused)?;
            self.hand(work).map_err(refused)?;
        }
        wait.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn intend(
        &self,
        mut claim: Claim,
        entry: Entry,
        forwarded: Forwarded,
    ) -> Result<Claim, CommitRefused<Claim>> {
        let refused = |error| CommitRefused { error, claim: None };
        self.shared.health().map_err(refused)?;
        if !claim.book() {
            return Err(refused(StoreError::Full));
        }
        let (answer, wait) = oneshot::channel();
        // The writer numbers it.
        let change = Box::new(Unsettled { sequence: 0, entry, forwarded });
        self.hand(Work::Intent { claim, change, answer }).map_err(refused)?;
        wait.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn forwarded(
        &self,
        key: TransactionKey,
        card: Option<PanHash>,
    ) -> Result<Option<Arc<Unsettled>>, StoreError> {
        self.ask(|reply| Question::Forwarded { key, card, reply }).await
    }

    async fn unsettled(
        &self,
        hosts: RangeInclusive<HostId>,
        limit: usize,
    ) -> Result<Vec<Arc<Unsettled>>, StoreError> {
        // While none can be settled, reversing one again and again would help nobody.
        self.shared.health()?;
        let (reply, wait) = oneshot::channel();
        let look = Look { hosts, limit, reply };
        self.ways()?.keeper.try_send(look).map_err(|_| StoreError::Full)?;
        wait.await.unwrap_or(Err(StoreError::Unavailable))
    }

    async fn awaits_reversal(&self, card: PanHash) -> Result<bool, StoreError> {
        self.ask(|reply| Question::Awaits { card, reply }).await
    }

    async fn settle(
        &self,
        key: TransactionKey,
        settlement: Settlement,
    ) -> Result<Receipt, StoreError> {
        self.told(|answer| Work::Settle { key, settlement, answer }).await
    }

    async fn note(&self, note: Note) -> Result<Receipt, StoreError> {
        self.told(|answer| Work::Note { note, answer }).await
    }

    fn last_stan(&self) -> Option<Stan> {
        self.last_stan
    }
}
