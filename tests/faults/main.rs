//! What must hold when things go wrong: kills, garbage, full disks, floods, and that nothing secret is ever written.
//!
//! Each test starts the real binary on a directory of its own. The ISO 8583 client is the tests' own
//! (`support::message`), and PIN blocks are computed with the crate `des` alone. Every byte the binary writes, and
//! every page of its admin port that a test reads, is searched for card numbers, PINs, PIN blocks and keys when the
//! node ends (`support::leak`). **Never here:** a private item of the crate, a wait without an end.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "tests: what cannot be had fails them")]

mod active_active;
mod bad_input;
mod crash;
mod database;
mod database_access;
mod disk;
mod flapping;
mod guesses;
mod leaks;
mod ledger;
mod operators;
mod overload;
mod payshield;
mod payshield_drain;
mod postilion_overload;
mod support;
