//! Is a PIN right: BC, BE by comparison, DA, EA by IBM 3624, DC, EC by PVV. All are answered with a code only.
//!
//! **Never here:** commands that make a reference (`references`).

use crate::hsm::payshield::wire::field::{
    Account, Count2, FormatCode, Offset, PinBlock, Pvki, Pvv, SealedPin, Table, Twelve,
    ValidationData,
};
use crate::hsm::payshield::wire::key::{Key, PinKey, PvkPair};
use crate::hsm::payshield::wire::layout::layout;
use crate::hsm::payshield::wire::option::OtherAccount;

layout! {
    /// BC.
    TerminalCompare<'a> {
        key: PinKey<'a> = "TPK",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        account: Account = "account",
        pin: SealedPin = "PIN under the LMK",
    }
}

layout! {
    /// BE.
    ZoneCompare<'a> {
        key: PinKey<'a> = "ZPK",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        account: Account = "account",
        pin: SealedPin = "PIN under the LMK",
    }
}

layout! {
    /// DA.
    TerminalVerifyIbm<'a> {
        key: PinKey<'a> = "TPK",
        pvk: Key<'a> = "PVK",
        longest: Twelve = "longest PIN: 12",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        check: Count2 = "check length",
        account: Account = "account",
        table: Table = "decimalization table",
        data: ValidationData = "validation data",
        offset: Offset = "offset",
    }
}

layout! {
    /// EA.
    ZoneVerifyIbm<'a> {
        key: PinKey<'a> = "ZPK",
        pvk: Key<'a> = "PVK",
        longest: Twelve = "longest PIN: 12",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        check: Count2 = "check length",
        account: Account = "account",
        table: Table = "decimalization table",
        data: ValidationData = "validation data",
        offset: Offset = "offset",
    }
}

layout! {
    /// DC.
    TerminalVerifyPvv<'a> {
        key: PinKey<'a> = "TPK",
        pvk: PvkPair<'a> = "PVK pair",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        account: Account = "account",
        pvki: Pvki = "PVK index",
        pvv: Pvv = "PVV",
    }
}

layout! {
    /// EC.
    ZoneVerifyPvv<'a> {
        key: PinKey<'a> = "ZPK",
        pvk: PvkPair<'a> = "PVK pair",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        account: Account = "account",
        verified: Option<OtherAccount> = "account the PVV is of",
        pvki: Pvki = "PVK index",
        pvv: Pvv = "PVV",
    }
}
