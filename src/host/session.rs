//! The session of one connection to a node, as a state machine that does no input or output and reads no clock.
//!
//! The connection calls [`Session::step`] with what happened and the time, and carries out the [`Action`]. Whether
//! requests may be sent is [`Session::takes_requests`]. Its whole table of transitions is in the tests' snapshot.
//! **Never here:** what an answer to a request says, when to connect again (`node`).

use std::time::Duration;

use crate::domain::clock::Now;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The TCP connection is up.
    Connected,
    /// The node accepted our sign-on.
    SignOnAccepted,
    /// The node refused our sign-on.
    SignOnRefused,
    /// The node answered our echo.
    EchoAnswered,
    /// The node answered our sign-off, whatever it said.
    SignOffAnswered,
    /// The node asks for sign-on.
    PeerSignOn,
    /// The node asks for sign-off.
    PeerSignOff,
    /// The node asks whether we live.
    PeerEcho,
    /// Any other whole message came.
    Heard,
    /// Bytes came that do not complete a frame.
    Partial,
    /// We stop.
    Drain,
    /// Nothing is under way on this connection.
    Idle,
    /// Time passed.
    Tick,
}

/// What the connection must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send an 0800 that signs on.
    SendSignOn,
    /// Send an 0800 that asks whether the node lives.
    SendEcho,
    /// Send an 0800 that signs off.
    SendSignOff,
    /// Answer the node's 0800: accepted.
    Accept,
    /// Answer the node's 0800: not now.
    Refuse,
    /// Close the connection.
    Close(Why),
    /// Nothing.
    Wait,
}

/// Why a connection is closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The node refused our sign-on.
    SignOnRefused,
    /// Neither an answer to our 0800 nor anything else came in time.
    Silent,
    /// A frame was begun and not completed in time.
    HalfFrame,
    /// We stop, and everything under way has ended or has had its time.
    Drained,
}

/// Where the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected yet.
    Closed,
    /// Our sign-on is out.
    SigningOn,
    /// Requests may be sent.
    SignedOn,
    /// The node has signed off: no requests until it or we sign on again.
    SignedOff,
    /// We stop: no new requests, those under way are awaited.
    Draining,
    /// Our sign-off is out.
    SigningOff,
}

/// Timers of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Silence after which an echo is sent.
    pub echo: Duration,
    /// How long an answer to an 0800 is waited for.
    pub answer: Duration,
    /// Time a begun frame may take to complete.
    pub frame: Duration,
    /// How long requests under way are waited for when we stop.
    pub drain: Duration,
}

/// State of one connection.
#[derive(Debug)]
pub(super) struct Session {
    state: State,
    sign_on: bool,
    timers: Timers,
    heard_at: Now,
    /// When our 0800 that is not answered yet was sent.
    asked_at: Option<Now>,
    partial_since: Option<Now>,
    draining_since: Now,
}

impl Session {
    /// A connection that is not up yet. With `sign_on`, requests wait for one.
    pub(super) fn new(sign_on: bool, timers: Timers, now: Now) -> Self {
        Self {
            state: State::Closed,
            sign_on,
            timers,
            heard_at: now,
            asked_at: None,
            partial_since: None,
            draining_since: now,
        }
    }

    /// Whether requests may be sent.
    pub(super) fn takes_requests(&self) -> bool {
        self.state == State::SignedOn
    }

