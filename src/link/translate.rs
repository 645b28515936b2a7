//! A message becomes a [`PinRequest`], by the dialect's map. The other direction is `codes` and `reply`.
//!
//! Everything a request needs is checked here, once: inside the switch nothing is parsed again. **Never here:** the
//! verdict on anything: a message that can be read is handed on.

use crate::domain::clock::Now;
use crate::domain::exchange::WrappedKey;
use crate::domain::forward::Details;
use crate::domain::outcome::Reason;
use crate::domain::pan::{Pan, PanError};
use crate::domain::pin::ZonePin;
use crate::domain::request::{CardName, Operation, PinRequest, Tag, Text, Trace};
use crate::iso8583::{Message, TEXT_BYTES_MAX};
use crate::link::identify::{Moment, key};
use crate::link::map::{Class, PinMap, Place, Side};
use crate::link::session::Event;
use crate::link::settings::{PinKey, Settings};
use crate::link::wish::Wish;

/// What a message asks for.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once; a box would cost an allocation a request"
)]
pub(super) enum Asked {
    /// The session: sign-on, sign-off, echo.
    Session(Event),
    /// The HSM: a new zone key.
    KeyChange(WrappedKey),
    /// The switch.
    Switch(PinRequest),
    /// Nothing that can be done: the answer is this reason.
    Refused(Reason),
    /// No answer: a response that nobody waits for.
    Unexpected,
}

/// Reads a whole message.
pub(super) fn translate(settings: &Settings, message: &Message<'_>, arrived: Now) -> Asked {
    match settings.map.class(message.mti()) {
        Class::Network => network(settings, message),
        Class::Request => asked(request(settings, message, arrived)),
        Class::Response => Asked::Unexpected,
        Class::Reversal => asked(reversal(settings, message, arrived)),
        Class::Other => Asked::Refused(Reason::NotSupported),
    }
}

fn asked(request: Result<PinRequest, Reason>) -> Asked {
    match request {
        Ok(request) => Asked::Switch(request),
        Err(reason) => Asked::Refused(reason),
    }
}

fn network(settings: &Settings, message: &Message<'_>) -> Asked {
    let map = &*settings.map;
    let Some(code) = message.text(map.network_code) else {
        return Asked::Refused(Reason::FormatError);
    };
    let listed = |list: &[Box<str>]| list.iter().any(|c| c.as_bytes() == code.as_bytes());
    if listed(&map.sign_on) {
        Asked::Session(Event::SignOn)
    } else if listed(&map.sign_off) {
        Asked::Session(Event::SignOff)
    } else if listed(&map.echo) {
        Asked::Session(Event::Echo)
    } else if listed(&map.key_change) {
        match new_key(settings, message) {
            Ok(key) => Asked::KeyChange(key),
            Err(reason) => Asked::Refused(reason),
        }
    } else {
        Asked::Refused(Reason::NotSupported)
    }
}

/// The key at its place: bytes, or hexadecimal digits in a field of text.
fn new_key(settings: &Settings, message: &Message<'_>) -> Result<WrappedKey, Reason> {
    //= spec/pin-change.md#10.1
    //# A new zone key MUST be taken only on a link that names its zone master key; elsewhere it
    //# MUST be refused (58).
    if settings.key_exchange.is_none() {
        return Err(Reason::ChannelNotAllowed);
    }
    let place = settings.map.key_field.ok_or(Reason::NotSupported)?;
    let sub = |sub: u32| message.sub(place.field, &[sub]);
    let (binary, text) = match place.sub {
        None => (message.binary(place.field), message.text(place.field)),
        Some(at) => (sub(at).and_then(|s| s.binary()), sub(at).and_then(|s| s.text())),
    };
    let key = match (binary, text) {
        (Some(bytes), _) => WrappedKey::from_field(bytes.as_bytes()),
        (None, Some(digits)) => {
            let mut bytes = [0; TEXT_BYTES_MAX / 2];
            let digits = digits.as_bytes().trim_ascii_end();
            let bytes = bytes.get_mut(..digits.len() / 2).ok_or(Reason::FormatError)?;
            hex::decode_to_slice(digits, bytes).map_err(|_| Reason::FormatError)?;
            WrappedKey::from_field(bytes)
        }
        (None, None) => return Err(Reason::FormatError),
    };
    key.map_err(|_| Reason::FormatError)
}

