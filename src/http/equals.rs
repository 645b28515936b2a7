//! The door `equals`: `GET` and `PUT /v2/cards/{cardId}/pin`, the shapes of seed 004.
//!
//! **Never here:** credentials, keys, the switch.

use axum::http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::domain::forward::Details;
use crate::domain::outcome::Reason;
use crate::domain::request::{CardName, Channel, IdentityKind};
use crate::http::door::{
    About, Asked, Call, Endpoint, OwnerInput, PinInput, Refusal, Reply, Shapes, Shown, Wanted,
};
use crate::http::field::{Chars, Field, Problem, Shape};

const ID: Shape = Shape::Text { min: 1, max: 36, of: Chars::Any };
/// Digits of a PIN that is drawn.
const DIGITS: u8 = 4;

const PATH: &[Field] = &[Field::required("cardId", ID, "The card.")];

const ACCOUNT: Field = Field::required("accountId", ID, "The account the card belongs to.");
const PERSON: Field = Field::required("personId", ID, "The person the card belongs to.");

const GET_QUERY: &[Field] = &[
    ACCOUNT,
    PERSON,
    Field::required(
        "cardholderVerificationMethod",
        Shape::OneOf(&["BIOMETRIC_FACE", "BIOMETRIC_FINGERPRINT", "LOGIN"]),
        "How the cardholder proved who they are; kept in the audit.",
    ),
];

const PUT_QUERY: &[Field] = &[ACCOUNT, PERSON];

const BODY: &[Field] = &[Field::optional(
    "pin",
    Shape::Text { min: 4, max: 4, of: Chars::Digits },
    "New PIN, four digits. Without it one is drawn and comes back.",
)];

const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/v2/cards/{cardId}/pin",
        id: "equalsRetrievePin",
        summary: "Equals: show the PIN of a card to its owner",
        asks: &[Asked::Reveal],
        path_fields: PATH,
        query: GET_QUERY,
        body: None,
        sample: || json!({ "pin": "7268" }),
    },
    Endpoint {
        method: Method::PUT,
        path: "/v2/cards/{cardId}/pin",
        id: "equalsUpdatePin",
        summary: "Equals: set the PIN of a card, or have one drawn",
        asks: &[Asked::Set],
        path_fields: PATH,
        query: PUT_QUERY,
        body: Some(BODY),
        sample: || json!({ "success": true }),
    },
];

/// The door.
pub(super) struct Equals;

impl Shapes for Equals {
    fn endpoints(&self) -> &'static [Endpoint] {
        ENDPOINTS
    }

    fn wanted(&self, call: &Call<'_>) -> Result<Wanted, Refusal> {
        let reveals = call.endpoint.method == Method::GET;
        let digits = |text: &str| PinInput::Digits(Zeroizing::new(text.as_bytes().to_vec()));
        let new = call.body.text("pin").map_or(PinInput::Generate { digits: DIGITS }, digits);
        let id = call.path.text("cardId").unwrap_or_default();
        let owner = |name| call.query.text(name).map(Into::into);
        Ok(Wanted {
            operation: if reveals { Asked::Reveal } else { Asked::Set },
            card: CardName::Identity { kind: IdentityKind::CardId, value: id.into() },
            current: None,
            new: (!reveals).then_some(new),
            owner: OwnerInput {
                account: owner("accountId"),
                person: owner("personId"),
                ..OwnerInput::default()
            },
            wish: None,
            institution: None,
            details: Details::default(),
            channel: Channel::Web,
            memo: call.query.text("cardholderVerificationMethod").map(str::to_owned),
            shown: Shown { reveals, ..Shown::default() },
        })
    }

    fn approved(&self, _: About<'_>, shown: &Shown, pin: Option<&[u8]>) -> Reply {
        match pin {
            Some(pin) if shown.reveals => Reply::with_pin(200, r#"{"pin":""#, pin, r#""}"#),
            Some(pin) => Reply::with_pin(200, r#"{"success":true,"pin":""#, pin, r#""}"#),
            None => Reply::json(200, &json!({ "success": true })),
        }
    }

    fn refused(&self, _: About<'_>, refusal: &Refusal) -> Reply {
        let Error(status, code, message) = error(refusal);
        let mut body = json!({ "code": code, "message": message });
        if let Refusal::Invalid(problems) = refusal {
            let line = |p: &Problem| json!({ "field": p.field, "message": p.fault.text() });
            body["errors"] = Value::Array(problems.iter().map(line).collect());
        }
        Reply::json(status, &body)
    }
}

/// Status, code and message. The vendor publishes statuses only; the codes are ours.
#[derive(Clone, Copy)]
struct Error(u16, &'static str, &'static str);

const NOT_FOUND: Error = Error(404, "CARD_NOT_FOUND", "Card not found");

const fn error(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Declined(reason) => declined(*reason),
        Refusal::Empty | Refusal::Unreadable => Error(400, "NOT_JSON", "Body is not JSON"),
        Refusal::Invalid(_) => Error(400, "VALIDATION_ERROR", "Validation error"),
        Refusal::NoCredentials => Error(401, "UNAUTHORIZED", "API key is missing"),
        Refusal::Signature => Error(401, "UNAUTHORIZED", "Signature is missing or wrong"),
        Refusal::BadCredentials => Error(403, "FORBIDDEN", "API key is not valid"),
        Refusal::Forbidden => Error(403, "FORBIDDEN", "Not allowed for this API key"),
        Refusal::Organization => NOT_FOUND,
        Refusal::Method => Error(405, "METHOD_NOT_ALLOWED", "Method not allowed"),
        Refusal::Slow => Error(408, "TIMEOUT", "Body did not come in time"),
        Refusal::TooLarge => Error(413, "TOO_LARGE", "Body is too long"),
        Refusal::MediaType | Refusal::MediaTypeMissing => {
            Error(415, "MEDIA_TYPE", "Body must be application/json")
        }
        Refusal::RateLimited { .. } => Error(429, "TOO_MANY_REQUESTS", "Too many requests"),
        Refusal::Failed => Error(500, "INTERNAL_ERROR", "Internal error"),
        Refusal::Shed => Error(503, "UNAVAILABLE", "Service unavailable"),
    }
}

