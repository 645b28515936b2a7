//! `pinion demo`: the whole switch on loopback with the demo world, and a tour through it.

mod doors;
mod tour;
pub(super) mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use crate::card::AnyStore;
use crate::cli::serve::{Node, Running, connect, runtime};
use crate::cli::{Failure, boot};
use crate::ops::config::HsmKind;
use crate::ops::harden::harden;
use crate::ops::metrics::Metrics;
use crate::ops::telemetry;
use crate::sim::world::World;

/// Arguments of `pinion demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pinion demo --exit\n  \
    pinion demo --hsm payshield --exit\n  PINION_DEMO_PORT_BASE=10000 pinion demo")]
pub(super) struct Demo {
    /// End after the tour: 0 only if every step got its expected answer.
    #[arg(long)]
    exit: bool,
    /// Keep the state in this directory. A later run goes on from it and skips the tour.
    #[arg(long)]
    data: Option<PathBuf>,
    /// What does the PIN work: this process, or two simulated payShield devices on ports 1500 and 1510.
    #[arg(long, value_enum, default_value_t)]
    hsm: Family,
}

/// Families of the HSM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Family {
    #[default]
    Soft,
    Payshield,
}

impl Demo {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let port_base = match std::env::var("PINION_DEMO_PORT_BASE") {
            Ok(text) => text.parse().map_err(|_| {
                Failure::Usage(format!("PINION_DEMO_PORT_BASE={text}: not a number of ports"))
            })?,
            Err(_) => 0,
        };
        let data = match &self.data {
            Some(directory) => Data::Kept(directory.clone()),
            None => Data::fresh()?,
        };
        let family = match self.hsm {
            Family::Soft => HsmKind::Soft,
            Family::Payshield => HsmKind::Payshield,
        };
        let config = world::configuration(port_base, data.path(), family)?;
        // A demo that goes on from an earlier run finds its cards changed: the tour would not get its answers.
        let fresh = !config.store.directory.exists();
        let _log = telemetry::init(&config.log).context("log")?;
        if let Err(error) = harden() {
            tracing::warn!(%error, "core files cannot be switched off");
        }
        let metrics = Metrics::install().context("metrics")?;
        let clock = boot::clock();
        let world = World::embedded().context("demo world")?;
        let hsm = world::hsm(&config, &world, clock)?;
        let rules = boot::rules(&config, &*hsm)?;
        let links = boot::links(&config, &*hsm)?;
        let hosts = boot::plan(&config, &*hsm)?;
        let doors = boot::doors(&config, &*hsm)?;
        let tour_config = config.clone();
        let runtime = runtime(&config)?;
        runtime.block_on(async {
            let _devices = world::devices(&config).await?;
            let devices = connect(&config, &hsm).await?;
            let store = world::store(&config, &world, &hsm, clock).await.map(AnyStore::Embedded)?;
            let _nodes = world::nodes(&tour_config, port_base, data.path()).await?;
            let node =
                Node { config, file: None, hsm, store, clock, rules, links, hosts, doors, metrics };
            let mut running = Running::start(node, devices)?;
            running.until_hosts_are_up().await;
            let toured =
                if fresh { tour::run(&tour_config, &world, clock).await } else { Ok(true) };
            if self.exit {
                running.drain().await;
                return match toured {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(anyhow!("a step did not get its expected answer").into()),
                    Err(error) => Err(error.context("tour").into()),
                };
            }
            if let Err(error) = toured {
                tracing::error!(error = format!("{error:#}"), "the tour broke off");
            }
            tour::addresses(&tour_config, port_base)?;
            running.until_told().await
        })?;
        runtime.shutdown_background();
        Ok(())
    }
}

/// Where the state lies.
enum Data {
    /// In a directory of the user's, which stays.
    Kept(PathBuf),
    /// In one of our own, which goes with us.
    Temporary(PathBuf),
}

impl Data {
    /// A new directory. What an earlier process of the same number left behind is removed.
    fn fresh() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("pinion-demo-{}", std::process::id()));
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| path.display().to_string())
            }
            _ => Ok(Self::Temporary(path)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) | Self::Temporary(path) => path,
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Self::Temporary(path) = self
            && let Err(error) = std::fs::remove_dir_all(&*path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %path.display(), %error, "the demo's directory stays behind");
        }
    }
}
