//! `[[link]]`: one ISO 8583 listener, its keys, rights and bounds, as the file has them.
//!
//! **Never here:** sockets, dialects, keys: those are names until the runtime is built.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, de};

use crate::domain::pin::BlockFormat;
use crate::domain::request::{Channel, Rights};

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its name: in metrics, logs and `/status`.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Name of a built-in dialect, or a file ending in `.toml`.
    pub dialect: String,
    /// How messages are framed, for example `be2`.
    #[serde(default = "framing")]
    pub framing: String,
    /// Name of the zone PIN key its PIN blocks are under; else there is `pin_bdk`.
    pub zpk: Option<String>,
    /// Name of the base derivation key of its DUKPT terminals.
    pub pin_bdk: Option<String>,
    /// Where its messages have the key serial number: `62`, or a path such as `127.9`.
    pub ksn_field: Option<String>,
    /// Where they have that of the new PIN's block, if it is another one.
    pub new_ksn_field: Option<String>,
    /// Layout of its PIN blocks.
    #[serde(default = "pin_block_format", deserialize_with = "read_pin_block_format")]
    pub pin_block_format: BlockFormat,
    /// Where its cardholders stand.
    #[serde(default = "channel")]
    pub channel: Channel,
    /// What it may ask for.
    #[serde(default = "rights", deserialize_with = "read_rights")]
    pub rights: Rights,
    /// Institution of its requests where DE 32 is absent: up to 11 digits, or empty.
    #[serde(default)]
    pub institution: String,
    /// Requests it may have in flight.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// Connections it may hold.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Seconds of silence after which a connection is closed.
    #[serde(default = "idle_seconds")]
    pub idle_seconds: u64,
    /// Seconds from a frame's first byte in which the whole frame must have come.
    #[serde(default = "frame_seconds")]
    pub frame_seconds: u64,
    /// Milliseconds a request may take, where it differs from `limits.request_ms`.
    pub request_ms: Option<u64>,
    /// Refuse work on a connection until it has signed on.
    #[serde(default)]
    pub require_sign_on: bool,
    /// Networks that may connect; empty for all.
    #[serde(default, deserialize_with = "read_networks")]
    pub allow: Vec<IpNet>,
    /// Which way its requests wish to go.
    #[serde(default)]
    pub active: ActiveWish,
    /// Message authentication.
    pub mac: Option<LinkMac>,
    /// Transport security.
    pub tls: Option<LinkTls>,
    /// New zone keys over the link.
    pub key_exchange: Option<LinkKeyExchange>,
}

/// Whether the name of a dialect is that of a file.
pub(super) fn is_dialect_file(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|e| e == "toml")
}

/// Whether a link's requests go to an active-active host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActiveWish {
    /// As the card's product says.
    #[default]
    Product,
    /// `true`: Postilion; `false`: CMS.
    Fixed(bool),
    /// As the element of each message says that the dialect names by `active`.
    Message,
}

/// `[link.mac]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkMac {
    /// Name of the key.
    pub key: String,
    /// Refuse a request without a MAC.
    #[serde(default = "mac_required")]
    pub required: bool,
    /// Bytes of the MAC that count, from the left.
    #[serde(default = "mac_bytes")]
    pub bytes: usize,
}

/// `[link.tls]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkTls {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities of client certificates, PEM. With it, a client certificate is required.
    pub client_ca: Option<PathBuf>,
}

/// `[link.key_exchange]`: the far end may bring a new zone PIN key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkKeyExchange {
    /// Name of the zone master key that new keys come under.
    pub zmk: String,
    /// Seconds the old key is still accepted.
    #[serde(default = "grace_seconds")]
    pub grace_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Right {
    Change,
    Reverse,
    Unblock,
    Verify,
}

#[derive(Deserialize)]
enum FormatName {
    #[serde(rename = "iso-0")]
    Iso0,
    #[serde(rename = "iso-1")]
    Iso1,
    #[serde(rename = "iso-3")]
    Iso3,
    #[serde(rename = "iso-4")]
    Iso4,
}

fn read_rights<'de, D: Deserializer<'de>>(from: D) -> Result<Rights, D::Error> {
    let mut rights = Rights::default();
    for right in Vec::<Right>::deserialize(from)? {
        match right {
            Right::Change => rights.change = true,
            Right::Reverse => rights.reverse = true,
            Right::Unblock => rights.unblock = true,
            Right::Verify => rights.verify = true,
        }
    }
    Ok(rights)
}

pub(super) fn read_pin_block_format<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BlockFormat, D::Error> {
    Ok(match FormatName::deserialize(from)? {
        FormatName::Iso0 => BlockFormat::Iso0,
        FormatName::Iso1 => BlockFormat::Iso1,
        FormatName::Iso3 => BlockFormat::Iso3,
        FormatName::Iso4 => BlockFormat::Iso4,
    })
}

/// Networks as `10.1.0.0/16`, or single addresses.
fn read_networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let read = |text: String| {
        let single = text.parse::<IpAddr>().map(IpNet::from);
        single.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
            D::Error::custom(format!("{text:?} is no network such as 10.1.0.0/16, and no address"))
        })
    };
    texts.into_iter().map(read).collect()
}

impl<'de> Deserialize<'de> for ActiveWish {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = ActiveWish;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"product\", \"message\", true or false")
            }

            fn visit_bool<E: de::Error>(self, wish: bool) -> Result<ActiveWish, E> {
                Ok(ActiveWish::Fixed(wish))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ActiveWish, E> {
                match text {
                    "message" => Ok(ActiveWish::Message),
                    "product" => Ok(ActiveWish::Product),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        from.deserialize_any(Words)
    }
}

pub(super) fn framing() -> String {
    "be2".into()
}
pub(super) fn pin_block_format() -> BlockFormat {
    BlockFormat::Iso0
}
fn channel() -> Channel {
    Channel::Atm
}
fn rights() -> Rights {
    Rights { change: true, reverse: true, verify: true, ..Rights::default() }
}
fn in_flight() -> usize {
    2048
}
fn connections() -> usize {
    1024
}
fn idle_seconds() -> u64 {
    300
}
fn frame_seconds() -> u64 {
    10
}
fn mac_required() -> bool {
    true
}
fn mac_bytes() -> usize {
    8
}
pub(super) fn grace_seconds() -> u64 {
    300
}
