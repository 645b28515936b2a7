//! IBM 3624: the natural PIN of an account, and the offset from it to the PIN the cardholder chose.
//!
//! An offset has as many digits as the PIN. [`DecimalizationTable`] exists only for tables that pass the plausibility
//! check real devices make (payShield error 25): a lopsided table lets an insider find PINs by asking. **Never here:**
//! comparison with a stored offset: `hsm::soft` does it in constant time.

use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::pin::clear::{ClearPin, PIN_DIGITS_MAX};
use crate::pin::tdes::Tdes;
use crate::pin::{pack, unpack};

/// Sixteen digits, one for each hex digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecimalizationTable([u8; 16]);

/// Why a decimalization table or validation data cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ibm3624Error {
    /// The part of the account number asked for is not all there, or exceeds sixteen digits.
    #[error("validation data ends outside the account number or exceeds 16 digits")]
    ValidationRange,
    /// The fill of the validation data is no hex digit.
    #[error("validation pad is no hex digit 0-9 or A-F")]
    ValidationPad,
    /// A byte of the table is no digit.
    #[error("decimalization table is not 16 decimal digits")]
    TableNotDigits,
    /// Fewer than eight different digits, or one more than four times.
    #[error("decimalization table needs at least 8 different digits, none more than 4 times")]
    TableLopsided,
}

impl DecimalizationTable {
    /// Checks sixteen ASCII digits.
    ///
    /// # Errors
    /// [`Ibm3624Error::TableNotDigits`] and [`Ibm3624Error::TableLopsided`].
    pub fn new(ascii: &[u8; 16]) -> Result<Self, Ibm3624Error> {
        let mut table = [0; 16];
        let mut seen = [0_u8; 10];
        for (digit, byte) in table.iter_mut().zip(ascii) {
            if !byte.is_ascii_digit() {
                return Err(Ibm3624Error::TableNotDigits);
            }
            *digit = byte - b'0';
            seen[usize::from(*digit)] += 1;
        }
        let different = seen.iter().filter(|count| **count > 0).count();
        if different < 8 || seen.iter().any(|count| *count > 4) {
            return Err(Ibm3624Error::TableLopsided);
        }
        Ok(Self(table))
    }
}

/// Sixteen hex digits made of account digits and fill.
#[derive(Debug)]
pub struct ValidationData(Zeroizing<[u8; 8]>);

impl ValidationData {
    /// `length` digits of the account number from digit `start` (from 0), then `pad` (an ASCII hex digit) up to 16.
    ///
    /// # Errors
    /// [`Ibm3624Error::ValidationRange`] and [`Ibm3624Error::ValidationPad`].
    pub fn new(account: &Account12, start: u8, length: u8, pad: u8) -> Result<Self, Ibm3624Error> {
        let pad = match pad {
            b'0'..=b'9' => pad - b'0',
            b'A'..=b'F' => pad - b'A' + 10,
            b'a'..=b'f' => pad - b'a' + 10,
            _ => return Err(Ibm3624Error::ValidationPad),
        };
        let (start, length) = (usize::from(start), usize::from(length));
        let digits = account.pan().expose_digits().get(start..start + length);
        let digits = digits.ok_or(Ibm3624Error::ValidationRange)?;
        let mut values = Zeroizing::new([pad; 16]);
        let head = values.get_mut(..length).ok_or(Ibm3624Error::ValidationRange)?;
        head.copy_from_slice(digits);
        // Packing takes the low half of each byte: of an ASCII digit, or of the pad's value.
        let data = values.as_chunks().0.iter().fold(0, |data, eight| data << 32 | pack(*eight));
        Ok(Self(Zeroizing::new(data.to_be_bytes())))
    }

    /// Takes the eight bytes as they are: some devices are told them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// The sixteen digits whose first ones are the natural PIN.
fn natural(pvk: &Tdes, table: &DecimalizationTable, data: &ValidationData) -> Zeroizing<[u8; 16]> {
    let mut block = data.0.clone();
    pvk.encrypt(&mut block);
    let mut digits = Zeroizing::new(unpack(u64::from_be_bytes(*block)));
    for digit in digits.iter_mut() {
        // A nibble is below 16; the mask tells the compiler.
        *digit = table.0[usize::from(*digit & 0x0F)];
    }
    digits
}

/// The offset of `pin`: digit values, as many as the PIN has, the rest zero.
#[must_use]
pub fn offset(
    pvk: &Tdes,
    table: &DecimalizationTable,
    data: &ValidationData,
    pin: &ClearPin,
) -> [u8; PIN_DIGITS_MAX] {
    let natural = natural(pvk, table, data);
    let mut offset = [0; PIN_DIGITS_MAX];
    let digits = pin.expose_digits();
    let digits = &digits[..usize::from(pin.digit_count())];
    for ((to, pin), natural) in offset.iter_mut().zip(digits).zip(natural.iter()) {
        *to = (10 + pin - natural) % 10;
    }
    offset
}

/// The PIN an offset leads to: natural digit plus offset, for each of its 4 to 12 digits. `None` for another number.
#[must_use]
pub fn pin_of_offset(
    pvk: &Tdes,
    table: &DecimalizationTable,
    data: &ValidationData,
    offset: &[u8],
) -> Option<ClearPin> {
    let natural = natural(pvk, table, data);
    let mut ascii = Zeroizing::new([0; PIN_DIGITS_MAX]);
    let wanted = ascii.get_mut(..offset.len())?;
    for ((to, natural), offset) in wanted.iter_mut().zip(natural.iter()).zip(offset) {
        *to = b'0' + (natural + (offset & 0x0F)) % 10;
    }
    ClearPin::from_ascii(wanted)
}
