//! The vendors' error codes: one row a code that a client can bring about.
//!
//! **Never here:** codes of our own failures, which no client provokes (unit tests hold those).

use serde_json::{Value, json};

use super::client::{Doors, EQUALS, P100, clients, place};
use crate::support::node::done;
use crate::support::vectors::{CHIP, PLAIN, block_hex, further_cards, no_pin_block, unknown_card};

/// A body of `firstvision-latam` with some fields changed; `null` takes one out.
fn latam(pan: &str, current: &str, new: &str, changes: &Value) -> Value {
    let known = |pin: &str| block_hex("zpk.atm", if pan.len() < 16 { PLAIN } else { pan }, pin);
    let mut body = json!({
        "organizationNumber": 600, "cardNumber": pan, "channel": "A",
        "currPinBlock": known(current), "reqdPinBlock": known(new),
    });
    for (name, value) in changes.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// One of the further cards, whose account's status allows no change in these tests.
fn not_allowed() -> String {
    further_cards().swap_remove(1)
}

/// Doors, and a card with an account status that the world has not.
fn with_account_status() -> Doors {
    let (place, port) = place(&clients(), "");
    let row = json!([{
        "pan": not_allowed(), "seq": "000", "expiry": "3012", "product": "visa-debit", "status": "active",
        "pvv": "0000", "account_status": "not-allowed", "payment_instrument_id": "0009544410000000018",
    }]);
    let file = place.path("more.json");
    std::fs::write(&file, row.to_string()).expect("written");
    let (config, file) = (place.config(), file.display().to_string());
    done(&["cards", "import", "--config", &config, "--replace", &file], "");
    Doors::of((place, port))
}

#[test]
fn codes_of_latam() {
    let doors = with_account_status();
    let none = json!({});
    let no_pin = hex::encode_upper(no_pin_block("zpk.atm"));
    let unknown = unknown_card();
    let card = |tail: &str| format!("4761739001{tail}");
    let with = |changes: Value| latam(PLAIN, "1234", "2580", &changes);
    for (want, status, body) in [
        ("VPL5SCP06S", 422, with(json!({ "organizationNumber": 999 }))),
        ("VPL5SCP06S", 422, with(json!({ "organizationNumber": "x" }))),
        ("VPL5SCP08S", 422, with(json!({ "cardNumber": "4761-7390-0101" }))),
        ("VPL5SCP09S", 422, latam(PLAIN, "4321", "2580", &none)),
        ("VPL5SCP09S", 422, with(json!({ "currPinBlock": no_pin }))),
        ("VPL5SCP09S", 422, with(json!({ "currPinBlock": "1234" }))),
        ("VPL5SCP10S", 422, latam(PLAIN, "1234", "7777", &none)),
        ("VPL5SCP10S", 422, with(json!({ "reqdPinBlock": "nohexnohexnohexn" }))),
        ("VPL5SCP11S", 422, with(json!({ "pinOffset": 12345 }))),
        ("VPL5SCP12S", 422, with(json!({ "channel": "Z" }))),
        ("VPL5SCP13S", 422, with(json!({ "channel": " " }))),
        ("VPL5SCP14S", 422, with(json!({ "keyAssociationNumber": " " }))),
        ("VPL5SCP20S", 422, with(json!({ "organizationNumber": 601 }))),
        ("VPL5SCP23S", 422, latam(&card("010077"), "1234", "2580", &none)),
        ("VPL5SCP22S", 422, latam(&card("010085"), "1234", "2580", &none)),
        ("VPL5SCP24S", 422, latam(&card("010093"), "1234", "2580", &none)),
        ("VPL5SCP25S", 422, latam(&card("010101"), "1234", "2580", &none)),
        ("VPL5SCP25S", 422, latam(&card("010119"), "1234", "2580", &none)),
        ("VPL5SCP26S", 422, latam(&card("010028"), "4321", "2580", &none)),
        ("VPL5SCP26S", 422, latam(&card("010069"), "1234", "2580", &none)),
        ("VPL5SCP27S", 422, latam(CHIP, "2580", "1379", &json!({ "channel": "W" }))),
        ("VPL5SCP27S", 422, latam(CHIP, "2580", "1379", &json!({ "channel": "I" }))),
        ("VPL5SCP28S", 422, latam(&card("010044"), "1234", "2580", &none)),
        ("VPL5SCP29S", 422, latam(&card("010051"), "1234", "2580", &none)),
        ("VPL5SCP30S", 422, latam(&card("010036"), "1234", "2580", &none)),
        ("VPL5SCP31S", 422, with(json!({ "keyAssociationNumber": "IZZ" }))),
        ("VPL5SCP41S", 422, with(json!({ "cardNumber": "0000000000000000" }))),
        ("VPL5SCP41S", 422, with(json!({ "cardNumber": null }))),
        ("VPL5SCP42S", 404, with(json!({ "cardNumber": "000123456ID5IXX9999" }))),
        ("VPL5SCP42S", 404, with(json!({ "cardNumber": unknown }))),
    ] {
        let answer = doors.latam(&body);
        let got = answer.json();
        assert_eq!(got["errors"][0]["code"], want, "{body} {answer:?}");
        assert_eq!((answer.status, &got["hasError"]), (status, &true.into()), "{want}");
        assert_eq!(got["data"], Value::Null);
    }
    let body = latam(&not_allowed(), "1234", "2580", &none);
    assert_eq!(doors.latam(&body).json()["errors"][0]["code"], "VPL5SCP21S");
    let token = with(json!({ "cardNumber": "000123456ID5IXX1234" }));
    let answer = doors.latam_as("t-latam-plain", &token);
    assert_eq!(answer.json()["errors"][0]["code"], "VPL5SCP43S");
}

/// A body of `firstvision-apac`.
fn apac(current: &str, new: &str, pan: &str, channel: &str) -> String {
    json!({
        "currentPinBlock": block_hex("zpk.atm", pan, current),
        "requestedPinBlock": block_hex("zpk.atm", pan, new),
        "pinChannel": channel,
    })
    .to_string()
}

#[test]
fn codes_of_apac() {
    let doors = with_account_status();
    let plain = apac("1234", "2580", PLAIN, "A");
    for (want, instrument, body) in [
        ("V5CP4001SA: ORGANIZATION RECORD NOT FOUND", "0009544410000009999", plain.clone()),
        (
            "V5CP4004SA: ACCOUNT BLOCKED, PIN CHANGE NOT ALLOWED",
            "0009544410000000017",
            plain.clone(),
        ),
        (
            "V5CP4003SA: INVALID ACCOUNT TYPE, PIN CHANGE NOT ALLOWED",
            "0009544410000000041",
            plain.clone(),
        ),
        ("V5CP4005SA: ACCOUNT DOES NOT HAVE ACTIVE CARDS", "0009544410000000019", plain.clone()),
        (
            "V5CP4006SA: INVALID CARD STATUS, PIN CHANGE NOT ALLOWED",
            "0009544410000000020",
            plain.clone(),
        ),
        ("V5CP4007SA: CARD BLOCKED, PIN CHANGE NOT ALLOWED", "0009544410000000012", plain.clone()),
        (
            "V5CP4008SA: PIN CHANGE NOT ALLOWED FOR SMART CARDS THROUGH WEB OR IVR",
            "0009544410000000031",
            apac("2580", "1379", CHIP, "W"),
        ),
        (
            "V5CP4009SA: CARD IS NOT ACTIVATED, PIN CHANGE NOT ALLOWED",
            "0009544410000000014",
            plain.clone(),
        ),
        (
            "V5CP4010SA: PIN SUPPRESSION IS ON, PIN CHANGE NOT ALLOWED",
            "0009544410000000015",
            plain.clone(),
        ),
    ] {
        let answer = doors.apac(instrument, &body);
        let want = json!([{
            "detail": "Please refer to invalid-params for error details",
            "errorCode": "440401",
            "instance": format!("/v1/cards/{instrument}/pinBlockChange"),
            "invalid-params": [want],
            "source": "VPL",
            "status": 404,
            "title": "Not found",
        }]);
        assert_eq!((answer.status, answer.json()), (404, want));
    }
    let answer = doors.apac("0009544410000000018", &plain).json();
    let want = "V5CP4002SA: INVALID ACCOUNT STATUS, PIN CHANGE NOT ALLOWED";
    assert_eq!(answer[0]["invalid-params"], json!([want]));
    // Seed 001 as it is printed, byte for byte but for white space.
    let seed = concat!(
        r#"[{"detail":"Please refer to invalid-params for error details","errorCode":"440401","#,
        r#""instance":"/v1/cards/0009544410000000041/pinBlockChange","#,
        r#""invalid-params":["V5CP4003SA: INVALID ACCOUNT TYPE, PIN CHANGE NOT ALLOWED"],"#,
        r#""source":"VPL","status":404,"title":"Not found"}]"#
    );
    assert_eq!(doors.apac("0009544410000000041", &plain).body, seed);
}

#[test]
fn codes_of_the_gateway_of_apac() {
    let doors = Doors::start();
    let plain = apac("1234", "2580", PLAIN, "A");
    let path = "/v1/cards/0009544410000000011/pinBlockChange";
    let (token, json) = (("authorization", "Bearer t-apac"), ("content-type", "application/json"));
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(17 * 1024));
    let set =
        json!({ "requestedPinBlock": block_hex("zpk.atm", PLAIN, "2580"), "pinChannel": "A" });
    let set = set.to_string();
    let wrong = apac("4321", "2580", PLAIN, "A");
    for (want, status, method, headers, body) in [
        ("240002", 401, "PUT", vec![json], plain.as_str()),
        ("240004", 401, "PUT", vec![("authorization", "Bearer nobody"), json], &plain),
        ("240101", 401, "PUT", vec![token, json], &set),
        ("240006", 400, "PUT", vec![token, json], ""),
        ("240007", 400, "PUT", vec![token, json], "{\"requested"),
        ("240007", 400, "PUT", vec![token, json], "[1]"),
        ("240008", 400, "PUT", vec![token, json], r#"{"requestedPinBlock":1,"pinChannel":"A"}"#),
        ("240009", 400, "PUT", vec![token, json], "{}"),
        ("240010", 400, "PUT", vec![token, json], r#"{"requestedPinBlock":"1","pinChannel":"A"}"#),
        ("240005", 413, "PUT", vec![token, json], &long),
        ("240501", 405, "GET", vec![token], ""),
        ("241502", 415, "PUT", vec![token], &plain),
        ("241503", 415, "PUT", vec![token, ("content-type", "text/plain")], &plain),
        ("340001", 400, "PUT", vec![token, json], &wrong),
    ] {
        let answer = doors.ask(method, path, &headers, body);
        let got = &answer.json()[0];
        assert_eq!(got["errorCode"], want, "{answer:?}");
        assert_eq!((answer.status, &got["status"]), (status, &status.into()), "{want}");
    }
}

#[test]
fn codes_of_postcard() {
    let doors = Doors::start();
    let body = json!({
        "pan": unknown_card(), "seqNr": "000", "expiryDate": "3012", "accountType": "20",
        "userId": "Alex", "pin": "AB", "oldPin": "AB",
    });
    let without = |name: &str| {
        let mut body = body.clone();
        body.as_object_mut().expect("an object").remove(name);
        body
    };
    let unreadable = doors.postcard("isActiveActive=false", &json!([]));
    assert_eq!((unreadable.status, &unreadable.json()["code"]), (400, &"10400".into()));
    for (query, body, error) in [
        ("", body.clone(), "isActiveActive is required"),
        ("isActiveActive=maybe", body.clone(), "isActiveActive has a wrong type"),
        ("isActiveActive=true", without("oldPin"), "oldPin is required"),
        ("isActiveActive=false", without("pan"), "pan is required"),
    ] {
        let answer = doors.postcard(query, &body);
        let got = answer.json();
        assert_eq!((answer.status, &got["code"]), (422, &"10422".into()), "{answer:?}");
        assert_eq!(got["errors"], json!([error]));
    }
    // A client that may not set PINs needs the current one.
    let answer = doors.postcard("isActiveActive=false", &without("oldPin"));
    assert_eq!((answer.status, &answer.json()["code"]), (403, &"10403".into()));

    let mut real = body.clone();
    let pin = super::client::encrypted(&doors, "32353830");
    (real["pin"], real["oldPin"]) = (pin.clone().into(), pin.into());
    let answer = doors.postcard("isActiveActive=false", &real);
    let got = answer.json();
    assert_eq!((answer.status, &got["code"]), (404, &"10404".into()), "{answer:?}");
    assert_eq!(got["description"], "No result found");
}

#[test]
fn codes_of_p100() {
    let doors = Doors::start();
    let body = |user: &str, card: &str, pin: Value| json!({ "externalUserId": user, "cardId": card, "pin": pin });
    for (want, body) in [
        ("P403", body(P100.0, P100.1, "12".into())),
        ("P403", body(P100.0, P100.1, 1234.into())),
        ("P403", json!({})),
        ("P434", body(P100.0, "nobody's", "1379".into())),
        ("P434", body("somebody else", P100.1, "1379".into())),
        // A card of another partner's: it has no such owner.
        ("P434", body(P100.0, EQUALS.2, "1379".into())),
    ] {
        let answer = doors.p100(&body);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &want.into()), "{body}");
    }
    let answer = doors.ask("PATCH", "/v1/card/pin", &[], "{}");
    assert_eq!((answer.status, &answer.json()["message"]), (401, &"Access Denied".into()));
    let none = body(P100.0, P100.1, "1379".into()).to_string();
    let answer = doors.ask("PATCH", "/v1/card/pin", &[("x-api-key", "t-p100-none")], &none);
    assert_eq!((answer.status, &answer.json()["message"]), (401, &"Access Denied".into()));
}

