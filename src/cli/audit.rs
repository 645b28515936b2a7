//! `pinion audit`: verify or print the audit chain of a stopped switch's store.
//!
//! **Never here:** keys; the caller's closure opens the store.

use std::io::Write as _;

use anyhow::Context as _;

use crate::card::embedded::EmbeddedStore;
use crate::cli::Failure;
use crate::cli::cards::{Place, progress};

/// Check the audit chain.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: pinion audit verify --config pinion.toml")]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuditCommand {
    /// Print every record as one line of JSON, oldest first, without card data: for an auditor's own tools.
    #[command(after_help = "Example: pinion audit export --config pinion.toml > audit.jsonl")]
    Export {
        #[command(flatten)]
        place: Place,
    },
    /// Walk the chain from its anchor to its end. Exits 1 and names the first record that is wrong.
    #[command(after_help = "Example: pinion audit verify --config pinion.toml")]
    Verify {
        #[command(flatten)]
        place: Place,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl AuditArgs {
    /// Runs the command. `open` opens the store that a [`Place`] names.
    ///
    /// # Errors
    /// What `open` says, or where the chain breaks.
    pub(super) fn run(
        self,
        open: impl FnOnce(&Place) -> Result<EmbeddedStore, Failure>,
    ) -> Result<(), Failure> {
        let (place, json) = match self.command {
            AuditCommand::Export { place } => return export(&open(&place)?),
            AuditCommand::Verify { place, json } => (place, json),
        };
        let store = open(&place)?;
        let (bar, moving) = progress(Some(store.status().last_sequence), "records");
        let report = store.verify_audit(moving).context("audit chain")?;
        bar.finish_and_clear();
        let head = hex::encode(report.head);
        let mut out = std::io::stdout().lock();
        if json {
            let report = serde_json::json!({
                "valid": true,
                "anchor": report.anchor,
                "records": report.records,
                "last": report.last,
                "head": head,
            });
            writeln!(out, "{report}")?;
        } else {
            let (records, first) = (report.records, report.anchor + 1);
            writeln!(out, "{records} records from {first} to {}: chain holds", report.last)?;
            writeln!(out, "head {head}: keep it elsewhere to prove later that none was cut off")?;
        }
        Ok(())
    }
}

fn export(store: &EmbeddedStore) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    store
        .tell_audit(|line| {
            if written.is_ok() {
                written = writeln!(out, "{line}");
            }
        })
        .context("audit")?;
    written?;
    Ok(out.flush()?)
}
