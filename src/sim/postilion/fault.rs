//! Faults on command: which ones a node has been told to have, and the dice that say when.
//!
//! What happens to a request follows from the seed, the request's own name and how often it has come: the same seed
//! gives the same request the same fault, in whatever order and at whichever node requests come. Session messages have
//! no such name: each throws the dice of its node. **Never here:** doing a fault (`turn`, `connection`).

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::limits::{SIM_ATTEMPTS_MAX, SIM_HELD_MS_MAX};
use crate::sim::postilion::event::Code;
use crate::sim::postilion::word::Word;

/// What a node can be told to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// Processed at once, answered after `ms`.
    AnswerLate,
    /// Processed, then the connection is closed without an answer.
    CloseAfter,
    /// Read, thrown away, the connection closed.
    CloseBefore,
    /// Processed and answered after `ms`.
    Delay,
    /// Processed, never answered.
    DropAnswer,
    /// Answered twice.
    DuplicateAnswer,
    /// Not processed, answered with `code`, not remembered.
    FixedCode,
    /// Processed, answered with bytes that are no frame.
    GarbageBytes,
    /// Processed, answered with a frame that holds no message.
    GarbageFrame,
    /// Sign-on is answered 91. Only `share` counts.
    RefuseSignOn,
    /// Answered byte by byte over `ms`; nothing else moves on the connection meanwhile.
    SlowBytes,
    /// A new key is handed out with a wrong check value, and is not accepted afterwards. Only `share` counts.
    WrongCheckValue,
    /// Processed, answered with another DE 11.
    WrongStan,
}

impl FaultKind {
    /// Those that hit a session message instead of a request.
    fn is_of_the_session(self) -> bool {
        matches!(self, Self::RefuseSignOn | Self::WrongCheckValue)
    }

    /// Name as in JSON.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::AnswerLate => "answer_late",
            Self::CloseAfter => "close_after",
            Self::CloseBefore => "close_before",
            Self::Delay => "delay",
            Self::DropAnswer => "drop_answer",
            Self::DuplicateAnswer => "duplicate_answer",
            Self::FixedCode => "fixed_code",
            Self::GarbageBytes => "garbage_bytes",
            Self::GarbageFrame => "garbage_frame",
            Self::RefuseSignOn => "refuse_sign_on",
            Self::SlowBytes => "slow_bytes",
            Self::WrongCheckValue => "wrong_check_value",
            Self::WrongStan => "wrong_stan",
        }
    }
}

/// How often one fault happens, and what it needs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultRule {
    /// Share of requests, 0 to 1.
    pub share: f64,
    /// Share of reversals, 0 to 1.
    pub reversals: f64,
    /// Milliseconds, where the fault takes time.
    pub ms: u64,
    /// Response code of two characters, for `fixed_code`.
    pub code: Option<String>,
}

/// What nodes are told at the admin port. The default clears everything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultRules {
    /// Which node, from 1; every node if not given.
    pub node: Option<usize>,
    /// Starts the dice again from here.
    pub seed: Option<u64>,
    /// Requests a node can process in a second; the others queue behind. No bound if not given.
    pub capacity: Option<u32>,
    /// The faults.
    pub faults: BTreeMap<FaultKind, FaultRule>,
}

/// Why rules are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// No such capacity.
    #[error("capacity: 1 to 1000000 requests a second, or leave it out")]
    Capacity,
    /// `fixed_code` without a code.
    #[error("{fault}: `code` takes two letters or digits")]
    Code {
        /// The fault.
        fault: &'static str,
    },
    /// No such node.
    #[error("no node {node}: there are {nodes}, counted from 1")]
    Node {
        /// What was asked for.
        node: usize,
        /// How many there are.
        nodes: usize,
    },
    /// A share is none.
    #[error("{fault}: a share is a number from 0 to 1")]
    Share {
        /// The fault.
        fault: &'static str,
    },
    /// A request can have one fault.
    #[error("the shares of all faults together are more than 1: a request has one fault at most")]
    Sum,
    /// It would take too long.
    #[error("{fault}: at most {SIM_HELD_MS_MAX} ms")]
    TooLong {
        /// The fault.
        fault: &'static str,
    },
}

