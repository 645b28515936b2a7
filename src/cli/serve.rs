//! `pinion serve`: the switch from a configuration file until a signal ends it.
//!
//! Everything is loaded and checked before a port is bound. SIGHUP reads the file again, all or nothing; SIGTERM and
//! SIGINT drain: no new work, what is under way is answered, then the store is closed.

mod certificates;
mod control;
mod status;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::card::{AnyStore, Store};
use crate::cli::Failure;
use crate::cli::agreement::Facts;
use crate::cli::boot::{self, NodeSwitch};
use crate::domain::clock::SystemClock;
use crate::host;
use crate::hsm::Hsm;
use crate::hsm::module::{Module, ReloadError};
use crate::hsm::payshield::client::{self, StartError};
use crate::http::Http;
use crate::limits::STORE_LEASE_SECONDS;
use crate::link::{self, Link, Settings};
use crate::ops::admin::Admin;
use crate::ops::config::{Config, HsmKey};
use crate::ops::harden::harden;
use crate::ops::health::{Latch, Readiness};
use crate::ops::metrics::Metrics;
use crate::ops::telemetry;
use crate::switch::{Reversals, Rules};

use certificates::Certificates;

/// How often histograms are folded and the store's and the HSM's health is looked at.
const UPKEEP: Duration = Duration::from_secs(5);
const HEALTH: Duration = Duration::from_secs(1);
/// How long the demo waits for its nodes before it begins.
const HOSTS_PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `pinion serve`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion serve --config /etc/pinion/pinion.toml")]
pub(super) struct Serve {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// A switch's link, as this binary runs it.
pub(crate) type NodeLink = Link<boot::Node>;

/// The parts of a node that is about to listen.
pub(crate) struct Node {
    /// Its configuration.
    pub(crate) config: Config,
    /// Where it was read from; `None` for the demo, which reloads nothing.
    pub(crate) file: Option<PathBuf>,
    /// Keys.
    pub(crate) hsm: Arc<Module>,
    /// Cards and journal.
    pub(crate) store: AnyStore,
    /// Time.
    pub(crate) clock: SystemClock,
    /// Products and routes.
    pub(crate) rules: Rules,
    /// Its links.
    pub(crate) links: Vec<Settings>,
    /// How to reach the nodes of Postilion, where there are any.
    pub(crate) hosts: Option<boot::Plan>,
    /// The HTTP doors, where there are any.
    pub(crate) doors: Option<boot::Doors>,
    /// The process's metrics.
    pub(crate) metrics: Metrics,
}

impl Serve {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        let _log = telemetry::init(&config.log).context("log")?;
        if let Err(error) = harden() {
            tracing::warn!(%error, "core files cannot be switched off");
        }
        let metrics = Metrics::install().context("metrics")?;
        let clock = boot::clock();
        let hsm = boot::open_hsm(&config, clock)?;
        let rules = boot::rules(&config, &*hsm)?;
        let links = boot::links(&config, &*hsm)?;
        let hosts = boot::plan(&config, &*hsm)?;
        let doors = boot::doors(&config, &*hsm)?;
        let runtime = runtime(&config)?;
        let store = runtime.block_on(boot::open_store(&config, hsm.clone(), clock))?;
        config.warnings().iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
        let file = Some(self.config.clone());
        let node = Node { config, file, hsm, store, clock, rules, links, hosts, doors, metrics };
        runtime.block_on(async {
            let devices = connect(&node.config, &node.hsm).await?;
            let running = Running::start(node, devices)?;
            running.until_told().await
        })?;
        // Connections are drained; nothing that is left needs to be waited for.
        runtime.shutdown_background();
        Ok(())
    }
}

/// The runtime the configuration asks for: as many workers as cores unless it says otherwise.
pub(crate) fn runtime(config: &Config) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if 0 < config.limits.workers {
        builder.worker_threads(config.limits.workers);
    }
    let runtime = builder.thread_name("pinion").enable_all().build();
    Ok(runtime.context("cannot start the runtime")?)
}

/// Connects to the devices of the HSM, if it has any. A key that is not what the configuration says refuses the start.
pub(crate) async fn connect(
    config: &Config,
    hsm: &Module,
) -> Result<Option<client::Running>, Failure> {
    hsm.start().await.map_err(|error| key_refused(config, &error))
}

/// The place in the file of a key that a device says is another.
fn key_refused(config: &Config, error: &StartError) -> Failure {
    let named = |key: &HsmKey| error.key() == Some(key.name.as_str());
    let index = config.hsm.keys_of_devices.iter().position(named);
    let place = index.map_or_else(|| "hsm.key".to_owned(), |index| format!("hsm.key[{index}]"));
    config.error(&place, error).into()
}

