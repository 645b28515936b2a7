//! The words a configuration describes a framing with, for example `be2`, `be2-zero2+visa22`,
//! `ascii4-inclusive+header:ISO70100000+trailer:03`.
//!
//! First the length form, then modifiers, each once. Everything is checked here, so that the codec has nothing left to
//! refuse but the peer's bytes.

use std::fmt;
use std::str::FromStr;

use super::header::{Header, HeaderRule};
use super::prefix::{FORMS, Prefix};

/// One framing, as configured. `Copy`: every connection has its own.
#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Framing {
    pub(super) prefix: Prefix,
    pub(super) header: HeaderRule,
    pub(super) trailer: Option<u8>,
}

/// Why a text is no framing. Every form says what is allowed instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// The first word is no length form.
    #[error(
        "framing: no length form `{0}`; allowed: ascii1 to ascii6, bcd4, be2, be2-zero2, be3, be4, hex4, le2, le4, \
         rbp, zero2-be2, each also with -inclusive when the length counts itself"
    )]
    Length(String),
    /// A word after `+` is no modifier.
    #[error(
        "framing: no modifier `{0}`; allowed: tpdu, tpdu-kept, tpdu:6000010002, visa22, visa22:DDDDDDSSSSSS, \
         header:TEXT, header:0xHEX, header-any:TEXT, trailer:HH"
    )]
    Modifier(String),
    /// A second header or a second trailer.
    #[error(
        "framing: `{0}` comes after another header or trailer; allowed: one header, then one trailer"
    )]
    Second(String),
    /// A modifier's value has the wrong form.
    #[error("framing: `{modifier}` needs {needs}")]
    Value {
        /// The modifier.
        modifier: String,
        /// What its value has to be.
        needs: &'static str,
    },
}

/// Longest constant header.
const CONSTANT_BYTES_MAX: usize = 24;
/// The TPDU of our own requests where none is configured: id 60, both addresses zero.
const TPDU: [u8; 5] = [0x60, 0, 0, 0, 0];

impl Framing {
    /// Two bytes big-endian, nothing else: the most common one.
    pub const BE2: Self = Self { prefix: Prefix::BE2, header: HeaderRule::None, trailer: None };
}

impl FromStr for Framing {
    type Err = FramingError;

    fn from_str(text: &str) -> Result<Self, FramingError> {
        let mut words = text.split('+');
        let form = words.next().unwrap_or_default();
        let (name, inclusive) = match form.strip_suffix("-inclusive") {
            Some(name) => (name, true),
            None => (form, false),
        };
        let prefix = FORMS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, prefix)| Prefix { inclusive, ..*prefix })
            .ok_or_else(|| FramingError::Length(form.to_owned()))?;
        let mut framing = Self { prefix, header: HeaderRule::None, trailer: None };
        for word in words {
            framing.modify(word)?;
        }
        let min = framing.header.bytes_min() + usize::from(framing.trailer.is_some());
        if framing.prefix.body_max() <= min {
            return Err(FramingError::Value {
                modifier: text.to_owned(),
                needs: "a length that can count more than header and trailer",
            });
        }
        Ok(framing)
    }
}

impl Framing {
    fn modify(&mut self, word: &str) -> Result<(), FramingError> {
        let (name, value) = match word.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let needs = |needs| FramingError::Value { modifier: word.to_owned(), needs };
        let header = match (name, value) {
            ("tpdu", None) => HeaderRule::Tpdu { own: TPDU, swap: true },
            ("tpdu-kept", None) => HeaderRule::Tpdu { own: TPDU, swap: false },
            ("tpdu" | "tpdu-kept", Some(hex)) => HeaderRule::Tpdu {
                own: fixed(hex).ok_or_else(|| needs("ten hex digits"))?,
                swap: name == "tpdu",
            },
            ("visa22", None) => HeaderRule::Visa { destination: [0; 3], source: [0; 3] },
            ("visa22", Some(digits)) => {
                let [d1, d2, d3, s1, s2, s3] = fixed(digits)
                    .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
                    .ok_or_else(|| needs("twelve digits: destination, source"))?;
                HeaderRule::Visa { destination: [d1, d2, d3], source: [s1, s2, s3] }
            }
            ("header" | "header-any", Some(value)) => HeaderRule::Constant {
                own: constant(value).ok_or_else(|| {
                    needs("1 to 24 printable characters without +, or 0x and hex")
                })?,
                exact: name == "header",
            },
            ("trailer", Some(hex)) => {
                let [byte] = fixed(hex).ok_or_else(|| needs("two hex digits"))?;
                if self.trailer.replace(byte).is_some() {
                    return Err(FramingError::Second(word.to_owned()));
                }
                return Ok(());
            }
            _ => return Err(FramingError::Modifier(word.to_owned())),
        };
        if self.header != HeaderRule::None || self.trailer.is_some() {
            return Err(FramingError::Second(word.to_owned()));
        }
        self.header = header;
        Ok(())
    }
}

fn fixed<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

fn constant(value: &str) -> Option<Header> {
    let bytes = match value.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).ok()?,
        None if value.bytes().all(|b| b.is_ascii_graphic() || b == b' ') => value.into(),
        None => return None,
    };
    let allowed = (1..=CONSTANT_BYTES_MAX).contains(&bytes.len());
    if allowed { Header::new(&bytes) } else { None }
}

impl TryFrom<String> for Framing {
    type Error = FramingError;

    fn try_from(text: String) -> Result<Self, FramingError> {
        text.parse()
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Prefix { inclusive: false, ..self.prefix };
        let name = FORMS.iter().find(|(_, known)| *known == plain).map_or("?", |(name, _)| name);
        f.write_str(name)?;
        if self.prefix.inclusive {
            f.write_str("-inclusive")?;
        }
        match &self.header {
            HeaderRule::None => (),
            HeaderRule::Constant { own, exact } => {
                let name = if *exact { "header" } else { "header-any" };
                write!(f, "+{name}:0x{}", hex::encode_upper(own.as_bytes()))?;
            }
            HeaderRule::Tpdu { own, swap } => {
                let name = if *swap { "tpdu" } else { "tpdu-kept" };
                write!(f, "+{name}:{}", hex::encode(own))?;
            }
            HeaderRule::Visa { destination, source } => {
                write!(f, "+visa22:{}{}", hex::encode(destination), hex::encode(source))?;
            }
        }
        self.trailer.map_or(Ok(()), |byte| write!(f, "+trailer:{byte:02X}"))
    }
}

impl fmt::Debug for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Framing({self})")
    }
}
