//! Black-box tests: the real binary with the demo world's keys and cards, spoken to over TCP and HTTP.
//!
//! One module a capability, one row a case. The ISO 8583 client is the tests' own (`support::iso`), and PIN blocks,
//! PVVs, offsets and MACs come from the Python package psec (`tests/vectors`). **Never here:** a private item of the
//! crate, a test that sleeps, a test that needs another one to have run.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test: what is not there fails it")]

mod ceremony;
mod changes;
mod chip;
mod configuration;
mod connections;
mod dukpt;
mod http;
mod leaks;
mod mac;
mod moving;
mod network;
mod operation;
mod pipelining;
mod postilion;
mod refusals;
mod repeats;
mod reversals;
mod route;
mod support;
mod tls;
mod tries;
