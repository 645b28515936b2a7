//! Keeps one connection of a node alive: look up, connect, serve, back off, again. The loop cannot die.
//!
//! A panic inside a connection ends that connection and is counted. While there is no connection, requests that come
//! end at once as not sent. **Never here:** what a connection says (`connection`).

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};

use crate::host::connection::{self, Closed};
use crate::host::job::Job;
use crate::host::node::Node;
use crate::host::pool::Shared;
use crate::host::settings::Settings;
use crate::peer::{back_off, connect, told_to_stop};

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
        let Settings { reconnect, reconnect_max, .. } = shared.settings;
        let [random, ..] = shared.clock.random();
        let wait = back_off(reconnect, reconnect_max, failures, random);
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
