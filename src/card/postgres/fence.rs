//! Being the one process that writes as a node: the lock of its number, and its row of `chain`.
//!
//! A session-level lock keeps a second process with the same number out while the first lives. The row's epoch counts
//! the processes: whoever lost the lock to another one sees a newer epoch and writes no more. Taking the row waits for
//! the transaction of the session before, which the database may not have noticed to be dead; then the row says whether
//! that committed. The row is written, not only read: that commit comes after the one in question, so with a
//! synchronous standby both are on it before anybody is answered. **Never here:** a batch.

use std::time::Duration;

use tokio_postgres::Client;

use crate::card::postgres::batch::Head;
use crate::card::postgres::connect::{ConnectError, Connector, Session};
use crate::card::postgres::schema;
use crate::card::postgres::shared::origin;
use crate::card::postgres::sql::Statements;
use crate::domain::forward::Stan;
use crate::limits::STORE_CONNECT_SECONDS;

/// First half of the lock of a node's number; the second is the number.
pub(super) const NODE_LOCK: i32 = 0x0070_6E6F;
/// How often the lock is tried while its last owner's session may be on its way out.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Who writes.
#[derive(Clone)]
pub(super) struct Fence {
    pub(super) connector: Connector,
    pub(super) node: u16,
    /// Counts the processes that had this number.
    pub(super) epoch: i64,
    /// The session that wrote last.
    pub(super) session: Option<SessionId>,
}

/// A session as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionId {
    pid: i32,
    began: String,
}

/// A session that may write.
pub(super) struct Writing {
    pub(super) session: WritingSession,
    pub(super) sql: Statements,
}

/// The session and its name.
pub(super) struct WritingSession {
    inner: Session,
    pub(super) id: SessionId,
}

impl WritingSession {
    /// Returns when the connection is over.
    pub(super) async fn ended(&mut self) {
        self.inner.ended().await;
    }
}

impl std::ops::Deref for WritingSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.inner
    }
}

/// What taking the row again came to.
pub(super) enum Taken {
    /// It is ours, and nothing is under way.
    Ours(Box<Writing>, Head),
    /// Another process has the number.
    Fenced,
}

/// What a process begins with.
pub(super) struct Begun {
    pub(super) fence: Fence,
    pub(super) writing: Writing,
    pub(super) head: Head,
    pub(super) stan: Option<Stan>,
}

impl Fence {
    /// Takes the number for this process. What earlier processes of it had in flight is unsettled from now on.
    pub(super) async fn begin(connector: Connector, node: u16) -> Result<Begun, ConnectError> {
        let session = connector.connect().await?;
        schema::check(&session.client).await?;
        let mut fence = Self { connector, node, epoch: 0, session: None };
        let id = fence.lock(&session.client).await?;
        let (epoch, head, stan) = fence.take_first(&session.client).await?;
        let sql = Statements::prepare(&session.client).await?;
        fence.epoch = epoch;
        fence.session = Some(id.clone());
        let writing = Writing { session: WritingSession { inner: session, id }, sql };
        Ok(Begun { fence, writing, head, stan })
    }

    async fn take_first(&self, client: &Client) -> Result<(i64, Head, Option<Stan>), ConnectError> {
        let (node, first) = (self.node.cast_signed(), origin(self.node).cast_signed());
        client
            .execute(
                "INSERT INTO chain (node, epoch, position, mac, anchor, anchor_mac)
                 VALUES ($1, 0, $2, $3, $2, $3) ON CONFLICT (node) DO NOTHING",
                &[&node, &first, &&[0_u8; 32][..]],
            )
            .await?;
        let row = client
            .query_one(
                "UPDATE chain SET epoch = epoch + 1 WHERE node = $1
                 RETURNING epoch, position, mac, stan, anchor",
                &[&node],
            )
            .await?;
        let head = self.head(row.try_get(1)?, row.try_get(2)?)?;
        let newest = client
            .query_opt(
                "SELECT record FROM journal WHERE position = $1",
                &[&head.position.cast_signed()],
            )
            .await?;
        let newest: Option<&[u8]> = newest.as_ref().map(|row| row.try_get(0)).transpose()?;
        let is_there = newest.is_some_and(|record| record.ends_with(&head.mac));
        let anchor: i64 = row.try_get(4)?;
        if !is_there && anchor != head.position.cast_signed() {
            let why =
                "its newest record is not in the journal: restore the database from one backup";
            return Err(ConnectError::Damaged { node: self.node, why });
        }
        let epoch: i64 = row.try_get(0)?;
        client
            .execute(
                "UPDATE unsettled SET in_flight_until = '-infinity' WHERE node = $1 AND epoch < $2",
                &[&node, &epoch],
            )
            .await?;
        let stan: Option<i32> = row.try_get(3)?;
        Ok((epoch, head, stan.map(|stan| Stan(stan.cast_unsigned()))))
    }