/// A node that listens.
pub(crate) struct Running {
    node: Arc<NodeState>,
    file: Option<PathBuf>,
    drain: watch::Sender<bool>,
    serving: JoinSet<()>,
    /// Workers that send reversals. They end with this.
    reversing: JoinSet<()>,
    hosts: Option<host::Running>,
    devices: Option<client::Running>,
}

struct NodeState {
    config: Config,
    hsm: Arc<Module>,
    switch: Arc<NodeSwitch>,
    links: Vec<Arc<NodeLink>>,
    http: Option<Arc<Http<boot::Node>>>,
    readiness: Arc<Readiness>,
    /// What is told to the other switches of a database.
    facts: ArcSwap<Facts>,
    certificates: Certificates,
}

impl Running {
    /// Binds every port, then serves. To be called within the runtime.
    pub(crate) fn start(node: Node, devices: Option<client::Running>) -> Result<Self, Failure> {
        let Node { config, file, hsm, store, clock, rules, links, hosts, doors, metrics } = node;
        let boot::Assembled { switch, hosts, reversals } =
            boot::assemble(hsm.clone(), store, clock, rules, hosts)?;
        let mut bound = Vec::new();
        for settings in links {
            let listener = link::bind(settings.listen)
                .with_context(|| format!("link {}: {}", settings.name, settings.listen))?;
            bound.push((Arc::new(Link::new(settings, switch.clone())), listener));
        }
        let admin = link::bind(config.admin.listen)
            .with_context(|| format!("admin: {}", config.admin.listen))?;

        let doors = match doors {
            Some(doors) => {
                let (settings, clients) = doors.split(None);
                let listener = link::bind(settings.listen)
                    .with_context(|| format!("http: {}", settings.listen))?;
                Some((Arc::new(Http::new(settings, clients, switch.clone())), listener))
            }
            None => None,
        };

        let links = bound.iter().map(|(link, _)| link.clone()).collect();
        let http = doors.as_ref().map(|(http, _)| http.clone());
        let readiness = Arc::new(Readiness::new());
        let facts = ArcSwap::from_pointee(Facts::of(&config, &hsm));
        let certificates = Certificates::default();
        certificates.tell(&config);
        let state = NodeState { config, hsm, switch, links, http, readiness, facts, certificates };
        let state = Arc::new(state);
        let (drain, drained) = watch::channel(false);
        let mut serving = JoinSet::new();
        for (link, listener) in bound {
            tracing::info!(link = link.name(), listen = %link.settings().listen, "listening");
            serving.spawn(link::serve(link, listener, drained.clone()));
        }
        if let Some((http, listener)) = doors {
            tracing::info!(link = "http", listen = %http.settings().listen, "listening");
            serving.spawn(crate::http::serve(http, listener, drained));
        }
        state.readiness.open(Latch::Links);
        metrics.spawn_upkeep(UPKEEP);
        tokio::spawn(watch_health(state.clone()));
        serve_admin(&state, metrics, admin);
        let mut reversing = JoinSet::new();
        for worker in reversals {
            reversing.spawn(reverse(worker, state.switch.clone()));
        }
        Ok(Self { node: state, file, drain, serving, reversing, hosts, devices })
    }

    /// Waits until every node takes requests, for a few seconds at most.
    pub(crate) async fn until_hosts_are_up(&self) {
        let Some(hosts) = self.node.switch.hosts() else { return };
        let up = async {
            while hosts.status().iter().any(|node| node.signed_on == 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(HOSTS_PATIENCE, up).await.is_err() {
            tracing::warn!("not every node takes requests yet");
        }
    }

    /// Serves until SIGTERM or SIGINT, reloading on SIGHUP, and drains.
    pub(crate) async fn until_told(mut self) -> Result<(), Failure> {
        let mut terminate = signal(SignalKind::terminate()).context("signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
        let mut reload = signal(SignalKind::hangup()).context("signals")?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = reload.recv() => self.reload().await,
            }
        }
        self.drain().await;
        Ok(())
    }

    /// Takes no new work, lets what is under way be answered, closes the store.
    pub(crate) async fn drain(&mut self) {
        let node = &self.node;
        node.readiness.close(Latch::Draining, "draining");
        tracing::info!("draining");
        // Nobody listens any more only when every connection is gone.
        let _ = self.drain.send(true);
        let all = async { while self.serving.join_next().await.is_some() {} };
        let patience = Duration::from_secs(node.config.limits.drain_seconds);
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("connections still open after drain_seconds are closed");
        }
        // What they were sending stays unsettled, and is sent again after the next start.
        self.reversing.abort_all();
        if let Some(hosts) = self.hosts.take() {
            hosts.stop().await;
        }
        if let Some(devices) = self.devices.take() {
            devices.stop().await;
        }
        // Whoever takes over what this switch leaves need not wait for its leases to run out.
        let closed = node.switch.store().close();
        if tokio::time::timeout(Duration::from_secs(STORE_LEASE_SECONDS), closed).await.is_err() {
            tracing::warn!(
                "the database does not take the leases back: they run out by themselves"
            );
        }
        tracing::info!("stopped");
    }

