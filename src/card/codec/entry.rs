//! The journal's line of a request, shared by changes, intents and copies of intents.
//!
//! **Never here:** what follows it in a record. Where next: `forwarded`, `card`.

use crate::card::codec::CodecError;
use crate::card::codec::reader::{Reader, text};
use crate::card::{Entry, Fingerprint};
use crate::domain::clock::WallMillis;
use crate::domain::outcome::{Declined, HostCode, Reason};
use crate::domain::pan::PanHash;
use crate::domain::request::{LinkId, Operation, Trace, TransactionKey};

const PAN_HASH: u8 = 1;
const ORIGINAL: u8 = 2;
/// The after-image of a card follows. Changes only.
pub(super) const CARD: u8 = 4;
const HOST_CODE: u8 = 8;
const OVERRIDDEN: u8 = 16;
/// The position of the intent follows. Changes only.
pub(super) const INTENT: u8 = 32;
/// A copy of an intent follows. Changes only.
pub(super) const REOPENS: u8 = 64;

/// The longest line.
pub(super) const ENTRY_BYTES_MAX: usize = 29 + 3 * 17 + 2 * 16 + 4;

/// Appends a line. `more` are the flags of what its record has beside it.
pub(super) fn encode(out: &mut Vec<u8>, entry: &Entry, more: u8) -> Result<(), CodecError> {
    let host = entry.declined.and_then(|declined| declined.host);
    out.extend_from_slice(&entry.key.0);
    out.extend_from_slice(&entry.fingerprint.0.to_le_bytes());
    out.push(entry.operation.code());
    out.push(entry.declined.map_or(0, |declined| declined.reason.code()));
    let mut flags = more;
    flags |= if entry.pan_hash.is_some() { PAN_HASH } else { 0 };
    flags |= if entry.original.is_some() { ORIGINAL } else { 0 };
    flags |= if host.is_some() { HOST_CODE } else { 0 };
    flags |= if entry.overridden { OVERRIDDEN } else { 0 };
    out.push(flags);
    out.extend_from_slice(&entry.link.0.to_le_bytes());
    for tag in [&entry.trace.stan, &entry.trace.rrn, &entry.trace.terminal] {
        text(out, tag.as_str(), 16, "trace")?;
    }
    if let Some(hash) = &entry.pan_hash {
        out.extend_from_slice(&hash.0);
    }
    if let Some(original) = &entry.original {
        out.extend_from_slice(&original.0);
    }
    if let Some(host) = host {
        out.extend_from_slice(&host.bytes());
    }
    Ok(())
}

/// Reads a line and the flags of what follows it, which must be among `allowed`.
pub(super) fn decode(
    from: &mut Reader<'_>,
    at: WallMillis,
    allowed: u8,
) -> Result<(Entry, u8), CodecError> {
    let key = TransactionKey(from.array("key")?);
    let fingerprint = Fingerprint(from.u64("fingerprint")?);
    let operation =
        Operation::from_code(from.byte("operation")?).ok_or_else(|| from.value("operation"))?;
    let reason = match from.byte("outcome")? {
        0 => None,
        code => Some(Reason::from_code(code).ok_or_else(|| from.value("outcome"))?),
    };
    let flags = from.byte("flags")?;
    if flags & !(PAN_HASH | ORIGINAL | HOST_CODE | OVERRIDDEN | allowed) != 0 {
        return Err(from.value("flags"));
    }
    let link = LinkId(from.u16("link")?);
    let trace =
        Trace { stan: from.tag("trace")?, rrn: from.tag("trace")?, terminal: from.tag("trace")? };
    let pan_hash = from.optional(flags, PAN_HASH, |from| Ok(PanHash(from.array("PAN hash")?)))?;
    let original =
        from.optional(flags, ORIGINAL, |from| Ok(TransactionKey(from.array("original")?)))?;
    let host = from.optional(flags, HOST_CODE, host_code)?;
    let declined = match (reason, host) {
        (None, None) => None,
        (None, Some(_)) => return Err(from.value("host code")),
        (Some(reason), host) => Some(Declined { reason, host }),
    };
    let overridden = flags & OVERRIDDEN != 0;
    let entry = Entry {
        key,
        fingerprint,
        operation,
        pan_hash,
        declined,
        at,
        link,
        trace,
        original,
        overridden,
    };
    Ok((entry, flags & allowed))
}

/// Reads a host's code that is there.
pub(super) fn host_code(from: &mut Reader<'_>) -> Result<HostCode, CodecError> {
    HostCode::from_bytes(from.array("host code")?).ok_or_else(|| from.value("host code"))
}
