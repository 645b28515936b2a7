//! The door `firstvision-apac`: `PUT /v1/cards/{paymentInstrumentId}/pinBlockChange`, the shapes of seed 001 and of
//! FirstVision APAC 1.9.0.
//!
//! **Never here:** credentials, keys, the switch.

use axum::http::Method;
use serde_json::{Value, json};

use crate::domain::outcome::Reason;
use crate::domain::request::{CardName, IdentityKind};
use crate::http::ask::channel;
use crate::http::door::{
    About, Asked, Call, Endpoint, OwnerInput, Refusal, Reply, Shapes, Shown, Wanted, block,
};
use crate::http::field::{Chars, Fault, Field, Problem, Shape};

const HEX16: Shape = Shape::Text { min: 16, max: 16, of: Chars::Hex };

const PATH: &[Field] = &[Field::required(
    "paymentInstrumentId",
    Shape::Text { min: 1, max: 19, of: Chars::Letters },
    "Alternate identification number of the card.",
)];

const QUERY: &[Field] = &[Field::optional(
    "businessUnit",
    Shape::Integer { min: 1, max: 998 },
    "Organization the card belongs to.",
)];

const BODY: &[Field] = &[
    Field::optional(
        "currentPinBlock",
        HEX16,
        "Current PIN as a block under the zone PIN key. Without it the PIN is set, for which a right is needed.",
    ),
    Field::required("requestedPinBlock", HEX16, "New PIN as a block under the zone PIN key."),
    Field::optional(
        "pinOffset",
        Shape::Integer { min: 0, max: 9999 },
        "PIN offset. The switch makes its own and ignores this one.",
    ),
    Field::required(
        "pinChannel",
        Shape::OneOf(&["A", "I", "W"]),
        "Where the cardholder is: A ATM, I voice, W web.",
    ),
    Field::optional(
        "keyAssociation",
        Shape::Text { min: 0, max: 3, of: Chars::Any },
        "Which zone PIN key encrypts the blocks; blank or absent: the client's own.",
    ),
    Field::optional(
        "pinChangeActionCode",
        Shape::Text { min: 0, max: 4, of: Chars::Any },
        "Kept in the audit.",
    ),
    Field::optional(
        "pinChangeMemo",
        Shape::Text { min: 0, max: 60, of: Chars::Any },
        "Kept in the audit.",
    ),
];

const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::PUT,
    path: "/v1/cards/{paymentInstrumentId}/pinBlockChange",
    id: "firstvisionApacPinBlockChange",
    summary: "FirstVision APAC: change a PIN, current and new PIN as blocks under a zone key",
    asks: &[Asked::Change, Asked::Set],
    path_fields: PATH,
    query: QUERY,
    body: Some(BODY),
    sample: || json!({}),
}];

/// The door.
pub(super) struct Apac;

impl Shapes for Apac {
    fn endpoints(&self) -> &'static [Endpoint] {
        ENDPOINTS
    }

    fn needs_media_type(&self) -> bool {
        true
    }

    fn echoed(&self) -> &'static [&'static str] {
        &[
            "x-client-correlation-id",
            "x-client-trace-id",
            "x-client-source-channel",
            "x-client-user-id",
        ]
    }

    fn wanted(&self, call: &Call<'_>) -> Result<Wanted, Refusal> {
        let body = call.body;
        let current = block(body, "currentPinBlock", "keyAssociation")?;
        let new = block(body, "requestedPinBlock", "keyAssociation")?;
        let memo = ["pinChangeActionCode", "pinChangeMemo"].map(|name| body.text(name));
        let memo: Vec<_> = memo.into_iter().flatten().filter(|t| !t.trim().is_empty()).collect();
        Ok(Wanted {
            operation: if current.is_some() { Asked::Change } else { Asked::Set },
            card: CardName::Identity {
                kind: IdentityKind::PaymentInstrument,
                value: call.path.text("paymentInstrumentId").unwrap_or_default().into(),
            },
            current,
            new,
            owner: OwnerInput {
                organization: call.query.integer("businessUnit").and_then(|n| n.try_into().ok()),
                ..OwnerInput::default()
            },
            wish: None,
            institution: None,
            details: crate::domain::forward::Details::default(),
            channel: channel(body.text("pinChannel")),
            memo: (!memo.is_empty()).then(|| memo.join(" ")),
            shown: Shown::default(),
        })
    }

    fn approved(&self, _: About<'_>, _: &Shown, _: Option<&[u8]>) -> Reply {
        Reply::json(200, &json!({}))
    }

    fn refused(&self, about: About<'_>, refusal: &Refusal) -> Reply {
        match refusal {
            Refusal::Declined(reason) => declined(*reason).reply(about, Vec::new()),
            Refusal::Invalid(problems) => {
                let lines = problems.iter().map(|p| {
                    let text = format!("{} {}", p.field, p.fault.text()).to_uppercase();
                    format!("{}: {text}", fault_code(p.fault))
                });
                invalid(problems).reply(about, lines.collect())
            }
            Refusal::Organization => ORGANIZATION.reply(about, Vec::new()),
            Refusal::NoCredentials => {
                gateway(401, "240002", "Authorization header is missing in request")
                    .reply(about, Vec::new())
            }
            Refusal::BadCredentials => {
                gateway(401, "240004", "Bearer token is invalid").reply(about, Vec::new())
            }
            Refusal::Signature | Refusal::Forbidden => {
                gateway(401, "240101", "Unauthorized").reply(about, Vec::new())
            }
            Refusal::Empty => gateway(400, "240006", "Payload is empty").reply(about, Vec::new()),
            Refusal::Unreadable => {
                gateway(400, "240007", "Message not readable").reply(about, Vec::new())
            }
            Refusal::Method => {
                gateway(405, "240501", "Method not allowed").reply(about, Vec::new())
            }
            Refusal::Slow => {
                gateway(408, "240005", "Payload did not come in time").reply(about, Vec::new())
            }
            Refusal::TooLarge => {
                gateway(413, "240005", "Payload is too long").reply(about, Vec::new())
            }
            Refusal::MediaType => {
                gateway(415, "241503", "Allowed content type for this client is application/json")
                    .reply(about, Vec::new())
            }
            Refusal::MediaTypeMissing => {
                gateway(415, "241502", "Content type is not provided").reply(about, Vec::new())
            }
            Refusal::RateLimited { .. } => {
                gateway(429, "340001", "Too many requests").reply(about, Vec::new())
            }
            Refusal::Failed => {
                gateway(500, "250001", "An unexpected internal server error occurred")
                    .reply(about, Vec::new())
            }
            Refusal::Shed => gateway(503, "250301", "Service unavailable").reply(about, Vec::new()),
        }
    }
}

