//! The keys a client names in commands: from the configuration, or newer ones from partners, which a file keeps.
//!
//! A [`Table`] never changes; an exchange or a reload puts another in its place. Ids stay with names. **Never here:** a
//! clear key, a command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::clock::WallMillis;
use crate::domain::pin::KeyId;
use crate::hsm::HsmError;
use crate::hsm::key::CheckValue;
use crate::hsm::names::{Names, NoPlace};
use crate::hsm::payshield::client::settings::{KeyPlan, KeySettings};
use crate::hsm::payshield::client::state::State;
use crate::hsm::payshield::client::token::{KeyKind, Token};
use crate::limits::KEYS_MAX;

/// Ids from here on are keys of the software module beside the devices.
pub(super) const SOFT_IDS: u16 = 0x8000;

/// One key under the LMK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) check_value: CheckValue,
}

/// A key by name, and in a grace period the one before it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    pub(super) kind: KeyKind,
    pub(super) newest: Held,
    pub(super) previous: Option<Previous>,
    /// Check value in the configuration, where a newer key came since.
    pub(super) configured: CheckValue,
}

/// The key before the newest one.
#[derive(Debug)]
pub(super) struct Previous {
    pub(super) held: Held,
    pub(super) until: WallMillis,
    /// Whether anything came under the newest key: the sender has it then.
    proven: AtomicBool,
}

impl Previous {
    /// A key until then.
    pub(super) fn new(held: Held, until: WallMillis) -> Self {
        Self { held, until, proven: AtomicBool::new(false) }
    }

    /// Something came under the newest key. Read first: most have nothing to write.
    pub(super) fn prove_newest(&self) {
        if !self.proven.load(Ordering::Relaxed) {
            self.proven.store(true, Ordering::Relaxed);
        }
    }
}

impl Slot {
    /// The previous key while its grace period lasts. The clock is read only when there is one.
    pub(super) fn previous(&self, now: impl FnOnce() -> WallMillis) -> Option<&Previous> {
        self.previous.as_ref().filter(|previous| now() < previous.until)
    }

    /// Whether the newest key has taken over.
    pub(super) fn is_proven(&self) -> bool {
        let pending = |previous: &Previous| !previous.proven.load(Ordering::Relaxed);
        !self.previous.as_ref().is_some_and(pending)
    }
}

/// Every key of one moment.
#[derive(Debug, Default)]
pub(super) struct Table {
    names: Names<Slot>,
    pub(super) transit: Option<KeyId>,
    pub(super) policy: Option<KeyId>,
    /// Whether PINs under the LMK are blocks of 16 bytes.
    pub(super) is_aes: bool,
}

/// Why keys cannot be used together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A key that is named is not there, or is another kind.
    #[error("hsm.{option}: {name:?} is no key of type {wanted}")]
    Named {
        /// `transit_zpk` or `policy_pvk`.
        option: &'static str,
        /// As given.
        name: Box<str>,
        /// What it must be.
        wanted: &'static str,
    },
    /// More keys than ids.
    #[error("more than {} keys", KEYS_MAX)]
    TooMany,
    /// Two keys of one name.
    #[error("key {name}: twice")]
    Twice {
        /// Key.
        name: Box<str>,
    },
}

impl Table {
    /// The keys of a plan, of which `state` may have newer ones. Names that `before` knows keep their ids.
    pub(super) fn new(
        plan: &KeyPlan,
        state: &State,
        before: &Self,
        now: WallMillis,
    ) -> Result<Self, PlanError> {
        let mut table = Self { names: before.names.left(now), ..Self::default() };
        for key in &plan.keys {
            let put = table.names.put(&key.name, |known| load(key, state, known, now));
            put.map_err(|no_place| match no_place {
                NoPlace::TooMany => PlanError::TooMany,
                NoPlace::Twice => PlanError::Twice { name: key.name.clone() },
            })?;
        }
        let is_aes = table.iter().any(|(_, slot)| slot.newest.token.is_under_aes());
        table.is_aes = is_aes;
        table.transit = table.named("transit_zpk", plan.transit_zpk.as_deref(), KeyKind::Zpk)?;
        table.policy = table.named("policy_pvk", plan.policy_pvk.as_deref(), KeyKind::Pvk)?;
        Ok(table)
    }

    fn named(
        &self,
        option: &'static str,
        name: Option<&str>,
        kind: KeyKind,
    ) -> Result<Option<KeyId>, PlanError> {
        let Some(name) = name else { return Ok(None) };
        let id = self.id(name).filter(|id| self.slot(*id).is_ok_and(|slot| slot.kind == kind));
        id.map(Some).ok_or_else(|| PlanError::Named {
            option,
            name: name.into(),
            wanted: kind.name(),
        })
    }

    /// The same table with another key in one place.
    pub(super) fn with(&self, id: KeyId, slot: Slot) -> Self {
        Self { names: self.names.with(id, slot), ..*self }
    }

    /// The id of the key of that name, if it is still there.
    pub(super) fn id(&self, name: &str) -> Option<KeyId> {
        self.names.id(name)
    }

    /// Every key with its id, but those that are leaving.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyId, &Arc<Slot>)> {
        self.names.iter()
    }

    pub(super) fn slot(&self, id: KeyId) -> Result<&Arc<Slot>, HsmError> {
        self.names.get(id)
    }

    /// A key whose kind fits.
    pub(super) fn of_kind(
        &self,
        id: KeyId,
        fits: impl FnOnce(KeyKind) -> bool,
    ) -> Result<&Arc<Slot>, HsmError> {
        let slot = self.slot(id)?;
        if fits(slot.kind) { Ok(slot) } else { Err(HsmError::KeyUnusable) }
    }
}

/// The key as it is in force: the one of the configuration, or a newer one that came for it.
fn load(key: &KeySettings, state: &State, known: Option<&Slot>, now: WallMillis) -> Slot {
    let given = Held { token: key.token.clone(), check_value: key.check_value };
    let mut slot = Slot {
        name: (&*key.name).into(),
        kind: key.kind,
        newest: given,
        previous: None,
        configured: key.check_value,
    };
    // A key that was configured anew since is newer than what came before.
    let Some(kept) = state.of(&key.name).filter(|kept| kept.configured == key.check_value) else {
        return slot;
    };
    slot.newest = kept.newest.clone();
    slot.previous = kept.previous.clone().filter(|(_, until)| now < *until).map(|(held, until)| {
        let previous = Previous::new(held, until);
        if known.is_some_and(|slot| slot.newest == kept.newest && slot.is_proven()) {
            previous.prove_newest();
        }
        previous
    });
    slot
}
