//! `pinion decode`, `encode` and `dialects` from outside: exit codes, where a message breaks, masks, JSON, pastes.
//!
//! Messages are those of `corpus/messages.json`; what a broken one must say was worked out by hand from its layout.

#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use pinion::iso8583::explain::{self, Shown};
use pinion::iso8583::{Dialect, Layout, Message, decode};
use serde_json::Value;

/// Message, dialect (a file of `corpus/` or a built-in name), bytes of framing before it.
const MESSAGES: &[(&str, &str, usize)] = &[
    ("jpos-iso87-ascii-all64-plus90", "jpos-iso87-hex", 0),
    ("jpos-iso87-ascii-field64-primary-only", "jpos-iso87-hex", 0),
    ("jpos-iso87-binary-all64-plus90", "jpos-iso87-binary", 0),
    ("jpos-iso93-binary", "iso93-bcd", 0),
    ("jpos-postilion-0620-f127", "postilion", 0),
    ("erl8583-postilion-0200-zib", "postilion", 0),
    ("zemuldo-postilion-0100-127.25-xml", "postilion", 2),
    ("zemuldo-postilion-0100-127.25-bitmap-quirk", "postilion", 2),
    ("zemuldo-iso87-0100-static-header-primary-bitmap-only", "iso87-ascii", 13),
    ("zemuldo-0800-echo-hex-bitmap", "iso87-ascii-hex", 0),
    ("socketqueue-smartvista-0800-echo", "iso87-ascii", 0),
    ("moov-0400-reversal", "iso87-ascii-hex", 0),
    ("moov-0420-advice-empty-pan", "iso87-ascii-hex", 0),
    ("moov-0200-financial", "iso87-ascii-hex", 0),
    ("moov-0810-signon-response", "iso87-ascii-hex", 0),
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
    ("fimet-visa-base1-0100", "visa", 22),
    ("fimet-mastercard-0400-ebcdic", "mastercard", 0),
    ("fimet-mastercard-0410-ebcdic", "mastercard", 0),
    ("jmeter-visa-0110-de55-dataset", "visa", 22),
    ("wso2-0200-ascii4-length", "wso2", 4),
];

/// `0100`, bitmap `7000000000000000`, PAN of 16, 123456, 000000000100: byte 4 bitmap, 20 DE 2, 38 DE 3, 44 DE 4, end
/// 56.
const BASIC: &str = "moov-0100-basic";

fn sample(name: &str) -> Value {
    let corpus: Vec<Value> = serde_json::from_str(include_str!("corpus/messages.json")).unwrap();
    corpus.into_iter().find(|sample| sample["name"] == name).unwrap_or_else(|| panic!("{name}"))
}

fn message(name: &str, framing: usize) -> Vec<u8> {
    hex::decode(sample(name)["raw_hex"].as_str().unwrap()).unwrap()[framing..].to_vec()
}

/// A built-in name, or the path of a file beside the corpus.
fn named(dialect: &str) -> String {
    match Dialect::builtin(dialect) {
        Some(_) => dialect.to_owned(),
        None => format!("{}/tests/corpus/{dialect}.toml", env!("CARGO_MANIFEST_DIR")),
    }
}

fn load(dialect: &str) -> Arc<Dialect> {
    Dialect::builtin(dialect).unwrap_or_else(|| {
        let path = named(dialect);
        Dialect::load(&std::fs::read_to_string(&path).unwrap(), &path).unwrap().into()
    })
}

