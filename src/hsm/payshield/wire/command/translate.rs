//! PINs from one key to another: CA, CC, JC, JE, JG, BA, NG, JA.
//!
//! **Never here:** DUKPT (`dukpt`).

use crate::hsm::payshield::wire::field::{
    Account, AnyAccount, Count2, FormatCode, Ksn, OpenPin, PinBlock, ReferenceNumber, SealedPin,
    Twelve,
};
use crate::hsm::payshield::wire::key::{Key, PinKey};
use crate::hsm::payshield::wire::layout::layout;
use crate::hsm::payshield::wire::option::{BdkFlag, Excluded, PinLength};
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer};

/// Where a PIN goes: a ZPK, or with a flag a BDK and the key serial number of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// Type of the BDK.
    pub flag: Option<BdkFlag>,
    /// The key.
    pub key: Key<'a>,
    /// Its serial number, with a flag only.
    pub ksn: Option<Ksn>,
}

impl<'a> Field<'a> for Destination<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let flag: Option<BdkFlag> = Field::read(reader)?;
        let key = Key::read(reader)?;
        let ksn = flag.map(|_| Ksn::read(reader)).transpose()?;
        Ok(Self { flag, key, ksn })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.flag.write(writer);
        self.key.write(writer);
        self.ksn.iter().for_each(|ksn| ksn.write(writer));
    }
}

layout! {
    /// CA.
    TerminalToZone<'a> {
        source: PinKey<'a> = "TPK",
        destination: Destination<'a> = "destination key",
        longest: Twelve = "longest PIN: 12",
        block: PinBlock = "PIN block",
        from: FormatCode = "format of the block",
        to: FormatCode = "format of the new block",
        account: Account = "account",
    }
}

layout! {
    /// CC.
    ZoneToZone<'a> {
        source: PinKey<'a> = "source ZPK",
        destination: Key<'a> = "destination ZPK",
        longest: Twelve = "longest PIN: 12",
        block: PinBlock = "PIN block",
        from: FormatCode = "format of the block",
        to: FormatCode = "format of the new block",
        account: Account = "account",
    }
}

layout! {
    /// CB, CD, G1.
    Translated {
        digits: Count2 = "length of the PIN",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
    }
}

layout! {
    /// JC.
    TerminalToLmk<'a> {
        source: PinKey<'a> = "TPK",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        account: Account = "account",
    }
}

layout! {
    /// JE.
    ZoneToLmk<'a> {
        source: PinKey<'a> = "ZPK",
        block: PinBlock = "PIN block",
        format: FormatCode = "format of the block",
        account: Account = "account",
    }
}

layout! {
    /// JD, JF, BB, JB, EF.
    UnderLmk {
        pin: SealedPin = "PIN under the LMK",
    }
}

layout! {
    /// JG.
    FromLmk<'a> {
        destination: Key<'a> = "ZPK",
        format: FormatCode = "format of the new block",
        account: Account = "account",
        pin: SealedPin = "PIN under the LMK",
    }
}

layout! {
    /// JH.
    Block {
        block: PinBlock = "PIN block",
    }
}

layout! {
    /// BA.
    EncryptPin {
        pin: OpenPin = "clear PIN",
        account: AnyAccount = "account",
    }
}

layout! {
    /// NG.
    RevealPin {
        account: AnyAccount = "account",
        pin: SealedPin = "PIN under the LMK",
    }
}

layout! {
    /// NH.
    Revealed {
        pin: OpenPin = "clear PIN",
        reference: ReferenceNumber = "reference number",
    }
}

layout! {
    /// JA.
    RandomPin<'a> {
        account: AnyAccount = "account",
        length: Option<PinLength> = "length of the PIN; 4 if not given",
        excluded: Option<Excluded<'a>> = "excluded PINs",
    }
}
