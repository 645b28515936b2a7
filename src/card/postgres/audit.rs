//! The audit chain of each node, from its anchor to its newest record: checked, and told as JSON.
//!
//! The rules are those of [`crate::card::audit`]; only where the records come from is another matter. **Never here:** a
//! repair.

use tokio_postgres::Client;

use crate::card::audit::{AuditError, AuditReport, Walk, tell_record};
use crate::card::embedded::Anchor;
use crate::card::postgres::PostgresStore;
use crate::card::postgres::connect::ConnectError;
use crate::domain::vault::Vault;

/// Records read at a time.
const RECORDS_A_LOOK: i64 = 4096;

/// A chain that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAudit {
    /// Whose it is.
    pub node: u16,
    /// What was checked.
    pub report: AuditReport,
}

/// Where a chain begins, and its newest record.
struct Chain {
    node: u16,
    anchor: Anchor,
    last: u64,
    mac: [u8; 32],
}

impl PostgresStore {
    /// Walks the audit chain of every node from its anchor to what is newest when it begins.
    ///
    /// # Errors
    /// [`AuditError`] names the first record that is wrong.
    pub async fn verify_audit(
        &self,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Vec<NodeAudit>, AuditError> {
        let session = self.connector.connect().await?;
        let mut reports = Vec::new();
        for chain in chains(&session.client).await? {
            reports.push(verify(&session.client, &*self.vault, &chain, &mut progress).await?);
        }
        Ok(reports)
    }

    /// Tells the records of every chain as JSON, without card data.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub async fn tell_audit(
        &self,
        mut told: impl FnMut(&serde_json::Value) + Send,
    ) -> Result<(), AuditError> {
        let session = self.connector.connect().await?;
        for chain in chains(&session.client).await? {
            let mut after = chain.anchor.sequence;
            while after < chain.last {
                let records = records(&session.client, after, chain.last).await?;
                let Some((newest, _)) = records.last() else { break };
                after = *newest;
                for (position, record) in &records {
                    told(&tell_record(*position, record)?);
                }
            }
        }
        Ok(())
    }
}

async fn verify(
    client: &Client,
    vault: &dyn Vault,
    chain: &Chain,
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<NodeAudit, AuditError> {
    let mut walk = Walk::new(vault, chain.anchor, chain.last);
    while walk.next() <= chain.last {
        let records = records(client, walk.next() - 1, chain.last).await?;
        if records.is_empty() {
            break;
        }
        for (position, record) in &records {
            walk.take(*position, record)?;
            progress(*position);
        }
    }
    let report = walk.finish()?;
    if report.head != chain.mac {
        return Err(AuditError::Broken { sequence: chain.last });
    }
    Ok(NodeAudit { node: chain.node, report })
}

async fn chains(client: &Client) -> Result<Vec<Chain>, AuditError> {
    let all = "SELECT node, anchor, anchor_mac, position, mac FROM chain ORDER BY node";
    let rows = client.query(all, &[]).await.map_err(ConnectError::from)?;
    let mac = |bytes: &[u8]| bytes.try_into().unwrap_or([0; 32]);
    let chain = |row: &tokio_postgres::Row| -> Result<Chain, tokio_postgres::Error> {
        let sequence = row.try_get::<_, i64>(1)?.cast_unsigned();
        Ok(Chain {
            node: row.try_get::<_, i16>(0)?.cast_unsigned(),
            anchor: Anchor { sequence, mac: mac(row.try_get(2)?) },
            last: row.try_get::<_, i64>(3)?.cast_unsigned(),
            mac: mac(row.try_get(4)?),
        })
    };
    Ok(rows.iter().map(chain).collect::<Result<_, _>>().map_err(ConnectError::from)?)
}

async fn records(
    client: &Client,
    after: u64,
    last: u64,
) -> Result<Vec<(u64, Vec<u8>)>, ConnectError> {
    let next = "SELECT position, record FROM journal
        WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3";
    let (after, last) = (after.cast_signed(), last.cast_signed());
    let rows = client.query(next, &[&after, &last, &RECORDS_A_LOOK]).await?;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        records.push((row.try_get::<_, i64>(0)?.cast_unsigned(), row.try_get(1)?));
    }
    Ok(records)
}
