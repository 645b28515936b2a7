//! What is checked before a device gets commands: every key against its check value (BU); and before a product is
//! taken: whether devices can keep what it promises.
//!
//! A device that does not pass is quarantined. Connections look after the LMK themselves (`connection`). **Never
//! here:** a PIN.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::domain::pin::{Method, PinRules};
use crate::hsm::key::CheckValue;
use crate::hsm::payshield::client::device::{Device, Quarantine};
use crate::hsm::payshield::client::drain::bit;
use crate::hsm::payshield::client::keys::{Slot, Table};
use crate::hsm::payshield::client::policy::{self, TooMany, Weak};
use crate::hsm::payshield::client::reply::Data;
use crate::hsm::payshield::client::token::KeyKind;
use crate::hsm::payshield::client::{PayShield, Reread, UnfitProduct};
use crate::hsm::payshield::wire::command::keys::CheckKey;
use crate::hsm::payshield::wire::field::{KeyType2, Letter};
use crate::hsm::payshield::wire::option::{CheckType, LongType};
use crate::hsm::payshield::wire::{Class, Request, meaning};
use crate::hsm::soft::{MethodError, SoftHsm};
use crate::limits::HSM_CHECKS_AT_ONCE;
use crate::peer::told_to_stop;

/// How often the start looks whether every device has been heard of.
const LOOK: Duration = Duration::from_millis(5);
/// How often a device in use is asked for the keys of a reload before it is passed over. One that is busy refuses
/// further commands for a moment, and must not be out of use after the reload because of that.
const TRIES: u32 = 5;

/// The tasks of all devices. Dropping it ends them at once; [`Running::stop`] ends them in order.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Takes no more commands, waits for answers to those under way, closes.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Why a switch must not start with its devices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A key is not what the configuration says.
    #[error("device {device}: key {name}: {why}")]
    Key {
        /// Device.
        device: Box<str>,
        /// Key.
        name: Box<str>,
        /// What the device says.
        why: String,
    },
    /// It was started before.
    #[error("the devices are connected already")]
    Twice,
}

impl StartError {
    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Key { name, .. } => Some(name),
            Self::Twice => None,
        }
    }
}

/// A device did not pass.
enum NotPassed {
    Quarantine(Quarantine),
    NoAnswer,
}

impl PayShield {
    /// Connects to every device, and waits until each has passed its checks, failed them, or could not be reached.
    ///
    /// # Errors
    /// [`StartError::Key`]: a device says that a key is not what the configuration says. A device that cannot be
    /// reached, or has another LMK, is no error: it is told in the log and by `/ready`.
    pub async fn start(self: &Arc<Self>) -> Result<Running, StartError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let idle = idle.ok_or(StartError::Twice)?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        self.pool.start(idle, &mut tasks, &stopped);
        for device in &self.pool.devices {
            tasks.spawn(attend(Arc::clone(self), Arc::clone(device), stopped.clone()));
        }
        let running = Running { stop, tasks };
        let patience =
            |device: &Arc<Device>| device.settings.connect_time + 4 * device.settings.timeout;
        let patience = self.pool.devices.iter().map(patience).max().unwrap_or_default();
        let heard = async {
            while !self.pool.devices.iter().all(is_heard_of) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(patience, heard).await.is_err() {
            tracing::warn!("not every device of the HSM has answered yet");
        }
        for device in &self.pool.devices {
            if let Some(Quarantine::Key { name, why }) = device.quarantined().as_deref() {
                let device = device.settings.name.as_ref().into();
                let name = name.as_ref().into();
                return Err(StartError::Key { device, name, why: why.clone() });
            }
        }
        if !self.pool.is_usable() {
            tracing::error!("no device of the HSM is usable: PIN work is refused until one is");
        }
        Ok(running)
    }

    /// Has every reachable device check the keys as they would be.
    ///
    /// # Errors
    /// As [`PayShield::start`].
    pub async fn examine(&self, reread: &Reread) -> Result<(), StartError> {
        for (index, device) in self.pool.devices.iter().enumerate() {
            match self.pass_again(device, &reread.table).await {
                Ok(()) => {
                    reread.passed.fetch_or(bit(index), Ordering::Relaxed);
                }
                Err(NotPassed::Quarantine(Quarantine::Key { name, why })) => {
                    let device = device.settings.name.as_ref().into();
                    return Err(StartError::Key { device, name: name.as_ref().into(), why });
                }
                Err(NotPassed::NoAnswer | NotPassed::Quarantine(_)) => {}
            }
        }
        Ok(())
    }

    /// Serves from keys that were read again. A device that has not passed them yet is examined when it comes.
    ///
    /// # Errors
    /// Keys have changed since they were read: read them again.
    pub fn adopt(&self, reread: &Reread) -> Result<(), crate::hsm::keyfile::KeyFileError> {
        let Ok(_turn) = self.turn.try_acquire() else {
            return Err(crate::hsm::keyfile::KeyFileError::Exchanged);
        };
        if !Arc::ptr_eq(&reread.before, &self.keys.load_full()) {
            return Err(crate::hsm::keyfile::KeyFileError::Exchanged);
        }
        self.soft.adopt(&reread.soft)?;
        self.keys.store(Arc::clone(&reread.table));
        let passed = reread.passed.load(Ordering::Relaxed);
        for (index, device) in self.pool.devices.iter().enumerate() {
            device.examined(device.is_examined() && passed & bit(index) != 0);
            device.opened.notify_one();
        }
        Ok(())
    }

