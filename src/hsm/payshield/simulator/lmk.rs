//! The published test LMKs, and the arithmetic of variant LMKs: pairs, variants, key types, schemes.
//!
//! A key of type `XYZ` is encrypted under the pair that `YZ` names, variant `X` in the first byte of its left half.
//! Under `U` and `T` each eight bytes of the key also have a variant in the first byte of the right half. **Never
//! here:** key blocks (`keyblock`).

use zeroize::Zeroizing;

use crate::hsm::payshield::wire::key::{KeyType, Scheme};
use crate::hsm::payshield::wire::scan::{is_hex, nibble};
use crate::pin::tdes::Tdes;

/// Which of the published test LMKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Twenty pairs of DES keys.
    Variant,
    /// A triple-DES key block LMK.
    TdesBlock,
    /// An AES key block LMK.
    AesBlock,
}

impl Kind {
    /// Check value a device shows for it: a constant, because how it is made is not public.
    #[must_use]
    pub const fn check_value(self) -> &'static [u8; 16] {
        match self {
            Self::Variant => b"2686040000000000",
            Self::TdesBlock => b"1651260000000000",
            Self::AesBlock => b"9D04A00000000000",
        }
    }
}

/// Pairs 00-01 to 38-39 of the variant test LMK.
const PAIRS: [u128; 20] = [
    0x0101_0101_0101_0101_7902_CD1F_D36E_F8BA,
    0x2020_2020_2020_2020_3131_3131_3131_3131,
    0x4040_4040_4040_4040_5151_5151_5151_5151,
    0x6161_6161_6161_6161_7070_7070_7070_7070,
    0x8080_8080_8080_8080_9191_9191_9191_9191,
    0xA1A1_A1A1_A1A1_A1A1_B0B0_B0B0_B0B0_B0B0,
    0xC1C1_0101_0101_0101_D0D0_0101_0101_0101,
    0xE0E0_0101_0101_0101_F1F1_0101_0101_0101,
    0x1C58_7F1C_1392_4FEF_0101_0101_0101_0101,
    0x0101_0101_0101_0101_0101_0101_0101_0101,
    0x0202_0202_0202_0202_0404_0404_0404_0404,
    0x0707_0707_0707_0707_1010_1010_1010_1010,
    0x1313_1313_1313_1313_1515_1515_1515_1515,
    0x1616_1616_1616_1616_1919_1919_1919_1919,
    0x1A1A_1A1A_1A1A_1A1A_1C1C_1C1C_1C1C_1C1C,
    0x2323_2323_2323_2323_2525_2525_2525_2525,
    0x2626_2626_2626_2626_2929_2929_2929_2929,
    0x2A2A_2A2A_2A2A_2A2A_2C2C_2C2C_2C2C_2C2C,
    0x2F2F_2F2F_2F2F_2F2F_3131_3131_3131_3131,
    0x0101_0101_0101_0101_0101_0101_0101_0101,
];

/// The pair of each key type's last digit: 04-05, 06-07, then from 14-15 on.
const PAIR_OF_CODE: [usize; 15] = [2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];
/// Variants 1 to 9.
const VARIANTS: [u8; 9] = [0xA6, 0x5A, 0x6A, 0xDE, 0x2B, 0x50, 0x74, 0x9C, 0xFA];
/// Variants of the parts of a double-length key.
const DOUBLE: [u8; 2] = [0xA6, 0x5A];
/// Variants of the parts of a triple-length key.
const TRIPLE: [u8; 3] = [0x6A, 0xDE, 0x2B];

/// The pair under which PINs are.
pub(super) const PIN_PAIR: [u8; 16] = PAIRS[1].to_be_bytes();

/// The LMK key of a key type: its pair with the variant. `None` for a type that is none.
#[must_use]
pub fn key_of(key_type: KeyType) -> Option<[u8; 16]> {
    let [variant, zero, code] = key_type.0;
    if zero != b'0' || !is_hex(&code) || !variant.is_ascii_digit() {
        return None;
    }
    let mut key = PAIRS.get(*PAIR_OF_CODE.get(usize::from(nibble(code)))?)?.to_be_bytes();
    if let Some(at) = usize::from(nibble(variant)).checked_sub(1) {
        key[0] ^= VARIANTS.get(at)?;
    }
    Some(key)
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Clear to encrypted.
    Seal,
    /// Encrypted to clear.
    Open,
}

