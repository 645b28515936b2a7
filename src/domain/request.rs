//! [`PinRequest`]: what every link and every door turns its message into.
//!
//! Parsed once at the edge; inside, no `Option` that "should be there" is left unexplained.

use std::fmt;

use crate::domain::chip::Chip;
use crate::domain::clock::Now;
use crate::domain::forward::Details;
use crate::domain::memo::Memo;
use crate::domain::owner::Owner;
use crate::domain::pan::Pan;
use crate::domain::pin::{NewPin, PresentedPin};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Replace the PIN: the current one proves the cardholder.
    Change = 1,
    /// Undo a change ([`PinRequest::original`]).
    Reverse = 2,
    /// Reset the try counter.
    Unblock = 3,
    /// Tell whether the current PIN is right.
    Verify = 4,
    /// Replace the PIN without the current one: whoever asks answers for the cardholder.
    Set = 5,
    /// Show the PIN to its owner.
    Reveal = 6,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Change, Self::Reverse, Self::Unblock, Self::Verify, Self::Set, Self::Reveal];

    /// A word for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Reverse => "reverse",
            Self::Unblock => "unblock",
            Self::Verify => "verify",
            Self::Set => "set",
            Self::Reveal => "reveal",
        }
    }

    /// The number the journal stores.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Change => 1,
            Self::Reverse => 2,
            Self::Unblock => 3,
            Self::Verify => 4,
            Self::Set => 5,
            Self::Reveal => 6,
        }
    }

    /// The operation of a stored number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Change),
            2 => Some(Self::Reverse),
            3 => Some(Self::Unblock),
            4 => Some(Self::Verify),
            5 => Some(Self::Set),
            6 => Some(Self::Reveal),
            _ => None,
        }
    }
}

/// Where the cardholder stands, one letter as the vendors' APIs have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
pub enum Channel {
    /// Automated teller machine.
    #[serde(rename = "A")]
    Atm,
    /// Issuing bank.
    #[serde(rename = "B")]
    Bank,
    /// Call centre.
    #[serde(rename = "C")]
    CallCentre,
    /// Fraud desk.
    #[serde(rename = "F")]
    FraudDesk,
    /// Interactive voice response, the VCR of the first documents.
    #[serde(rename = "I")]
    VoiceResponse,
    /// Web.
    #[serde(rename = "W")]
    Web,
}

impl Channel {
    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Atm => b'A',
            Self::Bank => b'B',
            Self::CallCentre => b'C',
            Self::FraudDesk => b'F',
            Self::VoiceResponse => b'I',
            Self::Web => b'W',
        }
    }

    /// Whether a chip card can take an issuer script there: an ATM and a branch can, a voice and a web page cannot.
    #[must_use]
    pub const fn reaches_the_chip(self) -> bool {
        match self {
            Self::Atm | Self::Bank => true,
            Self::CallCentre | Self::FraudDesk | Self::VoiceResponse | Self::Web => false,
        }
    }
}

/// The key of a request: the same key twice is one request (design.md, "Transaction key").
///
/// Two halves of eight bytes: a hash over institution, trace number and terminal, and one over the other elements that
/// identify a transaction (`link::identify`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionKey(pub [u8; 16]);

impl fmt::Debug for TransactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionKey({})", self.text())
    }
}

impl TransactionKey {
    /// Whether both name the same institution, trace number and terminal, whatever else differs.
    #[must_use]
    pub fn same_trace(&self, other: &Self) -> bool {
        self.0[..8] == other.0[..8]
    }

    /// Thirty-two hex digits: the correlation id of logs, journal and traces. It reveals nothing of the card.
    #[must_use]
    pub fn text(&self) -> impl fmt::Display + '_ {
        struct Text<'a>(&'a [u8; 16]);
        impl fmt::Display for Text<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
        Text(&self.0)
    }
}

/// Which card a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardName {
    /// By number, and by sequence number (DE 23) where several cards share one.
    Pan {
        /// The number.
        pan: Pan,
        /// DE 23, 0 to 999.
        sequence: Option<u16>,
    },
    /// By another identity of the card's record.
    Identity {
        /// Which one.
        kind: IdentityKind,
        /// Its value.
        value: Box<str>,
    },
}

