//! The door `postcard`: `POST /card-management/api/v1/card/changePin`, the shapes of seed 002.
//!
//! The vendor publishes the codes `00` and `10404`; the others are ours: `10` and the status for what is wrong with a
//! request, `11` and the number of the reason for a decline. **Never here:** credentials, keys, the switch.

use axum::http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::domain::forward::Details;
use crate::domain::outcome::Reason;
use crate::domain::pan::Pan;
use crate::domain::request::{CardName, Channel, Tag};
use crate::http::door::{
    About, Asked, Call, Endpoint, OwnerInput, PinInput, Refusal, Reply, Shapes, Shown, Wanted,
};
use crate::http::field::{Chars, Fault, Field, Problem, Shape};

const QUERY: &[Field] = &[Field::required(
    "isActiveActive",
    Shape::Boolean,
    "true: through Postilion; false: through the card management system, unless the switch is set to override it.",
)
.also(&["isActive"])];

const RSA: Shape = Shape::Text { min: 2, max: 1024, of: Chars::Hex };

const fn digits(min: usize, max: usize) -> Shape {
    Shape::Text { min, max, of: Chars::Digits }
}

const BODY: &[Field] = &[
    Field::required(
        "pin",
        RSA,
        "New PIN: hex of its RSA ciphertext. The plaintext is the hex of the ASCII digits.",
    ),
    Field::required(
        "userId",
        Shape::Text { min: 3, max: 20, of: Chars::Any },
        "Who asks; kept in the audit.",
    ),
    Field::required("pan", digits(16, 19), "Card number."),
    Field::required("seqNr", digits(3, 3), "Card sequence number."),
    Field::required("expiryDate", digits(4, 4), "Expiry, YYMM."),
    Field::required("accountType", digits(2, 2), "Account type."),
    Field::optional(
        "oldPin",
        RSA,
        "Current PIN, as the new one. Required with isActiveActive=true; without it the PIN is set, if allowed.",
    ),
    Field::optional("cvv2", digits(3, 3), "Not used by the switch."),
    Field::optional("rid", digits(1, 11), "Receiving institution towards Postilion."),
];

const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::POST,
    path: "/card-management/api/v1/card/changePin",
    id: "postcardChangePin",
    summary: "Postcard: change a PIN, current and new PIN encrypted with RSA",
    asks: &[Asked::Change, Asked::Set],
    path_fields: &[],
    query: QUERY,
    body: Some(BODY),
    sample: || body("00", "Successful", "5daa9a3f6ce9497d84c559aea9f924b3", None),
}];

/// The door.
pub(super) struct Postcard;

impl Shapes for Postcard {
    fn endpoints(&self) -> &'static [Endpoint] {
        ENDPOINTS
    }

    fn wanted(&self, call: &Call<'_>) -> Result<Wanted, Refusal> {
        let body = call.body;
        let problem = |field, fault| Refusal::from(Problem { field, fault });
        let text = |name| body.text(name).unwrap_or_default();
        let pin = |name: &'static str| {
            let read =
                |text: &str| hex::decode(text).map(|bytes| PinInput::Rsa(Zeroizing::new(bytes)));
            let read = body.text(name).map(read).transpose();
            read.map_err(|_| problem(name, Fault::Length))
        };
        let (current, new) = (pin("oldPin")?, pin("pin")?);
        let wish = call.query.boolean("isActiveActive");
        if wish == Some(true) && current.is_none() {
            return Err(problem("oldPin", Fault::Missing));
        }
        let pan = Pan::parse(text("pan").as_bytes()).map_err(|_| problem("pan", Fault::Length))?;
        let expiry: Option<[u8; 4]> = text("expiryDate").as_bytes().try_into().ok();
        if !expiry.is_some_and(|[_, _, m, n]| (1..=12).contains(&(10 * (m - b'0') + (n - b'0')))) {
            return Err(problem("expiryDate", Fault::Range));
        }
        let account_types = match text("accountType").as_bytes() {
            [tens, ones] => Some([*tens, *ones, b'0', b'0']),
            _ => None,
        };
        Ok(Wanted {
            operation: if current.is_some() { Asked::Change } else { Asked::Set },
            card: CardName::Pan { pan, sequence: text("seqNr").parse().ok() },
            current,
            new,
            owner: OwnerInput::default(),
            wish,
            institution: body.text("rid").map(|rid| Tag::new(rid.as_bytes())),
            details: Details { account_types, expiry, ..Details::default() },
            // The caller is a bank's own system.
            channel: Channel::Bank,
            memo: Some(format!("user {}", text("userId"))),
            shown: Shown::default(),
        })
    }

    fn approved(&self, about: About<'_>, _: &Shown, _: Option<&[u8]>) -> Reply {
        Reply::json(200, &body("00", "Successful", about.correlation, None))
    }

    fn refused(&self, about: About<'_>, refusal: &Refusal) -> Reply {
        let Error(status, code, description) = error(refusal);
        let errors = match refusal {
            Refusal::Invalid(problems) => {
                let line = |p: &Problem| format!("{} {}", p.field, p.fault.text());
                Some(problems.iter().map(line).collect())
            }
            _ => None,
        };
        Reply::json(status, &body(code, description, about.correlation, errors))
    }
}

