//! The key table that commands read, and its two ways to change: files read again, a zone key exchanged.
//!
//! A command loads the table once and keeps it to its end: whoever changes it puts another one in its place. Changes
//! wait for each other, commands for nobody. **Never here:** a PIN, a block, a command.

use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::domain::clock::WallMillis;
use crate::domain::pin::KeyId;
use crate::hsm::exchange::{ExchangeError, unwrap};
use crate::hsm::key::{Algorithm, CheckValue, KeyType, TestKeys};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::table::Table;
use crate::hsm::{ImportRefused, Imported};
use crate::limits;

/// Changes take turns: each reads the files, writes them, and swaps the table.
#[expect(
    clippy::disallowed_types,
    reason = "no command takes it: exchanges of keys wait for each other in threads for blocking work"
)]
type Turn = std::sync::Mutex<()>;

/// Where a module was opened from.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) keys: PathBuf,
    pub(super) lmk: PathBuf,
    pub(super) test_keys: TestKeys,
}

/// The table in force.
pub(super) struct Keyring {
    table: ArcSwap<Table>,
    files: Option<Files>,
    changing: Turn,
    // Permits of exchanges under way, so that a flood of them does not take the threads of everybody.
    under_way: Arc<Semaphore>,
}

/// One exchange, as a partner asks for it.
pub(super) struct Exchange {
    pub(super) key: KeyId,
    pub(super) zmk: KeyId,
    pub(super) wrapped: Zeroizing<Vec<u8>>,
    pub(super) stated: Option<CheckValue>,
    pub(super) grace: Duration,
    pub(super) now: WallMillis,
}

impl Keyring {
    pub(super) fn new(table: Table, files: Option<Files>) -> Self {
        let under_way = Arc::new(Semaphore::new(limits::KEY_EXCHANGES_MAX));
        Self { table: ArcSwap::from_pointee(table), files, changing: Turn::new(()), under_way }
    }

    /// The table in force, for one command. It neither waits nor allocates.
    pub(super) fn load(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// The table in force, for longer.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    pub(super) fn files(&self) -> Result<&Files, KeyFileError> {
        self.files.as_ref().ok_or(KeyFileError::NoFile)
    }

    /// Puts `next` in the place of `before`, unless something else has taken that place.
    pub(super) fn swap(&self, before: &Arc<Table>, next: Arc<Table>) -> Result<(), KeyFileError> {
        let _one = self.change();
        if !Arc::ptr_eq(before, &self.table.load()) {
            return Err(KeyFileError::Exchanged);
        }
        self.table.store(next);
        Ok(())
    }

    /// Leave to start an exchange, given back when dropped.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, ImportRefused> {
        Arc::clone(&self.under_way).try_acquire_owned().map_err(|_| ImportRefused::Unavailable)
    }

    /// Unwraps, writes the key file, swaps. File and table stand as they were after an error.
    pub(super) fn exchange(&self, exchange: &Exchange) -> Result<Imported, ImportRefused> {
        let _one = self.change();
        let table = self.table();
        let slot = table.slot(exchange.key).map_err(|_| ImportRefused::KeyUnknown)?;
        let zmk = table.slot(exchange.zmk).map_err(|_| ImportRefused::KeyUnknown)?;
        let (name, key_type) = (&*slot.newest.name, slot.newest.key_type);
        if !matches!(key_type, KeyType::Zpk | KeyType::Zak) {
            return Err(ImportRefused::NotZoneKey { name: name.into(), key_type });
        }
        let files = self.files()?;
        let lmk = Lmk::read(&files.lmk, files.test_keys)?;
        let mut file = KeyFile::read(&files.keys, &lmk, files.test_keys)?;
        let (had, zmk) = (file.get(name)?, file.get(&zmk.newest.name)?);
        let before = had.check_value();
        if before != slot.newest.check_value || had.key_type() != key_type {
            return Err(ImportRefused::FileAhead { name: name.into() });
        }
        if had.algorithm() != Algorithm::Tdes {
            return Err(ImportRefused::NotTripleDes { name: name.into() });
        }
        let wrapped = &exchange.wrapped;
        let key = unwrap(zmk, name, key_type, wrapped, exchange.stated, files.test_keys)?;
        let key = key.with_terms(had.terms())?;
        let after = key.check_value();
        if bool::from(key.expose_bytes().ct_eq(had.expose_bytes())) {
            return Ok(Imported { before, after });
        }
        let grace = u64::try_from(exchange.grace.as_millis()).unwrap_or(u64::MAX);
        // TOML has no numbers beyond this.
        let until = WallMillis(exchange.now.0.saturating_add(grace).min(i64::MAX.unsigned_abs()));
        file.expire(exchange.now);
        file.exchange(key, slot.is_proven(), until)?;
        file.expire(exchange.now);
        let next = table.with(&file, exchange.key, exchange.now)?;
        file.write(&files.keys, &lmk)?;
        self.table.store(Arc::new(next));
        Ok(Imported { before, after })
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        // It guards no data, so a panic under it leaves nothing half done.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<ExchangeError> for ImportRefused {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::CheckValue { name, actual, stated } => {
                Self::CheckValueWrong { name, actual, stated }
            }
            ExchangeError::NotZmk { name, .. } => Self::NotZmk { name },
            ExchangeError::Key(error) => Self::Key(error),
            ExchangeError::NotTripleDes { name } => Self::NotTripleDes { name },
            // Components, key blocks and exports are for `pinion keys`; no exchange at run time has any.
            ExchangeError::Block { .. }
            | ExchangeError::ComponentCount { .. }
            | ExchangeError::ComponentEmpty { .. }
            | ExchangeError::ComponentLength { .. }
            | ExchangeError::NotExportable { .. }
            | ExchangeError::Random
            | ExchangeError::Stronger { .. }
            | ExchangeError::Use { .. } => Self::Unavailable,
        }
    }
}
