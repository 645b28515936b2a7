//! The commands of [`Hsm`]: decrypt, check, compare, encrypt.
//!
//! Every future is ready at once, but that of an exchange of keys. A clear PIN lives from one line of a command to its
//! end. What a caller learns is the trait's business: one error for a block without a PIN, the verdict on the current
//! PIN before anything about the new one. **Never here:** an allocation, but for a PIN that is shown and for RSA
//! (`rsa`); a clock call unless a PIN was wrong, or a key has another before it.

use std::sync::Arc;
use std::time::Duration;

use hmac::Mac as _;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::domain::chip::ScriptCommand;
use crate::domain::pan::Account12;
use crate::domain::pin::{
    BlockFormat, KeyId, LmkPin, Method, PinRules, PresentedPin, Reference, RsaPadding, ZonePin,
};
use crate::hsm::key::{CheckValue, KeyType};
use crate::hsm::script::Script;
use crate::hsm::soft::SoftHsm;
use crate::hsm::soft::mac::MacKey;
use crate::hsm::soft::table::{Loaded, Schedule, Table};
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, ImportRefused, Imported, Verdict};
use crate::limits::PIN_DRAWS_MAX;
use crate::pin::clear::{ClearPin, PIN_DIGITS_MAX};
use crate::pin::ibm3624::{self, DecimalizationTable, ValidationData};
use crate::pin::tdes::Tdes;
use crate::pin::{policy, pvv};

impl SoftHsm {
    pub(super) fn open_presented(
        &self,
        keys: &Table,
        pin: &PresentedPin,
        account: &Account12,
    ) -> Result<ClearPin, HsmError> {
        match pin {
            PresentedPin::Lmk(pin) => self.open_lmk(pin, account),
            PresentedPin::Zone(block) => self.open_block(keys, block, account),
        }
    }

    pub(super) fn open_lmk(&self, pin: &LmkPin, account: &Account12) -> Result<ClearPin, HsmError> {
        self.pins.open(pin, account).map_err(|_| HsmError::StoredPinCorrupt)
    }

    pub(super) fn seal_lmk(&self, pin: &ClearPin, account: &Account12) -> LmkPin {
        let random = self.random.next().first_chunk().copied().unwrap_or_default();
        self.pins.seal(pin, account, random)
    }

    /// The reference of a PIN that was presented as `presented`.
    fn make_reference(
        &self,
        keys: &Table,
        pin: &ClearPin,
        presented: &PresentedPin,
        account: &Account12,
        method: &Method,
    ) -> Result<Reference, HsmError> {
        Ok(match (method, presented) {
            (Method::LmkPin, PresentedPin::Lmk(sealed)) => Reference::Lmk(*sealed),
            (Method::LmkPin, PresentedPin::Zone(_)) => Reference::Lmk(self.seal_lmk(pin, account)),
            (Method::VisaPvv { pvk, pvki }, _) => {
                Reference::Pvv(pvv(keys, *pvk, *pvki, account, pin)?)
            }
            (Method::Ibm3624 { .. }, _) => Reference::Offset {
                digits: offset(keys, method, account, pin)?,
                len: pin.digit_count(),
            },
        })
    }

