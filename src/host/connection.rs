//! One connection to a node: takes requests, writes them together, reads answers, ends waiters. One poll loop.
//!
//! One wake-up appends every waiting request to one buffer and writes once; it reads as many frames as the socket
//! holds. There is one timer, armed for the earliest thing that can happen. **Never here:** connecting (`keeper`), what
//! a message says (`wire`).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::domain::clock::Now;
use crate::host::job::Job;
use crate::host::node::Node;
use crate::host::pool::Shared;
use crate::host::session::{Event, Why};
use crate::host::wire::Wire;
use crate::iso8583::Layout;
use crate::iso8583::frame::FrameError;

/// The shortest time a timer is armed for.
const GRAIN: Duration = Duration::from_millis(1);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) why: Ending,
    /// It has taken requests.
    pub(super) served: bool,
}

/// Why a connection ended: its word is a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ending {
    /// It never came up.
    #[error("the node could not be reached: {0}; check its address, and that it listens")]
    NotConnected(std::io::ErrorKind),
    /// The node closed it, or it broke.
    #[error("the node closed the connection, or it broke: {0}")]
    Broken(std::io::ErrorKind),
    /// The stream has lost its place.
    #[error("{0}")]
    Framing(FrameError),
    /// The node does not read.
    #[error("the node took no bytes for too long")]
    SlowReader,
    /// The node refused our sign-on.
    #[error("the node refused our sign-on: ask its operator")]
    SignOnRefused,
    /// The node said nothing.
    #[error("the node answered neither a network message nor anything else in time")]
    Silent,
    /// The node left a frame half sent.
    #[error("the node began a frame and did not complete it in time")]
    HalfFrame,
    /// A fault of ours.
    #[error("a fault of our own ended the connection: see the log, and report it")]
    Panicked,
    /// We stop.
    #[error("we stop")]
    Stopped,
}

impl Ending {
    /// The label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::NotConnected(_) => "not_connected",
            Self::Broken(_) => "broken",
            Self::Framing(_) => "framing",
            Self::SlowReader => "slow_reader",
            Self::SignOnRefused => "sign_on_refused",
            Self::Silent => "silent",
            Self::HalfFrame => "half_frame",
            Self::Panicked => "panic",
            Self::Stopped => "stopped",
        }
    }
}

impl From<Why> for Ending {
    fn from(why: Why) -> Self {
        match why {
            Why::SignOnRefused => Self::SignOnRefused,
            Why::Silent => Self::Silent,
            Why::HalfFrame => Self::HalfFrame,
            Why::Drained => Self::Stopped,
        }
    }
}

impl Closed {
    pub(super) const fn panicked() -> Self {
        Self { why: Ending::Panicked, served: false }
    }

    pub(super) const fn stopped() -> Self {
        Self { why: Ending::Stopped, served: false }
    }

    pub(super) fn not_connected(error: &std::io::Error) -> Self {
        Self { why: Ending::NotConnected(error.kind()), served: false }
    }
}

/// Serves one connection until it ends. Whatever waits for it then has been told.
pub(super) async fn run<IO>(
    shared: &Shared,
    node: &Arc<Node>,
    line: usize,
    mut io: IO,
    jobs: &mut mpsc::Receiver<Job>,
    stop: impl Future<Output = ()>,
) -> Closed
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(shared, node, line);
    let mut layout = Layout::new();
    let mut stop = pin!(stop);
    let mut stopping = false;
    let mut sleep = pin!(tokio::time::sleep(Now::ZERO));
    let mut armed = Now::ZERO;
    let mut started = false;

    let why = poll_fn(|cx| {
        let mut now = shared.clock.now();
        if !started {
            started = true;
            if let Err(why) = wire.event(now, Event::Connected) {
                return Poll::Ready(why);
            }
        }
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            if let Err(why) = wire.event(now, Event::Drain) {
                return Poll::Ready(why);
            }
        }
        if let Err(why) = wire.tick(now) {
            return Poll::Ready(why);
        }
        loop {
            let read = match wire.poll_read(Pin::new(&mut io), cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(Ending::Broken(error.kind())),
                Poll::Pending => false,
            };
            if read {
                now = shared.clock.now();
                if let Err(why) = wire.read_frames(now, &mut layout) {
                    return Poll::Ready(why);
                }
            }
            wire.poll_keys(cx, &mut layout);
            while let Poll::Ready(Some(job)) = jobs.poll_recv(cx) {
                if wire.is_batch()
                    && let Poll::Ready(Err(error)) = wire.poll_write(Pin::new(&mut io), cx, now)
                {
                    job.refuse();
                    return Poll::Ready(Ending::Broken(error.kind()));
                }
                wire.take(job, now, &mut layout);
            }
            if let Poll::Ready(Err(error)) = wire.poll_write(Pin::new(&mut io), cx, now) {
                return Poll::Ready(Ending::Broken(error.kind()));
            }
            if stopping && wire.is_idle() {
                if let Err(why) = wire.event(now, Event::Idle) {
                    return Poll::Ready(why);
                }
                // The sign-off is written by the next round.
                if !wire.is_idle() {
                    continue;
                }
            }
            if !read {
                break;
            }
        }
        wire.note_pending();
        arm(sleep.as_mut(), &mut armed, cx, now, wire.wake_at());
        Poll::Pending
    })
    .await;
    Closed { why, served: wire.has_served() }
}

