//! A simulated Postilion: nodes that listen side by side and share one set of cards, as active-active nodes do.
//!
//! It is honest by default: it opens PIN blocks with its own arithmetic, verifies and changes PINs, answers repeats
//! with the original answer, reverses, exchanges keys. On command it is faulty ([`FaultRules`]). Its cards are test
//! cards, so its admin port and its file show PINs. It knows nothing of the switch it is used to test: neither `pin`
//! nor the `[pin_change]` sections of dialects.
//!
//! ```text
//! connection ── turn ──► core ──► book      (who has which PIN, what was asked, what was reversed)
//!   socket      frames    │  ├──► zone      (keys, PIN blocks)
//!               faults    │  └──► journal   (a line before the answer)
//!   admin ──────────────► ┘
//! ```
//!
//! **Never here:** production keys or cards. Where next: `book` for what it believes, `turn` for what it does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::card::generate;
use crate::domain::pan::Pan;
use crate::iso8583::Dialect;
use crate::limits::SIM_NODES_MAX;
use crate::sim::world::{World, WorldRoute};

mod admin;
mod ask;
mod book;
mod connection;
mod core;
mod event;
mod fault;
mod journal;
mod push;
mod shared;
#[cfg(test)]
mod tests;
mod turn;
mod view;
mod word;
mod zone;

use self::book::Book;
use self::core::{Core, Node};
use self::journal::Journal;
use self::shared::Shared;
use self::word::Word;
use self::zone::{KeyRing, Pin, ZoneKey};

pub use self::fault::{FaultError, FaultKind, FaultRule, FaultRules};
pub use self::journal::JournalError;

/// Generated test cards, numbered as `pinion cards generate` numbers them.
#[derive(Clone, Debug)]
pub struct TestCards {
    /// Their BIN.
    pub bin: String,
    /// Which sequence of them.
    pub seed: u64,
    /// How many.
    pub count: u64,
    /// The PIN all of them start with: 4 to 12 digits.
    pub pin: String,
}

/// What to simulate.
#[derive(Debug)]
pub struct Options {
    /// One node listens on each. Port 0 takes any.
    pub listen: Vec<SocketAddr>,
    /// Where the admin port listens, if anywhere.
    pub admin: Option<SocketAddr>,
    /// Directory of the file; without one the state ends with the process.
    pub data: Option<PathBuf>,
    /// Seed of the faults.
    pub seed: u64,
    /// Cards beside those of the world.
    pub cards: Option<TestCards>,
    /// Name of the zone key in the demo world: the key of PIN blocks at the start.
    pub zpk: String,
    /// Name of the zone master key in the demo world, under which new zone keys are handed out.
    pub zmk: String,
    /// Whether requests are refused before a sign-on.
    pub sign_on_needed: bool,
    /// Whether it may listen on other than loopback addresses.
    pub allow_remote: bool,
}

impl Options {
    /// The demo world's keys and cards, no nodes yet.
    #[must_use]
    pub fn new(listen: Vec<SocketAddr>, admin: Option<SocketAddr>) -> Self {
        Self {
            listen,
            admin,
            data: None,
            seed: 1,
            cards: None,
            zpk: "zpk.postilion".to_owned(),
            zmk: "zmk.partner".to_owned(),
            sign_on_needed: true,
            allow_remote: false,
        }
    }
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be bound.
    #[error("{address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Generated cards do not fit.
    #[error(
        "test cards: a BIN of 1 to 14 digits with room for {count}, and a PIN of 4 to 12 digits"
    )]
    Cards {
        /// How many were asked for.
        count: u64,
    },
    /// The file cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No such key in the demo world.
    #[error("{name}: no triple-DES key of 16 bytes by that name in the demo world")]
    Key {
        /// Its name.
        name: String,
    },
    /// How many nodes there may be.
    #[error("1 to {SIM_NODES_MAX} nodes, each with an address to listen on")]
    Nodes,
    /// It would be open to others.
    #[error(
        "{address}: not loopback; its cards are shown to whoever asks, so that must be allowed"
    )]
    Remote {
        /// The address.
        address: SocketAddr,
    },
    /// The embedded world or dialect is broken.
    #[error("the demo world or the dialect in this program is broken")]
    World,
}

/// A simulator that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    nodes: Vec<SocketAddr>,
    admin: Option<(SocketAddr, JoinHandle<()>)>,
}

impl Running {
    /// Where the nodes listen, in the order they were asked for.
    #[must_use]
    pub fn nodes(&self) -> &[SocketAddr] {
        &self.nodes
    }

