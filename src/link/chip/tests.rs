//! Chip data in, a script out, in each dialect that has them.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::domain::chip::{ScriptCommand, ScriptTemplate};
use crate::iso8583::{Layout, decode, tlv};
use crate::link::PinMap;

const COUNTER_BYTES: [u8; 2] = [0x01, 0x2C];
const CRYPTOGRAM_BYTES: [u8; 8] = [0xAB, 0xCD, 0xEF, 0x12, 0x34, 0x56, 0x78, 0x90];

fn element(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    tlv::put(&mut out, tlv::Tag::new(tag).unwrap(), value).unwrap();
    out
}

/// What an element 55 of these bytes says.
fn read(data: &[u8], sequence: Option<u16>) -> Result<Option<Chip>, Reason> {
    let dialect = Dialect::builtin("iso87-ascii").unwrap();
    let place = PinMap::of(&dialect).unwrap().chip.unwrap();
    let mut bytes = BytesMut::new();
    let mut builder = Builder::new(&dialect, *b"0100", &mut bytes);
    builder.binary(55, data).unwrap();
    builder.finish();
    let mut layout = Layout::new();
    place.read(&decode(&dialect, &bytes, &mut layout).unwrap(), sequence)
}

#[track_caller]
fn check(more: &[(u32, &[u8])], sequence: Option<u16>, want: Result<Option<u8>, Reason>) {
    let mut data =
        [element(COUNTER, &COUNTER_BYTES), element(CRYPTOGRAM, &CRYPTOGRAM_BYTES)].concat();
    for (tag, value) in more {
        data.extend(element(*tag, value));
    }
    let (counter, cryptogram) = (COUNTER_BYTES, CRYPTOGRAM_BYTES);
    let want = want.map(|sequence| Some(Chip { counter, cryptogram, sequence }));
    assert_eq!(read(&data, sequence), want, "{more:?} {sequence:?}");
}

/// EMV Book 3, annex A: 5F34 is one byte, two decimal digits.
#[test]
fn the_sequence_number_is_field_23_or_else_5f34() {
    check(&[], None, Ok(None));
    check(&[(SEQUENCE, &[0x01])], None, Ok(Some(1)));
    check(&[(SEQUENCE, &[0x42])], None, Ok(Some(42)));
    check(&[(SEQUENCE, &[0x99])], None, Ok(Some(99)));
    check(&[(SEQUENCE, &[0x42])], Some(7), Ok(Some(7)));
    check(&[], Some(99), Ok(Some(99)));
    check(&[(0x9F10, &[1, 2, 3]), (SEQUENCE, &[0x00])], None, Ok(Some(0)));
    for broken in [&[0x1A][..], &[0xA1], &[0, 1], &[]] {
        check(&[(SEQUENCE, broken)], None, Err(Reason::FormatError));
    }
    check(&[], Some(100), Err(Reason::FormatError));
    check(&[(SEQUENCE, &[0x01])], Some(999), Err(Reason::FormatError));
}

#[test]
fn without_counter_and_cryptogram_there_are_no_chip_data() {
    let (counter, cryptogram) =
        (element(COUNTER, &COUNTER_BYTES), element(CRYPTOGRAM, &CRYPTOGRAM_BYTES));
    for data in [&b""[..], &counter, &cryptogram, &element(0x82, &[0, 0]), &[0x9F], &[0x82, 0x7F]] {
        assert_eq!(read(data, Some(1)), Ok(None), "{} bytes", data.len());
    }
    for data in [element(COUNTER, &[1]), element(CRYPTOGRAM, &[1; 9]), element(COUNTER, &[])] {
        assert_eq!(read(&data, None), Err(Reason::FormatError));
    }
}

/// A dialect of this base with this line in its map.
fn map(base: &str, line: &str) -> Result<PinMap, String> {
    let text = format!("base = \"{base}\"\n\n[pin_change]\n{line}\n");
    PinMap::of(&Dialect::load(&text, "mine.toml").unwrap()).map_err(|error| error.to_string())
}

#[test]
fn dialects_name_an_element_that_divides_into_tags() {
    for (name, has) in [
        ("iso87-ascii", true),
        ("iso87-ascii-hex", false),
        ("iso87-bcd", true),
        ("iso93-ascii", true),
        ("iso93-bcd", true),
        ("cmf", true),
        ("mastercard", true),
        ("visa", true),
        ("postilion", false),
    ] {
        let map = PinMap::of(&Dialect::builtin(name).unwrap()).unwrap();
        assert_eq!(map.chip.map(|place| place.field), has.then_some(55), "{name}");
    }
    assert_eq!(map("iso87-ascii", "chip = 0").unwrap().chip, None);
    for (base, line) in [
        ("iso87-ascii", "chip = 60"),
        ("iso87-ascii", "chip = 191"),
        ("iso87-ascii-hex", "chip = 55"),
        ("postilion", "chip = 127"),
        ("iso87-ascii", "chip = \"55\""),
    ] {
        let error = map(base, line).unwrap_err();
        assert!(error.starts_with("mine.toml:4: ") && error.contains("chip"), "{error}");
    }
    // Nothing of it may come back.
    let error = map("iso87-ascii", "chip = 55\necho_fields = [2, 55]").unwrap_err();
    assert!(error.contains("echo_fields"), "{error}");
}

proptest! {
    /// A script as it is written: EMV Book 3, 7: the template around one command, in each dialect's own element.
    #[test]
    fn scripts_are_read_back(
        command in prop::collection::vec(any::<u8>(), 1..=SCRIPT_COMMAND_BYTES_MAX),
        before in any::<bool>(),
    ) {
        let template = if before { ScriptTemplate::BeforeFinal } else { ScriptTemplate::AfterFinal };
        let script = IssuerScript { template, command: ScriptCommand::new([&command, &[], &[]]).unwrap() };
        for name in ["iso87-ascii", "iso87-bcd", "iso93-ascii", "cmf", "mastercard", "visa"] {
            let dialect = Dialect::builtin(name).unwrap();
            let place = PinMap::of(&dialect).unwrap().chip.unwrap();
            let mut bytes = BytesMut::new();
            let mut builder = Builder::new(&dialect, *b"0110", &mut bytes);
            place.write(&script, &mut builder).unwrap();
            builder.finish();
            let mut layout = Layout::new();
            let message = decode(&dialect, &bytes, &mut layout).unwrap();
            let value = message.value(55).unwrap();
            let inside = if name == "visa" {
                let sets: Vec<_> = tlv::datasets(value).map(Result::unwrap).collect();
                prop_assert_eq!(sets.len(), 1);
                prop_assert_eq!(sets[0].id, 1);
                sets[0].content()
            } else {
                value
            };
            let outer: Vec<_> = tlv::elements(inside).map(Result::unwrap).collect();
            prop_assert_eq!(outer.len(), 1);
            prop_assert_eq!(outer[0].tag().number(), u32::from(template.tag()));
            let commands: Vec<_> = tlv::elements(outer[0].value()).map(Result::unwrap).collect();
            prop_assert_eq!(commands.len(), 1);
            prop_assert_eq!(commands[0].tag().number(), 0x86);
            prop_assert_eq!(commands[0].value(), &command[..]);
            // An answer's chip data are none of a request.
            prop_assert_eq!(place.read(&message, None), Ok(None));
        }
    }

    #[test]
    fn any_chip_data_are_survived(
        data in prop::collection::vec(any::<u8>(), 0..255),
        sequence in any::<Option<u16>>(),
    ) {
        let _ = read(&data, sequence);
    }
}
