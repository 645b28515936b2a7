//! An operator's acts on a running node. What changes something goes into the audit.
//!
//! **Never here:** HTTP (`ops::admin`), card data in an answer.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::card::{Note, Settled, Settlement, Store, StoreError, Unsettled};
use crate::cli::serve::NodeState;
use crate::domain::clock::Clock;
use crate::domain::request::TransactionKey;
use crate::host::{NewKeyError, Nodes};
use crate::hsm::payshield::client::DrainRefused;
use crate::limits::UNSETTLED_MAX;
use crate::ops::admin::{Act, ActRefused, Control};

impl Control for NodeState {
    fn act(&self, act: Act) -> BoxFuture<'_, Result<Value, ActRefused>> {
        Box::pin(async move {
            match act {
                Act::Drain { host } => {
                    self.nodes()?.drain(&host).map_err(not_found)?;
                    self.note(format!("node {host} taken out of service")).await?;
                    Ok(json!({ "host": host, "drained": true }))
                }
                Act::Resume { host } => {
                    self.nodes()?.resume(&host).map_err(not_found)?;
                    self.note(format!("node {host} put back into service")).await?;
                    Ok(json!({ "host": host, "drained": false }))
                }
                Act::DrainDevice { device, force } => {
                    let in_flight = self.hsm.drain(&device, force).map_err(not_drained)?;
                    let how = if force { " by force" } else { "" };
                    tracing::warn!(hsm = device, force, "a device is taken out of service");
                    self.note(format!("device {device} taken out of service{how}")).await?;
                    Ok(json!({ "device": device, "drained": true, "in_flight": in_flight }))
                }
                Act::ResumeDevice { device } => {
                    self.hsm.resume(&device).map_err(not_drained)?;
                    tracing::info!(hsm = device, "a device is put back into service");
                    self.note(format!("device {device} put back into service")).await?;
                    Ok(json!({ "device": device, "drained": false }))
                }
                Act::ExchangeKey { host } => match self.nodes()?.request_key(&host).await {
                    Ok(()) => Ok(json!({ "host": host, "exchanged": true })),
                    Err(error @ NewKeyError::NoSuchNode) => Err(not_found(error)),
                    Err(error) => Err(ActRefused::Failed(error.to_string())),
                },
                Act::ListUnsettled => {
                    let changes = self.list_unsettled().await?;
                    let rows: Vec<_> = changes.iter().map(|change| self.row(change)).collect();
                    Ok(json!({ "unsettled": rows }))
                }
                Act::ShowUnsettled { key } => {
                    let key = parse(&key)?;
                    let changes = self.list_unsettled().await?;
                    let found = changes.iter().find(|change| change.entry.key == key);
                    found.map(|change| self.row(change)).ok_or_else(no_such_change)
                }
                Act::Settle { key, reason } => self.settle(&key, reason).await,
            }
        })
    }
}

impl NodeState {
    fn nodes(&self) -> Result<&Nodes, ActRefused> {
        let none = || ActRefused::NotFound("no [postilion] is configured".to_owned());
        self.switch.hosts().as_deref().ok_or_else(none)
    }

    async fn list_unsettled(&self) -> Result<Vec<Arc<Unsettled>>, ActRefused> {
        let listed = self.switch.store().list_unsettled(UNSETTLED_MAX).await;
        listed.map_err(|error| ActRefused::Failed(error.to_string()))
    }

    async fn note(&self, text: String) -> Result<(), ActRefused> {
        let note = Note { at: self.switch.clock().wall(), text: text.into() };
        let noted = self.switch.store().note(note).await;
        noted.map(drop).map_err(|error| {
            ActRefused::Failed(format!("it is done, but not in the audit: {error}"))
        })
    }

    async fn settle(&self, key: &str, reason: String) -> Result<Value, ActRefused> {
        let at = self.switch.clock().wall();
        let how = Settled::ByHand { reason: reason.into() };
        let settled = self.switch.store().settle(parse(key)?, Settlement { at, how }).await;
        match settled {
            Ok(receipt) => {
                tracing::warn!(key, "an unsettled change was settled by hand");
                Ok(json!({ "key": key, "settled": true, "record": receipt.sequence() }))
            }
            Err(StoreError::Conflict) => Err(no_such_change()),
            Err(error) => Err(ActRefused::Failed(error.to_string())),
        }
    }

    fn row(&self, change: &Unsettled) -> Value {
        let now = self.switch.clock().wall();
        let entry = &change.entry;
        let host = self.config.postilion.as_ref().and_then(|postilion| {
            postilion.nodes.get(usize::from(change.forwarded.host.0)).map(|node| &*node.name)
        });
        let link = self.links.get(usize::from(entry.link.0)).map(|link| link.name());
        json!({
            "key": entry.key.text().to_string(),
            "record": change.sequence,
            "age_seconds": now.0.saturating_sub(entry.at.0) / 1000,
            "host": host,
            "host_stan": std::str::from_utf8(&change.forwarded.stan.digits()).unwrap_or_default(),
            "link": link,
            "stan": entry.trace.stan.as_str(),
            "rrn": entry.trace.rrn.as_str(),
            "terminal": entry.trace.terminal.as_str(),
        })
    }
}

fn not_drained(error: DrainRefused) -> ActRefused {
    match error {
        DrainRefused::Last { .. } => ActRefused::Failed(error.to_string()),
        DrainRefused::NoDevices | DrainRefused::NoSuchDevice { .. } => not_found(error),
    }
}

fn not_found(error: impl std::fmt::Display) -> ActRefused {
    ActRefused::NotFound(error.to_string())
}

fn no_such_change() -> ActRefused {
    ActRefused::NotFound("no unsettled change has this key: see `pinion unsettled list`".to_owned())
}

fn parse(key: &str) -> Result<TransactionKey, ActRefused> {
    let mut bytes = [0; 16];
    let wrong = |_| ActRefused::Invalid("a key has 32 hex digits".to_owned());
    hex::decode_to_slice(key, &mut bytes).map_err(wrong)?;
    Ok(TransactionKey(bytes))
}
