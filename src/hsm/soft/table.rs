//! Loaded keys with their schedules prepared: a command finds its key by one index and never sets one up.
//!
//! A [`Table`] never changes; an exchange makes another one that shares every [`Slot`] but one. **Never here:** clear
//! key bytes after [`Loaded::new`] returned; files (`ring`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

use crate::domain::clock::WallMillis;
use crate::domain::pin::KeyId;
use crate::hsm::HsmError;
use crate::hsm::key::{Algorithm, CheckValue, ClearKey, KeyType};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::names::{Names, NoPlace};
use crate::hsm::soft::dukpt::Bdk;
use crate::hsm::soft::mac::MacKey;
use crate::hsm::soft::rsa::RsaKey;
use crate::pin::aes::Aes;
use crate::pin::tdes::Tdes;

/// Every key of one moment.
#[derive(Default)]
pub(super) struct Table {
    names: Names<Slot>,
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
        let mut names = before.names.left(now);
        for key in file.keys() {
            let put = names.put(key.name(), |known| Slot::new(file, key, known, now));
            put.map_err(|no_place| match no_place {
                NoPlace::TooMany => KeyFileError::TooMany,
                NoPlace::Twice => KeyFileError::Duplicate { name: key.name().into() },
            })?;
        }
        Ok(Self { names })
    }

    /// The same table with the key `id` as it is in the file now.
    pub(super) fn with(
        &self,
        file: &KeyFile,
        id: KeyId,
        now: WallMillis,
    ) -> Result<Self, KeyFileError> {
        let before = self.slot(id).map_err(|_| KeyFileError::Exchanged)?;
        let key = file.get(&before.newest.name)?;
        Ok(Self { names: self.names.with(id, Slot::new(file, key, Some(before), now)) })
    }

    /// The id of the key of that name, if it is still there.
    pub(super) fn id(&self, name: &str) -> Option<KeyId> {
        self.names.id(name)
    }

    /// Every key with its id, but those that are leaving.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyId, &Slot)> {
        self.names.iter().map(|(id, slot)| (id, &**slot))
    }

    pub(super) fn slot(&self, id: KeyId) -> Result<&Slot, HsmError> {
        self.names.get(id).map(|slot| &**slot)
    }

    pub(super) fn of_type(&self, id: KeyId, key_type: KeyType) -> Result<&Slot, HsmError> {
        let slot = self.slot(id)?;
        if slot.newest.key_type == key_type { Ok(slot) } else { Err(HsmError::KeyUnusable) }
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
    /// Blocks of the eight-byte formats; PVVs and offsets; keys of cards are derived from it.
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
            KeyType::MkAc | KeyType::MkSmc | KeyType::MkSmi | KeyType::Pvk | KeyType::Zpk => {
                match key.algorithm() {
                    Algorithm::Tdes => tdes(bytes),
                    Algorithm::Aes => Aes::new(bytes).map(Schedule::Aes),
                    Algorithm::Hmac | Algorithm::Rsa => None,
                }
            }
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
