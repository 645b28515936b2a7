//! Any bytes as an answer: no panic in reading, nothing lost in writing again. The first two are the command's code.
#![no_main]

use bytes::BytesMut;
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
use pinion::hsm::payshield::wire::{Field, Settings, decode_answer, encode_answer};

fn read_and_write<'a, T: Field<'a>>(command: [u8; 2], body: &'a [u8]) {
    let settings = Settings::default();
    let opening = Opening::of(body, settings);
    if let Ok(answer) = decode_answer::<T>(command, &opening, settings) {
        let mut again = BytesMut::new();
        encode_answer(command, &answer, &mut again);
        assert_eq!(again, body);
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((command, body)) = bytes.split_first_chunk::<2>() else { return };
    let command = *command;
    match &command {
        b"A0" => read_and_write::<Generated>(command, body),
        b"A6" | b"A8" | b"FA" => read_and_write::<KeyAndCheck>(command, body),
        b"B2" => read_and_write::<Echoed>(command, body),
        b"BA" | b"JA" | b"JC" | b"JE" | b"EE" => read_and_write::<UnderLmk>(command, body),
        b"BU" => read_and_write::<Checked>(command, body),
        b"CA" | b"CC" | b"G0" => read_and_write::<Translated>(command, body),
        b"CU" | b"DG" | b"FW" => read_and_write::<PvvOf>(command, body),
        b"BK" | b"DE" | b"DU" => read_and_write::<OffsetOf>(command, body),
        b"GW" => read_and_write::<Mac8>(command, body),
        b"JG" => read_and_write::<Block>(command, body),
        b"KU" | b"KY" => read_and_write::<Sealed>(command, body),
        b"M6" => read_and_write::<MacValue>(command, body),
        b"N0" => read_and_write::<RandomBytes>(command, body),
        b"NC" => read_and_write::<Diagnosed>(command, body),
        b"NG" => read_and_write::<Revealed>(command, body),
        b"NO" => read_and_write::<StatusText>(command, body),
        _ => read_and_write::<Nothing>(command, body),
    }
});
