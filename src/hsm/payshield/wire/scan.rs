//! A reader that cannot over-read, a writer, and the trait [`Field`] between them.
//!
//! The reader remembers what later fields depend on: whether PIN blocks are of 16 bytes, which formats were named.
//! Fields see ASCII, whatever the device is set to: the reader has a frame in both forms and gives characters from the
//! one, binary fields from the other; the writer translates characters as they come. **Never here:** what a field
//! means.

use bytes::{BufMut, BytesMut};

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::iso8583::Charset;

/// What a device is set to, and both sides must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Characters of the header: 1 to 255, 4 on a new device.
    pub header: usize,
    /// Characters of a PIN under a variant or TDES key block LMK: longest PIN plus one, 5 to 13.
    pub pin_digits: usize,
    /// Its host port's characters. EBCDIC is code page 037; in 1047, and but for `!` and `|` in 500, what commands are
    /// made of stands at the same places.
    pub charset: Charset,
}

impl Default for Settings {
    fn default() -> Self {
        Self { header: 4, pin_digits: 13, charset: Charset::Ascii }
    }
}

/// The same bytes twice: as characters in ASCII, and as they came, which is what binary fields are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// In ASCII.
    pub text: &'a [u8],
    /// As they came.
    pub raw: &'a [u8],
}

impl<'a> From<&'a [u8]> for Fields<'a> {
    /// They came in ASCII.
    fn from(bytes: &'a [u8]) -> Self {
        Self { text: bytes, raw: bytes }
    }
}

/// Why bytes are not a command or an answer: the field, where it begins, and the code a device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {at}: not as the manual has it (error {code})")]
pub struct Fault {
    /// What a device answers.
    pub code: ErrorCode,
    /// Offset behind the command code.
    pub at: usize,
    /// Name of the field.
    pub field: &'static str,
}

/// One field, or a row of them.
pub trait Field<'a>: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// [`Fault`] names the field.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault>;

    /// Appends it.
    fn write(&self, writer: &mut Writer<'_>);
}

/// What the bytes before cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assume {
    /// Hex digits of a key without a scheme.
    pub bare: usize,
    /// The same for a pair of PVKs.
    pub pair: usize,
    /// Hex digits of a KSN.
    pub ksn: usize,
    /// Hex digits of a PIN block in an answer.
    pub block: usize,
    /// Hex digits of a check value.
    pub check: usize,
    /// Whether KY has a tree of session keys.
    pub tree: bool,
}

impl Assume {
    /// What is most usual.
    pub const USUAL: Self = Self { bare: 16, pair: 32, ksn: 20, block: 16, check: 6, tree: false };
}

/// Reads from the front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    fields: Fields<'a>,
    at: usize,
    field: &'static str,
    /// Both sides' settings.
    pub settings: Settings,
    /// What is tried.
    pub assume: Assume,
    /// Hex digits of PIN blocks, once the key that holds them was read.
    pub block: usize,
    /// Whether a PIN block format named so far takes 18 characters of account (04).
    pub plus: bool,
    /// Whether a PIN block format named so far takes the whole account number (48).
    pub whole: bool,
    /// Whether a key serial number was read: beside it accounts have a fixed length.
    pub derived: bool,
    /// `%nn`, once it was read.
    pub lmk: Option<u8>,
}

impl<'a> Reader<'a> {
    /// Begins.
    #[must_use]
    pub fn new(fields: impl Into<Fields<'a>>, settings: Settings, assume: Assume) -> Self {
        Self {
            fields: fields.into(),
            at: 0,
            field: "command",
            settings,
            assume,
            block: assume.block,
            plus: false,
            whole: false,
            derived: false,
            lmk: None,
        }
    }

