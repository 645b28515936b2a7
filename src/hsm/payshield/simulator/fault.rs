//! Faults on command: what a simulated device does wrong with an answer, and the dice that say when.
//!
//! The same seed and the same order of commands give the same faults. **Never here:** doing a fault (`server`).

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use crate::hsm::payshield::simulator::random::mixed;
use crate::hsm::payshield::wire::ErrorCode;
use crate::limits::SIM_HELD_MS_MAX;

/// What can be told. The default clears everything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultRules {
    /// Starts the dice again from here.
    pub seed: Option<u64>,
    /// Milliseconds every answer is held back. Answers held back overtake each other.
    pub latency_ms: u64,
    /// Share of commands that are answered late by up to `reorder_ms` more, so that later ones overtake them: 0 to 1.
    pub reorder: f64,
    /// The longest such time.
    pub reorder_ms: u64,
    /// Share of commands that are never answered: 0 to 1.
    pub loss: f64,
    /// Share of commands after which the connection is closed without an answer: 0 to 1.
    pub close: f64,
    /// Answers are written one byte at a time.
    pub partial: bool,
    /// Milliseconds answers are gathered, to be written at once.
    pub gather_ms: u64,
    /// Codes of commands and the error each is answered with, instead of being done. `*` is any command.
    pub errors: BTreeMap<String, String>,
}

/// Why rules are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// Not a command, or not a code.
    #[error(
        "errors: a command of two characters, or `*`, and an error of two letters or digits: CA=41"
    )]
    Code,
    /// A share is none.
    #[error("{field}: a share is a number from 0 to 1, and all together are at most 1")]
    Share {
        /// Which.
        field: &'static str,
    },
    /// It would take too long.
    #[error("{field}: at most {SIM_HELD_MS_MAX} ms")]
    TooLong {
        /// Which.
        field: &'static str,
    },
}

impl FaultRules {
    /// Checks shares, times and codes.
    ///
    /// # Errors
    /// [`FaultError`] names the field.
    pub fn check(&self) -> Result<(), FaultError> {
        for (field, share) in
            [("loss", self.loss), ("close", self.close), ("reorder", self.reorder)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(FaultError::Share { field });
            }
        }
        if 1.000_001 < self.loss + self.close + self.reorder {
            return Err(FaultError::Share { field: "loss, close and reorder" });
        }
        for (field, ms) in [
            ("latency_ms", self.latency_ms),
            ("reorder_ms", self.reorder_ms),
            ("gather_ms", self.gather_ms),
        ] {
            if SIM_HELD_MS_MAX < ms {
                return Err(FaultError::TooLong { field });
            }
        }
        let is_command = |text: &str| text == "*" || text.len() == 2;
        let is_code =
            |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if self.errors.iter().all(|(command, code)| is_command(command) && is_code(code)) {
            Ok(())
        } else {
            Err(FaultError::Code)
        }
    }
}

/// `CA=41` on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRule {
    /// Command, or `*`.
    pub command: String,
    /// Error.
    pub code: String,
}

impl FromStr for ErrorRule {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (command, code) = text.split_once('=').ok_or(FaultError::Code)?;
        Ok(Self { command: command.to_owned(), code: code.to_owned() })
    }
}

/// What happens to one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Answered with this code, and not done.
    pub(super) error: Option<ErrorCode>,
    /// Held back so long.
    pub(super) ms: u64,
    /// Never answered.
    pub(super) lost: bool,
    /// The connection ends.
    pub(super) closes: bool,
    /// One byte at a time.
    pub(super) partial: bool,
    /// Gathered with others for so long.
    pub(super) gather_ms: u64,
}

/// The rules with their dice.
#[derive(Debug)]
pub(super) struct Chance {
    rules: FaultRules,
    state: u64,
}

impl Chance {
    /// Rules that were checked.
    pub(super) fn new(rules: FaultRules, seed: u64) -> Self {
        Self { state: rules.seed.unwrap_or(seed), rules }
    }

    /// Other rules; the dice go on unless they bring a seed.
    pub(super) fn set(&mut self, rules: FaultRules) {
        self.state = rules.seed.unwrap_or(self.state);
        self.rules = rules;
    }

    /// splitmix64, of Steele, Lea and Flood (2014).
    fn throw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.state)
    }

    /// What happens to the next command.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    pub(super) fn next(&mut self, command: Option<[u8; 2]>) -> Fate {
        let thrown = self.throw();
        let at = (thrown >> 11) as f64 / (1_u64 << 53) as f64;
        let rules = &self.rules;
        let named = command.and_then(|code| rules.errors.get(str::from_utf8(&code).ok()?));
        let error = named
            .or_else(|| rules.errors.get("*"))
            .and_then(|code| code.as_bytes().try_into().ok());
        let late = rules.loss + rules.close <= at && at < rules.loss + rules.close + rules.reorder;
        let more = if late { thrown % (rules.reorder_ms + 1) } else { 0 };
        Fate {
            error: error.map(ErrorCode),
            ms: rules.latency_ms + more,
            lost: at < rules.loss,
            closes: rules.loss <= at && at < rules.loss + rules.close,
            partial: rules.partial,
            gather_ms: rules.gather_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, want: &Result<(), FaultError>) {
        assert_eq!(&serde_json::from_str::<FaultRules>(json).unwrap().check(), want, "{json}");
    }

    #[test]
    fn rules_are_checked() {
        check("{}", &Ok(()));
        check(
            r#"{"loss":0.5,"reorder":0.5,"reorder_ms":9,"errors":{"CA":"41","*":"A4"}}"#,
            &Ok(()),
        );
        check(r#"{"loss":1.5}"#, &Err(FaultError::Share { field: "loss" }));
        let sum = FaultError::Share { field: "loss, close and reorder" };
        check(r#"{"loss":0.6,"close":0.6}"#, &Err(sum));
        check(r#"{"latency_ms":600001}"#, &Err(FaultError::TooLong { field: "latency_ms" }));
        check(r#"{"errors":{"CAX":"41"}}"#, &Err(FaultError::Code));
        check(r#"{"errors":{"CA":"4"}}"#, &Err(FaultError::Code));
        assert_eq!("CA".parse::<ErrorRule>(), Err(FaultError::Code));
    }

    #[test]
    fn shares_hold_and_a_seed_repeats_itself() {
        let rules = FaultRules {
            loss: 0.25,
            close: 0.25,
            reorder: 0.25,
            reorder_ms: 9,
            ..FaultRules::default()
        };
        let run = |seed| {
            let mut chance = Chance::new(rules.clone(), seed);
            (0..4000).map(|_| chance.next(None)).collect::<Vec<_>>()
        };
        let first = run(7);
        assert_eq!(first, run(7));
        assert_ne!(first, run(8));
        let shares = [
            first.iter().filter(|fate| fate.lost).count(),
            first.iter().filter(|fate| fate.closes).count(),
            // One in ten of them is late by nothing.
            first.iter().filter(|fate| 0 < fate.ms).count() * 10 / 9,
        ];
        // Five standard deviations are under 150.
        assert!(shares.iter().all(|count| count.abs_diff(1000) < 150), "{shares:?}");
    }
}
