//! The commands of [`Hsm`]: decrypt, check, compare, encrypt.
//!
//! Every future is ready at once. A clear PIN lives from one line of a command to its end. What a caller learns is the
//! trait's business: one error for a block without a PIN, the verdict on the current PIN before anything about the new
//! one. **Never here:** an allocation, a clock call unless a PIN was wrong.

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::domain::pin::{BlockFormat, KeyId, LmkPin, Method, PinRules, Reference, ZonePin};
use crate::hsm::key::KeyType;
use crate::hsm::soft::SoftHsm;
use crate::hsm::soft::lmk_pin::mix;
use crate::hsm::soft::mac::RetailMac;
use crate::hsm::soft::table::{Loaded, Schedule};
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, Verdict};
use crate::pin::block;
use crate::pin::clear::ClearPin;
use crate::pin::ibm3624::{self, DecimalizationTable, ValidationData};
use crate::pin::tdes::Tdes;
use crate::pin::{policy, pvv};

/// PCI PIN 3-3 and ISO 9564-1: which format may become which, for one and the same account.
///
/// A block bound to an account may not become one that is not: whoever holds it could then bind it to another account.
pub(super) const fn may_become(from: BlockFormat, to: BlockFormat) -> bool {
    use BlockFormat::{Iso0, Iso1, Iso3, Iso4};
    match (from, to) {
        (Iso1, Iso0 | Iso1 | Iso3 | Iso4) | (Iso0 | Iso3 | Iso4, Iso0 | Iso3 | Iso4) => true,
        (Iso0 | Iso3 | Iso4, Iso1) => false,
    }
}

impl From<block::NoPin> for HsmError {
    fn from(_: block::NoPin) -> Self {
        Self::NoPinInBlock
    }
}

impl SoftHsm {
    fn loaded(&self, id: KeyId) -> Result<&Loaded, HsmError> {
        let slot = self.keys.get(usize::from(id.0)).and_then(Option::as_ref);
        slot.ok_or(HsmError::KeyUnknown)
    }

    fn of_type(&self, id: KeyId, key_type: KeyType) -> Result<&Loaded, HsmError> {
        let key = self.loaded(id)?;
        if key.key_type == key_type { Ok(key) } else { Err(HsmError::KeyUnusable) }
    }

    /// A PIN verification key. A PVV takes a double-length one only (payShield error 27).
    fn pvk(&self, id: KeyId, fits: fn(bool) -> bool) -> Result<&Tdes, HsmError> {
        match &self.of_type(id, KeyType::Pvk)?.schedule {
            Schedule::Tdes { cipher, double } if fits(*double) => Ok(cipher),
            _ => Err(HsmError::KeyUnusable),
        }
    }

    fn mac_key(&self, id: KeyId) -> Result<&RetailMac, HsmError> {
        match &self.of_type(id, KeyType::Zak)?.schedule {
            Schedule::Mac(key) => Ok(key),
            _ => Err(HsmError::KeyUnusable),
        }
    }

    /// Decrypts a zone block. Format 4 goes with AES, the others with triple DES.
    fn open_block(&self, pin: &ZonePin, account: &Account12) -> Result<ClearPin, HsmError> {
        use BlockFormat::{Iso0, Iso1, Iso3, Iso4};
        let key = self.of_type(pin.key(), KeyType::Zpk)?;
        match (&key.schedule, pin.format()) {
            (Schedule::Tdes { cipher, .. }, Iso0 | Iso1 | Iso3) => {
                let mut clear = Zeroizing::new(first(pin.block())?);
                cipher.decrypt(&mut clear);
                Ok(match pin.format() {
                    Iso1 => block::decode_1(&clear),
                    Iso3 => block::decode_3(&clear, account),
                    Iso0 | Iso4 => block::decode_0(&clear, account),
                }?)
            }
            (Schedule::Aes(cipher), Iso4) => {
                let mut clear = Zeroizing::new(first(pin.block())?);
                cipher.decrypt(&mut clear);
                mix(&mut clear, account);
                cipher.decrypt(&mut clear);
                Ok(block::read_pin_field_4(&clear)?)
            }
            _ => Err(HsmError::KeyUnusable),
        }
    }

