//! The software HSM: keys from a sealed file, PIN operations in this process.
//!
//! It keeps the habits of a device: key usage, parity, the format rules of PCI PIN 3-3, the decimalization-table check,
//! a brake on guessing, comparisons in constant time, wiping. It is not certified and cannot be: its keys live in
//! ordinary memory. The table of keys never changes; [`SoftHsm::reload`] makes a new module with the same key ids.
//! **Never here:** an allocation or a key set-up inside a command. Where next: `commands` for [`crate::hsm::Hsm`],
//! `vault` for [`crate::domain::vault::Vault`].

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::domain::clock::Clock;
use crate::domain::pin::{KeyId, Method};
use crate::hsm::exchange::{ExchangeError, unwrap};
use crate::hsm::key::{CheckValue, ClearKey, KeyType, TestKeys};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::lmk::{Lmk, Use};
use crate::limits;
use crate::pin::ibm3624::{DecimalizationTable, Ibm3624Error};

mod commands;
mod fill;
mod lmk_pin;
mod mac;
mod table;
mod throttle;
mod vault;

#[cfg(test)]
mod tests;

pub use throttle::ThrottleLimit;

use fill::Fill;
use lmk_pin::PinSeal;
use table::{Loaded, Schedule};
use throttle::Throttle;
use vault::DataKeys;

/// A module with its keys loaded.
pub struct SoftHsm {
    // The index is the key's id. A key that a reload did not find any more leaves a hole.
    keys: Vec<Option<Loaded>>,
    ids: HashMap<Box<str>, KeyId>,
    pins: PinSeal,
    data: DataKeys,
    random: Fill,
    throttle: Arc<Throttle>,
    files: Option<Files>,
}

/// Where a module was opened from.
#[derive(Clone)]
struct Files {
    keys: PathBuf,
    lmk: PathBuf,
    test_keys: TestKeys,
}

/// A key as `status` pages and the command line show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo<'a> {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: &'a str,
    /// What it is for.
    pub key_type: KeyType,
    /// Its check value.
    pub check_value: CheckValue,
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