#[test]
fn statuses_of_equals() {
    let doors = Doors::start();
    let method = "&cardholderVerificationMethod=LOGIN";
    let (account, person, card) = EQUALS;
    for (want, owner, query) in [
        (400, EQUALS, ""),
        (400, EQUALS, "&cardholderVerificationMethod=GUESS"),
        (404, (account, person, "nobody's"), method),
        (404, ("F0", person, card), method),
        (404, (account, "someone", card), method),
        (404, (account, person, P100.1), method),
    ] {
        assert_eq!(doors.equals("GET", owner, query, "").status, want, "{owner:?} {query}");
    }
    for (want, token) in
        [(401, None), (403, Some("ApiKey nobody")), (403, Some("ApiKey t-equals-set"))]
    {
        let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        let path = format!("/v2/cards/{card}/pin?accountId={account}&personId={person}{method}");
        assert_eq!(doors.ask("GET", &path, &headers, "").status, want, "{token:?}");
    }
    assert_eq!(doors.equals("PUT", EQUALS, "", r#"{"pin":"12"}"#).status, 400);
    assert_eq!(doors.equals("PUT", EQUALS, "", "x").status, 400);
    assert_eq!(doors.equals("PUT", EQUALS, "", "").status, 200, "a PIN is drawn");
    assert_eq!(doors.equals("POST", EQUALS, "", "{}").status, 405);
}

/// A product that keeps no PIN to show answers 409.
#[test]
fn a_pin_that_cannot_be_shown() {
    let (place, port) = place(&clients(), "");
    place.replace("recoverable = true", "recoverable = false");
    let doors = Doors::of((place, port));
    let answer = doors.equals("GET", EQUALS, "&cardholderVerificationMethod=LOGIN", "");
    assert_eq!(answer.status, 409, "{answer:?}");
}

/// Nobody's card and somebody else's: the same body and status.
#[test]
fn existence_is_not_told() {
    let doors = Doors::start();
    let known = latam(PLAIN, "1234", "2580", &json!({}));
    let mut other_organization = known.clone();
    other_organization["cardNumber"] = "4761740000000010".into();
    let mut unknown = known;
    unknown["cardNumber"] = unknown_card().into();
    let [one, two] = [other_organization, unknown].map(|body| doors.latam(&body));
    assert_eq!((one.status, &one.body), (two.status, &two.body));
    assert_eq!(one.status, 404);
}
