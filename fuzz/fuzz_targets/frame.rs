//! Any bytes on a stream of each framing: no panic, and a decoder that either moves on, waits or refuses.
#![no_main]

use bytes::BytesMut;
use pinion::iso8583::frame::{FrameCodec, Framing};
use tokio_util::codec::Decoder as _;

const FRAMINGS: &[&str] = &["ascii4", "bcd4", "be2", "be2+tpdu", "be2-zero2+visa22", "hex4", "le2"];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for name in FRAMINGS {
        let framing: Framing = name.parse().expect("a framing");
        let mut codec = FrameCodec::new(framing);
        let mut stream = BytesMut::from(bytes);
        while let Ok(Some(_)) = codec.decode(&mut stream) {}
        assert!(stream.len() <= bytes.len());
    }
});
