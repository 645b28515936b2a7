//! ISO 8583 messages for the tests: a small encoder and decoder of its own, written from the standards' tables.
//!
//! **Never here:** anything of the crate under test. It knows only the fields the tests send or expect back; a field it
//! does not know panics, so an answer with an unexpected element fails its test. Where next: `request` for whole
//! requests.

use std::collections::BTreeMap;

/// How digits travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digits {
    Ascii,
    Ebcdic,
    /// Packed, an odd count padded in front.
    PackedLeft,
    /// Packed, an odd count padded behind.
    PackedRight,
}

/// How the length of a variable field travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Ascii,
    Ebcdic,
    Packed,
    /// One byte.
    Binary,
}

/// Where the new PIN block sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewPin {
    /// The whole of field 125 or 152.
    Field(u8),
    /// Sub-field 52 of field 113.
    Cmf,
    /// First eight bytes of field 53, zeros behind.
    First53,
    /// Last eight bytes of field 53, zeros before.
    Last53,
}

/// One dialect, as far as the tests speak it.
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) name: &'static str,
    pub(crate) year: u16,
    mti: Digits,
    /// Bitmaps and binary fields as hexadecimal digits.
    hex: bool,
    digits: Digits,
    digits_variable: Digits,
    text: Digits,
    length: Length,
    pub(crate) new_pin: NewPin,
    /// First two digits of field 3 for a change.
    pub(crate) change: &'static str,
    /// Approved, current PIN wrong, new PIN unacceptable.
    pub(crate) codes: [&'static str; 3],
}

const ASCII_87: Dialect = Dialect {
    name: "iso87-ascii",
    year: 1987,
    mti: Digits::Ascii,
    hex: false,
    digits: Digits::Ascii,
    digits_variable: Digits::Ascii,
    text: Digits::Ascii,
    length: Length::Ascii,
    new_pin: NewPin::Field(125),
    change: "92",
    codes: ["00", "55", "89"],
};

pub(crate) static ISO87_ASCII: Dialect = ASCII_87;
pub(crate) static ISO87_ASCII_HEX: Dialect =
    Dialect { name: "iso87-ascii-hex", hex: true, ..ASCII_87 };
pub(crate) static ISO87_BCD: Dialect = Dialect {
    name: "iso87-bcd",
    mti: Digits::PackedLeft,
    digits: Digits::PackedLeft,
    digits_variable: Digits::PackedRight,
    length: Length::Packed,
    ..ASCII_87
};
pub(crate) static ISO93_ASCII: Dialect =
    Dialect { name: "iso93-ascii", year: 1993, codes: ["000", "117", "182"], ..ASCII_87 };
pub(crate) static ISO93_BCD: Dialect = Dialect {
    name: "iso93-bcd",
    year: 1993,
    mti: Digits::PackedLeft,
    digits: Digits::PackedRight,
    digits_variable: Digits::PackedRight,
    length: Length::Packed,
    codes: ["000", "117", "182"],
    ..ASCII_87
};
pub(crate) static CMF: Dialect = Dialect {
    name: "cmf",
    year: 2003,
    mti: Digits::PackedLeft,
    digits: Digits::PackedRight,
    digits_variable: Digits::PackedRight,
    length: Length::Packed,
    new_pin: NewPin::Cmf,
    change: "70",
    codes: ["0000", "1017", "1048"],
    ..ASCII_87
};
pub(crate) static POSTILION: Dialect =
    Dialect { name: "postilion", new_pin: NewPin::Last53, codes: ["00", "55", "C0"], ..ASCII_87 };
pub(crate) static POSTILION_FIRST: Dialect =
    Dialect { name: "postilion", new_pin: NewPin::First53, codes: ["00", "55", "C0"], ..ASCII_87 };
