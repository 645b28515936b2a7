//! The one task of a node that writes: takes what waits, makes it durable in one transaction, answers.
//!
//! ```text
//! queue ─► hope ─► judge ─► write all, commit (one round trip) ─► answers
//!   └─ not as it was read, or more to look at
//!      ─► ask (one round trip: locks, keys, what is there) ─► judge ─► write, commit (one round trip) ─► answers
//!                the session breaks ─► connect anew ─► take the chain's row ─► did the batch commit? ─► answers
//! ```
//!
//! While a batch is on its way the next one gathers, so batches grow with the load by themselves. The node's row of
//! `chain` is locked by every batch and says which record is the newest: whoever has its lock knows how the
//! transaction before ended. A batch whose session broke is answered only after that; when its callers' patience ends
//! before, they are told that nobody knows and their keys stay taken here. **Never here:** a second try of a batch that
//! may have been written. Where next: `once`, `ask`, `batch`, `write`, and `fence` for the row.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::card::StoreError;
use crate::card::postgres::ask::Ask;
use crate::card::postgres::batch::{Batch, Doubts, Head};
use crate::card::postgres::connect::{ConnectError, refusal, session_survives, words};
use crate::card::postgres::fence::{Fence, Taken, Writing};
use crate::card::postgres::once;
use crate::card::postgres::shared::{Shared, is_exhausted};
use crate::card::postgres::work::Work;
use crate::card::postgres::write::Ended;
use crate::domain::clock::{Clock, Now};
use crate::domain::vault::Vault;
use crate::limits::{
    COMMIT_BATCH_MAX, STORE_DOUBT_SECONDS, STORE_RECONNECT_MS_MAX, STORE_WRITE_SECONDS,
};

/// After a batch that was not as hoped. Where switches get the same requests at once many are not, and each costs a
/// round trip and perhaps a line in the database's log.
pub(super) const WARY_BATCHES: u16 = 64;

/// The task's state.
pub(super) struct Writer {
    pub(super) fence: Fence,
    pub(super) shared: Arc<Shared>,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) head: Head,
    pub(super) queue: mpsc::Receiver<Work>,
    /// Batches that go the long way before one statement is tried again.
    pub(super) wary: u16,
    pub(super) batch_size: metrics::Histogram,
    pub(super) seconds: metrics::Histogram,
}

/// Why the task stopped serving.
enum Stopped {
    /// The store was closed.
    Closed,
    /// Somebody else writes as this node.
    Fenced(String),
    /// The session broke, perhaps with a batch that may have been committed.
    Lost(String, Option<Batch>),
}

/// What waits for a session.
struct Waiting {
    /// A batch that may have been committed, and the chain's end if it was.
    batch: Option<Batch>,
    /// The same after its callers' patience.
    doubts: Option<(Doubts, Head)>,
    /// What hosts have answered meanwhile: that is never shed.
    outcomes: Vec<Work>,
}

impl Writer {
    /// Works until every sender is gone.
    pub(super) async fn run(mut self, mut lane: Writing) {
        let mut first = Vec::new();
        loop {
            match Box::pin(self.serve(&mut lane, first)).await {
                Stopped::Closed => return,
                Stopped::Fenced(why) => {
                    self.shared.poison(why);
                    break;
                }
                Stopped::Lost(why, batch) => {
                    self.shared.down(why);
                    match self.recover(batch).await {
                        Some((again, outcomes)) => (lane, first) = (again, outcomes),
                        None => break,
                    }
                }
            }
        }
        while let Some(work) = self.queue.recv().await {
            work.refuse(StoreError::Poisoned);
        }
    }

    async fn serve(&mut self, lane: &mut Writing, mut waiting: Vec<Work>) -> Stopped {
        loop {
            if waiting.is_empty() {
                tokio::select! {
                    biased;
                    taken = self.queue.recv_many(&mut waiting, COMMIT_BATCH_MAX) => {
                        if taken == 0 {
                            return Stopped::Closed;
                        }
                    }
                    () = lane.session.ended() => {
                        return Stopped::Lost("the connection was closed".to_owned(), None);
                    }
                }
            }
            let rest = waiting.split_off(waiting.len().min(COMMIT_BATCH_MAX));
            let works = std::mem::replace(&mut waiting, rest);
            if let Err(stopped) = Box::pin(self.commit(lane, Batch::new(works, self.head))).await {
                for work in waiting {
                    work.refuse(StoreError::Unavailable);
                }
                return stopped;
            }
        }
    }

