//! CA, CC, JC, JE, JG, BA, NG, JA.
//!
//! **Never here:** verification.

use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::hsm::payshield::simulator::key::OpenKey;
use crate::hsm::payshield::simulator::lmk::Kind;
use crate::hsm::payshield::simulator::pins::{self, Bound};
use crate::hsm::payshield::simulator::run::{DECRYPTS, Desk, Done, ENCRYPTS, PinKeyOf, dukpt};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::translate::{
    Block, EncryptPin, FromLmk, RandomPin, RevealPin, Revealed, TerminalToLmk, TerminalToZone,
    Translated, UnderLmk, ZoneToLmk, ZoneToZone,
};
use crate::hsm::payshield::wire::field::{
    Account, Count2, FormatCode, OpenPin, PinBlock, ReferenceNumber, SealedPin,
};
use crate::hsm::payshield::wire::key::Key;
use crate::hsm::payshield::wire::option::Excluded;
use crate::pin::clear::ClearPin;

/// PINs drawn before a table of excluded ones is taken to leave none.
const DRAWS_MAX: usize = 64;

/// What CA and CC do alike, once both keys are open.
pub(super) struct Translation<'t> {
    pub(super) source: &'t OpenKey,
    pub(super) destination: &'t OpenKey,
    pub(super) block: &'t PinBlock,
    pub(super) from: FormatCode,
    pub(super) to: FormatCode,
    pub(super) account: &'t Bound,
    pub(super) new_account: &'t Bound,
}

impl Translation<'_> {
    pub(super) fn run(&self, desk: &Desk<'_>) -> Done {
        if desk.state.pci && !pins::may_translate(self.from, self.to) {
            return Err(ErrorCode::FORMAT);
        }
        let pin = pins::open(self.source, self.block, self.from, self.account)?;
        let made = pins::make(self.destination, &pin, self.to, self.new_account, desk.fresh()?)?;
        Ok(desk.reply(&Translated {
            digits: Count2(pin.digit_count()),
            block: made,
            format: self.to,
        }))
    }
}

pub(super) fn terminal_to_zone(desk: &Desk<'_>, it: &TerminalToZone<'_>) -> Done {
    let account = Bound::of(&it.account)?;
    let source =
        desk.pin_key(&it.source.0, PinKeyOf::Terminal, DECRYPTS, ErrorCode::SOURCE_PARITY)?;
    let to = &it.destination;
    let destination = match (to.flag, to.ksn) {
        (Some(flag), Some(ksn)) => {
            dukpt::pin_key(desk, Some(flag), &to.key, &ksn, ErrorCode::DESTINATION_PARITY)?
        }
        _ => desk.pin_key(&to.key, PinKeyOf::Zone, ENCRYPTS, ErrorCode::DESTINATION_PARITY)?,
    };
    Translation {
        source: &source,
        destination: &destination,
        block: &it.block,
        from: it.from,
        to: it.to,
        account: &account,
        new_account: &account,
    }
    .run(desk)
}

pub(super) fn zone_to_zone(desk: &Desk<'_>, it: &ZoneToZone<'_>) -> Done {
    let account = Bound::of(&it.account)?;
    let source = desk.pin_key(&it.source.0, PinKeyOf::Zone, DECRYPTS, ErrorCode::SOURCE_PARITY)?;
    let destination =
        desk.pin_key(&it.destination, PinKeyOf::Zone, ENCRYPTS, ErrorCode::DESTINATION_PARITY)?;
    Translation {
        source: &source,
        destination: &destination,
        block: &it.block,
        from: it.from,
        to: it.to,
        account: &account,
        new_account: &account,
    }
    .run(desk)
}

impl Desk<'_> {
    /// A PIN under the LMK, in the form of its kind.
    pub(super) fn seal_pin(
        &self,
        pin: &ClearPin,
        account: &Account12,
    ) -> Result<SealedPin, ErrorCode> {
        if self.lmk.kind == Kind::AesBlock {
            return Ok(self.state.pins.seal_wide(pin, account, self.fresh()?));
        }
        let sealed = self.state.pins.seal(pin, account, self.settings().pin_digits);
        sealed.ok_or(ErrorCode::PIN_DIGITS)
    }

    /// A PIN that was under the LMK.
    pub(super) fn open_pin(
        &self,
        pin: &SealedPin,
        account: &Account12,
    ) -> Result<ClearPin, ErrorCode> {
        let fits = matches!(pin, SealedPin::Block(_)) == (self.lmk.kind == Kind::AesBlock);
        let opened = self.state.pins.open(pin, account).filter(|_| fits);
        opened.ok_or(ErrorCode::LMK_PIN)
    }
}

