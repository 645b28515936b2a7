//! A whole command or answer: header, code, fields, `%nn`, trailer.
//!
//! The header is nobody's but the host's and goes back as it came, in whatever characters; all else is read in ASCII.
//! **Never here:** frames (`frame`); what a command is (`command`).

use std::fmt;

use bytes::BytesMut;
use zeroize::{Zeroize, Zeroizing};

use crate::hsm::payshield::wire::command::Request;
use crate::hsm::payshield::wire::error::{ErrorCode, has_data};
use crate::hsm::payshield::wire::scan::{Assume, Fault, Field, Fields, Reader, Settings, Writer};
use crate::iso8583::Charset;

/// Begins a trailer, in either character set.
const TRAILER: u8 = 0x19;
/// Longest trailer.
pub const TRAILER_BYTES_MAX: usize = 32;

/// What is around the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Returned as it came: it pairs answers with commands.
    pub header: &'a [u8],
    /// Which LMK; the one of the port if not given.
    pub lmk: Option<u8>,
    /// Returned as it came, if there is one.
    pub trailer: Option<&'a [u8]>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a, T> {
    /// Header and trailer of the command.
    pub envelope: Envelope<'a>,
    /// What the device says of it.
    pub error: ErrorCode,
    /// The fields, where it was done.
    pub data: Option<T>,
}

/// Where the ASCII form of a body goes that came in other characters. Empty where none does.
#[derive(Default)]
pub struct Scratch(Zeroizing<Vec<u8>>);

impl Scratch {
    /// Forgets what is in it: it was a clear PIN, perhaps.
    pub fn wipe(&mut self) {
        self.0.zeroize();
    }

    fn ascii(&mut self, body: &[u8], charset: Charset) -> &[u8] {
        self.0.clear();
        self.0.extend(body.iter().map(|byte| charset.to_latin(*byte)));
        &self.0
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch(****)")
    }
}

/// Header and command code, or what there is of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<'a> {
    /// Up to the set number of characters, as they came.
    pub header: &'a [u8],
    /// The same in ASCII.
    pub label: &'a [u8],
    /// The two characters behind it, if they came.
    pub code: Option<[u8; 2]>,
    /// The rest.
    pub rest: Fields<'a>,
}

impl<'a> Opening<'a> {
    /// Takes a frame's body apart.
    #[must_use]
    pub fn of(body: &'a [u8], settings: Settings, scratch: &'a mut Scratch) -> Self {
        let text = match settings.charset {
            Charset::Ascii => body,
            Charset::Ebcdic => scratch.ascii(body, settings.charset),
        };
        let width = settings.header.min(body.len());
        let ((header, raw), (label, text)) = (body.split_at(width), text.split_at(width));
        match text.split_first_chunk::<2>() {
            Some((code, text)) => {
                let rest = Fields { text, raw: raw.get(2..).unwrap_or_default() };
                Self { header, label, code: Some(*code), rest }
            }
            None => Self { header, label, code: None, rest: Fields { text: &[], raw: &[] } },
        }
    }
}

/// The code of the answer to a command: its second character plus one.
#[must_use]
pub const fn answer_code(command: [u8; 2]) -> [u8; 2] {
    [command[0], command[1].wrapping_add(1)]
}

/// Reads the end of a command: `%nn`, where it has not come yet, and the trailer.
fn tail<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Fault> {
    if reader.lmk.is_none() && reader.skip(b'%') {
        reader.lmk = Some(u8::try_from(reader.number(2)?).unwrap_or(0));
    }
    trailer(reader)
}

/// Reads the end of an answer: nothing may be left.
fn trailer<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Fault> {
    let bad = reader.fault(ErrorCode::INPUT);
    if !reader.skip(TRAILER) {
        return if reader.left().is_empty() { Ok(None) } else { Err(bad) };
    }
    let count = reader.left().len();
    let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    if TRAILER_BYTES_MAX < count { Err(bad) } else { reader.of(count, printable).map(Some) }
}