    /// One batch: in one statement where that is enough, else in two rounds.
    async fn commit(&mut self, lane: &Writing, mut batch: Batch) -> Result<(), Stopped> {
        let begun = self.clock.now();
        if is_exhausted(self.fence.node, self.head.position, COMMIT_BATCH_MAX) {
            batch.refuse(StoreError::Poisoned);
            return Err(Stopped::Fenced("the node has numbered all its records".to_owned()));
        }
        let ask = batch.ask(&self.shared);
        match Box::pin(self.at_once(lane, batch, &ask, begun)).await? {
            None => return Ok(()),
            Some(back) => batch = back,
        }
        let (node, epoch) = (self.fence.node.cast_signed(), self.fence.epoch);
        let asked = Box::pin(ask.run(&lane.session.client, &lane.sql, node, epoch));
        let found = match in_time(asked).await {
            Ok(Ok(found)) => found,
            // The commit was not even sent.
            Ok(Err(error)) if session_survives(&error) => {
                tracing::warn!(why = words(&error), "a batch is refused by the database");
                batch.refuse(refusal(&error));
                return roll_back(lane).await;
            }
            Ok(Err(error)) => {
                batch.refuse(StoreError::Unavailable);
                return Err(Stopped::Lost(words(&error), None));
            }
            Err(why) => {
                batch.refuse(StoreError::Unavailable);
                return Err(Stopped::Lost(why.to_owned(), None));
            }
        };
        if found.head != Some((epoch, self.head.position.cast_signed())) {
            batch.refuse(StoreError::Poisoned);
            return Err(Stopped::Fenced(self.fence.taken()));
        }
        let written = batch.judge(&self.shared, &*self.vault, &found);
        if written.is_empty() {
            batch.publish(&self.shared);
            return roll_back(lane).await;
        }
        let ended = Box::pin(written.run(&lane.session.client, &lane.sql, node, epoch));
        let ended = in_time(ended).await;
        self.end(batch, ended, begun)
    }

    /// The batch in one statement, if it is one for that. It comes back when nothing of it was written because not
    /// everything was as it was read.
    async fn at_once(
        &mut self,
        lane: &Writing,
        mut batch: Batch,
        ask: &Ask,
        begun: Now,
    ) -> Result<Option<Batch>, Stopped> {
        if self.wary > 0 {
            self.wary -= 1;
            return Ok(Some(batch));
        }
        let Some(written) = batch.hope(&self.shared, &*self.vault, ask) else {
            return Ok(Some(batch));
        };
        let (to, us) = (
            (&lane.session.client, &lane.sql.at_once),
            (self.fence.node.cast_signed(), self.fence.epoch),
        );
        let keys = ask.columns();
        let ended = in_time(once::run(to, us, self.head, &keys, &written)).await.transpose();
        if let Some(ended) = ended {
            return self.end(batch, ended, begun).map(|()| None);
        }
        self.wary = WARY_BATCHES;
        batch.forget(self.head);
        Ok(Some(batch))
    }

