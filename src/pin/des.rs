//! DES (FIPS 46-3) with the eight S-boxes and the permutation behind them folded into tables at compile time.
//!
//! It is here for speed only: a change is four triple-DES blocks, and the crate `des` permutes bit by bit, which made
//! two fifths of all instructions of a change. A test holds this one against that crate, another against published
//! vectors. Like every DES on tables it shows its accesses to whoever shares its cache: a software module is no
//! device. **Never here:** key checks (`hsm::key`), chaining. Where next: `tdes`.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The S-boxes as FIPS 46-3 prints them, four rows of sixteen each.
#[rustfmt::skip]
const S: [[u8; 64]; 8] = [
    [14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7,
     0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8,
     4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0,
     15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13],
    [15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10,
     3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5,
     0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15,
     13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9],
    [10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8,
     13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1,
     13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7,
     1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12],
    [7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15,
     13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9,
     10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4,
     3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14],
    [2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9,
     14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6,
     4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14,
     11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3],
    [12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11,
     10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8,
     9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6,
     4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13],
    [4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1,
     13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6,
     1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2,
     6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12],
    [13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7,
     1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2,
     7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8,
     2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11],
];

/// Permutation behind the S-boxes, bits from 1.
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19,
    13, 30, 6, 22, 11, 4, 25,
];

/// First choice of key bits: the two halves of 28.
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60,
    52, 44, 36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29,
    21, 13, 5, 28, 20, 12, 4,
];

/// Second choice: the 48 bits of a round, six for each S-box.
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52,
    31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];

/// How far the halves of the key turn before each round.
const TURNS: [u8; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];

/// What each S-box and the permutation make of six bits, turned left by one as the halves are during the rounds.
const SP: [[u32; 64]; 8] = tables();

const fn tables() -> [[u32; 64]; 8] {
    let mut tables = [[0; 64]; 8];
    let mut at = 0;
    while at < 8 * 64 {
        let (number, six) = (at / 64, at % 64);
        // The outer two bits choose the row, the inner four the column.
        let row = (six >> 4 & 2) | (six & 1);
        let four = S[number][row * 16 + (six >> 1 & 15)] as u32;
        let before = four << (28 - 4 * number);
        let mut after = 0;
        let mut bit = 0;
        while bit < 32 {
            after = after << 1 | (before >> (32 - P[bit]) & 1);
            bit += 1;
        }
        tables[number][six] = after.rotate_left(1);
        at += 1;
    }
    tables
}

/// A key with its sixteen rounds laid out: six bits a byte, S-boxes 1, 3, 5, 7 in one word and 2, 4, 6, 8 in the other.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Des {
    rounds: [[u32; 2]; 16],
}

/// Both halves of a block between the first and the last permutation.
type Halves = (u32, u32);

impl Des {
    /// Lays the rounds out. Parity bits are not looked at.
    #[must_use]
    pub fn new(key: &[u8; 8]) -> Self {
        let key = u64::from_be_bytes(*key);
        let chosen = choose(key, 64, &PC1);
        let (mut left, mut right) = (chosen >> 28, chosen & 0x0FFF_FFFF);
        let mut rounds = [[0; 2]; 16];
        for (round, turn) in rounds.iter_mut().zip(TURNS) {
            left = (left << turn | left >> (28 - turn)) & 0x0FFF_FFFF;
            right = (right << turn | right >> (28 - turn)) & 0x0FFF_FFFF;
            let bits = choose(left << 28 | right, 56, &PC2);
            for number in 0..8 {
                // Six bits.
                let six = u32::from((bits >> (42 - 6 * number)).to_le_bytes()[0] & 0x3F);
                round[number % 2] |= six << (24 - 8 * (number / 2));
            }
        }
        Self { rounds }
    }

    /// Encrypts one block in place.
    pub fn encrypt(&self, block: &mut [u8; 8]) {
        *block = close(self.forward(open(block)));
    }

    /// Decrypts one block in place.
    pub fn decrypt(&self, block: &mut [u8; 8]) {
        *block = close(self.backward(open(block)));
    }

    /// The sixteen rounds and the exchange of halves at their end.
    #[inline]
    pub(super) fn forward(&self, (mut left, mut right): Halves) -> Halves {
        for pair in self.rounds.chunks_exact(2) {
            left ^= round(right, pair[0]);
            right ^= round(left, pair[1]);
        }
        (right, left)
    }

    /// The rounds of a decryption: the same, from the last to the first.
    #[inline]
    pub(super) fn backward(&self, (mut left, mut right): Halves) -> Halves {
        for pair in self.rounds.rchunks_exact(2) {
            left ^= round(right, pair[1]);
            right ^= round(left, pair[0]);
        }
        (right, left)
    }
}

