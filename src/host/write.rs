//! Messages to a node: PIN change 0600, reversal advice 0420/0421.
//!
//! [`Form`] is made once from the settings and proves there that the dialect can write every element. An element the
//! request brings goes first, a configured one fills the gap. Scratch is on the stack; a message is one buffer, whose
//! only secrets are PIN blocks under the zone key: it lives until the socket has taken it. **Never here:** a PIN block
//! in a reversal, framing, network messages (`network`).

mod sample;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::BytesMut;
use sha2::{Digest, Sha256};

use crate::domain::clock::WallMillis;
use crate::domain::forward::Forwarded;
use crate::domain::pan::Pan;
use crate::domain::request::{Tag, Trace, TransactionKey};
use crate::host::settings::{Fixed, Settings, SettingsError, Side};
use crate::host::write::sample::Sample;
use crate::host::{Advice, Forward};
use crate::iso8583::{Builder, Dialect, EncodeError, FieldSpec, Format, Length};

/// Type of a PIN change (`domain/iso8583.md` 1.1: administrative request).
pub(super) const CHANGE: [u8; 4] = *b"0600";
/// Bytes one message needs at most, so that its buffer is allocated once.
const MESSAGE_BYTES: usize = 640;
/// Bytes of DE 53.
const SECURITY_BYTES: usize = 48;
/// "Time-out at the sender" (`domain/iso8583.md` 5, CMF reasons).
const REASON: &[u8] = b"4021";
/// Element that holds the switch keys.
const PRIVATE: u8 = 127;
/// Switch key, and original key of a reversal (`domain/iso8583.md` 2.1).
const SWITCH_KEY: u32 = 2;
const ORIGINAL_KEY: u32 = 11;

/// Elements the switch fills from the request.
const OWN: [u8; 24] = [
    2, 3, 7, 11, 12, 13, 14, 22, 23, 25, 32, 33, 37, 41, 42, 49, 52, 53, 56, 90, 100, 102, 103,
    PRIVATE,
];
/// Of these, the ones that no configuration may fill.
const NEVER_FIXED: [u8; 14] = [2, 3, 7, 11, 37, 39, 52, 53, 56, 64, 70, 90, 96, 128];
/// Of these, the ones that a dialect may lack.
const OPTIONAL: [u8; 13] = [12, 13, 14, 22, 23, 25, 33, 42, 49, 100, 102, 103, PRIVATE];

/// How messages of one Postilion are written.
pub(super) struct Form {
    dialect: Arc<Dialect>,
    elements: Vec<(u8, Option<Box<str>>)>,
    subs: Vec<(u32, Box<str>)>,
    switch_keys: bool,
    reason: bool,
    side: Side,
    institution: Tag,
    forwarding: Tag,
    terminal: Tag,
}

/// What both messages have in common, as text of the elements.
struct Common<'a> {
    pan: &'a Pan,
    processing: [u8; 6],
    transmitted: [u8; 10],
    stan: [u8; 6],
    time: [u8; 6],
    date: [u8; 4],
    sequence: Option<[u8; 3]>,
    acquirer: &'a str,
    rrn: [u8; 12],
    terminal: [u8; 8],
    acceptor: Option<[u8; 15]>,
    forwarded: &'a Forwarded,
    /// Switch key of this message.
    key: [u8; 32],
    /// Current and new PIN block, for a change.
    blocks: Option<(&'a [u8], [u8; SECURITY_BYTES])>,
    /// DE 90 and the original switch key, for a reversal.
    original: Option<([u8; 42], [u8; 32])>,
}