    async fn reload(&self) {
        let Some(file) = &self.file else { return };
        match self.node.reload(file).await {
            Ok(()) => tracing::info!(file = %file.display(), "configuration reloaded"),
            Err(failure) => {
                tracing::error!(error = %failure, "reload refused, the configuration in force stays");
            }
        }
    }
}

impl NodeState {
    /// Keys, products, routes, rights and bounds from the files, all or nothing.
    async fn reload(&self, file: &Path) -> Result<(), Failure> {
        let config = Config::load(file)?;
        let refused = |error: ReloadError| match error {
            ReloadError::Device(error) => key_refused(&config, &error),
            error => Failure::Config(error.to_string()),
        };
        let plan = boot::key_plan(&config, Some(&self.config))?;
        let keys = self.hsm.reread(plan.as_ref()).map_err(refused)?;
        let rules = boot::rules(&config, &keys)?;
        let settings = boot::links(&config, &keys)?;
        for (index, (link, new)) in self.links.iter().zip(&settings).enumerate() {
            let old = link.settings();
            let same = old.name == new.name
                && old.listen == new.listen
                && old.dialect.name() == new.dialect.name()
                && old.framing == new.framing;
            if !same {
                let reason =
                    "name, listen, dialect and framing of a link change only with a restart";
                return Err(config.error(&format!("link[{index}]"), reason).into());
            }
        }
        if settings.len() != self.links.len() {
            return Err(config
                .error("link", "links are added and removed only with a restart")
                .into());
        }
        let doors = boot::doors(&config, &keys)?;
        let listens = doors.as_ref().map(|doors| doors.settings.listen);
        if listens != self.http.as_ref().map(|http| http.settings().listen) {
            let reason = "the doors are opened, closed and moved only with a restart";
            return Err(config.error("http.listen", reason).into());
        }
        self.hsm.examine(&keys).await.map_err(refused)?;
        // The last thing that can be refused.
        self.hsm.adopt(&keys).map_err(refused)?;
        for (link, new) in self.links.iter().zip(settings) {
            link.reload(new);
        }
        if let (Some(http), Some(doors)) = (&self.http, doors) {
            let (settings, clients) = doors.split(Some(&http.clients()));
            http.reload(settings, clients);
        }
        self.switch.reload(rules);
        self.certificates.tell_again(&config);
        self.facts.store(Arc::new(Facts::of(&config, &self.hsm)));
        Ok(())
    }
}

fn serve_admin(state: &Arc<NodeState>, metrics: Metrics, listener: TcpListener) {
    let provider = {
        let state = state.clone();
        Arc::new(move || state.status())
    };
    let readiness = state.readiness.clone();
    let admin = Admin::new(metrics, readiness, provider).with_control(state.clone());
    tokio::spawn(admin.serve(listener, std::future::pending()));
}

/// Keeps the latches of store and HSM true to what they say of themselves.
async fn watch_health(state: Arc<NodeState>) {
    let mut tick = tokio::time::interval(HEALTH);
    let mut was_there = state.switch.store().health().is_ok();
    let mut told = None;
    loop {
        tick.tick().await;
        let store = state.switch.store();
        match store.health() {
            Ok(()) => {
                // A database that was away at the start knows the last trace number only now.
                if !was_there && let Some(hosts) = state.switch.hosts() {
                    hosts.go_on_after(store.last_stan());
                }
                was_there = true;
                // At the start, and after each reload: whoever compares sees what is in force.
                let facts = state.facts.load_full();
                let is_told = told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &facts));
                if !is_told && store.leave_facts(&facts.to_bytes()).await.is_ok() {
                    told = Some(facts);
                }
                state.readiness.open(Latch::Store);
            }
            Err(error) => {
                let why = store.status().poisoned.unwrap_or_else(|| error.to_string());
                state.readiness.close(Latch::Store, why);
            }
        }
        match state.hsm.diagnose().await {
            Ok(()) => state.readiness.open(Latch::Hsm),
            Err(error) => state.readiness.close(Latch::Hsm, error.to_string()),
        }
        match state.switch.hosts() {
            Some(hosts) if hosts.status().iter().all(|node| node.signed_on == 0) => {
                state.readiness.close(Latch::Hosts, "no node of Postilion takes requests");
            }
            Some(_) | None => state.readiness.open(Latch::Hosts),
        }
        state.tell_latches();
        state.tell_store();
    }
}

/// Runs one worker: it says how long to wait. Without a wait it still lets others run.
async fn reverse(mut worker: Reversals, switch: Arc<NodeSwitch>) {
    loop {
        let wait = worker.step(&switch).await;
        if wait.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(wait).await;
        }
    }
}
