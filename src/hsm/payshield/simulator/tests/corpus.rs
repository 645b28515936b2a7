//! The inputs of the fuzz targets, replayed: messages of others' traces, and whatever once mattered.
//!
//! **Never here:** what commands answer; `fuzz/fuzz_targets/payshield*.rs` hold the same rules for any bytes.

use std::path::Path;

use bytes::BytesMut;

use crate::hsm::payshield::simulator::{Device, Kind, Setup};
use crate::hsm::payshield::wire::message::Opening;
use crate::hsm::payshield::wire::{Settings, decode_request, encode_request, frame};

#[track_caller]
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let read: Vec<_> = files.map(|path| std::fs::read(path).unwrap()).collect();
    assert!(10 < read.len(), "{target}");
    read
}

/// What was read is written as it was, and everything gets an answer.
#[test]
fn commands() {
    let lmks = vec![Kind::Variant, Kind::TdesBlock, Kind::AesBlock];
    let device = Device::new(&Setup { lmks, ..Setup::default() });
    let settings = Settings::default();
    let mut done = 0;
    for body in corpus("payshield") {
        let opening = Opening::of(&body, settings);
        if let Some(Ok((envelope, request))) = decode_request(&opening, settings) {
            let mut again = BytesMut::new();
            encode_request(&envelope, &request, &mut again);
            assert_eq!(again, body);
            done += 1;
        }
        let mut answer = BytesMut::new();
        device.answer(0, &body, &mut answer);
        assert!(answer.starts_with(opening.header) && opening.header.len() + 4 <= answer.len());
    }
    assert!(40 < done, "{done} are commands");
}

/// Both ways of taking frames agree, whatever comes.
#[test]
fn frames() {
    for stream in corpus("payshield-frame") {
        let mut left = BytesMut::from(&stream[..]);
        let mut rest = &stream[..];
        while let Some(body) = frame::first(rest) {
            assert_eq!(frame::take(&mut left).unwrap(), body);
            rest = &rest[frame::LENGTH_BYTES + body.len()..];
        }
        assert_eq!(frame::take(&mut left), None);
        assert_eq!(left, rest);
    }
}
