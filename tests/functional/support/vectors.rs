//! What the independent implementation computed: `tests/vectors/pin_changes.json`, and the demo world it is about.
//!
//! **Never here:** a computation of ours, except the MAC over messages that only exist at run time, which
//! `mac_is_what_psec_computes` holds against the file.

use std::sync::LazyLock;

use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use serde_json::Value;

pub(crate) static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../vectors/pin_changes.json")).expect("the vectors")
});
pub(crate) static WORLD: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../deploy/demo/world.json")).expect("the world")
});

/// The plain case: PIN 1234.
pub(crate) const PLAIN: &str = "4761739001010010";
/// Keeps its PIN, 2580, under the LMK; has a chip.
pub(crate) const CHIP: &str = "5413330089010012";
/// IBM offset, PIN 13579.
pub(crate) const OFFSET: &str = "5413340089010011";
/// Lives at Postilion.
pub(crate) const VERVE: &str = "5060990000000151002";

/// Numbers of further cards with PIN 1234, in the order of the file.
pub(crate) fn further_cards() -> Vec<String> {
    let cards = VECTORS["cards"].as_object().expect("cards");
    let further = cards.iter().filter(|(_, card)| card.get("import").is_some());
    further.map(|(pan, _)| pan.clone()).collect()
}

/// The number nobody has.
pub(crate) fn unknown_card() -> String {
    let cards = VECTORS["cards"].as_object().expect("cards");
    let unknown = cards.iter().find(|(_, card)| card.get("unknown").is_some());
    unknown.expect("an unknown card").0.clone()
}

/// A PIN block in format 0, as hexadecimal digits.
#[track_caller]
pub(crate) fn block_hex(zpk: &str, pan: &str, pin: &str) -> String {
    let block = &VECTORS["cards"][pan]["blocks"][zpk][pin];
    block.as_str().unwrap_or_else(|| panic!("no block of {pin} for ...{}", &pan[12..])).into()
}

/// A PIN block in format 0.
#[track_caller]
pub(crate) fn block(zpk: &str, pan: &str, pin: &str) -> Vec<u8> {
    hex::decode(block_hex(zpk, pan, pin)).expect("hex")
}

/// A block under this key that decrypts to no PIN.
pub(crate) fn no_pin_block(zpk: &str) -> Vec<u8> {
    hex::decode(VECTORS["no_pin_blocks"][zpk].as_str().expect("a block")).expect("hex")
}

/// The PVV or offset of a PIN.
#[track_caller]
pub(crate) fn reference(pan: &str, pin: &str) -> String {
    VECTORS["cards"][pan]["references"][pin].as_str().expect("a reference").into()
}

/// A key of the demo world.
pub(crate) fn key(name: &str) -> Vec<u8> {
    hex::decode(WORLD["keys"][name]["clear"].as_str().expect("a key")).expect("hex")
}

/// ISO 9797-1 algorithm 3 with padding 1 under a key of sixteen bytes.
pub(crate) fn retail_mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let left = des::Des::new_from_slice(&key[..8]).expect("eight bytes");
    let right = des::Des::new_from_slice(&key[8..]).expect("eight bytes");
    let mut state = [0_u8; 8];
    for chunk in message.chunks(8) {
        for (byte, add) in state.iter_mut().zip(chunk) {
            *byte ^= add;
        }
        left.encrypt_block((&mut state).into());
    }
    right.decrypt_block((&mut state).into());
    left.encrypt_block((&mut state).into());
    state.to_vec()
}

#[test]
fn mac_is_what_psec_computes() {
    let macs = VECTORS["macs"].as_array().expect("macs");
    assert!(3 <= macs.len());
    for row in macs {
        let message = hex::decode(row["message"].as_str().expect("hex")).expect("hex");
        let mac = hex::encode_upper(retail_mac(&key("zak.acquirer"), &message));
        assert_eq!(row["mac"], mac, "over {} bytes", message.len());
    }
}

/// Runs the script again where there is a Python with the package; `make test` provides one.
#[test]
fn the_vectors_are_what_the_script_computes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/make.py");
    let python =
        |arguments: &[&str]| std::process::Command::new("python3").args(arguments).output();
    let Ok(import) = python(&["-W", "ignore", "-c", "import psec"]) else {
        eprintln!("skipped: no python3 on this machine");
        return;
    };
    if !import.status.success() {
        eprintln!("skipped: python3 has no psec; `make test` installs tests/requirements.txt");
        return;
    }
    let check = python(&[script, "--check"]).expect("python3");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
