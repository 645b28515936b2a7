//! Keeps one connection of a device alive: look up, connect, shake hands, serve, back off, again. The loop cannot die.
//!
//! A panic inside a connection ends that connection and is counted. While there is no connection, commands that come
//! end at once. **Never here:** what a connection says (`connection`).

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};

use crate::hsm::payshield::client::connection::{self, Closed, Ending, Shared};
use crate::hsm::payshield::client::device::{Device, Ended, Job};
use crate::peer::{back_off, connect, told_to_stop};

/// Keeps connection `line` of `device` until told to stop.
pub(super) async fn keep(
    shared: Arc<Shared>,
    device: Arc<Device>,
    line: usize,
    mut jobs: mpsc::Receiver<Job>,
    stop: watch::Receiver<bool>,
) {
    let mut failures = 0_u32;
    let mut next = 0;
    while !*stop.borrow() {
        let once = AssertUnwindSafe(once(&shared, &device, (line, &mut next), &mut jobs, &stop));
        let panicked = Closed { why: Ending::Panicked, served: false };
        let closed = once.catch_unwind().await.unwrap_or(panicked);
        device.meters.closed(closed.why.label());
        let why = closed.why.to_string();
        tracing::info!(hsm = %device.settings.name, line, why, "connection to a device ended");
        device.failed(why);
        failures = if closed.served { 0 } else { failures.saturating_add(1) };
        let settings = &shared.settings;
        let [random, ..] = shared.clock.random();
        let wait = back_off(settings.reconnect, settings.reconnect_max, failures, random);
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
        job.waiter.end(Ended::Broken);
    }
}

/// One attempt, and the connection's life when it comes up.
async fn once(
    shared: &Shared,
    device: &Arc<Device>,
    line: (usize, &mut u64),
    jobs: &mut mpsc::Receiver<Job>,
    stop: &watch::Receiver<bool>,
) -> Closed {
    let closed = |why| Closed { why, served: false };
    let told = || told_to_stop(stop.clone());
    let attempt = within(device, connect(&device.settings.address), told());
    let stream = match refusing(attempt, jobs).await {
        Ok(stream) => stream,
        Err(why) => return closed(why),
    };
    let Some(tls) = &device.settings.tls else {
        return connection::run(shared, device, line, stream, jobs, told()).await;
    };
    match refusing(within(device, tls.connect(stream), told()), jobs).await {
        Ok(stream) => connection::run(shared, device, line, stream, jobs, told()).await,
        Err(why) => closed(why),
    }
}

/// Waits for something that has the time of connecting, unless we stop.
async fn within<T>(
    device: &Device,
    what: impl Future<Output = std::io::Result<T>>,
    stop: impl Future<Output = ()>,
) -> Result<T, Ending> {
    let failed = |error: std::io::Error| Ending::NotConnected(error.kind());
    tokio::select! {
        done = tokio::time::timeout(device.settings.connect_time, what) => match done {
            Ok(done) => done.map_err(failed),
            Err(_) => Err(Ending::NotConnected(std::io::ErrorKind::TimedOut)),
        },
        () = stop => Err(Ending::Stopped),
    }
}

/// Waits for something, and ends every command that comes meanwhile.
async fn refusing<T>(what: impl Future<Output = T>, jobs: &mut mpsc::Receiver<Job>) -> T {
    let mut what = pin!(what);
    loop {
        tokio::select! {
            done = &mut what => return done,
            Some(job) = jobs.recv() => job.waiter.end(Ended::Broken),
        }
    }
}
