//! `pinion sim`: a simulated peer alone, for tests and for a first look.
//!
//! **Never here:** what a peer does; `sim` has that.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Failure;
use crate::hsm::payshield::simulator::{self as payshield, ErrorRule, FaultRules, Kind};
use crate::hsm::payshield::wire::field::Firmware;
use crate::iso8583::Charset;
use crate::sim::postilion::{self, Options, StartError, TestCards};

/// Run a simulated peer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pinion sim postilion --listen 127.0.0.1:8591\n  \
    pinion sim payshield --listen 127.0.0.1:1500")]
pub(super) struct Sim {
    #[command(subcommand)]
    peer: Peer,
}

#[derive(Debug, Subcommand)]
enum Peer {
    /// A payShield with the published test LMKs: its host commands over TCP, and faulty on command.
    Payshield(Payshield),
    /// Postilion nodes that share one set of test cards: honest, and faulty on command.
    Postilion(Postilion),
}

/// Arguments of `pinion sim postilion`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pinion sim postilion --listen 127.0.0.1:8591 --listen 127.0.0.1:8592 --admin 127.0.0.1:8590\n  \
    curl -s 'localhost:8590/state?touched=true'\n  \
    curl -s localhost:8590/faults -d '{\"node\":1,\"faults\":{\"drop_answer\":{\"share\":0.1}}}'\n  \
    curl -s -X POST localhost:8590/nodes/1/stop")]
pub(super) struct Postilion {
    /// Where a node listens; once for each node.
    #[arg(long, value_name = "ADDRESS", required = true)]
    listen: Vec<SocketAddr>,
    /// Where the admin port listens: JSON over HTTP, shows PINs, because its cards are test cards.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Keep the state in this directory; it goes on from there next time.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seed of the faults: the same seed gives the same request, by its terminal and reference, the same faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Test cards beside those of the demo world, numbered as `pinion cards generate` does it.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    cards: u64,
    /// BIN of the test cards.
    #[arg(long, default_value = "506099")]
    bin: String,
    /// Which sequence of test cards: the seed of `pinion cards generate` and `pinion load`.
    #[arg(long, default_value_t = 1)]
    card_seed: u64,
    /// PIN of the test cards at the start.
    #[arg(long, default_value = "1111")]
    pin: String,
    /// Zone key of PIN blocks, by its name in the demo world.
    #[arg(long, value_name = "NAME", default_value = "zpk.postilion")]
    zpk: String,
    /// Zone master key of key exchange, by its name in the demo world.
    #[arg(long, value_name = "NAME", default_value = "zmk.partner")]
    zmk: String,
    /// Take requests before a sign-on.
    #[arg(long)]
    no_sign_on_needed: bool,
    /// Listen on other than loopback addresses.
    #[arg(long)]
    allow_remote: bool,
    /// Print where it listens as JSON.
    #[arg(long)]
    json: bool,
}

/// Which published test LMK.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TestLmk {
    /// Variant LMK, check value 268604.
    Variant,
    /// TDES key block LMK, check value 165126.
    TdesBlock,
    /// AES key block LMK, check value 9D04A0.
    AesBlock,
}

impl From<TestLmk> for Kind {
    fn from(lmk: TestLmk) -> Self {
        match lmk {
            TestLmk::Variant => Self::Variant,
            TestLmk::TdesBlock => Self::TdesBlock,
            TestLmk::AesBlock => Self::AesBlock,
        }
    }
}

/// Arguments of `pinion sim payshield`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pinion sim payshield --listen 127.0.0.1:1500\n  \
    pinion sim payshield --listen 127.0.0.1:1500 --listen 127.0.0.1:1501 --listen 127.0.0.1:1502 \\\n    \
    --lmk variant --lmk tdes-block --admin 127.0.0.1:1590\n  \
    curl -s localhost:1590/faults -d '{\"latency_ms\":20,\"loss\":0.01,\"errors\":{\"CU\":\"41\"}}'")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct Payshield {
    /// Where it listens: the first address works with the default LMK, the next ones with LMK 00, 01, ...
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1500")]
    listen: Vec<SocketAddr>,
    /// A published test LMK; once for each id from 00 on. 00 is the default LMK.
    #[arg(long, value_enum, default_value = "variant")]
    lmk: Vec<TestLmk>,
    /// Characters of the message header.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    header: usize,
    /// Speak EBCDIC (code page 037), as a host port that is set to it. Binary fields stay as they are.
    #[arg(long)]
    ebcdic: bool,
    /// Longest PIN: a PIN under the LMK has one digit more.
    #[arg(long, value_name = "DIGITS", default_value_t = 12)]
    pin_length: usize,
    /// Authorised state: BA and NG work, check values of 16 digits are shown in PCI-HSM mode.
    #[arg(long)]
    authorised: bool,
    /// PCI-HSM mode: TPKs are of type 70D only, translations follow PCI PIN 3-3.
    #[arg(long)]
    pci: bool,
    /// Decimalization tables come encrypted, as under a TDES key block LMK.
    #[arg(long)]
    encrypted_tables: bool,
    /// Connections at a time over all addresses; further ones are closed at once.
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    sockets: usize,
    /// Firmware that NC and NO show, nine characters.
    #[arg(long, value_name = "TEXT", default_value = "1084-0906", value_parser = firmware)]
    firmware: Firmware,
    /// Make the same keys, PINs and fills in every run.
    #[arg(long, value_name = "SEED")]
    random_seed: Option<u64>,
    /// Where faults are told: JSON over HTTP.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Seed of the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Hold every answer back so long.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Share of commands that are never answered, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    loss: f64,
    /// Share of commands answered up to `--reorder-ms` later, so that others overtake them, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    reorder: f64,
    /// How much later.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    reorder_ms: u64,
    /// Write answers one byte at a time.
    #[arg(long)]
    partial: bool,
    /// Gather answers so long and write them at once.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    gather: u64,
    /// Answer a command with an error instead of doing it; `*` is every command.
    #[arg(long, value_name = "COMMAND=CODE")]
    error: Vec<ErrorRule>,
    /// Listen on other than loopback addresses.
    #[arg(long)]
    allow_remote: bool,
    /// Print where it listens as JSON.
    #[arg(long)]
    json: bool,
}

