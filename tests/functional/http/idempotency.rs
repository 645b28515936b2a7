//! The same key with the same request, and with another one.
//!
//! **Never here:** repeats of ISO messages (`repeats`).

use serde_json::json;

use super::ATM;
use super::client::{Answer, Doors, P100};
use crate::support::vectors::{PLAIN, block_hex, further_cards};

fn change(doors: &Doors, key: &str, current: &str, new: &str) -> Answer {
    let body = json!({
        "currentPinBlock": block_hex("zpk.atm", PLAIN, current),
        "requestedPinBlock": block_hex("zpk.atm", PLAIN, new),
        "pinChannel": "A",
    });
    let headers = [
        ("authorization", "Bearer t-apac"),
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let path = "/v1/cards/0009544410000000011/pinBlockChange";
    doors.ask("PUT", path, &headers, &body.to_string())
}

#[test]
fn a_repeat_gets_the_same_answer_and_changes_nothing() {
    let mut doors = Doors::start();
    let first = change(&doors, "k-1", "1234", "2580");
    assert_eq!(first.status, 200, "{first:?}");
    // Were it done again, the current PIN would be wrong.
    for _ in 0..2 {
        let again = change(&doors, "k-1", "1234", "2580");
        assert_eq!((again.status, again.body), (first.status, first.body.clone()));
    }
    assert_eq!(doors.node.connect("atm-1").code(&ATM.verify(PLAIN, "2580")), "00");
    let declined = change(&doors, "k-2", "1234", "4826");
    assert_eq!(declined.status, 400, "{declined:?}");
    assert_eq!(change(&doors, "k-2", "1234", "4826").body, declined.body);
    // A repeat after a restart is one, too.
    doors.node.kill_and_restart();
    assert_eq!(change(&doors, "k-1", "1234", "2580").status, 200);
    assert_eq!(doors.node.connect("atm-1").code(&ATM.verify(PLAIN, "2580")), "00");
}

#[test]
fn the_key_of_another_request_is_refused() {
    let doors = Doors::start();
    assert_eq!(change(&doors, "k-1", "1234", "2580").status, 200);
    let other = change(&doors, "k-1", "2580", "4826");
    assert_eq!((other.status, &other.json()[0]["errorCode"]), (422, &"240010".into()));
    assert_eq!(doors.node.connect("atm-1").code(&ATM.verify(PLAIN, "2580")), "00");
    let set = |pin: &str| {
        let headers = [("x-api-key", "t-p100"), ("idempotency-key", "k-1")];
        let body = json!({ "externalUserId": P100.0, "cardId": P100.1, "pin": pin });
        doors.ask("PATCH", "/v1/card/pin", &headers, &body.to_string())
    };
    // Another client's key of the same name is another key.
    assert_eq!(set("1379").status, 200);
    assert_eq!(set("1379").status, 200);
    let other = set("2580");
    assert_eq!((other.status, &other.json()["code"]), (422, &"P403".into()));
}

#[test]
fn keys_that_are_none() {
    let doors = Doors::start();
    for key in [" ".to_owned(), "k".repeat(65), "k\u{e9}".to_owned()] {
        let answer = change(&doors, &key, "1234", "2580");
        assert_eq!((answer.status, &answer.json()[0]["source"]), (400, &"AGT".into()), "{key:?}");
    }
    assert_eq!(change(&doors, &"k".repeat(64), "1234", "2580").status, 200);
}

/// Many changes of one card at once, by HTTP and by ISO: each is done or told that it was not, and none is lost.
#[test]
fn one_winner_each() {
    let doors = Doors::start();
    let card = further_cards().swap_remove(0);
    let pins = ["1379", "2580", "4826"];
    let mut current = "1234";
    for round in 0..12 {
        let mut others = pins.into_iter().cycle().skip(round).filter(|pin| *pin != current);
        let (by_http, by_iso) = (others.next().expect("a PIN"), others.next().expect("a PIN"));
        let (http, iso) = std::thread::scope(|scope| {
            let http = scope.spawn(|| {
                doors.latam(&json!({
                    "organizationNumber": 600, "cardNumber": card, "channel": "A",
                    "currPinBlock": block_hex("zpk.atm", &card, current),
                    "reqdPinBlock": block_hex("zpk.atm", &card, by_http),
                }))
            });
            let iso = scope
                .spawn(|| doors.node.connect("atm-1").code(&ATM.change(&card, current, by_iso)));
            (http.join().expect("an answer"), iso.join().expect("an answer"))
        });
        // Whoever came second had the wrong current PIN, unless the rules refused the new one.
        let holds = |pin: &str| doors.node.connect("atm-1").code(&ATM.verify(&card, pin)) == "00";
        current = match (http.status, iso.as_str()) {
            (200, "55") => by_http,
            (422, "00") => by_iso,
            (status, code) => panic!("round {round}: {status} and {code}: {http:?}"),
        };
        assert!(holds(current), "round {round}: the winner's PIN holds");
    }
}