    /// Whether the connection is about to end by our own will.
    pub(super) fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining | State::SigningOff)
    }

    /// When [`Event::Tick`] is due next.
    pub(super) fn wake_at(&self) -> Now {
        let answer = self.asked_at.map(|at| at + self.timers.answer);
        let frame = self.partial_since.map(|at| at + self.timers.frame);
        let drain = self.is_draining().then(|| self.draining_since + self.timers.drain);
        let echo = self.asked_at.is_none().then(|| self.heard_at + self.timers.echo);
        [answer, frame, drain, echo].into_iter().flatten().min().unwrap_or(self.heard_at)
    }

    /// Takes one event and says what to do.
    pub(super) fn step(&mut self, now: Now, event: Event) -> Action {
        match event {
            Event::Partial => self.partial_since = self.partial_since.or(Some(now)),
            Event::Connected | Event::Drain | Event::Idle | Event::Tick => {}
            _ => {
                self.heard_at = now;
                self.partial_since = None;
                // Whatever comes shows that the node lives; a sign-on and a sign-off wait for their own answers.
                if matches!(self.state, State::SignedOn | State::SignedOff | State::Draining) {
                    self.asked_at = None;
                }
            }
        }
        match (self.state, event) {
            (State::Closed, Event::Connected) => self.connected(now),
            (State::SigningOn | State::SignedOff, Event::SignOnAccepted) => {
                self.state = State::SignedOn;
                self.asked_at = None;
                Action::Wait
            }
            // Only one who has signed off is back by this: our own sign-on still waits for its answer.
            (State::SignedOff, Event::PeerSignOn) => {
                self.state = State::SignedOn;
                self.asked_at = None;
                Action::Accept
            }
            (State::SigningOn | State::SignedOff, Event::SignOnRefused) => {
                Action::Close(Why::SignOnRefused)
            }
            (State::SignedOn, Event::PeerSignOff) => {
                self.state = State::SignedOff;
                Action::Accept
            }
            (State::Draining | State::SigningOff, Event::PeerSignOn) => Action::Refuse,
            (_, Event::PeerSignOn | Event::PeerSignOff | Event::PeerEcho) => Action::Accept,
            (State::SignedOn | State::SignedOff | State::SigningOn, Event::Drain) => {
                self.state = State::Draining;
                self.draining_since = now;
                self.asked_at = None;
                Action::Wait
            }
            (State::Closed, Event::Drain) | (State::SigningOff, Event::SignOffAnswered) => {
                Action::Close(Why::Drained)
            }
            (State::Draining, Event::Idle) if self.sign_on => {
                self.state = State::SigningOff;
                self.asked_at = Some(now);
                Action::SendSignOff
            }
            (State::Draining, Event::Idle) => Action::Close(Why::Drained),
            (_, Event::Tick) => self.tick(now),
            (
                _,
                Event::Connected
                | Event::SignOnAccepted
                | Event::SignOnRefused
                | Event::SignOffAnswered
                | Event::EchoAnswered
                | Event::Heard
                | Event::Partial
                | Event::Drain
                | Event::Idle,
            ) => Action::Wait,
        }
    }

    fn connected(&mut self, now: Now) -> Action {
        self.heard_at = now;
        if self.sign_on {
            self.state = State::SigningOn;
            self.asked_at = Some(now);
            Action::SendSignOn
        } else {
            self.state = State::SignedOn;
            Action::Wait
        }
    }

    fn tick(&mut self, now: Now) -> Action {
        let past = |since: Now, most: Duration| most <= now.saturating_sub(since);
        if self.is_draining() && past(self.draining_since, self.timers.drain) {
            return Action::Close(Why::Drained);
        }
        if self.partial_since.is_some_and(|since| past(since, self.timers.frame)) {
            return Action::Close(Why::HalfFrame);
        }
        if let Some(asked) = self.asked_at {
            return match self.state {
                _ if !past(asked, self.timers.answer) => Action::Wait,
                State::SigningOff => Action::Close(Why::Drained),
                _ => Action::Close(Why::Silent),
            };
        }
        if !past(self.heard_at, self.timers.echo) {
            return Action::Wait;
        }
        match self.state {
            State::SignedOn | State::Draining => {
                self.asked_at = Some(now);
                Action::SendEcho
            }
            // It may have forgotten to sign on again.
            State::SignedOff => {
                self.asked_at = Some(now);
                Action::SendSignOn
            }
            State::Closed | State::SigningOn | State::SigningOff => Action::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: Timers = Timers {
        echo: Duration::from_secs(30),
        answer: Duration::from_secs(10),
        frame: Duration::from_secs(5),
        drain: Duration::from_secs(20),
    };

    #[track_caller]
    fn check(sign_on: bool, script: &[(u64, Event, Action, bool)]) {
        let mut session = Session::new(sign_on, TIMERS, Now::ZERO);
        for (at, event, want, takes) in script {
            let got = session.step(Duration::from_secs(*at), *event);
            assert_eq!((got, session.takes_requests()), (*want, *takes), "at {at}s, {event:?}");
        }
    }

    #[test]
    fn requests_wait_for_the_sign_on() {
        check(
            true,
            &[
                (0, Event::Connected, Action::SendSignOn, false),
                (1, Event::SignOnAccepted, Action::Wait, true),
                (2, Event::PeerSignOff, Action::Accept, false),
                (3, Event::PeerEcho, Action::Accept, false),
                (4, Event::PeerSignOn, Action::Accept, true),
            ],
        );
        check(false, &[(0, Event::Connected, Action::Wait, true)]);
        check(
            true,
            &[
                (0, Event::Connected, Action::SendSignOn, false),
                (1, Event::SignOnRefused, Action::Close(Why::SignOnRefused), false),
            ],
        );
        // Silence about a sign-on ends it, also when echoes of the node's own come.
        check(
            true,
            &[
                (0, Event::Connected, Action::SendSignOn, false),
                (8, Event::PeerEcho, Action::Accept, false),
                (9, Event::Tick, Action::Wait, false),
                (10, Event::Tick, Action::Close(Why::Silent), false),
            ],
        );
    }

    #[test]
    fn silence_brings_an_echo_and_its_silence_the_end() {
        check(
            false,
            &[
                (0, Event::Connected, Action::Wait, true),
                (29, Event::Tick, Action::Wait, true),
                (30, Event::Tick, Action::SendEcho, true),
                (35, Event::EchoAnswered, Action::Wait, true),
                (64, Event::Tick, Action::Wait, true),
                (65, Event::Tick, Action::SendEcho, true),
                (74, Event::Tick, Action::Wait, true),
                (75, Event::Tick, Action::Close(Why::Silent), true),
            ],
        );
        // An answer to a request is as good as one to the echo.
        check(
            false,
            &[
                (0, Event::Connected, Action::Wait, true),
                (30, Event::Tick, Action::SendEcho, true),
                (31, Event::Heard, Action::Wait, true),
                (41, Event::Tick, Action::Wait, true),
            ],
        );
    }

    #[test]
    fn a_half_frame_has_its_time() {
        check(
            false,
            &[
                (0, Event::Connected, Action::Wait, true),
                (1, Event::Partial, Action::Wait, true),
                (4, Event::Partial, Action::Wait, true),
                (5, Event::Tick, Action::Wait, true),
                (6, Event::Tick, Action::Close(Why::HalfFrame), true),
            ],
        );
    }

    #[test]
    fn stopping_signs_off_after_the_last_answer_and_is_bounded() {
        check(
            true,
            &[
                (0, Event::Connected, Action::SendSignOn, false),
                (0, Event::SignOnAccepted, Action::Wait, true),
                (1, Event::Drain, Action::Wait, false),
                (2, Event::Heard, Action::Wait, false),
                (3, Event::Idle, Action::SendSignOff, false),
                (4, Event::SignOffAnswered, Action::Close(Why::Drained), false),
            ],
        );
        check(
            true,
            &[
                (0, Event::Connected, Action::SendSignOn, false),
                (0, Event::SignOnAccepted, Action::Wait, true),
                (1, Event::Drain, Action::Wait, false),
                (20, Event::Tick, Action::Wait, false),
                (21, Event::Tick, Action::Close(Why::Drained), false),
            ],
        );
    }

    #[test]
    fn a_timer_is_due_when_something_can_happen() {
        let mut session = Session::new(true, TIMERS, Now::ZERO);
        let at = Duration::from_secs;
        let _ = session.step(at(0), Event::Connected);
        assert_eq!(session.wake_at(), at(10));
        let _ = session.step(at(1), Event::SignOnAccepted);
        assert_eq!(session.wake_at(), at(31));
        let _ = session.step(at(2), Event::Partial);
        assert_eq!(session.wake_at(), at(7));
    }

    /// The whole table, so that a reviewer sees any change of behaviour as a diff.
    #[test]
    fn transitions() {
        use std::fmt::Write;
        let events = [
            Event::Connected,
            Event::SignOnAccepted,
            Event::SignOnRefused,
            Event::EchoAnswered,
            Event::SignOffAnswered,
            Event::PeerSignOn,
            Event::PeerSignOff,
            Event::PeerEcho,
            Event::Heard,
            Event::Partial,
            Event::Drain,
            Event::Idle,
            Event::Tick,
        ];
        let states = [
            State::Closed,
            State::SigningOn,
            State::SignedOn,
            State::SignedOff,
            State::Draining,
            State::SigningOff,
        ];
        let mut table = String::new();
        for state in states {
            for event in events {
                let mut session = Session::new(true, TIMERS, Now::ZERO);
                session.state = state;
                let action = session.step(Duration::from_secs(1), event);
                writeln!(table, "{state:?} + {event:?} -> {:?}, {action:?}", session.state)
                    .unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }
}