/// Has the task woken at `at` at the latest. What is armed for an earlier time stays: it wakes once for nothing, which
/// is cheaper than to arm a timer with every request.
fn arm(mut sleep: Pin<&mut Sleep>, armed: &mut Now, cx: &mut Context<'_>, now: Now, at: Now) {
    if at < *armed || sleep.as_mut().poll(cx).is_ready() {
        // Never shorter than the timer's own grain: a deadline just missed does not spin.
        let wait = at.saturating_sub(now).max(GRAIN);
        *armed = now + wait;
        sleep.set(tokio::time::sleep(wait));
        // Registers the task; a millisecond is not over yet.
        let _ = sleep.as_mut().poll(cx);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::oneshot;

    use super::*;
    use crate::domain::forward::{HostId, Stan};
    use crate::host::Booking;
    use crate::host::job::{Ended, Outgoing, Place, Waiter};
    use crate::host::settings::Settings;
    use crate::host::stan::Stans;
    use crate::host::testing::{Request, settings, world};
    use crate::host::write::Form;
    use crate::peer::breaker::Pass;

    struct Bench {
        shared: Shared,
        node: Arc<Node>,
        jobs: (mpsc::Sender<Job>, mpsc::Receiver<Job>),
    }

    fn bench(change: impl FnOnce(&mut Settings)) -> Bench {
        let mut settings = settings(&["nowhere".to_owned()]);
        settings.sign_on = false;
        change(&mut settings);
        let (clock, taker) = world();
        let jobs = mpsc::channel(8);
        let node = Node::new(HostId(0), &settings.nodes[0], settings.breaker, vec![jobs.0.clone()]);
        let stans = Stans::after(&settings.stans, None);
        let shared = Shared { settings, clock, taker, stans };
        Bench { shared, node: Arc::new(node), jobs }
    }

    impl Bench {
        /// A change on its way, and what tells its end.
        fn job(&self, number: u32) -> (Job, oneshot::Receiver<Ended>) {
            let stan = Stan(number);
            let now = self.shared.clock.now();
            let pass = self.node.enter(now, usize::MAX).unwrap();
            let place = Place { node: Arc::clone(&self.node), stan, pass, used: false };
            let request = Request::new(1, Booking { host: HostId(0), stan });
            let message = Form::new(&self.shared.settings).unwrap().change(&request.forward());
            let (tell, told) = oneshot::channel();
            let outgoing = Outgoing {
                message: message.unwrap(),
                switch_key: request.key,
                deadline: now + self.shared.settings.request_time,
                waiter: Waiter { tell, place },
            };
            assert_eq!(pass, Pass::Usual);
            (Job::Send(outgoing), told)
        }

        async fn run(&mut self, io: DuplexStream) -> Closed {
            run(&self.shared, &self.node, 0, io, &mut self.jobs.1, pending()).await
        }
    }

    /// The pipe takes a few bytes of the first request and none of the second: the first may have arrived.
    #[tokio::test]
    async fn a_broken_connection_tells_sent_from_not_sent() {
        let mut bench = bench(|_| {});
        let (ours, theirs) = duplex(10);
        let (first, mut told_first) = bench.job(1);
        let (second, mut told_second) = bench.job(2);
        bench.jobs.0.try_send(first).unwrap();
        bench.jobs.0.try_send(second).unwrap();
        let closing = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(theirs);
        };
        let (closed, ()) = tokio::join!(bench.run(ours), closing);
        assert!(matches!(closed.why, Ending::Broken(_)), "{closed:?}");
        assert_eq!(told_first.try_recv(), Ok(Ended::Unanswered));
        assert_eq!(told_second.try_recv(), Ok(Ended::Unsent));
        assert_eq!(bench.node.outstanding(), 0);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_closed_and_deadlines_hold() {
        let mut bench = bench(|_| {});
        let (ours, _theirs) = duplex(10);
        let (first, told) = bench.job(1);
        bench.jobs.0.try_send(first).unwrap();
        let clock = Arc::clone(&bench.shared.clock);
        let told = async {
            let ended = told.await;
            (ended, clock.now())
        };
        let (closed, (ended, at)) = tokio::join!(bench.run(ours), told);
        assert_eq!(closed.why, Ending::SlowReader);
        assert_eq!(
            ended,
            Ok(Ended::Unanswered),
            "its bytes may leave as long as the connection lives"
        );
        let allowed = Duration::from_millis(400)..Duration::from_secs(1);
        assert!(allowed.contains(&at), "{at:?}");
    }

    #[tokio::test]
    async fn a_half_frame_has_its_time_and_silence_ends_it() {
        let mut one = bench(|_| {});
        let (ours, mut theirs) = duplex(4096);
        theirs.write_all(&[0, 100, b'0']).await.unwrap();
        let (closed, _theirs) = tokio::join!(one.run(ours), async { theirs });
        assert_eq!(closed.why, Ending::HalfFrame);
        let spent = one.shared.clock.now();
        assert!(Duration::from_secs(1) <= spent, "{spent:?}");

        let mut one = bench(|settings| settings.sign_on = true);
        let (ours, theirs) = duplex(4096);
        let (closed, mut theirs) = tokio::join!(one.run(ours), async { theirs });
        assert_eq!((closed.why, closed.served), (Ending::Silent, false));
        let mut written = Vec::new();
        theirs.read_to_end(&mut written).await.unwrap();
        assert_eq!(&written[2..6], b"0800");
    }

    #[tokio::test]
    async fn a_key_in_use_is_refused_unsent() {
        let mut bench = bench(|_| {});
        let (ours, _theirs) = duplex(4096);
        let (first, mut told_first) = bench.job(7);
        let (again, told_again) = bench.job(7);
        bench.jobs.0.try_send(first).unwrap();
        bench.jobs.0.try_send(again).unwrap();
        let told = tokio::select! {
            _ = bench.run(ours) => panic!("closed"),
            told = told_again => told,
        };
        assert_eq!(told, Ok(Ended::Unsent));
        assert_eq!(told_first.try_recv(), Ok(Ended::Unanswered), "the connection was dropped");
    }
}
