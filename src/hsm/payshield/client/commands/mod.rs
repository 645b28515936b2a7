//! PIN operations as commands of a device: [`Desk`] has what one operation works with, and the families are beside it.
//!
//! What is asked, and why so:
//! - Verify current, make the reference of the new: **CU** or **DU**, one command, where both blocks are under one zone
//!   key in one format. Otherwise verification and making at the same time (EC or EA beside FW or BK): as many
//!   commands as with a translation into the other's key, one after the other, and one wait less.
//! - A block under DUKPT is verified directly (GQ, GO). No command makes a reference of one, so it goes through the
//!   transit ZPK first (G0).
//! - A PIN under the LMK: its reference by DG or DE, compared here in constant time; or two such PINs by JG and BE.
//! - In a grace period every command is asked under both keys, and the one under which there is a PIN counts.
//!
//! **Never here:** which device does it (`pool`), what a card record says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join;

use crate::domain::pan::Account12;
use crate::domain::pin::{BlockFormat, KeyId, LmkPin, ZonePin};
use crate::hsm::HsmError;
use crate::hsm::payshield::client::PayShield;
use crate::hsm::payshield::client::keys::{Held, Slot, Table};
use crate::hsm::payshield::client::pool::Repeat;
use crate::hsm::payshield::client::reply::{Data, Reply};
use crate::hsm::payshield::client::token::KeyKind;
use crate::hsm::payshield::wire::field::{
    Account, AnyAccount, FormatCode, Ksn, PinBlock, SealedPin,
};
use crate::hsm::payshield::wire::{Class, ErrorCode, Request, meaning};
use crate::limits::PIN_DIGITS_MIN;

mod change;
mod make;
mod pins;
mod scripts;
mod verify;

/// What one operation works with: the keys of one moment, and the account.
#[derive(Clone, Copy)]
pub(super) struct Desk<'d> {
    pub(super) hsm: &'d PayShield,
    pub(super) keys: &'d Arc<Table>,
    pub(super) account: &'d Account12,
}

/// An answer, sorted by what an operation does about it.
pub(super) enum Answer {
    /// Done, with the fields.
    Done(Data),
    /// The PIN is wrong.
    Wrong,
    /// The new PIN is in the table of excluded ones.
    Excluded,
    /// The table is of PINs of another length.
    OtherLength,
    /// The PIN has fewer digits than the check length.
    Short,
}

/// Shortest check length: a PIN below it is none.
const CHECK_MIN: u8 = 4;

const _: () = assert!(CHECK_MIN as usize == PIN_DIGITS_MIN, "the shortest PIN");

impl PayShield {
    /// Has a command done; where no device does it, the HSM is unavailable.
    pub(super) async fn ask(&self, request: &Request<'_>) -> Result<Reply, HsmError> {
        let asked = self.pool.ask(request, Repeat::Harmless).await;
        asked.map_err(|_| HsmError::Unavailable)
    }

    /// What an answer that is neither done nor a verdict means to the caller. What an operator must do something about
    /// is told in the log, once a second at most.
    pub(super) fn refusal(&self, command: [u8; 2], error: ErrorCode) -> HsmError {
        let meaning = meaning(command, error);
        let (means, alarms) = match meaning.class {
            Class::NoPin => (HsmError::NoPinInBlock, false),
            Class::TooWeak | Class::PinLength => (HsmError::NewPinUnacceptable, false),
            Class::StoredPin => (HsmError::StoredPinCorrupt, true),
            Class::Key => (HsmError::KeyUnusable, true),
            Class::FormatPolicy => (HsmError::TranslationForbidden, true),
            // Done and Wrong are no refusals: as one they are an answer that does not fit its command.
            Class::Done
            | Class::DoneWithWarning
            | Class::Wrong
            | Class::Account
            | Class::OurFault
            | Class::Setup
            | Class::OutOfService
            | Class::FraudLock
            | Class::Unlisted => (HsmError::Unavailable, true),
        };
        let second = self.pool.now().as_secs() + 1;
        if alarms && self.alarmed.swap(second, Ordering::Relaxed) != second {
            let command = command.escape_ascii().to_string();
            tracing::error!(command, code = %error, meaning = meaning.text,
                "a device refuses a command: see its settings and the configured keys");
        }
        means
    }

