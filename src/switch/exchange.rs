//! Taking a new zone key from a peer: into the HSM, and into the audit whether it is taken or refused.
//!
//! **Never here:** the message that brought it (`link`, `host`), a clear key.

use std::time::Duration;

use crate::card::{Note, Store};
use crate::domain::clock::Clock;
use crate::domain::exchange::WrappedKey;
use crate::domain::pin::KeyId;
use crate::hsm::{Hsm, ImportRefused, Imported};
use crate::switch::handle::Switch;
use crate::switch::parts::Parts;

/// A zone key as a peer sent it.
#[derive(Clone, Copy, Debug)]
pub struct KeyOffer<'a> {
    /// Which link or node it came from.
    pub peer: &'a str,
    /// The key it replaces.
    pub key: KeyId,
    /// The zone master key it is under.
    pub zmk: KeyId,
    /// The key.
    pub wrapped: &'a WrappedKey,
    /// How long the old key stays good for what comes in.
    pub grace: Duration,
}

impl<P: Parts> Switch<P> {
    /// Takes a key. It is in force and on disk when this returns.
    ///
    /// # Errors
    /// [`ImportRefused`]: the old key stays.
    pub async fn take_key(&self, offer: KeyOffer<'_>) -> Result<Imported, ImportRefused> {
        let hsm = &self.world.hsm;
        let (bytes, stated) = (offer.wrapped.expose_bytes(), offer.wrapped.check_value());
        let taken = hsm.import_key(offer.key, offer.zmk, bytes, stated, offer.grace).await;
        let (name, peer) = (hsm.name_of(offer.key).unwrap_or_default(), offer.peer);
        let text = match &taken {
            Ok(Imported { before, after }) => {
                let (before, after) = (hex::encode_upper(before), hex::encode_upper(after));
                tracing::info!(peer, key = %name, before, after, "zone key exchanged");
                format!("zone key {name} from {peer}: check value {before} to {after}")
            }
            Err(error) => {
                tracing::error!(peer, key = %name, %error, "zone key refused: the old one stays");
                format!("zone key {name} from {peer} refused: {error}")
            }
        };
        let note = Note { at: self.world.clock.wall(), text: text.into() };
        if let Err(error) = self.world.store.note(note).await {
            tracing::error!(%error, peer, "an exchange of keys is not in the audit");
        }
        taken
    }
}
