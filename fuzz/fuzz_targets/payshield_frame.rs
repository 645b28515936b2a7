//! Any bytes on a stream of payShield frames: both ways of taking them agree, in one piece and byte by byte.
#![no_main]

use bytes::BytesMut;
use pinion::hsm::payshield::wire::frame;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut whole, mut slow) = (BytesMut::from(bytes), BytesMut::new());
    let mut taken = Vec::new();
    for byte in bytes {
        slow.extend_from_slice(&[*byte]);
        while let Some(body) = frame::take(&mut slow) {
            taken.push(body);
        }
    }
    let mut rest = bytes;
    for body in taken {
        assert_eq!(frame::first(rest), Some(&body[..]));
        assert_eq!(frame::take(&mut whole), Some(body.clone()));
        let mut out = BytesMut::new();
        frame::put(&mut out, |out| out.extend_from_slice(&body)).expect("it was a frame");
        assert!(rest.starts_with(&out));
        rest = &rest[out.len()..];
    }
    assert_eq!(frame::first(rest), None);
    assert_eq!(frame::take(&mut whole), None);
    assert!(whole == rest && slow == rest);
});
