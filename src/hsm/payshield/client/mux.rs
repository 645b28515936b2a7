//! [`Mux`]: which answer belongs to which command of one connection, by the header both carry.
//!
//! Headers are numbers in base 36, as wide as the device is set to, counted within a range of the connection's own, so
//! that no two commands of a device share one. Every command ends exactly once: answered, past its deadline, or with
//! its connection. A number that was given up stays blocked for a while: a late answer is counted and dropped, and is
//! never taken for that of another command. **Never here:** a socket, a clock, what is in an answer.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use crate::domain::clock::Now;

/// How long the number of a command that was given up is not used again, unless its answer comes.
const BLOCKED_FOR: Duration = Duration::from_mins(1);
/// Places for each command that may be under way: the rest is for numbers that are blocked.
pub(super) const PLACES_PER_COMMAND: usize = 4;
/// Longest header.
pub(super) const HEADER_MAX: usize = 255;

/// The numbers of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// Characters of a header.
    pub(super) width: usize,
    first: u64,
    span: u64,
}

impl Range {
    /// The part of line `line` out of `lines` among all headers of so many characters.
    pub(super) fn of(width: usize, line: usize, lines: usize) -> Self {
        let lines = u64::try_from(lines.max(1)).unwrap_or(1);
        let line = u64::try_from(line).unwrap_or(0) % lines;
        // More than twelve characters do not fit a number, and need not be counted through.
        let all = 36_u64.pow(u32::try_from(width.min(12)).unwrap_or(12));
        let span = (all / lines).max(1);
        Self { width, first: line * span, span }
    }

    /// Numbers it has.
    pub(super) const fn span(&self) -> u64 {
        self.span
    }

    /// Writes a number as a header: zeros on its left.
    pub(super) fn write(&self, id: Id, header: &mut [u8]) {
        let mut left = self.first + id.0;
        for place in header.iter_mut().rev() {
            *place =
                b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[usize::try_from(left % 36).unwrap_or(0)];
            left /= 36;
        }
    }

    /// The number of a header; `None` for one we never wrote.
    fn read(&self, header: &[u8]) -> Option<Id> {
        if header.len() != self.width {
            return None;
        }
        let mut number = 0_u64;
        for byte in header {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + 10,
                _ => return None,
            };
            number = number.checked_mul(36)?.checked_add(digit.into())?;
        }
        number.checked_sub(self.first).filter(|id| *id < self.span).map(Id)
    }
}

/// The number of a command within its connection's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u64);

/// A command under way.
#[derive(Debug)]
pub(super) struct Pending<W> {
    /// When it was put into the stream.
    pub(super) sent_at: Now,
    /// When it is given up.
    deadline: Now,
    /// Who waits.
    pub(super) waiter: W,
}

#[derive(Debug)]
enum Place<W> {
    Free,
    /// Under way.
    Taken(u64, Pending<W>),
    /// Given up; not used again until then.
    Blocked(u64, Now),
}

/// Whose answer a frame is.
#[derive(Debug)]
pub(super) enum Match<W> {
    /// This command's, which has ended.
    Matched(Pending<W>),
    /// Of one that was given up before.
    Late,
    /// Nobody's.
    Stranger,
}

/// Commands of one connection.
#[derive(Debug)]
pub(super) struct Mux<W> {
    range: Range,
    window: usize,
    next: u64,
    places: Box<[Place<W>]>,
    /// Deadlines in the order of sending, which is their own order: all commands have the same time.
    order: VecDeque<(Now, u64)>,
    pending: usize,
}

impl<W> Mux<W> {
    /// For at most `window` commands at once. `next` is where a connection before this one has stopped counting.
    pub(super) fn new(range: Range, window: usize, next: u64) -> Self {
        let places = (window.max(1) * PLACES_PER_COMMAND).next_power_of_two();
        Self {
            range,
            window: window.max(1),
            next: next % range.span,
            places: (0..places).map(|_| Place::Free).collect(),
            order: VecDeque::new(),
            pending: 0,
        }
    }

    /// Commands under way.
    pub(super) const fn len(&self) -> usize {
        self.pending
    }

    /// Whether another command may be sent.
    pub(super) const fn has_room(&self) -> bool {
        self.pending < self.window
    }

