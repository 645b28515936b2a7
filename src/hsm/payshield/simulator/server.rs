//! The ports of a simulated device: TCP, and connections up to a number.
//!
//! The first port works with the default LMK, the ones after it with LMK 00, 01 and so on, as 1500, 1501, 1502 do;
//! `%nn` in a command chooses on any port. A connection is never closed for what it sends. **Never here:** what a
//! command is answered (`device`), how a connection is read and written (`connection`).
#![expect(
    clippy::disallowed_types,
    reason = "a simulator may lock: the dice are one, and nothing waits while it holds the lock"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::hsm::payshield::simulator::admin;
use crate::hsm::payshield::simulator::connection::converse;
use crate::hsm::payshield::simulator::device::{Device, Setup};
use crate::hsm::payshield::simulator::fault::{Chance, Fate, FaultError, FaultRules};
use crate::hsm::payshield::wire::message::Opening;
use crate::hsm::payshield::wire::{ErrorCode, Scratch, frame};
use crate::limits::{CONNECTIONS_PER_LINK_MAX, SIM_NODES_MAX};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ports: the first for the default LMK, then one for each LMK.
    pub listen: Vec<SocketAddr>,
    /// Where faults are told, if anywhere: JSON over HTTP.
    pub admin: Option<SocketAddr>,
    /// The device.
    pub setup: Setup,
    /// Faults from the start.
    pub faults: FaultRules,
    /// Seed of the faults.
    pub seed: u64,
    /// Whether it may listen on other than loopback addresses.
    pub allow_remote: bool,
}

impl Options {
    /// A device with the published variant test LMK and a header of 4.
    #[must_use]
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            admin: None,
            setup: Setup::default(),
            faults: FaultRules::default(),
            seed: 1,
            allow_remote: false,
        }
    }
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be bound.
    #[error("{address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Faults make no sense.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// How many LMKs there may be.
    #[error("1 to {SIM_NODES_MAX} LMKs")]
    Lmks,
    /// How many ports there may be.
    #[error("1 to {max} ports: one for the default LMK, then one for each of the {lmks} LMKs")]
    Ports {
        /// The most.
        max: usize,
        /// LMKs.
        lmks: usize,
    },
    /// It would be open to others.
    #[error("{address}: not loopback; everybody knows its keys, so that must be allowed")]
    Remote {
        /// The address.
        address: SocketAddr,
    },
    /// A header or a PIN length that no device has.
    #[error("a header of 1 to 255 characters, PINs under the LMK of 5 to 13")]
    Settings,
    /// How many connections there may be.
    #[error("1 to {CONNECTIONS_PER_LINK_MAX} connections")]
    Sockets,
}

/// Device, dice, counters.
#[derive(Debug)]
pub(super) struct Shared {
    device: Device,
    chance: Mutex<Chance>,
    /// No fault is told: no dice are thrown.
    honest: AtomicBool,
    /// Connections there are, and may be.
    open: AtomicUsize,
    sockets: usize,
    /// Frames that came.
    pub(super) commands: AtomicU64,
    /// Writes that answers went out with.
    pub(super) writes: AtomicU64,
    /// Connections that were one too many.
    pub(super) refused: AtomicU64,
}

