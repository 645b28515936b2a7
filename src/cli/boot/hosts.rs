//! The nodes of Postilion from the configuration: keys and dialect resolved, everything checked before a port is bound.
//!
//! **Never here:** sockets: `Plan::start` is called when the switch is about to serve.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use crate::cli::Failure;
use crate::cli::boot::{NodeSwitch, load_dialect};
use crate::domain::clock::SystemClock;
use crate::domain::exchange::WrappedKey;
use crate::domain::forward::Stan;
use crate::domain::outcome::HostCode;
use crate::domain::pin::KeyId;
use crate::domain::request::Tag;
use crate::host::{
    self, BreakerRule, KeyTaker, NodeSettings, Nodes, Refused, Settings, Side, Timers, Zone,
};
use crate::hsm::ImportRefused;
use crate::hsm::module::KeyBook;
use crate::ops::config::{Config, NewPinSide, Postilion};
use crate::switch::{KeyOffer, Pace};

/// Time a begun frame of a node may take to complete.
const FRAME: Duration = Duration::from_secs(10);
/// How long answers are waited for when the switch stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Terminal (DE 41) of requests that name none.
const TERMINAL: &[u8] = b"PINION00";

/// What is needed to connect to the nodes.
#[derive(Debug)]
pub(crate) struct Plan {
    settings: Settings,
    /// How their reversals are paced.
    pub(crate) pace: Pace,
    /// Which key their new zone keys come under, and how long the old one stays good.
    exchange: Option<(KeyId, Duration)>,
}

/// Checks `[postilion]` and resolves its names.
pub(crate) fn plan(config: &Config, hsm: &dyn KeyBook) -> Result<Option<Plan>, Failure> {
    let Some(postilion) = &config.postilion else { return Ok(None) };
    let at = |key: &str| format!("postilion.{key}");
    let key = |name: &str, place: &str| {
        hsm.key(name).ok_or_else(|| config.error(&at(place), config.hsm.no_key(name)))
    };
    let millis = Duration::from_millis;
    let exchange = match &postilion.key_exchange {
        Some(exchange) => Some((
            key(&exchange.zmk, "key_exchange.zmk")?,
            Duration::from_secs(exchange.grace_seconds),
        )),
        None => None,
    };
    let dialect = load_dialect(&postilion.dialect);
    let framing = postilion.framing.parse();
    let settings = Settings {
        dialect: dialect.map_err(|reason| config.error(&at("dialect"), reason))?,
        framing: framing.map_err(|error| config.error(&at("framing"), error))?,
        zone: Zone { key: key(&postilion.zpk, "zpk")?, format: postilion.pin_block_format },
        new_pin: match postilion.new_pin_side {
            NewPinSide::First => Side::First,
            NewPinSide::Last => Side::Last,
        },
        institution: Tag::new(postilion.institution.as_bytes()),
        forwarding_institution: Tag::new(postilion.forwarding_institution.as_bytes()),
        terminal: Tag::new(TERMINAL),
        request_time: millis(postilion.request_ms),
        connections: postilion.connections,
        in_flight: postilion.in_flight,
        timers: Timers {
            echo: Duration::from_secs(postilion.echo_seconds),
            answer: Duration::from_secs(postilion.echo_answer_seconds),
            frame: FRAME,
            drain: DRAIN,
        },
        sign_on: postilion.sign_on,
        connect_time: millis(postilion.connect_ms),
        reconnect: millis(postilion.reconnect_ms),
        reconnect_max: millis(postilion.reconnect_max_ms),
        match_fields: postilion.match_fields.clone(),
        approved: codes(&postilion.approved),
        codes: mapped(postilion),
        retry_codes: codes(&postilion.reversals.retry_codes),
        fields: postilion.fields.clone(),
        breaker: BreakerRule {
            failures: postilion.breaker.failures,
            open: millis(postilion.breaker.open_ms),
            eject_share: postilion.breaker.eject_share,
        },
        new_key_every: postilion
            .key_exchange
            .as_ref()
            .and_then(|exchange| exchange.every_hours)
            .map(|hours| Duration::from_hours(hours.into())),
        stans: Stan(postilion.stan.first)..=Stan(postilion.stan.last),
        nodes: postilion.nodes.iter().map(node).collect(),
    };
    settings.check().map_err(|error| config.error("postilion", error))?;
    let pace = Pace {
        first: millis(postilion.reversals.first_ms),
        retry: millis(postilion.reversals.retry_ms),
        retry_max: millis(postilion.reversals.retry_max_ms),
        answer: settings.request_time,
        alarm: Duration::from_secs(postilion.reversals.alarm_seconds),
    };
    Ok(Some(Plan { settings, pace, exchange }))
}

