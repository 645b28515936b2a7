//! Bytes of journal records and rows. Little-endian, versioned, every length checked.
//!
//! ```text
//! record   version:1 kind:1 length:2 sequence:8 at:8 body mac:32      length counts all of it
//!   kind 1 (change)  entry [intent: sequence:8] [reopens: copy] [card]
//!   kind 2 (bulk)    complete:1 cards:8 source (length:1 text)
//!   kind 3 (intent)  entry forwarded
//!   kind 4 (settled) key:16 1 reason (length:1 text) | key:16 2 host:2 | key:16 3 host:2 code:4
//!   kind 5 (note)    length:1 text
//! entry    key:16 fingerprint:8 operation:1 declined:1 flags:1 link:2
//!          stan rrn terminal (each length:1 text) [pan_hash:16] [original:16] [host code:4]
//! forwarded  flags:1 host:2 stan:4 transmitted:8 sealed_pan:48 [types:4] [expiry:4] [time:6] [date:4] [entry mode:3]
//!          [condition:2] [currency:3] [sequence:2] institution acquirer acceptor 2 accounts (each length:1 text)
//! copy     sequence:8 at:8 entry forwarded                            of an intent
//! row of an open change  version:1 copy
//! card     version:1 flags:1 sequence:2 version:4 expiry:2 organization:2 logo:2 status:1
//!          account_status:1 account_type:1 tries:1 changes:1 changes_day:4 pan_hash:16
//!          sealed_pan:48 reference [undo: key:16 reference] [6 texts: length:1 (255 none) text]
//! reference  0 | 1 len:1 digits:12 | 2 bytes:16 | 3 digits:4
//! ```
//!
//! The MAC covers every byte before it, so a record needs no checksum; fjall checks blocks on its own.
//! **Never here:** keys, files. Where next: `entry`, `forwarded` and `card` for the parts; `committer` writes records,
//! `checkpoint` rows.

use crate::card::{CardRecord, Entry, Settled, Settlement, Unsettled};
use crate::domain::clock::WallMillis;
use crate::domain::forward::Forwarded;
use crate::domain::request::TransactionKey;
use crate::limits::{NOTE_BYTES_MAX, RECORD_BYTES_MAX};

mod card;
mod entry;
mod forwarded;
mod reader;
#[cfg(test)]
mod tests;

pub(crate) use card::{decode_card, encode_card};

use card::CARD_BYTES_MAX;
use entry::ENTRY_BYTES_MAX;
use forwarded::{COPY_BYTES_MAX, FORWARDED_BYTES_MAX, SETTLEMENT_BYTES_MAX};
use reader::{Reader, text};

/// Version of all layouts. A reader refuses any other.
const VERSION: u8 = 1;
/// Bytes of the audit MAC at the end of a record.
pub(crate) const MAC_BYTES: usize = 32;
/// Longest text among a card's identities.
pub(crate) const IDENTITY_BYTES_MAX: usize = 64;
/// Longest name of a bulk load's source that is kept.
const SOURCE_BYTES_MAX: usize = 200;

const KIND_CHANGE: u8 = 1;
const KIND_BULK: u8 = 2;
const KIND_INTENT: u8 = 3;
const KIND_SETTLED: u8 = 4;
const KIND_NOTE: u8 = 5;

const FRAME_BYTES: usize = 20 + MAC_BYTES;
const CHANGE_BYTES_MAX: usize = FRAME_BYTES + ENTRY_BYTES_MAX + 8 + COPY_BYTES_MAX + CARD_BYTES_MAX;
const _: () = {
    assert!(CHANGE_BYTES_MAX <= RECORD_BYTES_MAX, "every change fits its bound");
    assert!(
        FRAME_BYTES + ENTRY_BYTES_MAX + FORWARDED_BYTES_MAX <= RECORD_BYTES_MAX,
        "so does an intent"
    );
    assert!(FRAME_BYTES + SETTLEMENT_BYTES_MAX <= RECORD_BYTES_MAX, "so does a settlement");
    assert!(FRAME_BYTES + 10 + SOURCE_BYTES_MAX <= RECORD_BYTES_MAX, "so does a bulk load");
    assert!(FRAME_BYTES + 1 + NOTE_BYTES_MAX <= RECORD_BYTES_MAX, "so does a note");
    assert!(NOTE_BYTES_MAX < 255 && SOURCE_BYTES_MAX < 255, "a text's length is one byte");
    assert!(RECORD_BYTES_MAX <= u16::MAX as usize, "length is two bytes");
};

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
        /// The position of its intent, where it had one: this is the outcome.
        intent: Option<u64>,
        /// The forwarded change that is to be reversed from now on: a copy of its intent, so that nothing has to be
        /// looked for when the journal is read again.
        reopens: Option<Box<Unsettled>>,
        /// The card after it.
        card: Option<CardRecord>,
    },
    /// A request is about to be sent to a host. Its sequence is the record's.
    Intent(Box<Unsettled>),
    /// Something that is no request.
    Note(Box<str>),
    /// A forwarded change needs no reversal any more.
    Settled {
        /// Its key.
        key: TransactionKey,
        /// In which way.
        settlement: Settlement,
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

/// One request's result, to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) intent: Option<u64>,
    pub(crate) reopens: Option<&'a Unsettled>,
    pub(crate) card: Option<&'a CardRecord>,
}

