//! [`Mux`]: which answer belongs to which request of one connection.
//!
//! Requests are known by class and the configured elements ([`MatchKey`]). Every request ends exactly once: answered,
//! past its deadline, or with its connection, and then as sent or as not sent. One that was given up stays known for a
//! while, so that its late answer is told from a stranger. **Never here:** bytes of a socket, a clock.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::clock::Now;
use crate::domain::request::TransactionKey;
use crate::iso8583::Message;
use crate::limits::{HOST_LATE_MAX, MATCH_KEY_BYTES_MAX};

/// What requests and answers are matched by: the class and the values of the elements as they are on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MatchKey {
    bytes: [u8; MATCH_KEY_BYTES_MAX],
    len: u8,
}

/// Class of network messages: matched by trace number and network code alone, since an 0810 has no terminal.
const NETWORK: u8 = b'8';
/// Class of reversals: sent again under the same key, so an answer to an earlier sending is an answer.
const REVERSAL: u8 = b'4';
/// Elements of the key of a network message.
const NETWORK_FIELDS: [u8; 2] = [11, 70];
/// How long a request that was given up is known as late. Trace numbers are used again much later.
const LATE_FOR: Duration = Duration::from_mins(5);

impl MatchKey {
    /// The key of a message, request or answer. `None` when the elements are longer than a key may be.
    pub(super) fn of(message: &Message<'_>, fields: &[u8]) -> Option<Self> {
        let class = message.mti()[1];
        if class == NETWORK {
            let [stan, code] = NETWORK_FIELDS.map(|field| message.text(field).unwrap_or_default());
            return Self::network(&stan, &code);
        }
        let mut key = Self { bytes: [0; MATCH_KEY_BYTES_MAX], len: 0 };
        key.push(&[class])?;
        for field in fields {
            let value = message.value(*field).unwrap_or_default();
            key.push(&[u8::try_from(value.len()).ok()?])?;
            key.push(value)?;
        }
        Some(key)
    }

    /// The key of a network message, by the text of DE 11 and DE 70.
    pub(super) fn network(stan: &[u8], code: &[u8]) -> Option<Self> {
        let mut key = Self { bytes: [0; MATCH_KEY_BYTES_MAX], len: 0 };
        for part in [&[NETWORK][..], stan, b" ", code] {
            key.push(part)?;
        }
        Some(key)
    }

    /// The class: the second digit of the message type.
    pub(super) fn class(&self) -> u8 {
        self.bytes[0]
    }

