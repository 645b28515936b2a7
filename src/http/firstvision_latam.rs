//! The door `firstvision-latam`: `PUT /cards/pin/pin-change`, the shapes of seed 000 and of FirstVision LATAM 1.3.0.
//!
//! **Never here:** credentials, keys, the switch.

use axum::http::Method;
use serde_json::{Value, json};

use crate::domain::outcome::Reason;
use crate::domain::pan::Pan;
use crate::domain::request::{CardName, IdentityKind};
use crate::http::ask::channel;
use crate::http::door::{
    About, Asked, Call, Endpoint, OwnerInput, Refusal, Reply, Shapes, Shown, Wanted, block,
};
use crate::http::field::{Chars, Fault, Field, Problem, Shape};

const HEX16: Shape = Shape::Text { min: 16, max: 16, of: Chars::Hex };

const BODY: &[Field] = &[
    Field::required(
        "organizationNumber",
        Shape::Integer { min: 0, max: 998 },
        "Bank organization the card belongs to.",
    )
    .also(&["organization"]),
    Field::required(
        "cardNumber",
        Shape::Text { min: 12, max: 19, of: Chars::Letters },
        "Card number, or the token that stands for it.",
    ),
    Field::required("currPinBlock", HEX16, "Current PIN as a block under the zone PIN key.")
        .also(&["currentPinBlock"]),
    Field::required("reqdPinBlock", HEX16, "New PIN as a block under the zone PIN key.")
        .also(&["newPinBlock"]),
    Field::optional(
        "pinOffset",
        Shape::Integer { min: 0, max: 9999 },
        "New PIN offset. The switch makes its own and ignores this one.",
    ),
    Field::required(
        "channel",
        Shape::OneOf(&["A", "B", "C", "F", "I", "W"]),
        "Where the cardholder is: A ATM, B issuing bank, C call centre, F fraud desk, I voice, W web.",
    ),
    Field::optional(
        "keyAssociationNumber",
        Shape::Text { min: 1, max: 3, of: Chars::Any },
        "Which zone PIN key encrypts the two blocks; absent: the client's own.",
    )
    .also(&["keyAssociation"]),
];

const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::PUT,
    path: "/cards/pin/pin-change",
    id: "firstvisionLatamPinChange",
    summary: "FirstVision LATAM: change a PIN, current and new PIN as blocks under a zone key",
    asks: &[Asked::Change],
    path_fields: &[],
    query: &[],
    body: Some(BODY),
    sample: || data("4761xxxxxxxx0010"),
}];

/// The door.
pub(super) struct Latam;

impl Shapes for Latam {
    fn endpoints(&self) -> &'static [Endpoint] {
        ENDPOINTS
    }

    fn wanted(&self, call: &Call<'_>) -> Result<Wanted, Refusal> {
        let body = call.body;
        let number = body.text("cardNumber").unwrap_or_default();
        let problem = |field, fault| Refusal::from(Problem { field, fault });
        if number.bytes().all(|b| b == b'0') {
            return Err(problem("cardNumber", Fault::Blank));
        }
        // A token has letters, or is too short for a number.
        let (card, shown) = match Pan::parse(number.as_bytes()) {
            Ok(pan) => (CardName::Pan { pan, sequence: None }, masked(number)),
            Err(_) if !call.pan_tokens => return Err(problem("cardNumber", Fault::NotAllowed)),
            Err(_) => {
                let kind = IdentityKind::PanToken;
                (CardName::Identity { kind, value: number.into() }, number.to_owned())
            }
        };
        Ok(Wanted {
            operation: Asked::Change,
            card,
            current: block(body, "currPinBlock", "keyAssociationNumber")?,
            new: block(body, "reqdPinBlock", "keyAssociationNumber")?,
            owner: OwnerInput {
                organization: body.integer("organizationNumber").and_then(|n| n.try_into().ok()),
                ..OwnerInput::default()
            },
            wish: None,
            institution: None,
            details: crate::domain::forward::Details::default(),
            channel: channel(body.text("channel")),
            memo: None,
            shown: Shown { card: Some(shown), ..Shown::default() },
        })
    }

    fn approved(&self, _: About<'_>, shown: &Shown, _: Option<&[u8]>) -> Reply {
        Reply::json(200, &data(shown.card.as_deref().unwrap_or_default()))
    }

    fn refused(&self, _: About<'_>, refusal: &Refusal) -> Reply {
        match refusal {
            Refusal::Declined(reason) => error(declined(*reason)),
            Refusal::Invalid(problems) => {
                let errors: Vec<_> = problems.iter().map(|p| entry(invalid(*p))).collect();
                Reply::json(422, &envelope(&errors))
            }
            Refusal::Organization => error(Error(422, "VPL5SCP20S", "Organization not found")),
            Refusal::Empty | Refusal::Unreadable => error(Error(400, "400", "Body is not JSON")),
            Refusal::NoCredentials | Refusal::BadCredentials => {
                error(Error(401, "401", "Unauthorized"))
            }
            Refusal::Signature => error(Error(401, "401", "Signature is missing or wrong")),
            Refusal::Forbidden => error(Error(403, "403", "Forbidden")),
            Refusal::Method => error(Error(405, "405", "Method not allowed")),
            Refusal::Slow => error(Error(408, "408", "Body did not come in time")),
            Refusal::TooLarge => error(Error(413, "413", "Body is too long")),
            Refusal::MediaType | Refusal::MediaTypeMissing => {
                error(Error(415, "415", "Body must be application/json"))
            }
            Refusal::RateLimited { .. } => error(Error(429, "429", "Too many requests")),
            Refusal::Failed => error(Error(500, "500", "Internal error")),
            Refusal::Shed => error(Error(503, "503", "Service unavailable")),
        }
    }
}

