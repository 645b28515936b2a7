//! Issuer scripts: what a chip says of its transaction, what a product wants sent to its chips, and the command itself.
//!
//! A chip that verifies PINs offline keeps its own copy of the PIN; only a command sealed under keys of that very card
//! and transaction changes it. **Never here:** how a command is sealed (`hsm::script`), a response field (`link`).

use std::fmt;

use crate::domain::pin::KeyId;

/// Bytes of one command for a card: header, encrypted PIN, MAC. No scheme here has more than 29.
pub const SCRIPT_COMMAND_BYTES_MAX: usize = 32;

/// What the chip of a card says of one transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Chip {
    /// Application transaction counter (9F36).
    pub counter: [u8; 2],
    /// Application cryptogram (9F26): the ARQC.
    pub cryptogram: [u8; 8],
    /// Sequence number of the card on its number (DE 23, else 5F34), 0 to 99.
    pub sequence: Option<u8>,
}

impl fmt::Debug for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chip(****)")
    }
}

/// What a product wants sent to its chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptRules {
    /// How keys of a session are derived, and how the PIN is laid out.
    pub scheme: ScriptScheme,
    /// MK-SMI: its session key makes the MAC.
    pub integrity: KeyId,
    /// MK-SMC: its session key encrypts the PIN.
    pub confidentiality: KeyId,
    /// Which template the command travels in.
    pub template: ScriptTemplate,
    /// A request without chip data is refused.
    pub required: bool,
}

/// Whose rules of secure messaging a chip follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptScheme {
    /// EMV common session keys (EMV Book 2, A1.3.1), padding always.
    EmvCommon,
    /// Mastercard M/Chip: the same session keys, padding only where there is something to pad.
    Mastercard,
    /// Visa VIS: session keys by the counter, a PIN block under the card's key of cryptograms.
    Visa {
        /// MK-AC.
        cryptograms: KeyId,
    },
}

/// Template of a script: when the terminal gives it to the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptTemplate {
    /// 71: before the second GENERATE AC.
    BeforeFinal,
    /// 72: after it.
    AfterFinal,
}

impl ScriptTemplate {
    /// Its tag.
    #[must_use]
    pub const fn tag(self) -> u8 {
        match self {
            Self::BeforeFinal => 0x71,
            Self::AfterFinal => 0x72,
        }
    }
}

/// One sealed command for a card: header, encrypted part, MAC. Only the card reads what is in it; it is not stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScriptCommand {
    bytes: [u8; SCRIPT_COMMAND_BYTES_MAX],
    len: u8,
}

impl ScriptCommand {
    /// Puts its parts together. `None` when they are more than [`SCRIPT_COMMAND_BYTES_MAX`] bytes.
    #[must_use]
    pub fn new(parts: [&[u8]; 3]) -> Option<Self> {
        let mut bytes = [0; SCRIPT_COMMAND_BYTES_MAX];
        let mut at = 0;
        for part in parts {
            bytes.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        Some(Self { bytes, len: u8::try_from(at).ok()? })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for ScriptCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptCommand({} bytes)", self.len)
    }
}

/// A command with the template it travels in: what an answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerScript {
    /// The template.
    pub template: ScriptTemplate,
    /// The command.
    pub command: ScriptCommand,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_its_parts_and_shows_none_of_them() {
        let command = ScriptCommand::new([&[0x84, 0x24], &[], &[0xAB; 8]]).unwrap();
        assert_eq!(command.as_bytes(), [&[0x84, 0x24][..], &[0xAB; 8]].concat());
        assert_eq!(format!("{command:?}"), "ScriptCommand(10 bytes)");
        let most = [0; SCRIPT_COMMAND_BYTES_MAX];
        assert!(ScriptCommand::new([&most, &[], &[]]).is_some());
        assert!(ScriptCommand::new([&most, &[], &[1]]).is_none());
        let chip = Chip { counter: [0xAB; 2], cryptogram: [0xAB; 8], sequence: Some(1) };
        assert_eq!(format!("{chip:?}"), "Chip(****)");
    }
}
