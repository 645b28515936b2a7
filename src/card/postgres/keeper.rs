//! The task beside the writer: who sends whose reversals, counts for `/status`, keys and records that are too old.
//!
//! A switch sends the reversals of a host only while it holds the lease of that host. Leases run out by the database's
//! time, so when a switch dies another takes its reversals over. What is in flight at that moment comes later, when its
//! time is over. Old keys are looked for page by page, since an index on their time would cost every commit. **Never
//! here:** anything a commit waits for. Where next: `trim` for the records, `others` for the other switches.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_postgres::{Error, Statement};

use crate::card::codec::decode_open;
use crate::card::postgres::connect::{ConnectError, Connector, Session, words};
use crate::card::postgres::others::Others;
use crate::card::postgres::reader::Reply;
use crate::card::postgres::shared::Shared;
use crate::card::postgres::trim::{self, Sweep};
use crate::card::{StoreError, StoreStatus, Unsettled};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::forward::HostId;
use crate::limits::{STORE_LEASE_SECONDS, STORE_READ_SECONDS, STORE_RECONNECT_MS_MAX};

/// How often leases are renewed and things are counted.
const TICK: Duration = Duration::from_millis(500);
/// Ticks between two counts.
const TICKS_A_COUNT: u64 = 2;
/// Ticks for which a lease is renewed that nobody asks for any more.
const TICKS_UNASKED: u64 = 20;
/// Hosts of the lease of who looks for what is too old: none has such a number.
const CHORES: (i32, i32) = (-1, -1);
/// Held while leases change hands.
const LEASE_LOCK: i64 = 0x0070_696E_696F_6E02;

/// What is asked of the task.
pub(super) struct Look {
    pub(super) hosts: RangeInclusive<HostId>,
    pub(super) limit: usize,
    pub(super) reply: Reply<Vec<Arc<Unsettled>>>,
}

/// The task's state.
pub(super) struct Keeper {
    pub(super) connector: Connector,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) epoch: i64,
    pub(super) retention: Duration,
    pub(super) journal_retention: Option<Duration>,
    pub(super) queue: mpsc::Receiver<Look>,
}

/// A lease that is asked for.
#[derive(Clone, Copy)]
struct Lease {
    held: bool,
    /// Tick of the last question.
    asked: u64,
    /// Tick of the last try to take it.
    tried: u64,
}

/// The statements.
pub(super) struct Statements {
    take: Statement,
    due: Statement,
    listed: Statement,
    count: Statement,
    others: Others,
}

const TAKE: &str = "INSERT INTO lease (first, last, node, epoch, until)
    SELECT $1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5)
    WHERE NOT EXISTS (SELECT 1 FROM lease
        WHERE first <= $2 AND $1 <= last AND clock_timestamp() < until AND node <> $3)
    ON CONFLICT (first, last) DO UPDATE
        SET node = excluded.node, epoch = excluded.epoch, until = excluded.until";

/// An outcome that is being written has its row locked: it is passed over, and either gone or due at the next look.
const DUE: &str = "SELECT change FROM unsettled
    WHERE host BETWEEN $1 AND $2 AND in_flight_until <= clock_timestamp()
        AND EXISTS (SELECT 1 FROM lease WHERE first = $1 AND last = $2 AND node = $3 AND epoch = $4
            AND clock_timestamp() < until)
    ORDER BY sent, position LIMIT $5 FOR UPDATE SKIP LOCKED";

const LISTED: &str = "SELECT change FROM unsettled WHERE in_flight_until <= clock_timestamp()
    ORDER BY sent, position LIMIT $1";

const COUNT: &str =
    "SELECT (SELECT greatest(reltuples, 0)::int8 FROM pg_class WHERE oid = 'card'::regclass),
    (SELECT greatest(reltuples, 0)::int8 FROM pg_class WHERE oid = 'transaction'::regclass),
    count(*), count(*) FILTER (WHERE in_flight_until <= clock_timestamp()),
    min(at) FILTER (WHERE in_flight_until <= clock_timestamp()) FROM unsettled";

