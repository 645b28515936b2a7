//! [`StoreStatus`]: how a store is, for `/status` and metrics. **Never here:** how a store finds out.

use crate::domain::clock::WallMillis;

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
}
