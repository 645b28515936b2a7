//! Any bytes as a `postilion` message.
#![no_main]

mod message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| message::check("postilion", bytes));
