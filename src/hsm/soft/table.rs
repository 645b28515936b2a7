//! Loaded keys with their schedules prepared: a command finds its key by one index and never sets one up.
//!
//! A [`Table`] never changes; an exchange makes another one that shares every [`Slot`] but one. **Never here:** clear
//! key bytes after [`Loaded::new`] returned; files (`ring`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

use crate::domain::clock::WallMillis;
use crate::domain::pin::KeyId;
use crate::hsm::HsmError;
use crate::hsm::key::{Algorithm, CheckValue, ClearKey, KeyType};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::soft::dukpt::Bdk;
use crate::hsm::soft::mac::MacKey;
use crate::hsm::soft::rsa::RsaKey;
use crate::limits::{KEY_LEAVES_MS, KEYS_MAX};
use crate::pin::aes::Aes;
use crate::pin::tdes::Tdes;

/// The place of an id.
#[derive(Clone, Default)]
enum Place {
    #[default]
    Empty,
    Held(Arc<Slot>),
    /// A reload did not find it any more. Requests that were under way then name it by its id, and those of
    /// connections that have not read their new settings yet. It goes with the first reload after this time.
    Leaving(Arc<Slot>, WallMillis),
}

/// Every key of one moment.
#[derive(Default)]
pub(super) struct Table {
    // The index is the key's id.
    places: Vec<Place>,
    ids: Arc<HashMap<Arc<str>, KeyId>>,
}

/// One named key, and in a grace period the key before it.
pub(super) struct Slot {
    /// What this side encrypts and authenticates with.
    pub(super) newest: Loaded,
    previous: Option<Previous>,
}

/// The key before the newest one.
pub(super) struct Previous {
    pub(super) key: Loaded,
    pub(super) until: WallMillis,
    // Whether anything came under the newest key: the sender has it then.
    proven: AtomicBool,
}

impl Table {
    /// The keys of a file. Names that `before` knows keep their ids; a previous key whose time is over stays out.
    pub(super) fn new(
        file: &KeyFile,
        before: &Self,
        now: WallMillis,
    ) -> Result<Self, KeyFileError> {
        let mut ids = HashMap::clone(&before.ids);
        let mut places: Vec<_> = before.places.iter().map(|place| place.left(now)).collect();
        for key in file.keys() {
            let next = u16::try_from(places.len()).map_err(|_| KeyFileError::TooMany)?;
            let id = *ids.entry(key.name().into()).or_insert(KeyId(next));
            if id.0 == next {
                places.push(Place::Empty);
            }
            if let Some(place) = places.get_mut(usize::from(id.0)) {
                let slot = Slot::new(file, key, before.slot(id).ok(), now);
                *place = Place::Held(Arc::new(slot));
            }
        }
        if places.len() > KEYS_MAX {
            return Err(KeyFileError::TooMany);
        }
        Ok(Self { places, ids: Arc::new(ids) })
    }

    /// The same table with the key `id` as it is in the file now.
    pub(super) fn with(
        &self,
        file: &KeyFile,
        id: KeyId,
        now: WallMillis,
    ) -> Result<Self, KeyFileError> {
        let mut places = self.places.clone();
        if let Some(Place::Held(slot)) = places.get_mut(usize::from(id.0)) {
            let key = file.get(&slot.newest.name)?;
            *slot = Arc::new(Slot::new(file, key, Some(slot), now));
        }
        Ok(Self { places, ids: Arc::clone(&self.ids) })
    }

    /// The id of the key of that name, if it is still there.
    pub(super) fn id(&self, name: &str) -> Option<KeyId> {
        let id = *self.ids.get(name)?;
        matches!(self.places.get(usize::from(id.0)), Some(Place::Held(_))).then_some(id)
    }

