//! `pinion demo`: the whole switch on loopback with the demo world, and a tour through it.

pub(super) mod world;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::cli::serve::{Node, Running};
use crate::cli::{Failure, boot};
use crate::ops::metrics::Metrics;
use crate::ops::telemetry;
use crate::sim::world::World;

/// Arguments of `pinion demo`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion demo --exit\n  PINION_DEMO_PORT_BASE=10000 pinion demo")]
pub(super) struct Demo {
    /// End after the tour: 0 only if every step got its expected answer.
    #[arg(long)]
    exit: bool,
    /// Keep the state in this directory. A later run goes on from it and skips the tour.
    #[arg(long)]
    data: Option<PathBuf>,
}

impl Demo {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let port_base = match std::env::var("PINION_DEMO_PORT_BASE") {
            Ok(text) => text.parse().map_err(|_| {
                Failure::Usage(format!("PINION_DEMO_PORT_BASE={text}: not a number of ports"))
            })?,
            Err(_) => 0,
        };
        let data = self.data.clone().unwrap_or_else(|| {
            std::env::temp_dir().join(format!("pinion-demo-{}", std::process::id()))
        });
        let config = world::configuration(port_base, &data)?;
        let _log = telemetry::init(&config.log).context("log")?;
        let metrics = Metrics::install().context("metrics")?;
        let clock = boot::clock();
        let world = World::embedded().context("demo world")?;
        let hsm = world::hsm(&world, clock)?;
        let rules = boot::rules(&config, &hsm)?;
        let links = boot::links(&config, &hsm)?;
        let store = world::store(&config, &world, &hsm, clock)?;
        let switch = boot::switch(hsm.clone(), store, clock, rules);
        let node = Node { config, file: None, hsm, switch, links, metrics };
        let runtime = node.runtime()?;
        runtime.block_on(async {
            let mut running = Running::start(node)?;
            if self.exit {
                running.drain().await;
                return Ok(());
            }
            running.until_told().await
        })?;
        runtime.shutdown_background();
        Ok(())
    }
}
