//! [`PinMap`]: what a dialect's messages mean for PIN changes, from the `[pin_change]` section of its file.
//!
//! Compiled once at load, checked whole. **Never here:** message bytes, keys, response codes (see `codes`).

use serde::Deserialize;

use crate::iso8583::Dialect;

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
    pub(super) echo_fields: Vec<u8>,
    pub(super) response_code: u8,
}

/// What kind of message an MTI announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Sign-on, sign-off, echo.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// The element.
    pub(super) field: u8,
    /// Its sub-element, where it is a composite.
    pub(super) sub: Option<u8>,
    /// Bytes of the element, where the block is only a part of it and the rest is zero.
    pub(super) within: Option<usize>,
    /// At which end of it.
    #[serde(default)]
    pub(super) side: Side,
}

/// At which end of a longer element the block sits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    /// The first bytes if the rest is zero, else the last bytes if the lead is zero.
    #[default]
    Either,
    /// The first bytes.
    First,
    /// The last bytes.
    Last,
}

/// Why a section cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: [{section}]: {reason}")]
pub struct MapError {
    origin: String,
    section: &'static str,
    reason: String,
}

impl MapError {
    pub(super) fn new(dialect: &Dialect, section: &'static str, reason: impl ToString) -> Self {
        Self { origin: dialect.origin().to_owned(), section, reason: reason.to_string() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    requests: Vec<String>,
    reversals: Vec<String>,
    network: Vec<String>,
    change: Vec<String>,
    unblock: Vec<String>,
    verify: Vec<String>,
    current_pin: Place,
    new_pin: Place,
    identify: Vec<u8>,
    original: Place,
    network_code: u8,
    sign_on: Vec<Box<str>>,
    sign_off: Vec<Box<str>>,
    echo: Vec<Box<str>>,
    echo_fields: Vec<u8>,
    response_code: u8,
}

impl PinMap {
    /// Compiles the section of a dialect.
    ///
    /// # Errors
    /// [`MapError`] names the file, the section and the key.
    pub fn of(dialect: &Dialect) -> Result<Self, MapError> {
        let error = |reason: String| MapError::new(dialect, "pin_change", reason);
        let section = dialect.section("pin_change").ok_or_else(|| error("missing".into()))?;
        let raw: Raw =
            section.clone().try_into().map_err(|e: toml::de::Error| error(e.message().into()))?;
        let map = Self {
            requests: digits(&raw.requests, "requests").map_err(error)?,
            reversals: digits(&raw.reversals, "reversals").map_err(error)?,
            network: digits(&raw.network, "network").map_err(error)?,
            change: digits(&raw.change, "change").map_err(error)?,
            unblock: digits(&raw.unblock, "unblock").map_err(error)?,
            verify: digits(&raw.verify, "verify").map_err(error)?,
            current_pin: raw.current_pin,
            new_pin: raw.new_pin,
            identify: raw.identify,
            original: raw.original.field,
            stan_digits: if dialect.version() < 2003 { 6 } else { 12 },
            original_has_time: 1993 <= dialect.version(),
            network_code: raw.network_code,
            sign_on: raw.sign_on,
            sign_off: raw.sign_off,
            echo: raw.echo,
            echo_fields: raw.echo_fields,
            response_code: raw.response_code,
        };
        map.check(dialect).map_err(error)?;
        Ok(map)
    }

    /// Every element the map names must have a rule in the dialect, and the lists must be usable.
    fn check(&self, dialect: &Dialect) -> Result<(), String> {
        let places = [self.current_pin.field, self.new_pin.field, self.original];
        let others = [self.network_code, self.response_code];
        let named = places.iter().chain(&others).chain(&self.identify).chain(&self.echo_fields);
        if let Some(unknown) = named.into_iter().find(|n| dialect.field(**n).is_none()) {
            return Err(format!("field {unknown} has no rule in [fields]: add it or name another"));
        }
        if self.requests.is_empty() || self.change.is_empty() {
            return Err("`requests` and `change` must not be empty".into());
        }
        if !self.identify.contains(&11) {
            return Err("`identify` must contain 11, the trace number".into());
        }
        if self.echo_fields.iter().any(|n| self.is_secret(*n)) {
            return Err("`echo_fields` must not name a field that carries a PIN".into());
        }
        Ok(())
    }

    fn is_secret(&self, field: u8) -> bool {
        [self.current_pin.field, self.new_pin.field, 35, 45, 55].contains(&field)
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

fn digits<const N: usize>(texts: &[String], key: &str) -> Result<Vec<[u8; N]>, String> {
    texts
        .iter()
        .map(|text| {
            <[u8; N]>::try_from(text.as_bytes())
                .ok()
                .filter(|bytes| bytes.iter().all(u8::is_ascii_digit))
                .ok_or_else(|| format!("`{key}`: {text:?} is not {N} digits"))
        })
        .collect()
}
