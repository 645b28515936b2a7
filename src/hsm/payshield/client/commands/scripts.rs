//! Issuer scripts: KU for Visa and Mastercard, KY for EMV common session keys.
//!
//! A device takes the new PIN under a ZPK or TPK. One under DUKPT or under the LMK goes through the transit ZPK first,
//! and without one there is no script ([`HsmError::KeyUnknown`]). **Never here:** the command's layout (`hsm::script`).

use crate::domain::chip::{ScriptCommand, ScriptScheme};
use crate::domain::pin::{BlockFormat, KeyId, PresentedPin, ZonePin};
use crate::hsm::HsmError;
use crate::hsm::payshield::client::commands::{Answer, CHECK_MIN, Desk, block_of, format_code};
use crate::hsm::payshield::client::keys::{Held, Slot};
use crate::hsm::payshield::client::reply::Data;
use crate::hsm::payshield::client::token::KeyKind;
use crate::hsm::payshield::wire::Request;
use crate::hsm::payshield::wire::command::scripts::{
    CardNumber, CardScheme, Eight, Hidden, NewPin, Script as Ku, ScriptEmv as Ky, ScriptMode,
    Session,
};
use crate::hsm::payshield::wire::field::{FormatCode, Letter};
use crate::hsm::payshield::wire::key::Key;
use crate::hsm::script::Script;

/// The keys of a script and what both commands say alike.
struct Sealing<'s> {
    integrity: Key<'s>,
    confidentiality: Key<'s>,
    cryptograms: Option<Key<'s>>,
    scheme: ScriptScheme,
    card: Eight,
    /// What session keys are derived from.
    session: Eight,
    plain: &'s [u8],
}

impl<'s> Sealing<'s> {
    fn request(&self, hidden: Option<Hidden<'s>>) -> Request<'s> {
        let mode = if hidden.is_some() { ScriptMode::PinOwnKey } else { ScriptMode::Plain };
        let Self { integrity, card, session, plain, .. } = *self;
        let ku =
            |scheme| Request::Script(Ku { mode, scheme, integrity, card, session, plain, hidden });
        match self.scheme {
            ScriptScheme::Mastercard => ku(CardScheme::Mastercard),
            ScriptScheme::Visa { .. } => ku(CardScheme::Visa),
            // Scheme 0 of KY pads always, which is what the common session keys go with.
            ScriptScheme::EmvCommon => Request::ScriptEmv(Ky {
                mode,
                scheme: CardScheme::Visa,
                integrity,
                card: CardNumber::End(card),
                session: Session::Common(session),
                plain,
                hidden,
            }),
        }
    }

    /// The part with the new PIN, behind all that the MAC covers otherwise.
    fn hidden(&self, slot: &Slot, held: &'s Held, new: &'s ZonePin, desk: &Desk<'_>) -> Hidden<'s> {
        let key_type = match (held.token.is_block(), slot.kind.is_terminal()) {
            (true, _) => b'F',
            (false, true) => b'1',
            (false, false) => b'0',
        };
        let to = if self.cryptograms.is_some() { FormatCode::VISA_NEW } else { FormatCode::ISO_2 };
        Hidden {
            key: Some(self.confidentiality),
            transport: None,
            // KY has it from the MAC's.
            session: (self.scheme != ScriptScheme::EmvCommon).then_some(self.session),
            offset: self.plain.len(),
            data: new.block(),
            pin: Some(NewPin {
                key_type: Letter([key_type]),
                key: held.token.key(),
                from: format_code(new.format()),
                to,
                account: desk.account(new.format()),
                cryptograms: self.cryptograms,
                current: None,
            }),
        }
    }
}

impl<'d> Desk<'d> {
    /// Has a script sealed.
    pub(in crate::hsm::payshield::client) async fn script(
        &self,
        script: &Script<'_>,
    ) -> Result<ScriptCommand, HsmError> {
        let rules = script.rules;
        let plain = script.plain();
        let [high, low] = script.chip.counter;
        let (cryptograms, session) = match rules.scheme {
            ScriptScheme::Visa { cryptograms } => {
                (Some(self.master(cryptograms, KeyKind::MkAc)?), [0, 0, 0, 0, 0, 0, high, low])
            }
            ScriptScheme::EmvCommon | ScriptScheme::Mastercard => (None, script.chip.cryptogram),
        };
        let sealing = Sealing {
            integrity: self.master(rules.integrity, KeyKind::MkSmi)?,
            confidentiality: self.master(rules.confidentiality, KeyKind::MkSmc)?,
            cryptograms,
            scheme: rules.scheme,
            card: Eight(script.card()),
            session: Eight(session),
            plain: &plain,
        };
        let answer = match script.pin {
            None => self.ask(CHECK_MIN, &sealing.request(None)).await?,
            Some(pin) => {
                let new = &self.zone_block(pin).await?;
                // A block of another length than its format has is none.
                block_of(new)?;
                let slot = self.key_of(new)?;
                self.ask_under(slot, CHECK_MIN, |held| {
                    sealing.request(Some(sealing.hidden(slot, held, new, self)))
                })
                .await?
            }
        };
        match answer {
            Answer::Done(Data::Script(mac, hidden)) => {
                // What does not fit its header is no answer to it.
                script.seal(hidden.as_bytes(), mac).ok_or(HsmError::Unavailable)
            }
            Answer::Done(_)
            | Answer::Wrong
            | Answer::Excluded
            | Answer::OtherLength
            | Answer::Short => Err(HsmError::Unavailable),
        }
    }

    /// The PIN as a block that KU and KY take.
    async fn zone_block(&self, pin: &PresentedPin) -> Result<ZonePin, HsmError> {
        match pin {
            PresentedPin::Zone(block) if block.ksn().is_none() => Ok(*block),
            PresentedPin::Zone(block) => self.pass_transit(block).await.map(|(block, _)| block),
            PresentedPin::Lmk(pin) => {
                let (transit, _) = self.transit()?;
                self.give_out(pin, transit, BlockFormat::Iso0).await
            }
        }
    }

    fn master(&self, id: KeyId, wanted: KeyKind) -> Result<Key<'d>, HsmError> {
        Ok(self.keys.of_kind(id, |kind| kind == wanted)?.newest.token.key())
    }
}
