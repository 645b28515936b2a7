//! [`Device`]: one device as all its connections and all requests see it. Only atomics, no lock.
//!
//! **Never here:** what a connection says (`connection`), when it is made (`keeper`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use bytes::BytesMut;
use tokio::sync::{Notify, mpsc, oneshot};
use zeroize::Zeroize;

use crate::domain::clock::Now;
use crate::hsm::payshield::client::meters::Meters;
use crate::hsm::payshield::client::reply::Reply;
use crate::hsm::payshield::client::settings::DeviceSettings;
use crate::peer::breaker::{Breaker, BreakerState};

/// How a command ends.
#[derive(Debug)]
pub(super) enum Ended {
    /// The device answered.
    Answered(Reply),
    /// It got no answer in time.
    TimedOut,
    /// It went with its connection, or never got onto one.
    Broken,
}

/// Code and fields of a command, wiped when they are done with: those of BA are a clear PIN.
pub(super) struct Body(pub(super) BytesMut);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A command on its way to a connection.
#[derive(Debug)]
pub(super) struct Job {
    /// Code and fields. The header is put before it.
    pub(super) body: Body,
    /// Code.
    pub(super) command: [u8; 2],
    /// When it was made.
    pub(super) made_at: Now,
    /// Who waits.
    pub(super) waiter: Waiter,
}

/// Who waits for a command, and the place it holds.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) tell: oneshot::Sender<Ended>,
    pub(super) place: Place,
}

impl Waiter {
    /// Ends it. Nobody may listen any more.
    pub(super) fn end(self, ended: Ended) {
        // The place first, so that whoever is told can have it.
        drop(self.place);
        let _ = self.tell.send(ended);
    }
}

/// A place among a device's commands and among those of one connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    device: Arc<Device>,
    line: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.device.outstanding.fetch_sub(1, Ordering::AcqRel);
        if let Some(line) = self.device.lines.get(self.line) {
            line.outstanding.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Why a device is kept out although it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Quarantine {
    /// NC shows another LMK.
    OtherLmk {
        /// What it shows, six hex digits.
        shown: String,
    },
    /// NC shows firmware that is not on the configured list.
    OtherFirmware {
        /// What it shows.
        shown: String,
    },
    /// BU of a key does not say what the configuration says.
    Key {
        /// Name of the key.
        name: Arc<str>,
        /// What the device says of it.
        why: String,
    },
}

impl Quarantine {
    /// Whether NC said it, and says otherwise when it is over.
    pub(super) const fn is_of_diagnosis(&self) -> bool {
        matches!(self, Self::OtherLmk { .. } | Self::OtherFirmware { .. })
    }
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherLmk { shown } => write!(
                f,
                "it has another LMK (check value {shown}): load the LMK whose check value is \
                 hsm.lmk_check_value, or correct that"
            ),
            Self::OtherFirmware { shown } => write!(
                f,
                "its firmware {shown} is not on the list: add it to hsm.firmware once it is approved, \
                 or install one that is"
            ),
            Self::Key { name, why } => write!(f, "key {name}: {why}"),
        }
    }
}

/// One connection of a device, as the others see it.
pub(super) struct Line {
    jobs: mpsc::Sender<Job>,
    serves: AtomicBool,
    connected: AtomicBool,
    outstanding: AtomicUsize,
}

/// One device.
pub(super) struct Device {
    pub(super) settings: DeviceSettings,
    pub(super) breaker: Breaker,
    pub(super) meters: Meters,
    pub(super) lines: Box<[Line]>,
    outstanding: AtomicUsize,
    /// Connections that take commands.
    open: AtomicUsize,
    /// Every configured key passed its check here.
    examined: AtomicBool,
    quarantine: ArcSwapOption<Quarantine>,
    last_error: ArcSwapOption<String>,
    firmware: ArcSwapOption<String>,
    /// Connections that ended, or never came up.
    pub(super) failures: AtomicU64,
    /// A connection begins to take commands.
    pub(super) opened: Notify,
}

/// One device, for `/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// Host and port.
    pub address: String,
    /// `up`, `down`, `checking`, `quarantined`, or what its breaker says.
    pub state: &'static str,
    /// Connections that are up.
    pub connections: usize,
    /// Commands under way.
    pub in_flight: usize,
    /// Whether an operator has taken it out of service.
    pub drained: bool,
    /// Its firmware, once it told.
    pub firmware: Option<String>,
    /// Why it is quarantined, or why its last connection ended.
    pub last_error: Option<String>,
}

impl Device {
    pub(super) fn new(settings: DeviceSettings, jobs: Vec<mpsc::Sender<Job>>) -> Self {
        let line = |jobs| Line {
            jobs,
            serves: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            outstanding: AtomicUsize::new(0),
        };
        Self {
            breaker: Breaker::new(settings.breaker),
            meters: Meters::new(Arc::clone(&settings.name)),
            lines: jobs.into_iter().map(line).collect(),
            outstanding: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            examined: AtomicBool::new(false),
            quarantine: ArcSwapOption::empty(),
            last_error: ArcSwapOption::empty(),
            firmware: ArcSwapOption::empty(),
            failures: AtomicU64::new(0),
            opened: Notify::new(),
            settings,
        }
    }

    /// Whether commands of requests may go there.
    pub(super) fn is_usable(&self, now: Now) -> bool {
        self.is_open()
            && self.examined.load(Ordering::Acquire)
            && self.quarantine.load().is_none()
            && self.breaker.state(now) == BreakerState::Closed
    }

