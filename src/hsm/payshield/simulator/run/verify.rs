//! BC, BE, DA, EA, DC, EC: is a PIN right.
//!
//! Values are compared in constant time. **Never here:** new references.

use subtle::ConstantTimeEq;

use crate::domain::pan::Account12;
use crate::hsm::payshield::simulator::key::OpenKey;
use crate::hsm::payshield::simulator::pins::{self, Bound};
use crate::hsm::payshield::simulator::run::{DECRYPTS, Desk, Done, PinKeyOf, Reply};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::verify::{
    TerminalCompare, TerminalVerifyIbm, TerminalVerifyPvv, ZoneCompare, ZoneVerifyIbm,
    ZoneVerifyPvv,
};
use crate::hsm::payshield::wire::field::{
    Account, Count2, FormatCode, Offset, PinBlock, Pvki, Pvv, SealedPin, Table, ValidationData,
};
use crate::hsm::payshield::wire::key::Key;
use crate::pin::clear::ClearPin;
use crate::pin::ibm3624::{self, DecimalizationTable};
use crate::pin::pvv::pvv;

/// 00, or 01.
pub(super) fn verdict(right: impl Into<bool>) -> Done {
    if right.into() { Ok(Reply::code(ErrorCode::OK)) } else { Err(ErrorCode::WRONG) }
}

/// A PIN block with what opens it.
pub(super) struct Presented<'p> {
    pub(super) key: (&'p Key<'p>, PinKeyOf),
    pub(super) block: &'p PinBlock,
    pub(super) format: FormatCode,
    pub(super) account: &'p Account,
}

impl Presented<'_> {
    fn key(&self, desk: &Desk<'_>) -> Result<OpenKey, ErrorCode> {
        desk.pin_key(self.key.0, self.key.1, DECRYPTS, ErrorCode::SOURCE_PARITY)
    }

    fn open(&self, key: &OpenKey) -> Result<(ClearPin, Account12), ErrorCode> {
        let bound = Bound::of(self.account)?;
        Ok((pins::open(key, self.block, self.format, &bound)?, bound.account))
    }
}

fn compare(desk: &Desk<'_>, presented: &Presented<'_>, stored: &SealedPin) -> Done {
    let (pin, account) = presented.open(&presented.key(desk)?)?;
    verdict(desk.open_pin(stored, &account)?.same_as(&pin))
}

pub(super) fn terminal_compare(desk: &Desk<'_>, it: &TerminalCompare<'_>) -> Done {
    let key = (&it.key.0, PinKeyOf::Terminal);
    compare(
        desk,
        &Presented { key, block: &it.block, format: it.format, account: &it.account },
        &it.pin,
    )
}

pub(super) fn zone_compare(desk: &Desk<'_>, it: &ZoneCompare<'_>) -> Done {
    let key = (&it.key.0, PinKeyOf::Zone);
    compare(
        desk,
        &Presented { key, block: &it.block, format: it.format, account: &it.account },
        &it.pin,
    )
}

/// PVV of a PIN.
pub(super) fn pvv_of(
    pvk: &OpenKey,
    account: &Account12,
    pvki: Pvki,
    pin: &ClearPin,
) -> Result<Pvv, ErrorCode> {
    Ok(Pvv(pvv(pvk.tdes()?, account, pvki.0[0] & 0x0F, pin)))
}

fn by_pvv(
    desk: &Desk<'_>,
    presented: &Presented<'_>,
    pvk: &Key<'_>,
    account: Option<Account12>,
    (pvki, stated): (Pvki, Pvv),
) -> Done {
    let key = presented.key(desk)?;
    let pvk = desk.pvk_pair(pvk, ErrorCode::DESTINATION_PARITY)?;
    let (pin, own) = presented.open(&key)?;
    let made = pvv_of(&pvk, &account.unwrap_or(own), pvki, &pin)?;
    verdict(made.0.ct_eq(&stated.0))
}

pub(super) fn terminal_pvv(desk: &Desk<'_>, it: &TerminalVerifyPvv<'_>) -> Done {
    let key = (&it.key.0, PinKeyOf::Terminal);
    let presented = Presented { key, block: &it.block, format: it.format, account: &it.account };
    by_pvv(desk, &presented, &it.pvk.0, None, (it.pvki, it.pvv))
}

pub(super) fn zone_pvv(desk: &Desk<'_>, it: &ZoneVerifyPvv<'_>) -> Done {
    let key = (&it.key.0, PinKeyOf::Zone);
    let presented = Presented { key, block: &it.block, format: it.format, account: &it.account };
    let other = it.verified.map(|other| Bound::of_twelve(&other.0)).transpose()?;
    by_pvv(desk, &presented, &it.pvk.0, other.map(|other| other.account), (it.pvki, it.pvv))
}

