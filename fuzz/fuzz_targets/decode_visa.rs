//! Any bytes as a `visa` message.
#![no_main]

mod message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| message::check("visa", bytes));
