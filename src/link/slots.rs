//! [`Slots`]: the requests of one connection that are under way, each in a place that is used again.
//!
//! It is what `FuturesUnordered` is, without an allocation and a list node a request: a future goes into a place that
//! an earlier one has left, a wake-up sets one bit, and polling looks at the bits. **Never here:** what a request does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

use crate::limits::IN_FLIGHT_PER_LINK_MAX;

/// Places one word of bits stands for.
const PLACES_A_WORD: usize = 64;
/// Places that stay when nothing is under way; the others are given back.
const PLACES_KEPT: usize = 64;

const _: () = assert!(IN_FLIGHT_PER_LINK_MAX.is_multiple_of(PLACES_A_WORD), "words are whole");

/// Futures under way.
pub(super) struct Slots<F> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    bell: Arc<Bell>,
}

struct Place<F> {
    future: Pin<Box<Option<F>>>,
    waker: Waker,
}

/// Which places are to be polled, and whom to tell.
struct Bell {
    woken: [AtomicU64; IN_FLIGHT_PER_LINK_MAX / PLACES_A_WORD],
    owner: AtomicWaker,
}

/// The waker of one place.
struct Ring {
    bell: Arc<Bell>,
    word: usize,
    bit: u64,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Whoever set the bit first has told the owner, who clears it before it polls.
        if self.bell.woken[self.word].fetch_or(self.bit, Ordering::AcqRel) & self.bit == 0 {
            self.bell.owner.wake();
        }
    }
}

impl<F: Future> Slots<F> {
    pub(super) fn new() -> Self {
        let woken = std::array::from_fn(|_| AtomicU64::new(0));
        let bell = Arc::new(Bell { woken, owner: AtomicWaker::new() });
        Self { places: Vec::new(), free: Vec::new(), bell }
    }

    /// Whether another future has a place.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.places.len() < IN_FLIGHT_PER_LINK_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Takes a future in, to be polled by the next [`Slots::poll`].
    ///
    /// # Panics
    /// Without [`Slots::has_room`].
    pub(super) fn push(&mut self, future: F) {
        assert!(self.has_room(), "whoever pushes has asked for room");
        let at = self.free.pop().unwrap_or_else(|| self.grow());
        self.places[at].future.set(Some(future));
        let bit = 1 << (at % PLACES_A_WORD);
        self.bell.woken[at / PLACES_A_WORD].fetch_or(bit, Ordering::Relaxed);
    }

    fn grow(&mut self) -> usize {
        let at = self.places.len();
        let (word, bit) = (at / PLACES_A_WORD, 1 << (at % PLACES_A_WORD));
        let waker = Waker::from(Arc::new(Ring { bell: Arc::clone(&self.bell), word, bit }));
        self.places.push(Place { future: Box::pin(None), waker });
        at
    }

    /// Polls what was woken and hands over what is finished. The context's task is woken for the rest.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, mut finished: impl FnMut(F::Output)) {
        // First, so that a bit set from here on is told.
        self.bell.owner.register(cx.waker());
        let words = self.places.len().div_ceil(PLACES_A_WORD);
        for (word, woken) in self.bell.woken.iter().enumerate().take(words) {
            if woken.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = woken.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let at = word * PLACES_A_WORD + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                // A waker may ring after its future is gone: the place is then empty, or another's, which is
                // polled once for nothing.
                let Some(place) = self.places.get_mut(at) else { continue };
                let Some(future) = place.future.as_mut().as_pin_mut() else { continue };
                if let Poll::Ready(output) = future.poll(&mut Context::from_waker(&place.waker)) {
                    place.future.set(None);
                    self.free.push(at);
                    finished(output);
                }
            }
        }
    }

    /// Gives places back that a burst has left.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && PLACES_KEPT < self.places.len() {
            self.places.truncate(PLACES_KEPT);
            self.free.clear();
            self.free.extend(0..PLACES_KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::oneshot;

    use super::*;

    async fn next<F: Future>(slots: &mut Slots<F>) -> Vec<F::Output> {
        poll_fn(|cx| {
            let mut done = Vec::new();
            slots.poll(cx, |output| done.push(output));
            if done.is_empty() { Poll::Pending } else { Poll::Ready(done) }
        })
        .await
    }

    #[tokio::test]
    async fn futures_finish_in_any_order_and_leave_their_places() {
        let mut slots = Slots::new();
        let mut senders = Vec::new();
        for number in 0..200 {
            let (sender, receiver) = oneshot::channel::<u32>();
            senders.push(sender);
            slots.push(async move { receiver.await.unwrap_or(0) + number });
        }
        assert_eq!(slots.places.len(), 200);
        // From another thread, from the last to the first.
        let other = std::thread::spawn(move || {
            for sender in senders.into_iter().rev() {
                sender.send(1000).unwrap();
            }
        });
        let mut sum = 0;
        while !slots.is_empty() {
            sum += next(&mut slots).await.into_iter().sum::<u32>();
        }
        other.join().unwrap();
        assert_eq!(sum, 200 * 1000 + (0..200).sum::<u32>());
        slots.shrink();
        assert_eq!((slots.places.len(), slots.free.len()), (PLACES_KEPT, PLACES_KEPT));
    }

    #[tokio::test]
    async fn a_full_set_has_no_room_until_one_is_finished() {
        let mut slots = Slots::new();
        for _ in 0..IN_FLIGHT_PER_LINK_MAX {
            assert!(slots.has_room());
            slots.push(std::future::ready(()));
        }
        assert!(!slots.has_room());
        assert_eq!(next(&mut slots).await.len(), IN_FLIGHT_PER_LINK_MAX);
        assert!(slots.has_room() && slots.is_empty());
    }

    /// Random orders of pushing and finishing: nothing is lost, nothing comes twice. Outside a runtime, because tokio
    /// makes a task that never yields wait.
    #[test]
    fn every_future_finishes_once() {
        let mut slots = Slots::new();
        let mut waiting = Vec::new();
        let (mut pushed, mut finished, mut state) = (0_u64, Vec::new(), 42_u64);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if state >> 63 == 0 && slots.has_room() {
                let (sender, receiver) = oneshot::channel::<()>();
                let number = pushed;
                slots.push(async move { receiver.await.map_or(u64::MAX, |()| number) });
                waiting.push(sender);
                pushed += 1;
            } else if !waiting.is_empty() {
                let at = usize::try_from(state >> 33).unwrap() % waiting.len();
                waiting.swap_remove(at).send(()).unwrap();
            }
            let mut cx = Context::from_waker(Waker::noop());
            slots.poll(&mut cx, |number| finished.push(number));
        }
        for sender in waiting {
            sender.send(()).unwrap();
        }
        let mut cx = Context::from_waker(Waker::noop());
        slots.poll(&mut cx, |number| finished.push(number));
        finished.sort_unstable();
        assert!(1000 < pushed && finished.into_iter().eq(0..pushed));
        assert!(slots.is_empty());
    }
}
