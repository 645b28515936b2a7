//! Block ciphers with their keys set up, CBC-MAC (ISO 9797-1 algorithm 1) and the retail MAC (algorithm 3), both from
//! any chaining value on.
//!
//! **Never here:** which key; what a command means; CMAC (`hsm::modes`).

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
}

fn mix(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
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
