//! Bytes of journal records and card rows. Little-endian, versioned, every length checked.
//!
//! ```text
//! record   version:1 kind:1 length:2 sequence:8 at:8 body mac:32      length counts all of it
//!   kind 1 (change)  key:16 fingerprint:8 operation:1 declined:1 flags:1 link:2
//!                    stan rrn terminal (each length:1 text) [pan_hash:16] [original:16] [card]
//!   kind 2 (bulk)    complete:1 cards:8 source (length:1 text)
//! card     version:1 flags:1 sequence:2 version:4 expiry:2 organization:2 logo:2 status:1
//!          account_status:1 account_type:1 tries:1 changes:1 changes_day:4 pan_hash:16
//!          sealed_pan:48 reference [undo: key:16 reference] [6 texts: length:1 (255 none) text]
//! reference  0 | 1 len:1 digits:12 | 2 bytes:16 | 3 digits:4
//! ```
//!
//! The MAC covers every byte before it, so a record needs no checksum; fjall checks blocks on its own.
//! **Never here:** keys, files. Where next: `committer` writes records, `checkpoint` card rows.

use crate::card::record::{
    AccountStatus, AccountType, CardRecord, CardStatus, Identities, ProductKey, Undo,
};
use crate::card::{Entry, Fingerprint};
use crate::domain::clock::WallMillis;
use crate::domain::outcome::Reason;
use crate::domain::pan::{PanHash, SealedPan};
use crate::domain::pin::{LmkPin, Reference};
use crate::domain::request::{LinkId, Operation, Tag, Trace, TransactionKey};
use crate::limits::RECORD_BYTES_MAX;

/// Version of both layouts. A reader refuses any other.
const VERSION: u8 = 1;
/// Bytes of the audit MAC at the end of a record.
pub(crate) const MAC_BYTES: usize = 32;
/// Longest text among [`Identities`].
pub(crate) const IDENTITY_BYTES_MAX: usize = 64;
/// Longest name of a bulk load's source that is kept.
const SOURCE_BYTES_MAX: usize = 200;
/// A text that is absent.
const ABSENT: u8 = 255;

const KIND_CHANGE: u8 = 1;
const KIND_BULK: u8 = 2;
const FLAG_PAN_HASH: u8 = 1;
const FLAG_ORIGINAL: u8 = 2;
const FLAG_CARD: u8 = 4;
const CARD_SUPPRESSED: u8 = 1;
const CARD_UNDO: u8 = 2;
const CARD_IDENTITIES: u8 = 4;

const CARD_BYTES_MAX: usize = 97 + 17 + 33 + 6 * (1 + IDENTITY_BYTES_MAX);
const CHANGE_BYTES_MAX: usize = 20 + 29 + 3 * 17 + 32 + CARD_BYTES_MAX + MAC_BYTES;
const _: () = assert!(CHANGE_BYTES_MAX <= RECORD_BYTES_MAX, "every change fits its bound");
const _: () = assert!(20 + 10 + SOURCE_BYTES_MAX + MAC_BYTES <= RECORD_BYTES_MAX, "so does a note");
const _: () = assert!(RECORD_BYTES_MAX <= u16::MAX as usize, "length is two bytes");

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) sequence: u64,
    pub(crate) at: WallMillis,
    pub(crate) body: Body,
    pub(crate) mac: [u8; MAC_BYTES],
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "almost every one is the large one")]
pub(crate) enum Body {
    /// Cards were written outside the journal.
    Bulk(BulkNote),
    /// One request's result.
    Change {
        /// Its journal entry.
        entry: Entry,
        /// The card after it.
        card: Option<CardRecord>,
    },
}

/// One bulk load, as the audit keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BulkNote {
    /// False when the process died in the middle of it.
    pub(crate) complete: bool,
    /// How many cards were written.
    pub(crate) cards: u64,
    /// File or generator.
    pub(crate) source: Box<str>,
}

