//! Issuer scripts: whether a request gets one, made before its commit, and made anew for its repeat.
//!
//! A script is kept nowhere: it holds the PIN under a card's key. **Never here:** how it is sealed (`hsm`), where it
//! stands in an answer (`link`), anything on the Postilion route.

use metrics::{Counter, counter};

use crate::card::product::Product;
use crate::card::{CardRecord, Store, gates};
use crate::domain::chip::{Chip, IssuerScript, ScriptRules};
use crate::domain::clock::Clock;
use crate::domain::outcome::Reason;
use crate::domain::pan::Account12;
use crate::domain::pin::{NewPin, PresentedPin};
use crate::domain::request::{Operation, PinRequest};
use crate::hsm::Hsm;
use crate::hsm::script::Script;
use crate::switch::handle::{Job, Switch, card_key, refused};
use crate::switch::parts::Parts;
use crate::switch::rules::Rules;

/// Largest sequence number a chip has.
const SEQUENCE_MAX: u8 = 99;

/// What a request and its product want of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// None: not such an operation, product or channel.
    Nothing,
    /// One, but the request has no chip data: it is done without.
    Missing,
    /// One, and the product refuses a request without chip data.
    Required,
    /// This one.
    This(&'a ScriptRules, &'a Chip),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scripted {
    /// None was wanted.
    NotWanted,
    /// None could be made.
    NoChipData,
    /// It goes with the approval.
    Made(IssuerScript),
}

/// Whether an operation changes what a chip keeps: its PIN, its count of wrong ones.
pub(super) const fn takes_script(operation: Operation) -> bool {
    match operation {
        Operation::Change | Operation::Set | Operation::Unblock => true,
        Operation::Reveal | Operation::Reverse | Operation::Verify => false,
    }
}

impl<'a> Wanted<'a> {
    pub(super) fn of(product: &'a Product, request: &'a PinRequest) -> Self {
        //= spec/pin-change.md#12.3
        //# An issuer script MUST be made for a change, a set or an unblock of a card whose product asks
        //# for scripts, through a channel that reaches the chip, and for nothing else.
        let Some(rules) = &product.issuer_script else { return Self::Nothing };
        if !takes_script(request.operation) || !request.channel.reaches_the_chip() {
            return Self::Nothing;
        }
        //= spec/pin-change.md#12.4
        //# A request without chip data MUST be done without a script, or be a format error (30) before
        //# any PIN is looked at where the product requires them.
        match &request.chip {
            Some(chip) => Self::This(rules, chip),
            None if rules.required => Self::Required,
            None => Self::Missing,
        }
    }
}

/// Scripts counted by what became of them: handles made once.
pub(super) struct Scripts {
    sent: Counter,
    no_chip_data: Counter,
    failed: Counter,
    repeated: Counter,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let of = |result: &'static str| counter!("pinion_issuer_scripts_total", "result" => result);
        Self {
            sent: of("sent"),
            no_chip_data: of("no_chip_data"),
            failed: of("failed"),
            repeated: of("repeated"),
        }
    }

    /// Counts what a committed request has of a script, and gives it out.
    pub(super) fn sent(&self, scripted: Scripted) -> Option<IssuerScript> {
        match scripted {
            Scripted::NotWanted => None,
            Scripted::NoChipData => {
                self.no_chip_data.increment(1);
                None
            }
            Scripted::Made(script) => {
                self.sent.increment(1);
                Some(script)
            }
        }
    }
}

impl<P: Parts> Switch<P> {
    /// The script of a request that was judged right and is not committed yet. `new` is the card's PIN from then on.
    pub(super) async fn script(
        &self,
        job: &Job<'_>,
        card: &CardRecord,
        wanted: Wanted<'_>,
        new: Option<&PresentedPin>,
    ) -> Result<Scripted, Reason> {
        match wanted {
            Wanted::Nothing => Ok(Scripted::NotWanted),
            Wanted::Missing | Wanted::Required => Ok(Scripted::NoChipData),
            Wanted::This(rules, chip) => {
                let account = job.account()?;
                let made = self.sealed(job.request, (rules, chip), &account, card, new).await?;
                Ok(Scripted::Made(made))
            }
        }
    }

