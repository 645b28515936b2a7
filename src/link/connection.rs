//! One connection: read what the socket holds, start every request, write answers as they finish.
//!
//! One wake-up does at most one read and one write at a time, however many frames they carry: batching is most of the
//! game (design.md "Performance"). Requests run side by side and finish in any order; nothing is spawned for them.
//! **Never here:** what a message means (`translate`), when to close (`session`), what a request does (`job`).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::domain::clock::Clock;
use crate::link::answer::{Closed, Wire};
use crate::link::job::{Done, serve};
use crate::link::listener::Link;
use crate::link::slots::Slots;
use crate::switch::Parts;

/// How often a connection looks at its timers: they are seconds, so one second is fine enough.
const TICK: Duration = Duration::from_secs(1);

/// Serves one connection until it ends. Answers of work under way are written before it closes on drain or end of
/// stream; on a broken stream they are lost, and a repeat finds them in the journal.
pub(super) async fn run<IO, P>(link: Arc<Link<P>>, mut io: IO, drain: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
    P: Parts,
{
    let clock = link.switch.clock();
    let mut wire = Wire::new(link.settings(), clock.now());
    let mut work = Slots::new();
    let mut tick = tokio::time::interval(TICK);
    let mut drain = pin!(told_to_drain(drain));
    let mut draining = false;
    // Messages that were read and found no place yet.
    let mut held = false;
    // Why the stream is no longer read, once it is not.
    let mut broken = Closed::Quietly;

    let closed = poll_fn(|cx| {
        if !draining && drain.as_mut().poll(cx).is_ready() {
            draining = true;
            wire.drain(clock.now());
        }
        while tick.poll_tick(cx).is_ready() {
            if let Err(closed) = wire.tick(link.settings(), clock.now()) {
                return Poll::Ready(closed);
            }
            work.shrink();
        }
        loop {
            // A peer that sends faster than we answer waits: what it sends is not gathered here.
            let full = held && !work.has_room();
            let read = if full { Poll::Pending } else { wire.poll_read(Pin::new(&mut io), cx) };
            let read = match read {
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(_)) => return Poll::Ready(Closed::Quietly),
                Poll::Pending => false,
            };
            if read || (held && work.has_room()) {
                let arrived = clock.now();
                held = true;
                while work.has_room() {
                    match wire.next_job(&link, arrived) {
                        Ok(Some(job)) => work.push(serve(&link, job)),
                        Ok(None) => {
                            held = false;
                            break;
                        }
                        // What was read before it is answered all the same.
                        Err(closed) => {
                            broken = closed;
                            held = false;
                            wire.read_no_more();
                            break;
                        }
                    }
                }
            }
            //= spec/pin-change.md#3.5
            //# Requests of one connection MAY be answered in any order.
            work.poll(cx, |done| wire.answer(&link, done));
            if let Poll::Ready(Err(_)) = wire.poll_write(Pin::new(&mut io), cx) {
                return Poll::Ready(Closed::Quietly);
            }
            if wire.finished(work.is_empty()) {
                return Poll::Ready(broken);
            }
            let more_held = held && work.has_room();
            if !read && !more_held {
                return Poll::Pending;
            }
        }
    })
    .await;
    if let Closed::Because(why) = closed {
        link.meters.rejected(why);
        tracing::info!(link = %link.name, why = why.label(), "connection closed");
    }
    drop(io);
    finish(&link, &mut wire, &mut work).await;
}

/// Nobody is left to hear it, but what was begun is finished: a change that is on its way to a host would be reversed
/// otherwise. A repeat finds the answer.
async fn finish<P: Parts, F: Future<Output = Done>>(
    link: &Link<P>,
    wire: &mut Wire,
    work: &mut Slots<F>,
) {
    poll_fn(|cx| {
        work.poll(cx, |done| wire.answer(link, done));
        if work.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Completes when the switch takes no more work.
pub(super) async fn told_to_drain(mut drain: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a drain as well.
    let _ = drain.wait_for(|draining| *draining).await;
}
