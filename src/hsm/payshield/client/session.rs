//! [`Session`]: what a connection to a device is doing, as a pure state machine. Events and `now` in, actions out.
//!
//! A new connection asks who it speaks to (NC) and serves only after the right answer: another LMK closes it. While it
//! serves it asks again every few seconds, and at once when a command got no answer: a device that is frozen says
//! nothing, and that is found out by one question and not by many requests. **Never here:** bytes, a clock.

use std::time::Duration;

use crate::domain::clock::Now;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The connection is there.
    Connected,
    /// The device said that it is well and has our LMK.
    Well,
    /// The device has another LMK.
    OtherLmk,
    /// The device has firmware that is not on the list.
    OtherFirmware,
    /// The device said that it is not well.
    Unwell,
    /// The question got no answer.
    Silence,
    /// A command got no answer.
    Unanswered,
    /// Time has passed.
    Tick,
    /// We stop.
    Stop,
    /// Nothing is under way any more.
    Idle,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Wait,
    /// Send NC.
    Ask,
    /// Take commands.
    Serve,
    /// Close.
    Close(Why),
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The device has another LMK than the configured one.
    OtherLmk,
    /// The device has firmware that is not on the configured list.
    OtherFirmware,
    /// The device did not answer.
    Silent,
    /// The device says that it cannot work.
    Unwell,
    /// We stop.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Asked for the first time.
    New,
    /// Takes commands.
    Serving {
        asked: bool,
    },
    /// Takes no more, waits for answers.
    Stopping,
    Closed,
}

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    state: State,
    every: Duration,
    next: Now,
}

impl Session {
    /// A connection that is not there yet; `every` is the time between two questions.
    pub(super) const fn new(every: Duration) -> Self {
        Self { state: State::New, every, next: Now::MAX }
    }

    /// Whether it takes commands.
    pub(super) const fn serves(&self) -> bool {
        matches!(self.state, State::Serving { .. })
    }

    /// When it wants a [`Event::Tick`].
    pub(super) const fn wake_at(&self) -> Now {
        self.next
    }

    /// Has it ask by `at` at the latest, if it serves and has not asked already.
    pub(super) fn ask_by(&mut self, at: Now) {
        if self.state == (State::Serving { asked: false }) {
            self.next = self.next.min(at);
        }
    }

    /// Takes an event.
    pub(super) fn step(&mut self, now: Now, event: Event) -> Action {
        let (state, action) = match (self.state, event) {
            (State::Closed, _) => (State::Closed, Action::Wait),
            (State::New, Event::Connected) => (State::New, Action::Ask),
            (_, Event::OtherLmk) => (State::Closed, Action::Close(Why::OtherLmk)),
            (_, Event::OtherFirmware) => (State::Closed, Action::Close(Why::OtherFirmware)),
            (_, Event::Unwell) => (State::Closed, Action::Close(Why::Unwell)),
            (_, Event::Silence) => (State::Closed, Action::Close(Why::Silent)),
            (State::New, Event::Well) => (State::Serving { asked: false }, Action::Serve),
            (State::Serving { .. }, Event::Well) => (State::Serving { asked: false }, Action::Wait),
            (State::Serving { asked: false }, Event::Unanswered) => {
                (State::Serving { asked: true }, Action::Ask)
            }
            (State::Serving { asked: false }, Event::Tick) if self.next <= now => {
                (State::Serving { asked: true }, Action::Ask)
            }
            (State::Serving { .. }, Event::Stop) => (State::Stopping, Action::Wait),
            (State::New, Event::Stop) | (State::Stopping, Event::Idle) => {
                (State::Closed, Action::Close(Why::Stopped))
            }
            (
                state,
                Event::Connected
                | Event::Well
                | Event::Unanswered
                | Event::Tick
                | Event::Stop
                | Event::Idle,
            ) => (state, Action::Wait),
        };
        self.state = state;
        self.next = match (state, action) {
            (State::Serving { asked: false }, Action::Serve | Action::Wait)
                if event == Event::Well =>
            {
                now + self.every
            }
            (State::Serving { asked: false }, _) => self.next,
            // The answer, or its absence, comes next.
            _ => Now::MAX,
        };
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 10] = [
        Event::Connected,
        Event::Well,
        Event::OtherLmk,
        Event::OtherFirmware,
        Event::Unwell,
        Event::Silence,
        Event::Unanswered,
        Event::Tick,
        Event::Stop,
        Event::Idle,
    ];

