//! What each target holds of any bytes. `tests/fuzz_corpus.rs` of the main package replays `corpus/` by the same rules.
//!
//! A rule that is broken panics. Each tells whether the parser took the bytes: a corpus of refusals would test little.

use std::sync::{Arc, LazyLock};

use bytes::BytesMut;
use pinion::hsm::key::Algorithm;
use pinion::hsm::payshield::simulator::{Device, Kind, Setup};
use pinion::hsm::payshield::wire::command::diagnose::{
    Diagnosed, Echoed, Nothing, RandomBytes, StatusText,
};
use pinion::hsm::payshield::wire::command::keys::{Checked, Generated, KeyAndCheck};
use pinion::hsm::payshield::wire::command::mac::MacValue;
use pinion::hsm::payshield::wire::command::references::{OffsetOf, PvvOf};
use pinion::hsm::payshield::wire::command::scripts::Sealed;
use pinion::hsm::payshield::wire::command::translate::{Block, Revealed, Translated, UnderLmk};
use pinion::hsm::payshield::wire::field::Mac8;
use pinion::hsm::payshield::wire::message::Opening;
use pinion::hsm::payshield::wire::{
    Field, Scratch, Settings, decode_answer, decode_request, encode_answer, encode_request,
    frame as payshield_frames,
};
use pinion::hsm::tr31::{PAD_BYTES, open, seal};
use pinion::iso8583::frame::{FrameCodec, Framing};
use pinion::iso8583::{Charset, Dialect, Layout, Message, decode, from_json, tlv as ber, to_json};
use tokio_util::codec::Decoder as _;

/// A message of a dialect: what decodes comes back from its JSON byte for byte.
pub fn message(dialect: &Arc<Dialect>, bytes: &[u8]) -> bool {
    let mut layout = Layout::new();
    let decoded = decode(dialect, bytes, &mut layout).is_ok();
    let message = Message::partial(dialect, bytes, &layout);
    let _ = to_json(&message, false);
    if decoded {
        let again = from_json(dialect, &to_json(&message, true)).expect("what decodes encodes");
        assert_eq!(again, bytes);
    }
    decoded
}

/// A dialect file: what is refused is refused with its name.
pub fn spec(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match Dialect::load(text, "fuzz.toml") {
        Ok(_) => true,
        Err(error) => {
            assert!(error.to_string().contains("fuzz.toml"));
            false
        }
    }
}

/// A stream of each framing: a decoder moves on, waits or refuses, and never makes bytes.
pub fn frame(bytes: &[u8]) -> bool {
    let framings = ["ascii4", "bcd4", "be2", "be2+tpdu", "be2-zero2+visa22", "hex4", "le2"];
    let mut taken = false;
    for name in framings {
        let framing: Framing = name.parse().expect("a framing");
        let mut codec = FrameCodec::new(framing);
        let mut stream = BytesMut::from(bytes);
        while let Ok(Some(_)) = codec.decode(&mut stream) {
            taken = true;
        }
        assert!(stream.len() <= bytes.len());
    }
    taken
}

/// BER-TLV: the pieces are the input, byte for byte.
pub fn tlv(bytes: &[u8]) -> bool {
    let mut again = Vec::new();
    for piece in ber::pieces(bytes) {
        let Ok(piece) = piece else { return false };
        again.extend_from_slice(piece.as_bytes());
    }
    assert_eq!(again, bytes);
    true
}

/// The protection key of the device's blocks in the corpus.
const TDES: [u8; 16] = [
    0xEF, 0xE0, 0x85, 0x3B, 0x25, 0x6B, 0x58, 0x3D, 0x86, 0x8F, 0x25, 0x1C, 0xE9, 0x9E, 0xA1, 0xD9,
];

/// A TR-31 key block: what opens is written again, and opens as the same.
pub fn tr31(bytes: &[u8]) -> bool {
    let mut opened = false;
    for (algorithm, protection) in [(Algorithm::Tdes, &TDES[..]), (Algorithm::Aes, &[0x41; 32])] {
        let Ok((header, key)) = open(algorithm, protection, bytes) else { continue };
        opened = true;
        let Ok(block) = seal(algorithm, protection, &header, &key, &[0; PAD_BYTES]) else {
            continue;
        };
        let (again, same) = open(algorithm, protection, &block).expect("what is written is read");
        assert!(again == header && same == key);
    }
    opened
}

/// What a host port is set to: any bytes are looked at as both.
const CHARSETS: [Charset; 2] = [Charset::Ascii, Charset::Ebcdic];