/// Identities of a card beside its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum IdentityKind {
    /// A card id given by the issuer's platform.
    CardId = 1,
    /// A token that stands for the number.
    PanToken = 2,
    /// A payment-instrument id.
    PaymentInstrument = 3,
}

/// A short text of the wire: at most `N` printable ASCII bytes, the rest cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// A text kept for journal and logs.
pub type Tag = Text<16>;

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Text<N> {
    /// Keeps what is printable; other bytes become `.`.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        const { assert!(N <= u8::MAX as usize, "the length is one byte") };
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(text) {
            *to = if from.is_ascii_graphic() || *from == b' ' { *from } else { b'.' };
        }
        let len = u8::try_from(text.len().min(N)).unwrap_or(0);
        Self { bytes, len }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What the far end calls this transaction: for journal, logs and `/status`, never for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Trace {
    /// DE 11.
    pub stan: Tag,
    /// DE 37.
    pub rrn: Tag,
    /// DE 41.
    pub terminal: Tag,
}

/// Rights of the link or client a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one flag an operation")]
pub struct Rights {
    /// PIN change.
    pub change: bool,
    /// Reversal of its own changes.
    pub reverse: bool,
    /// Reset of the try counter.
    pub unblock: bool,
    /// PIN verification.
    pub verify: bool,
    /// Setting a PIN without the current one.
    pub set: bool,
    /// Showing a PIN.
    pub reveal: bool,
}

impl Rights {
    /// Whether `operation` is among them.
    #[must_use]
    pub const fn allow(self, operation: Operation) -> bool {
        match operation {
            Operation::Change => self.change,
            Operation::Reverse => self.reverse,
            Operation::Unblock => self.unblock,
            Operation::Verify => self.verify,
            Operation::Set => self.set,
            Operation::Reveal => self.reveal,
        }
    }
}

/// Number of a link or door: an index into the tables made at start (metrics handles, names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(pub u16);

impl LinkId {
    /// Number of the first HTTP door: doors follow every link there can be.
    pub const FIRST_DOOR: usize = 256;
    /// Names of the doors, in the order of their numbers.
    pub const DOORS: [&str; 5] =
        ["firstvision-latam", "firstvision-apac", "postcard", "p100", "equals"];

    /// The number of the door of that name.
    #[must_use]
    pub fn of_door(name: &str) -> Option<Self> {
        let place = Self::DOORS.iter().position(|door| *door == name)?;
        u16::try_from(Self::FIRST_DOOR + place).ok().map(Self)
    }

    /// The name, where it is the number of a door.
    #[must_use]
    pub fn door(self) -> Option<&'static str> {
        Self::DOORS.get(usize::from(self.0).checked_sub(Self::FIRST_DOOR)?).copied()
    }
}

/// One request, as every link and door hands it to `switch::handle`.
#[derive(Clone, Debug)]
pub struct PinRequest {
    /// Its key.
    pub key: TransactionKey,
    /// What is asked.
    pub operation: Operation,
    /// For whom.
    pub card: CardName,
    /// What the card's record must agree with beside its name; `None` asks for nothing.
    pub owner: Option<Box<Owner>>,
    /// The current PIN, where the operation needs one.
    pub current: Option<PresentedPin>,
    /// The new PIN, where the operation needs one.
    pub new: Option<NewPin>,
    /// Tells a repeat from another request under the same key: eight bytes of a digest over an HTTP body. `None`: the
    /// card and the operation tell.
    pub fingerprint: Option<u64>,
    /// What the card's chip says, where it could take an issuer script.
    pub chip: Option<Chip>,
    /// What the sender wants to stand in the audit.
    pub memo: Option<Memo>,
    /// For a reversal, the key of the change to undo.
    pub original: Option<TransactionKey>,
    /// The wish of an active-active request: `true` Postilion, `false` CMS.
    pub wish: Option<bool>,
    /// Receiving institution (DE 100, `rid`), digits.
    pub institution: Option<Tag>,
    /// What a host beyond us is told of the request besides.
    pub details: Details,
    /// Where the cardholder stands.
    pub channel: Channel,
    /// Which link or door it came by.
    pub link: LinkId,
    /// What that link may ask.
    pub rights: Rights,
    /// Names of the far end.
    pub trace: Trace,
    /// When the frame had been read.
    pub arrived: Now,
    /// When the caller stops waiting. Work past it is not started.
    pub deadline: Now,
}
