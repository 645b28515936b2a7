//! Any bytes as a `iso87-ascii` message.
#![no_main]

mod message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| message::check("iso87-ascii", bytes));
