//! [`Pool`]: all devices as operations see them. Chooses one, sends, asks another once where that harms nothing.
//!
//! What may be done twice is asked of a second device when the first gave no answer, broke off, or said that it cannot
//! work; never after an answer about keys, blocks or PINs. **Never here:** what a command means (`commands`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::domain::clock::{Clock, Now};
use crate::hsm::payshield::client::connection::Shared;
use crate::hsm::payshield::client::device::{Body, Device, DeviceStatus, Ended, Job, Waiter};
use crate::hsm::payshield::client::keeper::keep;
use crate::hsm::payshield::client::reply::Reply;
use crate::hsm::payshield::client::settings::Settings;
use crate::hsm::payshield::wire::message::Envelope;
use crate::hsm::payshield::wire::{Class, Request, encode_request};

/// Whether a command may be done twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing in a device: another may be asked.
    Harmless,
    /// Once.
    Never,
}

/// No device did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

/// A device that says 47 may lack a license that another has.
const NOT_LICENSED: [u8; 2] = *b"47";

/// All devices.
pub(super) struct Pool {
    pub(super) shared: Arc<Shared>,
    pub(super) devices: Box<[Arc<Device>]>,
    turn: AtomicUsize,
    /// Two devices have shown different firmware.
    differs: AtomicBool,
    firmware: metrics::Gauge,
}

/// The connections' ends that their tasks take.
pub(super) struct Idle(Vec<(Arc<Device>, usize, mpsc::Receiver<Job>)>);

impl Pool {
    /// All devices, no task yet.
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>) -> (Self, Idle) {
        let mut idle = Vec::new();
        let mut devices = Vec::new();
        for device in &settings.devices {
            let channel = |_| mpsc::channel(device.in_flight.max(1));
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..device.connections.max(1)).map(channel).unzip();
            let device = Arc::new(Device::new(device.clone(), senders));
            let lines = receivers.into_iter().enumerate();
            idle.extend(lines.map(|(line, jobs)| (Arc::clone(&device), line, jobs)));
            devices.push(device);
        }
        let shared = Arc::new(Shared { settings, clock });
        let pool = Self {
            shared,
            devices: devices.into(),
            turn: AtomicUsize::new(0),
            differs: AtomicBool::new(false),
            firmware: metrics::gauge!("pinion_hsm_firmware_differs"),
        };
        (pool, Idle(idle))
    }

    /// Starts to connect.
    pub(super) fn start(&self, idle: Idle, tasks: &mut JoinSet<()>, stop: &watch::Receiver<bool>) {
        for (device, line, jobs) in idle.0 {
            tasks.spawn(keep(Arc::clone(&self.shared), device, line, jobs, stop.clone()));
        }
    }

    pub(super) fn now(&self) -> Now {
        self.shared.clock.now()
    }

    /// Whether a device takes commands.
    pub(super) fn is_usable(&self) -> bool {
        let now = self.now();
        self.devices.iter().any(|device| device.is_usable(now))
    }

    pub(super) fn status(&self) -> Vec<DeviceStatus> {
        let now = self.now();
        self.devices.iter().map(|device| device.status(now)).collect()
    }

    /// Tells when devices have different firmware: what one refuses another may do. Which may serve is for
    /// `hsm.firmware` to say, since an upgrade goes device by device.
    pub(super) fn compare_firmware(&self) {
        let mut known = self.devices.iter().filter_map(|device| device.firmware());
        let first = known.next();
        let differs = known.any(|other| Some(other) != first);
        self.firmware.set(if differs { 1.0 } else { 0.0 });
        if self.differs.swap(differs, Ordering::Relaxed) != differs {
            tracing::warn!(
                differs,
                "whether the firmware of the HSM's devices differs has changed: see /status"
            );
        }
    }

    /// The usable device with the fewest commands under way; those with as few take turns.
    fn choose(&self, now: Now, tried: Option<&Arc<Device>>) -> Option<&Arc<Device>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.devices.len().max(1);
        let usable = (0..count).filter_map(|step| {
            let device = self.devices.get((turn.wrapping_add(step)) % count)?;
            let is_other = tried.is_none_or(|tried| !Arc::ptr_eq(tried, device));
            (is_other && device.is_usable(now)).then_some(device)
        });
        usable.min_by_key(|device| device.outstanding())
    }

    /// Has a command done.
    ///
    /// # Errors
    /// [`NoAnswer`]: no device is usable, or none answered. Everything a device answers is an answer, but that it
    /// cannot work.
    pub(super) async fn ask(
        &self,
        request: &Request<'_>,
        repeat: Repeat,
    ) -> Result<Reply, NoAnswer> {
        let first = self.choose(self.now(), None).ok_or(NoAnswer)?;
        let answered = self.ask_of(first, request).await;
        if repeat == Repeat::Never || answered.as_ref().is_ok_and(|reply| !is_out_of_service(reply))
        {
            return answered.and_then(in_service);
        }
        let Some(second) = self.choose(self.now(), Some(first)) else {
            return answered.and_then(in_service);
        };
        first.meters.again.increment(1);
        self.ask_of(second, request).await.and_then(in_service)
    }

    /// Has a command done by one device, usable or not.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(super) async fn ask_of(
        &self,
        device: &Arc<Device>,
        request: &Request<'_>,
    ) -> Result<Reply, NoAnswer> {
        let place = device.enter().ok_or(NoAnswer)?;
        let envelope = Envelope { lmk: device.settings.lmk, ..Envelope::default() };
        // Room for all but MACs of long messages, so that growing leaves no copy of a PIN behind.
        let mut body = Body(BytesMut::with_capacity(512));
        encode_request(&envelope, request, device.settings.charset, &mut body.0);
        if usize::from(u16::MAX) < device.settings.header + body.0.len() {
            return Err(NoAnswer);
        }
        let (tell, told) = oneshot::channel();
        let waiter = Waiter { tell, place };
        let job = Job { body, command: request.code(), made_at: self.now(), waiter };
        device.send(job);
        match told.await {
            Ok(Ended::Answered(reply)) => Ok(reply),
            Ok(Ended::TimedOut | Ended::Broken) | Err(_) => Err(NoAnswer),
        }
    }
}

fn is_out_of_service(reply: &Reply) -> bool {
    reply.class() == Class::OutOfService || reply.error.0 == NOT_LICENSED
}

fn in_service(reply: Reply) -> Result<Reply, NoAnswer> {
    if is_out_of_service(&reply) { Err(NoAnswer) } else { Ok(reply) }
}
