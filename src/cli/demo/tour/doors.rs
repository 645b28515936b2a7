//! The tour through the five HTTP doors: what is asked, and the status it must get.
//!
//! Every change is taken back here, too. **Never here:** a card number or a PIN in the output: of a request its method
//! and path are shown, of an answer its status.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use axum::http::Method;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::cli::demo::doors::PUBLIC;
use crate::cli::exchange::{Ask, exchange};
use crate::domain::clock::Clock;
use crate::domain::pan::Pan;
use crate::domain::pin::BlockFormat;
use crate::limits::ADMIN_ANSWER_BYTES_MAX;
use crate::sim::pin_pad::{PinPad, TypedPin};

use super::{Result, Tour, millis, say};

/// A chip card whose PIN, 2580, is kept under the LMK, and its payment instrument.
const CHIP: &[u8] = b"5413330089010012";
const CHIP_INSTRUMENT: &str = "0009544410000000031";
/// The card of seed 002's sample, which lives at Postilion.
const VERVE: &[u8] = b"5060990000000151002";

const LATAM: &[(&str, &str)] = &[
    ("authorization", "Bearer demo-firstvision-latam"),
    ("apikey", "demo-apikey"),
    ("x-clientid", "00970"),
];
const APAC: &[(&str, &str)] = &[("authorization", "Bearer demo-firstvision-apac")];
const POSTCARD: &[(&str, &str)] = &[("authorization", "Bearer demo-postcard")];
const P100: &[(&str, &str)] = &[("x-api-key", "demo-p100")];
const EQUALS: &[(&str, &str)] = &[("authorization", "ApiKey demo-equals")];

/// How long a card may wait for the reversal that the tour asked for before.
const PATIENCE: Duration = Duration::from_secs(3);

/// A question and the status it must get.
struct Step {
    door: &'static str,
    what: &'static str,
    method: Method,
    path: String,
    headers: &'static [(&'static str, &'static str)],
    body: Value,
    want: &'static str,
}

fn step(
    (door, headers): (&'static str, &'static [(&'static str, &'static str)]),
    what: &'static str,
    (method, path): (Method, &str),
    body: Value,
    want: &'static str,
) -> Step {
    Step { door, what, method, path: path.to_owned(), headers, body, want }
}

/// What the seeds print, with values of the demo world.
fn steps(tour: &Tour<'_>) -> anyhow::Result<Vec<Step>> {
    let zone = tour.world.clear_key("zpk.firstvision").context("zpk.firstvision")?;
    let pad = PinPad::new(zone, BlockFormat::Iso0)?;
    let block = |pan: &[u8], pin: &[u8]| -> anyhow::Result<String> {
        let block = pad.block(&TypedPin::new(pin)?, &Pan::parse(pan)?, tour.clock.random());
        Ok(hex::encode_upper(block.as_bytes()))
    };
    let latam = json!({
        "organizationNumber": 600, "cardNumber": std::str::from_utf8(CHIP)?, "channel": "A",
        "keyAssociationNumber": "IVL", "currPinBlock": block(CHIP, b"2580")?,
        "reqdPinBlock": block(CHIP, b"1379")?,
    });
    let apac = json!({
        "currentPinBlock": block(CHIP, b"1379")?, "requestedPinBlock": block(CHIP, b"2580")?,
        "pinOffset": 0, "pinChannel": "A", "keyAssociation": " ",
    });
    let sealed = public_key(tour)?;
    let postcard = |current: &[u8], new: &[u8]| -> anyhow::Result<Value> {
        Ok(json!({
            "pan": std::str::from_utf8(VERVE)?, "seqNr": "001", "expiryDate": "5004",
            "accountType": "20", "userId": "Alex", "cvv2": "123",
            "oldPin": encrypted(&sealed, current)?, "pin": encrypted(&sealed, new)?,
        }))
    };
    let p100 = json!({
        "externalUserId": "985f38c8-9a33-423b-86be-86a5997feaa9",
        "cardId": "9eefa38e-6db4-40de-bc1b-719cd9d2cf05", "pin": "1234",
    });
    let card = "/v2/cards/e9293471-5eb3-4dbc-916c-dbaf9e2deefd/pin?accountId=F12345\
                &personId=775596ae-2624-40af-a9dc-9756110a4a04";
    let shown = format!("{card}&cardholderVerificationMethod=BIOMETRIC_FACE");
    let change = format!("/v1/cards/{CHIP_INSTRUMENT}/pinBlockChange");
    let refused = "/v1/cards/0009544410000000041/pinBlockChange";
    let active = "/card-management/api/v1/card/changePin?isActiveActive=true";
    let apac_door = ("firstvision-apac", APAC);
    let (p100_door, equals_door) = (("p100", P100), ("equals", EQUALS));
    let postcard_door = ("postcard", POSTCARD);
    Ok(vec![
        step(
            ("firstvision-latam", LATAM),
            "change",
            (Method::PUT, "/cards/pin/pin-change"),
            latam,
            "200",
        ),
        step(apac_door, "change, back again", (Method::PUT, &change), apac.clone(), "200"),
        step(apac_door, "account type: the seed's error", (Method::PUT, refused), apac, "404"),
        step(p100_door, "set", (Method::PATCH, "/v1/card/pin"), p100, "200"),
        step(equals_door, "set", (Method::PUT, card), json!({ "pin": "7268" }), "200"),
        step(equals_door, "show", (Method::GET, &shown), Value::Null, "200"),
        step(
            postcard_door,
            "change at a node",
            (Method::POST, active),
            postcard(b"1111", b"2580")?,
            "200",
        ),
        step(postcard_door, "and back", (Method::POST, active), postcard(b"2580", b"1111")?, "200"),
    ])
}

