//! The codes each command may answer with, beside 00: the tables of the manuals, as far as they are public.
//!
//! A client may take another code for a device it does not know; the simulator's tests provoke each of these. **Never
//! here:** what a code means (`error`).

use crate::hsm::payshield::wire::error::ErrorCode;

/// Of every command: no such LMK, input data, hardware, licence, disabled.
const EVERY: &str = "13 15 40 41 42 67 68";
/// Of every command with a key: user storage, index, scheme, key blocks.
const KEYED: &str = "12 21 26 83 A1 A2 A4 A5 A6 A7 A8 AB";

/// Each command's own, and whether it has keys.
const OWN: &[(&[u8; 2], bool, &str)] = &[
    (b"A0", true, "04 10 17"),
    (b"A6", true, "01 04 10 17"),
    (b"A8", true, "10 11 17 AA"),
    (b"B2", false, "80"),
    (b"BA", false, "17 24"),
    (b"BC", true, "01 10 14 20 23 24"),
    (b"BE", true, "01 10 14 20 23 24"),
    (b"BK", true, "02 03 04 10 11 20 23 24 25 81 86"),
    (b"BU", true, "04 05 10 17"),
    (b"CA", true, "10 11 20 22 23 24 27 69"),
    (b"CC", true, "10 11 20 22 23 24 27 69"),
    (b"CU", true, "01 03 04 10 11 20 23 24 27 81 86"),
    (b"DA", true, "01 02 10 11 20 23 24 25"),
    (b"DC", true, "01 10 11 20 23 24 27"),
    (b"DE", true, "02 03 10 14 24 25 81 86"),
    (b"DG", true, "03 10 14 27 81 86"),
    (b"DU", true, "01 02 03 04 10 11 20 23 24 25 81 86"),
    (b"EA", true, "01 02 10 11 20 23 24 25"),
    (b"EC", true, "01 10 11 20 23 24 27"),
    (b"EE", true, "02 03 10 24 25 81 86"),
    (b"FA", true, "01 10"),
    (b"FW", true, "03 04 10 11 20 23 24 27 81 86"),
    (b"G0", true, "10 11 20 22 23 24 27 69"),
    (b"GO", true, "01 02 10 11 20 23 24 25 27"),
    (b"GQ", true, "01 10 11 20 23 24 27"),
    (b"GW", true, "01 02 10 27 80"),
    (b"JA", false, "03 22 81"),
    (b"JC", true, "10 20 23 24"),
    (b"JE", true, "10 20 23 24"),
    (b"JG", true, "11 14 23"),
    (b"KU", true, "04 05 06 10 11 20 23 24 80 81"),
    (b"KY", true, "04 05 06 10 11 20 23 24 52 80 81"),
    (b"M6", true, "02 03 04 05 06 09 10"),
    (b"M8", true, "01 02 03 04 05 06 09 10"),
    (b"N0", false, ""),
    (b"NC", false, ""),
    (b"NG", false, "14 17"),
    (b"NO", false, ""),
];

/// The codes of a command's table; nothing for a command that is none.
pub fn listed(command: [u8; 2]) -> impl Iterator<Item = ErrorCode> {
    let known = OWN.iter().filter(move |(code, ..)| **code == command);
    known.flat_map(|(_, keyed, own)| {
        let keyed = if *keyed { KEYED } else { "" };
        let all = [EVERY, keyed, own].into_iter().flat_map(str::split_ascii_whitespace);
        all.filter_map(|code| code.as_bytes().try_into().ok().map(ErrorCode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hsm::payshield::wire::error::{Class, meaning};
    use crate::hsm::payshield::wire::{Request, has_data};

    /// Every command has a table, and every code in one a meaning.
    #[test]
    fn every_command_has_a_table_and_every_code_a_meaning() {
        for command in Request::CODES {
            assert!(listed(*command).count() >= 7, "{}", command.escape_ascii());
            for code in listed(*command) {
                let meaning = meaning(*command, code);
                let unlisted = matches!(meaning.class, Class::Unlisted | Class::Done);
                assert!(!unlisted, "{} {code}: {}", command.escape_ascii(), meaning.text);
                // Only warnings come with data.
                let warning = matches!(&code.0, b"01" | b"02") && meaning.class != Class::Wrong;
                assert!(!has_data(*command, code) || warning, "{} {code}", command.escape_ascii());
            }
        }
        assert_eq!(listed(*b"ZZ").count(), 0);
        assert_eq!(OWN.len(), Request::CODES.len());
    }
}
