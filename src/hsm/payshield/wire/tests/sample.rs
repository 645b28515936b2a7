//! Some value of every field, drawn from a seed: what the property tests encode and decode.
//!
//! **Never here:** values that mean something.

use crate::hsm::payshield::wire::command::diagnose::Echo;
use crate::hsm::payshield::wire::command::dukpt::{DukptMac, DukptToZone, PinOnly};
use crate::hsm::payshield::wire::command::keys::{CheckKey, ZmkFlag};
use crate::hsm::payshield::wire::command::mac::{
    GenerateMac, MacInput, MacValue, Piece, VerifyMac,
};
use crate::hsm::payshield::wire::command::translate::Destination;
use crate::hsm::payshield::wire::field::{
    Account, AnyAccount, CheckValue, Count2, Count3, Counted, CountedDecimal, Firmware, FormatCode,
    KeyType2, Ksn, Letter, Mac4, Mac8, Mode2, Offset, OpenPin, PinBlock, Pvki, Pvv, Raw,
    ReferenceNumber, SealedPin, Table, Text, Twelve, ValidationData,
};
use crate::hsm::payshield::wire::key::{Key, KeyType, PinKey, PvkPair, Scheme};
use crate::hsm::payshield::wire::option::{
    Attributes, BdkFlag, BlockVersion, CheckType, Excluded, ExportUnder, Exportability, LmkHere,
    LongType, OtherAccount, PinLength, Schemes,
};

mod scripts;

/// Draws values; remembers what later fields depend on, as the reader does.
#[expect(clippy::struct_excessive_bools, reason = "what the reader remembers")]
pub(crate) struct Draw {
    state: u64,
    wide: bool,
    plus: bool,
    whole: bool,
    derived: bool,
}

/// A value of a type.
pub(crate) trait Sample: Sized {
    fn sample(draw: &mut Draw) -> Self;
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, wide: false, plus: false, whole: false, derived: false }
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn some<T: Sample>(&mut self) -> T {
        T::sample(self)
    }

    pub(crate) fn of(&mut self, alphabet: &[u8], count: usize) -> Vec<u8> {
        (0..count).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    fn chars<const N: usize>(&mut self, alphabet: &[u8]) -> [u8; N] {
        self.of(alphabet, N).try_into().unwrap()
    }

    /// Kept for good: tests end.
    fn kept(&mut self, alphabet: &[u8], count: usize) -> &'static [u8] {
        self.of(alphabet, count).leak()
    }
}

const DIGITS: &[u8] = b"0123456789";
const HEX: &[u8] = b"0123456789ABCDEF";
const ANY: &[u8] = &[0, 0x19, b'%', b';', b'0', b'A', b'U', 0xFF, b'*', b'#'];

macro_rules! chars {
    ($($name:ident = $alphabet:expr,)*) => {
        $(impl Sample for $name {
            fn sample(draw: &mut Draw) -> Self {
                Self(draw.chars($alphabet))
            }
        })*
    };
}

chars! {
    Firmware = b"0123456789-",
    KeyType2 = DIGITS,
    Letter = b"0123ASUX",
    Mac4 = HEX,
    Mac8 = HEX,
    Mode2 = DIGITS,
    OtherAccount = DIGITS,
    Pvki = DIGITS,
    Pvv = DIGITS,
    ReferenceNumber = DIGITS,
}

impl<T: Sample> Sample for Option<T> {
    fn sample(draw: &mut Draw) -> Self {
        (draw.below(2) == 0).then(|| draw.some())
    }
}

impl Sample for Key<'static> {
    fn sample(draw: &mut Draw) -> Self {
        match draw.below(9) {
            0 => Self::Ecb(Scheme::Z, draw.kept(HEX, 16)),
            1 => Self::Ecb(Scheme::X, draw.kept(HEX, 32)),
            2 => Self::Ecb(Scheme::T, draw.kept(HEX, 48)),
            3 => Self::Ecb(Scheme::Y, draw.kept(HEX, 48)),
            4 => Self::Stored(Some(Scheme::U), draw.chars(HEX)),
            5 => Self::Block(
                b"00072P0TB00E0001EA421618B34F5FA1A77F7CF6480111B97CF0FAE7BD77D589EC921EF9",
            ),
            6 => Self::Tr31(
                b"A0072K0TN00N0000F40D5672C6D0EC86F860BA88D44D00F0CA9A8CE8CD2F640287A9A9EB",
            ),
            _ => Self::Ecb(Scheme::U, draw.kept(HEX, 32)),
        }
    }
}

impl Sample for PinKey<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let wide = b"10096P0TN00E0003DDAD808976114849F5464E8944D2205F25A308863340D066ADCDA79E3B1F08AC034229C023D01106";
        if draw.below(6) == 0 {
            let mut block = wide.to_vec();
            block[7] = b'A';
            draw.wide = true;
            return Self(Key::Block(block.leak()));
        }
        draw.wide = false;
        Self(draw.some())
    }
}

