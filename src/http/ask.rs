//! From what a door wants to the switch's [`PinRequest`]: keys found, PINs taken in by the HSM.
//!
//! **Never here:** a field of any door, the answer.

use std::sync::Arc;

use crate::domain::clock::Now;
use crate::domain::memo::Memo;
use crate::domain::outcome::Reason;
use crate::domain::owner::Owner;
use crate::domain::pan::Account12;
use crate::domain::pin::{NewPin, PresentedPin, ZonePin};
use crate::domain::request::{
    CardName, Channel, Operation, PinRequest, Tag, Trace, TransactionKey,
};
use crate::http::client::Client;
use crate::http::door::{Asked, Door, PinInput, Refusal, Wanted};
use crate::http::field::{Fault, Problem};
use crate::switch::{ArrivedPin, Parts, Switch};

/// What names and bounds one request.
pub(super) struct Frame {
    pub(super) door: Door,
    pub(super) key: TransactionKey,
    /// Tells a repeat from another request under the same key.
    pub(super) fingerprint: Option<u64>,
    pub(super) arrived: Now,
    pub(super) deadline: Now,
}

/// Makes the request. A PIN that came clear or RSA-encrypted is under the local master key when this returns.
pub(super) async fn request<P: Parts>(
    switch: &Switch<P>,
    client: &Client,
    frame: &Frame,
    wanted: Wanted,
) -> Result<PinRequest, Refusal> {
    let Wanted { operation, card, current, new, owner, wish, institution, .. } = wanted;
    if let Some(organization) = owner.organization
        && !client.allows_organization(organization)
    {
        return Err(Refusal::Organization);
    }
    let mut pins = Pins { switch, client, card: &card, account: None };
    let current = match current {
        Some(pin) => Some(pins.presented(pin).await?),
        None => None,
    };
    let new = match new {
        Some(PinInput::Generate { digits }) => Some(NewPin::Generate { digits }),
        Some(pin) => Some(match pins.presented(pin).await? {
            PresentedPin::Lmk(pin) => NewPin::Lmk(pin),
            PresentedPin::Zone(pin) => NewPin::Zone(pin),
        }),
        None => None,
    };
    let owner = Owner {
        external_user_id: owner.external_user,
        account_id: owner.account,
        person_id: owner.person,
        organization: owner.organization,
        limits: Some(Arc::clone(&client.limits)),
    };
    Ok(PinRequest {
        key: frame.key,
        operation: asked(operation),
        card,
        owner: Some(Box::new(owner)),
        current,
        new,
        fingerprint: frame.fingerprint,
        chip: None,
        memo: wanted.memo.as_deref().and_then(Memo::new),
        original: None,
        wish,
        institution,
        details: wanted.details,
        channel: wanted.channel,
        link: frame.door.link(),
        rights: client.rights,
        trace: Trace { terminal: Tag::new(client.name.as_bytes()), ..Trace::default() },
        arrived: frame.arrived,
        deadline: frame.deadline,
    })
}

/// The switch's word for it.
pub(super) const fn asked(asked: Asked) -> Operation {
    match asked {
        Asked::Change => Operation::Change,
        Asked::Set => Operation::Set,
        Asked::Reveal => Operation::Reveal,
    }
}

/// The channel of a vendor's letter, which a table has checked.
pub(super) fn channel(letter: Option<&str>) -> Channel {
    match letter {
        Some("A") => Channel::Atm,
        Some("B") => Channel::Bank,
        Some("C") => Channel::CallCentre,
        Some("F") => Channel::FraudDesk,
        Some("I") => Channel::VoiceResponse,
        // The one that is allowed least.
        _ => Channel::Web,
    }
}

/// Takes in the PINs of one request. The card's account is looked up once, and only where a PIN needs it.
struct Pins<'a, P: Parts> {
    switch: &'a Switch<P>,
    client: &'a Client,
    card: &'a CardName,
    account: Option<Account12>,
}

impl<P: Parts> Pins<'_, P> {
    async fn presented(&mut self, pin: PinInput) -> Result<PresentedPin, Refusal> {
        let arrived = match &pin {
            PinInput::Block { block, association, field } => {
                let key = self.client.zone_key(association);
                let key = key.ok_or(Problem { field, fault: Fault::NotAllowed })?;
                let block = ZonePin::new(block, self.client.pin_block_format, key);
                return block
                    .map(PresentedPin::Zone)
                    .ok_or(Refusal::Declined(Reason::NoPinInBlock));
            }
            PinInput::Digits(digits) => ArrivedPin::Clear(digits.clone()),
            PinInput::Rsa(cipher) => {
                let (key, padding) =
                    self.client.rsa.ok_or(Refusal::Declined(Reason::KeyOutOfStep))?;
                ArrivedPin::Rsa { key, cipher, padding }
            }
            PinInput::Generate { .. } => return Err(Refusal::Declined(Reason::FormatError)),
        };
        if self.account.is_none() {
            let account = self.switch.account_of(self.card).await;
            self.account = Some(account.map_err(Refusal::Declined)?);
        }
        let account = self.account.as_ref().ok_or(Refusal::Failed)?;
        let taken = self.switch.take_pin(account, arrived).await;
        taken.map(PresentedPin::Lmk).map_err(Refusal::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_channels() {
        for letter in ["A", "B", "C", "F", "I", "W"] {
            assert_eq!(channel(Some(letter)).letter(), letter.as_bytes()[0]);
        }
        assert_eq!(channel(None), Channel::Web);
    }
}