impl Keeper {
    /// Its first session.
    pub(super) async fn open(&self) -> Result<(Session, Statements), ConnectError> {
        open(&self.connector).await
    }

    /// Works until the store is closed.
    pub(super) async fn run(mut self, first: (Session, Statements)) {
        let mut sweep = Sweep::default();
        let (mut session, mut sql) = first;
        loop {
            match self.serve(&mut session, &sql, &mut sweep).await {
                Ok(()) => {
                    let limit = Duration::from_secs(STORE_READ_SECONDS);
                    // If it cannot be given back it runs out.
                    let _ = tokio::time::timeout(limit, self.give_back(&session)).await;
                    return;
                }
                Err(why) => {
                    tracing::warn!(why, "the connection of the store's chores is made anew");
                }
            }
            let Some(again) = self.connect().await else { return };
            (session, sql) = again;
        }
    }

    async fn connect(&mut self) -> Option<(Session, Statements)> {
        let mut pause = Duration::from_millis(20);
        loop {
            let wait = pause;
            let attempt = async {
                match open(&self.connector).await {
                    Ok(opened) => return Some(opened),
                    Err(error) => tracing::debug!(%error, "no connection to the database"),
                }
                tokio::time::sleep(wait).await;
                None
            };
            tokio::pin!(attempt);
            let opened = loop {
                tokio::select! {
                    biased;
                    opened = &mut attempt => break opened,
                    look = self.queue.recv() => drop(look?.reply.send(Err(StoreError::Unavailable))),
                }
            };
            if opened.is_some() {
                return opened;
            }
            pause = (pause * 2).min(Duration::from_millis(STORE_RECONNECT_MS_MAX));
        }
    }

