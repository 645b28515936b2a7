//! Every payShield vector, byte for byte.

use bytes::BytesMut;
use serde_json::Value;

use crate::hsm::payshield::simulator::{Device, Setup};

mod blocks;
mod ebcdic;
mod errors;
mod listed;
mod scripts;
mod tcp;

/// What a device answers, without header.
fn answered(device: &Device, command: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    device.answer(0, &[b"HEAD", command].concat(), &mut out);
    out.strip_prefix(b"HEAD").expect("the header comes back").to_vec()
}

/// The same as text.
fn ask(device: &Device, command: &str) -> String {
    String::from_utf8_lossy(&answered(device, command.as_bytes())).into_owned()
}

/// Vectors that do not hold, by name, with the reason.
const NOT_REPRODUCED: &[(&str, &str)] = &[];

#[test]
fn every_vector_is_answered_byte_for_byte() {
    let file: Value =
        serde_json::from_str(include_str!("../../../../../tests/vectors/payshield.json")).unwrap();
    let device = Device::new(&Setup::default());
    let vectors = file["vectors"].as_array().unwrap();
    let mut wrong = Vec::new();
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let got = ask(&device, text("request"));
        let known = NOT_REPRODUCED.iter().any(|(name, _)| *name == text("name"));
        if (got == text("response")) == known {
            wrong.push(format!("{}: {got}, not {}", text("name"), text("response")));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert_eq!(vectors.len(), 43);
}

/// The set is the same where a device separates types of keys.
#[test]
fn a_tpk_of_its_own_type_in_pci_mode() {
    let device = Device::new(&Setup { pci: true, ..Setup::default() });
    let own = "CAU8699395CD2688A2C9009FCA6FB1EB852U1EF828AA8F6B80EB83E19FBC373F3A8512621F91F5470F2CFE0101173900101001";
    assert_eq!(ask(&device, own), "CB00047A68167FDAA0CC8401");
    let legacy =
        own.replace("U8699395CD2688A2C9009FCA6FB1EB852", "U1750CDFB0757D3B3994430636DBB281B");
    assert_eq!(ask(&device, &legacy), "CB10");
}