/// Appends one change, without its MAC.
pub(crate) fn encode_change(
    out: &mut Vec<u8>,
    sequence: u64,
    change: Change<'_>,
) -> Result<(), CodecError> {
    let start = head(out, KIND_CHANGE, sequence, change.entry.at);
    let mut more = 0;
    more |= if change.intent.is_some() { entry::INTENT } else { 0 };
    more |= if change.reopens.is_some() { entry::REOPENS } else { 0 };
    more |= if change.card.is_some() { entry::CARD } else { 0 };
    entry::encode(out, change.entry, more)?;
    if let Some(intent) = change.intent {
        out.extend_from_slice(&intent.to_le_bytes());
    }
    if let Some(reopened) = change.reopens {
        forwarded::encode_copy(out, reopened)?;
    }
    if let Some(card) = change.card {
        encode_card(out, card)?;
    }
    finish(out, start)
}

/// Appends one intent, without its MAC.
pub(crate) fn encode_intent(
    out: &mut Vec<u8>,
    sequence: u64,
    entry: &Entry,
    forwarded: &Forwarded,
) -> Result<(), CodecError> {
    let start = head(out, KIND_INTENT, sequence, entry.at);
    entry::encode(out, entry, 0)?;
    forwarded::encode(out, forwarded)?;
    finish(out, start)
}

/// Appends how a forwarded change ended, without the MAC.
pub(crate) fn encode_settled(
    out: &mut Vec<u8>,
    sequence: u64,
    key: TransactionKey,
    at: WallMillis,
    how: &Settled,
) -> Result<(), CodecError> {
    let start = head(out, KIND_SETTLED, sequence, at);
    forwarded::encode_settled(out, key, how)?;
    finish(out, start)
}

/// Appends one note, without its MAC. A long one is cut.
pub(crate) fn encode_note(
    out: &mut Vec<u8>,
    sequence: u64,
    at: WallMillis,
    note: &str,
) -> Result<(), CodecError> {
    let start = head(out, KIND_NOTE, sequence, at);
    let note = &note[..note.floor_char_boundary(NOTE_BYTES_MAX)];
    text(out, note, NOTE_BYTES_MAX, "note")?;
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
    let from = source.ceil_char_boundary(source.len().saturating_sub(SOURCE_BYTES_MAX));
    text(out, &source[from..], SOURCE_BYTES_MAX, "source")?;
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
        KIND_INTENT => {
            let (entry, _) = entry::decode(&mut from, at, 0)?;
            let forwarded = forwarded::decode(&mut from)?;
            Body::Intent(Box::new(Unsettled { sequence, entry, forwarded }))
        }
        KIND_SETTLED => {
            let (key, settlement) = forwarded::decode_settled(&mut from, at)?;
            Body::Settled { key, settlement }
        }
        KIND_NOTE => Body::Note(from.present("note")?),
        _ => return Err(from.value("kind")),
    };
    let mac = from.array("mac")?;
    from.end("record")?;
    Ok(Record { sequence, at, body, mac })
}

fn change(from: &mut Reader<'_>, at: WallMillis) -> Result<Body, CodecError> {
    let allowed = entry::INTENT | entry::REOPENS | entry::CARD;
    let (entry, flags) = entry::decode(from, at, allowed)?;
    let intent = from.optional(flags, entry::INTENT, |from| from.u64("intent"))?;
    let reopens =
        from.optional(flags, entry::REOPENS, |from| Ok(Box::new(forwarded::decode_copy(from)?)))?;
    let card = from.optional(flags, entry::CARD, card::card)?;
    Ok(Body::Change { entry, intent, reopens, card })
}

/// Appends the row of an open change.
pub(crate) fn encode_open(out: &mut Vec<u8>, change: &Unsettled) -> Result<(), CodecError> {
    out.push(VERSION);
    forwarded::encode_copy(out, change)
}

/// Reads the row of an open change.
pub(crate) fn decode_open(bytes: &[u8]) -> Result<Unsettled, CodecError> {
    let mut from = Reader { bytes, at: 0 };
    from.version()?;
    let change = forwarded::decode_copy(&mut from)?;
    from.end("open change")?;
    Ok(change)
}
