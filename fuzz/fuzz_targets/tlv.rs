//! Any bytes as BER-TLV: no panic, and the pieces are the input, byte for byte.
#![no_main]

use pinion::iso8583::tlv;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut again = Vec::new();
    for piece in tlv::pieces(bytes) {
        let Ok(piece) = piece else { return };
        again.extend_from_slice(piece.as_bytes());
    }
    assert_eq!(again, bytes);
});
