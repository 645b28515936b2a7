//! What is too old: keys past their retention, records past theirs. A little at a time, by one node at a time.
//!
//! Records go from the beginning of each node's chain, and the chain's anchor moves in the same transaction, so that
//! the chain can be verified from there. **Never here:** keys of changes that are open: a repeat of one must not be
//! sent anew. Where next: `keeper`.

use std::time::Duration;

use tokio_postgres::{Client, Error};

use crate::card::codec::split_mac;
use crate::domain::clock::WallMillis;

/// Pages of the table of keys that one step looks at.
const PAGES_A_STEP: i64 = 512;
/// Passes over the table in the time of a retention.
const PASSES: u64 = 24;
/// Records that one step may drop of one node.
const RECORDS_A_STEP: i64 = 10_000;
/// Between two looks at what the journal may drop.
const TRIM_MILLIS: u64 = 3_600_000;

/// How far the looking has come.
#[derive(Default)]
pub(super) struct Sweep {
    page: i64,
    /// When the pass began.
    begun: WallMillis,
    trimmed: WallMillis,
}

/// The columns of `at` and `ctid` alone are read; rows that a writer works on are passed over.
const SWEEP: &str = "DELETE FROM transaction WHERE ctid = ANY (ARRAY(
    SELECT t.ctid FROM transaction AS t
    WHERE t.ctid >= format('(%s,0)', $1::int8)::tid AND t.ctid < format('(%s,0)', $2::int8)::tid AND t.at < $3
        AND NOT EXISTS (SELECT 1 FROM unsettled AS u WHERE u.key = t.key)
    FOR UPDATE OF t SKIP LOCKED))";

impl Sweep {
    /// Looks at some pages.
    pub(super) async fn step(
        &mut self,
        client: &Client,
        now: WallMillis,
        retention: Duration,
    ) -> Result<(), Error> {
        let window = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        if self.page == 0 {
            if now.0.saturating_sub(self.begun.0) < window / PASSES {
                return Ok(());
            }
            self.begun = now;
        }
        let size = "SELECT pg_relation_size('transaction') / current_setting('block_size')::int8";
        let pages: i64 = client.query_one(size, &[]).await?.try_get(0)?;
        let until = self.page + PAGES_A_STEP;
        let before = now.0.saturating_sub(window).cast_signed();
        client.execute(SWEEP, &[&self.page, &until, &before]).await?;
        self.page = if pages <= until { 0 } else { until };
        Ok(())
    }
}

/// Drops old records of every node, if it is time to look.
pub(super) async fn step(
    client: &mut Client,
    sweep: &mut Sweep,
    now: WallMillis,
    keep: Duration,
) -> Result<(), Error> {
    if now.0.saturating_sub(sweep.trimmed.0) < TRIM_MILLIS {
        return Ok(());
    }
    let before = now.0.saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
    let chains = client.query("SELECT node, anchor, position FROM chain", &[]).await?;
    let mut more = false;
    for chain in &chains {
        let (node, anchor, position) = (chain.try_get(0)?, chain.try_get(1)?, chain.try_get(2)?);
        more |= trim(client, node, anchor, position, before.cast_signed()).await?;
    }
    if !more {
        sweep.trimmed = now;
    }
    Ok(())
}

/// Drops the oldest records of one chain, but never its newest. True: there may be more.
async fn trim(
    client: &mut Client,
    node: i16,
    anchor: i64,
    newest: i64,
    before: i64,
) -> Result<bool, Error> {
    let oldest = "SELECT position, at, record FROM journal
        WHERE position > $1 AND position < $2 ORDER BY position LIMIT $3";
    let rows = client.query(oldest, &[&anchor, &newest, &RECORDS_A_STEP]).await?;
    let mut cut = None;
    for row in &rows {
        if before <= row.try_get::<_, i64>(1)? {
            break;
        }
        cut = Some((row.try_get::<_, i64>(0)?, row.try_get::<_, &[u8]>(2)?));
    }
    let Some((position, record)) = cut else { return Ok(false) };
    let Ok((_, mac)) = split_mac(record) else { return Ok(false) };
    let change = client.transaction().await?;
    let moved = "UPDATE chain SET anchor = $2, anchor_mac = $3 WHERE node = $1 AND anchor = $4";
    if change.execute(moved, &[&node, &position, &&mac[..], &anchor]).await? == 1 {
        let gone = "DELETE FROM journal WHERE position > $1 AND position <= $2";
        change.execute(gone, &[&anchor, &position]).await?;
    }
    change.commit().await?;
    Ok(rows.len() == usize::try_from(RECORDS_A_STEP).unwrap_or(usize::MAX))
}
