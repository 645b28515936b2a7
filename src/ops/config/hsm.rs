//! `[hsm]`: which family does the PIN work, with which keys, on which devices.
//!
//! **Never here:** a key in the clear, a socket. Where next: `cli::boot::devices` makes a module of it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::hsm::payshield::client::{KeyKind, TableToken, Token};
use crate::hsm::payshield::simulator::Kind;
use crate::limits;
use crate::ops::config::Address;
use crate::ops::config::check::{First, given, name, within};
use crate::ops::config::source::{ConfigError, Source};

/// Characters of the firmware that NC shows.
const FIRMWARE_CHARACTERS: usize = 9;

/// `[hsm]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsm {
    /// Which family.
    #[serde(default)]
    pub kind: HsmKind,
    /// File with the sealed keys; with devices those of what no device does.
    pub keys: PathBuf,
    /// File with the local master key that opens them.
    pub lmk: PathBuf,
    /// Serve with keys whose values are published. For demonstrations only.
    #[serde(default)]
    pub allow_test_keys: bool,
    /// Wrong PINs of one account in an hour before the module refuses to verify further ones.
    #[serde(default = "default::wrong_pins_per_hour")]
    pub wrong_pins_per_hour: u32,
    /// Six hex digits: what NC of every device must show of its LMK.
    pub lmk_check_value: Option<String>,
    /// Firmware that a device may show in NC; any, where none is listed.
    #[serde(default)]
    pub firmware: Vec<String>,
    /// Longest PIN the devices are set to.
    #[serde(default = "default::pin_length")]
    pub pin_length: usize,
    /// Milliseconds a command may take, at a device that has no own time.
    #[serde(default = "default::timeout_ms")]
    pub timeout_ms: u64,
    /// Seconds between two questions whether a device is well.
    #[serde(default = "default::health_seconds")]
    pub health_seconds: u64,
    /// Milliseconds a connection may take to be made, to a device that has no own time.
    #[serde(default = "default::connect_ms")]
    pub connect_ms: u64,
    /// Milliseconds before the first try to connect again; doubled each time.
    #[serde(default = "default::reconnect_ms")]
    pub reconnect_ms: u64,
    /// Milliseconds up to which it is doubled.
    #[serde(default = "default::reconnect_max_ms")]
    pub reconnect_max_ms: u64,
    /// When a device that has no own rule is left alone for a while.
    #[serde(default)]
    pub breaker: HsmBreaker,
    /// Name of a zone PIN key that only this switch uses.
    pub transit_zpk: Option<String>,
    /// Name of a PVK with which new PINs that are kept are held against the rules.
    pub policy_pvk: Option<String>,
    /// File with keys that partners changed.
    pub state: Option<PathBuf>,
    /// The devices.
    #[serde(default, rename = "device")]
    pub devices: Vec<HsmDevice>,
    /// Keys under their LMK.
    #[serde(default, rename = "key")]
    pub keys_of_devices: Vec<HsmKey>,
    /// Decimalization tables as devices take them that want them encrypted.
    #[serde(default, rename = "table")]
    pub tables: Vec<HsmTable>,
}

/// Families of the HSM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HsmKind {
    /// In this process.
    #[default]
    Soft,
    /// payShield devices.
    Payshield,
}

/// `[hsm.breaker]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HsmBreaker {
    /// Commands without an answer in a row that open it.
    pub failures: u32,
    /// Milliseconds it stays open before the device is asked again whether it is well.
    pub open_ms: u64,
}

impl Default for HsmBreaker {
    fn default() -> Self {
        Self { failures: 5, open_ms: 2000 }
    }
}

