//! Any bytes as a `mastercard` message.
#![no_main]

mod message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| message::check("mastercard", bytes));
