//! [`KeyFileError`]: what can be wrong with a key file or an LMK file, and what to do then.
//!
//! **Never here:** a byte of a key. Where next: `keyfile` and `lmk`, which find it.

use std::path::PathBuf;

use crate::hsm::key::{KeyError, KeyType};
use crate::limits;

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
    /// The table was changed by an exchange while a reload read the files.
    #[error("a key was exchanged meanwhile: reload again")]
    Exchanged,
    /// What a running module cannot change.
    #[error(
        "the local master key or a key of the vault (PAN-HASH, PAN-SEAL, AUDIT) is another one: \
         restore it; what was stored does not open under a new one"
    )]
    NeedsRestart,
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