/// `[[hsm.device]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmDevice {
    /// Its name: in metrics, logs and `/status`.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// LMK id that commands name as `%nn`; the one of the port if not given.
    pub lmk_id: Option<u8>,
    /// Characters of the message header it is set to.
    #[serde(default = "default::header")]
    pub header: usize,
    /// Whether its host port is set to EBCDIC, not ASCII.
    #[serde(default)]
    pub ebcdic: bool,
    /// Connections to it.
    #[serde(default = "default::connections")]
    pub connections: usize,
    /// Commands under way on one connection.
    #[serde(default = "default::window")]
    pub window: usize,
    /// Commands under way or waiting, over all connections.
    #[serde(default = "default::in_flight")]
    pub in_flight: usize,
    /// Milliseconds a command may take here.
    pub timeout_ms: Option<u64>,
    /// Milliseconds a connection may take to be made here.
    pub connect_ms: Option<u64>,
    /// When this one is left alone for a while.
    pub breaker: Option<HsmBreaker>,
    /// TLS, where the device speaks it.
    pub tls: Option<HsmTls>,
}

/// `[hsm.device.tls]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmTls {
    /// Authorities of the device's certificate.
    pub ca: PathBuf,
    /// Our certificate.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Name in the device's certificate, where it is not the host of its address.
    pub name: Option<String>,
}

/// `[[hsm.key]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmKey {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// The key under the LMK.
    pub token: String,
    /// Six hex digits: what BU must say of it.
    pub check_value: String,
}

/// `[[hsm.table]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmTable {
    /// The table as products name it.
    pub digits: String,
    /// What is sent for it.
    pub token: String,
}

impl Hsm {
    /// Why a name is no key.
    #[must_use]
    pub fn no_key(&self, name: &str) -> String {
        let file = self.keys.display();
        match self.kind {
            HsmKind::Soft => format!("no key {name:?} in {file}"),
            HsmKind::Payshield => format!("no key {name:?} among [[hsm.key]], nor in {file}"),
        }
    }