impl FaultRules {
    /// Checks shares, times, codes.
    ///
    /// # Errors
    /// [`FaultError`] names the fault and the rule.
    pub(super) fn check(&self) -> Result<(), FaultError> {
        if self.capacity.is_some_and(|capacity| !(1..=1_000_000).contains(&capacity)) {
            return Err(FaultError::Capacity);
        }
        let mut sums = [0.0; 2];
        for (kind, rule) in &self.faults {
            let fault = kind.label();
            if [rule.share, rule.reversals].iter().any(|share| !(0.0..=1.0).contains(share)) {
                return Err(FaultError::Share { fault });
            }
            if SIM_HELD_MS_MAX < rule.ms {
                return Err(FaultError::TooLong { fault });
            }
            if *kind == FaultKind::FixedCode && rule.fixed_code().is_none() {
                return Err(FaultError::Code { fault });
            }
            if !kind.is_of_the_session() {
                sums[0] += rule.share;
                sums[1] += rule.reversals;
            }
        }
        // Ten shares of 0.1 add up to a hair more than 1.
        if sums.iter().any(|sum| 1.000_001 < *sum) { Err(FaultError::Sum) } else { Ok(()) }
    }
}

impl FaultRule {
    fn fixed_code(&self) -> Option<Code> {
        let code = self.code.as_ref().filter(|code| code.len() == 2)?;
        let plain = code.bytes().all(|b| b.is_ascii_alphanumeric());
        Word::new(code.as_bytes()).filter(|_| plain).map(Code)
    }
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) ms: u64,
    pub(super) code: Code,
    /// For whatever else has to be random.
    pub(super) noise: u64,
}

/// splitmix64, of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice of one node; `stream` keeps several apart.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        dice.throw();
        dice
    }

    /// The next 64 bits.
    pub(super) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// A number from 0 to just below 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
fn fraction(throw: u64) -> f64 {
    (throw >> 11) as f64 / (1_u64 << 53) as f64
}

/// Which request, as far as chance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Named {
    /// A digest of what names it, the same each time it comes.
    pub(super) name: u64,
    pub(super) is_reversal: bool,
}

/// How often each request has come, so that a repeat has a fate of its own.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<Named, u64>);

