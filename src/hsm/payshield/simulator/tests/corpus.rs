//! The inputs of the fuzz targets, replayed: messages of others' traces, and whatever once mattered.
//!
//! **Never here:** what commands answer; `fuzz/fuzz_targets/payshield*.rs` hold the same rules for any bytes.

use std::path::Path;

use bytes::BytesMut;

use crate::hsm::payshield::simulator::{Device, Kind, Setup};
use crate::hsm::payshield::wire::command::diagnose::{Diagnosed, Nothing};
use crate::hsm::payshield::wire::command::keys::Checked;
use crate::hsm::payshield::wire::command::mac::MacValue;
use crate::hsm::payshield::wire::command::references::{OffsetOf, PvvOf};
use crate::hsm::payshield::wire::command::translate::{Translated, UnderLmk};
use crate::hsm::payshield::wire::message::Opening;
use crate::hsm::payshield::wire::{
    Field, Settings, decode_answer, decode_request, encode_answer, encode_request, frame,
};

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

fn read_and_write<T: for<'a> Field<'a>>(command: [u8; 2], body: &[u8]) -> bool {
    let settings = Settings::default();
    let opening = Opening::of(body, settings);
    let Ok(answer) = decode_answer::<T>(command, &opening, settings) else { return false };
    let mut again = BytesMut::new();
    encode_answer(command, &answer, &mut again);
    assert_eq!(again, body);
    true
}

/// An answer that was read is written as it was. Once `%nn`, which only commands have, was read and lost.
#[test]
fn answers() {
    let mut done = 0;
    for bytes in corpus("payshield-answer") {
        let Some((command, body)) = bytes.split_first_chunk::<2>() else { continue };
        let read = match command {
            b"BA" | b"JA" | b"JC" | b"JE" | b"EE" => read_and_write::<UnderLmk>,
            b"BU" => read_and_write::<Checked>,
            b"CA" | b"CC" | b"G0" => read_and_write::<Translated>,
            b"CU" | b"DG" | b"FW" => read_and_write::<PvvOf>,
            b"BK" | b"DE" | b"DU" => read_and_write::<OffsetOf>,
            b"M6" => read_and_write::<MacValue>,
            b"NC" => read_and_write::<Diagnosed>,
            b"BC" | b"BE" | b"DA" | b"DC" | b"EA" | b"EC" => read_and_write::<Nothing>,
            _ => continue,
        };
        done += usize::from(read(*command, body));
    }
    assert!(15 < done, "{done} are answers");
    let with_lmk: &[u8] = b"HEADFX03%55";
    assert!(!read_and_write::<PvvOf>(*b"FW", with_lmk));
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
