//! `[postilion]`: the hosts beyond us, how we speak to them and what becomes of what they leave unanswered.
//!
//! Plain data with bounds; names of keys and of the dialect are still names. **Never here:** sockets, and an address
//! resolved: that happens when it is connected to. Where next: `check` for the rules, `text` for values with a form.

pub(super) mod check;
mod text;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::forward::Stan;
use crate::domain::outcome::Reason;
use crate::domain::pin::BlockFormat;
use crate::host::Fixed;
use crate::ops::config::link::{framing, grace_seconds, pin_block_format, read_pin_block_format};

pub use text::Address;

/// The Postilion hosts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postilion {
    /// Name of a built-in dialect, or a file ending in `.toml`.
    #[serde(default = "default::dialect")]
    pub dialect: String,
    /// How messages are framed, for example `be2`.
    #[serde(default = "framing")]
    pub framing: String,
    /// Name of the zone PIN key that PIN blocks towards the nodes are under.
    pub zpk: String,
    /// Layout of those PIN blocks.
    #[serde(default = "pin_block_format", deserialize_with = "read_pin_block_format")]
    pub pin_block_format: BlockFormat,
    /// End of DE 53 at which the new PIN block sits.
    #[serde(default)]
    pub new_pin_side: NewPinSide,
    /// DE 32 of requests that brought none: up to 11 digits, or empty.
    #[serde(default)]
    pub institution: String,
    /// DE 33: up to 11 digits, or empty for none.
    #[serde(default)]
    pub forwarding_institution: String,
    /// Milliseconds an answer is waited for.
    #[serde(default = "default::request_ms")]
    pub request_ms: u64,
    /// Connections to each node.
    #[serde(default = "default::connections")]
    pub connections: usize,
    /// Requests each node may have unanswered at most. Beyond 128 it also has no more than it lately answered in half
    /// of `request_ms`.
    #[serde(default = "default::in_flight")]
    pub in_flight: usize,
    /// Seconds of silence after which an echo is sent.
    #[serde(default = "default::echo_seconds")]
    pub echo_seconds: u64,
    /// Seconds the answer to an echo may take.
    #[serde(default = "default::echo_answer_seconds")]
    pub echo_answer_seconds: u64,
    /// Sign on before anything else is sent.
    #[serde(default = "default::sign_on")]
    pub sign_on: bool,
    /// Milliseconds a connection may take to be made.
    #[serde(default = "default::connect_ms")]
    pub connect_ms: u64,
    /// Milliseconds before the first try to connect again; doubled each time.
    #[serde(default = "default::reconnect_ms")]
    pub reconnect_ms: u64,
    /// Milliseconds up to which it is doubled.
    #[serde(default = "default::reconnect_max_ms")]
    pub reconnect_max_ms: u64,
    /// Trace numbers (DE 11) of this switch's requests.
    #[serde(default)]
    pub stan: StanRange,
    /// Elements that pair an answer with its request.
    #[serde(default = "default::match_fields")]
    pub match_fields: Vec<u8>,
    /// Response codes that approve.
    #[serde(default = "default::approved")]
    pub approved: Vec<String>,
    /// What the hosts' response codes mean to us. Those not named pass through as they are.
    #[serde(default, deserialize_with = "text::read_codes")]
    pub codes: BTreeMap<String, Reason>,
    /// Elements sent with every request.
    #[serde(default, deserialize_with = "text::read_fields")]
    pub fields: Vec<Fixed>,
    /// When a node is left alone for a while.
    #[serde(default)]
    pub breaker: Breaker,
    /// How changes of unknown outcome are reversed.
    #[serde(default)]
    pub reversals: Reversals,
    /// New zone keys.
    pub key_exchange: Option<HostKeyExchange>,
    /// The nodes, all of them active.
    #[serde(default, rename = "node")]
    pub nodes: Vec<HostNode>,
}

/// Trace numbers, the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StanRange {
    /// The first.
    pub first: u32,
    /// The last, which the first follows.
    pub last: u32,
}

impl Default for StanRange {
    fn default() -> Self {
        Self { first: 1, last: Stan::MAX.0 }
    }
}

/// `[[postilion.node]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostNode {
    /// Its name: in metrics, logs and `/status`.
    pub name: String,
    /// Where it listens.
    pub address: Address,
}

/// End of an element at which a PIN block sits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewPinSide {
    /// Its first bytes.
    #[default]
    First,
    /// Its last bytes.
    Last,
}

/// `[postilion.breaker]`
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Unanswered requests in a row that open it.
    pub failures: u32,
    /// Milliseconds it stays open.
    pub open_ms: u64,
    /// Share of unanswered requests in a window, above 0 and up to 1, at which a node is left to itself while another
    /// does better.
    pub eject_share: f64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, open_ms: 2000, eject_share: 0.5 }
    }
}

/// `[postilion.reversals]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reversals {
    /// Milliseconds before the first reversal is sent.
    pub first_ms: u64,
    /// Milliseconds before it is repeated; doubled each time.
    pub retry_ms: u64,
    /// Milliseconds up to which it is doubled.
    pub retry_max_ms: u64,
    /// Seconds after which a change that is still unsettled is an alarm.
    pub alarm_seconds: u64,
    /// Response codes to a reversal that mean: later.
    pub retry_codes: Vec<String>,
}

impl Default for Reversals {
    fn default() -> Self {
        Self {
            first_ms: 0,
            retry_ms: 1000,
            retry_max_ms: 60_000,
            alarm_seconds: 300,
            retry_codes: ["68", "90", "91", "96"].map(Into::into).into(),
        }
    }
}

/// `[postilion.key_exchange]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostKeyExchange {
    /// Name of the zone master key that new keys come under.
    pub zmk: String,
    /// Hours after which a new key is asked for; `None` for never.
    pub every_hours: Option<u32>,
    /// Seconds the old key is still accepted.
    #[serde(default = "grace_seconds")]
    pub grace_seconds: u64,
}

/// Defaults that serde names by path.
mod default {
    pub(super) fn dialect() -> String {
        "postilion".into()
    }
    pub(super) fn request_ms() -> u64 {
        3000
    }
    pub(super) fn connections() -> usize {
        2
    }
    pub(super) fn in_flight() -> usize {
        1024
    }
    pub(super) fn echo_seconds() -> u64 {
        30
    }
    pub(super) fn echo_answer_seconds() -> u64 {
        10
    }
    pub(super) fn sign_on() -> bool {
        true
    }
    pub(super) fn connect_ms() -> u64 {
        3000
    }
    pub(super) fn reconnect_ms() -> u64 {
        250
    }
    pub(super) fn reconnect_max_ms() -> u64 {
        10_000
    }
    pub(super) fn match_fields() -> Vec<u8> {
        vec![41, 11]
    }
    pub(super) fn approved() -> Vec<String> {
        vec!["00".into()]
    }
}
