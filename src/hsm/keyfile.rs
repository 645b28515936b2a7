//! The sealed key file: text, one table a key, each key AES-256-GCM encrypted under the local master key.
//!
//! Name, type and algorithm are associated data of the seal, so that nobody can pass a ZPK off as a PVK by editing the
//! file; the check value stands in the clear for people. Writing is atomic. **Never here:** key rules (`key`), prepared
//! schedules (`soft`). Where next: `cli::keys` edits it, `soft::SoftHsm::open` serves from it.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use crate::hsm::key::{Algorithm, ClearKey, KEY_BYTES_MAX, KeyError, KeyType, TestKeys};
use crate::hsm::lmk::{Lmk, Use, sync_directory};
use crate::limits;

/// The form of the file this program writes and reads.
const VERSION: u32 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Largest file read: every key with its longest name fits.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a key file or an LMK file could not be used. Names file and key, never a byte of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The check value in the file is not the key's.
    #[error(
        "{path}: key {name}: check value is {actual}, the file says {stated}; restore the file",
        path = path.display()
    )]
    CheckValue {
        /// File.
        path: PathBuf,
        /// Key.
        name: Box<str>,
        /// Of the key.
        actual: String,
        /// In the file.
        stated: String,
    },
    /// Two keys of one name.
    #[error("key {name} is there twice: names are unique; remove or rename one")]
    Duplicate {
        /// Key.
        name: Box<str>,
    },
    /// The operating system refused.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A key breaks the rules.
    #[error("{}{source}", path.as_ref().map(|p| format!("{}: ", p.display())).unwrap_or_default())]
    Key {
        /// File, where it came from one.
        path: Option<PathBuf>,
        /// Which rule.
        source: KeyError,
    },
    /// The LMK file is no key.
    #[error(
        "{path}: not a local master key: expected 64 hex digits and nothing else",
        path = path.display()
    )]
    LmkForm {
        /// File.
        path: PathBuf,
    },
    /// A key that a switch cannot do without is not there.
    #[error("no key of type {key_type}: run `pinion keys generate {name} --type {key_type}`")]
    Missing {
        /// Its type.
        key_type: KeyType,
        /// The name it usually has.
        name: &'static str,
    },
    /// A module that was not opened from files has nothing to read again.
    #[error("these keys came from no file: nothing to reload")]
    NoFile,
    /// Two keys of a type of which there is one.
    #[error("key {name}: there is another {key_type} already; remove one of them")]
    OneOfType {
        /// The type.
        key_type: KeyType,
        /// The second key.
        name: Box<str>,
    },
    /// The LMK file can be read by others.
    #[error(
        "{path}: mode {mode:04o} lets others read the local master key; run `chmod 600 {path}`",
        path = path.display()
    )]
    Permissions {
        /// File.
        path: PathBuf,
        /// As found.
        mode: u32,
    },
    /// No randomness.
    #[error("the operating system gave no randomness")]
    Random,
    /// A key does not open.
    #[error(
        "{path}: key {name} does not open: its entry was changed; restore the file or import the \
         key again",
        path = path.display()
    )]
    Sealed {
        /// File.
        path: PathBuf,
        /// Key.
        name: Box<str>,
    },
    /// The file is not of this form.
    #[error("{path}: {reason}", path = path.display())]
    Syntax {
        /// File.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// More keys than an HSM may hold.
    #[error("more than {} keys: remove some", limits::KEYS_MAX)]
    TooMany,
    /// A key or a switch wants a key that is not there.
    #[error("no key is named {name}: `pinion keys list` shows the names")]
    Unknown {
        /// As asked.
        name: Box<str>,
    },
    /// Another local master key.
    #[error(
        "{path}: sealed under local master key {stated}, this one is {actual}; give the LMK file \
         that belongs to it",
        path = path.display()
    )]
    WrongLmk {
        /// File.
        path: PathBuf,
        /// Identity of the LMK given.
        actual: String,
        /// Identity in the file.
        stated: String,
    },
}

impl From<KeyError> for KeyFileError {
    fn from(source: KeyError) -> Self {
        Self::Key { path: None, source }
    }
}

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
}

