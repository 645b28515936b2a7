//! Frames against bytes of other implementations, and against every way a stream can be cut.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};

use super::*;

/// One of every kind, for the properties.
const FRAMINGS: &[&str] = &[
    "ascii1",
    "ascii4",
    "ascii4-inclusive",
    "ascii4+header:ISO70100000",
    "ascii6",
    "bcd4",
    "bcd4+tpdu:6000010002",
    "be2",
    "be2+header-any:ISO025000055",
    "be2+tpdu",
    "be2+tpdu-kept",
    "be2+trailer:03",
    "be2+visa22:123456654321",
    "be2-inclusive",
    "be2-zero2",
    "be2-zero2+visa22",
    "be3",
    "be4",
    "hex4",
    "le2",
    "le4",
    "rbp",
    "zero2-be2",
    "zero2-be2-inclusive+header:0xB1+trailer:FF",
];

fn codec(framing: &str) -> FrameCodec {
    FrameCodec::new(framing.parse().unwrap())
}

fn bytes(hex: &str) -> BytesMut {
    let digits: String = hex.chars().filter(|c| !c.is_whitespace()).collect();
    BytesMut::from(&hex::decode(digits).unwrap()[..])
}

/// What decoding ends with, in one line: messages and polls, then the error, or how many bytes wait for more.
fn story(framing: &str, input: &[u8]) -> String {
    let mut codec = codec(framing);
    let mut src = BytesMut::from(input);
    let mut told = Vec::new();
    loop {
        match codec.decode(&mut src) {
            Ok(Some(Frame::Message { message, header })) => told.push(format!(
                "{}|{}",
                hex::encode_upper(header.as_bytes()),
                hex::encode_upper(&message)
            )),
            Ok(Some(Frame::Poll(header))) => {
                told.push(format!("poll {}", hex::encode_upper(header.as_bytes())));
            }
            Ok(None) => {
                told.push(format!("{} wait", src.len()));
                break;
            }
            Err(error) => {
                told.push(error.why().to_owned());
                break;
            }
        }
    }
    told.join(", ")
}

#[track_caller]
fn check(framing: &str, input: &str, want: &str) {
    assert_eq!(story(framing, &bytes(input)), want, "{framing} reads {input}");
}

/// Expected values: the layouts of the jPOS channels named at the right.
#[test]
fn layouts() {
    check("be2", "0002 AABB 0001 CC", "|AABB, |CC, 0 wait"); // PostChannel, NACChannel
    check("be2-inclusive", "0004 AABB", "|AABB, 0 wait"); // AmexChannel
    check("be2-inclusive", "0000 0002 0003 DD", "poll , poll , |DD, 0 wait");
    check("be2-zero2", "0002 0000 AABB", "|AABB, 0 wait"); // CSChannel
    check("zero2-be2", "0000 0002 AABB", "|AABB, 0 wait"); // GICCChannel
    check("be3", "000002 AABB", "|AABB, 0 wait"); // CMFChannel
    check("be4", "00000002 AABB", "|AABB, 0 wait"); // RawChannel
    check("le2", "0200 AABB", "|AABB, 0 wait");
    check("le4", "02000000 AABB", "|AABB, 0 wait");
    check("ascii4", "30303032 AABB", "|AABB, 0 wait"); // ASCIIChannel
    check("hex4", "30303041 00112233445566778899", "|00112233445566778899, 0 wait"); // HEXChannel
    check("hex4", "30303061 00112233445566778899", "|00112233445566778899, 0 wait");
    check("bcd4", "0010 00112233445566778899", "|00112233445566778899, 0 wait"); // BCDChannel
    check("be2+trailer:03", "0003 AABB 03", "|AABB, 0 wait"); // BASE24TCPChannel
    check("rbp", "D04A 0002 0000 AABB", "|AABB, 0 wait"); // RBPChannel, last part
    check("rbp", "D04A 0002 0100 AABB", "bad_header"); // more parts follow: not served
    check("be2+tpdu", "0007 6000010002 AABB", "6000010002|AABB, 0 wait"); // NACChannel
    check("be2+tpdu", "0005 6000010002", "poll 6000010002, 0 wait");
    check("be2+header:ISO7", "0005 49534F37 AA", "49534F37|AA, 0 wait");
    check("be2+header:ISO7", "0005 49534F", "5 wait");
    check("be2+header:ISO7", "0005 49534E", "bad_header");
    check("be2+header-any:ISO7", "0005 49534F38 AA", "49534F38|AA, 0 wait");
}

