//! The corpus of every fuzz target, replayed by the target's own rule: messages of others' traces, and whatever once
//! mattered. `make fuzz` looks further.
//!
//! **Never here:** a rule; they are in `fuzz/src/lib.rs`.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test: what cannot be read fails it")]

use std::collections::BTreeSet;
use std::path::Path;

use pinion::iso8583::Dialect;

#[expect(unreachable_pub, reason = "the targets of the other package import them")]
#[path = "../fuzz/src/lib.rs"]
mod rules;

/// Whether the parser took the bytes; a panic where the rule is broken.
type Rule = fn(&[u8]) -> bool;

/// Each target's rule, and how many inputs of its corpus the parser takes at least.
const TARGETS: &[(&str, Rule, usize)] = &[
    ("decode-cmf", |bytes| message("cmf", bytes), 1),
    ("decode-iso87-ascii", |bytes| message("iso87-ascii", bytes), 3),
    ("decode-iso87-ascii-hex", |bytes| message("iso87-ascii-hex", bytes), 4),
    ("decode-iso87-bcd", |bytes| message("iso87-bcd", bytes), 1),
    ("decode-iso93-ascii", |bytes| message("iso93-ascii", bytes), 1),
    ("decode-iso93-bcd", |bytes| message("iso93-bcd", bytes), 1),
    ("decode-mastercard", |bytes| message("mastercard", bytes), 2),
    ("decode-postilion", |bytes| message("postilion", bytes), 4),
    ("decode-visa", |bytes| message("visa", bytes), 3),
    ("frame", rules::frame, 2),
    ("payshield", rules::payshield, 66),
    ("payshield-answer", rules::payshield_answer, 50),
    ("payshield-frame", rules::payshield_frame, 7),
    ("spec", rules::spec, 4),
    ("tlv", rules::tlv, 2),
    // The blocks of devices; those of psec are under other keys.
    ("tr31", rules::tr31, 3),
];

fn message(dialect: &str, bytes: &[u8]) -> bool {
    rules::message(&Dialect::builtin(dialect).expect("a built-in dialect"), bytes)
}

#[test]
fn every_input_keeps_its_rule() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (target, rule, at_least) in TARGETS {
        let mut taken = 0;
        for entry in std::fs::read_dir(fuzz.join("corpus").join(target)).expect("a corpus") {
            let path = entry.expect("an entry").path();
            eprintln!("{}", path.display()); // Shown when it fails.
            taken += usize::from(rule(&std::fs::read(path).expect("an input")));
        }
        assert!(*at_least <= taken, "{target}: the parser takes only {taken}");
    }
}

/// A new target does not go without replay.
#[test]
fn every_target_is_replayed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let bins = manifest["bin"].as_array().expect("targets").iter();
    let bins: BTreeSet<_> = bins.map(|bin| bin["name"].as_str().expect("a name")).collect();
    let replayed: BTreeSet<_> = TARGETS.iter().map(|(target, ..)| *target).collect();
    assert_eq!(bins, replayed);
}

/// Found by fuzzing: `%nn`, which only commands have, was read in an answer and lost in writing.
#[test]
fn an_answer_with_an_lmk_is_none() {
    assert!(!rules::payshield_answer(b"FWHEADFX03%55"));
    assert!(rules::payshield_answer(b"FWHEADFX03"), "the same error without it");
}
