//! Any text as a dialect file.
#![no_main]

use pinion::iso8583::Dialect;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = Dialect::load(text, "fuzz.toml");
});
