//! What the database knows of the switches that share it: each one's number, process, newest record and leases.
//!
//! Read once a second in the chores' session; the rows are as many as switches. Whether a process has a number is
//! whether a session holds its lock (`fence`), so a switch that died is seen as soon as the database has noticed.
//! **Never here:** a lock, a write.

use tokio_postgres::{Client, Error, Statement};

use crate::card::postgres::agreement::SWITCH;
use crate::card::postgres::fence::NODE_LOCK;
use crate::card::{DatabaseStatus, SwitchStatus};
use crate::domain::clock::WallMillis;
use crate::domain::forward::HostId;

/// The locks are listed once, not once a row.
const SWITCHES: &str = "SELECT c.node, c.epoch, c.position,
        c.node::int8 = ANY (ARRAY(SELECT l.objid::int8 FROM pg_locks AS l
            WHERE l.locktype = 'advisory' AND l.granted AND l.classid::int8 = $1
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))),
        m.value
    FROM chain AS c LEFT JOIN meta AS m ON m.name = $2 || c.node
    ORDER BY c.node";

/// Numbers of hosts are none below zero: those leases are of chores.
const LEASES: &str = "SELECT first, last, node FROM lease
    WHERE 0 <= first AND clock_timestamp() < until ORDER BY first, last";

/// The statements.
pub(super) struct Others {
    switches: Statement,
    leases: Statement,
}

impl Others {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            switches: client.prepare(SWITCHES).await?,
            leases: client.prepare(LEASES).await?,
        })
    }

    /// Everything but what this process knows itself.
    pub(super) async fn read(
        &self,
        client: &Client,
        now: WallMillis,
    ) -> Result<DatabaseStatus, Error> {
        let mut switches = Vec::new();
        for row in client.query(&self.switches, &[&i64::from(NODE_LOCK), &SWITCH]).await? {
            switches.push(SwitchStatus {
                node: row.try_get::<_, i16>(0)?.cast_unsigned(),
                epoch: row.try_get::<_, i64>(1)?.cast_unsigned(),
                position: row.try_get::<_, i64>(2)?.cast_unsigned(),
                connected: row.try_get(3)?,
                facts: row.try_get(4)?,
            });
        }
        let host = |number: i32| HostId(u16::try_from(number).unwrap_or(u16::MAX));
        let mut leases = Vec::new();
        for row in client.query(&self.leases, &[]).await? {
            let hosts = host(row.try_get(0)?)..=host(row.try_get(1)?);
            leases.push((hosts, row.try_get::<_, i16>(2)?.cast_unsigned()));
        }
        Ok(DatabaseStatus { read_at: Some(now), switches, leases, ..DatabaseStatus::default() })
    }
}