/// The key under which clients of postcard encrypt: the demo has written it.
fn public_key(tour: &Tour<'_>) -> anyhow::Result<OaepPublicEncryptingKey> {
    let clients = &tour.config.http.as_ref().context("no [http]")?.clients;
    let pem = std::fs::read(Path::new(clients).with_file_name(PUBLIC))?;
    let key = SubjectPublicKeyInfoDer::from_pem_slice(&pem).context(PUBLIC)?;
    let key = PublicEncryptingKey::from_der(&key).ok().context("no RSA key")?;
    OaepPublicEncryptingKey::new(key).ok().context("an RSA key that cannot encrypt")
}

/// Hex of the ciphertext of the hex of the PIN's ASCII digits.
fn encrypted(key: &OaepPublicEncryptingKey, pin: &[u8]) -> anyhow::Result<String> {
    let mut cipher = vec![0; key.ciphertext_size()];
    let text = zeroize::Zeroizing::new(hex::encode(pin));
    let sealed = key.encrypt(&OAEP_SHA256_MGF1SHA256, text.as_bytes(), &mut cipher, None);
    Ok(hex::encode(sealed.ok().context("encryption")?))
}

impl Tour<'_> {
    /// Goes through the doors, if there are any.
    pub(super) async fn doors(&mut self, chapter: usize) -> anyhow::Result<()> {
        let Some(address) = self.config.http.as_ref().map(|http| http.listen) else {
            return Ok(());
        };
        let title = "The five HTTP doors, one request inside";
        say(&format!("\n{}\n", self.style.bold(&format!("{chapter:>2}  {title}"))))?;
        for step in steps(self)? {
            let Step { door, what, want, .. } = step;
            let begun = self.clock.now();
            let path = step.path.split('?').next().unwrap_or_default();
            let answered = loop {
                let asked = self.clock.now();
                let body = if step.body.is_null() { String::new() } else { step.body.to_string() };
                let ask = Ask {
                    method: step.method.clone(),
                    path: &step.path,
                    headers: step.headers,
                    body,
                    bytes_max: ADMIN_ANSWER_BYTES_MAX,
                };
                let answered = exchange(address, ask).await;
                let took = self.clock.now().saturating_sub(asked);
                let status = answered.map(|(status, _)| status);
                // The card's last change may be on its way back.
                let busy = matches!(status, Ok(503)) && took < PATIENCE;
                if !busy || PATIENCE < self.clock.now().saturating_sub(begun) {
                    break status.map(|status| (status, took));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            let mut result = Result {
                chapter,
                what,
                link: door,
                want,
                got: String::new(),
                took: None,
                wrong: None,
            };
            match answered {
                Ok((status, took)) => {
                    result.got = status.to_string();
                    result.took = Some(took);
                    if result.got != want {
                        result.wrong = Some(format!("expected {want}"));
                    }
                }
                Err(error) => result.wrong = Some(format!("{error:#}")),
            }
            let verdict = match &result.wrong {
                None => self.style.green("as expected"),
                Some(wrong) => self.style.red(&format!("NOT AS EXPECTED: {wrong}")),
            };
            say(&format!(
                "    {what} · {door} {address}\n      in   {} {path}\n      out  {}  · {} · {verdict}\n",
                step.method,
                result.got,
                millis(result.took)
            ))?;
            self.results.push(result);
        }
        Ok(())
    }
}
