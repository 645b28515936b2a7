//! MACs over any block cipher: CBC-MAC (ISO 9797-1 algorithm 1), the retail MAC (algorithm 3) and CMAC.
//!
//! **Never here:** which key; what a command means.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use des::{Des, TdesEde3};
use zeroize::Zeroizing;

/// A block cipher with its key.
pub(super) enum Cipher {
    /// DES.
    Des(Box<Des>),
    /// Triple DES.
    Tdes(Box<TdesEde3>),
    /// AES.
    Aes128(Box<Aes128>),
    /// AES.
    Aes192(Box<Aes192>),
    /// AES.
    Aes256(Box<Aes256>),
}

impl Cipher {
    /// DES or triple DES, by the key's length.
    pub(super) fn des(key: &[u8]) -> Option<Self> {
        if key.len() == 8 {
            return Des::new_from_slice(key).ok().map(Box::new).map(Self::Des);
        }
        let mut triple = Zeroizing::new([0; 24]);
        triple.iter_mut().zip(key.iter().chain(key)).for_each(|(to, from)| *to = *from);
        let fits = [16, 24].contains(&key.len());
        fits.then(|| Self::Tdes(Box::new(TdesEde3::new((&*triple).into()))))
    }

    /// AES, by the key's length.
    pub(super) fn aes(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Self::Aes128(Box::new(Aes128::new_from_slice(key).ok()?)),
            24 => Self::Aes192(Box::new(Aes192::new_from_slice(key).ok()?)),
            32 => Self::Aes256(Box::new(Aes256::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }

    /// Bytes of a block.
    pub(super) const fn block_bytes(&self) -> usize {
        match self {
            Self::Des(_) | Self::Tdes(_) => 8,
            Self::Aes128(_) | Self::Aes192(_) | Self::Aes256(_) => 16,
        }
    }

    /// Encrypts one block in place. Of another length it stays as it is.
    pub(super) fn encrypt(&self, block: &mut [u8]) {
        if let Ok(block) = <&mut [u8; 8]>::try_from(&mut *block) {
            match self {
                Self::Des(cipher) => cipher.encrypt_block(block.into()),
                Self::Tdes(cipher) => cipher.encrypt_block(block.into()),
                Self::Aes128(_) | Self::Aes192(_) | Self::Aes256(_) => {}
            }
        } else if let Ok(block) = <&mut [u8; 16]>::try_from(block) {
            match self {
                Self::Aes128(cipher) => cipher.encrypt_block(block.into()),
                Self::Aes192(cipher) => cipher.encrypt_block(block.into()),
                Self::Aes256(cipher) => cipher.encrypt_block(block.into()),
                Self::Des(_) | Self::Tdes(_) => {}
            }
        }
    }

    /// Decrypts one block in place. Of another length it stays as it is.
    pub(super) fn decrypt(&self, block: &mut [u8]) {
        if let Ok(block) = <&mut [u8; 8]>::try_from(&mut *block) {
            match self {
                Self::Des(cipher) => cipher.decrypt_block(block.into()),
                Self::Tdes(cipher) => cipher.decrypt_block(block.into()),
                Self::Aes128(_) | Self::Aes192(_) | Self::Aes256(_) => {}
            }
        } else if let Ok(block) = <&mut [u8; 16]>::try_from(block) {
            match self {
                Self::Aes128(cipher) => cipher.decrypt_block(block.into()),
                Self::Aes192(cipher) => cipher.decrypt_block(block.into()),
                Self::Aes256(cipher) => cipher.decrypt_block(block.into()),
                Self::Des(_) | Self::Tdes(_) => {}
            }
        }
    }

    /// CBC over whole blocks, in place; a last one that is not whole stays as it is.
    pub(super) fn encrypt_cbc(&self, iv: &[u8], bytes: &mut [u8]) {
        let mut chain = iv.to_vec();
        for block in bytes.chunks_exact_mut(self.block_bytes()) {
            mix(block, &chain);
            self.encrypt(block);
            chain.copy_from_slice(block);
        }
    }

    /// The other way.
    pub(super) fn decrypt_cbc(&self, iv: &[u8], bytes: &mut [u8]) {
        let mut chain = iv.to_vec();
        for block in bytes.chunks_exact_mut(self.block_bytes()) {
            let sealed = block.to_vec();
            self.decrypt(block);
            mix(block, &chain);
            chain = sealed;
        }
    }

    /// The chain after whole blocks, from `before` on.
    pub(super) fn chain(&self, before: &[u8], message: &[u8]) -> Vec<u8> {
        let mut state = before.to_vec();
        for block in message.chunks(self.block_bytes()) {
            mix(&mut state, block);
            self.encrypt(&mut state);
        }
        state
    }

    /// CMAC (NIST SP 800-38B) from `before` on, which is zeros for a whole message.
    pub(super) fn cmac(&self, before: &[u8], message: &[u8]) -> Vec<u8> {
        let size = self.block_bytes();
        let whole = !message.is_empty() && message.len().is_multiple_of(size);
        let last_at = message.len().saturating_sub(1) / size * size;
        let (head, last) = message.split_at(last_at.min(message.len()));
        let mut subkey = vec![0; size];
        self.encrypt(&mut subkey);
        double(&mut subkey);
        if !whole {
            double(&mut subkey);
        }
        let mut block = vec![0; size];
        block.iter_mut().zip(last.iter().chain(&[0x80])).for_each(|(to, from)| *to = *from);
        mix(&mut block, &subkey);
        let mut state = self.chain(before, head);
        mix(&mut state, &block);
        self.encrypt(&mut state);
        state
    }
}

fn mix(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
}

/// Doubles in the field of the block size.
fn double(block: &mut [u8]) {
    let polynomial = if block.len() == 16 { 0x87 } else { 0x1B };
    let carry = block.first().is_some_and(|byte| 0x80 <= *byte);
    let mut low = 0;
    for byte in block.iter_mut().rev() {
        let high = *byte >> 7;
        *byte = *byte << 1 | low;
        low = high;
    }
    if let Some(last) = block.last_mut().filter(|_| carry) {
        *last ^= polynomial;
    }
}

/// The retail MAC: single DES over all blocks, decryption with the second part, encryption with the last.
pub(super) fn retail(key: &[u8], before: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let part = |at: usize| Cipher::des(key.get(at..at + 8)?);
    let mut state = part(0)?.chain(before, message);
    if 8 < key.len() {
        part(8)?.decrypt(&mut state);
        part(if key.len() == 24 { 16 } else { 0 })?.encrypt(&mut state);
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38B, D.1 and D.4.
    #[test]
    fn cmac_of_the_standard() {
        #[track_caller]
        fn check(cipher: &Cipher, message: &str, want: &str) {
            let zeros = vec![0; cipher.block_bytes()];
            let mac = cipher.cmac(&zeros, &hex::decode(message).unwrap());
            assert_eq!(hex::encode(mac), want);
        }
        let aes = Cipher::aes(&hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap()).unwrap();
        check(&aes, "", "bb1d6929e95937287fa37d129b756746");
        check(&aes, "6bc1bee22e409f96e93d7e117393172a", "070a16b46b4d4144f79bdd9dd04a287c");
        let key = hex::decode("8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5").unwrap();
        let tdes = Cipher::des(&key).unwrap();
        check(&tdes, "", "b7a688e122ffaf95");
        check(&tdes, "6bc1bee22e409f96", "8e8f293136283797");
    }

    /// Values another package computed.
    #[test]
    fn iso_9797_1() {
        let key = hex::decode("7962D9ECE03D1ACD4C76089DCE131543").unwrap();
        let data = hex::decode("72C29C2371CC9BDB65B779B8E8D37B29ECC154AA56A8799FAE2F498F76ED92F2")
            .unwrap();
        assert_eq!(hex::encode_upper(retail(&key, &[0; 8], &data).unwrap()), "AAE3F35132ED3465");
        let padded = [&data[..], &hex::decode("8000000000000000").unwrap()].concat();
        assert_eq!(hex::encode_upper(retail(&key, &[0; 8], &padded).unwrap()), "5F1448EEA8AD90A7");
        let chained = Cipher::des(&key).unwrap().chain(&[0; 8], &data);
        assert_eq!(hex::encode_upper(chained), "1CDE09704C0D9B12");
    }
}