impl Sample for PvkPair<'static> {
    fn sample(draw: &mut Draw) -> Self {
        if draw.below(4) == 0 {
            return Self(Key::Ecb(Scheme::Bare, draw.kept(HEX, 32)));
        }
        Self(draw.some())
    }
}

impl Sample for KeyType {
    fn sample(draw: &mut Draw) -> Self {
        [Self::ZPK, Self::PVK, Self::TPK, Self::BLOCK][draw.below(4)]
    }
}

impl Sample for PinBlock {
    fn sample(draw: &mut Draw) -> Self {
        let count = if draw.wide { 16 } else { 8 };
        Self::new(&(0..count).map(|_| draw.next().to_le_bytes()[0]).collect::<Vec<_>>()).unwrap()
    }
}

impl Sample for FormatCode {
    fn sample(draw: &mut Draw) -> Self {
        let code = [*b"01", *b"03", *b"04", *b"05", *b"47", *b"48", *b"99"][draw.below(7)];
        draw.plus |= code == *b"04";
        draw.whole |= code == *b"48";
        Self(code)
    }
}

impl Sample for Account {
    fn sample(draw: &mut Draw) -> Self {
        if draw.whole && !draw.derived {
            let count = 12 + draw.below(8);
            return Self::whole(&draw.of(DIGITS, count)).unwrap();
        }
        if !draw.plus {
            return Self::Twelve(draw.chars(DIGITS));
        }
        let padding = draw.below(7);
        let mut padded: [u8; 18] = draw.chars(DIGITS);
        padded[..padding].fill(b'F');
        Self::Plus(padded)
    }
}

impl Sample for AnyAccount {
    fn sample(draw: &mut Draw) -> Self {
        draw.whole = draw.below(2) == 0;
        Self(draw.some())
    }
}

impl Sample for SealedPin {
    fn sample(draw: &mut Draw) -> Self {
        if draw.below(3) == 0 {
            return Self::Block(draw.chars(ANY));
        }
        Self::digits(&draw.of(HEX, 13)).unwrap()
    }
}

impl Sample for OpenPin {
    fn sample(draw: &mut Draw) -> Self {
        let count = draw.below(13);
        Self::new(&draw.of(DIGITS, count), 13).unwrap()
    }
}

impl Sample for Offset {
    fn sample(draw: &mut Draw) -> Self {
        let mut offset = [b'F'; 12];
        let count = draw.below(13);
        offset[..count].copy_from_slice(&draw.of(DIGITS, count));
        Self(offset)
    }
}

impl Sample for Table {
    fn sample(draw: &mut Draw) -> Self {
        match draw.below(3) {
            0 => Self::Given(draw.chars(HEX)),
            1 => Self::Stored(draw.chars(HEX)),
            _ => Self::Wide(draw.chars(ANY)),
        }
    }
}

impl Sample for ValidationData {
    fn sample(draw: &mut Draw) -> Self {
        if draw.below(2) == 0 {
            return Self::Whole(draw.chars(HEX));
        }
        let mut twelve = draw.chars(HEX);
        twelve[draw.below(12)] = b'N';
        Self::Twelve(twelve)
    }
}

impl Sample for Ksn {
    fn sample(draw: &mut Draw) -> Self {
        draw.derived = true;
        let count = [16, 20][draw.below(2)];
        let mut digits = [b'0'; 20];
        digits[..count].copy_from_slice(&draw.of(HEX, count));
        Self { descriptor: draw.chars(HEX), digits, count: u8::try_from(count).unwrap() }
    }
}

impl Sample for CheckValue {
    fn sample(draw: &mut Draw) -> Self {
        if draw.below(2) == 0 { Self::Six(draw.chars(HEX)) } else { Self::Sixteen(draw.chars(HEX)) }
    }
}

impl Sample for Count2 {
    fn sample(draw: &mut Draw) -> Self {
        Self(u8::try_from(draw.below(100)).unwrap())
    }
}

impl Sample for Count3 {
    fn sample(draw: &mut Draw) -> Self {
        Self(draw.below(1000))
    }
}

impl Sample for PinLength {
    fn sample(draw: &mut Draw) -> Self {
        Self(u8::try_from(draw.below(100)).unwrap())
    }
}

impl Sample for Twelve {
    fn sample(_: &mut Draw) -> Self {
        Self
    }
}

impl Sample for PinOnly {
    fn sample(_: &mut Draw) -> Self {
        Self
    }
}

impl Sample for LmkHere {
    fn sample(_: &mut Draw) -> Self {
        Self
    }
}

impl Sample for Text<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let count = draw.below(50);
        Self(draw.kept(HEX, count))
    }
}

impl Sample for Raw<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let count = draw.below(300);
        Self(draw.kept(ANY, count))
    }
}

