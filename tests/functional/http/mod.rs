//! The five HTTP doors: what their clients see, and that the new PIN works at the ISO link afterwards.
//!
//! **Never here:** a test of one door's codes (`codes`), of credentials and bounds (`bounds`), of TLS (`tls`).

mod active;
mod bounds;
mod client;
mod codes;
mod failures;
mod idempotency;
mod jwt;
mod tls;

use serde_json::json;

use crate::support::eventually;
use crate::support::iso::ISO87_ASCII;
use crate::support::request::Terminal;
use crate::support::vectors::{PLAIN, block_hex};

use client::{Doors, EQUALS, P100, RSA, encrypted};

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");

#[test]
fn latam_changes_a_pin() {
    let doors = Doors::start();
    let body = json!({
        "organizationNumber": 600, "cardNumber": PLAIN, "channel": "A", "keyAssociationNumber": "IAT",
        "currPinBlock": block_hex("zpk.atm", PLAIN, "1234"),
        "reqdPinBlock": block_hex("zpk.atm", PLAIN, "2580"),
    });
    let answer = doors.latam(&body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["hasError"], false);
    assert_eq!(answer.json()["data"]["cardNumber"], "4761xxxxxxxx0010");
    let mut atm = doors.node.connect("atm-1");
    assert_eq!(atm.code(&ATM.verify(PLAIN, "2580")), "00");
    assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "55");
    // The same card by its token, in the seed's words.
    let body = json!({
        "organization": 600, "cardNumber": "000123456ID5IXX1234", "channel": "A",
        "currentPinBlock": block_hex("zpk.atm", PLAIN, "2580"),
        "newPinBlock": block_hex("zpk.atm", PLAIN, "4826"),
    });
    let answer = doors.latam(&body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["data"]["cardNumber"], "000123456ID5IXX1234");
    assert_eq!(atm.code(&ATM.verify(PLAIN, "4826")), "00");
}

#[test]
fn apac_changes_a_pin_and_gives_headers_back() {
    let doors = Doors::start();
    let body = json!({
        "currentPinBlock": block_hex("zpk.atm", PLAIN, "1234"),
        "requestedPinBlock": block_hex("zpk.atm", PLAIN, "2580"),
        "pinOffset": 0, "pinChannel": "A", "keyAssociation": " ", "unknown": [1],
    });
    let headers = [
        ("authorization", "Bearer t-apac"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-client-correlation-id", "c-1"),
        ("x-client-user-id", "u-1"),
    ];
    let path = "/v1/cards/0009544410000000011/pinBlockChange?businessUnit=600";
    let answer = doors.ask("PUT", path, &headers, &body.to_string());
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{answer:?}");
    assert_eq!(answer.header("x-client-correlation-id"), Some("c-1"));
    assert_eq!(answer.header("x-client-user-id"), Some("u-1"));
    assert_eq!(answer.header("x-client-trace-id"), None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(doors.node.connect("atm-1").code(&ATM.verify(PLAIN, "2580")), "00");
    let counted = [("link", "firstvision-apac"), ("operation", "change"), ("code", "200")];
    assert_eq!(doors.node.metric("pinion_requests_total", &counted), 1);
}

#[test]
fn postcard_changes_a_pin() {
    let doors = Doors::start();
    let body = json!({
        "pan": PLAIN, "seqNr": "000", "expiryDate": "3012", "accountType": "20", "userId": "Alex",
        "pin": encrypted(&doors, "31333739"), "oldPin": encrypted(&doors, "31323334"), "cvv2": "123",
    });
    let answer = doors.postcard("isActiveActive=false", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!((&answer["code"], &answer["description"]), (&"00".into(), &"Successful".into()));
    let id = answer["correlationId"].as_str().expect("text");
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    // The line is written behind the answer.
    eventually("the log has the same id", || doors.node.output().contains(id).then_some(()));
    assert_eq!(doors.node.connect("atm-1").code(&ATM.verify(PLAIN, "1379")), "00");
    // A wrong PIN, no PIN, no ciphertext: one answer.
    let good = encrypted(&doors, "31323334");
    let answers =
        [encrypted(&doors, "34333231"), encrypted(&doors, "00"), "AB".repeat(256), "AB".into()]
            .map(|old| {
                let mut body = body.clone();
                (body["oldPin"], body["pin"]) = (old.into(), good.clone().into());
                let mut answer = doors.postcard("isActive=false", &body).json();
                answer["correlationId"] = "".into();
                answer
            });
    assert_eq!(answers[0]["code"], "11005");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn p100_sets_a_pin() {
    let doors = Doors::start();
    let answer = doors.p100(&json!({
        "externalUserId": P100.0, "cardId": P100.1, "pin": "1379",
    }));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({ "message": "Card pin updated successfully" }));
}

#[test]
fn equals_shows_sets_and_draws_pins() {
    let doors = Doors::start();
    let shown = |want: &str| {
        let answer = doors.equals("GET", EQUALS, "&cardholderVerificationMethod=LOGIN", "");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!((answer.status, answer.json()), (200, json!({ "pin": want })));
    };
    shown("7268");
    let answer = doors.equals("PUT", EQUALS, "", r#"{"pin":"1379"}"#);
    assert_eq!((answer.status, answer.json()), (200, json!({ "success": true })));
    shown("1379");
    let answer = doors.equals("PUT", EQUALS, "", "{}");
    assert_eq!(answer.status, 200);
    let drawn = answer.json()["pin"].as_str().expect("a PIN").to_owned();
    assert!(drawn.len() == 4 && drawn.bytes().all(|b| b.is_ascii_digit()));
    shown(&drawn);
}

#[test]
fn the_document_and_its_page() {
    let doors = Doors::start();
    let committed = include_str!("../../../spec/openapi.json");
    let committed: serde_json::Value = serde_json::from_str(committed).expect("JSON");
    assert_eq!(doors.ask("GET", "/openapi.json", &[], "").json(), committed);
    for (path, content_type) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/page.js", "text/javascript; charset=utf-8"),
        ("/docs/page.css", "text/css; charset=utf-8"),
    ] {
        let answer = doors.ask("GET", path, &[], "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)));
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
    }
    assert_eq!(doors.ask("GET", "/nothing", &[], "").status, 404);
    assert_eq!(doors.ask("POST", "/docs", &[], "").status, 405);
}

/// The key pair is made once a run of the tests.
#[test]
fn the_key_pair_of_the_tests_is_there() {
    assert!(RSA.1.contains("BEGIN PUBLIC KEY"));
}