fn pinion(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pinion"))
        .args(arguments)
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The child may refuse its arguments and leave before it reads.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn run(arguments: &[&str], stdin: &str, exit: i32) -> String {
    let output = pinion(arguments, stdin);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{stdout}\n{stderr}");
    stdout
}

/// What must not be seen of a message: its account number as text, and its PIN block in hex.
fn secrets(name: &str) -> Vec<String> {
    let sample = sample(name);
    let expected = sample["expected"].as_object().unwrap();
    let of = |field: &str| expected.get(field)?.as_str().map(str::to_ascii_uppercase);
    let elsewhere = |value: &String| {
        let hidden = ["2", "35", "45", "52"];
        expected.iter().any(|(field, other)| {
            !hidden.contains(&field.as_str())
                && other.as_str().is_some_and(|other| other.to_ascii_uppercase().contains(value))
        })
    };
    // A source that fills several fields with the same digits shows them in a public one.
    let worth = |value: &String| 12 < value.len() && !elsewhere(value);
    [of("2"), of("35"), of("45"), of("52")].into_iter().flatten().filter(worth).collect()
}

#[test]
fn every_message_comes_back_from_its_json() {
    for (name, dialect, framing) in MESSAGES {
        let wire = hex::encode_upper(message(name, *framing));
        let dialect = named(dialect);
        let json = run(&["decode", "--dialect", &dialect, "--json", "--clear", &wire], "", 0);
        assert_eq!(json.lines().count(), 1, "{name}");
        let back = run(&["encode", "--dialect", &dialect], &json, 0);
        assert_eq!(back.trim_end(), wire, "{name}");
    }
}

#[test]
fn what_is_hidden_stays_hidden() {
    let mut seen = 0;
    for (name, dialect, framing) in MESSAGES {
        let wire = hex::encode(message(name, *framing));
        let dialect = named(dialect);
        let hidden = secrets(name);
        for arguments in
            [&["decode", "--dialect", &dialect][..], &["decode", "--dialect", &dialect, "--json"]]
        {
            let shown = run(arguments, &wire, 0);
            for secret in &hidden {
                assert!(!shown.to_ascii_uppercase().contains(secret), "{name}: {shown}");
                seen += 1;
            }
        }
        // In a wrong dialect a field that is public there may hold any of them.
        for wrong in ["iso87-ascii", "iso87-ascii-hex", "iso87-bcd", "mastercard"] {
            let output = pinion(&["decode", "--dialect", wrong, "--json"], &wire);
            let shown = String::from_utf8_lossy(&output.stdout).to_ascii_uppercase();
            for secret in &hidden {
                assert!(!shown.contains(secret), "{name} as {wrong}: {shown}");
            }
        }
        let clear = run(&["decode", "--dialect", &dialect, "--clear", "--json"], &wire, 0);
        for secret in &hidden {
            assert!(clear.to_ascii_uppercase().contains(secret), "{name}: {clear}");
        }
    }
    assert!(seen > 40, "{seen}");
}

#[track_caller]
fn check_json(stdin: &[u8], dialect: &str, field: u8, offset: usize) -> Value {
    let arguments = ["decode", "--dialect", dialect, "--json"];
    let document: Value = serde_json::from_str(&run(&arguments, &hex::encode(stdin), 1)).unwrap();
    let error = &document["error"];
    assert_eq!(
        (error["field"].as_u64(), error["offset"].as_u64()),
        (Some(field.into()), Some(offset as u64)),
        "{document}"
    );
    assert!(error["rule"].as_str().is_some_and(|rule| !rule.is_empty()));
    let text = run(&["decode", "--dialect", dialect], &hex::encode(stdin), 1);
    assert!(text.contains(&format!("broke at byte {offset} (0x{offset:04X})")), "{text}");
    assert!(text.contains('^'), "{text}");
    document
}

#[test]
fn a_break_is_named_with_field_and_offset() {
    let basic = message(BASIC, 0);
    let with = |at: usize, byte: u8| {
        let mut bytes = basic.clone();
        bytes[at] = byte;
        bytes
    };
    let hex = "iso87-ascii-hex";
    check_json(&basic[..3], hex, 0, 0);
    check_json(&with(2, b'X'), hex, 0, 0);
    check_json(&with(4, b'G'), hex, 1, 4);
    check_json(&basic[..10], hex, 1, 4);
    check_json(&with(20, b'A'), hex, 2, 20);
    check_json(&with(20, b'9'), hex, 2, 20);
    check_json(&with(30, b'x'), hex, 2, 30);
    check_json(&with(40, b' '), hex, 3, 40);
    let document = check_json(&basic[..50], hex, 4, 44);
    assert_eq!(document["fields"]["3"], "123456");
    assert_eq!(document["fields"]["2"], "424242******4242");
    check_json(&with(46, b' '), hex, 4, 46);
    check_json(&[&basic[..], &[3]].concat(), hex, 4, 56);
    // Read as a binary bitmap, 37 30 30 ... are fields 3, 4, 6, 7 and 8: 12 + 6 + 12 + 12 + 10 leaves 4 bytes for 8.
    let whole = check_json(&basic, "iso87-ascii", 8, 52);
    assert_eq!(whole["error"]["decodes_as"][0], hex);
}

#[test]
fn a_break_is_explained() {
    let basic = message(BASIC, 0);
    let mut spaced = basic.clone();
    spaced[46] = b' ';
    let text = run(&["decode", "--dialect", "iso87-ascii-hex"], &hex::encode(&spaced), 1);
    for part in [
        "field 4 (Amount, transaction)",
        "the dialect wants 12 digits in ascii",
        "byte 2 of the field is 0x20: the peer fills numbers with spaces",
        "424242******4242",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("32 34 32 34 32 34 32 34"), "the account number in the bytes\n{text}");
    let clear =
        run(&["decode", "--dialect", "iso87-ascii-hex", "--clear"], &hex::encode(&spaced), 1);
    assert!(clear.contains("4242424242424242") && clear.contains("34 32"), "{clear}");
    let framed = [&[0, 56][..], &basic].concat();
    let text = run(&["decode", "--dialect", "iso87-ascii-hex"], &hex::encode(&framed), 1);
    assert!(text.contains("the message starts at byte 2: try --framed"), "{text}");
}

/// No account number, PIN block or track is shown, whatever dialect is asked for and wherever the message is cut.
#[test]
fn a_broken_message_shows_no_secret() {
    let mut broken = 0;
    for (name, own, framing) in MESSAGES {
        let bytes = message(name, *framing);
        let hidden = secrets(name);
        for cut in (0..=bytes.len()).step_by(2) {
            let dialect = load(own);
            broken += usize::from(look(name, &dialect, &bytes[..cut], &hidden));
        }
        for asked in Dialect::builtin_names() {
            let dialect = Dialect::builtin(asked).unwrap();
            // A message in the wrong dialect that decodes by chance is none that broke.
            broken += usize::from(look(name, &dialect, &bytes, &hidden));
        }
    }
    assert!(broken > 1_500, "{broken}");
}

fn look(name: &str, dialect: &Dialect, bytes: &[u8], hidden: &[String]) -> bool {
    let mut layout = Layout::new();
    let Err(error) = decode(dialect, bytes, &mut layout) else { return false };
    let message = Message::partial(dialect, bytes, &layout);
    let mut rows = explain::rows(&message, false);
    let broken = explain::broken(dialect, bytes, &layout, error, false, &mut rows);
    let peek =
        broken.peek.bytes.split(Option::is_none).map(|run| run.iter().flatten().copied().collect());
    let peek: Vec<Vec<u8>> = peek.collect();
    for secret in hidden {
        for row in &rows {
            if let Shown::Bytes(text) | Shown::Text(text) = &row.shown {
                assert!(!text.contains(secret), "{name} as {}: {row:?}", dialect.name());
            }
        }
        for run in &peek {
            let shown = [hex::encode_upper(run), run.iter().map(|b| char::from(*b)).collect()];
            let ebcdic: String = run.iter().map(|b| char::from(b & 0x0F | 0x30)).collect();
            for shown in shown.iter().chain([&ebcdic]) {
                assert!(
                    !shown.contains(secret),
                    "{name} as {}: {:?}",
                    dialect.name(),
                    broken.error
                );
            }
        }
    }
    true
}

#[test]
fn dumps_and_frames() {
    let basic = message(BASIC, 0);
    let hex_dialect = ["decode", "--dialect", "iso87-ascii-hex"];
    let plain = run(&hex_dialect, &hex::encode(&basic), 0);
    let mut xxd = String::new();
    for (index, line) in basic.chunks(16).enumerate() {
        let groups: Vec<_> = line.chunks(2).map(hex::encode).collect();
        let text: String = line.iter().map(|b| char::from(*b)).collect();
        let _ = writeln!(xxd, "{:08x}: {:<39}  {text}", index * 16, groups.join(" "));
    }
    assert_eq!(run(&hex_dialect, &xxd, 0), plain);
    let spaced: Vec<_> = basic.iter().map(|byte| format!("0x{byte:02x}")).collect();
    assert_eq!(run(&hex_dialect, &spaced.join(",\n"), 0), plain);
    let frame = [&[0, 56][..], &basic].concat();
    let two = hex::encode([&frame[..], &[0, 0], &frame].concat());
    let text = run(&["decode", "--dialect", "iso87-ascii-hex", "--framed"], &two, 0);
    for part in ["message 1 of 2", "poll", "message 2 of 2"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let cut =
        run(&["decode", "--dialect", "iso87-ascii-hex", "--framed"], &two[..two.len() - 2], 1);
    assert!(cut.contains("the peer closed inside a frame"), "{cut}");
    let json = r#"{"mti": "0800", "fields": {"11": "000001", "70": "301"}}"#;
    let framed = run(&["encode", "--dialect", "iso87-ascii", "--framed"], json, 0);
    assert_eq!(
        framed.trim_end(),
        format!(
            "001D30383030{}{}{}{}",
            "8020000000000000", "0400000000000000", "303030303031", "333031"
        )
    );
}

#[test]
fn meanings() {
    let postilion = message("erl8583-postilion-0200-zib", 0);
    let text = run(&["decode", "--dialect", "postilion"], &hex::encode(postilion), 0);
    for part in [
        "ISO 8583:1987 · financial · request · acquirer",
        "310000  balance inquiry, from default account, to default account",
        "1012134735  12 Oct 13:47:35 UTC",
        "566  NGN",
        "127.12",
        "ZIBeTranzSnk",
        "0x0106",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let echo = run(
        &["encode", "--dialect", "iso87-ascii"],
        r#"{"mti":"0810","fields":{"39":"55","70":"301"}}"#,
        0,
    );
    let text = run(&["decode", "--dialect", "iso87-ascii", echo.trim_end()], "", 0);
    assert!(text.contains("echo test") && text.contains("incorrect PIN"), "{text}");
    assert!(!text.contains('\x1b'), "colour where no terminal is");
}

#[test]
fn refusals() {
    run(&["decode", "--dialect", "no-such", "30"], "", 64);
    run(&["decode", "--dialect", "/no/such.toml", "30"], "", 78);
    run(&["decode", "--dialect", "iso87-ascii", "3z"], "", 64);
    run(&["decode", "--dialect", "iso87-ascii"], "", 64);
    run(&["decode", "30"], "", 64);
    run(&["encode", "--dialect", "iso87-ascii"], "{", 1);
    run(&["encode", "--dialect", "iso87-ascii"], r#"{"mti":"0800","fields":{"2":"***"}}"#, 1);
    run(&["encode", "--dialect", "iso87-ascii"], r#"{"mti":"0800","fields":{"11":"1"}}"#, 1);
}

#[test]
fn dialects() {
    let list = run(&["dialects"], "", 0);
    let json: Value = serde_json::from_str(&run(&["dialects", "--json"], "", 0)).unwrap();
    assert_eq!(json.as_array().unwrap().len(), Dialect::builtin_names().count());
    for name in Dialect::builtin_names() {
        assert!(list.contains(name));
        let table = run(&["dialects", name], "", 0);
        assert!(table.contains("rimary account number"), "{name}");
        let fields: Value =
            serde_json::from_str(&run(&["dialects", name, "--json"], "", 0)).unwrap();
        let pan = fields["fields"].as_array().unwrap().iter().find(|f| f["number"] == 2).unwrap();
        assert_eq!(pan["secrecy"], "masked", "{name}");
        let file = run(&["dialects", name, "--toml"], "", 0);
        assert_eq!(Dialect::load(&file, "printed").unwrap().name(), name);
    }
    run(&["dialects", "no-such"], "", 64);
}
