//! What a client is told: devices, keys, the LMK's check value.
//!
//! **Never here:** the configuration file's own form (`ops::config`).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::hsm::key::CheckValue;
use crate::hsm::payshield::client::mux::{HEADER_MAX, PLACES_PER_COMMAND, Range};
use crate::hsm::payshield::client::token::{KeyKind, Token};
use crate::hsm::payshield::wire::Settings as WireSettings;
use crate::iso8583::Charset;
use crate::peer::breaker::BreakerRule;
use crate::tls::TlsConnector;

/// Devices and keys.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The devices. All have the same LMK.
    pub devices: Vec<DeviceSettings>,
    /// First three bytes of the check value that NC shows for that LMK.
    pub lmk_check_value: CheckValue,
    /// Firmware that a device may show in NC; any, where none is listed.
    pub firmware: Vec<Box<str>>,
    /// Characters of a PIN under a variant or TDES key block LMK: longest PIN plus one.
    pub pin_digits: usize,
    /// Time between two questions whether a device is well.
    pub health: Duration,
    /// Wait before the first reconnect; doubled, with jitter, for each further one.
    pub reconnect: Duration,
    /// The longest wait before a reconnect.
    pub reconnect_max: Duration,
    /// Decimalization tables as devices take them that want them encrypted: digits, and what is sent for them.
    pub tables: Vec<([u8; 16], TableToken)>,
    /// Where keys that partners changed are kept.
    pub state: Option<PathBuf>,
}

/// One device.
#[derive(Clone, Debug)]
pub struct DeviceSettings {
    /// Name in metrics, logs and `/status`.
    pub name: Arc<str>,
    /// Host and port.
    pub address: Box<str>,
    /// TLS towards it, where it speaks TLS.
    pub tls: Option<Arc<TlsConnector>>,
    /// `%nn`, where commands name their LMK.
    pub lmk: Option<u8>,
    /// Characters of a header.
    pub header: usize,
    /// What its host port is set to.
    pub charset: Charset,
    /// Connections to it.
    pub connections: usize,
    /// Commands under way on one connection.
    pub window: usize,
    /// Commands under way or waiting for a place, over all connections.
    pub in_flight: usize,
    /// Time a command has.
    pub timeout: Duration,
    /// Time to connect.
    pub connect_time: Duration,
    /// When it is left alone.
    pub breaker: BreakerRule,
}

impl DeviceSettings {
    /// What it shares with `wire`.
    pub(super) const fn wire(&self, pin_digits: usize) -> WireSettings {
        WireSettings { header: self.header, pin_digits, charset: self.charset }
    }

    /// Whether its headers are enough for its window.
    ///
    /// # Errors
    /// What to change.
    pub fn check_header(&self) -> Result<(), String> {
        if !(1..=HEADER_MAX).contains(&self.header) {
            return Err(format!("a header has 1 to {HEADER_MAX} characters"));
        }
        let span = Range::of(self.header, 0, self.connections).span();
        let wanted = (self.window * PLACES_PER_COMMAND).next_power_of_two() as u64;
        if wanted <= span {
            return Ok(());
        }
        Err(format!(
            "headers of {} characters give {span} numbers to each of {} connections, and a window \
             of {} needs {wanted}: lengthen the device's header, or lower window or connections",
            self.header, self.connections, self.window
        ))
    }
}

/// A decimalization table as a device takes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TableToken {
    /// Sixteen hex digits.
    Given([u8; 16]),
    /// `K` and three hex digits: in user storage.
    Stored([u8; 3]),
    /// `L` and sixteen bytes, under an AES LMK.
    Wide([u8; 16]),
}

impl fmt::Debug for TableToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableToken(****)")
    }
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// Name.
    pub name: Box<str>,
    /// What it is for.
    pub kind: KeyKind,
    /// The key under the LMK.
    pub token: Token,
    /// Its check value: BU must say the same.
    pub check_value: CheckValue,
}

/// The keys a client is told, and which of them it uses itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlan {
    /// All keys.
    pub keys: Vec<KeySettings>,
    /// A zone PIN key that only this switch knows: blocks pass through it where no command goes directly.
    pub transit_zpk: Option<Box<str>>,
    /// A PVK with which PINs that are kept under the LMK are held against the table of excluded PINs.
    pub policy_pvk: Option<Box<str>>,
}
