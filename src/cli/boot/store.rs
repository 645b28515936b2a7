//! The store from the configuration: a directory opened, or a database connected to with its password and keys.
//!
//! **Never here:** a password in an error. What only an operator can cure is exit 78.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::card::embedded::{EmbeddedStore, StoreOptions};
use crate::card::postgres::{ConnectError, PostgresOptions, PostgresStore};
use crate::card::{AnyStore, AwaitedPostgres};
use crate::cli::Failure;
use crate::domain::clock::SystemClock;
use crate::domain::vault::Vault;
use crate::limits::STORE_COMMANDS_NODE;
use crate::ops::config::{Config, DatabaseUrl, Postgres, PostgresTls};
use crate::tls::{self, ClientFiles};

/// Where libpq's own tools look for a password, too.
const PASSWORD: &str = "PGPASSWORD";

/// Opens the store the configuration names, for a switch: a database that is away is waited for. To be called within
/// the runtime.
pub(crate) async fn open_store(
    config: &Config,
    vault: Arc<dyn Vault>,
    clock: SystemClock,
) -> Result<AnyStore, Failure> {
    let Some(postgres) = &config.store.postgres else {
        return open_embedded(config, vault, clock).map(AnyStore::Embedded);
    };
    let options = options(config, postgres, clock)?;
    let store = AwaitedPostgres::start(options, vault).await;
    store.map(AnyStore::Postgres).map_err(|error| refused(config, error))
}

/// Opens the embedded store.
pub(crate) fn open_embedded(
    config: &Config,
    vault: Arc<dyn Vault>,
    clock: SystemClock,
) -> Result<EmbeddedStore, Failure> {
    EmbeddedStore::open(&config.store.directory, vault, embedded_options(config, clock))
        .map_err(|error| Failure::Other(error.into()))
}

/// What the embedded store is to keep.
pub(crate) fn embedded_options(config: &Config, clock: SystemClock) -> StoreOptions {
    let mut options = StoreOptions::new(Arc::new(clock));
    options.transaction_retention = Duration::from_hours(config.store.retention_hours.into());
    options.transaction_keys_max = config.store.transaction_keys_max;
    options
}

/// Connects to the database for a command, beside the switches. To be called within a runtime.
pub(crate) async fn connect(
    config: &Config,
    postgres: &Postgres,
    vault: Arc<dyn Vault>,
    clock: SystemClock,
) -> Result<PostgresStore, Failure> {
    let mut options = options(config, postgres, clock)?;
    options.node = STORE_COMMANDS_NODE;
    options.connections = 3;
    let connected = PostgresStore::connect(options, vault).await;
    connected.map_err(|error| refused(config, error))
}

/// How to reach the database and what it is to keep.
pub(crate) fn options(
    config: &Config,
    postgres: &Postgres,
    clock: SystemClock,
) -> Result<PostgresOptions, Failure> {
    let (url, tls) = database(config, postgres)?;
    let url = url.expose_url().to_owned();
    let mut options = PostgresOptions::new(url, postgres.node, Arc::new(clock));
    options.tls = tls;
    options.connections = postgres.connections;
    options.transaction_retention = Duration::from_hours(config.store.retention_hours.into());
    Ok(options)
}

/// Where the database is, with its password, and how it is encrypted.
pub(crate) fn database(
    config: &Config,
    postgres: &Postgres,
) -> Result<(DatabaseUrl, Option<Arc<rustls::ClientConfig>>), Failure> {
    let tls = match &postgres.tls {
        None => None,
        Some(PostgresTls { ca, certificate, key }) => {
            let identity = certificate.clone().zip(key.clone());
            let files = ClientFiles { ca: ca.clone(), identity };
            let made = tls::client(&files);
            Some(made.map_err(|error| config.error("store.postgres.tls", error))?)
        }
    };
    let url = match password(config, postgres)? {
        Some(password) => postgres.url.with_password(&password),
        None => postgres.url.clone(),
    };
    Ok((url, tls))
}

/// The password that is not in the URL: the first line of its file, else the environment's.
fn password(config: &Config, postgres: &Postgres) -> Result<Option<Zeroizing<String>>, Failure> {
    if postgres.url.has_password() {
        return Ok(None);
    }
    let Some(file) = &postgres.password_file else {
        return Ok(std::env::var(PASSWORD).ok().map(Zeroizing::new));
    };
    let wrong = |why: &dyn std::fmt::Display| {
        config.error("store.postgres.password_file", format!("{}: {why}", file.display()))
    };
    let mode = fs::metadata(file).map_err(|error| wrong(&error))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(wrong(&"everybody may read or write it: chmod o= it").into());
    }
    let text = Zeroizing::new(fs::read_to_string(file).map_err(|error| wrong(&error))?);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(wrong(&"its first line is empty: it is the password").into());
    }
    Ok(Some(Zeroizing::new(line.to_owned())))
}

/// What an operator must do before a start can succeed is the configuration's matter: exit 78.
fn refused(config: &Config, error: ConnectError) -> Failure {
    match error {
        ConnectError::Schema { .. } => {
            let reason = format!("{error}: pinion store migrate --config {}", config.origin());
            config.error("store.postgres", reason).into()
        }
        ConnectError::OtherKeys => config.error("hsm.keys", error).into(),
        ConnectError::Url { .. } => config.error("store.postgres.url", error).into(),
        ConnectError::NoNode { .. } => config.error("store.postgres.node", error).into(),
        _ => Failure::Other(error.into()),
    }
}