fn request(settings: &Settings, message: &Message<'_>, arrived: Now) -> Result<PinRequest, Reason> {
    let map = &*settings.map;
    let operation = operation(map, message)?;
    let current = match operation {
        Operation::Change | Operation::Verify => {
            Some(block(settings, message, map.current_pin, Which::Current)?.into())
        }
        Operation::Reveal | Operation::Reverse | Operation::Set | Operation::Unblock => None,
    };
    let new = match operation {
        Operation::Change => Some(block(settings, message, map.new_pin, Which::New)?.into()),
        Operation::Reveal
        | Operation::Reverse
        | Operation::Set
        | Operation::Unblock
        | Operation::Verify => None,
    };
    let stan = message.text(11).ok_or(Reason::FormatError)?;
    let moment = Moment { stan: stan.as_bytes(), time: None };
    let bare = bare(settings, message, operation, arrived)?;
    let chip = match (operation, map.chip, &bare.card) {
        (Operation::Change | Operation::Unblock, Some(place), CardName::Pan { sequence, .. }) => {
            place.read(message, *sequence)?
        }
        _ => None,
    };
    Ok(PinRequest {
        key: key(map, message, &settings.institution, moment, *b"Q"),
        current,
        new,
        chip,
        ..bare
    })
}

fn reversal(
    settings: &Settings,
    message: &Message<'_>,
    arrived: Now,
) -> Result<PinRequest, Reason> {
    let map = &*settings.map;
    let stan = message.text(11).ok_or(Reason::FormatError)?;
    let own = Moment { stan: stan.as_bytes(), time: None };
    let named = message.text(map.original);
    let original = match &named {
        Some(elements) => original_moment(map, message, elements.as_bytes())?,
        None => own,
    };
    Ok(PinRequest {
        key: key(map, message, &settings.institution, own, *b"R"),
        original: Some(key(map, message, &settings.institution, original, *b"Q")),
        ..bare(settings, message, Operation::Reverse, arrived)?
    })
}

/// Trace number and time of the original: DE 90 is MTI 4, STAN 6, DE 7, two institutions; DE 56 of 1993 and 2003 is
/// MTI 4, STAN 6 or 12, local date and time, institution (`domain/iso8583.md` 3.2).
fn original_moment<'a>(
    map: &PinMap,
    message: &Message<'_>,
    elements: &'a [u8],
) -> Result<Moment<'a>, Reason> {
    let stan = elements.get(4..4 + map.stan_digits).ok_or(Reason::FormatError)?;
    let time = if map.original_has_time {
        let digits = message.text(12).map_or(0, |own| own.as_bytes().len());
        elements.get(4 + map.stan_digits..4 + map.stan_digits + digits)
    } else {
        None
    };
    Ok(Moment { stan, time })
}

/// What every request has, whatever it asks.
fn bare(
    settings: &Settings,
    message: &Message<'_>,
    operation: Operation,
    arrived: Now,
) -> Result<PinRequest, Reason> {
    let sequence = match message.text(23) {
        Some(text) => Some(decimal(text.as_bytes()).ok_or(Reason::FormatError)?),
        None => None,
    };
    let tag = |n| message.text(n).map_or_else(Tag::default, |text| Tag::new(text.as_bytes()));
    Ok(PinRequest {
        key: crate::domain::request::TransactionKey([0; 16]),
        operation,
        card: CardName::Pan { pan: pan(message)?, sequence },
        owner: None,
        current: None,
        new: None,
        fingerprint: None,
        chip: None,
        memo: None,
        original: None,
        wish: wish(settings, message)?,
        institution: message.text(100).map(|text| Tag::new(text.as_bytes())),
        details: details(settings, message),
        channel: settings.channel,
        link: settings.id,
        rights: settings.rights,
        trace: Trace { stan: tag(11), rrn: tag(37), terminal: tag(41) },
        arrived,
        deadline: arrived + settings.request_time,
    })
}

/// What a host beyond us is told of the request besides. Elements that this dialect lays out otherwise are left out.
fn details(settings: &Settings, message: &Message<'_>) -> Details {
    fn exact<const N: usize>(message: &Message<'_>, field: u8) -> Option<[u8; N]> {
        message.text(field)?.as_bytes().try_into().ok()
    }
    fn text<const N: usize>(message: &Message<'_>, field: u8) -> Text<N> {
        message.text(field).map_or_else(Text::default, |text| Text::new(text.as_bytes()))
    }
    let code = message.text(3);
    let account_types = code.and_then(|code| code.as_bytes().get(2..6)?.try_into().ok());
    let acquirer = text(message, 32);
    Details {
        account_types,
        expiry: exact(message, 14),
        time: exact(message, 12),
        date: exact(message, 13),
        entry_mode: exact(message, 22),
        condition: exact(message, 25),
        currency: exact(message, 49),
        acquirer: if acquirer.is_empty() { settings.institution } else { acquirer },
        acceptor: text(message, 42),
        accounts: [text(message, 102), text(message, 103)],
    }
}

fn operation(map: &PinMap, message: &Message<'_>) -> Result<Operation, Reason> {
    let code = message.text(3).ok_or(Reason::FormatError)?;
    let kind = code.as_bytes().first_chunk::<2>().ok_or(Reason::FormatError)?;
    if map.change.contains(kind) {
        Ok(Operation::Change)
    } else if map.unblock.contains(kind) {
        Ok(Operation::Unblock)
    } else if map.verify.contains(kind) {
        Ok(Operation::Verify)
    } else {
        Err(Reason::NotSupported)
    }
}