    /// Encrypts a zone block.
    pub(super) fn make_block(
        &self,
        pin: &ClearPin,
        account: &Account12,
        id: KeyId,
        format: BlockFormat,
    ) -> Result<ZonePin, HsmError> {
        use BlockFormat::{Iso0, Iso1, Iso3, Iso4};
        let key = self.of_type(id, KeyType::Zpk)?;
        let made = match (&key.schedule, format) {
            (Schedule::Tdes { cipher, .. }, Iso0 | Iso1 | Iso3) => {
                let mut clear = match format {
                    Iso1 => block::encode_1(pin, self.random.next_8()),
                    Iso3 => block::encode_3(pin, account, self.random.next()),
                    Iso0 | Iso4 => block::encode_0(pin, account),
                };
                cipher.encrypt(&mut clear);
                ZonePin::new(&clear[..], format, id)
            }
            (Schedule::Aes(cipher), Iso4) => {
                let mut clear = block::pin_field_4(pin, self.random.next_8());
                cipher.encrypt(&mut clear);
                mix(&mut clear, account);
                cipher.encrypt(&mut clear);
                ZonePin::new(&clear[..], format, id)
            }
            _ => None,
        };
        made.ok_or(HsmError::KeyUnusable)
    }

    pub(super) fn open_lmk(&self, pin: &LmkPin, account: &Account12) -> Result<ClearPin, HsmError> {
        self.pins.open(pin, account).map_err(|_| HsmError::StoredPinCorrupt)
    }

    fn seal_lmk(&self, pin: &ClearPin, account: &Account12) -> LmkPin {
        let random = self.random.next().first_chunk().copied().unwrap_or_default();
        self.pins.seal(pin, account, random)
    }

    /// The reference of a PIN that stands under the LMK as `sealed`.
    fn reference(
        &self,
        pin: &ClearPin,
        sealed: &LmkPin,
        account: &Account12,
        method: &Method,
    ) -> Result<Reference, HsmError> {
        Ok(match method {
            Method::LmkPin => Reference::Lmk(*sealed),
            Method::VisaPvv { pvk, pvki } => Reference::Pvv(self.pvv(*pvk, *pvki, account, pin)?),
            Method::Ibm3624 { .. } => Reference::Offset {
                digits: self.offset(method, account, pin)?,
                len: pin.digit_count(),
            },
        })
    }

    fn pvv(
        &self,
        pvk: KeyId,
        pvki: u8,
        account: &Account12,
        pin: &ClearPin,
    ) -> Result<[u8; 4], HsmError> {
        if !pvki.is_ascii_digit() {
            return Err(HsmError::KeyUnusable);
        }
        Ok(pvv::pvv(self.pvk(pvk, |double| double)?, account, pvki - b'0', pin))
    }

    /// Parameters that cannot work are [`HsmError::KeyUnusable`]; [`SoftHsm::check_method`] says why.
    fn offset(
        &self,
        method: &Method,
        account: &Account12,
        pin: &ClearPin,
    ) -> Result<[u8; 12], HsmError> {
        let Method::Ibm3624 {
            pvk,
            decimalization_table,
            validation_start,
            validation_length,
            validation_pad,
        } = method
        else {
            return Err(HsmError::KeyUnusable);
        };
        let cipher = self.pvk(*pvk, |_| true)?;
        let table =
            DecimalizationTable::new(decimalization_table).map_err(|_| HsmError::KeyUnusable)?;
        let data =
            ValidationData::new(account, *validation_start, *validation_length, *validation_pad)
                .map_err(|_| HsmError::KeyUnusable)?;
        Ok(ibm3624::offset(cipher, &table, &data, pin))
    }

