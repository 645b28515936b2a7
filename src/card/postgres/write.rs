//! The second round of a batch: everything it writes, and its commit, in one round trip.
//!
//! **Never here:** a decision. Where next: `writer`, which knows what a broken connection means.

use tokio_postgres::{Client, Error};

use crate::card::codec::{encode_card, encode_open};
use crate::card::postgres::ask::maybe;
use crate::card::postgres::batch::Head;
use crate::card::postgres::sql::Statements;
use crate::card::{CardRecord, StoreError, Unsettled};
use crate::domain::clock::WallMillis;
use crate::domain::forward::Stan;
use crate::domain::request::TransactionKey;

/// What a batch writes.
#[derive(Default)]
pub(super) struct Written {
    pub(super) records: Records,
    pub(super) cards: Vec<CardRow>,
    /// Keys that are free again.
    pub(super) freed: Vec<[u8; 16]>,
    /// Keys that were taken with another position.
    pub(super) renumbered: Vec<([u8; 16], u64)>,
    /// Answers of changes that were in flight.
    pub(super) answered: Vec<Outcome>,
    /// Open changes that have ended.
    pub(super) closed: Vec<[u8; 16]>,
    /// Changes in flight that are unsettled from now on.
    pub(super) waits: Vec<[u8; 16]>,
    pub(super) opened: Vec<OpenRow>,
    /// Of the newest intent.
    pub(super) stan: Option<Stan>,
    pub(super) head: Head,
}

/// Records, column by column.
#[derive(Default)]
pub(super) struct Records {
    pub(super) positions: Vec<i64>,
    pub(super) ats: Vec<i64>,
    pub(super) bytes: Vec<Vec<u8>>,
}

impl Records {
    pub(super) fn push(&mut self, position: u64, at: WallMillis, record: Vec<u8>) {
        self.positions.push(position.cast_signed());
        self.ats.push(at.0.cast_signed());
        self.bytes.push(record);
    }
}

/// A row of `card`.
pub(super) struct CardRow {
    pub(super) hash: [u8; 16],
    pub(super) sequence: i16,
    pub(super) version: i64,
    pub(super) body: Vec<u8>,
}

impl CardRow {
    pub(super) fn of(card: &CardRecord, key: TransactionKey) -> Result<Self, StoreError> {
        let mut body = Vec::with_capacity(160);
        if let Err(error) = encode_card(&mut body, card) {
            tracing::error!(%error, key = %key.text(), "commit refused: card not writable");
            return Err(StoreError::Unavailable);
        }
        Ok(Self {
            hash: card.pan_hash.0,
            sequence: card.sequence.cast_signed(),
            version: i64::from(card.version),
            body,
        })
    }
}

/// The answer of a change that was in flight.
pub(super) struct Outcome {
    pub(super) key: [u8; 16],
    pub(super) code: i16,
    pub(super) host: i32,
    pub(super) position: u64,
    pub(super) at: WallMillis,
}

/// A row of `unsettled`.
pub(super) struct OpenRow {
    key: [u8; 16],
    sent: Option<i64>,
    host: i32,
    pan_hash: Option<Vec<u8>>,
    position: i64,
    at: i64,
    change: Vec<u8>,
    waits: bool,
}

impl OpenRow {
    pub(super) fn of(
        change: &Unsettled,
        sent: Option<i64>,
        waits: bool,
    ) -> Result<Self, StoreError> {
        let mut bytes = Vec::with_capacity(300);
        let entry = &change.entry;
        if let Err(error) = encode_open(&mut bytes, change) {
            tracing::error!(%error, key = %entry.key.text(), "commit refused: change not writable");
            return Err(StoreError::Unavailable);
        }
        Ok(Self {
            key: entry.key.0,
            sent,
            host: i32::from(change.forwarded.host.0),
            pan_hash: entry.pan_hash.map(|hash| hash.0.to_vec()),
            position: change.sequence.cast_signed(),
            at: entry.at.0.cast_signed(),
            change: bytes,
            waits,
        })
    }
}

/// How a round ended that should have committed.
pub(super) enum Ended {
    Committed,
    /// The server refused a statement: nothing is kept.
    RolledBack(Error),
    /// The session broke, and the commit may have been done.
    Unknown(Error),
}

impl Written {
    /// Whether there is anything to be committed.
    pub(super) fn is_empty(&self) -> bool {
        self.records.positions.is_empty() && self.waits.is_empty()
    }

    /// Whether it is nothing but cards and records, every key taken at the position it was to have.
    pub(super) fn is_usual(&self) -> bool {
        !self.is_empty()
            && self.freed.is_empty()
            && self.renumbered.is_empty()
            && self.answered.is_empty()
            && self.closed.is_empty()
            && self.waits.is_empty()
            && self.opened.is_empty()
    }