/// Status, code and description. The numbers of three digits stand where the vendor's table has no code.
#[derive(Clone, Copy)]
struct Error(u16, &'static str, &'static str);

/// The vendor's code of a decline.
const fn declined(reason: Reason) -> Error {
    match reason {
        Reason::WrongPin | Reason::NoPinInBlock => {
            Error(422, "VPL5SCP09S", "Current PIN block is not valid")
        }
        Reason::NewPinUnacceptable => Error(422, "VPL5SCP10S", "Requested PIN block is not valid"),
        Reason::AccountStatus => {
            Error(422, "VPL5SCP21S", "Account status does not allow a PIN change")
        }
        Reason::AccountBlocked => {
            Error(422, "VPL5SCP23S", "Account is blocked, PIN change not allowed")
        }
        Reason::AccountType => Error(422, "VPL5SCP22S", "Account type does not allow a PIN change"),
        Reason::CardClosed => Error(422, "VPL5SCP24S", "Account has no active card"),
        Reason::CardLost | Reason::CardStolen | Reason::TooManyChanges | Reason::HostDeclined => {
            Error(422, "VPL5SCP25S", "Card status does not allow a PIN change")
        }
        Reason::CardBlocked | Reason::TriesExceeded => {
            Error(422, "VPL5SCP26S", "Card is blocked, PIN change not allowed")
        }
        Reason::ChannelNotAllowed => {
            Error(422, "VPL5SCP27S", "PIN change of a chip card is not allowed through web or IVR")
        }
        Reason::CardNotActivated => Error(422, "VPL5SCP28S", "Card is not activated"),
        Reason::PinSuppressed => Error(422, "VPL5SCP29S", "PIN suppression is on"),
        Reason::CardExpired => Error(422, "VPL5SCP30S", "Card has expired"),
        Reason::NoRoute => Error(422, "VPL5SCP34S", "Logo not found"),
        Reason::NotRecoverable | Reason::NotSupported => {
            Error(422, "VPL5SCP35S", "Product type does not allow it")
        }
        // A number and a token of nobody, and those of somebody else, have one answer.
        Reason::CardUnknown => Error(404, "VPL5SCP42S", "Card not found"),
        Reason::FormatError => Error(422, "422", "Request is not valid"),
        Reason::Duplicate | Reason::OriginalNotFound => {
            Error(422, "422", "Idempotency-Key was used with another request")
        }
        Reason::MacWrong => Error(401, "401", "Signature is missing or wrong"),
        Reason::InProgress => Error(409, "409", "The same request is in progress"),
        Reason::KeyOutOfStep | Reason::SystemError => Error(500, "500", "Internal error"),
        Reason::HsmUnavailable | Reason::NotSent | Reason::Unavailable => {
            Error(503, "503", "Service unavailable")
        }
        Reason::OutcomeUnknown => Error(504, "504", "Outcome unknown"),
    }
}

/// The vendor's code of a field that is missing or wrong.
fn invalid(problem: Problem) -> Error {
    match (problem.field, problem.fault) {
        ("organizationNumber", _) => {
            Error(422, "VPL5SCP06S", "Organization is not a number from 000 to 998")
        }
        ("cardNumber", Fault::Missing | Fault::Blank) => {
            Error(422, "VPL5SCP41S", "PAN is blank or zeros")
        }
        ("cardNumber", Fault::NotAllowed) => {
            Error(422, "VPL5SCP43S", "PAN tokens are not in use for this organization")
        }
        ("cardNumber", _) => Error(422, "VPL5SCP08S", "Account number is not valid"),
        ("currPinBlock", _) => Error(422, "VPL5SCP09S", "Current PIN block is not valid"),
        ("reqdPinBlock", _) => Error(422, "VPL5SCP10S", "Requested PIN block is not valid"),
        ("pinOffset", _) => Error(422, "VPL5SCP11S", "PIN offset is not valid"),
        ("channel", Fault::Missing | Fault::Blank) => Error(422, "VPL5SCP13S", "Channel is blank"),
        ("channel", _) => Error(422, "VPL5SCP12S", "Channel is not valid"),
        ("keyAssociationNumber", Fault::Missing | Fault::Blank) => {
            Error(422, "VPL5SCP14S", "Key association is blank")
        }
        ("keyAssociationNumber", _) => Error(422, "VPL5SCP31S", "PIN key index is not valid"),
        _ => Error(422, "422", "Idempotency-Key is not 1 to 64 printable characters"),
    }
}

