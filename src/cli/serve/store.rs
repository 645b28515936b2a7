//! What `/status` shows of the store, and of the other switches where one database has several.
//!
//! **Never here:** a question to the database: the store's chores have read it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::card::{DatabaseStatus, StoreStatus, SwitchStatus};
use crate::cli::agreement::Facts;
use crate::domain::clock::WallMillis;
use crate::domain::forward::HostId;
use crate::limits::STORE_COMMANDS_NODE;

/// The store.
pub(super) fn tell(store: &StoreStatus) -> Value {
    let mut all = json!({
        "kind": if store.database.is_some() { "postgres" } else { "embedded" },
        "cards": store.cards,
        "transaction_keys": store.transaction_keys,
        "queue_depth": store.queue_depth,
        "last_sequence": store.last_sequence,
        "checkpoint": store.checkpoint,
        "poisoned": store.poisoned,
    });
    if let Some(database) = &store.database {
        let away = database.away.as_ref();
        all["node"] = json!(database.node);
        all["database"] = json!(if away.is_some() { "away" } else { "there" });
        all["away_since"] = json!(away.map(|away| time(away.since)));
        all["away_why"] = json!(away.map(|away| &away.why));
        all["read_at"] = json!(database.read_at.map(time));
    }
    all
}

/// One of the switches that share the database.
pub(super) struct Other<'a> {
    row: &'a SwitchStatus,
    facts: Option<Facts>,
    /// Whether its process is there; `None` while the database cannot say.
    connected: Option<bool>,
    /// In what its configuration is another than ours; `None` while it has said nothing that we can read.
    differences: Option<Vec<String>>,
}

/// The switches, by number. Commands have a number, too, and are none.
pub(super) fn switches<'a>(database: &'a DatabaseStatus, own: &Facts) -> Vec<Other<'a>> {
    let rows = database.switches.iter().filter(|row| row.node != STORE_COMMANDS_NODE);
    let other = |row: &'a SwitchStatus| {
        let facts = row.facts.as_deref().and_then(Facts::from_bytes);
        let differences = facts.as_ref().map(|facts| {
            if row.node == database.node { Vec::new() } else { own.differences(facts) }
        });
        let connected = database.away.is_none().then_some(row.connected);
        Other { row, facts, connected, differences }
    };
    rows.map(other).collect()
}

/// Whether every switch that is there has our configuration; `None` while one of them has not said.
pub(super) fn agree(switches: &[Other<'_>]) -> Option<bool> {
    let there = switches.iter().filter(|other| other.connected == Some(true));
    let told: Option<Vec<_>> = there.map(|other| other.differences.as_ref()).collect();
    // None is there while the database cannot say who is.
    let told = told.filter(|told| !told.is_empty())?;
    Some(told.iter().all(|differences| differences.is_empty()))
}

/// The number of the switch that sends the reversals of a host.
pub(super) fn sender(database: &DatabaseStatus, host: HostId) -> Option<u16> {
    let lease = database.leases.iter().find(|(hosts, _)| hosts.contains(&host));
    lease.map(|(_, node)| *node)
}

impl Other<'_> {
    pub(super) fn json(&self) -> Value {
        json!({
            "node": self.row.node,
            "name": self.facts.as_ref().map(Facts::name),
            "program": self.facts.as_ref().map(Facts::program),
            "epoch": self.row.epoch,
            "connected": self.connected,
            "last_sequence": self.row.position,
            "differences": self.differences,
        })
    }
}

fn time(at: WallMillis) -> Option<String> {
    let millis = i64::try_from(at.0).ok()?;
    Timestamp::from_millisecond(millis).ok().map(|at| at.to_string())
}
