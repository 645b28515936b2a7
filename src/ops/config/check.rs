//! The rules a configuration must keep beyond its types: bounds, unique names and addresses, known names.
//!
//! Bounds come from `limits`. **Never here:** a default, a conversion.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use crate::limits;
use crate::ops::config::product::PinMethod;
use crate::ops::config::script::IssuerScript;
use crate::ops::config::source::{ConfigError, Source};
use crate::ops::config::{Config, Link, host, http};

/// What the switch knows by name. Each function says why a name is no good.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// A dialect: a built-in name, or a file ending in `.toml`.
    pub dialect: &'a dyn Fn(&str) -> Result<(), String>,
    /// A framing.
    pub framing: &'a dyn Fn(&str) -> Result<(), String>,
    /// A key of the HSM.
    pub key: &'a dyn Fn(&str) -> Result<(), String>,
}

impl Config {
    /// Checks every name of a dialect, a framing and a key.
    ///
    /// # Errors
    /// The first name that is unknown, as `file:line: key: reason`.
    pub fn check_names(&self, names: &Names<'_>) -> Result<(), ConfigError> {
        let refuse = |key: String| move |reason: String| self.error(&key, reason);
        for (index, link) in self.links.iter().enumerate() {
            let at = format!("link[{index}]");
            (names.dialect)(&link.dialect).map_err(refuse(format!("{at}.dialect")))?;
            (names.framing)(&link.framing).map_err(refuse(format!("{at}.framing")))?;
            for (name, key) in [("zpk", &link.zpk), ("pin_bdk", &link.pin_bdk)] {
                if let Some(key) = key {
                    (names.key)(key).map_err(refuse(format!("{at}.{name}")))?;
                }
            }
            if let Some(mac) = &link.mac {
                (names.key)(&mac.key).map_err(refuse(format!("{at}.mac.key")))?;
            }
            if let Some(exchange) = &link.key_exchange {
                let key = format!("{at}.key_exchange.zmk");
                (names.key)(&exchange.zmk).map_err(refuse(key))?;
            }
        }
        if let Some(postilion) = &self.postilion {
            let at = |key: &str| format!("postilion.{key}");
            (names.dialect)(&postilion.dialect).map_err(refuse(at("dialect")))?;
            (names.framing)(&postilion.framing).map_err(refuse(at("framing")))?;
            (names.key)(&postilion.zpk).map_err(refuse(at("zpk")))?;
            if let Some(exchange) = &postilion.key_exchange {
                (names.key)(&exchange.zmk).map_err(refuse(at("key_exchange.zmk")))?;
            }
        }
        for (index, product) in self.products.iter().enumerate() {
            match &product.method {
                PinMethod::LmkPin => {}
                PinMethod::Ibm3624 { pvk, .. } | PinMethod::VisaPvv { pvk, .. } => {
                    (names.key)(pvk).map_err(refuse(format!("product[{index}].pvk")))?;
                }
            }
            for (option, name) in product.issuer_script.iter().flat_map(IssuerScript::keys) {
                let key = format!("product[{index}].issuer_script.{option}");
                (names.key)(name).map_err(refuse(key))?;
            }
        }
        Ok(())
    }
}

/// Refuses a value outside its bounds.
pub(super) fn within<T: Copy + PartialOrd + Display>(
    source: &Source,
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = range.into_inner();
    Err(source.error(key, format!("{value} is outside {low} to {high}")))
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let source = &config.source;
    name(source, "node.name", &config.node.name)?;
    check_sections(config)?;
    if config.links.is_empty() {
        return Err(source.error("link", "missing: at least one [[link]], or nothing can come in"));
    }
    within(source, "link", config.links.len(), 1..=limits::LINKS_MAX)?;
    for (index, link) in config.links.iter().enumerate() {
        check_link(config, link, &format!("link[{index}]"))?;
    }
    check_unique(config)?;
    if let Some(http) = &config.http {
        http::check(config, http)?;
        if let Some(request_ms) = http.request_ms {
            check_request_ms(config, "http.request_ms", request_ms)?;
        }
    }
    match &config.postilion {
        Some(postilion) => host::check::check(config, postilion),
        None => Ok(()),
    }
}