    /// Connects and takes the row again, after whatever the last session left is over.
    pub(super) async fn take_again(&self) -> Result<Taken, ConnectError> {
        let session = self.connector.connect().await?;
        schema::check(&session.client).await?;
        let id = match self.lock(&session.client).await {
            Ok(id) => id,
            Err(ConnectError::NodeTaken { .. }) if self.is_fenced(&session.client).await? => {
                return Ok(Taken::Fenced);
            }
            Err(error) => return Err(error),
        };
        let row = session
            .client
            .query_opt(
                "UPDATE chain SET epoch = epoch WHERE node = $1 AND epoch = $2
                 RETURNING position, mac",
                &[&self.node.cast_signed(), &self.epoch],
            )
            .await?;
        let Some(row) = row else { return Ok(Taken::Fenced) };
        let head = self.head(row.try_get(0)?, row.try_get(1)?)?;
        let sql = Statements::prepare(&session.client).await?;
        let lane = Writing { session: WritingSession { inner: session, id }, sql };
        Ok(Taken::Ours(Box::new(lane), head))
    }

    /// Takes the lock of the number. A session of ours that the database still has is ended; one that waits for a
    /// standby is not, since that would make its commit seen before it is safe.
    async fn lock(&self, client: &Client) -> Result<SessionId, ConnectError> {
        let node = i32::from(self.node);
        if let Some(SessionId { pid, began }) = &self.session {
            client
                .query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE pid = $1 AND backend_start::text = $2 AND wait_event IS DISTINCT FROM 'SyncRep'",
                    &[pid, began],
                )
                .await?;
        }
        let tries = Duration::from_secs(STORE_CONNECT_SECONDS).as_millis() / LOCK_PAUSE.as_millis();
        for _ in 0..tries {
            let row = client
                .query_one(
                    "SELECT pg_try_advisory_lock($1, $2), pg_backend_pid(),
                         (SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid())",
                    &[&NODE_LOCK, &node],
                )
                .await?;
            if row.try_get(0)? {
                let pid = row.try_get(1)?;
                let began: Option<String> = row.try_get(2)?;
                return Ok(SessionId { pid, began: began.unwrap_or_default() });
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        let by = client
            .query_opt(
                "SELECT 'a session from ' || coalesce(host(a.client_addr), 'this machine') || ', process '
                     || a.pid || ' of the database'
                 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
                 WHERE l.locktype = 'advisory' AND l.granted
                     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND l.classid = $1::int8::oid AND l.objid = $2::int8::oid",
                &[&i64::from(NODE_LOCK), &i64::from(node)],
            )
            .await?;
        let by = by.and_then(|row| row.try_get(0).ok());
        let by = by.unwrap_or_else(|| "another process".to_owned());
        Err(ConnectError::NodeTaken { node: self.node, by })
    }

    async fn is_fenced(&self, client: &Client) -> Result<bool, ConnectError> {
        let row = client
            .query_opt("SELECT epoch FROM chain WHERE node = $1", &[&self.node.cast_signed()])
            .await?;
        let epoch = row.and_then(|row| row.try_get::<_, i64>(0).ok());
        Ok(epoch != Some(self.epoch))
    }

    fn head(&self, position: i64, mac: &[u8]) -> Result<Head, ConnectError> {
        let why = "its row of the chain is not one of ours";
        let damaged = || ConnectError::Damaged { node: self.node, why };
        let mac = mac.try_into().map_err(|_| damaged())?;
        Ok(Head { position: u64::try_from(position).map_err(|_| damaged())?, mac })
    }

    /// What is said when the number is another's.
    pub(super) fn taken(&self) -> String {
        format!(
            "another process writes as node {}: give each switch a number of its own, restart",
            self.node
        )
    }
}