    /// What a batch comes to that should have committed.
    fn end(
        &mut self,
        batch: Batch,
        ended: Result<Ended, &'static str>,
        begun: Now,
    ) -> Result<(), Stopped> {
        match ended {
            Ok(Ended::Committed) => {
                let records = batch.head.position - self.head.position;
                self.seconds.record(self.clock.now().saturating_sub(begun).as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "at most COMMIT_BATCH_MAX")]
                self.batch_size.record(records as f64);
                self.publish(batch);
                Ok(())
            }
            Ok(Ended::RolledBack(error)) => {
                let why = words(&error);
                tracing::error!(why, "a batch is refused by the database: nothing of it is kept");
                batch.refuse(refusal(&error));
                if session_survives(&error) { Ok(()) } else { Err(Stopped::Lost(why, None)) }
            }
            Ok(Ended::Unknown(error)) => Err(Stopped::Lost(words(&error), Some(batch))),
            Err(why) => Err(Stopped::Lost(why.to_owned(), Some(batch))),
        }
    }

    /// The batch is durable. Only here receipts are minted.
    fn publish(&mut self, batch: Batch) {
        self.head = batch.head;
        self.shared.durable.store(self.head.position, Ordering::Release);
        batch.publish(&self.shared);
    }

    /// Connects until it works, and resolves the batch that may have been committed. `None`: the store is closed, or is
    /// not this node's any more.
    async fn recover(&mut self, batch: Option<Batch>) -> Option<(Writing, Vec<Work>)> {
        let mut waiting = Waiting { batch, doubts: None, outcomes: Vec::new() };
        let patience = tokio::time::sleep(Duration::from_secs(STORE_DOUBT_SECONDS));
        tokio::pin!(patience);
        let mut pause = Duration::from_millis(20);
        loop {
            let (fence, shared) = (self.fence.clone(), Arc::clone(&self.shared));
            let attempt = async move {
                match fence.take_again().await {
                    Err(error) => {
                        shared.down(error.to_string());
                        tokio::time::sleep(pause).await;
                        Err(error)
                    }
                    taken => taken,
                }
            };
            tokio::pin!(attempt);
            let taken = loop {
                tokio::select! {
                    biased;
                    taken = &mut attempt => break taken,
                    work = self.queue.recv() => match work {
                        None => return None,
                        Some(work) if is_outcome(&work) && !patience.is_elapsed() => waiting.outcomes.push(work),
                        Some(work) => work.refuse(StoreError::Unavailable),
                    },
                    () = &mut patience, if !patience.is_elapsed() => waiting.lose_patience(),
                }
            };
            match taken {
                Ok(Taken::Fenced) => {
                    self.shared.poison(self.fence.taken());
                    return None;
                }
                Ok(Taken::Ours(lane, head)) => {
                    if !self.resolve(&mut waiting, head) {
                        self.shared.poison(self.fence.taken());
                        return None;
                    }
                    self.fence.session = Some(lane.session.id.clone());
                    self.shared.up();
                    return Some((*lane, waiting.outcomes));
                }
                Err(ConnectError::Schema { found }) => {
                    self.shared.poison(ConnectError::Schema { found }.to_string());
                    return None;
                }
                Err(_) => pause = (pause * 2).min(Duration::from_millis(STORE_RECONNECT_MS_MAX)),
            }
        }
    }

    /// Whether the batch committed, now that its transaction is over. False: the chain's end is neither the one before
    /// nor the one after it, so somebody else has written.
    fn resolve(&mut self, waiting: &mut Waiting, head: Head) -> bool {
        let (batch, doubts) = (waiting.batch.take(), waiting.doubts.take());
        let after =
            batch.as_ref().map(|b| b.head).or_else(|| doubts.as_ref().map(|(_, head)| *head));
        if after == Some(head) {
            tracing::info!("a batch whose connection broke was committed");
            if let Some(batch) = batch {
                self.publish(batch);
            }
            if let Some((doubts, _)) = doubts {
                self.head = head;
                self.shared.durable.store(head.position, Ordering::Release);
                doubts.done(&self.shared);
            }
            return true;
        }
        // Dropped doubts are those of a batch that was not written.
        if let Some(batch) = batch {
            batch.refuse(StoreError::Unavailable);
        }
        head == self.head
    }
}

impl Waiting {
    /// Who waits is told that nobody knows.
    fn lose_patience(&mut self) {
        if let Some(batch) = self.batch.take() {
            let head = batch.head;
            self.doubts = Some((batch.give_up(), head));
        }
        self.outcomes.drain(..).for_each(|work| work.refuse(StoreError::Unavailable));
    }
}

fn is_outcome(work: &Work) -> bool {
    matches!(work, Work::Change { claim, .. } if claim.intent().is_some())
}

/// Ends a transaction that writes nothing.
async fn roll_back(lane: &Writing) -> Result<(), Stopped> {
    match in_time(lane.session.client.batch_execute("ROLLBACK")).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Stopped::Lost(words(&error), None)),
        Err(why) => Err(Stopped::Lost(why.to_owned(), None)),
    }
}

/// A round trip has its bound: past it the database counts as gone.
async fn in_time<T>(round: impl Future<Output = T>) -> Result<T, &'static str> {
    let limit = Duration::from_secs(STORE_WRITE_SECONDS);
    tokio::time::timeout(limit, round).await.map_err(|_| "no answer in time")
}
