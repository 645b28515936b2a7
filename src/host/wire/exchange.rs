//! Key exchange on a connection: a new zone key is handed on, and the node or the operator is told how it ended.
//!
//! One key at a time; requests go on meanwhile. **Never here:** what is in DE 53, a key.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::domain::outcome::HostCode;
use crate::host::keys::{NewKeyError, Refused};
use crate::host::network::SECURITY;
use crate::host::wire::{ACCEPTED, Wire};
use crate::iso8583::frame::Header;
use crate::iso8583::{Layout, Message, decode};

/// A key that is being taken, and who is told.
pub(super) struct Taking<'a> {
    pub(super) taken: BoxFuture<'a, Result<(), Refused>>,
    pub(super) then: AfterKey,
}

pub(super) enum AfterKey {
    /// The node pushed it and waits for the 0810.
    Answer(Bytes, Header),
    /// We asked for it.
    Tell(oneshot::Sender<Result<(), NewKeyError>>),
}

impl Wire<'_> {
    /// The answer to our wish for a key.
    pub(super) fn key_given(
        &mut self,
        message: &Message<'_>,
        given: Result<(), HostCode>,
        tell: oneshot::Sender<Result<(), NewKeyError>>,
    ) {
        let field = message.binary(SECURITY);
        let refused = match (given, &field, &self.taking) {
            (Err(code), _, _) => NewKeyError::ByNode(code),
            (Ok(()), None, _) => NewKeyError::NoKey,
            (Ok(()), Some(_), Some(_)) => NewKeyError::Busy,
            (Ok(()), Some(field), None) => {
                let taken = self.shared.taker.take(field);
                self.taking = Some(Taking { taken, then: AfterKey::Tell(tell) });
                return;
            }
        };
        let _ = tell.send(Err(refused));
    }

    /// Goes on with a key that is being taken, and says how it ended.
    pub(in crate::host) fn poll_keys(&mut self, cx: &mut Context<'_>, layout: &mut Layout) {
        let Some(taking) = &mut self.taking else { return };
        let Poll::Ready(taken) = taking.taken.as_mut().poll(cx) else { return };
        let Some(Taking { then, .. }) = self.taking.take() else { return };
        match taken {
            Ok(()) => tracing::info!(host = %self.node.name, "a new zone key was taken"),
            Err(refused) => {
                tracing::error!(host = %self.node.name, %refused, "a new zone key is refused");
            }
        }
        match then {
            AfterKey::Tell(tell) => {
                let _ = tell.send(taken.map_err(NewKeyError::ByUs));
            }
            AfterKey::Answer(frame, header) => {
                let code = taken.map_or_else(|refused| refused.code, |()| ACCEPTED);
                if let Ok(message) = decode(&self.shared.settings.dialect, &frame, layout) {
                    self.answer(&message, &header, code);
                }
            }
        }
    }
}