fn firmware(text: &str) -> Result<Firmware, &'static str> {
    let shown = <[u8; 9]>::try_from(text.as_bytes()).ok();
    let shown = shown.filter(|shown| shown.iter().all(u8::is_ascii_graphic));
    shown.map(Firmware).ok_or("nine printable characters")
}

impl Payshield {
    fn options(&self) -> payshield::Options {
        let errors = self.error.iter().map(|rule| (rule.command.clone(), rule.code.clone()));
        let mut options = payshield::Options::new(self.listen.clone());
        options.admin = self.admin;
        options.setup.lmks = self.lmk.iter().copied().map(Kind::from).collect();
        options.setup.settings.header = self.header;
        options.setup.settings.pin_digits = self.pin_length.saturating_add(1);
        if self.ebcdic {
            options.setup.settings.charset = Charset::Ebcdic;
        }
        options.setup.authorised = self.authorised;
        options.setup.pci = self.pci;
        options.setup.encrypted_tables = self.encrypted_tables;
        options.setup.sockets = self.sockets;
        options.setup.firmware = self.firmware;
        options.setup.random_seed = self.random_seed;
        options.seed = self.seed;
        options.allow_remote = self.allow_remote;
        options.faults = FaultRules {
            latency_ms: self.latency,
            loss: self.loss,
            reorder: self.reorder,
            reorder_ms: self.reorder_ms,
            partial: self.partial,
            gather_ms: self.gather,
            errors: errors.collect(),
            ..FaultRules::default()
        };
        options
    }

    fn run(&self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).context("signals")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
            let running = payshield::start(self.options()).await.map_err(not_started)?;
            let admin = running.admin().map(|address| address.to_string());
            if self.json {
                let ports: Vec<_> = running.ports().iter().map(ToString::to_string).collect();
                say!("{}", json!({ "ports": ports, "admin": admin }));
            } else {
                for (address, number) in running.ports().iter().zip(0_u8..) {
                    match number.checked_sub(1) {
                        None => say!("default LMK listens on {address}"),
                        Some(id) => say!("LMK {id:02} listens on {address}"),
                    }
                }
                if let Some(address) = admin {
                    say!("admin listens on {address}");
                }
            }
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            running.stop().await;
            Ok(())
        })
    }
}

fn not_started(error: payshield::StartError) -> Failure {
    match error {
        payshield::StartError::Bind { .. } => Failure::Other(error.into()),
        error => Failure::Usage(error.to_string()),
    }
}

impl Sim {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.peer {
            Peer::Payshield(payshield) => payshield.run(),
            Peer::Postilion(postilion) => postilion.run(),
        }
    }
}

impl Postilion {
    fn options(&self) -> Options {
        let cards = TestCards {
            bin: self.bin.clone(),
            seed: self.card_seed,
            count: self.cards,
            pin: self.pin.clone(),
        };
        Options {
            data: self.data.clone(),
            seed: self.seed,
            cards: Some(cards).filter(|cards| 0 < cards.count),
            zpk: self.zpk.clone(),
            zmk: self.zmk.clone(),
            sign_on_needed: !self.no_sign_on_needed,
            allow_remote: self.allow_remote,
            ..Options::new(self.listen.clone(), self.admin)
        }
    }

    fn run(&self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).context("signals")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
            let running = postilion::start(self.options()).await.map_err(failure)?;
            if self.json {
                let nodes: Vec<_> = running.nodes().iter().map(ToString::to_string).collect();
                let admin = running.admin().map(|address| address.to_string());
                say!("{}", json!({ "nodes": nodes, "admin": admin }));
            } else {
                for (address, number) in running.nodes().iter().zip(1..) {
                    say!("node {number} listens on {address}");
                }
                if let Some(address) = running.admin() {
                    say!("admin listens on {address}");
                }
            }
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            running.stop().await;
            Ok(())
        })
    }
}

fn failure(error: StartError) -> Failure {
    match error {
        StartError::Cards { .. }
        | StartError::Key { .. }
        | StartError::Nodes
        | StartError::Remote { .. } => Failure::Usage(error.to_string()),
        StartError::Bind { .. } | StartError::Journal(_) | StartError::World => {
            Failure::Other(error.into())
        }
    }
}
