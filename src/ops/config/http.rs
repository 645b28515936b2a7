//! `[http]` and the file of its clients, `[[client]]`, as they are written.
//!
//! Clients have a file of their own, so that `pinion clients` can edit it; its errors read like those of the
//! configuration. **Never here:** a token (the file has its SHA-256), keys, doors: those are names until the runtime is
//! built.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::pin::{BlockFormat, RsaPadding};
use crate::limits;
use crate::ops::config::check::{First, given, name, within};
use crate::ops::config::link::{pin_block_format, read_pin_block_format};
use crate::ops::config::source::{ConfigError, Document, Source};
use crate::ops::config::{Config, LinkTls};

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where the doors listen.
    pub listen: SocketAddr,
    /// File of the clients.
    pub clients: PathBuf,
    /// Allows plain HTTP on an address other than loopback.
    #[serde(default)]
    pub allow_plain: bool,
    /// Connections they may hold.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Requests one door may have in flight.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// Seconds of silence after which a connection is closed.
    #[serde(default = "idle_seconds")]
    pub idle_seconds: u64,
    /// Milliseconds a request may take, where it differs from `limits.request_ms`.
    pub request_ms: Option<u64>,
    /// Transport security.
    pub tls: Option<LinkTls>,
    /// Bearer tokens that somebody else signs.
    pub jwt: Option<Jwt>,
}

/// `[http.jwt]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// The issuer's public key, PEM.
    pub key: PathBuf,
    /// `RS256` or `ES256`.
    pub algorithm: String,
    /// Whom tokens must be for.
    pub audience: String,
}

/// `[[client]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpClient {
    /// Its name.
    pub name: String,
    /// Doors it may use.
    pub doors: Vec<String>,
    /// SHA-256 of its token or API key, hex. Absent: it is the subject of a signed token.
    #[serde(default, deserialize_with = "read_digest")]
    pub token_sha256: Option<[u8; 32]>,
    /// SHA-256 of the `apikey` of `firstvision-latam`, hex.
    #[serde(default, deserialize_with = "read_digest")]
    pub api_key_sha256: Option<[u8; 32]>,
    /// The `X-ClientID` of `firstvision-latam`.
    pub client_id: Option<String>,
    /// What it may ask for.
    #[serde(default = "rights")]
    pub rights: Vec<ClientRight>,
    /// Organizations whose cards it may name; absent: all.
    pub organizations: Option<Vec<u16>>,
    /// Digits that numbers of its cards begin with; absent: any.
    pub bins: Option<Vec<String>>,
    /// Its zone PIN key.
    pub zpk: Option<String>,
    /// Zone PIN keys by key association.
    #[serde(default)]
    pub key_associations: BTreeMap<String, String>,
    /// Layout of its PIN blocks.
    #[serde(default = "pin_block_format", deserialize_with = "read_pin_block_format")]
    pub pin_block_format: BlockFormat,
    /// Its RSA key.
    pub rsa_key: Option<String>,
    /// How it pads.
    #[serde(default = "rsa_padding")]
    pub rsa_padding: RsaPadding,
    /// The key its requests must be signed with.
    pub signature_key: Option<String>,
    /// Whether it may name cards by tokens.
    #[serde(default = "pan_tokens")]
    pub pan_tokens: bool,
    /// Requests a second.
    #[serde(default = "per_second")]
    pub per_second: u32,
    /// Requests at once.
    #[serde(default = "per_second")]
    pub burst: u32,
}

/// What a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientRight {
    /// PIN change.
    Change,
    /// Setting a PIN without the current one.
    Set,
    /// Showing a PIN.
    Reveal,
}

impl ClientRight {
    /// Its word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Set => "set",
            Self::Reveal => "reveal",
        }
    }
}

/// The file of clients.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpClients {
    /// Clients, in the order of the file.
    pub clients: Vec<HttpClient>,
    source: Source,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "client")]
    clients: Vec<HttpClient>,
}

impl HttpClients {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// The first thing that is wrong, as `file:line: key: reason`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let refuse = |reason: String| ConfigError::of_file(&origin, reason);
        let text =
            std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        if limits::CONFIG_BYTES_MAX < text.len() {
            return Err(refuse(format!("is longer than {} bytes", limits::CONFIG_BYTES_MAX)));
        }
        Self::parse(&text, &origin)
    }

    /// Checks a text; errors name it `origin`.
    ///
    /// # Errors
    /// As [`HttpClients::load`].
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let (file, source) = Document::parse(text, origin)?.read::<File>()?;
        let all = Self { clients: file.clients, source };
        all.check()?;
        Ok(all)
    }

    /// Names the place of `key`, such as `client[0].zpk`, in an error found later.
    #[must_use]
    pub fn error(&self, key: &str, reason: impl std::fmt::Display) -> ConfigError {
        self.source.error(key, reason)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let source = &self.source;
        within(source, "client", self.clients.len(), 0..=limits::HTTP_CLIENTS_MAX)?;
        let mut first = First::new(source);
        for (index, client) in self.clients.iter().enumerate() {
            let at = |key: &str| format!("client[{index}].{key}");
            name(source, &at("name"), &client.name)?;
            first.of("name of a client", &client.name, at("name"))?;
            if client.doors.is_empty() {
                return Err(source.error(&at("doors"), "name at least one door"));
            }
            if let Some(token) = client.token_sha256 {
                first.of("token", &hex::encode(token), at("token_sha256"))?;
            }
            let values = 0..=limits::HTTP_CLIENT_VALUES_MAX;
            let organizations = client.organizations.as_deref().unwrap_or_default();
            within(source, &at("organizations"), organizations.len(), values.clone())?;
            for organization in organizations {
                within(source, &at("organizations"), *organization, 0..=998)?;
            }
            let bins = client.bins.as_deref().unwrap_or_default();
            within(source, &at("bins"), bins.len(), values.clone())?;
            let is_bin = |bin: &String| {
                (1..=11).contains(&bin.len()) && bin.bytes().all(|b| b.is_ascii_digit())
            };
            if !bins.iter().all(is_bin) {
                return Err(source.error(&at("bins"), "each is 1 to 11 digits, as text"));
            }
            within(source, &at("key_associations"), client.key_associations.len(), values)?;
            let is_association = |name: &String| (1..=3).contains(&name.len());
            if !client.key_associations.keys().all(is_association) {
                let reason = "each name has 1 to 3 characters; `zpk` is the key of a blank one";
                return Err(source.error(&at("key_associations"), reason));
            }
            within(source, &at("per_second"), client.per_second, 1..=limits::HTTP_RATE_MAX)?;
            within(source, &at("burst"), client.burst, 1..=limits::HTTP_RATE_MAX)?;
        }
        Ok(())
    }
}

