//! What `/status` shows of a running node, and the gauges that follow from it. **Never here:** card data.

use serde_json::{Value, json};

use crate::card::StoreStatus;
use crate::cli::serve::{NodeState, store};
use crate::domain::clock::Clock;
use crate::domain::forward::HostId;
use crate::host::{NodeStatus, Nodes};
use crate::hsm::module::KeyBook;
use crate::hsm::payshield::client::DeviceStatus;
use crate::http::Door;

impl NodeState {
    /// What `/status` shows. No card data.
    pub(super) fn status(&self) -> Value {
        let latches = self.readiness.latches();
        let closed: serde_json::Map<_, _> = latches
            .iter()
            .filter_map(|(latch, why)| Some((latch.label().to_owned(), json!(**why.as_ref()?))))
            .collect();
        let links: Vec<_> = self
            .links
            .iter()
            .map(|link| {
                let settings = link.settings();
                json!({
                    "name": link.name(),
                    "listen": settings.listen.to_string(),
                    "dialect": settings.dialect.name(),
                    "connections": link.connections(),
                    "in_flight": link.in_flight(),
                })
            })
            .collect();
        let doors: Vec<_> = self
            .http
            .iter()
            .flat_map(|http| Door::ALL.map(|door| (http, door)))
            .map(|(http, door)| {
                json!({
                    "name": door.name(),
                    "listen": http.settings().listen.to_string(),
                    "in_flight": http.in_flight(door),
                })
            })
            .collect();
        let nodes = self.switch.hosts().as_deref().map(Nodes::status);
        let store = self.switch.store().status();
        let hosts: Vec<_> = nodes
            .iter()
            .flatten()
            .zip(0..)
            .map(|(node, id)| host(node, HostId(id), &store))
            .collect();
        let keys: Vec<_> = self
            .hsm
            .keys()
            .into_iter()
            .map(|key| {
                let kcv = hex::encode_upper(key.check_value);
                json!({"name": &*key.name, "type": key.key_type.name(), "kcv": kcv})
            })
            .collect();
        let devices = self.hsm.devices();
        let devices: Vec<_> = devices.iter().map(device).collect();
        let mut all = json!({
            "node": self.config.node.name,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.switch.clock().now().as_secs(),
            "ready": self.readiness.is_ready(),
            "closed": closed,
            "links": links,
            "doors": doors,
            "store": store::tell(&store),
            "hsm": { "kind": self.hsm.family(), "devices": devices },
            "keys": keys,
            "hosts": hosts,
            "unsettled": store.unsettled,
        });
        if let Some(database) = &store.database {
            let others = store::switches(database, &self.facts.load());
            all["store"]["agrees"] = json!(store::agree(&others));
            all["switches"] = others.iter().map(store::Other::json).collect();
        }
        all
    }

    /// Gauges of what is in order.
    pub(super) fn tell_latches(&self) {
        for (latch, closed) in self.readiness.latches() {
            let open = if closed.is_none() { 1.0 } else { 0.0 };
            metrics::gauge!("pinion_ready", "latch" => latch.label()).set(open);
        }
    }

    /// Gauges of what waits for its reversal, and of the switches that share the store.
    pub(super) fn tell_store(&self) {
        let store = self.switch.store().status();
        let agree = store
            .database
            .as_ref()
            .and_then(|database| store::agree(&store::switches(database, &self.facts.load())));
        let differ = if agree == Some(false) { 1.0 } else { 0.0 };
        metrics::gauge!("pinion_switches_differ").set(differ);
        let now = self.switch.clock().wall();
        let age = store.unsettled_since.map_or(0, |since| now.0.saturating_sub(since.0));
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        let (count, age) = (store.unsettled as f64, age as f64 / 1000.0);
        metrics::gauge!("pinion_unsettled").set(count);
        metrics::gauge!("pinion_unsettled_age_seconds").set(age);
    }
}

fn device(device: &DeviceStatus) -> Value {
    json!({
        "name": device.name,
        "address": device.address,
        "state": device.state,
        "connections": device.connections,
        "in_flight": device.in_flight,
        "drained": device.drained,
        "firmware": device.firmware,
        "last_error": device.last_error,
    })
}

fn host(node: &NodeStatus, id: HostId, store: &StoreStatus) -> Value {
    let mut all = json!({
        "name": node.name,
        "address": node.address,
        "connections": node.connections,
        "signed_on": node.signed_on,
        "outstanding": node.outstanding,
        "breaker": node.breaker.label(),
        "drained": node.drained,
        "last_error": node.last_error,
    });
    if let Some(database) = &store.database {
        all["reversals_by"] = json!(store::sender(database, id));
    }
    all
}
