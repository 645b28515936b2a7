//! How characters and digits sit on the wire: ASCII, EBCDIC, BCD, hexadecimal, and which are allowed where.
//!
//! One table per character set, 256 entries each, one bit per class. **Never here:** lengths, fields, allocation.
//! Where next: `field` applies a class to a field's bytes.

use zeroize::Zeroize;

/// Decimal digits.
pub(super) const CLASS_N: u8 = 1;
/// Letters, digits and the space that pads them.
pub(super) const CLASS_AN: u8 = 1 << 1;
/// Printable characters.
pub(super) const CLASS_ANS: u8 = 1 << 2;
/// Track 2 and 3: digits and the separators `=` and `D`.
pub(super) const CLASS_Z: u8 = 1 << 3;
/// Hexadecimal digits of both cases.
pub(super) const CLASS_HEX: u8 = 1 << 4;
/// Letters and the space that pads them.
pub(super) const CLASS_A: u8 = 1 << 5;
/// A byte of two decimal digits.
pub(super) const CLASS_BCD: u8 = 1 << 6;
/// A byte of two track 2 nibbles: digits and the separator D.
pub(super) const CLASS_BCD_Z: u8 = 1 << 7;

/// EBCDIC code page 037 to Latin-1, the mapping of Unicode's CP037.TXT. It is one to one.
pub(super) static LATIN_OF_EBCDIC: [u8; 256] = [
    0x00, 0x01, 0x02, 0x03, 0x9C, 0x09, 0x86, 0x7F, 0x97, 0x8D, 0x8E, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
    0x10, 0x11, 0x12, 0x13, 0x9D, 0x85, 0x08, 0x87, 0x18, 0x19, 0x92, 0x8F, 0x1C, 0x1D, 0x1E, 0x1F,
    0x80, 0x81, 0x82, 0x83, 0x84, 0x0A, 0x17, 0x1B, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x05, 0x06, 0x07,
    0x90, 0x91, 0x16, 0x93, 0x94, 0x95, 0x96, 0x04, 0x98, 0x99, 0x9A, 0x9B, 0x14, 0x15, 0x9E, 0x1A,
    0x20, 0xA0, 0xE2, 0xE4, 0xE0, 0xE1, 0xE3, 0xE5, 0xE7, 0xF1, 0xA2, 0x2E, 0x3C, 0x28, 0x2B, 0x7C,
    0x26, 0xE9, 0xEA, 0xEB, 0xE8, 0xED, 0xEE, 0xEF, 0xEC, 0xDF, 0x21, 0x24, 0x2A, 0x29, 0x3B, 0xAC,
    0x2D, 0x2F, 0xC2, 0xC4, 0xC0, 0xC1, 0xC3, 0xC5, 0xC7, 0xD1, 0xA6, 0x2C, 0x25, 0x5F, 0x3E, 0x3F,
    0xF8, 0xC9, 0xCA, 0xCB, 0xC8, 0xCD, 0xCE, 0xCF, 0xCC, 0x60, 0x3A, 0x23, 0x40, 0x27, 0x3D, 0x22,
    0xD8, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0xAB, 0xBB, 0xF0, 0xFD, 0xFE, 0xB1,
    0xB0, 0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x6F, 0x70, 0x71, 0x72, 0xAA, 0xBA, 0xE6, 0xB8, 0xC6, 0xA4,
    0xB5, 0x7E, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0xA1, 0xBF, 0xD0, 0xDD, 0xDE, 0xAE,
    0x5E, 0xA3, 0xA5, 0xB7, 0xA9, 0xA7, 0xB6, 0xBC, 0xBD, 0xBE, 0x5B, 0x5D, 0xAF, 0xA8, 0xB4, 0xD7,
    0x7B, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0xAD, 0xF4, 0xF6, 0xF2, 0xF3, 0xF5,
    0x7D, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F, 0x50, 0x51, 0x52, 0xB9, 0xFB, 0xFC, 0xF9, 0xFA, 0xFF,
    0x5C, 0xF7, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0xB2, 0xD4, 0xD6, 0xD2, 0xD3, 0xD5,
    0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0xB3, 0xDB, 0xDC, 0xD9, 0xDA, 0x9F,
];