enum Value<'a> {
    Text(&'a [u8]),
    Bytes(&'a [u8]),
}

impl Form {
    /// Merges fixed elements with our own and tries every message once.
    ///
    /// # Errors
    /// The first element that the dialect cannot write.
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let dialect = &settings.dialect;
        let mut form = Self {
            dialect: Arc::clone(dialect),
            elements: Vec::new(),
            subs: Vec::new(),
            switch_keys: false,
            reason: dialect.field(56).is_some_and(is_reason_code),
            side: settings.new_pin,
            institution: settings.institution,
            forwarding: settings.forwarding_institution,
            terminal: settings.terminal,
        };
        form.switch_keys = form.can_hold(SWITCH_KEY) && form.can_hold(ORIGINAL_KEY);
        for field in OWN {
            let lacks = match field {
                56 => !form.reason,
                PRIVATE => !form.switch_keys,
                field => OPTIONAL.contains(&field) && dialect.field(field).is_none(),
            };
            if !lacks {
                form.elements.push((field, None));
            }
        }
        for fixed in &settings.fields {
            form.add(fixed)?;
        }
        form.elements.sort_by_key(|(field, _)| *field);
        form.subs.sort_by_key(|(sub, _)| *sub);
        let known = |field: &u8| dialect.field(*field).is_some();
        if let Some(field) = settings.match_fields.iter().find(|field| !known(field)) {
            return Err(SettingsError::Match { dialect: dialect.name().into(), field: *field });
        }
        if !settings.match_fields.contains(&11) {
            return Err(SettingsError::Match { dialect: dialect.name().into(), field: 11 });
        }
        form.try_all(settings)?;
        Ok(form)
    }

    fn can_hold(&self, sub: u32) -> bool {
        let mut out = BytesMut::new();
        let mut builder = Builder::new(&self.dialect, CHANGE, &mut out);
        builder.composite(PRIVATE, |private| private.text(sub, &[b'0'; 32])).is_ok()
    }

    fn add(&mut self, fixed: &Fixed) -> Result<(), SettingsError> {
        let Fixed { field, sub, text } = fixed;
        let key = || fixed.key().into_boxed_str();
        let own = match (*field, *sub) {
            (PRIVATE, Some(sub)) => [SWITCH_KEY, ORIGINAL_KEY].contains(&sub) && self.switch_keys,
            (PRIVATE, None) => true,
            (field, _) => NEVER_FIXED.contains(&field),
        };
        if own {
            return Err(SettingsError::Own { key: key() });
        }
        let mut out = BytesMut::new();
        let mut builder = Builder::new(&self.dialect, CHANGE, &mut out);
        let tried = match sub {
            Some(sub) => builder.composite(*field, |inner| inner.text(*sub, text.as_bytes())),
            None => builder.text(*field, text.as_bytes()),
        };
        let dialect = || self.dialect.name().into();
        tried.map_err(|EncodeError { rule, .. }| SettingsError::Fixed {
            key: key(),
            rule,
            dialect: dialect(),
        })?;
        match (sub, self.elements.iter_mut().find(|(known, _)| known == field)) {
            // Sub-elements of another composite element have no place in these messages.
            (Some(_), _) if *field != PRIVATE => return Err(SettingsError::Key { key: key() }),
            (Some(sub), known) => {
                if known.is_none() {
                    self.elements.push((PRIVATE, None));
                }
                self.subs.push((*sub, text.clone()));
            }
            (None, Some((_, content))) => *content = Some(text.clone()),
            (None, None) => self.elements.push((*field, Some(text.clone()))),
        }
        Ok(())
    }

    /// Writes each message with every element once, so that no request can fail for a reason known now.
    fn try_all(&self, settings: &Settings) -> Result<(), SettingsError> {
        let failed = |message| {
            move |EncodeError { field, rule }| SettingsError::Element {
                dialect: settings.dialect.name().into(),
                message,
                field,
                rule,
            }
        };
        let format = settings.zone.format;
        let sample = Sample::new(format);
        let forward = Forward {
            key: &sample.key,
            pan: &sample.pan,
            current: &sample.block,
            new: &sample.block,
            trace: &sample.trace,
            forwarded: &sample.forwarded,
        };
        self.change(&forward).map_err(failed("PIN change 0600"))?;
        let advice = Advice {
            original: &sample.key,
            pan: &sample.pan,
            trace: &sample.trace,
            forwarded: &sample.forwarded,
            at: WallMillis(0),
            repeat: true,
        };
        self.reversal(&advice).map_err(failed("reversal 0421"))?;
        crate::host::network::try_all(&settings.dialect).map_err(failed("network message 0800"))
    }

    /// A PIN change.
    ///
    /// # Errors
    /// [`EncodeError`] for a value that the dialect does not allow.
    pub(super) fn change(&self, forward: &Forward<'_>) -> Result<BytesMut, EncodeError> {
        let mut common = self.common(
            forward.pan,
            forward.trace,
            forward.forwarded,
            forward.forwarded.transmitted,
            hex(&forward.key.0),
        );
        let mut security = [0; SECURITY_BYTES];
        let new = forward.new.block();
        let at = match self.side {
            Side::First => 0,
            Side::Last => SECURITY_BYTES - new.len(),
        };
        security[at..at + new.len()].copy_from_slice(new);
        common.blocks = Some((forward.current.block(), security));
        self.write(CHANGE, &common)
    }

    /// A reversal advice. Its trace number is the original's, also when it is sent again after a restart.
    ///
    /// # Errors
    /// [`EncodeError`] for a value that the dialect does not allow.
    pub(super) fn reversal(&self, advice: &Advice<'_>) -> Result<BytesMut, EncodeError> {
        let key = reversal_key(advice.original);
        let mut common =
            self.common(advice.pan, advice.trace, advice.forwarded, advice.at, hex(&key.0));
        let mut original = [b'0'; 42];
        original[..4].copy_from_slice(&CHANGE);
        original[4..10].copy_from_slice(&advice.forwarded.stan.digits());
        original[10..20].copy_from_slice(&month_to_second(advice.forwarded.transmitted));
        right(&mut original[20..31], common.acquirer);
        right(&mut original[31..], digits_of(&self.forwarding));
        common.original = Some((original, hex(&advice.original.0)));
        self.write(if advice.repeat { *b"0421" } else { *b"0420" }, &common)
    }

    fn common<'a>(
        &'a self,
        pan: &'a Pan,
        trace: &Trace,
        forwarded: &'a Forwarded,
        at: WallMillis,
        key: [u8; 32],
    ) -> Common<'a> {
        let details = &forwarded.details;
        let mut processing = *b"920000";
        if let Some(accounts) = details.account_types.filter(all_digits) {
            processing[2..].copy_from_slice(&accounts);
        }
        let sent = month_to_second(forwarded.transmitted);
        let [m1, m2, d1, d2, h1, h2, n1, n2, s1, s2] = sent;
        let stan = forwarded.stan.digits();
        let acquirer = digits_of(&details.acquirer);
        let named = trace.terminal.as_str().trim_end();
        let terminal = if named.is_empty() { self.terminal.as_str() } else { named };
        let acceptor = details.acceptor.as_str().trim_end();
        Common {
            pan,
            processing,
            transmitted: month_to_second(at),
            stan,
            time: details.time.filter(all_digits).unwrap_or([h1, h2, n1, n2, s1, s2]),
            date: details.date.filter(all_digits).unwrap_or([m1, m2, d1, d2]),
            sequence: forwarded.sequence.map(three_digits),
            acquirer: if acquirer.is_empty() { digits_of(&self.institution) } else { acquirer },
            rrn: reference(trace.rrn.as_str(), &sent, stan),
            terminal: left(terminal),
            acceptor: (!acceptor.is_empty()).then(|| left(acceptor)),
            forwarded,
            key,
            blocks: None,
            original: None,
        }
    }

    fn write(&self, mti: [u8; 4], common: &Common<'_>) -> Result<BytesMut, EncodeError> {
        let mut out = BytesMut::with_capacity(MESSAGE_BYTES);
        let mut builder = Builder::new(&self.dialect, mti, &mut out);
        for (field, fixed) in &self.elements {
            if *field == PRIVATE {
                builder.composite(PRIVATE, |private| self.private(private, common))?;
                continue;
            }
            let fixed = || fixed.as_deref().map(|text| Value::Text(text.as_bytes()));
            match self.own(*field, common).or_else(fixed) {
                Some(Value::Text(text)) => builder.text(*field, text)?,
                Some(Value::Bytes(bytes)) => builder.binary(*field, bytes)?,
                None => {}
            }
        }
        builder.finish();
        Ok(out)
    }

    fn private(
        &self,
        private: &mut crate::iso8583::CompositeBuilder<'_>,
        common: &Common<'_>,
    ) -> Result<(), EncodeError> {
        let original = common.original.as_ref().map(|(_, key)| &key[..]);
        let keys = [(SWITCH_KEY, Some(&common.key[..])), (ORIGINAL_KEY, original)];
        let mut keys = keys.into_iter().filter(|_| self.switch_keys).peekable();
        for (sub, text) in &self.subs {
            while let Some((key, value)) = keys.next_if(|(key, _)| key < sub) {
                value.map_or(Ok(()), |value| private.text(key, value))?;
            }
            private.text(*sub, text.as_bytes())?;
        }
        for (key, value) in keys {
            value.map_or(Ok(()), |value| private.text(key, value))?;
        }
        Ok(())
    }

    /// What the request has for an element.
    fn own<'c>(&'c self, field: u8, common: &'c Common<'_>) -> Option<Value<'c>> {
        fn some(text: &str) -> Option<&[u8]> {
            (!text.is_empty()).then_some(text.as_bytes())
        }
        let details = &common.forwarded.details;
        if let (52 | 53, Some((current, security))) = (field, &common.blocks) {
            return Some(Value::Bytes(if field == 52 { current } else { security }));
        }
        let text = match field {
            2 => Some(common.pan.expose_digits()),
            3 => Some(&common.processing[..]),
            7 => Some(&common.transmitted[..]),
            11 => Some(&common.stan[..]),
            12 => Some(&common.time[..]),
            13 => Some(&common.date[..]),
            14 => digits(details.expiry.as_ref()),
            22 => digits(details.entry_mode.as_ref()),
            23 => digits(common.sequence.as_ref()),
            25 => digits(details.condition.as_ref()),
            32 => some(common.acquirer),
            33 => some(digits_of(&self.forwarding)),
            37 => Some(&common.rrn[..]),
            41 => Some(&common.terminal[..]),
            42 => common.acceptor.as_ref().map(|acceptor| &acceptor[..]),
            49 => digits(details.currency.as_ref()),
            56 if common.original.is_some() => Some(REASON),
            90 => common.original.as_ref().map(|(original, _)| &original[..]),
            100 => some(digits_of(&common.forwarded.institution)),
            102 => some(details.accounts[0].as_str()),
            103 => some(details.accounts[1].as_str()),
            _ => None,
        };
        text.map(Value::Text)
    }
}

