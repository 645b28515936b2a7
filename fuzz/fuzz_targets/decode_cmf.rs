//! Any bytes as a `cmf` message.
#![no_main]

mod message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| message::check("cmf", bytes));
