//! [`Token`]: a key as a device gave it out, encrypted under its LMK; [`KeyKind`]: what the device knows it as.
//!
//! A token is of no use without the device. It is not logged all the same. **Never here:** a clear key.

use std::fmt;
use std::str::FromStr;

use crate::hsm::key::KeyType;
use crate::hsm::payshield::wire::Settings;
use crate::hsm::payshield::wire::key::{BLOCK_HEADER, Key, KeyType as TypeCode, Scheme};
use crate::hsm::payshield::wire::option::BdkFlag;
use crate::hsm::payshield::wire::scan::{Assume, Field, Reader};

/// A key under the LMK: `U`, `T`, `X`, `Y` and hex digits, hex digits alone, or a Thales block `S`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: Box<[u8]>,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ecb(Scheme),
    Block,
}

/// A text is no key under an LMK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoToken {
    /// It has no form of one.
    #[error(
        "no key under an LMK: expected U or X and 32 hex digits, T or Y and 48, 16 or 32 hex digits, \
         or a key block that begins with S and has the length it says"
    )]
    Form,
    /// Devices take TR-31 blocks only where keys come in or go out (A6, A8), and answer A1 to one anywhere else.
    #[error(
        "a TR-31 key block (R) is a key under a ZMK, not under an LMK: have the device import it \
         (A6), and give the token that it answers"
    )]
    UnderZmk,
}

impl Token {
    /// Takes the text of a key; spaces around it do not count.
    ///
    /// # Errors
    /// [`NoToken`].
    pub fn parse(text: &[u8]) -> Result<Self, NoToken> {
        let text = text.trim_ascii();
        for bare in [16, 32, 48] {
            let assume = Assume { bare, ..Assume::USUAL };
            let mut reader = Reader::new(text, Settings::default(), assume);
            let form = match Key::read(&mut reader) {
                Ok(Key::Ecb(scheme, _)) => Form::Ecb(scheme),
                Ok(Key::Block(_)) => Form::Block,
                Ok(Key::Tr31(_)) => return Err(NoToken::UnderZmk),
                Ok(Key::Stored(..)) | Err(_) => continue,
            };
            if reader.left().is_empty() {
                return Ok(Self { text: text.into(), form });
            }
        }
        Err(NoToken::Form)
    }

    /// As commands take it.
    #[must_use]
    pub fn key(&self) -> Key<'_> {
        match self.form {
            Form::Ecb(scheme) => {
                let letters = usize::from(scheme.letter().is_some());
                Key::Ecb(scheme, self.text.get(letters..).unwrap_or_default())
            }
            Form::Block => Key::Block(self.text.get(1..).unwrap_or_default()),
        }
    }

    /// Its text, for the state file and for commands. Not for a log.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Whether it is a key block: those say themselves what they are.
    #[must_use]
    pub const fn is_block(&self) -> bool {
        matches!(self.form, Form::Block)
    }

    /// Whether it is a key block under an AES LMK.
    #[must_use]
    pub fn is_under_aes(&self) -> bool {
        self.form == Form::Block && self.text.get(1) == Some(&b'1')
    }

    /// The header of a key block.
    #[must_use]
    pub fn header(&self) -> Option<&[u8; BLOCK_HEADER]> {
        let header = self.text.get(1..)?.first_chunk()?;
        self.is_block().then_some(header)
    }

    /// What BU takes as the length: `0` to `2`, `F` for a block.
    #[must_use]
    pub fn length_flag(&self) -> u8 {
        match (self.form, self.text.len()) {
            (Form::Block, _) => b'F',
            (Form::Ecb(Scheme::U | Scheme::X), _) | (Form::Ecb(Scheme::Bare), 32) => b'1',
            (Form::Ecb(Scheme::T | Scheme::Y), _) | (Form::Ecb(Scheme::Bare), 48) => b'2',
            (Form::Ecb(_), _) => b'0',
        }
    }

    /// The letter that asks a device for a new key in the same form.
    #[must_use]
    pub fn scheme_letter(&self) -> u8 {
        match self.form {
            Form::Ecb(Scheme::Bare) => b'0',
            Form::Ecb(scheme) => scheme.letter().unwrap_or(b'0'),
            Form::Block => b'S',
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?}, {} characters)", self.form, self.text.len())
    }
}

/// What a key is for, as finely as a device tells keys apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Base derivation key of type 1.
    Bdk,
    /// Base derivation key of type 2.
    Bdk2,
    /// Issuer's master key of cryptograms.
    MkAc,
    /// Issuer's master key of confidentiality.
    MkSmc,
    /// Issuer's master key of integrity.
    MkSmi,
    /// PIN verification key.
    Pvk,
    /// Terminal authentication key.
    Tak,
    /// Terminal PIN key of a device in PCI-HSM mode.
    Tpk,
    /// Terminal PIN key of a device that does not tell it from a PVK.
    TpkLegacy,
    /// Zone authentication key.
    Zak,
    /// Zone master key.
    Zmk,
    /// Zone PIN key.
    Zpk,
}

/// Every kind: its word in files, the type code of a device.
const KINDS: &[(KeyKind, &str, [u8; 3])] = &[
    (KeyKind::Bdk, "BDK", *b"009"),
    (KeyKind::Bdk2, "BDK-2", *b"609"),
    (KeyKind::MkAc, "MK-AC", *b"109"),
    (KeyKind::MkSmc, "MK-SMC", *b"309"),
    (KeyKind::MkSmi, "MK-SMI", *b"209"),
    (KeyKind::Pvk, "PVK", *b"002"),
    (KeyKind::Tak, "TAK", *b"003"),
    (KeyKind::Tpk, "TPK", *b"70D"),
    (KeyKind::TpkLegacy, "TPK-LEGACY", *b"002"),
    (KeyKind::Zak, "ZAK", *b"008"),
    (KeyKind::Zmk, "ZMK", *b"000"),
    (KeyKind::Zpk, "ZPK", *b"001"),
];