    /// Where the admin port listens.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(address, _)| *address)
    }

    /// Tells nodes what to do wrong from now on, as `POST /faults` does.
    ///
    /// # Errors
    /// [`FaultError`] if the rules make no sense.
    pub fn tell(&self, rules: &FaultRules) -> Result<(), FaultError> {
        self.shared.core().tell(rules)
    }

    /// The state as `GET /state` shows it.
    #[must_use]
    pub fn state(&self) -> serde_json::Value {
        let places = view::places(&self.shared);
        let core = self.shared.core();
        serde_json::json!(view::state(&core, &places, false))
    }

    /// One card as `GET /cards/{pan}` shows it.
    #[must_use]
    pub fn card(&self, pan: &Pan) -> Option<serde_json::Value> {
        let core = self.shared.core();
        let digits = std::str::from_utf8(pan.expose_digits()).ok()?;
        Some(view::card(&core.book, core.book.card(digits)?))
    }

    /// Closes the listener and the connections of one node, counted from 1, as `POST /nodes/{n}/stop` does.
    pub async fn stop_node(&self, number: usize) {
        if let Some(index) = number.checked_sub(1) {
            self.shared.stop(index).await;
        }
    }

    /// Opens the node's listener again, on the same address.
    ///
    /// # Errors
    /// The address has been taken by somebody else.
    pub async fn start_node(&self, number: usize) -> std::io::Result<()> {
        match number.checked_sub(1) {
            Some(index) => self.shared.start(index).await,
            None => Ok(()),
        }
    }

    /// Stops everything; ports are free when it returns.
    pub async fn stop(mut self) {
        for index in 0..self.nodes.len() {
            self.shared.stop(index).await;
        }
        if let Some((_, task)) = self.admin.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop_all();
        if let Some((_, task)) = &self.admin {
            task.abort();
        }
    }
}

/// Starts the simulator on the runtime it is called from: every port is bound, or nothing is.
///
/// # Errors
/// [`StartError`] says what to change.
pub async fn start(options: Options) -> Result<Running, StartError> {
    if options.listen.is_empty() || SIM_NODES_MAX < options.listen.len() {
        return Err(StartError::Nodes);
    }
    let mut all = options.listen.iter().chain(&options.admin);
    if let Some(address) = all.find(|a| !a.ip().is_loopback()).filter(|_| !options.allow_remote) {
        return Err(StartError::Remote { address: *address });
    }
    Dialect::builtin(connection::DIALECT).ok_or(StartError::World)?;
    let core = core_of(&options)?;
    let mut listeners = Vec::new();
    for address in &options.listen {
        listeners.push(bind(*address).await?);
    }
    let nodes: Vec<_> = listeners.iter().map(|(address, _)| *address).collect();
    let admin = match options.admin {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let shared = Shared::new(core, &nodes);
    for (index, (_, listener)) in listeners.into_iter().enumerate() {
        shared.serve(index, listener);
    }
    let admin = admin.map(|(address, listener)| {
        let server = axum::serve(listener, admin::router(Arc::clone(&shared)));
        // It ends when the simulator does.
        (address, tokio::spawn(async { drop(server.await) }))
    });
    Ok(Running { shared, nodes, admin })
}

async fn bind(address: SocketAddr) -> Result<(SocketAddr, TcpListener), StartError> {
    let failed = |source| StartError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}

fn core_of(options: &Options) -> Result<Core, StartError> {
    let world = World::embedded().map_err(|_| StartError::World)?;
    let key = |name: &String| {
        let clear = Zeroizing::new(world.clear_key(name).unwrap_or_default().to_vec());
        ZoneKey::new(&clear).ok_or_else(|| StartError::Key { name: name.clone() })
    };
    let (zpk, zmk) = (key(&options.zpk)?, key(&options.zmk)?);
    let mut book = Book::default();
    for card in &world.cards {
        let product = world.products.get(&card.product);
        if product.is_some_and(|product| product.route == WorldRoute::Postilion) {
            let pin = Pin::new(card.pin_for_tests.expose_digits()).ok_or(StartError::World)?;
            book.add_card(number_of(&card.pan).ok_or(StartError::World)?, pin);
        }
    }
    if let Some(cards) = &options.cards {
        let wrong = || StartError::Cards { count: cards.count };
        let pin = Pin::new(cards.pin.as_bytes()).filter(Pin::has_a_pins_length);
        let pin = pin.ok_or_else(wrong)?;
        for index in 0..cards.count {
            let pan = generate::pan(&cards.bin, cards.seed, index).ok_or_else(wrong)?;
            book.add_card(number_of(&pan).ok_or_else(wrong)?, pin);
        }
    }
    let nodes = (1..=options.listen.len()).map(|number| Node::new(options.seed, number));
    let nodes = nodes.collect();
    let mut core = Core::new(book, KeyRing::new(zpk), zmk, nodes, options.sign_on_needed);
    if let Some(directory) = &options.data {
        let journal = Journal::open(directory, |event| core.replay(&event))?;
        core.keep(journal);
    }
    Ok(core)
}

fn number_of(pan: &Pan) -> Option<Word<19>> {
    Word::new(pan.expose_digits())
}
