//! The schema: numbered files, applied by `pinion store migrate` and only checked by a starting switch.
//!
//! Each version is one file and one transaction; a lock lets one migration run at a time. A file that has been released
//! never changes: what comes later is another file. **Never here:** rows of cards. Where next: `schema/0001.sql`.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::card::postgres::connect::{ConnectError, Connector, words};

/// The version this program works with.
pub const SCHEMA_VERSION: u32 = 1;

/// The files, in order: the first makes version 1.
const FILES: &[&str] = &[include_str!("schema/0001.sql")];
const _: () = assert!(FILES.len() == SCHEMA_VERSION as usize, "one file a version");

/// Held while a migration runs.
const MIGRATION_LOCK: i64 = 0x0070_696E_696F_6E01;

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationReport {
    /// The version before, 0 for an empty database.
    pub from: u32,
    /// The version now.
    pub to: u32,
}

/// Why a database could not be brought to our version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// It cannot be reached, or refuses us.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed. Nothing of its version was kept.
    #[error("database: version {version} of the schema cannot be made: {why}")]
    Failed {
        /// The version that failed.
        version: u32,
        /// PostgreSQL's words.
        why: String,
    },
    /// A newer program made it.
    #[error(
        "database: its schema has version {found}, this program knows {SCHEMA_VERSION}: upgrade the program"
    )]
    Newer {
        /// Its version.
        found: u32,
    },
}

/// Brings the database at `url` to [`SCHEMA_VERSION`]. A database that has it already is left as it is.
///
/// # Errors
/// [`MigrateError`] says what failed; what was there before is then unchanged.
pub async fn migrate(
    url: &str,
    tls: Option<Arc<ClientConfig>>,
) -> Result<MigrationReport, MigrateError> {
    let connector = Connector::new(url, tls, "pinion migrate")?;
    let session = connector.connect().await?;
    let client = &session.client;
    let failed = |version| move |error| MigrateError::Failed { version, why: words(&error) };
    client.query("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await.map_err(failed(0))?;
    let from = version(client).await.map_err(failed(0))?.unwrap_or(0);
    if SCHEMA_VERSION < from {
        return Err(MigrateError::Newer { found: from });
    }
    for (number, file) in (1..).zip(FILES).skip(usize::try_from(from).unwrap_or(usize::MAX)) {
        let all = format!(
            "BEGIN;
             CREATE TABLE IF NOT EXISTS schema_version (
                 version int4 PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
             {file}
             INSERT INTO schema_version (version) VALUES ({number});
             COMMIT;"
        );
        client.batch_execute(&all).await.map_err(failed(number))?;
        tracing::info!(version = number, "schema of the database made");
    }
    Ok(MigrationReport { from, to: SCHEMA_VERSION })
}

/// The schema's version; `None` where there is none.
async fn version(client: &Client) -> Result<Option<u32>, tokio_postgres::Error> {
    match client.query_one("SELECT max(version) FROM schema_version", &[]).await {
        Ok(row) => Ok(row.get::<_, Option<i32>>(0).and_then(|found| u32::try_from(found).ok())),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the database has the version that this program works with.
pub(super) async fn check(client: &Client) -> Result<(), ConnectError> {
    let found = version(client).await?.unwrap_or(0);
    if found == SCHEMA_VERSION { Ok(()) } else { Err(ConnectError::Schema { found }) }
}
