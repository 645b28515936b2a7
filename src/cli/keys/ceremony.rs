//! `pinion keys ceremony`: a key from the components of several custodians, with a record of who was there.
//!
//! Each custodian enters one component, sees its check value and compares it with the form. Nothing is kept before the
//! last one agreed: a ceremony that ends early leaves no key, no record and no file. **Never here:** a component or a
//! key on the screen or in the record; the rules a key must pass (`hsm::key`), how components make one
//! (`hsm::exchange`).

use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::keys::input::{prompt_for, read_file};
use crate::cli::keys::{Keys, KeysError, New, describe, parse_check_value, print, usual};
use crate::domain::clock::{Clock as _, SystemClock};
use crate::hsm::exchange::{ExchangeError, combine};
use crate::hsm::key::{Algorithm, ClearKey, check_value, set_odd_parity};
use crate::hsm::keyfile::KeyFileError;
use crate::limits::{CUSTODIAN_BYTES_MAX, CUSTODIANS_MAX};

#[derive(Debug, Args)]
pub(super) struct Ceremony {
    #[command(flatten)]
    new: New,
    /// Name of a custodian, in the order they enter their components. Two at least, three recommended.
    #[arg(long = "custodian", value_name = "NAME", required = true)]
    custodians: Vec<String>,
    /// A file with a custodian's component in hex (`-`: a line of standard input); one for each, or none.
    #[arg(long = "component", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Check value of the key as it was announced, six hex digits: another one ends the ceremony.
    #[arg(long, value_name = "HEX")]
    kcv: Option<String>,
    /// Append the record to this file, one line of JSON a ceremony.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// What one custodian entered.
struct Entered {
    bytes: Zeroizing<Vec<u8>>,
    shown: Value,
}

impl Keys {
    /// Runs a ceremony to its end, or leaves everything as it was.
    pub(super) fn ceremony(&self, ceremony: &Ceremony) -> Result<(), KeysError> {
        let Ceremony { new, custodians, files, kcv, record } = ceremony;
        check_custodians(custodians, files)?;
        let announced = kcv.as_deref().map(parse_check_value).transpose()?;
        let algorithm = new.algorithm.unwrap_or_else(|| usual(new.key_type));
        if matches!(algorithm, Algorithm::Rsa) {
            return Err(KeysError::Usage("an RSA key pair has no components".into()));
        }
        // What would fail at the end fails before anybody enters anything.
        let (lmk, file) = self.open(self.test_keys())?;
        if !new.replace && file.get(&new.name).is_ok() {
            return Err(KeyFileError::Duplicate { name: new.name.as_str().into() }.into());
        }
        let begun = time();
        let mut entered = Vec::new();
        for (number, custodian) in custodians.iter().enumerate() {
            let path = files.get(number).map(PathBuf::as_path);
            entered.push(self.enter(algorithm, custodian, (number + 1, custodians.len()), path)?);
        }
        let parts: Vec<_> = entered.iter().map(|part| part.bytes.clone()).collect();
        let mut bytes = combine(&parts)?;
        drop(parts);
        if algorithm == Algorithm::Tdes {
            // Two components of odd parity make even parity; the key is the same either way.
            set_odd_parity(&mut bytes);
        }
        let key = ClearKey::new(&new.name, new.key_type, algorithm, bytes, self.test_keys())?;
        let key = new.bind(key)?;
        let actual = key.check_value();
        if announced.is_some_and(|announced| announced != actual) {
            return Err(ExchangeError::CheckValue {
                name: new.name.as_str().into(),
                actual: hex::encode_upper(actual),
                stated: kcv.as_deref().unwrap_or_default().to_uppercase(),
            }
            .into());
        }
        self.show(&format!("key check value {}", hex::encode_upper(actual)));
        if announced.is_none() && !agreed("is it the one that was announced?")? {
            return Err(KeysError::Input("the key's check value is not as announced".into()));
        }
        let line = json!({
            "ceremony": describe(&key),
            "lmk": hex::encode_upper(lmk.identity()),
            "announced": announced.map(hex::encode_upper),
            "custodians": entered.iter().map(|part| part.shown.clone()).collect::<Vec<_>>(),
            "begun": begun,
            "ended": time(),
        });
        drop(entered);
        // The record first: a key nobody can account for is worse than a record of a key that was not kept.
        if let Some(path) = record {
            append(path, &line)?;
        }
        if let Err(error) = self.seal(key, new.replace) {
            if let Some(path) = record {
                append(path, &json!({ "not_sealed": new.name, "at": time() }))?;
            }
            return Err(error);
        }
        if self.json {
            print(&line.to_string());
        } else {
            print(&format!("{} {} sealed in {}", new.name, new.key_type, self.file.display()));
        }
        Ok(())
    }

