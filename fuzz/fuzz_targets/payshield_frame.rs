//! Any bytes on a stream of payShield frames: both ways of taking them agree, in one piece and byte by byte.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinion_fuzz::payshield_frame(bytes);
});