    fn push(&mut self, part: &[u8]) -> Option<()> {
        let at = usize::from(self.len);
        self.bytes.get_mut(at..at + part.len())?.copy_from_slice(part);
        self.len = u8::try_from(at + part.len()).ok()?;
        Some(())
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Pending<W> {
    /// The switch key (127.2) it was sent with, where it has one.
    pub(super) switch_key: Option<TransactionKey>,
    /// Where its first byte stands in the stream.
    pub(super) start: u64,
    /// When it was put into the stream.
    pub(super) sent_at: Now,
    /// When it is given up.
    pub(super) deadline: Now,
    /// Who waits.
    pub(super) waiter: W,
}

/// Whose answer a message is.
#[derive(Debug)]
pub(super) enum Match<W> {
    /// This request's, which has ended.
    Matched(Pending<W>),
    /// Of one that was given up before.
    Late(Option<TransactionKey>),
    /// Nobody's: never asked, answered already, or with the switch key of something else.
    Stranger,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Duplicate<W>(pub(super) Pending<W>);

/// How a request ends with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// One byte of it may have left.
    Sent,
    /// Not one byte of it has left.
    NotSent,
}

/// Requests of one connection.
pub(super) struct Mux<W> {
    pending: HashMap<MatchKey, Pending<W>>,
    late: HashMap<MatchKey, GivenUp>,
    late_order: VecDeque<(Now, MatchKey)>,
}

/// A request that nobody waits for any more.
struct GivenUp {
    at: Now,
    switch_key: Option<TransactionKey>,
}

impl<W> Mux<W> {
    pub(super) fn new() -> Self {
        Self { pending: HashMap::new(), late: HashMap::new(), late_order: VecDeque::new() }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// [`Duplicate`] when its key is in use, or was given up so lately that an answer could be either's.
    pub(super) fn insert(
        &mut self,
        key: MatchKey,
        pending: Pending<W>,
    ) -> Result<(), Duplicate<W>> {
        if key.class() != REVERSAL && self.late.contains_key(&key) {
            return Err(Duplicate(pending));
        }
        match self.pending.entry(key) {
            Entry::Occupied(_) => Err(Duplicate(pending)),
            Entry::Vacant(place) => {
                place.insert(pending);
                Ok(())
            }
        }
    }

    /// Whose answer has this key. `carried` says whether the switch key it carries, if any, is the given one.
    pub(super) fn answer(
        &mut self,
        key: &MatchKey,
        carried: impl Fn(&TransactionKey) -> bool,
    ) -> Match<W> {
        let ours = |switch_key: &Option<TransactionKey>| switch_key.as_ref().is_none_or(&carried);
        if let Some(pending) = self.pending.get(key)
            && ours(&pending.switch_key)
            && let Some(pending) = self.pending.remove(key)
        {
            return Match::Matched(pending);
        }
        if self.late.get(key).is_some_and(|late| ours(&late.switch_key))
            && let Some(late) = self.late.remove(key)
        {
            return Match::Late(late.switch_key);
        }
        Match::Stranger
    }

    /// Ends what is past its deadline and says when the next deadline is.
    pub(super) fn expire(&mut self, now: Now, mut ended: impl FnMut(Pending<W>)) -> Option<Now> {
        self.forget(now);
        let (late, order) = (&mut self.late, &mut self.late_order);
        for (key, pending) in self.pending.extract_if(|_, pending| pending.deadline <= now) {
            late.insert(key, GivenUp { at: now, switch_key: pending.switch_key });
            order.push_back((now, key));
            ended(pending);
        }
        self.forget(now);
        self.pending.values().map(|pending| pending.deadline).min()
    }

    /// Ends everything with the connection, of whose stream `handed` bytes went to the socket.
    pub(super) fn broken(&mut self, handed: u64, mut ended: impl FnMut(Pending<W>, Fate)) {
        for (_, pending) in self.pending.drain() {
            // Design.md rule 4: only what is not sent may go to another node.
            let fate = if pending.start < handed { Fate::Sent } else { Fate::NotSent };
            ended(pending, fate);
        }
    }

    /// Forgets requests given up long ago, and the oldest when there are too many.
    fn forget(&mut self, now: Now) {
        while let Some((at, key)) = self.late_order.front() {
            if self.late_order.len() <= HOST_LATE_MAX && now.saturating_sub(*at) < LATE_FOR {
                break;
            }
            // It may have been answered, and another one given up under the same key since.
            if self.late.get(key).is_some_and(|late| late.at == *at) {
                self.late.remove(key);
            }
            self.late_order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(class: u8, number: u8) -> MatchKey {
        let mut key = MatchKey { bytes: [0; MATCH_KEY_BYTES_MAX], len: 0 };
        key.push(&[class, number]).unwrap();
        key
    }

    fn switch_key(id: u32) -> TransactionKey {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&id.to_be_bytes());
        TransactionKey(bytes)
    }

    fn pending(id: u32, start: u64, now: u64, deadline: u64) -> Pending<u32> {
        Pending {
            switch_key: Some(switch_key(id)),
            start,
            sent_at: Duration::from_millis(now),
            deadline: Duration::from_millis(deadline),
            waiter: id,
        }
    }

    const fn at(ms: u64) -> Now {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_answer_of_another_use_of_the_number_is_not_taken() {
        let mut mux = Mux::new();
        mux.insert(key(b'6', 1), pending(7, 0, 0, 100)).unwrap();
        assert!(matches!(mux.answer(&key(b'6', 1), |k| *k == switch_key(8)), Match::Stranger));
        assert!(matches!(mux.answer(&key(b'6', 2), |_| true), Match::Stranger));
        assert!(matches!(mux.answer(&key(b'4', 1), |_| true), Match::Stranger));
        let Match::Matched(one) = mux.answer(&key(b'6', 1), |_| true) else { panic!("not taken") };
        assert_eq!(one.waiter, 7);
        assert!(matches!(mux.answer(&key(b'6', 1), |_| true), Match::Stranger), "a duplicate");
    }

    #[test]
    fn what_was_given_up_is_late_for_a_while_and_blocks_its_number() {
        let mut mux = Mux::new();
        mux.insert(key(b'6', 1), pending(7, 0, 0, 100)).unwrap();
        mux.insert(key(b'6', 2), pending(8, 10, 0, 300)).unwrap();
        let mut ended = Vec::new();
        assert_eq!(mux.expire(at(100), |p| ended.push(p.waiter)), Some(at(300)));
        assert_eq!(ended, [7]);
        mux.insert(key(b'6', 1), pending(9, 20, 101, 300)).unwrap_err();
        let late = mux.answer(&key(b'6', 1), |_| true);
        assert!(matches!(late, Match::Late(Some(key)) if key == switch_key(7)));
        assert!(matches!(mux.answer(&key(b'6', 1), |_| true), Match::Stranger));
        mux.insert(key(b'6', 1), pending(9, 20, 101, 300)).unwrap();

        assert_eq!(mux.expire(at(300), |_| {}), None);
        assert_eq!(mux.expire(at(300) + LATE_FOR, |_| {}), None);
        assert!(matches!(mux.answer(&key(b'6', 1), |_| true), Match::Stranger), "forgotten");
    }

    /// A repeat of a reversal has the key of the one before: design.md has it sent again until it is acknowledged.
    #[test]
    fn a_reversal_given_up_may_be_sent_again() {
        let mut mux = Mux::new();
        mux.insert(key(b'4', 1), pending(7, 0, 0, 100)).unwrap();
        mux.insert(key(b'4', 1), pending(7, 0, 0, 100)).unwrap_err();
        assert_eq!(mux.expire(at(100), |_| {}), None);
        mux.insert(key(b'4', 1), pending(7, 9, 101, 200)).unwrap();
        assert!(matches!(mux.answer(&key(b'4', 1), |_| true), Match::Matched(_)));
    }

    #[test]
    fn late_ones_are_bounded() {
        let mut mux = Mux::new();
        for id in 0..2 * u32::try_from(HOST_LATE_MAX).unwrap() {
            let mut key = key(b'6', 0);
            key.push(&id.to_be_bytes()).unwrap();
            mux.insert(key, pending(id, 0, 0, 100)).unwrap();
        }
        assert_eq!(mux.expire(at(100), |_| {}), None);
        assert_eq!((mux.late.len(), mux.late_order.len()), (HOST_LATE_MAX, HOST_LATE_MAX));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u8),
        Write(u8),
        Answer(u8, bool),
        Expire(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u8..12, 1_u8..40).prop_map(|(number, allowed)| Step::Insert(number, allowed)),
            2 => (0_u8..120).prop_map(Step::Write),
            4 => (0_u8..12, any::<bool>()).prop_map(|(number, right)| Step::Answer(number, right)),
            1 => (0_u8..20).prop_map(Step::Expire),
        ]
    }

    proptest! {
        /// Whatever the order of events: every request ends exactly once, no answer goes to another request, and only
        /// requests of which nothing was handed to the socket end as not sent.
        #[test]
        fn every_request_ends_exactly_once(steps in proptest::collection::vec(step(), 0..200)) {
            let mut mux = Mux::new();
            let (mut queued, mut handed, mut now, mut next) = (0_u64, 0_u64, 0_u64, 0_u32);
            // Model: the live request of each number, the start of each request, and how often each has ended.
            let mut live: HashMap<u8, u32> = HashMap::new();
            let mut starts = Vec::new();
            let mut ends: Vec<u32> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(number, allowed) => {
                        let one = pending(next, queued, now, now + u64::from(allowed));
                        if mux.insert(key(b'6', number), one).is_ok() {
                            prop_assert!(live.insert(number, next).is_none(), "a live key twice");
                            starts.push(queued);
                            ends.push(0);
                            next += 1;
                            queued += 50;
                        }
                    }
                    Step::Write(bytes) => handed = queued.min(handed + u64::from(bytes)),
                    Step::Answer(number, right) => {
                        let want = live.get(&number).copied();
                        let carried = if right { want } else { Some(u32::MAX) };
                        let carries = |k: &TransactionKey| carried.is_some_and(|c| *k == switch_key(c));
                        match mux.answer(&key(b'6', number), carries) {
                            Match::Matched(one) => {
                                prop_assert_eq!(Some(one.waiter), want);
                                prop_assert!(right);
                                ends[one.waiter as usize] += 1;
                                live.remove(&number);
                            }
                            Match::Late(_) => prop_assert!(want.is_none() || !right),
                            Match::Stranger => prop_assert!(want.is_none() || !right),
                        }
                    }
                    Step::Expire(ms) => {
                        now += u64::from(ms);
                        let mut gone = Vec::new();
                        let earliest = mux.expire(at(now), |one| gone.push((one.waiter, one.deadline)));
                        prop_assert!(earliest.is_none_or(|earliest| at(now) < earliest));
                        for (id, deadline) in gone {
                            prop_assert!(deadline <= at(now));
                            ends[id as usize] += 1;
                            live.retain(|_, other| *other != id);
                        }
                    }
                }
                prop_assert_eq!(mux.len(), live.len());
            }
            let mut fates = Vec::new();
            mux.broken(handed, |one, fate| fates.push((one.waiter, fate)));
            for (id, fate) in fates {
                ends[id as usize] += 1;
                let sent = starts[id as usize] < handed;
                prop_assert_eq!(fate, if sent { Fate::Sent } else { Fate::NotSent });
            }
            prop_assert!(mux.is_empty());
            prop_assert!(ends.iter().all(|times| *times == 1), "{:?}", ends);
        }
    }
}
