//! Any bytes as a payShield frame: no panic in reading, nothing lost in writing again, and an answer to everything.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinion_fuzz::payshield(bytes);
});