impl KeyKind {
    /// Its word in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| *name)
    }

    /// The type code a device knows a key of this kind by: `FFF` for key blocks.
    #[must_use]
    pub fn code(self, token: &Token) -> TypeCode {
        let code = KINDS.iter().find(|(kind, ..)| *kind == self).map(|(.., code)| TypeCode(*code));
        code.filter(|_| !token.is_block()).unwrap_or(TypeCode::BLOCK)
    }

    /// The flag that commands put before a BDK.
    #[must_use]
    pub fn bdk_flag(self) -> Option<BdkFlag> {
        (self == Self::Bdk2).then_some(BdkFlag(b'~'))
    }

    /// The kind as the rest of the switch knows it.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::Bdk | Self::Bdk2 => KeyType::Bdk,
            Self::MkAc => KeyType::MkAc,
            Self::MkSmc => KeyType::MkSmc,
            Self::MkSmi => KeyType::MkSmi,
            Self::Pvk => KeyType::Pvk,
            Self::Tak | Self::Zak => KeyType::Zak,
            Self::Tpk | Self::TpkLegacy | Self::Zpk => KeyType::Zpk,
            Self::Zmk => KeyType::Zmk,
        }
    }

    /// Whether keys of cards are derived from it.
    #[must_use]
    pub const fn derives_cards(self) -> bool {
        matches!(self, Self::MkAc | Self::MkSmc | Self::MkSmi)
    }

    /// Whether it is a key of terminals: they have commands of their own.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Tpk | Self::TpkLegacy)
    }
}

impl FromStr for KeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = KINDS.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(kind, ..)| *kind).ok_or_else(|| {
            let names: Vec<_> = KINDS.iter().map(|(_, name, _)| *name).collect();
            format!("key type {text:?} unknown to the device: one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hsm::payshield::wire::scan::Writer;
    use crate::iso8583::Charset;

    #[track_caller]
    fn check(text: &str, flag: u8, letter: u8) {
        let token = Token::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (token.expose_text(), token.length_flag(), token.scheme_letter()),
            (text, flag, letter)
        );
        let mut written = bytes::BytesMut::new();
        token.key().write(&mut Writer::new(&mut written, None, Charset::Ascii));
        assert_eq!(&written[..], text.as_bytes());
        assert!(!format!("{token:?}").contains(&text[1..8]));
    }

    /// Keys of `shared/domain/hsm.md`, chapter 3.
    #[test]
    fn every_form_of_a_key_is_read() {
        check("U1EF828AA8F6B80EB83E19FBC373F3A85", b'1', b'U');
        check("TA5E7D4FE829B0D83C5E7352636C16C7827E197349E34A5CD", b'2', b'T');
        check("X367930344805B1FAD6146EF4ED7502B3", b'1', b'X');
        check("BAB32D775A38E4AB", b'0', b'0');
        check("827E67B59A1D6B8F827E67B59A1D6B8F", b'1', b'0');
        check(
            "S00072P0TB00E0001EA421618B34F5FA1A77F7CF6480111B97CF0FAE7BD77D589EC921EF9",
            b'F',
            b'S',
        );
        let aes = "S10096P0TN00E0003DDAD808976114849F5464E8944D2205F25A308863340D066ADCDA79E3B1F08AC034229C023D01106";
        check(aes, b'F', b'S');
        assert!(Token::parse(aes.as_bytes()).unwrap().is_under_aes());
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "U",
            "U1EF8",
            "UK001",
            "K001",
            "u1ef828aa8f6b80eb83e19fbc373f3a85",
            "S0072P0",
            "not a key",
            "U1EF828AA8F6B80EB83E19FBC373F3A8500",
            "S00072P0TB00E0001EA42",
        ] {
            assert_eq!(Token::parse(text.as_bytes()), Err(NoToken::Form), "{text}");
        }
        // Blocks of a 10K, `shared/domain/hsm.md` 3.4.
        for text in [
            "RB0080K0TN00N00001C414014375212C24995E405B5EE052CB92B67F455EA2680F6751088F9F1C228",
            "RA0072K0TN00N0000F40D5672C6D0EC86F860BA88D44D00F0CA9A8CE8CD2F640287A9A9EB",
        ] {
            assert_eq!(Token::parse(text.as_bytes()), Err(NoToken::UnderZmk), "{text}");
        }
    }

    #[test]
    fn kinds_have_the_codes_of_the_manual() {
        let bare = Token::parse(b"BAB32D775A38E4AB").unwrap();
        let block = Token::parse(
            b"S00072P0TB00E0001EA421618B34F5FA1A77F7CF6480111B97CF0FAE7BD77D589EC921EF9",
        );
        for (word, code) in
            [("zpk", "001"), ("TPK", "70D"), ("tpk-legacy", "002"), ("bdk-2", "609")]
        {
            let kind: KeyKind = word.parse().unwrap();
            assert_eq!(&kind.code(&bare).0, code.as_bytes());
        }
        assert_eq!(&KeyKind::Zpk.code(block.as_ref().unwrap()).0, b"FFF");
        assert!("CVK".parse::<KeyKind>().unwrap_err().contains("one of BDK, "));
    }
}
