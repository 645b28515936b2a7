//! Modes of block ciphers for whatever is not on a request's path: CMAC, CBC-MAC, CBC, over any key we have.
//!
//! The key's schedule is set up at each call. **Never here:** a key by name; the MACs of messages (`soft::mac`), whose
//! schedules are prepared.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use cmac::{Cmac, Mac};
use des::{TdesEde2, TdesEde3};
use zeroize::{Zeroize, Zeroizing};

use crate::hsm::key::Algorithm;

/// Runs an expression with `$cipher` standing for the cipher of an algorithm and a key's length; `None` without one.
macro_rules! with_cipher {
    ($algorithm:expr, $key:expr, $cipher:ident => $run:expr) => {
        match ($algorithm, $key.len()) {
            (Algorithm::Tdes, 16) => {
                type $cipher = TdesEde2;
                Some($run)
            }
            (Algorithm::Tdes, 24) => {
                type $cipher = TdesEde3;
                Some($run)
            }
            (Algorithm::Aes, 16) => {
                type $cipher = Aes128;
                Some($run)
            }
            (Algorithm::Aes, 24) => {
                type $cipher = Aes192;
                Some($run)
            }
            (Algorithm::Aes, 32) => {
                type $cipher = Aes256;
                Some($run)
            }
            _ => None,
        }
    };
}

/// CMAC (NIST SP 800-38B); as many bytes as a block has. `None` where the algorithm has no key of that length.
#[must_use]
pub fn cmac(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    with_cipher!(algorithm, key, C => {
        let mac = <Cmac<C> as KeyInit>::new_from_slice(key).ok()?;
        Zeroizing::new(mac.chain_update(message).finalize().into_bytes().to_vec())
    })
}

/// The last block of CBC from zeros over a message whose last block is filled with zeros.
#[must_use]
pub fn cbc_mac(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    with_cipher!(algorithm, key, C => {
        let cipher = C::new_from_slice(key).ok()?;
        let mut state = Array::<u8, <C as BlockSizeUser>::BlockSize>::default();
        for block in message.chunks(state.len()) {
            mix(&mut state, block);
            cipher.encrypt_block(&mut state);
        }
        Zeroizing::new(state.to_vec())
    })
}

/// Encrypts whole blocks in CBC from `iv`, in place. `None` where key, `iv` or `bytes` have another length.
pub fn encrypt_cbc(algorithm: Algorithm, key: &[u8], iv: &[u8], bytes: &mut [u8]) -> Option<()> {
    with_cipher!(algorithm, key, C => {
        let cipher = C::new_from_slice(key).ok()?;
        let (mut chain, blocks) = cut::<C>(iv, bytes)?;
        for block in blocks {
            mix(block, &chain);
            cipher.encrypt_block(block);
            chain.copy_from_slice(block);
        }
    })
}

/// Decrypts whole blocks in CBC from `iv`, in place. `None` as for [`encrypt_cbc`].
pub fn decrypt_cbc(algorithm: Algorithm, key: &[u8], iv: &[u8], bytes: &mut [u8]) -> Option<()> {
    with_cipher!(algorithm, key, C => {
        let cipher = C::new_from_slice(key).ok()?;
        let (mut chain, blocks) = cut::<C>(iv, bytes)?;
        for block in blocks {
            let sealed = block.clone();
            cipher.decrypt_block(block);
            mix(block, &chain);
            chain = sealed;
        }
    })
}

/// Encrypts whole blocks each for itself, in place. `None` as for [`encrypt_cbc`].
pub fn encrypt_ecb(algorithm: Algorithm, key: &[u8], bytes: &mut [u8]) -> Option<()> {
    with_cipher!(algorithm, key, C => {
        let cipher = C::new_from_slice(key).ok()?;
        let (_, blocks) = cut::<C>(&[0; 16][..C::block_size()], bytes)?;
        blocks.iter_mut().for_each(|block| cipher.encrypt_block(block));
    })
}

/// Decrypts whole blocks each for itself, in place. `None` as for [`encrypt_cbc`].
pub fn decrypt_ecb(algorithm: Algorithm, key: &[u8], bytes: &mut [u8]) -> Option<()> {
    with_cipher!(algorithm, key, C => {
        let cipher = C::new_from_slice(key).ok()?;
        let (_, blocks) = cut::<C>(&[0; 16][..C::block_size()], bytes)?;
        blocks.iter_mut().for_each(|block| cipher.decrypt_block(block));
    })
}

type Block<C> = Array<u8, <C as BlockSizeUser>::BlockSize>;

fn cut<'a, C: BlockSizeUser>(
    iv: &[u8],
    bytes: &'a mut [u8],
) -> Option<(Block<C>, &'a mut [Block<C>])> {
    let chain = Block::<C>::try_from(iv).ok()?;
    let (blocks, rest) = Array::slice_as_chunks_mut(bytes);
    rest.is_empty().then_some((chain, blocks))
}

