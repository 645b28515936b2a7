//! What the simulated Postilion believes: its cards with their PINs, every change it was asked for, every reversal.
//!
//! All nodes share one book. It decides first and applies afterwards: what was decided is an [`Event`], and applying
//! the events of a file in order gives the same book again. **Never here:** messages, keys, files, time. Where next:
//! `event` for what it is asked and what it says, `journal` for the file, `view` for its JSON.

use std::collections::{HashMap, VecDeque};

use crate::limits::{SIM_CHANGES_MAX, SIM_REVERSALS_MAX};
use crate::sim::postilion::event::{Change, Code, Event, Reversal};
use crate::sim::postilion::word::Word;
use crate::sim::postilion::zone::Pin;

/// Wrong PINs in a row after which a card is refused.
const TRIES_MAX: u8 = 3;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The new PIN was taken. Whether a later one replaced it, [`Card::last`] says.
    Applied,
    /// It was refused.
    Declined,
    /// The old PIN was put back.
    Reversed,
}

/// One change with what became of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) change: Change,
    pub(super) state: State,
    /// What its reversals were answered.
    pub(super) reversal: Option<Code>,
    /// Times it came, repeats included. Repeats are not in the file.
    pub(super) received: u32,
    /// Times its PIN was set: never more than once.
    pub(super) processed: u32,
    card: Option<u32>,
    previous: Option<u64>,
}

/// A card.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) pan: Word<19>,
    pub(super) pin: Pin,
    pub(super) tries: u8,
    /// Numbers of its changes, ascending.
    pub(super) history: VecDeque<u64>,
    /// The change that gave it its PIN.
    pub(super) last: Option<u64>,
}

/// A reversal of something that never came.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) reversal: Reversal,
    /// Times it came.
    pub(super) received: u32,
    /// Originals that came after it and were refused.
    pub(super) refused: u32,
}

/// Cards, changes, reversals.
#[derive(Debug, Default)]
pub(super) struct Book {
    cards: Vec<Card>,
    by_pan: HashMap<Word<19>, u32>,
    changes: VecDeque<Entry>,
    /// Changes forgotten, which is the number of the first that is kept.
    forgotten: u64,
    by_name: HashMap<u64, u64>,
    by_data: HashMap<u64, u64>,
    remembered: VecDeque<Remembered>,
    reversals_forgotten: u64,
    unknown: HashMap<u64, u64>,
}

/// What a change's message brought besides its names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// It is not a change this host makes, or it lacks something.
    Refused(Code),
    /// Neither block, or only one, holds a PIN.
    NoPin,
    /// The PINs of its two blocks.
    Pins { current: Pin, new: Pin },
}

impl Book {
    /// Adds a card. One that is there already stays as it is.
    pub(super) fn add_card(&mut self, pan: Word<19>, pin: Pin) {
        if self.by_pan.contains_key(&pan) {
            return;
        }
        // Past four thousand million cards, memory is the smaller worry.
        let Ok(number) = u32::try_from(self.cards.len()) else { return };
        self.by_pan.insert(pan, number);
        self.cards.push(Card { pan, pin, tries: 0, history: VecDeque::new(), last: None });
    }

    /// Every card.
    pub(super) fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// One card.
    pub(super) fn card(&self, pan: &str) -> Option<&Card> {
        let at = self.by_pan.get(&Word::new(pan.as_bytes())?)?;
        self.cards.get(usize::try_from(*at).ok()?)
    }

    /// A change by its number, unless it is forgotten.
    pub(super) fn entry(&self, number: u64) -> Option<&Entry> {
        self.changes.get(usize::try_from(number.checked_sub(self.forgotten)?).ok()?)
    }

    fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.changes.get_mut(usize::try_from(number.checked_sub(self.forgotten)?).ok()?)
    }

    /// Reversals of originals that were not known.
    pub(super) fn remembered(&self) -> impl Iterator<Item = &Remembered> {
        self.remembered.iter()
    }

    /// Changes kept, changes forgotten.
    pub(super) fn sizes(&self) -> (usize, u64) {
        (self.changes.len(), self.forgotten)
    }

    /// The answer this change was given before, if it was. Counts the repeat.
    pub(super) fn repeat(&mut self, change: &Change) -> Option<Code> {
        let number = *self.by_name.get(&change.name()?)?;
        let entry = self.entry_mut(number)?;
        entry.received += 1;
        Some(entry.change.code)
    }

    /// Decides a change that did not come before. The event has to be applied, and kept, before the answer leaves;
    /// without a name the change cannot be kept and is refused for good.
    pub(super) fn decide(&mut self, mut change: Change, content: Content) -> Result<Event, Code> {
        change.code = self.verdict(&mut change, content);
        if change.name().is_none() {
            return Err(change.code);
        }
        Ok(Event::Change(change))
    }

    fn verdict(&mut self, change: &mut Change, content: Content) -> Code {
        if let Some(remembered) = self.remembered_mut([change.key_name(), change.data_name()]) {
            remembered.refused += 1;
            return Code::DUPLICATE;
        }
        if let Content::Refused(code) = content {
            return code;
        }
        let card = change.pan.and_then(|pan| self.card(pan.as_str()));
        let Some(card) = card else { return Code::CARD_UNKNOWN };
        if TRIES_MAX <= card.tries {
            return Code::TRIES_EXCEEDED;
        }
        let Content::Pins { current, new } = content else { return Code::NO_PIN };
        if !current.has_a_pins_length() {
            return Code::NO_PIN;
        }
        change.from = Some(current);
        change.to = Some(new);
        if current != card.pin {
            return Code::WRONG_PIN;
        }
        if new == card.pin || !new.has_a_pins_length() {
            return Code::UNACCEPTABLE_PIN;
        }
        Code::APPROVED
    }

    /// The remembered reversal of that name: by key; else by data, unless both sides have keys.
    fn remembered_mut(&mut self, [key, data]: [Option<u64>; 2]) -> Option<&mut Remembered> {
        let number = |name: Option<u64>| {
            let number = *self.unknown.get(&name?)?;
            usize::try_from(number.checked_sub(self.reversals_forgotten)?).ok()
        };
        let by_data = || {
            let at = number(data)?;
            let has_key = self.remembered.get(at)?.reversal.key.is_some();
            (key.is_none() || !has_key).then_some(at)
        };
        let at = number(key).or_else(by_data)?;
        self.remembered.get_mut(at)
    }

    /// The answer to a reversal, with the event to be kept and applied if it changes anything. What is reversed once,
    /// refused once or remembered once is answered the same for ever.
    pub(super) fn reverse(&mut self, mut reversal: Reversal) -> (Code, Option<Event>) {
        let (key, data) = (reversal.key_name(), reversal.data_name());
        if key.is_none() && data.is_none() {
            return (Code::FORMAT_ERROR, None);
        }
        if let Some(remembered) = self.remembered_mut([key, data]) {
            remembered.received += 1;
            return (Code::NOT_FOUND, None);
        }
        reversal.original = self.original(&reversal);
        let entry = reversal.original.and_then(|number| self.entry(number));
        reversal.code = match entry {
            None => Code::NOT_FOUND,
            Some(Entry { reversal: Some(code), .. }) => return (*code, None),
            Some(Entry { state: State::Declined, .. }) => return (Code::APPROVED, None),
            Some(entry) => {
                let card = entry.card.and_then(|at| self.cards.get(usize::try_from(at).ok()?));
                let is_last = card.is_some_and(|card| card.last == reversal.original);
                if is_last { Code::APPROVED } else { Code::NOT_FOUND }
            }
        };
        (reversal.code, Some(Event::Reversal(reversal)))
    }

    /// The change a reversal means: by its key; else by its data, unless that change has another key.
    fn original(&self, reversal: &Reversal) -> Option<u64> {
        let by_key = reversal.key_name().and_then(|name| self.by_name.get(&name)).copied();
        by_key.or_else(|| {
            let number = *self.by_data.get(&reversal.data_name()?)?;
            let has_key = self.entry(number)?.change.switch_key.is_some();
            (reversal.key.is_none() || !has_key).then_some(number)
        })
    }

    /// Makes true what was decided.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Change(change) => self.apply_change(change),
            Event::Reversal(reversal) => self.apply_reversal(reversal),
            Event::Key { .. } | Event::KeysRetired { .. } => {}
        }
    }

    fn apply_change(&mut self, change: &Change) {
        if SIM_CHANGES_MAX <= self.changes.len() {
            self.forget_the_oldest();
        }
        let number = self.forgotten + u64::try_from(self.changes.len()).unwrap_or(u64::MAX);
        let approved = change.code == Code::APPROVED;
        // A file may name a card of an earlier run that this one was not started with.
        if let (true, Some(pan), Some(from)) = (approved, change.pan, change.from) {
            self.add_card(pan, from);
        }
        let at = change.pan.and_then(|pan| self.by_pan.get(&pan)).copied();
        let card = at.and_then(|at| self.cards.get_mut(usize::try_from(at).ok()?));
        let previous = card.as_ref().and_then(|card| card.last);
        if let Some(card) = card {
            card.history.push_back(number);
            match (change.code, change.to) {
                (Code::APPROVED, Some(to)) => {
                    card.pin = to;
                    card.tries = 0;
                    card.last = Some(number);
                }
                (Code::UNACCEPTABLE_PIN, _) => card.tries = 0,
                (Code::WRONG_PIN, _) => card.tries += 1,
                _ => {}
            }
        }
        if let Some(name) = change.name() {
            self.by_name.insert(name, number);
        }
        if let Some(name) = change.data_name() {
            self.by_data.insert(name, number);
        }
        self.changes.push_back(Entry {
            change: change.clone(),
            state: if approved { State::Applied } else { State::Declined },
            reversal: None,
            received: 1,
            processed: u32::from(approved),
            card: at,
            previous,
        });
    }

    fn forget_the_oldest(&mut self) {
        let Some(entry) = self.changes.pop_front() else { return };
        let number = self.forgotten;
        self.forgotten += 1;
        if let Some(name) = entry.change.name()
            && self.by_name.get(&name) == Some(&number)
        {
            self.by_name.remove(&name);
        }
        if let Some(name) = entry.change.data_name()
            && self.by_data.get(&name) == Some(&number)
        {
            self.by_data.remove(&name);
        }
        let card = entry.card.and_then(|at| self.cards.get_mut(usize::try_from(at).ok()?));
        if let Some(card) = card
            && card.history.front() == Some(&number)
        {
            card.history.pop_front();
        }
    }

    fn apply_reversal(&mut self, reversal: &Reversal) {
        let Some(number) = reversal.original else { return self.remember(reversal) };
        let Some(entry) = self.entry_mut(number) else { return };
        entry.reversal = Some(reversal.code);
        if reversal.code != Code::APPROVED {
            return;
        }
        entry.state = State::Reversed;
        let (card, from, previous) = (entry.card, entry.change.from, entry.previous);
        let card = card.and_then(|at| self.cards.get_mut(usize::try_from(at).ok()?));
        if let (Some(card), Some(from)) = (card, from) {
            card.pin = from;
            card.last = previous;
        }
    }

    fn remember(&mut self, reversal: &Reversal) {
        let kept = u64::try_from(self.remembered.len()).unwrap_or(u64::MAX);
        let number = self.reversals_forgotten + kept;
        for name in [reversal.key_name(), reversal.data_name()].into_iter().flatten() {
            self.unknown.insert(name, number);
        }
        self.remembered.push_back(Remembered {
            reversal: reversal.clone(),
            received: 1,
            refused: 0,
        });
        if SIM_REVERSALS_MAX < self.remembered.len()
            && let Some(gone) = self.remembered.pop_front()
        {
            let number = self.reversals_forgotten;
            self.reversals_forgotten += 1;
            for name in [gone.reversal.key_name(), gone.reversal.data_name()].into_iter().flatten()
            {
                if self.unknown.get(&name) == Some(&number) {
                    self.unknown.remove(&name);
                }
            }
        }
    }
}
