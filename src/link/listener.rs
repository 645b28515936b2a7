//! [`Link`]: one configured listener, its bounds and its connections.
//!
//! **Never here:** what a connection says. Where next: `connection`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::link::connection;
use crate::link::meters::{Meters, Rejected};
use crate::link::settings::Settings;
use crate::switch::{Parts, Switch};

/// Connections the kernel may hold for us before we accept them.
const BACKLOG: i32 = 1024;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Silence after which the kernel probes a peer that may be gone without a word.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// One configured listener and what its connections share.
pub struct Link<P: Parts> {
    pub(super) name: Arc<str>,
    pub(super) switch: Arc<Switch<P>>,
    pub(super) meters: Meters,
    settings: ArcSwap<Settings>,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
}

/// Tells every connection to finish its work and close.
pub type Drain = watch::Receiver<bool>;

impl<P: Parts> Link<P> {
    /// A link that does not listen yet.
    pub fn new(settings: Settings, switch: Arc<Switch<P>>) -> Self {
        Self {
            name: settings.name.clone(),
            switch,
            meters: Meters::new(settings.name.clone()),
            settings: ArcSwap::from_pointee(settings),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Replaces rights, bounds and keys. Address, dialect and framing of a running listener stay as they are.
    pub fn reload(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self, settings: &Settings) -> bool {
        self.in_flight() < settings.in_flight_max
    }

    fn admits(&self, peer: IpAddr) -> Result<(), Rejected> {
        let settings = self.settings.load();
        if !settings.allow.is_empty() && !settings.allow.iter().any(|net| net.contains(&peer)) {
            return Err(Rejected::NotAllowed);
        }
        if settings.connections_max <= self.connections() {
            return Err(Rejected::TooManyConnections);
        }
        Ok(())
    }
}

/// A request in flight. Leaving scope ends it, also when its connection breaks.
pub(super) struct InFlight<'a> {
    count: &'a AtomicUsize,
    gauge: &'a metrics::Gauge,
}

impl<'a> InFlight<'a> {
    pub(super) fn enter<P: Parts>(link: &'a Link<P>) -> Self {
        link.in_flight.fetch_add(1, Ordering::Relaxed);
        link.meters.in_flight.increment(1);
        Self { count: &link.in_flight, gauge: &link.meters.in_flight }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1);
    }
}

/// Binds a listener: address reuse, so that a restart need not wait for old connections to fade.
///
/// # Errors
/// As the operating system reports them.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until told to drain, then waits for its connections to finish.
pub async fn serve<P: Parts>(link: Arc<Link<P>>, listener: TcpListener, drain: Drain) {
    let mut told = pin!(connection::told_to_drain(drain.clone()));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match link.admits(peer.ip()) {
                    Ok(()) => {
                        connections.spawn(connection(link.clone(), stream, drain.clone()));
                    }
                    Err(why) => link.meters.rejected(why),
                },
                Err(error) => {
                    // Out of file descriptors, most often: accepting again at once would only spin.
                    tracing::warn!(link = %link.name, %error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = &mut told => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection<P: Parts>(link: Arc<Link<P>>, stream: TcpStream, drain: Drain) {
    let _place = Connected::enter(&link);
    let settings = link.settings();
    let alive = TcpKeepalive::new().with_time(KEEPALIVE);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket2::SockRef::from(&stream).set_tcp_keepalive(&alive));
    if tuned.is_err() {
        return;
    }
    let Some(tls) = &settings.tls else {
        return connection::run(link.clone(), stream, drain).await;
    };
    match tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => connection::run(link.clone(), stream, drain).await,
        Ok(Err(error)) => {
            link.meters.rejected(Rejected::Handshake);
            tracing::info!(link = %link.name, %error, "TLS handshake failed");
        }
        Err(_) => link.meters.rejected(Rejected::Handshake),
    }
}

/// A connection that is up. Leaving scope ends it.
struct Connected<'a> {
    count: &'a AtomicUsize,
    gauge: &'a metrics::Gauge,
}

impl<'a> Connected<'a> {
    fn enter<P: Parts>(link: &'a Link<P>) -> Self {
        link.connections.fetch_add(1, Ordering::Relaxed);
        link.meters.connections.increment(1);
        Self { count: &link.connections, gauge: &link.meters.connections }
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1);
    }
}
