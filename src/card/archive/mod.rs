//! A whole store as files, so that it can move to the other family and back, or stand in a vault as a copy.
//!
//! ```text
//! DIR/manifest.json      what is here: counts, digests, the ends of the audit chains
//! DIR/cards.hex          one line a card: its row, as `card::codec` writes it
//! DIR/transactions.hex   one line a key of the retention: what became of it ([`Known`])
//! DIR/unsettled.hex      one line a forwarded change without a known end, in the order they were sent
//! DIR/journal.hex        one line a record: node, position, the record with its MAC; node by node, in order
//! ```
//!
//! Each part has two digests: SHA-256 of the file, and the sum of what its lines say whatever their order, which the
//! store it went into must come to, too. What is here is as secret as the store: sealed numbers, references.
//! **Never here:** a store's own layout. Where next: `write`, `read`; `embedded::moving` and `postgres::moving`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::card::codec::CodecError;
use crate::card::{CardRecord, Fingerprint, Unsettled, codec};
use crate::domain::clock::WallMillis;
use crate::domain::outcome::HostCode;
use crate::domain::pan::{Pan, PanHash};
use crate::domain::request::TransactionKey;
use crate::domain::vault::Vault;

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::Archive;
pub use write::ArchiveWriter;

/// Version of the layout.
const FORMAT: u32 = 1;
/// The manifest's name. Written last: a directory without it is no archive.
const MANIFEST: &str = "manifest.json";
/// A number no issuer has: hashed to tell whether the keys are the same.
const PROBE: &[u8] = b"0000000000000";
/// The node that stands for the embedded store, whose records are numbered from 1.
pub(crate) const EMBEDDED_NODE: u16 = 0;

/// A part of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Cards.
    Cards,
    /// Keys within the retention, and what became of them.
    Transactions,
    /// Forwarded changes without a known end.
    Unsettled,
    /// Records of every node.
    Journal,
}

impl Part {
    /// All of them, in the order they are written.
    pub const ALL: [Self; 4] = [Self::Cards, Self::Transactions, Self::Unsettled, Self::Journal];

    /// Its word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cards => "cards",
            Self::Transactions => "transactions",
            Self::Unsettled => "unsettled",
            Self::Journal => "journal",
        }
    }

    fn file(self) -> String {
        format!("{}.hex", self.label())
    }
}

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout.
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Family of the store it was.
    pub store: String,
    /// Wall time before which keys were forgotten: those answered later are here.
    pub since: u64,
    /// Tells whether a vault is the one of the store.
    pub keys: String,
    /// The parts.
    pub parts: BTreeMap<Part, Summary>,
    /// The audit chains.
    pub chains: Vec<Chain>,
}

/// Count and digests of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Its lines.
    pub count: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Sum of the SHA-256 of what each line says, whatever the order.
    pub content: String,
}

/// One node's audit chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The node; 0 is the embedded store.
    pub node: u16,
    /// The record before the first that is here.
    pub anchor: u64,
    /// Its MAC.
    #[serde(with = "hex_mac")]
    pub anchor_mac: [u8; 32],
    /// The last record.
    pub last: u64,
    /// Its MAC.
    #[serde(with = "hex_mac")]
    pub head: [u8; 32],
    /// Trace number of its newest intent.
    pub stan: Option<u32>,
}

/// A MAC as hex digits.
mod hex_mac {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(mac: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(mac))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let mut mac = [0; 32];
        hex::decode_to_slice(String::deserialize(from)?, &mut mac).map_err(D::Error::custom)?;
        Ok(mac)
    }
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) key: TransactionKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) answer: Answer,
    pub(crate) at: WallMillis,
    /// The record that says so.
    pub(crate) position: u64,
    /// The record of its intent and the card, where it was forwarded.
    pub(crate) forwarded: Option<(u64, Option<PanHash>)>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Approved (0), or for a reason and with a host's code.
    Code(u8, Option<HostCode>),
    /// Its reversal came before it.
    Refused,
}

/// Of a refused key.
const REFUSED: u8 = 0xFF;
const KNOWN_BYTES: usize = 16 + 8 + 1 + 4 + 8 + 8 + 8 + 16;