    /// Sorts an answer. A PIN of fewer than four digits is none, whatever the check length.
    pub(super) fn sort(&self, reply: Reply, check: u8) -> Result<Answer, HsmError> {
        match reply.class() {
            Class::Done | Class::DoneWithWarning => Ok(Answer::Done(reply.data)),
            Class::Wrong => Ok(Answer::Wrong),
            Class::TooWeak => Ok(Answer::Excluded),
            Class::PinLength => Ok(Answer::OtherLength),
            Class::NoPin if reply.error == ErrorCode::PIN_DIGITS && CHECK_MIN < check => {
                Ok(Answer::Short)
            }
            _ => Err(self.refusal(reply.command, reply.error)),
        }
    }
}

impl<'d> Desk<'d> {
    /// Asks a command under the newest key, and in a grace period under the one before it as well.
    ///
    /// Both are asked then: a block of a format that is not bound to an account opens under a wrong key once in six
    /// hundred times, so one that opens under both is refused, because nobody can say which PIN was meant.
    async fn ask_under<'h>(
        &self,
        slot: &'h Slot,
        check: u8,
        request: impl Fn(&'h Held) -> Request<'h>,
    ) -> Result<Answer, HsmError> {
        let newest = request(&slot.newest);
        let clock = &self.hsm.pool.shared.clock;
        let Some(previous) = slot.previous(|| clock.wall()) else {
            return self.hsm.sort(self.hsm.ask(&newest).await?, check);
        };
        let before = request(&previous.held);
        //= spec/pin-change.md#10.4
        //# For the grace period after an exchange a PIN block under the old key MUST be accepted
        //# like one under the new key, over a restart too, and never after it.
        let (newest, before) = join(self.hsm.ask(&newest), self.hsm.ask(&before)).await;
        match (self.hsm.sort(newest?, check), self.hsm.sort(before?, check)) {
            (Ok(answer), Err(_)) => {
                previous.prove_newest();
                Ok(answer)
            }
            (Err(HsmError::NoPinInBlock), Ok(answer)) => Ok(answer),
            (Ok(_), Ok(_)) => Err(HsmError::NoPinInBlock),
            (Err(error), _) => Err(error),
        }
    }

    /// Asks and sorts.
    async fn ask(&self, check: u8, request: &Request<'_>) -> Result<Answer, HsmError> {
        self.hsm.sort(self.hsm.ask(request).await?, check)
    }

    /// The key of a block: a zone key, a key of terminals, or a base derivation key.
    fn key_of(&self, pin: &ZonePin) -> Result<&'d Arc<Slot>, HsmError> {
        let derives = pin.ksn().is_some();
        self.keys.of_kind(pin.key(), |kind| match kind {
            KeyKind::Zpk | KeyKind::Tpk | KeyKind::TpkLegacy => !derives,
            KeyKind::Bdk | KeyKind::Bdk2 => derives,
            KeyKind::MkAc
            | KeyKind::MkSmc
            | KeyKind::MkSmi
            | KeyKind::Pvk
            | KeyKind::Tak
            | KeyKind::Zak
            | KeyKind::Zmk => false,
        })
    }

    fn zpk(&self, id: KeyId) -> Result<&'d Arc<Slot>, HsmError> {
        self.keys.of_kind(id, |kind| kind == KeyKind::Zpk)
    }

    fn pvk(&self, id: KeyId) -> Result<&'d Arc<Slot>, HsmError> {
        self.keys.of_kind(id, |kind| kind == KeyKind::Pvk)
    }

    /// The key that blocks pass through. Configuration refuses products that need it where there is none.
    fn transit(&self) -> Result<(KeyId, &'d Arc<Slot>), HsmError> {
        let id = self.keys.transit.ok_or(HsmError::KeyUnknown)?;
        Ok((id, self.zpk(id)?))
    }

    fn account(&self, format: BlockFormat) -> Account {
        let twelve = Account::Twelve(*self.account.expose_digits());
        match format {
            BlockFormat::Iso4 => self.whole().unwrap_or(twelve),
            BlockFormat::Iso0 | BlockFormat::Iso1 | BlockFormat::Iso3 => twelve,
        }
    }

    fn twelve(&self) -> Account {
        Account::Twelve(*self.account.expose_digits())
    }

    fn whole(&self) -> Option<Account> {
        Account::whole(self.account.pan().expose_digits())
    }

    /// The account of commands that name no format: under an AES LMK the whole number.
    fn any_account(&self) -> AnyAccount {
        let whole = if self.keys.is_aes { self.whole() } else { None };
        AnyAccount(whole.unwrap_or_else(|| self.twelve()))
    }
}

