//! The first round of a batch: which locks it takes and which keys, and what is found there.
//!
//! One round trip, whatever the batch holds: the statements go out back to back. READ COMMITTED is enough, since every
//! decision is made on rows that are locked until the commit (cards, known keys, open changes), on rows that only this
//! transaction has inserted (new keys), or under a lock that whoever could change the answer takes, too (traces). Each
//! statement sees what was committed before it began, so that a row waited for is seen as its last writer left it.
//! **Never here:** what follows from it. Where next: `batch`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::{Client, Error, Row};

use crate::card::codec::decode_card;
use crate::card::postgres::shared::Shared;
use crate::card::postgres::sql::Statements;
use crate::card::postgres::work::Work;
use crate::card::{CardRecord, Entry};
use crate::domain::outcome::{Declined, Reason};
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;

/// States of a key.
pub(super) const ANSWERED: i16 = 0;
pub(super) const SENT: i16 = 1;
pub(super) const REFUSED: i16 = 2;

/// A key to be taken.
struct NewKey {
    fingerprint: i64,
    state: i16,
    code: i16,
    host: i32,
    position: i64,
    at: i64,
    pan_hash: Option<[u8; 16]>,
}

/// What is asked.
#[derive(Default)]
pub(super) struct Ask {
    cards: BTreeSet<([u8; 16], i16)>,
    keys: BTreeMap<[u8; 16], NewKey>,
    known: BTreeSet<[u8; 16]>,
    open: BTreeSet<[u8; 16]>,
    traces: BTreeSet<i64>,
    newest: Vec<(i32, TransactionKey, [u8; 16])>,
    bodies: BTreeSet<[u8; 16]>,
}

/// What is there.
#[derive(Default)]
pub(super) struct Found {
    /// Who writes as this node by the database: process and newest record.
    pub(super) head: Option<(i64, i64)>,
    pub(super) versions: HashMap<([u8; 16], i16), i64>,
    /// Keys that are ours now, with their place in the order of sending.
    pub(super) taken: HashMap<[u8; 16], Option<i64>>,
    pub(super) known: HashMap<[u8; 16], Known>,
    pub(super) open: HashMap<[u8; 16], Open>,
    /// Rows whose card has a forwarded change of the same trace.
    pub(super) newest: BTreeSet<i32>,
    pub(super) cards: Vec<CardRecord>,
}

/// A key that somebody took before.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) state: i16,
    pub(super) code: i16,
    pub(super) intent: Option<i64>,
    pub(super) sent: Option<i64>,
}

/// An open change.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) in_flight: bool,
    /// It was sent by this process.
    pub(super) ours: bool,
}

impl Ask {
    /// Adds what one work needs. `position` is the one it gets when nothing before it is refused.
    pub(super) fn add(&mut self, place: usize, work: &Work, position: u64, shared: &Shared) {
        match work {
            Work::Change { claim, entry, card, reopens, .. } => {
                if let Some(card) = card {
                    self.cards.insert((card.pan_hash.0, card.sequence.cast_signed()));
                }
                if claim.intent().is_some() {
                    self.known.insert(entry.key.0);
                    self.open.insert(entry.key.0);
                } else {
                    let answer = NewKey::answered(entry, position);
                    self.keys.insert(entry.key.0, answer);
                }
                if let Some(change) = reopens {
                    self.look_at(change.entry.key, entry, position, true);
                }
                if let Some(original) = entry.original {
                    // One that is worked on here is left to its own end.
                    let is_missing = original_is_missing(entry);
                    if is_missing || !shared.is_in_progress(original) {
                        self.look_at(original, entry, position, is_missing);
                    }
                    if let (true, Some(card)) = (is_missing, entry.pan_hash) {
                        let place = i32::try_from(place).unwrap_or(i32::MAX);
                        self.newest.push((place, original, card.0));
                        self.traces.insert(trace(original, card));
                        self.bodies.insert(card.0);
                    }
                }
            }
            Work::Intent { change, .. } => {
                let entry = &change.entry;
                let sent = NewKey { state: SENT, ..NewKey::answered(entry, position) };
                self.keys.insert(entry.key.0, sent);
                self.open.insert(entry.key.0);
                if let Some(card) = entry.pan_hash {
                    self.traces.insert(trace(entry.key, card));
                }
            }
            Work::Release { held } => {
                self.open.insert(held.key.0);
            }
            Work::Settle { key, .. } => {
                self.open.insert(key.0);
            }
            Work::Note { .. } | Work::Bulk { .. } => {}
        }
    }

