//! [`Claim`]: the right to commit one key, and what dropping it means at each stage.
//!
//! The key is taken in this process only; that no other node commits it is the database's primary key. **Never here:**
//! the database. Where next: `writer`.

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc::WeakSender;

use crate::card::postgres::shared::Shared;
use crate::card::postgres::work::Work;
use crate::domain::request::TransactionKey;

/// A key taken in this process. Dropping it frees the key.
pub(super) struct Held {
    pub(super) key: TransactionKey,
    shared: Arc<Shared>,
    /// A place among the open changes that is not used yet.
    booked: bool,
}

impl Held {
    pub(super) fn new(key: TransactionKey, shared: Arc<Shared>) -> Self {
        Self { key, shared, booked: false }
    }

    /// Takes a place among the open changes. False: there is none.
    pub(super) fn book(&mut self) -> bool {
        self.booked = self.shared.book();
        self.booked
    }

    /// The place is used: who closes the change gives it back.
    pub(super) fn opened(&mut self) {
        self.booked = false;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.booked {
            self.shared.unbook(1);
        }
        self.shared.free(self.key);
    }
}

/// The right to commit one key. Dropping it frees the key; or leaves the change unsettled, if its intent is durable.
pub struct Claim {
    /// `None` once it is handed on.
    held: Option<Held>,
    /// Position of its intent.
    intent: Option<u64>,
    queue: WeakSender<Work>,
}

impl Claim {
    pub(super) fn new(held: Held, queue: WeakSender<Work>) -> Self {
        Self { held: Some(held), intent: None, queue }
    }

    /// Takes a place among the open changes. False: there is none.
    pub(super) fn book(&mut self) -> bool {
        self.held.as_mut().is_some_and(Held::book)
    }

    /// The intent is durable.
    pub(super) fn intended(&mut self, position: u64) {
        self.intent = Some(position);
        if let Some(held) = &mut self.held {
            held.opened();
        }
    }

    /// Position of the intent, if it is durable.
    pub(super) fn intent(&self) -> Option<u64> {
        self.intent
    }

    /// What became of the key is durable or known to be nothing: dropping frees the key and does no more.
    pub(super) fn settle(mut self) {
        self.intent = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let (Some(held), Some(_)) = (self.held.take(), self.intent) else { return };
        // The change may be reversed at once. When the queue has no room it is once its time in flight is over.
        if let Some(queue) = self.queue.upgrade() {
            let _ = queue.try_send(Work::Release { held });
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.held {
            Some(held) => write!(f, "Claim({})", held.key.text()),
            None => f.write_str("Claim"),
        }
    }
}