    /// The script that the repeat of an approved request gets, if any.
    pub(super) async fn script_again(
        &self,
        request: &PinRequest,
        rules: &Rules,
    ) -> Result<Option<IssuerScript>, Reason> {
        if request.chip.is_none() || !takes_script(request.operation) {
            return Ok(None);
        }
        let key = card_key(&*self.world.vault, &request.card);
        let read = self.world.store.card(key).await.map_err(refused)?;
        let Some(card) = read else { return Ok(None) };
        let Some(product) = rules.products.get(card.product) else { return Ok(None) };
        let Wanted::This(script, chip) = Wanted::of(product, request) else { return Ok(None) };
        //= spec/pin-change.md#12.6
        //# An issuer script MUST NOT be stored. A repeat MUST get it made anew while its request is
        //# the card's last change, or for an unblock while no wrong PIN counts, and the card is open;
        //# else it gets the answer without one.
        let (stands, new) = match (request.operation, request.new) {
            (Operation::Unblock, _) => (card.pin_tries_used == 0, None),
            (_, Some(NewPin::Zone(block))) => (is_last(&card, request), Some(block.into())),
            (_, Some(NewPin::Lmk(pin))) => (is_last(&card, request), Some(pin.into())),
            // Drawn at the first time, and nobody here knows which it was.
            (_, Some(NewPin::Generate { .. }) | None) => (false, None),
        };
        // The gates of the card alone: spent tries and changes of the day are of the time since.
        let wall = self.world.clock.wall();
        let open = gates::check(&card, product, Operation::Unblock, request.channel, wall);
        if !stands || open.is_err() {
            return Ok(None);
        }
        let account = self.number_of(&request.card, Some(&card))?.account12();
        let made = self.sealed(request, (script, chip), &account, &card, new.as_ref()).await?;
        self.scripts.repeated.increment(1);
        Ok(Some(made))
    }

    /// Has the HSM seal it. Whatever it says: the request is not done without its script, and may be tried again.
    async fn sealed(
        &self,
        request: &PinRequest,
        (rules, chip): (&ScriptRules, &Chip),
        account: &Account12,
        card: &CardRecord,
        new: Option<&PresentedPin>,
    ) -> Result<IssuerScript, Reason> {
        let pin = match request.operation {
            // Without its PIN it would be an unblock.
            Operation::Change | Operation::Set => Some(new.ok_or(Reason::SystemError)?),
            Operation::Reveal | Operation::Reverse | Operation::Unblock | Operation::Verify => None,
        };
        // EMV Book 2, A1.4: 00 where there is none.
        let own = u8::try_from(card.sequence).ok().filter(|own| *own <= SEQUENCE_MAX);
        let sequence = chip.sequence.or(own).unwrap_or_default();
        let script = Script { rules, chip, account, sequence, pin };
        //= spec/pin-change.md#12.5
        //# An issuer script MUST be made before the commit of its request and MUST NOT be told before
        //# it; when it cannot be made, the request MUST be declined (86) and MUST change nothing.
        match self.world.hsm.issuer_script(&script).await {
            Ok(command) => Ok(IssuerScript { template: rules.template, command }),
            Err(error) => {
                self.scripts.failed.increment(1);
                tracing::warn!(key = %request.key.text(), %error, "no issuer script can be made");
                Err(Reason::HsmUnavailable)
            }
        }
    }
}

/// Whether the request is the card's last change.
fn is_last(card: &CardRecord, request: &PinRequest) -> bool {
    // What was undone keeps its key, with no reference to go back to.
    let stands = |undo: &crate::card::record::Undo| {
        undo.key == request.key && !matches!(undo.reference, crate::domain::pin::Reference::None)
    };
    card.undo.as_ref().is_some_and(stands)
}
