//! ISO 8583:1987 in ASCII with a binary bitmap, as the contract gives it: requests, answers, and a connection for
//! them.
//!
//! Written from the field table of the standard, with PIN blocks of ISO 9564-1 format 0 under the demo world's key.
//! **Never here:** the crate's own codec or ciphers.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use des::cipher::{BlockCipherEncrypt, KeyInit};

use super::PATIENCE;

/// `zpk.atm` of the demo world.
pub(crate) const ZPK: &str = "2315208C9110AD40A8B6C7D5E5F20210";

/// One message: its type and its fields, as raw bytes without their lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) mti: String,
    pub(crate) fields: BTreeMap<u8, Vec<u8>>,
}

/// Digits of the length before a field; 0 for a fixed one, `None` for a field the tests do not know.
fn length_digits(field: u8) -> Option<usize> {
    match field {
        2 | 32 | 35 => Some(2),
        125 => Some(3),
        3 | 4 | 7 | 11..=13 | 23 | 37 | 39 | 41 | 42 | 49 | 52 | 53 | 70 | 90 | 64 | 128 => Some(0),
        _ => None,
    }
}

fn fixed(field: u8) -> usize {
    match field {
        3 | 11 | 12 => 6,
        4 | 37 => 12,
        7 => 10,
        13 => 4,
        23 | 49 | 70 => 3,
        39 => 2,
        41 | 52 | 64 | 128 => 8,
        42 => 15,
        53 => 48,
        _ => 42,
    }
}

impl Message {
    pub(crate) fn new(mti: &str) -> Self {
        Self { mti: mti.into(), fields: BTreeMap::new() }
    }

    pub(crate) fn with(mut self, field: u8, value: impl AsRef<[u8]>) -> Self {
        self.fields.insert(field, value.as_ref().to_vec());
        self
    }

    pub(crate) fn without(mut self, field: u8) -> Self {
        self.fields.remove(&field);
        self
    }

    /// The message under another type.
    pub(crate) fn under(mut self, mti: &str) -> Self {
        self.mti = mti.into();
        self
    }

    pub(crate) fn text(&self, field: u8) -> &str {
        self.fields.get(&field).map_or("", |value| std::str::from_utf8(value).expect("text"))
    }

    pub(crate) fn code(&self) -> &str {
        self.text(39)
    }

    /// The trace number, which tells answers apart.
    pub(crate) fn stan(&self) -> u32 {
        self.text(11).parse().expect("a trace number")
    }

    /// The message without a frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wide = self.fields.keys().any(|n| 64 < *n);
        let mut bits = vec![0_u8; if wide { 16 } else { 8 }];
        if wide {
            bits[0] |= 0x80;
        }
        let mut data = Vec::new();
        for (n, value) in &self.fields {
            let at = usize::from(n - 1);
            bits[at / 8] |= 0x80 >> (at % 8);
            match length_digits(*n).expect("a known field") {
                0 => {}
                places => data.extend(format!("{:0places$}", value.len()).bytes()),
            }
            data.extend(value);
        }
        [self.mti.as_bytes(), &bits, &data].concat()
    }

    /// The message with two bytes of length before it.
    pub(crate) fn framed(&self) -> Vec<u8> {
        framed(&self.encode())
    }

    /// Reads an answer. It panics on anything that an answer of the contract does not have.
    #[track_caller]
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let (mti, mut rest) = bytes.split_at(4);
        let wide = rest[0] & 0x80 != 0;
        let (bits, after) = rest.split_at(if wide { 16 } else { 8 });
        rest = after;
        let mut message = Self::new(std::str::from_utf8(mti).expect("text"));
        for at in 1..bits.len() * 8 {
            if bits[at / 8] & (0x80 >> (at % 8)) == 0 {
                continue;
            }
            let n = u8::try_from(at + 1).expect("at most 128");
            let places = length_digits(n).unwrap_or_else(|| panic!("field {n} in an answer"));
            let (length, after) = rest.split_at(places);
            let length = match places {
                0 => fixed(n),
                _ => std::str::from_utf8(length).expect("text").parse().expect("a length"),
            };
            let (value, after) = after.split_at(length);
            message.fields.insert(n, value.to_vec());
            rest = after;
        }
        assert!(rest.is_empty(), "bytes behind the last field");
        message
    }
}

/// A frame around bytes.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a short message");
    [&length.to_be_bytes()[..], message].concat()
}

/// Numbers under a BIN as `pinion cards generate` documents them, with the check digit of ISO/IEC 7812-1.
pub(crate) fn pans(bin: &str, seed: u64, count: u64) -> Vec<String> {
    let number = |index| {
        let account = (seed * 1_000_003 + index) % 1_000_000_000;
        let digits = format!("{bin}{account:09}");
        let sum: u32 = digits
            .bytes()
            .rev()
            .enumerate()
            .map(|(at, digit)| {
                let value = u32::from(digit - b'0') * if at % 2 == 0 { 2 } else { 1 };
                if 9 < value { value - 9 } else { value }
            })
            .sum();
        format!("{digits}{}", (10 - sum % 10) % 10)
    };
    (0..count).map(number).collect()
}

