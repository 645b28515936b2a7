//! Properties of every command: what was written is read again, what was read is written again, and no bytes panic.

use bytes::BytesMut;
use proptest::prelude::*;

use crate::hsm::payshield::wire::command::Request;
use crate::hsm::payshield::wire::command::diagnose::{Diagnosed, Nothing};
use crate::hsm::payshield::wire::command::keys::{Checked, KeyAndCheck};
use crate::hsm::payshield::wire::command::references::{OffsetOf, PvvOf};
use crate::hsm::payshield::wire::command::scripts::Sealed;
use crate::hsm::payshield::wire::command::translate::{Block, Revealed, Translated, UnderLmk};
use crate::hsm::payshield::wire::error::{Class, ErrorCode, meaning};
use crate::hsm::payshield::wire::message::{
    Answer, Opening, decode_answer, decode_request, encode_answer, encode_request,
};
use crate::hsm::payshield::wire::{Envelope, Field, Scratch, Settings, frame};
use crate::iso8583::Charset;

pub(crate) mod sample;

use self::sample::Draw;

const CHARSETS: [Charset; 2] = [Charset::Ascii, Charset::Ebcdic];

fn settings(charset: Charset) -> Settings {
    Settings { charset, ..Settings::default() }
}

fn encoded(envelope: &Envelope<'_>, request: &Request<'_>, charset: Charset) -> BytesMut {
    let mut out = BytesMut::new();
    encode_request(envelope, request, charset, &mut out);
    out
}

/// Reads a body; if it is a command, it is written as it was.
fn read_and_write(body: &[u8], charset: Charset) {
    let mut scratch = Scratch::default();
    let opening = Opening::of(body, settings(charset), &mut scratch);
    if let Some(Ok((envelope, request))) = decode_request(&opening, settings(charset)) {
        assert_eq!(encoded(&envelope, &request, charset), body, "{request:?}");
    }
}

/// Writes an answer to `command` and reads it again.
fn answered<T: Field<'static> + PartialEq + std::fmt::Debug + sample::Sample>(
    command: [u8; 2],
    seed: u64,
) {
    let data: T = Draw::new(seed).some();
    let trailer = seed.is_multiple_of(2).then_some(&b"trailer"[..]);
    let envelope = Envelope { header: b"HEAD", lmk: None, trailer };
    let answer = Answer { envelope, error: ErrorCode::OK, data: Some(data) };
    for charset in CHARSETS {
        let mut body = BytesMut::new();
        encode_answer(command, &answer, charset, &mut body);
        let body: &'static [u8] = body.to_vec().leak();
        let scratch: &'static mut Scratch = Box::leak(Box::default());
        let opening = Opening::of(body, settings(charset), scratch);
        let read = decode_answer::<T>(command, &opening, settings(charset));
        assert_eq!(read.as_ref(), Ok(&answer));
        assert!(decode_answer::<T>(*b"QQ", &opening, settings(charset)).is_err());
    }
}

/// Low numbers mean what the command says; only answers that were done have data.
#[test]
fn meanings_depend_on_the_command() {
    for (command, code, class) in [
        (b"BK", b"02", Class::DoneWithWarning),
        (b"DU", b"02", Class::DoneWithWarning),
        (b"M6", b"02", Class::OurFault),
        (b"CU", b"02", Class::Key),
        (b"A6", b"01", Class::DoneWithWarning),
        (b"CU", b"01", Class::Wrong),
        (b"CU", b"86", Class::TooWeak),
        (b"CU", b"81", Class::PinLength),
        (b"EC", b"27", Class::Key),
        (b"CC", b"20", Class::NoPin),
        (b"BE", b"14", Class::StoredPin),
        (b"M8", b"06", Class::OurFault),
        (b"EA", b"39", Class::FraudLock),
        (b"EA", b"13", Class::OutOfService),
        (b"EA", b"68", Class::Setup),
        (b"EA", b"A6", Class::Key),
        (b"EA", b"ZZ", Class::Unlisted),
    ] {
        assert_eq!(meaning(*command, ErrorCode(*code)).class, class, "{}", command.escape_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_command_is_read_as_it_was_written(seed: u64, lmk in proptest::option::of(0_u8..100), trailed: bool) {
        for (code, charset) in Request::CODES.iter().flat_map(|code| CHARSETS.map(|set| (code, set))) {
            let request = Request::sample(*code, &mut Draw::new(seed)).unwrap();
            let trailer = trailed.then_some(&b"trailer %01"[..]);
            let envelope = Envelope { header: b"HEAD", lmk, trailer };
            let body = encoded(&envelope, &request, charset);
            let mut scratch = Scratch::default();
            let opening = Opening::of(&body, settings(charset), &mut scratch);
            let read = decode_request(&opening, settings(charset)).unwrap();
            prop_assert_eq!(read, Ok((envelope, request)));
        }
    }

    #[test]
    fn every_answer_is_read_as_it_was_written(seed: u64) {
        answered::<Translated>(*b"CC", seed);
        answered::<UnderLmk>(*b"JE", seed);
        answered::<Block>(*b"JG", seed);
        answered::<Revealed>(*b"NG", seed);
        answered::<PvvOf>(*b"CU", seed);
        answered::<OffsetOf>(*b"DU", seed);
        answered::<Diagnosed>(*b"NC", seed);
        answered::<Checked>(*b"BU", seed);
        answered::<KeyAndCheck<'static>>(*b"A6", seed);
        answered::<Sealed<'static>>(*b"KU", seed);
        answered::<Nothing>(*b"EC", seed);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), code in 0..Request::CODES.len()) {
        for charset in CHARSETS {
            read_and_write(&bytes, charset);
            let code = Request::CODES[code].map(|byte| charset.to_wire(byte));
            let body = [b"HEAD", &code[..], &bytes[..]].concat();
            read_and_write(&body, charset);
        }
    }

    /// One byte changed, or cut short, at every place.
    #[test]
    fn nearly_commands_do_not_panic(seed: u64, to: u8) {
        for (code, charset) in Request::CODES.iter().flat_map(|code| CHARSETS.map(|set| (code, set))) {
            let request = Request::sample(*code, &mut Draw::new(seed)).unwrap();
            let envelope = Envelope { header: b"HEAD", lmk: None, trailer: None };
            let body = encoded(&envelope, &request, charset);
            let at = 6 + usize::try_from(seed % 97).unwrap() % (body.len() - 5).max(1);
            read_and_write(&body[..at.min(body.len())], charset);
            let mut changed = body.to_vec();
            if let Some(byte) = changed.get_mut(at) {
                *byte = to;
            }
            read_and_write(&changed, charset);
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
    ) {
        let mut stream = BytesMut::new();
        for body in &bodies {
            frame::put(&mut stream, |out| out.extend_from_slice(body)).unwrap();
        }
        // One byte at a time.
        let (mut come, mut taken) = (BytesMut::new(), Vec::new());
        for byte in stream {
            come.extend_from_slice(&[byte]);
            while let Some(body) = frame::take(&mut come) {
                taken.push(body.to_vec());
            }
        }
        prop_assert_eq!(taken, bodies);
    }
}
