//! One request from its key to its outcome: dedupe, route, and the path it takes.
//!
//! Start with `handle`: the whole story reads there from top to bottom. It sees the world through traits (`Hsm`,
//! `Store`, `Hosts`, `Clock`) and a snapshot of rules. **Never here:** a socket, a file, a task, a clock of its own,
//! a response code. Where next: `name` for which card is meant, `arrived` for PINs as doors get them, `cms` for our
//! own cards, `postilion` for those beyond us, `reversal` for undoing, `settle` for what became of changes nobody
//! answered, `stages` for what took how long.

mod arrived;
mod cms;
mod exchange;
mod handle;
mod name;
mod parts;
mod postilion;
mod reversal;
mod rules;
mod script;
mod settle;
mod stages;
#[cfg(test)]
mod tests;

pub use arrived::ArrivedPin;
pub use exchange::KeyOffer;
pub use handle::{Answer, Switch};
pub use parts::{Parts, World};
pub use rules::Rules;
pub use settle::{Pace, Reversals};
pub use stages::{Stage, Stages};
