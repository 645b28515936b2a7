//! How a request ends: approved with proof, or declined for a [`Reason`].
//!
//! The only place that knows what a reason means and whose fault it is. Turning one into a response code is
//! `link::codes`, into an HTTP body each door. **Never here:** a response code of any dialect.

/// The end of a request. `Proof` is the store's receipt: without one there is no approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<Proof> {
    /// Done and durable.
    Approved(Proof),
    /// Not done, and why.
    Declined(Declined),
}

impl<Proof> Outcome<Proof> {
    /// The reason of a decline.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Approved(_) => None,
            Self::Declined(declined) => Some(declined.reason),
        }
    }
}

/// Why a request was not done, and what the host said, where a host declined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declined {
    /// Why.
    pub reason: Reason,
    /// The host's own code, which passes through unchanged.
    pub host: Option<HostCode>,
}

impl From<Reason> for Declined {
    fn from(reason: Reason) -> Self {
        Self { reason, host: None }
    }
}

/// A host's response code as it came: two letters or digits (1987), three (1993) or four (2003).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostCode([u8; 4]);

impl HostCode {
    /// Takes a code from the wire. `None` for anything but two to four ASCII letters or digits.
    #[must_use]
    pub fn new(code: &[u8]) -> Option<Self> {
        let fits = (2..=4).contains(&code.len()) && code.iter().all(u8::is_ascii_alphanumeric);
        if !fits {
            return None;
        }
        let mut bytes = [0; 4];
        bytes[..code.len()].copy_from_slice(code);
        Some(Self(bytes))
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(4);
        std::str::from_utf8(&self.0[..len]).unwrap_or("")
    }

    /// The form stores keep: zero-filled on the right. All zero is no code.
    #[must_use]
    pub fn bytes(self) -> [u8; 4] {
        self.0
    }

    /// The code of a stored form, `None` where there is none.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        let len = bytes.iter().position(|b| *b == 0).unwrap_or(4);
        Self::new(&bytes[..len]).filter(|code| code.0 == bytes)
    }
}

impl std::fmt::Debug for HostCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose fault a decline is: it drives the log level and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller sent something we cannot or may not serve.
    Caller,
    /// A host beyond us.
    Host,
    /// We, our HSM or our store.
    Us,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $side:ident, $label:literal;)*) => {
        /// Why a request was not done. The number is what the journal stores: never reuse one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $name = $code,)* }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The number the journal stores.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            /// The reason of a stored number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// Whose fault it is.
            #[must_use]
            pub const fn side(self) -> Side {
                match self { $(Self::$name => Side::$side,)* }
            }

            /// A word for metrics, logs and configuration: lower case, underscores.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// A field breaks its rule, or one that the operation needs is missing.
    FormatError = 1, Caller, "format_error";
    /// No such operation here.
    NotSupported = 2, Caller, "not_supported";
    /// No card with this number and sequence.
    CardUnknown = 3, Caller, "card_unknown";
    /// No route to the institution.
    NoRoute = 4, Caller, "no_route";
    /// The current PIN is wrong.
    WrongPin = 5, Caller, "wrong_pin";
    /// All PIN tries are used up.
    TriesExceeded = 6, Caller, "tries_exceeded";
    /// The card has expired.
    CardExpired = 7, Caller, "card_expired";
    /// The card is blocked.
    CardBlocked = 8, Caller, "card_blocked";
    /// The card has not been activated.
    CardNotActivated = 9, Caller, "card_not_activated";
    /// The card is closed, or the account has no active card.
    CardClosed = 10, Caller, "card_closed";
    /// The card was reported lost.
    CardLost = 11, Caller, "card_lost";
    /// The card was reported stolen.
    CardStolen = 12, Caller, "card_stolen";
    /// The account's status, other than blocked, does not allow it.
    AccountStatus = 13, Caller, "account_status";
    /// The account's type does not allow it.
    AccountType = 14, Caller, "account_type";
    /// PINs of this card are suppressed.
    PinSuppressed = 15, Caller, "pin_suppressed";
    /// Not through this channel: a chip card through web or voice response, or an operation the link has no right to.
    ChannelNotAllowed = 16, Caller, "channel_not_allowed";
    /// Too many changes of this card's PIN today.
    TooManyChanges = 17, Caller, "too_many_changes";
    /// The new PIN is weak, has a length the product does not allow, or is the current one.
    NewPinUnacceptable = 18, Caller, "new_pin_unacceptable";
    /// A PIN block decrypts to no PIN.
    NoPinInBlock = 19, Caller, "no_pin_in_block";
    /// The key is unknown or out of step.
    KeyOutOfStep = 20, Us, "key_out_of_step";
    /// The message authentication code is wrong.
    MacWrong = 21, Caller, "mac_wrong";
    /// No HSM can do it now.
    HsmUnavailable = 22, Us, "hsm_unavailable";
    /// No usable host and nothing was sent; not signed on; shed because too much is in flight.
    Unavailable = 23, Us, "unavailable";
    /// Sent, and no answer: the outcome is unknown.
    OutcomeUnknown = 24, Host, "outcome_unknown";
    /// The same request is still in progress.
    InProgress = 25, Caller, "in_progress";
    /// Another request used this key before, or a reversal of it came first.
    Duplicate = 26, Caller, "duplicate";
    /// The original of a reversal is not found, or no longer the card's last change.
    OriginalNotFound = 27, Caller, "original_not_found";
    /// The store failed, or anything unexpected.
    SystemError = 28, Us, "system_error";
    /// A host declined it with a code that no other reason stands for.
    HostDeclined = 29, Host, "host_declined";
    /// It was to be forwarded, and not one byte of it was sent: the same request may be tried again.
    NotSent = 30, Us, "not_sent";
    /// The card has no PIN that can be revealed: its product keeps only what proves one.
    NotRecoverable = 31, Caller, "not_recoverable";
    /// The account is blocked.
    AccountBlocked = 32, Caller, "account_blocked";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_code_is_two_to_four_letters_or_digits() {
        for good in ["C0", "117", "1017"] {
            let code = HostCode::new(good.as_bytes()).unwrap();
            assert_eq!(code.as_str(), good);
            assert_eq!(HostCode::from_bytes(code.bytes()), Some(code));
        }
        for bad in ["", "0", "00000", "C-", "\0\0"] {
            assert_eq!(HostCode::new(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(HostCode::from_bytes([0; 4]), None);
        assert_eq!(HostCode::from_bytes(*b"0\x0000"), None);
    }

    #[test]
    fn numbers_and_labels_are_unique_and_come_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            let same_label = Reason::ALL.iter().filter(|r| r.label() == reason.label()).count();
            assert_eq!(same_label, 1, "{}", reason.label());
        }
        assert_eq!(Reason::from_code(0), None, "0 is an approval in the journal");
    }
}