/// Readings of a command, the usual one first: another is tried when one does not use up every byte.
const READINGS: &[Assume] = &[
    Assume::USUAL,
    Assume { pair: 16, ..Assume::USUAL },
    Assume { bare: 32, ..Assume::USUAL },
    Assume { bare: 48, ..Assume::USUAL },
    Assume { ksn: 16, ..Assume::USUAL },
    Assume { ksn: 19, ..Assume::USUAL },
    Assume { ksn: 18, ..Assume::USUAL },
    Assume { ksn: 17, ..Assume::USUAL },
    Assume { ksn: 15, ..Assume::USUAL },
    Assume { ksn: 14, ..Assume::USUAL },
    Assume { ksn: 13, ..Assume::USUAL },
    Assume { ksn: 12, ..Assume::USUAL },
    Assume { ksn: 20, bare: 32, ..Assume::USUAL },
    Assume { tree: true, ..Assume::USUAL },
    Assume { tree: true, bare: 32, ..Assume::USUAL },
    Assume { ksn: 16, bare: 32, ..Assume::USUAL },
];

/// Readings of an answer.
const ANSWER_READINGS: &[Assume] = &[
    Assume::USUAL,
    Assume { block: 32, ..Assume::USUAL },
    Assume { check: 16, ..Assume::USUAL },
    Assume { bare: 32, ..Assume::USUAL },
    Assume { bare: 32, check: 16, ..Assume::USUAL },
];

/// The first reading that fits; of none, what was wrong with the usual one.
fn first_that_fits<T>(
    readings: &[Assume],
    read: impl Fn(Assume) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let usual = read(Assume::USUAL);
    if usual.is_ok() {
        return usual;
    }
    readings.iter().skip(1).find_map(|assume| read(*assume).ok()).map_or(usual, Ok)
}

/// Reads the fields of a command behind its code. `None` where the code is none we know.
///
/// # Errors
/// [`Fault`] with the code a device answers.
#[must_use]
pub fn decode_request<'a>(
    opening: &Opening<'a>,
    settings: Settings,
) -> Option<Result<(Envelope<'a>, Request<'a>), Fault>> {
    let code = opening.code.filter(|code| Request::CODES.contains(code))?;
    Some(first_that_fits(READINGS, |assume| {
        let mut reader = Reader::new(opening.rest, settings, assume);
        let request = Request::read(code, &mut reader)?;
        let trailer = tail(&mut reader)?;
        Ok((Envelope { header: opening.header, lmk: reader.lmk, trailer }, request))
    }))
}

/// Appends a command, without its frame.
pub fn encode_request(
    envelope: &Envelope<'_>,
    request: &Request<'_>,
    charset: Charset,
    out: &mut BytesMut,
) {
    let mut writer = Writer::new(out, envelope.lmk, charset);
    writer.binary(envelope.header);
    writer.put(&request.code());
    request.write(&mut writer);
    finish(envelope, writer);
}

fn finish(envelope: &Envelope<'_>, mut writer: Writer<'_>) {
    writer.lmk();
    if let Some(trailer) = envelope.trailer {
        writer.byte(TRAILER);
        writer.put(trailer);
    }
}

/// Appends an answer to `command`, without its frame.
pub fn encode_answer<'a, T: Field<'a>>(
    command: [u8; 2],
    answer: &Answer<'_, T>,
    charset: Charset,
    out: &mut BytesMut,
) {
    let envelope = Envelope { lmk: None, ..answer.envelope };
    let mut writer = Writer::new(out, None, charset);
    writer.binary(envelope.header);
    writer.put(&answer_code(command));
    writer.put(&answer.error.0);
    if let Some(data) = &answer.data {
        data.write(&mut writer);
    }
    finish(&envelope, writer);
}

/// Reads the answer to `command`, whose fields are `T`.
///
/// # Errors
/// [`Fault`]: it is the answer to another command, or its fields are not as the manual has them.
pub fn decode_answer<'a, T: Field<'a>>(
    command: [u8; 2],
    opening: &Opening<'a>,
    settings: Settings,
) -> Result<Answer<'a, T>, Fault> {
    let reader = Reader::new(opening.rest, settings, Assume::USUAL);
    if opening.code != Some(answer_code(command)) {
        return Err(reader.fault(ErrorCode::INPUT));
    }
    first_that_fits(ANSWER_READINGS, |assume| {
        let mut reader = Reader::new(opening.rest, settings, assume);
        let error = ErrorCode(reader.chars(u8::is_ascii_alphanumeric)?);
        let data = if has_data(command, error) { Some(T::read(&mut reader)?) } else { None };
        let trailer = trailer(&mut reader)?;
        Ok(Answer {
            envelope: Envelope { header: opening.header, lmk: None, trailer },
            error,
            data,
        })
    })
}