static DEVICES: LazyLock<[Device; 2]> = LazyLock::new(|| {
    CHARSETS.map(|charset| {
        let lmks = vec![Kind::Variant, Kind::TdesBlock, Kind::AesBlock];
        let settings = Settings { charset, ..Settings::default() };
        Device::new(&Setup { lmks, settings, ..Setup::default() })
    })
});

/// A payShield command: what is read is written as it was, and everything gets an answer.
pub fn payshield(bytes: &[u8]) -> bool {
    let mut taken = false;
    for device in &*DEVICES {
        let (settings, mut scratch) = (device.settings(), Scratch::default());
        let opening = Opening::of(bytes, settings, &mut scratch);
        let read = decode_request(&opening, settings);
        if let Some(Ok((envelope, request))) = &read {
            let mut again = BytesMut::new();
            encode_request(envelope, request, settings.charset, &mut again);
            assert_eq!(again, bytes);
            taken = true;
        }
        let mut answer = BytesMut::new();
        device.answer(0, bytes, &mut answer);
        assert!(answer.starts_with(opening.header) && opening.header.len() + 4 <= answer.len());
    }
    taken
}

/// Reads an answer, and writes it as it was.
struct Answers<'a> {
    command: [u8; 2],
    body: &'a [u8],
    charset: Charset,
}

impl<'a> Answers<'a> {
    fn of<T: Field<'a>>(&self, scratch: &'a mut Scratch) -> bool {
        let settings = Settings { charset: self.charset, ..Settings::default() };
        let opening = Opening::of(self.body, settings, scratch);
        let Ok(answer) = decode_answer::<T>(self.command, &opening, settings) else { return false };
        let mut again = BytesMut::new();
        encode_answer(self.command, &answer, self.charset, &mut again);
        assert_eq!(again, self.body);
        true
    }
}

/// An answer of a payShield, after the code of its command: what is read is written as it was.
pub fn payshield_answer(bytes: &[u8]) -> bool {
    let Some((command, body)) = bytes.split_first_chunk::<2>() else { return false };
    let taken = CHARSETS.map(|charset| answer_in(charset, *command, body));
    taken.contains(&true)
}

fn answer_in(charset: Charset, command: [u8; 2], body: &[u8]) -> bool {
    let answers = Answers { command, body, charset };
    let it = &mut Scratch::default();
    match &command {
        b"A0" => answers.of::<Generated<'_>>(it),
        b"A6" | b"A8" | b"FA" => answers.of::<KeyAndCheck<'_>>(it),
        b"B2" => answers.of::<Echoed<'_>>(it),
        b"BA" | b"JA" | b"JC" | b"JE" | b"EE" => answers.of::<UnderLmk>(it),
        b"BU" => answers.of::<Checked>(it),
        b"CA" | b"CC" | b"G0" => answers.of::<Translated>(it),
        b"CU" | b"DG" | b"FW" => answers.of::<PvvOf>(it),
        b"BK" | b"DE" | b"DU" => answers.of::<OffsetOf>(it),
        b"GW" => answers.of::<Mac8>(it),
        b"JG" => answers.of::<Block>(it),
        b"KU" | b"KY" => answers.of::<Sealed<'_>>(it),
        b"M6" => answers.of::<MacValue>(it),
        b"N0" => answers.of::<RandomBytes<'_>>(it),
        b"NC" => answers.of::<Diagnosed>(it),
        b"NG" => answers.of::<Revealed>(it),
        b"NO" => answers.of::<StatusText<'_>>(it),
        _ => answers.of::<Nothing>(it),
    }
}

/// A stream of payShield frames: both ways of taking them agree, in one piece and byte by byte.
pub fn payshield_frame(bytes: &[u8]) -> bool {
    let (mut whole, mut slow) = (BytesMut::from(bytes), BytesMut::new());
    let mut taken = Vec::new();
    for byte in bytes {
        slow.extend_from_slice(&[*byte]);
        while let Some(body) = payshield_frames::take(&mut slow) {
            taken.push(body);
        }
    }
    let mut rest = bytes;
    for body in &taken {
        assert_eq!(payshield_frames::first(rest), Some(&body[..]));
        assert_eq!(payshield_frames::take(&mut whole).as_ref(), Some(body));
        let mut out = BytesMut::new();
        payshield_frames::put(&mut out, |out| out.extend_from_slice(body)).expect("it was a frame");
        assert!(rest.starts_with(&out));
        rest = &rest[out.len()..];
    }
    assert_eq!(payshield_frames::first(rest), None);
    assert_eq!(payshield_frames::take(&mut whole), None);
    assert!(whole == rest && slow == rest);
    !taken.is_empty()
}
