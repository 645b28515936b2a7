//! A device that is set to EBCDIC: the vectors as Python's codec writes them, binary fields as they are.
//!
//! **Never here:** a table of ours.

use bytes::BytesMut;
use serde_json::Value;

use crate::hsm::payshield::simulator::{Device, Setup};
use crate::hsm::payshield::wire::{ErrorCode, Settings};
use crate::iso8583::Charset;

/// Nobody's characters: it goes back as it came.
const HEADER: &[u8; 4] = b"\x00\xFF\x19N";

fn device() -> Device {
    let settings = Settings { charset: Charset::Ebcdic, ..Settings::default() };
    Device::new(&Setup { settings, ..Setup::default() })
}

/// Every vector of `tests/vectors/ebcdic.json`, byte for byte.
#[test]
fn every_vector_is_answered_in_ebcdic() {
    let file: Value =
        serde_json::from_str(include_str!("../../../../../tests/vectors/ebcdic.json")).unwrap();
    let device = device();
    let vectors = file["vectors"].as_array().unwrap();
    let mut wrong = Vec::new();
    for vector in vectors {
        let bytes = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
        let mut got = BytesMut::new();
        device.answer(0, &[&HEADER[..], &bytes("command")].concat(), &mut got);
        if got != [&HEADER[..], &bytes("answer")].concat() {
            wrong.push(format!("{}: {}", vector["name"], hex::encode_upper(got)));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert_eq!(vectors.len(), 55);
}

/// A fault that was told answers in the same characters. `C3E4` is CU, `C3E5F4F1` is CV41.
#[test]
fn a_refusal_is_in_ebcdic() {
    let mut got = BytesMut::new();
    device().refuse(&[&HEADER[..], b"\xC3\xE4"].concat(), ErrorCode(*b"41"), &mut got);
    assert_eq!(got, [&HEADER[..], b"\xC3\xE5\xF4\xF1"].concat());
}

/// One side is set to ASCII: an answer all the same, in the device's own characters, and no command is done.
#[test]
fn ascii_is_an_unknown_command() {
    let mut got = BytesMut::new();
    device().answer(0, b"HEADNC", &mut got);
    assert!(got.starts_with(b"HEAD") && got.ends_with(b"\xF6\xF8"), "{got:?}");
}
