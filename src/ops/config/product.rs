//! `[[product]]`: the rules of one kind of card, as the file has them, checked into a [`Product`].
//!
//! The file is flat; what comes out cannot contradict itself: each [`PinMethod`] carries exactly the parameters it
//! needs. **Never here:** keys. Their names are resolved when the runtime is built.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::card::record::ProductKey;
use crate::domain::pin::PinRules;
use crate::limits;
use crate::ops::config::check::within;
use crate::ops::config::script::{self, IssuerScript};
use crate::ops::config::source::{ConfigError, Source};
use crate::route::Route;

/// One card product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its name.
    pub name: String,
    /// Digits its card numbers begin with.
    pub bin: String,
    /// Organization and logo.
    pub key: ProductKey,
    /// Has a chip.
    pub chip: bool,
    /// What tells its chips of a new PIN.
    pub issuer_script: Option<IssuerScript>,
    /// How its PINs are verified.
    pub method: PinMethod,
    /// What a new PIN must be.
    pub rules: PinRules,
    /// Wrong PINs in a row before the card refuses.
    pub tries_max: u8,
    /// Changes a day, or no bound.
    pub changes_per_day_max: Option<u8>,
    /// Where its requests go where no `[[route]]` decides.
    pub route: Route,
    /// PINs may be set without the current one.
    pub allow_set: bool,
    /// Keeps a PIN that can be revealed.
    pub recoverable: bool,
}

/// How PINs of a product are verified, with the names of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinMethod {
    /// IBM 3624 offset.
    Ibm3624 {
        /// Name of the PIN verification key.
        pvk: String,
        /// Sixteen ASCII digits.
        decimalization_table: [u8; 16],
        /// Which digits of the PAN are the validation data.
        validation: Validation,
    },
    /// Comparison with the PIN kept under the LMK.
    LmkPin,
    /// Visa PVV.
    VisaPvv {
        /// Name of the PIN verification key pair.
        pvk: String,
        /// Its index, 0 to 6.
        pvki: u8,
    },
}

/// Digits of the PAN that are the validation data of IBM 3624.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// First digit, from 0.
    pub start: u8,
    /// How many.
    pub length: u8,
    /// Hex digit that fills them up to 16.
    pub pad: char,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    name: String,
    bin: String,
    organization: u16,
    logo: u16,
    #[serde(default)]
    chip: bool,
    issuer_script: Option<script::Text>,
    pin_method: MethodName,
    pvk: Option<String>,
    pvki: Option<u8>,
    decimalization_table: Option<String>,
    validation: Option<Validation>,
    #[serde(default = "pin_lengths")]
    pin_lengths: Vec<u8>,
    #[serde(default = "all_rules")]
    new_pin_rules: Vec<NewPinRule>,
    #[serde(default)]
    refused_pins: Vec<String>,
    #[serde(default = "tries_max")]
    tries_max: u8,
    changes_per_day: Option<u8>,
    route: Route,
    #[serde(default)]
    allow_set: bool,
    #[serde(default)]
    recoverable: bool,
}

#[derive(Clone, Copy, Deserialize)]
enum MethodName {
    #[serde(rename = "visa-pvv")]
    VisaPvv,
    #[serde(rename = "ibm-3624")]
    Ibm3624,
    #[serde(rename = "lmk-pin")]
    LmkPin,
}

#[derive(Clone, Copy, Deserialize)]
enum NewPinRule {
    #[serde(rename = "not-one-digit-repeated")]
    OneDigitRepeated,
    #[serde(rename = "not-a-run-up-or-down")]
    Run,
    #[serde(rename = "not-the-current-pin")]
    Current,
}

impl Text {
    /// Checks the table at `at` (`product[0]`).
    pub(super) fn check(self, source: &Source, at: &str) -> Result<Product, ConfigError> {
        let key = |name: &str| format!("{at}.{name}");
        if !(4..=12).contains(&self.bin.len()) || !is_digits(&self.bin) {
            return Err(source.error(&key("bin"), "4 to 12 digits, as text"));
        }
        within(source, &key("organization"), self.organization, 0..=998)?;
        within(source, &key("logo"), self.logo, 0..=999)?;
        within(source, &key("tries_max"), self.tries_max, 1..=limits::PIN_TRIES_MAX)?;
        if let Some(changes) = self.changes_per_day {
            within(source, &key("changes_per_day"), changes, 1..=u8::MAX)?;
        }
        if self.recoverable && !matches!(self.pin_method, MethodName::LmkPin) {
            let reason = "only with pin_method = \"lmk-pin\": the others keep nothing to reveal";
            return Err(source.error(&key("recoverable"), reason));
        }
        let method = self.method(source, at)?;
        let (chip, at_script) = (self.chip, key("issuer_script"));
        let rules = self.rules(source, at)?;
        Ok(Product {
            name: self.name,
            bin: self.bin,
            key: ProductKey { organization: self.organization, logo: self.logo },
            chip,
            issuer_script: match self.issuer_script {
                Some(text) => Some(text.check(chip, source, &at_script)?),
                None => None,
            },
            method,
            rules,
            tries_max: self.tries_max,
            changes_per_day_max: self.changes_per_day,
            route: self.route,
            allow_set: self.allow_set,
            recoverable: self.recoverable,
        })
    }

