//! `pinion check`: everything `serve` would refuse, without starting anything.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Failure, boot};
use crate::ops::config::Config;

/// Arguments of `pinion check`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion check --config /etc/pinion/pinion.toml")]
pub(super) struct Check {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// One JSON document on stdout.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        let hsm = boot::open_hsm(&config, boot::clock())?;
        let rules = boot::rules(&config, &hsm)?;
        let links = boot::links(&config, &hsm)?;
        let listens: Vec<_> = links
            .iter()
            .map(|link| {
                serde_json::json!({
                    "link": &*link.name,
                    "listen": link.listen.to_string(),
                    "dialect": link.dialect.name(),
                    "mac": link.mac.is_some(),
                    "tls": link.tls.is_some(),
                })
            })
            .collect();
        if self.json {
            let document = serde_json::json!({
                "node": config.node.name,
                "listens": listens,
                "admin": config.admin.listen.to_string(),
                "connects": [],
                "store": config.store.directory,
                "keys": hsm.keys().len(),
                "products": rules.products.iter().count(),
            });
            print(&document.to_string());
            return Ok(());
        }
        for link in &links {
            let mac = if link.mac.is_some() { ", MAC" } else { "" };
            let tls = if link.tls.is_some() { ", TLS" } else { "" };
            let dialect = link.dialect.name();
            print(&format!("listen   {:<22} {} ({dialect}{mac}{tls})", link.listen, link.name));
        }
        print(&format!("admin    {}", config.admin.listen));
        print(&format!("store    {}", config.store.directory.display()));
        print(&format!("keys     {} in {}", hsm.keys().len(), config.hsm.keys.display()));
        print(&format!("products {}", rules.products.iter().count()));
        print("connects to nothing");
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "what the command is asked for")]
fn print(line: &str) {
    println!("{line}");
}
