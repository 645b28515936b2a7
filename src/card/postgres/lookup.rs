//! The statements that read, and one round of them: every question that waits, in one round trip.
//!
//! **Never here:** a connection, a lock. Where next: `reader`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::{Client, Error, Row, Statement};

use crate::card::codec::{Body, decode_card, decode_open, decode_record};
use crate::card::postgres::ask::{bound, maybe, sixteen};
use crate::card::postgres::reader::Question;
use crate::card::{CardRecord, StoreError, Unsettled};
use crate::domain::outcome::HostCode;
use crate::domain::request::{IdentityKind, TransactionKey};

/// The statements.
pub(super) struct Lookups {
    usual: Statement,
    named: [Statement; 3],
    forwarded: Statement,
    awaits: Statement,
}

/// What every request asks for, cards and keys, in one statement: each costs the database its share however little it
/// asks. A card's row has a body.
const USUAL: &str = "SELECT c.pan_hash, c.version, c.body,
        NULL::int8, NULL::int2, NULL::int2, NULL::int4, NULL::int8, NULL::bool
    FROM card AS c WHERE c.pan_hash = ANY ($1::bytea[])
    UNION ALL
    SELECT t.key, NULL, NULL, t.fingerprint, t.state, t.code, t.host, t.position,
        coalesce(u.in_flight_until > clock_timestamp(), false)
    FROM transaction AS t LEFT JOIN unsettled AS u ON t.state = 1 AND u.key = t.key
    WHERE t.key = ANY ($2::bytea[])";

fn named(column: &str) -> String {
    format!(
        "SELECT w.value, c.version, c.body FROM unnest($1::text[]) AS w (value)
         JOIN card AS c ON c.{column} = w.value"
    )
}

/// The open change of the key; else what was forwarded under it; else the newest of the card with the same trace.
const FORWARDED: &str = "SELECT w.place, u.change, j.record
    FROM unnest($1::int4[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])
        AS w (place, key, first, last, pan_hash)
    LEFT JOIN LATERAL (
        SELECT k.key, k.intent FROM transaction AS k
        WHERE k.key BETWEEN w.first AND w.last AND k.intent IS NOT NULL
            AND (k.key = w.key OR k.pan_hash = w.pan_hash)
        ORDER BY k.key = w.key DESC, k.sent DESC, k.intent DESC LIMIT 1) AS t ON true
    LEFT JOIN unsettled AS u
        ON u.key = coalesce((SELECT x.key FROM unsettled AS x WHERE x.key = w.key), t.key)
    LEFT JOIN journal AS j ON j.position = t.intent AND u.key IS NULL
    WHERE u.key IS NOT NULL OR t.key IS NOT NULL";

const AWAITS: &str = "SELECT DISTINCT pan_hash FROM unsettled
    WHERE pan_hash = ANY ($1::bytea[]) AND in_flight_until <= clock_timestamp()";

impl Lookups {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            usual: client.prepare(USUAL).await?,
            named: [
                client.prepare(&named("card_id")).await?,
                client.prepare(&named("pan_token")).await?,
                client.prepare(&named("payment_instrument")).await?,
            ],
            forwarded: client.prepare(FORWARDED).await?,
            awaits: client.prepare(AWAITS).await?,
        })
    }
}

/// What the database knows of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRow {
    pub(super) fingerprint: u64,
    pub(super) state: i16,
    pub(super) code: u8,
    pub(super) host: Option<HostCode>,
    pub(super) position: u64,
    pub(super) in_flight: bool,
}

/// Questions that are asked together.
#[derive(Default)]
pub(super) struct Round {
    questions: Vec<Question>,
    cards: Vec<Vec<u8>>,
    named: [Vec<String>; 3],
    keys: Vec<Vec<u8>>,
    places: Vec<i32>,
    forwarded: Vec<(TransactionKey, Option<Vec<u8>>)>,
    awaits: Vec<Vec<u8>>,
}

/// What came back.
#[derive(Default)]
pub(super) struct Answers {
    cards: HashMap<[u8; 16], Vec<Arc<CardRecord>>>,
    named: [HashMap<String, Arc<CardRecord>>; 3],
    keys: HashMap<[u8; 16], KeyRow>,
    forwarded: HashMap<i32, Arc<Unsettled>>,
    awaits: std::collections::HashSet<[u8; 16]>,
    /// Rows that do not decode: whoever asks for one is told that the store failed.
    damaged: bool,
}

