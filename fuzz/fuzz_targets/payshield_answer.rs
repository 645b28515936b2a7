//! Any bytes as an answer: no panic in reading, nothing lost in writing again. The first two are the command's code.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinion_fuzz::payshield_answer(bytes);
});
