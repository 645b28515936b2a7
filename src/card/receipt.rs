//! [`Receipt`]: proof that something is durable. Only the stores of `card` can make one.

/// Proof that one request's result survives `kill -9`. An approval needs it (design.md rule 1).
///
/// Nobody outside the stores can mint one:
///
/// ```compile_fail
/// let forged = pinion::card::Receipt { sequence: 1 };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an approval needs this"]
pub struct Receipt {
    sequence: u64,
}

impl Receipt {
    /// For the stores, after their sync returned.
    pub(in crate::card) fn mint(sequence: u64) -> Self {
        Self { sequence }
    }

    /// Position in the journal.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.sequence
    }
}
