//! A batch in one statement, which is a transaction of its own: for batches that hope for nothing but the usual.
//!
//! Most batches are changes of different cards under keys that nobody has. Such a batch is judged before it is asked
//! about, as if everything will be found as it was read, and the one statement writes all of it or nothing: it
//! compares what the two rounds compare, in their order (see `sql`). When the smallest thing differs the batch goes the
//! long way, by `ask` and `write`, where each row gets a verdict of its own. **Never here:** a batch with forwarded
//! changes or reversals, a verdict. Where next: `writer`.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Statement};

use crate::card::postgres::ask::Columns;
use crate::card::postgres::batch::Head;
use crate::card::postgres::connect::session_survives;
use crate::card::postgres::write::{CardRow, Ended, Written};

/// Each part waits for the one before it: the node's row, the cards, then keys and records. So rows are locked in the
/// order of the long way, and by value since the columns come sorted. READ COMMITTED looks again at a row that it had
/// to wait for: a version is compared on the row as its last writer left it. Whatever is not as hoped is an error,
/// which undoes all of it: a cast that cannot be done where a row is missing (its words are for the database's log),
/// and the index's own where somebody has a key.
const AT_ONCE: &str = "WITH head AS (
        UPDATE chain SET position = $4, mac = $5 WHERE node = $1 AND epoch = $2 AND position = $3 RETURNING 1),
    put AS (
        UPDATE card SET version = w.version, body = w.body
        FROM unnest($6::bytea[], $7::int2[], $8::int8[], $9::bytea[]) AS w (pan_hash, sequence, version, body)
        WHERE (SELECT count(*) FROM head) = 1
            AND card.pan_hash = w.pan_hash AND card.sequence = w.sequence AND card.version = w.version - 1
        RETURNING 1),
    ok AS MATERIALIZED (
        SELECT CASE WHEN head = 1 AND put = cardinality($6) THEN 1
            ELSE format('pinion: %s of 1 chain and %s of %s cards are as they were', head, put, cardinality($6))::int
            END AS ok
        FROM (SELECT (SELECT count(*) FROM head) AS head, (SELECT count(*) FROM put) AS put) AS counted),
    keys AS (
        INSERT INTO transaction (key, fingerprint, state, code, host, position, at)
        SELECT k.key, k.fingerprint, 0, k.code, k.host, k.position, k.at
        FROM unnest($10::bytea[], $11::int8[], $12::int2[], $13::int4[], $14::int8[], $15::int8[])
            AS k (key, fingerprint, code, host, position, at)
        WHERE (SELECT ok FROM ok) = 1)
    INSERT INTO journal (position, at, record)
    SELECT * FROM unnest($16::int8[], $17::int8[], $18::bytea[]) WHERE (SELECT ok FROM ok) = 1";

/// The cast, and the index.
const OTHERWISE: [SqlState; 2] =
    [SqlState::INVALID_TEXT_REPRESENTATION, SqlState::UNIQUE_VIOLATION];

pub(super) async fn prepare(client: &Client) -> Result<Statement, Error> {
    client.prepare(AT_ONCE).await
}

/// Writes a batch whose chain ends at `before` now. `None`: something is not as it was read, and nothing was written.
pub(super) async fn run(
    (client, sql): (&Client, &Statement),
    (node, epoch): (i16, i64),
    before: Head,
    keys: &Columns<'_>,
    written: &Written,
) -> Option<Ended> {
    let mut cards: Vec<&CardRow> = written.cards.iter().collect();
    cards.sort_unstable_by_key(|card| (card.hash, card.sequence));
    let hashes: Vec<&[u8]> = cards.iter().map(|c| &c.hash[..]).collect();
    let sequences: Vec<i16> = cards.iter().map(|c| c.sequence).collect();
    let versions: Vec<i64> = cards.iter().map(|c| c.version).collect();
    let bodies: Vec<&[u8]> = cards.iter().map(|c| &c.body[..]).collect();
    let records = &written.records;
    let (before, after) = (before.position.cast_signed(), written.head.position.cast_signed());
    // It resolves when the server is ready again, which is after the commit.
    let told = client
        .execute(
            sql,
            &[
                &node,
                &epoch,
                &before,
                &after,
                &&written.head.mac[..],
                &hashes,
                &sequences,
                &versions,
                &bodies,
                &keys.keys,
                &keys.fingerprints,
                &keys.codes,
                &keys.hosts,
                &keys.positions,
                &keys.ats,
                &records.positions,
                &records.ats,
                &records.bytes,
            ],
        )
        .await;
    Some(match told {
        Ok(_) => Ended::Committed,
        Err(error) if error.code().is_some_and(|code| OTHERWISE.contains(code)) => return None,
        Err(error) if session_survives(&error) => Ended::RolledBack(error),
        Err(error) => Ended::Unknown(error),
    })
}
