//! What the encrypting PIN pad of a terminal does: PIN blocks under a zone key, and the MAC over a message.
//!
//! It is the far end's own implementation on purpose: were it built on `pin`, a mistake there would be made on both
//! sides and no test would see it. A pad holds one clear test key and the PIN somebody typed, so it is used by `pinion
//! send`, `load` and `demo` only. **Never here:** reading a block, references, anything the switch itself does.

use std::fmt;

use aes::cipher::KeyInit as _;
use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt};
use des::{Des, TdesEde3};
use zeroize::{Zeroize, Zeroizing};

use crate::domain::pan::Pan;
use crate::domain::pin::BlockFormat;

/// A PIN as it was typed: 4 to 12 ASCII digits, wiped on drop, masked in `Debug`.
pub struct TypedPin {
    // Invariant: `digits[..len]` are ASCII digits, 4 <= len <= 12.
    digits: [u8; 12],
    len: u8,
}

impl TypedPin {
    /// Takes ASCII digits.
    ///
    /// # Errors
    /// [`PadError::Pin`] for anything but 4 to 12 of them.
    pub fn new(ascii: &[u8]) -> Result<Self, PadError> {
        if !(4..=12).contains(&ascii.len()) || !ascii.iter().all(u8::is_ascii_digit) {
            return Err(PadError::Pin);
        }
        let mut digits = [0; 12];
        digits[..ascii.len()].copy_from_slice(ascii);
        Ok(Self { digits, len: u8::try_from(ascii.len()).map_err(|_| PadError::Pin)? })
    }

    /// How many digits.
    #[must_use]
    pub fn len(&self) -> u8 {
        self.len
    }

    /// Never: a PIN has at least four digits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Value of digit `at`, or `None` past the last.
    fn value(&self, at: usize) -> Option<u8> {
        (at < usize::from(self.len)).then(|| self.digits[at] & 0x0F)
    }
}

impl Drop for TypedPin {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}

impl fmt::Debug for TypedPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedPin(****)")
    }
}

/// Why a pad cannot be made or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PadError {
    /// The key's length fits neither cipher.
    #[error(
        "a key of {bytes} bytes: format 4 needs AES of 16, 24 or 32, every other use triple DES of 16 or 24"
    )]
    Key {
        /// How many it has.
        bytes: usize,
    },
    /// Not a PIN.
    #[error("a PIN has 4 to 12 digits")]
    Pin,
}

/// An encrypted block: 8 bytes, 16 for format 4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PinBlock {
    bytes: [u8; 16],
    len: u8,
}

impl PinBlock {
    /// The encrypted bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for PinBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinBlock(****)")
    }
}

enum Cipher {
    Aes128(Box<aes::Aes128>),
    Aes192(Box<aes::Aes192>),
    Aes256(Box<aes::Aes256>),
    Tdes(Box<TdesEde3>),
}

/// A PIN pad with one zone key.
pub struct PinPad {
    cipher: Cipher,
    format: BlockFormat,
}

impl PinPad {
    /// Loads a clear key: triple DES of 16 or 24 bytes; AES of 16, 24 or 32 for format 4.
    ///
    /// # Errors
    /// [`PadError::Key`].
    pub fn new(key: &[u8], format: BlockFormat) -> Result<Self, PadError> {
        let wrong = PadError::Key { bytes: key.len() };
        let cipher = match (format, key.len()) {
            (BlockFormat::Iso4, 16) => {
                aes::Aes128::new_from_slice(key).map(|c| Cipher::Aes128(Box::new(c)))
            }
            (BlockFormat::Iso4, 24) => {
                aes::Aes192::new_from_slice(key).map(|c| Cipher::Aes192(Box::new(c)))
            }
            (BlockFormat::Iso4, 32) => {
                aes::Aes256::new_from_slice(key).map(|c| Cipher::Aes256(Box::new(c)))
            }
            (BlockFormat::Iso0 | BlockFormat::Iso1 | BlockFormat::Iso3, 16 | 24) => {
                TdesEde3::new_from_slice(&*triple(key)).map(|c| Cipher::Tdes(Box::new(c)))
            }
            _ => return Err(wrong),
        };
        Ok(Self { cipher: cipher.map_err(|_| wrong)?, format })
    }