/// The bits of `from`, which has `width`, that `table` names from 1 on the left.
fn choose(from: u64, width: u8, table: &[u8]) -> u64 {
    table.iter().fold(0, |bits, at| bits << 1 | (from >> (width - at) & 1))
}

/// One round's function. With the half turned left by one, the six bits of each S-box stand together: those of 2, 4, 6
/// and 8 at the end of each byte, those of 1, 3, 5 and 7 there after four more turns.
#[inline]
fn round(half: u32, key: [u32; 2]) -> u32 {
    let [a, b, c, d] = (half.rotate_right(4) ^ key[0]).to_be_bytes().map(|six| six & 0x3F);
    let [e, f, g, h] = (half ^ key[1]).to_be_bytes().map(|six| six & 0x3F);
    SP[0][usize::from(a)]
        ^ SP[1][usize::from(e)]
        ^ SP[2][usize::from(b)]
        ^ SP[3][usize::from(f)]
        ^ SP[4][usize::from(c)]
        ^ SP[5][usize::from(g)]
        ^ SP[6][usize::from(d)]
        ^ SP[7][usize::from(h)]
}

/// The initial permutation, as exchanges of bit groups between the halves, and the turn by one.
#[inline]
pub(super) fn open(block: &[u8; 8]) -> Halves {
    let [a, b, c, d, e, f, g, h] = *block;
    let (mut left, mut right) =
        (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    exchange(&mut left, &mut right, 4, 0x0F0F_0F0F);
    exchange(&mut left, &mut right, 16, 0x0000_FFFF);
    exchange(&mut right, &mut left, 2, 0x3333_3333);
    exchange(&mut right, &mut left, 8, 0x00FF_00FF);
    exchange(&mut left, &mut right, 1, 0x5555_5555);
    (left.rotate_left(1), right.rotate_left(1))
}

/// The inverse of [`open`].
#[inline]
pub(super) fn close((left, right): Halves) -> [u8; 8] {
    let (mut left, mut right) = (left.rotate_right(1), right.rotate_right(1));
    exchange(&mut left, &mut right, 1, 0x5555_5555);
    exchange(&mut right, &mut left, 8, 0x00FF_00FF);
    exchange(&mut right, &mut left, 2, 0x3333_3333);
    exchange(&mut left, &mut right, 16, 0x0000_FFFF);
    exchange(&mut left, &mut right, 4, 0x0F0F_0F0F);
    let [a, b, c, d] = left.to_be_bytes();
    let [e, f, g, h] = right.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Exchanges the bits of `high` that `mask` names after a shift with those of `low` that it names.
#[inline]
fn exchange(high: &mut u32, low: &mut u32, shift: u32, mask: u32) {
    let differ = (*high >> shift ^ *low) & mask;
    *low ^= differ;
    *high ^= differ << shift;
}

#[cfg(test)]
mod tests {
    use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(key: u64, plain: u64, want: u64) {
        let des = Des::new(&key.to_be_bytes());
        let mut block = plain.to_be_bytes();
        des.encrypt(&mut block);
        assert_eq!(u64::from_be_bytes(block), want, "key {key:016X}, plain {plain:016X}");
        des.decrypt(&mut block);
        assert_eq!(u64::from_be_bytes(block), plain);
    }

    /// NIST SP 800-17: variable plaintext, variable key, permutation and substitution tests, first lines of each; the
    /// last is the worked example of FIPS 81.
    #[test]
    fn published_vectors() {
        check(0x0101_0101_0101_0101, 0x8000_0000_0000_0000, 0x95F8_A5E5_DD31_D900);
        check(0x0101_0101_0101_0101, 0x4000_0000_0000_0000, 0xDD7F_121C_A501_5619);
        check(0x8001_0101_0101_0101, 0, 0x95A8_D728_13DA_A94D);
        check(0x4001_0101_0101_0101, 0, 0x0EEC_1487_DD8C_26D5);
        check(0x1046_9134_8998_0131, 0, 0x88D5_5E54_F54C_97B4);
        check(0x7CA1_1045_4A1A_6E57, 0x01A1_D6D0_3977_6742, 0x690F_5B0D_9A26_939B);
        check(0x0123_4567_89AB_CDEF, 0x4E6F_7720_6973_2074, 0x3FA4_0E8A_984D_4815);
    }

    proptest! {
        #[test]
        fn agrees_with_the_crate(key: [u8; 8], plain: [u8; 8]) {
            let (ours, theirs) = (Des::new(&key), des::Des::new(&key.into()));
            let (mut a, mut b) = (plain, plain);
            ours.encrypt(&mut a);
            theirs.encrypt_block((&mut b).into());
            prop_assert_eq!(a, b);
            (a, b) = (plain, plain);
            ours.decrypt(&mut a);
            theirs.decrypt_block((&mut b).into());
            prop_assert_eq!(a, b);
        }
    }
}
