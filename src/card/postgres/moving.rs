//! Everything of a database into an archive, and an archive into an empty database.
//!
//! Both work on one transaction while no switch runs: an export is one moment, an import is there as a whole or not at
//! all. Every chain moves as it is, with its numbers and MACs; that of an embedded store is the chain of node 0.
//! **Never here:** a migration: the tables are there before. Where next: `card::archive`.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};

use crate::card::archive::{
    Answer, Archive, ArchiveError, ArchiveWriter, Chain, Known, Line, Part,
};
use crate::card::codec::{decode_card, decode_record, encode_card, encode_open};
use crate::card::postgres::ask::{ANSWERED, REFUSED};
use crate::card::postgres::connect::{ConnectError, Connector, Session};
use crate::card::postgres::fence::NODE_LOCK;
use crate::card::postgres::{PostgresOptions, proof, schema};
use crate::card::{CardRecord, Fingerprint, Unsettled};
use crate::domain::clock::WallMillis;
use crate::domain::outcome::HostCode;
use crate::domain::pan::PanHash;
use crate::domain::request::TransactionKey;
use crate::domain::vault::Vault;
use crate::limits::{STORE_COMMANDS_NODE, STORE_IMPORT_ROWS};

impl From<ConnectError> for ArchiveError {
    fn from(error: ConnectError) -> Self {
        Self::store(error)
    }
}

impl From<tokio_postgres::Error> for ArchiveError {
    fn from(error: tokio_postgres::Error) -> Self {
        ConnectError::from(error).into()
    }
}

/// Writes everything into an archive. Keys that were answered before the archive's time are left out.
///
/// # Errors
/// [`ArchiveError`], also while a switch runs.
pub async fn export(
    options: &PostgresOptions,
    vault: &dyn Vault,
    to: &mut ArchiveWriter,
) -> Result<(), ArchiveError> {
    let mut session = open(options, vault).await?;
    let moment = session.client.build_transaction();
    let moment = moment.isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let moment = moment.read_only(true).start().await?;
    parts(&moment, to).await?;
    journal(&moment, to).await
}

/// Puts an archive into a database whose tables are empty, and compares what came out with what went in before it is
/// committed.
///
/// # Errors
/// [`ArchiveError`]; the database is then as it was.
pub async fn import(
    options: &PostgresOptions,
    vault: &dyn Vault,
    archive: &Archive,
) -> Result<(), ArchiveError> {
    let mut session = open(options, vault).await?;
    let change = session.client.transaction().await?;
    let is_empty = "SELECT NOT (EXISTS (SELECT FROM card) OR EXISTS (SELECT FROM transaction)
        OR EXISTS (SELECT FROM journal) OR EXISTS (SELECT FROM unsettled))";
    if !change.query_one(is_empty, &[]).await?.try_get::<_, bool>(0)? {
        return Err(ArchiveError::NotEmpty { place: "the database".to_owned() });
    }
    put_cards(&change, archive).await?;
    put_known(&change, archive).await?;
    put_unsettled(&change, archive).await?;
    put_journal(&change, archive).await?;
    let manifest = archive.manifest();
    let mut counted = ArchiveWriter::counting(WallMillis(manifest.since));
    parts(&change, &mut counted).await?;
    journal(&change, &mut counted).await?;
    counted.check(manifest, &Part::ALL)?;
    change.commit().await?;
    Ok(())
}

/// A session while no switch runs.
async fn open(options: &PostgresOptions, vault: &dyn Vault) -> Result<Session, ArchiveError> {
    let connector = Connector::new(&options.url, options.tls.clone(), "pinion store")?;
    let session = connector.connect().await?;
    schema::check(&session.client).await?;
    proof::check(&session.client, vault).await?;
    let running =
        "SELECT l.objid::int8 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND l.classid = $1::int8::oid AND l.objid <> $2::int8::oid
            AND l.granted AND d.datname = current_database() ORDER BY 1";
    let but = i64::from(STORE_COMMANDS_NODE);
    let rows = session.client.query(running, &[&i64::from(NODE_LOCK), &but]).await?;
    if let Some(row) = rows.first() {
        let node: i64 = row.try_get(0)?;
        return Err(ArchiveError::Store(format!(
            "node {node} is running: stop every switch first"
        )));
    }
    Ok(session)
}

const NOTHING: [&(dyn ToSql + Sync); 0] = [];

