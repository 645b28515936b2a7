//! What leaves for a host beyond us: [`Details`] of the request, and [`Forwarded`], the part that outlives a crash.
//!
//! A reversal is made from the journal alone, so what it repeats of the original is kept there. **Never here:** PIN
//! blocks (none is kept after the transaction), message elements as bytes (`host` writes them).

use std::fmt;
use std::ops::RangeInclusive;

use crate::domain::clock::WallMillis;
use crate::domain::pan::SealedPan;
use crate::domain::request::{Tag, Text};

/// Number of a node beyond us, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u16);

impl HostId {
    /// Every number.
    pub const ALL: RangeInclusive<Self> = Self(0)..=Self(u16::MAX);
}

/// A trace number of our own (DE 11), 1 to 999999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stan(pub u32);

impl Stan {
    /// The largest of six digits; 1 follows it.
    pub const MAX: Self = Self(999_999);

    /// Six digits.
    #[must_use]
    pub fn digits(self) -> [u8; 6] {
        let mut rest = self.0 % 1_000_000;
        let mut digits = [b'0'; 6];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10).to_le_bytes()[0];
            rest /= 10;
        }
        digits
    }
}

/// Standard elements of a request that a host is told unchanged. Every one may be absent.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Details {
    /// Account types: digits 3 to 6 of DE 3. Absent: `0000`.
    pub account_types: Option<[u8; 4]>,
    /// Expiry, YYMM (DE 14).
    pub expiry: Option<[u8; 4]>,
    /// Local time, hhmmss (DE 12 of 1987).
    pub time: Option<[u8; 6]>,
    /// Local date, MMDD (DE 13 of 1987).
    pub date: Option<[u8; 4]>,
    /// Point-of-service entry mode (DE 22 of 1987).
    pub entry_mode: Option<[u8; 3]>,
    /// Point-of-service condition (DE 25 of 1987).
    pub condition: Option<[u8; 2]>,
    /// Currency (DE 49).
    pub currency: Option<[u8; 3]>,
    /// Acquiring institution (DE 32).
    pub acquirer: Tag,
    /// Card acceptor (DE 42).
    pub acceptor: Tag,
    /// Account identifications (DE 102, 103).
    pub accounts: [Text<28>; 2],
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Accounts are the cardholder's: they are not for logs.
        f.debug_struct("Details")
            .field("account_types", &self.account_types)
            .field("acquirer", &self.acquirer)
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}

/// What was sent to a host, or is about to be: enough to reverse it after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The node it was meant for. Another one may have got it, if nothing had been sent to this one.
    pub host: HostId,
    /// Trace number at the host.
    pub stan: Stan,
    /// Transmission time at the host (DE 7, UTC).
    pub transmitted: WallMillis,
    /// The card's number.
    pub pan: SealedPan,
    /// The card's sequence number (DE 23).
    pub sequence: Option<u16>,
    /// Receiving institution (DE 100).
    pub institution: Tag,
    /// The other elements a reversal repeats.
    pub details: Details,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_number_has_six_digits() {
        assert_eq!(&Stan(1).digits(), b"000001");
        assert_eq!(&Stan::MAX.digits(), b"999999");
        assert_eq!(&Stan(12_340).digits(), b"012340");
    }
}