    /// Every state with every event: a change of behaviour is a change of this table.
    #[test]
    fn the_table_of_transitions() {
        let states = [
            State::New,
            State::Serving { asked: false },
            State::Serving { asked: true },
            State::Stopping,
            State::Closed,
        ];
        let mut table = Vec::new();
        for state in states {
            for event in EVENTS {
                let mut session =
                    Session { state, every: Duration::from_secs(5), next: Duration::from_secs(5) };
                let action = session.step(Duration::from_secs(5), event);
                if (session.state, action) != (state, Action::Wait) {
                    let after = session.state;
                    table.push(format!("{state:?} + {event:?} -> {after:?}, {action:?}"));
                }
            }
        }
        insta::assert_snapshot!(table.join("\n"), @r"
        New + Connected -> New, Ask
        New + Well -> Serving { asked: false }, Serve
        New + OtherLmk -> Closed, Close(OtherLmk)
        New + OtherFirmware -> Closed, Close(OtherFirmware)
        New + Unwell -> Closed, Close(Unwell)
        New + Silence -> Closed, Close(Silent)
        New + Stop -> Closed, Close(Stopped)
        Serving { asked: false } + OtherLmk -> Closed, Close(OtherLmk)
        Serving { asked: false } + OtherFirmware -> Closed, Close(OtherFirmware)
        Serving { asked: false } + Unwell -> Closed, Close(Unwell)
        Serving { asked: false } + Silence -> Closed, Close(Silent)
        Serving { asked: false } + Unanswered -> Serving { asked: true }, Ask
        Serving { asked: false } + Tick -> Serving { asked: true }, Ask
        Serving { asked: false } + Stop -> Stopping, Wait
        Serving { asked: true } + Well -> Serving { asked: false }, Wait
        Serving { asked: true } + OtherLmk -> Closed, Close(OtherLmk)
        Serving { asked: true } + OtherFirmware -> Closed, Close(OtherFirmware)
        Serving { asked: true } + Unwell -> Closed, Close(Unwell)
        Serving { asked: true } + Silence -> Closed, Close(Silent)
        Serving { asked: true } + Stop -> Stopping, Wait
        Stopping + OtherLmk -> Closed, Close(OtherLmk)
        Stopping + OtherFirmware -> Closed, Close(OtherFirmware)
        Stopping + Unwell -> Closed, Close(Unwell)
        Stopping + Silence -> Closed, Close(Silent)
        Stopping + Idle -> Closed, Close(Stopped)
        ");
    }

    #[test]
    fn it_asks_every_few_seconds_and_at_once_after_silence() {
        let at = Duration::from_secs;
        let mut session = Session::new(at(5));
        assert_eq!(session.step(at(0), Event::Connected), Action::Ask);
        assert!(!session.serves() && session.wake_at() == Now::MAX);
        assert_eq!(session.step(at(1), Event::Well), Action::Serve);
        assert_eq!(session.wake_at(), at(6));
        assert_eq!(session.step(at(5), Event::Tick), Action::Wait);
        assert_eq!(session.step(at(6), Event::Tick), Action::Ask);
        assert_eq!(session.step(at(6), Event::Unanswered), Action::Wait, "one question at a time");
        assert_eq!(session.step(at(7), Event::Well), Action::Wait);
        assert_eq!(session.step(at(8), Event::Unanswered), Action::Ask);
        assert_eq!(session.step(at(9), Event::Silence), Action::Close(Why::Silent));
        assert!(!session.serves());
    }
}
