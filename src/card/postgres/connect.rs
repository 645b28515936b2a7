//! Connections to the database: where, with which bounds, and what a session is set to before it is used.
//!
//! A session goes to a server that takes writes, wherever among the hosts of the URL that is, and is bounded at every
//! step: connecting, TCP, locks. **Never here:** a statement about cards. Where next: `writer`, `reader`, `chores`.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::card::StoreError;
use crate::card::postgres::schema::SCHEMA_VERSION;
use crate::card::postgres::tls::Rustls;
use crate::domain::vault::VaultError;
use crate::limits::{
    STORE_CONNECT_SECONDS, STORE_LOCK_SECONDS, STORE_NODES_MAX, STORE_READ_SECONDS,
    STORE_WRITE_SECONDS,
};

/// Why the store is not there. Names no password and no row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A statement failed, or the database cannot be reached.
    #[error("database: {why}")]
    Failed {
        /// PostgreSQL's words, or the system's.
        why: String,
    },
    /// Another process has this node's number.
    #[error("database: node {node} is taken by {by}: stop it, or give this switch another number")]
    NodeTaken {
        /// The number.
        node: u16,
        /// Who has it, as the database knows it.
        by: String,
    },
    /// The number is none.
    #[error("store: node {node} is not 1 to {STORE_NODES_MAX}")]
    NoNode {
        /// The number.
        node: u16,
    },
    /// The key file is not the one the store was made with.
    #[error(
        "database: made with other keys: point the configuration at the key file it was made with"
    )]
    OtherKeys,
    /// The schema is of another version.
    #[error(
        "database: its schema has version {found}, this program works with {SCHEMA_VERSION}: \
         run `pinion store migrate` with the newest program"
    )]
    Schema {
        /// Its version, 0 for none.
        found: u32,
    },
    /// What was chained last is not there.
    #[error("database: node {node}: {why}")]
    Damaged {
        /// The number.
        node: u16,
        /// What does not fit.
        why: &'static str,
    },
    /// The URL cannot be read.
    #[error("database: the URL is wrong: {why}")]
    Url {
        /// In which way; never a part of it.
        why: String,
    },
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed { why: words(&error) }
    }
}

/// What went wrong, without the rows and values that PostgreSQL puts into its details.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => format!("{} ({})", told.message(), told.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Whether the server itself ended this and the session may go on: nothing but the statement failed.
pub(super) fn session_survives(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|told| {
        let code = told.code().code();
        // Class 57 is the operator's: shutting down, crashed, not up yet. 25006 is a server that takes no writes.
        told.severity() == "ERROR" && !code.starts_with("57P") && code != "25006"
    })
}

/// What the caller of a statement that failed is told. What others hold for too long is overload, and the same request
/// may be tried again; everything else is our failure.
pub(super) fn refusal(error: &tokio_postgres::Error) -> StoreError {
    let held = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
    let is_held = error.code().is_some_and(|code| held.contains(code));
    if is_held { StoreError::Full } else { StoreError::Unavailable }
}

/// Makes sessions.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Option<Rustls>,
}

/// One session. Dropping it closes its connection at once.
pub(super) struct Session {
    pub(super) client: Client,
    driver: JoinHandle<()>,
}

impl Session {
    /// Returns when the connection is over.
    pub(super) async fn ended(&mut self) {
        // It neither panics nor is cancelled before the session is dropped.
        let _ = (&mut self.driver).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connector {
    /// Reads the URL. `name` is what the database's operator sees in `pg_stat_activity`.
    pub(super) fn new(
        url: &str,
        tls: Option<Arc<ClientConfig>>,
        name: &str,
    ) -> Result<Self, ConnectError> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // The words of its source name the key that is wrong, and no value but that of a parameter's name.
            ConnectError::Url { why: error.to_string() }
        })?;
        let seconds = Duration::from_secs;
        config
            .application_name(name)
            .connect_timeout(seconds(STORE_CONNECT_SECONDS))
            .tcp_user_timeout(seconds(STORE_WRITE_SECONDS))
            .keepalives_idle(seconds(STORE_WRITE_SECONDS))
            .keepalives_interval(seconds(1))
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(Self { config, tls: tls.map(Rustls) })
    }

    /// The same, under another name.
    pub(super) fn named(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.application_name(name);
        other
    }

    /// Opens a session.
    pub(super) async fn connect(&self) -> Result<Session, ConnectError> {
        let hosts = u32::try_from(self.config.get_hosts().len().max(1)).unwrap_or(1);
        let patience = Duration::from_secs(STORE_CONNECT_SECONDS) * hosts * 2;
        match tokio::time::timeout(patience, self.open()).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectError::Failed { why: "no answer to a connection in time".into() }),
        }
    }

    async fn open(&self) -> Result<Session, ConnectError> {
        let session = if let Some(tls) = &self.tls {
            let (client, connection) = self.config.connect(tls.clone()).await?;
            Session { client, driver: tokio::spawn(ended(connection)) }
        } else {
            let (client, connection) = self.config.connect(NoTls).await?;
            Session { client, driver: tokio::spawn(ended(connection)) }
        };
        // Every statement of ours goes by an index, and plans must not depend on statistics that are behind: a table
        // that was empty a minute ago is read from end to end otherwise. No statement timeout: PostgreSQL would let a
        // commit that waits for its standby succeed when one ends it, and an acknowledged change could be lost. What
        // takes too long is left by closing the session, and the server looks for that every second. An operator's
        // `synchronous_commit` below `on` would break what an approval says.
        let settings = format!(
            "SELECT set_config('synchronous_commit', 'on', false)
                 WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
             SET plan_cache_mode = force_generic_plan;
             SET enable_seqscan = off;
             SET enable_hashjoin = off;
             SET enable_mergejoin = off;
             SET jit = off;
             SET lock_timeout = '{STORE_LOCK_SECONDS}s';
             SET statement_timeout = 0;
             SET idle_in_transaction_session_timeout = '{STORE_READ_SECONDS}s';
             SET client_connection_check_interval = '1s'"
        );
        session.client.batch_execute(&settings).await?;
        // No session can turn that on for itself, and without it a commit says nothing.
        let synced = "SELECT current_setting('fsync')::bool";
        if !session.client.query_one(synced, &[]).await?.try_get::<_, bool>(0)? {
            let why = "it runs with fsync = off and loses what it said is kept when its machine stops: turn fsync on";
            return Err(ConnectError::Failed { why: why.to_owned() });
        }
        Ok(session)
    }
}

/// Drives a connection until it ends; whoever waits for an answer learns the reason there.
async fn ended<C>(connection: C)
where
    C: Future<Output = Result<(), tokio_postgres::Error>> + Send,
{
    if let Err(error) = connection.await {
        tracing::debug!(why = words(&error), "a connection to the database ended");
    }
}
