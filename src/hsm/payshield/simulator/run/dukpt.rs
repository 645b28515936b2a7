//! G0, GO, GQ, GW: terminals whose keys are derived from a BDK.
//!
//! **Never here:** the derivation (`crate::pin::dukpt`).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::hsm::payshield::simulator::key::{OpenKey, Wanted};
use crate::hsm::payshield::simulator::pins::{self, Bound};
use crate::hsm::payshield::simulator::run::translate::Translation;
use crate::hsm::payshield::simulator::run::verify::{Ibm, pvv_of, verdict};
use crate::hsm::payshield::simulator::run::{Desk, Done, ENCRYPTS, PinKeyOf, Reply};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::dukpt::{
    DukptMac, DukptToZone, DukptVerifyIbm, DukptVerifyPvv,
};
use crate::hsm::payshield::wire::field::{Ksn, Mac8};
use crate::hsm::payshield::wire::key::{Key, KeyType};
use crate::hsm::payshield::wire::option::BdkFlag;
use crate::pin::dukpt::{Purpose, working_key};

/// The key of one transaction.
fn derived(
    desk: &Desk<'_>,
    flag: Option<BdkFlag>,
    bdk: &Key<'_>,
    ksn: &Ksn,
    (purpose, parity): (Purpose, ErrorCode),
) -> Result<OpenKey, ErrorCode> {
    let key_type: &[KeyType] = match flag.map(|flag| flag.0) {
        None | Some(b'*') => &[KeyType(*b"009")],
        Some(b'~') => &[KeyType(*b"609")],
        Some(b'|') => &[KeyType(*b"809")],
        Some(_) => &[KeyType(*b"909")],
    };
    let wanted = Wanted { types: key_type, usages: &[b"B0"], modes: b"NX", parity };
    let bdk = desk.lmk.open(bdk, &wanted)?.double()?;
    if !ksn.fits() {
        return Err(ErrorCode::INPUT);
    }
    let key = working_key(&bdk, &ksn.padded(), purpose);
    Ok(OpenKey::new(Zeroizing::new(key.to_vec()), false))
}

/// The PIN key of one transaction.
pub(super) fn pin_key(
    desk: &Desk<'_>,
    flag: Option<BdkFlag>,
    bdk: &Key<'_>,
    ksn: &Ksn,
    parity: ErrorCode,
) -> Result<OpenKey, ErrorCode> {
    derived(desk, flag, bdk, ksn, (Purpose::Pin, parity))
}

pub(super) fn to_zone(desk: &Desk<'_>, it: &DukptToZone<'_>) -> Done {
    let account = Bound::of(&it.account)?;
    let other = it.other.map(|other| Bound::of_twelve(&other.0)).transpose()?;
    let source = pin_key(desk, it.flag, &it.bdk, &it.ksn, ErrorCode::SOURCE_PARITY)?;
    let parity = ErrorCode::DESTINATION_PARITY;
    let destination = match &it.destination_ksn {
        Some(ksn) => pin_key(desk, it.destination_flag, &it.destination, ksn, parity)?,
        None => desk.pin_key(&it.destination, PinKeyOf::Zone, ENCRYPTS, parity)?,
    };
    Translation {
        source: &source,
        destination: &destination,
        block: &it.block,
        from: it.from,
        to: it.to,
        account: &account,
        new_account: other.as_ref().unwrap_or(&account),
    }
    .run(desk)
}

pub(super) fn verify_ibm(desk: &Desk<'_>, it: &DukptVerifyIbm<'_>) -> Done {
    let key = pin_key(desk, it.flag, &it.bdk, &it.ksn, ErrorCode::SOURCE_PARITY)?;
    let pvk = desk.pvk_ibm(&it.pvk, ErrorCode::DESTINATION_PARITY)?;
    let ibm = Ibm::new(desk, pvk, it.check, &it.account, (&it.table, &it.data))?;
    let pin = pins::open(&key, &it.block, it.format, &Bound::of(&it.account)?)?;
    if ibm.is_right(&pin, &it.offset)? {
        Ok(Reply::code(ibm.success()))
    } else {
        Err(ErrorCode::WRONG)
    }
}

pub(super) fn verify_pvv(desk: &Desk<'_>, it: &DukptVerifyPvv<'_>) -> Done {
    let key = pin_key(desk, it.flag, &it.bdk, &it.ksn, ErrorCode::SOURCE_PARITY)?;
    let pvk = desk.pvk_pair(&it.pvk.0, ErrorCode::DESTINATION_PARITY)?;
    let bound = Bound::of(&it.account)?;
    let other = it.verified.map(|other| Bound::of_twelve(&other.0)).transpose()?;
    let pin = pins::open(&key, &it.block, it.format, &bound)?;
    let account = other.map_or(bound.account, |other| other.account);
    verdict(pvv_of(&pvk, &account, it.pvki, &pin)?.0.ct_eq(&it.pvv.0))
}

/// CBC-MAC with the whole key over the message and zeros: what a device's traces show.
pub(super) fn mac(desk: &Desk<'_>, it: &DukptMac<'_>) -> Done {
    let purpose = (Purpose::MacRequest, ErrorCode::SOURCE_PARITY);
    let key = derived(desk, None, &it.bdk, &it.ksn, purpose)?;
    let made = key.cipher()?.chain(&[0; 8], it.message.0.0);
    let mut digits = [0; 16];
    hex::encode_to_slice(&made, &mut digits).map_err(|_| ErrorCode::INPUT)?;
    digits.make_ascii_uppercase();
    match it.mac {
        None => Ok(desk.reply(&Mac8(digits))),
        Some(stated) => verdict(stated.0.ct_eq(&digits)),
    }
}
