//! Properties of every command: what was written is read again, what was read is written again, and no bytes panic.

use bytes::BytesMut;
use proptest::prelude::*;

use crate::hsm::payshield::wire::command::Request;
use crate::hsm::payshield::wire::message::{Opening, decode_request, encode_request};
use crate::hsm::payshield::wire::{Envelope, Settings, frame};

pub(crate) mod sample;

use self::sample::Draw;

fn encoded(envelope: &Envelope<'_>, request: &Request<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    encode_request(envelope, request, &mut out);
    out
}

/// Reads a body; if it is a command, it is written as it was.
fn read_and_write(body: &[u8]) {
    let settings = Settings::default();
    let opening = Opening::of(body, settings);
    if let Some(Ok((envelope, request))) = decode_request(&opening, settings) {
        assert_eq!(encoded(&envelope, &request), body, "{request:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_command_is_read_as_it_was_written(seed: u64, lmk in proptest::option::of(0_u8..100), trailed: bool) {
        let settings = Settings::default();
        for code in Request::CODES {
            let request = Request::sample(*code, &mut Draw::new(seed)).unwrap();
            let trailer = trailed.then_some(&b"trailer %01"[..]);
            let envelope = Envelope { header: b"HEAD", lmk, trailer };
            let body = encoded(&envelope, &request);
            let opening = Opening::of(&body, settings);
            let read = decode_request(&opening, settings).unwrap();
            prop_assert_eq!(read, Ok((envelope, request)));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), code in 0..Request::CODES.len()) {
        read_and_write(&bytes);
        let body = [b"HEAD", &Request::CODES[code][..], &bytes[..]].concat();
        read_and_write(&body);
    }

    /// One byte changed, or cut short, at every place.
    #[test]
    fn nearly_commands_do_not_panic(seed: u64, to: u8) {
        for code in Request::CODES {
            let request = Request::sample(*code, &mut Draw::new(seed)).unwrap();
            let body = encoded(&Envelope { header: b"HEAD", lmk: None, trailer: None }, &request);
            let at = 6 + usize::try_from(seed % 97).unwrap() % (body.len() - 5).max(1);
            read_and_write(&body[..at.min(body.len())]);
            let mut changed = body.to_vec();
            if let Some(byte) = changed.get_mut(at) {
                *byte = to;
            }
            read_and_write(&changed);
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
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
