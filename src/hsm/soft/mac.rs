//! Message authentication: ISO 9797-1 algorithm 3 (the retail MAC of ANSI X9.19) and CMAC (NIST SP 800-38B).
//!
//! The retail MAC is single DES with the first key over all blocks, then decryption with the second and encryption with
//! the third (the first again for a double-length key). CMAC is cut to its leftmost eight bytes, which is what the MAC
//! fields of ISO 8583 hold. **Never here:** which bytes of a message enter (`iso8583::mac`); MACs under DUKPT keys.

use aes::{Aes128, Aes192, Aes256};
use cmac::{Cmac, Mac};
use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use des::{Des, TdesEde2, TdesEde3};

use crate::hsm::key::{Algorithm, MacMethod};

/// A MAC key with its schedules prepared, for its one algorithm.
pub(super) enum MacKey {
    Cmac128(Cmac<Aes128>),
    Cmac192(Cmac<Aes192>),
    Cmac256(Cmac<Aes256>),
    CmacDouble(Cmac<TdesEde2>),
    CmacTriple(Cmac<TdesEde3>),
    /// Padding method 1: zeros up to a whole block.
    Retail(RetailMac),
    /// Padding method 2: a one bit, then zeros.
    Retail2(RetailMac),
}

impl MacKey {
    /// `None` for a method that does not go with the algorithm, or a key of another length than it has.
    pub(super) fn new(method: MacMethod, algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        match (method, algorithm, key.len()) {
            (MacMethod::Retail, Algorithm::Tdes, _) => RetailMac::new(key).map(Self::Retail),
            (MacMethod::Retail2, Algorithm::Tdes, _) => RetailMac::new(key).map(Self::Retail2),
            (MacMethod::Cmac, Algorithm::Tdes, 16) => cmac(key).map(Self::CmacDouble),
            (MacMethod::Cmac, Algorithm::Tdes, 24) => cmac(key).map(Self::CmacTriple),
            (MacMethod::Cmac, Algorithm::Aes, 16) => cmac(key).map(Self::Cmac128),
            (MacMethod::Cmac, Algorithm::Aes, 24) => cmac(key).map(Self::Cmac192),
            (MacMethod::Cmac, Algorithm::Aes, 32) => cmac(key).map(Self::Cmac256),
            _ => None,
        }
    }

    /// The eight bytes.
    pub(super) fn compute(&self, message: &[u8]) -> [u8; 8] {
        match self {
            Self::Cmac128(key) => leftmost(key.clone(), message),
            Self::Cmac192(key) => leftmost(key.clone(), message),
            Self::Cmac256(key) => leftmost(key.clone(), message),
            Self::CmacDouble(key) => leftmost(key.clone(), message),
            Self::CmacTriple(key) => leftmost(key.clone(), message),
            Self::Retail(key) => key.compute(message),
            Self::Retail2(key) => key.compute_with_bit(message),
        }
    }
}

fn cmac<M: KeyInit>(key: &[u8]) -> Option<M> {
    M::new_from_slice(key).ok()
}

fn leftmost(mac: impl Mac, message: &[u8]) -> [u8; 8] {
    mac.chain_update(message).finalize().into_bytes().first_chunk().copied().unwrap_or_default()
}

/// A key of the retail MAC.
pub(super) struct RetailMac {
    chain: Des,
    middle: Des,
    last: Des,
}