    /// Every key with its id, but those that are leaving.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyId, &Slot)> {
        (0..).map(KeyId).zip(&self.places).filter_map(|(id, place)| match place {
            Place::Held(slot) => Some((id, &**slot)),
            Place::Leaving(..) | Place::Empty => None,
        })
    }

    pub(super) fn slot(&self, id: KeyId) -> Result<&Slot, HsmError> {
        match self.places.get(usize::from(id.0)) {
            Some(Place::Held(slot) | Place::Leaving(slot, _)) => Ok(slot),
            Some(Place::Empty) | None => Err(HsmError::KeyUnknown),
        }
    }

    pub(super) fn of_type(&self, id: KeyId, key_type: KeyType) -> Result<&Slot, HsmError> {
        let slot = self.slot(id)?;
        if slot.newest.key_type == key_type { Ok(slot) } else { Err(HsmError::KeyUnusable) }
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

impl Slot {
    /// What is known of the newest key's use stays known, if `before` had the same one.
    fn new(file: &KeyFile, key: &ClearKey, before: Option<&Self>, now: WallMillis) -> Self {
        let newest = Loaded::new(key);
        let known = before.filter(|slot| slot.newest.check_value == newest.check_value);
        let proven = known.is_some_and(Self::is_proven);
        let previous = file.previous(key.name()).filter(|previous| now < previous.until);
        let previous = previous.map(|previous| Previous {
            key: Loaded::new(&previous.key),
            until: previous.until,
            proven: AtomicBool::new(proven),
        });
        Self { newest, previous }
    }

    /// The previous key while its grace period lasts. The clock is read only when there is one.
    pub(super) fn previous(&self, now: impl FnOnce() -> WallMillis) -> Option<&Previous> {
        self.previous.as_ref().filter(|previous| now() < previous.until)
    }

    /// Whether the newest key has taken over: something came under it, or there is none before it.
    pub(super) fn is_proven(&self) -> bool {
        let pending = |previous: &Previous| !previous.proven.load(Ordering::Relaxed);
        !self.previous.as_ref().is_some_and(pending)
    }
}

impl Previous {
    /// Something came under the newest key. Read first: most have nothing to write.
    pub(super) fn prove_newest(&self) {
        if !self.proven.load(Ordering::Relaxed) {
            self.proven.store(true, Ordering::Relaxed);
        }
    }
}

/// One key, ready for its one use.
pub(super) struct Loaded {
    pub(super) name: Arc<str>,
    pub(super) key_type: KeyType,
    pub(super) check_value: CheckValue,
    pub(super) schedule: Schedule,
}

/// What a key is prepared for.
pub(super) enum Schedule {
    /// Blocks of format 4.
    Aes(Aes),
    /// Keys of DUKPT terminals are derived from it.
    Bdk(Box<Bdk>),
    /// Signatures of clients.
    Hmac(Hmac<Sha256>),
    /// MACs.
    Mac(Box<MacKey>),
    /// No command here uses it.
    None,
    /// PINs that came RSA-encrypted.
    Rsa(Box<RsaKey>),
    /// Blocks of the eight-byte formats; PVVs and offsets.
    Tdes {
        /// The cipher.
        cipher: Tdes,
        /// Whether the key has two parts: a PVV takes no other.
        double: bool,
    },
}

impl Loaded {
    pub(super) fn new(key: &ClearKey) -> Self {
        let bytes = key.expose_bytes();
        let schedule = match key.key_type() {
            KeyType::Zpk | KeyType::Pvk => match key.algorithm() {
                Algorithm::Tdes => tdes(bytes),
                Algorithm::Aes => Aes::new(bytes).map(Schedule::Aes),
                Algorithm::Hmac | Algorithm::Rsa => None,
            },
            KeyType::Rsa => RsaKey::new(bytes).map(Box::new).map(Schedule::Rsa),
            KeyType::Signature => Hmac::new_from_slice(bytes).ok().map(Schedule::Hmac),
            KeyType::Bdk => Bdk::new(key.algorithm(), bytes).map(Box::new).map(Schedule::Bdk),
            KeyType::Zak => MacKey::new(key.mac_method(), key.algorithm(), bytes)
                .map(Box::new)
                .map(Schedule::Mac),
            KeyType::Audit | KeyType::PanHash | KeyType::PanSeal | KeyType::Zmk => None,
        };
        Self {
            name: key.name().into(),
            key_type: key.key_type(),
            check_value: key.check_value(),
            schedule: schedule.unwrap_or(Schedule::None),
        }
    }
}

fn tdes(bytes: &[u8]) -> Option<Schedule> {
    if let Ok(double) = bytes.try_into() {
        return Some(Schedule::Tdes { cipher: Tdes::double(double), double: true });
    }
    let triple = bytes.try_into().ok()?;
    Some(Schedule::Tdes { cipher: Tdes::triple(triple), double: false })
}