fn mix(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
}

/// Keys derived by CMAC in counter mode (NIST SP 800-108, as TR-31 uses it): for `usage` 0 to encrypt, 1 to
/// authenticate.
///
/// Input of each block: counter, usage, a zero byte, the algorithm's number, the length in bits.
#[must_use]
pub fn derive(algorithm: Algorithm, key: &[u8], usage: u16) -> Option<Zeroizing<Vec<u8>>> {
    let number: u16 = match (algorithm, key.len()) {
        (Algorithm::Tdes, 16) => 0,
        (Algorithm::Tdes, 24) => 1,
        (Algorithm::Aes, 16) => 2,
        (Algorithm::Aes, 24) => 3,
        (Algorithm::Aes, 32) => 4,
        _ => return None,
    };
    let bits = u16::try_from(key.len() * 8).ok()?.to_be_bytes();
    let ([usage_high, usage_low], [high, low]) = (usage.to_be_bytes(), number.to_be_bytes());
    let mut derived = Zeroizing::new(Vec::with_capacity(48));
    for counter in 1.. {
        if key.len() <= derived.len() {
            break;
        }
        let input = [counter, usage_high, usage_low, 0, high, low, bits[0], bits[1]];
        derived.extend_from_slice(&cmac(algorithm, key, &input)?);
    }
    if let Some(rest) = derived.get_mut(key.len()..) {
        rest.zeroize();
    }
    derived.truncate(key.len());
    Some(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    /// NIST SP 800-38B, appendix D: AES-128, AES-192, AES-256, two- and three-key triple DES.
    #[test]
    fn cmac_of_the_standard() {
        #[track_caller]
        fn check(algorithm: Algorithm, key: &str, message: &str, want: &str) {
            let got = cmac(algorithm, &bytes(key), &bytes(message)).unwrap();
            assert_eq!(hex::encode(&*got), want, "{key} {message}");
        }
        let block = "6bc1bee22e409f96e93d7e117393172a";
        let forty = format!("{block}ae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411");
        let aes = "2b7e151628aed2a6abf7158809cf4f3c";
        check(Algorithm::Aes, aes, "", "bb1d6929e95937287fa37d129b756746");
        check(Algorithm::Aes, aes, block, "070a16b46b4d4144f79bdd9dd04a287c");
        check(Algorithm::Aes, aes, &forty, "dfa66747de9ae63030ca32611497c827");
        let aes = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b";
        check(Algorithm::Aes, aes, block, "9e99a7bf31e710900662f65e617c5184");
        let aes = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
        check(Algorithm::Aes, aes, block, "28a7023f452e8f82bd4bf28d8c37c35c");
        let three = "8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5";
        check(Algorithm::Tdes, three, "", "b7a688e122ffaf95");
        check(Algorithm::Tdes, three, "6bc1bee22e409f96", "8e8f293136283797");
        let two = "4cf15134a2850dd58a3d10ba80570d38";
        check(Algorithm::Tdes, two, "", "bd2ebf9a3ba00361");
        check(Algorithm::Tdes, two, "6bc1bee22e409f96", "4ff2ab813c53ce83");
        assert!(cmac(Algorithm::Aes, &[0; 8], &[]).is_none());
    }

    /// The published AES test LMK and what a device derives from it (`domain/hsm.md` 3.4).
    #[test]
    fn keys_derived_from_an_lmk() {
        let lmk = bytes("9B71333A13F9FAE72F9D0E2DAB4AD6784718012F9244033F3F26A2DE0C8AA11A");
        for (usage, want) in [
            (0, "1B39BAA881FCEDC1CD5138CC5A31F2E82E1BB7EA3B29CF875F6AAB21268F0D17"),
            (1, "B9C8CD6543528A1C6859765503FBB3A87C533BC73933513AF534A90F525308F2"),
        ] {
            let derived = derive(Algorithm::Aes, &lmk, usage).unwrap();
            assert_eq!(hex::encode_upper(&*derived), want);
        }
    }

    /// NIST SP 800-38A, F.2.1 and F.2.2.
    #[test]
    fn cbc_of_the_standard() {
        let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = bytes("000102030405060708090a0b0c0d0e0f");
        let clear = bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let want = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2";
        let mut text = clear.clone();
        encrypt_cbc(Algorithm::Aes, &key, &iv, &mut text).unwrap();
        assert_eq!(hex::encode(&text), want);
        decrypt_cbc(Algorithm::Aes, &key, &iv, &mut text).unwrap();
        assert_eq!(text, clear);
        assert!(encrypt_cbc(Algorithm::Aes, &key, &iv, &mut text[1..]).is_none());
        assert!(encrypt_cbc(Algorithm::Aes, &key, &iv[1..], &mut text).is_none());
    }
}
