//! Blocks of devices and of psec; any bytes; whatever we write we read.

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

fn algorithm(block: &str) -> Algorithm {
    Version::of(block.as_bytes()[0]).unwrap().algorithm()
}

/// The padding inside a block, for writing the same block again.
fn padding(block: &str, protection: &[u8]) -> [u8; PAD_BYTES] {
    let (header, start) = Header::read(block.as_bytes()).unwrap();
    let version = header.version();
    let keys = Keys::new(version, version.algorithm(), protection).unwrap();
    let mut clear = unhex(&block.as_bytes()[start..], start).unwrap();
    let mac = clear.split_off(clear.len() - version.mac_bytes());
    match version {
        Version::A | Version::C => keys.decrypt(&block.as_bytes()[..8], &mut clear).unwrap(),
        Version::B | Version::D => keys.decrypt(&mac, &mut clear).unwrap(),
    }
    let key = usize::from(u16::from_be_bytes([clear[0], clear[1]]) / 8);
    let mut pad = [0; PAD_BYTES];
    pad.iter_mut().zip(&clear[2 + key..]).for_each(|(to, from)| *to = *from);
    pad
}

const TDES_KBPK: &str = "EFE0853B256B583D868F251CE99EA1D9";

/// Made by payShield 10K devices (tests of openemv/tr31).
#[test]
fn blocks_of_devices() {
    #[track_caller]
    fn check(protection: &str, block: &str, key: &str) {
        let (algorithm, protection) = (algorithm(block), bytes(protection));
        let (header, got) = open(algorithm, &protection, block.as_bytes()).unwrap();
        assert_eq!(hex::encode_upper(&*got), key);
        assert_eq!((header.algorithm(), header.mode(), header.exportability()), (b'T', b'N', b'N'));
        let pad = padding(block, &protection);
        let again = seal(algorithm, &protection, &header, &got, &pad).unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), block);
    }
    let key = "5DB50B454F8389ADCE573BE50861F2BF";
    check(
        TDES_KBPK,
        "A0072K0TN00N0000F40D5672C6D0EC86F860BA88D44D00F0CA9A8CE8CD2F640287A9A9EB",
        key,
    );
    check(
        TDES_KBPK,
        "B0080K0TN00N00001C414014375212C24995E405B5EE052CB92B67F455EA2680F6751088F9F1C228",
        key,
    );
    check(
        TDES_KBPK,
        "C0072K0TN00N0000C9B875FF7A5316BF221C09ED52080DE0B45632A4EA9CE87699CB565E",
        key,
    );
    check(
        &"41".repeat(32),
        "D0112B0TN00N000037DB9B046B7B0048785690759580ABC3B9842AB4BB7717B49E92528E575785D8123559376A2553B2\
         7BE94F054F4E971C",
        "1FA1F7CEC798D91545DA8AE0C7796BD9",
    );
}

/// `tests/vectors/tr31.json`: psec 1.3.0 wrote these over random keys of every length, with and without optional
/// blocks.
#[test]
fn blocks_of_another_implementation() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/tr31.json")).unwrap();
    let vectors = vectors["psec"].as_array().unwrap();
    assert!(100 <= vectors.len());
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let (block, protection) = (text("block"), bytes(text("kbpk")));
        let algorithm = algorithm(block);
        let (header, key) = open(algorithm, &protection, block.as_bytes()).unwrap();
        assert_eq!(hex::encode_upper(&*key), text("key"), "{block}");
        let optional: Vec<_> = header
            .optional()
            .filter(|block| block.id != *b"PB")
            .map(|block| [&block.id[..], block.text].concat())
            .collect();
        let want: Vec<_> = vector["optional"].as_array().unwrap().iter().collect();
        assert_eq!(want.len(), optional.len(), "{block}");
        for (want, got) in want.iter().zip(&optional) {
            assert_eq!(want.as_str().unwrap().as_bytes(), got, "{block}");
        }
    }
}

#[test]
fn what_is_refused() {
    #[track_caller]
    fn check(block: &str, want: Tr31Error) {
        let got = open(Algorithm::Tdes, &bytes(TDES_KBPK), block.as_bytes());
        assert_eq!(got.map(|_| ()), Err(want), "{block}");
    }
    let good = "B0080K0TN00N00001C414014375212C24995E405B5EE052CB92B67F455EA2680F6751088F9F1C228";
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    check("", Tr31Error::Version);
    check("E0080", Tr31Error::Version);
    check("B0080K0T", Tr31Error::Length { stated: 16, actual: 8 });
    check(&good[..72], Tr31Error::Length { stated: 80, actual: 72 });
    check(&with("0080", "008x"), Tr31Error::Field { name: "length", at: 2 });
    check(&with("K0", "k0"), Tr31Error::Field { name: "usage", at: 6 });
    check(&with("TN", "XN"), Tr31Error::Field { name: "algorithm", at: 8 });
    check(&with("TN", "TZ"), Tr31Error::Field { name: "mode of use", at: 9 });
    check(&with("00N", "-0N"), Tr31Error::Field { name: "key version", at: 10 });
    check(&with("00N", "00X"), Tr31Error::Field { name: "exportability", at: 12 });
    check(&with("N0000", "N0x00"), Tr31Error::Field { name: "number of optional blocks", at: 13 });
    check(&with("N0000", "N0100"), Tr31Error::Optional { number: 1 });
    check(&with("1C41", "1G41"), Tr31Error::Character { at: 18 });
    check(&with("1C41", "1\u{7F}41"), Tr31Error::Character { at: 18 });
    // Everything in the clear is under the MAC, and so is every bit of the rest.
    for changed in [with("K0", "P0"), with("TN", "AN"), with("TN", "TB"), with("00N", "01N")] {
        check(&changed, Tr31Error::Authentication);
    }
    check(&with("00N", "00E"), Tr31Error::Authentication);
    check(&with("1C41", "1C42"), Tr31Error::Authentication);
    check(&with("C228", "C229"), Tr31Error::Authentication);
    let other = open(Algorithm::Tdes, &bytes("0123456789ABCDEFFEDCBA9876543210"), good.as_bytes());
    assert_eq!(other.map(|_| ()), Err(Tr31Error::Authentication));
    let aes = open(Algorithm::Aes, &bytes(TDES_KBPK), good.as_bytes());
    assert_eq!(aes.map(|_| ()), Err(Tr31Error::Protection { version: Version::B }));
    let short = open(Algorithm::Tdes, &[1; 8], good.as_bytes());
    assert_eq!(short.map(|_| ()), Err(Tr31Error::Protection { version: Version::B }));
    let empty = seal(Algorithm::Tdes, &bytes(TDES_KBPK), &header(Version::B), &[], &[0; PAD_BYTES]);
    assert_eq!(empty, Err(Tr31Error::KeyLength));
}

