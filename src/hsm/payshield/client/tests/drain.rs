//! Devices that an operator takes out of service, without any connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::hsm::payshield::client::device::Device;
use crate::hsm::payshield::client::pool::{Idle, Pool};
use crate::hsm::payshield::client::tests::bench;
use crate::hsm::payshield::simulator::Kind;

/// Devices that take commands, without any connection.
fn pool(count: u16) -> (Pool, Idle) {
    let ports = (1..=count).map(|port| ([127, 0, 0, 1], port).into()).collect::<Vec<_>>();
    let (pool, idle) = Pool::new(bench::settings(&ports, Kind::Variant), bench::clock());
    for device in &pool.devices {
        device.serves(0, true);
        device.examined(true);
    }
    (pool, idle)
}

fn chosen(pool: &Pool) -> Vec<&str> {
    let mut names: Vec<_> =
        (0..12).filter_map(|_| Some(&*pool.choose(pool.now(), None)?.1.settings.name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn a_drained_device_is_not_chosen() {
    let (pool, _idle) = pool(3);
    assert_eq!(chosen(&pool), ["hsm-1", "hsm-2", "hsm-3"]);
    assert_eq!(pool.drain("hsm-2", false), Ok(0));
    assert_eq!(chosen(&pool), ["hsm-1", "hsm-3"]);
    let status = pool.status();
    assert_eq!(status.iter().map(|it| it.drained).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(status[1].state, "up", "it is asked after its health as before");
    pool.drain("hsm-1", false).unwrap();
    let last = pool.drain("hsm-3", false).unwrap_err();
    assert!(last.to_string().contains("hsm-3 is the last device"), "{last}");
    assert!(pool.is_usable());
    pool.drain("hsm-3", true).unwrap();
    assert!(!pool.is_usable() && chosen(&pool).is_empty());
    pool.resume("hsm-2").unwrap();
    assert_eq!(chosen(&pool), ["hsm-2"]);
    let unknown = pool.drain("hsm-4", true).unwrap_err();
    assert_eq!(unknown.to_string(), "no device \"hsm-4\": there are hsm-1, hsm-2, hsm-3");
    assert_eq!(pool.resume("hsm-4"), Err(unknown));
}

/// One that takes no commands anyway is nobody's last.
#[test]
fn a_device_that_is_down_may_be_drained() {
    let (pool, _idle) = pool(2);
    pool.devices[1].serves(0, false);
    assert!(pool.drain("hsm-1", false).is_err());
    assert_eq!(pool.drain("hsm-2", false), Ok(0));
}

/// Once nothing is under way at a drained device, nobody gets a place there, whatever was chosen before.
#[test]
fn an_idle_drained_device_stays_idle() {
    let (pool, _idle) = pool(2);
    let (quiet, over, late) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let entered = pool.enter(None);
                    let is_first = |d: &Arc<Device>| Arc::ptr_eq(d, &pool.devices[0]);
                    let first = matches!(&entered, Some((d, Some(_))) if is_first(d));
                    late.fetch_add(
                        usize::from(first && quiet.load(Ordering::SeqCst)),
                        Ordering::SeqCst,
                    );
                }
            });
        }
        for _ in 0..3000 {
            pool.drain("hsm-1", false).unwrap();
            while 0 < pool.devices[0].outstanding() {
                std::hint::spin_loop();
            }
            quiet.store(true, Ordering::SeqCst);
            std::thread::yield_now();
            quiet.store(false, Ordering::SeqCst);
            pool.resume("hsm-1").unwrap();
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(late.into_inner(), 0);
}