fn check_sections(config: &Config) -> Result<(), ConfigError> {
    let source = &config.source;
    let Config { store, hsm, admin, log, limits, .. } = config;
    store.check(source)?;
    hsm.check(source)?;
    if !admin.listen.ip().is_loopback() && !admin.allow_remote {
        let reason = "not a loopback address: the admin endpoints have no authentication; \
                      put a proxy before them, or set admin.allow_remote = true";
        return Err(source.error("admin.listen", reason));
    }
    within(source, "log.slow_request_ms", log.slow_request_ms, 1..=limits::REQUEST_MS_MAX)?;
    within(source, "limits.drain_seconds", limits.drain_seconds, 1..=limits::DRAIN_SECONDS_MAX)?;
    within(source, "limits.workers", limits.workers, 0..=limits::WORKERS_MAX)?;
    check_request_ms(config, "limits.request_ms", limits.request_ms)
}

/// A request's deadline is within its bound, and a request that has just begun can still end while the switch drains.
fn check_request_ms(config: &Config, key: &str, request_ms: u64) -> Result<(), ConfigError> {
    within(&config.source, key, request_ms, 1..=limits::REQUEST_MS_MAX)?;
    let drain_ms = config.limits.drain_seconds.saturating_mul(1000);
    if drain_ms < request_ms {
        let reason = format!("{request_ms} is longer than limits.drain_seconds ({drain_ms} ms)");
        return Err(config.error(key, reason));
    }
    Ok(())
}

fn check_link(config: &Config, link: &Link, at: &str) -> Result<(), ConfigError> {
    let source = &config.source;
    let key = |name: &str| format!("{at}.{name}");
    name(source, &key("name"), &link.name)?;
    for (name, value) in [("dialect", &link.dialect), ("framing", &link.framing)] {
        given(source, &key(name), value)?;
    }
    check_pin_key(config, link, at)?;
    institution(source, &key("institution"), &link.institution)?;
    within(source, &key("in_flight"), link.in_flight, 1..=limits::IN_FLIGHT_PER_LINK_MAX)?;
    within(source, &key("connections"), link.connections, 1..=limits::CONNECTIONS_PER_LINK_MAX)?;
    within(source, &key("idle_seconds"), link.idle_seconds, 1..=limits::IDLE_SECONDS_MAX)?;
    let frame_seconds_max = limits::FRAME_SECONDS_MAX.min(link.idle_seconds);
    within(source, &key("frame_seconds"), link.frame_seconds, 1..=frame_seconds_max)?;
    if let Some(request_ms) = link.request_ms {
        check_request_ms(config, &key("request_ms"), request_ms)?;
    }
    within(source, &key("allow"), link.allow.len(), 0..=limits::ALLOWED_NETWORKS_MAX)?;
    if let Some(mac) = &link.mac {
        within(source, &key("mac.bytes"), mac.bytes, 4..=8)?;
    }
    if let Some(exchange) = &link.key_exchange {
        given(source, &key("key_exchange.zmk"), &exchange.zmk)?;
        let range = 0..=limits::KEY_GRACE_SECONDS_MAX;
        within(source, &key("key_exchange.grace_seconds"), exchange.grace_seconds, range)?;
    }
    Ok(())
}

