//! What was sent to a host, the copy of an intent that rows and reopening records keep, and how such a change ended.
//!
//! **Never here:** a PIN block; the bytes a host gets. Where next: `entry`.

use crate::card::codec::reader::{Reader, text};
use crate::card::codec::{CodecError, entry};
use crate::card::{Settled, Settlement, Unsettled};
use crate::domain::clock::WallMillis;
use crate::domain::forward::{Details, Forwarded, HostId, Stan};
use crate::domain::pan::SealedPan;
use crate::domain::request::TransactionKey;
use crate::limits::SETTLE_REASON_BYTES_MAX;

const ACCOUNT_TYPES: u8 = 1;
const EXPIRY: u8 = 2;
const TIME: u8 = 4;
const DATE: u8 = 8;
const ENTRY_MODE: u8 = 16;
const CONDITION: u8 = 32;
const CURRENCY: u8 = 64;
const SEQUENCE: u8 = 128;

const BY_HAND: u8 = 1;
const REVERSED: u8 = 2;
const REVERSED_WITH_CODE: u8 = 3;

/// The longest of what was sent.
pub(super) const FORWARDED_BYTES_MAX: usize =
    1 + 2 + 4 + 8 + SealedPan::BYTES + (4 + 4 + 6 + 4 + 3 + 2 + 3 + 2) + 3 * 17 + 2 * 29;
/// The longest copy of an intent.
pub(super) const COPY_BYTES_MAX: usize = 16 + entry::ENTRY_BYTES_MAX + FORWARDED_BYTES_MAX;
/// The longest settlement.
pub(super) const SETTLEMENT_BYTES_MAX: usize = 16 + 1 + 1 + SETTLE_REASON_BYTES_MAX;
const _: () = assert!(SETTLE_REASON_BYTES_MAX < 255, "a text's length is one byte");

/// Appends what was sent.
pub(super) fn encode(out: &mut Vec<u8>, forwarded: &Forwarded) -> Result<(), CodecError> {
    let at = out.len();
    out.push(0);
    out.extend_from_slice(&forwarded.host.0.to_le_bytes());
    out.extend_from_slice(&forwarded.stan.0.to_le_bytes());
    out.extend_from_slice(&forwarded.transmitted.0.to_le_bytes());
    out.extend_from_slice(&forwarded.pan.0);
    let details = &forwarded.details;
    let sequence = forwarded.sequence.map(u16::to_le_bytes);
    let elements: [(u8, Option<&[u8]>); 8] = [
        (ACCOUNT_TYPES, details.account_types.as_ref().map(<[u8; 4]>::as_slice)),
        (EXPIRY, details.expiry.as_ref().map(<[u8; 4]>::as_slice)),
        (TIME, details.time.as_ref().map(<[u8; 6]>::as_slice)),
        (DATE, details.date.as_ref().map(<[u8; 4]>::as_slice)),
        (ENTRY_MODE, details.entry_mode.as_ref().map(<[u8; 3]>::as_slice)),
        (CONDITION, details.condition.as_ref().map(<[u8; 2]>::as_slice)),
        (CURRENCY, details.currency.as_ref().map(<[u8; 3]>::as_slice)),
        (SEQUENCE, sequence.as_ref().map(<[u8; 2]>::as_slice)),
    ];
    for (flag, element) in elements {
        if let Some(element) = element {
            out[at] |= flag;
            out.extend_from_slice(element);
        }
    }
    for tag in [&forwarded.institution, &details.acquirer, &details.acceptor] {
        text(out, tag.as_str(), 16, "forwarded element")?;
    }
    for account in &details.accounts {
        text(out, account.as_str(), 28, "account")?;
    }
    Ok(())
}

/// Reads what was sent.
pub(super) fn decode(from: &mut Reader<'_>) -> Result<Forwarded, CodecError> {
    let flags = from.byte("forwarded flags")?;
    let host = HostId(from.u16("host")?);
    let stan = Stan(from.u32("host trace number")?);
    if Stan::MAX < stan {
        return Err(from.value("host trace number"));
    }
    let transmitted = WallMillis(from.u64("transmission time")?);
    let pan = SealedPan(from.array("sealed PAN")?);
    let mut details = Details {
        account_types: from.optional(flags, ACCOUNT_TYPES, |f| f.array("account types"))?,
        expiry: from.optional(flags, EXPIRY, |f| f.array("expiry"))?,
        time: from.optional(flags, TIME, |f| f.array("time"))?,
        date: from.optional(flags, DATE, |f| f.array("date"))?,
        entry_mode: from.optional(flags, ENTRY_MODE, |f| f.array("entry mode"))?,
        condition: from.optional(flags, CONDITION, |f| f.array("condition"))?,
        currency: from.optional(flags, CURRENCY, |f| f.array("currency"))?,
        ..Details::default()
    };
    let sequence = from.optional(flags, SEQUENCE, |f| f.u16("card sequence"))?;
    let institution = from.tag("institution")?;
    details.acquirer = from.tag("acquirer")?;
    details.acceptor = from.tag("acceptor")?;
    details.accounts = [from.tag("account")?, from.tag("account")?];
    Ok(Forwarded { host, stan, transmitted, pan, sequence, institution, details })
}

/// Appends a copy of an intent.
pub(super) fn encode_copy(out: &mut Vec<u8>, change: &Unsettled) -> Result<(), CodecError> {
    out.extend_from_slice(&change.sequence.to_le_bytes());
    out.extend_from_slice(&change.entry.at.0.to_le_bytes());
    entry::encode(out, &change.entry, 0)?;
    encode(out, &change.forwarded)
}

/// Reads a copy of an intent.
pub(super) fn decode_copy(from: &mut Reader<'_>) -> Result<Unsettled, CodecError> {
    let sequence = from.u64("sequence")?;
    let at = WallMillis(from.u64("time")?);
    let (entry, _) = entry::decode(from, at, 0)?;
    Ok(Unsettled { sequence, entry, forwarded: decode(from)? })
}

/// Appends how a change ended.
pub(super) fn encode_settled(
    out: &mut Vec<u8>,
    key: TransactionKey,
    how: &Settled,
) -> Result<(), CodecError> {
    out.extend_from_slice(&key.0);
    match how {
        Settled::ByHand { reason } => {
            out.push(BY_HAND);
            text(out, reason, SETTLE_REASON_BYTES_MAX, "reason")?;
        }
        Settled::Reversed { host, code } => {
            out.push(if code.is_some() { REVERSED_WITH_CODE } else { REVERSED });
            out.extend_from_slice(&host.0.to_le_bytes());
            if let Some(code) = code {
                out.extend_from_slice(&code.bytes());
            }
        }
    }
    Ok(())
}

/// Reads how a change ended.
pub(super) fn decode_settled(
    from: &mut Reader<'_>,
    at: WallMillis,
) -> Result<(TransactionKey, Settlement), CodecError> {
    let key = TransactionKey(from.array("key")?);
    let how = match from.byte("settlement")? {
        BY_HAND => Settled::ByHand { reason: from.present("reason")? },
        REVERSED => Settled::Reversed { host: HostId(from.u16("host")?), code: None },
        REVERSED_WITH_CODE => {
            let host = HostId(from.u16("host")?);
            Settled::Reversed { host, code: Some(entry::host_code(from)?) }
        }
        _ => return Err(from.value("settlement")),
    };
    Ok((key, Settlement { at, how }))
}
