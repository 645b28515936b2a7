//! The configuration file: TOML in, plain checked values out.
//!
//! [`Config::load`] reads the file `serve` and `check` are given, [`Config::parse`] a text. What comes out is within
//! the bounds of `limits`, free of duplicates and of contradictions; names of keys, dialects and framings are still
//! strings, checked by [`Config::check_names`] against what the switch knows. Every error reads
//! `file:line: key: reason`.
//!
//! **Never here:** opening any other file, a socket, a key. Where next: `link`, `product`, `route` and `host` for their
//! sections, `check` for the rules, `source` for the places errors name. `deploy/pinion.example.toml` shows every key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::limits;

mod check;
mod host;
mod hsm;
mod http;
mod link;
mod product;
mod route;
mod script;
mod source;
mod store;
#[cfg(test)]
mod tests;

pub use check::Names;
pub use host::{
    Address, Breaker, HostKeyExchange, HostNode, NewPinSide, Postilion, Reversals, StanRange,
};
pub(crate) use hsm::six;
pub use hsm::{Hsm, HsmBreaker, HsmDevice, HsmKey, HsmKind, HsmTable, HsmTls};
pub use http::{ClientRight, Http, HttpClient, HttpClients, Jwt};
pub use link::{ActiveWish, Link, LinkKeyExchange, LinkMac, LinkTls};
pub use product::{PinMethod, Product, Validation};
pub use route::Routing;
pub use script::{IssuerScript, IssuerScriptScheme};
pub use source::{ConfigError, Source};
pub use store::{DatabaseUrl, Postgres, PostgresTls, Store, StoreKind};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This switch.
    pub node: Node,
    /// Where cards and journal live.
    pub store: Store,
    /// Where keys and PINs live.
    pub hsm: Hsm,
    /// The admin endpoints.
    pub admin: Admin,
    /// The log.
    pub log: Log,
    /// Bounds of the whole switch.
    pub limits: Limits,
    /// ISO links in.
    pub links: Vec<Link>,
    /// Card products.
    pub products: Vec<Product>,
    /// Where requests go.
    pub routing: Routing,
    /// The Postilion hosts.
    pub postilion: Option<Postilion>,
    /// The HTTP doors.
    pub http: Option<Http>,
    source: Source,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Name in logs and `/status`.
    pub name: String,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where the admin endpoints listen.
    #[serde(default = "default::admin_listen")]
    pub listen: SocketAddr,
    /// Allows an address other than loopback. The endpoints have no authentication of their own.
    #[serde(default)]
    pub allow_remote: bool,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Form of a line.
    #[serde(default)]
    pub format: LogFormat,
    /// What is logged.
    #[serde(default)]
    pub level: LogLevel,
    /// Milliseconds after which a request is logged as slow.
    #[serde(default = "default::slow_request_ms")]
    pub slow_request_ms: u64,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For a person at a terminal.
    Text,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What a developer needs.
    Debug,
    /// What an operator needs.
    #[default]
    Info,
    /// What needs a look.
    Warn,
    /// What needs action.
    Error,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Seconds a stopping switch waits for requests in flight.
    #[serde(default = "default::drain_seconds")]
    pub drain_seconds: u64,
    /// Milliseconds a request may take, where its link says nothing else.
    #[serde(default = "default::request_ms")]
    pub request_ms: u64,
    /// Worker threads; 0 is one a core.
    #[serde(default)]
    pub workers: usize,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: default::admin_listen(), allow_remote: false }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: LogLevel::default(),
            slow_request_ms: default::slow_request_ms(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain_seconds: default::drain_seconds(),
            request_ms: default::request_ms(),
            workers: 0,
        }
    }
}

/// The file as it is written: what serde reads before the lists are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: Node,
    store: Store,
    hsm: Hsm,
    #[serde(default)]
    admin: Admin,
    #[serde(default)]
    log: Log,
    #[serde(default)]
    limits: Limits,
    #[serde(default, rename = "link")]
    links: Vec<Link>,
    #[serde(default, rename = "product")]
    products: Vec<product::Text>,
    #[serde(default)]
    routing: route::RoutingText,
    #[serde(default, rename = "route")]
    rules: Vec<route::RuleText>,
    postilion: Option<Postilion>,
    http: Option<Http>,
}

