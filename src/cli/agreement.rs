//! What switches over one store must have in common, and what they must not: told by each at its start, compared by
//! `pinion check --against-store`.
//!
//! Check values, digests and numbers only. **Never here:** a key, a PIN rule in words, a connection.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hsm::module::{KeyBook, Module};
use crate::ops::config::Config;

/// What one switch has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Its name.
    name: String,
    /// Version of its program.
    program: String,
    /// Hours a key is remembered.
    retention_hours: u32,
    /// Family of the HSM, and the check value of the LMK of its devices.
    hsm: String,
    /// Type and check value of each key.
    keys: BTreeMap<String, String>,
    /// Digest of each product.
    products: BTreeMap<String, String>,
    /// Digest of rules, policy and default.
    routes: String,
    /// Address of each node of Postilion.
    hosts: BTreeMap<String, String>,
    /// Trace numbers, where it has nodes of Postilion.
    stan: Option<(u32, u32)>,
}

impl Facts {
    /// Of this configuration and its keys.
    pub(crate) fn of(config: &Config, hsm: &Module) -> Self {
        let keys = hsm.keys().into_iter().map(|key| {
            let value = hex::encode_upper(key.check_value);
            (key.name.to_string(), format!("{} {value}", key.key_type.name()))
        });
        let products = config.products.iter().map(|p| (p.name.clone(), digest(p)));
        let hosts = config.postilion.iter().flat_map(|postilion| &postilion.nodes);
        let stan = config.postilion.as_ref().map(|p| (p.stan.first, p.stan.last));
        let lmk = config.hsm.lmk_check_value.as_ref();
        let lmk = lmk.map(|value| format!(" under LMK {value}")).unwrap_or_default();
        Self {
            hsm: format!("{}{lmk}", hsm.family()),
            name: config.node.name.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            retention_hours: config.store.retention_hours,
            keys: keys.collect(),
            products: products.collect(),
            routes: digest(&config.routing),
            hosts: hosts.map(|node| (node.name.clone(), node.address.to_string())).collect(),
            stan,
        }
    }

    /// The form that the store keeps.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What a switch left in the store; `None` for what is not of this program.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Version of its program.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Everything in which another switch differs, or does not and should.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let (ours, theirs) = (self.retention_hours, other.retention_hours);
        if ours != theirs {
            all.push(format!("store.retention_hours is {ours} here and {theirs} there"));
        }
        if self.hsm != other.hsm {
            all.push(format!("hsm is {} here and {} there", self.hsm, other.hsm));
        }
        compare(&mut all, "key", &self.keys, &other.keys, true);
        compare(&mut all, "product", &self.products, &other.products, false);
        compare(&mut all, "postilion.node", &self.hosts, &other.hosts, true);
        if self.routes != other.routes {
            all.push("the routes ([routing] and [[route]]) differ".to_owned());
        }
        if let (Some((first, last)), Some((from, to))) = (self.stan, other.stan)
            && first <= to
            && from <= last
        {
            all.push(format!("postilion.stan: {first} to {last} here meets {from} to {to} there"));
        }
        all
    }
}

fn compare(
    all: &mut Vec<String>,
    what: &str,
    ours: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
    told: bool,
) {
    for (name, own) in ours {
        match theirs.get(name) {
            None => all.push(format!("{what} {name:?} is here only")),
            Some(other) if own != other && told => {
                all.push(format!("{what} {name:?} is {own} here and {other} there"));
            }
            Some(other) if own != other => all.push(format!("{what} {name:?} differs")),
            Some(_) => {}
        }
    }
    for name in theirs.keys().filter(|name| !ours.contains_key(*name)) {
        all.push(format!("{what} {name:?} is there only"));
    }
}

/// A digest of whatever a section says. Programs of two versions may write the same section in two ways.
fn digest(section: &impl Debug) -> String {
    hex::encode(Sha256::digest(format!("{section:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Facts {
            name: "pinion-1".into(),
            program: "1".into(),
            retention_hours: 24,
            hsm: "soft".into(),
            keys: one("zpk.atm", "zpk 56562A"),
            products: one("visa", "aa"),
            routes: "bb".into(),
            hosts: one("postilion-1", "10.2.0.1:8591"),
            stan: Some((1, 499_999)),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Facts), want: &[&str]) {
        let mut other = facts();
        other.stan = Some((500_000, 999_999));
        change(&mut other);
        let other = Facts::from_bytes(&other.to_bytes()).unwrap();
        assert_eq!(facts().differences(&other), want);
    }

    #[test]
    fn what_differs_is_named() {
        check(|_| {}, &[]);
        check(|other| other.name = "pinion-2".into(), &[]);
        check(
            |other| other.retention_hours = 12,
            &["store.retention_hours is 24 here and 12 there"],
        );
        check(
            |other| drop(other.keys.insert("zpk.atm".into(), "zpk 112233".into())),
            &["key \"zpk.atm\" is zpk 56562A here and zpk 112233 there"],
        );
        check(
            |other| other.hsm = "payshield under LMK 268604".into(),
            &["hsm is soft here and payshield under LMK 268604 there"],
        );
        check(|other| other.keys.clear(), &["key \"zpk.atm\" is here only"]);
        check(
            |other| drop(other.products.insert("gold".into(), "cc".into())),
            &["product \"gold\" is there only"],
        );
        check(
            |other| drop(other.products.insert("visa".into(), "ab".into())),
            &["product \"visa\" differs"],
        );
        check(|other| other.routes.push('c'), &["the routes ([routing] and [[route]]) differ"]);
        check(
            |other| other.stan = Some((400_000, 999_999)),
            &["postilion.stan: 1 to 499999 here meets 400000 to 999999 there"],
        );
        check(|other| other.stan = None, &[]);
    }
}
