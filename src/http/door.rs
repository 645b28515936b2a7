//! What every door is made of: its endpoints, how it reads a request, how it words an answer.
//!
//! A door's file has only that door's shapes; all five are values of [`Shapes`]. **Never here:** who may ask
//! (`client`), the order of the checks (`request`), a code of any vendor.

use axum::http::Method;
use bytes::Bytes;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::forward::Details;
use crate::domain::outcome::Reason;
use crate::domain::request::{CardName, Channel, LinkId, Tag};
use crate::http::field::{Fault, Field, Problem, Unreadable, Values};
use crate::http::{equals, firstvision_apac, firstvision_latam, p100, postcard};
use crate::limits::LINKS_MAX;

const _: () = assert!(LINKS_MAX <= LinkId::FIRST_DOOR, "no link has the number of a door");

/// The five doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// Seed 000.
    FirstvisionLatam,
    /// Seed 001.
    FirstvisionApac,
    /// Seed 002.
    Postcard,
    /// Seed 003.
    P100,
    /// Seed 004.
    Equals,
}

impl Door {
    /// All of them, in the order of their seeds.
    pub const ALL: [Self; 5] =
        [Self::FirstvisionLatam, Self::FirstvisionApac, Self::Postcard, Self::P100, Self::Equals];

    /// Its name: in the configuration, in logs, as the label `link` of metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstvisionLatam => "firstvision-latam",
            Self::FirstvisionApac => "firstvision-apac",
            Self::Postcard => "postcard",
            Self::P100 => "p100",
            Self::Equals => "equals",
        }
    }

    /// The door of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|door| door.name() == name)
    }

    /// Its number among links and doors: after every link there can be, so that it never changes.
    #[must_use]
    pub fn link(self) -> LinkId {
        LinkId::of_door(self.name()).unwrap_or(LinkId(u16::MAX))
    }

    /// How its clients show who they are.
    #[must_use]
    pub const fn presentation(self) -> Presentation {
        match self {
            Self::FirstvisionLatam => Presentation::BearerAndApiKey,
            Self::FirstvisionApac | Self::Postcard => Presentation::Bearer,
            Self::P100 => Presentation::XApiKey,
            Self::Equals => Presentation::ApiKey,
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::FirstvisionLatam => 0,
            Self::FirstvisionApac => 1,
            Self::Postcard => 2,
            Self::P100 => 3,
            Self::Equals => 4,
        }
    }

    pub(super) fn shapes(self) -> &'static dyn Shapes {
        match self {
            Self::FirstvisionLatam => &firstvision_latam::Latam,
            Self::FirstvisionApac => &firstvision_apac::Apac,
            Self::Postcard => &postcard::Postcard,
            Self::P100 => &p100::P100,
            Self::Equals => &equals::Equals,
        }
    }
}

/// Where a request carries the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// `Authorization: ApiKey KEY`.
    ApiKey,
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// `Authorization: Bearer TOKEN` with `apikey` and `X-ClientID`.
    BearerAndApiKey,
    /// `x-api-key: KEY`.
    XApiKey,
}

/// What a request of a door asks for. What a client may ask for is a set of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// Replace the PIN: the current one proves the cardholder.
    Change,
    /// Replace the PIN without the current one.
    Set,
    /// Show the PIN.
    Reveal,
}

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// As the router has it: names in braces.
    pub(super) path: &'static str,
    /// What it is called in the documentation.
    pub(super) id: &'static str,
    /// One line of documentation.
    pub(super) summary: &'static str,
    /// What it may turn out to ask for.
    pub(super) asks: &'static [Asked],
    pub(super) path_fields: &'static [Field],
    pub(super) query: &'static [Field],
    /// `None` for a method without a body.
    pub(super) body: Option<&'static [Field]>,
    /// An answer of success.
    pub(super) sample: fn() -> Value,
}

/// A request, read as far as the tables of its endpoint go.
pub(super) struct Call<'a> {
    pub(super) endpoint: &'static Endpoint,
    pub(super) path: &'a Values,
    pub(super) query: &'a Values,
    pub(super) body: &'a Values,
    /// Whether this client's cards may be named by a token.
    pub(super) pan_tokens: bool,
}

/// What an answer repeats of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The path as it came.
    pub(super) path: &'a str,
    /// Thirty-two hex digits, the same in the log.
    pub(super) correlation: &'a str,
}

/// What a request asks for, before keys are known.
pub(super) struct Wanted {
    pub(super) operation: Asked,
    pub(super) card: CardName,
    pub(super) current: Option<PinInput>,
    pub(super) new: Option<PinInput>,
    pub(super) owner: OwnerInput,
    pub(super) wish: Option<bool>,
    pub(super) institution: Option<Tag>,
    pub(super) details: Details,
    pub(super) channel: Channel,
    /// For the audit.
    pub(super) memo: Option<String>,
    /// What the answer says beside success.
    pub(super) shown: Shown,
}

/// What a door remembers of a request for its answer.
#[derive(Clone, Default)]
pub(super) struct Shown {
    /// The card as the answer may name it.
    pub(super) card: Option<String>,
    /// The PIN is what was asked for.
    pub(super) reveals: bool,
}

/// A PIN as a request carries it.
pub(super) enum PinInput {
    /// A block under a zone key: that of the association, or the client's own.
    Block {
        /// Its bytes.
        block: Zeroizing<Vec<u8>>,
        /// Which key; blank for the client's own.
        association: Box<str>,
        /// The field that says so.
        field: &'static str,
    },
    /// Clear digits.
    Digits(Zeroizing<Vec<u8>>),
    /// None: one is to be drawn.
    Generate { digits: u8 },
    /// An RSA ciphertext.
    Rsa(Zeroizing<Vec<u8>>),
}