/// Status and code of a decline.
const fn declined(reason: Reason) -> Error {
    match reason {
        // Nobody's card and somebody else's have one answer.
        Reason::CardUnknown => NOT_FOUND,
        Reason::NewPinUnacceptable => Error(422, "PIN_NOT_ACCEPTABLE", "PIN is not acceptable"),
        Reason::CardExpired
        | Reason::CardBlocked
        | Reason::CardNotActivated
        | Reason::CardClosed
        | Reason::CardLost
        | Reason::CardStolen
        | Reason::AccountBlocked
        | Reason::AccountStatus
        | Reason::AccountType
        | Reason::PinSuppressed => Error(422, "CARD_STATUS", "The card's status does not allow it"),
        Reason::ChannelNotAllowed
        | Reason::FormatError
        | Reason::NoPinInBlock
        | Reason::NoRoute
        | Reason::NotSupported
        | Reason::TooManyChanges
        | Reason::TriesExceeded
        | Reason::WrongPin
        | Reason::HostDeclined => Error(422, "NOT_ALLOWED", "Not allowed for this card"),
        Reason::Duplicate | Reason::OriginalNotFound => {
            Error(422, "VALIDATION_ERROR", "Idempotency-Key was used with another request")
        }
        Reason::NotRecoverable => {
            Error(409, "PIN_NOT_RECOVERABLE", "The card's PIN cannot be shown")
        }
        Reason::InProgress => Error(409, "IN_PROGRESS", "The same request is in progress"),
        Reason::MacWrong => Error(401, "UNAUTHORIZED", "Signature is missing or wrong"),
        Reason::KeyOutOfStep | Reason::SystemError => {
            Error(500, "INTERNAL_ERROR", "Internal error")
        }
        Reason::HsmUnavailable | Reason::NotSent | Reason::Unavailable => {
            Error(503, "UNAVAILABLE", "Service unavailable")
        }
        Reason::OutcomeUnknown => Error(504, "OUTCOME_UNKNOWN", "Outcome unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field::Values;

    fn read(endpoint: &'static Endpoint, query: &str, body: &str) -> Result<Wanted, Vec<Problem>> {
        let id = "e9293471-5eb3-4dbc-916c-dbaf9e2deefd";
        let path = Values::of_texts(PATH, [("cardId", id)].into_iter());
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = Values::of_texts(endpoint.query, pairs);
        let body = Values::of_json(endpoint.body.unwrap_or_default(), body.as_bytes()).unwrap();
        let problems = [path.problems(), query.problems(), body.problems()].concat();
        if !problems.is_empty() {
            return Err(problems);
        }
        let call = Call { endpoint, path: &path, query: &query, body: &body, pan_tokens: true };
        Ok(Equals.wanted(&call).map_err(|r| format!("{r:?}")).unwrap())
    }

    #[test]
    fn the_seeds_samples() {
        let owner = "accountId=F12345&personId=775596ae-2624-40af-a9dc-9756110a4a04";
        let get = format!("{owner}&cardholderVerificationMethod=BIOMETRIC_FACE");
        let wanted = read(&ENDPOINTS[0], &get, "{}").unwrap();
        assert_eq!(wanted.operation, Asked::Reveal);
        assert_eq!(wanted.memo.as_deref(), Some("BIOMETRIC_FACE"));
        assert_eq!(wanted.owner.account.as_deref(), Some("F12345"));
        let wanted = read(&ENDPOINTS[1], owner, r#"{"pin":"7268"}"#).unwrap();
        assert!(matches!(wanted.new, Some(PinInput::Digits(_))));
        let wanted = read(&ENDPOINTS[1], owner, "{}").unwrap();
        assert!(matches!(wanted.new, Some(PinInput::Generate { digits: 4 })));
        let missing = read(&ENDPOINTS[0], "accountId=a", "{}").map(|_| ()).unwrap_err();
        assert_eq!(missing.len(), 2);
    }

    #[test]
    fn answers_with_a_pin() {
        let about = About { path: "/", correlation: "" };
        let shown = |reveals| Shown { reveals, ..Shown::default() };
        let body = |reply: Reply| String::from_utf8(reply.body.to_vec()).unwrap();
        let pin = Some(&b"7268"[..]);
        assert_eq!(body(Equals.approved(about, &shown(true), pin)), r#"{"pin":"7268"}"#);
        let drawn = body(Equals.approved(about, &shown(false), pin));
        assert_eq!(drawn, r#"{"success":true,"pin":"7268"}"#);
        assert_eq!(body(Equals.approved(about, &shown(false), None)), r#"{"success":true}"#);
    }
}
