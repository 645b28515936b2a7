//! Chip data of a message (DE 55): what the card says of its transaction, and the issuer script that answers it.
//!
//! A dialect names the element by `chip` in `[pin_change]`. Three tags are read, nothing is given back of what came.
//! **Never here:** what becomes of it (`switch`), a script's inside.

use crate::domain::chip::{Chip, IssuerScript, SCRIPT_COMMAND_BYTES_MAX};
use crate::domain::outcome::Reason;
use crate::iso8583::{
    Builder, Dialect, EncodeError, Encoding, FieldSpec, Inner, Item, Message, SpecError,
};
use crate::link::map::number;

/// Application cryptogram.
const CRYPTOGRAM: u32 = 0x9F26;
/// Application transaction counter.
const COUNTER: u32 = 0x9F36;
/// Sequence number of the card on its number.
const SEQUENCE: u32 = 0x5F34;
/// One command of a script.
const COMMAND: u8 = 0x86;
/// The data set of chip data, in an element of data sets.
const CHIP_SET: u32 = 0x01;
/// Largest sequence number: two digits.
const SEQUENCE_MAX: u16 = 99;

const _: () = assert!(SCRIPT_COMMAND_BYTES_MAX + 4 < 0x80, "lengths of one byte");

/// Where chip data stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChipPlace {
    pub(super) field: u8,
    /// In data sets, as Visa has them.
    in_sets: bool,
}

impl ChipPlace {
    /// Reads and checks the key `chip` of `[pin_change]`, where it is there; 0 takes away what a base has.
    pub(super) fn of(section: &Item, dialect: &Dialect) -> Result<Option<Self>, SpecError> {
        let Some(item) = section.get("chip").filter(|item| item.as_integer() != Some(0)) else {
            return Ok(None);
        };
        let field = number(item, "chip")?;
        let spec = dialect.field(field).filter(|spec| spec.encoding() == Encoding::Binary);
        match spec.and_then(FieldSpec::inner) {
            Some(Inner::Tlv(_)) => Ok(Some(Self { field, in_sets: false })),
            Some(Inner::DataSets(_)) => Ok(Some(Self { field, in_sets: true })),
            _ => {
                let reason =
                    "must be a binary field that divides into ber-tlv or data-sets; 0 for none";
                Err(item.error("chip", reason))
            }
        }
    }

    /// The value of a tag: `None` without it, an error when it has another length.
    fn tag<const N: usize>(
        self,
        message: &Message<'_>,
        tag: u32,
    ) -> Result<Option<[u8; N]>, Reason> {
        let path = [CHIP_SET, tag];
        let path = if self.in_sets { &path[..] } else { &path[1..] };
        let Some(found) = message.sub(self.field, path) else { return Ok(None) };
        //= spec/pin-change.md#12.2
        //# A counter, a cryptogram or a sequence number of another form than EMV gives it, in the chip
        //# data of a change or an unblock, MUST be a format error (30).
        found.value().try_into().map(Some).map_err(|_| Reason::FormatError)
    }

    /// What the chip says, if counter and cryptogram are there. `sequence` is that of the message (DE 23).
    pub(super) fn read(
        self,
        message: &Message<'_>,
        sequence: Option<u16>,
    ) -> Result<Option<Chip>, Reason> {
        if !message.has(self.field) {
            return Ok(None);
        }
        let (counter, cryptogram) = (self.tag(message, COUNTER)?, self.tag(message, CRYPTOGRAM)?);
        let own = self.tag(message, SEQUENCE)?.map(|[packed]| from_packed(packed));
        let (Some(counter), Some(cryptogram)) = (counter, cryptogram) else { return Ok(None) };
        let given = sequence.map(|n| u8::try_from(n).ok().filter(|_| n <= SEQUENCE_MAX));
        let sequence = match given.or(own) {
            Some(two_digits) => Some(two_digits.ok_or(Reason::FormatError)?),
            None => None,
        };
        Ok(Some(Chip { counter, cryptogram, sequence }))
    }

    /// Writes the script: its template with one command inside.
    pub(super) fn write(
        self,
        script: &IssuerScript,
        builder: &mut Builder<'_, '_>,
    ) -> Result<(), EncodeError> {
        let command = script.command.as_bytes();
        // Lengths of one byte, as asserted above.
        let length = u8::try_from(command.len()).unwrap_or_default();
        let mut inside = [0; 2 + SCRIPT_COMMAND_BYTES_MAX];
        let parts = [COMMAND, length].into_iter().chain(command.iter().copied());
        inside.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let inside = inside.get(..2 + command.len()).unwrap_or_default();
        let template = script.template.tag();
        if !self.in_sets {
            return builder.composite(self.field, |tags| tags.binary(template.into(), inside));
        }
        let mut set = [0; 4 + SCRIPT_COMMAND_BYTES_MAX];
        let parts = [template, length + 2].into_iter().chain(inside.iter().copied());
        set.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let set = set.get(..2 + inside.len()).unwrap_or_default();
        builder.composite(self.field, |sets| sets.binary(CHIP_SET, set))
    }
}

/// Two decimal digits in one byte.
fn from_packed(byte: u8) -> Option<u8> {
    let (tens, ones) = (byte >> 4, byte & 0x0F);
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

#[cfg(test)]
mod tests;
