//! [`PinMap`]: what a dialect's messages mean for PIN changes, from the `[pin_change]` section of its file.
//!
//! Compiled once at load, checked whole. **Never here:** message bytes, keys, response codes (see `codes`).

use crate::iso8583::{Bitmap, Dialect, Item, SpecError};
use crate::link::chip::ChipPlace;
use crate::link::wish::WishElement;

/// Which messages and elements carry a PIN change in one dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinMap {
    requests: Vec<[u8; 4]>,
    reversals: Vec<[u8; 4]>,
    network: Vec<[u8; 4]>,
    pub(super) change: Vec<[u8; 2]>,
    pub(super) unblock: Vec<[u8; 2]>,
    pub(super) verify: Vec<[u8; 2]>,
    pub(super) current_pin: Place,
    pub(super) new_pin: Place,
    pub(super) identify: Vec<u8>,
    pub(super) original: u8,
    pub(super) stan_digits: usize,
    pub(super) original_has_time: bool,
    pub(super) network_code: u8,
    pub(super) sign_on: Vec<Box<str>>,
    pub(super) sign_off: Vec<Box<str>>,
    pub(super) echo: Vec<Box<str>>,
    pub(super) key_change: Vec<Box<str>>,
    pub(super) key_field: Option<Place>,
    pub(super) echo_fields: Bitmap,
    pub(super) response_code: u8,
    pub(super) active: Option<WishElement>,
    pub(super) chip: Option<ChipPlace>,
}

/// What kind of message an MTI announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Sign-on, sign-off, echo, key change.
    Network,
    /// PIN change, verification, unblock.
    Request,
    /// A response or an acknowledgement: nobody asked for it here.
    Response,
    /// Undo of an earlier change.
    Reversal,
    /// Anything else this dialect's links do not serve.
    Other,
}

/// Where a PIN block sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The element.
    pub(super) field: u8,
    /// Its sub-element, where it is a composite.
    pub(super) sub: Option<u32>,
    /// Bytes of the element, where the block is only a part of it and the rest is zero.
    pub(super) within: Option<usize>,
    /// At which end of it.
    pub(super) side: Side,
}

/// At which end of a longer element the block sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The first bytes if the rest is zero, else the last bytes if the lead is zero.
    Either,
    /// The first bytes.
    First,
    /// The last bytes.
    Last,
}

const KEYS: &[&str] = &[
    "requests",
    "reversals",
    "network",
    "change",
    "unblock",
    "verify",
    "current_pin",
    "new_pin",
    "identify",
    "original",
    "network_code",
    "sign_on",
    "sign_off",
    "echo",
    "key_change",
    "key_field",
    "echo_fields",
    "response_code",
    "active",
    "chip",
];

impl PinMap {
    /// Compiles the section of a dialect.
    ///
    /// # Errors
    /// [`SpecError`] names the file, the line and the key.
    pub fn of(dialect: &Dialect) -> Result<Self, SpecError> {
        let section = section(dialect, "pin_change")?;
        only_known(section, KEYS)?;
        let echo = numbers(section, "echo_fields")?;
        let map = Self {
            requests: digits(section, "requests")?,
            reversals: digits(section, "reversals")?,
            network: digits(section, "network")?,
            change: digits(section, "change")?,
            unblock: digits(section, "unblock")?,
            verify: digits(section, "verify")?,
            current_pin: Place::read(section, "current_pin")?,
            new_pin: Place::read(section, "new_pin")?,
            identify: numbers(section, "identify")?,
            original: Place::read(section, "original")?.field,
            stan_digits: if dialect.version() < 2003 { 6 } else { 12 },
            original_has_time: 1993 <= dialect.version(),
            network_code: number(needed(section, "network_code")?, "network_code")?,
            sign_on: texts(section, "sign_on")?,
            sign_off: texts(section, "sign_off")?,
            echo: texts(section, "echo")?,
            key_change: match section.get("key_change") {
                Some(_) => texts(section, "key_change")?,
                None => Vec::new(),
            },
            key_field: match section.get("key_change") {
                Some(_) => Some(Place::read(section, "key_field")?),
                None => None,
            },
            echo_fields: echo.iter().copied().collect(),
            response_code: number(needed(section, "response_code")?, "response_code")?,
            active: WishElement::of(section, dialect)?,
            chip: ChipPlace::of(section, dialect)?,
        };
        map.check(dialect, section, &echo)?;
        Ok(map)
    }

    /// Every element the map names must have a rule in the dialect, and the lists must be usable.
    fn check(&self, dialect: &Dialect, section: &Item, echo: &[u8]) -> Result<(), SpecError> {
        let places = [self.current_pin.field, self.new_pin.field, self.original];
        let others = [self.network_code, self.response_code];
        let key = self.key_field.map(|place| place.field);
        let named = places.iter().chain(&key).chain(&others).chain(&self.identify).chain(echo);
        if let Some(unknown) = named.into_iter().find(|n| dialect.field(**n).is_none()) {
            let key = format!("field {unknown}");
            return Err(section.error(&key, "has no rule in [fields]: add it or name another"));
        }
        if self.requests.is_empty() || self.change.is_empty() {
            return Err(section.error("requests, change", "must not be empty"));
        }
        if !self.identify.contains(&11) {
            return Err(section.error("identify", "must contain 11, the trace number"));
        }
        //= spec/pin-change.md#8.2
        //# An answer MUST NOT give back a PIN block, track 1 or 2, or chip data: a dialect that lists
        //# such a field, or the field of a new zone key, among those to give back MUST be refused
        //# when it is loaded.
        if echo.iter().any(|n| self.is_secret(*n)) {
            return Err(
                section.error("echo_fields", "must not name a field that carries a PIN or a key")
            );
        }
        Ok(())
    }