/// Encrypts or decrypts a key of 8, 16 or 24 bytes in place under a double-length key, as its scheme says.
pub fn apply(under: &[u8; 16], scheme: Scheme, way: Way, key: &mut [u8]) {
    let variants: &[u8] = match scheme {
        Scheme::U => &DOUBLE,
        Scheme::T => &TRIPLE,
        Scheme::Bare | Scheme::X | Scheme::Y | Scheme::Z => &[],
    };
    for (at, part) in key.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut under = Zeroizing::new(*under);
        under[8] ^= variants.get(at).copied().unwrap_or(0);
        let cipher = Tdes::double(&under);
        match way {
            Way::Seal => cipher.encrypt(part),
            Way::Open => cipher.decrypt(part),
        }
    }
}

/// The TDES key block test LMK.
pub(super) const TDES_BLOCK: [u8; 24] = [
    0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10,
];
/// The AES key block test LMK.
pub(super) const AES_BLOCK: [u8; 32] = crate::hsm::published::DEMO_LMK;

#[cfg(test)]
mod tests {
    use super::*;

    /// One clear key under each type: printed in public sources and simulators' tests.
    #[test]
    fn a_key_under_every_type() {
        for (key_type, want) in [
            (b"001", "063A0E7C0F2124E56192A4510F395ED7"),
            (b"002", "1750CDFB0757D3B3994430636DBB281B"),
            (b"70D", "8699395CD2688A2C9009FCA6FB1EB852"),
            (b"80D", "DBFF5F2FD82B586787BB8A7232EF0562"),
            (b"003", "7AD0BB2A32ADE115807C3572FC302BA5"),
            (b"008", "7B7B1BE6AFBA184A32F08E7514BAC82E"),
            (b"009", "8E3D3E2FD5919657F05A1AA90D32A014"),
            (b"109", "7475636CC30B93B493CF5EA53799EBCC"),
            (b"209", "352796B7EF432BE016CA35D48F4A0483"),
            (b"309", "8430868258D18395C1AD55F2F9F1A090"),
        ] {
            let mut key = hex::decode("0123456789ABCDEFFEDCBA9876543210").unwrap();
            let under = key_of(KeyType(*key_type)).unwrap();
            apply(&under, Scheme::U, Way::Seal, &mut key);
            assert_eq!(hex::encode_upper(&key), want, "{}", key_type.escape_ascii());
            apply(&under, Scheme::U, Way::Open, &mut key);
            assert_eq!(hex::encode_upper(&key), "0123456789ABCDEFFEDCBA9876543210");
        }
    }

    /// Single, double by X9.17 and triple length, as the tests of another simulator print them.
    #[test]
    fn other_schemes() {
        for (key_type, scheme, sealed, clear) in [
            (b"001", Scheme::Bare, "BAB32D775A38E4AB", "13F10E5D868A529E"),
            (b"002", Scheme::Bare, "0406FBB23A5214DF", "0B681FC20E62C734"),
            (
                b"002",
                Scheme::X,
                "367930344805B1FAD6146EF4ED7502B3",
                "C8199237EA5857BC40EF9DA2B5E96BBF",
            ),
            (
                b"001",
                Scheme::T,
                "A5E7D4FE829B0D83C5E7352636C16C7827E197349E34A5CD",
                "0DF8F7E6D373863729E6451FA8D0981FCE79EA200829E09B",
            ),
            (
                b"209",
                Scheme::U,
                "5178C9D3D1052B15BF6AEC458B4A4564",
                "F1F1F1F1F1F1F1F1C1C1C1C1C1C1C1C1",
            ),
        ] {
            let mut key = hex::decode(sealed).unwrap();
            apply(&key_of(KeyType(*key_type)).unwrap(), scheme, Way::Open, &mut key);
            assert_eq!(hex::encode_upper(&key), clear);
        }
    }

    #[test]
    fn what_is_no_key_type() {
        for bad in [b"00F", b"010", b"A01", b"FFF", b"0G1"] {
            assert_eq!(key_of(KeyType(*bad)), None, "{}", bad.escape_ascii());
        }
    }
}
