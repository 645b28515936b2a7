//! The writer's statements, prepared once a session.
//!
//! Locks are taken in one order on all nodes, so that none waits for another in a circle: the node's row of `chain`,
//! locks on traces, cards, keys that are new, keys that are known, open changes; within each by value. **Never here:**
//! what a row means (see `batch`).

use tokio_postgres::{Client, Error, Statement};

use crate::card::postgres::once;
use crate::limits::{STORE_FLIGHT_SECONDS, STORE_WRITE_SECONDS};

/// The statements.
pub(super) struct Statements {
    /// Both rounds in one, for the usual batch.
    pub(super) at_once: Statement,
    // First round: locks, and what is there.
    pub(super) head: Statement,
    pub(super) traces: Statement,
    pub(super) cards: Statement,
    pub(super) keys: Statement,
    pub(super) known: Statement,
    pub(super) newest: Statement,
    pub(super) bodies: Statement,
    pub(super) open: Statement,
    // Second round: what is written.
    pub(super) put_cards: Statement,
    pub(super) append: Statement,
    pub(super) free: Statement,
    pub(super) renumber: Statement,
    pub(super) answer: Statement,
    pub(super) close: Statement,
    pub(super) wait: Statement,
    pub(super) put_open: Statement,
    pub(super) advance: Statement,
}

/// Who writes as this node, and its newest record. The lock makes a later session wait for this one's transaction.
const HEAD: &str = "SELECT epoch, position FROM chain WHERE node = $1 FOR NO KEY UPDATE";

/// The keys of an intent and of a reversal that found no original may differ: here the two meet.
const TRACES: &str = "SELECT pg_advisory_xact_lock(w.trace)
    FROM (SELECT trace FROM unnest($1::int8[]) AS t (trace) ORDER BY trace) AS w";

const CARDS: &str = "SELECT c.pan_hash, c.sequence, c.version
    FROM unnest($1::bytea[], $2::int2[]) AS w (pan_hash, sequence)
    JOIN card AS c ON c.pan_hash = w.pan_hash AND c.sequence = w.sequence
    ORDER BY c.pan_hash, c.sequence FOR NO KEY UPDATE OF c";

/// Waits for another node that has taken the same key in a transaction of its own; takes those that nobody has. What is
/// sent by one batch has one number, and its order by position.
const KEYS: &str = "INSERT INTO transaction
        (key, fingerprint, state, code, host, position, at, intent, sent, pan_hash)
    SELECT w.key, w.fingerprint, w.state, w.code, w.host, w.position, w.at,
        CASE WHEN w.state = 1 THEN w.position END,
        CASE WHEN w.state = 1 THEN (SELECT nextval('sending')) END,
        CASE WHEN w.state = 1 THEN w.pan_hash END
    FROM (SELECT * FROM unnest($1::bytea[], $2::int8[], $3::int2[], $4::int2[], $5::int4[], $6::int8[], $7::int8[],
              $8::bytea[]) AS k (key, fingerprint, state, code, host, position, at, pan_hash) ORDER BY key) AS w
    ON CONFLICT (key) DO NOTHING
    RETURNING key, sent";

const KNOWN: &str = "SELECT key, state, code, intent, sent FROM transaction
    WHERE key = ANY ($1::bytea[]) ORDER BY key FOR NO KEY UPDATE";

const NEWEST: &str = "SELECT w.place FROM unnest($1::int4[], $2::bytea[], $3::bytea[], $4::bytea[])
        AS w (place, first, last, pan_hash)
    WHERE EXISTS (SELECT 1 FROM transaction AS t WHERE t.key BETWEEN w.first AND w.last
        AND t.intent IS NOT NULL AND t.pan_hash = w.pan_hash)";

const BODIES: &str = "SELECT pan_hash, body FROM card WHERE pan_hash = ANY ($1::bytea[])";

