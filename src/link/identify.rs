//! The key of a request, from the elements its dialect says identify a transaction (design.md "Transaction key").
//!
//! The first half of a key is a hash over institution, trace number and terminal; the second over the other elements.
//! A reversal whose sender did not copy every element of the original is so still recognised by the first half, on
//! the card whose last change it names. DE 7 never enters: a repeat may carry a new transmission time.

use sha2::{Digest, Sha256};

use crate::domain::request::{Tag, TransactionKey};
use crate::iso8583::Message;
use crate::link::map::PinMap;

/// Trace number and local time of the message itself, or of the original a reversal names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment<'a> {
    /// DE 11.
    pub(super) stan: &'a [u8],
    /// DE 12, where the original's is given.
    pub(super) time: Option<&'a [u8]>,
}

/// The key of a message with the given trace number and time.
pub(super) fn key(
    map: &PinMap,
    message: &Message<'_>,
    own_institution: &Tag,
    moment: Moment<'_>,
    class: [u8; 1],
) -> TransactionKey {
    //= spec/pin-change.md#4.4
    //# The key MUST be made of the institution and of the elements that the dialect says identify a
    //# transaction; the message type MUST NOT be part of it, since a repeat has another one.
    let acquirer = message.text(32);
    let institution =
        acquirer.as_ref().map_or(own_institution.as_str().as_bytes(), |text| text.as_bytes());

    let mut trace = Sha256::new_with_prefix(class);
    part(&mut trace, 32, institution);
    part(&mut trace, 11, moment.stan);
    let mut rest = Sha256::new_with_prefix(class);
    for number in map.identify.iter().copied() {
        match (number, moment.time) {
            (11 | 32, _) => {}
            (12, Some(time)) => part(&mut rest, 12, time),
            (41, _) => with_text(message, 41, |text| part(&mut trace, 41, text)),
            _ => with_text(message, number, |text| part(&mut rest, number, text)),
        }
    }
    let mut key = [0; 16];
    key[..8].copy_from_slice(&trace.finalize()[..8]);
    key[8..].copy_from_slice(&rest.finalize()[..8]);
    TransactionKey(key)
}

fn with_text(message: &Message<'_>, number: u8, mut take: impl FnMut(&[u8])) {
    if let Some(text) = message.text(number) {
        take(text.as_bytes());
    }
}

/// Number and length keep `1` + `23` apart from `12` + `3`.
fn part(hash: &mut Sha256, number: u8, bytes: &[u8]) {
    let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    hash.update([number, len]);
    hash.update(bytes);
}
