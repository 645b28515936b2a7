//! Any text as a dialect file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinion_fuzz::spec(bytes);
});
