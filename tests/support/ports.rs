//! Ports for tests, none of which the system gives to a client meanwhile.
//!
//! A file on its own, so that every kind of test includes the same one. Linux gives clients ports from 32,768 on, and
//! keeps each for a minute after its connection ended: whoever listens there later is told that the address is in use.
//! All ports here are below. **Never here:** port 0, or a port that was asked of the system.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports of the contract that `pinion demo` listens on, each plus `PINION_DEMO_PORT_BASE`.
const DEMO: [u16; 11] = [1500, 1510, 8080, 8583, 8584, 8585, 8586, 8590, 8591, 8592, 9090];

/// What this process has tried. Nothing is given twice before all was given once.
static NEXT: AtomicU32 = AtomicU32::new(0);

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The first of `count` numbers in this process's order that will do. Another process begins elsewhere.
#[track_caller]
fn first(count: u32, will_do: impl Fn(u16) -> bool) -> u16 {
    let begin = std::process::id() % count * 97;
    (0..count)
        .map(|_| (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % count)
        .filter_map(|number| u16::try_from(number).ok())
        .find(|number| will_do(*number))
        .expect("a free port")
}

/// A port that is free now, from 20,000 up to 31,999.
#[track_caller]
#[allow(dead_code, reason = "each user of this file needs a part of it")]
pub(crate) fn free_port() -> u16 {
    20_000 + first(12_000, |number| is_free(20_000 + number))
}

/// A shift under which every port of the demo is free now. The shifted ports are from 10,500 up to 19,919, so that none
/// is [`free_port`]'s; two shifts have none in common.
#[track_caller]
#[allow(dead_code, reason = "each user of this file needs a part of it")]
pub(crate) fn free_base() -> u16 {
    let base = |number: u16| 9_000 + 31 * number;
    base(first(60, |number| DEMO.iter().all(|port| is_free(base(number) + port))))
}
