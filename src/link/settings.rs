//! [`Settings`] of one link: what the configuration says, resolved to keys, dialects and numbers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::pin::{BlockFormat, KeyId};
use crate::domain::request::{Channel, LinkId, Rights, Tag};
use crate::iso8583::Dialect;
use crate::iso8583::frame::Framing;
use crate::link::codes::Codes;
use crate::link::ksn::KsnPlace;
use crate::link::map::PinMap;
use crate::link::session::Timers;
use crate::link::wish::Wish;
use crate::tls::Tls;

/// One configured listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its number in the tables made at start.
    pub id: LinkId,
    /// Its name: the `link` label of metrics and logs.
    pub name: Arc<str>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// How bytes become messages.
    pub dialect: Arc<Dialect>,
    /// What messages mean.
    pub map: Arc<PinMap>,
    /// What outcomes are called.
    pub codes: Arc<Codes>,
    /// How the stream is cut into frames.
    pub framing: Framing,
    /// What its PIN blocks are under.
    pub pin_key: PinKey,
    /// Layout of its PIN blocks.
    pub pin_block_format: BlockFormat,
    /// Where its cardholders stand.
    pub channel: Channel,
    /// What it may ask.
    pub rights: Rights,
    /// Institution of requests that carry no DE 32.
    pub institution: Tag,
    /// Where the wish of its requests comes from.
    pub wish: Wish,
    /// Message authentication, where it is configured.
    pub mac: Option<MacRule>,
    /// How its peer may change the zone key, where it may.
    pub key_exchange: Option<KeyExchange>,
    /// Requests it may have in flight.
    pub in_flight_max: usize,
    /// Connections it may hold.
    pub connections_max: usize,
    /// Idle and half-frame time-outs.
    pub timers: Timers,
    /// How long a caller waits for an answer.
    pub request_time: Duration,
    /// Requests are refused until a sign-on.
    pub require_sign_on: bool,
    /// Addresses that may connect; empty allows all.
    pub allow: Vec<ipnet::IpNet>,
    /// TLS, where it is configured.
    pub tls: Option<Arc<Tls>>,
    /// A request slower than this is logged with its stages.
    pub slow_request: Duration,
}

/// What the PIN blocks of a link are under.
#[derive(Clone, Debug)]
pub enum PinKey {
    /// Keys of DUKPT terminals, one a transaction.
    Derived {
        /// Their base derivation key.
        bdk: KeyId,
        /// Where a message has the serial number.
        ksn: KsnPlace,
        /// Where it has that of the new PIN's block, if it is another one.
        new_ksn: Option<KsnPlace>,
    },
    /// One zone key.
    Zone(KeyId),
}

/// Message authentication of a link.
#[derive(Clone, Copy, Debug)]
pub struct MacRule {
    /// The key.
    pub key: KeyId,
    /// A request without a MAC is refused.
    pub required: bool,
    /// Leftmost bytes that count, 4 to 8; the rest of the field is zero.
    pub bytes: usize,
}

/// Exchange of a link's zone key at run time.
#[derive(Clone, Copy, Debug)]
pub struct KeyExchange {
    /// The zone master key new keys come under.
    pub zmk: KeyId,
    /// How long the key before is accepted as well.
    pub grace: Duration,
}

impl Timers {
    /// From seconds, as configured.
    #[must_use]
    pub fn from_seconds(idle: u64, frame: u64) -> Self {
        Self { idle: Duration::from_secs(idle), frame: Duration::from_secs(frame) }
    }
}
