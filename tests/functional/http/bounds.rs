//! Credentials, rights, rates, signatures, bodies that are none, reload and drain.
//!
//! **Never here:** a vendor's codes (`codes`).

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::Sha256;

use super::ATM;
use super::client::{Answer, Doors, EQUALS, P100, clients, place};
use crate::support::eventually;
use crate::support::node::done;
use crate::support::vectors::{PLAIN, block_hex};

fn apac_body(current: &str, new: &str) -> String {
    json!({
        "currentPinBlock": block_hex("zpk.atm", PLAIN, current),
        "requestedPinBlock": block_hex("zpk.atm", PLAIN, new),
        "pinChannel": "A",
    })
    .to_string()
}

const APAC: &str = "/v1/cards/0009544410000000011/pinBlockChange";

/// Each door: nothing in the credentials tells which part was wrong, and nothing is done.
#[test]
fn wrong_credentials() {
    let doors = Doors::start();
    let latam = |headers: &[(&str, &str)]| doors.ask("PUT", "/cards/pin/pin-change", headers, "{}");
    let bearer = ("authorization", "Bearer t-latam");
    let (key, id) = (("apikey", "k-latam"), ("x-clientid", "00970"));
    let refused = [
        latam(&[]),
        latam(&[bearer]),
        latam(&[bearer, key]),
        latam(&[bearer, ("apikey", "x"), id]),
        latam(&[bearer, key, ("x-clientid", "1")]),
        latam(&[("authorization", "Bearer t-apac"), key, id]),
    ];
    for answer in &refused {
        assert_eq!((answer.status, &answer.body), (401, &refused[0].body));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    // A token of one door opens no other.
    for token in ["Bearer t-latam", "Bearer t-p100", "ApiKey t-equals", "Basic eA=="] {
        let headers = [("authorization", token), ("content-type", "application/json")];
        assert_eq!(doors.ask("PUT", APAC, &headers, &apac_body("1234", "2580")).status, 401);
    }
    assert_eq!(doors.node.connect("atm-1").code(&ATM.verify(PLAIN, "1234")), "00");
}

/// Whatever is sent instead of a request: the door's validation error, never 500.
#[test]
fn bodies_that_are_none() {
    let doors = Doors::start();
    let bodies = [
        "",
        " ",
        "null",
        "1",
        "\"x\"",
        "[]",
        "{",
        "{}",
        "{\"a\":1}",
        "\u{0}",
        "{\"pin\":null}",
        "{\"pin\":{\"pin\":\"1\"}}",
        "{\"pin\":1e999}",
        "\u{feff}{}",
    ];
    let long = "x".repeat(17 * 1024);
    for body in bodies {
        let json: Result<Value, _> = serde_json::from_str(body);
        let answers: [(&str, Answer); 4] = [
            ("apac", doors.apac("0009544410000000011", body)),
            ("p100", doors.ask("PATCH", "/v1/card/pin", &[("x-api-key", "t-p100")], body)),
            ("latam", {
                let bearer = ("authorization", "Bearer t-latam");
                let headers = [bearer, ("apikey", "k-latam"), ("x-clientid", "00970")];
                doors.ask("PUT", "/cards/pin/pin-change", &headers, body)
            }),
            ("postcard", {
                let path = "/card-management/api/v1/card/changePin?isActiveActive=false";
                doors.ask("POST", path, &[("authorization", "Bearer t-postcard")], body)
            }),
        ];
        for (door, answer) in answers {
            assert!(matches!(answer.status, 400 | 422), "{door} {body:?}: {answer:?}");
            assert!(!answer.json().is_null(), "{door} {json:?}");
        }
    }
    for answer in [
        doors.apac("0009544410000000011", &long),
        doors.ask("PATCH", "/v1/card/pin", &[("x-api-key", "t-p100")], &long),
        doors.equals("PUT", EQUALS, "", &long),
        doors.latam(&json!({ "x": long })),
        doors.postcard("isActiveActive=false", &json!({ "x": long })),
    ] {
        assert_eq!(answer.status, 413, "{answer:?}");
    }
    // Also where no length is announced.
    let mut stream = {
        let mut head =
            String::from("PATCH /v1/card/pin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        head.push_str("x-api-key: t-p100\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut stream = crate::support::wire::tcp(doors.port);
        stream.write_all(head.as_bytes()).expect("written");
        stream
    };
    let _ = stream.write_all(format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()).as_bytes());
    assert_eq!(Answer::read(&mut stream).status, 413);
    // A path that is no UTF-8.
    let answer = doors.apac("%ff", &apac_body("1234", "2580"));
    assert_eq!((answer.status, &answer.json()[0]["errorCode"]), (400, &"240010".into()));
}

#[test]
fn a_client_that_asks_too_fast() {
    let slow = clients().replace("per_second = 10000\nburst = 10000", "per_second = 1\nburst = 2");
    let doors = Doors::of(place(&slow, ""));
    let ask = || doors.apac("0009544410000009999", &apac_body("1234", "2580"));
    assert_eq!([ask().status, ask().status], [404, 404]);
    let answer = ask();
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Each client has its own rate.
    let body = json!({ "externalUserId": P100.0, "cardId": P100.1, "pin": "1379" });
    assert_eq!(doors.p100(&body).status, 200);
}

/// `pinion clients add`, the client's first request, its signature, and its end.
#[test]
fn a_client_is_added_signs_and_is_revoked() {
    let doors = Doors::start();
    let config = doors.node.place.config();
    let list = || done(&["clients", "--config", &config, "list", "--json"], "");
    let before: Value = serde_json::from_str(&list()).expect("JSON");
    let add = ["clients", "--config", &config, "--json", "add", "signer", "--signature"];
    let more = ["--door", "firstvision-apac", "--zpk", "zpk.atm"];
    let added: Value = serde_json::from_str(&done(&[&add[..], &more].concat(), "")).expect("JSON");
    let (token, secret) = (added["token"].as_str(), added["signature_secret"].as_str());
    let (token, secret) = (token.expect("a token"), secret.expect("a secret"));
    let file = std::fs::read_to_string(doors.node.place.path("clients.toml")).expect("read");
    assert!(!file.contains(token) && !file.contains(secret), "secrets are not kept");
    let reload = |times: usize| {
        doors.node.signal(Signal::HUP);
        eventually("the reload", || {
            (times <= doors.node.output().matches("configuration reloaded").count()).then_some(())
        });
    };
    reload(1);
    let bearer = format!("Bearer {token}");
    let ask = |body: &str, signature: Option<String>| {
        let mut headers =
            vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        headers.extend(signature.as_deref().map(|text| ("signature", text)));
        doors.ask("PUT", APAC, &headers, body)
    };
    let sign = |body: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
        mac.update(body.as_bytes());
        Some(STANDARD.encode(mac.finalize().into_bytes()))
    };
    let body = apac_body("1234", "2580");
    let wrong = [None, Some("x".to_owned()), Some(STANDARD.encode([0; 32])), sign("other")];
    for signature in wrong {
        assert_eq!(ask(&body, signature).status, 401);
    }
    let mut atm = doors.node.connect("atm-1");
    assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "00", "nothing was done");
    assert_eq!(ask(&body, sign(&body)).status, 200);
    assert_eq!(atm.code(&ATM.verify(PLAIN, "2580")), "00");

    done(&["clients", "--config", &config, "revoke", "signer"], "");
    let after: Value = serde_json::from_str(&list()).expect("JSON");
    assert_eq!(after, before);
    reload(2);
    let body = apac_body("2580", "4826");
    assert_eq!(ask(&body, sign(&body)).status, 401);
}

