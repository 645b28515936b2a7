//! Links out to the nodes of Postilion: which node takes a request, and what becomes of it there.
//!
//! [`Hosts`] is what the switch sees. A request gets a [`Booking`] first, so that its intent can be made durable before
//! the first byte leaves; then it is asked, and ends as [`Asked`] says. [`Nodes`] is the real thing.
//! **Never here:** card records, PIN work, a reason to send a request twice. Where next: `pool` for booking,
//! `keeper` and `connection` for one connection, `mux` and `session` for its decisions, `write` and `read` for
//! messages.

mod balance;
mod connection;
mod job;
mod keeper;
mod keys;
mod meters;
mod mux;
mod network;
mod node;
mod pool;
mod read;
mod session;
mod settings;
mod stan;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod throughput;
mod wire;
mod write;

use std::future::Future;

use crate::domain::clock::{Now, WallMillis};
use crate::domain::forward::{Forwarded, HostId, Stan};
use crate::domain::outcome::{Declined, HostCode};
use crate::domain::pan::Pan;
use crate::domain::pin::{BlockFormat, KeyId, ZonePin};
use crate::domain::request::{Trace, TransactionKey};

pub use crate::peer::breaker::{BreakerRule, BreakerState};
pub use job::Place;
pub use keys::{KeyTaker, NewKeyError, Refused};
pub use node::NodeStatus;
pub use pool::{NoSuchNode, Nodes, Running};
pub use session::Timers;
pub use settings::{Fixed, NodeSettings, Settings, SettingsError, Side};

/// All nodes of one Postilion, as the switch sees them.
pub trait Hosts: Send + Sync + 'static {
    /// The right to send one request to one node. Dropping it gives the place to another request.
    type Place: Send;

    /// What PIN blocks towards the nodes are under; `None` where no node is configured.
    fn zone(&self) -> Option<Zone>;

    /// Chooses a node that takes requests now. Sends nothing and waits for nothing.
    ///
    /// # Errors
    /// [`NoHost`]: answer 91.
    fn reserve(&self) -> Result<Self::Place, NoHost>;

    /// Node and trace number of a place.
    fn booking(&self, place: &Self::Place) -> Booking;

    /// Sends a request and waits for its answer, until `deadline`. Another node is tried only while not one byte of
    /// the request has left (design.md rule 4).
    fn ask(
        &self,
        place: Self::Place,
        forward: &Forward<'_>,
        deadline: Now,
    ) -> impl Future<Output = Asked> + Send;

    /// Sends a reversal advice and waits for its acknowledgement, until `deadline`: to the node of its original, or to
    /// another one while that takes none.
    fn reverse(&self, advice: &Advice<'_>, deadline: Now) -> impl Future<Output = Asked> + Send;
}

impl<X: Hosts> Hosts for std::sync::Arc<X> {
    type Place = X::Place;

    fn zone(&self) -> Option<Zone> {
        (**self).zone()
    }

    fn reserve(&self) -> Result<Self::Place, NoHost> {
        (**self).reserve()
    }

    fn booking(&self, place: &Self::Place) -> Booking {
        (**self).booking(place)
    }

    async fn ask(&self, place: Self::Place, forward: &Forward<'_>, deadline: Now) -> Asked {
        (**self).ask(place, forward, deadline).await
    }

    async fn reverse(&self, advice: &Advice<'_>, deadline: Now) -> Asked {
        (**self).reverse(advice, deadline).await
    }
}

/// Key and layout of PIN blocks towards the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The zone PIN key.
    pub key: KeyId,
    /// The layout.
    pub format: BlockFormat,
}

/// Nodes, or none configured.
impl<X: Hosts> Hosts for Option<X> {
    type Place = X::Place;

    fn zone(&self) -> Option<Zone> {
        self.as_ref().and_then(Hosts::zone)
    }

    fn reserve(&self) -> Result<Self::Place, NoHost> {
        self.as_ref().map_or(Err(NoHost::None), Hosts::reserve)
    }

    fn booking(&self, place: &Self::Place) -> Booking {
        self.as_ref().map_or(Booking { host: HostId(0), stan: Stan(0) }, |x| x.booking(place))
    }

    async fn ask(&self, place: Self::Place, forward: &Forward<'_>, deadline: Now) -> Asked {
        match self {
            Some(hosts) => hosts.ask(place, forward, deadline).await,
            None => Asked::NotSent(NoHost::None),
        }
    }

    async fn reverse(&self, advice: &Advice<'_>, deadline: Now) -> Asked {
        match self {
            Some(hosts) => hosts.reverse(advice, deadline).await,
            None => Asked::NotSent(NoHost::None),
        }
    }
}

/// What a place was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booking {
    /// The node.
    pub host: HostId,
    /// The request's trace number there.
    pub stan: Stan,
}

/// A PIN change towards a node.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// Its key: the switch key (127.2) at the node.
    pub key: &'a TransactionKey,
    /// The card.
    pub pan: &'a Pan,
    /// Current PIN under the nodes' zone key.
    pub current: &'a ZonePin,
    /// New PIN under the nodes' zone key.
    pub new: &'a ZonePin,
    /// The caller's names: RRN and terminal go on unchanged.
    pub trace: &'a Trace,
    /// Everything else.
    pub forwarded: &'a Forwarded,
}

/// A reversal advice (0420, repeated 0421) towards a node.
#[derive(Clone, Copy, Debug)]
pub struct Advice<'a> {
    /// Key of the original: its switch key at the node (127.11).
    pub original: &'a TransactionKey,
    /// The card.
    pub pan: &'a Pan,
    /// The original caller's names.
    pub trace: &'a Trace,
    /// What was sent as the original.
    pub forwarded: &'a Forwarded,
    /// Wall time of this transmission (DE 7).
    pub at: WallMillis,
    /// It may have been sent before.
    pub repeat: bool,
}

/// What became of a message to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Asked {
    /// The node answered.
    Answered(HostAnswer),
    /// Not one byte has left.
    NotSent(NoHost),
    /// It may have reached this node, and no answer came.
    Unknown(HostId),
}

/// A node's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAnswer {
    /// Which node.
    pub host: HostId,
    /// Its response code.
    pub code: HostCode,
    /// `None` approved; for an advice: acknowledged.
    pub declined: Option<Declined>,
    /// For an advice: the code means that the node could not take it now, so it must be sent again.
    pub later: bool,
}

/// Why no node takes a request now. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoHost {
    /// Every node has as many requests as it may have.
    #[error("every node has as many requests in flight as it may have")]
    Busy,
    /// No node is connected and signed on, or all are drained or ejected.
    #[error("no node is connected, signed on and in service")]
    Down,
    /// No node is configured.
    #[error("no node is configured: add a [[postilion.node]]")]
    None,
}
