//! What every decode target checks: no panic, and what decodes comes back from its JSON byte for byte.

use std::sync::{Arc, OnceLock};

use pinion::iso8583::{Dialect, Layout, Message, decode, from_json, to_json};

pub fn check(name: &'static str, bytes: &[u8]) {
    static DIALECT: OnceLock<Arc<Dialect>> = OnceLock::new();
    let dialect = DIALECT.get_or_init(|| Dialect::builtin(name).expect("a built-in dialect"));
    let mut layout = Layout::new();
    let decoded = decode(dialect, bytes, &mut layout).is_ok();
    let message = Message::partial(dialect, bytes, &layout);
    let _ = to_json(&message, false);
    if decoded {
        let again = from_json(dialect, &to_json(&message, true)).expect("what decodes encodes");
        assert_eq!(again, bytes);
    }
}
