//! The sealed key file: text, one table a key, each key AES-256-GCM encrypted under the local master key.
//!
//! Name, type and algorithm are associated data of the seal, so that nobody can pass a ZPK off as a PVK by editing the
//! file; the check value stands in the clear for people. A zone key that a partner changed has its previous key beside
//! it until the grace period is over, whose end the seal covers too. Writing is atomic. **Never here:** key rules
//! (`key`), prepared schedules (`soft`). Where next: `cli::keys` edits it, `soft::SoftHsm::open` serves from it.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

use crate::domain::clock::WallMillis;
use crate::hsm::key::{ClearKey, Terms, TestKeys};
use crate::hsm::lmk::{Lmk, sync_directory};
use crate::limits;

mod error;
mod seal;

pub use error::KeyFileError;

use seal::{Opener, cipher, seal};

/// The form of a file without previous keys. Every key is sealed as in this form.
const VERSION: u32 = 1;
/// The form of a file that holds previous keys: a program that does not know them must not open it.
const VERSION_WITH_PREVIOUS: u32 = 2;
/// The form of a file with keys under terms, for the same reason.
const VERSION_WITH_TERMS: u32 = 3;
/// Largest file read: every key with its longest name fits.
const FILE_BYTES_MAX: u64 = 1 << 23;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    lmk: String,
    #[serde(default)]
    key: Vec<KeyText>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    name: String,
    #[serde(rename = "type")]
    key_type: String,
    algorithm: String,
    kcv: String,
    sealed: String,
    exportable: Option<bool>,
    mac: Option<String>,
    previous: Option<PreviousText>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviousText {
    // Milliseconds since 1970; TOML has no unsigned numbers.
    until: i64,
    kcv: String,
    sealed: String,
}

/// A zone key that a partner changed: still good for what its sender made with it before it knew.
#[derive(Debug)]
pub struct PreviousKey {
    /// The key, of the same name, type and algorithm as the one that follows it.
    pub key: ClearKey,
    /// End of the grace period.
    pub until: WallMillis,
}

/// An opened key file: its keys in the clear, in order of name.
#[derive(Debug)]
pub struct KeyFile {
    keys: Vec<ClearKey>,
    previous: Vec<PreviousKey>,
}

impl KeyFile {
    /// One without keys.
    #[must_use]
    pub fn empty() -> Self {
        Self { keys: Vec::new(), previous: Vec::new() }
    }

    /// Its keys, in order of name.
    #[must_use]
    pub fn keys(&self) -> &[ClearKey] {
        &self.keys
    }

    /// The key of that name.
    ///
    /// # Errors
    /// [`KeyFileError::Unknown`].
    pub fn get(&self, name: &str) -> Result<&ClearKey, KeyFileError> {
        let found = self.keys.iter().find(|key| key.name() == name);
        found.ok_or_else(|| KeyFileError::Unknown { name: name.into() })
    }

    /// The key that was there before the one of that name, if it may still be used.
    #[must_use]
    pub fn previous(&self, name: &str) -> Option<&PreviousKey> {
        self.previous.iter().find(|previous| previous.key.name() == name)
    }

    /// Takes a key in.
    ///
    /// # Errors
    /// [`KeyFileError::Duplicate`] and [`KeyFileError::TooMany`].
    pub fn add(&mut self, key: ClearKey) -> Result<(), KeyFileError> {
        if self.keys.len() >= limits::KEYS_MAX {
            return Err(KeyFileError::TooMany);
        }
        match self.keys.binary_search_by(|had| had.name().cmp(key.name())) {
            Ok(_) => Err(KeyFileError::Duplicate { name: key.name().into() }),
            Err(at) => {
                self.keys.insert(at, key);
                Ok(())
            }
        }
    }

    /// Puts a key in the place of the one of that name, or takes it in. Neither the old key nor one before it stays.
    ///
    /// # Errors
    /// [`KeyFileError::TooMany`].
    pub fn replace(&mut self, key: ClearKey) -> Result<(), KeyFileError> {
        self.keys.retain(|had| had.name() != key.name());
        self.previous.retain(|had| had.key.name() != key.name());
        self.add(key)
    }

    /// Puts a key in the place of the one of that name, which stays as its previous key until the grace period ends.
    ///
    /// With `proven` false nobody has used the key that goes: it is dropped, and the one before it stays instead,
    /// unless that is the one that comes back.
    ///
    /// # Errors
    /// [`KeyFileError::Unknown`].
    pub fn exchange(
        &mut self,
        key: ClearKey,
        proven: bool,
        until: WallMillis,
    ) -> Result<(), KeyFileError> {
        let at = self.keys.binary_search_by(|had| had.name().cmp(key.name()));
        let had = at.ok().and_then(|at| self.keys.get_mut(at));
        let had = had.ok_or_else(|| KeyFileError::Unknown { name: key.name().into() })?;
        let gone = std::mem::replace(had, key);
        let back = |previous: &PreviousKey| {
            bool::from(previous.key.expose_bytes().ct_eq(had.expose_bytes()))
        };
        match self.previous.iter_mut().find(|previous| previous.key.name() == gone.name()) {
            Some(previous) if proven || back(previous) => {
                *previous = PreviousKey { key: gone, until };
            }
            Some(previous) => previous.until = until,
            None => self.previous.push(PreviousKey { key: gone, until }),
        }
        Ok(())
    }