pub(crate) static MASTERCARD: Dialect = Dialect {
    name: "mastercard",
    mti: Digits::Ebcdic,
    digits: Digits::Ebcdic,
    digits_variable: Digits::Ebcdic,
    text: Digits::Ebcdic,
    length: Length::Ebcdic,
    ..ASCII_87
};
pub(crate) static VISA: Dialect = Dialect {
    name: "visa",
    mti: Digits::PackedLeft,
    digits: Digits::PackedLeft,
    digits_variable: Digits::PackedLeft,
    text: Digits::Ebcdic,
    length: Length::Binary,
    new_pin: NewPin::Field(152),
    change: "70",
    codes: ["00", "55", "P6"],
    ..ASCII_87
};

/// [`ISO87_ASCII`] with PIN blocks of sixteen bytes: what [`POS_AES_FILE`] says, in the file of that name.
pub(crate) static POS_AES: Dialect = Dialect { name: "pos-aes.toml", ..ASCII_87 };
pub(crate) const POS_AES_FILE: &str = "base = \"iso87-ascii\"\n\n[fields]\n\
    52 = { name = \"PIN data\", format = \"b\", length = 16, secrecy = \"secret\" }\n";

/// Shape of one field: `N` digits, `T` text, `B` bytes; a number of characters, or `V` with digits of length.
#[derive(Clone, Copy)]
enum Shape {
    N(usize),
    Nv(usize),
    T(usize),
    Tv(usize),
    B(usize),
    Bv(usize),
}

/// One message: its type and its fields. Values are text, or for binary fields raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) mti: String,
    pub(crate) fields: BTreeMap<u8, Vec<u8>>,
}

impl Message {
    pub(crate) fn new(mti: &str) -> Self {
        Self { mti: mti.into(), fields: BTreeMap::new() }
    }

    /// The message with this field.
    pub(crate) fn with(mut self, field: u8, value: impl AsRef<[u8]>) -> Self {
        self.fields.insert(field, value.as_ref().to_vec());
        self
    }

    /// The message without this field.
    pub(crate) fn without(mut self, field: u8) -> Self {
        self.fields.remove(&field);
        self
    }

    /// The message under another type, for a repeat.
    pub(crate) fn as_mti(&self, mti: &str) -> Self {
        Self { mti: mti.into(), ..self.clone() }
    }

    /// A field as text; empty when absent.
    pub(crate) fn text(&self, field: u8) -> String {
        self.fields.get(&field).map_or_else(String::new, |v| String::from_utf8_lossy(v).into())
    }

    /// The response code.
    pub(crate) fn code(&self) -> String {
        self.text(39)
    }
}

impl Dialect {
    #[expect(clippy::match_same_arms, reason = "one row a field, in the order of the standards")]
    fn shape(&self, field: u8) -> Shape {
        use Shape::{B, Bv, N, Nv, T, Tv};
        match (self.year, field) {
            (_, 2 | 32 | 100) => Nv(2),
            (2003, 3) => T(6),
            (_, 3) => N(6),
            (2003, 4) => N(16),
            (_, 4) => N(12),
            (_, 7) => N(10),
            (2003, 11) => N(12),
            (_, 11) => N(6),
            (1987, 12) => N(6),
            (1993, 12) => N(12),
            (_, 12) => N(14),
            (2003, 13) => N(6),
            (_, 13) => N(4),
            (_, 23 | 24) => N(3),
            // Track 2 is of digits in the packed dialects; the tests send it in ASCII only.
            (_, 35 | 45) => Tv(2),
            (_, 37) => T(12),
            (1987, 39) => T(2),
            (1993, 39) => N(3),
            (_, 39) => N(4),
            (2003, 41) => T(16),
            (_, 41) => T(8),
            (2003, 42) => Tv(2),
            (_, 42) => T(15),
            // Text among packed digits, as jPOS' iso87binary has it.
            (1987, 49) if self.name == "iso87-bcd" => T(3),
            (1987, 49) => N(3),
            (1993, 49) => T(3),
            (_, 52) if self.name == POS_AES.name => B(16),
            (_, 52 | 64 | 128 | 152) => B(8),
            (1987, 53) if matches!(self.new_pin, NewPin::First53 | NewPin::Last53) => B(48),
            (1987, 53) => N(16),
            // One byte of length in the Visa-like dialect, whatever its places.
            (1987 | 1993, 55) => Bv(3),
            (_, 55) => Bv(4),
            (1993 | 2003, 56) => Nv(2),
            (1987, 60 | 62 | 63) => Tv(3),
            (1987, 70) => N(3),
            (1987, 90) => N(42),
            (2003, 113) => Bv(4),
            (1987, 127) => Bv(6),
            (1987, 125) if self.name == "mastercard" => B(8),
            (1987 | 1993, 125) => Bv(3),
            _ => panic!("{}: field {field} is none the tests know", self.name),
        }
    }