impl Config {
    /// What is allowed but hardly meant, with its place.
    #[must_use]
    pub fn warnings(&self) -> Vec<ConfigError> {
        self.unserved_routes().into_iter().chain(self.shared_trace_numbers()).collect()
    }

    /// Reads and checks a file. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// The first thing that is wrong, as `file:line: key: reason`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let refuse = |reason: String| ConfigError::of_file(&origin, reason);
        let size = std::fs::metadata(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        if u64::try_from(limits::CONFIG_BYTES_MAX).is_ok_and(|max| max < size.len()) {
            return Err(refuse(format!("is longer than {} bytes", limits::CONFIG_BYTES_MAX)));
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        Self::parse(&text, path)
    }

    /// Checks a text. `origin` is the name errors give it; relative paths are relative to its directory.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, origin: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let origin = origin.as_ref();
        let name = origin.display().to_string();
        if limits::CONFIG_BYTES_MAX < text.len() {
            let reason = format!("is longer than {} bytes", limits::CONFIG_BYTES_MAX);
            return Err(ConfigError::of_file(&name, reason));
        }
        let (file, source) = source::Document::parse(text, &name)?.read::<File>()?;
        if limits::PRODUCTS_MAX < file.products.len() {
            let reason = format!("more than {} products", limits::PRODUCTS_MAX);
            return Err(source.error("product", reason));
        }
        let products = file.products.into_iter().enumerate();
        let products = products
            .map(|(index, text)| text.check(&source, &format!("product[{index}]")))
            .collect::<Result<Vec<_>, _>>()?;
        let routing = file.routing.check(file.rules, &source, &file.links, &products)?;
        let mut config = Self {
            node: file.node,
            store: file.store,
            hsm: file.hsm,
            admin: file.admin,
            log: file.log,
            limits: file.limits,
            links: file.links,
            products,
            routing,
            postilion: file.postilion,
            http: file.http,
            source,
        };
        check::check(&config)?;
        config.resolve_paths(origin.parent().unwrap_or_else(|| Path::new("")));
        Ok(config)
    }

    /// Names the place of `key` (a dotted path such as `link[0].framing`) in an error found while building the runtime
    /// from this configuration.
    #[must_use]
    pub fn error(&self, key: &str, reason: impl std::fmt::Display) -> ConfigError {
        self.source.error(key, reason)
    }

    /// The file, as it was named on the command line.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.source.origin()
    }

    /// Milliseconds a request of `link` may take.
    #[must_use]
    pub fn request_ms(&self, link: &Link) -> u64 {
        link.request_ms.unwrap_or(self.limits.request_ms)
    }

    fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        match &mut self.store.postgres {
            Some(postgres) => postgres.resolve_paths(base),
            None => resolve(&mut self.store.directory),
        }
        self.hsm.resolve_paths(base);
        if let Some(http) = &mut self.http {
            http.resolve_paths(base);
        }
        let dialect = |name: &mut String| {
            if link::is_dialect_file(name) {
                *name = base.join(&*name).display().to_string();
            }
        };
        if let Some(postilion) = &mut self.postilion {
            dialect(&mut postilion.dialect);
        }
        for link in &mut self.links {
            dialect(&mut link.dialect);
            if let Some(tls) = &mut link.tls {
                resolve(&mut tls.certificate);
                resolve(&mut tls.key);
                if let Some(path) = &mut tls.client_ca {
                    resolve(path);
                }
            }
        }
    }
}

/// Defaults that serde names by path.
mod default {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    pub(super) fn admin_listen() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090)
    }
    pub(super) fn slow_request_ms() -> u64 {
        250
    }
    pub(super) fn drain_seconds() -> u64 {
        20
    }
    pub(super) fn request_ms() -> u64 {
        5000
    }
}