#[test]
fn refusals() {
    check("be2", "2001", "too_long"); // 8193
    check("be2", "2000", "2 wait"); // 8192
    check("be2", "", "0 wait");
    check("be2-inclusive", "0001", "bad_length");
    check("be2+tpdu", "0004", "bad_length");
    check("be2+tpdu+trailer:03", "0005", "bad_length");
    check("be2+trailer:03", "0003 AABB 04", "bad_trailer");
    check("be2+trailer:03", "0001 03", "poll , 0 wait");
    check("be2-zero2", "0002 00 01", "bad_header");
    check("zero2-be2", "01", "bad_header");
    check("ascii4", "30303A32", "bad_length"); // jreactive-8583 issue 78: `:` read as a digit ten
    check("ascii4", "30303032 AA", "5 wait");
    check("bcd4", "0A00", "bad_length");
    check("bcd4", "9000", "too_long");
    check("hex4", "3030304720", "bad_length");
    check("be2+visa22", "0015 16", "bad_length");
    check("be2+visa22", "0100 17", "bad_header");
    check("be4", "FFFFFFFF", "too_long");
}

#[track_caller]
fn check_foreign(framing: &str, http: &str, tls: &str) {
    // A client hello's record: handshake, TLS 1.0, 512 bytes, type client hello.
    let hello =
        [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03][..], &[7; 506]];
    let got = (story(framing, b"GET / HTTP/1.1\r\n"), story(framing, &hello.concat()));
    assert_eq!((got.0.as_str(), got.1.as_str()), (http, tls), "{framing}");
}

/// A browser, a port scan, or a peer with TLS on a clear port: nobody waits for bytes that never come.
#[test]
fn other_protocols_are_refused_by_every_framing() {
    check_foreign("ascii1", "bad_length", "bad_length");
    check_foreign("ascii4", "bad_length", "bad_length");
    check_foreign("bcd4", "foreign", "foreign");
    check_foreign("bcd4+tpdu", "foreign", "foreign");
    check_foreign("be2", "too_long", "foreign");
    check_foreign("be2+tpdu", "too_long", "foreign");
    check_foreign("be2+header:ISO70100000", "too_long", "bad_header");
    check_foreign("be2+visa22", "too_long", "bad_header");
    check_foreign("be2-inclusive", "too_long", "foreign");
    check_foreign("be2-zero2", "too_long", "bad_header");
    check_foreign("be3", "too_long", "too_long");
    check_foreign("be4", "too_long", "too_long");
    check_foreign("hex4", "bad_length", "bad_length");
    check_foreign("le2", "too_long", "foreign");
    check_foreign("le4", "too_long", "too_long");
    check_foreign("rbp", "bad_header", "bad_header");
    check_foreign("zero2-be2", "bad_header", "bad_header");
}

/// wso2 issue 3519: two frames in one read and a frame over two reads.
#[test]
fn frames_do_not_follow_reads() {
    let mut codec = codec("ascii4");
    let mut src = BytesMut::from(&b"00040800000"[..]);
    let first = codec.decode(&mut src).unwrap();
    assert_eq!(first, Some(Frame::Message { message: Bytes::from("0800"), header: Header::EMPTY }));
    assert_eq!(codec.decode(&mut src).unwrap(), None);
    src.extend_from_slice(b"408010004");
    let second = codec.decode(&mut src).unwrap();
    assert_eq!(
        second,
        Some(Frame::Message { message: Bytes::from("0801"), header: Header::EMPTY })
    );
    assert_eq!(codec.decode(&mut src).unwrap(), None);
    assert_eq!(codec.decode_eof(&mut src), Err(FrameError::Truncated { have: 4 }));
}

