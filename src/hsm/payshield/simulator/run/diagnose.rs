//! NC, NO, B2, N0.
//!
//! **Never here:** a key.

use crate::hsm::payshield::simulator::run::{Desk, Done, Reply};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::diagnose::{
    Diagnosed, Echo, Echoed, Random, RandomBytes, Status, StatusText,
};
use crate::hsm::payshield::wire::field::{Firmware, Mac8, Text};

/// Firmware of the device whose answers these are.
const FIRMWARE: &[u8; 9] = b"1084-0906";

pub(super) fn diagnose(desk: &Desk<'_>) -> Reply {
    Reply::of(&Diagnosed {
        lmk_check: Mac8(*desk.lmk.kind.check_value()),
        firmware: Firmware(*FIRMWARE),
    })
}

pub(super) fn status(desk: &Desk<'_>, it: Status) -> Done {
    let text: &[u8] = match (&it.mode.0, desk.state.pci) {
        // Buffer 32K, TCP, 64 sockets, firmware, no DSP.
        (b"00", _) => b"3100641084-090600000",
        (b"01", true) => b"1",
        (b"01", false) => b"0",
        _ => return Err(ErrorCode::INPUT),
    };
    Ok(Reply::of(&StatusText { text: Text(text) }))
}

pub(super) fn echo(it: &Echo<'_>) -> Reply {
    Reply::of(&Echoed { data: Text(it.data) })
}

pub(super) fn random(it: Random) -> Done {
    let mut bytes = vec![0; it.count.0];
    getrandom::fill(&mut bytes).map_err(|_| ErrorCode(*b"41"))?;
    Ok(Reply::of(&RandomBytes { bytes: Text(&bytes) }))
}