    /// Whether `pin` has this reference. A reference of another method is a record gone wrong, not a wrong PIN.
    fn matches(
        &self,
        keys: &Table,
        pin: &ClearPin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Choice, HsmError> {
        match (method, reference) {
            (_, Reference::None) => Ok(Choice::from(0)),
            (Method::VisaPvv { pvk, pvki }, Reference::Pvv(stored)) => {
                Ok(pvv(keys, *pvk, *pvki, account, pin)?.ct_eq(stored))
            }
            (Method::Ibm3624 { .. }, Reference::Offset { digits, len }) => {
                let made = offset(keys, method, account, pin)?;
                Ok(made.ct_eq(digits) & pin.digit_count().ct_eq(len))
            }
            (Method::LmkPin, Reference::Lmk(stored)) => {
                Ok(self.open_lmk(stored, account)?.same_as(pin))
            }
            (Method::VisaPvv { .. }, Reference::Offset { .. } | Reference::Lmk(_))
            | (Method::Ibm3624 { .. }, Reference::Pvv(_) | Reference::Lmk(_))
            | (Method::LmkPin, Reference::Pvv(_) | Reference::Offset { .. }) => {
                Err(HsmError::StoredPinCorrupt)
            }
        }
    }

    /// Decrypts the current PIN and compares it, behind the brake. `None` when it is wrong.
    fn check_current(
        &self,
        keys: &Table,
        current: &PresentedPin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Option<ClearPin>, HsmError> {
        let places = self.throttle.places(account);
        if self.throttle.is_closed(places) {
            return Err(HsmError::Throttled);
        }
        let pin = self.open_presented(keys, current, account)?;
        if bool::from(self.matches(keys, &pin, account, method, reference)?) {
            return Ok(Some(pin));
        }
        self.throttle.count_wrong(places);
        Ok(None)
    }
}

/// A PIN verification key. A PVV takes a double-length one only (payShield error 27).
fn pvk(keys: &Table, id: KeyId, fits: fn(bool) -> bool) -> Result<&Tdes, HsmError> {
    match &keys.of_type(id, KeyType::Pvk)?.newest.schedule {
        Schedule::Tdes { cipher, double } if fits(*double) => Ok(cipher),
        _ => Err(HsmError::KeyUnusable),
    }
}

fn mac_key(key: &Loaded) -> Result<&MacKey, HsmError> {
    match &key.schedule {
        Schedule::Mac(key) => Ok(key),
        _ => Err(HsmError::KeyUnusable),
    }
}

fn pvv(
    keys: &Table,
    id: KeyId,
    pvki: u8,
    account: &Account12,
    pin: &ClearPin,
) -> Result<[u8; 4], HsmError> {
    if !pvki.is_ascii_digit() {
        return Err(HsmError::KeyUnusable);
    }
    Ok(pvv::pvv(pvk(keys, id, |double| double)?, account, pvki - b'0', pin))
}

/// Parameters that cannot work are [`HsmError::KeyUnusable`]; [`SoftHsm::check_method`] says why.
fn offset(
    keys: &Table,
    method: &Method,
    account: &Account12,
    pin: &ClearPin,
) -> Result<[u8; 12], HsmError> {
    let Method::Ibm3624 {
        pvk: id,
        decimalization_table,
        validation_start,
        validation_length,
        validation_pad,
    } = method
    else {
        return Err(HsmError::KeyUnusable);
    };
    let cipher = pvk(keys, *id, |_| true)?;
    let table =
        DecimalizationTable::new(decimalization_table).map_err(|_| HsmError::KeyUnusable)?;
    let data = ValidationData::new(account, *validation_start, *validation_length, *validation_pad)
        .map_err(|_| HsmError::KeyUnusable)?;
    Ok(ibm3624::offset(cipher, &table, &data, pin))
}

impl Hsm for SoftHsm {
    fn key(&self, name: &str) -> Option<KeyId> {
        self.ring.load().id(name)
    }

    fn name_of(&self, key: KeyId) -> Option<Arc<str>> {
        self.ring.load().slot(key).ok().map(|slot| Arc::clone(&slot.newest.name))
    }

    async fn to_lmk(&self, pin: &ZonePin, account: &Account12) -> Result<LmkPin, HsmError> {
        let clear = self.open_block(&self.ring.load(), pin, account)?;
        Ok(self.seal_lmk(&clear, account))
    }

    async fn from_lmk(
        &self,
        pin: &LmkPin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> Result<ZonePin, HsmError> {
        // A PIN under the LMK is bound to its account, as one of format 4 is.
        if !BlockFormat::Iso4.may_become(to_format) {
            return Err(HsmError::TranslationForbidden);
        }
        let clear = self.open_lmk(pin, account)?;
        self.make_block(&self.ring.load(), &clear, account, to_key, to_format)
    }

    async fn verify(
        &self,
        current: &PresentedPin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Verdict, HsmError> {
        let found = self.check_current(&self.ring.load(), current, account, method, reference)?;
        Ok(if found.is_some() { Verdict::Right } else { Verdict::Wrong })
    }

    async fn derive(
        &self,
        new: &PresentedPin,
        account: &Account12,
        method: &Method,
        rules: &PinRules,
        current: &Reference,
    ) -> Result<Reference, HsmError> {
        let keys = self.ring.load();
        let pin = self.open_presented(&keys, new, account)?;
        let unchanged = rules.not_the_current
            && bool::from(self.matches(&keys, &pin, account, method, current)?);
        if unchanged || !policy::accepts(rules, &pin, None) {
            return Err(HsmError::NewPinUnacceptable);
        }
        self.make_reference(&keys, &pin, new, account, method)
    }

    async fn verify_and_derive(&self, change: &Change<'_>) -> Result<ChangeVerdict, HsmError> {
        let Change { current, new, account, method, reference, rules } = *change;
        let keys = self.ring.load();
        // A block without a PIN costs no try, whichever of the two it is.
        let pin = self.open_presented(&keys, new, account)?;
        let found = self.check_current(&keys, current, account, method, reference)?;
        let Some(current) = found else {
            return Ok(ChangeVerdict::Wrong);
        };
        if !policy::accepts(rules, &pin, Some(&current)) {
            return Ok(ChangeVerdict::RightButUnacceptable);
        }
        Ok(ChangeVerdict::Right(self.make_reference(&keys, &pin, new, account, method)?))
    }

    async fn translate(
        &self,
        pin: &ZonePin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> Result<ZonePin, HsmError> {
        if !pin.format().may_become(to_format) {
            return Err(HsmError::TranslationForbidden);
        }
        let keys = self.ring.load();
        let clear = self.open_block(&keys, pin, account)?;
        self.make_block(&keys, &clear, account, to_key, to_format)
    }

    async fn issuer_script(&self, script: &Script<'_>) -> Result<ScriptCommand, HsmError> {
        self.seal_script(&self.ring.load(), script)
    }

    async fn encrypt_pin(
        &self,
        digits: Zeroizing<Vec<u8>>,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        let pin = ClearPin::from_ascii(&digits).ok_or(HsmError::NewPinUnacceptable)?;
        Ok(self.seal_lmk(&pin, account))
    }

    async fn decrypt_pin(
        &self,
        key: KeyId,
        cipher: &[u8],
        padding: RsaPadding,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        let keys = self.ring.load();
        let Schedule::Rsa(key) = &keys.of_type(key, KeyType::Rsa)?.newest.schedule else {
            return Err(HsmError::KeyUnusable);
        };
        let (pin, good) = key.open(cipher, padding).ok_or(HsmError::NoPinInBlock)?;
        let sealed = self.seal_lmk(&pin, account);
        if good { Ok(sealed) } else { Err(HsmError::NoPinInBlock) }
    }

    async fn random_pin(
        &self,
        account: &Account12,
        digits: u8,
        rules: &PinRules,
    ) -> Result<LmkPin, HsmError> {
        if !rules.allows_length(digits.into()) {
            return Err(HsmError::NewPinUnacceptable);
        }
        for _ in 0..PIN_DRAWS_MAX {
            let pin = self.random.pin(digits).ok_or(HsmError::NewPinUnacceptable)?;
            if policy::accepts(rules, &pin, None) {
                return Ok(self.seal_lmk(&pin, account));
            }
        }
        Err(HsmError::NewPinUnacceptable)
    }

    async fn reveal(
        &self,
        pin: &LmkPin,
        account: &Account12,
    ) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        let pin = self.open_lmk(pin, account)?;
        let digits = pin.expose_digits();
        let shown = digits.iter().take(pin.digit_count().into()).map(|digit| b'0' + digit);
        // Room for all, so that growing leaves no copy behind.
        let mut clear = Zeroizing::new(Vec::with_capacity(PIN_DIGITS_MAX));
        clear.extend(shown);
        Ok(clear)
    }

    async fn mac(&self, key: KeyId, message: &[u8]) -> Result<[u8; 8], HsmError> {
        let keys = self.ring.load();
        Ok(mac_key(&keys.of_type(key, KeyType::Zak)?.newest)?.compute(message))
    }

    async fn verify_mac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        let keys = self.ring.load();
        let slot = keys.of_type(key, KeyType::Zak)?;
        let is_right = |key: &Loaded| {
            let mac = mac_key(key)?.compute(message);
            let compared = mac.get(..expected.len()).filter(|leftmost| leftmost.len() >= 4);
            let same = |leftmost: &[u8]| bool::from(leftmost.ct_eq(expected));
            Ok::<_, HsmError>(compared.is_some_and(same))
        };
        let mut right = is_right(&slot.newest)?;
        if let Some(previous) = slot.previous(|| self.throttle.clock().wall()) {
            if right {
                previous.prove_newest();
            }
            right |= is_right(&previous.key)?;
        }
        Ok(if right { Verdict::Right } else { Verdict::Wrong })
    }

    async fn verify_hmac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        let keys = self.ring.load();
        let key = &keys.of_type(key, KeyType::Signature)?.newest;
        let Schedule::Hmac(mac) = &key.schedule else { return Err(HsmError::KeyUnusable) };
        let mut mac = mac.clone();
        mac.update(message);
        let right = mac.verify_slice(expected).is_ok();
        Ok(if right { Verdict::Right } else { Verdict::Wrong })
    }

    async fn check_value(&self, key: KeyId) -> Result<CheckValue, HsmError> {
        Ok(self.ring.load().slot(key)?.newest.check_value)
    }

    /// Files are read, written and synced, so it runs in a thread for such work where there is one. It goes on to its
    /// end there when the caller stops waiting: the file and the table never part.
    async fn import_key(
        &self,
        key: KeyId,
        zmk: KeyId,
        wrapped: &[u8],
        stated: Option<CheckValue>,
        grace: Duration,
    ) -> Result<Imported, ImportRefused> {
        let exchange = self.exchange(key, zmk, wrapped, stated, grace);
        let ring = Arc::clone(&self.ring);
        let entered = ring.enter()?;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime
                .spawn_blocking(move || {
                    let _entered = entered;
                    ring.exchange(&exchange)
                })
                .await
                .unwrap_or(Err(ImportRefused::Unavailable)),
            Err(_) => ring.exchange(&exchange),
        }
    }

    async fn diagnose(&self) -> Result<(), HsmError> {
        Ok(())
    }
}
