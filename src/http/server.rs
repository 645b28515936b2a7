//! The listener of the doors: connections with their bounds, TLS, and the drain.
//!
//! **Never here:** what a request says (`request`).

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::client::Clients;
use crate::http::door::{Door, Refusal};
use crate::http::meters::Meters;
use crate::http::routes;
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_STREAMS_MAX};
use crate::switch::{Parts, Switch};
use crate::tls::Tls;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often an HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// The protocols of a listener with TLS, the liked one first.
pub const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// What the listener of the doors is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens. It changes with a restart only.
    pub listen: SocketAddr,
    /// TLS; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Connections it may hold. Further ones are closed at once.
    pub connections_max: usize,
    /// Requests a door may have in flight. Further ones are shed.
    pub in_flight_max: usize,
    /// Silence after which a connection is closed, and the time a head may take.
    pub idle: Duration,
    /// How long a request may take.
    pub request_time: Duration,
    /// A request that takes longer is logged.
    pub slow_request: Duration,
}

/// The doors of one node.
pub struct Http<P: Parts> {
    pub(super) switch: Arc<Switch<P>>,
    settings: ArcSwap<Settings>,
    clients: ArcSwap<Clients>,
    doors: [DoorState; Door::ALL.len()],
    connections: AtomicUsize,
}

struct DoorState {
    meters: Meters,
    in_flight: AtomicUsize,
}

impl<P: Parts> Http<P> {
    /// Doors that do not listen yet.
    #[must_use]
    pub fn new(settings: Settings, clients: Clients, switch: Arc<Switch<P>>) -> Self {
        Self {
            switch,
            settings: ArcSwap::from_pointee(settings),
            clients: ArcSwap::from_pointee(clients),
            doors: Door::ALL.map(|door| DoorState {
                meters: Meters::new(door),
                in_flight: AtomicUsize::new(0),
            }),
            connections: AtomicUsize::new(0),
        }
    }

    /// Replaces bounds and certificates. The address of a running listener stays as it is.
    pub fn reload(&self, settings: Settings, clients: Clients) {
        self.settings.store(Arc::new(settings));
        self.clients.store(Arc::new(clients));
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The clients in force.
    pub fn clients(&self) -> Arc<Clients> {
        self.clients.load_full()
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests of a door in flight now.
    pub fn in_flight(&self, door: Door) -> usize {
        self.state(door).in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn meters(&self, door: Door) -> &Meters {
        &self.state(door).meters
    }

    fn state(&self, door: Door) -> &DoorState {
        let [latam, apac, postcard, p100, equals] = &self.doors;
        match door {
            Door::FirstvisionLatam => latam,
            Door::FirstvisionApac => apac,
            Door::Postcard => postcard,
            Door::P100 => p100,
            Door::Equals => equals,
        }
    }
}

/// A request in flight. Leaving scope ends it, also when its connection breaks.
pub(super) struct InFlight<'a>(&'a DoorState);

impl<'a> InFlight<'a> {
    pub(super) fn enter<P: Parts>(
        http: &'a Http<P>,
        door: Door,
        settings: &Settings,
    ) -> Result<Self, Refusal> {
        let state = http.state(door);
        state.meters.in_flight.increment(1);
        let place = Self(state);
        if settings.in_flight_max <= state.in_flight.fetch_add(1, Ordering::Relaxed) {
            state.meters.shed.increment(1);
            return Err(Refusal::Shed);
        }
        Ok(place)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.meters.in_flight.decrement(1);
    }
}

/// Accepts until told to drain, then lets every connection finish its requests.
pub async fn serve<P: Parts>(
    http: Arc<Http<P>>,
    listener: TcpListener,
    drain: watch::Receiver<bool>,
) {
    let router = routes::router(&http);
    let mut told = pin!(told(drain.clone()));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let settings = http.settings();
                    if http.connections() < settings.connections_max {
                        let (http, router) = (Arc::clone(&http), router.clone());
                        connections.spawn(connection(http, settings, router, stream, drain.clone()));
                    }
                }
                Err(error) => {
                    // Out of file descriptors, most often: accepting again at once would only spin.
                    tracing::warn!(link = "http", %error, "accept failed");
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

async fn told(mut drain: watch::Receiver<bool>) {
    // A sender that is gone will not tell any more: the node ends.
    let _ = drain.wait_for(|told| *told).await;
}

async fn connection<P: Parts>(
    http: Arc<Http<P>>,
    settings: Arc<Settings>,
    router: Router,
    stream: TcpStream,
    drain: watch::Receiver<bool>,
) {
    let _place = Connected::enter(&http.connections);
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(tls) = &settings.tls else {
        return speak(&settings, router, stream, told(drain)).await;
    };
    match tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => speak(&settings, router, stream, told(drain)).await,
        Ok(Err(error)) => tracing::info!(link = "http", %error, "TLS handshake failed"),
        Err(_) => tracing::info!(link = "http", "TLS handshake took too long"),
    }
}

/// Serves one connection until it ends; told to drain, it takes no further request.
async fn speak<S>(settings: &Settings, router: Router, stream: S, told: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle)
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .max_headers(HTTP_HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .max_concurrent_streams(HTTP_STREAMS_MAX)
        .max_header_list_size(u32::try_from(HTTP_HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    let builder = if settings.tls.is_some() { builder } else { builder.http1_only() };
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut told = pin!(told);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = &mut told => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(link = "http", %error, "connection ended");
    }
}

/// A connection that is up. Leaving scope ends it.
struct Connected<'a>(&'a AtomicUsize);

impl<'a> Connected<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
