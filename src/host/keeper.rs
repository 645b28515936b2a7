//! Keeps one connection of a node alive: look up, connect, serve, back off, again. The loop cannot die.
//!
//! A panic inside a connection ends that connection and is counted. While there is no connection, requests that come
//! end at once as not sent. **Never here:** what a connection says (`connection`).

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use socket2::TcpKeepalive;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::host::connection::{self, Closed};
use crate::host::job::Job;
use crate::host::node::Node;
use crate::host::pool::Shared;

/// Silence after which the kernel probes a peer that may be gone without a word.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Keeps connection `line` of `node` until told to stop.
pub(super) async fn keep(
    shared: Arc<Shared>,
    node: Arc<Node>,
    line: usize,
    mut jobs: mpsc::Receiver<Job>,
    stop: watch::Receiver<bool>,
) {
    let mut failures = 0_u32;
    while !*stop.borrow() {
        let once = AssertUnwindSafe(once(&shared, &node, line, &mut jobs, &stop));
        let closed = once.catch_unwind().await.unwrap_or(Closed::panicked());
        node.takes(line, false);
        node.connected(line, false);
        node.pending(line, 0);
        node.meters.closed(closed.why.label());
        let why = closed.why.to_string();
        tracing::info!(host = %node.name, why, "connection to a node ended");
        node.failed(why);
        failures = if closed.served { 0 } else { failures.saturating_add(1) };
        let wait = back_off(&shared, failures);
        let waited = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = told_to_stop(stop.clone()) => {}
            }
        };
        refusing(waited, &mut jobs).await;
    }
    jobs.close();
    while let Some(job) = jobs.recv().await {
        job.refuse();
    }
}

/// One attempt, and the connection's life when it comes up.
async fn once(
    shared: &Shared,
    node: &Arc<Node>,
    line: usize,
    jobs: &mut mpsc::Receiver<Job>,
    stop: &watch::Receiver<bool>,
) -> Closed {
    let attempt = async {
        tokio::select! {
            connected = tokio::time::timeout(shared.settings.connect_time, connect(&node.address)) => {
                Some(connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())))
            }
            () = told_to_stop(stop.clone()) => None,
        }
    };
    match refusing(attempt, jobs).await {
        Some(Ok(stream)) => {
            tracing::info!(host = %node.name, address = %node.address, "connected to a node");
            connection::run(shared, node, line, stream, jobs, told_to_stop(stop.clone())).await
        }
        Some(Err(error)) => Closed::not_connected(&error),
        None => Closed::stopped(),
    }
}

/// The name is looked up each time, since addresses move.
async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let alive = TcpKeepalive::new().with_time(KEEPALIVE);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&alive)?;
    Ok(stream)
}

/// Waits for something, and ends every job that comes meanwhile as not sent.
async fn refusing<T>(what: impl Future<Output = T>, jobs: &mut mpsc::Receiver<Job>) -> T {
    let mut what = pin!(what);
    loop {
        tokio::select! {
            done = &mut what => return done,
            Some(job) = jobs.recv() => job.refuse(),
        }
    }
}

/// Completes when the switch stops.
async fn told_to_stop(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Doubled with each failure up to the longest, and half of it at random, so that nodes are not all called at once.
fn back_off(shared: &Shared, failures: u32) -> Duration {
    let first = shared.settings.reconnect;
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(shared.settings.reconnect_max);
    let [random, ..] = shared.clock.random();
    wait / 2 + wait.mul_f64(f64::from(random) / 510.0)
}