impl Sample for Counted<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let count = draw.below(300);
        Self(draw.kept(ANY, count))
    }
}

impl Sample for CountedDecimal<'static> {
    fn sample(draw: &mut Draw) -> Self {
        Self(draw.some())
    }
}

impl Sample for Echo<'static> {
    fn sample(draw: &mut Draw) -> Self {
        Self { data: draw.some::<Counted<'_>>().0 }
    }
}

impl Sample for Excluded<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let (length, count) = (4 + draw.below(9), 1 + draw.below(98));
        Self { length: u8::try_from(length).unwrap(), pins: draw.kept(DIGITS, length * count) }
    }
}

impl Sample for BdkFlag {
    fn sample(draw: &mut Draw) -> Self {
        Self(b"*~|!"[draw.below(4)])
    }
}

impl Sample for Destination<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let flag: Option<BdkFlag> = draw.some();
        Self { flag, key: draw.some(), ksn: flag.map(|_| draw.some()) }
    }
}

impl Sample for DukptToZone<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let destination_flag: Option<BdkFlag> = draw.some();
        let ksn: Ksn = draw.some();
        // The lengths of both cannot differ: nothing in the command tells them.
        let other = Ksn { descriptor: *b"605", ..ksn };
        Self {
            flag: draw.some(),
            bdk: draw.some(),
            destination_flag,
            destination: draw.some(),
            ksn,
            destination_ksn: destination_flag.map(|_| other),
            block: draw.some(),
            from: draw.some(),
            to: draw.some(),
            account: draw.some(),
            other: draw.some(),
        }
    }
}

impl Sample for DukptMac<'static> {
    fn sample(draw: &mut Draw) -> Self {
        Self {
            method: draw.some(),
            bdk: draw.some(),
            ksn: draw.some(),
            mac: draw.some(),
            message: draw.some(),
        }
    }
}

impl Sample for Schemes {
    fn sample(draw: &mut Draw) -> Self {
        Self { zmk: draw.some(), lmk: draw.some(), check: draw.some() }
    }
}

impl Sample for LongType {
    fn sample(draw: &mut Draw) -> Self {
        Self(draw.some())
    }
}

impl Sample for CheckType {
    fn sample(draw: &mut Draw) -> Self {
        Self(draw.some())
    }
}

impl Sample for ExportUnder<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let marked = draw.below(2) == 0;
        Self { marked, kind: Letter(draw.chars(b"01")), key: draw.some(), scheme: draw.some() }
    }
}

impl Sample for Attributes {
    fn sample(draw: &mut Draw) -> Self {
        Self {
            usage: draw.chars(HEX),
            algorithm: draw.chars(HEX),
            mode: draw.some(),
            version: draw.chars(DIGITS),
            export: draw.some(),
        }
    }
}

impl Sample for Exportability {
    fn sample(draw: &mut Draw) -> Self {
        Self(draw.some())
    }
}

impl Sample for BlockVersion {
    fn sample(draw: &mut Draw) -> Self {
        Self(Letter(draw.chars(b"ABCD")))
    }
}

impl Sample for ZmkFlag {
    fn sample(draw: &mut Draw) -> Self {
        Self(draw.some())
    }
}

impl Sample for CheckKey<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let long = draw.below(2) == 0;
        let flag = draw.below(3);
        Self {
            key_type: KeyType2(if long { *b"FF" } else { *b"02" }),
            length: Letter([b"012"[flag]]),
            key: match draw.below(2) {
                0 => Key::Ecb(Scheme::Bare, draw.kept(HEX, 16 + 16 * flag)),
                _ => draw.some(),
            },
            // Without the type, `;00` would be read as one.
            long_type: long.then(|| draw.some()),
            check: draw.some(),
        }
    }
}

impl Sample for MacInput<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let piece = [Piece::Only, Piece::First, Piece::Middle, Piece::Last][draw.below(4)];
        let format = b"012"[draw.below(3)];
        let count = 2 * draw.below(100);
        Self {
            piece,
            format,
            whole: draw.below(2) == 0,
            algorithm: b"136"[draw.below(3)],
            padding: b"012"[draw.below(3)],
            key_type: KeyType([*b"003", *b"008", *b"FFF"][draw.below(3)]),
            key: draw.some(),
            before: piece.has_before().then(|| draw.chars(ANY)),
            message: draw.kept(if format == b'1' { HEX } else { ANY }, count),
        }
    }
}

impl Sample for GenerateMac<'static> {
    fn sample(draw: &mut Draw) -> Self {
        Self(draw.some())
    }
}

impl Sample for VerifyMac<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let input: MacInput<'_> = draw.some();
        let whole = input.whole;
        let mac = input.piece.is_end().then(|| MacValue::cut(draw.chars(HEX), whole));
        Self { input, mac }
    }
}