impl Attempts {
    /// How often this one has come before, and that it has come once more.
    pub(super) fn next(&mut self, request: Named) -> u64 {
        if SIM_ATTEMPTS_MAX <= self.0.len() {
            self.0.clear();
        }
        let count = self.0.entry(request).or_default();
        *count += 1;
        *count - 1
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The rules of one node with their dice.
#[derive(Debug)]
pub(super) struct Chance {
    rules: Vec<(FaultKind, FaultRule, Code)>,
    seed: u64,
    session: Dice,
    stream: u64,
}

impl Chance {
    /// No faults; the dice of node `number`.
    pub(super) fn new(seed: u64, number: usize) -> Self {
        let stream = 2 * u64::try_from(number).unwrap_or(0);
        Self { rules: Vec::new(), seed, session: Dice::new(seed, stream + 1), stream }
    }

    /// Takes rules that were checked.
    pub(super) fn set(&mut self, rules: &FaultRules) {
        let known = |(kind, rule): (&FaultKind, &FaultRule)| {
            (*kind, rule.clone(), rule.fixed_code().unwrap_or(Code::UNAVAILABLE))
        };
        self.rules = rules.faults.iter().map(known).collect();
        if let Some(seed) = rules.seed {
            self.seed = seed;
            self.session = Dice::new(seed, self.stream + 1);
        }
    }

    /// Whether requests can be hit at all.
    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// What happens to this request, which has come `before` times before.
    pub(super) fn of_request(&self, request: Named, before: u64) -> Option<Fault> {
        let Named { name, is_reversal } = request;
        let own = Dice::new(name, 2 * before + u64::from(is_reversal)).throw();
        let noise = Dice::new(self.seed, own).throw();
        let mut left = fraction(noise);
        for (kind, rule, code) in &self.rules {
            if kind.is_of_the_session() {
                continue;
            }
            let share = if is_reversal { rule.reversals } else { rule.share };
            if left < share {
                return Some(Fault { kind: *kind, ms: rule.ms, code: *code, noise });
            }
            left -= share;
        }
        None
    }

    /// Whether the next session message is hit by `kind`.
    pub(super) fn of_session(&mut self, kind: FaultKind) -> bool {
        let at = fraction(self.session.throw());
        self.rules.iter().any(|(known, rule, _)| *known == kind && at < rule.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> FaultRules {
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn check(json: &str, want: &Result<(), FaultError>) {
        assert_eq!(&rules(json).check(), want, "{json}");
    }

    #[test]
    fn rules_are_checked() {
        check("{}", &Ok(()));
        check(r#"{"faults":{"delay":{"share":1,"reversals":1,"ms":5}},"capacity":5}"#, &Ok(()));
        check(r#"{"capacity":0}"#, &Err(FaultError::Capacity));
        let delay = "delay";
        let share = Err(FaultError::Share { fault: delay });
        check(r#"{"faults":{"delay":{"share":1.5}}}"#, &share);
        check(r#"{"faults":{"delay":{"reversals":-0.1}}}"#, &share);
        let long = Err(FaultError::TooLong { fault: delay });
        check(r#"{"faults":{"delay":{"ms":600001}}}"#, &long);
        let code = Err(FaultError::Code { fault: "fixed_code" });
        check(r#"{"faults":{"fixed_code":{"share":1}}}"#, &code);
        check(r#"{"faults":{"fixed_code":{"share":1,"code":"C1X"}}}"#, &code);
        let two = r#"{"faults":{"delay":{"share":0.6},"drop_answer":{"share":0.6}}}"#;
        check(two, &Err(FaultError::Sum));
        assert!(serde_json::from_str::<FaultRules>(r#"{"fault":{}}"#).is_err());
        assert!(serde_json::from_str::<FaultRules>(r#"{"faults":{"explode":{}}}"#).is_err());
    }

    /// First throws of splitmix64 from state 0, as its authors' reference code gives them.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut dice = Dice(0);
        assert_eq!(dice.throw(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(dice.throw(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_the_shares_hold() {
        let told = rules(
            r#"{"seed":7,"faults":{"drop_answer":{"share":0.25,"reversals":0.75},
                "fixed_code":{"share":0.25,"code":"C1"},"refuse_sign_on":{"share":1}}}"#,
        );
        let run = |number, attempt, order: &[u64]| {
            let mut chance = Chance::new(1, number);
            chance.set(&told);
            let of = |name: &u64| {
                let request = Named { name: *name, is_reversal: name % 4 == 3 };
                (*name, chance.of_request(request, attempt).map(|fault| fault.kind))
            };
            order.iter().map(of).collect::<BTreeMap<_, _>>().into_values().collect::<Vec<_>>()
        };
        let forth: Vec<u64> = (0..4000).collect();
        let back: Vec<u64> = (0..4000).rev().collect();
        let first = run(1, 0, &forth);
        assert_eq!(first, run(1, 0, &back), "the order of requests is nothing");
        assert_eq!(first, run(2, 0, &forth), "nor is the node they come to");
        assert_ne!(first, run(1, 1, &forth), "a repeat has a fate of its own");
        let count = |kind, reversals: bool| {
            let hit = |(at, got): &(usize, &Option<FaultKind>)| {
                (at % 4 == 3) == reversals && **got == Some(kind)
            };
            first.iter().enumerate().filter(hit).count()
        };
        for (kind, reversals, want) in [
            (FaultKind::DropAnswer, false, 750_usize),
            (FaultKind::DropAnswer, true, 750),
            (FaultKind::FixedCode, false, 750),
            (FaultKind::FixedCode, true, 0),
        ] {
            let got = count(kind, reversals);
            // Five standard deviations of such a draw are under 120.
            assert!(got.abs_diff(want) < 120, "{kind:?} {reversals}: {got}");
        }
    }

    #[test]
    fn session_faults_do_not_move_the_others() {
        let told =
            rules(r#"{"faults":{"delay":{"share":0.5,"ms":1},"refuse_sign_on":{"share":1}}}"#);
        let mut one = Chance::new(3, 1);
        let mut other = Chance::new(3, 1);
        assert!(!one.has_rules());
        one.set(&told);
        other.set(&told);
        assert!(one.has_rules());
        for name in 0..100 {
            assert!(one.of_session(FaultKind::RefuseSignOn));
            assert!(!one.of_session(FaultKind::WrongCheckValue));
            let request = Named { name, is_reversal: false };
            assert_eq!(one.of_request(request, 0), other.of_request(request, 0));
        }
    }

    #[test]
    fn attempts_are_counted_for_each_request() {
        let mut attempts = Attempts::default();
        let named = |name, is_reversal| Named { name, is_reversal };
        let asked = [named(1, false), named(1, false), named(1, true), named(2, false)];
        assert_eq!(asked.map(|request| attempts.next(request)), [0, 1, 0, 0]);
        attempts.clear();
        assert_eq!(attempts.next(named(1, false)), 0);
    }
}
