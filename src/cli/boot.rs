//! From a checked configuration to the parts of a switch: keys, rules, link settings, store.
//!
//! Every name is resolved here, so that the path sees numbers only. **Never here:** sockets, tasks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::card::embedded::{EmbeddedStore, StoreOptions};
use crate::card::product::{Product, Products};
use crate::cli::Failure;
use crate::domain::clock::SystemClock;
use crate::domain::pin::{KeyId, Method};
use crate::domain::request::{LinkId, Tag};
use crate::domain::vault::Vault;
use crate::host::NoHosts;
use crate::hsm::Hsm;
use crate::hsm::key::TestKeys;
use crate::hsm::soft::{SoftHsm, ThrottleLimit};
use crate::iso8583::Dialect;
use crate::iso8583::frame::Framing;
use crate::link::session::Timers;
use crate::link::tls::{Tls, TlsFiles};
use crate::link::{Codes, MacRule, PinMap, Settings};
use crate::ops::config::{ActiveWish, Config, ConfigError, Link, PinMethod, Route};
use crate::route::Table;
use crate::switch::{Parts, Rules, Switch, World};

/// The switch as this binary runs it.
pub(crate) type NodeSwitch = Switch<Node>;

/// What the switch of this binary is made of.
#[derive(Debug)]
pub(crate) enum Node {}

impl Parts for Node {
    type Clock = SystemClock;
    type Hosts = NoHosts;
    type Hsm = Arc<SoftHsm>;
    type Store = EmbeddedStore;
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error.to_string())
    }
}

/// Opens the key file the configuration names.
pub(crate) fn open_hsm(config: &Config, clock: SystemClock) -> Result<Arc<SoftHsm>, Failure> {
    let test_keys = if config.hsm.allow_test_keys { TestKeys::Allowed } else { TestKeys::Refused };
    let limit = ThrottleLimit { wrong: config.hsm.wrong_pins_per_hour, ..Default::default() };
    SoftHsm::open(&config.hsm.keys, &config.hsm.lmk, test_keys, Arc::new(clock))
        .and_then(|hsm| hsm.with_throttle(limit))
        .map(Arc::new)
        .map_err(|error| Failure::Config(error.to_string()))
}

/// Opens the store the configuration names.
pub(crate) fn open_store(
    config: &Config,
    vault: Arc<dyn Vault>,
    clock: SystemClock,
) -> Result<EmbeddedStore, Failure> {
    let mut options = StoreOptions::new(Arc::new(clock));
    options.transaction_retention = Duration::from_hours(config.store.retention_hours.into());
    options.transaction_keys_max = config.store.transaction_keys_max;
    EmbeddedStore::open(&config.store.directory, vault, options)
        .map_err(|error| Failure::Other(error.into()))
}