/// One of the connections a device has.
struct Socket(Arc<Shared>);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Tells faults.
    pub(super) fn tell(&self, rules: FaultRules) -> Result<(), FaultError> {
        rules.check()?;
        let honest = rules == FaultRules::default();
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).set(rules);
        self.honest.store(honest, Ordering::Relaxed);
        Ok(())
    }

    /// What happens to a command.
    pub(super) fn fate(&self, body: &[u8]) -> Fate {
        if self.honest.load(Ordering::Relaxed) {
            return Fate::default();
        }
        let code = Opening::of(body, self.device.settings(), &mut Scratch::default()).code;
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).next(code)
    }

    /// Appends the frame that answers a frame's body.
    pub(super) fn answer(
        &self,
        lmk: u8,
        body: &[u8],
        error: Option<ErrorCode>,
        out: &mut BytesMut,
    ) {
        let filled = frame::put(out, |out| match error {
            Some(error) => self.device.refuse(body, error, out),
            None => self.device.answer(lmk, body, out),
        });
        // A body that fitted a frame has an answer that does, but for its two characters of error.
        if filled.is_err() {
            let _ = frame::put(out, |out| self.device.refuse(body, ErrorCode::DATA_LENGTH, out));
        }
    }

    /// Takes a connection, if there is one left.
    fn socket(self: &Arc<Self>) -> Option<Socket> {
        let socket = Socket(Arc::clone(self));
        if self.open.fetch_add(1, Ordering::Relaxed) < self.sockets {
            return Some(socket);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// A simulator that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    ports: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where it listens, in the order that was asked for.
    #[must_use]
    pub fn ports(&self) -> &[SocketAddr] {
        &self.ports
    }

    /// Where the admin port listens.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Tells faults from now on, as `POST /faults` does.
    ///
    /// # Errors
    /// [`FaultError`] if the rules make no sense.
    pub fn tell(&self, rules: FaultRules) -> Result<(), FaultError> {
        self.shared.tell(rules)
    }

    /// Stops everything; ports are free when it returns.
    pub async fn stop(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn bind(address: SocketAddr) -> Result<(SocketAddr, TcpListener), StartError> {
    let failed = |source| StartError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}

/// Starts it on the runtime it is called from: every port is bound, or nothing is.
///
/// # Errors
/// [`StartError`] says what to change.
pub async fn start(options: Options) -> Result<Running, StartError> {
    let lmks = options.setup.lmks.len();
    if !(1..=SIM_NODES_MAX).contains(&lmks) {
        return Err(StartError::Lmks);
    }
    if !(1..=lmks + 1).contains(&options.listen.len()) {
        return Err(StartError::Ports { max: lmks + 1, lmks });
    }
    let settings = options.setup.settings;
    if !(1..=255).contains(&settings.header) || !(5..=13).contains(&settings.pin_digits) {
        return Err(StartError::Settings);
    }
    let sockets = options.setup.sockets;
    if !(1..=CONNECTIONS_PER_LINK_MAX).contains(&sockets) {
        return Err(StartError::Sockets);
    }
    let mut all = options.listen.iter().chain(&options.admin);
    if let Some(address) = all.find(|a| !a.ip().is_loopback()).filter(|_| !options.allow_remote) {
        return Err(StartError::Remote { address: *address });
    }
    options.faults.check()?;
    let mut listeners = Vec::new();
    for address in &options.listen {
        listeners.push(bind(*address).await?);
    }
    let shared = Arc::new(Shared {
        device: Device::new(&options.setup),
        honest: AtomicBool::new(options.faults == FaultRules::default()),
        chance: Mutex::new(Chance::new(options.faults, options.seed)),
        open: AtomicUsize::new(0),
        sockets,
        commands: AtomicU64::new(0),
        writes: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let mut running =
        Running { shared: Arc::clone(&shared), ports: Vec::new(), admin: None, tasks: Vec::new() };
    if let Some(address) = options.admin {
        let (address, listener) = bind(address).await?;
        let server = axum::serve(listener, admin::router(Arc::clone(&shared)));
        running.tasks.push(tokio::spawn(async { drop(server.await) }));
        running.admin = Some(address);
    }
    for (index, (address, listener)) in (0_u8..).zip(listeners) {
        // The default LMK is 00.
        let lmk = index.saturating_sub(1);
        running.ports.push(address);
        running.tasks.push(tokio::spawn(accept(Arc::clone(&shared), lmk, listener)));
    }
    Ok(running)
}

async fn accept(shared: Arc<Shared>, lmk: u8, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                // One too many is closed: a device refuses it.
                if let Some(socket) = shared.socket() {
                    connections.spawn(async move { drop(converse(&socket.0, lmk, stream).await) });
                }
            }
            // Out of descriptors, or a peer that is gone already: the others may go on.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