/// One error without its place.
#[derive(Clone, Copy)]
struct Error {
    status: u16,
    code: &'static str,
    detail: &'static str,
    /// `VPL` for a business refusal, `AGT` for the gateway's own.
    source: &'static str,
    /// `CODE: TEXT`.
    line: Option<&'static str>,
}

const ORGANIZATION: Error = business("V5CP4001SA: ORGANIZATION RECORD NOT FOUND");

const fn business(line: &'static str) -> Error {
    let detail = "Please refer to invalid-params for error details";
    Error { status: 404, code: "440401", detail, source: "VPL", line: Some(line) }
}

const fn bad(line: &'static str) -> Error {
    let detail = "Please refer to invalid-params for error details";
    Error { status: 400, code: "340001", detail, source: "VPL", line: Some(line) }
}

const fn gateway(status: u16, code: &'static str, detail: &'static str) -> Error {
    Error { status, code, detail, source: "AGT", line: None }
}

/// The vendor's code of a decline. What its ten codes do not cover is `340001`, bad request.
const fn declined(reason: Reason) -> Error {
    match reason {
        // Nobody's card and somebody else's have one answer.
        Reason::CardUnknown => ORGANIZATION,
        Reason::AccountStatus => {
            business("V5CP4002SA: INVALID ACCOUNT STATUS, PIN CHANGE NOT ALLOWED")
        }
        Reason::AccountType => business("V5CP4003SA: INVALID ACCOUNT TYPE, PIN CHANGE NOT ALLOWED"),
        Reason::AccountBlocked => business("V5CP4004SA: ACCOUNT BLOCKED, PIN CHANGE NOT ALLOWED"),
        Reason::CardClosed => business("V5CP4005SA: ACCOUNT DOES NOT HAVE ACTIVE CARDS"),
        Reason::CardExpired | Reason::CardLost | Reason::CardStolen => {
            business("V5CP4006SA: INVALID CARD STATUS, PIN CHANGE NOT ALLOWED")
        }
        Reason::CardBlocked | Reason::TriesExceeded => {
            business("V5CP4007SA: CARD BLOCKED, PIN CHANGE NOT ALLOWED")
        }
        Reason::ChannelNotAllowed => {
            business("V5CP4008SA: PIN CHANGE NOT ALLOWED FOR SMART CARDS THROUGH WEB OR IVR")
        }
        Reason::CardNotActivated => {
            business("V5CP4009SA: CARD IS NOT ACTIVATED, PIN CHANGE NOT ALLOWED")
        }
        Reason::PinSuppressed => {
            business("V5CP4010SA: PIN SUPPRESSION IS ON, PIN CHANGE NOT ALLOWED")
        }
        Reason::WrongPin | Reason::NoPinInBlock => bad("340001: CURRENT PIN BLOCK NOT VALID"),
        Reason::NewPinUnacceptable => bad("340001: REQUESTED PIN BLOCK NOT VALID"),
        Reason::TooManyChanges => bad("340001: TOO MANY PIN CHANGES TODAY"),
        Reason::FormatError => bad("340001: REQUEST NOT VALID"),
        Reason::NoRoute | Reason::NotRecoverable | Reason::NotSupported => {
            bad("340001: NOT SUPPORTED FOR THIS CARD")
        }
        Reason::HostDeclined => bad("340001: DECLINED BY THE ISSUER"),
        Reason::MacWrong => gateway(401, "240101", "Unauthorized"),
        Reason::InProgress => gateway(409, "340001", "The same request is in progress"),
        Reason::Duplicate | Reason::OriginalNotFound => {
            gateway(422, "240010", "Idempotency-Key was used with another request")
        }
        Reason::KeyOutOfStep | Reason::OutcomeUnknown | Reason::SystemError => {
            gateway(500, "250001", "An unexpected internal server error occurred")
        }
        Reason::HsmUnavailable | Reason::NotSent | Reason::Unavailable => {
            gateway(503, "250301", "Service unavailable")
        }
    }
}

