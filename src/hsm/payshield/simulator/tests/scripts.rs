//! KU and KY: what the Python package pyemv computes for the same cards.
//!
//! **Never here:** the layout's own properties (`wire::tests`).

use serde_json::Value;

use crate::hsm::payshield::simulator::tests::answered;
use crate::hsm::payshield::simulator::{Device, Setup};

/// Every vector of `tests/vectors/emv.json`, byte for byte.
#[test]
fn issuer_scripts_as_pyemv_makes_them() {
    let file: Value =
        serde_json::from_str(include_str!("../../../../../tests/vectors/emv.json")).unwrap();
    let device = Device::new(&Setup::default());
    let vectors = file["vectors"].as_array().unwrap();
    let mut wrong = Vec::new();
    for vector in vectors {
        let command = hex::decode(vector["command"].as_str().unwrap()).unwrap();
        let got = hex::encode_upper(answered(&device, &command));
        if got != vector["answer"].as_str().unwrap() {
            wrong.push(format!("{}: {got}, not {}", vector["name"], vector["answer"]));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert_eq!(vectors.len(), 51);
}
