//! [`Settings`] of the nodes: what the configuration says, resolved to keys, dialects and numbers.
//!
//! **Never here:** the file it stood in (`ops::config`), how a message is laid out (`write`).

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::forward::Stan;
use crate::domain::outcome::{HostCode, Reason};
use crate::domain::request::Tag;
use crate::host::Zone;
use crate::host::session::Timers;
use crate::host::write::Form;
use crate::iso8583::frame::Framing;
use crate::iso8583::{Dialect, Rule};
use crate::peer::breaker::BreakerRule;

/// All nodes, and how one speaks to them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How bytes become messages.
    pub dialect: Arc<Dialect>,
    /// How the stream is cut into frames.
    pub framing: Framing,
    /// Key and layout of PIN blocks towards the nodes. Blocks of 8 bytes only: DE 52 holds no more.
    pub zone: Zone,
    /// Where in DE 53 the new PIN block stands.
    pub new_pin: Side,
    /// Acquiring institution (DE 32) of requests that name none; empty: none.
    pub institution: Tag,
    /// Forwarding institution (DE 33); empty: none.
    pub forwarding_institution: Tag,
    /// Terminal (DE 41) of requests that name none, at most 8 characters.
    pub terminal: Tag,
    /// How long an answer is waited for at most.
    pub request_time: Duration,
    /// Connections to each node.
    pub connections: usize,
    /// Requests one node may have in flight; fewer while it answers too few for that (`throughput`).
    pub in_flight: usize,
    /// Echo, answers to 0800, half frames, drain.
    pub timers: Timers,
    /// A connection signs on before it takes requests, and off before it closes.
    pub sign_on: bool,
    /// How long a connection may take to come up.
    pub connect_time: Duration,
    /// Wait before the first reconnect; doubled, with jitter, for each further one.
    pub reconnect: Duration,
    /// The longest wait before a reconnect.
    pub reconnect_max: Duration,
    /// Elements an answer is matched by, besides its class.
    pub match_fields: Vec<u8>,
    /// Codes that approve.
    pub approved: Vec<HostCode>,
    /// Codes that mean one of our reasons; others pass through.
    pub codes: Vec<(HostCode, Reason)>,
    /// Codes of a reversal's answer that mean: not now, send it again.
    pub retry_codes: Vec<HostCode>,
    /// Elements with a fixed content, where the request has none of its own.
    pub fields: Vec<Fixed>,
    /// When a node is left alone.
    pub breaker: BreakerRule,
    /// How often a new zone key is asked for; `None`: only by command.
    pub new_key_every: Option<Duration>,
    /// Trace numbers that requests of this switch have.
    pub stans: RangeInclusive<Stan>,
    /// The nodes, in the order of their [`crate::domain::forward::HostId`].
    pub nodes: Vec<NodeSettings>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its name: the `host` label of metrics and logs.
    pub name: Arc<str>,
    /// Host and port, looked up at each connect.
    pub address: Box<str>,
}

/// An end of DE 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first bytes.
    First,
    /// The last bytes.
    Last,
}

/// An element with a fixed content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Data element.
    pub field: u8,
    /// Sub-element of a composite one, as the 3 of `127.3`.
    pub sub: Option<u32>,
    /// Its content.
    pub text: Box<str>,
}

impl Fixed {
    /// The key it stands under.
    #[must_use]
    pub fn key(&self) -> String {
        match self.sub {
            Some(sub) => format!("{}.{sub}", self.field),
            None => self.field.to_string(),
        }
    }
}

impl Settings {
    /// Whether every message to a node can be written in the dialect.
    ///
    /// # Errors
    /// The first element that cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        Form::new(self).map(|_| ())
    }
}

/// Why no message can be written as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A key of the fixed elements is no element.
    #[error(
        "fields: `{key}` is no element; write a number from 2 to 128, or 127.3 for a sub-element"
    )]
    Key {
        /// The key.
        key: Box<str>,
    },
    /// An element that the switch fills itself.
    #[error("fields.{key}: the switch fills this element itself; take the line out")]
    Own {
        /// The key.
        key: Box<str>,
    },
    /// A fixed content that the dialect does not allow.
    #[error("fields.{key}: {rule}, in dialect `{dialect}`")]
    Fixed {
        /// The key.
        key: Box<str>,
        /// The rule it breaks.
        rule: Rule,
        /// The dialect.
        dialect: Box<str>,
    },
    /// The dialect cannot write an element every message needs.
    #[error(
        "dialect `{dialect}`: element {field} of the {message}: {rule}; choose another dialect"
    )]
    Element {
        /// The dialect.
        dialect: Box<str>,
        /// The message.
        message: &'static str,
        /// The element.
        field: u32,
        /// The rule it breaks.
        rule: Rule,
    },
    /// An answer cannot be matched by this element.
    #[error(
        "match_fields: the dialect `{dialect}` does not know element {field}; or it lacks DE 11"
    )]
    Match {
        /// The dialect.
        dialect: Box<str>,
        /// The element.
        field: u8,
    },
}