fn header(version: Version) -> Header {
    Header::new(version, *b"P0", b'T', b'B', b'E').unwrap()
}

#[test]
fn headers_that_cannot_be_written() {
    let field = |usage, algorithm, mode, export| {
        Header::new(Version::D, usage, algorithm, mode, export).unwrap_err()
    };
    assert_eq!(field(*b"p0", b'T', b'B', b'E'), Tr31Error::Field { name: "usage", at: 6 });
    assert_eq!(field(*b"P0", b'?', b'B', b'E'), Tr31Error::Field { name: "algorithm", at: 8 });
    assert_eq!(field(*b"P0", b'T', b'b', b'E'), Tr31Error::Field { name: "mode of use", at: 9 });
    assert_eq!(field(*b"P0", b'T', b'B', b'Y'), Tr31Error::Field { name: "exportability", at: 12 });
    let bad = Optional { id: *b"K!", text: b"x" };
    let refused = header(Version::A).with_optional(&[bad]).unwrap_err();
    assert_eq!(refused, Tr31Error::Optional { number: 1 });
    let many = [Optional { id: *b"10", text: b"1234" }; 100];
    assert_eq!(header(Version::A).with_optional(&many).unwrap_err(), Tr31Error::TooLong);
    let long = "x".repeat(9985);
    let long = [Optional { id: *b"10", text: long.as_bytes() }];
    assert_eq!(header(Version::A).with_optional(&long).unwrap_err(), Tr31Error::TooLong);
    let shown = format!("{:?} {:?}", header(Version::A), long[0]);
    assert_eq!(shown, "Header(A P0 T B) Optional(10, 9985 characters)");
}

fn any_header() -> impl Strategy<Value = Header> {
    let version = prop::sample::select(vec![Version::A, Version::B, Version::C, Version::D]);
    let optional = prop::collection::vec(("[A-Z0-9]{2}", "[ -~]{0,300}"), 0..5);
    let fields = ("[A-Z0-9]{2}", "[ADEHRST]", "[BCDEGNSTVXY]", "[ENS]");
    (version, fields, optional).prop_map(|(version, (usage, algorithm, mode, export), optional)| {
        let first = |text: &str| text.as_bytes()[0];
        let usage = usage.as_bytes().try_into().unwrap();
        let header =
            Header::new(version, usage, first(&algorithm), first(&mode), first(&export)).unwrap();
        let blocks: Vec<_> = optional
            .iter()
            .map(|(id, text)| Optional {
                id: id.as_bytes().try_into().unwrap(),
                text: text.as_bytes(),
            })
            .collect();
        header.with_optional(&blocks).unwrap()
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        header in any_header(),
        key in prop::collection::vec(any::<u8>(), 1..64),
        protection in any::<[u8; 32]>(),
        long in any::<bool>(),
        pad in any::<[u8; PAD_BYTES]>(),
    ) {
        let algorithm = header.version().algorithm();
        let lengths = algorithm.lengths();
        let protection = &protection[..if long { lengths[lengths.len() - 1] } else { lengths[0] }];
        let block = seal(algorithm, protection, &header, &key, &pad).unwrap();
        let (got, opened) = open(algorithm, protection, &block).unwrap();
        prop_assert_eq!(&*opened, &key);
        prop_assert!(got == header);
        let again = seal(algorithm, protection, &got, &opened, &pad).unwrap();
        prop_assert_eq!(again, block);
    }

    #[test]
    fn one_changed_character_is_noticed(
        header in any_header(),
        protection in any::<[u8; 16]>(),
        at in any::<prop::sample::Index>(),
        to in b' '..=b'~',
    ) {
        let algorithm = header.version().algorithm();
        let mut block = seal(algorithm, &protection, &header, &[7; 16], &[9; PAD_BYTES]).unwrap();
        let at = at.index(block.len());
        // Hex digits may be of either case.
        prop_assume!(!block[at].eq_ignore_ascii_case(&to));
        block[at] = to;
        prop_assert!(open(algorithm, &protection, &block).is_err());
    }

    #[test]
    fn any_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = open(Algorithm::Tdes, &[1; 16], &text);
        let _ = open(Algorithm::Aes, &[1; 32], &text);
    }

    #[test]
    fn anything_after_a_right_start_is_survived(
        version in "[ABCD]",
        count in 0..100_u8,
        rest in "[ -~]{0,200}",
    ) {
        let length = 16 + rest.len();
        let text = format!("{version}{length:04}P0TB00E{count:02}00{rest}");
        let _ = open(Algorithm::Tdes, &[1; 16], text.as_bytes());
        let _ = open(Algorithm::Aes, &[1; 32], text.as_bytes());
    }
}