/// The rules of `[http]` beyond its types.
pub(super) fn check(config: &Config, http: &Http) -> Result<(), ConfigError> {
    let source = &config.source;
    if !http.listen.ip().is_loopback() && http.tls.is_none() && !http.allow_plain {
        let reason = "not a loopback address, and tokens and PINs would travel in the clear: add [http.tls], or set \
                      http.allow_plain = true where a proxy before it ends TLS";
        return Err(source.error("http.listen", reason));
    }
    let connections = 1..=limits::CONNECTIONS_PER_LINK_MAX;
    within(source, "http.connections", http.connections, connections)?;
    within(source, "http.in_flight", http.in_flight, 1..=limits::IN_FLIGHT_PER_LINK_MAX)?;
    within(source, "http.idle_seconds", http.idle_seconds, 1..=limits::IDLE_SECONDS_MAX)?;
    if let Some(jwt) = &http.jwt {
        given(source, "http.jwt.audience", &jwt.audience)?;
    }
    Ok(())
}

impl Http {
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        resolve(&mut self.clients);
        if let Some(tls) = &mut self.tls {
            resolve(&mut tls.certificate);
            resolve(&mut tls.key);
            if let Some(path) = &mut tls.client_ca {
                resolve(path);
            }
        }
        if let Some(jwt) = &mut self.jwt {
            resolve(&mut jwt.key);
        }
    }
}

fn read_digest<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<[u8; 32]>, D::Error> {
    let text = String::deserialize(from)?;
    let digest = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    digest.map(Some).ok_or_else(|| serde::de::Error::custom("64 hex digits of a SHA-256"))
}

fn connections() -> usize {
    1024
}
fn in_flight() -> usize {
    2048
}
fn idle_seconds() -> u64 {
    60
}
fn rights() -> Vec<ClientRight> {
    vec![ClientRight::Change]
}
fn rsa_padding() -> RsaPadding {
    RsaPadding::OaepSha256
}
fn pan_tokens() -> bool {
    true
}
fn per_second() -> u32 {
    100
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[client]]
name = "bank"
doors = ["firstvision-apac"]
token_sha256 = "8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92"
zpk = "zpk.bank"
key_associations = { IVL = "zpk.bank" }
organizations = [600]
bins = ["476173"]
rsa_padding = "pkcs1-v1_5"
"#;

    #[test]
    fn a_client() {
        let all = HttpClients::parse(GOOD, "clients.toml").unwrap();
        let client = &all.clients[0];
        assert_eq!(client.rights, [ClientRight::Change]);
        assert_eq!(client.rsa_padding, RsaPadding::Pkcs1v15);
        assert_eq!((client.per_second, client.burst, client.pan_tokens), (100, 100, true));
    }

    #[test]
    fn refusals_name_line_and_key() {
        for (from, to, want) in [
            ("\"bank\"", "\"Bank\"", "clients.toml:3: client[0].name: "),
            ("\"8d9", "\"8d", "clients.toml:5: client[0].token_sha256: 64 hex digits"),
            ("[600]", "[999]", "clients.toml:8: client[0].organizations: 999 is outside"),
            ("\"476173\"", "\"x\"", "clients.toml:9: client[0].bins: "),
            ("IVL", "IVLX", "clients.toml:7: client[0].key_associations: "),
            ("\"pkcs1-v1_5\"", "\"none\"", "clients.toml:10: client[0].rsa_padding: "),
            ("[\"firstvision-apac\"]", "[]", "clients.toml:4: client[0].doors: "),
        ] {
            let error = HttpClients::parse(&GOOD.replace(from, to), "clients.toml").unwrap_err();
            assert!(error.to_string().starts_with(want), "{error}");
        }
        let twice = GOOD.to_owned() + &GOOD.replace("\"bank\"", "\"other\"");
        let error = HttpClients::parse(&twice, "clients.toml").unwrap_err().to_string();
        assert!(error.contains("client[1].token_sha256"), "{error}");
    }
}
