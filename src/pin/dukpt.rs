//! DUKPT with triple DES (ANSI X9.24-1:2009): the key of one transaction from a base derivation key and a key serial
//! number.
//!
//! One working key costs two blocks for the initial key under the prepared base key, two DES schedules and two blocks
//! for each one bit of the counter, at most ten, and for data keys two blocks more. **Never here:** DUKPT with AES
//! (`dukpt_aes`); which keys a terminal may use.

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use crate::pin::tdes::Tdes;

/// A double-length key. Wiped on drop.
pub type Key16 = Zeroizing<[u8; 16]>;

/// The low 21 bits of a key serial number: the counter.
const COUNTER: u64 = 0x1F_FFFF;
/// One bits a counter may have.
const ONE_BITS_MAX: u32 = 10;
/// Exclusive-or with a key gives the second of a pair.
const MASK: u128 = 0xC0C0_C0C0_0000_0000_C0C0_C0C0_0000_0000;

/// What a transaction's key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// PIN blocks.
    Pin,
    /// MACs of requests.
    MacRequest,
    /// MACs of responses.
    MacResponse,
    /// Data of requests.
    DataRequest,
}

impl Purpose {
    const fn mask(self) -> u128 {
        match self {
            Self::Pin => 0x0000_0000_0000_00FF_0000_0000_0000_00FF,
            Self::MacRequest => 0x0000_0000_0000_FF00_0000_0000_0000_FF00,
            Self::MacResponse => 0x0000_0000_FF00_0000_0000_0000_FF00_0000,
            Self::DataRequest => 0x0000_0000_00FF_0000_0000_0000_00FF_0000,
        }
    }
}

/// Whether a transaction can have this serial number: its counter is not zero and has at most ten one bits. A terminal
/// skips the others, and past the last one its keys have ended.
#[must_use]
pub fn is_of_a_transaction(ksn: &[u8; 10]) -> bool {
    let counter = serial(ksn) & COUNTER;
    counter != 0 && counter.count_ones() <= ONE_BITS_MAX
}

/// A base derivation key with its schedules prepared. The ciphers wipe themselves on drop.
#[derive(Debug)]
pub struct Base {
    own: Tdes,
    masked: Tdes,
}

impl Base {
    /// From a double-length key.
    #[must_use]
    pub fn new(bdk: &[u8; 16]) -> Self {
        let masked = Zeroizing::new((u128::from_be_bytes(*bdk) ^ MASK).to_be_bytes());
        Self { own: Tdes::double(bdk), masked: Tdes::double(&masked) }
    }

    /// The initial key of a terminal. The serial number's counter does not count.
    #[must_use]
    pub fn initial_key(&self, ksn: &[u8; 10]) -> Key16 {
        let mut serial = [0; 8];
        serial.copy_from_slice(&ksn[..8]);
        serial[7] &= 0xE0;
        let mut key = Key16::default();
        for (half, by) in key.as_chunks_mut::<8>().0.iter_mut().zip([&self.own, &self.masked]) {
            *half = serial;
            by.encrypt(half);
        }
        key
    }

    /// The key of the transaction the serial number counts, for one purpose.
    #[must_use]
    pub fn working_key(&self, ksn: &[u8; 10], purpose: Purpose) -> Key16 {
        let serial = serial(ksn);
        let mut register = serial & !COUNTER;
        let mut key = self.initial_key(ksn);
        for bit in (0..21).rev().map(|place| 1_u64 << place) {
            if serial & bit != 0 {
                register |= bit;
                key = next(&key, register);
            }
        }
        let key = Zeroizing::new((u128::from_be_bytes(*key) ^ purpose.mask()).to_be_bytes());
        if purpose != Purpose::DataRequest {
            return key;
        }
        // Data keys are encrypted under themselves.
        let cipher = Tdes::double(&key);
        let mut own = key;
        for half in own.as_chunks_mut::<8>().0 {
            cipher.encrypt(half);
        }
        own
    }
}

/// [`Base::initial_key`] of a base derivation key that is not kept.
#[must_use]
pub fn initial_key(bdk: &[u8; 16], ksn: &[u8; 10]) -> Key16 {
    Base::new(bdk).initial_key(ksn)
}

/// [`Base::working_key`] of a base derivation key that is not kept.
#[must_use]
pub fn working_key(bdk: &[u8; 16], ksn: &[u8; 10], purpose: Purpose) -> Key16 {
    Base::new(bdk).working_key(ksn, purpose)
}

