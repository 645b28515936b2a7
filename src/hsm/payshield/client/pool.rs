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
use crate::hsm::payshield::client::device::{
    Body, Device, DeviceStatus, Ended, Job, Place, Waiter,
};
use crate::hsm::payshield::client::drain::{DrainRefused, Drained};
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
    /// Those an operator has taken out of service.
    drained: Drained,
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
            drained: Drained::default(),
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
        let mut devices = self.devices.iter().enumerate();
        devices.any(|(index, device)| device.is_usable(now) && !self.drained.has(index))
    }

    pub(super) fn status(&self) -> Vec<DeviceStatus> {
        let now = self.now();
        let devices = self.devices.iter().enumerate();
        devices.map(|(index, device)| device.status(now, self.drained.has(index))).collect()
    }

    /// Gives a device no further commands of requests; it is asked after its health as before. What it has under way.
    ///
    /// # Errors
    /// There is no such device; or no other takes commands, and nobody said `force`.
    pub(super) fn drain(&self, name: &str, force: bool) -> Result<usize, DrainRefused> {
        let (index, device) = self.named(name)?;
        let now = self.now();
        let may = |is_drained: &dyn Fn(usize) -> bool| {
            let mut others = self.devices.iter().enumerate();
            force
                || !device.is_usable(now)
                || others.any(|(at, d)| at != index && !is_drained(at) && d.is_usable(now))
        };
        if !self.drained.add(index, may) {
            return Err(DrainRefused::Last { name: name.into() });
        }
        device.meters.drained.set(1.0);
        Ok(device.outstanding())
    }

    /// Gives a device commands again.
    ///
    /// # Errors
    /// There is no such device.
    pub(super) fn resume(&self, name: &str) -> Result<(), DrainRefused> {
        let (index, device) = self.named(name)?;
        self.drained.remove(index);
        device.meters.drained.set(0.0);
        Ok(())
    }

    fn named(&self, name: &str) -> Result<(usize, &Arc<Device>), DrainRefused> {
        let mut devices = self.devices.iter().enumerate();
        devices.find(|(_, device)| &*device.settings.name == name).ok_or_else(|| {
            let known: Vec<_> = self.devices.iter().map(|device| &*device.settings.name).collect();
            DrainRefused::NoSuchDevice { name: name.into(), known: known.join(", ") }
        })
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
    pub(super) fn choose(
        &self,
        now: Now,
        tried: Option<&Arc<Device>>,
    ) -> Option<(usize, &Arc<Device>)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.devices.len().max(1);
        let usable = (0..count).filter_map(|step| {
            let index = turn.wrapping_add(step) % count;
            let device = self.devices.get(index)?;
            let is_other = tried.is_none_or(|tried| !Arc::ptr_eq(tried, device));
            let serves = is_other && device.is_usable(now) && !self.drained.has(index);
            serves.then_some((index, device))
        });
        usable.min_by_key(|(_, device)| device.outstanding())
    }

    /// The device a command goes to, and its place there unless all are taken. One that was taken out of service since
    /// it was chosen is passed over: whoever waits for it to be idle may switch it off when it is.
    pub(super) fn enter(
        &self,
        tried: Option<&Arc<Device>>,
    ) -> Option<(&Arc<Device>, Option<Place>)> {
        for _ in 0..=self.devices.len() {
            let (index, device) = self.choose(self.now(), tried)?;
            let place = device.enter();
            if !self.drained.has(index) {
                return Some((device, place));
            }
        }
        None
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
        let (first, place) = self.enter(None).ok_or(NoAnswer)?;
        let answered = self.send(first, place, request).await;
        if repeat == Repeat::Never || answered.as_ref().is_ok_and(|reply| !is_out_of_service(reply))
        {
            return answered.and_then(in_service);
        }
        let Some((second, place)) = self.enter(Some(first)) else {
            return answered.and_then(in_service);
        };
        first.meters.again.increment(1);
        self.send(second, place, request).await.and_then(in_service)
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
        self.send(device, device.enter(), request).await
    }

    async fn send(
        &self,
        device: &Device,
        place: Option<Place>,
        request: &Request<'_>,
    ) -> Result<Reply, NoAnswer> {
        let place = place.ok_or(NoAnswer)?;
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