/// One key of the PIN blocks, and where a derived one is named.
fn check_pin_key(config: &Config, link: &Link, at: &str) -> Result<(), ConfigError> {
    let places = [("ksn_field", &link.ksn_field), ("new_ksn_field", &link.new_ksn_field)];
    let keys = [("zpk", &link.zpk), ("pin_bdk", &link.pin_bdk)];
    for (name, value) in keys.into_iter().chain(places) {
        if let Some(value) = value {
            given(&config.source, &format!("{at}.{name}"), value)?;
        }
    }
    let refuse = |name: &str, reason: &str| Err(config.error(&format!("{at}.{name}"), reason));
    match (&link.zpk, &link.pin_bdk) {
        (None, None) => {
            refuse("zpk", "missing: name a zone PIN key, or pin_bdk for DUKPT terminals")
        }
        (Some(_), Some(_)) => {
            refuse("pin_bdk", "beside zpk: a link's PIN blocks are under one key")
        }
        (Some(_), None) => match places.iter().find(|(_, place)| place.is_some()) {
            Some((name, _)) => refuse(name, "is for links with pin_bdk"),
            None => Ok(()),
        },
        (None, Some(_)) if link.ksn_field.is_none() => refuse(
            "ksn_field",
            "missing: where messages have the key serial number, such as \"62\"",
        ),
        (None, Some(_)) if link.key_exchange.is_some() => {
            refuse("key_exchange", "is for links with zpk: DUKPT terminals have no zone key")
        }
        (None, Some(_)) => Ok(()),
    }
}

/// Refuses an empty text.
pub(super) fn given(source: &Source, key: &str, text: &str) -> Result<(), ConfigError> {
    if text.is_empty() { Err(source.error(key, "empty")) } else { Ok(()) }
}

/// Refuses what is no institution: up to 11 digits, or nothing.
pub(super) fn institution(source: &Source, key: &str, text: &str) -> Result<(), ConfigError> {
    if text.len() <= 11 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err(source.error(key, "up to 11 digits, as text"))
}

/// Names, addresses, BINs and product numbers that may occur once only.
fn check_unique(config: &Config) -> Result<(), ConfigError> {
    let mut first = First::new(&config.source);
    for (index, link) in config.links.iter().enumerate() {
        first.of("name of a link", &link.name, format!("link[{index}].name"))?;
    }
    for (index, product) in config.products.iter().enumerate() {
        let at = format!("product[{index}]");
        name(&config.source, &format!("{at}.name"), &product.name)?;
        first.of("name of a product", &product.name, format!("{at}.name"))?;
        first.of("bin", &product.bin, format!("{at}.bin"))?;
        let numbers = format!("{}/{}", product.key.organization, product.key.logo);
        first.of("organization/logo", &numbers, format!("{at}.logo"))?;
    }
    let admin = ("admin.listen".to_owned(), config.admin.listen);
    let links = config.links.iter().enumerate();
    let links = links.map(|(index, link)| (format!("link[{index}].listen"), link.listen));
    let doors = config.http.iter().map(|http| ("http.listen".to_owned(), http.listen));
    let mut listeners = vec![admin];
    for (key, address) in links.chain(doors) {
        if let Some((other, _)) = listeners.iter().find(|(_, other)| clash(*other, address)) {
            return Err(config.error(&key, format!("{address} is taken by {other}")));
        }
        listeners.push((key, address));
    }
    Ok(())
}

/// Whether two listeners cannot both be bound. Port 0 asks for any free port.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = |ip: IpAddr| ip.is_unspecified();
    let same_ip = one.ip() == other.ip() || everywhere(one.ip()) || everywhere(other.ip());
    one.port() != 0 && one.port() == other.port() && same_ip
}

/// Finds the second use of what may be used once.
pub(super) struct First<'a> {
    source: &'a Source,
    seen: BTreeMap<(&'static str, String), String>,
}

impl<'a> First<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, seen: BTreeMap::new() }
    }

    pub(super) fn of(
        &mut self,
        what: &'static str,
        value: &str,
        key: String,
    ) -> Result<(), ConfigError> {
        if let Some(other) = self.seen.get(&(what, value.to_owned())) {
            return Err(self.source.error(&key, format!("{what} {value:?} is taken by {other}")));
        }
        self.seen.insert((what, value.to_owned()), key);
        Ok(())
    }
}

/// Names are metric labels and parts of log lines: short, lower case, nothing to escape.
pub(super) fn name(source: &Source, key: &str, text: &str) -> Result<(), ConfigError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if (1..=limits::NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    let reason =
        format!("1 to {} lower-case letters, digits, '-', '_' or '.'", limits::NAME_BYTES_MAX);
    Err(source.error(key, reason))
}
