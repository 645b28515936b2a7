//! The state file: zone keys that partners changed, under the LMK. Written before a new key is in force.
//!
//! Tokens are of no use without a device, so the file is not sealed; mode 0600 all the same. **Never here:** a clear
//! key.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::clock::WallMillis;
use crate::hsm::key::CheckValue;
use crate::hsm::lmk::sync_directory;
use crate::hsm::payshield::client::keys::{Held, Slot};
use crate::hsm::payshield::client::token::Token;

const VERSION: u32 = 1;

/// Keys that are newer than the configuration's.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    kept: Vec<Kept>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) name: Box<str>,
    /// Check value of the configuration's key when it came.
    pub(super) configured: CheckValue,
    pub(super) newest: Held,
    pub(super) previous: Option<(Held, WallMillis)>,
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not what we write.
    #[error(
        "{}: line {line}: not as this switch writes it; restore it, or remove it and configure the \
         keys anew",
        path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// None is configured.
    #[error("no hsm.state is configured: a key from a partner would be lost with the next start")]
    NoFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Box<str>,
    configured: String,
    token: String,
    check_value: String,
    previous: Option<PreviousEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviousEntry {
    token: String,
    check_value: String,
    until: u64,
}

fn check_value(text: &str) -> Option<CheckValue> {
    let mut value = CheckValue::default();
    hex::decode_to_slice(text, &mut value).ok()?;
    Some(value)
}

fn held(token: &str, check: &str) -> Option<Held> {
    Some(Held { token: Token::parse(token.as_bytes()).ok()?, check_value: check_value(check)? })
}

impl Entry {
    fn keep(self) -> Option<Kept> {
        let newest = held(&self.token, &self.check_value)?;
        let previous = match self.previous {
            None => None,
            Some(it) => Some((held(&it.token, &it.check_value)?, WallMillis(it.until))),
        };
        let configured = check_value(&self.configured)?;
        Some(Kept { name: self.name, configured, newest, previous })
    }
}

impl State {
    /// Reads it; a file that is not there is empty.
    pub(super) fn read(path: &Path) -> Result<Self, StateError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(StateError::Io { path: path.into(), doing: "read", source }),
        };
        let wrong = |at: usize| {
            let line = text.get(..at).unwrap_or_default().lines().count().max(1);
            StateError::Form { path: path.into(), line }
        };
        let file: File = toml::from_str(&text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start)))?;
        if file.version != VERSION {
            return Err(wrong(0));
        }
        let kept = file.key.into_iter().map(|entry| entry.keep().ok_or_else(|| wrong(text.len())));
        Ok(Self { kept: kept.collect::<Result<_, _>>()? })
    }

    /// What is kept for a key.
    pub(super) fn of(&self, name: &str) -> Option<&Kept> {
        self.kept.iter().find(|kept| &*kept.name == name)
    }

    /// Takes a key as it is from now on.
    pub(super) fn keep(&mut self, slot: &Slot) {
        let previous = slot.previous.as_ref();
        let kept = Kept {
            name: (&*slot.name).into(),
            configured: slot.configured,
            newest: slot.newest.clone(),
            previous: previous.map(|previous| (previous.held.clone(), previous.until)),
        };
        match self.kept.iter_mut().find(|kept| *kept.name == *slot.name) {
            Some(place) => *place = kept,
            None => self.kept.push(kept),
        }
    }

    /// Writes it: a temporary file beside it, synced, then renamed over it.
    pub(super) fn write(&self, path: &Path) -> Result<(), StateError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.new", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            sync_directory(path)
        };
        write().map_err(|source| {
            // Best effort: what matters is that the old file stands.
            let _ = std::fs::remove_file(&temporary);
            StateError::Io { path: path.into(), doing: "write", source }
        })
    }

    /// Names and tokens need no escaping: names are of a closed alphabet, tokens printable without quotes.
    fn text(&self) -> String {
        let mut text = format!(
            "# Zone keys that partners changed, under the LMK of the devices. The switch writes this file.\n\
             version = {VERSION}\n"
        );
        for Kept { name, configured, newest, previous } in &self.kept {
            let hex = |value: &CheckValue| hex::encode_upper(value);
            let _ = write!(
                text,
                "\n[[key]]\nname = \"{name}\"\nconfigured = \"{}\"\ntoken = \"{}\"\n\
                 check_value = \"{}\"\n",
                hex(configured),
                newest.token.expose_text(),
                hex(&newest.check_value)
            );
            if let Some((held, until)) = previous {
                let _ = writeln!(
                    text,
                    "previous = {{ token = \"{}\", check_value = \"{}\", until = {} }}",
                    held.token.expose_text(),
                    hex(&held.check_value),
                    until.0
                );
            }
        }
        text
    }
}