/// Cards, keys, open changes.
async fn parts(from: &Transaction<'_>, to: &mut ArchiveWriter) -> Result<(), ArchiveError> {
    let cards = "SELECT version, body FROM card ORDER BY pan_hash, sequence";
    let mut rows = pin!(from.query_raw(cards, NOTHING).await?);
    while let Some(row) = rows.try_next().await? {
        let card = decode_card(row.try_get(1)?)?;
        let version = u32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(card.version);
        to.card(&CardRecord { version, ..card })?;
    }
    let keys = "SELECT t.key, t.fingerprint, t.state, t.code, t.host, t.at, t.position, t.intent, t.pan_hash
        FROM transaction AS t WHERE t.at / 60000 >= $1
            OR EXISTS (SELECT FROM unsettled AS u WHERE u.key = t.key)";
    let since = (to.since().0 / 60_000).cast_signed();
    let mut rows = pin!(from.query_raw(keys, [since]).await?);
    while let Some(row) = rows.try_next().await? {
        to.known(&known(&row)?)?;
    }
    let open = "SELECT position, change FROM unsettled ORDER BY sent";
    let mut rows = pin!(from.query_raw(open, NOTHING).await?);
    while let Some(row) = rows.try_next().await? {
        let change = crate::card::codec::decode_open(row.try_get(1)?)?;
        let sequence = row.try_get::<_, i64>(0)?.cast_unsigned();
        to.unsettled(&Unsettled { sequence, ..change })?;
    }
    Ok(())
}

fn known(row: &Row) -> Result<Known, tokio_postgres::Error> {
    let sixteen = |bytes: &[u8]| bytes.try_into().unwrap_or([0; 16]);
    let host = HostCode::from_bytes(row.try_get::<_, i32>(4)?.to_le_bytes());
    let answer = match row.try_get::<_, i16>(2)? {
        REFUSED => Answer::Refused,
        _ => Answer::Code(row.try_get::<_, i16>(3)?.to_le_bytes()[0], host),
    };
    let pan_hash: Option<&[u8]> = row.try_get(8)?;
    let intent: Option<i64> = row.try_get(7)?;
    let pan_hash = pan_hash.map(|hash| PanHash(sixteen(hash)));
    Ok(Known {
        key: TransactionKey(sixteen(row.try_get(0)?)),
        fingerprint: Fingerprint(row.try_get::<_, i64>(1)?.cast_unsigned()),
        answer,
        at: WallMillis(row.try_get::<_, i64>(5)?.cast_unsigned()),
        position: row.try_get::<_, i64>(6)?.cast_unsigned(),
        forwarded: intent.map(|intent| (intent.cast_unsigned(), pan_hash)),
    })
}

/// Every chain with its records.
async fn journal(from: &Transaction<'_>, to: &mut ArchiveWriter) -> Result<(), ArchiveError> {
    let chains = "SELECT node, anchor, anchor_mac, position, mac, stan FROM chain ORDER BY node";
    let mac = |bytes: &[u8]| bytes.try_into().unwrap_or([0; 32]);
    for row in from.query(chains, &[]).await? {
        let chain = Chain {
            node: row.try_get::<_, i16>(0)?.cast_unsigned(),
            anchor: row.try_get::<_, i64>(1)?.cast_unsigned(),
            anchor_mac: mac(row.try_get(2)?),
            last: row.try_get::<_, i64>(3)?.cast_unsigned(),
            head: mac(row.try_get(4)?),
            stan: row.try_get::<_, Option<i32>>(5)?.map(i32::cast_unsigned),
        };
        let records = "SELECT position, record FROM journal
            WHERE position > $1 AND position <= $2 ORDER BY position";
        let span = [chain.anchor.cast_signed(), chain.last.cast_signed()];
        let mut rows = pin!(from.query_raw(records, span).await?);
        while let Some(row) = rows.try_next().await? {
            let position = row.try_get::<_, i64>(0)?.cast_unsigned();
            to.record(chain.node, position, row.try_get(1)?)?;
        }
        to.chain(chain);
    }
    Ok(())
}

async fn put_cards(into: &Transaction<'_>, archive: &Archive) -> Result<(), ArchiveError> {
    let put = "INSERT INTO card (pan_hash, sequence, version, card_id, pan_token, payment_instrument, body)
        SELECT * FROM unnest($1::bytea[], $2::int2[], $3::int8[], $4::text[], $5::text[], $6::text[], $7::bytea[])";
    let put = into.prepare(put).await?;
    let mut cards = archive.cards()?;
    loop {
        let some: Vec<CardRecord> =
            cards.by_ref().take(STORE_IMPORT_ROWS).collect::<Result<_, _>>()?;
        if some.is_empty() {
            return Ok(());
        }
        let mut bodies = Vec::with_capacity(some.len());
        for card in &some {
            let mut body = Vec::new();
            encode_card(&mut body, card)?;
            bodies.push(body);
        }
        let hashes: Vec<&[u8]> = some.iter().map(|card| &card.pan_hash.0[..]).collect();
        let sequences: Vec<i16> = some.iter().map(|card| card.sequence.cast_signed()).collect();
        let versions: Vec<i64> = some.iter().map(|card| i64::from(card.version)).collect();
        let identities = || some.iter().map(|card| card.identities.as_deref());
        let ids: Vec<_> = identities().map(|i| i.and_then(|i| i.card_id.as_deref())).collect();
        let tokens: Vec<_> = identities().map(|i| i.and_then(|i| i.pan_token.as_deref())).collect();
        let instruments: Vec<_> =
            identities().map(|i| i.and_then(|i| i.payment_instrument.as_deref())).collect();
        into.execute(&put, &[&hashes, &sequences, &versions, &ids, &tokens, &instruments, &bodies])
            .await?;
    }
}