const fn format_code(format: BlockFormat) -> FormatCode {
    match format {
        BlockFormat::Iso0 => FormatCode::ISO_0,
        BlockFormat::Iso1 => FormatCode::ISO_1,
        BlockFormat::Iso3 => FormatCode::ISO_3,
        BlockFormat::Iso4 => FormatCode::ISO_4,
    }
}

/// A block as commands take it. The lengths agree by [`ZonePin`]'s constructor.
fn block_of(pin: &ZonePin) -> Result<PinBlock, HsmError> {
    PinBlock::new(pin.block()).ok_or(HsmError::NoPinInBlock)
}

/// A key serial number as commands take it: its parts are of ten, no and five digits, or of six, none and five.
///
/// Only the whole number enters the derivation, but the parts must leave room for the counter. Twelve bytes are those
/// of AES DUKPT, for which no command is public.
fn ksn_of(ksn: &crate::domain::pin::Ksn) -> Result<Ksn, HsmError> {
    let bytes = ksn.bytes();
    let descriptor = match bytes.len() {
        10 => *b"A05",
        8 => *b"605",
        _ => return Err(HsmError::KeyUnusable),
    };
    let mut digits = [b'0'; 20];
    let shown = digits.get_mut(..2 * bytes.len()).ok_or(HsmError::KeyUnusable)?;
    hex::encode_to_slice(bytes, shown).map_err(|_| HsmError::KeyUnusable)?;
    shown.make_ascii_uppercase();
    let count = u8::try_from(shown.len()).map_err(|_| HsmError::KeyUnusable)?;
    Ok(Ksn { descriptor, digits, count })
}

/// A PIN under the LMK as records keep it: the characters of a variant LMK with zeros behind them, or the 16 bytes of
/// an AES LMK.
fn keep(pin: &SealedPin) -> LmkPin {
    match pin {
        SealedPin::Block(bytes) => LmkPin(*bytes),
        SealedPin::Digits(digits, count) => {
            let mut kept = [0; 16];
            let shown = digits.iter().take(usize::from(*count));
            kept.iter_mut().zip(shown).for_each(|(to, from)| *to = *from);
            LmkPin(kept)
        }
    }
}

/// The same way back. Sixteen bytes that look like so many characters and zeros come out of AES once in 10^20 times.
fn kept(pin: &LmkPin, width: usize) -> SealedPin {
    let (shown, rest) = pin.0.split_at(width.min(pin.0.len()));
    let is_text = rest.iter().all(|byte| *byte == 0)
        && shown.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    SealedPin::digits(shown).filter(|_| is_text).unwrap_or(SealedPin::Block(pin.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_under_the_lmk_come_back_as_they_were() {
        for digits in [&b"0258743"[..], b"4848867", b"0123456789ABC"] {
            let sealed = SealedPin::digits(digits).unwrap();
            assert_eq!(kept(&keep(&sealed), digits.len()), sealed);
        }
        let block = SealedPin::Block(*b"0258743\0\0\0\0\0\0\0\0\x01");
        assert_eq!(kept(&keep(&block), 7), block);
    }

    /// `shared/domain/hsm.md` 5.3 and 2.2: the descriptors of recorded commands.
    #[test]
    fn key_serial_numbers_have_room_for_their_counter() {
        let of =
            |hex: &str| ksn_of(&crate::domain::pin::Ksn::new(&hex::decode(hex).unwrap()).unwrap());
        let ten = of("FFFF9876543210E00001").unwrap();
        assert_eq!((ten.descriptor, ten.fits(), ten.count), (*b"A05", true, 20));
        assert_eq!(hex::encode_upper(ten.padded()), "FFFF9876543210E00001");
        let eight = of("9876543210E00001").unwrap();
        assert_eq!((eight.descriptor, eight.fits()), (*b"605", true));
        assert_eq!(hex::encode_upper(eight.padded()), "FFFF9876543210E00001");
        assert_eq!(of("FFFF9876543210E000010000").err(), Some(HsmError::KeyUnusable));
    }
}
