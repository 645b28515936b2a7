//! Forty-one messages of other people's software: each decodes to what its source says and encodes back byte for byte.
//!
//! `corpus/messages.json` names the source of each; expected values are the sources' or those of an independent
//! decoder. Where a source departs from every built-in dialect, a small file beside it says how.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says where it stops and what it did"
)]

use std::sync::Arc;

use pinion::iso8583::{Builder, Dialect, Layout, Message, decode, from_json, to_json};
use serde_json::Value;

/// Message, dialect (a file of `corpus/` or a built-in name), bytes of framing before it.
const MESSAGES: &[(&str, &str, usize)] = &[
    ("jpos-iso87-ascii-all64-plus90", "jpos-iso87-hex", 0),
    ("jpos-iso87-ascii-field64-primary-only", "jpos-iso87-hex", 0),
    ("jpos-iso87-binary-all64-plus90", "jpos-iso87-binary", 0),
    ("jpos-iso87-binary-field64", "jpos-iso87-binary", 0),
    ("jpos-iso93-ascii", "jpos-iso93-hex", 0),
    ("jpos-iso93-binary", "iso93-bcd", 0),
    ("jpos-postilion-0620-f127", "postilion", 0),
    ("erl8583-postilion-0200-zib", "postilion", 0),
    ("zemuldo-postilion-0100-127.25-xml", "postilion", 2),
    ("zemuldo-postilion-0100-127.25-bitmap-quirk", "postilion", 2),
    ("zemuldo-iso87-0100-static-header-primary-bitmap-only", "iso87-ascii", 13),
    ("zemuldo-0800-echo-hex-bitmap", "iso87-ascii-hex", 0),
    ("socketqueue-smartvista-0800-echo", "iso87-ascii", 0),
    ("zemuldo-field127-value-ascii-bitmap", "zemuldo-127", 0),
    ("moov-0400-reversal", "iso87-ascii-hex", 0),
    ("moov-0401-reversal-repeat", "iso87-ascii-hex", 0),
    ("moov-0410-reversal-response", "iso87-ascii-hex", 0),
    ("moov-0420-advice-empty-pan", "iso87-ascii-hex", 0),
    ("moov-0200-financial", "iso87-ascii-hex", 0),
    ("moov-0210-financial-response", "iso87-ascii-hex", 0),
    ("moov-0800-signon", "iso87-ascii-hex", 0),
    ("moov-0810-signon-response", "iso87-ascii-hex", 0),
    ("moov-0400-reversal-bad-date", "iso87-ascii-hex", 0),
    ("moov-0400-truncated-NEGATIVE", "iso87-ascii-hex", 0),
    ("moov-0100-de55-bertlv-mixed", "moov-mixed", 0),
    ("moov-0100-basic", "iso87-ascii-hex", 0),
    ("moov-bcd-odd-llllvar", "moov-toy", 0),
    ("cardflow-0100-composites", "cardflow", 0),
    ("iso8583rs-1100-pin-mac", "iso8583rs", 2),
    ("iso8583rs-1110-tertiary-bitmap", "iso8583rs", 0),
    ("netcore8583-1814-ebcdic", "iso93-ebcdic", 0),
    ("digitalpayments-0800-key-exchange", "digitalpayments", 0),
    ("iso8583tool-visa-like-0100", "visa", 0),
    ("openiso8583net-0200-f102", "iso87-ascii", 0),
    ("openiso8583net-1200-termapp", "iso93-ascii", 1),
    ("fimet-visa-base1-0100", "visa", 22),
    ("fimet-mastercard-0400-ebcdic", "mastercard", 0),
    ("fimet-mastercard-0410-ebcdic", "mastercard", 0),
    ("jmeter-visa-0110-de55-dataset", "visa", 22),
    ("wso2-0200-ascii4-length", "wso2", 4),
    ("isosim-1100-hex-bitmap-mixed", "isosim", 0),
];

/// Where a source's prose contradicts its own bytes: message, field, what the bytes hold.
const BYTES_DISAGREE: &[(&str, &str, &str)] =
    &[("digitalpayments-0800-key-exchange", "43", "SAV00Z057631    SAVNGX100110020000      ")];

fn dialect(name: &str) -> Arc<Dialect> {
    let path = format!("{}/tests/corpus/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    match std::fs::read_to_string(&path) {
        Ok(text) => Dialect::load(&text, &path).unwrap_or_else(|error| panic!("{error}")).into(),
        Err(_) => Dialect::builtin(name).unwrap_or_else(|| panic!("no dialect {name}")),
    }
}

fn corpus() -> Vec<Value> {
    serde_json::from_str(include_str!("corpus/messages.json")).expect("JSON")
}

/// The bytes of a message without its framing. A fragment is put where it belongs: field 127 of a message of its own.
fn wire(sample: &Value, framing: usize) -> Vec<u8> {
    let bytes = hex::decode(sample["raw_hex"].as_str().expect("hex")).expect("hex");
    if sample["fragment"].as_bool() == Some(true) {
        let mut message = b"0100".to_vec();
        message.extend([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02]);
        message.extend(format!("{:06}", bytes.len()).into_bytes());
        message.extend(bytes);
        return message;
    }
    bytes[framing..].to_vec()
}

