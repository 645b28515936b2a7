//! The only place with clear PINs and clear keys.
//!
//! [`Hsm`] speaks in PIN operations, not in bytes. Two families implement it, [`soft`] in this process and
//! [`payshield::client`] over devices; [`module`] is either of them. **Never here:** card records, try counters,
//! response codes. Where next: `soft` for the operations, `key` for the sealed key file, `crate::pin` for the
//! arithmetic that only `soft` may call.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::chip::ScriptCommand;
use crate::domain::pan::Account12;
use crate::domain::pin::{
    BlockFormat, KeyId, LmkPin, Method, PinRules, PresentedPin, Reference, RsaPadding, ZonePin,
};
use crate::hsm::key::{CheckValue, KeyError, KeyType};
use crate::hsm::keyfile::KeyFileError;
use crate::hsm::script::Script;

mod arc;
pub mod exchange;
pub mod key;
pub mod keyfile;
pub mod lmk;
pub mod modes;
pub mod module;
mod names;
pub mod payshield;
pub mod published;
pub mod script;
pub mod soft;
#[cfg(test)]
pub(crate) mod testing;
pub mod tr31;

/// PIN operations of a hardware security module.
///
/// Every command names its keys by [`KeyId`]; none takes or gives a clear PIN except `encrypt_pin` and `reveal`.
/// All but `encrypt_pin` and `import_key` are pure: safe to repeat on another device.
///
/// For a grace period after [`Hsm::import_key`] the key before the new one is good as well: for blocks and MACs that
/// come in, never for those that go out.
pub trait Hsm: Send + Sync + 'static {
    /// The id of a configured key.
    fn key(&self, name: &str) -> Option<KeyId>;

    /// The name of a configured key: for the audit and the log.
    fn name_of(&self, key: KeyId) -> Option<Arc<str>>;

    /// Translates a block from its zone key to the local master key (payShield JC/JE).
    ///
    /// # Errors
    /// [`HsmError`]; a block that holds no PIN is [`HsmError::NoPinInBlock`].
    fn to_lmk(
        &self,
        pin: &ZonePin,
        account: &Account12,
    ) -> impl Future<Output = Result<LmkPin, HsmError>> + Send;

    /// Translates a PIN from the local master key to a zone key (payShield JG).
    ///
    /// # Errors
    /// [`HsmError::TranslationForbidden`] for a format that is not bound to the account, as [`Hsm::translate`].
    #[expect(clippy::wrong_self_convention, reason = "the counterpart of to_lmk")]
    fn from_lmk(
        &self,
        pin: &LmkPin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> impl Future<Output = Result<ZonePin, HsmError>> + Send;

    /// Verifies the current PIN against `reference` (payShield EC/EA/BE; BG and their like for a PIN under the LMK).
    ///
    /// # Errors
    /// [`HsmError`]. A wrong PIN is no error but [`Verdict::Wrong`].
    fn verify(
        &self,
        current: &PresentedPin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> impl Future<Output = Result<Verdict, HsmError>> + Send;

    /// Makes the reference of a new PIN, if the rules accept it (payShield FW/BK, for a PIN under the LMK DG/DE).
    /// `current` is the card's reference, for the rule that the PIN must be another one; [`Reference::None`] for a card
    /// without one.
    ///
    /// # Errors
    /// [`HsmError`]; a PIN the rules refuse is [`HsmError::NewPinUnacceptable`].
    fn derive(
        &self,
        new: &PresentedPin,
        account: &Account12,
        method: &Method,
        rules: &PinRules,
        current: &Reference,
    ) -> impl Future<Output = Result<Reference, HsmError>> + Send;

    /// Verifies the current PIN and, only if it is right, makes the reference of the new one (payShield CU/DU).
    ///
    /// # Errors
    /// [`HsmError`]. A block that holds no PIN, be it the new one, is told before any verdict and is no wrong PIN.
    /// Rules of the new PIN are told only to who knew the current one.
    fn verify_and_derive(
        &self,
        change: &Change<'_>,
    ) -> impl Future<Output = Result<ChangeVerdict, HsmError>> + Send;

    /// Translates a block from one zone key to another (payShield CC/CA), by the rules of PCI PIN 3-3.
    ///
    /// # Errors
    /// [`HsmError::TranslationForbidden`] where those rules forbid the pair of formats.
    fn translate(
        &self,
        pin: &ZonePin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> impl Future<Output = Result<ZonePin, HsmError>> + Send;

    /// Seals a command that tells a card's chip its new PIN, or that its wrong ones are forgiven (payShield KU, KY).
    ///
    /// # Errors
    /// [`HsmError`]. [`HsmError::KeyUnknown`] also where a device can be given the PIN by way of a transit key only,
    /// and has none.
    fn issuer_script(
        &self,
        script: &Script<'_>,
    ) -> impl Future<Output = Result<ScriptCommand, HsmError>> + Send;

    /// Puts a clear PIN under the LMK (payShield BA): for doors that receive one, and for imports.
    ///
    /// # Errors
    /// [`HsmError::NewPinUnacceptable`] for anything but 4 to 12 digits.
    fn encrypt_pin(
        &self,
        digits: zeroize::Zeroizing<Vec<u8>>,
        account: &Account12,
    ) -> impl Future<Output = Result<LmkPin, HsmError>> + Send;

    /// Puts a PIN that came RSA-encrypted under the LMK (payShield GI and BA in one). `key` is a private RSA key;
    /// inside is the PIN in ASCII digits, or those digits in hexadecimal (`31323334` for 1234).
    ///
    /// # Errors
    /// [`HsmError::NoPinInBlock`] for whatever is wrong with the ciphertext or its content, always after the same time.
    fn decrypt_pin(
        &self,
        key: KeyId,
        cipher: &[u8],
        padding: RsaPadding,
        account: &Account12,
    ) -> impl Future<Output = Result<LmkPin, HsmError>> + Send;

    /// Draws a PIN that the rules accept (payShield JA).
    ///
    /// # Errors
    /// [`HsmError::NewPinUnacceptable`] where `digits` is no allowed length, or no draw met the rules.
    fn random_pin(
        &self,
        account: &Account12,
        digits: u8,
        rules: &PinRules,
    ) -> impl Future<Output = Result<LmkPin, HsmError>> + Send;

    /// Shows a PIN in clear ASCII digits (payShield NG): for a product that lets its owner see it.
    ///
    /// # Errors
    /// [`HsmError::StoredPinCorrupt`].
    fn reveal(
        &self,
        pin: &LmkPin,
        account: &Account12,
    ) -> impl Future<Output = Result<zeroize::Zeroizing<Vec<u8>>, HsmError>> + Send;

    /// The 8-byte MAC of a message (payShield M6): ISO 9797-1 algorithm 3, padding 1.
    ///
    /// # Errors
    /// [`HsmError::KeyUnusable`] when the key is not one for MACs.
    fn mac(
        &self,
        key: KeyId,
        message: &[u8],
    ) -> impl Future<Output = Result<[u8; 8], HsmError>> + Send;

    /// Compares a MAC in constant time (payShield M8). `expected` is the leftmost 4 to 8 bytes.
    ///
    /// # Errors
    /// As [`Hsm::mac`].
    fn verify_mac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> impl Future<Output = Result<Verdict, HsmError>> + Send;

    /// Compares the HMAC-SHA-256 of a message in constant time (payShield LS). `expected` is all 32 bytes of it.
    ///
    /// # Errors
    /// [`HsmError::KeyUnusable`] when the key is not one for signatures.
    fn verify_hmac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> impl Future<Output = Result<Verdict, HsmError>> + Send;

    /// The check value of a key (payShield BU): first three bytes of zeros encrypted.
    ///
    /// # Errors
    /// [`HsmError::KeyUnknown`].
    fn check_value(&self, key: KeyId) -> impl Future<Output = Result<[u8; 3], HsmError>> + Send;

    /// Takes a new zone key that a partner sent under the zone master key `zmk`, in the place of `key` (payShield A6).
    ///
    /// From its return on, blocks and MACs that go out are made with the new key. Those that come in are accepted under
    /// either for `grace`, over a restart too. The key that is there already is accepted, and changes nothing.
    ///
    /// # Errors
    /// [`ImportRefused`]: everything stands as it was.
    fn import_key(
        &self,
        key: KeyId,
        zmk: KeyId,
        wrapped: &[u8],
        stated: Option<CheckValue>,
        grace: Duration,
    ) -> impl Future<Output = Result<Imported, ImportRefused>> + Send;

    /// Whether the module is fit to work (payShield NC).
    ///
    /// # Errors
    /// [`HsmError::Unavailable`].
    fn diagnose(&self) -> impl Future<Output = Result<(), HsmError>> + Send;
}

/// A PIN change as one command.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Current PIN, as it was presented.
    pub current: &'a PresentedPin,
    /// New PIN, as it was presented or drawn.
    pub new: &'a PresentedPin,
    /// Account both are bound to.
    pub account: &'a Account12,
    /// How the product makes references.
    pub method: &'a Method,
    /// The card's reference now.
    pub reference: &'a Reference,
    /// What the product demands of the new PIN.
    pub rules: &'a PinRules,
}

/// Whether a PIN or a MAC is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is.
    Right,
    /// It is not.
    Wrong,
}