async fn put_known(into: &Transaction<'_>, archive: &Archive) -> Result<(), ArchiveError> {
    let put = "INSERT INTO transaction (key, fingerprint, state, code, host, at, position, intent, pan_hash)
        SELECT * FROM unnest($1::bytea[], $2::int8[], $3::int2[], $4::int2[], $5::int4[], $6::int8[], $7::int8[],
            $8::int8[], $9::bytea[])";
    let put = into.prepare(put).await?;
    let mut all = archive.known()?;
    loop {
        let some: Vec<Known> = all.by_ref().take(STORE_IMPORT_ROWS).collect::<Result<_, _>>()?;
        if some.is_empty() {
            return Ok(());
        }
        let answer = |known: &Known| match known.answer {
            Answer::Refused => (REFUSED, 0, 0),
            Answer::Code(code, host) => {
                (ANSWERED, i16::from(code), host.map_or(0, |h| i32::from_le_bytes(h.bytes())))
            }
        };
        let keys: Vec<&[u8]> = some.iter().map(|known| &known.key.0[..]).collect();
        let fingerprints: Vec<i64> = some.iter().map(|k| k.fingerprint.0.cast_signed()).collect();
        let states: Vec<i16> = some.iter().map(|known| answer(known).0).collect();
        let codes: Vec<i16> = some.iter().map(|known| answer(known).1).collect();
        let hosts: Vec<i32> = some.iter().map(|known| answer(known).2).collect();
        let ats: Vec<i64> = some.iter().map(|known| known.at.0.cast_signed()).collect();
        let positions: Vec<i64> = some.iter().map(|k| k.position.cast_signed()).collect();
        let intents: Vec<Option<i64>> =
            some.iter().map(|k| k.forwarded.map(|(intent, _)| intent.cast_signed())).collect();
        let hashes: Vec<Option<&[u8]>> = some
            .iter()
            .map(|known| known.forwarded.as_ref()?.1.as_ref().map(|hash| &hash.0[..]))
            .collect();
        into.execute(
            &put,
            &[&keys, &fingerprints, &states, &codes, &hosts, &ats, &positions, &intents, &hashes],
        )
        .await?;
    }
}

/// Nobody has them in flight: they wait for their reversals.
async fn put_unsettled(into: &Transaction<'_>, archive: &Archive) -> Result<(), ArchiveError> {
    let put = "WITH numbered AS (
            INSERT INTO unsettled (key, sent, host, pan_hash, position, at, change, node, epoch, in_flight_until)
            VALUES ($1, nextval('sending'), $2, $3, $4, $5, $6, 0, 0, '-infinity') RETURNING key, sent)
        UPDATE transaction SET sent = numbered.sent FROM numbered WHERE transaction.key = numbered.key";
    let put = into.prepare(put).await?;
    for change in archive.unsettled()? {
        let change = change?;
        let mut row = Vec::new();
        encode_open(&mut row, &change)?;
        let entry = &change.entry;
        let hash = entry.pan_hash.map(|hash| hash.0.to_vec());
        into.execute(
            &put,
            &[
                &&entry.key.0[..],
                &i32::from(change.forwarded.host.0),
                &hash,
                &change.sequence.cast_signed(),
                &entry.at.0.cast_signed(),
                &row,
            ],
        )
        .await?;
    }
    Ok(())
}

async fn put_journal(into: &Transaction<'_>, archive: &Archive) -> Result<(), ArchiveError> {
    let put = "INSERT INTO journal (position, at, record)
        SELECT * FROM unnest($1::int8[], $2::int8[], $3::bytea[])";
    let put = into.prepare(put).await?;
    let mut lines = archive.journal()?;
    loop {
        let some: Vec<Line> = lines.by_ref().take(STORE_IMPORT_ROWS).collect::<Result<_, _>>()?;
        if some.is_empty() {
            break;
        }
        let mut ats = Vec::with_capacity(some.len());
        for line in &some {
            ats.push(decode_record(&line.record)?.at.0.cast_signed());
        }
        let positions: Vec<i64> = some.iter().map(|line| line.position.cast_signed()).collect();
        let records: Vec<&[u8]> = some.iter().map(|line| &line.record[..]).collect();
        into.execute(&put, &[&positions, &ats, &records]).await?;
    }
    let put = "INSERT INTO chain (node, epoch, position, mac, anchor, anchor_mac, stan)
        VALUES ($1, 0, $2, $3, $4, $5, $6)
        ON CONFLICT (node) DO UPDATE SET position = excluded.position, mac = excluded.mac,
            anchor = excluded.anchor, anchor_mac = excluded.anchor_mac, stan = excluded.stan";
    for chain in &archive.manifest().chains {
        into.execute(
            put,
            &[
                &chain.node.cast_signed(),
                &chain.last.cast_signed(),
                &&chain.head[..],
                &chain.anchor.cast_signed(),
                &&chain.anchor_mac[..],
                &chain.stan.map(u32::cast_signed),
            ],
        )
        .await?;
    }
    Ok(())
}
