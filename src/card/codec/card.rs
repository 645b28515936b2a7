//! A card: as a row, and as the after-image at the end of a change.
//!
//! **Never here:** records. Where next: `reader`.

use crate::card::codec::reader::{ABSENT, Reader, text};
use crate::card::codec::{CodecError, IDENTITY_BYTES_MAX, VERSION};
use crate::card::record::{
    AccountStatus, AccountType, CardRecord, CardStatus, Identities, ProductKey, Undo,
};
use crate::domain::pan::{PanHash, SealedPan};
use crate::domain::pin::{LmkPin, Reference};
use crate::domain::request::TransactionKey;

const CARD_SUPPRESSED: u8 = 1;
const CARD_UNDO: u8 = 2;
const CARD_IDENTITIES: u8 = 4;

/// The longest card.
pub(super) const CARD_BYTES_MAX: usize = 97 + 17 + 33 + 6 * (1 + IDENTITY_BYTES_MAX);

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

/// Reads one card row.
pub(crate) fn decode_card(bytes: &[u8]) -> Result<CardRecord, CodecError> {
    let mut from = Reader { bytes, at: 0 };
    let card = card(&mut from)?;
    from.end("card")?;
    Ok(card)
}

pub(super) fn card(from: &mut Reader<'_>) -> Result<CardRecord, CodecError> {
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
        reference: read_reference(from)?,
        undo: from.optional(flags, CARD_UNDO, |from| {
            let key = TransactionKey(from.array("undo key")?);
            Ok(Undo { key, reference: read_reference(from)? })
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

fn read_reference(from: &mut Reader<'_>) -> Result<Reference, CodecError> {
    match from.byte("reference")? {
        0 => Ok(Reference::None),
        1 => {
            let len = from.byte("offset")?;
            if !(4..=12).contains(&len) {
                return Err(from.value("offset"));
            }
            Ok(Reference::Offset { len, digits: from.array("offset")? })
        }
        2 => Ok(Reference::Lmk(LmkPin(from.array("LMK PIN")?))),
        3 => Ok(Reference::Pvv(from.array("PVV")?)),
        _ => Err(from.value("reference")),
    }
}
