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

/// A dialect of one bitmap and the given fields.
fn toy(encoding: &str, fields: &str) -> Dialect {
    let text = format!(
        "name = \"toy\"\ntitle = \"toy\"\nversion = 1987\nmti = \"ascii\"\nbitmap = \"hex\"\nbitmaps = 1\n\
         [encoding]\n{encoding}\n[fields]\n{fields}\n"
    );
    Dialect::load(&text, "toy.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// A message of the toy dialect: one field, its wire bytes in hex.
fn toy_wire(bitmap: &str, field: &str) -> Vec<u8> {
    let mut wire = b"0100".to_vec();
    wire.extend(bitmap.as_bytes());
    wire.extend(hex::decode(field).expect("hex"));
    wire
}

const FIELD_2: &str = "4000000000000000";

/// Field 2 with wire bytes `wire` reads as `want` and is written back from it.
#[track_caller]
fn check(encoding: &str, field: &str, wire: &str, want: Result<&str, Rule>) {
    let name = if field.contains("name") { "" } else { "name = \"two\", " };
    let dialect = toy(encoding, &format!("2 = {{ {name}{field} }}"));
    let bytes = toy_wire(FIELD_2, wire);
    let mut layout = Layout::new();
    let got = match decode(&dialect, &bytes, &mut layout) {
        Ok(message) => match message.text(2) {
            Some(text) => Ok(text.escape_ascii().to_string()),
            None => Ok(hex::encode_upper(&*message.binary(2).expect("short"))),
        },
        Err(error) => {
            assert_eq!(error.field, 2, "{error}");
            Err(error.rule)
        }
    };
    assert_eq!(got.as_deref(), want.as_ref().copied());
    let Ok(want) = want else { return };
    let mut out = BytesMut::new();
    let mut builder = Builder::new(&dialect, *b"0100", &mut out);
    if dialect.field(2).expect("defined").format() == Format::B {
        builder.binary(2, &hex::decode(want).expect("hex")).expect("fits");
    } else {
        builder.text(2, want.as_bytes()).expect("fits");
    }
    builder.finish();
    assert_eq!(hex::encode(out), hex::encode(bytes), "written back");
}

#[test]
fn numbers_and_their_padding() {
    let left = "n = \"bcd-left\"\nprefix = \"bcd\"";
    let right = "n = \"bcd-right\"\nprefix = \"bcd\"";
    // jPOS: 858 is 0858 in iso87binary and 8580 in iso93binary.
    check(left, r#"format = "n", length = 3"#, "0858", Ok("858"));
    check(right, r#"format = "n", length = 3"#, "8580", Ok("858"));
    check(left, r#"format = "n", length = 3, pad = "f""#, "f858", Ok("858"));
    check(left, r#"format = "n", length = 3"#, "1858", Err(Rule::Padding));
    check(right, r#"format = "n", length = 3"#, "8581", Err(Rule::Padding));
    check(left, r#"format = "n", length = 3"#, "0a58", Err(Rule::Characters));
    // moov: 0003 0890 is the number 890, its length in digits.
    check(left, r#"format = "n", length = "....9999""#, "00030890", Ok("890"));
    check(right, r#"format = "n", length = "..19""#, "034560", Ok("456"));
    check(right, r#"format = "n", length = "..19""#, "00", Ok(""));
    check(right, r#"format = "n", length = "..19""#, "20", Err(Rule::TooLong));
    check(right, r#"format = "n", length = "..19""#, "1a", Err(Rule::LengthPrefix));
    check(right, r#"format = "n", length = "..19""#, "0445", Err(Rule::Truncated));
    // Visa: the byte 10 hex says sixteen digits; other peers count bytes.
    let binary = "n = \"bcd-left\"\nprefix = \"binary\"";
    check(binary, r#"format = "n", length = "..19""#, "104019249999999999", Ok("4019249999999999"));
    check(binary, r#"format = "n", length = "..12", counts = "bytes""#, "021234", Ok("1234"));
    check(right, r#"format = "n", length = "..12", counts = "bytes""#, "02123f", Ok("123"));
    check("", r#"format = "n", length = "..19""#, "303431323334", Ok("1234"));
    check("", r#"format = "n", length = "..19""#, "3030", Ok(""));
    check("", r#"format = "n", length = 2"#, "3141", Err(Rule::Characters));
    check(
        "n = \"ebcdic\"\nprefix = \"ebcdic\"",
        r#"format = "n", length = "..9""#,
        "f0f2f4f2",
        Ok("42"),
    );
}

#[test]
fn tracks_signs_text_and_bytes() {
    let packed = "z = \"bcd-right\"\nprefix = \"bcd\"";
    check(packed, r#"format = "z", length = "..37""#, "071234d560", Ok("1234=56"));
    check("", r#"format = "z", length = "..37""#, "3034313d3244", Ok("1=2D"));
    check("", r#"format = "z", length = "..37""#, "30313f", Err(Rule::Characters));
    check("", r#"format = "x+n", length = 8"#, "433030303030313030", Ok("C00000100"));
    check("", r#"format = "x+n", length = 8"#, "303030303030313030", Err(Rule::Sign));
    check(
        "",
        r#"format = "x+n", length = 8, lenient = true"#,
        "303030303030313030",
        Ok("000000100"),
    );
    check("n = \"bcd-left\"", r#"format = "x+n", length = 8"#, "4400000100", Ok("D00000100"));
    check("n = \"bcd-left\"", r#"format = "x+n", length = 7"#, "4400000100", Ok("D0000100"));
    check("", r#"format = "an", length = 3"#, "412031", Ok("A 1"));
    check("", r#"format = "an", length = 3"#, "412d31", Err(Rule::Characters));
    check("", r#"format = "ans", length = 2"#, "4107", Err(Rule::Characters));
    check("text = \"ebcdic\"", r#"format = "ans", length = 2"#, "c17c", Ok("A@"));
    check("", r#"format = "b", length = 2"#, "cafe", Ok("CAFE"));
    check("binary = \"hex\"", r#"format = "b", length = 2"#, "43414645", Ok("CAFE"));
    check("binary = \"hex\"", r#"format = "b", length = 2"#, "4341464b", Err(Rule::Characters));
    check("binary = \"hex\"", r#"format = "b", length = "..9""#, "303243414645", Ok("CAFE"));
    check(
        "binary = \"hex\"",
        r#"format = "b", length = "..9", counts = "digits""#,
        "303443414645",
        Ok("CAFE"),
    );
}

#[test]
fn errors_name_field_and_byte() {
    let dialect = dialect("iso87-ascii");
    let mut layout = Layout::new();
    let good = pin_change();
    let mut fails = |wire: &[u8], field, offset, rule| {
        let error = decode(&dialect, wire, &mut layout).expect_err("broken");
        assert_eq!(error, DecodeError { field, offset, rule });
        let partial = Message::partial(&dialect, wire, &layout);
        assert!(partial.present().iter().all(|n| n < field.max(1) || rule == Rule::Trailing));
    };
    fails(b"", 0, 0, Rule::Truncated);
    fails(b"01x0", 0, 0, Rule::Mti);
    fails(&good[..10], 1, 4, Rule::Truncated);
    fails(&good[..18], 1, 4, Rule::Truncated);
    for cut in 20..good.len() {
        let error = decode(&dialect, &good[..cut], &mut Layout::new()).expect_err("cut");
        assert_eq!(error.rule, Rule::Truncated, "cut at {cut}");
    }
    let mut wire = good.clone();
    wire[24] = b'x';
    fails(&wire, 2, 24, Rule::Characters);
    let mut wire = good.clone();
    wire.push(0);
    fails(&wire, 125, good.len(), Rule::Trailing);
    let mut wire = good.clone();
    wire[12] = 0x80;
    let field_65 = good.len() - 11;
    fails(&wire, 65, field_65, Rule::UnknownField);
    assert_eq!(
        decode(&dialect, &wire, &mut layout).expect_err("unknown").to_string(),
        format!("field 65 at byte {field_65}: the dialect does not define this field")
    );
}

#[test]
fn a_layout_forgets_the_message_before() {
    let dialect = dialect("iso87-ascii");
    let mut layout = Layout::new();
    let first = pin_change();
    assert!(decode(&dialect, &first, &mut layout).is_ok());
    let mut short = b"0810".to_vec();
    short.extend([0x02, 0x20, 0, 0, 0x02, 0, 0, 0]);
    short.extend(b"11220437220001");
    let error = decode(&dialect, &short, &mut layout).expect_err("field 11 is cut off");
    assert_eq!((error.field, error.offset), (11, 22));
    let partial = Message::partial(&dialect, &short, &layout);
    assert_eq!(partial.text(7).as_deref(), Some(&b"1122043722"[..]));
    assert!(!partial.has(2) && partial.raw(2).is_none() && partial.text(41).is_none());
}

#[test]
fn hexadecimal_bitmaps_of_both_cases() {
    let dialect = dialect("iso87-ascii-hex");
    for bitmap in [b"822a0000000000000400000000000000", b"822A0000000000000400000000000000"] {
        let mut wire = b"0800".to_vec();
        wire.extend(bitmap);
        wire.extend(b"1125161336" /* 7 */);
        wire.extend(b"00025511250112301" /* 11, 13, 15, 70 */);
        let mut layout = Layout::new();
        let message = decode(&dialect, &wire, &mut layout).expect("decodes");
        assert_eq!(message.present().iter().collect::<Vec<_>>(), [7, 11, 13, 15, 70]);
        let again = from_json(&dialect, &to_json(&message, true)).expect("encodes");
        assert_eq!(again, wire, "the case comes back");
    }
}

#[test]
fn positional_fields() {
    let dialect = dialect("iso87-bcd");
    let mut out = BytesMut::new();
    let mut builder = Builder::new(&dialect, *b"0420", &mut out);
    builder.text(3, b"920010").expect("fits");
    // ISO 8583:1987, DE 90: type 4, STAN 6, date and time 10, acquirer 11, forwarder 11.
    builder.text(90, b"010000012311220437220000012345600000654321").expect("fits");
    builder.finish();
    let mut layout = Layout::new();
    let message = decode(&dialect, &out, &mut layout).expect("decodes");
    let sub = |n, i| message.sub(n, &[i]).map(|s| String::from_utf8_lossy(s.value()).into_owned());
    assert_eq!(sub(3, 1).as_deref(), Some("92"));
    assert_eq!(sub(3, 3).as_deref(), Some("10"));
    assert_eq!(sub(90, 1).as_deref(), Some("0100"));
    assert_eq!(sub(90, 2).as_deref(), Some("000123"));
    assert_eq!(sub(90, 4).as_deref(), Some("00000123456"));
    assert_eq!(sub(90, 5).as_deref(), Some("00000654321"));
    assert_eq!(sub(90, 6), None);
    assert_eq!(&out[2..10], [0xA0, 0, 0, 0, 0, 0, 0, 0], "bit 1 announces the second bitmap");
}

#[test]
fn bitmaps_inside_fields() {
    let dialect = dialect("cmf");
    let mut out = BytesMut::new();
    let mut builder = Builder::new(&dialect, *b"2600", &mut out);
    builder
        .composite(49, |sub| {
            sub.text(1, b"5")?;
            sub.text(2, b"0123")
        })
        .expect("fits");
    builder.binary(52, &[1; 8]).expect("fits");
    builder
        .composite(113, |sub| {
            sub.text(3, b"ANN")?;
            sub.binary(52, &[2; 8])
        })
        .expect("fits");
    builder.finish();
    let mut layout = Layout::new();
    let message = decode(&dialect, &out, &mut layout).expect("decodes");
    // Bit 1 of the inner bitmap is a sub-field, no second bitmap (jPOS issues 701 and 703).
    let wire = message.raw(49).expect("present");
    assert_eq!(hex::encode(wire), "0011c000000000000000500123");
    assert_eq!(message.sub(49, &[1]).and_then(|s| s.text()).as_deref(), Some(&b"5"[..]));
    assert_eq!(message.sub(113, &[52]).and_then(|s| s.binary()).as_deref(), Some(&[2; 8][..]));
    assert!(message.sub(113, &[53]).is_none() && message.sub(52, &[1]).is_none());
    let json = to_json(&message, true);
    assert_eq!(json["fields"]["113"]["52"], "0202020202020202");
    assert_eq!(from_json(&dialect, &json).expect("encodes"), out);
    let masked = to_json(&message, false);
    assert_eq!(masked["fields"]["113"]["52"], "***");
    assert_eq!(masked["fields"]["113"]["3"], "***");
}

#[test]
fn an_unknown_inner_bit_passes_through() {
    let dialect = dialect("postilion");
    let mut wire = b"0620".to_vec();
    wire.extend([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02]);
    wire.extend(b"000014");
    wire.extend([0x40, 0, 0, 0, 0, 0, 0, 0x01]);
    wire.extend(b"03KEY??");
    wire.truncate(wire.len() - 1);
    let mut layout = Layout::new();
    let message = decode(&dialect, &wire, &mut layout).expect("the field itself is whole");
    assert!(message.sub(127, &[2]).is_some(), "what stands before the unknown bit is found");
    let json = to_json(&message, true);
    assert_eq!(json["fields"]["127"], "400000000000000130334B45593F");
    assert_eq!(from_json(&dialect, &json).expect("encodes"), wire);
    assert_eq!(to_json(&message, false)["fields"]["127"], "***");
}

#[test]
fn structured_data() {
    let dialect = dialect("postilion");
    let mut out = BytesMut::new();
    let mut builder = Builder::new(&dialect, *b"0600", &mut out);
    builder
        .composite(127, |sub| {
            sub.text(2, b"KEY")?;
            sub.composite(22, |data| data.named(b"Tag1", b"Value1"))
        })
        .expect("fits");
    builder.finish();
    let mut layout = Layout::new();
    let message = decode(&dialect, &out, &mut layout).expect("decodes");
    // openisoj2's test: 14Tag116Value1.
    assert_eq!(message.sub(127, &[22]).expect("present").value(), b"14Tag116Value1");
    let json = to_json(&message, true);
    assert_eq!(json["fields"]["127"]["22"]["Tag1"], "Value1");
    assert_eq!(from_json(&dialect, &json).expect("encodes"), out);
}

#[test]
fn a_third_bitmap() {
    let dialect = dialect("visa");
    let mut out = BytesMut::from(&b"before"[..]);
    let mut builder = Builder::new(&dialect, *b"0100", &mut out);
    builder.text(3, b"700000").expect("fits");
    builder.binary(52, &[1; 8]).expect("fits");
    builder.binary(152, &[2; 8]).expect("fits");
    builder.finish();
    let wire = out.split_off(6);
    assert_eq!(&out[..], b"before");
    assert_eq!(
        hex::encode(&wire[..26]),
        "0100a00000000000100080000000000000000000010000000000".to_owned(),
        "bits 1, 3, 52; bit 65; bit 152"
    );
    let mut layout = Layout::new();
    let message = decode(&dialect, &wire, &mut layout).expect("decodes");
    assert_eq!(message.present().iter().collect::<Vec<_>>(), [3, 52, 152]);
    assert_eq!(message.binary(152).as_deref(), Some(&[2; 8][..]));
}

#[test]
fn macs() {
    for (name, last, mti_bytes) in
        [("iso87-ascii", 52, 4), ("iso87-bcd", 90, 2), ("iso87-ascii-hex", 52, 4)]
    {
        let dialect = dialect(name);
        let mut out = BytesMut::new();
        let mut builder = Builder::new(&dialect, *b"0810", &mut out);
        builder.text(11, b"000001").expect("fits");
        if last == 90 {
            builder.text(90, &[b'0'; 42]).expect("fits");
        }
        let covered = builder.begin_mac().expect("has one").to_vec();
        builder.finish_with_mac(&[0xAB; 8]).expect("fits");
        let mut layout = Layout::new();
        let message = decode(&dialect, &out, &mut layout).expect("decodes");
        let mac = message.mac().expect("present");
        assert_eq!(mac.field, if last == 90 { 128 } else { 64 }, "{name}");
        assert_eq!(mac.covered, covered, "{name}: what was signed is what is checked");
        assert_eq!(&*mac.value, [0xAB; 8], "{name}");
        assert!(covered.len() > mti_bytes + 8);
    }
    let dialect = dialect("iso87-ascii");
    let mut out = BytesMut::new();
    let mut builder = Builder::new(&dialect, *b"0810", &mut out);
    builder.text(11, b"000001").expect("fits");
    assert!(builder.finish_with_mac(&[0; 8]).is_err(), "no begin_mac");
    assert!(out.is_empty(), "an unfinished message is taken back");
}

#[test]
fn a_builder_refuses() {
    let dialect = dialect("iso87-ascii");
    let mut out = BytesMut::new();
    let mut builder = Builder::new(&dialect, *b"0110", &mut out);
    let rule = |result: Result<(), EncodeError>| result.expect_err("refused").rule;
    assert_eq!(rule(builder.text(11, b"123")), Rule::WrongLength);
    assert_eq!(rule(builder.text(1, b"1")), Rule::UnknownField);
    assert_eq!(rule(builder.text(52, b"12345678")), Rule::Kind);
    assert_eq!(rule(builder.binary(11, b"123456")), Rule::Kind);
    assert_eq!(rule(builder.text(2, &[b'1'; 20])), Rule::TooLong);
    assert_eq!(rule(builder.text(2, b"41x1")), Rule::Characters);
    drop(builder);
    assert!(out.is_empty());
    let mut builder = Builder::new(&dialect, *b"0110", &mut out);
    builder.text(11, b"000123").expect("fits");
    assert_eq!(rule(builder.text(11, b"000123")), Rule::Order);
    assert_eq!(rule(builder.text(4, b"000000000000")), Rule::Order);
    assert_eq!(rule(builder.raw(37, b"short")), Rule::Truncated);
    assert_eq!(rule(builder.raw(39, b"000")), Rule::Trailing);
}

/// A file with this in it is refused with this.
#[track_caller]
fn refused(text: &str, want: &str) {
    let error = Dialect::load(text, "x.toml").expect_err("refused");
    assert_eq!(error.to_string(), want);
}

#[test]
fn a_bad_file_is_refused_with_its_line() {
    let based = |fields: &str| format!("name = \"x\"\nbase = \"iso87-ascii\"\n[fields]\n{fields}");
    let field_2 = |keys: &str| based(&format!("2 = {{ name = \"PAN\", {keys} }}"));
    refused("name = ", "x.toml:1: string values must be quoted, expected literal string");
    refused("name = \"x\"\n", "x.toml:1: encoding: is missing");
    refused("base = \"iso88\"", "x.toml:1: base: must name a built-in dialect");
    refused("base = \"cmf\"\nbitmaps = 4\n", "x.toml:2: bitmaps: is out of range");
    refused(
        "base = \"cmf\"\n\nmti = \"utf8\"\n",
        "x.toml:3: mti: must be one of ascii, bcd, ebcdic",
    );
    refused("base = \"cmf\"\ncolour = 1\n", "x.toml:2: colour: is no key of a dialect file");
    refused(&based("200 = {}"), "x.toml:4: field 200: is no field number: 1 to 192");
    refused(&based("150 = {}"), "x.toml:4: field 150: lies beyond the last bitmap");
    refused(&based("2 = 5"), "x.toml:4: field 2: must be a table");
    refused(&field_2("format = \"n\""), "x.toml:4: field 2, length: is missing");
    refused(
        &field_2("format = \"n\", length = \"..100\""),
        "x.toml:4: field 2, length: the longest does not fit its length prefix",
    );
    refused(
        &field_2("format = \"b\", length = 8, encoding = \"ebcdic\""),
        "x.toml:4: field 2, encoding: does not fit the field's format",
    );
    refused(
        &field_2("format = \"n\", length = 8, size = 3"),
        "x.toml:4: field 2, size: is no key of a dialect file",
    );
    refused(
        &based(
            "\n\n[fields.48]\nname = \"x\"\nformat = \"b\"\nlength = 9\ninner = \"positional\"\n",
        ),
        "x.toml:10: field 48, inner: does not fit the field's format",
    );
    refused(
        &based("[fields.48.sub.3]\nname = \"x\"\n"),
        "x.toml:4: field 48, sub: needs the key inner",
    );
    refused(
        &based("[fields.3.sub]\n4 = { name = \"x\", format = \"n\" }\n"),
        "x.toml:5: field 3.4, length: is missing",
    );
}

#[test]
fn sections_are_handed_out_with_their_lines() {
    let text = "name = \"mine\"\nbase = \"postilion\"\n[pin_change]\nchange = [\"92\", \"93\"]\n";
    let dialect = Dialect::load(text, "mine.toml").expect("loads");
    let section = dialect.section("pin_change").expect("inherited");
    let change = section.get("change").expect("own");
    assert_eq!((change.origin(), change.line()), ("mine.toml", 4));
    let values = change.as_list().expect("a list");
    assert_eq!(values.iter().filter_map(Item::as_str).collect::<Vec<_>>(), ["92", "93"]);
    let new_pin = section.get("new_pin").expect("the base's");
    assert_eq!(new_pin.origin(), "postilion.toml");
    assert_eq!(new_pin.get("within").and_then(Item::as_integer), Some(48));
    assert_eq!(
        change.error("change", "must hold two digits").to_string(),
        "mine.toml:4: change: must hold two digits"
    );
}
