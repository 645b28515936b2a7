//! NC, NO, B2, N0.
//!
//! **Never here:** a key.

use crate::hsm::payshield::simulator::run::{Desk, Done, Reply};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::diagnose::{
    Diagnosed, Echo, Echoed, Random, RandomBytes, Status, StatusText,
};
use crate::hsm::payshield::wire::field::{Mac8, Raw, Text};

pub(super) fn diagnose(desk: &Desk<'_>) -> Reply {
    desk.reply(&Diagnosed {
        lmk_check: Mac8(*desk.lmk.kind.check_value()),
        firmware: desk.state.firmware,
    })
}

pub(super) fn status(desk: &Desk<'_>, it: Status) -> Done {
    let text = match (&it.mode.0, desk.state.pci) {
        // Buffer 32K, TCP, sockets, firmware, no DSP.
        (b"00", _) => {
            let firmware = desk.state.firmware.0.escape_ascii();
            format!("31{:04}{firmware}00000", desk.state.sockets)
        }
        (b"01", true) => "1".to_owned(),
        (b"01", false) => "0".to_owned(),
        _ => return Err(ErrorCode::INPUT),
    };
    Ok(desk.reply(&StatusText { text: Text(text.as_bytes()) }))
}

pub(super) fn echo(desk: &Desk<'_>, it: &Echo<'_>) -> Reply {
    desk.reply(&Echoed { data: Raw(it.data) })
}

pub(super) fn random(desk: &Desk<'_>, it: Random) -> Done {
    let mut bytes = vec![0; it.count.0];
    desk.state.random.fill(&mut bytes)?;
    Ok(desk.reply(&RandomBytes { bytes: Raw(&bytes) }))
}
