//! Any bytes as a `iso87-ascii` message.
#![no_main]

use std::sync::{Arc, LazyLock};

use pinion::iso8583::Dialect;

static DIALECT: LazyLock<Arc<Dialect>> =
    LazyLock::new(|| Dialect::builtin("iso87-ascii").expect("a built-in dialect"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinion_fuzz::message(&DIALECT, bytes);
});