    /// As [`PayShield::pass`]; a device in use is asked again when it gives no answer.
    async fn pass_again(&self, device: &Arc<Device>, table: &Table) -> Result<(), NotPassed> {
        for _ in 1..TRIES {
            match self.pass(device, table).await {
                Err(NotPassed::NoAnswer) if device.is_usable(self.pool.now()) => {
                    tokio::time::sleep(LOOK).await;
                }
                told => return told,
            }
        }
        self.pass(device, table).await
    }

    /// Asks a device for the check value of every key.
    async fn pass(&self, device: &Arc<Device>, table: &Table) -> Result<(), NotPassed> {
        let checks: Vec<_> = table.iter().map(|(_, slot)| self.check(device, slot)).collect();
        let mut checks = futures_util::stream::iter(checks).buffer_unordered(HSM_CHECKS_AT_ONCE);
        while let Some(passed) = checks.next().await {
            passed?;
        }
        Ok(())
    }

    async fn check(&self, device: &Arc<Device>, slot: &Slot) -> Result<(), NotPassed> {
        let held = &slot.newest;
        let request = Request::CheckKey(CheckKey {
            key_type: KeyType2(*b"FF"),
            length: Letter([held.token.length_flag()]),
            key: held.token.key(),
            long_type: Some(LongType(slot.kind.code(&held.token))),
            check: Some(CheckType(Letter(*b"1"))),
        });
        let reply = self.pool.ask_of(device, &request).await;
        let reply = reply.map_err(|_| NotPassed::NoAnswer)?;
        let refused =
            |why| NotPassed::Quarantine(Quarantine::Key { name: Arc::clone(&slot.name), why });
        match (reply.class(), reply.data) {
            (Class::OutOfService, _) => Err(NotPassed::NoAnswer),
            (_, Data::Check(digits)) => {
                let mut says = CheckValue::default();
                let read = hex::decode_to_slice(digits, &mut says).is_ok();
                if read && says == held.check_value {
                    return Ok(());
                }
                Err(refused(format!(
                    "its check value is {}, the configuration says {}: correct token or check_value",
                    digits.escape_ascii(),
                    hex::encode_upper(held.check_value)
                )))
            }
            (_, _) => Err(refused(format!(
                "the device refuses it as a {} ({}: {}): correct type or token",
                slot.kind.name(),
                reply.error,
                meaning(*b"BU", reply.error).text
            ))),
        }
    }
}

/// Whether it is known what a device is worth.
fn is_heard_of(device: &Arc<Device>) -> bool {
    let lines = device.lines.len() as u64;
    device.is_examined()
        || device.quarantined().is_some()
        || (!device.is_open() && lines <= device.failures.load(Ordering::Acquire))
}

/// Examines a device when it comes, and again while it does not pass.
async fn attend(hsm: Arc<PayShield>, device: Arc<Device>, stop: watch::Receiver<bool>) {
    let every = hsm.pool.shared.settings.health;
    loop {
        device.show_load(hsm.pool.now());
        hsm.pool.compare_firmware();
        if device.is_open() && !device.is_examined() {
            let table = hsm.keys.load_full();
            let name = &device.settings.name;
            match hsm.pass(&device, &table).await {
                Ok(()) => {
                    device.examined(true);
                    // Keys that changed meanwhile are examined anew. Looked at last: whoever changes them looks at
                    // the devices afterwards.
                    if Arc::ptr_eq(&table, &hsm.keys.load()) {
                        tracing::info!(hsm = %name, keys = table.iter().count(), "a device has our LMK and keys");
                    } else {
                        device.examined(false);
                    }
                    continue;
                }
                Err(NotPassed::Quarantine(why)) => {
                    let text = why.to_string();
                    if device.quarantine(why) {
                        tracing::error!(hsm = %name, why = text, "a device is quarantined");
                    }
                }
                Err(NotPassed::NoAnswer) => {}
            }
        }
        tokio::select! {
            () = device.opened.notified() => {}
            () = tokio::time::sleep(every) => {}
            () = told_to_stop(stop.clone()) => return,
        }
    }
}

/// Whether devices with these keys can keep what a product promises.
pub(super) fn check_product(
    table: &Table,
    method: &Method,
    rules: &PinRules,
) -> Result<(), UnfitProduct> {
    SoftHsm::check_parameters(method)?;
    let mut some_without = false;
    for length in policy::lengths(rules) {
        let too_many = |TooMany { length, pins }| UnfitProduct::Excluded { length, pins };
        some_without |= Weak::of(rules, length).map_err(too_many)?.is_empty();
    }
    let length_is_sought = some_without && !policy::allows_all(rules);
    let needs_transit = match method {
        Method::LmkPin => {
            if policy::excludes(rules) && table.policy.is_none() {
                return Err(UnfitProduct::NeedsPolicy);
            }
            Some("two PINs under the LMK are compared by way of a block")
        }
        Method::VisaPvv { pvk, .. } => {
            check_pvk(table, *pvk, true)?;
            length_is_sought
                .then_some("the length of a new PIN without excluded ones is told by a translation")
        }
        Method::Ibm3624 { pvk, .. } => {
            check_pvk(table, *pvk, false)?;
            None
        }
    };
    match needs_transit {
        Some(why) if table.transit.is_none() => Err(UnfitProduct::NeedsTransit { why }),
        _ => Ok(()),
    }
}

fn check_pvk(
    table: &Table,
    id: crate::domain::pin::KeyId,
    double: bool,
) -> Result<(), UnfitProduct> {
    let slot = table.slot(id).map_err(|_| MethodError::KeyUnknown)?;
    // How long the key in a block is, the device says (27).
    let fits = !double || matches!(slot.newest.token.length_flag(), b'1' | b'F');
    if slot.kind == KeyKind::Pvk && fits {
        return Ok(());
    }
    Err(MethodError::KeyUnusable { name: (&*slot.name).into() }.into())
}
