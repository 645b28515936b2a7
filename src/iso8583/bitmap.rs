//! Which fields a message has: up to three bitmaps of 64 bits, fields 1 to 192.
//!
//! Bit 1 of the first announces the second, bit 65 the third. **Never here:** what a field means.
//! Where next: `message` reads one from the wire, `build` writes one.

use bitvec::array::BitArray;
use bitvec::order::Msb0;

use super::encoding::{Charset, hex_digit, hex_value};

/// Highest field number: three bitmaps of 64.
pub const FIELD_NUMBER_MAX: u8 = 192;

const WORDS: usize = 3;

/// A set of field numbers, 1 to 192.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bitmap(BitArray<[u64; WORDS], Msb0>);

impl Bitmap {
    /// No field.
    pub const EMPTY: Self = Self(BitArray::ZERO);

    /// Whether field `n` is in the set.
    #[must_use]
    pub fn has(&self, n: u8) -> bool {
        let i = n.wrapping_sub(1);
        self.word(usize::from(i / 64)) << (i % 64) >> 63 == 1
    }

    /// Adds field `n`. Numbers outside 1 to 192 are no fields and change nothing.
    pub fn insert(&mut self, n: u8) {
        if let Some(i) = n.checked_sub(1).filter(|_| n <= FIELD_NUMBER_MAX) {
            self.set_word(
                usize::from(i / 64),
                self.word(usize::from(i / 64)) | 1 << 63 >> (i % 64),
            );
        }
    }

    /// Removes field `n`.
    pub fn remove(&mut self, n: u8) {
        if let Some(i) = n.checked_sub(1).filter(|_| n <= FIELD_NUMBER_MAX) {
            self.0.set(usize::from(i), false);
        }
    }

    /// The highest field in the set.
    #[must_use]
    pub fn last(&self) -> Option<u8> {
        // Not `last_one`: bitvec 1.1.1 subtracts below zero on an empty set.
        let word = self.0.data.iter().rposition(|word| *word != 0)?;
        let last = word * 64 + 64 - self.word(word).trailing_zeros() as usize;
        u8::try_from(last).ok()
    }

    /// How many fields are in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.count_ones()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.not_any()
    }

    /// The numbers in ascending order.
    #[must_use]
    pub fn iter(&self) -> Numbers {
        Numbers { words: self.0.data, word: 0 }
    }

    /// One bitmap as a number, its first field the highest bit.
    pub(super) fn word(&self, index: usize) -> u64 {
        self.0.data.get(index).copied().unwrap_or(0)
    }

    pub(super) fn set_word(&mut self, index: usize, word: u64) {
        if let Some(slot) = self.0.data.get_mut(index) {
            *slot = word;
        }
    }
}

impl IntoIterator for &Bitmap {
    type Item = u8;
    type IntoIter = Numbers;

    fn into_iter(self) -> Numbers {
        self.iter()
    }
}

impl FromIterator<u8> for Bitmap {
    fn from_iter<I: IntoIterator<Item = u8>>(numbers: I) -> Self {
        let mut bitmap = Self::EMPTY;
        for n in numbers {
            bitmap.insert(n);
        }
        bitmap
    }
}

/// The numbers of a [`Bitmap`], ascending.
#[derive(Clone, Debug)]
pub struct Numbers {
    words: [u64; WORDS],
    word: usize,
}

impl Iterator for Numbers {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            let word = self.words.get_mut(self.word)?;
            if *word == 0 {
                self.word += 1;
                continue;
            }
            let bit = word.leading_zeros();
            *word &= !(1 << 63 >> bit);
            #[expect(clippy::cast_possible_truncation, reason = "at most 3 * 64")]
            return Some((self.word * 64) as u8 + bit as u8 + 1);
        }
    }
}

/// How a bitmap of 64 bits travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapForm {
    /// Eight bytes.
    Binary,
    /// Sixteen hexadecimal digits in ASCII, both cases on input, upper case on output.
    Hex,
    /// The same in EBCDIC.
    HexEbcdic,
}

impl BitmapForm {
    /// Bytes on the wire for 64 bits.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Binary => 8,
            Self::Hex | Self::HexEbcdic => 16,
        }
    }

    fn charset(self) -> Charset {
        match self {
            Self::Binary | Self::Hex => Charset::Ascii,
            Self::HexEbcdic => Charset::Ebcdic,
        }
    }

    /// Reads a bitmap of as many bits as `wire` holds (at most 64), first bit highest.
    pub(super) fn read(self, wire: &[u8]) -> Option<u64> {
        match self {
            Self::Binary => {
                if let Ok(bytes) = <[u8; 8]>::try_from(wire) {
                    return Some(u64::from_be_bytes(bytes));
                }
                let mut bytes = [0; 8];
                bytes.get_mut(..wire.len())?.copy_from_slice(wire);
                Some(u64::from_be_bytes(bytes))
            }
            Self::Hex | Self::HexEbcdic => {
                let charset = self.charset();
                let unused = 16_usize.checked_sub(wire.len())?;
                let mut word = 0;
                for byte in wire {
                    word = word << 4 | u64::from(hex_value(charset.to_latin(*byte))?);
                }
                if unused == 16 { Some(0) } else { Some(word << (4 * unused)) }
            }
        }
    }

    /// Writes the first bits of `word`, as many as `wire` holds.
    pub(super) fn write(self, word: u64, wire: &mut [u8]) {
        match self {
            Self::Binary => {
                for (slot, byte) in wire.iter_mut().zip(word.to_be_bytes()) {
                    *slot = byte;
                }
            }
            Self::Hex | Self::HexEbcdic => {
                let charset = self.charset();
                let mut rest = word;
                for slot in wire {
                    rest = rest.rotate_left(4);
                    let nibble = (rest & 0x0F) as u8;
                    *slot = charset.to_wire(hex_digit(nibble));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_order() {
        let set: Bitmap = [192, 2, 64, 65, 128, 129, 1].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 2, 64, 65, 128, 129, 192]);
        assert_eq!((set.len(), set.last()), (7, Some(192)));
        assert!(set.has(64) && !set.has(63) && !set.has(0) && !set.has(193));
        assert!(Bitmap::EMPTY.is_empty());
        assert_eq!((Bitmap::EMPTY.last(), Bitmap::EMPTY.len()), (None, 0));
    }

    #[test]
    fn forms() {
        let word = 0x7238_0000_0000_0001_u64;
        for (form, wire) in [
            (BitmapForm::Binary, hex::decode("7238000000000001").expect("hex")),
            (BitmapForm::Hex, b"7238000000000001".to_vec()),
            (BitmapForm::HexEbcdic, hex::decode("f7f2f3f8f0f0f0f0f0f0f0f0f0f0f0f1").expect("hex")),
        ] {
            assert_eq!(form.read(&wire), Some(word), "{form:?}");
            let mut out = vec![0; form.bytes()];
            form.write(word, &mut out);
            assert_eq!(out, wire, "{form:?}");
        }
        assert_eq!(BitmapForm::Hex.read(b"823a000000000000"), Some(0x823A_0000_0000_0000));
        assert_eq!(BitmapForm::Hex.read(b"823A00000000000G"), None);
        assert_eq!(BitmapForm::Binary.read(&[0x80, 0, 0]), Some(1 << 63));
    }
}