/// `mine` is in flight, and ours to end. PostgreSQL reads a row's time before it locks the row, and may wait for others
/// between the two: a round trip's bound is kept between our end of a change and anybody's reversal of it.
fn open() -> String {
    format!(
        "SELECT key, in_flight_until > clock_timestamp() AS in_flight, node = $2 AND epoch = $3
             AND in_flight_until > clock_timestamp() + interval '{STORE_WRITE_SECONDS} s' AS mine
         FROM unsettled WHERE key = ANY ($1::bytea[]) ORDER BY key FOR UPDATE"
    )
}

const PUT_CARDS: &str = "UPDATE card SET version = w.version, body = w.body
    FROM unnest($1::bytea[], $2::int2[], $3::int8[], $4::bytea[]) AS w (pan_hash, sequence, version, body)
    WHERE card.pan_hash = w.pan_hash AND card.sequence = w.sequence";

const APPEND: &str = "INSERT INTO journal (position, at, record)
    SELECT * FROM unnest($1::int8[], $2::int8[], $3::bytea[])";

const FREE: &str = "DELETE FROM transaction WHERE key = ANY ($1::bytea[])";

/// After others of the batch were refused.
const RENUMBER: &str = "UPDATE transaction
    SET position = w.position, intent = CASE WHEN state = 1 THEN w.position END
    FROM unnest($1::bytea[], $2::int8[]) AS w (key, position) WHERE transaction.key = w.key";

const ANSWER: &str = "UPDATE transaction
    SET state = 0, code = w.code, host = w.host, position = w.position, at = w.at
    FROM unnest($1::bytea[], $2::int2[], $3::int4[], $4::int8[], $5::int8[]) AS w (key, code, host, position, at)
    WHERE transaction.key = w.key";

const CLOSE: &str = "DELETE FROM unsettled WHERE key = ANY ($1::bytea[])";

const WAIT: &str =
    "UPDATE unsettled SET in_flight_until = '-infinity' WHERE key = ANY ($1::bytea[])";

/// A reopened change waits at once; one that waits already stays as it is.
fn put_open() -> String {
    format!(
        "INSERT INTO unsettled (key, sent, host, pan_hash, position, at, change, node, epoch, in_flight_until)
         SELECT w.key, coalesce(w.sent, (SELECT nextval('sending'))), w.host, w.pan_hash, w.position, w.at, w.change,
             $9, $10,
             CASE WHEN w.waits THEN '-infinity' ELSE clock_timestamp() + interval '{STORE_FLIGHT_SECONDS} s' END
         FROM unnest($1::bytea[], $2::int8[], $3::int4[], $4::bytea[], $5::int8[], $6::int8[], $7::bytea[], $8::bool[])
             AS w (key, sent, host, pan_hash, position, at, change, waits)
         ON CONFLICT (key) DO UPDATE SET in_flight_until = '-infinity'"
    )
}

const ADVANCE: &str =
    "UPDATE chain SET position = $2, mac = $3, stan = coalesce($4, stan) WHERE node = $1";

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            at_once: once::prepare(client).await?,
            head: client.prepare(HEAD).await?,
            traces: client.prepare(TRACES).await?,
            cards: client.prepare(CARDS).await?,
            keys: client.prepare(KEYS).await?,
            known: client.prepare(KNOWN).await?,
            newest: client.prepare(NEWEST).await?,
            bodies: client.prepare(BODIES).await?,
            open: client.prepare(&open()).await?,
            put_cards: client.prepare(PUT_CARDS).await?,
            append: client.prepare(APPEND).await?,
            free: client.prepare(FREE).await?,
            renumber: client.prepare(RENUMBER).await?,
            answer: client.prepare(ANSWER).await?,
            close: client.prepare(CLOSE).await?,
            wait: client.prepare(WAIT).await?,
            put_open: client.prepare(&put_open()).await?,
            advance: client.prepare(ADVANCE).await?,
        })
    }
}