fn at(kind: IdentityKind) -> usize {
    match kind {
        IdentityKind::CardId => 0,
        IdentityKind::PanToken => 1,
        IdentityKind::PaymentInstrument => 2,
    }
}

impl Round {
    pub(super) fn of(questions: impl Iterator<Item = Question>) -> Self {
        let mut round = Self::default();
        for question in questions {
            match &question {
                Question::Card { hash, .. } => round.cards.push(hash.0.to_vec()),
                Question::Named { kind, value, .. } => {
                    if let Some(values) = round.named.get_mut(at(*kind)) {
                        values.push(value.to_string());
                    }
                }
                Question::Key { key, .. } => round.keys.push(key.0.to_vec()),
                Question::Forwarded { key, card, .. } => {
                    let place = i32::try_from(round.questions.len()).unwrap_or(i32::MAX);
                    round.places.push(place);
                    round.forwarded.push((*key, card.map(|card| card.0.to_vec())));
                }
                Question::Awaits { card, .. } => round.awaits.push(card.0.to_vec()),
            }
            round.questions.push(question);
        }
        round
    }

    /// Asks all of it in one round trip.
    pub(super) async fn ask(&self, client: &Client, sql: &Lookups) -> Result<Answers, Error> {
        let [ids, tokens, instruments] = &self.named;
        let [by_id, by_token, by_instrument] = &sql.named;
        let (usual, ids, tokens, instruments, forwarded, awaits) = tokio::join!(
            biased;
            maybe(!self.cards.is_empty() || !self.keys.is_empty(), async {
                client.query(&sql.usual, &[&self.cards, &self.keys]).await
            }),
            maybe(!ids.is_empty(), async { client.query(by_id, &[ids]).await }),
            maybe(!tokens.is_empty(), async { client.query(by_token, &[tokens]).await }),
            maybe(!instruments.is_empty(), async { client.query(by_instrument, &[instruments]).await }),
            maybe(!self.places.is_empty(), self.ask_forwarded(client, sql)),
            maybe(!self.awaits.is_empty(), async { client.query(&sql.awaits, &[&self.awaits]).await }),
        );
        let mut answers = Answers::default();
        for row in usual? {
            match row.try_get(2)? {
                Some(body) => answers.take_card(&row, body)?,
                None => answers.take_key(&row)?,
            }
        }
        for (into, rows) in [ids?, tokens?, instruments?].into_iter().enumerate() {
            for row in rows {
                answers.take_named(into, &row)?;
            }
        }
        for row in forwarded? {
            answers.take_forwarded(&row)?;
        }
        for row in awaits? {
            answers.awaits.insert(sixteen(&row, 0)?);
        }
        Ok(answers)
    }

    async fn ask_forwarded(&self, client: &Client, sql: &Lookups) -> Result<Vec<Row>, Error> {
        let all = &self.forwarded;
        let keys: Vec<&[u8]> = all.iter().map(|(key, _)| &key.0[..]).collect();
        let firsts: Vec<Vec<u8>> = all.iter().map(|(key, _)| bound(*key, 0)).collect();
        let lasts: Vec<Vec<u8>> = all.iter().map(|(key, _)| bound(*key, 0xFF)).collect();
        let cards: Vec<Option<&[u8]>> = all.iter().map(|(_, card)| card.as_deref()).collect();
        client.query(&sql.forwarded, &[&self.places, &keys, &firsts, &lasts, &cards]).await
    }

