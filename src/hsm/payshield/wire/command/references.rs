//! References of PINs: DE, DG, EE from a PIN under the LMK and back, BK, FW of a PIN block, CU, DU as a change.
//!
//! CU and DU take one key and one format for both blocks. A wrong current PIN is 01 and nothing else. **Never here:**
//! verification alone (`verify`).

use crate::hsm::payshield::wire::field::{
    Account, Count2, FormatCode, Offset, PinBlock, Pvki, Pvv, SealedPin, Table, ValidationData,
};
use crate::hsm::payshield::wire::key::{Key, KeyType, PinKey, PvkPair};
use crate::hsm::payshield::wire::layout::layout;
use crate::hsm::payshield::wire::option::Excluded;

layout! {
    /// DE.
    IbmOfPin<'a> {
        pvk: Key<'a> = "PVK",
        pin: SealedPin = "PIN under the LMK",
        check: Count2 = "check length",
        account: Account = "account",
        table: Table = "decimalization table",
        data: ValidationData = "validation data",
        excluded: Option<Excluded<'a>> = "excluded PINs",
    }
}

layout! {
    /// DF, BL, DV.
    OffsetOf {
        offset: Offset = "offset",
    }
}

layout! {
    /// EE.
    PinOfIbm<'a> {
        pvk: Key<'a> = "PVK",
        offset: Offset = "offset",
        check: Count2 = "check length",
        account: Account = "account",
        table: Table = "decimalization table",
        data: ValidationData = "validation data",
        excluded: Option<Excluded<'a>> = "excluded PINs",
    }
}

layout! {
    /// DG.
    PvvOfPin<'a> {
        pvk: PvkPair<'a> = "PVK pair",
        pin: SealedPin = "PIN under the LMK",
        account: Account = "account",
        pvki: Pvki = "PVK index",
        excluded: Option<Excluded<'a>> = "excluded PINs",
    }
}

layout! {
    /// DH, FX, CV.
    PvvOf {
        pvv: Pvv = "PVV",
    }
}

layout! {
    /// BK.
    ChosenIbm<'a> {
        key_type: KeyType = "type of the PIN key",
        key: PinKey<'a> = "PIN key",
        pvk: Key<'a> = "PVK",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        check: Count2 = "check length",
        account: Account = "account",
        table: Table = "decimalization table",
        data: ValidationData = "validation data",
        excluded: Option<Excluded<'a>> = "excluded PINs",
    }
}

layout! {
    /// FW.
    ChosenPvv<'a> {
        key_type: KeyType = "type of the PIN key",
        key: PinKey<'a> = "PIN key",
        pvk: PvkPair<'a> = "PVK pair",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        account: Account = "account",
        pvki: Pvki = "PVK index",
        excluded: Option<Excluded<'a>> = "excluded PINs",
    }
}

layout! {
    /// CU.
    ChangePvv<'a> {
        key_type: KeyType = "type of the PIN key",
        key: PinKey<'a> = "PIN key",
        pvk: PvkPair<'a> = "PVK pair",
        current: PinBlock = "block of the current PIN",
        format: FormatCode = "format of both blocks",
        account: Account = "account",
        pvki: Pvki = "PVK index",
        pvv: Pvv = "current PVV",
        new: PinBlock = "block of the new PIN",
        excluded: Option<Excluded<'a>> = "excluded PINs",
    }
}

layout! {
    /// DU.
    ChangeIbm<'a> {
        key_type: KeyType = "type of the PIN key",
        key: PinKey<'a> = "PIN key",
        pvk: Key<'a> = "PVK",
        current: PinBlock = "block of the current PIN",
        format: FormatCode = "format of both blocks",
        check: Count2 = "check length",
        account: Account = "account",
        table: Table = "decimalization table",
        data: ValidationData = "validation data",
        offset: Offset = "current offset",
        new: PinBlock = "block of the new PIN",
        excluded: Option<Excluded<'a>> = "excluded PINs",
    }
}
