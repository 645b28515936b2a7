//! [`Parts`]: which implementations a switch is made of, as one type parameter. **Never here:** behaviour.

use std::sync::Arc;

use crate::card::Store;
use crate::domain::clock::Clock;
use crate::domain::vault::Vault;
use crate::host::Hosts;
use crate::hsm::Hsm;

/// The four traits a switch sees the world through, chosen together.
pub trait Parts: 'static {
    /// Time and randomness.
    type Clock: Clock;
    /// Nodes beyond us.
    type Hosts: Hosts;
    /// PIN work.
    type Hsm: Hsm;
    /// Cards and journal.
    type Store: Store;
}

/// One of each.
pub struct World<P: Parts> {
    /// Time and randomness.
    pub clock: P::Clock,
    /// Nodes beyond us.
    pub hosts: P::Hosts,
    /// PIN work.
    pub hsm: P::Hsm,
    /// Cards and journal.
    pub store: P::Store,
    /// Hashes and seals of account numbers.
    pub vault: Arc<dyn Vault>,
}
