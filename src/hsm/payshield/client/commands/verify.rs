//! Is a PIN right: EC, DC, GQ by PVV, EA, DA, GO by IBM 3624, BE, BC by comparison; DG, DE for a PIN under the LMK.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::domain::pin::{BlockFormat, LmkPin, Method, PresentedPin, Reference, ZonePin};
use crate::hsm::HsmError;
use crate::hsm::payshield::client::commands::{
    Answer, CHECK_MIN, Desk, block_of, format_code, kept, ksn_of,
};
use crate::hsm::payshield::client::keys::{Held, Slot};
use crate::hsm::payshield::client::reply::Data;
use crate::hsm::payshield::client::settings::TableToken;
use crate::hsm::payshield::client::token::KeyKind;
use crate::hsm::payshield::wire::Request;
use crate::hsm::payshield::wire::command::dukpt::{DukptVerifyIbm, DukptVerifyPvv, PinOnly};
use crate::hsm::payshield::wire::command::references::{IbmOfPin, PvvOfPin};
use crate::hsm::payshield::wire::command::verify::{
    TerminalCompare, TerminalVerifyIbm, TerminalVerifyPvv, ZoneCompare, ZoneVerifyIbm,
    ZoneVerifyPvv,
};
use crate::hsm::payshield::wire::field::{
    Account, Count2, FormatCode, Ksn, Offset, PinBlock, Pvki, Pvv, Table, Twelve, ValidationData,
};
use crate::hsm::payshield::wire::key::{Key, PinKey, PvkPair};
use crate::hsm::payshield::wire::option::Excluded;

/// IBM 3624 as commands take it.
#[derive(Clone, Copy)]
pub(super) struct Ibm<'d> {
    pub(super) pvk: &'d Arc<Slot>,
    pub(super) table: Table,
    pub(super) data: ValidationData,
}

/// A block that is verified, without its key.
#[derive(Clone, Copy)]
struct Shown {
    block: PinBlock,
    format: FormatCode,
    account: Account,
    ksn: Option<Ksn>,
    kind: KeyKind,
}

impl Shown {
    fn by_pvv<'a>(self, key: Key<'a>, pvk: PvkPair<'a>, pvki: Pvki, pvv: Pvv) -> Request<'a> {
        let Self { block, format, account, ksn, kind } = self;
        match (ksn, kind.is_terminal()) {
            (Some(ksn), _) => Request::DukptVerifyPvv(DukptVerifyPvv {
                mode: PinOnly,
                flag: kind.bdk_flag(),
                bdk: key,
                pvk,
                ksn,
                block,
                format,
                account,
                verified: None,
                pvki,
                pvv,
            }),
            (None, true) => Request::TerminalVerifyPvv(TerminalVerifyPvv {
                key: PinKey(key),
                pvk,
                block,
                format,
                account,
                pvki,
                pvv,
            }),
            (None, false) => Request::ZoneVerifyPvv(ZoneVerifyPvv {
                key: PinKey(key),
                pvk,
                block,
                format,
                account,
                verified: None,
                pvki,
                pvv,
            }),
        }
    }

    fn by_ibm<'a>(self, key: Key<'a>, ibm: &Ibm<'a>, check: Count2, offset: Offset) -> Request<'a> {
        let Self { block, format, account, ksn, kind } = self;
        let (pvk, table, data) = (ibm.pvk.newest.token.key(), ibm.table, ibm.data);
        let longest = Twelve;
        match (ksn, kind.is_terminal()) {
            (Some(ksn), _) => Request::DukptVerifyIbm(DukptVerifyIbm {
                mode: PinOnly,
                flag: kind.bdk_flag(),
                bdk: key,
                pvk,
                ksn,
                block,
                format,
                check,
                account,
                table,
                data,
                offset,
            }),
            (None, true) => Request::TerminalVerifyIbm(TerminalVerifyIbm {
                key: PinKey(key),
                pvk,
                longest,
                block,
                format,
                check,
                account,
                table,
                data,
                offset,
            }),
            (None, false) => Request::ZoneVerifyIbm(ZoneVerifyIbm {
                key: PinKey(key),
                pvk,
                longest,
                block,
                format,
                check,
                account,
                table,
                data,
                offset,
            }),
        }
    }
}

/// An offset as commands take it.
pub(super) fn offset_of(digits: &[u8; 12], len: u8) -> Offset {
    let mut offset = [b'F'; 12];
    let shown = offset.iter_mut().zip(digits).take(len.into());
    shown.for_each(|(to, digit)| *to = b'0' + digit % 10);
    Offset(offset)
}

/// The same way back.
pub(super) fn reference_of(offset: &Offset) -> Reference {
    let given = offset.digits();
    let mut digits = [0; 12];
    digits.iter_mut().zip(given).for_each(|(to, from)| *to = from.wrapping_sub(b'0'));
    Reference::Offset { digits, len: u8::try_from(given.len()).unwrap_or(0) }
}

