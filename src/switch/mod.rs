//! One request from its key to its outcome: dedupe, route, and the path it takes.
//!
//! Start with `handle`: the whole story reads there from top to bottom. It sees the world through traits (`Hsm`,
//! `Store`, `Clock`) and a snapshot of rules. **Never here:** a socket, a file, a task, a clock of its own, a response
//! code. Where next: `cms` for our own cards, `reversal` for undoing, `stages` for what took how long.

mod cms;
mod handle;
mod reversal;
mod rules;
mod stages;
#[cfg(test)]
mod tests;

pub use handle::{Answer, Switch};
pub use rules::Rules;
pub use stages::{Stage, Stages};
