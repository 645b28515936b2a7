//! Searches what a switch wrote for everything that must never be written (design, rule 6).
//!
//! Looked for: whole card numbers, also in packed form and at the head of track 2; PINs of six digits as words of
//! their own and as lists of bytes; PIN blocks and keys in hexadecimal of either case, and as raw bytes. A masked
//! number may show six digits in front and four behind. **Never here:** a pattern of a secret's name: what counts
//! is the value.

use std::collections::{BTreeSet, HashSet};

use super::message::pin_block;

/// What a node was told and must keep to itself.
#[derive(Default)]
pub(crate) struct Secrets {
    numbers: HashSet<String>,
    pins: BTreeSet<String>,
    blocks: HashSet<[u8; 8]>,
}

impl Secrets {
    /// Keys in hexadecimal; each half of one is looked for.
    pub(crate) fn new(keys: &[String]) -> Self {
        let mut secrets = Self::default();
        for key in keys {
            let key = hex::decode(key).expect("hex");
            for half in key.chunks_exact(8) {
                secrets.blocks.insert(half.try_into().expect("eight bytes"));
            }
        }
        secrets
    }

    /// A card, a PIN that was sent for it, and the block that carried it.
    pub(crate) fn card(&mut self, pan: &str, pin: &str) {
        self.numbers.insert(pan.to_owned());
        self.blocks.insert(pin_block(pan, pin));
        // Four digits stand in any log by chance; their blocks do not.
        if 6 <= pin.len() {
            self.pins.insert(pin.to_owned());
        }
    }

    /// Fails when `written` holds one of them.
    #[track_caller]
    pub(crate) fn search(&self, name: &str, written: &[u8]) {
        let found = self.find(written);
        assert!(found.is_empty(), "{name} holds secrets:\n{}", found.join("\n"));
    }

    /// What was found, with the line it stands in.
    pub(crate) fn find(&self, written: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let (numbers, blocks) = (&self.numbers, &self.blocks);
        for raw in written.windows(8) {
            if blocks.contains(raw) {
                found.push("a PIN block or a key as raw bytes".to_owned());
            }
        }
        let text = String::from_utf8_lossy(written);
        for line in text.lines() {
            let mut add = |what: &str| found.push(format!("{what}: {line}"));
            for word in line.split(|c: char| !c.is_ascii_alphanumeric()) {
                if hidden_number(word, numbers) {
                    add("a card number");
                }
                if hidden_block(word, blocks) {
                    add("a PIN block or a key in hexadecimal");
                }
            }
            for pin in &self.pins {
                if a_word(line, pin) || in_list(line, pin) {
                    add("a PIN");
                }
            }
            if numbers.iter().any(|number| line.contains('[') && in_list(line, number)) {
                add("a card number as a list of bytes");
            }
            if shows_too_much(line) {
                add("a mask with more than six digits in front or four behind");
            }
        }
        found
    }
}

/// A run of digits that holds one of the numbers, from its first digit: longer runs are packed or track 2.
fn hidden_number(word: &str, numbers: &HashSet<String>) -> bool {
    let lengths = [16, 19];
    let starts = word.char_indices().map(|(at, _)| at);
    let mut candidates =
        starts.flat_map(|at| lengths.iter().filter_map(move |n| word.get(at..at + n)));
    candidates.any(|digits| digits.bytes().all(|b| b.is_ascii_digit()) && numbers.contains(digits))
}

fn hidden_block(word: &str, blocks: &HashSet<[u8; 8]>) -> bool {
    let starts = word.char_indices().filter_map(|(at, _)| word.get(at..at + 16));
    let mut bytes = starts.filter_map(|digits| hex::decode(digits).ok());
    bytes.any(|bytes| blocks.contains(bytes.as_slice()))
}

/// The digits stand alone. A fraction of a second and part of a longer number do not count.
fn a_word(line: &str, digits: &str) -> bool {
    line.match_indices(digits).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + digits.len()..].chars().next();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.')
            && !after.is_some_and(|c| c.is_ascii_alphanumeric())
    })
}

/// As a derived `Debug` prints arrays: values of digits, or their ASCII codes.
fn in_list(line: &str, digits: &str) -> bool {
    let list = |of: fn(u8) -> u8| {
        digits.bytes().map(|digit| of(digit).to_string()).collect::<Vec<_>>().join(", ")
    };
    line.contains(&list(|digit| digit - b'0')) || line.contains(&list(|digit| digit))
}

/// Digits around a row of asterisks: at most six before it, four behind it.
fn shows_too_much(line: &str) -> bool {
    let bytes = line.as_bytes();
    (0..bytes.len()).any(|at| {
        let edge = |here: usize| bytes.get(here).is_some_and(u8::is_ascii_digit);
        let run = |digits: &mut dyn Iterator<Item = &u8>| {
            digits.take_while(|b| b.is_ascii_digit()).count()
        };
        bytes[at] == b'*'
            && ((at.checked_sub(1).is_some_and(edge) && 6 < run(&mut bytes[..at].iter().rev()))
                || (edge(at + 1) && 4 < run(&mut bytes[at + 1..].iter())))
    })
}

/// The search is only as good as what it finds.
#[test]
fn secrets_are_found_in_every_form() {
    let mut secrets = Secrets::new(&["2315208C9110AD40A8B6C7D5E5F20210".to_owned()]);
    secrets.card("4761739001010010", "917364");
    let block = pin_block("4761739001010010", "917364");
    let (upper, lower) = (hex::encode_upper(block), hex::encode(block));
    for (text, found) in [
        ("pan=4761739001010010".to_owned(), true),
        ("track2=4761739001010010=3012101".to_owned(), true),
        ("hex=01004761739001010010D3012".to_owned(), true),
        ("pan=476173******0010 code=00".to_owned(), false),
        ("pan=4761739*****0010".to_owned(), true),
        ("pan=476173*****10010".to_owned(), true),
        ("pin 917364".to_owned(), true),
        ("took=0.917364 key=a917364b00".to_owned(), false),
        ("Pin([9, 1, 7, 3, 6, 4])".to_owned(), true),
        ("[57, 49, 55, 51, 54, 52]".to_owned(), true),
        (format!("block={upper}"), true),
        (format!("frame=ff{lower}00"), true),
        ("2315208c9110ad40".to_owned(), true),
        ("2026-11-22T05:36:01.613923Z INFO answered stan=\"917365\"".to_owned(), false),
    ] {
        assert_eq!(!secrets.find(text.as_bytes()).is_empty(), found, "{text}");
    }
    assert!(!secrets.find(&block).is_empty(), "raw bytes");
}
