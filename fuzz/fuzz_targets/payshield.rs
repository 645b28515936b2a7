//! Any bytes as a payShield frame: no panic in reading, nothing lost in writing again, and an answer to everything.
#![no_main]

use std::sync::LazyLock;

use bytes::BytesMut;
use pinion::hsm::payshield::simulator::{Device, Kind, Setup};
use pinion::hsm::payshield::wire::message::Opening;
use pinion::hsm::payshield::wire::{Settings, decode_request, encode_request};

static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    Device::new(&Setup { lmks: vec![Kind::Variant, Kind::TdesBlock, Kind::AesBlock], ..Setup::default() })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let settings = Settings::default();
    let opening = Opening::of(bytes, settings);
    if let Some(Ok((envelope, request))) = decode_request(&opening, settings) {
        let mut again = BytesMut::new();
        encode_request(&envelope, &request, &mut again);
        assert_eq!(again, bytes);
    }
    let mut answer = BytesMut::new();
    DEVICE.answer(0, bytes, &mut answer);
    assert!(answer.starts_with(opening.header) && opening.header.len() + 4 <= answer.len());
});
