//! A connection that reads: it gathers what waits, and asks for all of it at once.
//!
//! While one round trip is on its way the next questions gather, and for a moment after one has begun (`pace`), so
//! rounds grow with the load by themselves. A question asked after a commit was acknowledged sees it: the database
//! shows a transaction before it says that it is done. **Never here:** a write, a lock. Where next: `lookup` for the
//! statements.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use crate::card::postgres::connect::{
    ConnectError, Connector, Session, refusal, session_survives, words,
};
use crate::card::postgres::lookup::{KeyRow, Lookups, Round};
use crate::card::postgres::pace::Pace;
use crate::card::{Away, CardRecord, StoreError, Unsettled};
use crate::domain::clock::Clock;
use crate::domain::pan::PanHash;
use crate::domain::request::{IdentityKind, TransactionKey};
use crate::limits::{
    STORE_READ_BATCH_MAX, STORE_READ_QUEUE_MAX, STORE_READ_SECONDS, STORE_RECONNECT_MS_MAX,
};

/// Who asked, and for what.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What waits for a connection.
pub(super) enum Question {
    Card { hash: PanHash, sequence: Option<u16>, reply: Reply<Option<Arc<CardRecord>>> },
    Named { kind: IdentityKind, value: Box<str>, reply: Reply<Option<Arc<CardRecord>>> },
    Key { key: TransactionKey, reply: Reply<Option<KeyRow>> },
    Forwarded { key: TransactionKey, card: Option<PanHash>, reply: Reply<Option<Arc<Unsettled>>> },
    Awaits { card: PanHash, reply: Reply<bool> },
}

impl Question {
    /// The database did not answer it.
    pub(super) fn refuse(self, error: StoreError) {
        // Whoever went away needs no answer.
        match self {
            Self::Card { reply, .. } | Self::Named { reply, .. } => drop(reply.send(Err(error))),
            Self::Key { reply, .. } => drop(reply.send(Err(error))),
            Self::Forwarded { reply, .. } => drop(reply.send(Err(error))),
            Self::Awaits { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// The handle of one connection.
pub(super) struct Lane {
    pub(super) queue: mpsc::Sender<Question>,
    gone: Gone,
}

/// Since when and why a connection answers nothing; empty while it does.
type Gone = Arc<ArcSwapOption<Away>>;

/// The task of one connection.
struct Reader {
    connector: Connector,
    clock: Arc<dyn Clock>,
    queue: mpsc::Receiver<Question>,
    gone: Gone,
}

impl Lane {
    /// Connects, and makes its task, which connects anew whenever the connection breaks.
    pub(super) async fn open(
        connector: Connector,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), ConnectError> {
        let (queue, waiting) = mpsc::channel(STORE_READ_QUEUE_MAX);
        let gone = Gone::default();
        let first = open(&connector).await?;
        let reader = Reader { connector, clock, queue: waiting, gone: Arc::clone(&gone) };
        Ok((Self { queue, gone }, reader.run(first)))
    }

    /// Whether it answers.
    pub(super) fn is_up(&self) -> bool {
        self.gone.load().is_none()
    }

    /// Since when and why it does not.
    pub(super) fn away(&self) -> Option<Away> {
        self.gone.load().as_deref().cloned()
    }
}

/// A session with its statements.
async fn open(connector: &Connector) -> Result<(Session, Lookups), ConnectError> {
    let session = connector.connect().await?;
    let lookups = Lookups::prepare(&session.client).await?;
    Ok((session, lookups))
}

impl Reader {
    async fn run(mut self, first: (Session, Lookups)) {
        let (mut session, mut lookups) = first;
        loop {
            self.gone.store(None);
            let Err(why) = Box::pin(self.serve(session, &lookups)).await else { return };
            tracing::warn!(why, "a connection that reads is made anew");
            self.gone.store(Some(Arc::new(Away { since: self.clock.wall(), why })));
            let Some(again) = self.connect().await else { return };
            (session, lookups) = again;
        }
    }

    /// Connects, and refuses questions meanwhile. `None`: the store is closed.
    async fn connect(&mut self) -> Option<(Session, Lookups)> {
        let mut pause = Duration::from_millis(20);
        loop {
            let (wait, gone) = (pause, &self.gone);
            let attempt = async {
                match open(&self.connector).await {
                    Ok(opened) => return Some(opened),
                    Err(error) => {
                        let since =
                            gone.load().as_ref().map_or_else(|| self.clock.wall(), |it| it.since);
                        gone.store(Some(Arc::new(Away { since, why: error.to_string() })));
                    }
                }
                tokio::time::sleep(wait).await;
                None
            };
            tokio::pin!(attempt);
            let connected = loop {
                tokio::select! {
                    biased;
                    connected = &mut attempt => break connected,
                    question = self.queue.recv() => question?.refuse(StoreError::Unavailable),
                }
            };
            if connected.is_some() {
                return connected;
            }
            pause = (pause * 2).min(Duration::from_millis(STORE_RECONNECT_MS_MAX));
        }
    }

    /// Answers until the store is closed. `Err`: the connection broke.
    async fn serve(&mut self, mut session: Session, lookups: &Lookups) -> Result<(), String> {
        let mut waiting = Vec::with_capacity(STORE_READ_BATCH_MAX);
        let mut pace = Pace::new(Arc::clone(&self.clock));
        loop {
            pace.wait().await;
            tokio::select! {
                biased;
                taken = self.queue.recv_many(&mut waiting, STORE_READ_BATCH_MAX) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = session.ended() => return Err("the connection was closed".to_owned()),
            }
            pace.begin();
            let round = Round::of(waiting.drain(..));
            let limit = Duration::from_secs(STORE_READ_SECONDS);
            match tokio::time::timeout(limit, round.ask(&session.client, lookups)).await {
                Ok(Ok(answers)) => round.answer(&answers),
                Ok(Err(error)) => {
                    tracing::warn!(why = words(&error), "questions are refused by the database");
                    round.refuse(refusal(&error));
                    if !session_survives(&error) {
                        return Err(words(&error));
                    }
                }
                Err(_) => {
                    round.refuse(StoreError::Unavailable);
                    return Err("no answer in time".to_owned());
                }
            }
        }
    }
}