/// An opened key file: its keys in the clear, in order of name.
#[derive(Debug)]
pub struct KeyFile {
    keys: Vec<ClearKey>,
}

impl KeyFile {
    /// One without keys.
    #[must_use]
    pub fn empty() -> Self {
        Self { keys: Vec::new() }
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

    /// Puts a key in the place of the one of that name, or takes it in.
    ///
    /// # Errors
    /// [`KeyFileError::TooMany`].
    pub fn replace(&mut self, key: ClearKey) -> Result<(), KeyFileError> {
        self.keys.retain(|had| had.name() != key.name());
        self.add(key)
    }

    /// Takes the key of that name out.
    ///
    /// # Errors
    /// [`KeyFileError::Unknown`].
    pub fn remove(&mut self, name: &str) -> Result<(), KeyFileError> {
        self.get(name)?;
        self.keys.retain(|key| key.name() != name);
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
        if text.version != VERSION {
            return Err(syntax(format!("version {}: this program reads {VERSION}", text.version)));
        }
        let actual = hex::encode_upper(lmk.identity());
        if text.lmk != actual {
            return Err(KeyFileError::WrongLmk { path: path.into(), actual, stated: text.lmk });
        }
        let cipher = cipher(lmk);
        let mut file = Self::empty();
        for entry in &text.key {
            file.add(unseal(entry, path, &cipher, test_keys)?)?;
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
        let mut text = format!(
            "# Keys sealed under a local master key. `pinion keys` edits this file.\n\
             version = {VERSION}\nlmk = \"{}\"\n",
            hex::encode_upper(lmk.identity())
        );
        for key in &self.keys {
            let sealed = seal(key, &cipher)?;
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
        }
        Ok(text)
    }
}

fn cipher(lmk: &Lmk) -> Aes256Gcm {
    Aes256Gcm::new((&*lmk.derive(Use::SealKeys)).into())
}

/// What the seal binds a key to.
fn associated(name: &str, key_type: &str, algorithm: &str) -> String {
    format!("pinion key {VERSION}\n{name}\n{key_type}\n{algorithm}")
}

/// Nonce, ciphertext, tag.
fn seal(key: &ClearKey, cipher: &Aes256Gcm) -> Result<Vec<u8>, KeyFileError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| KeyFileError::Random)?;
    let bound = associated(key.name(), key.key_type().name(), key.algorithm().name());
    let mut bytes = Zeroizing::new(key.expose_bytes().to_vec());
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), bound.as_bytes(), bytes.as_mut_slice().into())
        .map_err(|_| KeyFileError::Random)?;
    Ok([&nonce[..], &bytes, &tag].concat())
}

fn unseal(
    entry: &KeyText,
    path: &Path,
    cipher: &Aes256Gcm,
    test_keys: TestKeys,
) -> Result<ClearKey, KeyFileError> {
    let name: Box<str> = entry.name.as_str().into();
    let syntax = |reason| KeyFileError::Syntax {
        path: path.into(),
        reason: format!("key {}: {reason}", entry.name),
    };
    let key_type: KeyType = entry.key_type.parse().map_err(syntax)?;
    let algorithm: Algorithm = entry.algorithm.parse().map_err(syntax)?;
    let sealed = hex::decode(&entry.sealed).map_err(|e| syntax(format!("sealed: {e}")))?;
    let changed = || KeyFileError::Sealed { path: path.into(), name: name.clone() };
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(changed)?;
    let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or_else(changed)?;
    if body.len() > KEY_BYTES_MAX {
        return Err(changed());
    }
    let mut bytes = Zeroizing::new(body.to_vec());
    let bound = associated(&entry.name, key_type.name(), algorithm.name());
    cipher
        .decrypt_inout_detached(
            &Nonce::from(*nonce),
            bound.as_bytes(),
            bytes.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .map_err(|_| changed())?;
    let key = ClearKey::new(&entry.name, key_type, algorithm, bytes, test_keys)
        .map_err(|source| KeyFileError::Key { path: Some(path.into()), source })?;
    let actual = hex::encode_upper(key.check_value());
    if !actual.eq_ignore_ascii_case(&entry.kcv) {
        let stated = entry.kcv.clone();
        return Err(KeyFileError::CheckValue { path: path.into(), name, actual, stated });
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
