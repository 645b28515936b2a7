//! [`Hsm`] for [`PayShield`]: the brake on guessing, then the command. Arithmetic and keys are the devices'.
//!
//! Devices have a brake of their own (error 39), which counts for all cards together and stops all of them. The one of
//! the software module is for single accounts and stays before it: a taken-over switch must not lock the devices.

use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::chip::ScriptCommand;
use crate::domain::pan::Account12;
use crate::domain::pin::{
    BlockFormat, KeyId, LmkPin, Method, PinRules, PresentedPin, Reference, RsaPadding, ZonePin,
};
use crate::hsm::key::CheckValue;
use crate::hsm::payshield::client::commands::{Answer, Desk};
use crate::hsm::payshield::client::keys::{Held, Slot};
use crate::hsm::payshield::client::reply::Data;
use crate::hsm::payshield::client::token::KeyKind;
use crate::hsm::payshield::client::{PayShield, soft_id, soft_key};
use crate::hsm::payshield::wire::Request;
use crate::hsm::payshield::wire::command::mac::{
    GenerateMac, MacInput, MacValue, Piece, VerifyMac,
};
use crate::hsm::script::Script;
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, ImportRefused, Imported, Verdict};
use crate::limits::HSM_MESSAGE_BYTES_MAX;

/// A PIN to be encrypted where an RSA ciphertext held none, so that it takes the same time.
const NO_PIN: &[u8] = b"0000";

/// Why a MAC is asked for: a whole message, binary, ISO 9797-1 algorithm 3, padding 1.
fn mac_input<'a>(slot: &Slot, held: &'a Held, message: &'a [u8], whole: bool) -> MacInput<'a> {
    MacInput {
        piece: Piece::Only,
        format: b'0',
        whole,
        algorithm: b'3',
        padding: b'1',
        key_type: slot.kind.code(&held.token),
        key: held.token.key(),
        before: None,
        message,
    }
}

const fn is_mac_key(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::Zak | KeyKind::Tak)
}

impl PayShield {
    /// The MAC of a message under one key.
    async fn mac_under(
        &self,
        slot: &Slot,
        held: &Held,
        message: &[u8],
    ) -> Result<[u8; 8], HsmError> {
        if HSM_MESSAGE_BYTES_MAX < message.len() {
            return Err(HsmError::KeyUnusable);
        }
        let request = Request::GenerateMac(GenerateMac(mac_input(slot, held, message, true)));
        match self.sort(self.ask(&request).await?, 0)? {
            Answer::Done(Data::Mac(MacValue::Whole(digits))) => {
                let mut mac = [0; 8];
                hex::decode_to_slice(digits, &mut mac).map_err(|_| HsmError::Unavailable)?;
                Ok(mac)
            }
            _ => Err(HsmError::Unavailable),
        }
    }

    /// Whether a MAC is right under one key. A device compares 4 or 8 bytes; between them it makes the MAC, and it is
    /// compared here.
    async fn mac_is_right(
        &self,
        slot: &Slot,
        held: &Held,
        message: &[u8],
        expected: &[u8],
    ) -> Result<bool, HsmError> {
        let mut digits = [0; 16];
        let mac = match expected.len() {
            4 | 8 if message.len() <= HSM_MESSAGE_BYTES_MAX => {
                let shown = digits.get_mut(..2 * expected.len()).ok_or(HsmError::KeyUnusable)?;
                hex::encode_to_slice(expected, shown).map_err(|_| HsmError::KeyUnusable)?;
                shown.make_ascii_uppercase();
                MacValue::cut(digits, expected.len() == 8)
            }
            5..=7 => {
                let made = self.mac_under(slot, held, message).await?;
                let leftmost = made.get(..expected.len()).unwrap_or_default();
                return Ok(leftmost.ct_eq(expected).into());
            }
            _ => return Ok(false),
        };
        let input = mac_input(slot, held, message, expected.len() == 8);
        let request = Request::VerifyMac(VerifyMac { input, mac: Some(mac) });
        match self.sort(self.ask(&request).await?, 0)? {
            Answer::Done(_) => Ok(true),
            Answer::Wrong => Ok(false),
            Answer::Excluded | Answer::OtherLength | Answer::Short => Err(HsmError::Unavailable),
        }
    }
}

impl Hsm for PayShield {
    fn key(&self, name: &str) -> Option<KeyId> {
        self.keys.load().id(name).or_else(|| self.soft.key(name).map(soft_id))
    }

    fn name_of(&self, key: KeyId) -> Option<Arc<str>> {
        match soft_key(key) {
            Some(key) => self.soft.name_of(key),
            None => self.keys.load().slot(key).ok().map(|slot| Arc::clone(&slot.name)),
        }
    }

    async fn to_lmk(&self, pin: &ZonePin, account: &Account12) -> Result<LmkPin, HsmError> {
        let keys = &self.keys.load_full();
        Desk { hsm: self, keys, account }.take_in(pin).await
    }

    async fn from_lmk(
        &self,
        pin: &LmkPin,
        to_key: KeyId,
        to_format: BlockFormat,
        account: &Account12,
    ) -> Result<ZonePin, HsmError> {
        // A PIN under the LMK is bound to its account, as one of format 4 is. Not every device is set to keep to it.
        if !BlockFormat::Iso4.may_become(to_format) {
            return Err(HsmError::TranslationForbidden);
        }
        let keys = &self.keys.load_full();
        Desk { hsm: self, keys, account }.give_out(pin, to_key, to_format).await
    }

