//! NC, NO, B2, N0: is the device alive, and how is it set.
//!
//! **Never here:** keys or PINs.

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::hsm::payshield::wire::field::{Count3, Firmware, Mac8, Mode2, Raw, Text};
use crate::hsm::payshield::wire::layout::layout;
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer};

layout! {
    /// Nothing: answers that are a code only.
    Nothing {}
}

layout! {
    /// NC.
    Diagnose {}
}

layout! {
    /// ND.
    Diagnosed {
        lmk_check: Mac8 = "LMK check value: six digits and ten zeros",
        firmware: Firmware = "firmware",
    }
}

layout! {
    /// NO.
    Status {
        mode: Mode2 = "mode: 00 settings, 01 PCI-HSM",
    }
}

layout! {
    /// NP: text, whose parts depend on mode and firmware.
    StatusText<'a> {
        text: Text<'a> = "status",
    }
}

layout! {
    /// B3.
    Echoed<'a> {
        data: Raw<'a> = "data",
    }
}

layout! {
    /// N0.
    Random {
        count: Count3 = "how many bytes",
    }
}

layout! {
    /// N1.
    RandomBytes<'a> {
        bytes: Raw<'a> = "random bytes",
    }
}

/// B2: four hex digits of length, and the data. Fewer are error 80, more are 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// The data.
    pub data: &'a [u8],
}

impl<'a> Field<'a> for Echo<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let length = reader.hex_number(4)?;
        let short = reader.fault(ErrorCode::DATA_LENGTH);
        Ok(Self { data: reader.binary(length).map_err(|_| short)? })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.number(self.data.len(), 4, 16);
        writer.binary(self.data);
    }
}