/// Lengths and headers as they stand in the corpus samples `iso8583rs-1100-pin-mac`,
/// `zemuldo-iso87-0100-static-header-primary-bitmap-only` and `fimet-visa-base1-0100`, before filler of the same
/// length.
#[test]
fn frames_of_other_implementations() {
    let message = [b"1100".as_slice(), &[0x5A; 122]].concat();
    let mut framed = vec![0x00, 0x7E];
    framed.extend_from_slice(&message);
    assert_eq!(story("be2", &framed), format!("|{}, 0 wait", hex::encode_upper(&message)));

    let mut framed = bytes("00cf 49534f3730313030303030");
    framed.extend_from_slice(&[0x30; 196]);
    let want = format!("49534F3730313030303030|{}, 0 wait", "30".repeat(196));
    assert_eq!(story("be2+header:ISO70100000", &framed), want);

    let header = "16010200B5000000312019000000000000000000";
    let header = &format!("{header}0000");
    let mut framed = bytes("00B5 0000");
    framed.extend_from_slice(&bytes(header));
    framed.extend_from_slice(&[0x31; 159]);
    let want = format!("{header}|{}, 0 wait", "31".repeat(159));
    assert_eq!(story("be2-zero2+visa22", &framed), want);
}

#[track_caller]
fn check_answer(framing: &str, request: &str, answer: &str) {
    let mut codec = codec(framing);
    let mut src = bytes(request);
    let Some(Frame::Message { header, .. }) = codec.decode(&mut src).unwrap() else {
        panic!("no message in {request}");
    };
    let mut dst = BytesMut::from(&b"before"[..]);
    let mark = codec.begin(&mut dst, Some(&header));
    dst.extend_from_slice(&[0xEE; 3]);
    codec.end(&mut dst, mark).unwrap();
    assert_eq!(hex::encode_upper(&dst[6..]), hex::encode_upper(bytes(answer)), "{framing}");
}

/// Destination and source change places: jPOS `NACChannel` with `tpdu-swap`, `BASE1Header`'s `swapDirection` and
/// `setLen`.
#[test]
fn answers_reflect_the_header() {
    check_answer("be2", "0001AA", "0003 EEEEEE");
    check_answer("be2+tpdu", "0006 6011223344 AA", "0008 6033441122 EEEEEE");
    check_answer("be2+tpdu-kept", "0006 6011223344 AA", "0008 6011223344 EEEEEE");
    check_answer("be2+header:AB", "0003 4142 AA", "0005 4142 EEEEEE");
    check_answer("be2+header-any:AB", "0003 4344 AA", "0005 4344 EEEEEE");
    check_answer(
        "be2-zero2+visa22",
        "0017 0000 1601020017 123456 654321 0102030405060708090A0B AA",
        "0019 0000 1601020019 654321 123456 0102030405060708090A0B EEEEEE",
    );
    check_answer("be2+trailer:03", "0002 AA 03", "0004 EEEEEE 03");
}

#[test]
fn requests_of_our_own_carry_the_configured_header() {
    let own = |framing: &str| {
        let mut dst = BytesMut::new();
        codec(framing).encode(&[0xEE][..], &mut dst).unwrap();
        hex::encode_upper(&dst)
    };
    assert_eq!(own("be2+tpdu"), "00066000000000EE");
    assert_eq!(own("be2+tpdu:6000010002"), "00066000010002EE");
    assert_eq!(own("ascii4+header:ISO7"), "3030303549534F37EE");
    let visa = format!("0017 1601020017 123456 654321 {} EE", "00".repeat(11)).replace(' ', "");
    assert_eq!(own("be2+visa22:123456654321"), visa);
}

