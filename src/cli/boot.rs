//! From a checked configuration to the parts of a switch: keys, rules, link settings, store.
//!
//! Every name is resolved here, so that the path sees numbers only. **Never here:** sockets, tasks.

mod devices;
mod hosts;
mod http;
mod links;
mod store;

use std::sync::Arc;

use crate::card::product::{Product, Products};
use crate::card::{AnyStore, Store};
use crate::cli::Failure;
use crate::domain::chip::{ScriptRules, ScriptScheme};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::forward::HostId;
use crate::domain::pin::{KeyId, Method};
use crate::domain::vault::Vault;
use crate::host::Nodes;
use crate::hsm::key::KeyType;
use crate::hsm::module::{KeyBook, Module};
use crate::ops::config::{Config, ConfigError, IssuerScript, IssuerScriptScheme, PinMethod};
use crate::switch::{Parts, Reversals, Rules, Switch, World};

pub(crate) use devices::{key_plan, open_hsm};
pub(crate) use hosts::{Plan, plan};
pub(crate) use http::{Doors, doors, resolve};
pub(crate) use links::{links, load_dialect};
pub(crate) use store::{connect, database, embedded_options, open_embedded, open_store, options};

/// The switch as this binary runs it.
pub(crate) type NodeSwitch = Switch<Node>;

/// What the switch of this binary is made of.
#[derive(Debug)]
pub(crate) enum Node {}

impl Parts for Node {
    type Clock = SystemClock;
    type Hosts = Option<Arc<Nodes>>;
    type Hsm = Arc<Module>;
    type Store = AnyStore;
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error.to_string())
    }
}

/// Products and routes, with their keys resolved and checked.
pub(crate) fn rules(config: &Config, hsm: &dyn KeyBook) -> Result<Rules, Failure> {
    let mut products = Vec::new();
    for (index, product) in config.products.iter().enumerate() {
        let at = |key: &str| format!("product[{index}].{key}");
        let method = method(&product.method, |name| {
            hsm.key(name).ok_or_else(|| config.error(&at("pvk"), config.hsm.no_key(name)))
        })?;
        hsm.check_product(&method, &product.rules)
            .map_err(|error| config.error(&at("pin_method"), error))?;
        products.push(Product {
            name: product.name.as_str().into(),
            key: product.key,
            bin: product.bin.as_str().into(),
            chip: product.chip,
            issuer_script: match &product.issuer_script {
                Some(script) => Some(issuer_script(script, config, hsm, &at("issuer_script"))?),
                None => None,
            },
            method,
            rules: product.rules.clone(),
            tries_max: product.tries_max,
            changes_per_day_max: product.changes_per_day_max,
            allow_set: product.allow_set,
            recoverable: product.recoverable,
        });
    }
    Ok(Rules { products: Products::new(products), routes: config.route_table() })
}

/// The keys of a product's issuer scripts, each of the one type that does its work.
fn issuer_script(
    script: &IssuerScript,
    config: &Config,
    hsm: &dyn KeyBook,
    at: &str,
) -> Result<ScriptRules, ConfigError> {
    let key = |option: &str, name: &str, wanted: KeyType| {
        let refuse = |reason: String| config.error(&format!("{at}.{option}"), reason);
        let id = hsm.key(name).ok_or_else(|| refuse(config.hsm.no_key(name)))?;
        match hsm.keys().into_iter().find(|info| info.id == id && info.key_type != wanted) {
            None => Ok(id),
            Some(info) => Err(refuse(format!("{name:?} is a {}: name a {wanted}", info.key_type))),
        }
    };
    Ok(ScriptRules {
        scheme: match &script.scheme {
            IssuerScriptScheme::EmvCommon => ScriptScheme::EmvCommon,
            IssuerScriptScheme::Mastercard => ScriptScheme::Mastercard,
            IssuerScriptScheme::Visa { cryptograms } => {
                let cryptograms = key("cryptograms", cryptograms, KeyType::MkAc)?;
                ScriptScheme::Visa { cryptograms }
            }
        },
        integrity: key("integrity", &script.integrity, KeyType::MkSmi)?,
        confidentiality: key("confidentiality", &script.confidentiality, KeyType::MkSmc)?,
        template: script.template,
        required: script.required,
    })
}

fn method(
    method: &PinMethod,
    key: impl Fn(&str) -> Result<KeyId, ConfigError>,
) -> Result<Method, ConfigError> {
    Ok(match method {
        PinMethod::Ibm3624 { pvk, decimalization_table, validation } => Method::Ibm3624 {
            pvk: key(pvk)?,
            decimalization_table: *decimalization_table,
            validation_start: validation.start,
            validation_length: validation.length,
            validation_pad: u8::try_from(validation.pad).unwrap_or(b'F'),
        },
        PinMethod::LmkPin => Method::LmkPin,
        PinMethod::VisaPvv { pvk, pvki } => {
            Method::VisaPvv { pvk: key(pvk)?, pvki: b'0' + pvki % 10 }
        }
    })
}

/// The switch with what it is connected to.
pub(crate) struct Assembled {
    /// The switch.
    pub(crate) switch: Arc<NodeSwitch>,
    /// The tasks of its nodes, where it has any.
    pub(crate) hosts: Option<crate::host::Running>,
    /// Workers for the reversals of each node.
    pub(crate) reversals: Vec<Reversals>,
}

/// Puts the switch together and starts connecting to its nodes. To be called within the runtime.
pub(crate) fn assemble(
    hsm: Arc<Module>,
    store: AnyStore,
    clock: SystemClock,
    rules: Rules,
    plan: Option<Plan>,
) -> Result<Assembled, Failure> {
    let vault: Arc<dyn Vault> = hsm.clone();
    let started = clock.wall();
    let Some(plan) = plan else {
        let switch = Switch::new(World { clock, hosts: None, hsm, store, vault }, rules);
        return Ok(Assembled { switch: Arc::new(switch), hosts: None, reversals: Vec::new() });
    };
    let mut names = (0..).zip(plan.names()).peekable();
    let mut reversals = Vec::new();
    while let Some((id, name)) = names.next() {
        let end = if names.peek().is_none() { u16::MAX } else { id };
        reversals.push(Reversals::new(HostId(id)..=HostId(end), name, plan.pace, started));
    }
    drop(names);
    let (nodes, running, taker) = plan.start(clock, store.last_stan())?;
    let world = World { clock, hosts: Some(nodes), hsm, store, vault };
    let switch = Arc::new(Switch::new(world, rules));
    taker.serve(&switch);
    Ok(Assembled { switch, hosts: Some(running), reversals })
}

/// A clock for the whole process.
pub(crate) fn clock() -> SystemClock {
    SystemClock::start()
}
