//! How `pinion send` shows an answer: every field by name, masked as the dialect says, or one JSON document.
//!
//! **Never here:** whether the exchange went well in any other sense than the answer's code and MAC.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::iso8583::{FieldSpec, Inner, Message, Secrecy, tlv};
use crate::sim::pin_pad::MacPad;
use crate::sim::terminal::Stamp;

/// Templates of issuer scripts, and what one holds.
const TEMPLATES: [u32; 2] = [0x71, 0x72];
const COMMAND: u32 = 0x86;
/// The data set of chip data.
const CHIP_SET: u32 = 0x01;

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
        let shown = |number, spec: &FieldSpec| match spec.inner() {
            Some(Inner::Tlv(_)) => self.script(number, &[]),
            Some(Inner::DataSets(_)) => self.script(number, &[CHIP_SET]),
            _ => value(number, spec.secrecy()),
        };
        self.message
            .fields()
            .map(|(number, spec)| (number, spec.name().to_owned(), shown(number, spec)))
            .collect()
    }

    /// Of chip data the script: its header only, since the rest holds the PIN under the card's key.
    fn script(&self, number: u8, path: &[u32]) -> String {
        let length = self.message.value(number).map_or(0, <[u8]>::len);
        let command = TEMPLATES.iter().find_map(|template| {
            let found = self.message.sub(number, &[path, &[*template]].concat())?;
            let command = tlv::find(found.value(), tlv::Tag::new(COMMAND)?).ok()??;
            let header = hex::encode_upper(command.value().get(..5)?);
            let hidden = command.value().len() - 5;
            Some(format!("issuer script {template:X}: {header} and {hidden} bytes"))
        });
        command.unwrap_or_else(|| format!("({length} bytes)"))
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