/// Status, internal code and description.
#[derive(Clone, Copy)]
struct Error(u16, &'static str, &'static str);

const NOT_FOUND: Error = Error(404, "10404", "No result found");

const fn error(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Declined(reason) => declined(*reason),
        Refusal::Empty | Refusal::Unreadable => Error(400, "10400", "Body is not JSON"),
        Refusal::Invalid(_) => Error(422, "10422", "Validation error"),
        Refusal::NoCredentials | Refusal::BadCredentials => Error(401, "10401", "Unauthorized"),
        Refusal::Signature => Error(401, "10401", "Signature is missing or wrong"),
        Refusal::Forbidden => Error(403, "10403", "Forbidden"),
        Refusal::Organization => NOT_FOUND,
        Refusal::Method => Error(405, "10405", "Method not allowed"),
        Refusal::Slow => Error(408, "10408", "Body did not come in time"),
        Refusal::TooLarge => Error(413, "10413", "Body is too long"),
        Refusal::MediaType | Refusal::MediaTypeMissing => {
            Error(415, "10415", "Body must be application/json")
        }
        Refusal::RateLimited { .. } => Error(429, "10429", "Too many requests"),
        Refusal::Failed => Error(500, "10500", "Internal error"),
        Refusal::Shed => Error(503, "10503", "Service unavailable"),
    }
}

/// The internal code of a decline.
const fn declined(reason: Reason) -> Error {
    match reason {
        // Nobody's card and somebody else's have one answer.
        Reason::CardUnknown => NOT_FOUND,
        Reason::FormatError => Error(422, "11001", "Request is not valid"),
        Reason::NotSupported => Error(422, "11002", "Not supported for this card"),
        Reason::NoRoute => Error(422, "11004", "No route to the issuer"),
        // Whatever is wrong with a PIN or its ciphertext has one answer.
        Reason::WrongPin | Reason::NoPinInBlock => Error(422, "11005", "Current PIN is not valid"),
        Reason::TriesExceeded => Error(422, "11006", "PIN tries exceeded"),
        Reason::CardExpired => Error(422, "11007", "Card has expired"),
        Reason::CardBlocked => Error(422, "11008", "Card is blocked"),
        Reason::CardNotActivated => Error(422, "11009", "Card is not activated"),
        Reason::CardClosed => Error(422, "11010", "Card is closed"),
        Reason::CardLost => Error(422, "11011", "Card is lost"),
        Reason::CardStolen => Error(422, "11012", "Card is stolen"),
        Reason::AccountStatus => Error(422, "11013", "Account status does not allow it"),
        Reason::AccountType => Error(422, "11014", "Account type does not allow it"),
        Reason::PinSuppressed => Error(422, "11015", "PINs of this card are suppressed"),
        Reason::ChannelNotAllowed => Error(422, "11016", "Not allowed through this channel"),
        Reason::TooManyChanges => Error(422, "11017", "Too many PIN changes today"),
        Reason::NewPinUnacceptable => Error(422, "11018", "New PIN is not acceptable"),
        Reason::MacWrong => Error(401, "10401", "Signature is missing or wrong"),
        Reason::OutcomeUnknown => Error(504, "11024", "Outcome unknown"),
        Reason::InProgress => Error(409, "11025", "The same request is in progress"),
        Reason::Duplicate | Reason::OriginalNotFound => {
            Error(422, "10422", "Idempotency-Key was used with another request")
        }
        Reason::HostDeclined => Error(422, "11029", "Declined by the issuer"),
        Reason::AccountBlocked => Error(422, "11032", "Account is blocked"),
        Reason::NotRecoverable => Error(422, "11031", "The PIN cannot be shown"),
        Reason::KeyOutOfStep | Reason::SystemError => Error(500, "10500", "Internal error"),
        Reason::HsmUnavailable | Reason::NotSent | Reason::Unavailable => {
            Error(503, "10503", "Service unavailable")
        }
    }
}

