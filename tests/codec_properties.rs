//! What must hold for every dialect and any bytes: a message that is written reads back the same, a message that reads
//! is written back byte for byte, and nothing panics.

#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use std::path::Path;

use bytes::BytesMut;
use pinion::iso8583::{
    Builder, Dialect, FieldSpec, Format, Inner, Layout, Length, Message, decode, from_json,
    to_json, walk,
};
use proptest::prelude::*;

/// `SplitMix64`: values of a field from one seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn pick(&mut self, from: &[u8]) -> u8 {
        from[usize::try_from(self.below(from.len() as u64)).expect("small")]
    }
}

const DIGITS: &[u8] = b"0123456789";
const AN: &[u8] = b"0123456789ABCDEFXYZabcxyz ";
const ANS: &[u8] = b"09AZaz ~!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}";

/// A value that the field allows, in canonical form.
fn value(spec: &FieldSpec, random: &mut Random) -> Vec<u8> {
    let len = match spec.length() {
        Length::Fixed(units) => u64::from(units),
        Length::Variable { max, .. } => random.below(u64::from(max.min(120)) + 1),
    };
    let packed = spec.encoding().label().starts_with("bcd");
    let len = match (packed && spec.counts_bytes(), spec.encoding().label()) {
        (true, _) => len & !1,
        (_, "hex") if !spec.counts_bytes() => len / 2,
        _ => len,
    };
    let mut out = Vec::new();
    if spec.format() == Format::Xn {
        out.push(random.pick(b"CD"));
    }
    for _ in 0..len {
        let byte = match spec.format() {
            Format::N | Format::Xn => random.pick(DIGITS),
            Format::A => random.pick(b"ABCZabcz "),
            Format::An => random.pick(AN),
            Format::Ans => random.pick(ANS),
            Format::Z => random.pick(b"0123456789="),
            Format::B => random.next().to_le_bytes()[0],
        };
        out.push(byte);
    }
    out
}

fn write(dialect: &Dialect, chosen: &[u8], seed: u64) -> (BytesMut, Vec<(u8, Vec<u8>)>) {
    let mut random = Random(seed);
    let mut out = BytesMut::new();
    let mut values = Vec::new();
    let mut builder = Builder::new(dialect, *b"0100", &mut out);
    for n in chosen {
        let Some(spec) = dialect.field(*n) else { continue };
        let value = value(spec, &mut random);
        let written = match spec.format() {
            Format::B => builder.binary(*n, &value),
            _ => builder.text(*n, &value),
        };
        written.unwrap_or_else(|error| panic!("{}: {error}: {value:?}", dialect.name()));
        values.push((*n, value));
    }
    builder.finish();
    (out, values)
}

/// Asks a message everything it can be asked.
fn exercise(message: &Message<'_>) {
    for (n, spec) in message.fields() {
        let value = message.value(n).expect("present");
        assert!(message.raw(n).expect("present").ends_with(value));
        let _ = (message.text(n), message.binary(n), message.long_text(n), message.offset(n));
        for i in 0..70 {
            let _ = message.sub(n, &[i]);
        }
        let _ = message.sub(n, &[25, 4]);
        let _ = message.sub(n, &[1, 0x9F26]);
        if let Some(inner) = spec.inner() {
            assert!(walk(inner, value).count() <= value.len() + 65);
        }
    }
    let _ = (message.mac().is_some(), format!("{message:?}"), to_json(message, false));
}

/// Decodes; what decodes must come back from its JSON byte for byte.
fn decode_anything(dialect: &Dialect, bytes: &[u8], layout: &mut Layout) {
    match decode(dialect, bytes, layout) {
        Ok(message) => {
            exercise(&message);
            let json = to_json(&message, true);
            let again = from_json(dialect, &json)
                .unwrap_or_else(|error| panic!("{}: {error}: {json}", dialect.name()));
            assert_eq!(hex::encode(again), hex::encode(bytes), "{}: {json}", dialect.name());
        }
        Err(error) => {
            assert!(error.offset <= bytes.len(), "{error}");
            exercise(&Message::partial(dialect, bytes, layout));
        }
    }
}

