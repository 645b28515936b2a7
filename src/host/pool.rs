//! [`Nodes`]: all nodes as the switch sees them. Books places, sends, goes on to another node while nothing has left.
//!
//! **Never here:** a second sending of what may have left (design.md rule 4), a connection's state.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::domain::clock::{Clock, Now};
use crate::domain::forward::{Forwarded, HostId, Stan};
use crate::domain::request::TransactionKey;
use crate::host::balance::{Turns, choose};
use crate::host::job::{Ended, Job, Outgoing, Place, Waiter};
use crate::host::keeper::keep;
use crate::host::keys::{KeyTaker, NewKeyError};
use crate::host::node::{Node, NodeStatus};
use crate::host::settings::{Settings, SettingsError};
use crate::host::stan::Stans;
use crate::host::write::{Form, reversal_key};
use crate::host::{Advice, Asked, Booking, Forward, Hosts, NoHost, Zone};
use crate::iso8583::EncodeError;
use crate::limits::HOST_NODES_MAX;

/// What every connection needs.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) taker: Arc<dyn KeyTaker>,
    pub(super) stans: Stans,
}

/// All nodes of one Postilion.
pub struct Nodes {
    shared: Arc<Shared>,
    form: Form,
    all: Box<[Arc<Node>]>,
    turns: Turns,
}

/// The tasks that keep connections alive. Dropping it ends them at once; [`Running::stop`] ends them in order.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Takes no more requests, waits for answers to those under way, signs off, closes. Bounded by the settings'
    /// drain time.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// No node has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no node has this name: see /status for their names")]
pub struct NoSuchNode;

impl Nodes {
    /// Starts connecting to every node. Call it inside the runtime. Trace numbers go on after `last`, if it is theirs.
    ///
    /// # Errors
    /// What in the settings cannot be written in their dialect.
    pub fn start(
        settings: Settings,
        clock: Arc<dyn Clock>,
        taker: Arc<dyn KeyTaker>,
        last: Option<Stan>,
    ) -> Result<(Arc<Self>, Running), SettingsError> {
        let form = Form::new(&settings)?;
        let stans = Stans::after(&settings.stans, last);
        let shared = Arc::new(Shared { settings, clock, taker, stans });
        let settings = &shared.settings;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut nodes = Vec::new();
        for (id, node) in (0..).zip(&settings.nodes) {
            // Places bound what waits; reversals and keys come on top.
            let channel = |_| mpsc::channel(settings.in_flight + 16);
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..settings.connections.max(1)).map(channel).unzip();
            let node = Arc::new(Node::new(HostId(id), node, settings.breaker, senders));
            for (line, jobs) in receivers.into_iter().enumerate() {
                tasks.spawn(keep(shared.clone(), node.clone(), line, jobs, stopped.clone()));
            }
            nodes.push(node);
        }
        let every = settings.new_key_every;
        let nodes = Self { shared, form, all: nodes.into(), turns: Turns::default() };
        let nodes = Arc::new(nodes);
        if let Some(every) = every {
            tasks.spawn(renew_keys(nodes.clone(), every, stopped));
        }
        Ok((nodes, Running { stop, tasks }))
    }

    /// Trace numbers go on after `last`: for a store that was not there when the nodes were started.
    pub fn go_on_after(&self, last: Option<Stan>) {
        self.shared.stans.go_on(&self.shared.settings.stans, last);
    }

    /// Every node, for `/status`.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        let now = self.shared.clock.now();
        self.all.iter().map(|node| node.status(now)).collect()
    }

    /// An operator takes a node out: no new requests, those under way end as they would.
    ///
    /// # Errors
    /// No node has this name.
    pub fn drain(&self, name: &str) -> Result<(), NoSuchNode> {
        self.named(name)?.breaker.drain(true);
        tracing::warn!(host = name, "an operator has taken a node out");
        Ok(())
    }

    /// An operator puts a node back.
    ///
    /// # Errors
    /// No node has this name.
    pub fn resume(&self, name: &str) -> Result<(), NoSuchNode> {
        self.named(name)?.breaker.drain(false);
        tracing::warn!(host = name, "an operator has put a node back");
        Ok(())
    }

    /// Asks a node for a new zone key, and waits until it is taken.
    ///
    /// # Errors
    /// Why there is no new key.
    pub async fn request_key(&self, name: &str) -> Result<(), NewKeyError> {
        let node = self.named(name).map_err(|_| NewKeyError::NoSuchNode)?;
        let (tell, told) = oneshot::channel();
        node.send(Job::NewKey(tell)).map_err(|_| NewKeyError::NotConnected)?;
        told.await.unwrap_or(Err(NewKeyError::Unanswered))
    }

    fn named(&self, name: &str) -> Result<&Arc<Node>, NoSuchNode> {
        self.all.iter().find(|node| &*node.name == name).ok_or(NoSuchNode)
    }

    /// A place at the node whose turn it is, of those not tried before.
    fn book(&self, now: Now, stan: Stan, tried: u32) -> Result<Place, NoHost> {
        let settings = &self.shared.settings;
        let mut busy = false;
        // An ejected node is better than none.
        for ejected_too in [false, true] {
            for _ in &self.all {
                let usable = self.all.iter().filter(|node| {
                    tried & bit(node.id) == 0
                        && node.is_usable(now)
                        && (ejected_too || !node.breaker.is_ejected(now))
                });
                let counted = usable.map(|node| (node, node.outstanding(), &node.turn));
                let mut full = false;
                let chosen = choose(counted.filter(|(node, outstanding, _)| {
                    let has_room = *outstanding < node.limit(now, settings);
                    full |= !has_room;
                    has_room
                }));
                busy |= full;
                let Some(node) = chosen else { break };
                // Another request may have been quicker.
                if let Some(pass) = node.enter(now, node.limit(now, settings)) {
                    self.turns.take(&node.turn);
                    return Ok(Place { node: Arc::clone(node), stan, pass, used: false });
                }
            }
        }
        Err(if busy { NoHost::Busy } else { NoHost::Down })
    }

    /// A place for a reversal: at the node of its original, else at any.
    fn book_reversal(&self, now: Now, host: HostId, stan: Stan) -> Result<Place, NoHost> {
        let own = self.all.iter().find(|node| node.id == host && node.is_usable(now));
        if let Some(node) = own
            && let Some(pass) = node.enter(now, usize::MAX)
        {
            return Ok(Place { node: Arc::clone(node), stan, pass, used: false });
        }
        self.book(now, stan, 0)
    }

    /// Sends a message, and goes on to another node for as long as not one byte of it has left.
    async fn send(
        &self,
        mut place: Place,
        switch_key: TransactionKey,
        deadline: Now,
        message: impl Fn() -> Result<bytes::BytesMut, EncodeError> + Send,
    ) -> Asked {
        let stan = place.stan;
        let mut tried = 0;
        loop {
            tried |= bit(place.node.id);
            let message = match message() {
                Ok(message) => message,
                Err(error) => {
                    tracing::error!(%error, key = %switch_key.text(), "a request cannot be written for the nodes");
                    return Asked::NotSent(NoHost::Down);
                }
            };
            let node = Arc::clone(&place.node);
            let (tell, told) = oneshot::channel();
            let waiter = Waiter { tell, place };
            let outgoing = Outgoing { message, switch_key, deadline, waiter };
            if let Err(job) = node.send(Job::Send(outgoing)) {
                job.refuse();
            }
            match told.await {
                Ok(Ended::Answered(answer)) => return Asked::Answered(answer),
                Ok(Ended::Unsent) => {}
                // A connection that ends without a word may have sent it.
                Ok(Ended::Unanswered) | Err(_) => {
                    self.judge(&node);
                    return Asked::Unknown(node.id);
                }
            }
            let now = self.shared.clock.now();
            if deadline <= now {
                return Asked::NotSent(NoHost::Busy);
            }
            place = match self.book(now, stan, tried) {
                Ok(place) => place,
                Err(why) => return Asked::NotSent(why),
            };
        }
    }

    /// Ejects a node that is clearly worse than another one that takes requests.
    fn judge(&self, node: &Arc<Node>) {
        let now = self.shared.clock.now();
        let others = self.all.iter().filter(|other| other.id != node.id && other.is_usable(now));
        let shares = others.filter(|other| !other.breaker.is_ejected(now));
        let best = shares.map(|other| other.breaker.share(now).unwrap_or(0.0)).reduce(f64::min);
        if let Some(best) = best
            && !node.breaker.is_ejected(now)
            && node.breaker.is_outlier(now, best)
        {
            let time = node.breaker.eject(now);
            tracing::warn!(host = %node.name, seconds = time.as_secs(),
                "a node answers clearly less than another: it gets no requests for a while");
        }
    }
}

