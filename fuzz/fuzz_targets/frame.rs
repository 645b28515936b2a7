//! Any bytes on a stream of each framing: no panic, and a decoder that either moves on, waits or refuses.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinion_fuzz::frame(bytes);
});