/// Switch key of a reversal: its own, so that a node does not take it for the original, and the same in each repeat.
pub(super) fn reversal_key(original: &TransactionKey) -> TransactionKey {
    let digest = Sha256::new_with_prefix(original.0).chain_update(b"R").finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    TransactionKey(key)
}

/// Month, day, hour, minute, second in UTC (DE 7).
pub(super) fn month_to_second(at: WallMillis) -> [u8; 10] {
    let Some(when) = civil(at) else { return [b'0'; 10] };
    let mut digits = [0; 10];
    let parts = [when.month(), when.day(), when.hour(), when.minute(), when.second()];
    for (pair, part) in digits.chunks_exact_mut(2).zip(parts) {
        let part = part.unsigned_abs();
        pair.copy_from_slice(&[b'0' + part / 10, b'0' + part % 10]);
    }
    digits
}

fn civil(at: WallMillis) -> Option<jiff::civil::DateTime> {
    let millis = i64::try_from(at.0).ok()?;
    Some(jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_millisecond(millis).ok()?))
}

/// The caller's reference number; when there is none that fits: month, day and hour of sending, and the trace number.
fn reference(given: &str, sent: &[u8; 10], stan: [u8; 6]) -> [u8; 12] {
    let given = given.trim();
    let fits = !given.is_empty() && given.len() <= 12;
    let mut rrn = [b'0'; 12];
    if fits && given.bytes().all(|b| b.is_ascii_alphanumeric()) {
        right(&mut rrn, given);
    } else {
        rrn[..6].copy_from_slice(&sent[..6]);
        rrn[6..].copy_from_slice(&stan);
    }
    rrn
}

