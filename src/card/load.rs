//! What imports and exports of cards need of a store, whichever family it is: checking, putting many, visiting all.
//!
//! **Never here:** files and their forms (`transfer`), a way to wait: who calls has a thread of his own.

use crate::card::CardRecord;
use crate::card::embedded::{Bulk, BulkError, EmbeddedStore};

/// A store that many cards are put into.
pub trait Cards {
    /// A load under way.
    type Load<'a>: Load
    where
        Self: 'a;

    /// Whether a card could be put.
    ///
    /// # Errors
    /// [`BulkError::Exists`] unless `replace`, and what is wrong with its identities.
    fn check_new(&self, card: &CardRecord, replace: bool) -> Result<(), BulkError>;

    /// Begins a load. `source` names it in the audit: a file name, never a PAN.
    ///
    /// # Errors
    /// [`BulkError`] when the store cannot be written.
    fn load(&mut self, source: &str) -> Result<Self::Load<'_>, BulkError>;

    /// Visits every card.
    ///
    /// # Errors
    /// [`BulkError`] when they cannot be read.
    fn each_card(&self, visit: &mut (dyn FnMut(&CardRecord) + Send)) -> Result<(), BulkError>;
}

/// A load under way. Without [`Load::finish`] the audit says that it is not complete.
pub trait Load {
    /// Puts one card. A card that is there already gets the next version.
    ///
    /// # Errors
    /// As [`Cards::check_new`], and when it cannot be written.
    fn put(&mut self, card: CardRecord, replace: bool) -> Result<(), BulkError>;

    /// Makes everything durable and writes the audit record. Returns how many cards were put.
    ///
    /// # Errors
    /// [`BulkError`] when something could not be made durable.
    fn finish(self) -> Result<u64, BulkError>;
}

impl Cards for EmbeddedStore {
    type Load<'a> = Bulk<'a>;

    fn check_new(&self, card: &CardRecord, replace: bool) -> Result<(), BulkError> {
        Self::check_new(self, card, replace)
    }

    fn load(&mut self, source: &str) -> Result<Bulk<'_>, BulkError> {
        self.bulk(source)
    }

    fn each_card(&self, visit: &mut (dyn FnMut(&CardRecord) + Send)) -> Result<(), BulkError> {
        Self::each_card(self, |card| visit(card));
        Ok(())
    }
}

impl Load for Bulk<'_> {
    fn put(&mut self, card: CardRecord, replace: bool) -> Result<(), BulkError> {
        Bulk::put(self, card, replace)
    }

    fn finish(self) -> Result<u64, BulkError> {
        Bulk::finish(self)
    }
}
