//! PIN blocks older than ISO 9564-1: Docutel (payShield format 02) and Diebold or IBM ATM (03).
//!
//! Neither is bound to an account. The switch refuses them; a simulated device reads and writes them. **Never here:** a
//! cipher.

use crate::pin::block::{Block8, NoPin};
use crate::pin::clear::{ClearPin, PIN_DIGITS_MAX};
use crate::pin::{pack, unpack};

/// Longest PIN of a Docutel block.
const DOCUTEL_DIGITS_MAX: usize = 6;

/// Sixteen values, packed.
fn packed(values: [u8; 16]) -> Block8 {
    let (high, low) = values.split_at(8);
    let half = |half: &[u8]| half.try_into().map_or(0, pack);
    Block8::new((half(high) << 32 | half(low)).to_be_bytes())
}

/// Diebold: the PIN, then `F`.
#[must_use]
pub fn encode_diebold(pin: &ClearPin) -> Block8 {
    let mut values = [0xF; 16];
    let count = usize::from(pin.digit_count()).min(PIN_DIGITS_MAX);
    values[..count].copy_from_slice(&pin.expose_digits()[..count]);
    packed(values)
}

/// Reads a Diebold block.
///
/// # Errors
/// [`NoPin`].
pub fn decode_diebold(block: &[u8; 8]) -> Result<ClearPin, NoPin> {
    let values = unpack(u64::from_be_bytes(*block));
    let count = values.iter().take_while(|value| **value != 0xF).count();
    let filled = values.iter().skip(count).all(|value| *value == 0xF);
    read(values.get(..count)).filter(|_| filled).ok_or(NoPin)
}

/// Docutel: length, PIN and zeros to six digits, nine digits of filling. `None` for a PIN of more than six digits.
#[must_use]
pub fn encode_docutel(pin: &ClearPin) -> Option<Block8> {
    let count = usize::from(pin.digit_count());
    if DOCUTEL_DIGITS_MAX < count {
        return None;
    }
    let mut values = [0; 16];
    values[0] = pin.digit_count();
    values[1..=count].copy_from_slice(pin.expose_digits().get(..count)?);
    Some(packed(values))
}

/// Reads a Docutel block.
///
/// # Errors
/// [`NoPin`].
pub fn decode_docutel(block: &[u8; 8]) -> Result<ClearPin, NoPin> {
    let values = unpack(u64::from_be_bytes(*block));
    let count = usize::from(values[0]);
    let zeros = values.iter().take(7).skip(1 + count).all(|value| *value == 0);
    let digits = values.iter().skip(7).all(|value| *value <= 9);
    let pin = if count <= DOCUTEL_DIGITS_MAX { read(values.get(1..=count)) } else { None };
    pin.filter(|_| zeros && digits).ok_or(NoPin)
}

/// A PIN of these values. `None` if they are none.
fn read(values: Option<&[u8]>) -> Option<ClearPin> {
    let values = values?;
    let mut ascii = zeroize::Zeroizing::new([0; PIN_DIGITS_MAX]);
    let wanted = ascii.get_mut(..values.len())?;
    if values.iter().any(|value| 9 < *value) {
        return None;
    }
    wanted.iter_mut().zip(values).for_each(|(to, value)| *to = b'0' + value);
    ClearPin::from_ascii(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(digits: &str) -> ClearPin {
        ClearPin::from_ascii(digits.as_bytes()).unwrap()
    }

    /// Layouts of the payShield manual.
    #[test]
    fn layouts() {
        assert_eq!(hex::encode_upper(*encode_diebold(&pin("92389"))), "92389FFFFFFFFFFF");
        assert_eq!(hex::encode_upper(*encode_docutel(&pin("9238")).unwrap()), "4923800000000000");
        assert!(encode_docutel(&pin("1234567")).is_none());
        let same = |read: Result<ClearPin, NoPin>, digits| {
            assert!(bool::from(read.unwrap().same_as(&pin(digits))));
        };
        same(decode_diebold(&[0x12, 0x34, 0x5F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), "12345");
        same(decode_docutel(&[0x51, 0x23, 0x45, 0x09, 0x87, 0x65, 0x43, 0x21]), "12345");
        for bad in ["123FFFFFFFFFFFFF", "1234FFFFFFFFFFF0", "1234AFFFFFFFFFFF", "1234567890123FFF"]
        {
            let block = hex::decode(bad).unwrap().try_into().unwrap();
            assert_eq!(decode_diebold(&block).err(), Some(NoPin), "{bad}");
        }
        for bad in ["3123000000000000", "7123456700000000", "4123410000000000", "41234000000000A0"]
        {
            let block = hex::decode(bad).unwrap().try_into().unwrap();
            assert_eq!(decode_docutel(&block).err(), Some(NoPin), "{bad}");
        }
    }
}