    /// The message as bytes, without a frame.
    pub(crate) fn encode(&self, message: &Message) -> Vec<u8> {
        let mut out = write_digits(self.mti, message.mti.as_bytes());
        let mut bits = vec![0_u8; 8];
        let mut set = |n: u8| {
            let at = usize::from(n - 1);
            while bits.len() <= at / 8 {
                bits.extend([0; 8]);
            }
            bits[at / 8] |= 0x80 >> (at % 8);
        };
        let last = message.fields.keys().last().copied().unwrap_or(0);
        message.fields.keys().for_each(|n| set(*n));
        if 64 < last {
            set(1);
        }
        if 128 < last {
            set(65);
        }
        out.extend(self.binary(&bits));
        for (n, value) in &message.fields {
            self.write(self.shape(*n), value, &mut out);
        }
        out
    }

    fn binary(&self, bytes: &[u8]) -> Vec<u8> {
        if self.hex { hex::encode_upper(bytes).into_bytes() } else { bytes.to_vec() }
    }

    fn write(&self, shape: Shape, value: &[u8], out: &mut Vec<u8>) {
        match shape {
            Shape::N(_) => out.extend(write_digits(self.digits, value)),
            Shape::Nv(places) => {
                self.write_length(places, value.len(), out);
                out.extend(write_digits(self.digits_variable, value));
            }
            Shape::T(_) => out.extend(write_text(self.text, value)),
            Shape::Tv(places) => {
                self.write_length(places, value.len(), out);
                out.extend(write_text(self.text, value));
            }
            Shape::B(_) => out.extend(self.binary(value)),
            Shape::Bv(places) => {
                let value = self.binary(value);
                self.write_length(places, value.len(), out);
                out.extend(value);
            }
        }
    }

    fn write_length(&self, places: usize, length: usize, out: &mut Vec<u8>) {
        let text = format!("{length:0places$}");
        match self.length {
            Length::Ascii => out.extend(text.bytes()),
            Length::Ebcdic => out.extend(write_digits(Digits::Ebcdic, text.as_bytes())),
            Length::Packed => out.extend(write_digits(Digits::PackedLeft, text.as_bytes())),
            Length::Binary => out.push(u8::try_from(length).expect("a length of one byte")),
        }
    }

    /// Bytes as a message, and how many of them come before a MAC that ends it.
    #[track_caller]
    pub(crate) fn decode(&self, bytes: &[u8]) -> (Message, usize) {
        let mut rest = Reader { bytes, at: 0 };
        let mti = rest.digits(self.mti, 4);
        let mut bits = rest.binary(self.hex, 8);
        for announces in [0, 64] {
            if bits.get(announces / 8).is_some_and(|byte| byte & 0x80 != 0) {
                bits.extend(rest.binary(self.hex, 8));
            }
        }
        let mut message = Message::new(&String::from_utf8_lossy(&mti));
        let mut before_last = rest.at;
        for n in 2..=bits.len() * 8 {
            if n == 65 || bits[(n - 1) / 8] & (0x80 >> ((n - 1) % 8)) == 0 {
                continue;
            }
            before_last = rest.at;
            let n = u8::try_from(n).expect("at most 192");
            let value = self.read(self.shape(n), &mut rest);
            message.fields.insert(n, value);
        }
        assert_eq!(rest.at, bytes.len(), "{}: bytes are left behind {message:?}", self.name);
        (message, before_last)
    }