/// Latin-1 to EBCDIC code page 037.
pub(super) static EBCDIC_OF_LATIN: [u8; 256] = inverse(&LATIN_OF_EBCDIC);

/// Classes of a byte in ASCII data.
pub(super) static ASCII_CLASS: [u8; 256] = ascii_classes();

/// Classes of a byte in EBCDIC data. The BCD bits are those of the byte itself.
pub(super) static EBCDIC_CLASS: [u8; 256] = ebcdic_classes();

/// The character set of a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// ASCII, with Latin-1 above 127 where a field is lenient.
    #[default]
    Ascii,
    /// Code page 037.
    Ebcdic,
}

impl Charset {
    /// The class table of this set.
    pub(super) fn classes(self) -> &'static [u8; 256] {
        match self {
            Self::Ascii => &ASCII_CLASS,
            Self::Ebcdic => &EBCDIC_CLASS,
        }
    }

    /// A wire byte as Latin-1.
    #[must_use]
    pub fn to_latin(self, byte: u8) -> u8 {
        match self {
            Self::Ascii => byte,
            Self::Ebcdic => LATIN_OF_EBCDIC[usize::from(byte)],
        }
    }

    /// A Latin-1 byte as it goes on the wire.
    #[must_use]
    pub fn to_wire(self, byte: u8) -> u8 {
        match self {
            Self::Ascii => byte,
            Self::Ebcdic => EBCDIC_OF_LATIN[usize::from(byte)],
        }
    }
}

const fn inverse(table: &[u8; 256]) -> [u8; 256] {
    let mut out = [0; 256];
    let mut i = 0;
    while i < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "i < 256")]
        let byte = i as u8;
        out[table[i] as usize] = byte;
        i += 1;
    }
    out
}

const fn text_class(byte: u8) -> u8 {
    let letter = byte.is_ascii_alphabetic() || byte == b' ';
    let digit = byte.is_ascii_digit();
    let mut class = 0;
    if digit {
        class |= CLASS_N;
    }
    if letter {
        class |= CLASS_A;
    }
    if letter || digit {
        class |= CLASS_AN;
    }
    if byte >= 0x20 && byte < 0x7F {
        class |= CLASS_ANS;
    }
    if digit || byte == b'=' || byte == b'D' || byte == b'd' {
        class |= CLASS_Z;
    }
    if byte.is_ascii_hexdigit() {
        class |= CLASS_HEX;
    }
    class
}

const fn nibble_class(byte: u8) -> u8 {
    let (high, low) = (byte >> 4, byte & 0x0F);
    let mut class = 0;
    if high <= 9 && low <= 9 {
        class |= CLASS_BCD;
    }
    if (high <= 9 || high == 0xD) && (low <= 9 || low == 0xD) {
        class |= CLASS_BCD_Z;
    }
    class
}

const fn ascii_classes() -> [u8; 256] {
    let mut out = [0; 256];
    let mut i = 0;
    while i < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "i < 256")]
        let byte = i as u8;
        out[i] = text_class(byte) | nibble_class(byte);
        i += 1;
    }
    out
}

const fn ebcdic_classes() -> [u8; 256] {
    let mut out = [0; 256];
    let mut i = 0;
    while i < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "i < 256")]
        let byte = i as u8;
        out[i] = text_class(LATIN_OF_EBCDIC[i]) | nibble_class(byte);
        i += 1;
    }
    out
}

/// The value of a hexadecimal digit of either case.
pub(super) const fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The upper-case hexadecimal digit of a nibble.
pub(super) const fn hex_digit(nibble: u8) -> u8 {
    match nibble & 0x0F {
        digit @ 0..=9 => b'0' + digit,
        letter => b'A' + letter - 10,
    }
}

