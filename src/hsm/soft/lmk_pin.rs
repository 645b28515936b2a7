//! PINs under the local master key: the construction of ISO 9564-1 format 4 under a derived AES-256 key, made
//! checkable.
//!
//! `C = E(E(P) xor A)`: `P` is the PIN field of format 4 whose eight random bytes are here four random and four zero,
//! `A` the account field. Under another account, or with a bit of `C` changed, `P` comes out as noise: the zeros, the
//! control value, the digits and the fill are right by chance less often than once in 10^14. **Never here:** the format
//! of any device: no payShield can read it.

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::domain::pin::LmkPin;
use crate::pin::block::{NoPin, account_field_4, pin_field_4, read_pin_field_4};
use crate::pin::clear::ClearPin;

/// The derived key, ready for work.
pub(crate) struct PinSeal(Aes256);

impl PinSeal {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256::new(key.into()))
    }

    /// Encrypts a PIN for one account.
    pub(crate) fn seal(&self, pin: &ClearPin, account: &Account12, random: [u8; 4]) -> LmkPin {
        let mut tail = [0; 8];
        tail[..4].copy_from_slice(&random);
        let mut block = pin_field_4(pin, tail);
        self.0.encrypt_block((&mut *block).into());
        mix(&mut block, account);
        self.0.encrypt_block((&mut *block).into());
        LmkPin(*block)
    }

    /// Decrypts it.
    pub(crate) fn open(&self, sealed: &LmkPin, account: &Account12) -> Result<ClearPin, NoPin> {
        let mut block = Zeroizing::new(sealed.0);
        self.0.decrypt_block((&mut *block).into());
        mix(&mut block, account);
        self.0.decrypt_block((&mut *block).into());
        let zeros = block[12..].ct_eq(&[0; 4]);
        let pin = read_pin_field_4(&block)?;
        if bool::from(zeros) { Ok(pin) } else { Err(NoPin) }
    }
}

/// Exclusive-or with the account field.
pub(super) fn mix(block: &mut [u8; 16], account: &Account12) {
    let field = u128::from_be_bytes(*account_field_4(account));
    *block = (u128::from_be_bytes(*block) ^ field).to_be_bytes();
}
