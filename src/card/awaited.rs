//! A database that may not be there when the switch starts: the switch starts all the same, says so, and takes work as
//! soon as it is.
//!
//! Only what passes by itself is waited for. A schema of another version or other keys need an operator, who is told at
//! once: the switch does not start. **Never here:** what happens when a database goes away later (`postgres`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

use crate::card::postgres::{ConnectError, PostgresOptions, PostgresStore};
use crate::card::{Away, DatabaseStatus, StoreError, StoreStatus};
use crate::domain::clock::WallMillis;
use crate::domain::vault::Vault;
use crate::limits::STORE_RECONNECT_MS_MAX;

/// A store that is there, or is waited for.
#[derive(Debug)]
pub struct AwaitedPostgres {
    shared: Arc<Shared>,
    node: u16,
    /// When it was looked for first.
    since: WallMillis,
    waiting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What came, or `None` when it was closed before: nothing comes any more.
    store: OnceLock<Option<PostgresStore>>,
    /// Why it is not there.
    why: ArcSwap<String>,
}

impl AwaitedPostgres {
    /// Connects, or goes on trying behind.
    ///
    /// # Errors
    /// [`ConnectError`] of the kinds that waiting does not cure.
    pub async fn start(
        options: PostgresOptions,
        vault: Arc<dyn Vault>,
    ) -> Result<Self, ConnectError> {
        let shared = Arc::new(Shared::default());
        let (node, since) = (options.node, options.clock.wall());
        let waiting = match PostgresStore::connect(options.clone(), Arc::clone(&vault)).await {
            Ok(store) => {
                shared.came(store).await;
                None
            }
            Err(error) if passes(&error) => {
                shared.is_away(&error);
                Some(tokio::spawn(wait(Arc::clone(&shared), options, vault)))
            }
            Err(error) => return Err(error),
        };
        Ok(Self { shared, node, since, waiting })
    }

    /// The store, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] before it came.
    pub fn get(&self) -> Result<&PostgresStore, StoreError> {
        self.shared.store.get().and_then(Option::as_ref).ok_or(StoreError::Unavailable)
    }

    /// How it is, or why it is not there.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        if let Ok(store) = self.get() {
            return store.status();
        }
        let why = self.shared.why.load().as_str().to_owned();
        let away = Some(Away { since: self.since, why: why.clone() });
        let database = DatabaseStatus { node: self.node, away, ..DatabaseStatus::default() };
        StoreStatus { poisoned: Some(why), database: Some(database), ..StoreStatus::default() }
    }

    /// Stops, after what waits is done, and gives the leases back; or waits for the database no more.
    pub async fn close(&self) {
        if let Some(waiting) = &self.waiting {
            waiting.abort();
        }
        if let Some(store) = self.shared.store.get_or_init(|| None) {
            store.close().await;
        }
    }
}

impl Shared {
    async fn came(&self, store: PostgresStore) {
        // Whoever waits is one, and ends with it: only a close may have been quicker.
        if let Err(Some(late)) = self.store.set(Some(store)) {
            late.close().await;
        }
    }

    fn is_away(&self, error: &ConnectError) {
        let why = error.to_string();
        if **self.why.load() != why {
            tracing::error!(why, "the database is not there: requests are refused until it is");
            self.why.store(Arc::new(why));
        }
    }
}

async fn wait(shared: Arc<Shared>, options: PostgresOptions, vault: Arc<dyn Vault>) {
    let pause = Duration::from_millis(STORE_RECONNECT_MS_MAX);
    loop {
        tokio::time::sleep(pause).await;
        match PostgresStore::connect(options.clone(), Arc::clone(&vault)).await {
            Ok(store) => {
                tracing::info!("the database is there");
                return shared.came(store).await;
            }
            Err(error) => shared.is_away(&error),
        }
    }
}

/// Whether it may be cured while we wait: the database starts, or another process with our number ends.
fn passes(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Failed { .. } | ConnectError::NodeTaken { .. })
}
