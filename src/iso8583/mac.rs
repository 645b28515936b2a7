//! Where a message's MAC sits and what it covers: the last field, 64 or 128, over everything before it.
//!
//! **Never here:** computing a MAC; keys live in `hsm`. Where next: `build` for the fields before it.

use super::build::{Builder, EncodeError, put_binary};
use super::encoding::Text;
use super::field::Rule;
use super::message::Message;

/// A message's MAC and what it covers.
#[derive(Clone, Debug)]
pub struct MacView<'a> {
    /// The field: 64 or 128.
    pub field: u8,
    /// From the message type up to the byte before the MAC.
    pub covered: &'a [u8],
    /// The MAC, un-hexed.
    pub value: Text,
}

impl<'a> Message<'a> {
    /// The MAC, when field 64 or 128 is the last field.
    #[must_use]
    pub fn mac(&self) -> Option<MacView<'a>> {
        let field = self.present().last().filter(|n| matches!(n, 64 | 128))?;
        let covered = self.bytes().get(..self.offset(field)?)?;
        Some(MacView { field, covered, value: self.binary(field)? })
    }
}

impl Builder<'_, '_> {
    /// Makes the MAC the next and last field, its bit set already, and returns what it covers. It is field 64 while the
    /// message needs one bitmap, else 128.
    ///
    /// # Errors
    ///
    /// The dialect has no such field, or a later one is written.
    pub fn begin_mac(&mut self) -> Result<&[u8], EncodeError> {
        let n = self.mac_field();
        self.open(n)?;
        self.close(n);
        self.patch();
        Ok(&self.out[self.start..])
    }

    /// Appends the MAC over what [`Builder::begin_mac`] returned and ends the message.
    ///
    /// # Errors
    ///
    /// There was no `begin_mac`, or the MAC has not the field's length.
    pub fn finish_with_mac(self, mac: &[u8]) -> Result<(), EncodeError> {
        let n = self.last;
        let failed = EncodeError { field: n.into(), rule: Rule::Order };
        let spec = self.dialect.field(n).filter(|_| matches!(n, 64 | 128)).ok_or(failed)?;
        put_binary(spec, mac, self.out)?;
        self.finish();
        Ok(())
    }

    fn mac_field(&self) -> u8 {
        if self.reach() == 64 && self.last < 64 { 64 } else { 128 }
    }
}