/// jPOS `BASE1Header`: a header of 26 bytes whose reject bitmap starts with a one, before the original header.
#[test]
fn a_rejected_message_is_told_apart() {
    let reject = "1A 81 02 0036 000001 000002 00 0000 000000 00 000000 00 8000 0517";
    let original = "16 01 02 0018 000002 000001 00 0000 000000 00 000000 00";
    let mut src = bytes(&format!("0032 {reject} {original} AABB"));
    let Some(Frame::Message { message, header }) = codec("be2+visa22").decode(&mut src).unwrap()
    else {
        panic!("no message");
    };
    assert_eq!(header.reject_code(), Some([0x05, 0x17]));
    assert_eq!(header.as_bytes().len(), 48);
    assert_eq!(&message[..], [0xAA, 0xBB]);
    let plain = Header::new(&bytes(original)).unwrap();
    assert_eq!(plain.reject_code(), None);
}

#[test]
fn limits_hold_both_ways() {
    let mut small = FrameCodec::with_bytes_max(Framing::BE2, 4);
    let mut src = bytes("0005");
    assert_eq!(small.decode(&mut src), Err(FrameError::TooLong { length: 5, max: 4 }));
    let mut dst = BytesMut::from(&b"x"[..]);
    let refused = small.encode(&[0; 5][..], &mut dst);
    assert_eq!(refused, Err(FrameError::TooLong { length: 5, max: 4 }));
    assert_eq!(&dst[..], b"x");
    let refused = codec("ascii1").encode(&[0; 10][..], &mut dst);
    assert_eq!(refused, Err(FrameError::TooLong { length: 10, max: 9 }));
    let mark = small.begin(&mut dst, None);
    small.cancel(&mut dst, mark);
    assert_eq!(&dst[..], b"x");
}

/// A message is a slice of the read buffer: same address, no copy.
#[test]
fn a_message_is_not_copied() {
    let mut src = bytes("0002 AABB 0002 CCDD");
    let start = src.as_ptr() as usize;
    let mut codec = codec("be2");
    for at in [2, 6] {
        let Some(Frame::Message { message, .. }) = codec.decode(&mut src).unwrap() else {
            panic!("no message");
        };
        assert_eq!(message.as_ptr() as usize, start + at);
    }
}

#[track_caller]
fn check_word(word: &str, want: Result<&str, &str>) {
    let got = word.parse::<Framing>().map(|f| f.to_string()).map_err(|e| e.to_string());
    match (&got, want) {
        (Ok(got), Ok(want)) => assert_eq!(got, want, "{word}"),
        (Err(got), Err(want)) => assert!(got.contains(want), "{word}: {got}"),
        _ => panic!("{word}: {got:?}, want {want:?}"),
    }
}

#[test]
fn words_of_the_configuration() {
    check_word("be2", Ok("be2"));
    check_word(
        "ascii4-inclusive+header:ISO7+trailer:03",
        Ok("ascii4-inclusive+header:0x49534F37+trailer:03"),
    );
    check_word("be2+tpdu", Ok("be2+tpdu:6000000000"));
    check_word("be2+visa22", Ok("be2+visa22:000000000000"));
    check_word("be5", Err("no length form `be5`; allowed: ascii1 to ascii6, bcd4"));
    check_word("", Err("no length form ``"));
    check_word("be2+tdpu", Err("no modifier `tdpu`; allowed: tpdu"));
    check_word("be2+", Err("no modifier ``"));
    check_word("be2+tpdu:60", Err("`tpdu:60` needs ten hex digits"));
    check_word("be2+visa22:12345678901A", Err("twelve digits"));
    check_word("be2+header:", Err("1 to 24 printable"));
    check_word("be2+header:0xZZ", Err("1 to 24 printable"));
    check_word("be2+header:AAAAAAAAAAAAAAAAAAAAAAAAA", Err("1 to 24 printable"));
    check_word("be2+tpdu+visa22", Err("`visa22` comes after"));
    check_word("be2+trailer:03+trailer:03", Err("`trailer:03` comes after"));
    check_word("be2+trailer:03+tpdu", Err("`tpdu` comes after"));
    check_word("ascii1+header:ABCDEFGHI", Err("a length that can count more"));
    let framing: Framing = serde_json::from_str("\"be2+tpdu\"").unwrap();
    assert_eq!(framing, "be2+tpdu".parse().unwrap());
    assert!(serde_json::from_str::<Framing>("\"nonsense\"").is_err());
}