/// Lower-case hexadecimal digits.
fn hex(key: &[u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(key) {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0x0F)]);
    }
    text
}

/// Whether a text is a switch key in hexadecimal digits, of either case.
pub(super) fn is_key(text: &[u8], key: &TransactionKey) -> bool {
    text.trim_ascii().eq_ignore_ascii_case(&hex(&key.0))
}

fn three_digits(number: u16) -> [u8; 3] {
    let digit = |n: u16| b'0' + (n % 10).to_le_bytes()[0];
    [digit(number / 100), digit(number / 10), digit(number)]
}

fn all_digits<const N: usize>(text: &[u8; N]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

fn digits<const N: usize>(text: Option<&[u8; N]>) -> Option<&[u8]> {
    text.filter(|text| all_digits(text)).map(|text| &text[..])
}

/// An institution's number, empty when it is none: at most eleven digits.
fn digits_of(tag: &Tag) -> &str {
    let text = tag.as_str().trim();
    let fits = text.len() <= 11 && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text } else { "" }
}

/// Left-justified and filled with spaces; what is too long is cut.
fn left<const N: usize>(text: &str) -> [u8; N] {
    let mut filled = [b' '; N];
    for (to, from) in filled.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    filled
}

/// Right-justified, what is before it stays.
fn right(to: &mut [u8], text: &str) {
    let at = to.len().saturating_sub(text.len());
    for (to, from) in to[at..].iter_mut().zip(text.bytes()) {
        *to = from;
    }
}

/// Whether DE 56 holds a reason of four digits, and not the 1993 original data.
fn is_reason_code(spec: &FieldSpec) -> bool {
    let four = match spec.length() {
        Length::Fixed(length) => length == 4,
        Length::Variable { max, .. } => max == 4,
    };
    spec.format() == Format::N && four
}
