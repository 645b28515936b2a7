//! ISO 8583 links in: listeners, connections, and the translation between messages and requests.
//!
//! A [`Link`] is one configured listener with its dialect, keys and bounds. A connection reads as many frames as its
//! socket holds, starts each, and writes answers as they finish, in any order. **Never here:** PIN changes decided,
//! cards read, routes chosen. Where next: `connection` for the loop, `translate` for message ⇄ request, `map` for what
//! a dialect says about PIN changes, `session` for sign-on and timers.

mod answer;
mod chip;
mod codes;
mod connection;
mod exchange;
mod identify;
mod job;
mod ksn;
mod listener;
mod map;
mod meters;
mod reply;
pub mod session;
mod settings;
mod slots;
mod translate;
mod wish;

pub use codes::{Code, Codes};
pub use ksn::KsnPlace;
pub use listener::{Drain, Link, bind, serve};
pub use map::PinMap;
pub use settings::{KeyExchange, MacRule, PinKey, Settings};
pub use wish::Wish;
