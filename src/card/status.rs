//! [`StoreStatus`]: how a store is, for `/status` and metrics. **Never here:** how a store finds out.

use std::ops::RangeInclusive;

use crate::domain::clock::WallMillis;
use crate::domain::forward::HostId;

/// What a store has and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Cards. An estimate where counting them would cost too much.
    pub cards: usize,
    /// Transaction keys that are known. An estimate, as the cards.
    pub transaction_keys: usize,
    /// Commits that wait for the committer.
    pub queue_depth: usize,
    /// Number of the newest durable record of this node.
    pub last_sequence: u64,
    /// Number of the newest record folded into the card rows.
    pub checkpoint: u64,
    /// Forwarded changes whose outcome is unknown, or whose caller took them back. Those in flight are not counted.
    pub unsettled: usize,
    /// When the oldest of them was asked for.
    pub unsettled_since: Option<WallMillis>,
    /// Why the store refuses work, if it does.
    pub poisoned: Option<String>,
    /// The database and the switches that share it; `None` of the embedded store.
    pub database: Option<DatabaseStatus>,
}

/// How a database is, and who writes there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseStatus {
    /// The number of this switch among those of the database.
    pub node: u16,
    /// Since when it is not there for this switch, and why.
    pub away: Option<Away>,
    /// When what follows was read, and what is counted.
    pub read_at: Option<WallMillis>,
    /// Every switch that has written there, by number: this one, too, and those that are gone.
    pub switches: Vec<SwitchStatus>,
    /// Who sends the reversals of which hosts. What nobody sends is not there.
    pub leases: Vec<(RangeInclusive<HostId>, u16)>,
}

/// Why something is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Away {
    /// When this switch noticed.
    pub since: WallMillis,
    /// What is wrong, without a secret.
    pub why: String,
}

/// One switch, as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchStatus {
    /// Its number.
    pub node: u16,
    /// Counts the processes that had this number.
    pub epoch: u64,
    /// Whether one has it now.
    pub connected: bool,
    /// Number of its newest record.
    pub position: u64,
    /// What it said of itself last.
    pub facts: Option<Vec<u8>>,
}
