//! The trait [`crate::hsm::Hsm`] over one or more payShield devices.
//!
//! ```text
//! commands/  an operation as commands ─ pool  which device, once more elsewhere
//!                                        device  breaker, places ─ connection  one poll loop ─ session, mux (pure)
//! ```
//!
//! PINs and the keys of zones live in the devices. What a device cannot do (seals and hashes of account numbers, the
//! audit, signatures of doors, PINs under RSA keys) a software module beside them does; it may hold no other keys.
//! **Never here:** a clear key; a clear PIN but on its way into a device (BA) or out of one (NG). Where next:
//! `commands`, `pool`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::domain::clock::Clock;
use crate::domain::pin::{KeyId, Method, PinRules};
use crate::hsm::key::KeyType;
use crate::hsm::payshield::client::keys::{SOFT_IDS, Table};
use crate::hsm::payshield::client::pool::{Idle, Pool};
use crate::hsm::payshield::client::state::State;
use crate::hsm::soft::{KeyInfo, MethodError, PreviousInfo, Reread as SoftReread, SoftHsm};

mod buffer;
mod commands;
mod connection;
mod device;
mod drain;
mod examine;
mod exchange;
mod hsm;
mod keeper;
mod keys;
mod meters;
mod mux;
mod policy;
mod pool;
mod reply;
mod session;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod token;

pub use self::device::DeviceStatus;
pub use self::drain::DrainRefused;
pub use self::examine::{Running, StartError};
pub use self::keys::PlanError;
pub use self::settings::{DeviceSettings, KeyPlan, KeySettings, Settings, TableToken};
pub use self::state::StateError;
pub use self::token::{KeyKind, NoToken, Token};

/// What start takes once. No command does.
#[expect(clippy::disallowed_types, reason = "taken once, at start")]
type Once = std::sync::Mutex<Option<Idle>>;

/// Devices and their keys.
pub struct PayShield {
    pool: Pool,
    keys: ArcSwap<Table>,
    soft: Arc<SoftHsm>,
    idle: Once,
    /// Exchanges of keys take turns: each writes the state file.
    turn: Arc<Semaphore>,
    /// Second of the last alarm, from 1.
    alarmed: AtomicU64,
}

/// Why a client cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A key of the software module that belongs into the devices.
    #[error(
        "key {name} of the key file is a {key_type}: with devices the key file holds AUDIT, \
         PAN-HASH, PAN-SEAL, RSA and SIGNATURE keys only; give this one as [[hsm.key]]"
    )]
    NotSoft {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
    },
    /// The same name twice.
    #[error("key {name} is in the key file and among [[hsm.key]]: give one of them another name")]
    Twice {
        /// Key.
        name: Box<str>,
    },
    /// The keys do not go together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why devices cannot do what a product wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnfitProduct {
    /// Its method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// Too many refused PINs.
    #[error(
        "{pins} PINs of {length} digits are refused by its rules, and a device takes 99 in a table: \
         shorten refused_pins"
    )]
    Excluded {
        /// Digits.
        length: u8,
        /// How many, those of the rules included.
        pins: usize,
    },
    /// No command holds a PIN that is kept against a table, but those that make a PVV of it.
    #[error(
        "its rules cannot be held by a device for PINs kept under the LMK: name a PVK as hsm.policy_pvk"
    )]
    NeedsPolicy,
    /// Blocks must be translated.
    #[error("{why}: name a ZPK that only this switch uses as hsm.transit_zpk")]
    NeedsTransit {
        /// What for.
        why: &'static str,
    },
}

/// Keys that were read again and are not in force yet.
pub struct Reread {
    soft: SoftReread,
    before: Arc<Table>,
    table: Arc<Table>,
    clock: Arc<dyn Clock>,
    /// One bit for each device that has passed its keys.
    passed: AtomicU32,
}

impl PayShield {
    /// Takes settings and keys. Nothing is connected yet: see [`PayShield::start`].
    ///
    /// # Errors
    /// [`OpenError`] says what to change.
    pub fn open(
        settings: Settings,
        plan: &KeyPlan,
        soft: SoftHsm,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let state = settings.state.as_deref().map(State::read).transpose()?.unwrap_or_default();
        let table = Table::new(plan, &state, &Table::default(), clock.wall())?;
        check_soft(&soft, &table)?;
        let (pool, idle) = Pool::new(settings, clock);
        Ok(Self {
            pool,
            keys: ArcSwap::from_pointee(table),
            soft: Arc::new(soft),
            idle: Once::new(Some(idle)),
            turn: Arc::new(Semaphore::new(1)),
            alarmed: AtomicU64::new(0),
        })
    }

