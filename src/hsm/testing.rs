//! [`Hooked`]: the software HSM, and what a test wants to happen before some of its commands.
//!
//! **Never here:** a command.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::chip::ScriptCommand;
use crate::domain::pan::Account12;
use crate::domain::pin::{
    BlockFormat, KeyId, LmkPin, Method, PinRules, PresentedPin, Reference, RsaPadding, ZonePin,
};
use crate::hsm::key::CheckValue;
use crate::hsm::script::Script;
use crate::hsm::soft::SoftHsm;
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, ImportRefused, Imported, Verdict};

/// A command that is about to be done.
pub(crate) enum Asked<'a> {
    Verify(&'a PresentedPin),
    Mac(&'a [u8]),
    IssuerScript,
}

/// Refuses the command, lets it be done, or panics as a bug would.
type Hook = Box<dyn Fn(Asked<'_>) -> Result<(), HsmError> + Send + Sync>;

/// The software HSM behind a hook.
pub(crate) struct Hooked {
    inner: Arc<SoftHsm>,
    hook: Hook,
}

impl Hooked {
    pub(crate) fn new(
        inner: Arc<SoftHsm>,
        hook: impl Fn(Asked<'_>) -> Result<(), HsmError> + Send + Sync + 'static,
    ) -> Self {
        Self { inner, hook: Box::new(hook) }
    }
}

impl Hsm for Hooked {
    fn key(&self, name: &str) -> Option<KeyId> {
        self.inner.key(name)
    }

    fn name_of(&self, key: KeyId) -> Option<Arc<str>> {
        self.inner.name_of(key)
    }

    async fn to_lmk(&self, pin: &ZonePin, account: &Account12) -> Result<LmkPin, HsmError> {
        self.inner.to_lmk(pin, account).await
    }

    async fn from_lmk(
        &self,
        pin: &LmkPin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> Result<ZonePin, HsmError> {
        self.inner.from_lmk(pin, to_key, to_format, account).await
    }

    async fn verify(
        &self,
        current: &PresentedPin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Verdict, HsmError> {
        (self.hook)(Asked::Verify(current))?;
        self.inner.verify(current, account, method, reference).await
    }

    async fn derive(
        &self,
        new: &PresentedPin,
        account: &Account12,
        method: &Method,
        rules: &PinRules,
        current: &Reference,
    ) -> Result<Reference, HsmError> {
        self.inner.derive(new, account, method, rules, current).await
    }

    async fn verify_and_derive(&self, change: &Change<'_>) -> Result<ChangeVerdict, HsmError> {
        self.inner.verify_and_derive(change).await
    }

    async fn translate(
        &self,
        pin: &ZonePin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> Result<ZonePin, HsmError> {
        self.inner.translate(pin, to_key, to_format, account).await
    }

    async fn issuer_script(&self, script: &Script<'_>) -> Result<ScriptCommand, HsmError> {
        (self.hook)(Asked::IssuerScript)?;
        self.inner.issuer_script(script).await
    }

    async fn encrypt_pin(
        &self,
        digits: Zeroizing<Vec<u8>>,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        self.inner.encrypt_pin(digits, account).await
    }

    async fn decrypt_pin(
        &self,
        key: KeyId,
        cipher: &[u8],
        padding: RsaPadding,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        self.inner.decrypt_pin(key, cipher, padding, account).await
    }

    async fn random_pin(
        &self,
        account: &Account12,
        digits: u8,
        rules: &PinRules,
    ) -> Result<LmkPin, HsmError> {
        self.inner.random_pin(account, digits, rules).await
    }

    async fn reveal(
        &self,
        pin: &LmkPin,
        account: &Account12,
    ) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        self.inner.reveal(pin, account).await
    }

    async fn mac(&self, key: KeyId, message: &[u8]) -> Result<[u8; 8], HsmError> {
        (self.hook)(Asked::Mac(message))?;
        self.inner.mac(key, message).await
    }

    async fn verify_mac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        self.inner.verify_mac(key, message, expected).await
    }

    async fn verify_hmac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        self.inner.verify_hmac(key, message, expected).await
    }

    async fn check_value(&self, key: KeyId) -> Result<[u8; 3], HsmError> {
        self.inner.check_value(key).await
    }

    async fn import_key(
        &self,
        key: KeyId,
        zmk: KeyId,
        wrapped: &[u8],
        stated: Option<CheckValue>,
        grace: Duration,
    ) -> Result<Imported, ImportRefused> {
        self.inner.import_key(key, zmk, wrapped, stated, grace).await
    }

    async fn diagnose(&self) -> Result<(), HsmError> {
        self.inner.diagnose().await
    }
}