/// What a change command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ChangeVerdict {
    /// The current PIN is right; this is the new reference.
    Right(Reference),
    /// The current PIN is right, but the rules refuse the new one.
    RightButUnacceptable,
    /// The current PIN is wrong.
    Wrong,
}

/// Why a command was not done. Carries names and numbers of ours, never bytes of a key, a block or a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HsmError {
    /// No key of that id.
    #[error("key unknown: add it to the key file and reload")]
    KeyUnknown,
    /// The key exists but not for this use, or with another length or parity; or a key serial number names none below
    /// it: its length is another, or no transaction has its counter.
    #[error(
        "key may not be used for this command: check its type in the key file, and a terminal's \
         key serial number"
    )]
    KeyUnusable,
    /// The new PIN breaks a rule.
    #[error("new PIN refused by the product's rules")]
    NewPinUnacceptable,
    /// The block decrypts to no PIN.
    #[error("PIN block holds no PIN: format, account or key differ from the sender's")]
    NoPinInBlock,
    /// Something stored does not open under this LMK.
    #[error("stored PIN does not open: another LMK, or changed bytes")]
    StoredPinCorrupt,
    /// Too many wrong PINs of one account in a short time.
    #[error(
        "too many wrong PINs of one account: the module refuses further verifications for a while"
    )]
    Throttled,
    /// PCI PIN 3-3 forbids this pair of formats.
    #[error("translation between these PIN block formats is forbidden (PCI PIN 3-3)")]
    TranslationForbidden,
    /// The module does not answer.
    #[error("HSM unavailable")]
    Unavailable,
}