    /// Whether a connection takes commands.
    pub(super) fn is_open(&self) -> bool {
        0 < self.open.load(Ordering::Acquire)
    }

    /// Whether the keys have passed.
    pub(super) fn is_examined(&self) -> bool {
        self.examined.load(Ordering::Acquire)
    }

    /// The keys passed, or must be looked at again.
    pub(super) fn examined(&self, passed: bool) {
        self.examined.store(passed, Ordering::Release);
        if passed {
            self.release();
        }
        self.show();
    }

    /// Keeps it out. `true` when it was not kept out for the same reason before.
    pub(super) fn quarantine(&self, why: Quarantine) -> bool {
        let is_new = self.quarantine.load().as_deref() != Some(&why);
        if matches!(why, Quarantine::Key { .. }) {
            self.examined.store(false, Ordering::Release);
        }
        self.quarantine.store(Some(Arc::new(why)));
        self.meters.quarantined.set(1.0);
        self.show();
        is_new
    }

    /// Whether and why it is kept out.
    pub(super) fn quarantined(&self) -> Option<Arc<Quarantine>> {
        self.quarantine.load_full()
    }

    /// It has the right LMK, or the right keys, after all.
    pub(super) fn release(&self) {
        if self.quarantine.swap(None).is_some() {
            tracing::info!(hsm = %self.settings.name, "a device is out of quarantine");
        }
        self.meters.quarantined.set(0.0);
    }

    /// Commands under way.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::SeqCst)
    }

    /// Takes a place on the connection with the fewest commands of those that serve. `None` when all is taken.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        // SeqCst: see `Drained::has`.
        let before = self.outstanding.fetch_add(1, Ordering::SeqCst);
        let serving =
            self.lines.iter().enumerate().filter(|(_, l)| l.serves.load(Ordering::Acquire));
        let fewest = serving.min_by_key(|(_, line)| line.outstanding.load(Ordering::Relaxed));
        match fewest {
            Some((at, line)) if before < self.settings.in_flight => {
                line.outstanding.fetch_add(1, Ordering::AcqRel);
                Some(Place { device: Arc::clone(self), line: at })
            }
            _ => {
                self.outstanding.fetch_sub(1, Ordering::AcqRel);
                None
            }
        }
    }

    /// Hands a command to the connection where it has its place.
    pub(super) fn send(&self, job: Job) {
        let Some(line) = self.lines.get(job.waiter.place.line) else { return };
        if let Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) =
            line.jobs.try_send(job)
        {
            job.waiter.end(Ended::Broken);
        }
    }

    /// Connection `line` is up, or no longer.
    pub(super) fn connected(&self, line: usize, up: bool) {
        let Some(line) = self.lines.get(line) else { return };
        if line.connected.swap(up, Ordering::AcqRel) != up {
            self.meters.connections.increment(if up { 1.0 } else { -1.0 });
        }
    }

    /// Connection `line` takes commands, or no longer.
    pub(super) fn serves(&self, line: usize, serves: bool) {
        let Some(line) = self.lines.get(line) else { return };
        // Only its own connection changes it.
        if line.serves.load(Ordering::Acquire) == serves {
            return;
        }
        line.serves.store(serves, Ordering::Release);
        if serves {
            self.open.fetch_add(1, Ordering::AcqRel);
            self.opened.notify_one();
        } else {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
        self.show();
    }

    /// Brings the gauges up to date.
    pub(super) fn show(&self) {
        let up = self.is_open() && self.is_examined();
        self.meters.up.set(if up { 1.0 } else { 0.0 });
    }

    /// As [`Device::show`], and what changes with every command.
    pub(super) fn show_load(&self, now: Now) {
        self.show();
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        self.meters.in_flight.set(self.outstanding() as f64);
        let open = self.breaker.state(now) != BreakerState::Closed;
        self.meters.breaker.set(if open { 1.0 } else { 0.0 });
    }

    /// Keeps why a connection ended.
    pub(super) fn failed(&self, error: String) {
        self.last_error.store(Some(Arc::new(error)));
        self.failures.fetch_add(1, Ordering::AcqRel);
    }

    /// Its firmware, once it told.
    pub(super) fn firmware(&self) -> Option<Arc<String>> {
        self.firmware.load_full()
    }

    /// Keeps its firmware. Read first: it is told every few seconds.
    pub(super) fn has_firmware(&self, firmware: &[u8]) {
        let text = String::from_utf8_lossy(firmware);
        if self.firmware.load().as_deref().is_none_or(|known| *known != text) {
            self.firmware.store(Some(Arc::new(text.into_owned())));
        }
    }

    pub(super) fn status(&self, now: Now, drained: bool) -> DeviceStatus {
        let connected = self.lines.iter().filter(|line| line.connected.load(Ordering::Acquire));
        let quarantine = self.quarantined();
        let state = match self.breaker.state(now) {
            _ if quarantine.is_some() => "quarantined",
            _ if !self.is_open() => "down",
            _ if !self.is_examined() => "checking",
            BreakerState::Closed => "up",
            other => other.label(),
        };
        let last_error = match quarantine {
            Some(why) => Some(why.to_string()),
            None => self.last_error.load().as_deref().cloned(),
        };
        DeviceStatus {
            name: self.settings.name.to_string(),
            address: self.settings.address.to_string(),
            state,
            connections: connected.count(),
            in_flight: self.outstanding(),
            drained,
            firmware: self.firmware.load().as_deref().cloned(),
            last_error,
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.settings.name)
    }
}
