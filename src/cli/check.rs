//! `pinion check`: everything `serve` would refuse, without starting anything.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use crate::cli::agreement::Facts;
use crate::cli::serve::runtime;
use crate::cli::{Failure, boot};
use crate::hsm::module::{KeyBook, Module};
use crate::link::Settings;
use crate::ops::config::{Config, HostNode, HsmDevice, Postilion, Store};

/// Arguments of `pinion check`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion check --config /etc/pinion/pinion.toml")]
pub(super) struct Check {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Also compare keys, products, routes and trace numbers with those of the switches that share the database.
    #[arg(long)]
    against_store: bool,
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
        let others = if self.against_store { against_store(&config, &hsm)? } else { Vec::new() };
        let connects: Vec<_> = config.postilion.iter().flat_map(connects).collect();
        let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
        if self.json {
            let document = serde_json::json!({
                "node": config.node.name,
                "listens": links.iter().map(link).collect::<Vec<_>>(),
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
                "differences": others.iter().map(Other::json).collect::<Vec<_>>(),
            });
            print(&document.to_string());
            return agreed(&others);
        }
        links.iter().for_each(tell_link);
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
        connects.iter().for_each(Connects::tell);
        if connects.is_empty() && config.hsm.devices.is_empty() {
            print("connects to nothing");
        }
        for warning in warnings {
            eprintln!("pinion: warning: {warning}");
        }
        for other in &others {
            print(&format!(
                "agrees   {} with {} (node {})",
                other.agrees(),
                other.name,
                other.node
            ));
        }
        agreed(&others)
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

fn link(link: &Settings) -> serde_json::Value {
    serde_json::json!({
        "link": &*link.name,
        "listen": link.listen.to_string(),
        "dialect": link.dialect.name(),
        "mac": link.mac.is_some(),
        "tls": link.tls.is_some(),
    })
}

fn device(device: &HsmDevice) -> serde_json::Value {
    serde_json::json!({
        "name": device.name,
        "address": device.address.to_string(),
        "connections": device.connections,
        "tls": device.tls.is_some(),
    })
}

/// Another switch of the same database, and everything in which it differs.
struct Other {
    node: u16,
    name: String,
    differences: Vec<String>,
}

impl Other {
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "node": self.node,
            "name": self.name,
            "differences": self.differences,
        })
    }

    fn agrees(&self) -> &'static str {
        if self.differences.is_empty() { "yes" } else { "no" }
    }
}

/// Compares with what each other switch said at its last start.
fn against_store(config: &Config, hsm: &Arc<Module>) -> Result<Vec<Other>, Failure> {
    let none = || config.error("store.kind", "embedded: no other switch shares it");
    let postgres = config.store.postgres.as_ref().ok_or_else(none)?;
    let facts = runtime(config)?.block_on(async {
        let store = boot::connect(config, postgres, hsm.clone(), boot::clock()).await?;
        let facts = store.facts().await.context("what the others said");
        store.close().await;
        facts.map_err(Failure::from)
    })?;
    let own = Facts::of(config, hsm);
    let others = facts.into_iter().filter(|(node, _)| *node != postgres.node);
    let other = |(node, bytes): (u16, Vec<u8>)| match Facts::from_bytes(&bytes) {
        Some(facts) => {
            Other { node, name: facts.name().to_owned(), differences: own.differences(&facts) }
        }
        None => Other {
            node,
            name: "?".to_owned(),
            differences: vec!["it runs another version of the program".to_owned()],
        },
    };
    Ok(others.map(other).collect())
}

/// Fails with everything that differs.
fn agreed(others: &[Other]) -> Result<(), Failure> {
    let told = others.iter().flat_map(|Other { node, name, differences }| {
        differences.iter().map(move |what| format!("{name} (node {node}): {what}"))
    });
    let told: Vec<_> = told.collect();
    if told.is_empty() { Ok(()) } else { Err(Failure::Config(told.join("\npinion: "))) }
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

fn tell_link(link: &Settings) {
    let mac = if link.mac.is_some() { ", MAC" } else { "" };
    let tls = if link.tls.is_some() { ", TLS" } else { "" };
    let dialect = link.dialect.name();
    print(&format!("listen   {:<22} {} ({dialect}{mac}{tls})", link.listen, link.name));
}

impl Connects<'_> {
    fn tell(&self) {
        let Self { node, dialect, connections } = self;
        let (name, address) = (&node.name, node.address.to_string());
        let each = if *connections == 1 { "connection" } else { "connections" };
        print(&format!("connect  {address:<22} {name} ({dialect}, {connections} {each})"));
    }

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