/// Whose card the request says it is.
#[derive(Default)]
pub(super) struct OwnerInput {
    pub(super) external_user: Option<Box<str>>,
    pub(super) account: Option<Box<str>>,
    pub(super) person: Option<Box<str>>,
    pub(super) organization: Option<u16>,
}

/// Why a request gets no success. The closed set that every door has an answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The credentials are not those of a client of this door.
    BadCredentials,
    /// The switch declined it.
    Declined(Reason),
    /// The body is empty where one is needed.
    Empty,
    /// Something broke in this request.
    Failed,
    /// The client has no right to it.
    Forbidden,
    /// The body's type is another one than JSON.
    MediaType,
    /// The body says no type.
    MediaTypeMissing,
    /// The path has no such method.
    Method,
    /// There are no credentials.
    NoCredentials,
    /// The organization is not one of the client's.
    Organization,
    /// Fields that are missing or wrong, at least one.
    Invalid(Vec<Problem>),
    /// The client asks too fast.
    RateLimited {
        /// Seconds after which it may ask again.
        seconds: u64,
    },
    /// Too much is in flight.
    Shed,
    /// The signature is missing or wrong.
    Signature,
    /// The body did not come in time.
    Slow,
    /// The body is too long.
    TooLarge,
    /// The body is no JSON object.
    Unreadable,
}

impl Refusal {
    /// One of each kind, and each reason: for the documentation and for tests.
    pub(super) fn samples() -> Vec<Self> {
        let others = [
            Self::BadCredentials,
            Self::Empty,
            Self::Failed,
            Self::Forbidden,
            Self::Invalid(vec![Problem { field: "Idempotency-Key", fault: Fault::Length }]),
            Self::MediaType,
            Self::MediaTypeMissing,
            Self::Method,
            Self::NoCredentials,
            Self::Organization,
            Self::RateLimited { seconds: 1 },
            Self::Shed,
            Self::Signature,
            Self::Slow,
            Self::TooLarge,
            Self::Unreadable,
        ];
        let reasons = Reason::ALL.iter().map(|reason| Self::Declined(*reason));
        others.into_iter().chain(reasons).collect()
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Empty => Self::Empty,
            Unreadable::NotAnObject => Self::Unreadable,
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

/// An answer: what goes to the client, in its door's shape.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Reply {
    /// From a JSON document without secrets.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into() }
    }

    /// `{"pin": "...", ...}`: the text is wiped when it has been sent.
    pub(super) fn with_pin(status: u16, before: &str, pin: &[u8], after: &str) -> Self {
        let mut text = Zeroizing::new(Vec::with_capacity(before.len() + pin.len() + after.len()));
        text.extend_from_slice(before.as_bytes());
        text.extend_from_slice(pin);
        text.extend_from_slice(after.as_bytes());
        Self { status, body: Bytes::from_owner(text) }
    }
}

/// One door's words.
pub(super) trait Shapes: Sync {
    /// Its endpoints.
    fn endpoints(&self) -> &'static [Endpoint];

    /// Whether its bodies must say that they are JSON.
    fn needs_media_type(&self) -> bool {
        false
    }

    /// Headers of the request that come back unchanged.
    fn echoed(&self) -> &'static [&'static str] {
        &[]
    }

    /// What the request asks for. Every field has been found to be as its table says.
    fn wanted(&self, call: &Call<'_>) -> Result<Wanted, Refusal>;

    /// The answer of success; `pin` is the one to be shown.
    fn approved(&self, about: About<'_>, shown: &Shown, pin: Option<&[u8]>) -> Reply;

    /// The answer to every refusal.
    fn refused(&self, about: About<'_>, refusal: &Refusal) -> Reply;
}

/// A PIN block of 16 hex digits from a body, where it is there. `field` says under which key it is.
pub(super) fn block(
    body: &Values,
    name: &'static str,
    field: &'static str,
) -> Result<Option<PinInput>, Refusal> {
    let association: Box<str> = body.text(field).unwrap_or_default().trim().into();
    let Some(hex) = body.text(name) else { return Ok(None) };
    match hex::decode(hex) {
        Ok(block) => Ok(Some(PinInput::Block { block: Zeroizing::new(block), association, field })),
        Err(_) => Err(Problem { field: name, fault: Fault::Characters }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        for (index, door) in Door::ALL.into_iter().enumerate() {
            assert_eq!(door.index(), index);
            assert_eq!(Door::named(door.name()), Some(door));
            assert_eq!(usize::from(door.link().0), LINKS_MAX + index);
            let read: Door = serde_json::from_value(door.name().into()).unwrap();
            assert_eq!(read, door);
        }
    }

    #[test]
    fn every_refusal_is_an_answer_of_every_door() {
        let about = About { path: "/v1/x", correlation: "5daa9a3f6ce9497d84c559aea9f924b3" };
        for door in Door::ALL {
            for refusal in Refusal::samples() {
                let reply = door.shapes().refused(about, &refusal);
                assert!((400..600).contains(&reply.status), "{door:?} {refusal:?}");
                let body: Value = serde_json::from_slice(&reply.body).unwrap();
                assert!(body.is_object() || body.is_array(), "{door:?} {refusal:?}");
            }
        }
    }
}