    pub(super) fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        resolve(&mut self.keys);
        resolve(&mut self.lmk);
        self.state.iter_mut().for_each(resolve);
        for tls in self.devices.iter_mut().filter_map(|device| device.tls.as_mut()) {
            resolve(&mut tls.ca);
            tls.certificate.iter_mut().chain(&mut tls.key).for_each(resolve);
        }
    }

    pub(super) fn check(&self, source: &Source) -> Result<(), ConfigError> {
        let wrong_pins = 1..=limits::WRONG_PINS_PER_HOUR_MAX;
        within(source, "hsm.wrong_pins_per_hour", self.wrong_pins_per_hour, wrong_pins)?;
        match self.kind {
            HsmKind::Soft => self.check_soft(source),
            HsmKind::Payshield => self.check_payshield(source),
        }
    }

    /// What only devices have must not be given in vain.
    fn check_soft(&self, source: &Source) -> Result<(), ConfigError> {
        for (key, given) in [
            ("device", !self.devices.is_empty()),
            ("key", !self.keys_of_devices.is_empty()),
            ("table", !self.tables.is_empty()),
            ("transit_zpk", self.transit_zpk.is_some()),
            ("policy_pvk", self.policy_pvk.is_some()),
            ("lmk_check_value", self.lmk_check_value.is_some()),
            ("firmware", !self.firmware.is_empty()),
            ("state", self.state.is_some()),
        ] {
            if given {
                let reason = "only with hsm.kind = \"payshield\"";
                return Err(source.error(&format!("hsm.{key}"), reason));
            }
        }
        Ok(())
    }

    fn check_payshield(&self, source: &Source) -> Result<(), ConfigError> {
        let check = self.lmk_check_value.as_deref().and_then(six);
        if check.is_none() {
            let reason = "six hex digits: what NC shows of the LMK of every device";
            return Err(source.error("hsm.lmk_check_value", reason));
        }
        let published = [Kind::Variant, Kind::TdesBlock, Kind::AesBlock].map(|lmk| {
            let digits = lmk.check_value().get(..6).unwrap_or_default();
            std::str::from_utf8(digits).ok().and_then(six)
        });
        if published.contains(&check) && !self.allow_test_keys {
            let reason = "a published test LMK, which protects nothing: load another one, or set \
                          hsm.allow_test_keys = true in a test installation";
            return Err(source.error("hsm.lmk_check_value", reason));
        }
        for (index, shown) in self.firmware.iter().enumerate() {
            if shown.len() != FIRMWARE_CHARACTERS || !shown.bytes().all(|b| b.is_ascii_graphic()) {
                let reason = "nine characters, as NC and /status show them";
                return Err(source.error(&format!("hsm.firmware[{index}]"), reason));
            }
        }
        within(
            source,
            "hsm.pin_length",
            self.pin_length,
            limits::PIN_DIGITS_MIN..=limits::PIN_DIGITS_MAX,
        )?;
        check_times(source, "hsm", self.timeout_ms, self.connect_ms)?;
        within(
            source,
            "hsm.health_seconds",
            self.health_seconds,
            1..=limits::HSM_HEALTH_SECONDS_MAX,
        )?;
        within(
            source,
            "hsm.reconnect_max_ms",
            self.reconnect_max_ms,
            1..=limits::RECONNECT_MS_MAX,
        )?;
        within(source, "hsm.reconnect_ms", self.reconnect_ms, 1..=self.reconnect_max_ms)?;
        self.breaker.check(source, "hsm.breaker")?;
        if self.devices.is_empty() {
            return Err(source.error("hsm.device", "missing: at least one [[hsm.device]]"));
        }
        within(source, "hsm.device", self.devices.len(), 1..=limits::HSM_DEVICES_MAX)?;
        within(source, "hsm.key", self.keys_of_devices.len(), 1..=limits::KEYS_MAX)?;
        within(source, "hsm.table", self.tables.len(), 0..=limits::HSM_TABLES_MAX)?;
        self.check_rows(source)?;
        for (key, named) in [("transit_zpk", &self.transit_zpk), ("policy_pvk", &self.policy_pvk)] {
            let Some(named) = named else { continue };
            if !self.keys_of_devices.iter().any(|key| key.name == *named) {
                let reason = format!("no key {named:?} among [[hsm.key]]");
                return Err(source.error(&format!("hsm.{key}"), reason));
            }
        }
        Ok(())
    }

    /// Devices, keys and tables, each by itself and against the others.
    fn check_rows(&self, source: &Source) -> Result<(), ConfigError> {
        let mut first = First::new(source);
        for (index, device) in self.devices.iter().enumerate() {
            let at = format!("hsm.device[{index}]");
            device.check(source, &at)?;
            first.of("name of a device", &device.name, format!("{at}.name"))?;
            first.of(
                "address of a device",
                &device.address.to_string(),
                format!("{at}.address"),
            )?;
        }
        for (index, key) in self.keys_of_devices.iter().enumerate() {
            let at = format!("hsm.key[{index}]");
            key.check(source, &at)?;
            first.of("name of a key", &key.name, format!("{at}.name"))?;
        }
        for (index, table) in self.tables.iter().enumerate() {
            let at = format!("hsm.table[{index}]");
            let digits =
                table.digits.len() == 16 && table.digits.bytes().all(|b| b.is_ascii_digit());
            if !digits {
                return Err(source.error(&format!("{at}.digits"), "sixteen digits"));
            }
            if table.token().is_none() {
                let reason = "sixteen hex digits, K and three of them, or L and thirty-two";
                return Err(source.error(&format!("{at}.token"), reason));
            }
            first.of("table", &table.digits, format!("{at}.digits"))?;
        }
        Ok(())
    }
}

/// Times that are given for all devices and for one.
fn check_times(
    source: &Source,
    at: &str,
    timeout_ms: u64,
    connect_ms: u64,
) -> Result<(), ConfigError> {
    within(source, &format!("{at}.timeout_ms"), timeout_ms, 1..=limits::HSM_TIMEOUT_MS_MAX)?;
    within(source, &format!("{at}.connect_ms"), connect_ms, 1..=limits::CONNECT_MS_MAX)
}

impl HsmBreaker {
    fn check(self, source: &Source, at: &str) -> Result<(), ConfigError> {
        let key = |key: &str| format!("{at}.{key}");
        within(source, &key("failures"), self.failures, 1..=limits::BREAKER_FAILURES_MAX)?;
        within(source, &key("open_ms"), self.open_ms, 1..=limits::BREAKER_OPEN_MS_MAX)
    }
}