fn any_framing() -> impl Strategy<Value = &'static str> {
    prop::sample::select(FRAMINGS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any messages, cut anywhere, come out as they went in.
    #[test]
    fn any_chunking_gives_the_same_messages(
        name in any_framing(),
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
        cuts in prop::collection::vec(1_usize..30, 1..20),
    ) {
        let mut codec = codec(name);
        let fits = |m: &Vec<u8>| name != "ascii1" || m.len() <= 9;
        let messages: Vec<_> = messages.into_iter().filter(fits).collect();
        let mut wire = BytesMut::new();
        for message in &messages {
            codec.encode(&message[..], &mut wire).unwrap();
        }
        let mut src = BytesMut::new();
        let mut got = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !wire.is_empty() {
            let cut = (*cuts.next().unwrap()).min(wire.len());
            src.extend_from_slice(&wire.split_to(cut));
            while let Some(frame) = codec.decode(&mut src).unwrap() {
                got.push(match frame {
                    Frame::Message { message, .. } => message.to_vec(),
                    Frame::Poll(_) => Vec::new(),
                });
            }
        }
        prop_assert_eq!(codec.decode_eof(&mut src), Ok(None));
        prop_assert_eq!(got, messages);
    }

    /// Any bytes, cut anywhere, give the same frames and the same error as in one read, and no panic.
    #[test]
    fn any_bytes_give_the_same_end(
        name in any_framing(),
        input in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            prop::collection::vec(0_u8..4, 0..200),
            "[0-9 ]{0,200}".prop_map(String::into_bytes),
        ],
    ) {
        let whole = story(name, &input);
        let mut codec = codec(name);
        let mut src = BytesMut::new();
        let mut told = Vec::new();
        'bytes: for byte in &input {
            src.extend_from_slice(&[*byte]);
            loop {
                match codec.decode(&mut src) {
                    Ok(Some(Frame::Message { message, header })) => told.push(format!(
                        "{}|{}",
                        hex::encode_upper(header.as_bytes()),
                        hex::encode_upper(&message)
                    )),
                    Ok(Some(Frame::Poll(header))) => {
                        told.push(format!("poll {}", hex::encode_upper(header.as_bytes())));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        told.push(error.why().to_owned());
                        break 'bytes;
                    }
                }
            }
        }
        if whole.ends_with("wait") {
            told.push(format!("{} wait", src.len()));
        }
        prop_assert_eq!(told.join(", "), whole);
    }

    /// An answer to an answer has the addresses where they were.
    #[test]
    fn reflecting_twice_is_the_identity(
        name in any_framing(),
        message in prop::collection::vec(any::<u8>(), 1..9),
    ) {
        prop_assume!(!name.starts_with("be2+header-any"));
        let mut codec = codec(name);
        let mut wire = BytesMut::new();
        codec.encode(&message[..], &mut wire).unwrap();
        let first = wire.clone();
        for _ in 0..2 {
            let frame = codec.decode(&mut wire).unwrap().unwrap();
            prop_assert!(wire.is_empty());
            codec.encode(frame, &mut wire).unwrap();
        }
        prop_assert_eq!(wire, first);
    }

    /// What `Display` writes is read as the same framing.
    #[test]
    fn words_round_trip(name in any_framing()) {
        let framing: Framing = name.parse().unwrap();
        prop_assert_eq!(framing.to_string().parse::<Framing>(), Ok(framing));
    }
}