/// Why a zone key was not exchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RekeyError {
    /// The wrapped key.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The key file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Only zone keys change hands this way.
    #[error("key {name} is a {key_type}: a partner changes a ZPK or a ZAK, nothing else")]
    NotZoneKey {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
    },
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
        Self::from_files(files, throttle, Vec::new())
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
        Self::build(&file, lmk, data, throttle, Vec::new(), None)
    }

    /// Reads the files again. Keys keep their ids, new names get new ones, and what was counted against guessing stays.
    ///
    /// # Errors
    /// [`KeyFileError`]; a module that was not opened from files gives [`KeyFileError::NoFile`].
    pub fn reload(&self) -> Result<Self, KeyFileError> {
        let files = self.files.clone().ok_or(KeyFileError::NoFile)?;
        let mut names: Vec<Box<str>> = vec![Box::default(); self.keys.len()];
        for (name, id) in &self.ids {
            if let Some(slot) = names.get_mut(usize::from(id.0)) {
                slot.clone_from(name);
            }
        }
        Self::from_files(files, Arc::clone(&self.throttle), names)
    }

    /// Takes a new zone key that a partner sent under the zone master key `zmk`, keeps it in the key file in the place
    /// of the one of that name, and gives the module to serve from now on. It reads and writes files: not for a
    /// request's path.
    ///
    /// # Errors
    /// [`RekeyError`]; file and module stand as they were then.
    pub fn rekey(
        &self,
        name: &str,
        zmk: &str,
        wrapped: &[u8],
        stated: CheckValue,
    ) -> Result<Self, RekeyError> {
        let files = self.files.as_ref().ok_or(KeyFileError::NoFile)?;
        let lmk = Lmk::read(&files.lmk, files.test_keys)?;
        let mut file = KeyFile::read(&files.keys, &lmk, files.test_keys)?;
        let key_type = file.get(name)?.key_type();
        if !matches!(key_type, KeyType::Zpk | KeyType::Zak) {
            return Err(RekeyError::NotZoneKey { name: name.into(), key_type });
        }
        let zmk = file.get(zmk)?;
        file.replace(unwrap(zmk, name, key_type, wrapped, stated, files.test_keys)?)?;
        file.write(&files.keys, &lmk)?;
        Ok(self.reload()?)
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
    pub fn keys(&self) -> impl Iterator<Item = KeyInfo<'_>> {
        (0..).zip(&self.keys).filter_map(|(id, key)| {
            let key = key.as_ref()?;
            let (key_type, check_value) = (key.key_type, key.check_value);
            Some(KeyInfo { id: KeyId(id), name: &key.name, key_type, check_value })
        })
    }

    /// Whether a product's method can work: call it for each product when a configuration is loaded, because a command
    /// answers [`crate::hsm::HsmError::KeyUnusable`] without saying why.
    ///
    /// # Errors
    /// [`MethodError`].
    pub fn check_method(&self, method: &Method) -> Result<(), MethodError> {
        match method {
            Method::LmkPin => Ok(()),
            Method::VisaPvv { pvk, pvki } => {
                if !pvki.is_ascii_digit() {
                    return Err(MethodError::Pvki);
                }
                self.check_pvk(*pvk, |double| double)
            }
            Method::Ibm3624 {
                pvk,
                decimalization_table,
                validation_start,
                validation_length,
                validation_pad,
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
                self.check_pvk(*pvk, |_| true)
            }
        }
    }

    fn check_pvk(&self, id: KeyId, fits: fn(bool) -> bool) -> Result<(), MethodError> {
        let slot = self.keys.get(usize::from(id.0)).and_then(Option::as_ref);
        let key = slot.ok_or(MethodError::KeyUnknown)?;
        match &key.schedule {
            Schedule::Tdes { double, .. } if key.key_type == KeyType::Pvk && fits(*double) => {
                Ok(())
            }
            _ => Err(MethodError::KeyUnusable { name: key.name.clone() }),
        }
    }

    fn from_files(
        files: Files,
        throttle: Arc<Throttle>,
        names: Vec<Box<str>>,
    ) -> Result<Self, KeyFileError> {
        let lmk = Lmk::read(&files.lmk, files.test_keys)?;
        let file = KeyFile::read(&files.keys, &lmk, files.test_keys)?;
        let data = data_keys(&file, |_| None)?;
        Self::build(&file, &lmk, data, throttle, names, Some(files))
    }

    /// `names` are those that have an id already, in order of id.
    fn build(
        file: &KeyFile,
        lmk: &Lmk,
        data: DataKeys,
        throttle: Arc<Throttle>,
        mut names: Vec<Box<str>>,
        files: Option<Files>,
    ) -> Result<Self, KeyFileError> {
        for key in file.keys() {
            if !names.iter().any(|name| **name == *key.name()) {
                names.push(key.name().into());
            }
        }
        if names.len() > limits::KEYS_MAX {
            return Err(KeyFileError::TooMany);
        }
        let keys = names.iter().map(|name| file.get(name).ok().map(Loaded::new)).collect();
        let ids = (0..).zip(names).map(|(id, name)| (name, KeyId(id))).collect();
        let pins = PinSeal::new(&lmk.derive(Use::Pins));
        let random = Fill::new().ok_or(KeyFileError::Random)?;
        Ok(Self { keys, ids, pins, data, random, throttle, files })
    }
}

impl fmt::Debug for SoftHsm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftHsm({} keys)", self.ids.len())
    }
}

fn new_throttle(
    limit: ThrottleLimit,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Throttle>, KeyFileError> {
    Throttle::new(limit, clock).map(Arc::new).ok_or(KeyFileError::Random)
}

/// The vault's keys: the one key of each type in the file, else what `otherwise` gives.
fn data_keys(
    file: &KeyFile,
    otherwise: impl Fn(KeyType) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<DataKeys, KeyFileError> {
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
    let [hash, seal, audit] = [find(hash)?, find(seal)?, find(audit)?];
    // `ClearKey` lets each of the three have 32 bytes only.
    let missing = KeyFileError::Missing { key_type: KeyType::PanSeal, name: "pan-seal" };
    DataKeys::new(&hash, &seal, &audit).ok_or(missing)
}