/// Told to stop, the switch answers what has begun and takes nothing new.
#[test]
fn a_request_under_way_is_answered_while_draining() {
    let mut doors = Doors::start();
    let body = apac_body("1234", "2580");
    let headers = [("authorization", "Bearer t-apac"), ("content-type", "application/json")];
    let mut stream = doors.begin("PUT", APAC, &headers, body.len());
    let (first, rest) = body.split_at(20);
    stream.write_all(first.as_bytes()).expect("written");
    let admin = [("link", "firstvision-apac")];
    eventually("in flight", || (doors.node.metric("pinion_in_flight", &admin) == 1).then_some(()));
    doors.node.signal(Signal::TERM);
    eventually("draining", || doors.node.output().contains("draining").then_some(()));
    eventually("closed to others", || {
        std::net::TcpStream::connect(("127.0.0.1", doors.port)).is_err().then_some(())
    });
    stream.write_all(rest.as_bytes()).expect("written");
    assert_eq!(Answer::read(&mut stream).status, 200);
    assert!(doors.node.ended().success());
}

/// Plain HTTP beyond this machine needs a word in the configuration.
#[test]
fn plain_http_stays_on_this_machine() {
    let (place, _) = place(&clients(), "");
    let check = || {
        let config = place.config();
        let mut command = crate::support::node::pinion(&["check", "--config", &config]);
        command.output().expect("run")
    };
    assert!(check().status.success());
    place.replace("[http]\nlisten = \"127.0.0.1", "[http]\nlisten = \"0.0.0.0");
    let refused = check();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{told}");
    assert!(told.contains("http.listen: not a loopback address"), "{told}");
    place.replace("[http]\n", "[http]\nallow_plain = true\n");
    assert!(check().status.success());
}
