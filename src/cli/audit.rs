//! `pinion audit`: verify or print the audit chain of a stopped switch's store.
//!
//! **Never here:** keys; the caller's closure opens the store.

use std::io::Write as _;

use anyhow::Context as _;

use crate::card::audit::AuditReport;
use crate::cli::Failure;
use crate::cli::cards::{Place, progress};
use crate::cli::stores::OpenStore;

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
        open: impl FnOnce(&Place) -> Result<OpenStore, Failure>,
    ) -> Result<(), Failure> {
        let (place, json) = match self.command {
            AuditCommand::Export { place } => return export(&open(&place)?),
            AuditCommand::Verify { place, json } => (place, json),
        };
        let reports = match open(&place)? {
            OpenStore::Embedded(store) => {
                let (bar, moving) = progress(Some(store.status().last_sequence), "records");
                let report = store.verify_audit(moving).context("audit chain")?;
                bar.finish_and_clear();
                vec![(None, report)]
            }
            OpenStore::Postgres(store, runtime) => {
                let (bar, moving) = progress(None, "records");
                let chains = runtime.block_on(store.verify_audit(moving)).context("audit chain")?;
                bar.finish_and_clear();
                let chains = chains.into_iter().filter(|chain| chain.report.records != 0);
                chains.map(|chain| (Some(chain.node), chain.report)).collect()
            }
        };
        let mut out = std::io::stdout().lock();
        for (node, report) in reports {
            tell(&mut out, json, node, &report)?;
        }
        Ok(())
    }
}

/// One chain: the only one, or that of a node.
fn tell(
    out: &mut impl std::io::Write,
    json: bool,
    node: Option<u16>,
    report: &AuditReport,
) -> std::io::Result<()> {
    let head = hex::encode(report.head);
    if json {
        let mut line = serde_json::json!({
            "valid": true,
            "anchor": report.anchor,
            "records": report.records,
            "last": report.last,
            "head": head,
        });
        if let Some(node) = node {
            line["node"] = node.into();
        }
        return writeln!(out, "{line}");
    }
    let whose = node.map_or_else(String::new, |node| format!("node {node}: "));
    let (records, first) = (report.records, report.anchor + 1);
    writeln!(out, "{whose}{records} records from {first} to {}: chain holds", report.last)?;
    writeln!(out, "{whose}head {head}: keep it elsewhere to prove later that none was cut off")
}

fn export(store: &OpenStore) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut written = Ok(());
    let mut told = |line: &serde_json::Value| {
        if written.is_ok() {
            written = writeln!(out, "{line}");
        }
    };
    match store {
        OpenStore::Embedded(store) => store.tell_audit(told),
        OpenStore::Postgres(store, runtime) => runtime.block_on(store.tell_audit(&mut told)),
    }
    .context("audit")?;
    written?;
    Ok(out.flush()?)
}
