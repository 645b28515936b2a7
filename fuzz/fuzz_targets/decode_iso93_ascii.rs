//! Any bytes as a `iso93-ascii` message.
#![no_main]

mod message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| message::check("iso93-ascii", bytes));
