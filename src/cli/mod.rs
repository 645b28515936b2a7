//! The command line: one file a command.
//!
//! Exit codes are part of the contract: 0 success, 64 bad usage, 78 bad configuration, 1 anything else; `send` adds 2
//! for a decline. Data goes to stdout, everything else to stderr. **Never here:** what a command does to cards or keys
//! beyond calling the module that owns them.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Prints one line of data. A reader that has gone away wants no more and is no failure.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::say_line(&format!($($text)*)) };
}

mod agreement;
mod audit;
mod boot;
mod cards;
mod check;
mod clients;
mod decode;
mod demo;
mod dialects;
mod encode;
mod exchange;
mod keys;
mod load;
mod operate;
mod route;
mod send;
mod serve;
mod sim;
mod store;
mod stores;

/// An ISO 8583 switch for the moment a cardholder changes a PIN.
#[derive(Debug, Parser)]
#[command(name = "pinion", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the audit chain of a stopped switch's store.
    Audit(audit::AuditArgs),
    /// Import, export, show and generate cards of a stopped switch's store.
    Cards(cards::CardsArgs),
    /// Validate a configuration without starting; print what it would listen on and connect to.
    Check(check::Check),
    /// Add, list and revoke clients of the HTTP doors.
    Clients(clients::ClientsArgs),
    /// Explain a message: every field with name, value and place, or where and why it breaks.
    Decode(decode::Decode),
    /// Run the whole switch on loopback with the demo world, and a tour through it.
    Demo(demo::Demo),
    /// Take a node of Postilion out of service and back, ask it for a new zone key; needs a running switch.
    Hosts(operate::Hosts),
    /// Take a device of the HSM out of service and back; needs a running switch.
    Hsm(operate::Devices),
    /// Make, import and list the keys of the sealed key file.
    Keys(keys::Keys),
    /// Be many ATMs: load at a fixed rate or as fast as answers come, with latency percentiles.
    Load(load::Load),
    /// Explain where a request would go, rule by rule.
    Route(route::RouteArgs),
    /// Be an ATM: send one request, print the answer.
    Send(Box<send::Send>),
    /// List the dialects, or print one's field table.
    Dialects(dialects::Dialects),
    /// Write a message from the JSON that `decode --json --clear` prints.
    Encode(encode::Encode),
    /// Run the switch.
    Serve(serve::Serve),
    /// Run a simulated peer alone.
    Sim(sim::Sim),
    /// The store as a whole: make the tables of a database, move everything from one store to another.
    Store(store::StoreArgs),
    /// Changes whose outcome at a host is unknown: list, show, settle by hand; needs a running switch.
    Unsettled(operate::Unsettled),
}

/// How a command ends other than well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The configuration is bad: exit 78. The text names file, line, key and reason.
    #[error("{0}")]
    Config(String),
    /// A request was sent and declined: exit 2. The answer has been printed.
    #[error("declined")]
    Declined,
    /// Anything else: exit 1.
    #[error("{0:#}")]
    Other(anyhow::Error),
    /// The command line is wrong: exit 64.
    #[error("{0}")]
    Usage(String),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Declined => 2,
            Self::Other(_) => 1,
            Self::Usage(_) => 64,
        }
    }
}

/// Writes one line to stdout.
pub(crate) fn say_line(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nothing can be done about a closed terminal, and nobody is there to be told.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
}

/// Runs one command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(64) };
        }
    };
    let done = match command {
        Command::Audit(audit) => audit.run(stores::open_store),
        Command::Cards(cards) => cards.run(stores::open_cards),
        Command::Check(check) => check.run(),
        Command::Clients(clients) => clients.run(),
        Command::Decode(decode) => decode.run(),
        Command::Demo(demo) => demo.run(),
        Command::Hosts(hosts) => hosts.run(),
        Command::Hsm(devices) => devices.run(),
        Command::Keys(keys) => keys.run().map_err(|error| match error.exit_code() {
            64 => Failure::Usage(error.to_string()),
            78 => Failure::Config(error.to_string()),
            _ => Failure::Other(error.into()),
        }),
        Command::Load(load) => load.run(),
        Command::Route(route) => route.run(),
        Command::Send(send) => send.run(),
        Command::Dialects(dialects) => dialects.run(),
        Command::Encode(encode) => encode.run(),
        Command::Serve(serve) => serve.run(),
        Command::Sim(sim) => sim.run(),
        Command::Store(store) => store.run(),
        Command::Unsettled(unsettled) => unsettled.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Declined) {
                eprintln!("pinion: {failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
