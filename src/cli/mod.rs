//! The command line: one file a command.

pub mod audit;
pub mod cards;