impl RetailMac {
    /// From 16 or 24 bytes; `None` for another number.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let part = |at: usize| Des::new_from_slice(key.get(at..at + 8)?).ok();
        match key.len() {
            16 => Some(Self { chain: part(0)?, middle: part(8)?, last: part(0)? }),
            24 => Some(Self { chain: part(0)?, middle: part(8)?, last: part(16)? }),
            _ => None,
        }
    }

    /// Padding method 1. An empty message counts as one block of zeros.
    fn compute(&self, message: &[u8]) -> [u8; 8] {
        let mut state = [0; 8];
        let mut blocks = message.chunks(8);
        let first = blocks.next().unwrap_or_default();
        self.chain(&mut state, std::iter::once(first).chain(blocks));
        self.end(state)
    }

    /// Padding method 2.
    pub(super) fn compute_with_bit(&self, message: &[u8]) -> [u8; 8] {
        let mut state = [0; 8];
        let (whole, rest) = message.as_chunks::<8>();
        let mut last = [0; 8];
        last.iter_mut().zip(rest.iter().chain(&[0x80])).for_each(|(to, from)| *to = *from);
        self.chain(&mut state, whole.iter().map(<[u8; 8]>::as_slice).chain([&last[..]]));
        self.end(state)
    }

    fn chain<'m>(&self, state: &mut [u8; 8], blocks: impl Iterator<Item = &'m [u8]>) {
        for block in blocks {
            for (byte, more) in state.iter_mut().zip(block) {
                *byte ^= more;
            }
            self.chain.encrypt_block(state.into());
        }
    }

    fn end(&self, mut state: [u8; 8]) -> [u8; 8] {
        self.middle.decrypt_block((&mut state).into());
        self.last.encrypt_block((&mut state).into());
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: MacMethod, algorithm: Algorithm, key: &str, message: &str, want: &str) {
        let [key, message] = [key, message].map(|text| hex::decode(text).unwrap());
        let key = MacKey::new(method, algorithm, &key).unwrap();
        assert_eq!(hex::encode_upper(key.compute(&message)), want, "{method:?} {algorithm}");
    }

    /// Computed by psec and a simulator of other people (`domain/hsm.md` 5.5).
    #[test]
    fn retail_macs_of_other_programs() {
        let key = "7962D9ECE03D1ACD4C76089DCE131543";
        let data = "72C29C2371CC9BDB65B779B8E8D37B29ECC154AA56A8799FAE2F498F76ED92F2";
        check(MacMethod::Retail, Algorithm::Tdes, key, data, "AAE3F35132ED3465");
        check(MacMethod::Retail2, Algorithm::Tdes, key, data, "5F1448EEA8AD90A7");
        // The bit and the zeros written out are padding 2 by padding 1.
        let ragged = &data[..60];
        let padded = format!("{ragged}8000");
        let [key_1, key_2] = [MacMethod::Retail, MacMethod::Retail2].map(|method| {
            MacKey::new(method, Algorithm::Tdes, &hex::decode(key).unwrap()).unwrap()
        });
        let [ragged, padded] = [ragged, &*padded].map(|text| hex::decode(text).unwrap());
        assert_eq!(key_2.compute(&ragged), key_1.compute(&padded));
        assert_eq!(key_2.compute(&[]), key_1.compute(&[0x80]));
    }

    /// NIST SP 800-38B, appendix D, the leftmost eight bytes.
    #[test]
    fn cmac_of_the_standard() {
        use Algorithm::{Aes, Tdes};
        let message = "6bc1bee22e409f96e93d7e117393172a";
        let cmac = MacMethod::Cmac;
        check(cmac, Aes, "2b7e151628aed2a6abf7158809cf4f3c", "", "BB1D6929E9593728");
        check(cmac, Aes, "2b7e151628aed2a6abf7158809cf4f3c", message, "070A16B46B4D4144");
        let key = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b";
        check(cmac, Aes, key, message, "9E99A7BF31E71090");
        let key = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
        check(cmac, Aes, key, message, "28A7023F452E8F82");
        let key = "4cf15134a2850dd58a3d10ba80570d38";
        check(cmac, Tdes, key, &message[..16], "4FF2AB813C53CE83");
        let key = "8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5";
        check(cmac, Tdes, key, &message[..16], "8E8F293136283797");
    }

    #[test]
    fn methods_that_do_not_go_with_a_key() {
        for (method, algorithm, bytes) in [
            (MacMethod::Retail, Algorithm::Aes, 16),
            (MacMethod::Retail2, Algorithm::Aes, 32),
            (MacMethod::Retail, Algorithm::Tdes, 8),
            (MacMethod::Cmac, Algorithm::Tdes, 8),
            (MacMethod::Cmac, Algorithm::Hmac, 32),
        ] {
            assert!(MacKey::new(method, algorithm, &vec![1; bytes]).is_none());
        }
    }
}