    /// Whether `pin` has this reference. A reference of another method is a record gone wrong, not a wrong PIN.
    fn matches(
        &self,
        pin: &ClearPin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Choice, HsmError> {
        match (method, reference) {
            (_, Reference::None) => Ok(Choice::from(0)),
            (Method::VisaPvv { pvk, pvki }, Reference::Pvv(stored)) => {
                Ok(self.pvv(*pvk, *pvki, account, pin)?.ct_eq(stored))
            }
            (Method::Ibm3624 { .. }, Reference::Offset { digits, len }) => {
                let made = self.offset(method, account, pin)?;
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
        current: &ZonePin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Option<ClearPin>, HsmError> {
        let places = self.throttle.places(account);
        if self.throttle.is_closed(places) {
            return Err(HsmError::Throttled);
        }
        let pin = self.open_block(current, account)?;
        if bool::from(self.matches(&pin, account, method, reference)?) {
            return Ok(Some(pin));
        }
        self.throttle.count_wrong(places);
        Ok(None)
    }
}

/// A block's bytes as an array. The lengths agree by [`ZonePin`]'s constructor.
fn first<const N: usize>(block: &[u8]) -> Result<[u8; N], HsmError> {
    block.try_into().map_err(|_| HsmError::NoPinInBlock)
}

impl Hsm for SoftHsm {
    fn key(&self, name: &str) -> Option<KeyId> {
        self.ids.get(name).copied().filter(|id| self.loaded(*id).is_ok())
    }

    async fn to_lmk(&self, pin: &ZonePin, account: &Account12) -> Result<LmkPin, HsmError> {
        let clear = self.open_block(pin, account)?;
        Ok(self.seal_lmk(&clear, account))
    }

    async fn verify(
        &self,
        current: &ZonePin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Verdict, HsmError> {
        let found = self.check_current(current, account, method, reference)?;
        Ok(if found.is_some() { Verdict::Right } else { Verdict::Wrong })
    }

    async fn derive(
        &self,
        new: &LmkPin,
        account: &Account12,
        method: &Method,
        rules: &PinRules,
    ) -> Result<Reference, HsmError> {
        let pin = self.open_lmk(new, account)?;
        if !policy::accepts(rules, &pin, None) {
            return Err(HsmError::NewPinUnacceptable);
        }
        self.reference(&pin, new, account, method)
    }

    async fn verify_and_derive(&self, change: &Change<'_>) -> Result<ChangeVerdict, HsmError> {
        let Change { current, new, account, method, reference, rules } = *change;
        let Some(current) = self.check_current(current, account, method, reference)? else {
            return Ok(ChangeVerdict::Wrong);
        };
        let pin = self.open_lmk(new, account)?;
        if !policy::accepts(rules, &pin, Some(&current)) {
            return Ok(ChangeVerdict::RightButUnacceptable);
        }
        Ok(ChangeVerdict::Right(self.reference(&pin, new, account, method)?))
    }

    async fn translate(
        &self,
        pin: &ZonePin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> Result<ZonePin, HsmError> {
        if !may_become(pin.format(), to_format) {
            return Err(HsmError::TranslationForbidden);
        }
        let clear = self.open_block(pin, account)?;
        self.make_block(&clear, account, to_key, to_format)
    }

    async fn encrypt_pin(
        &self,
        digits: Zeroizing<Vec<u8>>,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        let pin = ClearPin::from_ascii(&digits).ok_or(HsmError::NewPinUnacceptable)?;
        Ok(self.seal_lmk(&pin, account))
    }

    async fn mac(&self, key: KeyId, message: &[u8]) -> Result<[u8; 8], HsmError> {
        Ok(self.mac_key(key)?.compute(message))
    }

    async fn verify_mac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        let mac = self.mac_key(key)?.compute(message);
        let compared = mac.get(..expected.len()).filter(|leftmost| leftmost.len() >= 4);
        let right = compared.is_some_and(|leftmost| bool::from(leftmost.ct_eq(expected)));
        Ok(if right { Verdict::Right } else { Verdict::Wrong })
    }

    async fn check_value(&self, key: KeyId) -> Result<[u8; 3], HsmError> {
        Ok(self.loaded(key)?.check_value)
    }

    async fn diagnose(&self) -> Result<(), HsmError> {
        Ok(())
    }
}