/// The wish of the link, or of the message where the link says so.
fn wish(settings: &Settings, message: &Message<'_>) -> Result<Option<bool>, Reason> {
    match (settings.wish, &settings.map.active) {
        (Wish::Fixed(wish), _) => Ok(wish),
        (Wish::Message, Some(element)) => element.read(message),
        (Wish::Message, None) => Ok(None),
    }
}

/// DE 2, or the number at the head of track 2 where a terminal sends only that.
fn pan(message: &Message<'_>) -> Result<Pan, Reason> {
    let (text, end) = match (message.text(2), message.text(35)) {
        (Some(number), _) if !number.as_bytes().is_empty() => {
            let end = number.as_bytes().len();
            (number, end)
        }
        (_, Some(track)) => {
            let separator = track.as_bytes().iter().position(|b| matches!(b, b'=' | b'D' | b'd'));
            (track, separator.ok_or(Reason::FormatError)?)
        }
        (_, None) => return Err(Reason::FormatError),
    };
    Pan::parse(&text.as_bytes()[..end]).map_err(|error| match error {
        PanError::Length { .. } => Reason::CardUnknown,
        PanError::NotDigits => Reason::FormatError,
    })
}

/// The two PINs of a change.
#[derive(Clone, Copy)]
enum Which {
    Current,
    New,
}

/// The PIN block at its place. A block that is missing, or whose surroundings are not zero, is a format error.
fn block(
    settings: &Settings,
    message: &Message<'_>,
    place: Place,
    which: Which,
) -> Result<ZonePin, Reason> {
    let bytes = match place.sub {
        None => message.binary(place.field),
        Some(sub) => message.sub(place.field, &[sub]).and_then(|sub| sub.binary()),
    }
    //= spec/pin-change.md#1.3
    //# An element that the operation needs and that is missing MUST be a format error (30).
    .ok_or(Reason::FormatError)?;
    let bytes = bytes.as_bytes();
    let wanted = settings.pin_block_format.block_bytes();
    //= spec/pin-change.md#1.4
    //# A PIN block of another length than its format has, or one that does not stand alone in a
    //# zero-filled element, MUST be a format error (30).
    let block = match place.within {
        None => bytes,
        Some(_) => part_of(bytes, wanted, place.side).ok_or(Reason::FormatError)?,
    };
    let format = settings.pin_block_format;
    let under = |key| ZonePin::new(block, format, key).ok_or(Reason::FormatError);
    match &settings.pin_key {
        PinKey::Zone(zpk) => under(*zpk),
        PinKey::Derived { bdk, ksn, new_ksn } => {
            let place = match (which, new_ksn) {
                (Which::New, Some(new_ksn)) => new_ksn,
                (Which::New, None) | (Which::Current, _) => ksn,
            };
            //= spec/pin-change.md#1.6
            //# On a link with a base derivation key a request whose PIN block comes without a key
            //# serial number of the right form MUST be a format error (30).
            let Some(ksn) = place.read(message, format) else {
                let link = &*settings.name;
                tracing::info!(link, field = %place, "no key serial number of the right form");
                return Err(Reason::FormatError);
            };
            Ok(under(*bdk)?.derived(ksn))
        }
    }
}

/// Eight (or sixteen) bytes at one end of a zero-filled element. All zero is no block: nothing encrypts to it in
/// practice (`domain/iso8583.md` 1.2).
fn part_of(bytes: &[u8], wanted: usize, side: Side) -> Option<&[u8]> {
    let (first, after) = bytes.split_at_checked(wanted)?;
    let (before, last) = bytes.split_at_checked(bytes.len() - wanted)?;
    let zero = |rest: &[u8]| rest.iter().all(|b| *b == 0);
    match side {
        Side::First | Side::Either if zero(after) && !zero(first) => Some(first),
        Side::Last | Side::Either if zero(before) && !zero(last) => Some(last),
        Side::First | Side::Last | Side::Either => None,
    }
}

fn decimal(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], side: Side, want: Option<&[u8]>) {
        assert_eq!(part_of(bytes, 2, side), want, "{bytes:?} {side:?}");
    }

    #[test]
    fn a_block_sits_first_or_last_in_a_zero_filled_element() {
        check(&[1, 2, 0, 0], Side::Either, Some(&[1, 2]));
        check(&[0, 0, 1, 2], Side::Either, Some(&[1, 2]));
        check(&[1, 2], Side::Either, Some(&[1, 2]));
        check(&[1, 2, 0, 0], Side::Last, None);
        check(&[0, 0, 1, 2], Side::First, None);
        check(&[1, 2, 3, 4], Side::Either, None);
        check(&[0, 0, 0, 0], Side::Either, None);
        check(&[1], Side::Either, None);
    }
}
