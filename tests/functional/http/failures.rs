//! What a client is told when the switch cannot: and that nobody learns from the time an answer takes whose card it is.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Doors, EQUALS, P100, clients, encrypted, place};
use crate::support::now;
use crate::support::store::is_skipped;
use crate::support::vectors::{PLAIN, block_hex, further_cards};

/// A switch whose table of transaction keys is full takes no new request: the vendors' words for it.
#[test]
fn a_switch_that_is_full_says_so_in_each_doors_words() {
    if is_skipped("a_switch_that_is_full_says_so_in_each_doors_words") {
        return;
    }
    let (place, port) = place(&clients(), "");
    place.replace("[store]", "[store]\ntransaction_keys_max = 1");
    let doors = Doors::of((place, port));
    let blocks = |pan: &str| (block_hex("zpk.atm", pan, "1234"), block_hex("zpk.atm", pan, "2580"));
    let (current, new) = blocks(PLAIN);
    let latam = json!({
        "organizationNumber": 600, "cardNumber": PLAIN, "channel": "A",
        "currPinBlock": current, "reqdPinBlock": new,
    });
    assert_eq!(doors.latam(&latam).status, 200, "the one key there is room for");
    let full = doors.latam(&latam);
    assert_eq!((full.status, &full.json()["errors"][0]["code"]), (503, &json!("503")), "{full:?}");
    let apac = json!({
        "currentPinBlock": current, "requestedPinBlock": new, "pinOffset": 0, "pinChannel": "A",
        "keyAssociation": " ",
    });
    let full = doors.apac("0009544410000000011", &apac.to_string());
    assert_eq!((full.status, &full.json()[0]["errorCode"]), (503, &json!("250301")), "{full:?}");
    let postcard = json!({
        "pan": PLAIN, "seqNr": "000", "expiryDate": "3012", "accountType": "20", "userId": "Alex",
        "pin": encrypted(&doors, "31333739"), "oldPin": encrypted(&doors, "31323334"),
    });
    let full = doors.postcard("isActiveActive=false", &postcard);
    assert_eq!((full.status, &full.json()["code"]), (503, &json!("10503")), "{full:?}");
    let p100 = json!({ "externalUserId": P100.0, "cardId": P100.1, "pin": "1234" });
    let full = doors.p100(&p100);
    assert_eq!((full.status, &full.json()["code"]), (400, &json!("P501")), "{full:?}");
    let (account, person, card) = EQUALS;
    let path = format!("/v2/cards/{card}/pin?accountId={account}&personId={person}");
    let full =
        doors.ask("PUT", &path, &[("authorization", "ApiKey t-equals")], "{\"pin\":\"7268\"}");
    assert_eq!(full.status, 503, "{full:?}");
}

/// Half of the times are below it.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Nobody's card and another owner's: the same words, and the same time as far as the noise of a machine shows. The two
/// are asked for in turns, so that whatever else goes on meets both alike.
#[test]
fn whether_a_card_exists_shows_neither_in_words_nor_in_time() {
    let doors = Doors::start();
    let nobody = "00000000-0000-4000-8000-000000000000";
    let ask = |user: &str, card: &str| -> (Duration, u16, Value) {
        let body = json!({ "externalUserId": user, "cardId": card, "pin": "1234" });
        let begun = now();
        let answer = doors.p100(&body);
        (begun.elapsed(), answer.status, answer.json())
    };
    let (mut unknown, mut foreign) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let (took, status, body) = ask(P100.0, nobody);
        unknown.push(took);
        let (other, same_status, same_body) = ask(nobody, P100.1);
        foreign.push(other);
        assert_eq!((status, &body["code"]), (400, &json!("P434")));
        assert_eq!((status, body), (same_status, same_body));
    }
    let (unknown, foreign) = (median(unknown), median(foreign));
    let apart = unknown.abs_diff(foreign);
    // A commit takes some hundred microseconds, a PIN a few: a path that left one of them out would show.
    assert!(apart < unknown.max(foreign) / 4, "{unknown:?} and {foreign:?}");
    // The number of a card that the client may not name, at the other way to name one.
    let mine = further_cards().swap_remove(0);
    let blocks = (block_hex("zpk.atm", &mine, "1234"), block_hex("zpk.atm", &mine, "2580"));
    let latam = |organization: u16| {
        json!({
            "organizationNumber": organization, "cardNumber": mine, "channel": "A",
            "currPinBlock": blocks.0, "reqdPinBlock": blocks.1,
        })
    };
    let foreign = doors.latam(&latam(601));
    assert_ne!(foreign.status, 200, "another organization's: {foreign:?}");
}
