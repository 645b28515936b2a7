//! [`Ways`]: how requests reach the tasks of the store. When they are gone the tasks end, after what waits is done.
//!
//! **Never here:** a task, a wait. Where next: `reader`, `writer`, `keeper`.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::card::postgres::keeper::Look;
use crate::card::postgres::reader::{Lane, Question};
use crate::card::postgres::work::Work;
use crate::card::{Away, StoreError};

/// The ways to the tasks.
pub(super) struct Ways {
    /// To the writer.
    pub(super) queue: mpsc::Sender<Work>,
    lanes: Vec<Lane>,
    /// Counts questions, to spread them.
    next: AtomicUsize,
    /// To the keeper.
    pub(super) keeper: mpsc::Sender<Look>,
}

impl Ways {
    pub(super) fn new(
        queue: mpsc::Sender<Work>,
        lanes: Vec<Lane>,
        keeper: mpsc::Sender<Look>,
    ) -> Self {
        Self { queue, lanes, next: AtomicUsize::new(0), keeper }
    }

    /// Whether questions are answered. Nothing else would find out that a database stands still: requests that are
    /// refused here never come to the writer.
    pub(super) fn is_up(&self) -> bool {
        self.lanes.iter().any(Lane::is_up)
    }

    /// Since when and why they are not.
    pub(super) fn away(&self) -> Option<Away> {
        if self.is_up() { None } else { self.lanes.iter().find_map(Lane::away) }
    }

    /// Work that waits for the writer.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Puts a question to a connection that is up, if there is one with room.
    pub(super) fn put(&self, mut question: Question) -> Result<(), StoreError> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let all = (0..self.lanes.len()).map(|at| first.wrapping_add(at) % self.lanes.len());
        let mut error = StoreError::Unavailable;
        for lane in all.filter_map(|at| self.lanes.get(at)) {
            if !lane.is_up() {
                continue;
            }
            match lane.queue.try_send(question) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => (question, error) = (back, StoreError::Full),
                Err(TrySendError::Closed(back)) => question = back,
            }
        }
        Err(error)
    }

    /// Hands work to the writer, if there is room. Work that is refused drops its claim, which frees the key.
    pub(super) fn hand(&self, work: Work) -> Result<(), StoreError> {
        self.queue.try_send(work).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Full,
            TrySendError::Closed(_) => StoreError::Poisoned,
        })
    }
}
