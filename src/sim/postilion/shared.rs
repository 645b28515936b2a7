//! The nodes while they run: the one lock around what they share, and starting and stopping their listeners.
//!
//! A stopped node has no listener and no connections; everybody who talked to it sees the connection end. **Never
//! here:** what is said on a connection (`connection`).
#![expect(
    clippy::disallowed_types,
    reason = "a simulator may lock: simple and fast enough, and nothing waits while it holds the lock"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::limits::CONNECTIONS_PER_LINK_MAX;
use crate::sim::postilion::connection;
use crate::sim::postilion::core::Core;

/// All nodes.
#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    places: Vec<Place>,
    connections: AtomicU64,
}

/// Where a node listens, and its listener while it runs.
#[derive(Debug)]
struct Place {
    address: SocketAddr,
    serving: Mutex<Option<Serving>>,
}

#[derive(Debug)]
struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held left counters half done at worst.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(core: Core, addresses: &[SocketAddr]) -> Arc<Self> {
        let place = |address: &SocketAddr| Place { address: *address, serving: Mutex::new(None) };
        let places = addresses.iter().map(place).collect();
        Arc::new(Self { core: Mutex::new(core), places, connections: AtomicU64::new(0) })
    }

    /// What the nodes share. Not to be held while waiting.
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }

    /// Where the nodes listen.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.places.iter().map(|place| place.address)
    }

    /// Whether node `index` listens.
    pub(super) fn is_up(&self, index: usize) -> bool {
        self.places.get(index).is_some_and(|place| lock(&place.serving).is_some())
    }

    /// Serves node `index` on a listener that is bound.
    pub(super) fn serve(self: &Arc<Self>, index: usize, listener: TcpListener) {
        let Some(place) = self.places.get(index) else { return };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(Arc::clone(self), index, listener, stopped));
        *lock(&place.serving) = Some(Serving { stop, task });
    }

    /// Starts node `index` again, on the address it had. Nothing happens if it runs.
    pub(super) async fn start(self: &Arc<Self>, index: usize) -> io::Result<()> {
        let Some(place) = self.places.get(index) else { return Ok(()) };
        if self.is_up(index) {
            return Ok(());
        }
        let listener = TcpListener::bind(place.address).await?;
        self.serve(index, listener);
        Ok(())
    }

    /// Stops node `index`: its port is closed and its connections are cut when this returns.
    pub(super) async fn stop(&self, index: usize) {
        let serving = self.places.get(index).and_then(|place| lock(&place.serving).take());
        if let Some(Serving { stop, task }) = serving {
            let _ = stop.send(());
            let _ = task.await;
        }
    }

    /// Stops every node without waiting for it.
    pub(super) fn stop_all(&self) {
        for place in &self.places {
            // The listener's task ends when its sender is gone.
            drop(lock(&place.serving).take());
        }
    }
}

async fn accept(
    shared: Arc<Shared>,
    index: usize,
    listener: TcpListener,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < CONNECTIONS_PER_LINK_MAX => {
                let id = shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection::serve(Arc::clone(&shared), index, id, stream));
            }
            Ok(_) => {}
            // Out of descriptors, or a peer that is gone already: the others may go on.
            Err(_) => tokio::task::yield_now().await,
        }
    }
    drop(listener);
    connections.shutdown().await;
}
