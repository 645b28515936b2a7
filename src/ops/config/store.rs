//! `[store]`: where cards and journal live, on this machine or in a PostgreSQL that several switches share.
//!
//! [`DatabaseUrl`] holds what may contain a password: it has no `Display`, and its `Debug` masks. **Never here:** a
//! connection, a file opened. Where next: `cli::boot::store` makes the store.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use zeroize::Zeroizing;

use crate::limits;
use crate::ops::config::check::within;
use crate::ops::config::source::{ConfigError, Source};

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Which family.
    #[serde(default)]
    pub kind: StoreKind,
    /// Directory of the embedded one; empty with another.
    #[serde(default)]
    pub directory: PathBuf,
    /// How to reach PostgreSQL; there exactly when it is the family.
    pub postgres: Option<Postgres>,
    /// Hours a transaction key and its answer are remembered.
    #[serde(default = "default::retention_hours")]
    pub retention_hours: u32,
    /// Transaction keys that the embedded store holds in memory for those hours.
    #[serde(default = "default::transaction_keys_max")]
    pub transaction_keys_max: usize,
}

/// Families of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// In a directory of this machine.
    #[default]
    Embedded,
    /// In a database that several switches share.
    Postgres,
}

/// `[store.postgres]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Where it is: `postgresql://user@host,host/database`.
    pub url: DatabaseUrl,
    /// Number of this switch among those that share the database: each has one of its own.
    pub node: u16,
    /// Connections to it: one writes, one does chores, the others read. More of them read smaller batches.
    #[serde(default = "default::connections")]
    pub connections: usize,
    /// File whose first line is the password, where neither the URL nor `PGPASSWORD` has it.
    pub password_file: Option<PathBuf>,
    /// Transport security.
    pub tls: Option<PostgresTls>,
    /// Allows a database on another machine without TLS.
    #[serde(default)]
    pub allow_plain: bool,
}

/// `[store.postgres.tls]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresTls {
    /// Authorities of the server's certificate, PEM.
    pub ca: PathBuf,
    /// Our certificate chain, PEM, where the server asks for one.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
}

/// A database's URL, perhaps with a password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Zeroizing<String>);

impl DatabaseUrl {
    /// The whole of it. The long name is deliberate: whoever reads the code looks for it.
    #[must_use]
    pub fn expose_url(&self) -> &str {
        &self.0
    }

    /// The URL for people: the password as asterisks.
    #[must_use]
    pub fn masked(&self) -> String {
        let parts = Parts::of(&self.0);
        let mut text = format!("{}://", parts.scheme);
        if let Some(user) = parts.user {
            text.push_str(user);
            if parts.has_password {
                text.push_str(":***");
            }
            text.push('@');
        }
        text.push_str(parts.hosts);
        text.push_str(parts.path);
        for (at, (key, value)) in parts.parameters.iter().enumerate() {
            let value = if *key == "password" { "***" } else { value };
            let sign = if at == 0 { '?' } else { '&' };
            text.extend([sign.to_string().as_str(), key, "=", value]);
        }
        text
    }

    /// The same with a password, of which every character may be any.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Self {
        let user = self.0.find('@').unwrap_or(self.0.len());
        let (before, after) = self.0.split_at(user);
        // Every byte as %XX: no longer than three times as long, so that no half of it stays behind in freed memory.
        let mut url = Zeroizing::new(String::with_capacity(self.0.len() + 1 + 3 * password.len()));
        url.push_str(before);
        url.push(':');
        for byte in password.bytes() {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
            url.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
        url.push_str(after);
        Self(url)
    }

    /// Whether the password stands in it.
    #[must_use]
    pub fn has_password(&self) -> bool {
        let parts = Parts::of(&self.0);
        parts.has_password || parts.parameters.iter().any(|(key, _)| *key == "password")
    }

    /// Whether every host is this machine: its loopback, or a socket in a directory.
    fn is_local(&self) -> bool {
        let parts = Parts::of(&self.0);
        let named = |key: &&(&str, &str)| matches!(key.0, "host" | "hostaddr");
        let parameters = parts.parameters.iter().filter(named).flat_map(|(_, v)| v.split(','));
        let hosts = parts.hosts.split(',').filter(|host| !host.is_empty());
        hosts.chain(parameters).all(is_local)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.masked())
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const FORM: &str =
            "a URL such as \"postgresql://pinion@db-1,db-2/pinion\", with a database";
        let text = Zeroizing::new(String::deserialize(from)?);
        let parts = Parts::of(&text);
        let known = matches!(parts.scheme, "postgres" | "postgresql");
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        // Never the text: a password may stand in it.
        if known && printable && 1 < parts.path.len() && parts.user.is_some_and(|u| !u.is_empty()) {
            return Ok(Self(text));
        }
        Err(D::Error::custom(FORM))
    }
}

