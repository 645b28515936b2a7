//! Encrypted PINs that know which key holds them, and the references that prove a PIN.
//!
//! A PIN outside `hsm` is always one of two things: a block under a zone key ([`ZonePin`]) or a block under the local
//! master key ([`LmkPin`]). Only the HSM's translation leads from one to the other. A [`Reference`] is what the card
//! record keeps. The one clear PIN is a [`RevealedPin`], on its way to who may see it. **Never here:** a key,
//! arithmetic on a PIN.

use std::fmt;

use zeroize::Zeroizing;

/// A key of the HSM's table, resolved from its configured name at start, so that no name is looked up on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u16);

/// How a clear PIN is laid out before it is encrypted (ISO 9564-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// Format 0 (ANSI X9.8): PIN and fill `F`, exclusive-or the account.
    Iso0,
    /// Format 1: PIN and transaction fill, no account.
    Iso1,
    /// Format 3: as 0 with random fill A to F.
    Iso3,
    /// Format 4: AES, 16 bytes.
    Iso4,
}

impl BlockFormat {
    /// Bytes of one encrypted block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Iso0 | Self::Iso1 | Self::Iso3 => 8,
            Self::Iso4 => 16,
        }
    }

    /// PCI PIN 3-3 and ISO 9564-1: whether a block of this format may become one of `to`, for one and the same account.
    ///
    /// A block bound to an account may not become one that is not: whoever holds it could then bind it to another
    /// account.
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        use BlockFormat::{Iso0, Iso1, Iso3, Iso4};
        match (self, to) {
            (Iso1, Iso0 | Iso1 | Iso3 | Iso4) | (Iso0 | Iso3 | Iso4, Iso0 | Iso3 | Iso4) => true,
            (Iso0 | Iso3 | Iso4, Iso1) => false,
        }
    }
}

/// The key serial number (KSN) of one DUKPT transaction: which terminal, and which of its keys.
///
/// Eight or ten bytes with TDES (ANSI X9.24-1), twelve with AES (X9.24-3). It is no secret, but it names a terminal: it
/// stays out of logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ksn {
    bytes: [u8; KSN_BYTES_MAX],
    len: u8,
}

/// Bytes of the longest KSN.
const KSN_BYTES_MAX: usize = 12;

impl Ksn {
    /// Takes a KSN from the wire: 8, 10 or 12 bytes. `None` for another length.
    #[must_use]
    pub fn new(ksn: &[u8]) -> Option<Self> {
        let len = u8::try_from(ksn.len()).ok().filter(|len| matches!(len, 8 | 10 | 12))?;
        let mut bytes = [0; KSN_BYTES_MAX];
        bytes.get_mut(..ksn.len())?.copy_from_slice(ksn);
        Some(Self { bytes, len })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Ksn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ksn({} bytes)", self.len)
    }
}

/// A PIN block as a link or a door brought it: under a zone PIN key (ZPK), or under a DUKPT key of a terminal.
///
/// It cannot be stored: the record takes a [`Reference`], and only the HSM makes one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ZonePin {
    bytes: [u8; 16],
    format: BlockFormat,
    key: KeyId,
    ksn: Option<Ksn>,
}

impl ZonePin {
    /// Takes a block from the wire: 8 bytes, or 16 for format 4. `None` for another length.
    #[must_use]
    pub fn new(block: &[u8], format: BlockFormat, key: KeyId) -> Option<Self> {
        if block.len() != format.block_bytes() {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..block.len()].copy_from_slice(block);
        Some(Self { bytes, format, key, ksn: None })
    }

    /// The same block under the key that `ksn` names below the base derivation key [`ZonePin::key`].
    #[must_use]
    pub fn derived(self, ksn: Ksn) -> Self {
        Self { ksn: Some(ksn), ..self }
    }

    /// The encrypted bytes.
    #[must_use]
    pub fn block(&self) -> &[u8] {
        &self.bytes[..self.format.block_bytes()]
    }

    /// Layout of the clear block.
    #[must_use]
    pub fn format(&self) -> BlockFormat {
        self.format
    }

    /// The zone key it is under, or the base derivation key of the one it is under.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Which derived key it is under; `None` under a zone key.
    #[must_use]
    pub fn ksn(&self) -> Option<&Ksn> {
        self.ksn.as_ref()
    }
}

impl fmt::Debug for ZonePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZonePin({:?} under {:?}, ****)", self.format, self.key)
    }
}

/// A PIN under the local master key, bound to one account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LmkPin(pub [u8; 16]);

impl fmt::Debug for LmkPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LmkPin(****)")
    }
}

/// A PIN as a request presents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedPin {
    /// Under the LMK: it came clear or RSA-encrypted and the HSM took it in at once.
    Lmk(LmkPin),
    /// As it came, under a zone key.
    Zone(ZonePin),
}

/// The PIN a card shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewPin {
    /// One the HSM draws.
    Generate {
        /// How many digits, 4 to 12.
        digits: u8,
    },
    /// Under the LMK, as [`PresentedPin::Lmk`].
    Lmk(LmkPin),
    /// As it came, under a zone key.
    Zone(ZonePin),
}