fn dialects() -> Vec<std::sync::Arc<Dialect>> {
    Dialect::builtin_names().map(|name| Dialect::builtin(name).expect("loads")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn written_messages_read_back(
        which in 0..9_usize,
        chosen in prop::collection::btree_set(2..=192_u8, 0..24),
        seed in any::<u64>(),
    ) {
        let dialect = &dialects()[which];
        let chosen: Vec<u8> = chosen.into_iter().collect();
        let (wire, values) = write(dialect, &chosen, seed);
        let mut layout = Layout::new();
        let message = decode(dialect, &wire, &mut layout)
            .unwrap_or_else(|error| panic!("{}: {error}", dialect.name()));
        prop_assert_eq!(message.fields().count(), values.len());
        for (n, value) in &values {
            let spec = dialect.field(*n).expect("defined");
            if spec.format() == Format::B {
                if value.len() <= 64 {
                    prop_assert_eq!(message.binary(*n).expect("short").to_vec(), value.clone());
                }
            } else {
                let text = message.long_text(*n).expect("text");
                prop_assert_eq!(text.as_bytes(), &value[..], "{} field {}", dialect.name(), n);
            }
        }
        decode_anything(dialect, &wire, &mut layout);
    }

    #[test]
    fn any_bytes_are_safe(which in 0..9_usize, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        decode_anything(&dialects()[which], &bytes, &mut Layout::new());
    }

    #[test]
    fn damaged_messages_are_safe(
        which in 0..9_usize,
        chosen in prop::collection::btree_set(2..=128_u8, 1..20),
        seed in any::<u64>(),
        damage in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4),
        cut in any::<u16>(),
    ) {
        let dialect = &dialects()[which];
        let chosen: Vec<u8> = chosen.into_iter().collect();
        let (mut wire, _) = write(dialect, &chosen, seed);
        let len = wire.len();
        for (at, byte) in damage {
            wire[usize::from(at) % len] = byte;
        }
        if cut % 4 == 0 {
            wire.truncate(usize::from(cut) % len);
        }
        decode_anything(dialect, &wire, &mut Layout::new());
    }

    #[test]
    fn damaged_messages_of_others_are_safe(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<u16>(), any::<u8>()), 0..4),
        cut in any::<u16>(),
    ) {
        let inputs = fuzz_corpus();
        let (dialect, bytes) = which.get(&inputs);
        let mut bytes = bytes.clone();
        let len = bytes.len().max(1);
        for (at, byte) in damage {
            if let Some(slot) = bytes.get_mut(usize::from(at) % len) {
                *slot = byte;
            }
        }
        if cut % 4 == 0 {
            bytes.truncate(usize::from(cut) % len);
        }
        decode_anything(dialect, &bytes, &mut Layout::new());
    }

    #[test]
    fn composite_values_are_safe(
        which in 0..9_usize,
        seed in any::<u64>(),
        value in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let dialect = &dialects()[which];
        let composite: Vec<u8> = dialect
            .fields()
            .filter(|spec| spec.inner().is_some_and(|i| !matches!(i, Inner::Positional(_))))
            .filter(|spec| spec.format() == Format::B)
            .map(|spec| u8::try_from(spec.number()).expect("a field"))
            .collect();
        if let Some(n) = composite.get(usize::try_from(seed % 8).expect("small")) {
            let mut out = BytesMut::new();
            let mut builder = Builder::new(dialect, *b"0100", &mut out);
            builder.binary(*n, &value).expect("fits");
            builder.finish();
            decode_anything(dialect, &out, &mut Layout::new());
        }
    }

    #[test]
    fn any_dialect_file_is_safe(at in any::<u16>(), cut in 0..40_usize, which in 0..9_usize) {
        let name = Dialect::builtin_names().nth(which).expect("nine");
        let mut text = Dialect::builtin_text(name).expect("text").to_owned();
        let at = usize::from(at) % text.len();
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, "");
        if let Err(error) = Dialect::load(&text, "damaged.toml") {
            prop_assert!(error.to_string().contains(".toml:"), "{}", error);
        }
    }
}

/// The inputs of `fuzz/corpus`: messages of other people's software, and whatever once mattered.
fn fuzz_corpus() -> Vec<(std::sync::Arc<Dialect>, Vec<u8>)> {
    let mut inputs = Vec::new();
    for dialect in dialects() {
        for bytes in files(&format!("decode-{}", dialect.name())) {
            inputs.push((dialect.clone(), bytes));
        }
    }
    inputs
}

fn files(directory: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(directory);
    let entries = std::fs::read_dir(root).expect("a directory a fuzz target");
    entries.map(|e| std::fs::read(e.expect("entry").path()).expect("readable")).collect()
}

#[test]
fn the_fuzz_corpus_is_safe() {
    let inputs = fuzz_corpus();
    for (dialect, bytes) in &inputs {
        decode_anything(dialect, bytes, &mut Layout::new());
    }
    assert!(inputs.len() >= 30, "inputs of the corpus are missing");
}
