//! Settings of every link: dialects loaded, names of keys resolved, certificates read.
//!
//! **Never here:** sockets.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::Failure;
use crate::domain::pin::KeyId;
use crate::domain::request::{LinkId, Tag};
use crate::hsm::key::KeyType;
use crate::hsm::module::KeyBook;
use crate::hsm::soft::KeyInfo;
use crate::iso8583::Dialect;
use crate::iso8583::frame::Framing;
use crate::link::session::Timers;
use crate::link::{Codes, KeyExchange, KsnPlace, MacRule, PinKey, PinMap, Settings, Wish};
use crate::ops::config::{ActiveWish, Config, Link};
use crate::tls::{Tls, TlsFiles};

/// Settings of every link, in the order of the file.
pub(crate) fn links(config: &Config, hsm: &dyn KeyBook) -> Result<Vec<Settings>, Failure> {
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
    hsm: &dyn KeyBook,
    index: usize,
    link: &Link,
    spoken: Spoken,
) -> Result<Settings, Failure> {
    let place = Place { config, hsm, index };
    let pin_key = place.pin_key(link, &spoken.dialect)?;
    let framing: Framing =
        link.framing.parse().map_err(|error| config.error(&place.at("framing"), error))?;
    let mac = match &link.mac {
        Some(mac) => Some(MacRule {
            key: place.key("mac.key", &mac.key, KeyType::Zak)?,
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
            Some(Arc::new(Tls::load(files).map_err(|error| config.error(&place.at("tls"), error))?))
        }
        None => None,
    };
    let key_exchange = match &link.key_exchange {
        Some(exchange) => Some(KeyExchange {
            zmk: place.key("key_exchange.zmk", &exchange.zmk, KeyType::Zmk)?,
            grace: Duration::from_secs(exchange.grace_seconds),
        }),
        None => None,
    };
    let wish = wish(config, index, link, &spoken)?;
    Ok(Settings {
        id: LinkId(u16::try_from(index).unwrap_or(u16::MAX)),
        name: link.name.as_str().into(),
        listen: link.listen,
        dialect: spoken.dialect,
        map: spoken.map,
        codes: spoken.codes,
        framing,
        pin_key,
        pin_block_format: link.pin_block_format,
        channel: link.channel,
        rights: link.rights,
        institution: Tag::new(link.institution.as_bytes()),
        wish,
        mac,
        key_exchange,
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

/// One link's place in the configuration, where names of keys are resolved.
struct Place<'a> {
    config: &'a Config,
    hsm: &'a dyn KeyBook,
    index: usize,
}

impl Place<'_> {
    fn at(&self, key: &str) -> String {
        format!("link[{}].{key}", self.index)
    }

    /// The key of that name, if it is of the type that is wanted there.
    fn key(&self, at: &str, name: &str, wanted: KeyType) -> Result<KeyId, Failure> {
        let refuse = |reason: String| self.config.error(&self.at(at), reason);
        let id = self.hsm.key(name).ok_or_else(|| refuse(self.config.hsm.no_key(name)))?;
        let found = self.hsm.keys().into_iter().find(|info| info.id == id);
        match found.filter(|info| info.key_type != wanted) {
            None => Ok(id),
            Some(KeyInfo { key_type, .. }) => {
                Err(refuse(format!("{name:?} is a {key_type}: name a {wanted}")).into())
            }
        }
    }

    /// What the link's PIN blocks are under.
    fn pin_key(&self, link: &Link, dialect: &Dialect) -> Result<PinKey, Failure> {
        let ksn = |at: &str, text: &str| {
            let refuse = |reason| self.config.error(&self.at(at), reason);
            KsnPlace::new(text, dialect).map_err(refuse)
        };
        let (Some(bdk), Some(place)) = (&link.pin_bdk, &link.ksn_field) else {
            let zpk = link.zpk.as_deref().unwrap_or_default();
            return Ok(PinKey::Zone(self.key("zpk", zpk, KeyType::Zpk)?));
        };
        Ok(PinKey::Derived {
            bdk: self.key("pin_bdk", bdk, KeyType::Bdk)?,
            ksn: ksn("ksn_field", place)?,
            new_ksn: match &link.new_ksn_field {
                Some(place) => Some(ksn("new_ksn_field", place)?),
                None => None,
            },
        })
    }
}

/// Where the wish of a link's requests comes from.
fn wish(config: &Config, index: usize, link: &Link, spoken: &Spoken) -> Result<Wish, Failure> {
    match link.active {
        ActiveWish::Product => Ok(Wish::Fixed(None)),
        ActiveWish::Fixed(wish) => Ok(Wish::Fixed(Some(wish))),
        ActiveWish::Message if spoken.map.carries_wish() => Ok(Wish::Message),
        ActiveWish::Message => {
            let (name, dialect) = (&link.name, spoken.dialect.name());
            let reason = format!(
                "link {name:?} cannot take the wish from its messages: dialect {dialect:?} names no \
                 element for it, `active` in [pin_change]"
            );
            Err(config.error(&format!("link[{index}].active"), reason).into())
        }
    }
}
