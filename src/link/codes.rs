//! Response codes of one dialect, from the `[responses]` section of its file.
//!
//! [`Codes::of`] is the only place where a [`Reason`] becomes what a terminal sees: a total match, so a new reason does
//! not compile until somebody decides.

use serde::Deserialize;

use crate::card::Receipt;
use crate::domain::outcome::{Outcome, Reason};

/// A response code as text: two characters (1987), three (1993) or four (2003).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code {
    bytes: [u8; 4],
    len: u8,
}

impl Code {
    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The text, for metrics and logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits = (2..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if !fits {
            return Err(serde::de::Error::custom("a response code has 2 to 4 letters or digits"));
        }
        let mut bytes = [0; 4];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "len <= 4")]
        let len = text.len() as u8;
        Ok(Self { bytes, len })
    }
}

/// One code a reason, and the approvals. Every key is required, none other is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    approved: Code,
    approved_network: Code,
    approved_reversal: Code,
    format_error: Code,
    not_supported: Code,
    card_unknown: Code,
    no_route: Code,
    wrong_pin: Code,
    tries_exceeded: Code,
    card_expired: Code,
    card_blocked: Code,
    card_not_activated: Code,
    card_closed: Code,
    card_lost: Code,
    card_stolen: Code,
    account_status: Code,
    account_type: Code,
    pin_suppressed: Code,
    channel_not_allowed: Code,
    too_many_changes: Code,
    new_pin_unacceptable: Code,
    no_pin_in_block: Code,
    key_out_of_step: Code,
    mac_wrong: Code,
    hsm_unavailable: Code,
    unavailable: Code,
    outcome_unknown: Code,
    in_progress: Code,
    duplicate: Code,
    original_not_found: Code,
    system_error: Code,
}

impl Codes {
    /// The code of a request's outcome. An approval needs its receipt.
    #[must_use]
    pub fn outcome(&self, outcome: &Outcome<Receipt>, reversal: bool) -> Code {
        match outcome {
            Outcome::Approved(_receipt) if reversal => self.approved_reversal,
            Outcome::Approved(_receipt) => self.approved,
            Outcome::Declined(reason) => self.of(*reason),
        }
    }

    /// The code of an accepted network-management message, which changes nothing and needs no receipt.
    #[must_use]
    pub fn network(&self) -> Code {
        self.approved_network
    }

    /// The code of a reason.
    #[must_use]
    pub fn of(&self, reason: Reason) -> Code {
        match reason {
            Reason::FormatError => self.format_error,
            Reason::NotSupported => self.not_supported,
            Reason::CardUnknown => self.card_unknown,
            Reason::NoRoute => self.no_route,
            Reason::WrongPin => self.wrong_pin,
            Reason::TriesExceeded => self.tries_exceeded,
            Reason::CardExpired => self.card_expired,
            Reason::CardBlocked => self.card_blocked,
            Reason::CardNotActivated => self.card_not_activated,
            Reason::CardClosed => self.card_closed,
            Reason::CardLost => self.card_lost,
            Reason::CardStolen => self.card_stolen,
            Reason::AccountStatus => self.account_status,
            Reason::AccountType => self.account_type,
            Reason::PinSuppressed => self.pin_suppressed,
            Reason::ChannelNotAllowed => self.channel_not_allowed,
            Reason::TooManyChanges => self.too_many_changes,
            Reason::NewPinUnacceptable => self.new_pin_unacceptable,
            Reason::NoPinInBlock => self.no_pin_in_block,
            Reason::KeyOutOfStep => self.key_out_of_step,
            Reason::MacWrong => self.mac_wrong,
            Reason::HsmUnavailable => self.hsm_unavailable,
            Reason::Unavailable => self.unavailable,
            Reason::OutcomeUnknown => self.outcome_unknown,
            Reason::InProgress => self.in_progress,
            Reason::Duplicate => self.duplicate,
            Reason::OriginalNotFound => self.original_not_found,
            Reason::SystemError => self.system_error,
        }
    }
}