    /// Where the next connection goes on counting.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    fn at(&self, id: u64) -> usize {
        usize::try_from(id % self.places.len() as u64).unwrap_or(0)
    }

    /// Takes a command in and gives it a number. `beyond` lets one in that is not counted against the window.
    ///
    /// # Errors
    /// The waiter, when the window or every number is taken.
    pub(super) fn insert(
        &mut self,
        now: Now,
        time: Duration,
        beyond: bool,
        waiter: W,
    ) -> Result<Id, W> {
        if !beyond && !self.has_room() {
            return Err(waiter);
        }
        let deadline = now + time;
        for _ in 0..self.places.len() {
            let id = self.next;
            self.next = (self.next + 1) % self.range.span;
            let at = self.at(id);
            let free = match &self.places[at] {
                Place::Free => true,
                Place::Taken(..) => false,
                Place::Blocked(_, until) => *until <= now,
            };
            if free {
                self.places[at] = Place::Taken(id, Pending { sent_at: now, deadline, waiter });
                self.order.push_back((deadline, id));
                self.pending += 1;
                return Ok(Id(id));
            }
        }
        Err(waiter)
    }

    /// Whose answer has this header.
    pub(super) fn answer(&mut self, header: &[u8]) -> Match<W> {
        let Some(Id(id)) = self.range.read(header) else { return Match::Stranger };
        let at = self.at(id);
        let found = match &self.places[at] {
            Place::Taken(taken, _) if *taken == id => {
                mem::replace(&mut self.places[at], Place::Free)
            }
            Place::Blocked(blocked, _) if *blocked == id => {
                self.places[at] = Place::Free;
                return Match::Late;
            }
            Place::Free | Place::Taken(..) | Place::Blocked(..) => return Match::Stranger,
        };
        match found {
            Place::Taken(_, pending) => {
                self.pending -= 1;
                self.skip_ended();
                Match::Matched(pending)
            }
            Place::Free | Place::Blocked(..) => Match::Stranger,
        }
    }

    /// Whether the command that was sent under this number with this deadline is still under way.
    fn waits(&self, deadline: Now, id: u64) -> bool {
        match self.places.get(self.at(id)) {
            Some(Place::Taken(taken, pending)) => *taken == id && pending.deadline == deadline,
            Some(Place::Free | Place::Blocked(..)) | None => false,
        }
    }

    /// Takes what was answered off the front, so that the row of deadlines is not longer than what is under way.
    fn skip_ended(&mut self) {
        while let Some((deadline, id)) = self.order.front() {
            if self.waits(*deadline, *id) {
                break;
            }
            self.order.pop_front();
        }
    }

    /// Ends what is past its deadline and says when the next deadline is.
    pub(super) fn expire(&mut self, now: Now, mut ended: impl FnMut(Pending<W>)) -> Option<Now> {
        loop {
            self.skip_ended();
            let (deadline, id) = *self.order.front()?;
            if now < deadline {
                return Some(deadline);
            }
            self.order.pop_front();
            let at = self.at(id);
            let blocked = Place::Blocked(id, now + BLOCKED_FOR);
            if let Place::Taken(_, pending) = mem::replace(&mut self.places[at], blocked) {
                self.pending -= 1;
                ended(pending);
            }
        }
    }

    /// Ends everything with the connection.
    pub(super) fn broken(&mut self, mut ended: impl FnMut(Pending<W>)) {
        for place in &mut self.places {
            if let Place::Taken(_, pending) = mem::replace(place, Place::Free) {
                ended(pending);
            }
        }
        self.order.clear();
        self.pending = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TIME: Duration = Duration::from_millis(500);

    fn at(ms: u64) -> Now {
        Duration::from_millis(ms)
    }

    fn header(range: Range, id: Id) -> Vec<u8> {
        let mut header = vec![0; range.width];
        range.write(id, &mut header);
        header
    }

    #[test]
    fn headers_are_numbers_in_base_36_of_a_fixed_width() {
        let all = Range::of(4, 0, 1);
        for (id, text) in [(0, "0000"), (35, "000Z"), (36, "0010"), (1_679_615, "ZZZZ")] {
            assert_eq!(header(all, Id(id)), text.as_bytes());
            assert_eq!(all.read(text.as_bytes()), Some(Id(id)));
        }
        for wrong in [&b"000"[..], b"00000", b"000z", b"00 0", b""] {
            assert_eq!(all.read(wrong), None);
        }
        // Four connections, and no header of one is another's.
        let [first, second] = [0, 1].map(|line| Range::of(2, line, 4));
        assert_eq!((first.span(), header(second, Id(0))), (324, b"90".to_vec()));
        assert_eq!(first.read(b"90"), None);
        assert_eq!(second.read(b"90"), Some(Id(0)));
        let wide = Range::of(255, 3, 4);
        assert_eq!(wide.read(&header(wide, Id(7))), Some(Id(7)));
    }

    #[test]
    fn a_number_given_up_is_not_used_again_soon() {
        let range = Range::of(1, 0, 4);
        let mut mux = Mux::new(range, 2, 0);
        let first = mux.insert(at(0), TIME, false, 'a').unwrap();
        assert_eq!(mux.expire(at(499), |_| panic!("not yet")), Some(at(500)));
        let mut gone = Vec::new();
        assert_eq!(mux.expire(at(500), |pending| gone.push(pending.waiter)), None);
        assert_eq!(gone, ['a']);
        // Nine numbers, eight places: all come again, but this one.
        for _ in 0..40 {
            let id = mux.insert(at(501), TIME, false, 'b').unwrap();
            assert_ne!(id, first);
            assert!(matches!(mux.answer(&header(range, id)), Match::Matched(_)));
        }
        assert!(matches!(mux.answer(&header(range, first)), Match::Late));
        assert!(matches!(mux.answer(&header(range, first)), Match::Stranger));
    }

    #[test]
    fn the_window_is_a_bound_but_for_probes() {
        let mut mux = Mux::new(Range::of(4, 0, 1), 1, 0);
        let _ = mux.insert(at(0), TIME, false, 'a').unwrap();
        assert_eq!(mux.insert(at(0), TIME, false, 'b'), Err('b'));
        assert!(mux.insert(at(0), TIME, true, 'c').is_ok());
        assert_eq!(mux.len(), 2);
        let mut ended = Vec::new();
        mux.broken(|pending| ended.push(pending.waiter));
        assert_eq!((ended, mux.len()), (vec!['a', 'c'], 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Send,
        Answer(usize),
        Stray(u16),
        Pass(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Send),
            3 => (0_usize..64).prop_map(Step::Answer),
            1 => any::<u16>().prop_map(Step::Stray),
            1 => (0_u16..400).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 1..400)
    }

    proptest! {
        /// Every command ends exactly once, with the answer that carries its header or without any.
        #[test]
        fn every_command_ends_once(steps in steps(), width in 1_usize..5, window in 1_usize..9) {
            let range = Range::of(width, 0, 1);
            let mut mux = Mux::new(range, window, 0);
            let mut now = 0;
            let mut live: BTreeMap<u32, Id> = BTreeMap::new();
            let mut given_up: Vec<Id> = Vec::new();
            let mut ends: Vec<u32> = Vec::new();
            for step in steps {
                match step {
                    Step::Send => {
                        let who = u32::try_from(ends.len()).unwrap();
                        match mux.insert(at(now), TIME, false, who) {
                            Ok(id) => {
                                prop_assert!(live.values().all(|other| *other != id));
                                ends.push(0);
                                live.insert(who, id);
                            }
                            Err(back) => {
                                prop_assert_eq!(back, who);
                                let ghosts = given_up.len() + live.len();
                                prop_assert!(live.len() == window || window <= ghosts);
                            }
                        }
                    }
                    Step::Answer(which) if !live.is_empty() => {
                        let (who, id) = live.iter().nth(which % live.len()).map(|(a, b)| (*a, *b)).unwrap();
                        match mux.answer(&header(range, id)) {
                            Match::Matched(pending) => prop_assert_eq!(pending.waiter, who),
                            other => prop_assert!(false, "{:?}", other),
                        }
                        live.remove(&who);
                        ends[who as usize] += 1;
                    }
                    Step::Answer(_) => {}
                    Step::Stray(number) => {
                        let id = Id(u64::from(number) % range.span());
                        if live.values().all(|other| *other != id) {
                            let late = matches!(mux.answer(&header(range, id)), Match::Late);
                            prop_assert!(!late || given_up.contains(&id));
                        }
                    }
                    Step::Pass(ms) => {
                        now += u64::from(ms);
                        let mut gone = Vec::new();
                        let next = mux.expire(at(now), |pending| gone.push((pending.waiter, pending.deadline)));
                        prop_assert!(next.is_none_or(|next| at(now) < next));
                        for (who, deadline) in gone {
                            prop_assert!(deadline <= at(now));
                            ends[who as usize] += 1;
                            given_up.extend(live.remove(&who));
                        }
                    }
                }
                prop_assert_eq!(mux.len(), live.len());
                prop_assert!(mux.order.len() <= 400);
            }
            mux.broken(|pending| ends[pending.waiter as usize] += 1);
            prop_assert!(ends.iter().all(|times| *times == 1), "{:?}", ends);
        }
    }
}
