//! PINs that came RSA-encrypted: one private key, three paddings, one way to fail.
//!
//! AWS-LC checks a padding in constant time, but for PKCS #1 v1.5 it does not reject implicitly: it says that the check
//! failed. So what a caller could measure is made alike here. A ciphertext that is zero or no number below the
//! modulus, which AWS-LC refuses before the arithmetic, is replaced by one that is; where no PIN comes out, a fixed
//! one goes on through the same steps; the verdict is told at the end. A ciphertext made up by somebody who looks for
//! an oracle gives a PIN less often than once in 10^10 (padding, and eight hexadecimal digits that are a PIN), so
//! that even the difference between success and failure tells nothing useful. **Never here:** a key on its way to or
//! from a file.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
    Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use crate::domain::pin::RsaPadding;
use crate::hsm::key::rsa::{BITS_MAX, modulus};
use crate::pin::clear::{ClearPin, PIN_DIGITS_MAX};

/// Bytes of the longest modulus.
const MODULUS_BYTES_MAX: usize = BITS_MAX / 8;

/// What goes on in the place of a PIN that did not come out, and of a content.
const STAND_IN: &[u8] = b"0000";
const STAND_IN_CONTENT: &[u8] = b"30303030";

/// A private key, ready for every padding.
pub(super) struct RsaKey {
    oaep: OaepPrivateDecryptingKey,
    pkcs1: Pkcs1PrivateDecryptingKey,
    // Big-endian, without leading zeros.
    modulus: Box<[u8]>,
}

impl RsaKey {
    /// Takes a PKCS #8 document that passed the rules of `key`.
    pub(super) fn new(pkcs8: &[u8]) -> Option<Self> {
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?;
        let public = key.public_key().as_der().ok()?;
        let modulus = modulus(public.as_ref()).filter(|n| n.len() <= MODULUS_BYTES_MAX)?.into();
        let oaep = OaepPrivateDecryptingKey::new(key.clone()).ok()?;
        Some(Self { oaep, pkcs1: Pkcs1PrivateDecryptingKey::new(key).ok()?, modulus })
    }

    /// The PIN and whether it is one: if not, another goes on in its place.
    //= spec/pin-change.md#11.10
    //# An RSA ciphertext that holds no PIN MUST have one answer after one time, whatever is wrong
    //# with it.
    pub(super) fn open(&self, cipher: &[u8], padding: RsaPadding) -> Option<(ClearPin, bool)> {
        let size = self.modulus.len();
        let mut number = [0; MODULUS_BYTES_MAX];
        let number = number.get_mut(..size)?;
        // Both are public: the comparison needs no constant time.
        let in_range = cipher < &*self.modulus && cipher.iter().any(|byte| *byte != 0);
        let fits = cipher.len() == size && in_range;
        if fits {
            number.copy_from_slice(cipher);
        } else if let Some(last) = number.last_mut() {
            *last = 2;
        }
        let mut clear = Zeroizing::new([0; MODULUS_BYTES_MAX]);
        let content = self.decrypt(number, padding, clear.get_mut(..size)?).ok();
        if content.is_none() {
            clear[..STAND_IN_CONTENT.len()].copy_from_slice(STAND_IN_CONTENT);
        }
        let length = content.unwrap_or(STAND_IN_CONTENT.len());
        let pin = read(clear.get(..length)?);
        let good = fits && content.is_some() && pin.is_some();
        Some((pin.or_else(|| ClearPin::from_ascii(STAND_IN))?, good))
    }

    /// Puts the content at the head of `clear` and tells its length.
    fn decrypt(
        &self,
        number: &[u8],
        padding: RsaPadding,
        clear: &mut [u8],
    ) -> Result<usize, Unspecified> {
        let oaep = |algorithm, clear| self.oaep.decrypt(algorithm, number, clear, None);
        let content = match padding {
            RsaPadding::OaepSha1 => oaep(&OAEP_SHA1_MGF1SHA1, clear),
            RsaPadding::OaepSha256 => oaep(&OAEP_SHA256_MGF1SHA256, clear),
            RsaPadding::Pkcs1v15 => self.pkcs1.decrypt(number, clear),
        }?;
        Ok(content.len())
    }
}

/// A PIN in hexadecimal of its ASCII digits, which is the documented form, or else in plain digits: `31323334` is 1234.
fn read(content: &[u8]) -> Option<ClearPin> {
    let mut ascii = Zeroizing::new([0; PIN_DIGITS_MAX]);
    let hexadecimal = ascii.get_mut(..content.len() / 2).and_then(|digits| {
        hex::decode_to_slice(content, digits).ok()?;
        ClearPin::from_ascii(digits)
    });
    hexadecimal.or_else(|| ClearPin::from_ascii(content))
}