/// An exchange that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Imported {
    /// Check value of the key that was there.
    pub before: CheckValue,
    /// Check value of the one that is there now; the same when the partner sent the same key.
    pub after: CheckValue,
}

/// Why a key from a partner was not taken. Names keys and check values, never a byte of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportRefused {
    /// The sender's check value is another one.
    #[error(
        "key {name}: check value is {actual}, the sender said {stated}: compare the zone master \
         key's check value with the sender's"
    )]
    CheckValueWrong {
        /// Key.
        name: Box<str>,
        /// Of the key that came out, in hex.
        actual: String,
        /// As the sender has it, in hex.
        stated: String,
    },
    /// The key file or the LMK file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The key file was edited since it was loaded.
    #[error("key {name}: the key file has another one than the one in force: reload first")]
    FileAhead {
        /// Key.
        name: Box<str>,
    },
    /// The key breaks a rule: parity, length, equal halves, or a published key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No key of that id.
    #[error("key unknown: add it to the key file and reload")]
    KeyUnknown,
    /// The key in force is an AES key: its ECB exchange has no form.
    #[error("key {name} is no TDES key: import its successor with `pinion keys import`")]
    NotTripleDes {
        /// Key.
        name: Box<str>,
    },
    /// The wrapping key is no ZMK.
    #[error("key {name} is no ZMK: only a ZMK wraps other keys")]
    NotZmk {
        /// Key.
        name: Box<str>,
    },
    /// Only zone keys change hands this way.
    #[error("key {name} is a {key_type}: a partner changes a ZPK or a ZAK, nothing else")]
    NotZoneKey {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
    },
    /// A device refused it.
    #[error(
        "key {name}: the device refuses it ({code}: {meaning}): compare the ZMK's check value with the sender's"
    )]
    Device {
        /// Key.
        name: Box<str>,
        /// What the device answered.
        code: String,
        /// What that means.
        meaning: &'static str,
    },
    /// The state file of keys under the LMK of devices.
    #[error(transparent)]
    State(Box<payshield::client::StateError>),
    /// The module does not answer.
    #[error("HSM unavailable")]
    Unavailable,
}
