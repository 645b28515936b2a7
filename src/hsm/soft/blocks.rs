//! PIN blocks: decrypted to a clear PIN, made from one.
//!
//! A block is under a zone key, in a grace period under either of two, or under a key of a DUKPT terminal; what goes
//! out is under a zone key. **Never here:** which format may become which (`commands`), how a terminal's key is derived
//! (`dukpt`).

use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::domain::pin::{BlockFormat, KeyId, ZonePin};
use crate::hsm::HsmError;
use crate::hsm::key::KeyType;
use crate::hsm::soft::SoftHsm;
use crate::hsm::soft::lmk_pin::mix;
use crate::hsm::soft::table::{Schedule, Table};
use crate::pin::block;
use crate::pin::clear::ClearPin;

impl From<block::NoPin> for HsmError {
    fn from(_: block::NoPin) -> Self {
        Self::NoPinInBlock
    }
}

impl SoftHsm {
    /// Decrypts a block under a key of a DUKPT terminal, or a zone block, in a grace period under either key.
    ///
    /// A base derivation key has no grace period: its terminals would have to be loaded anew with another one.
    ///
    /// Both are always tried then. A block of a format that is not bound to an account opens under a wrong key once in
    /// six hundred times: one that opens under both is refused, because nobody can say which PIN was meant.
    pub(super) fn open_block(
        &self,
        keys: &Table,
        pin: &ZonePin,
        account: &Account12,
    ) -> Result<ClearPin, HsmError> {
        if let Some(ksn) = pin.ksn() {
            let base = &keys.of_type(pin.key(), KeyType::Bdk)?.newest;
            let Schedule::Bdk(base) = &base.schedule else { return Err(HsmError::KeyUnusable) };
            return open_under(&base.pin_key(ksn)?, pin, account);
        }
        let slot = keys.of_type(pin.key(), KeyType::Zpk)?;
        let newest = open_under(&slot.newest.schedule, pin, account);
        let Some(previous) = slot.previous(|| self.throttle.clock().wall()) else { return newest };
        //= spec/pin-change.md#10.4
        //# For the grace period after an exchange a PIN block under the old key MUST be accepted
        //# like one under the new key, over a restart too, and never after it.
        match (newest, open_under(&previous.key.schedule, pin, account)) {
            (Ok(pin), Err(_)) => {
                previous.prove_newest();
                Ok(pin)
            }
            (Err(HsmError::NoPinInBlock), Ok(pin)) => Ok(pin),
            (Ok(_), Ok(_)) => Err(HsmError::NoPinInBlock),
            (Err(error), _) => Err(error),
        }
    }

    /// Encrypts a zone block, under the newest key: whoever sent it or confirmed it has it.
    pub(super) fn make_block(
        &self,
        keys: &Table,
        pin: &ClearPin,
        account: &Account12,
        id: KeyId,
        format: BlockFormat,
    ) -> Result<ZonePin, HsmError> {
        use BlockFormat::{Iso0, Iso1, Iso3, Iso4};
        let made = match (&keys.of_type(id, KeyType::Zpk)?.newest.schedule, format) {
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
}

/// Decrypts a block under one key. Format 4 goes with AES, the others with triple DES.
fn open_under(key: &Schedule, pin: &ZonePin, account: &Account12) -> Result<ClearPin, HsmError> {
    use BlockFormat::{Iso0, Iso1, Iso3, Iso4};
    match (key, pin.format()) {
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

/// A block's bytes as an array. The lengths agree by [`ZonePin`]'s constructor.
fn first<const N: usize>(block: &[u8]) -> Result<[u8; N], HsmError> {
    block.try_into().map_err(|_| HsmError::NoPinInBlock)
}
