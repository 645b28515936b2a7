//! [`Claim`]: the right to commit one key, and what dropping it means at each stage.
//!
//! **Never here:** the disk. Where next: `ledger` for what is open, `index` for what a key's state is.

use std::fmt;
use std::sync::Arc;

use crate::card::Unsettled;
use crate::card::embedded::index::Index;
use crate::domain::request::TransactionKey;

/// The right to commit one key. Dropping it frees the key; or leaves the change unsettled, if its intent is durable.
pub struct Claim {
    key: TransactionKey,
    /// `None` once settled.
    index: Option<Arc<Index>>,
    stage: Stage,
}

/// How far a claimed request has come.
enum Stage {
    /// The key is taken.
    Claimed,
    /// A place among the open changes is taken, too.
    Booked,
    /// Its intent is durable: it may have been sent.
    Intended(Arc<Unsettled>),
}

impl Claim {
    pub(crate) fn new(key: TransactionKey, index: Arc<Index>) -> Self {
        Self { key, index: Some(index), stage: Stage::Claimed }
    }

    pub(crate) fn key(&self) -> TransactionKey {
        self.key
    }

    /// Takes a place among the open changes. False: there is none.
    pub(crate) fn book(&mut self) -> bool {
        let booked = self.index.as_ref().is_some_and(|index| index.ledger.book());
        if booked {
            self.stage = Stage::Booked;
        }
        booked
    }

    /// The intent is durable.
    pub(crate) fn intended(&mut self, change: Arc<Unsettled>) {
        if let Some(index) = &self.index {
            index.ledger.opened(&change);
        }
        self.stage = Stage::Intended(change);
    }

    /// The intent.
    pub(crate) fn intent(&self) -> Option<&Arc<Unsettled>> {
        match &self.stage {
            Stage::Claimed | Stage::Booked => None,
            Stage::Intended(change) => Some(change),
        }
    }

    /// The key is answered, or what is on disk is not known: dropping changes nothing any more. What is in flight
    /// stays so.
    pub(crate) fn settle(mut self) {
        let index = self.index.take();
        if let (Some(index), Stage::Booked) = (index, &self.stage) {
            index.ledger.unbook();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(index) = &self.index else { return };
        match &self.stage {
            Stage::Claimed => index.free(self.key),
            Stage::Booked => {
                index.ledger.unbook();
                index.free(self.key);
            }
            Stage::Intended(change) => {
                // Listed first: who is told that the outcome is unknown finds it among the unsettled.
                index.ledger.wait(change);
                index.answer(change.sequence, &change.entry, true);
            }
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({})", self.key.text())
    }
}