impl HsmDevice {
    /// A device with the defaults of everything else.
    #[must_use]
    pub fn at(name: &str, address: Address) -> Self {
        Self {
            name: name.to_owned(),
            address,
            lmk_id: None,
            header: default::header(),
            ebcdic: false,
            connections: default::connections(),
            window: default::window(),
            in_flight: default::in_flight(),
            timeout_ms: None,
            connect_ms: None,
            breaker: None,
            tls: None,
        }
    }

    fn check(&self, source: &Source, at: &str) -> Result<(), ConfigError> {
        let key = |key: &str| format!("{at}.{key}");
        name(source, &key("name"), &self.name)?;
        within(source, &key("lmk_id"), self.lmk_id.unwrap_or(0), 0..=99)?;
        within(source, &key("connections"), self.connections, 1..=limits::HSM_CONNECTIONS_MAX)?;
        within(source, &key("window"), self.window, 1..=limits::HSM_WINDOW_MAX)?;
        within(source, &key("in_flight"), self.in_flight, 1..=limits::HSM_IN_FLIGHT_MAX)?;
        within(source, &key("header"), self.header, 1..=255)?;
        check_times(source, at, self.timeout_ms.unwrap_or(1), self.connect_ms.unwrap_or(1))?;
        self.breaker.map_or(Ok(()), |breaker| breaker.check(source, &key("breaker")))?;
        let Some(tls) = &self.tls else { return Ok(()) };
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => Err(source.error(&key("tls.key"), "missing: the certificate's key")),
            (None, Some(_)) => {
                Err(source.error(&key("tls.certificate"), "missing: the key's certificate"))
            }
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}

impl HsmKey {
    fn check(&self, source: &Source, at: &str) -> Result<(), ConfigError> {
        let key = |key: &str| format!("{at}.{key}");
        given(source, &key("name"), &self.name)?;
        crate::hsm::key::check_name(&self.name)
            .map_err(|error| source.error(&key("name"), error))?;
        let kind =
            self.kind.parse::<KeyKind>().map_err(|error| source.error(&key("type"), error))?;
        let token = Token::parse(self.token.as_bytes());
        let token = token.map_err(|error| source.error(&key("token"), error))?;
        // How long the key in a block is, the device says.
        if kind.derives_cards() && !matches!(token.length_flag(), b'1' | b'F') {
            let reason =
                "cards' keys are derived from keys of double length: U or X and 32 hex digits";
            return Err(source.error(&key("token"), reason));
        }
        if six(&self.check_value).is_some() {
            return Ok(());
        }
        Err(source.error(&key("check_value"), "six hex digits: what BU says of the key"))
    }
}

impl HsmTable {
    /// What is sent. `None` for a text of another form.
    #[must_use]
    pub fn token(&self) -> Option<TableToken> {
        let text = self.token.as_bytes();
        let hex = |text: &[u8]| text.iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        match text.split_first()? {
            (b'K', index) if hex(index) => Some(TableToken::Stored(index.try_into().ok()?)),
            (b'L', digits) => {
                let mut bytes = [0; 16];
                hex::decode_to_slice(digits, &mut bytes).ok()?;
                Some(TableToken::Wide(bytes))
            }
            _ if hex(text) => Some(TableToken::Given(text.try_into().ok()?)),
            _ => None,
        }
    }
}

/// Three bytes from six hex digits.
pub(crate) fn six(text: &str) -> Option<[u8; 3]> {
    let mut value = [0; 3];
    hex::decode_to_slice(text, &mut value).ok()?;
    Some(value)
}

/// Defaults that serde names by path.
mod default {
    pub(super) fn wrong_pins_per_hour() -> u32 {
        4096
    }
    pub(super) fn pin_length() -> usize {
        12
    }
    pub(super) fn timeout_ms() -> u64 {
        500
    }
    pub(super) fn health_seconds() -> u64 {
        5
    }
    pub(super) fn connect_ms() -> u64 {
        2000
    }
    pub(super) fn reconnect_ms() -> u64 {
        100
    }
    pub(super) fn reconnect_max_ms() -> u64 {
        2000
    }
    pub(super) fn header() -> usize {
        4
    }
    pub(super) fn connections() -> usize {
        2
    }
    pub(super) fn window() -> usize {
        64
    }
    pub(super) fn in_flight() -> usize {
        2048
    }
}