/// A PIN block of format 0 under `zpk.atm`.
pub(crate) fn pin_block(pan: &str, pin: &str) -> [u8; 8] {
    let account = &pan[pan.len() - 13..pan.len() - 1];
    let pin = hex::decode(format!("0{}{pin:F<14}", pin.len())).expect("hex");
    let account = hex::decode(format!("0000{account}")).expect("hex");
    let mut block = [0; 8];
    for (to, (a, b)) in block.iter_mut().zip(pin.iter().zip(&account)) {
        *to = a ^ b;
    }
    let key = hex::decode(ZPK).expect("hex");
    let cipher = des::TdesEde2::new_from_slice(&key).expect("a key of two parts");
    cipher.encrypt_block((&mut block).into());
    block
}

/// The plain parts of a request: number `n` names it.
fn bare(mti: &str, code: &str, pan: &str, n: u32) -> Message {
    Message::new(mti)
        .with(2, pan)
        .with(3, format!("{code}0000"))
        .with(7, "1122101010")
        .with(11, format!("{:06}", n % 1_000_000))
        .with(12, "101010")
        .with(13, "1122")
        .with(37, format!("R{n:011}"))
        .with(41, "TERM0001")
}

pub(crate) fn change(pan: &str, current: &str, new: &str, n: u32) -> Message {
    bare("0100", "92", pan, n).with(52, pin_block(pan, current)).with(125, pin_block(pan, new))
}

pub(crate) fn verify(pan: &str, pin: &str, n: u32) -> Message {
    bare("0100", "90", pan, n).with(52, pin_block(pan, pin))
}

pub(crate) fn unblock(pan: &str, n: u32) -> Message {
    bare("0100", "91", pan, n)
}

/// The reversal of `original`, as request `n`.
pub(crate) fn reversal(original: &Message, n: u32) -> Message {
    let named = format!("0100{}1122101010{:022}", original.text(11), 0);
    let mut message = bare("0420", "92", original.text(2), n).with(90, named);
    message.fields.insert(37, original.fields[&37].clone());
    message
}

pub(crate) fn echo(n: u32) -> Message {
    network("301", n)
}

/// A network-management message.
pub(crate) fn network(code: &str, n: u32) -> Message {
    Message::new("0800").with(7, "1122101010").with(11, format!("{n:06}")).with(70, code)
}

/// One connection to a link.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn try_connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    #[track_caller]
    pub(crate) fn connect(port: u16) -> Self {
        Self::try_connect(port).expect("a connection")
    }

    /// Sends nothing more.
    pub(crate) fn end(&self) {
        // Fails when the peer has closed already, which is the same.
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }

    /// The writing half, for a thread of its own.
    #[track_caller]
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream.get_ref().try_clone().expect("a second handle")
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next answer; an error when the connection ends before it is whole. Empty frames, which keep a connection
    /// alive, are passed over.
    pub(crate) fn read(&mut self) -> io::Result<Message> {
        let mut length = [0; 2];
        while length == [0; 2] {
            self.stream.read_exact(&mut length)?;
        }
        let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut frame)?;
        Ok(Message::decode(&frame))
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, message: &Message) -> Message {
        self.write(&message.framed()).expect("written");
        self.read().expect("an answer")
    }

    #[track_caller]
    pub(crate) fn code(&mut self, message: &Message) -> String {
        self.ask(message).code().to_owned()
    }

    /// Sends all, then reads as many answers: the code of each request, in the order of the requests.
    #[track_caller]
    pub(crate) fn codes(&mut self, messages: &[Message]) -> Vec<String> {
        let mut codes = Vec::new();
        // A part at a time, so that neither side's buffers fill.
        for part in messages.chunks(100) {
            let bytes: Vec<u8> = part.iter().flat_map(Message::framed).collect();
            self.write(&bytes).expect("written");
            let answers: BTreeMap<u32, String> = part
                .iter()
                .map(|_| self.read().expect("an answer"))
                .map(|answer| (answer.stan(), answer.code().to_owned()))
                .collect();
            codes.extend(part.iter().map(|request| answers[&request.stan()].clone()));
        }
        codes
    }
}

#[test]
fn pin_blocks_are_those_of_the_demo_world() {
    // `pin_block_samples` of the demo world, computed by the Python package psec.
    for (pan, pin, block) in [
        ("4761739001010010", "1234", "6773584E4C616F77"),
        ("4761739001010010", "5678", "09AC44C7E013D0A9"),
        ("5413340089010011", "13579", "7D0770DA435FDBF8"),
        ("5413340089010011", "24680", "B39E241543CB8ABB"),
    ] {
        assert_eq!(hex::encode_upper(pin_block(pan, pin)), block, "{pan} {pin}");
    }
    assert_eq!(pans("476173", 1, 1)[0].len(), 16);
}