    /// Reads a field under its name.
    ///
    /// # Errors
    /// [`Fault`] with that name.
    pub fn field<T: Field<'a>>(&mut self, name: &'static str) -> Result<T, Fault> {
        self.field = name;
        T::read(self)
    }

    /// A fault of the field that is being read.
    #[must_use]
    pub fn fault(&self, code: ErrorCode) -> Fault {
        Fault { code, at: self.at, field: self.field }
    }

    /// What is left, as characters.
    #[must_use]
    pub fn left(&self) -> &'a [u8] {
        self.fields.text.get(self.at..).unwrap_or_default()
    }

    /// The next character, if there is one.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.left().first().copied()
    }

    /// Takes the next character if it is this one.
    pub fn skip(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    /// So many characters, whatever they are.
    ///
    /// # Errors
    /// Fewer are left: 15.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let taken = self.left().get(..count).ok_or_else(|| self.fault(ErrorCode::INPUT))?;
        self.at += count;
        Ok(taken)
    }

    /// So many bytes of a binary field: as they came.
    ///
    /// # Errors
    /// Fewer are left: 15.
    pub fn binary(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let left = self.fields.raw.get(self.at..).unwrap_or_default();
        let taken = left.get(..count).ok_or_else(|| self.fault(ErrorCode::INPUT))?;
        self.at += count;
        Ok(taken)
    }

    /// `N` bytes of a binary field.
    ///
    /// # Errors
    /// As [`Self::binary`].
    pub fn binary_array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.binary(N)?);
        Ok(bytes)
    }

    /// So many characters that are all `fit`.
    ///
    /// # Errors
    /// Another one, or fewer: 15.
    pub fn of(&mut self, count: usize, fit: fn(&u8) -> bool) -> Result<&'a [u8], Fault> {
        match self.left().get(..count) {
            Some(bytes) if bytes.iter().all(fit) => self.take(count),
            _ => Err(self.fault(ErrorCode::INPUT)),
        }
    }

    /// So many decimal digits.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn digits(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        self.of(count, u8::is_ascii_digit)
    }

    /// So many hex digits, in upper case.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn hex(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        self.of(count, is_hex)
    }

    /// A decimal number of so many digits.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn number(&mut self, count: usize) -> Result<usize, Fault> {
        Ok(self.digits(count)?.iter().fold(0, |n, digit| n * 10 + usize::from(digit & 0x0F)))
    }

    /// A hexadecimal number of so many digits.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn hex_number(&mut self, count: usize) -> Result<usize, Fault> {
        Ok(self.hex(count)?.iter().fold(0, |n, digit| n << 4 | usize::from(nibble(*digit))))
    }

    /// `N` characters of which all are `fit`.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn chars<const N: usize>(&mut self, fit: fn(&u8) -> bool) -> Result<[u8; N], Fault> {
        let mut chars = [0; N];
        chars.copy_from_slice(self.of(N, fit)?);
        Ok(chars)
    }

    /// `N` bytes from twice as many hex digits.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn unhex<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(self.hex(2 * N)?.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit));
        }
        Ok(bytes)
    }
}

/// Upper case only: what is read is written again as it was.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "as `u8::is_ascii_digit`, beside which it is passed"
)]
pub(crate) fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'F')
}

/// The value of a hex digit.
pub(crate) fn nibble(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit & 0x0F } else { (digit & 0x0F) + 9 }
}

/// Appends.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut BytesMut,
    charset: Charset,
    /// `%nn` that is still to be written: some commands have fields behind it.
    pub lmk: Option<u8>,
}

impl<'o> Writer<'o> {
    /// Writes at the end of `out`, in this character set.
    pub fn new(out: &'o mut BytesMut, lmk: Option<u8>, charset: Charset) -> Self {
        Self { out, charset, lmk }
    }

    /// Characters, given in ASCII.
    pub fn put(&mut self, text: &[u8]) {
        match self.charset {
            Charset::Ascii => self.out.put_slice(text),
            Charset::Ebcdic => {
                self.out.extend(text.iter().map(|byte| Charset::Ebcdic.to_wire(*byte)));
            }
        }
    }

    /// Bytes of a binary field, as they are.
    pub fn binary(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// One character.
    pub fn byte(&mut self, byte: u8) {
        self.out.put_u8(self.charset.to_wire(byte));
    }

    /// Bytes as hex digits.
    pub fn hex(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.put(&[digit(byte >> 4), digit(byte & 0x0F)]);
        }
    }

    /// The last `width` digits of a number in base 10 or 16.
    pub fn number(&mut self, number: usize, width: usize, base: usize) {
        let start = self.out.len();
        self.out.put_bytes(b'0', width);
        let mut left = number;
        for place in self.out[start..].iter_mut().rev() {
            *place = self.charset.to_wire(digit(u8::try_from(left % base).unwrap_or(0)));
            left /= base;
        }
    }

    /// `%nn`, if it is still to be written.
    pub fn lmk(&mut self) {
        if let Some(id) = self.lmk.take() {
            self.byte(b'%');
            self.number(id.into(), 2, 10);
        }
    }
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'A' + (value - 10) }
}
