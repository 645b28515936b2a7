//! Whole requests of the tests: a change, a verification, an unblock, a reversal, with every mandatory element.
//!
//! **Never here:** sockets. Each request has a trace number of its own unless it is made a repeat of another.

use std::sync::atomic::{AtomicU32, Ordering};

use super::iso::{Dialect, Message, NewPin};
use super::vectors;

static TRACE: AtomicU32 = AtomicU32::new(100_001);

/// A trace number nobody used yet.
pub(crate) fn trace(dialect: &Dialect) -> String {
    let number = TRACE.fetch_add(1, Ordering::Relaxed);
    if dialect.year < 2003 { format!("{number:06}") } else { format!("{number:012}") }
}

/// What every request carries beside its PIN blocks.
pub(crate) fn bare(dialect: &Dialect, mti: &str, processing: &str, pan: &str) -> Message {
    let message = Message::new(mti)
        .with(2, pan)
        .with(3, processing)
        .with(7, "1122051500")
        .with(11, trace(dialect))
        .with(32, "970012")
        .with(37, "000000012345");
    match dialect.year {
        1987 => message
            .with(4, "000000000000")
            .with(12, "051500")
            .with(13, "1122")
            .with(41, "TERM0001")
            .with(42, "MERCHANT0000001")
            .with(49, "840"),
        1993 => message
            .with(4, "000000000000")
            .with(12, "261122051500")
            .with(41, "TERM0001")
            .with(42, "MERCHANT0000001")
            .with(49, "840"),
        _ => message
            .with(4, "0000000000000000")
            .with(12, "20261122051500")
            .with(41, "TERM000100000001")
            .with(42, "MERCHANT0000001"),
    }
}

/// Puts the new PIN block where the dialect has it.
pub(crate) fn with_new_pin(dialect: &Dialect, message: Message, block: &[u8]) -> Message {
    match dialect.new_pin {
        NewPin::Field(field) => message.with(field, block),
        NewPin::Cmf => {
            let bitmap = (1_u64 << (64 - 52)).to_be_bytes();
            message.with(113, [&bitmap[..], block].concat())
        }
        NewPin::First53 => message.with(53, [block, &[0; 40]].concat()),
        NewPin::Last53 => message.with(53, [&[0; 40], block].concat()),
    }
}

/// A link's client: its dialect and the zone key of its blocks.
#[derive(Clone, Copy)]
pub(crate) struct Terminal {
    pub(crate) dialect: &'static Dialect,
    pub(crate) zpk: &'static str,
}

impl Terminal {
    pub(crate) const fn new(dialect: &'static Dialect, zpk: &'static str) -> Self {
        Self { dialect, zpk }
    }

    /// The message type of this dialect's requests.
    pub(crate) fn mti(&self) -> &'static str {
        match (self.dialect.year, self.dialect.name) {
            (1987, "postilion") => "0600",
            (1987, _) => "0100",
            (1993, _) => "1100",
            _ => "2600",
        }
    }

    /// A PIN change.
    #[track_caller]
    pub(crate) fn change(&self, pan: &str, current: &str, new: &str) -> Message {
        let block = |pin| vectors::block(self.zpk, pan, pin);
        self.change_blocks(pan, &block(current), &block(new))
    }

    /// A PIN change with these blocks.
    pub(crate) fn change_blocks(&self, pan: &str, current: &[u8], new: &[u8]) -> Message {
        let processing = format!("{}0000", self.dialect.change);
        let message = bare(self.dialect, self.mti(), &processing, pan).with(52, current);
        with_new_pin(self.dialect, message, new)
    }

    /// A verification of the current PIN.
    #[track_caller]
    pub(crate) fn verify(&self, pan: &str, pin: &str) -> Message {
        let block = vectors::block(self.zpk, pan, pin);
        bare(self.dialect, self.mti(), "900000", pan).with(52, block)
    }

    /// A reset of the try counter.
    pub(crate) fn unblock(&self, pan: &str) -> Message {
        bare(self.dialect, self.mti(), "910000", pan)
    }

    /// A reversal of `original` with a trace number of its own and the original's data elements.
    pub(crate) fn reversal(&self, mti: &str, original: &Message) -> Message {
        let mut message = Message::new(mti);
        for field in [2, 3, 4, 7, 12, 13, 32, 37, 41, 42, 49] {
            if let Some(value) = original.fields.get(&field) {
                message = message.with(field, value);
            }
        }
        let message = message.with(11, trace(self.dialect));
        let (mti, stan) = (&original.mti, original.text(11));
        let acquirer = original.text(32);
        if self.dialect.year == 1987 {
            let time = original.text(7);
            message.with(90, format!("{mti}{stan}{time}{acquirer:0>11}{:0>11}", ""))
        } else {
            let time = original.text(12);
            message.with(56, format!("{mti}{stan}{time}{:02}{acquirer}", acquirer.len()))
        }
    }
}