    /// Works until the connection breaks. `Ok`: the store is closed.
    async fn serve(
        &mut self,
        session: &mut Session,
        sql: &Statements,
        sweep: &mut Sweep,
    ) -> Result<(), String> {
        let mut leases = HashMap::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = 0_u64;
        let limit = Duration::from_secs(STORE_READ_SECONDS);
        loop {
            tokio::select! {
                biased;
                () = session.ended() => return Err("it was closed".to_owned()),
                _ = ticks.tick() => {
                    tick += 1;
                    let work = self.tick(session, sql, sweep, &mut leases, tick);
                    match tokio::time::timeout(limit, work).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Err(words(&error)),
                        Err(_) => return Err("no answer in time".to_owned()),
                    }
                }
                look = self.queue.recv() => {
                    let Some(Look { hosts, limit: rows, reply }) = look else { return Ok(()) };
                    let found = self.look(session, sql, &mut leases, tick, hosts, rows);
                    match tokio::time::timeout(limit, found).await {
                        Ok(Ok(found)) => drop(reply.send(Ok(found))),
                        Ok(Err(error)) => {
                            drop(reply.send(Err(StoreError::Unavailable)));
                            return Err(words(&error));
                        }
                        Err(_) => {
                            drop(reply.send(Err(StoreError::Unavailable)));
                            return Err("no answer in time".to_owned());
                        }
                    }
                }
            }
        }
    }

    async fn tick(
        &self,
        session: &mut Session,
        sql: &Statements,
        sweep: &mut Sweep,
        leases: &mut HashMap<(i32, i32), Lease>,
        tick: u64,
    ) -> Result<(), Error> {
        // Of a process whose number another one has nothing is wanted any more.
        if self.shared.health() == Err(StoreError::Poisoned) {
            return Ok(());
        }
        leases.retain(|_, lease| tick <= lease.asked + TICKS_UNASKED);
        for (hosts, lease) in leases.iter_mut() {
            lease.tried = tick;
            lease.held = self.take(session, sql, *hosts).await?;
        }
        if tick % TICKS_A_COUNT == 1 {
            self.count(session, sql).await?;
        }
        if self.take(session, sql, CHORES).await? {
            let now = self.clock.wall();
            sweep.step(&session.client, now, self.retention).await?;
            if let Some(keep) = self.journal_retention {
                trim::step(&mut session.client, sweep, now, keep).await?;
            }
        }
        Ok(())
    }

    /// Takes or renews a lease. False: another switch has it.
    async fn take(
        &self,
        session: &mut Session,
        sql: &Statements,
        (first, last): (i32, i32),
    ) -> Result<bool, Error> {
        let node = self.shared.node.cast_signed();
        let seconds = f64::from(u32::try_from(STORE_LEASE_SECONDS).unwrap_or(u32::MAX));
        let change = session.client.transaction().await?;
        change.query("SELECT pg_advisory_xact_lock($1)", &[&LEASE_LOCK]).await?;
        let taken =
            change.execute(&sql.take, &[&first, &last, &node, &self.epoch, &seconds]).await?;
        change.commit().await?;
        Ok(taken != 0)
    }

    async fn give_back(&self, session: &Session) -> Result<u64, Error> {
        let node = self.shared.node.cast_signed();
        let end = "UPDATE lease SET until = '-infinity' WHERE node = $1 AND epoch = $2";
        session.client.execute(end, &[&node, &self.epoch]).await
    }

    async fn look(
        &self,
        session: &mut Session,
        sql: &Statements,
        leases: &mut HashMap<(i32, i32), Lease>,
        tick: u64,
        hosts: RangeInclusive<HostId>,
        rows: usize,
    ) -> Result<Vec<Arc<Unsettled>>, Error> {
        let range = (i32::from(hosts.start().0), i32::from(hosts.end().0));
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let lease =
            leases.entry(range).or_insert(Lease { held: false, asked: tick, tried: u64::MAX });
        lease.asked = tick;
        if !lease.held && lease.tried != tick {
            lease.tried = tick;
            lease.held = self.take(session, sql, range).await?;
        }
        if !lease.held {
            return Ok(Vec::new());
        }
        let node = self.shared.node.cast_signed();
        let found = session
            .client
            .query(&sql.due, &[&range.0, &range.1, &node, &self.epoch, &rows])
            .await?;
        changes(&found)
    }

    async fn count(&self, session: &Session, sql: &Statements) -> Result<(), Error> {
        let row = session.client.query_one(&sql.count, &[]).await?;
        let number = |column| -> Result<usize, Error> {
            Ok(usize::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0))
        };
        let since: Option<i64> = row.try_get(4)?;
        let others = sql.others.read(&session.client, self.clock.wall()).await?;
        self.shared.open.store(number(2)?, Ordering::Release);
        self.shared.counted.store(Arc::new(StoreStatus {
            cards: number(0)?,
            transaction_keys: number(1)?,
            unsettled: number(3)?,
            unsettled_since: since.map(|at| WallMillis(at.cast_unsigned())),
            database: Some(others),
            ..StoreStatus::default()
        }));
        Ok(())
    }
}

async fn open(connector: &Connector) -> Result<(Session, Statements), ConnectError> {
    let session = connector.connect().await?;
    let client = &session.client;
    let sql = Statements {
        take: client.prepare(TAKE).await?,
        due: client.prepare(DUE).await?,
        listed: client.prepare(LISTED).await?,
        count: client.prepare(COUNT).await?,
        others: Others::prepare(client).await?,
    };
    Ok((session, sql))
}

/// Unsettled changes of all hosts, whoever has their leases: for operators.
pub(super) async fn list(
    connector: &Connector,
    limit: usize,
) -> Result<Vec<Arc<Unsettled>>, ConnectError> {
    let (session, sql) = open(connector).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(changes(&session.client.query(&sql.listed, &[&limit]).await?)?)
}

fn changes(rows: &[tokio_postgres::Row]) -> Result<Vec<Arc<Unsettled>>, Error> {
    let mut changes = Vec::with_capacity(rows.len());
    for row in rows {
        match decode_open(row.try_get(0)?) {
            Ok(change) => changes.push(Arc::new(change)),
            Err(error) => {
                tracing::error!(%error, "an open change cannot be read: restore the database from a backup");
            }
        }
    }
    Ok(changes)
}
