//! Reading requests and writing answers of the Postilion dialect, field by field.
//!
//! Which field means what is written down here a second time, apart from the dialect's own `[pin_change]`, so that a
//! wrong line there does not answer to itself. **Never here:** what the answer is (`book`).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::BytesMut;

use crate::iso8583::{Builder, EncodeError, Message};
use crate::sim::postilion::event::{Change, Code, Reversal};
use crate::sim::postilion::fault::Named;
use crate::sim::postilion::word::Word;

/// Bytes of DE 53.
pub(super) const DE53_BYTES: usize = 48;

/// Fields an answer repeats of its request, ascending; 127.2 comes besides. Never 52 and 53.
const ECHO: [u8; 15] = [2, 3, 4, 7, 11, 12, 13, 32, 37, 41, 42, 49, 100, 102, 103];
/// Those of a session message.
const ECHO_NETWORK: [u8; 3] = [7, 11, 70];

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 0600, 0601.
    Request,
    /// 0400, 0401, 0420, 0421.
    Reversal,
    /// 0800, 0801.
    Network,
    /// 0810: the answer to a key we pushed.
    NetworkAnswer,
    /// Another answer: nothing we asked for.
    Answer,
    /// Another request.
    Other,
}

impl Kind {
    pub(super) fn of(mti: [u8; 4]) -> Self {
        match &mti {
            b"0600" | b"0601" => Self::Request,
            b"0400" | b"0401" | b"0420" | b"0421" => Self::Reversal,
            b"0800" | b"0801" => Self::Network,
            b"0810" => Self::NetworkAnswer,
            [_, _, b'1' | b'3' | b'5', _] => Self::Answer,
            _ => Self::Other,
        }
    }
}

/// The message type of the answer: 0600 and 0601 give 0610, 0421 gives 0430.
pub(super) fn answer_mti([version, class, function, _]: [u8; 4]) -> [u8; 4] {
    [version, class, function.saturating_add(1), b'0']
}

fn word<const N: usize>(message: &Message<'_>, field: u8) -> Word<N> {
    message.text(field).and_then(|text| Word::new(&text)).unwrap_or(Word::EMPTY)
}

fn private(message: &Message<'_>, sub: u32) -> Option<Word<32>> {
    let text = message.sub(127, &[sub])?.text()?;
    Word::new(&text).filter(|key| !key.is_empty())
}

/// DE 70.
pub(super) fn network_code(message: &Message<'_>) -> Word<3> {
    word(message, 70)
}

/// DE 11.
pub(super) fn stan(message: &Message<'_>) -> Word<6> {
    word(message, 11)
}

/// DE 39.
pub(super) fn response_code(message: &Message<'_>) -> Code {
    Code(word(message, 39))
}

/// The account number: DE 2, else DE 35 up to its separator.
fn pan(message: &Message<'_>) -> Option<Word<19>> {
    let digits = message.text(2).or_else(|| message.text(35))?;
    let digits = digits.split(|b| matches!(b, b'=' | b'D')).next()?;
    Word::new(digits)
}

/// What chance knows a request by: terminal and reference, which a switch hands on as its caller gave them; where there
/// is no reference, terminal and trace number.
pub(super) fn named(message: &Message<'_>) -> Named {
    let terminal: Word<8> = word(message, 41);
    let reference: Word<12> = word(message, 37);
    let mut hasher = DefaultHasher::new();
    (terminal, reference).hash(&mut hasher);
    if reference.is_empty() {
        stan(message).hash(&mut hasher);
    }
    let is_reversal = Kind::of(message.mti()) == Kind::Reversal;
    Named { name: hasher.finish(), is_reversal }
}

/// The names a change goes by; its code is not decided yet.
pub(super) fn change(message: &Message<'_>, node: u8) -> Change {
    Change {
        code: Code::UNAVAILABLE,
        node,
        pan: pan(message),
        from: None,
        to: None,
        switch_key: private(message, 2),
        stan: stan(message),
        sent: word(message, 7),
        terminal: word(message, 41),
        acquirer: word(message, 32),
        forwarder: word(message, 33),
    }
}

/// What a reversal is to undo.
pub(super) fn reversal(message: &Message<'_>, node: u8) -> Reversal {
    Reversal {
        code: Code::UNAVAILABLE,
        node,
        original: None,
        key: private(message, 11),
        data: Some(word(message, 90)).filter(|data: &Word<42>| !data.is_empty()),
        terminal: word(message, 41),
    }
}

/// The encrypted blocks of current and new PIN: DE 52, and the first or last 8 bytes of DE 53.
///
/// # Errors
/// 30 for a missing field, 12 for a processing code other than 92xxxx, 30 for a DE 53 that has more than one block.
pub(super) fn blocks(message: &Message<'_>) -> Result<[[u8; 8]; 2], Code> {
    let has = |field| message.has(field);
    if !([3, 7, 11, 41].into_iter().all(has) && (has(2) || has(35))) {
        return Err(Code::FORMAT_ERROR);
    }
    if !message.text(3).is_some_and(|code| code.starts_with(b"92")) {
        return Err(Code::NOT_SUPPORTED);
    }
    let (Some(current), Some(new)) = (message.binary(52), message.binary(53)) else {
        return Err(Code::FORMAT_ERROR);
    };
    let current = <[u8; 8]>::try_from(&current[..]).map_err(|_| Code::FORMAT_ERROR)?;
    let new = <[u8; DE53_BYTES]>::try_from(&new[..]).map_err(|_| Code::FORMAT_ERROR)?;
    Ok([current, one_block(&new).ok_or(Code::FORMAT_ERROR)?])
}

fn one_block(field: &[u8; DE53_BYTES]) -> Option<[u8; 8]> {
    let zeros = |bytes: &[u8]| bytes.iter().all(|b| *b == 0);
    let (first, after) = field.split_first_chunk::<8>()?;
    let (before, last) = field.split_last_chunk::<8>()?;
    match (zeros(before), zeros(after)) {
        (true, _) => Some(*last),
        (false, true) => Some(*first),
        (false, false) => None,
    }
}

/// Writes the answer to a request or reversal. `stan` replaces DE 11.
pub(super) fn write_answer(
    message: &Message<'_>,
    code: Code,
    stan: Option<Word<6>>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut builder = Builder::new(message.dialect(), answer_mti(message.mti()), out);
    let mut done = false;
    for field in ECHO {
        if 39 < field && !done {
            builder.text(39, code.0.as_bytes())?;
            done = true;
        }
        match stan.filter(|_| field == 11) {
            Some(stan) => builder.text(11, stan.as_bytes())?,
            None => builder.copy(message, field)?,
        }
    }
    if let Some(key) = private(message, 2) {
        builder.composite(127, |inner| inner.text(2, key.as_bytes()))?;
    }
    builder.finish();
    Ok(())
}

/// Writes the answer to a session message, with DE 53 where a key is handed out.
pub(super) fn write_network(
    message: &Message<'_>,
    code: Code,
    key: Option<&[u8; DE53_BYTES]>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut builder = Builder::new(message.dialect(), answer_mti(message.mti()), out);
    for field in ECHO_NETWORK {
        if field == 70 {
            builder.text(39, code.0.as_bytes())?;
            if let Some(key) = key {
                builder.binary(53, key)?;
            }
        }
        builder.copy(message, field)?;
    }
    builder.finish();
    Ok(())
}