/// Why bytes are not a record or a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A byte has a value its element does not know.
    #[error("byte {at}: value unknown for {what}")]
    Value {
        /// Offset of the element's end.
        at: usize,
        /// Which element.
        what: &'static str,
    },
    /// Fewer bytes than an element needs, or more than the record has.
    #[error("byte {at}: length wrong for {what}")]
    Length {
        /// Offset.
        at: usize,
        /// Which element.
        what: &'static str,
    },
    /// Written by a newer program.
    #[error("layout version {0} is not known: the store was written by a newer program")]
    Version(u8),
    /// A text to be stored is longer than its bound.
    #[error("{0} is longer than its bound")]
    TooLong(&'static str),
}

/// Appends one change, without its MAC.
pub(crate) fn encode_change(
    out: &mut Vec<u8>,
    sequence: u64,
    entry: &Entry,
    card: Option<&CardRecord>,
) -> Result<(), CodecError> {
    let start = head(out, KIND_CHANGE, sequence, entry.at);
    out.extend_from_slice(&entry.key.0);
    out.extend_from_slice(&entry.fingerprint.0.to_le_bytes());
    out.push(entry.operation.code());
    out.push(entry.declined.map_or(0, |declined| declined.reason.code()));
    let mut flags = 0;
    flags |= if entry.pan_hash.is_some() { FLAG_PAN_HASH } else { 0 };
    flags |= if entry.original.is_some() { FLAG_ORIGINAL } else { 0 };
    flags |= if card.is_some() { FLAG_CARD } else { 0 };
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
    if let Some(card) = card {
        encode_card(out, card)?;
    }
    finish(out, start)
}

/// Appends one note of a bulk load, without its MAC. A long source keeps its end.
pub(crate) fn encode_bulk(
    out: &mut Vec<u8>,
    sequence: u64,
    at: WallMillis,
    note: &BulkNote,
) -> Result<(), CodecError> {
    let start = head(out, KIND_BULK, sequence, at);
    out.push(u8::from(note.complete));
    out.extend_from_slice(&note.cards.to_le_bytes());
    let source: &str = &note.source;
    let mut from = source.len().saturating_sub(SOURCE_BYTES_MAX);
    while !source.is_char_boundary(from) {
        from += 1;
    }
    text(out, source.get(from..).unwrap_or(""), SOURCE_BYTES_MAX, "source")?;
    finish(out, start)
}

fn head(out: &mut Vec<u8>, kind: u8, sequence: u64, at: WallMillis) -> usize {
    let start = out.len();
    out.extend_from_slice(&[VERSION, kind, 0, 0]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&at.0.to_le_bytes());
    start
}