fn to_lmk(
    desk: &Desk<'_>,
    key: (&Key<'_>, PinKeyOf),
    block: &PinBlock,
    format: FormatCode,
    account: &Account,
) -> Done {
    let account = Bound::of(account)?;
    let key = desk.pin_key(key.0, key.1, DECRYPTS, ErrorCode::SOURCE_PARITY)?;
    let pin = pins::open(&key, block, format, &account)?;
    Ok(desk.reply(&UnderLmk { pin: desk.seal_pin(&pin, &account.account)? }))
}

pub(super) fn terminal_to_lmk(desk: &Desk<'_>, it: &TerminalToLmk<'_>) -> Done {
    to_lmk(desk, (&it.source.0, PinKeyOf::Terminal), &it.block, it.format, &it.account)
}

pub(super) fn zone_to_lmk(desk: &Desk<'_>, it: &ZoneToLmk<'_>) -> Done {
    to_lmk(desk, (&it.source.0, PinKeyOf::Zone), &it.block, it.format, &it.account)
}

pub(super) fn from_lmk(desk: &Desk<'_>, it: &FromLmk<'_>) -> Done {
    let account = Bound::of(&it.account)?;
    let key =
        desk.pin_key(&it.destination, PinKeyOf::Zone, ENCRYPTS, ErrorCode::DESTINATION_PARITY)?;
    let bound = [FormatCode::ISO_0, FormatCode::ISO_3, FormatCode::ISO_4];
    if desk.state.pci && !bound.contains(&it.format) {
        return Err(ErrorCode::FORMAT);
    }
    let pin = desk.open_pin(&it.pin, &account.account)?;
    let block = pins::make(&key, &pin, it.format, &account, desk.fresh()?)?;
    Ok(desk.reply(&Block { block }))
}

pub(super) fn encrypt(desk: &Desk<'_>, it: &EncryptPin) -> Done {
    if !desk.state.authorised {
        return Err(ErrorCode::UNAUTHORISED);
    }
    let account = Bound::of(&it.account.0)?;
    let pin = ClearPin::from_ascii(it.pin.expose_digits()).ok_or(ErrorCode::PIN_DIGITS)?;
    Ok(desk.reply(&UnderLmk { pin: desk.seal_pin(&pin, &account.account)? }))
}

pub(super) fn reveal(desk: &Desk<'_>, it: &RevealPin) -> Done {
    if !desk.state.authorised {
        return Err(ErrorCode::UNAUTHORISED);
    }
    let account = Bound::of(&it.account.0)?.account;
    let pin = desk.open_pin(&it.pin, &account)?;
    let mut ascii = Zeroizing::new(*pin.expose_digits());
    ascii.iter_mut().for_each(|digit| *digit += b'0');
    let shown = ascii.get(..usize::from(pin.digit_count())).unwrap_or_default();
    let pin = OpenPin::new(shown, desk.settings().pin_digits).ok_or(ErrorCode::LMK_PIN)?;
    // How a device makes the number is not public: here it is the account, which PIN mailers are filed by.
    Ok(desk.reply(&Revealed { pin, reference: ReferenceNumber(*account.expose_digits()) }))
}

/// Whether a PIN is in a table. 81 where the table is of PINs of another length.
pub(super) fn refuse_excluded(
    pin: &ClearPin,
    excluded: Option<&Excluded<'_>>,
) -> Result<(), ErrorCode> {
    let Some(table) = excluded else { return Ok(()) };
    if table.length != pin.digit_count() {
        return Err(ErrorCode::PIN_LENGTH);
    }
    let listed = |ascii: &[u8]| {
        ClearPin::from_ascii(ascii).is_some_and(|other| bool::from(other.same_as(pin)))
    };
    if table.each().any(listed) { Err(ErrorCode::EXCLUDED) } else { Ok(()) }
}

pub(super) fn random(desk: &Desk<'_>, it: &RandomPin<'_>) -> Done {
    let account = Bound::of(&it.account.0)?;
    let digits = it.length.map_or(4, |length| length.0);
    if !(4..=12).contains(&digits) {
        return Err(ErrorCode::PIN_LENGTH);
    }
    for _ in 0..DRAWS_MAX {
        let drawn: [u8; 16] = desk.fresh()?;
        // 10^12 divides 2^128 so nearly that no digit is likelier than another.
        let ascii =
            Zeroizing::new(format!("{:012}", u128::from_be_bytes(drawn) % 1_000_000_000_000));
        let wanted = ascii.as_bytes().get(..usize::from(digits)).unwrap_or_default();
        let pin = ClearPin::from_ascii(wanted).ok_or(ErrorCode::PIN_LENGTH)?;
        match refuse_excluded(&pin, it.excluded.as_ref()) {
            Ok(()) => {
                return Ok(desk.reply(&UnderLmk { pin: desk.seal_pin(&pin, &account.account)? }));
            }
            Err(ErrorCode::EXCLUDED) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorCode::EXCLUDED)
}
