//! One connection's session, as a state machine that does no input or output and reads no clock.
//!
//! The connection calls [`Session::step`] with what happened and the time, and carries out the [`Action`]. Its whole
//! table of transitions is in the tests' snapshot, so a change of behaviour shows as a diff.

use std::time::Duration;

use crate::domain::clock::Now;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A network message that asks for sign-on.
    SignOn,
    /// A network message that asks for sign-off.
    SignOff,
    /// A network message that asks whether we live.
    Echo,
    /// A request that is to be worked on.
    Request,
    /// Bytes came that do not complete a frame.
    Partial,
    /// The switch stops taking work.
    Drain,
    /// Time passed.
    Tick,
}

/// What the connection must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer that it is accepted.
    Accept,
    /// Hand the request to the switch.
    Serve,
    /// Answer that the sender is not signed on, or that we take no more work.
    Refuse,
    /// Close the connection: nothing was heard for too long.
    CloseIdle,
    /// Close the connection: a frame was begun and not completed in time.
    CloseHalfFrame,
    /// Nothing.
    Wait,
}

/// Where the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests are refused until a sign-on.
    SignedOff,
    /// Requests are served.
    SignedOn,
    /// No new work; what is under way is finished.
    Draining,
}

/// Timers of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// Silence after which it is closed.
    pub idle: Duration,
    /// Time a begun frame may take to complete.
    pub frame: Duration,
}

/// State of one connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    require_sign_on: bool,
    timers: Timers,
    heard_at: Now,
    partial_since: Option<Now>,
}

impl Session {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(require_sign_on: bool, timers: Timers, now: Now) -> Self {
        let state = if require_sign_on { State::SignedOff } else { State::SignedOn };
        Self { state, require_sign_on, timers, heard_at: now, partial_since: None }
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, now: Now, event: Event) -> Action {
        match event {
            Event::SignOn | Event::SignOff | Event::Echo | Event::Request => {
                self.heard_at = now;
                self.partial_since = None;
            }
            Event::Partial => {
                self.heard_at = now;
                self.partial_since = self.partial_since.or(Some(now));
            }
            Event::Drain | Event::Tick => {}
        }
        match (self.state, event) {
            (State::SignedOff | State::SignedOn, Event::SignOn) => {
                self.state = State::SignedOn;
                Action::Accept
            }
            (State::SignedOff | State::SignedOn, Event::SignOff) => {
                if self.require_sign_on {
                    self.state = State::SignedOff;
                }
                Action::Accept
            }
            (_, Event::Echo) => Action::Accept,
            (State::SignedOn, Event::Request) => Action::Serve,
            //= spec/pin-change.md#3.6
            //# A switch that drains MUST refuse new requests (91) and MUST answer those under way
            //# before it closes a connection.
            (State::SignedOff, Event::Request)
            | (State::Draining, Event::Request | Event::SignOn | Event::SignOff) => Action::Refuse,
            (_, Event::Drain) => {
                self.state = State::Draining;
                Action::Wait
            }
            (_, Event::Partial) => Action::Wait,
            (_, Event::Tick) => self.tick(now),
        }
    }

    fn tick(&self, now: Now) -> Action {
        if self.partial_since.is_some_and(|since| self.timers.frame <= now.saturating_sub(since)) {
            return Action::CloseHalfFrame;
        }
        if self.timers.idle <= now.saturating_sub(self.heard_at) {
            return Action::CloseIdle;
        }
        Action::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: Timers = Timers { idle: Duration::from_secs(30), frame: Duration::from_secs(10) };

    #[track_caller]
    fn check(require_sign_on: bool, script: &[(u64, Event, Action)]) {
        let mut session = Session::new(require_sign_on, TIMERS, Now::ZERO);
        for (at, event, want) in script {
            let got = session.step(Duration::from_secs(*at), *event);
            assert_eq!(got, *want, "at {at}s, {event:?}");
        }
    }

    #[test]
    fn requests_wait_for_sign_on_where_it_is_required() {
        check(
            true,
            &[
                (0, Event::Request, Action::Refuse),
                (1, Event::Echo, Action::Accept),
                (2, Event::SignOn, Action::Accept),
                (3, Event::Request, Action::Serve),
                (4, Event::SignOff, Action::Accept),
                (5, Event::Request, Action::Refuse),
            ],
        );
    }

    #[test]
    fn silence_and_half_frames_close() {
        check(false, &[(29, Event::Tick, Action::Wait), (30, Event::Tick, Action::CloseIdle)]);
        check(
            false,
            &[
                (1, Event::Partial, Action::Wait),
                // One byte now and then keeps a slow sender from being idle, not its frame from being late.
                (9, Event::Partial, Action::Wait),
                (10, Event::Tick, Action::Wait),
                (11, Event::Tick, Action::CloseHalfFrame),
            ],
        );
        check(
            false,
            &[
                (1, Event::Partial, Action::Wait),
                (9, Event::Request, Action::Serve),
                (20, Event::Tick, Action::Wait),
            ],
        );
    }

    #[test]
    fn a_draining_connection_answers_echoes_and_refuses_work() {
        check(
            false,
            &[
                (0, Event::Drain, Action::Wait),
                (1, Event::Request, Action::Refuse),
                (1, Event::Echo, Action::Accept),
                (1, Event::SignOn, Action::Refuse),
            ],
        );
    }

    /// The whole table, so that a reviewer sees any change of behaviour as a diff.
    #[test]
    fn transitions() {
        use std::fmt::Write;
        let events = [
            Event::SignOn,
            Event::SignOff,
            Event::Echo,
            Event::Request,
            Event::Partial,
            Event::Drain,
            Event::Tick,
        ];
        let mut table = String::new();
        for state in [State::SignedOff, State::SignedOn, State::Draining] {
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