fn entry(Error(_, code, description): Error) -> Value {
    json!({ "code": code, "description": description })
}

fn error(error: Error) -> Reply {
    Reply::json(error.0, &envelope(&[entry(error)]))
}

fn envelope(errors: &[Value]) -> Value {
    json!({ "hasError": true, "errors": errors, "data": null })
}

fn data(card: &str) -> Value {
    json!({
        "hasError": false,
        "errors": [],
        "data": {
            "cardNumber": card,
            "feeAmount": 0,
            "feeWaiveReason": "",
            "feeRespCode": "",
        },
    })
}

/// First and last four digits, as the vendor masks.
fn masked(number: &str) -> String {
    let hidden_end = number.len().saturating_sub(4);
    let mask = |(at, c): (usize, char)| if (4..hidden_end).contains(&at) { 'x' } else { c };
    number.chars().enumerate().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field::Values;

    const GOOD: &str = r#"{"organizationNumber":600,"cardNumber":"4761739001010010",
        "currPinBlock":"615A47F17B754DFA","reqdPinBlock":"F4F2A9D702B513EE","channel":"A",
        "keyAssociationNumber":"IVL"}"#;

    fn read(body: &str) -> Result<Wanted, Refusal> {
        let body = Values::of_json(BODY, body.as_bytes())?;
        if !body.problems().is_empty() {
            return Err(Refusal::Invalid(body.problems().to_vec()));
        }
        let none = Values::default();
        let endpoint = &ENDPOINTS[0];
        Latam.wanted(&Call { endpoint, path: &none, query: &none, body: &body, pan_tokens: true })
    }

    #[track_caller]
    fn code(from: &str, to: &str, want: &str) {
        assert!(GOOD.contains(from), "{from}");
        let refusal = read(&GOOD.replace(from, to)).map(|_| ()).unwrap_err();
        let about = About { path: "/", correlation: "" };
        let body: Value = serde_json::from_slice(&Latam.refused(about, &refusal).body).unwrap();
        assert_eq!(body["errors"][0]["code"], want, "{to}");
        assert_eq!((&body["hasError"], &body["data"]), (&true.into(), &Value::Null));
    }

    #[test]
    fn a_request_as_published_and_with_the_seeds_names() {
        for body in [
            GOOD.to_owned(),
            GOOD.replace("organizationNumber", "organization")
                .replace("currPinBlock", "currentPinBlock")
                .replace("reqdPinBlock", "newPinBlock")
                .replace("keyAssociationNumber", "keyAssociation"),
        ] {
            let wanted = read(&body).map_err(|r| format!("{r:?}")).unwrap();
            assert_eq!(wanted.owner.organization, Some(600));
            assert_eq!(wanted.shown.card.as_deref(), Some("4761xxxxxxxx0010"));
        }
        let token = read(&GOOD.replace("4761739001010010", "000123456ID5IXX1234"));
        let token = token.map_err(|r| format!("{r:?}")).unwrap();
        assert_eq!(token.shown.card.as_deref(), Some("000123456ID5IXX1234"));
    }

    #[test]
    fn codes_of_fields() {
        code(":600", ":999", "VPL5SCP06S");
        code(":600", ":\"x\"", "VPL5SCP06S");
        code("\"organizationNumber\":600,", "", "VPL5SCP06S");
        code("4761739001010010", "4761-7390-0101", "VPL5SCP08S");
        code("615A47F17B754DFA", "615A", "VPL5SCP09S");
        code("F4F2A9D702B513EE", "F4F2A9D702B513EG", "VPL5SCP10S");
        code("\"channel\"", "\"pinOffset\":10000,\"channel\"", "VPL5SCP11S");
        code("\"A\"", "\"X\"", "VPL5SCP12S");
        code("\"A\"", "\" \"", "VPL5SCP13S");
        code("\"IVL\"", "\" \"", "VPL5SCP14S");
        code("\"IVL\"", "\"IVLX\"", "VPL5SCP31S");
        code("4761739001010010", "0000000000000000", "VPL5SCP41S");
        code("4761739001010010", "", "VPL5SCP41S");
    }

    #[test]
    fn numbers_are_masked_as_the_vendor_does() {
        assert_eq!(masked("058112345675846"), "0581xxxxxxx5846");
    }
}