/// Whether field `path` of the message is `want`: as shown in JSON, or as bytes in hex.
fn has_value(message: &Message<'_>, json: &Value, path: &str, want: &str) -> bool {
    let mut shown = &json["fields"];
    for key in path.split('.') {
        shown = match shown.get(key) {
            Some(deeper) => deeper,
            None => return false,
        };
    }
    match shown {
        // One source writes "1000 (amount)" for the digits 001000.
        Value::String(shown) if want.ends_with(')') && !want.contains('/') => want
            .split(" (")
            .next()
            .is_some_and(|digits| shown.trim_start_matches('0') == digits.trim_start_matches('0')),
        Value::String(shown) => shown.eq_ignore_ascii_case(want),
        // The source gives the whole of a field that divides.
        _ => path.parse().is_ok_and(|n| {
            let bytes = || message.value(n).map(hex::encode_upper);
            message.long_text(n).or_else(bytes).is_some_and(|v| v.eq_ignore_ascii_case(want))
        }),
    }
}

#[track_caller]
fn check(sample: &Value, dialect: &Dialect, framing: usize) {
    let name = sample["name"].as_str().expect("name");
    let wire = wire(sample, framing);
    let mut layout = Layout::new();
    if sample["negative"].as_bool() == Some(true) {
        let error = decode(dialect, &wire, &mut layout).expect_err(name);
        // The independent decoder stops at the same place: field 55, length prefix at byte 182, content at 185.
        assert_eq!((error.field, error.offset), (55, 182), "{name}: {error}");
        assert!(Message::partial(dialect, &wire, &layout).has(49), "{name}");
        return;
    }
    let message = match decode(dialect, &wire, &mut layout) {
        Ok(message) => message,
        Err(error) => panic!("{name}: {error}"),
    };
    let json = to_json(&message, true);
    for (path, want) in sample["expected"].as_object().expect("expected") {
        let mut want = want.as_str().expect("text");
        for (_, _, bytes) in BYTES_DISAGREE.iter().filter(|(n, f, _)| (*n, *f) == (name, path)) {
            want = bytes;
        }
        if path == "0" {
            assert_eq!(message.mti(), want.as_bytes(), "{name}");
        } else {
            assert!(has_value(&message, &json, path, want), "{name}: field {path}: {json}");
        }
    }
    let named = sample["expected"].as_object().expect("expected").keys();
    let top: std::collections::BTreeSet<&str> =
        named.filter_map(|key| key.split('.').next()).filter(|key| *key != "0").collect();
    assert_eq!(message.fields().count(), top.len(), "{name}: a field nobody expects: {json}");

    let again = from_json(dialect, &json).unwrap_or_else(|error| panic!("{name}: {error}: {json}"));
    assert_eq!(hex::encode(again), hex::encode(&wire), "{name}: through JSON");
    let mut out = bytes::BytesMut::new();
    let mut builder = Builder::new(dialect, message.mti(), &mut out);
    let bitmaps = message.bitmap_wire().len() / dialect.bitmap_form().bytes();
    builder.announce(u8::try_from(bitmaps).expect("at most 3"));
    for (n, _) in message.fields() {
        builder.raw(n, message.raw(n).expect("present")).expect(name);
    }
    builder.finish();
    assert_eq!(hex::encode(out), hex::encode(&wire), "{name}: field by field");
}

#[test]
fn every_message_decodes_and_comes_back() {
    let corpus = corpus();
    assert_eq!((corpus.len(), MESSAGES.len()), (41, 41));
    for sample in &corpus {
        let name = sample["name"].as_str().expect("name");
        let found = MESSAGES.iter().find(|(known, ..)| *known == name);
        let (_, dialect_name, framing) = found.unwrap_or_else(|| panic!("no dialect for {name}"));
        let kind = if Dialect::builtin(dialect_name).is_some() { "built in" } else { "test only" };
        println!("{name}: {dialect_name} ({kind})");
        check(sample, &dialect(dialect_name), *framing);
    }
}

/// The message whose MAC was recomputed from its public key: ISO 9797-1 algorithm 3 over everything before field 128.
#[test]
fn a_mac_covers_everything_before_it() {
    let corpus = corpus();
    let sample = corpus.iter().find(|s| s["name"] == "iso8583rs-1100-pin-mac").expect("listed");
    let (dialect, wire) = (dialect("iso8583rs"), wire(sample, 2));
    let mut layout = Layout::new();
    let message = decode(&dialect, &wire, &mut layout).expect("decodes");
    let mac = message.mac().expect("field 128 is the last");
    assert_eq!((mac.field, mac.covered), (128, &wire[..118]));
    assert_eq!(hex::encode_upper(&*mac.value), "E47006F5DE8C70B9");
}

#[test]
fn nothing_hidden_shows() {
    for sample in &corpus() {
        let name = sample["name"].as_str().expect("name");
        let (_, dialect_name, framing) =
            MESSAGES.iter().find(|(known, ..)| *known == name).expect("listed");
        let dialect = dialect(dialect_name);
        let wire = wire(sample, *framing);
        let mut layout = Layout::new();
        let Ok(message) = decode(&dialect, &wire, &mut layout) else { continue };
        let shown = to_json(&message, false).to_string();
        let debug = format!("{message:?}");
        for field in ["2", "35", "45", "52"] {
            let Some(secret) = sample["expected"][field].as_str().filter(|s| s.len() > 4) else {
                continue;
            };
            assert!(!shown.contains(secret) && !debug.contains(secret), "{name}: field {field}");
        }
    }
}