impl From<LmkPin> for PresentedPin {
    fn from(pin: LmkPin) -> Self {
        Self::Lmk(pin)
    }
}

impl From<ZonePin> for PresentedPin {
    fn from(pin: ZonePin) -> Self {
        Self::Zone(pin)
    }
}

impl From<LmkPin> for NewPin {
    fn from(pin: LmkPin) -> Self {
        Self::Lmk(pin)
    }
}

impl From<ZonePin> for NewPin {
    fn from(pin: ZonePin) -> Self {
        Self::Zone(pin)
    }
}

/// A clear PIN that is to be shown to its owner: ASCII digits, wiped on drop, masked in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct RevealedPin(Zeroizing<Vec<u8>>);

impl RevealedPin {
    /// Takes what the HSM gave.
    #[must_use]
    pub fn new(digits: Zeroizing<Vec<u8>>) -> Self {
        Self(digits)
    }

    /// The clear digits, ASCII. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_digits(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RevealedPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevealedPin(****)")
    }
}

/// How an RSA ciphertext was padded (RFC 8017). The hash of OAEP is that of its mask, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
pub enum RsaPadding {
    /// OAEP with SHA-1.
    #[serde(rename = "oaep-sha1")]
    OaepSha1,
    /// OAEP with SHA-256.
    #[serde(rename = "oaep-sha256")]
    OaepSha256,
    /// RSAES-PKCS1-v1_5.
    #[serde(rename = "pkcs1-v1_5")]
    Pkcs1v15,
}

/// What a card record keeps to tell a right PIN from a wrong one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// No PIN has been set yet.
    None,
    /// IBM 3624 offset: as many decimal digits (values 0 to 9) as the PIN has, the rest zero.
    Offset {
        /// Digits, left-justified.
        digits: [u8; 12],
        /// How many of them count, 4 to 12.
        len: u8,
    },
    /// The PIN itself under the LMK: only for products that compare or reveal.
    Lmk(LmkPin),
    /// Visa PIN verification value: four ASCII digits.
    Pvv([u8; 4]),
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "Reference::None",
            Self::Offset { .. } => "Reference::Offset(****)",
            Self::Lmk(_) => "Reference::Lmk(****)",
            Self::Pvv(_) => "Reference::Pvv(****)",
        })
    }
}

/// How a product's references are made: which algorithm, which key, which of its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// IBM 3624 natural PIN and offset.
    Ibm3624 {
        /// PIN verification key.
        pvk: KeyId,
        /// Sixteen ASCII digits.
        decimalization_table: [u8; 16],
        /// First digit of the PAN (from 0) that enters the validation data.
        validation_start: u8,
        /// How many digits of the PAN enter it.
        validation_length: u8,
        /// Hex digit that fills it up to 16: an ASCII character.
        validation_pad: u8,
    },
    /// Comparison with the PIN kept under the LMK.
    LmkPin,
    /// Visa PVV.
    VisaPvv {
        /// PIN verification key pair.
        pvk: KeyId,
        /// Index of the pair, an ASCII digit `0` to `6`.
        pvki: u8,
    },
}

/// What a product demands of a new PIN. Lengths are bits: bit `n` set means that `n` digits are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PinRules {
    /// Allowed lengths, bit 4 to bit 12.
    pub lengths: u16,
    /// Refuse one digit repeated (`1111`).
    pub not_one_digit_repeated: bool,
    /// Refuse runs up or down by one (`1234`, `9876`).
    pub not_a_run: bool,
    /// Refuse the PIN the card has now.
    pub not_the_current: bool,
    /// Further refused PINs, ASCII digits, sorted.
    pub refused: Vec<Box<[u8]>>,
}

impl PinRules {
    /// Whether a PIN of `digits` digits has an allowed length.
    #[must_use]
    pub fn allows_length(&self, digits: usize) -> bool {
        digits < 16 && self.lengths & (1 << digits) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_a_block() {
        let pin = ZonePin::new(&[0xAB; 8], BlockFormat::Iso0, KeyId(3)).unwrap();
        assert_eq!(format!("{pin:?}"), "ZonePin(Iso0 under KeyId(3), ****)");
        assert_eq!(format!("{:?}", LmkPin([0xAB; 16])), "LmkPin(****)");
        assert_eq!(format!("{:?}", Reference::Pvv(*b"8034")), "Reference::Pvv(****)");
        assert_eq!(format!("{:?}", PresentedPin::Zone(pin)), format!("Zone({pin:?})"));
        let new = NewPin::Lmk(LmkPin([0xAB; 16]));
        assert_eq!(format!("{new:?}"), "Lmk(LmkPin(****))");
        let shown = RevealedPin::new(Zeroizing::new(b"7268".to_vec()));
        assert_eq!(format!("{shown:?}"), "RevealedPin(****)");
    }

    #[test]
    fn block_length_follows_the_format() {
        assert!(ZonePin::new(&[0; 8], BlockFormat::Iso4, KeyId(0)).is_none());
        assert!(ZonePin::new(&[0; 16], BlockFormat::Iso4, KeyId(0)).is_some());
        assert!(ZonePin::new(&[0; 16], BlockFormat::Iso0, KeyId(0)).is_none());
    }
}
