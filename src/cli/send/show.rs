//! How `pinion send` shows an answer: every field by name, masked as the dialect says, or one JSON document.
//!
//! **Never here:** whether the exchange went well in any other sense than the answer's code and MAC.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::iso8583::{Message, Secrecy};
use crate::sim::pin_pad::MacPad;
use crate::sim::terminal::Stamp;

/// An answer, and what can be said of it.
pub(super) struct Seen<'a> {
    message: &'a Message<'a>,
    code: String,
    mac: Option<bool>,
}

impl<'a> Seen<'a> {
    /// Looks at code and MAC. With a key, an answer without a MAC is as bad as one with a wrong MAC.
    pub(super) fn new(message: &'a Message<'a>, key: Option<&MacPad>) -> Self {
        let code = message.text(39).and_then(|text| text.as_str().map(str::to_owned));
        let right = |key: &MacPad| {
            message.mac().is_some_and(|seen| {
                let value = seen.value.as_bytes();
                4 <= value.len() && key.mac(seen.covered).starts_with(value)
            })
        };
        Self { message, code: code.unwrap_or_default(), mac: key.map(right) }
    }

    /// Whether a MAC was expected and did not come or does not match.
    pub(super) fn mac_is_wrong(&self) -> bool {
        self.mac == Some(false)
    }

    /// Whether the code is one of the dialect's three for approval.
    pub(super) fn approved(&self) -> bool {
        let section = self.message.dialect().section("responses");
        ["approved", "approved_network", "approved_reversal"].iter().any(|key| {
            let code = section.and_then(|section| section.get(key)).and_then(|item| item.as_str());
            code.is_some_and(|code| code == self.code)
        })
    }

    /// Number, name and masked value of every field.
    fn fields(&self) -> Vec<(u8, String, String)> {
        let value = |number, secrecy| match (number, secrecy) {
            (2, Secrecy::Masked) => self.message.text(2).map_or_else(String::new, |text| {
                let text = text.as_str().unwrap_or_default();
                let mask = |(at, digit)| {
                    if (6..text.len().saturating_sub(4)).contains(&at) { '*' } else { digit }
                };
                text.chars().enumerate().map(mask).collect()
            }),
            (_, Secrecy::Masked | Secrecy::Secret) => "****".to_owned(),
            (_, Secrecy::Public) => {
                match (self.message.text(number), self.message.binary(number)) {
                    (Some(text), _) => text.as_str().unwrap_or_default().to_owned(),
                    (None, Some(bytes)) => hex::encode_upper(bytes.as_bytes()),
                    (None, None) => {
                        let length = self.message.value(number).map_or(0, <[u8]>::len);
                        format!("({length} bytes)")
                    }
                }
            }
        };
        self.message
            .fields()
            .map(|(number, spec)| (number, spec.name().to_owned(), value(number, spec.secrecy())))
            .collect()
    }

    fn mti(&self) -> String {
        String::from_utf8_lossy(&self.message.mti()).into_owned()
    }
}

/// Prints the answer; in JSON with what a later repeat or reversal has to name.
pub(super) fn print(seen: &Seen<'_>, stamp: &Stamp, took: Duration, as_json: bool) {
    let millis = took.as_secs_f64() * 1_000.0;
    if as_json {
        let fields: Map<String, Value> = seen
            .fields()
            .into_iter()
            .map(|(number, _, value)| (number.to_string(), Value::String(value)))
            .collect();
        let document = json!({
            "stan": format!("{:06}", stamp.stan),
            "rrn": format!("{:012}", stamp.rrn),
            "at": stamp.local.to_string(),
            "approved": seen.approved(),
            "code": seen.code,
            "mac": seen.mac.map(|right| if right { "right" } else { "wrong" }),
            "milliseconds": (millis * 1_000.0).round() / 1_000.0,
            "answer": { "mti": seen.mti(), "fields": fields },
        });
        say!("{document}");
        return;
    }
    let verdict = if seen.approved() { "approved" } else { "declined" };
    say!("{verdict}, code {}, {millis:.2} ms", seen.code);
    say!("MTI     {}", seen.mti());
    for (number, name, value) in seen.fields() {
        say!("DE {number:<4} {value:<24} {name}");
    }
    if let Some(right) = seen.mac {
        say!("MAC     {}", if right { "right" } else { "wrong or missing" });
    }
    say!(
        "to repeat or reverse: --stan {:06} --rrn {:012} --at {}",
        stamp.stan,
        stamp.rrn,
        stamp.local
    );
}
