//! [`Terms`]: what binds a key beyond its type: whether it may be passed on, and its one MAC algorithm.
//!
//! They come from the key block a key arrived in, or from whoever made it, and the seal of the key file covers them.
//! **Never here:** the key.

use std::fmt;
use std::str::FromStr;

use crate::hsm::key::{Algorithm, KeyType};

/// How a MAC is made. It belongs to the key, so that no key serves two algorithms (TR-31 usages M3 and M6 say the
/// same).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MacMethod {
    /// CMAC (NIST SP 800-38B; ISO 9797-1 algorithm 5).
    Cmac,
    /// ISO 9797-1 algorithm 3, padding method 1 (ANSI X9.19).
    Retail,
    /// ISO 9797-1 algorithm 3, padding method 2.
    Retail2,
}

/// Every method with its name in files and on the command line.
const METHODS: &[(MacMethod, &str)] =
    &[(MacMethod::Cmac, "cmac"), (MacMethod::Retail, "x9.19"), (MacMethod::Retail2, "x9.19-pad2")];

impl MacMethod {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        METHODS.iter().find(|(m, _)| *m == self).map_or("", |(_, name)| *name)
    }

    /// The one a key has unless it is told otherwise.
    #[must_use]
    pub const fn usual(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Aes | Algorithm::Hmac | Algorithm::Rsa => Self::Cmac,
            Algorithm::Tdes => Self::Retail,
        }
    }

    /// Whether keys of that algorithm can do it.
    #[must_use]
    pub const fn goes_with(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Cmac => matches!(algorithm, Algorithm::Aes | Algorithm::Tdes),
            Self::Retail | Self::Retail2 => matches!(algorithm, Algorithm::Tdes),
        }
    }
}

impl fmt::Display for MacMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MacMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = METHODS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        let unknown = || format!("MAC method {text:?} unknown: one of cmac, x9.19, x9.19-pad2");
        found.map(|(m, _)| *m).ok_or_else(unknown)
    }
}

/// What binds a key beyond its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// It came, or was made, with the order never to be passed on.
    pub never_exported: bool,
    /// Its MAC algorithm, where it is not [`MacMethod::usual`].
    pub mac: Option<MacMethod>,
}

impl Terms {
    /// Whether a key of that type and algorithm can have them.
    #[must_use]
    pub fn go_with(self, key_type: KeyType, algorithm: Algorithm) -> bool {
        let can = |method: MacMethod| key_type == KeyType::Zak && method.goes_with(algorithm);
        self.mac.is_none_or(can)
    }
}
