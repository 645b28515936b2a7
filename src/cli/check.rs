//! `pinion check`: everything `serve` would refuse, without starting anything.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Failure, boot};
use crate::hsm::module::KeyBook;
use crate::ops::config::{Config, HostNode, HsmDevice, Postilion, Store};

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
        let rules = boot::rules(&config, &*hsm)?;
        let links = boot::links(&config, &*hsm)?;
        let doors = boot::doors(&config, &*hsm)?;
        let doors = doors.as_ref().map(|doors| &doors.settings);
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
        let connects: Vec<_> = config.postilion.iter().flat_map(connects).collect();
        let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
        if self.json {
            let document = serde_json::json!({
                "node": config.node.name,
                "listens": listens,
                "admin": config.admin.listen.to_string(),
                "http": doors.map(|doors| doors.listen.to_string()),
                "connects": connects.iter().map(Connects::json).collect::<Vec<_>>(),
                "devices": config.hsm.devices.iter().map(device).collect::<Vec<_>>(),
                "store": match &config.store.postgres {
                    Some(postgres) => postgres.url.masked(),
                    None => config.store.directory.display().to_string(),
                },
                "keys": hsm.keys().len(),
                "products": rules.products.iter().count(),
                "routes": config.routing.rules.len(),
                "warnings": warnings,
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
        if let Some(doors) = doors {
            let tls = if doors.tls.is_some() { ", TLS" } else { "" };
            print(&format!("listen   {:<22} http (five doors{tls})", doors.listen));
        }
        print(&format!("admin    {}", config.admin.listen));
        print(&format!("store    {}", store(&config.store)));
        print_hsm(&config, hsm.soft().keys().len());
        print(&format!("products {}", rules.products.iter().count()));
        if !config.routing.rules.is_empty() {
            let policy = config.routing.policy.label();
            print(&format!("routes   {}, policy {policy}", config.routing.rules.len()));
        }
        for Connects { node, dialect, connections } in &connects {
            let (name, address) = (&node.name, node.address.to_string());
            let each = if *connections == 1 { "connection" } else { "connections" };
            print(&format!("connect  {address:<22} {name} ({dialect}, {connections} {each})"));
        }
        if connects.is_empty() && config.hsm.devices.is_empty() {
            print("connects to nothing");
        }
        for warning in warnings {
            eprintln!("pinion: warning: {warning}");
        }
        Ok(())
    }
}

/// Where the keys are, and the devices that have them.
fn print_hsm(config: &Config, own: usize) {
    let given = match config.hsm.keys_of_devices.len() {
        0 => String::new(),
        count => format!(" and {count} of the devices"),
    };
    print(&format!("keys     {own} in {}{given}", config.hsm.keys.display()));
    for HsmDevice { name, address, connections, tls, .. } in &config.hsm.devices {
        let tls = if tls.is_some() { ", TLS" } else { "" };
        let address = address.to_string();
        print(&format!(
            "device   {address:<22} {name} (payshield, {connections} connections{tls})"
        ));
    }
}

fn device(device: &HsmDevice) -> serde_json::Value {
    serde_json::json!({
        "name": device.name,
        "address": device.address.to_string(),
        "connections": device.connections,
        "tls": device.tls.is_some(),
    })
}

/// Where the store is, without a password.
fn store(store: &Store) -> String {
    let Some(postgres) = &store.postgres else { return store.directory.display().to_string() };
    let tls = if postgres.tls.is_some() { ", TLS" } else { "" };
    let (url, node, connections) = (postgres.url.masked(), postgres.node, postgres.connections);
    format!("{url} (node {node}, {connections} connections{tls})")
}

/// A node it would connect to, with how.
struct Connects<'a> {
    node: &'a HostNode,
    dialect: &'a str,
    connections: usize,
}

impl Connects<'_> {
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "node": self.node.name,
            "address": self.node.address.to_string(),
            "dialect": self.dialect,
            "connections": self.connections,
        })
    }
}

fn connects(postilion: &Postilion) -> impl Iterator<Item = Connects<'_>> {
    let (dialect, connections) = (postilion.dialect.as_str(), postilion.connections);
    postilion.nodes.iter().map(move |node| Connects { node, dialect, connections })
}

fn print(line: &str) {
    say!("{line}");
}