fn is_local(host: &str) -> bool {
    let lower = host.to_ascii_lowercase();
    if lower.starts_with('/') || lower.starts_with("%2f") {
        return true;
    }
    let name = match lower.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, _)) => inner,
        None => lower.rsplit_once(':').map_or(lower.as_str(), |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A URL, cut into its parts.
struct Parts<'t> {
    scheme: &'t str,
    user: Option<&'t str>,
    has_password: bool,
    hosts: &'t str,
    /// With its slash.
    path: &'t str,
    parameters: Vec<(&'t str, &'t str)>,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Self {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // An unescaped '/' or '@' in a password must not show the rest of it: the last '@' ends the user's part.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let slash = rest.find('/').unwrap_or(rest.len());
        let (hosts, path) = rest.split_at(slash);
        let (user, password) = match user.and_then(|user| user.split_once(':')) {
            Some((user, password)) => (Some(user), Some(password)),
            None => (user, None),
        };
        let parameters = query.split('&').filter(|pair| !pair.is_empty());
        let parameters = parameters.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self {
            scheme,
            user,
            has_password: password.is_some_and(|password| !password.is_empty()),
            hosts,
            path,
            parameters: parameters.collect(),
        }
    }
}

impl Store {
    pub(super) fn check(&self, source: &Source) -> Result<(), ConfigError> {
        let hours = 1..=limits::RETENTION_HOURS_MAX;
        within(source, "store.retention_hours", self.retention_hours, hours)?;
        let keys = "store.transaction_keys_max";
        within(source, keys, self.transaction_keys_max, 1..=limits::TRANSACTION_KEYS_MAX)?;
        let has_directory = self.directory != Path::new("");
        match (self.kind, &self.postgres) {
            (StoreKind::Embedded, None) if has_directory => Ok(()),
            (StoreKind::Embedded, None) => Err(source.error("store.directory", "missing")),
            (StoreKind::Embedded, Some(_)) => {
                let reason = "the store is embedded: take the section out, or set store.kind";
                Err(source.error("store.postgres", reason))
            }
            (StoreKind::Postgres, None) => Err(source.error("store.postgres", "missing")),
            (StoreKind::Postgres, Some(_)) if has_directory => {
                let reason = "of the embedded store: take the line out";
                Err(source.error("store.directory", reason))
            }
            (StoreKind::Postgres, Some(postgres)) => postgres.check(source),
        }
    }
}

impl Postgres {
    fn check(&self, source: &Source) -> Result<(), ConfigError> {
        let at = |key: &str| format!("store.postgres.{key}");
        within(source, &at("node"), self.node, 1..=limits::STORE_COMMANDS_NODE - 1)?;
        let connections = limits::STORE_CONNECTIONS_MIN..=limits::STORE_CONNECTIONS_MAX;
        within(source, &at("connections"), self.connections, connections)?;
        let parts = Parts::of(self.url.expose_url());
        if parts.parameters.iter().any(|(key, _)| key.starts_with("ssl")) {
            let reason = "says how to encrypt: that is the section [store.postgres.tls]";
            return Err(source.error(&at("url"), reason));
        }
        if self.url.has_password() && self.password_file.is_some() {
            let reason = "the URL has a password already: take one of the two out";
            return Err(source.error(&at("password_file"), reason));
        }
        match &self.tls {
            Some(PostgresTls { certificate: Some(_), key: None, .. }) => {
                Err(source.error(&at("tls.key"), "missing: the certificate's private key"))
            }
            Some(PostgresTls { certificate: None, key: Some(_), .. }) => {
                Err(source.error(&at("tls.certificate"), "missing: the key's certificate"))
            }
            None if !self.url.is_local() && !self.allow_plain => {
                let reason = "a database on another machine without TLS: add the section \
                              [store.postgres.tls], or set store.postgres.allow_plain = true";
                Err(source.error(&at("url"), reason))
            }
            _ => Ok(()),
        }
    }

    /// Makes relative paths relative to `base`.
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        let tls = self.tls.iter_mut();
        let tls = tls.flat_map(|tls| {
            [Some(&mut tls.ca), tls.certificate.as_mut(), tls.key.as_mut()].into_iter().flatten()
        });
        for path in self.password_file.iter_mut().chain(tls) {
            *path = base.join(&*path);
        }
    }
}

/// Defaults that serde names by path.
mod default {
    pub(super) fn retention_hours() -> u32 {
        24
    }
    pub(super) fn transaction_keys_max() -> usize {
        20_000_000
    }
    pub(super) fn connections() -> usize {
        crate::limits::STORE_CONNECTIONS_MIN
    }
}
