//! [`Module`]: the HSM of the binary, either family behind one type, and [`KeyBook`]: its keys by name, as they are or
//! as they would be after a reload.
//!
//! Commands go by `match`, so that those of the software family allocate nothing; those of devices wait for a network
//! anyway, and are boxed to keep requests small. **Never here:** what a command does.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::chip::ScriptCommand;
use crate::domain::pan::{Account12, Pan, PanHash, SealedPan};
use crate::domain::pin::{
    BlockFormat, KeyId, LmkPin, Method, PinRules, PresentedPin, Reference, RsaPadding, ZonePin,
};
use crate::domain::vault::{Vault, VaultError};
use crate::hsm::key::CheckValue;
use crate::hsm::keyfile::KeyFileError;
use crate::hsm::payshield::client::{
    self, DeviceStatus, DrainRefused, KeyPlan, OpenError, PayShield, StartError, UnfitProduct,
};
use crate::hsm::script::Script;
use crate::hsm::soft::{self, KeyInfo, MethodError, SoftHsm};
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, ImportRefused, Imported, Verdict};

/// The HSM of a switch.
#[derive(Debug)]
pub enum Module {
    /// In this process.
    Soft(Arc<SoftHsm>),
    /// payShield devices, with a software module beside them for what no device does.
    PayShield(Arc<PayShield>),
}

/// Keys that were read again and are not in force yet.
pub enum Reread {
    /// Of the software family.
    Soft(Box<soft::Reread>),
    /// Of devices.
    PayShield(Box<client::Reread>),
}

/// Why a product cannot work with this HSM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProductError {
    /// The software family says so.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// Devices cannot keep it.
    #[error(transparent)]
    Unfit(#[from] UnfitProduct),
}

/// Why keys were not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The key file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Keys of devices.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A device says that a key is another.
    #[error(transparent)]
    Device(#[from] StartError),
    /// Files of the other family.
    #[error("hsm.kind changes only with a restart")]
    Kind,
}

/// Keys by name, for checking a configuration against them.
pub trait KeyBook {
    /// The id of a key.
    fn key(&self, name: &str) -> Option<KeyId>;

    /// Every key.
    fn keys(&self) -> Vec<KeyInfo>;

    /// Whether a product can work.
    ///
    /// # Errors
    /// [`ProductError`] says why not.
    fn check_product(&self, method: &Method, rules: &PinRules) -> Result<(), ProductError>;
}

impl KeyBook for Module {
    fn key(&self, name: &str) -> Option<KeyId> {
        Hsm::key(self, name)
    }

    fn keys(&self) -> Vec<KeyInfo> {
        match self {
            Self::Soft(hsm) => hsm.keys(),
            Self::PayShield(hsm) => hsm.keys(),
        }
    }

    fn check_product(&self, method: &Method, rules: &PinRules) -> Result<(), ProductError> {
        match self {
            Self::Soft(hsm) => Ok(hsm.check_method(method)?),
            Self::PayShield(hsm) => Ok(hsm.check_product(method, rules)?),
        }
    }
}

impl KeyBook for Reread {
    fn key(&self, name: &str) -> Option<KeyId> {
        match self {
            Self::Soft(reread) => reread.module().key(name),
            Self::PayShield(reread) => reread.key(name),
        }
    }

    fn keys(&self) -> Vec<KeyInfo> {
        match self {
            Self::Soft(reread) => reread.module().keys(),
            Self::PayShield(reread) => reread.keys(),
        }
    }

    fn check_product(&self, method: &Method, rules: &PinRules) -> Result<(), ProductError> {
        match self {
            Self::Soft(reread) => Ok(reread.module().check_method(method)?),
            Self::PayShield(reread) => Ok(reread.check_product(method, rules)?),
        }
    }
}

impl Module {
    /// The software module: all of it, or what is beside the devices.
    #[must_use]
    pub fn soft(&self) -> &Arc<SoftHsm> {
        match self {
            Self::Soft(hsm) => hsm,
            Self::PayShield(hsm) => hsm.soft(),
        }
    }