    /// Whether messages of this dialect may carry a wish (active-active or not).
    #[must_use]
    pub fn carries_wish(&self) -> bool {
        self.active.is_some()
    }

    fn is_secret(&self, field: u8) -> bool {
        let key = self.key_field.map(|place| place.field);
        let chip = self.chip.map(|place| place.field);
        [self.current_pin.field, self.new_pin.field, 35, 45, 55].contains(&field)
            || [key, chip].contains(&Some(field))
    }

    /// What an MTI announces. A repeat (last digit one higher) is of its original's class.
    pub(super) fn class(&self, mti: [u8; 4]) -> Class {
        let listed = |list: &[[u8; 4]]| list.iter().any(|m| *m == mti || repeat_of(*m) == mti);
        if listed(&self.requests) {
            Class::Request
        } else if listed(&self.reversals) {
            Class::Reversal
        } else if listed(&self.network) {
            Class::Network
        } else if matches!(mti[2], b'1' | b'3' | b'5') {
            Class::Response
        } else {
            Class::Other
        }
    }
}

fn repeat_of(mut mti: [u8; 4]) -> [u8; 4] {
    mti[3] += 1;
    mti
}

impl Place {
    fn read(section: &Item, key: &str) -> Result<Self, SpecError> {
        let item = needed(section, key)?;
        only_known(item, &["field", "sub", "within", "side"])?;
        let optional = |name: &str| {
            item.get(name)
                .map(|value| {
                    let number = value.as_integer().and_then(|n| u32::try_from(n).ok());
                    number.ok_or_else(|| value.error(name, "must be a number"))
                })
                .transpose()
        };
        let side = match item.get("side") {
            None => Side::Either,
            Some(side) => match side.as_str() {
                Some("either") => Side::Either,
                Some("first") => Side::First,
                Some("last") => Side::Last,
                _ => return Err(side.error("side", "must be one of either, first, last")),
            },
        };
        Ok(Self {
            field: number(needed(item, "field")?, "field")?,
            sub: optional("sub")?,
            within: optional("within")?.and_then(|n| usize::try_from(n).ok()),
            side,
        })
    }
}

/// A section of the dialect's file that this module owns.
pub(super) fn section<'a>(dialect: &'a Dialect, name: &str) -> Result<&'a Item, SpecError> {
    dialect.section(name).ok_or_else(|| SpecError {
        origin: dialect.origin().into(),
        line: 1,
        field: Box::default(),
        key: format!("[{name}]").into(),
        problem: crate::iso8583::SpecProblem::Missing,
    })
}

/// Refuses a key that means nothing: a misspelt one would be ignored in silence.
pub(super) fn only_known(table: &Item, known: &[&str]) -> Result<(), SpecError> {
    match table.entries().find(|(key, _)| !known.contains(key)) {
        Some((key, item)) => Err(item.error(key, "is no key of this section")),
        None => Ok(()),
    }
}

pub(super) fn needed<'a>(table: &'a Item, key: &str) -> Result<&'a Item, SpecError> {
    table.get(key).ok_or_else(|| table.error(key, "is missing"))
}

pub(super) fn number(item: &Item, key: &str) -> Result<u8, SpecError> {
    let number = item.as_integer().and_then(|n| u8::try_from(n).ok());
    number
        .filter(|n| (2..=192).contains(n))
        .ok_or_else(|| item.error(key, "must be a field, 2 to 192"))
}

fn list<'a>(table: &'a Item, key: &str) -> Result<&'a [Item], SpecError> {
    let item = needed(table, key)?;
    item.as_list().ok_or_else(|| item.error(key, "must be a list"))
}

fn numbers(table: &Item, key: &str) -> Result<Vec<u8>, SpecError> {
    list(table, key)?.iter().map(|item| number(item, key)).collect()
}

pub(super) fn texts(table: &Item, key: &str) -> Result<Vec<Box<str>>, SpecError> {
    let text = |item: &Item| item.as_str().map(Into::into);
    list(table, key)?
        .iter()
        .map(|item| text(item).ok_or_else(|| item.error(key, "must be a list of texts")))
        .collect()
}

fn digits<const N: usize>(table: &Item, key: &str) -> Result<Vec<[u8; N]>, SpecError> {
    list(table, key)?
        .iter()
        .map(|item| {
            let bytes = item.as_str().and_then(|text| <[u8; N]>::try_from(text.as_bytes()).ok());
            bytes
                .filter(|bytes| bytes.iter().all(u8::is_ascii_digit))
                .ok_or_else(|| item.error(key, "must be digits: four of an MTI, two of DE 3"))
        })
        .collect()
}
