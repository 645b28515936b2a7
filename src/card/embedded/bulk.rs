//! Writing many cards at once, outside the journal: imports and generated loads.
//!
//! It takes the store by `&mut`, so nothing commits meanwhile. Rows are written unsynced and made durable at the end
//! by one sync and one audit record. A marker tells a later open that a load died in the middle; it then writes the
//! audit record, as incomplete. **Never here:** parsing (see `card::transfer`), PANs.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::card::codec::{BulkNote, IDENTITY_BYTES_MAX};
use crate::card::embedded::checkpoint::TablesError;
use crate::card::embedded::chores::Chores;
use crate::card::embedded::index::KINDS;
use crate::card::embedded::open::{OpenError, tables_error};
use crate::card::embedded::work::Work;
use crate::card::embedded::{EmbeddedStore, StoreError};
use crate::card::postgres::ImportError;
use crate::card::{CardKey, CardRecord};
use crate::domain::request::IdentityKind;

/// Rows of one write.
const ROWS_MAX: usize = 1024;

/// A bulk load under way. Without [`Bulk::finish`] it is noted as incomplete at the next open.
#[derive(Debug)]
pub struct Bulk<'a> {
    store: &'a mut EmbeddedStore,
    source: Box<str>,
    waiting: Vec<Arc<CardRecord>>,
    cards: u64,
}

/// Why a card or a load was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The card is there already.
    #[error("the card is in the store already: allow replacing, or leave it out")]
    Exists,
    /// An identity names another card.
    #[error("{0:?} names another card already")]
    IdentityTaken(IdentityKind),
    /// An identity is longer than the store keeps.
    #[error("an identity is longer than {IDENTITY_BYTES_MAX} bytes")]
    IdentityTooLong,
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] ImportError),
    /// The store refused the audit record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows could not be written.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl EmbeddedStore {
    /// Begins a load. `source` names it in the audit: a file name, never a PAN.
    ///
    /// # Errors
    /// [`BulkError`] when the store cannot be written.
    pub fn bulk(&mut self, source: &str) -> Result<Bulk<'_>, BulkError> {
        self.health()?;
        // Older after-images must not be folded over what comes now: nobody else folds until the load ends.
        drop(self.chores.take());
        let bulk = Bulk { store: self, source: source.into(), waiting: Vec::new(), cards: 0 };
        bulk.store.fold_all()?;
        bulk.store.tables.begin_bulk(source)?;
        Ok(bulk)
    }

    /// Whether a card could be put.
    ///
    /// # Errors
    /// [`BulkError::Exists`] unless `replace`, and what is wrong with its identities.
    pub fn check_new(&self, card: &CardRecord, replace: bool) -> Result<(), BulkError> {
        let known = self.index.card(CardKey::Pan(card.pan_hash, Some(card.sequence)));
        if known.is_some() && !replace {
            return Err(BulkError::Exists);
        }
        let Some(identities) = &card.identities else { return Ok(()) };
        let others = [
            &identities.pan_token,
            &identities.payment_instrument,
            &identities.card_id,
            &identities.external_user_id,
            &identities.account_id,
            &identities.person_id,
        ];
        if others.into_iter().flatten().any(|text| IDENTITY_BYTES_MAX < text.len()) {
            return Err(BulkError::IdentityTooLong);
        }
        for kind in KINDS {
            let taken = identities.of(kind).and_then(|value| self.index.identity(kind, value));
            if taken.is_some_and(|by| by != (card.pan_hash, card.sequence)) {
                return Err(BulkError::IdentityTaken(kind));
            }
        }
        Ok(())
    }

    /// Writes the audit record of a load that died.
    pub(crate) fn note_interrupted_bulk(&mut self) -> Result<(), OpenError> {
        let failed = |e| tables_error(&self.dir, e);
        let Some(source) = self.tables.open_bulk().map_err(failed)? else { return Ok(()) };
        let cards = self.index.cards_count() as u64;
        let note = BulkNote { complete: false, cards, source: source.into() };
        tracing::warn!(source = &*note.source, "a bulk load was interrupted: run it again");
        self.note_bulk(note).map_err(|e| OpenError::Damaged {
            dir: self.dir.clone(),
            why: format!("noting an interrupted bulk load: {e}"),
        })?;
        self.tables.end_bulk().map_err(|e| tables_error(&self.dir, e))
    }

    fn note_bulk(&self, note: BulkNote) -> Result<(), StoreError> {
        let (answer, wait) = sync_channel(1);
        let work = Work::Bulk { at: self.options.clock.wall(), note, answer };
        let queue = self.queue.as_ref().ok_or(StoreError::Poisoned)?;
        queue.try_send(work).map_err(|_| StoreError::Full)?;
        wait.recv().unwrap_or(Err(StoreError::Poisoned))
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        match Chores::start(self.store) {
            Ok(chores) => self.store.chores = Some(chores),
            Err(error) => self.store.shared.poison(format!("no thread for chores: {error}")),
        }
    }
}

impl Bulk<'_> {
    /// Puts one card. A card that is there already gets the next version.
    ///
    /// # Errors
    /// As [`EmbeddedStore::check_new`], and [`BulkError::Tables`].
    pub fn put(&mut self, mut card: CardRecord, replace: bool) -> Result<(), BulkError> {
        self.store.check_new(&card, replace)?;
        let known = self.store.index.card(CardKey::Pan(card.pan_hash, Some(card.sequence)));
        card.version = known.map_or(card.version, |known| known.version.wrapping_add(1));
        let card = Arc::new(card);
        self.store.index.put(Arc::clone(&card));
        self.waiting.push(card);
        self.cards += 1;
        if ROWS_MAX <= self.waiting.len() {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BulkError> {
        self.store.tables.put(self.waiting.iter().map(|card| &**card))?;
        self.waiting.clear();
        Ok(())
    }

    /// Makes everything durable and writes the audit record. Returns how many cards were put.
    ///
    /// # Errors
    /// [`BulkError`] when something could not be made durable.
    pub fn finish(mut self) -> Result<u64, BulkError> {
        self.write()?;
        self.store.tables.persist()?;
        let note = BulkNote { complete: true, cards: self.cards, source: self.source.clone() };
        self.store.note_bulk(note)?;
        self.store.tables.end_bulk()?;
        Ok(self.cards)
    }
}
