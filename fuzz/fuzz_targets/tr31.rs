//! Any bytes as a TR-31 key block: no panic, and what opens is written again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinion_fuzz::tr31(bytes);
});