/// Whether two references of one method are the same, in constant time.
pub(super) fn same(one: &Reference, other: &Reference) -> bool {
    match (one, other) {
        (Reference::Pvv(one), Reference::Pvv(other)) => one.ct_eq(other).into(),
        (
            Reference::Offset { digits: one, len: one_len },
            Reference::Offset { digits: other, len: other_len },
        ) => (one.ct_eq(other) & one_len.ct_eq(other_len)).into(),
        _ => false,
    }
}

impl<'d> Desk<'d> {
    /// Key, table and validation data of IBM 3624.
    pub(super) fn ibm(&self, method: &Method) -> Result<Ibm<'d>, HsmError> {
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
        let (start, length) = (usize::from(*validation_start), usize::from(*validation_length));
        let digits = self.account.pan().expose_digits().get(start..start + length);
        let mut data = [validation_pad.to_ascii_uppercase(); 16];
        let head = data.get_mut(..length).ok_or(HsmError::KeyUnusable)?;
        head.copy_from_slice(digits.ok_or(HsmError::KeyUnusable)?);
        let tables = &self.hsm.pool.shared.settings.tables;
        let given = tables.iter().find(|(digits, _)| digits == decimalization_table);
        let table = match given.map(|(_, token)| *token) {
            None => Table::Given(*decimalization_table),
            Some(TableToken::Given(token)) => Table::Given(token),
            Some(TableToken::Stored(index)) => Table::Stored(index),
            Some(TableToken::Wide(token)) => Table::Wide(token),
        };
        Ok(Ibm { pvk: self.pvk(*pvk)?, table, data: ValidationData::Whole(data) })
    }

    /// Whether a PIN has this reference.
    pub(in crate::hsm::payshield::client) async fn is_right(
        &self,
        current: &PresentedPin,
        method: &Method,
        reference: &Reference,
    ) -> Result<bool, HsmError> {
        match (method, reference, current) {
            // A card without a PIN: nothing is right, but a block that holds no PIN is told as such.
            (_, Reference::None, PresentedPin::Zone(block)) => {
                if block.ksn().is_some() {
                    let _ = self.pass_transit(block).await?;
                } else {
                    let _ = self.take_in(block).await?;
                }
                Ok(false)
            }
            (_, Reference::None, PresentedPin::Lmk(_)) => Ok(false),
            (Method::VisaPvv { .. }, Reference::Pvv(_), PresentedPin::Zone(block))
            | (Method::Ibm3624 { .. }, Reference::Offset { .. }, PresentedPin::Zone(block)) => {
                self.block_is_right(block, method, reference).await
            }
            (Method::VisaPvv { pvk, pvki }, Reference::Pvv(stored), PresentedPin::Lmk(pin)) => {
                match self.pvv_of(pin, self.pvk(*pvk)?, *pvki, None).await? {
                    Answer::Done(Data::Pvv(made)) => Ok(made.0.ct_eq(stored).into()),
                    _ => Err(HsmError::Unavailable),
                }
            }
            (Method::Ibm3624 { .. }, Reference::Offset { len, .. }, PresentedPin::Lmk(pin)) => {
                match self.offset_of_pin(pin, &self.ibm(method)?, *len, None).await? {
                    Answer::Done(Data::Offset(made)) => Ok(same(&reference_of(&made), reference)),
                    Answer::Short => Ok(false),
                    _ => Err(HsmError::Unavailable),
                }
            }
            (Method::LmkPin, Reference::Lmk(stored), PresentedPin::Zone(block)) => {
                self.compare(block, stored).await
            }
            (Method::LmkPin, Reference::Lmk(stored), PresentedPin::Lmk(pin)) => {
                self.compare_lmk(pin, stored).await
            }
            // A reference of another method is a record gone wrong, not a wrong PIN.
            (Method::VisaPvv { .. }, Reference::Offset { .. } | Reference::Lmk(_), _)
            | (Method::Ibm3624 { .. }, Reference::Pvv(_) | Reference::Lmk(_), _)
            | (Method::LmkPin, Reference::Pvv(_) | Reference::Offset { .. }, _) => {
                Err(HsmError::StoredPinCorrupt)
            }
        }
    }

    async fn block_is_right(
        &self,
        pin: &ZonePin,
        method: &Method,
        reference: &Reference,
    ) -> Result<bool, HsmError> {
        let check = match reference {
            Reference::Offset { len, .. } => (*len).max(CHECK_MIN),
            Reference::None | Reference::Lmk(_) | Reference::Pvv(_) => CHECK_MIN,
        };
        match self.verify_block(pin, method, reference, check).await? {
            Answer::Done(_) => Ok(true),
            // Shorter than the offset: wrong, if it is a PIN at all.
            Answer::Short => match self.verify_block(pin, method, reference, CHECK_MIN).await? {
                Answer::Done(_) | Answer::Wrong | Answer::Short => Ok(false),
                Answer::Excluded | Answer::OtherLength => Err(HsmError::Unavailable),
            },
            Answer::Wrong => Ok(false),
            Answer::Excluded | Answer::OtherLength => Err(HsmError::Unavailable),
        }
    }

    async fn verify_block(
        &self,
        pin: &ZonePin,
        method: &Method,
        reference: &Reference,
        check: u8,
    ) -> Result<Answer, HsmError> {
        let slot = self.key_of(pin)?;
        let shown = Shown {
            block: block_of(pin)?,
            format: format_code(pin.format()),
            account: self.account(pin.format()),
            ksn: pin.ksn().map(ksn_of).transpose()?,
            kind: slot.kind,
        };
        match (method, reference) {
            (Method::VisaPvv { pvk, pvki }, Reference::Pvv(stored)) => {
                let pvk = PvkPair(self.pvk(*pvk)?.newest.token.key());
                let (pvki, pvv) = (Pvki([*pvki]), Pvv(*stored));
                let by_pvv = |held: &'d Held| shown.by_pvv(held.token.key(), pvk, pvki, pvv);
                self.ask_under(slot, check, by_pvv).await
            }
            (_, Reference::Offset { digits, len }) => {
                let ibm = self.ibm(method)?;
                let offset = offset_of(digits, *len);
                let by_ibm =
                    |held: &'d Held| shown.by_ibm(held.token.key(), &ibm, Count2(check), offset);
                self.ask_under(slot, check, by_ibm).await
            }
            (_, Reference::None | Reference::Lmk(_) | Reference::Pvv(_)) => {
                Err(HsmError::StoredPinCorrupt)
            }
        }
    }

    /// The PVV of a PIN under the LMK.
    pub(super) async fn pvv_of(
        &self,
        pin: &LmkPin,
        pvk: &Slot,
        pvki: u8,
        excluded: Option<Excluded<'_>>,
    ) -> Result<Answer, HsmError> {
        let request = Request::PvvOfPin(PvvOfPin {
            pvk: PvkPair(pvk.newest.token.key()),
            pin: kept(pin, self.hsm.pool.shared.settings.pin_digits),
            account: self.twelve(),
            pvki: Pvki([pvki]),
            excluded,
        });
        self.ask(CHECK_MIN, &request).await
    }

    /// The offset of a PIN under the LMK.
    pub(super) async fn offset_of_pin(
        &self,
        pin: &LmkPin,
        ibm: &Ibm<'_>,
        check: u8,
        excluded: Option<Excluded<'_>>,
    ) -> Result<Answer, HsmError> {
        let check = check.max(CHECK_MIN);
        let request = Request::IbmOfPin(IbmOfPin {
            pvk: ibm.pvk.newest.token.key(),
            pin: kept(pin, self.hsm.pool.shared.settings.pin_digits),
            check: Count2(check),
            account: self.twelve(),
            table: ibm.table,
            data: ibm.data,
            excluded,
        });
        self.ask(check, &request).await
    }

    /// Whether a block holds the PIN that is kept.
    pub(super) async fn compare(&self, pin: &ZonePin, stored: &LmkPin) -> Result<bool, HsmError> {
        let transit;
        let pin = if pin.ksn().is_some() {
            transit = self.pass_transit(pin).await?.0;
            &transit
        } else {
            pin
        };
        let slot = self.key_of(pin)?;
        let (block, format) = (block_of(pin)?, format_code(pin.format()));
        let account = self.account(pin.format());
        let stored = kept(stored, self.hsm.pool.shared.settings.pin_digits);
        let answer = self.ask_under(slot, CHECK_MIN, |held| {
            let key = PinKey(held.token.key());
            if slot.kind.is_terminal() {
                let pin = stored;
                Request::TerminalCompare(TerminalCompare { key, block, format, account, pin })
            } else {
                Request::ZoneCompare(ZoneCompare { key, block, format, account, pin: stored })
            }
        });
        match answer.await? {
            Answer::Done(_) => Ok(true),
            Answer::Wrong => Ok(false),
            Answer::Excluded | Answer::OtherLength | Answer::Short => Err(HsmError::Unavailable),
        }
    }

    /// Whether two PINs under the LMK are the same. Under some LMKs equal PINs look different, so a device says it.
    pub(super) async fn compare_lmk(
        &self,
        pin: &LmkPin,
        stored: &LmkPin,
    ) -> Result<bool, HsmError> {
        let (transit, _) = self.transit()?;
        let block = self.give_out(pin, transit, BlockFormat::Iso0).await?;
        self.compare(&block, stored).await
    }
}
