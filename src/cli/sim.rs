//! `pinion sim`: a simulated peer alone, for tests and for a first look.
//!
//! **Never here:** what a peer does; `sim` has that.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Failure;
use crate::sim::postilion::{self, Options, StartError, TestCards};

/// Run a simulated peer.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion sim postilion --listen 127.0.0.1:8591")]
pub(super) struct Sim {
    #[command(subcommand)]
    peer: Peer,
}

#[derive(Debug, Subcommand)]
enum Peer {
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

impl Sim {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.peer {
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