/// Codes were checked when the configuration was read.
fn codes(texts: &[String]) -> Vec<HostCode> {
    texts.iter().filter_map(|text| HostCode::new(text.as_bytes())).collect()
}

fn mapped(postilion: &Postilion) -> Vec<(HostCode, crate::domain::outcome::Reason)> {
    let code = |text: &String| HostCode::new(text.as_bytes());
    postilion.codes.iter().filter_map(|(text, reason)| Some((code(text)?, *reason))).collect()
}

fn node(node: &crate::ops::config::HostNode) -> NodeSettings {
    NodeSettings { name: node.name.as_str().into(), address: node.address.to_string().into() }
}

impl Plan {
    /// Names of the nodes, in the order of their numbers.
    pub(crate) fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.settings.nodes.iter().map(|node| node.name.clone())
    }

    /// Starts connecting. `taker` gets its switch once there is one.
    pub(crate) fn start(
        self,
        clock: SystemClock,
        last: Option<Stan>,
    ) -> Result<(Arc<Nodes>, host::Running, Arc<Taker>), Failure> {
        let (zpk, exchange) = (self.settings.zone.key, self.exchange);
        let taker = Arc::new(Taker { switch: Arc::default(), zpk, exchange });
        let (nodes, running) = Nodes::start(self.settings, Arc::new(clock), taker.clone(), last)
            .map_err(|error| Failure::Config(error.to_string()))?;
        Ok((nodes, running, taker))
    }
}

/// Takes new zone keys from nodes: hands them to the switch.
#[derive(Clone)]
pub(crate) struct Taker {
    switch: Arc<OnceLock<Weak<NodeSwitch>>>,
    zpk: KeyId,
    exchange: Option<(KeyId, Duration)>,
}

impl Taker {
    /// From now on keys can be taken.
    pub(crate) fn serve(&self, switch: &Arc<NodeSwitch>) {
        // Set once, by whoever started the nodes.
        let _ = self.switch.set(Arc::downgrade(switch));
    }

    async fn give(self, field: Zeroizing<Vec<u8>>) -> Result<(), Refused> {
        let refused = |code: &[u8; 2]| Refused { code: *code };
        let (zmk, grace) = self.exchange.ok_or_else(|| refused(b"58"))?;
        let switch = self.switch.get().and_then(Weak::upgrade).ok_or_else(|| refused(b"91"))?;
        let wrapped = WrappedKey::from_field(&field).map_err(|_| refused(b"30"))?;
        let (peer, key) = ("postilion", self.zpk);
        let offer = KeyOffer { peer, key, zmk, wrapped: &wrapped, grace };
        match switch.take_key(offer).await {
            Ok(_) => Ok(()),
            Err(ImportRefused::CheckValueWrong { .. } | ImportRefused::Key(_)) => {
                Err(refused(b"88"))
            }
            Err(ImportRefused::Unavailable) => Err(refused(b"86")),
            Err(_) => Err(refused(b"96")),
        }
    }
}

impl KeyTaker for Taker {
    fn take(&self, field: &[u8]) -> BoxFuture<'_, Result<(), Refused>> {
        let field = Zeroizing::new(field.to_vec());
        // A task of its own: the connection may break while the key is being kept, and then it is kept all the same.
        let given = tokio::spawn(self.clone().give(field));
        Box::pin(async move { given.await.unwrap_or(Err(Refused { code: *b"96" })) })
    }
}
