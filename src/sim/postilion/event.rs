//! What happens to the book, as it is decided, written to the file and applied: changes, reversals, keys.
//!
//! Names of transactions are digests of the fields that identify them: the switch key (127.2), or where there is none
//! DE 7, 11 and 41. **Never here:** deciding (`book`), messages (`ask`).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};

use crate::sim::postilion::word::Word;
use crate::sim::postilion::zone::Pin;

/// A response code of DE 39.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Code(pub(super) Word<2>);

impl Code {
    pub(super) const APPROVED: Self = Self::of(*b"00");
    pub(super) const CARD_UNKNOWN: Self = Self::of(*b"14");
    pub(super) const DUPLICATE: Self = Self::of(*b"94");
    pub(super) const FORMAT_ERROR: Self = Self::of(*b"30");
    pub(super) const NOT_FOUND: Self = Self::of(*b"25");
    pub(super) const NOT_SUPPORTED: Self = Self::of(*b"12");
    pub(super) const NO_PIN: Self = Self::of(*b"81");
    pub(super) const TRIES_EXCEEDED: Self = Self::of(*b"75");
    pub(super) const UNACCEPTABLE_PIN: Self = Self::of(*b"C0");
    pub(super) const UNAVAILABLE: Self = Self::of(*b"91");
    pub(super) const WRONG_PIN: Self = Self::of(*b"55");

    const fn of(characters: [u8; 2]) -> Self {
        Self(Word::full(characters))
    }
}

/// A PIN change: who asked for what, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// Code it was answered with.
    pub(super) code: Code,
    /// Node it came to, from 1.
    pub(super) node: u8,
    /// DE 2, or of DE 35.
    pub(super) pan: Option<Word<19>>,
    /// The PIN that was said to be the current one.
    pub(super) from: Option<Pin>,
    /// The new one.
    pub(super) to: Option<Pin>,
    /// 127.2.
    pub(super) switch_key: Option<Word<32>>,
    /// DE 11.
    pub(super) stan: Word<6>,
    /// DE 7.
    pub(super) sent: Word<10>,
    /// DE 41.
    pub(super) terminal: Word<8>,
    /// DE 32.
    pub(super) acquirer: Word<11>,
    /// DE 33.
    pub(super) forwarder: Word<11>,
}

/// A reversal: what it is to undo, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reversal {
    /// Code it was answered with.
    pub(super) code: Code,
    /// Node it came to, from 1.
    pub(super) node: u8,
    /// Number of the change it undoes or may not undo; none if there is no such change.
    pub(super) original: Option<u64>,
    /// 127.11.
    pub(super) key: Option<Word<32>>,
    /// DE 90.
    pub(super) data: Option<Word<42>>,
    /// DE 41.
    pub(super) terminal: Word<8>,
}

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A change was decided.
    Change(Change),
    /// A zone key came into force.
    Key {
        /// Its clear bytes in hex.
        zpk: Word<32>,
    },
    /// The oldest zone keys went: a newer one was used.
    KeysRetired {
        /// How many.
        count: usize,
    },
    /// A reversal was decided.
    Reversal(Reversal),
}

fn key_name(key: &Word<32>) -> u64 {
    let mut hasher = DefaultHasher::new();
    ("switch key", key).hash(&mut hasher);
    hasher.finish()
}

/// The name by original data elements: DE 11, 7, 32 and 33 with zeros on the left, and DE 41.
fn data_name(stan: &[u8], sent: &[u8], institutions: [&[u8]; 2], terminal: &Word<8>) -> u64 {
    let mut hasher = DefaultHasher::new();
    ("original data", stan, sent, terminal).hash(&mut hasher);
    for institution in institutions {
        let mut wide = [b'0'; 11];
        let start = wide.len().saturating_sub(institution.len());
        wide[start..].copy_from_slice(&institution[institution.len().saturating_sub(11)..]);
        wide.hash(&mut hasher);
    }
    hasher.finish()
}

impl Change {
    /// What identifies the change: its switch key, else DE 7, 11 and 41. `None` without either.
    pub(super) fn name(&self) -> Option<u64> {
        self.key_name().or_else(|| {
            if self.stan.is_empty() || self.sent.is_empty() || self.terminal.is_empty() {
                return None;
            }
            let mut hasher = DefaultHasher::new();
            ("fields", &self.sent, &self.stan, &self.terminal).hash(&mut hasher);
            Some(hasher.finish())
        })
    }

    /// The name by switch key.
    pub(super) fn key_name(&self) -> Option<u64> {
        self.switch_key.as_ref().map(key_name)
    }

    /// The name by what DE 90 of its reversal says.
    pub(super) fn data_name(&self) -> Option<u64> {
        if self.stan.is_empty() || self.sent.is_empty() || self.terminal.is_empty() {
            return None;
        }
        let institutions = [self.acquirer.as_bytes(), self.forwarder.as_bytes()];
        Some(data_name(self.stan.as_bytes(), self.sent.as_bytes(), institutions, &self.terminal))
    }
}

impl Reversal {
    /// The name of the original by switch key.
    pub(super) fn key_name(&self) -> Option<u64> {
        self.key.as_ref().map(key_name)
    }

    /// The name of the original by DE 90 (message type 4, DE 11 6, DE 7 10, DE 32 11, DE 33 11) and DE 41. The type is
    /// left out: a repeat (0601) and its original are one transaction.
    pub(super) fn data_name(&self) -> Option<u64> {
        let data: &[u8; 42] = self.data.as_ref()?.as_bytes().try_into().ok()?;
        if self.terminal.is_empty() {
            return None;
        }
        let institutions = [&data[20..31], &data[31..]];
        Some(data_name(&data[4..10], &data[10..20], institutions, &self.terminal))
    }
}