    /// The block of `pin` for `pan`. `fill` is random; formats 1, 3 and 4 need it, format 0 ignores it.
    #[must_use]
    pub fn block(&self, pin: &TypedPin, pan: &Pan, fill: [u8; 16]) -> PinBlock {
        let account = pan.account12();
        let account = account.expose_digits();
        let mut bytes = [0; 16];
        match &self.cipher {
            Cipher::Tdes(cipher) => {
                let mut clear = match self.format {
                    BlockFormat::Iso1 => layout(1, pin, |at| fill[at] & 0x0F),
                    // Ten to fifteen; a hair uneven, which no receiver can see.
                    BlockFormat::Iso3 => layout(3, pin, |at| 10 + fill[at] % 6),
                    BlockFormat::Iso0 | BlockFormat::Iso4 => layout(0, pin, |_| 0x0F),
                };
                if self.format != BlockFormat::Iso1 {
                    // Four zeros and the twelve digits.
                    for (byte, pair) in clear[2..].iter_mut().zip(account.chunks(2)) {
                        *byte ^= (pair[0] << 4) | (pair[1] & 0x0F);
                    }
                }
                cipher.encrypt_block((&mut *clear).into());
                bytes[..8].copy_from_slice(&*clear);
                clear.zeroize();
                return PinBlock { bytes, len: 8 };
            }
            Cipher::Aes128(cipher) => format_4(cipher.as_ref(), pin, pan, fill, &mut bytes),
            Cipher::Aes192(cipher) => format_4(cipher.as_ref(), pin, pan, fill, &mut bytes),
            Cipher::Aes256(cipher) => format_4(cipher.as_ref(), pin, pan, fill, &mut bytes),
        }
        PinBlock { bytes, len: 16 }
    }
}

impl fmt::Debug for PinPad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinPad({:?}, ****)", self.format)
    }
}

fn triple(key: &[u8]) -> Zeroizing<[u8; 24]> {
    let mut bytes = Zeroizing::new([0; 24]);
    bytes.iter_mut().zip(key.iter().cycle()).for_each(|(to, from)| *to = *from);
    bytes
}

/// Control, length, digits, fill: sixteen nibbles. `fill` is asked by position.
fn layout(control: u8, pin: &TypedPin, fill: impl Fn(usize) -> u8) -> Zeroizing<[u8; 8]> {
    let nibble = |at: usize| match at {
        0 => control,
        1 => pin.len,
        _ => pin.value(at - 2).unwrap_or_else(|| fill(at)),
    };
    let mut block = Zeroizing::new([0; 8]);
    for (at, byte) in block.iter_mut().enumerate() {
        *byte = (nibble(2 * at) << 4) | nibble(2 * at + 1);
    }
    block
}

/// ISO 9564-1 format 4: encrypt the PIN field, exclusive-or the account field, encrypt again.
fn format_4<C>(cipher: &C, pin: &TypedPin, pan: &Pan, fill: [u8; 16], out: &mut [u8; 16])
where
    C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    out[..8].copy_from_slice(&*layout(4, pin, |_| 0x0A));
    out[8..].copy_from_slice(&fill[8..]);
    cipher.encrypt_block(out.into());
    let digits = pan.expose_digits();
    // How many digits beyond twelve, the digits, zeros: thirty-two nibbles.
    let beyond = u8::try_from(digits.len().saturating_sub(12)).unwrap_or(0);
    let nibble = |at: usize| match at {
        0 => beyond,
        _ => digits.get(at - 1).map_or(0, |digit| digit & 0x0F),
    };
    for (at, byte) in out.iter_mut().enumerate() {
        *byte ^= (nibble(2 * at) << 4) | nibble(2 * at + 1);
    }
    cipher.encrypt_block(out.into());
}

/// A MAC key of a terminal: ISO 9797-1 algorithm 3, padding method 1 (the retail MAC of ANSI X9.19).
pub struct MacPad {
    chain: Des,
    middle: Des,
}

impl MacPad {
    /// Loads a clear key of 16 bytes.
    ///
    /// # Errors
    /// [`PadError::Key`].
    pub fn new(key: &[u8]) -> Result<Self, PadError> {
        let part = |at: usize| key.get(at..at + 8).and_then(|half| Des::new_from_slice(half).ok());
        match (key.len(), part(0), part(8)) {
            (16, Some(chain), Some(middle)) => Ok(Self { chain, middle }),
            (bytes, _, _) => Err(PadError::Key { bytes }),
        }
    }

    /// The MAC of `message`, eight bytes.
    #[must_use]
    pub fn mac(&self, message: &[u8]) -> [u8; 8] {
        let mut state = [0; 8];
        for block in message.chunks(8) {
            state.iter_mut().zip(block).for_each(|(byte, more)| *byte ^= more);
            self.chain.encrypt_block((&mut state).into());
        }
        self.middle.decrypt_block((&mut state).into());
        self.chain.encrypt_block((&mut state).into());
        state
    }
}

