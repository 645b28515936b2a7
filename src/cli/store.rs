//! `pinion store`: what concerns a store as a whole: its schema, moving it, and whether switches that share it agree.
//!
//! **Never here:** what a store does with what it is given.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::card::postgres::{MigrateError, migrate};
use crate::cli::serve::runtime;
use crate::cli::{Failure, boot};
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
            StoreCommand::Migrate { config, json } => run_migrate(&Config::load(config)?, *json),
        }
    }
}

/// The database the configuration names.
fn postgres(config: &Config) -> Result<&Postgres, Failure> {
    let none = || config.error("store.kind", "embedded: there is no database to work on");
    config.store.postgres.as_ref().ok_or_else(none).map_err(Failure::from)
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
