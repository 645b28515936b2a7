//! PINs that came clear or RSA-encrypted: under the local master key at once, and shown again to who may see them.
//!
//! **Never here:** a block of a link, which is under a zone key already; who may see a PIN (`card::gates`, rights).

use zeroize::Zeroizing;

use crate::card::{CardRecord, Note, Store, gates};
use crate::domain::clock::Clock;
use crate::domain::outcome::Reason;
use crate::domain::pan::{Account12, Pan};
use crate::domain::pin::{KeyId, LmkPin, NewPin, Reference, RevealedPin, RsaPadding};
use crate::domain::request::{CardName, Operation, PinRequest};
use crate::hsm::Hsm;
use crate::switch::cms::hsm_refused;
use crate::switch::handle::{Switch, card_key, refused};
use crate::switch::parts::Parts;
use crate::switch::rules::Rules;

/// A PIN as a door got it. Both kinds are of use only until the HSM has them.
pub enum ArrivedPin<'a> {
    /// In clear ASCII digits: wiped by the HSM.
    Clear(Zeroizing<Vec<u8>>),
    /// RSA-encrypted.
    Rsa {
        /// The private key.
        key: KeyId,
        /// The ciphertext.
        cipher: &'a [u8],
        /// How the client pads.
        padding: RsaPadding,
    },
}

impl<P: Parts> Switch<P> {
    /// The account that PINs of the card are bound to. A card that is not there has that of nobody: its request is
    /// declined like every other of an unknown card, and until then it takes the same way.
    ///
    /// # Errors
    /// The store or the vault failed.
    pub async fn account_of(&self, card: &CardName) -> Result<Account12, Reason> {
        let CardName::Identity { .. } = card else {
            return self.number_of(card, None).map(|pan| pan.account12());
        };
        let key = card_key(&*self.world.vault, card);
        let record = self.world.store.card(key).await.map_err(refused)?;
        self.number_of(card, record.as_deref()).map(|pan| pan.account12())
    }

    /// Takes a PIN in: from its return on the clear one is nowhere.
    ///
    /// # Errors
    /// [`Reason::NewPinUnacceptable`] for clear digits that are no PIN, [`Reason::NoPinInBlock`] for whatever is wrong
    /// with an RSA ciphertext, and what is our fault.
    pub async fn take_pin(
        &self,
        account: &Account12,
        pin: ArrivedPin<'_>,
    ) -> Result<LmkPin, Reason> {
        let hsm = &self.world.hsm;
        let taken = match pin {
            ArrivedPin::Clear(digits) => hsm.encrypt_pin(digits, account).await,
            ArrivedPin::Rsa { key, cipher, padding } => {
                hsm.decrypt_pin(key, cipher, padding, account).await
            }
        };
        taken.map_err(hsm_refused)
    }

    /// The number of a card, opened from its record where the request names it otherwise; nobody's without a record.
    pub(super) fn number_of(
        &self,
        card: &CardName,
        record: Option<&CardRecord>,
    ) -> Result<Pan, Reason> {
        let sealed = match (card, record) {
            (CardName::Pan { pan, .. }, _) => return Ok(pan.clone()),
            (CardName::Identity { .. }, Some(record)) => &record.sealed_pan,
            (CardName::Identity { .. }, None) => self.nobody.as_ref().ok_or(Reason::SystemError)?,
        };
        self.world.vault.open_pan(sealed).map_err(|_| Reason::SystemError)
    }

    /// Shows a PIN.
    pub(super) async fn show(
        &self,
        pin: &LmkPin,
        account: &Account12,
    ) -> Result<RevealedPin, Reason> {
        let shown = self.world.hsm.reveal(pin, account).await.map_err(hsm_refused)?;
        Ok(RevealedPin::new(shown))
    }

    /// The PIN that the answer to a repeat carries, if any. It is told to the audit first.
    pub(super) async fn show_again(
        &self,
        request: &PinRequest,
        rules: &Rules,
    ) -> Result<Option<RevealedPin>, Reason> {
        let generates = matches!(request.new, Some(NewPin::Generate { .. }));
        if request.operation != Operation::Reveal && !generates {
            return Ok(None);
        }
        let gone = || if generates { Ok(None) } else { Err(Reason::CardUnknown) };
        let key = card_key(&*self.world.vault, &request.card);
        let read = self.world.store.card(key).await;
        let Some(named) = self.name(request, rules, &read)? else { return gone() };
        let Some(card) = read.map_err(refused)? else { return gone() };
        let product = rules.products.get(card.product).ok_or(Reason::SystemError)?;
        let wall = self.world.clock.wall();
        //= spec/pin-change.md#11.6
        //# A repeat of a reveal MUST pass the gates anew and shows the PIN the card has then; that
        //# MUST be in the audit before.
        let open = gates::check(&card, product, Operation::Reveal, request.channel, wall);
        //= spec/pin-change.md#11.7
        //# A repeat of a request that generated a PIN MUST show it only where it could be revealed
        //# and while that request is the card's last change; else it is approved without the PIN.
        let is_last = card.undo.as_ref().is_some_and(|undo| undo.key == request.key);
        match open {
            Err(_) if generates => return Ok(None),
            Ok(()) if generates && !is_last => return Ok(None),
            opened => opened?,
        }
        let Reference::Lmk(pin) = &card.reference else { return gone() };
        let text = format!("PIN shown again: {}", request.key.text());
        let note = Note { at: wall, text: text.into() };
        let _receipt = self.world.store.note(note).await.map_err(refused)?;
        self.show(pin, &named.pan.account12()).await.map(Some)
    }
}