/// Products and routes, with their keys resolved and checked.
pub(crate) fn rules(config: &Config, hsm: &SoftHsm) -> Result<Rules, Failure> {
    let mut products = Vec::new();
    for (index, product) in config.products.iter().enumerate() {
        let at = |key: &str| format!("product[{index}].{key}");
        let method = method(&product.method, |name| {
            hsm.key(name).ok_or_else(|| {
                config
                    .error(&at("pvk"), format!("no key {name:?} in {}", config.hsm.keys.display()))
            })
        })?;
        hsm.check_method(&method).map_err(|error| config.error(&at("pin_method"), error))?;
        products.push(Product {
            name: product.name.as_str().into(),
            key: product.key,
            bin: product.bin.as_str().into(),
            chip: product.chip,
            method,
            rules: product.rules.clone(),
            tries_max: product.tries_max,
            changes_per_day_max: product.changes_per_day_max,
            recoverable: product.recoverable,
        });
    }
    let routes = Table::new(config.products.iter().map(|product| {
        let route = match product.route {
            Route::Cms => crate::route::Route::Cms,
            Route::Postilion => crate::route::Route::Postilion,
        };
        (product.bin.as_str().into(), route)
    }));
    Ok(Rules { products: Products::new(products), routes })
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

/// Settings of every link, in the order of the file.
pub(crate) fn links(config: &Config, hsm: &SoftHsm) -> Result<Vec<Settings>, Failure> {
    let mut dialects: HashMap<&str, Spoken> = HashMap::new();
    let mut settings = Vec::new();
    for (index, link) in config.links.iter().enumerate() {
        let spoken = match dialects.get(link.dialect.as_str()) {
            Some(spoken) => spoken.clone(),
            None => Spoken::load(config, index, link)?,
        };
        dialects.insert(&link.dialect, spoken.clone());
        settings.push(one_link(config, hsm, index, link, spoken)?);
    }
    Ok(settings)
}

/// A dialect with what links need of it.
#[derive(Clone)]
struct Spoken {
    dialect: Arc<Dialect>,
    map: Arc<PinMap>,
    codes: Arc<Codes>,
}

impl Spoken {
    fn load(config: &Config, index: usize, link: &Link) -> Result<Self, Failure> {
        let dialect = load_dialect(&link.dialect)
            .map_err(|reason| config.error(&format!("link[{index}].dialect"), reason))?;
        let bad = |error: crate::iso8583::SpecError| Failure::Config(error.to_string());
        let map = Arc::new(PinMap::of(&dialect).map_err(bad)?);
        let codes = Arc::new(Codes::of_dialect(&dialect).map_err(bad)?);
        Ok(Self { dialect, map, codes })
    }
}

/// A built-in dialect by name, or a file whose name ends in `.toml`.
pub(crate) fn load_dialect(name: &str) -> Result<Arc<Dialect>, String> {
    if let Some(dialect) = Dialect::builtin(name) {
        return Ok(dialect);
    }
    if Path::new(name).extension().is_none_or(|e| e != "toml") {
        let known: Vec<_> = Dialect::builtin_names().collect();
        return Err(format!("no dialect {name:?}: one of {}, or a .toml file", known.join(", ")));
    }
    let text = std::fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?;
    Dialect::load(&text, name).map(Arc::new).map_err(|error| error.to_string())
}

fn one_link(
    config: &Config,
    hsm: &SoftHsm,
    index: usize,
    link: &Link,
    spoken: Spoken,
) -> Result<Settings, Failure> {
    let at = |key: &str| format!("link[{index}].{key}");
    let key = |name: &str, place: &str| {
        hsm.key(name).ok_or_else(|| {
            config.error(&at(place), format!("no key {name:?} in {}", config.hsm.keys.display()))
        })
    };
    let framing: Framing =
        link.framing.parse().map_err(|error| config.error(&at("framing"), error))?;
    let mac = match &link.mac {
        Some(mac) => Some(MacRule {
            key: key(&mac.key, "mac.key")?,
            required: mac.required,
            bytes: mac.bytes,
        }),
        None => None,
    };
    let tls = match &link.tls {
        Some(tls) => {
            let files = TlsFiles {
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
                client_ca: tls.client_ca.clone(),
            };
            Some(Arc::new(Tls::load(files).map_err(|error| config.error(&at("tls"), error))?))
        }
        None => None,
    };
    Ok(Settings {
        id: LinkId(u16::try_from(index).unwrap_or(u16::MAX)),
        name: link.name.as_str().into(),
        listen: link.listen,
        dialect: spoken.dialect,
        map: spoken.map,
        codes: spoken.codes,
        framing,
        zpk: key(&link.zpk, "zpk")?,
        pin_block_format: link.pin_block_format,
        channel: link.channel,
        rights: link.rights,
        institution: Tag::new(link.institution.as_bytes()),
        wish: match link.active {
            ActiveWish::Product => None,
            ActiveWish::Fixed(wish) => Some(wish),
        },
        mac,
        key_exchange: None,
        in_flight_max: link.in_flight,
        connections_max: link.connections,
        timers: Timers::from_seconds(link.idle_seconds, link.frame_seconds),
        request_time: Duration::from_millis(link.request_ms.unwrap_or(config.limits.request_ms)),
        require_sign_on: link.require_sign_on,
        allow: link.allow.clone(),
        tls,
        slow_request: Duration::from_millis(config.log.slow_request_ms),
    })
}

/// Puts the switch together.
pub(crate) fn switch(
    hsm: Arc<SoftHsm>,
    store: EmbeddedStore,
    clock: SystemClock,
    rules: Rules,
) -> Arc<NodeSwitch> {
    let vault: Arc<dyn Vault> = hsm.clone();
    Arc::new(Switch::new(World { clock, hosts: NoHosts, hsm, store, vault }, rules))
}

/// A clock for the whole process.
pub(crate) fn clock() -> SystemClock {
    SystemClock::start()
}