    /// Its word in `/status`.
    #[must_use]
    pub const fn family(&self) -> &'static str {
        match self {
            Self::Soft(_) => "soft",
            Self::PayShield(_) => "payshield",
        }
    }

    /// The devices; none of the software family.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceStatus> {
        match self {
            Self::Soft(_) => Vec::new(),
            Self::PayShield(hsm) => hsm.devices(),
        }
    }

    /// As [`PayShield::drain`].
    ///
    /// # Errors
    /// [`DrainRefused`]; always of the software family.
    pub fn drain(&self, device: &str, force: bool) -> Result<usize, DrainRefused> {
        match self {
            Self::Soft(_) => Err(DrainRefused::NoDevices),
            Self::PayShield(hsm) => hsm.drain(device, force),
        }
    }

    /// As [`PayShield::resume`].
    ///
    /// # Errors
    /// [`DrainRefused`].
    pub fn resume(&self, device: &str) -> Result<(), DrainRefused> {
        match self {
            Self::Soft(_) => Err(DrainRefused::NoDevices),
            Self::PayShield(hsm) => hsm.resume(device),
        }
    }

    /// Connects to the devices, if there are any. Keep what comes back for as long as they are needed.
    ///
    /// # Errors
    /// As [`PayShield::start`].
    pub async fn start(&self) -> Result<Option<client::Running>, StartError> {
        match self {
            Self::Soft(_) => Ok(None),
            Self::PayShield(hsm) => hsm.start().await.map(Some),
        }
    }

    /// Reads keys again without using them yet. `plan` has those of devices.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn reread(&self, plan: Option<&KeyPlan>) -> Result<Reread, ReloadError> {
        match (self, plan) {
            (Self::Soft(hsm), None) => Ok(Reread::Soft(Box::new(hsm.reread()?))),
            (Self::PayShield(hsm), Some(plan)) => {
                Ok(Reread::PayShield(Box::new(hsm.reread(plan, hsm.soft().reread()?)?)))
            }
            (Self::Soft(_), Some(_)) | (Self::PayShield(_), None) => Err(ReloadError::Kind),
        }
    }

    /// Has devices check keys that were read again.
    ///
    /// # Errors
    /// [`ReloadError::Device`].
    pub async fn examine(&self, reread: &Reread) -> Result<(), ReloadError> {
        match (self, reread) {
            (Self::PayShield(hsm), Reread::PayShield(reread)) => Ok(hsm.examine(reread).await?),
            (Self::Soft(_), _) | (Self::PayShield(_), Reread::Soft(_)) => Ok(()),
        }
    }

    /// Serves from keys that were read again.
    ///
    /// # Errors
    /// [`ReloadError`]: everything stands as it was.
    pub fn adopt(&self, reread: &Reread) -> Result<(), ReloadError> {
        match (self, reread) {
            (Self::Soft(hsm), Reread::Soft(reread)) => Ok(hsm.adopt(reread)?),
            (Self::PayShield(hsm), Reread::PayShield(reread)) => Ok(hsm.adopt(reread)?),
            (Self::Soft(_), Reread::PayShield(_)) | (Self::PayShield(_), Reread::Soft(_)) => {
                Err(ReloadError::Kind)
            }
        }
    }
}

/// One command of either family.
macro_rules! either {
    ($module:expr, $hsm:ident => $command:expr) => {
        match $module {
            Module::Soft($hsm) => $command.await,
            Module::PayShield($hsm) => Box::pin($command).await,
        }
    };
}

impl Hsm for Module {
    fn key(&self, name: &str) -> Option<KeyId> {
        match self {
            Self::Soft(hsm) => hsm.key(name),
            Self::PayShield(hsm) => hsm.key(name),
        }
    }