/// Most bytes [`Text`] holds: the longest text the switch itself reads is 48 (Postilion's 127.3).
pub const TEXT_BYTES_MAX: usize = 64;

/// A short value in a buffer of its own: canonical text or un-hexed bytes. Wiped on drop, masked in `Debug`.
#[derive(Clone)]
pub struct Text {
    buffer: [u8; TEXT_BYTES_MAX],
    len: u8,
}

impl Text {
    /// An empty value.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: [0; TEXT_BYTES_MAX], len: 0 }
    }

    /// Copies `bytes`, if they fit.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        let mut text = Self::new();
        text.buffer.get_mut(..bytes.len())?.copy_from_slice(bytes);
        text.len = u8::try_from(bytes.len()).ok()?;
        Some(text)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..usize::from(self.len)]
    }

    /// The bytes as a string, when they are UTF-8: text without accents always is.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }
}

impl Sink for Text {
    fn push(&mut self, byte: u8) -> Option<()> {
        *self.buffer.get_mut(usize::from(self.len))? = byte;
        self.len += 1;
        Some(())
    }

    fn push_slice(&mut self, bytes: &[u8]) -> Option<()> {
        let start = usize::from(self.len);
        let end = start.checked_add(bytes.len())?;
        self.buffer.get_mut(start..end)?.copy_from_slice(bytes);
        self.len = u8::try_from(end).ok()?;
        Some(())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} bytes)", self.len)
    }
}

/// Where converted characters go: an inline buffer on the hot path, a vector in tools.
pub(super) trait Sink {
    /// Takes one byte, or says that it is full.
    fn push(&mut self, byte: u8) -> Option<()>;
    /// Takes some bytes, or says that it is full.
    fn push_slice(&mut self, bytes: &[u8]) -> Option<()>;
}

impl Sink for Vec<u8> {
    fn push(&mut self, byte: u8) -> Option<()> {
        Self::push(self, byte);
        Some(())
    }

    fn push_slice(&mut self, bytes: &[u8]) -> Option<()> {
        self.extend_from_slice(bytes);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ebcdic_digits_letters_and_back() {
        // Code page 037: digits F0-F9, A-I C1-C9, space 40, '@' 7C.
        for (wire, latin) in [(0xF0, b'0'), (0xF9, b'9'), (0xC1, b'A'), (0x40, b' '), (0x7C, b'@')]
        {
            assert_eq!(LATIN_OF_EBCDIC[wire], latin);
            assert_eq!(usize::from(EBCDIC_OF_LATIN[usize::from(latin)]), wire);
        }
        for byte in 0..=255_u8 {
            assert_eq!(Charset::Ebcdic.to_wire(Charset::Ebcdic.to_latin(byte)), byte);
        }
    }

    #[test]
    fn classes() {
        assert_eq!(ASCII_CLASS[usize::from(b'7')] & CLASS_N, CLASS_N);
        assert_eq!(ASCII_CLASS[usize::from(b' ')] & CLASS_N, 0);
        assert_eq!(ASCII_CLASS[0x7F] & CLASS_ANS, 0);
        assert_eq!(ASCII_CLASS[0x1D] & (CLASS_BCD | CLASS_BCD_Z), CLASS_BCD_Z);
        assert_eq!(ASCII_CLASS[0x99] & CLASS_BCD, CLASS_BCD);
        assert_eq!(EBCDIC_CLASS[0xF7] & CLASS_N, CLASS_N);
    }

    #[test]
    fn text_holds_what_fits_and_shows_nothing() {
        assert!(Text::copy_of(&[1; TEXT_BYTES_MAX]).is_some());
        assert!(Text::copy_of(&[1; TEXT_BYTES_MAX + 1]).is_none());
        let pan = Text::copy_of(b"4111111111111111").expect("fits");
        assert_eq!(format!("{pan:?}"), "Text(16 bytes)");
    }
}
