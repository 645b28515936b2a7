//! Any bytes as a `iso93-bcd` message.
#![no_main]

mod message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| message::check("iso93-bcd", bytes));