    /// Writes it all and commits.
    pub(super) async fn run(
        &self,
        client: &Client,
        sql: &Statements,
        node: i16,
        epoch: i64,
    ) -> Ended {
        let freed = slices(&self.freed);
        let closed = slices(&self.closed);
        let waits = slices(&self.waits);
        let (renumbered, positions): (Vec<&[u8]>, Vec<i64>) =
            self.renumbered.iter().map(|(key, at)| (&key[..], at.cast_signed())).unzip();
        let mac = &self.head.mac[..];
        let position = self.head.position.cast_signed();
        let stan = self.stan.map(|stan| stan.0.cast_signed());
        let Records { positions: numbers, ats, bytes } = &self.records;
        let all = tokio::join!(
            biased;
            maybe(!self.cards.is_empty(), self.put_cards(client, sql)),
            maybe(!numbers.is_empty(), async { client.execute(&sql.append, &[numbers, ats, bytes]).await }),
            maybe(!freed.is_empty(), async { client.execute(&sql.free, &[&freed]).await }),
            maybe(!renumbered.is_empty(), async { client.execute(&sql.renumber, &[&renumbered, &positions]).await }),
            maybe(!self.answered.is_empty(), self.answer(client, sql)),
            maybe(!closed.is_empty(), async { client.execute(&sql.close, &[&closed]).await }),
            maybe(!waits.is_empty(), async { client.execute(&sql.wait, &[&waits]).await }),
            maybe(!self.opened.is_empty(), self.open(client, sql, node, epoch)),
            maybe(!numbers.is_empty(), async { client.execute(&sql.advance, &[&node, &position, &mac, &stan]).await }),
            client.batch_execute("COMMIT"),
        );
        let (
            put,
            appended,
            freed,
            renumbered,
            answered,
            closed,
            waiting,
            opened,
            advanced,
            committed,
        ) = all;
        // A statement that fails turns the commit into a rollback, which PostgreSQL calls a success.
        let statements =
            [put, appended, freed, renumbered, answered, closed, waiting, opened, advanced];
        for statement in statements {
            match statement {
                Ok(_) => {}
                Err(error) if error.as_db_error().is_some() => return Ended::RolledBack(error),
                Err(error) => return Ended::Unknown(error),
            }
        }
        match committed {
            Ok(()) => Ended::Committed,
            Err(error) => Ended::Unknown(error),
        }
    }

    async fn put_cards(&self, client: &Client, sql: &Statements) -> Result<u64, Error> {
        let hashes: Vec<&[u8]> = self.cards.iter().map(|c| &c.hash[..]).collect();
        let sequences: Vec<i16> = self.cards.iter().map(|c| c.sequence).collect();
        let versions: Vec<i64> = self.cards.iter().map(|c| c.version).collect();
        let bodies: Vec<&[u8]> = self.cards.iter().map(|c| &c.body[..]).collect();
        client.execute(&sql.put_cards, &[&hashes, &sequences, &versions, &bodies]).await
    }

    async fn answer(&self, client: &Client, sql: &Statements) -> Result<u64, Error> {
        let all = &self.answered;
        let keys: Vec<&[u8]> = all.iter().map(|a| &a.key[..]).collect();
        let codes: Vec<i16> = all.iter().map(|a| a.code).collect();
        let hosts: Vec<i32> = all.iter().map(|a| a.host).collect();
        let positions: Vec<i64> = all.iter().map(|a| a.position.cast_signed()).collect();
        let ats: Vec<i64> = all.iter().map(|a| a.at.0.cast_signed()).collect();
        client.execute(&sql.answer, &[&keys, &codes, &hosts, &positions, &ats]).await
    }

    async fn open(
        &self,
        client: &Client,
        sql: &Statements,
        node: i16,
        epoch: i64,
    ) -> Result<u64, Error> {
        let all = &self.opened;
        let keys: Vec<&[u8]> = all.iter().map(|o| &o.key[..]).collect();
        let sent: Vec<Option<i64>> = all.iter().map(|o| o.sent).collect();
        let hosts: Vec<i32> = all.iter().map(|o| o.host).collect();
        let pan_hashes: Vec<Option<&[u8]>> = all.iter().map(|o| o.pan_hash.as_deref()).collect();
        let positions: Vec<i64> = all.iter().map(|o| o.position).collect();
        let ats: Vec<i64> = all.iter().map(|o| o.at).collect();
        let changes: Vec<&[u8]> = all.iter().map(|o| &o.change[..]).collect();
        let waits: Vec<bool> = all.iter().map(|o| o.waits).collect();
        client
            .execute(
                &sql.put_open,
                &[
                    &keys,
                    &sent,
                    &hosts,
                    &pan_hashes,
                    &positions,
                    &ats,
                    &changes,
                    &waits,
                    &node,
                    &epoch,
                ],
            )
            .await
    }
}

fn slices(keys: &[[u8; 16]]) -> Vec<&[u8]> {
    keys.iter().map(<[u8; 16]>::as_slice).collect()
}
