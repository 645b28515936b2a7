//! Bearer tokens that somebody else signs: who they name, for whom they are, and until when.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::client::{Answer, Doors, place};
use crate::support::vectors::{PLAIN, block_hex};

/// The issuer's token: ES256 (RFC 7518, 3.4), signature as two numbers of 32 bytes.
fn token(key: &EcdsaKeyPair, claims: &Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part("{\"alg\":\"ES256\"}"), part(&claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn seconds(from_now: i64) -> i64 {
    jiff::Timestamp::now().as_second() + from_now
}

fn change(doors: &Doors, token: &str) -> Answer {
    let body = json!({
        "currentPinBlock": block_hex("zpk.atm", PLAIN, "1234"),
        "requestedPinBlock": block_hex("zpk.atm", PLAIN, "2580"),
        "pinOffset": 0, "pinChannel": "A", "keyAssociation": " ",
    });
    let bearer = format!("Bearer {token}");
    let path = "/v1/cards/0009544410000000011/pinBlockChange";
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    doors.ask("PUT", path, &headers, &body.to_string())
}

#[test]
fn a_signed_token_names_its_client() {
    let issuer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let stranger = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let der = issuer.public_key().as_der().expect("DER");
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let client = "[[client]]\nname = \"bank\"\ndoors = [\"firstvision-apac\"]\nzpk = \"zpk.atm\"\n\
                  per_second = 1000\nburst = 1000\n";
    let jwt = "[http.jwt]\nkey = \"issuer.pem\"\nalgorithm = \"ES256\"\naudience = \"pinion\"\n";
    let (place, port) = place(client, jwt);
    std::fs::write(place.path("issuer.pem"), pem).expect("written");
    let doors = Doors::of((place, port));
    let claims = |sub: &str, aud: &str, exp: i64| json!({ "sub": sub, "aud": aud, "exp": exp });
    let good = claims("bank", "pinion", seconds(300));
    for (what, key, claims) in [
        ("another issuer's", &stranger, good.clone()),
        ("for somebody else", &issuer, claims("bank", "other", seconds(300))),
        ("of yesterday", &issuer, claims("bank", "pinion", seconds(-86_400))),
        ("of nobody's", &issuer, claims("nobody", "pinion", seconds(300))),
        ("of tomorrow", &issuer, {
            let mut later = good.clone();
            later["nbf"] = json!(seconds(86_400));
            later
        }),
    ] {
        let answer = change(&doors, &token(key, &claims));
        assert_eq!(
            (answer.status, &answer.json()[0]["errorCode"]),
            (401, &json!("240004")),
            "{what}"
        );
    }
    let answer = change(&doors, &token(&issuer, &good));
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{answer:?}");
}