impl fmt::Debug for MacPad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacPad(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::World;

    fn hex(digits: &str) -> Vec<u8> {
        hex::decode(digits).unwrap()
    }

    fn block(key: &str, format: BlockFormat, pin: &str, pan: &str, fill: [u8; 16]) -> String {
        let pad = PinPad::new(&hex(key), format).unwrap();
        let pin = TypedPin::new(pin.as_bytes()).unwrap();
        let block = pad.block(&pin, &Pan::parse(pan.as_bytes()).unwrap(), fill);
        hex::encode_upper(block.as_bytes())
    }

    /// The demo world's blocks, made by `psec`.
    #[test]
    fn format_0_as_another_implementation_has_it() {
        let world = World::embedded().unwrap();
        for sample in &world.pin_block_samples {
            let key = world.clear_key(&sample.zpk).unwrap();
            let pad = PinPad::new(key, BlockFormat::Iso0).unwrap();
            for (pin, want) in
                [(&sample.current, &sample.current_block), (&sample.new, &sample.new_block)]
            {
                let pin = TypedPin::new(pin.expose_digits()).unwrap();
                let got = pad.block(&pin, &sample.pan, [0; 16]);
                assert_eq!(got.as_bytes(), want.expose_bytes(), "{:?}", sample.pan);
            }
        }
    }

    /// Two vectors of format 4 that circulate with their random halves, recomputed outside this project.
    #[test]
    fn format_4_as_published() {
        let fill = |tail: &str| {
            let mut fill = [0; 16];
            fill[8..].copy_from_slice(&hex(tail));
            fill
        };
        assert_eq!(
            block(
                "00112233445566778899AABBCCDDEEFF",
                BlockFormat::Iso4,
                "1234",
                "1234567890123456789",
                fill("FFFFFFFFFFFFFFFF")
            ),
            "28B41FDDD29B743E93124BD8E32D921E"
        );
        assert_eq!(
            block(
                "AF8CB133A78F8DC2D1359F18527593FB",
                BlockFormat::Iso4,
                "1234",
                "4111111111111111",
                fill("2F69ADDE2E9E7ACE")
            ),
            "A912150391AB65A67E52883D81CE2D15"
        );
    }

    /// Decrypted with the cipher alone, the clear blocks show the layout of ISO 9564-1.
    #[test]
    fn formats_1_and_3_have_the_layout_of_the_standard() {
        let key = "2315208C9110AD40A8B6C7D5E5F20210";
        let clear = |block: &str| {
            let mut bytes: [u8; 8] = hex(block).try_into().unwrap();
            let cipher = TdesEde3::new_from_slice(&*triple(&hex(key))).unwrap();
            cipher.decrypt_block((&mut bytes).into());
            hex::encode_upper(bytes)
        };
        let fill: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let one = block(key, BlockFormat::Iso1, "12345", "4761739001010010", fill);
        assert_eq!(clear(&one), "151234578 9ABCDEF".replace(' ', ""));
        // Fill digits 10 + at % 6 from position 7, exclusive-or 0000173900101001.
        let three = block(key, BlockFormat::Iso3, "12345", "4761739001010010", fill);
        assert_eq!(clear(&three), "35122362CDFFBBCC");
    }

    /// A vector of X9.19 with padding 1, recomputed with an independent implementation.
    #[test]
    fn retail_mac_as_published() {
        let key = hex("7962D9ECE03D1ACD4C76089DCE131543");
        let data = hex("72C29C2371CC9BDB65B779B8E8D37B29ECC154AA56A8799FAE2F498F76ED92F2");
        assert_eq!(hex::encode_upper(MacPad::new(&key).unwrap().mac(&data)), "AAE3F35132ED3465");
    }

    #[test]
    fn refusals() {
        let key = |bytes| PadError::Key { bytes };
        assert_eq!(PinPad::new(&[0; 15], BlockFormat::Iso0).unwrap_err(), key(15));
        assert_eq!(PinPad::new(&[0; 32], BlockFormat::Iso0).unwrap_err(), key(32));
        assert_eq!(PinPad::new(&[0; 8], BlockFormat::Iso4).unwrap_err(), key(8));
        assert_eq!(MacPad::new(&[0; 24]).unwrap_err(), key(24));
        for bad in ["123", "1234567890123", "12a4", ""] {
            assert_eq!(TypedPin::new(bad.as_bytes()).unwrap_err(), PadError::Pin);
        }
        let pin = TypedPin::new(b"1234").unwrap();
        assert_eq!(format!("{pin:?}"), "TypedPin(****)");
    }
}
