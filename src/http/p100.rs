//! The door `p100`: `PATCH /v1/card/pin`, the shapes of seed 003. A PIN set, never a change.
//!
//! **Never here:** credentials, keys, the switch.

use axum::http::Method;
use serde_json::json;
use zeroize::Zeroizing;

use crate::domain::forward::Details;
use crate::domain::outcome::Reason;
use crate::domain::request::{CardName, Channel, IdentityKind};
use crate::http::door::{
    About, Asked, Call, Endpoint, OwnerInput, PinInput, Refusal, Reply, Shapes, Shown, Wanted,
};
use crate::http::field::{Chars, Field, Problem, Shape};

const UUID: Shape = Shape::Text { min: 1, max: 36, of: Chars::Any };

const BODY: &[Field] = &[
    Field::required("externalUserId", UUID, "The card's owner, by the partner's id."),
    Field::required("cardId", UUID, "The card."),
    Field::required(
        "pin",
        Shape::Text { min: 4, max: 4, of: Chars::Digits },
        "New PIN, four digits.",
    ),
];

const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::PATCH,
    path: "/v1/card/pin",
    id: "p100UpdateCardPin",
    summary: "P100: set the PIN of a virtual card",
    asks: &[Asked::Set],
    path_fields: &[],
    query: &[],
    body: Some(BODY),
    sample: || json!({ "message": "Card pin updated successfully" }),
}];

/// The door.
pub(super) struct P100;

impl Shapes for P100 {
    fn endpoints(&self) -> &'static [Endpoint] {
        ENDPOINTS
    }

    fn wanted(&self, call: &Call<'_>) -> Result<Wanted, Refusal> {
        let text = |name| call.body.text(name).unwrap_or_default();
        let digits = Zeroizing::new(text("pin").as_bytes().to_vec());
        Ok(Wanted {
            operation: Asked::Set,
            card: CardName::Identity { kind: IdentityKind::CardId, value: text("cardId").into() },
            current: None,
            new: Some(PinInput::Digits(digits)),
            owner: OwnerInput {
                external_user: Some(text("externalUserId").into()),
                ..OwnerInput::default()
            },
            wish: None,
            institution: None,
            details: Details::default(),
            channel: Channel::Web,
            memo: None,
            shown: Shown::default(),
        })
    }

    fn approved(&self, _: About<'_>, _: &Shown, _: Option<&[u8]>) -> Reply {
        Reply::json(200, &json!({ "message": "Card pin updated successfully" }))
    }

    fn refused(&self, _: About<'_>, refusal: &Refusal) -> Reply {
        let Error(status, code, message) = error(refusal);
        let message = match refusal {
            Refusal::Invalid(problems) => {
                let line = |p: &Problem| format!("{} {}", p.field, p.fault.text());
                let lines: Vec<_> = problems.iter().map(line).collect();
                format!("{message}: {}", lines.join(", "))
            }
            _ => message.to_owned(),
        };
        Reply::json(status, &json!({ "code": code, "message": message }))
    }
}

/// Status, code and message.
#[derive(Clone, Copy)]
struct Error(u16, &'static str, &'static str);

const NO_CARD: Error = Error(400, "P434", "Card not exist");
const UNKNOWN: Error = Error(400, "P500", "Unknown exception");
const UNAVAILABLE: Error = Error(400, "P501", "Service temporarily unavailable");

const fn error(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Declined(reason) => declined(*reason),
        Refusal::Empty | Refusal::Unreadable => Error(400, "P403", "Validation error: not JSON"),
        Refusal::Invalid(_) => Error(400, "P403", "Validation error"),
        Refusal::NoCredentials
        | Refusal::BadCredentials
        | Refusal::Forbidden
        | Refusal::Signature => Error(401, "P401", "Access Denied"),
        Refusal::Organization => NO_CARD,
        Refusal::Method => Error(405, "P403", "Validation error: method not allowed"),
        Refusal::Slow => Error(408, "P403", "Validation error: body did not come in time"),
        Refusal::TooLarge => Error(413, "P403", "Validation error: body is too long"),
        Refusal::MediaType | Refusal::MediaTypeMissing => {
            Error(415, "P403", "Validation error: body must be application/json")
        }
        Refusal::RateLimited { .. } => Error(429, "P501", "Too many requests"),
        Refusal::Failed => UNKNOWN,
        Refusal::Shed => UNAVAILABLE,
    }
}

/// The vendor's code of a decline.
const fn declined(reason: Reason) -> Error {
    match reason {
        // Nobody's card and somebody else's have one answer.
        Reason::CardUnknown => NO_CARD,
        Reason::NewPinUnacceptable => Error(400, "P403", "Validation error: PIN is not acceptable"),
        Reason::CardExpired
        | Reason::CardBlocked
        | Reason::CardNotActivated
        | Reason::CardClosed
        | Reason::CardLost
        | Reason::CardStolen
        | Reason::AccountBlocked
        | Reason::AccountStatus
        | Reason::AccountType
        | Reason::PinSuppressed => {
            Error(400, "P403", "Validation error: the card's status does not allow it")
        }
        Reason::ChannelNotAllowed
        | Reason::FormatError
        | Reason::NoPinInBlock
        | Reason::NoRoute
        | Reason::NotRecoverable
        | Reason::NotSupported
        | Reason::TooManyChanges
        | Reason::TriesExceeded
        | Reason::WrongPin => Error(400, "P403", "Validation error: not allowed for this card"),
        Reason::Duplicate | Reason::OriginalNotFound => {
            Error(422, "P403", "Validation error: Idempotency-Key was used with another request")
        }
        Reason::InProgress => Error(409, "P501", "The same request is in progress"),
        Reason::MacWrong => Error(401, "P401", "Access Denied"),
        Reason::HsmUnavailable | Reason::NotSent | Reason::Unavailable => UNAVAILABLE,
        Reason::HostDeclined
        | Reason::KeyOutOfStep
        | Reason::OutcomeUnknown
        | Reason::SystemError => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field::Values;

    #[test]
    fn the_seeds_sample() {
        let body = r#"{"externalUserId":"985f38c8-9a33-423b-86be-86a5997feaa9",
            "cardId":"9eefa38e-6db4-40de-bc1b-719cd9d2cf05","pin":"1234"}"#;
        let body = Values::of_json(BODY, body.as_bytes()).unwrap();
        assert_eq!(body.problems(), []);
        let none = Values::default();
        let endpoint = &ENDPOINTS[0];
        let call = Call { endpoint, path: &none, query: &none, body: &body, pan_tokens: true };
        let wanted = P100.wanted(&call).map_err(|r| format!("{r:?}")).unwrap();
        let owner = wanted.owner.external_user.unwrap();
        assert_eq!(&*owner, "985f38c8-9a33-423b-86be-86a5997feaa9");
        let Some(PinInput::Digits(digits)) = wanted.new else { panic!("digits") };
        assert_eq!(digits.as_slice(), b"1234");
    }

    #[test]
    fn an_error_never_repeats_the_pin() {
        for pin in ["12a4", "12345", "123"] {
            let body = format!(r#"{{"externalUserId":"a","cardId":"b","pin":"{pin}"}}"#);
            let body = Values::of_json(BODY, body.as_bytes()).unwrap();
            let refusal = Refusal::Invalid(body.problems().to_vec());
            let reply = P100.refused(About { path: "/", correlation: "" }, &refusal);
            let text = std::str::from_utf8(&reply.body).unwrap();
            assert!(text.contains("P403") && text.contains("pin has a") && !text.contains(pin));
        }
    }
}