    /// The software module beside the devices.
    #[must_use]
    pub fn soft(&self) -> &Arc<SoftHsm> {
        &self.soft
    }

    /// Its keys, those of the software module included.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyInfo> {
        list(&self.keys.load(), &self.soft, &*self.pool.shared.clock)
    }

    /// The devices, for `/status`.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.pool.status()
    }

    /// Takes a device out of service: no command of a request goes there any more. What it has under way.
    ///
    /// # Errors
    /// [`DrainRefused`]; of the last that takes commands only without `force`.
    pub fn drain(&self, name: &str, force: bool) -> Result<usize, DrainRefused> {
        self.pool.drain(name, force)
    }

    /// Puts a device back into service.
    ///
    /// # Errors
    /// [`DrainRefused`]: there is no such device.
    pub fn resume(&self, name: &str) -> Result<(), DrainRefused> {
        self.pool.resume(name)
    }

    /// Whether the devices can keep what a product promises.
    ///
    /// # Errors
    /// [`UnfitProduct`] says why not.
    pub fn check_product(&self, method: &Method, rules: &PinRules) -> Result<(), UnfitProduct> {
        examine::check_product(&self.keys.load(), method, rules)
    }

    /// Reads keys and files again without using them yet.
    ///
    /// # Errors
    /// As [`PayShield::open`]; what the software module says of its files.
    pub fn reread(&self, plan: &KeyPlan, soft: SoftReread) -> Result<Reread, OpenError> {
        let settings = &self.pool.shared.settings;
        let state = settings.state.as_deref().map(State::read).transpose()?.unwrap_or_default();
        let before = self.keys.load_full();
        let table = Table::new(plan, &state, &before, self.pool.shared.clock.wall())?;
        check_soft(soft.module(), &table)?;
        let clock = Arc::clone(&self.pool.shared.clock);
        Ok(Reread { soft, before, table: Arc::new(table), clock, passed: AtomicU32::new(0) })
    }
}

impl Reread {
    /// The id of a key as it would be.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<KeyId> {
        use crate::hsm::Hsm;
        self.table.id(name).or_else(|| self.soft.module().key(name).map(soft_id))
    }

    /// As [`PayShield::keys`], as they would be.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyInfo> {
        list(&self.table, self.soft.module(), &*self.clock)
    }

    /// As [`PayShield::check_product`], with the keys as they would be.
    ///
    /// # Errors
    /// [`UnfitProduct`].
    pub fn check_product(&self, method: &Method, rules: &PinRules) -> Result<(), UnfitProduct> {
        examine::check_product(&self.table, method, rules)
    }
}

/// Keys of both, as `status` pages show them.
fn list(table: &Table, soft: &SoftHsm, clock: &dyn Clock) -> Vec<KeyInfo> {
    let held = table.iter().map(|(id, slot)| KeyInfo {
        id,
        name: Arc::clone(&slot.name),
        key_type: slot.kind.key_type(),
        check_value: slot.newest.check_value,
        previous: slot.previous(|| clock.wall()).map(|previous| PreviousInfo {
            check_value: previous.held.check_value,
            until: previous.until,
            newer_unused: !slot.is_proven(),
        }),
    });
    let beside = soft.keys().into_iter().map(|key| KeyInfo { id: soft_id(key.id), ..key });
    held.chain(beside).collect()
}

/// The software module may hold what no device does, and no name of a device's key.
fn check_soft(soft: &SoftHsm, table: &Table) -> Result<(), OpenError> {
    for key in soft.keys() {
        let name = || (&*key.name).into();
        match key.key_type {
            KeyType::Audit
            | KeyType::PanHash
            | KeyType::PanSeal
            | KeyType::Rsa
            | KeyType::Signature => {}
            key_type @ (KeyType::Bdk
            | KeyType::MkAc
            | KeyType::MkSmc
            | KeyType::MkSmi
            | KeyType::Pvk
            | KeyType::Zak
            | KeyType::Zmk
            | KeyType::Zpk) => return Err(OpenError::NotSoft { name: name(), key_type }),
        }
        if table.id(&key.name).is_some() {
            return Err(OpenError::Twice { name: name() });
        }
    }
    Ok(())
}

/// The id of a key of the software module among all keys.
fn soft_id(id: KeyId) -> KeyId {
    KeyId(id.0 | SOFT_IDS)
}

/// The same way back; `None` for a key of the devices.
fn soft_key(id: KeyId) -> Option<KeyId> {
    (id.0 & SOFT_IDS != 0).then_some(KeyId(id.0 & !SOFT_IDS))
}

impl fmt::Debug for PayShield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayShield({} devices)", self.pool.devices.len())
    }
}