    fn name_of(&self, key: KeyId) -> Option<Arc<str>> {
        match self {
            Self::Soft(hsm) => hsm.name_of(key),
            Self::PayShield(hsm) => hsm.name_of(key),
        }
    }

    async fn to_lmk(&self, pin: &ZonePin, account: &Account12) -> Result<LmkPin, HsmError> {
        either!(self, hsm => hsm.to_lmk(pin, account))
    }

    async fn from_lmk(
        &self,
        pin: &LmkPin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> Result<ZonePin, HsmError> {
        either!(self, hsm => hsm.from_lmk(pin, to_key, to_format, account))
    }

    async fn verify(
        &self,
        current: &PresentedPin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Verdict, HsmError> {
        either!(self, hsm => hsm.verify(current, account, method, reference))
    }

    async fn derive(
        &self,
        new: &PresentedPin,
        account: &Account12,
        method: &Method,
        rules: &PinRules,
        current: &Reference,
    ) -> Result<Reference, HsmError> {
        either!(self, hsm => hsm.derive(new, account, method, rules, current))
    }

    async fn verify_and_derive(&self, change: &Change<'_>) -> Result<ChangeVerdict, HsmError> {
        either!(self, hsm => hsm.verify_and_derive(change))
    }

    async fn translate(
        &self,
        pin: &ZonePin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> Result<ZonePin, HsmError> {
        either!(self, hsm => hsm.translate(pin, to_key, to_format, account))
    }

    async fn issuer_script(&self, script: &Script<'_>) -> Result<ScriptCommand, HsmError> {
        either!(self, hsm => hsm.issuer_script(script))
    }

    async fn encrypt_pin(
        &self,
        digits: Zeroizing<Vec<u8>>,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        either!(self, hsm => hsm.encrypt_pin(digits, account))
    }

    async fn decrypt_pin(
        &self,
        key: KeyId,
        cipher: &[u8],
        padding: RsaPadding,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        either!(self, hsm => hsm.decrypt_pin(key, cipher, padding, account))
    }

    async fn random_pin(
        &self,
        account: &Account12,
        digits: u8,
        rules: &PinRules,
    ) -> Result<LmkPin, HsmError> {
        either!(self, hsm => hsm.random_pin(account, digits, rules))
    }

    async fn reveal(
        &self,
        pin: &LmkPin,
        account: &Account12,
    ) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        either!(self, hsm => hsm.reveal(pin, account))
    }

    async fn mac(&self, key: KeyId, message: &[u8]) -> Result<[u8; 8], HsmError> {
        either!(self, hsm => hsm.mac(key, message))
    }

    async fn verify_mac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        either!(self, hsm => hsm.verify_mac(key, message, expected))
    }

    async fn verify_hmac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        either!(self, hsm => hsm.verify_hmac(key, message, expected))
    }

    async fn check_value(&self, key: KeyId) -> Result<CheckValue, HsmError> {
        either!(self, hsm => hsm.check_value(key))
    }

    async fn import_key(
        &self,
        key: KeyId,
        zmk: KeyId,
        wrapped: &[u8],
        stated: Option<CheckValue>,
        grace: Duration,
    ) -> Result<Imported, ImportRefused> {
        either!(self, hsm => hsm.import_key(key, zmk, wrapped, stated, grace))
    }

    async fn diagnose(&self) -> Result<(), HsmError> {
        either!(self, hsm => hsm.diagnose())
    }
}

impl Vault for Module {
    fn pan_hash(&self, pan: &Pan) -> PanHash {
        self.soft().pan_hash(pan)
    }

    fn seal_pan(&self, pan: &Pan) -> Result<SealedPan, VaultError> {
        self.soft().seal_pan(pan)
    }

    fn open_pan(&self, sealed: &SealedPan) -> Result<Pan, VaultError> {
        self.soft().open_pan(sealed)
    }

    fn chain(&self, before: &[u8; 32], record: &[u8]) -> [u8; 32] {
        self.soft().chain(before, record)
    }
}