const fn fault_code(fault: Fault) -> &'static str {
    match fault {
        Fault::Missing | Fault::Blank => "240009",
        Fault::Type => "240008",
        Fault::Characters | Fault::Length | Fault::NotAllowed | Fault::Range | Fault::Twice => {
            "240010"
        }
    }
}

/// The error as a whole has the code of its first line.
fn invalid(problems: &[Problem]) -> Error {
    let fault = problems.first().map_or(Fault::Missing, |problem| problem.fault);
    let detail = match fault_code(fault) {
        "240008" => "Method argument(s) not valid",
        "240009" => "Required field(s) missing",
        _ => "Constraint(s) violated",
    };
    gateway(400, fault_code(fault), detail)
}

impl Error {
    fn reply(self, about: About<'_>, mut lines: Vec<String>) -> Reply {
        lines.extend(self.line.map(str::to_owned));
        let error = json!({
            "detail": self.detail,
            "errorCode": self.code,
            "instance": about.path,
            "invalid-params": lines,
            "source": self.source,
            "status": self.status,
            "title": title(self.status),
        });
        Reply::json(self.status, &Value::Array(vec![error]))
    }
}

const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad request",
        401 => "Unauthorized",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "Request timeout",
        409 => "Conflict",
        413 => "Payload too large",
        415 => "Unsupported media type",
        422 => "Unprocessable entity",
        429 => "Too many requests",
        503 => "Service unavailable",
        _ => "Internal server error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field::Values;

    fn read(body: &str) -> Result<Wanted, Refusal> {
        let body = Values::of_json(BODY, body.as_bytes())?;
        if !body.problems().is_empty() {
            return Err(Refusal::Invalid(body.problems().to_vec()));
        }
        let id = [("paymentInstrumentId", "0009544410000000041")];
        let path = Values::of_texts(PATH, id.into_iter());
        let query = Values::of_texts(QUERY, [("businessUnit", "600")].into_iter());
        let endpoint = &ENDPOINTS[0];
        Apac.wanted(&Call { endpoint, path: &path, query: &query, body: &body, pan_tokens: true })
    }

    #[test]
    fn the_sample_error_is_that_of_the_seed() {
        let about = About { path: "/v1/cards/0009544410000000041/pinBlockChange", correlation: "" };
        let reply = Apac.refused(about, &Refusal::Declined(Reason::AccountType));
        let want = concat!(
            r#"[{"detail":"Please refer to invalid-params for error details","errorCode":"440401","#,
            r#""instance":"/v1/cards/0009544410000000041/pinBlockChange","#,
            r#""invalid-params":["V5CP4003SA: INVALID ACCOUNT TYPE, PIN CHANGE NOT ALLOWED"],"#,
            r#""source":"VPL","status":404,"title":"Not found"}]"#
        );
        assert_eq!(std::str::from_utf8(&reply.body).unwrap(), want);
        assert_eq!(reply.status, 404);
    }

    #[test]
    fn a_change_a_set_and_the_memo() {
        let body = r#"{"requestedPinBlock":"F4F2A9D702B513EE","currentPinBlock":"615A47F17B754DFA",
            "pinOffset":0,"pinChannel":"A","keyAssociation":" ","pinChangeActionCode":"C1","pinChangeMemo":"lost"}"#;
        let wanted = read(body).map_err(|r| format!("{r:?}")).unwrap();
        assert_eq!((wanted.operation, wanted.memo.as_deref()), (Asked::Change, Some("C1 lost")));
        assert_eq!(wanted.owner.organization, Some(600));
        let body = r#"{"requestedPinBlock":"F4F2A9D702B513EE","pinChannel":"W"}"#;
        let wanted = read(body).map_err(|r| format!("{r:?}")).unwrap();
        assert_eq!((wanted.operation, wanted.memo), (Asked::Set, None));
    }

    #[test]
    fn codes_of_fields() {
        for (body, want) in [
            ("", "240006"),
            ("{", "240007"),
            (r#"{"pinChannel":"A"}"#, "240009"),
            (r#"{"requestedPinBlock":1,"pinChannel":"A"}"#, "240008"),
            (r#"{"requestedPinBlock":"123456","pinChannel":"A"}"#, "240010"),
            (r#"{"requestedPinBlock":"F4F2A9D702B513EE","pinChannel":"B"}"#, "240010"),
        ] {
            let refusal = read(body).map(|_| ()).unwrap_err();
            let reply = Apac.refused(About { path: "/", correlation: "" }, &refusal);
            let body_of: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(body_of[0]["errorCode"], want, "{body}");
            assert_eq!((reply.status, &body_of[0]["status"]), (400, &400.into()));
        }
    }
}
