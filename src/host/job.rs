//! What the switch's side hands to a connection, and how it learns the end: [`Job`], [`Waiter`], [`Place`].
//!
//! **Never here:** choosing a node (`pool`), bytes (`write`).

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::oneshot;

use crate::domain::clock::Now;
use crate::domain::forward::Stan;
use crate::domain::request::TransactionKey;
use crate::host::HostAnswer;
use crate::host::keys::NewKeyError;
use crate::host::node::Node;
use crate::peer::breaker::Pass;

/// The right to send one request to one node. Dropping it gives the place to another request.
#[derive(Debug)]
pub struct Place {
    pub(super) node: Arc<Node>,
    pub(super) stan: Stan,
    pub(super) pass: Pass,
    /// It has been put into a stream.
    pub(super) used: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.node.leave();
        if self.pass == Pass::Probe && !self.used {
            self.node.breaker.give_back();
        }
    }
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The node answered.
    Answered(HostAnswer),
    /// Not one byte has left.
    Unsent,
    /// It may have left, and no answer came.
    Unanswered,
}

/// Who waits for a request, and the place it holds.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) tell: oneshot::Sender<Ended>,
    pub(super) place: Place,
}

impl Waiter {
    /// Ends it. Nobody may listen any more: the journal knows of the request all the same.
    pub(super) fn end(self, ended: Ended) {
        // The place first, so that whoever is told can have it.
        drop(self.place);
        let _ = self.tell.send(ended);
    }
}

/// A message to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The message, without framing.
    pub(super) message: BytesMut,
    /// Its switch key.
    pub(super) switch_key: TransactionKey,
    /// When nobody waits any more.
    pub(super) deadline: Now,
    /// Who waits.
    pub(super) waiter: Waiter,
}

/// Work for a connection.
#[derive(Debug)]
pub(super) enum Job {
    /// Send this.
    Send(Outgoing),
    /// Ask for a new zone key.
    NewKey(oneshot::Sender<Result<(), NewKeyError>>),
}

impl Job {
    /// Ends it without having sent anything.
    pub(super) fn refuse(self) {
        match self {
            Self::Send(outgoing) => outgoing.waiter.end(Ended::Unsent),
            Self::NewKey(tell) => {
                let _ = tell.send(Err(NewKeyError::NotConnected));
            }
        }
    }
}