    fn read(&self, shape: Shape, rest: &mut Reader<'_>) -> Vec<u8> {
        match shape {
            Shape::N(count) => rest.digits(self.digits, count),
            Shape::Nv(places) => {
                let count = self.read_length(places, rest);
                rest.digits(self.digits_variable, count)
            }
            Shape::T(count) => rest.text(self.text, count),
            Shape::Tv(places) => {
                let count = self.read_length(places, rest);
                rest.text(self.text, count)
            }
            Shape::B(count) => rest.binary(self.hex, count),
            Shape::Bv(places) => {
                let count = self.read_length(places, rest);
                rest.binary(self.hex, if self.hex { count / 2 } else { count })
            }
        }
    }

    fn read_length(&self, places: usize, rest: &mut Reader<'_>) -> usize {
        let digits = match self.length {
            Length::Ascii => rest.digits(Digits::Ascii, places),
            Length::Ebcdic => rest.digits(Digits::Ebcdic, places),
            Length::Packed => rest.digits(Digits::PackedLeft, places),
            Length::Binary => return usize::from(rest.take(1)[0]),
        };
        String::from_utf8_lossy(&digits).parse().expect("digits of a length")
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let taken = self.bytes.get(self.at..self.at + count).expect("the message ends too soon");
        self.at += count;
        taken
    }

    fn binary(&mut self, hex: bool, count: usize) -> Vec<u8> {
        if hex {
            hex::decode(self.take(count * 2)).expect("hexadecimal digits")
        } else {
            self.take(count).to_vec()
        }
    }

    fn digits(&mut self, how: Digits, count: usize) -> Vec<u8> {
        match how {
            Digits::Ascii | Digits::Ebcdic => self.text(how, count),
            Digits::PackedLeft | Digits::PackedRight => {
                let packed = hex::encode(self.take(count.div_ceil(2))).into_bytes();
                let skip = packed.len() - count;
                match how {
                    Digits::PackedLeft => packed[skip..].to_vec(),
                    _ => packed[..count].to_vec(),
                }
            }
        }
    }

    fn text(&mut self, how: Digits, count: usize) -> Vec<u8> {
        let bytes = self.take(count).to_vec();
        if how == Digits::Ebcdic { bytes.into_iter().map(from_ebcdic).collect() } else { bytes }
    }
}

fn write_text(how: Digits, text: &[u8]) -> Vec<u8> {
    if how == Digits::Ebcdic { text.iter().map(|b| to_ebcdic(*b)).collect() } else { text.into() }
}

fn write_digits(how: Digits, digits: &[u8]) -> Vec<u8> {
    let mut padded = digits.to_vec();
    match how {
        Digits::Ascii | Digits::Ebcdic => return write_text(how, digits),
        Digits::PackedLeft if digits.len() % 2 == 1 => padded.insert(0, b'0'),
        Digits::PackedRight if digits.len() % 2 == 1 => padded.push(b'0'),
        Digits::PackedLeft | Digits::PackedRight => {}
    }
    hex::decode(&padded).expect("digits to pack")
}

/// Digits, capital letters, blank and hyphen of code page 037: all that the tests write.
const EBCDIC: &[(u8, u8, u8)] = &[
    (b'0', 10, 0xF0),
    (b'A', 9, 0xC1),
    (b'J', 9, 0xD1),
    (b'S', 8, 0xE2),
    (b' ', 1, 0x40),
    (b'-', 1, 0x60),
];

fn to_ebcdic(byte: u8) -> u8 {
    let found = EBCDIC.iter().find(|(first, count, _)| (*first..first + count).contains(&byte));
    found.map_or_else(|| panic!("no EBCDIC for {byte:#x}"), |(first, _, to)| to + (byte - first))
}

fn from_ebcdic(byte: u8) -> u8 {
    let found = EBCDIC.iter().find(|(_, count, to)| (*to..to + count).contains(&byte));
    found.map_or_else(|| panic!("no text for {byte:#x}"), |(first, _, to)| first + (byte - to))
}
