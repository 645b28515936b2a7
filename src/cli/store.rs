//! `pinion store`: what concerns a store as a whole: its schema, moving it, and whether switches that share it agree.
//!
//! **Never here:** what a store does with what it is given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::card::archive::{Archive, ArchiveWriter, Chain, Manifest, Part, Summary};
use crate::card::embedded::EmbeddedStore;
use crate::card::postgres::{self, MigrateError, migrate};
use crate::cli::serve::runtime;
use crate::cli::{Failure, boot};
use crate::domain::clock::{Clock, WallMillis};
use crate::domain::vault::Vault;
use crate::ops::config::{Config, Postgres};

/// Arguments of `pinion store`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion store migrate --config /etc/pinion/pinion.toml")]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Write everything of a store whose switches are stopped into a directory: cards, keys and their answers,
    /// unsettled changes, the journal. As secret as the store.
    #[command(
        after_help = "Example:\n  pinion store export --config /etc/pinion/pinion.toml /var/tmp/moving"
    )]
    Export {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// A directory that is not there or empty.
        directory: PathBuf,
        /// Print the manifest as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put an export into an empty store of either family. What came out is compared with what went in.
    #[command(
        after_help = "Example:\n  pinion store import --config /etc/pinion/pinion.toml /var/tmp/moving"
    )]
    Import {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// What `pinion store export` wrote.
        directory: PathBuf,
        /// Print the manifest as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the tables of a database, or bring them to the version of this program. Done before the switches start.
    #[command(after_help = "Example:\n  pinion store migrate --config /etc/pinion/pinion.toml")]
    Migrate {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl StoreArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            StoreCommand::Export { config, directory, json } => {
                tell(*json, &run_export(&Config::load(config)?, directory)?);
                Ok(())
            }
            StoreCommand::Import { config, directory, json } => {
                tell(*json, &run_import(&Config::load(config)?, directory)?);
                Ok(())
            }
            StoreCommand::Migrate { config, json } => run_migrate(&Config::load(config)?, *json),
        }
    }
}

/// The database the configuration names.
fn postgres(config: &Config) -> Result<&Postgres, Failure> {
    let none = || config.error("store.kind", "embedded: there is no database to work on");
    config.store.postgres.as_ref().ok_or_else(none).map_err(Failure::from)
}

fn run_export(config: &Config, directory: &Path) -> Result<Manifest, Failure> {
    let clock = boot::clock();
    let hsm = boot::open_hsm(config, clock)?;
    let kept = Duration::from_hours(config.store.retention_hours.into());
    let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    // Whole minutes: the embedded store remembers no more of a key's time.
    let since = clock.wall().0.saturating_sub(kept) / 60_000 * 60_000;
    let open = || ArchiveWriter::create(directory, WallMillis(since)).context("export");
    let Some(family) = &config.store.postgres else {
        let store = boot::open_embedded(config, hsm.clone(), clock)?;
        let mut to = open()?;
        store.export(&mut to).context("export")?;
        return Ok(to.finish(&*hsm, "embedded").context("export")?);
    };
    let options = boot::options(config, family, clock)?;
    let mut to = open()?;
    let exported = postgres::export(&options, &*hsm, &mut to);
    runtime(config)?.block_on(exported).context("export")?;
    Ok(to.finish(&*hsm, "postgres").context("export")?)
}

fn run_import(config: &Config, directory: &Path) -> Result<Manifest, Failure> {
    let clock = boot::clock();
    let hsm = boot::open_hsm(config, clock)?;
    let archive = Archive::open(directory, &*hsm).context("import")?;
    let Some(family) = &config.store.postgres else {
        let options = boot::embedded_options(config, clock);
        let (into, vault): (_, Arc<dyn Vault>) = (&config.store.directory, hsm);
        EmbeddedStore::import(into, &vault, &options, &archive).context("import")?;
        return Ok(archive.manifest().clone());
    };
    let options = boot::options(config, family, clock)?;
    runtime(config)?.block_on(async {
        postgres::import(&options, &*hsm, &archive).await.context("import")?;
        // The audit says that the store was moved: by the node of commands.
        let store = boot::connect(config, family, hsm.clone(), clock).await?;
        let cards = archive.manifest().parts.get(&Part::Cards).map_or(0, |part| part.count);
        let source = format!("archive of a store ({})", archive.manifest().store);
        let _noted = store.note_import(&source, cards, true).await.context("audit")?;
        store.close().await;
        Ok::<_, Failure>(())
    })?;
    Ok(archive.manifest().clone())
}

/// What moved.
fn tell(json: bool, manifest: &Manifest) {
    if json {
        say!("{}", serde_json::json!(manifest));
        return;
    }
    for (part, Summary { count, sha256, .. }) in &manifest.parts {
        say!("{:<13}{count:>10}  sha256 {sha256}", part.label());
    }
    for Chain { node, anchor, last, head, .. } in &manifest.chains {
        say!("chain of node {node}: records {} to {last}, head {}", anchor + 1, hex::encode(head));
    }
}

fn run_migrate(config: &Config, json: bool) -> Result<(), Failure> {
    let postgres = postgres(config)?;
    let (url, tls) = boot::database(config, postgres)?;
    let done = runtime(config)?.block_on(migrate(url.expose_url(), tls));
    let report = done.map_err(|error| match error {
        MigrateError::Newer { .. } => Failure::from(config.error("store.postgres", error)),
        _ => Failure::Other(error.into()),
    })?;
    let (from, to) = (report.from, report.to);
    if json {
        say!("{}", serde_json::json!({ "from": from, "to": to }));
    } else if from == to {
        say!("the schema has version {to} already");
    } else {
        say!("the schema has version {to} now; it had {from}");
    }
    Ok(())
}
