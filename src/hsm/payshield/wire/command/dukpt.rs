//! Terminals with derived keys: G0 translates, GO and GQ verify, GW makes and verifies MACs.
//!
//! GO and GQ without a MAC only (mode 0): the tail with one is in no public source. A key serial number has no length
//! of its own, so accounts beside one are of 12 or 18 characters, and format 48 is not served. **Never here:** the
//! derivation (`crate::pin::dukpt`).

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::hsm::payshield::wire::field::{
    Account, Count2, CountedDecimal, FormatCode, Ksn, Letter, Mac8, Offset, PinBlock, Pvki, Pvv,
    Table, ValidationData,
};
use crate::hsm::payshield::wire::key::{Key, PvkPair};
use crate::hsm::payshield::wire::layout::layout;
use crate::hsm::payshield::wire::option::{BdkFlag, OtherAccount};
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer};

/// G0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DukptToZone<'a> {
    /// Type of the BDK.
    pub flag: Option<BdkFlag>,
    /// BDK.
    pub bdk: Key<'a>,
    /// Type of the destination, if it is a BDK.
    pub destination_flag: Option<BdkFlag>,
    /// ZPK, or BDK with the flag.
    pub destination: Key<'a>,
    /// Of the terminal.
    pub ksn: Ksn,
    /// Of the destination, with the flag only.
    pub destination_ksn: Option<Ksn>,
    /// PIN block.
    pub block: PinBlock,
    /// Format of the block.
    pub from: FormatCode,
    /// Format of the new block.
    pub to: FormatCode,
    /// Account.
    pub account: Account,
    /// Account of the new block, if it is another one (tokens).
    pub other: Option<OtherAccount>,
}

impl<'a> Field<'a> for DukptToZone<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let flag = reader.field("flag of the BDK")?;
        let bdk = reader.field("BDK")?;
        let destination_flag: Option<BdkFlag> = reader.field("flag of the destination")?;
        let destination = reader.field("destination key")?;
        let ksn = reader.field("KSN")?;
        let destination_ksn =
            destination_flag.map(|_| reader.field("KSN of the destination")).transpose()?;
        Ok(Self {
            flag,
            bdk,
            destination_flag,
            destination,
            ksn,
            destination_ksn,
            block: reader.field("PIN block")?,
            from: reader.field("format of the block")?,
            to: reader.field("format of the new block")?,
            account: reader.field("account")?,
            other: reader.field("account of the new block")?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.flag.write(writer);
        self.bdk.write(writer);
        self.destination_flag.write(writer);
        self.destination.write(writer);
        self.ksn.write(writer);
        self.destination_ksn.iter().for_each(|ksn| ksn.write(writer));
        self.block.write(writer);
        self.from.write(writer);
        self.to.write(writer);
        self.account.write(writer);
        self.other.write(writer);
    }
}

/// The mode of GO and GQ that is known: `0`, PIN only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinOnly;

impl<'a> Field<'a> for PinOnly {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let bad = reader.fault(ErrorCode::INPUT);
        if reader.skip(b'0') { Ok(Self) } else { Err(bad) }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b'0');
    }
}

layout! {
    /// GO.
    DukptVerifyIbm<'a> {
        mode: PinOnly = "mode: 0",
        flag: Option<BdkFlag> = "flag of the BDK",
        bdk: Key<'a> = "BDK",
        pvk: Key<'a> = "PVK",
        ksn: Ksn = "KSN",
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
    /// GQ.
    DukptVerifyPvv<'a> {
        mode: PinOnly = "mode: 0",
        flag: Option<BdkFlag> = "flag of the BDK",
        bdk: Key<'a> = "BDK",
        pvk: PvkPair<'a> = "PVK pair",
        ksn: Ksn = "KSN",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        account: Account = "account",
        verified: Option<OtherAccount> = "account the PVV is of",
        pvki: Pvki = "PVK index",
        pvv: Pvv = "PVV",
    }
}

/// GW: `4` makes a MAC of 16 hex digits, `1` verifies one. Other modes are in no public source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DukptMac<'a> {
    /// Method of the MAC.
    pub method: Letter,
    /// BDK.
    pub bdk: Key<'a>,
    /// Of the terminal.
    pub ksn: Ksn,
    /// What is verified; nothing where one is made.
    pub mac: Option<Mac8>,
    /// The message.
    pub message: CountedDecimal<'a>,
}

impl<'a> Field<'a> for DukptMac<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let bad = reader.fault(ErrorCode::SHORT_KEY);
        let verifies = match reader.take(1)? {
            b"1" => true,
            b"4" => false,
            _ => return Err(bad),
        };
        Ok(Self {
            method: reader.field("method")?,
            bdk: reader.field("BDK")?,
            ksn: reader.field("KSN")?,
            mac: if verifies { Some(reader.field("MAC")?) } else { None },
            message: reader.field("message")?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(if self.mac.is_some() { b'1' } else { b'4' });
        self.method.write(writer);
        self.bdk.write(writer);
        self.ksn.write(writer);
        self.mac.iter().for_each(|mac| mac.write(writer));
        self.message.write(writer);
    }
}