/// Fills in the length of the record that began at `start`.
fn finish(out: &mut [u8], start: usize) -> Result<(), CodecError> {
    let length = out.len() - start + MAC_BYTES;
    let length = u16::try_from(length).map_err(|_| CodecError::TooLong("record"))?;
    out[start + 2..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Appends one card.
pub(crate) fn encode_card(out: &mut Vec<u8>, card: &CardRecord) -> Result<(), CodecError> {
    let mut flags = 0;
    flags |= if card.pin_suppressed { CARD_SUPPRESSED } else { 0 };
    flags |= if card.undo.is_some() { CARD_UNDO } else { 0 };
    flags |= if card.identities.is_some() { CARD_IDENTITIES } else { 0 };
    out.extend_from_slice(&[VERSION, flags]);
    out.extend_from_slice(&card.sequence.to_le_bytes());
    out.extend_from_slice(&card.version.to_le_bytes());
    out.extend_from_slice(&card.expiry.to_le_bytes());
    out.extend_from_slice(&card.product.organization.to_le_bytes());
    out.extend_from_slice(&card.product.logo.to_le_bytes());
    out.push(card.status as u8);
    out.push(card.account_status as u8);
    out.push(card.account_type as u8);
    out.push(card.pin_tries_used);
    out.push(card.changes);
    out.extend_from_slice(&card.changes_day.to_le_bytes());
    out.extend_from_slice(&card.pan_hash.0);
    out.extend_from_slice(&card.sealed_pan.0);
    reference(out, &card.reference);
    if let Some(undo) = &card.undo {
        out.extend_from_slice(&undo.key.0);
        reference(out, &undo.reference);
    }
    if let Some(identities) = &card.identities {
        for value in identity_texts(identities) {
            match value {
                Some(value) => text(out, value, IDENTITY_BYTES_MAX, "identity")?,
                None => out.push(ABSENT),
            }
        }
    }
    Ok(())
}

fn identity_texts(identities: &Identities) -> [Option<&str>; 6] {
    [
        identities.pan_token.as_deref(),
        identities.payment_instrument.as_deref(),
        identities.card_id.as_deref(),
        identities.external_user_id.as_deref(),
        identities.account_id.as_deref(),
        identities.person_id.as_deref(),
    ]
}

fn text(
    out: &mut Vec<u8>,
    value: &str,
    bytes_max: usize,
    what: &'static str,
) -> Result<(), CodecError> {
    let length = u8::try_from(value.len()).map_err(|_| CodecError::TooLong(what))?;
    if bytes_max < value.len() {
        return Err(CodecError::TooLong(what));
    }
    out.push(length);
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

fn reference(out: &mut Vec<u8>, reference: &Reference) {
    match reference {
        Reference::None => out.push(0),
        Reference::Offset { digits, len } => {
            out.extend_from_slice(&[1, *len]);
            out.extend_from_slice(digits);
        }
        Reference::Lmk(pin) => {
            out.push(2);
            out.extend_from_slice(&pin.0);
        }
        Reference::Pvv(pvv) => {
            out.push(3);
            out.extend_from_slice(pvv);
        }
    }
}

/// Splits a record into what the MAC covers and the MAC.
pub(crate) fn split_mac(record: &[u8]) -> Result<(&[u8], &[u8; MAC_BYTES]), CodecError> {
    record.split_last_chunk::<MAC_BYTES>().ok_or(CodecError::Length { at: 0, what: "mac" })
}

/// Reads one record. Every byte must be accounted for.
pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record, CodecError> {
    let mut from = Reader { bytes, at: 0 };
    from.version()?;
    let kind = from.byte("kind")?;
    if usize::from(from.u16("length")?) != bytes.len() {
        return Err(CodecError::Length { at: 2, what: "record" });
    }
    let sequence = from.u64("sequence")?;
    let at = WallMillis(from.u64("time")?);
    let body = match kind {
        KIND_CHANGE => change(&mut from, at)?,
        KIND_BULK => Body::Bulk(BulkNote {
            complete: match from.byte("complete")? {
                0 => false,
                1 => true,
                _ => return Err(from.value("complete")),
            },
            cards: from.u64("cards")?,
            source: from.text("source")?.unwrap_or_default(),
        }),
        _ => return Err(from.value("kind")),
    };
    let mac = from.array("mac")?;
    from.end("record")?;
    Ok(Record { sequence, at, body, mac })
}

fn change(from: &mut Reader<'_>, at: WallMillis) -> Result<Body, CodecError> {
    let key = TransactionKey(from.array("key")?);
    let fingerprint = Fingerprint(from.u64("fingerprint")?);
    let operation =
        Operation::from_code(from.byte("operation")?).ok_or_else(|| from.value("operation"))?;
    let declined = match from.byte("outcome")? {
        0 => None,
        code => Some(Reason::from_code(code).ok_or_else(|| from.value("outcome"))?.into()),
    };
    let flags = from.byte("flags")?;
    if flags & !(FLAG_PAN_HASH | FLAG_ORIGINAL | FLAG_CARD) != 0 {
        return Err(from.value("flags"));
    }
    let link = LinkId(from.u16("link")?);
    let trace = Trace { stan: from.tag()?, rrn: from.tag()?, terminal: from.tag()? };
    let pan_hash =
        from.optional(flags, FLAG_PAN_HASH, |from| Ok(PanHash(from.array("PAN hash")?)))?;
    let original =
        from.optional(flags, FLAG_ORIGINAL, |from| Ok(TransactionKey(from.array("original")?)))?;
    let card = from.optional(flags, FLAG_CARD, card)?;
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
        overridden: false,
    };
    Ok(Body::Change { entry, card })
}

/// Reads one card row.
pub(crate) fn decode_card(bytes: &[u8]) -> Result<CardRecord, CodecError> {
    let mut from = Reader { bytes, at: 0 };
    let card = card(&mut from)?;
    from.end("card")?;
    Ok(card)
}

fn card(from: &mut Reader<'_>) -> Result<CardRecord, CodecError> {
    from.version()?;
    let flags = from.byte("card flags")?;
    if flags & !(CARD_SUPPRESSED | CARD_UNDO | CARD_IDENTITIES) != 0 {
        return Err(from.value("card flags"));
    }
    let sequence = from.u16("card sequence")?;
    let version = from.u32("card version")?;
    let expiry = from.u16("expiry")?;
    let product = ProductKey { organization: from.u16("organization")?, logo: from.u16("logo")? };
    let status = match from.byte("status")? {
        1 => CardStatus::Active,
        2 => CardStatus::Blocked,
        3 => CardStatus::Closed,
        4 => CardStatus::Lost,
        5 => CardStatus::NotActivated,
        6 => CardStatus::Stolen,
        _ => return Err(from.value("status")),
    };
    let account_status = match from.byte("account status")? {
        1 => AccountStatus::Active,
        2 => AccountStatus::Blocked,
        3 => AccountStatus::NotAllowed,
        _ => return Err(from.value("account status")),
    };
    let account_type = match from.byte("account type")? {
        1 => AccountType::Ordinary,
        2 => AccountType::NotAllowed,
        _ => return Err(from.value("account type")),
    };
    Ok(CardRecord {
        sequence,
        version,
        expiry,
        product,
        status,
        account_status,
        account_type,
        pin_suppressed: flags & CARD_SUPPRESSED != 0,
        pin_tries_used: from.byte("tries")?,
        changes: from.byte("changes")?,
        changes_day: from.u32("changes day")?,
        pan_hash: PanHash(from.array("PAN hash")?),
        sealed_pan: SealedPan(from.array("sealed PAN")?),
        reference: from.reference()?,
        undo: from.optional(flags, CARD_UNDO, |from| {
            let key = TransactionKey(from.array("undo key")?);
            Ok(Undo { key, reference: from.reference()? })
        })?,
        identities: from.optional(flags, CARD_IDENTITIES, |from| {
            Ok(Box::new(Identities {
                pan_token: from.text("PAN token")?,
                payment_instrument: from.text("payment instrument")?,
                card_id: from.text("card id")?,
                external_user_id: from.text("external user id")?,
                account_id: from.text("account id")?,
                person_id: from.text("person id")?,
            }))
        })?,
    })
}

/// A cursor that cannot read past its end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], CodecError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let taken = rest.get(..count).ok_or(CodecError::Length { at: self.at, what })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CodecError> {
        let at = self.at;
        self.take(N, what)?.try_into().map_err(|_| CodecError::Length { at, what })
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, CodecError> {
        Ok(self.array::<1>(what)?[0])
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, CodecError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn version(&mut self) -> Result<(), CodecError> {
        match self.byte("version")? {
            VERSION => Ok(()),
            other => Err(CodecError::Version(other)),
        }
    }

    fn tag(&mut self) -> Result<Tag, CodecError> {
        let length = usize::from(self.byte("trace")?);
        if 16 < length {
            return Err(self.value("trace"));
        }
        Ok(Tag::new(self.take(length, "trace")?))
    }

    fn text(&mut self, what: &'static str) -> Result<Option<Box<str>>, CodecError> {
        let length = self.byte(what)?;
        if length == ABSENT {
            return Ok(None);
        }
        let bytes = self.take(usize::from(length), what)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.value(what))?;
        Ok(Some(text.into()))
    }

    fn reference(&mut self) -> Result<Reference, CodecError> {
        match self.byte("reference")? {
            0 => Ok(Reference::None),
            1 => {
                let len = self.byte("offset")?;
                if !(4..=12).contains(&len) {
                    return Err(self.value("offset"));
                }
                Ok(Reference::Offset { len, digits: self.array("offset")? })
            }
            2 => Ok(Reference::Lmk(LmkPin(self.array("LMK PIN")?))),
            3 => Ok(Reference::Pvv(self.array("PVV")?)),
            _ => Err(self.value("reference")),
        }
    }

    fn optional<T>(
        &mut self,
        flags: u8,
        flag: u8,
        read: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if flags & flag == 0 { Ok(None) } else { read(self).map(Some) }
    }

    fn value(&self, what: &'static str) -> CodecError {
        CodecError::Value { at: self.at, what }
    }

    fn end(&self, what: &'static str) -> Result<(), CodecError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(CodecError::Length { at: self.at, what })
        }
    }
}

#[cfg(test)]
mod tests;
