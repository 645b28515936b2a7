//! The keys a client names in commands: from the configuration, or newer ones from partners, which a file keeps.
//!
//! A [`Table`] never changes; an exchange or a reload puts another in its place. Ids stay with names. **Never here:** a
//! clear key, a command.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::clock::WallMillis;
use crate::domain::pin::KeyId;
use crate::hsm::HsmError;
use crate::hsm::key::CheckValue;
use crate::hsm::payshield::client::settings::{KeyPlan, KeySettings};
use crate::hsm::payshield::client::state::State;
use crate::hsm::payshield::client::token::{KeyKind, Token};
use crate::limits::{KEY_LEAVES_MS, KEYS_MAX};

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

/// The place of an id.
#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Empty,
    Held(Arc<Slot>),
    /// A reload did not find it any more. Requests that were under way then name it by its id, and those of
    /// connections that have not read their new settings yet. It goes with the first reload after this time.
    Leaving(Arc<Slot>, WallMillis),
}

/// Every key of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    // The index is the key's id.
    places: Vec<Place>,
    ids: Arc<HashMap<Arc<str>, KeyId>>,
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
        let places = before.places.iter().map(|place| place.left(now)).collect();
        let mut table = Self { places, ids: Arc::default(), ..Self::default() };
        let mut ids = HashMap::clone(&before.ids);
        for key in &plan.keys {
            let next = u16::try_from(table.places.len()).map_err(|_| PlanError::TooMany)?;
            let id = *ids.entry((&*key.name).into()).or_insert(KeyId(next));
            if id.0 == next {
                table.places.push(Place::Empty);
            }
            let Some(place) = table.places.get_mut(usize::from(id.0)) else { continue };
            if matches!(place, Place::Held(_)) {
                return Err(PlanError::Twice { name: key.name.clone() });
            }
            let known = before.slot(id).ok();
            *place = Place::Held(Arc::new(load(key, state, known, now)));
        }
        if KEYS_MAX < table.places.len() {
            return Err(PlanError::TooMany);
        }
        table.ids = Arc::new(ids);
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
        let mut next = self.clone();
        if let Some(place @ Place::Held(_)) = next.places.get_mut(usize::from(id.0)) {
            *place = Place::Held(Arc::new(slot));
        }
        next
    }

    /// The id of the key of that name, if it is still there.
    pub(super) fn id(&self, name: &str) -> Option<KeyId> {
        let id = *self.ids.get(name)?;
        matches!(self.places.get(usize::from(id.0)), Some(Place::Held(_))).then_some(id)
    }

    /// Every key with its id, but those that are leaving.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyId, &Arc<Slot>)> {
        (0..).map(KeyId).zip(&self.places).filter_map(|(id, place)| match place {
            Place::Held(slot) => Some((id, slot)),
            Place::Leaving(..) | Place::Empty => None,
        })
    }

    pub(super) fn slot(&self, id: KeyId) -> Result<&Arc<Slot>, HsmError> {
        match self.places.get(usize::from(id.0)) {
            Some(Place::Held(slot) | Place::Leaving(slot, _)) => Ok(slot),
            Some(Place::Empty) | None => Err(HsmError::KeyUnknown),
        }
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

impl Place {
    /// As it is after a reload that did not find the key.
    fn left(&self, now: WallMillis) -> Self {
        match self {
            Self::Held(slot) => {
                let until = now.0.saturating_add(KEY_LEAVES_MS);
                Self::Leaving(Arc::clone(slot), WallMillis(until))
            }
            Self::Leaving(slot, until) if now < *until => Self::Leaving(Arc::clone(slot), *until),
            Self::Leaving(..) | Self::Empty => Self::Empty,
        }
    }
}

/// The key as it is in force: the one of the configuration, or a newer one that came for it.
fn load(key: &KeySettings, state: &State, known: Option<&Arc<Slot>>, now: WallMillis) -> Slot {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Once a key was forgotten by the reload that did not name it: for a second connections with their old settings
    /// answered 88.
    #[test]
    fn a_key_that_goes_leaves_after_a_while() {
        let plan = |names: &[&str]| {
            let key = |name: &&str| KeySettings {
                name: (*name).into(),
                kind: KeyKind::Zpk,
                token: Token::parse(b"U1EF828AA8F6B80EB83E19FBC373F3A85").unwrap(),
                check_value: [0x6F, 0x1E, 0x3F],
            };
            KeyPlan { keys: names.iter().map(key).collect(), transit_zpk: None, policy_pvk: None }
        };
        let next = |before: &Table, names: &[&str], now| {
            Table::new(&plan(names), &State::default(), before, WallMillis(now)).unwrap()
        };
        let both = next(&Table::default(), &["a", "b"], 0);
        let id = both.id("a").unwrap();
        let mut table = next(&both, &["b"], 1000);
        for now in [1000, 1001, 1000 + KEY_LEAVES_MS - 1] {
            table = next(&table, &["b"], now);
            assert!(table.slot(id).is_ok() && table.id("a").is_none(), "{now}");
            assert_eq!(table.iter().count(), 1, "{now}");
        }
        let back = next(&table, &["a", "b"], 2000);
        assert_eq!(back.id("a"), Some(id));
        table = next(&table, &["b"], 1000 + KEY_LEAVES_MS);
        assert_eq!(table.slot(id).err(), Some(HsmError::KeyUnknown));
    }
}
