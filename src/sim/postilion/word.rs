//! Short texts inline: names, numbers and codes as messages carry them, without a string each.
//!
//! They are written to the simulator's file and shown at its admin port as they are, because all of it is test data;
//! `Debug` shows their length only. **Never here:** what a word means.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

/// Up to `N` characters of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Word<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Word<N> {
    /// No characters.
    pub(super) const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    /// Characters that fill it.
    pub(super) const fn full(bytes: [u8; N]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "words have at most 42 characters")]
        let len = N as u8;
        Self { bytes, len }
    }

    /// Copies ASCII, if it fits.
    pub(super) fn new(ascii: &[u8]) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..ascii.len())?.copy_from_slice(ascii);
        let len = u8::try_from(ascii.len()).ok().filter(|_| ascii.is_ascii())?;
        Some(Self { bytes, len })
    }

    /// The characters.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The characters as text.
    pub(super) fn as_str(&self) -> &str {
        // ASCII, so this never falls back.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> fmt::Debug for Word<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word of {}", self.len)
    }
}

impl<const N: usize> Serialize for Word<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, const N: usize> Deserialize<'de> for Word<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text.as_bytes()).ok_or_else(|| D::Error::custom("too long, or not ASCII"))
    }
}
