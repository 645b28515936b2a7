//! New zone keys from a node: [`KeyTaker`] is whoever can take one.
//!
//! A node pushes a key (0800 with DE 53), or gives one when asked (0810 with DE 53). **Never here:** what is in the
//! element, a key, a check value: the 48 bytes are handed on.

use futures_util::future::BoxFuture;

use crate::domain::outcome::HostCode;

/// Takes a new zone key: proves it, keeps it, writes the audit.
pub trait KeyTaker: Send + Sync + 'static {
    /// Takes the bytes of DE 53: the key under the zone master key, its check value, zeros.
    ///
    /// # Errors
    /// [`Refused`] with the response code that tells the node why.
    fn take(&self, field: &[u8]) -> BoxFuture<'_, Result<(), Refused>>;
}

/// A key that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key was refused with code {}", .code.escape_ascii())]
pub struct Refused {
    /// Response code for the node (DE 39).
    pub code: [u8; 2],
}

/// Why a node was asked for a new key in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NewKeyError {
    /// No such node.
    #[error("no node has this name: see /status for their names")]
    NoSuchNode,
    /// No connection of the node is signed on.
    #[error("the node is not connected and signed on: try again when /status shows it")]
    NotConnected,
    /// No answer came, or the connection broke.
    #[error("the node did not answer the request for a key: try again, or ask its operator")]
    Unanswered,
    /// The node refused.
    #[error("the node refused to give a key, with code {}", .0.as_str())]
    ByNode(HostCode),
    /// The node approved and sent no key.
    #[error("the node approved and sent no key in DE 53: ask its operator")]
    NoKey,
    /// An earlier key is still being taken.
    #[error("an earlier key of this connection is still being taken: try again")]
    Busy,
    /// We refused what came.
    #[error(transparent)]
    ByUs(Refused),
}
