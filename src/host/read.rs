//! What a node's answer says: its response code, as an approval, a reason of ours, or a code that passes through.
//!
//! **Never here:** whose answer it is (`mux`).

use crate::domain::forward::HostId;
use crate::domain::outcome::{Declined, HostCode, Reason};
use crate::host::HostAnswer;
use crate::host::network::RESPONSE_CODE;
use crate::host::settings::Settings;
use crate::iso8583::Message;

/// What a message from a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An answer to something of ours.
    Answer,
    /// An 0800 of the node's.
    Network,
    /// Anything else: a node sends us no requests.
    Other,
}

/// By its message type (`domain/iso8583.md` 3.1): 1987, and 0610, 0410/0430, 0810 or 0800/0801.
pub(super) fn kind(mti: [u8; 4]) -> Kind {
    match mti {
        [b'0', b'6' | b'8', b'1', _] | [b'0', b'4', b'1' | b'3', _] => Kind::Answer,
        [b'0', b'8', b'0', _] => Kind::Network,
        _ => Kind::Other,
    }
}

/// The response code (DE 39); `None` when the message has none that can be read.
pub(super) fn code(message: &Message<'_>) -> Option<HostCode> {
    HostCode::new(&message.text(RESPONSE_CODE)?)
}

/// What a code says about a change or a reversal.
pub(super) fn answer(settings: &Settings, host: HostId, code: HostCode) -> HostAnswer {
    let declined = if settings.approved.contains(&code) {
        None
    } else {
        let mapped = settings.codes.iter().find(|(known, _)| *known == code);
        Some(match mapped {
            // The configuration has another word for it, which replaces the host's.
            Some((_, reason)) => (*reason).into(),
            None => Declined { reason: reason(code), host: Some(code) },
        })
    };
    HostAnswer { host, code, declined, later: settings.retry_codes.contains(&code) }
}

/// What a standard code means (`domain/iso8583.md` 4.1). It passes through beside the reason.
fn reason(code: HostCode) -> Reason {
    match code.as_str() {
        "12" | "40" => Reason::NotSupported,
        "14" => Reason::CardUnknown,
        "15" | "31" | "92" => Reason::NoRoute,
        "30" => Reason::FormatError,
        "38" | "75" => Reason::TriesExceeded,
        "41" => Reason::CardLost,
        "43" => Reason::CardStolen,
        "54" => Reason::CardExpired,
        "45" | "56" => Reason::CardClosed,
        "55" => Reason::WrongPin,
        "57" => Reason::AccountStatus,
        "58" => Reason::ChannelNotAllowed,
        "62" => Reason::CardBlocked,
        "65" => Reason::TooManyChanges,
        "81" => Reason::NoPinInBlock,
        "C0" => Reason::NewPinUnacceptable,
        _ => Reason::HostDeclined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::settings;

    #[track_caller]
    fn check(code: &str, reason: Option<Reason>, passes: bool) {
        let mut settings = settings(&[]);
        settings.codes = vec![(HostCode::new(b"63").unwrap(), Reason::MacWrong)];
        let answer = answer(&settings, HostId(1), HostCode::new(code.as_bytes()).unwrap());
        assert_eq!(answer.declined.map(|declined| declined.reason), reason, "{code}");
        let through = answer.declined.and_then(|declined| declined.host);
        assert_eq!(through.map(|code| code.as_str().to_owned()), passes.then(|| code.to_owned()));
    }

    #[test]
    fn codes_approve_pass_through_or_are_mapped() {
        check("00", None, false);
        check("55", Some(Reason::WrongPin), true);
        check("75", Some(Reason::TriesExceeded), true);
        check("C0", Some(Reason::NewPinUnacceptable), true);
        check("C1", Some(Reason::HostDeclined), true);
        check("D1", Some(Reason::HostDeclined), true);
        check("91", Some(Reason::HostDeclined), true);
        check("63", Some(Reason::MacWrong), false);
    }

    #[test]
    fn a_reversal_that_a_node_could_not_take_goes_again() {
        let settings = settings(&[]);
        let later = |code: &[u8]| answer(&settings, HostId(0), HostCode::new(code).unwrap()).later;
        assert!(later(b"91") && later(b"68") && later(b"96") && later(b"90"));
        assert!(!later(b"00") && !later(b"25") && !later(b"12"));
    }

    #[test]
    fn message_types() {
        for (mti, want) in [
            (b"0610", Kind::Answer),
            (b"0430", Kind::Answer),
            (b"0410", Kind::Answer),
            (b"0810", Kind::Answer),
            (b"0800", Kind::Network),
            (b"0801", Kind::Network),
            (b"0600", Kind::Other),
            (b"0420", Kind::Other),
            (b"1814", Kind::Other),
        ] {
            assert_eq!(kind(*mti), want, "{}", mti.escape_ascii());
        }
    }
}
