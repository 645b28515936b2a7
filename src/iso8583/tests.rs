//! Reading and writing whole messages: the traps of the trade, one by one.

use bytes::BytesMut;

use super::*;

fn dialect(name: &str) -> std::sync::Arc<Dialect> {
    Dialect::load(Dialect::builtin_text(name).expect("a built-in name"), name)
        .expect("loads")
        .into()
}

/// A PIN change in `iso87-ascii`, put together by hand from the standard's field table.
fn pin_change() -> Vec<u8> {
    let mut wire = b"0100".to_vec();
    wire.extend(hex::decode("e238000008c090000000000000000008").expect("hex"));
    wire.extend(b"164761739001010119");
    wire.extend(b"920000");
    wire.extend(b"1122043722");
    wire.extend(b"000123");
    wire.extend(b"043722");
    wire.extend(b"1122");
    wire.extend(b"000000000123");
    wire.extend(b"TERM0001");
    wire.extend(b"MERCHANT0000001");
    wire.extend(b"840");
    wire.extend(hex::decode("1122334455667788").expect("hex"));
    wire.extend(b"008");
    wire.extend(hex::decode("8877665544332211").expect("hex"));
    wire
}

#[test]
fn every_built_in_dialect_loads() {
    for name in Dialect::builtin_names() {
        let text = Dialect::builtin_text(name).expect("text");
        let dialect = Dialect::load(text, name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(dialect.name(), name);
        assert!(Dialect::builtin(name).is_some());
        assert!(dialect.section("pin_change").is_some(), "{name}");
        assert!(dialect.section("responses").is_some(), "{name}");
    }
}

#[test]
fn a_pin_change_is_read() {
    let dialect = dialect("iso87-ascii");
    let wire = pin_change();
    let mut layout = Layout::new();
    let message = decode(&dialect, &wire, &mut layout).expect("decodes");
    assert_eq!(&message.mti(), b"0100");
    let text = |n| message.text(n).map(|t| String::from_utf8(t.to_vec()).expect("ASCII"));
    assert_eq!(text(2).as_deref(), Some("4761739001010119"));
    assert_eq!(text(3).as_deref(), Some("920000"));
    assert_eq!(message.sub(3, &[1]).expect("positional").value(), b"92");
    assert_eq!(message.raw(2), Some(&b"164761739001010119"[..]));
    assert_eq!(message.offset(2), Some(20));
    assert_eq!(message.binary(125).as_deref(), Some(&wire[wire.len() - 8..]));
    assert_eq!(message.text(52).map(|t| t.len()), None);
    let shown = format!("{message:?}");
    assert!(!shown.contains("4761739001010119") && shown.contains("11=000123"), "{shown}");

    let mut out = BytesMut::new();
    let mut builder = Builder::new(&dialect, message.mti(), &mut out);
    for (n, spec) in message.fields() {
        match spec.format() {
            Format::B => builder.binary(n, &message.binary(n).expect("short")).expect("fits"),
            _ => builder.text(n, &message.text(n).expect("short")).expect("fits"),
        }
    }
    builder.finish();
    assert_eq!(out, wire);
}
