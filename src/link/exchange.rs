//! A peer's new zone key on its way into the HSM: the one place where a link's key changes.
//!
//! **Never here:** the message (`translate`), its MAC (`job`), unwrapping (`hsm`).

use crate::domain::exchange::WrappedKey;
use crate::domain::outcome::Reason;
use crate::hsm::ImportRefused;
use crate::link::listener::Link;
use crate::link::meters::Exchanged;
use crate::link::settings::{PinKey, Settings};
use crate::switch::{KeyOffer, Parts};

/// Takes `wrapped` in as the link's zone PIN key. It is in force, and on disk, when this returns.
///
/// # Errors
/// The reason to answer; the old key stays in force then.
pub(super) async fn take_key<P: Parts>(
    link: &Link<P>,
    settings: &Settings,
    wrapped: &WrappedKey,
) -> Result<(), Reason> {
    let exchange = settings.key_exchange.ok_or(Reason::ChannelNotAllowed)?;
    // The configuration allows an exchange on links with a zone key only.
    let PinKey::Zone(key) = settings.pin_key else { return Err(Reason::ChannelNotAllowed) };
    let (zmk, grace) = (exchange.zmk, exchange.grace);
    let offer = KeyOffer { peer: &link.name, key, zmk, wrapped, grace };
    match link.switch.take_key(offer).await {
        Ok(_) => {
            link.meters.exchanged(Exchanged::Done);
            Ok(())
        }
        //= spec/pin-change.md#10.3
        //# A key whose check value or parity is wrong MUST be refused and MUST be counted, and the
        //# old key MUST stay.
        Err(error) => {
            let (result, reason) = judge(&error);
            link.meters.exchanged(result);
            Err(reason)
        }
    }
}

/// What a refusal is counted as, and what the peer is told.
fn judge(error: &ImportRefused) -> (Exchanged, Reason) {
    match error {
        ImportRefused::CheckValueWrong { .. } => (Exchanged::CheckValueWrong, Reason::KeyOutOfStep),
        // What came out is no key: it was wrapped under another one.
        ImportRefused::Key(_) => (Exchanged::Refused, Reason::KeyOutOfStep),
        ImportRefused::Unavailable => (Exchanged::Refused, Reason::HsmUnavailable),
        // Ours to put right: the log says what.
        _ => (Exchanged::Refused, Reason::SystemError),
    }
}

#[cfg(test)]
mod tests;
