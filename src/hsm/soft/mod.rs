//! The software HSM: keys from a sealed file, PIN operations in this process.
//!
//! It keeps the habits of a device: key usage, parity, the format rules of PCI PIN 3-3, the decimalization-table check,
//! a brake on guessing, comparisons in constant time, wiping. It is not certified and cannot be: its keys live in
//! ordinary memory. Zone keys change in place, by [`SoftHsm::reload`] and by an exchange; the local master key and the
//! keys of the vault never do. **Never here:** an allocation or a key set-up inside a command. Where next: `commands`
//! for [`crate::hsm::Hsm`], `ring` for the table of keys, `rsa` for PINs under public keys, `vault` for
//! [`crate::domain::vault::Vault`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use zeroize::Zeroizing;

use crate::domain::clock::{Clock, WallMillis};
use crate::domain::pan::Account12;
use crate::domain::pin::{KeyId, Method};
use crate::hsm::key::{CheckValue, ClearKey, KeyType, TestKeys};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::lmk::{Lmk, Use};
use crate::hsm::{HsmError, ImportRefused, Imported};
use crate::pin::ibm3624::{DecimalizationTable, Ibm3624Error};

mod blocks;
mod commands;
mod dukpt;
mod fill;
pub(crate) mod lmk_pin;
mod mac;
mod ring;
mod rsa;
mod script;
mod table;
mod throttle;
mod vault;

#[cfg(test)]
mod tests;

pub use throttle::ThrottleLimit;

use fill::Fill;
use lmk_pin::PinSeal;
use ring::{Exchange, Files, Keyring};
use table::{Schedule, Table};
use throttle::Throttle;
use vault::DataKeys;

/// A module with its keys loaded.
pub struct SoftHsm {
    // Shared, because an exchange works on it in a thread of its own.
    ring: Arc<Keyring>,
    pins: PinSeal,
    data: DataKeys,
    random: Fill,
    throttle: Arc<Throttle>,
    // Names what a running module cannot change: its LMK and the keys of its vault.
    foundation: [u8; 32],
}

/// Where wrong PINs of one account are counted, for devices that work beside this module.
#[derive(Clone, Copy)]
pub(in crate::hsm) struct Brake(throttle::Places);

/// Files that were read again and are not in force yet.
pub struct Reread {
    module: SoftHsm,
    before: Arc<Table>,
}

impl Reread {
    /// The module as it would be: for checks against the new keys.
    #[must_use]
    pub fn module(&self) -> &SoftHsm {
        &self.module
    }
}

/// A key as `status` pages and the command line show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is for.
    pub key_type: KeyType,
    /// Its check value.
    pub check_value: CheckValue,
    /// The key before it, in a grace period.
    pub previous: Option<PreviousInfo>,
}

/// A key that is still accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousInfo {
    /// Its check value.
    pub check_value: CheckValue,
    /// End of the grace period.
    pub until: WallMillis,
    /// Whether nothing came under the newer key yet.
    pub newer_unused: bool,
}

/// Why a product's PIN method cannot work with these keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// No such key.
    #[error("its PVK is not in the key file: import it and reload")]
    KeyUnknown,
    /// A key of another type, or of another length.
    #[error("key {name} is no double-length PVK: name a key of type PVK, of 16 bytes for a PVV")]
    KeyUnusable {
        /// Key.
        name: Box<str>,
    },
    /// A parameter of IBM 3624.
    #[error("IBM 3624: {0}")]
    Ibm3624(#[from] Ibm3624Error),
    /// The key index.
    #[error("the PVV key index is one digit 0 to 9")]
    Pvki,
}

