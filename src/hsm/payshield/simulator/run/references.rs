//! DE, DG, EE, BK, FW, CU, DU: references of PINs, and the change of a PIN in one command.
//!
//! The verdict on the current PIN comes first: who did not know it is told nothing of the new one. **Never here:**
//! verification alone (`verify`).

use subtle::ConstantTimeEq;

use crate::hsm::payshield::simulator::pins::{self, Bound};
use crate::hsm::payshield::simulator::run::translate::refuse_excluded;
use crate::hsm::payshield::simulator::run::verify::{Ibm, pvv_of};
use crate::hsm::payshield::simulator::run::{Desk, Done};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::references::{
    ChangeIbm, ChangePvv, ChosenIbm, ChosenPvv, IbmOfPin, OffsetOf, PinOfIbm, PvvOf, PvvOfPin,
};
use crate::hsm::payshield::wire::command::translate::UnderLmk;

pub(super) fn pvv_of_pin(desk: &Desk<'_>, it: &PvvOfPin<'_>) -> Done {
    let pvk = desk.pvk_pair(&it.pvk.0, ErrorCode::SOURCE_PARITY)?;
    let account = Bound::of(&it.account)?.account;
    let pin = desk.open_pin(&it.pin, &account)?;
    refuse_excluded(&pin, it.excluded.as_ref())?;
    Ok(desk.reply(&PvvOf { pvv: pvv_of(&pvk, &account, it.pvki, &pin)? }))
}

pub(super) fn ibm_of_pin(desk: &Desk<'_>, it: &IbmOfPin<'_>) -> Done {
    let pvk = desk.pvk_ibm(&it.pvk, ErrorCode::SOURCE_PARITY)?;
    let ibm = Ibm::new(desk, pvk, it.check, &it.account, (&it.table, &it.data))?;
    let pin = desk.open_pin(&it.pin, &Bound::of(&it.account)?.account)?;
    refuse_excluded(&pin, it.excluded.as_ref())?;
    Ok(desk.reply_with(ibm.success(), &OffsetOf { offset: ibm.offset(&pin)? }))
}

pub(super) fn pin_of_ibm(desk: &Desk<'_>, it: &PinOfIbm<'_>) -> Done {
    let pvk = desk.pvk_ibm(&it.pvk, ErrorCode::SOURCE_PARITY)?;
    let ibm = Ibm::new(desk, pvk, it.check, &it.account, (&it.table, &it.data))?;
    let pin = ibm.pin(&it.offset)?;
    refuse_excluded(&pin, it.excluded.as_ref())?;
    let sealed = desk.seal_pin(&pin, &Bound::of(&it.account)?.account)?;
    Ok(desk.reply_with(ibm.success(), &UnderLmk { pin: sealed }))
}

pub(super) fn chosen_pvv(desk: &Desk<'_>, it: &ChosenPvv<'_>) -> Done {
    // The list of codes has 10 for the PVK and none for the PIN key; which is which a caller cannot tell.
    let key = desk.typed_pin_key(it.key_type, &it.key.0, ErrorCode::SOURCE_PARITY)?;
    let pvk = desk.pvk_pair(&it.pvk.0, ErrorCode::DESTINATION_PARITY)?;
    let bound = Bound::of(&it.account)?;
    let pin = pins::open(&key, &it.block, it.format, &bound)?;
    refuse_excluded(&pin, it.excluded.as_ref())?;
    Ok(desk.reply(&PvvOf { pvv: pvv_of(&pvk, &bound.account, it.pvki, &pin)? }))
}

pub(super) fn chosen_ibm(desk: &Desk<'_>, it: &ChosenIbm<'_>) -> Done {
    let key = desk.typed_pin_key(it.key_type, &it.key.0, ErrorCode::SOURCE_PARITY)?;
    let pvk = desk.pvk_ibm(&it.pvk, ErrorCode::DESTINATION_PARITY)?;
    let ibm = Ibm::new(desk, pvk, it.check, &it.account, (&it.table, &it.data))?;
    let pin = pins::open(&key, &it.block, it.format, &Bound::of(&it.account)?)?;
    refuse_excluded(&pin, it.excluded.as_ref())?;
    Ok(desk.reply_with(ibm.success(), &OffsetOf { offset: ibm.offset(&pin)? }))
}

pub(super) fn change_pvv(desk: &Desk<'_>, it: &ChangePvv<'_>) -> Done {
    let key = desk.typed_pin_key(it.key_type, &it.key.0, ErrorCode::SOURCE_PARITY)?;
    let pvk = desk.pvk_pair(&it.pvk.0, ErrorCode::DESTINATION_PARITY)?;
    let bound = Bound::of(&it.account)?;
    let current = pins::open(&key, &it.current, it.format, &bound)?;
    let made = pvv_of(&pvk, &bound.account, it.pvki, &current)?;
    if !bool::from(made.0.ct_eq(&it.pvv.0)) {
        return Err(ErrorCode::WRONG);
    }
    let new = pins::open(&key, &it.new, it.format, &bound)?;
    refuse_excluded(&new, it.excluded.as_ref())?;
    Ok(desk.reply(&PvvOf { pvv: pvv_of(&pvk, &bound.account, it.pvki, &new)? }))
}

pub(super) fn change_ibm(desk: &Desk<'_>, it: &ChangeIbm<'_>) -> Done {
    let key = desk.typed_pin_key(it.key_type, &it.key.0, ErrorCode::SOURCE_PARITY)?;
    let pvk = desk.pvk_ibm(&it.pvk, ErrorCode::DESTINATION_PARITY)?;
    let ibm = Ibm::new(desk, pvk, it.check, &it.account, (&it.table, &it.data))?;
    let bound = Bound::of(&it.account)?;
    let current = pins::open(&key, &it.current, it.format, &bound)?;
    if !ibm.is_right(&current, &it.offset)? {
        return Err(ErrorCode::WRONG);
    }
    let new = pins::open(&key, &it.new, it.format, &bound)?;
    refuse_excluded(&new, it.excluded.as_ref())?;
    Ok(desk.reply_with(ibm.success(), &OffsetOf { offset: ibm.offset(&new)? }))
}
