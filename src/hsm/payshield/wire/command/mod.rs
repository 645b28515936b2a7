//! Every command we speak, as a structure, with the structure of its answer.
//!
//! **Never here:** what a device does with one (`simulator`). Where next: `pins` for translation, verification and
//! change, `keys`, `mac`, `scripts`, `diagnose`.

use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer};

pub mod diagnose;
pub mod dukpt;
pub mod keys;
pub mod mac;
pub mod references;
pub mod scripts;
pub mod translate;
pub mod verify;

use self::diagnose::{Diagnose, Echo, Random, Status};
use self::dukpt::{DukptMac, DukptToZone, DukptVerifyIbm, DukptVerifyPvv};
use self::keys::{CheckKey, ExportKey, GenerateKey, ImportKey, ImportZpk};
use self::mac::{GenerateMac, VerifyMac};
use self::references::{ChangeIbm, ChangePvv, ChosenIbm, ChosenPvv, IbmOfPin, PinOfIbm, PvvOfPin};
use self::scripts::{Script, ScriptEmv};
use self::translate::{
    EncryptPin, FromLmk, RandomPin, RevealPin, TerminalToLmk, TerminalToZone, ZoneToLmk, ZoneToZone,
};
use self::verify::{
    TerminalCompare, TerminalVerifyIbm, TerminalVerifyPvv, ZoneCompare, ZoneVerifyIbm,
    ZoneVerifyPvv,
};

/// The commands.
macro_rules! commands {
    ($($(#[$meta:meta])* $code:literal $name:ident($type:ty),)*) => {
        /// A command.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Request<'a> {
            $($(#[$meta])* $name($type),)*
        }

        impl<'a> Request<'a> {
            /// The code of each.
            pub const CODES: &'static [[u8; 2]] = &[$(*$code,)*];

            /// Its code.
            #[must_use]
            pub const fn code(&self) -> [u8; 2] {
                match self {
                    $(Self::$name(_) => *$code,)*
                }
            }

            /// Reads the fields of the command with this code.
            ///
            /// # Errors
            /// [`Fault`]; 68 where there is no such command.
            pub fn read(code: [u8; 2], reader: &mut Reader<'a>) -> Result<Self, Fault> {
                match &code {
                    $($code => Field::read(reader).map(Self::$name),)*
                    _ => Err(reader.fault(crate::hsm::payshield::wire::ErrorCode::DISABLED)),
                }
            }

            /// Appends its fields.
            pub fn write(&self, writer: &mut Writer<'_>) {
                match self {
                    $(Self::$name(request) => request.write(writer),)*
                }
            }
        }

        #[cfg(test)]
        impl Request<'static> {
            /// Some command with this code.
            pub(crate) fn sample(
                code: [u8; 2],
                draw: &mut crate::hsm::payshield::wire::tests::sample::Draw,
            ) -> Option<Self> {
                match &code {
                    $($code => Some(Self::$name(draw.some())),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    /// Generate a key.
    b"A0" GenerateKey(GenerateKey<'a>),
    /// Import a key from under a ZMK.
    b"A6" ImportKey(ImportKey<'a>),
    /// Export a key under a ZMK.
    b"A8" ExportKey(ExportKey<'a>),
    /// Echo.
    b"B2" Echo(Echo<'a>),
    /// Encrypt a clear PIN.
    b"BA" EncryptPin(EncryptPin),
    /// Compare the PIN of a terminal.
    b"BC" TerminalCompare(TerminalCompare<'a>),
    /// Compare the PIN of an interchange.
    b"BE" ZoneCompare(ZoneCompare<'a>),
    /// IBM offset of a PIN the customer chose.
    b"BK" ChosenIbm(ChosenIbm<'a>),
    /// Check value of a key.
    b"BU" CheckKey(CheckKey<'a>),
    /// Translate a PIN from a terminal to an interchange.
    b"CA" TerminalToZone(TerminalToZone<'a>),
    /// Translate a PIN from one interchange to another.
    b"CC" ZoneToZone(ZoneToZone<'a>),
    /// Verify a PIN and make the PVV of a new one.
    b"CU" ChangePvv(ChangePvv<'a>),
    /// Verify the PIN of a terminal by IBM 3624.
    b"DA" TerminalVerifyIbm(TerminalVerifyIbm<'a>),
    /// Verify the PIN of a terminal by PVV.
    b"DC" TerminalVerifyPvv(TerminalVerifyPvv<'a>),
    /// IBM offset of a PIN under the LMK.
    b"DE" IbmOfPin(IbmOfPin<'a>),
    /// PVV of a PIN under the LMK.
    b"DG" PvvOfPin(PvvOfPin<'a>),
    /// Verify a PIN and make the IBM offset of a new one.
    b"DU" ChangeIbm(ChangeIbm<'a>),
    /// Verify the PIN of an interchange by IBM 3624.
    b"EA" ZoneVerifyIbm(ZoneVerifyIbm<'a>),
    /// Verify the PIN of an interchange by PVV.
    b"EC" ZoneVerifyPvv(ZoneVerifyPvv<'a>),
    /// PIN of an IBM offset.
    b"EE" PinOfIbm(PinOfIbm<'a>),
    /// Import a ZPK from under a ZMK.
    b"FA" ImportZpk(ImportZpk<'a>),
    /// PVV of a PIN the customer chose.
    b"FW" ChosenPvv(ChosenPvv<'a>),
    /// Translate a PIN from DUKPT.
    b"G0" DukptToZone(DukptToZone<'a>),
    /// Verify a DUKPT PIN by IBM 3624.
    b"GO" DukptVerifyIbm(DukptVerifyIbm<'a>),
    /// Verify a DUKPT PIN by PVV.
    b"GQ" DukptVerifyPvv(DukptVerifyPvv<'a>),
    /// MAC under DUKPT.
    b"GW" DukptMac(DukptMac<'a>),
    /// Draw a PIN.
    b"JA" RandomPin(RandomPin<'a>),
    /// Translate a PIN from a terminal to the LMK.
    b"JC" TerminalToLmk(TerminalToLmk<'a>),
    /// Translate a PIN from an interchange to the LMK.
    b"JE" ZoneToLmk(ZoneToLmk<'a>),
    /// Translate a PIN from the LMK to an interchange.
    b"JG" FromLmk(FromLmk<'a>),
    /// Seal an issuer script.
    b"KU" Script(Script<'a>),
    /// Seal an issuer script with session keys of EMV 4.
    b"KY" ScriptEmv(ScriptEmv<'a>),
    /// Make a MAC.
    b"M6" GenerateMac(GenerateMac<'a>),
    /// Verify a MAC.
    b"M8" VerifyMac(VerifyMac<'a>),
    /// Random bytes.
    b"N0" Random(Random),
    /// Is it alive, and which LMK has it.
    b"NC" Diagnose(Diagnose),
    /// Show a PIN.
    b"NG" RevealPin(RevealPin),
    /// What is it set to.
    b"NO" Status(Status),
}
