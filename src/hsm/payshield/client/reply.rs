//! Answers, read where they lie in the connection's buffer: what comes out owns nothing of it.
//!
//! An answer whose fields are not as the manual has them is a fault of its stream. **Never here:** what a code means to
//! the caller (`wire::error`).

use std::fmt;

use bytes::BytesMut;
use zeroize::{Zeroize, Zeroizing};

use crate::hsm::payshield::client::token::Token;
use crate::hsm::payshield::wire::command::diagnose::{Diagnosed, Nothing};
use crate::hsm::payshield::wire::command::keys::{Checked, KeyAndCheck};
use crate::hsm::payshield::wire::command::mac::MacValue;
use crate::hsm::payshield::wire::command::references::{OffsetOf, PvvOf};
use crate::hsm::payshield::wire::command::scripts::Sealed;
use crate::hsm::payshield::wire::command::translate::{Block, Revealed, Translated, UnderLmk};
use crate::hsm::payshield::wire::field::{CheckValue, Offset, PinBlock, Pvv, SealedPin};
use crate::hsm::payshield::wire::message::{Answer, Opening};
use crate::hsm::payshield::wire::scan::{Field, Writer};
use crate::hsm::payshield::wire::{Class, ErrorCode, Fault, Settings, decode_answer, meaning};
use crate::hsm::script::{HIDDEN_BYTES_MAX, MAC_BYTES};
use crate::iso8583::Charset;

/// What a device said to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Code of the command.
    pub(super) command: [u8; 2],
    /// Its error code.
    pub(super) error: ErrorCode,
    /// The fields, where it was done.
    pub(super) data: Data,
}

impl Reply {
    /// What its code means.
    pub(super) fn class(&self) -> Class {
        meaning(self.command, self.error).class
    }
}

/// Fields of an answer.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Data {
    /// None: a code only.
    None,
    /// ND.
    Diagnosed(Diagnosed),
    /// DH, FX, CV.
    Pvv(Pvv),
    /// DF, BL, DV.
    Offset(Offset),
    /// JF, BB, JB.
    Sealed(SealedPin),
    /// JH, and with the length of the PIN CD, CB, G1.
    Block(PinBlock, Option<u8>),
    /// NH: clear digits. What moves is where they are, so no copy stays behind.
    Open(Zeroizing<Vec<u8>>),
    /// M7.
    Mac(MacValue),
    /// KV, KZ: the MAC, and the encrypted part where there is one.
    Script([u8; MAC_BYTES], Short),
    /// BV.
    Check([u8; 6]),
    /// A7.
    Key(Token, [u8; 6]),
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Data(****)")
    }
}

/// A few bytes, owned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    bytes: [u8; HIDDEN_BYTES_MAX],
    len: u8,
}

impl Short {
    /// A copy; `None` of more bytes than any of our scripts hides.
    fn of(data: Option<&[u8]>) -> Option<Self> {
        let data = data.unwrap_or_default();
        let mut bytes = [0; HIDDEN_BYTES_MAX];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        Some(Self { bytes, len: u8::try_from(data.len()).ok()? })
    }

    /// The bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Reads the answer to `command`.
///
/// # Errors
/// [`Fault`]: it is not as the manual has it, or the answer to something we never ask.
pub(super) fn read(
    command: [u8; 2],
    opening: &Opening<'_>,
    settings: Settings,
) -> Result<Reply, Fault> {
    let reader = Reading { command, opening, settings };
    match &command {
        b"NC" => reader.of(|it: Diagnosed| Some(Data::Diagnosed(it))),
        b"CU" | b"FW" | b"DG" => reader.of(|it: PvvOf| Some(Data::Pvv(it.pvv))),
        b"DU" | b"BK" | b"DE" => reader.of(|it: OffsetOf| Some(Data::Offset(it.offset))),
        b"JE" | b"JC" | b"BA" | b"JA" => reader.of(|it: UnderLmk| Some(Data::Sealed(it.pin))),
        b"CC" | b"CA" | b"G0" => {
            reader.of(|it: Translated| Some(Data::Block(it.block, Some(it.digits.0))))
        }
        b"JG" => reader.of(|it: Block| Some(Data::Block(it.block, None))),
        b"NG" => reader.of(|mut it: Revealed| {
            let digits = Zeroizing::new(it.pin.expose_digits().to_vec());
            it.pin.padded.zeroize();
            Some(Data::Open(digits))
        }),
        b"M6" => reader.of(|it: MacValue| Some(Data::Mac(it))),
        b"KU" | b"KY" => {
            reader.of(|it: Sealed<'_>| Some(Data::Script(it.mac, Short::of(it.data)?)))
        }
        b"BU" => reader.of(|it: Checked| Some(Data::Check(six(it.check)))),
        b"A6" => reader.of(|it: KeyAndCheck<'_>| {
            let mut text = BytesMut::new();
            it.key.write(&mut Writer::new(&mut text, None, Charset::Ascii));
            Some(Data::Key(Token::parse(&text).ok()?, six(it.check)))
        }),
        _ => reader.of(|_: Nothing| Some(Data::None)),
    }
}

/// Three bytes are compared, of however many a device says.
fn six(check: CheckValue) -> [u8; 6] {
    match check {
        CheckValue::Six(six) => six,
        CheckValue::Sixteen(sixteen) => sixteen.first_chunk().copied().unwrap_or_default(),
    }
}

struct Reading<'r, 'a> {
    command: [u8; 2],
    opening: &'r Opening<'a>,
    settings: Settings,
}

impl<'a> Reading<'_, 'a> {
    fn of<T: Field<'a>>(&self, keep: impl FnOnce(T) -> Option<Data>) -> Result<Reply, Fault> {
        let answer: Answer<'a, T> = decode_answer(self.command, self.opening, self.settings)?;
        let data = match answer.data {
            Some(fields) => {
                keep(fields).ok_or(Fault { code: ErrorCode::KEY_BLOCK, at: 0, field: "key" })?
            }
            None => Data::None,
        };
        Ok(Reply { command: self.command, error: answer.error, data })
    }
}
