//! Network messages of our own (0800), and answers to a node's (0810).
//!
//! **Never here:** when one is sent (`session`), what a key in DE 53 means (whoever takes keys).

use bytes::BytesMut;

use crate::domain::clock::WallMillis;
use crate::domain::forward::Stan;
use crate::host::write::month_to_second;
use crate::iso8583::{Builder, Dialect, EncodeError, Message};

/// Network codes (DE 70), `domain/iso8583.md` 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// Sign-on.
    SignOn,
    /// Sign-off.
    SignOff,
    /// Key change: with DE 53 a new key, without it a wish for one.
    Key,
    /// Echo.
    Echo,
}

impl Code {
    /// The digits we send.
    pub(super) const fn digits(self) -> [u8; 3] {
        match self {
            Self::SignOn => *b"001",
            Self::SignOff => *b"002",
            Self::Key => *b"101",
            Self::Echo => *b"301",
        }
    }

    /// What a node's digits mean; `None` for a code we do not serve.
    pub(super) fn of(digits: &[u8]) -> Option<Self> {
        match digits {
            b"001" => Some(Self::SignOn),
            b"002" => Some(Self::SignOff),
            b"101" | b"161" => Some(Self::Key),
            b"301" => Some(Self::Echo),
            _ => None,
        }
    }
}

/// Elements of an 0800 that its answer gives back. DE 39 comes after them, DE 70 last.
const ECHOED: [u8; 8] = [7, 11, 12, 13, 32, 33, 37, 41];
/// Network code.
pub(super) const NETWORK_CODE: u8 = 70;
/// Response code.
pub(super) const RESPONSE_CODE: u8 = 39;
/// Security information: a new key in a key exchange.
pub(super) const SECURITY: u8 = 53;

/// Writes an 0800 of our own behind what `out` holds.
///
/// # Errors
/// [`EncodeError`] for a dialect that cannot, which the settings rule out.
pub(super) fn request(
    dialect: &Dialect,
    code: Code,
    stan: Stan,
    at: WallMillis,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut builder = Builder::new(dialect, *b"0800", out);
    builder.text(7, &month_to_second(at))?;
    builder.text(11, &stan.digits())?;
    builder.text(NETWORK_CODE, &code.digits())?;
    builder.finish();
    Ok(())
}

/// Writes the 0810 to a node's 0800 behind what `out` holds.
///
/// # Errors
/// [`EncodeError`] for a code that the dialect does not allow.
pub(super) fn answer(
    dialect: &Dialect,
    request: &Message<'_>,
    code: &[u8],
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut builder = Builder::new(dialect, *b"0810", out);
    for field in ECHOED.into_iter().filter(|field| *field < RESPONSE_CODE) {
        builder.copy(request, field)?;
    }
    builder.text(RESPONSE_CODE, code)?;
    for field in ECHOED.into_iter().filter(|field| RESPONSE_CODE < *field) {
        builder.copy(request, field)?;
    }
    builder.copy(request, NETWORK_CODE)?;
    builder.finish();
    Ok(())
}

/// Writes each once.
pub(super) fn try_all(dialect: &Dialect) -> Result<(), EncodeError> {
    let mut out = BytesMut::new();
    request(dialect, Code::Echo, Stan(1), WallMillis(0), &mut out)?;
    let mut out = BytesMut::new();
    let mut builder = Builder::new(dialect, *b"0810", &mut out);
    builder.text(RESPONSE_CODE, b"00")?;
    builder.finish();
    Ok(())
}