/// A node's bit in the set of those tried. There are at most 16.
const fn bit(host: HostId) -> u32 {
    const { assert!(HOST_NODES_MAX <= 32, "one bit a node") };
    1 << (host.0 % 32)
}

/// Asks for a new zone key now and then: any node will do, since all share the key.
async fn renew_keys(nodes: Arc<Nodes>, every: Duration, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
        for node in &nodes.all {
            match nodes.request_key(&node.name).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!(host = %node.name, %error, "no new zone key from a node");
                }
            }
        }
    }
}

impl Hosts for Nodes {
    type Place = Place;

    fn zone(&self) -> Option<Zone> {
        (!self.all.is_empty()).then_some(self.shared.settings.zone)
    }

    fn reserve(&self) -> Result<Place, NoHost> {
        if self.all.is_empty() {
            return Err(NoHost::None);
        }
        let mut place = self.book(self.shared.clock.now(), Stan(0), 0)?;
        place.stan = self.shared.stans.take();
        Ok(place)
    }

    fn booking(&self, place: &Place) -> Booking {
        Booking { host: place.node.id, stan: place.stan }
    }

    async fn ask(&self, place: Place, forward: &Forward<'_>, deadline: Now) -> Asked {
        let own = self.shared.clock.now() + self.shared.settings.request_time;
        self.send(place, *forward.key, deadline.min(own), || self.form.change(forward)).await
    }

    async fn reverse(&self, advice: &Advice<'_>, deadline: Now) -> Asked {
        if self.all.is_empty() {
            return Asked::NotSent(NoHost::None);
        }
        let Forwarded { host, stan, .. } = *advice.forwarded;
        let place = match self.book_reversal(self.shared.clock.now(), host, stan) {
            Ok(place) => place,
            Err(why) => return Asked::NotSent(why),
        };
        let key = reversal_key(advice.original);
        self.send(place, key, deadline, || self.form.reversal(advice)).await
    }
}