    /// Takes the key of an original, so that it is refused when it comes late, and where `closely` looks at it.
    fn look_at(&mut self, original: TransactionKey, entry: &Entry, position: u64, closely: bool) {
        self.keys.entry(original.0).or_insert_with(|| NewKey {
            fingerprint: 0,
            state: REFUSED,
            ..NewKey::answered(entry, position)
        });
        if closely {
            self.known.insert(original.0);
            self.open.insert(original.0);
        }
    }

    /// What is found if nobody meddled: cards at the versions they were read at, keys that nobody has. `None` when more
    /// than that has to be looked at.
    pub(super) fn hoped(&self, works: &[Work]) -> Option<Found> {
        let is_usual = self.known.is_empty()
            && self.open.is_empty()
            && self.traces.is_empty()
            && self.newest.is_empty()
            && self.keys.values().all(|key| key.state == ANSWERED);
        if !is_usual {
            return None;
        }
        let versions = works.iter().filter_map(|work| match work {
            Work::Change { card: Some(card), .. } => {
                let before = i64::from(card.version) - 1;
                Some(((card.pan_hash.0, card.sequence.cast_signed()), before))
            }
            _ => None,
        });
        let taken = self.keys.keys().map(|key| (*key, None)).collect();
        Some(Found { versions: versions.collect(), taken, ..Found::default() })
    }

    /// The keys to be taken.
    pub(super) fn columns(&self) -> Columns<'_> {
        Columns::of(&self.keys)
    }

    /// Asks. Nothing of it is kept unless the second round commits.
    pub(super) async fn run(
        &self,
        client: &Client,
        sql: &Statements,
        node: i16,
        epoch: i64,
    ) -> Result<Found, Error> {
        let traces: Vec<i64> = self.traces.iter().copied().collect();
        let (hashes, sequences): (Vec<&[u8]>, Vec<i16>) =
            self.cards.iter().map(|(hash, sequence)| (&hash[..], *sequence)).unzip();
        let keys = self.columns();
        let known = slices(&self.known);
        let open = slices(&self.open);
        let bodies = slices(&self.bodies);
        let places: Vec<i32> = self.newest.iter().map(|(place, ..)| *place).collect();
        let firsts: Vec<Vec<u8>> = self.newest.iter().map(|(_, key, _)| bound(*key, 0)).collect();
        let lasts: Vec<Vec<u8>> = self.newest.iter().map(|(_, key, _)| bound(*key, 0xFF)).collect();
        let of_cards: Vec<&[u8]> = self.newest.iter().map(|(.., card)| &card[..]).collect();
        let all = tokio::join!(
            biased;
            client.batch_execute("BEGIN"),
            async { client.query(&sql.head, &[&node]).await },
            maybe(!traces.is_empty(), async { client.query(&sql.traces, &[&traces]).await }),
            maybe(!hashes.is_empty(), async { client.query(&sql.cards, &[&hashes, &sequences]).await }),
            maybe(!self.keys.is_empty(), keys.take(client, sql)),
            maybe(!known.is_empty(), async { client.query(&sql.known, &[&known]).await }),
            maybe(!places.is_empty(), async {
                client.query(&sql.newest, &[&places, &firsts, &lasts, &of_cards]).await
            }),
            maybe(!bodies.is_empty(), async { client.query(&sql.bodies, &[&bodies]).await }),
            maybe(!open.is_empty(), async { client.query(&sql.open, &[&open, &node, &epoch]).await }),
        );
        let (begun, head, traces, cards, keys, known, newest, bodies, open) = all;
        begun?;
        let _locked = traces?;
        let mut found = Found::default();
        if let Some(row) = head?.first() {
            found.head = Some((row.try_get(0)?, row.try_get(1)?));
        }
        for row in cards? {
            found.versions.insert((sixteen(&row, 0)?, row.try_get(1)?), row.try_get(2)?);
        }
        for row in keys? {
            found.taken.insert(sixteen(&row, 0)?, row.try_get(1)?);
        }
        for row in known? {
            let (state, code) = (row.try_get(1)?, row.try_get(2)?);
            let (intent, sent) = (row.try_get(3)?, row.try_get(4)?);
            found.known.insert(sixteen(&row, 0)?, Known { state, code, intent, sent });
        }
        for row in newest? {
            found.newest.insert(row.try_get(0)?);
        }
        for row in bodies? {
            // One that does not decode is told by whoever reads the card.
            found.cards.extend(decode_card(row.try_get(1)?));
        }
        for row in open? {
            let in_flight: bool = row.try_get(1)?;
            let mine: bool = row.try_get(2)?;
            found.open.insert(sixteen(&row, 0)?, Open { in_flight, ours: in_flight && mine });
        }
        Ok(found)
    }
}