    fn method(&self, source: &Source, at: &str) -> Result<PinMethod, ConfigError> {
        let (wants, method): (&[&str], &str) = match self.pin_method {
            MethodName::VisaPvv => (&["pvk", "pvki"], "visa-pvv"),
            MethodName::Ibm3624 => (&["pvk", "decimalization_table", "validation"], "ibm-3624"),
            MethodName::LmkPin => (&[], "lmk-pin"),
        };
        let given = [
            ("pvk", self.pvk.is_some()),
            ("pvki", self.pvki.is_some()),
            ("decimalization_table", self.decimalization_table.is_some()),
            ("validation", self.validation.is_some()),
        ];
        for (name, given) in given {
            let key = format!("{at}.{name}");
            match (wants.contains(&name), given) {
                (true, false) => {
                    return Err(source.error(&key, format!("missing: {method} needs it")));
                }
                (false, true) => {
                    return Err(source.error(&key, format!("has no meaning with {method}")));
                }
                (true, true) | (false, false) => {}
            }
        }
        let pvk = self.pvk.clone().unwrap_or_default();
        Ok(match self.pin_method {
            MethodName::LmkPin => PinMethod::LmkPin,
            MethodName::VisaPvv => {
                let pvki = self.pvki.unwrap_or_default();
                within(source, &format!("{at}.pvki"), pvki, 0..=6)?;
                PinMethod::VisaPvv { pvk, pvki }
            }
            MethodName::Ibm3624 => PinMethod::Ibm3624 {
                pvk,
                decimalization_table: self.table(source, at)?,
                validation: self.validation(source, at)?,
            },
        })
    }

    fn table(&self, source: &Source, at: &str) -> Result<[u8; 16], ConfigError> {
        let text = self.decimalization_table.as_deref().unwrap_or_default();
        let digits = <[u8; 16]>::try_from(text.as_bytes()).ok().filter(|_| is_digits(text));
        digits.ok_or_else(|| {
            source.error(&format!("{at}.decimalization_table"), "sixteen decimal digits, as text")
        })
    }

    fn validation(&self, source: &Source, at: &str) -> Result<Validation, ConfigError> {
        let at = format!("{at}.validation");
        let Some(validation) = self.validation else {
            return Err(source.error(&at, "missing"));
        };
        within(source, &format!("{at}.length"), validation.length, 1..=16)?;
        // A PAN has 19 digits at most, and its check digit is no validation data.
        let start_max = 18 - validation.length;
        within(source, &format!("{at}.start"), validation.start, 0..=start_max)?;
        if !validation.pad.is_ascii_digit() && !('A'..='F').contains(&validation.pad) {
            return Err(source.error(&format!("{at}.pad"), "one hex digit, 0 to 9 or A to F"));
        }
        Ok(validation)
    }

    fn rules(&self, source: &Source, at: &str) -> Result<PinRules, ConfigError> {
        let mut rules = PinRules::default();
        if self.pin_lengths.is_empty() {
            return Err(source.error(&format!("{at}.pin_lengths"), "at least one length"));
        }
        for (index, length) in self.pin_lengths.iter().enumerate() {
            let key = format!("{at}.pin_lengths[{index}]");
            let range = limits::PIN_DIGITS_MIN..=limits::PIN_DIGITS_MAX;
            within(source, &key, usize::from(*length), range)?;
            rules.lengths |= 1 << length;
        }
        for rule in &self.new_pin_rules {
            match rule {
                NewPinRule::OneDigitRepeated => rules.not_one_digit_repeated = true,
                NewPinRule::Run => rules.not_a_run = true,
                NewPinRule::Current => rules.not_the_current = true,
            }
        }
        let key = format!("{at}.refused_pins");
        within(source, &key, self.refused_pins.len(), 0..=limits::REFUSED_PINS_MAX)?;
        for (index, pin) in self.refused_pins.iter().enumerate() {
            // The reason does not repeat the value: this list tells what customers like to choose.
            if !is_digits(pin) || !rules.allows_length(pin.len()) {
                let reason = "digits only, of a length that pin_lengths allows";
                return Err(source.error(&format!("{key}[{index}]"), reason));
            }
        }
        let refused: BTreeSet<_> =
            self.refused_pins.iter().map(|p| Box::from(p.as_bytes())).collect();
        rules.refused = refused.into_iter().collect();
        Ok(rules)
    }
}

pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn pin_lengths() -> Vec<u8> {
    vec![4]
}
fn all_rules() -> Vec<NewPinRule> {
    vec![NewPinRule::OneDigitRepeated, NewPinRule::Run, NewPinRule::Current]
}
fn tries_max() -> u8 {
    3
}