    /// One custodian's component, until its check value is agreed to.
    fn enter(
        &self,
        algorithm: Algorithm,
        custodian: &str,
        (number, count): (usize, usize),
        path: Option<&Path>,
    ) -> Result<Entered, KeysError> {
        let bytes = match path {
            Some(path) if path != Path::new("-") => read_file(path)?,
            _ => prompt_for(&format!("{custodian}, component {number} of {count}"))?,
        };
        let kcv = hex::encode_upper(check_value(algorithm, &bytes));
        self.show(&format!("component {number} ({custodian}) check value {kcv}"));
        if path.is_none() && !agreed("is it the one on your form?")? {
            let reason = format!("component {number}: {custodian} did not agree: nothing was kept");
            return Err(KeysError::Input(reason));
        }
        Ok(Entered { bytes, shown: json!({ "name": custodian, "kcv": kcv, "at": time() }) })
    }

    /// What people compare: beside the question where there is a terminal, wherever stdout goes.
    fn show(&self, text: &str) {
        if std::io::stdin().is_terminal() {
            let _ = writeln!(std::io::stderr(), "{text}");
        } else if !self.json {
            print(text);
        }
    }
}

/// Two different people at least, each with a name that can stand in a record.
fn check_custodians(custodians: &[String], files: &[PathBuf]) -> Result<(), KeysError> {
    let usage = |reason: &str| Err(KeysError::Usage(reason.into()));
    if !(2..=CUSTODIANS_MAX).contains(&custodians.len()) {
        return usage("a ceremony has two to nine custodians: no one person may hold a key");
    }
    let printable = |name: &String| {
        let length = (1..=CUSTODIAN_BYTES_MAX).contains(&name.len());
        length && name.trim() == name && !name.chars().any(char::is_control)
    };
    if !custodians.iter().all(printable) {
        return usage("a custodian's name has 1 to 64 printable characters");
    }
    let folded = |name: &String| name.to_lowercase();
    let twice = |(at, name)| custodians.iter().take(at).any(|n| folded(n) == folded(name));
    if custodians.iter().enumerate().any(twice) {
        return usage("each custodian enters one component: the names must differ");
    }
    if !files.is_empty() && files.len() != custodians.len() {
        return usage("give --component once for each custodian, or not at all");
    }
    Ok(())
}

/// Asks at a terminal; elsewhere nobody is there to disagree.
fn agreed(question: &str) -> Result<bool, KeysError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(true);
    }
    let _ = write!(std::io::stderr(), "{question} (yes/no) ");
    let mut line = String::new();
    let failed = |e: std::io::Error| KeysError::Input(format!("standard input: {e}"));
    input.lock().read_line(&mut line).map_err(failed)?;
    Ok(matches!(line.trim(), "y" | "yes"))
}

/// Appends one line and makes it durable.
fn append(path: &Path, line: &Value) -> Result<(), KeysError> {
    let write = || {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{line}")?;
        file.sync_all()
    };
    write().map_err(|source| {
        KeyFileError::Io { path: path.into(), doing: "append the record", source }.into()
    })
}

/// Universal time, to the second.
fn time() -> String {
    let seconds = i64::try_from(SystemClock::start().wall().0 / 1000).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
