//! Issuer scripts: the new PIN as only the card reads it, and the MAC over the command.
//!
//! Issuers' keys are prepared; a card's and a session's are derived for each script and wiped with it, since no session
//! comes twice. **Never here:** how a script is laid out (`hsm::script`), how keys are derived (`pin::emv`).

use zeroize::Zeroizing;

use crate::domain::chip::{ScriptCommand, ScriptScheme};
use crate::domain::pin::KeyId;
use crate::hsm::HsmError;
use crate::hsm::key::KeyType;
use crate::hsm::script::{HIDDEN_BYTES_MAX, PLAIN_BYTES, Script};
use crate::hsm::soft::SoftHsm;
use crate::hsm::soft::mac::RetailMac;
use crate::hsm::soft::table::{Schedule, Table};
use crate::pin::block::Block8;
use crate::pin::dukpt::Key16;
use crate::pin::emv::{card_key, encode_34, encode_41, session_common, session_visa};
use crate::pin::tdes::Tdes;

impl SoftHsm {
    pub(super) fn seal_script(
        &self,
        keys: &Table,
        script: &Script<'_>,
    ) -> Result<ScriptCommand, HsmError> {
        let rules = script.rules;
        let card = script.card();
        let mut hidden = [0; HIDDEN_BYTES_MAX];
        let mut length = 0;
        if let Some(pin) = script.pin {
            let confidentiality = below(keys, rules.confidentiality, KeyType::MkSmc, card)?;
            let pin = self.open_presented(keys, pin, script.account)?;
            let block = match rules.scheme {
                ScriptScheme::EmvCommon | ScriptScheme::Mastercard => encode_34(&pin),
                ScriptScheme::Visa { cryptograms } => {
                    encode_41(&pin, &below(keys, cryptograms, KeyType::MkAc, card)?)
                }
            };
            let session = Tdes::double(&session(script, &confidentiality));
            (hidden, length) = hide(&session, &block, rules.scheme);
        }
        let hidden = hidden.get(..length).unwrap_or_default();
        let integrity = below(keys, rules.integrity, KeyType::MkSmi, card)?;
        let mut covered = [0; PLAIN_BYTES + HIDDEN_BYTES_MAX];
        let parts = script.plain().into_iter().chain(hidden.iter().copied());
        covered.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let covered = covered.get(..PLAIN_BYTES + hidden.len()).unwrap_or_default();
        let mac = RetailMac::new(&*session(script, &integrity)).ok_or(HsmError::KeyUnusable)?;
        script.seal(hidden, mac.compute_with_bit(covered)).ok_or(HsmError::KeyUnusable)
    }
}

/// The card's key below an issuer's.
fn below(keys: &Table, id: KeyId, key_type: KeyType, card: [u8; 8]) -> Result<Key16, HsmError> {
    match &keys.of_type(id, key_type)?.newest.schedule {
        Schedule::Tdes { cipher, double: true } => Ok(card_key(cipher, card)),
        _ => Err(HsmError::KeyUnusable),
    }
}

/// The session's key below the card's.
fn session(script: &Script<'_>, card: &Key16) -> Key16 {
    match script.rules.scheme {
        ScriptScheme::EmvCommon | ScriptScheme::Mastercard => {
            session_common(card, script.chip.cryptogram)
        }
        ScriptScheme::Visa { .. } => session_visa(card, script.chip.counter),
    }
}

/// The encrypted block, and how many bytes it takes. Chains begin with zeros.
fn hide(session: &Tdes, block: &Block8, scheme: ScriptScheme) -> ([u8; HIDDEN_BYTES_MAX], usize) {
    let (mut first, mut second) = (Zeroizing::new(**block), Zeroizing::new([0; 8]));
    let chained = match scheme {
        // One whole block, and no padding.
        ScriptScheme::Mastercard => {
            session.encrypt(&mut first);
            return (join(*first, [0; 8]), 8);
        }
        // ISO 9797-1 method 2, chained.
        ScriptScheme::EmvCommon => {
            second[0] = 0x80;
            true
        }
        // The block's length before it, then method 2; every block by itself.
        ScriptScheme::Visa { .. } => {
            second[0] = first[7];
            second[1] = 0x80;
            first.copy_within(..7, 1);
            first[0] = 8;
            false
        }
    };
    session.encrypt(&mut first);
    if chained {
        second.iter_mut().zip(*first).for_each(|(to, from)| *to ^= from);
    }
    session.encrypt(&mut second);
    (join(*first, *second), 16)
}

fn join(first: [u8; 8], second: [u8; 8]) -> [u8; HIDDEN_BYTES_MAX] {
    let mut both = [0; HIDDEN_BYTES_MAX];
    both.iter_mut().zip(first.into_iter().chain(second)).for_each(|(to, from)| *to = from);
    both
}