/// What IBM 3624 works with, beside the PIN.
pub(super) struct Ibm {
    pvk: OpenKey,
    table: DecimalizationTable,
    data: ibm3624::ValidationData,
    check: u8,
}

impl Ibm {
    /// Checks table, data and check length.
    ///
    /// # Errors
    /// 25 for the table, 15 for the rest.
    pub(super) fn new(
        desk: &Desk<'_>,
        pvk: OpenKey,
        check: Count2,
        account: &Account,
        (table, data): (&Table, &ValidationData),
    ) -> Result<Self, ErrorCode> {
        let Table::Given(digits) = table else {
            // User storage is empty, and how a table is kept under an AES LMK is not public.
            return Err(ErrorCode::TABLE);
        };
        let table = desk.state.table(*digits).ok_or(ErrorCode::TABLE)?;
        let table = DecimalizationTable::new(&table).map_err(|_| ErrorCode::TABLE)?;
        let twelve = *Bound::of(account)?.account.expose_digits();
        let data = data.bytes(&twelve).ok_or(ErrorCode::INPUT)?;
        if !(4..=12).contains(&check.0) {
            return Err(ErrorCode::INPUT);
        }
        Ok(Self { pvk, table, data: ibm3624::ValidationData::from_bytes(data), check: check.0 })
    }

    /// 02 with a PVK of more than single length, else 00.
    pub(super) fn success(&self) -> ErrorCode {
        if self.pvk.expose().len() == 8 { ErrorCode::OK } else { ErrorCode::SHORT_KEY }
    }

    /// The offset of a PIN. The check length is the shortest PIN: 24 for a shorter one.
    pub(super) fn offset(&self, pin: &ClearPin) -> Result<Offset, ErrorCode> {
        if pin.digit_count() < self.check {
            return Err(ErrorCode::PIN_DIGITS);
        }
        let values = ibm3624::offset(self.pvk.tdes()?, &self.table, &self.data, pin);
        let mut offset = [b'F'; 12];
        let shown = offset.iter_mut().zip(values).take(usize::from(pin.digit_count()));
        shown.for_each(|(to, value)| *to = b'0' + value);
        Ok(Offset(offset))
    }

    /// The PIN of an offset.
    pub(super) fn pin(&self, offset: &Offset) -> Result<ClearPin, ErrorCode> {
        let digits = offset.digits();
        let pin = ibm3624::pin_of_offset(self.pvk.tdes()?, &self.table, &self.data, digits);
        pin.filter(|pin| self.check <= pin.digit_count()).ok_or(ErrorCode::PIN_DIGITS)
    }

    /// Whether a PIN has this offset.
    pub(super) fn is_right(&self, pin: &ClearPin, stated: &Offset) -> Result<bool, ErrorCode> {
        Ok(self.offset(pin)?.0.ct_eq(&stated.0).into())
    }
}

fn by_ibm(
    desk: &Desk<'_>,
    presented: &Presented<'_>,
    pvk: &Key<'_>,
    check: Count2,
    rest: (&Table, &ValidationData, &Offset),
) -> Done {
    let key = presented.key(desk)?;
    let pvk = desk.pvk_ibm(pvk, ErrorCode::DESTINATION_PARITY)?;
    let ibm = Ibm::new(desk, pvk, check, presented.account, (rest.0, rest.1))?;
    let (pin, _) = presented.open(&key)?;
    if ibm.is_right(&pin, rest.2)? { Ok(Reply::code(ibm.success())) } else { Err(ErrorCode::WRONG) }
}

pub(super) fn terminal_ibm(desk: &Desk<'_>, it: &TerminalVerifyIbm<'_>) -> Done {
    let key = (&it.key.0, PinKeyOf::Terminal);
    let presented = Presented { key, block: &it.block, format: it.format, account: &it.account };
    by_ibm(desk, &presented, &it.pvk, it.check, (&it.table, &it.data, &it.offset))
}

pub(super) fn zone_ibm(desk: &Desk<'_>, it: &ZoneVerifyIbm<'_>) -> Done {
    let key = (&it.key.0, PinKeyOf::Zone);
    let presented = Presented { key, block: &it.block, format: it.format, account: &it.account };
    by_ibm(desk, &presented, &it.pvk, it.check, (&it.table, &it.data, &it.offset))
}