    /// Tells everybody.
    pub(super) fn answer(self, answers: &Answers) {
        let failed = || {
            if answers.damaged { Err(StoreError::Unavailable) } else { Ok(None) }
        };
        for (place, question) in (0..).zip(self.questions) {
            // Whoever went away needs no answer.
            match question {
                Question::Card { hash, sequence, reply } => {
                    let found = answers.cards.get(&hash.0).map_or(&[][..], Vec::as_slice);
                    let card = match (found, sequence) {
                        ([card], None) => Some(card),
                        // The number alone does not say which card is meant.
                        (_, None) => None,
                        (all, Some(sequence)) => all.iter().find(|c| c.sequence == sequence),
                    };
                    let _ = reply.send(card.map_or_else(failed, |card| Ok(Some(Arc::clone(card)))));
                }
                Question::Named { kind, value, reply } => {
                    let card = answers.named.get(at(kind)).and_then(|named| named.get(&*value));
                    let _ = reply.send(card.map_or_else(failed, |card| Ok(Some(Arc::clone(card)))));
                }
                Question::Key { key, reply } => {
                    let _ = reply.send(Ok(answers.keys.get(&key.0).copied()));
                }
                Question::Forwarded { card, reply, key } => {
                    let found = answers.forwarded.get(&place).cloned();
                    // Exactly this key, or this card.
                    let found = found
                        .filter(|change| change.entry.key == key || change.entry.pan_hash == card);
                    let told = match found {
                        None if answers.damaged => Err(StoreError::Unavailable),
                        found => Ok(found),
                    };
                    let _ = reply.send(told);
                }
                Question::Awaits { card, reply } => {
                    let _ = reply.send(Ok(answers.awaits.contains(&card.0)));
                }
            }
        }
    }

    /// The database did not answer.
    pub(super) fn refuse(self, error: StoreError) {
        self.questions.into_iter().for_each(|question| question.refuse(error));
    }
}

impl Answers {
    fn take_card(&mut self, row: &Row, body: &[u8]) -> Result<(), Error> {
        let hash = sixteen(row, 0)?;
        if let Some(card) = self.card(row.try_get(1)?, body) {
            self.cards.entry(hash).or_default().push(card);
        }
        Ok(())
    }

    fn take_key(&mut self, row: &Row) -> Result<(), Error> {
        let known = KeyRow {
            fingerprint: row.try_get::<_, i64>(3)?.cast_unsigned(),
            state: row.try_get(4)?,
            code: row.try_get::<_, i16>(5)?.to_le_bytes()[0],
            host: HostCode::from_bytes(row.try_get::<_, i32>(6)?.to_le_bytes()),
            position: row.try_get::<_, i64>(7)?.cast_unsigned(),
            in_flight: row.try_get(8)?,
        };
        self.keys.insert(sixteen(row, 0)?, known);
        Ok(())
    }

    fn take_named(&mut self, into: usize, row: &Row) -> Result<(), Error> {
        let value: String = row.try_get(0)?;
        if let Some(card) = self.card(row.try_get(1)?, row.try_get(2)?)
            && let Some(named) = self.named.get_mut(into)
        {
            named.insert(value, card);
        }
        Ok(())
    }

    /// The card of a row. Its version is the column's, which a replacing import counts on.
    fn card(&mut self, version: i64, body: &[u8]) -> Option<Arc<CardRecord>> {
        match (decode_card(body), u32::try_from(version)) {
            (Ok(card), Ok(version)) => Some(Arc::new(CardRecord { version, ..card })),
            (Err(error), _) => self.damaged("a card", &error),
            (_, Err(error)) => self.damaged("a card's version", &error),
        }
    }

    fn take_forwarded(&mut self, row: &Row) -> Result<(), Error> {
        let place = row.try_get(0)?;
        let open: Option<&[u8]> = row.try_get(1)?;
        let record: Option<&[u8]> = row.try_get(2)?;
        let change = match (open, record) {
            (Some(open), _) => decode_open(open).map(Some),
            (None, Some(record)) => decode_record(record).map(|record| match record.body {
                Body::Intent(change) => Some(*change),
                _ => None,
            }),
            (None, None) => Ok(None),
        };
        match change {
            Ok(Some(change)) => drop(self.forwarded.insert(place, Arc::new(change))),
            Ok(None) => {}
            Err(error) => drop(self.damaged::<()>("a forwarded change", &error)),
        }
        Ok(())
    }

    fn damaged<T>(&mut self, what: &str, error: &dyn std::fmt::Display) -> Option<T> {
        tracing::error!(%error, what, "a row of the database cannot be read: restore it from a backup");
        self.damaged = true;
        None
    }
}