    /// Drops previous keys whose grace period is over.
    pub fn expire(&mut self, now: WallMillis) {
        self.previous.retain(|previous| now < previous.until);
    }

    /// Takes the key of that name out.
    ///
    /// # Errors
    /// [`KeyFileError::Unknown`].
    pub fn remove(&mut self, name: &str) -> Result<(), KeyFileError> {
        self.get(name)?;
        self.keys.retain(|key| key.name() != name);
        self.previous.retain(|previous| previous.key.name() != name);
        Ok(())
    }

    /// Reads and opens a file.
    ///
    /// # Errors
    /// [`KeyFileError`] names the file, and the key where it is one key's fault.
    pub fn read(path: &Path, lmk: &Lmk, test_keys: TestKeys) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.into(), doing: "read", source };
        let size = std::fs::metadata(path).map_err(io)?.len();
        if size > FILE_BYTES_MAX {
            let reason = format!("{size} bytes: no key file is longer than {FILE_BYTES_MAX}");
            return Err(KeyFileError::Syntax { path: path.into(), reason });
        }
        Self::parse(&std::fs::read_to_string(path).map_err(io)?, path, lmk, test_keys)
    }

    fn parse(
        text: &str,
        path: &Path,
        lmk: &Lmk,
        test_keys: TestKeys,
    ) -> Result<Self, KeyFileError> {
        let syntax = |reason: String| KeyFileError::Syntax { path: path.into(), reason };
        let text: FileText = toml::from_str(text).map_err(|e| syntax(e.to_string()))?;
        if !(VERSION..=VERSION_WITH_TERMS).contains(&text.version) {
            let reads = format!("this program reads {VERSION} to {VERSION_WITH_TERMS}");
            return Err(syntax(format!("version {}: {reads}", text.version)));
        }
        let actual = hex::encode_upper(lmk.identity());
        if text.lmk != actual {
            return Err(KeyFileError::WrongLmk { path: path.into(), actual, stated: text.lmk });
        }
        let cipher = cipher(lmk);
        let mut file = Self::empty();
        for entry in &text.key {
            let opener = Opener { entry, path, cipher: &cipher, test_keys };
            file.add(opener.key(&entry.sealed, &entry.kcv, None)?)?;
            if let Some(previous) = &entry.previous {
                let until = u64::try_from(previous.until).map(WallMillis).unwrap_or_default();
                let key = opener.key(&previous.sealed, &previous.kcv, Some(until))?;
                file.previous.push(PreviousKey { key, until });
            }
        }
        Ok(file)
    }

    /// Writes the file: a temporary one beside it, synced, then renamed over it. Mode 0600.
    ///
    /// # Errors
    /// [`KeyFileError`]; the old file is untouched then.
    pub fn write(&self, path: &Path, lmk: &Lmk) -> Result<(), KeyFileError> {
        let text = self.text(lmk)?;
        let io = |source| KeyFileError::Io { path: path.into(), doing: "write", source };
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.new", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            sync_directory(path)
        };
        write().map_err(|e| {
            // Best effort: what matters is that the old file stands.
            let _ = std::fs::remove_file(&temporary);
            io(e)
        })
    }

    fn text(&self, lmk: &Lmk) -> Result<String, KeyFileError> {
        let cipher = cipher(lmk);
        let has_terms = self.keys.iter().any(|key| key.terms() != Terms::default());
        let version = match (has_terms, self.previous.is_empty()) {
            (true, _) => VERSION_WITH_TERMS,
            (false, false) => VERSION_WITH_PREVIOUS,
            (false, true) => VERSION,
        };
        let mut text = format!(
            "# Keys sealed under a local master key. `pinion keys` edits this file.\n\
             version = {version}\nlmk = \"{}\"\n",
            hex::encode_upper(lmk.identity())
        );
        for key in &self.keys {
            let sealed = seal(key, &cipher, None)?;
            // Names, types and algorithms need no escaping: `check_name` and two closed lists.
            let _ = write!(
                text,
                "\n[[key]]\nname = \"{}\"\ntype = \"{}\"\nalgorithm = \"{}\"\nkcv = \"{}\"\n\
                 sealed = \"{}\"\n",
                key.name(),
                key.key_type(),
                key.algorithm(),
                hex::encode_upper(key.check_value()),
                hex::encode_upper(sealed)
            );
            let Terms { never_exported, mac } = key.terms();
            if never_exported {
                text.push_str("exportable = false\n");
            }
            if let Some(method) = mac {
                let _ = writeln!(text, "mac = \"{method}\"");
            }
            if let Some(PreviousKey { key, until }) = self.previous(key.name()) {
                let sealed = seal(key, &cipher, Some(*until))?;
                let _ = writeln!(
                    text,
                    "previous = {{ until = {}, kcv = \"{}\", sealed = \"{}\" }}",
                    until.0,
                    hex::encode_upper(key.check_value()),
                    hex::encode_upper(sealed)
                );
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
