//! Any bytes as BER-TLV: no panic, and the pieces are the input, byte for byte.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinion_fuzz::tlv(bytes);
});