fn body(code: &str, description: &str, correlation: &str, errors: Option<Vec<String>>) -> Value {
    let mut body =
        json!({ "code": code, "description": description, "correlationId": correlation });
    if let Some(errors) = errors {
        body["errors"] = errors.into();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field::Values;

    const GOOD: &str = r#"{"pan":"5060990000000151002","seqNr":"001","expiryDate":"5004",
        "pin":"3a69","accountType":"20","userId":"Alex","oldPin":"3a69","cvv2":"123","rid":"627629"}"#;

    fn read(body: &str, active: &str) -> Result<Wanted, Refusal> {
        let body = Values::of_json(BODY, body.as_bytes())?;
        let query = Values::of_texts(QUERY, [("isActive", active)].into_iter());
        let problems = [query.problems(), body.problems()].concat();
        if !problems.is_empty() {
            return Err(Refusal::Invalid(problems));
        }
        let none = Values::default();
        let endpoint = &ENDPOINTS[0];
        Postcard.wanted(&Call {
            endpoint,
            path: &none,
            query: &query,
            body: &body,
            pan_tokens: true,
        })
    }

    #[test]
    fn the_seeds_sample() {
        let wanted = read(GOOD, "true").map_err(|r| format!("{r:?}")).unwrap();
        assert_eq!((wanted.operation, wanted.wish), (Asked::Change, Some(true)));
        let CardName::Pan { sequence, .. } = wanted.card else { panic!("a number") };
        assert_eq!(sequence, Some(1));
        assert_eq!(wanted.details.account_types, Some(*b"2000"));
        assert_eq!(wanted.details.expiry, Some(*b"5004"));
        assert_eq!(wanted.institution, Some(Tag::new(b"627629")));
    }

    #[test]
    fn the_current_pin_is_required_towards_postilion_only() {
        let without = GOOD.replace(r#""oldPin":"3a69","#, "");
        let want = Problem { field: "oldPin", fault: Fault::Missing };
        assert_eq!(read(&without, "true").map(|_| ()).unwrap_err(), want.into());
        let wanted = read(&without, "false").map_err(|r| format!("{r:?}")).unwrap();
        assert_eq!((wanted.operation, wanted.wish), (Asked::Set, Some(false)));
    }

    #[test]
    fn fields_that_are_wrong() {
        for (from, to, field, fault) in [
            ("\"5004\"", "\"5013\"", "expiryDate", Fault::Range),
            ("\"5004\"", "\"5000\"", "expiryDate", Fault::Range),
            ("5060990000000151002", "506099000000015", "pan", Fault::Length),
            ("\"001\"", "1", "seqNr", Fault::Type),
            ("\"pin\":\"3a69\"", "\"pin\":\"3a6\"", "pin", Fault::Length),
            ("\"Alex\"", "\"Al\"", "userId", Fault::Length),
            ("\"123\"", "\"12\"", "cvv2", Fault::Length),
        ] {
            let refusal = read(&GOOD.replace(from, to), "true").map(|_| ()).unwrap_err();
            assert_eq!(refusal, Problem { field, fault }.into(), "{to}");
        }
        let refusal = read(GOOD, "yes").map(|_| ()).unwrap_err();
        assert_eq!(refusal, Problem { field: "isActiveActive", fault: Fault::Type }.into());
    }

    #[test]
    fn declines_have_codes_of_their_own_or_share_one_on_purpose() {
        for reason in Reason::ALL {
            let Error(status, code, _) = declined(*reason);
            let own = format!("11{:03}", reason.code());
            let shared = format!("10{status}");
            assert!(code == own || code == shared || *reason == Reason::NoPinInBlock, "{reason:?}");
        }
    }
}