impl Known {
    fn encode(&self) -> [u8; KNOWN_BYTES] {
        let (code, host) = match self.answer {
            Answer::Code(code, host) => (code, host.map_or([0; 4], HostCode::bytes)),
            Answer::Refused => (REFUSED, [0; 4]),
        };
        let (intent, pan_hash) = self.forwarded.unwrap_or((0, None));
        let mut bytes = [0; KNOWN_BYTES];
        let mut at = 0;
        for part in [
            &self.key.0[..],
            &self.fingerprint.0.to_le_bytes(),
            &[code],
            &host,
            &self.at.0.to_le_bytes(),
            &self.position.to_le_bytes(),
            &intent.to_le_bytes(),
            &pan_hash.map_or([0; 16], |hash| hash.0),
        ] {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
            let (first, rest) = from.split_first_chunk()?;
            *from = rest;
            Some(*first)
        }
        let mut from = bytes;
        let key = TransactionKey(take(&mut from)?);
        let fingerprint = Fingerprint(u64::from_le_bytes(take(&mut from)?));
        let [code] = take(&mut from)?;
        let host = HostCode::from_bytes(take(&mut from)?);
        let at = WallMillis(u64::from_le_bytes(take(&mut from)?));
        let position = u64::from_le_bytes(take(&mut from)?);
        let intent = u64::from_le_bytes(take(&mut from)?);
        let pan_hash = Some(take(&mut from)?).filter(|hash| *hash != [0; 16]).map(PanHash);
        let answer = if code == REFUSED { Answer::Refused } else { Answer::Code(code, host) };
        let forwarded = (intent != 0).then_some((intent, pan_hash));
        let known = Self { key, fingerprint, answer, at, position, forwarded };
        from.is_empty().then_some(known)
    }

    /// What it says to a repeat, wherever its record stands. Minutes, since the embedded store remembers no more.
    fn content(&self) -> [u8; KNOWN_BYTES] {
        let place = Self {
            at: WallMillis(self.at.0 / 60_000),
            position: 0,
            forwarded: self.forwarded.map(|_| (1, None)),
            ..self.clone()
        };
        place.encode()
    }
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) node: u16,
    pub(crate) position: u64,
    pub(crate) record: Vec<u8>,
}

/// Count and sum of what lines say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: [u64; 4],
}

impl Tally {
    fn add(&mut self, content: &[u8]) {
        self.count += 1;
        let digest: [u8; 32] = Sha256::digest(content).into();
        for (lane, eight) in self.sum.iter_mut().zip(digest.as_chunks().0) {
            *lane = lane.wrapping_add(u64::from_le_bytes(*eight));
        }
    }

    fn content(&self) -> String {
        self.sum.iter().map(|lane| hex::encode(lane.to_le_bytes())).collect()
    }
}

/// What a card says.
fn card_content(card: &CardRecord) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(256);
    codec::encode_card(&mut bytes, card)?;
    Ok(bytes)
}

/// What an unsettled change says, wherever its intent stands.
fn unsettled_content(change: &Unsettled) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(256);
    codec::encode_open(&mut bytes, &Unsettled { sequence: 0, ..change.clone() })?;
    Ok(bytes)
}

/// Tells whether two vaults have the same keys.
fn proof(vault: &dyn Vault) -> String {
    let mut proof = Sha256::new();
    proof.update(vault.chain(&[0; 32], b"pinion archive"));
    if let Ok(pan) = Pan::parse(PROBE) {
        proof.update(vault.pan_hash(&pan).0);
    }
    hex::encode(proof.finalize())
}

/// Why a store does not move.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The archive's files do not belong together.
    #[error("{}: {why}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A part came out other than it went in. Nothing was kept.
    #[error(
        "{part}: {found} of {wanted} are there, or their contents differ: nothing was imported",
        part = part.label()
    )]
    Differs {
        /// Which part.
        part: Part,
        /// How many there are.
        found: u64,
        /// How many the archive has.
        wanted: u64,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Where it would go is not empty.
    #[error("{place}: not empty: a store is imported into a new one only")]
    NotEmpty {
        /// The directory or the database.
        place: String,
    },
    /// The keys are not those of the store that the archive was.
    #[error("the archive was made with other keys: import it with the key file of its store")]
    OtherKeys,
    /// The store failed.
    #[error("{0}")]
    Store(String),
    /// A record cannot be written or read.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl ArchiveError {
    /// The store failed.
    pub(crate) fn store(error: impl std::fmt::Display) -> Self {
        Self::Store(error.to_string())
    }
}
