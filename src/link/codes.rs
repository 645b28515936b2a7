//! Response codes of one dialect, from the `[responses]` section of its file.
//!
//! [`Codes::of`] is the only place where a [`Reason`] becomes what a terminal sees: a total match, so a new reason does
//! not compile until somebody decides.

use crate::card::Receipt;
use crate::domain::outcome::{Declined, HostCode, Outcome, Reason};
use crate::iso8583::{Dialect, Item, SpecError};

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

impl Code {
    fn of_host(host: HostCode) -> Self {
        let text = host.as_str().as_bytes();
        let len = u8::try_from(text.len()).unwrap_or(0);
        Self { bytes: host.bytes(), len }
    }

    fn read(section: &Item, key: &str) -> Result<Self, SpecError> {
        let item = section.get(key).ok_or_else(|| section.error(key, "is missing"))?;
        let text = item.as_str().unwrap_or_default().as_bytes();
        let fits = (2..=4).contains(&text.len()) && text.iter().all(u8::is_ascii_alphanumeric);
        if !fits {
            return Err(item.error(key, "a response code has 2 to 4 letters or digits"));
        }
        let mut bytes = [0; 4];
        bytes[..text.len()].copy_from_slice(text);
        #[expect(clippy::cast_possible_truncation, reason = "len <= 4")]
        let len = text.len() as u8;
        Ok(Self { bytes, len })
    }
}

const KEYS: &[&str] = &[
    "approved",
    "approved_network",
    "approved_reversal",
    "format_error",
    "not_supported",
    "card_unknown",
    "no_route",
    "wrong_pin",
    "tries_exceeded",
    "card_expired",
    "card_blocked",
    "card_not_activated",
    "card_closed",
    "card_lost",
    "card_stolen",
    "account_blocked",
    "account_status",
    "account_type",
    "pin_suppressed",
    "channel_not_allowed",
    "too_many_changes",
    "new_pin_unacceptable",
    "no_pin_in_block",
    "key_out_of_step",
    "mac_wrong",
    "hsm_unavailable",
    "unavailable",
    "outcome_unknown",
    "in_progress",
    "duplicate",
    "original_not_found",
    "system_error",
    "host_declined",
    "not_recoverable",
];

/// One code a reason, and the approvals. Every key is required, none other is known.
#[derive(Clone, Debug)]
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
    account_blocked: Code,
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
    host_declined: Code,
    not_recoverable: Code,
}

impl Codes {
    /// Reads the `[responses]` section of a dialect.
    ///
    /// # Errors
    /// [`SpecError`] names the file, the line and the key.
    pub fn of_dialect(dialect: &Dialect) -> Result<Self, SpecError> {
        let section = super::map::section(dialect, "responses")?;
        let read = |key: &str| Code::read(section, key);
        let codes = Self {
            approved: read("approved")?,
            approved_network: read("approved_network")?,
            approved_reversal: read("approved_reversal")?,
            format_error: read("format_error")?,
            not_supported: read("not_supported")?,
            card_unknown: read("card_unknown")?,
            no_route: read("no_route")?,
            wrong_pin: read("wrong_pin")?,
            tries_exceeded: read("tries_exceeded")?,
            card_expired: read("card_expired")?,
            card_blocked: read("card_blocked")?,
            card_not_activated: read("card_not_activated")?,
            card_closed: read("card_closed")?,
            card_lost: read("card_lost")?,
            card_stolen: read("card_stolen")?,
            account_blocked: read("account_blocked")?,
            account_status: read("account_status")?,
            account_type: read("account_type")?,
            pin_suppressed: read("pin_suppressed")?,
            channel_not_allowed: read("channel_not_allowed")?,
            too_many_changes: read("too_many_changes")?,
            new_pin_unacceptable: read("new_pin_unacceptable")?,
            no_pin_in_block: read("no_pin_in_block")?,
            key_out_of_step: read("key_out_of_step")?,
            mac_wrong: read("mac_wrong")?,
            hsm_unavailable: read("hsm_unavailable")?,
            unavailable: read("unavailable")?,
            outcome_unknown: read("outcome_unknown")?,
            in_progress: read("in_progress")?,
            duplicate: read("duplicate")?,
            original_not_found: read("original_not_found")?,
            system_error: read("system_error")?,
            host_declined: read("host_declined")?,
            not_recoverable: read("not_recoverable")?,
        };
        super::map::only_known(section, KEYS)?;
        Ok(codes)
    }

    /// The code of a request's outcome. An approval needs its receipt.
    #[must_use]
    pub fn outcome(&self, outcome: &Outcome<Receipt>, reversal: bool) -> Code {
        match outcome {
            //= spec/pin-change.md#6.1
            //# An approval of a request MUST have a receipt, and only a store makes one, after its
            //# commit is durable.
            Outcome::Approved(_receipt) if reversal => self.approved_reversal,
            Outcome::Approved(_receipt) => self.approved,
            Outcome::Declined(declined) => self.declined(*declined),
        }
    }

    /// The code of a decline: the host's own where there is one and this dialect's codes have its form.
    #[must_use]
    pub fn declined(&self, declined: Declined) -> Code {
        match declined.host {
            //= spec/pin-change.md#6.3
            //# The code of a host that declined a forwarded request MUST be passed on unchanged
            //# where the caller's dialect has codes of that length.
            Some(host) if host.as_str().len() == usize::from(self.approved.len) => {
                Code::of_host(host)
            }
            Some(_) | None => self.of(declined.reason),
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
            //= spec/pin-change.md#6.2
            //# Every reason of a decline MUST have exactly one response code in each dialect.
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
            Reason::AccountBlocked => self.account_blocked,
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
            Reason::NotSent | Reason::Unavailable => self.unavailable,
            Reason::OutcomeUnknown => self.outcome_unknown,
            Reason::InProgress => self.in_progress,
            Reason::Duplicate => self.duplicate,
            Reason::OriginalNotFound => self.original_not_found,
            Reason::SystemError => self.system_error,
            Reason::HostDeclined => self.host_declined,
            Reason::NotRecoverable => self.not_recoverable,
        }
    }
}