impl SoftHsm {
    /// Opens a sealed key file with its local master key, under the default [`ThrottleLimit`].
    ///
    /// # Errors
    /// [`KeyFileError`] names the file and the key, and says what to do.
    pub fn open(
        key_file: &Path,
        lmk_file: &Path,
        test_keys: TestKeys,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyFileError> {
        let files = Files { keys: key_file.into(), lmk: lmk_file.into(), test_keys };
        let throttle = new_throttle(ThrottleLimit::default(), clock)?;
        Self::from_files(files, throttle, &Table::default())
    }

    /// Loads clear keys: for the demo and for tests. Consent to published keys was given where each was made.
    ///
    /// A vault key that is not among them is derived from the local master key.
    ///
    /// # Errors
    /// [`KeyFileError::Duplicate`], [`KeyFileError::TooMany`], [`KeyFileError::Random`].
    pub fn from_clear(
        keys: impl IntoIterator<Item = ClearKey>,
        lmk: &Lmk,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyFileError> {
        let mut file = KeyFile::empty();
        keys.into_iter().try_for_each(|key| file.add(key))?;
        let derived = |purpose| Some(Zeroizing::new(lmk.derive(purpose).to_vec()));
        let data = data_keys(&file, |key_type| match key_type {
            KeyType::PanHash => derived(Use::PanHash),
            KeyType::PanSeal => derived(Use::PanSeal),
            _ => derived(Use::Audit),
        })?;
        let throttle = new_throttle(ThrottleLimit::default(), clock)?;
        Self::build(&file, lmk, &data, throttle, &Table::default(), None)
    }

    /// Reads the files again and serves from them. Keys keep their ids, new names get new ones, and what was counted
    /// against guessing stays.
    ///
    /// # Errors
    /// [`KeyFileError`], and nothing changed then; a module that was not opened from files gives
    /// [`KeyFileError::NoFile`].
    pub fn reload(&self) -> Result<(), KeyFileError> {
        self.adopt(&self.reread()?)
    }

    /// Reads the files again without serving from them yet.
    ///
    /// # Errors
    /// As [`SoftHsm::reload`].
    pub fn reread(&self) -> Result<Reread, KeyFileError> {
        let before = self.ring.table();
        let files = self.ring.files()?.clone();
        let module = Self::from_files(files, Arc::clone(&self.throttle), &before)?;
        if module.foundation != self.foundation {
            return Err(KeyFileError::NeedsRestart);
        }
        Ok(Reread { module, before })
    }

    /// Serves from the keys that were read again.
    ///
    /// # Errors
    /// [`KeyFileError::Exchanged`] when a key changed since.
    pub fn adopt(&self, reread: &Reread) -> Result<(), KeyFileError> {
        self.ring.swap(&reread.before, reread.module.ring.table())
    }

    /// [`crate::hsm::Hsm::import_key`] with names. It reads and writes files: not for a request's path.
    ///
    /// # Errors
    /// [`ImportRefused`]; file and module stand as they were then.
    pub fn rekey(
        &self,
        name: &str,
        zmk: &str,
        wrapped: &[u8],
        stated: Option<CheckValue>,
        grace: Duration,
    ) -> Result<Imported, ImportRefused> {
        let keys = self.ring.load();
        let id = |name| keys.id(name).ok_or(ImportRefused::KeyUnknown);
        self.ring.exchange(&self.exchange(id(name)?, id(zmk)?, wrapped, stated, grace))
    }

    fn exchange(
        &self,
        key: KeyId,
        zmk: KeyId,
        wrapped: &[u8],
        stated: Option<CheckValue>,
        grace: Duration,
    ) -> Exchange {
        let wrapped = Zeroizing::new(wrapped.to_vec());
        Exchange { key, zmk, wrapped, stated, grace, now: self.throttle.clock().wall() }
    }

    /// The same module with another limit and nothing counted yet.
    ///
    /// # Errors
    /// [`KeyFileError::Random`].
    pub fn with_throttle(mut self, limit: ThrottleLimit) -> Result<Self, KeyFileError> {
        self.throttle = new_throttle(limit, Arc::clone(self.throttle.clock()))?;
        Ok(self)
    }

    /// Its keys, in order of id.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyInfo> {
        let keys = self.ring.load();
        let now = || self.throttle.clock().wall();
        let info = |(id, slot): (KeyId, &table::Slot)| KeyInfo {
            id,
            name: Arc::clone(&slot.newest.name),
            key_type: slot.newest.key_type,
            check_value: slot.newest.check_value,
            previous: slot.previous(now).map(|previous| PreviousInfo {
                check_value: previous.key.check_value,
                until: previous.until,
                newer_unused: !slot.is_proven(),
            }),
        };
        keys.iter().map(info).collect()
    }

    /// Where wrong PINs of an account are counted, unless it has had too many.
    pub(in crate::hsm) fn brake(&self, account: &Account12) -> Result<Brake, HsmError> {
        let places = self.throttle.places(account);
        if self.throttle.is_closed(places) { Err(HsmError::Throttled) } else { Ok(Brake(places)) }
    }

    /// Counts a wrong PIN.
    pub(in crate::hsm) fn count_wrong(&self, brake: Brake) {
        self.throttle.count_wrong(brake.0);
    }

    /// Whether a product's method can work: call it for each product when a configuration is loaded, because a command
    /// answers [`crate::hsm::HsmError::KeyUnusable`] without saying why.
    ///
    /// # Errors
    /// [`MethodError`].
    pub fn check_method(&self, method: &Method) -> Result<(), MethodError> {
        Self::check_parameters(method)?;
        match method {
            Method::LmkPin => Ok(()),
            Method::VisaPvv { pvk, .. } => self.check_pvk(*pvk, |double| double),
            Method::Ibm3624 { pvk, .. } => self.check_pvk(*pvk, |_| true),
        }
    }

    /// The part of [`SoftHsm::check_method`] that no key decides.
    ///
    /// # Errors
    /// [`MethodError`].
    pub fn check_parameters(method: &Method) -> Result<(), MethodError> {
        match method {
            Method::LmkPin => Ok(()),
            Method::VisaPvv { pvki, .. } if pvki.is_ascii_digit() => Ok(()),
            Method::VisaPvv { .. } => Err(MethodError::Pvki),
            Method::Ibm3624 {
                decimalization_table,
                validation_start,
                validation_length,
                validation_pad,
                ..
            } => {
                DecimalizationTable::new(decimalization_table)?;
                let end = u16::from(*validation_start) + u16::from(*validation_length);
                // Account numbers have at most 19 digits, a block sixteen.
                if end > 19 || *validation_length > 16 {
                    return Err(Ibm3624Error::ValidationRange.into());
                }
                if !validation_pad.is_ascii_hexdigit() {
                    return Err(Ibm3624Error::ValidationPad.into());
                }
                Ok(())
            }
        }
    }

    fn check_pvk(&self, id: KeyId, fits: fn(bool) -> bool) -> Result<(), MethodError> {
        let keys = self.ring.load();
        let key = &keys.slot(id).map_err(|_| MethodError::KeyUnknown)?.newest;
        match &key.schedule {
            Schedule::Tdes { double, .. } if key.key_type == KeyType::Pvk && fits(*double) => {
                Ok(())
            }
            _ => Err(MethodError::KeyUnusable { name: (&*key.name).into() }),
        }
    }

    fn from_files(
        files: Files,
        throttle: Arc<Throttle>,
        before: &Table,
    ) -> Result<Self, KeyFileError> {
        let lmk = Lmk::read(&files.lmk, files.test_keys)?;
        let file = KeyFile::read(&files.keys, &lmk, files.test_keys)?;
        let data = data_keys(&file, |_| None)?;
        Self::build(&file, &lmk, &data, throttle, before, Some(files))
    }

    /// `before` says which names have an id already.
    fn build(
        file: &KeyFile,
        lmk: &Lmk,
        data: &VaultKeys,
        throttle: Arc<Throttle>,
        before: &Table,
        files: Option<Files>,
    ) -> Result<Self, KeyFileError> {
        let table = Table::new(file, before, throttle.clock().wall())?;
        let pins = PinSeal::new(&lmk.derive(Use::Pins));
        let random = Fill::new().ok_or(KeyFileError::Random)?;
        let foundation = foundation(lmk, data);
        let [hash, seal, audit] = data;
        // `ClearKey` lets each of the three have 32 bytes only.
        let missing = KeyFileError::Missing { key_type: KeyType::PanSeal, name: "pan-seal" };
        let data = DataKeys::new(hash, seal, audit).ok_or(missing)?;
        let ring = Arc::new(Keyring::new(table, files));
        Ok(Self { ring, pins, data, random, throttle, foundation })
    }
}

impl fmt::Debug for SoftHsm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftHsm({} keys)", self.ring.load().iter().count())
    }
}