    async fn verify(
        &self,
        current: &PresentedPin,
        account: &Account12,
        method: &Method,
        reference: &Reference,
    ) -> Result<Verdict, HsmError> {
        let brake = self.soft.brake(account)?;
        let keys = &self.keys.load_full();
        let desk = Desk { hsm: self, keys, account };
        if desk.is_right(current, method, reference).await? {
            return Ok(Verdict::Right);
        }
        self.soft.count_wrong(brake);
        Ok(Verdict::Wrong)
    }

    async fn derive(
        &self,
        new: &PresentedPin,
        account: &Account12,
        method: &Method,
        rules: &PinRules,
        current: &Reference,
    ) -> Result<Reference, HsmError> {
        let keys = &self.keys.load_full();
        Desk { hsm: self, keys, account }.derive(new, method, rules, current).await
    }

    async fn verify_and_derive(&self, change: &Change<'_>) -> Result<ChangeVerdict, HsmError> {
        let brake = self.soft.brake(change.account)?;
        let keys = &self.keys.load_full();
        let desk = Desk { hsm: self, keys, account: change.account };
        let verdict = desk.change(change).await?;
        if verdict == ChangeVerdict::Wrong {
            self.soft.count_wrong(brake);
        }
        Ok(verdict)
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
        let keys = &self.keys.load_full();
        let desk = Desk { hsm: self, keys, account };
        desk.translate(pin, to_key, to_format).await.map(|(pin, _)| pin)
    }

    async fn issuer_script(&self, script: &Script<'_>) -> Result<ScriptCommand, HsmError> {
        let keys = &self.keys.load_full();
        Desk { hsm: self, keys, account: script.account }.script(script).await
    }

    async fn encrypt_pin(
        &self,
        digits: Zeroizing<Vec<u8>>,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        let keys = &self.keys.load_full();
        Desk { hsm: self, keys, account }.encrypt(digits).await
    }

    /// The software module opens the ciphertext, and the digits go straight into a device. Where there are none, a
    /// device is given others, whose PIN is thrown away: nobody learns from the time which it was.
    async fn decrypt_pin(
        &self,
        key: KeyId,
        cipher: &[u8],
        padding: RsaPadding,
        account: &Account12,
    ) -> Result<LmkPin, HsmError> {
        let key = soft_key(key).ok_or(HsmError::KeyUnusable)?;
        let opened = match self.soft.decrypt_pin(key, cipher, padding, account).await {
            Ok(pin) => self.soft.reveal(&pin, account).await,
            Err(error) => Err(error),
        };
        let (digits, refused) = match opened {
            Ok(digits) => (digits, None),
            Err(error) => (Zeroizing::new(NO_PIN.to_vec()), Some(error)),
        };
        let taken = self.encrypt_pin(digits, account).await;
        refused.map_or(taken, Err)
    }

    async fn random_pin(
        &self,
        account: &Account12,
        digits: u8,
        rules: &PinRules,
    ) -> Result<LmkPin, HsmError> {
        let keys = &self.keys.load_full();
        Desk { hsm: self, keys, account }.random(digits, rules).await
    }

    async fn reveal(
        &self,
        pin: &LmkPin,
        account: &Account12,
    ) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        let keys = &self.keys.load_full();
        Desk { hsm: self, keys, account }.reveal(pin).await
    }

    async fn mac(&self, key: KeyId, message: &[u8]) -> Result<[u8; 8], HsmError> {
        let keys = self.keys.load_full();
        let slot = keys.of_kind(key, is_mac_key)?;
        self.mac_under(slot, &slot.newest, message).await
    }

    async fn verify_mac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        let keys = self.keys.load_full();
        let slot = keys.of_kind(key, is_mac_key)?;
        let newest = self.mac_is_right(slot, &slot.newest, message, expected).await?;
        let mut right = newest;
        if let Some(previous) = slot.previous(|| self.pool.shared.clock.wall()) {
            if newest {
                previous.prove_newest();
            }
            right |= self.mac_is_right(slot, &previous.held, message, expected).await?;
        }
        Ok(if right { Verdict::Right } else { Verdict::Wrong })
    }

    async fn verify_hmac(
        &self,
        key: KeyId,
        message: &[u8],
        expected: &[u8],
    ) -> Result<Verdict, HsmError> {
        let key = soft_key(key).ok_or(HsmError::KeyUnusable)?;
        self.soft.verify_hmac(key, message, expected).await
    }

    async fn check_value(&self, key: KeyId) -> Result<CheckValue, HsmError> {
        match soft_key(key) {
            Some(key) => self.soft.check_value(key).await,
            None => Ok(self.keys.load().slot(key)?.newest.check_value),
        }
    }

    async fn import_key(
        &self,
        key: KeyId,
        zmk: KeyId,
        wrapped: &[u8],
        stated: Option<CheckValue>,
        grace: Duration,
    ) -> Result<Imported, ImportRefused> {
        self.exchange(key, zmk, wrapped, stated, grace).await
    }

    async fn diagnose(&self) -> Result<(), HsmError> {
        if self.pool.is_usable() { Ok(()) } else { Err(HsmError::Unavailable) }
    }
}