/// The low eight bytes of a serial number: the end of the terminal's name, and the counter.
fn serial(ksn: &[u8; 10]) -> u64 {
    ksn.last_chunk().map_or(0, |low: &[u8; 8]| u64::from_be_bytes(*low))
}

/// The non-reversible step: a key and a register give the next key.
fn next(key: &Key16, register: u64) -> Key16 {
    let right = half(key, register);
    let masked = Zeroizing::new((u128::from_be_bytes(**key) ^ MASK).to_be_bytes());
    let left = half(&masked, register);
    Zeroizing::new((u128::from(left) << 64 | u128::from(right)).to_be_bytes())
}

fn half(key: &Key16, register: u64) -> u64 {
    let whole = u128::from_be_bytes(**key);
    let low = u64::try_from(whole & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(whole >> 64).unwrap_or(0);
    let mut block = (register ^ low).to_be_bytes();
    Des::new(&high.to_be_bytes().into()).encrypt_block((&mut block).into());
    u64::from_be_bytes(block) ^ low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    const BDK: &str = "0123456789ABCDEFFEDCBA9876543210";

    /// Key and PIN block of each counter, as ANSI X9.24-1:2009, A.4 prints them.
    #[test]
    fn table_of_the_standard() {
        let ksn = |counter: &str| bytes::<10>(&format!("FFFF9876543210E{counter:0>5}"));
        let initial = initial_key(&bytes(BDK), &ksn("0"));
        assert_eq!(hex::encode_upper(*initial), "6AC292FAA1315B4D858AB3A3D7D5933A");
        for (counter, key, block) in [
            ("1", "042666B49184CF5C68DE9628D0397B36", "1B9C1845EB993A7A"),
            ("2", "C46551CEF9FD244FAA9AD834130D3B38", "10A01C8D02C69107"),
            ("3", "0DF3D9422ACA561A47676D07AD6BAD05", "18DC07B94797B466"),
            ("4", "279C0F6AEED0BE9A2B2C733E1383AE6E", "0BC79509D5645DF7"),
            ("5", "5F8DC6D2C845C1DA508DDC048093B8C0", "5BC0AF22AD87B327"),
            ("6", "5E415CB0BAF9F0C3D0C14B63FB62FFBC", "A16DF70AE36158D8"),
            ("7", "0C8F780B7C8B492FAE84A9EB2A6CE69F", "27711C16CB257F8E"),
            ("8", "27F66D5244FF621EAA6F6120EDEB427F", "50E55547A5027551"),
            ("F", "93DD5B956C4878B82E453AAEFD32A555", "B170F6E7F7F2F64A"),
            ("10", "59598DCBD9BD943F94165CE453585FA8", "D5D9638559EF53D6"),
            ("13", "C3DF489FDF11534BF03DE97C27DC4CD0", "78649BD17D0DFA60"),
            ("14", "658488507721B30E4737FA93F923CB2D", "7E7E16EA0C31AD56"),
            ("15", "E161D1956A61F62DF37AFD7F9CC36965", "72105C22EBC791E6"),
        ] {
            let got = working_key(&bytes(BDK), &ksn(counter), Purpose::Pin);
            assert_eq!(hex::encode_upper(*got), key, "{counter}");
            let mut clear = bytes("041274EDCBA9876F");
            Tdes::double(&got).encrypt(&mut clear);
            assert_eq!(hex::encode_upper(clear), block, "{counter}");
        }
        let last = working_key(&bytes(BDK), &bytes("FFFF9876543210EFF800"), Purpose::Pin);
        assert_eq!(hex::encode_upper(*last), "F9CDFEBF4F5B1D61B3EC12454527E189");
    }

    #[test]
    fn counters_that_no_transaction_has() {
        let of = |counter: u32| {
            let [_, rest @ ..] = (0x60_0000 | counter).to_be_bytes();
            is_of_a_transaction(&[[0xFF; 7].as_slice(), &rest].concat().try_into().unwrap())
        };
        assert!(of(1) && of(0x3FF) && of(0x1F_F800) && of(0x10_01FF));
        assert!(!of(0) && !of(0x7FF) && !of(0x1F_F801) && !of(0x1F_FFFF));
    }

    /// A MAC of a device: key block BDK of its traces, one block of data.
    #[test]
    fn mac_key_of_a_device() {
        let bdk = bytes("C8A16DABB957C1761652C1A49E836294");
        let key = working_key(&bdk, &bytes("FFFF0000000000000000"), Purpose::MacRequest);
        let mut block = bytes("ABCDEF1234000000");
        Tdes::double(&key).encrypt(&mut block);
        assert_eq!(hex::encode_upper(block), "3E3DEE3DC52E53ED");
    }
}