impl NewKey {
    fn answered(entry: &Entry, position: u64) -> Self {
        let (code, host) = code_and_host(entry.declined);
        Self {
            fingerprint: entry.fingerprint.0.cast_signed(),
            state: ANSWERED,
            code,
            host,
            position: position.cast_signed(),
            at: entry.at.0.cast_signed(),
            pan_hash: entry.pan_hash.map(|hash| hash.0),
        }
    }
}

/// The columns of the keys to be taken.
pub(super) struct Columns<'a> {
    pub(super) keys: Vec<&'a [u8]>,
    pub(super) fingerprints: Vec<i64>,
    states: Vec<i16>,
    pub(super) codes: Vec<i16>,
    pub(super) hosts: Vec<i32>,
    pub(super) positions: Vec<i64>,
    pub(super) ats: Vec<i64>,
    pan_hashes: Vec<Option<&'a [u8]>>,
}

impl<'a> Columns<'a> {
    fn of(keys: &'a BTreeMap<[u8; 16], NewKey>) -> Self {
        Self {
            keys: keys.keys().map(<[u8; 16]>::as_slice).collect(),
            fingerprints: keys.values().map(|k| k.fingerprint).collect(),
            states: keys.values().map(|k| k.state).collect(),
            codes: keys.values().map(|k| k.code).collect(),
            hosts: keys.values().map(|k| k.host).collect(),
            positions: keys.values().map(|k| k.position).collect(),
            ats: keys.values().map(|k| k.at).collect(),
            pan_hashes: keys
                .values()
                .map(|k| k.pan_hash.as_ref().map(<[u8; 16]>::as_slice))
                .collect(),
        }
    }

    async fn take(&self, client: &Client, sql: &Statements) -> Result<Vec<Row>, Error> {
        let Self { keys, fingerprints, states, codes, hosts, positions, ats, pan_hashes } = self;
        client
            .query(
                &sql.keys,
                &[keys, fingerprints, states, codes, hosts, positions, ats, pan_hashes],
            )
            .await
    }
}

/// What a key's row says of an answer: 0 for an approval.
pub(super) fn code_and_host(declined: Option<Declined>) -> (i16, i32) {
    let code = declined.map_or(0, |declined| declined.reason.code());
    let host = declined.and_then(|declined| declined.host);
    (i16::from(code), host.map_or(0, |host| i32::from_le_bytes(host.bytes())))
}

/// Whether a reversal found no original.
pub(super) fn original_is_missing(entry: &Entry) -> bool {
    entry.declined.is_some_and(|declined| declined.reason == Reason::OriginalNotFound)
        && entry.original.is_some()
}

/// A statement that a batch may do without.
pub(super) async fn maybe<T: Default>(
    needed: bool,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    if needed { statement.await } else { Ok(T::default()) }
}

fn slices(keys: &BTreeSet<[u8; 16]>) -> Vec<&[u8]> {
    keys.iter().map(<[u8; 16]>::as_slice).collect()
}

/// The lowest or highest key of the same trace.
pub(super) fn bound(key: TransactionKey, rest: u8) -> Vec<u8> {
    let mut bound = key.0;
    bound[8..].fill(rest);
    bound.to_vec()
}

/// The number of the lock of a card and a trace.
fn trace(key: TransactionKey, card: PanHash) -> i64 {
    let half = |bytes: &[u8; 16]| bytes.first_chunk().copied().map_or(0, i64::from_le_bytes);
    half(&key.0) ^ half(&card.0)
}

/// A column of sixteen bytes; other lengths were not written by us and name nothing.
pub(super) fn sixteen(row: &Row, column: usize) -> Result<[u8; 16], Error> {
    let bytes: &[u8] = row.try_get(column)?;
    Ok(bytes.try_into().unwrap_or([0; 16]))
}