fn new_throttle(
    limit: ThrottleLimit,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Throttle>, KeyFileError> {
    Throttle::new(limit, clock).map(Arc::new).ok_or(KeyFileError::Random)
}

/// Keys of the vault in the order of [`KeyType::DATA`].
type VaultKeys = [Zeroizing<Vec<u8>>; 3];

/// A value that names the LMK and the vault's keys and reveals nothing of them.
fn foundation(lmk: &Lmk, data: &VaultKeys) -> [u8; 32] {
    // HMAC takes keys of any length, so the error cannot occur.
    let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(&lmk.derive(Use::Identity)[..]) else {
        return [0; 32];
    };
    for key in data {
        mac.update(key);
    }
    mac.finalize().into_bytes().into()
}

/// The vault's keys: the one key of each type in the file, else what `otherwise` gives.
fn data_keys(
    file: &KeyFile,
    otherwise: impl Fn(KeyType) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<VaultKeys, KeyFileError> {
    let find = |(key_type, name): (KeyType, &'static str)| {
        let mut of_type = file.keys().iter().filter(|key| key.key_type() == key_type);
        match (of_type.next(), of_type.next()) {
            (Some(_), Some(second)) => {
                Err(KeyFileError::OneOfType { key_type, name: second.name().into() })
            }
            (Some(key), None) => Ok(Zeroizing::new(key.expose_bytes().to_vec())),
            (None, _) => otherwise(key_type).ok_or(KeyFileError::Missing { key_type, name }),
        }
    };
    let [hash, seal, audit] = KeyType::DATA;
    Ok([find(hash)?, find(seal)?, find(audit)?])
}
