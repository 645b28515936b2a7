//! A directory with keys, certificates and a password, as an operator would have made them, for `pinion check`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use crate::approved;

/// Keys the configurations of `deploy/` name, with their types.
const KEYS: [(&str, &str); 3] = [("pvk.visa", "PVK"), ("zpk.atm", "ZPK"), ("zpk.postilion", "ZPK")];

/// The directory.
pub(crate) struct Place(TempDir);

impl Place {
    /// Files `lmk` and `keys.toml`, and nothing else.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let place = Self(TempDir::new().expect("a directory"));
        approved(place.keys().arg("init"));
        for (name, kind) in KEYS {
            approved(place.keys().args(["generate", name, "--type", kind]));
        }
        place
    }

    /// `pinion keys` on the files of this place.
    pub(crate) fn keys(&self) -> Command {
        let mut command = pinion(&["keys", "--keys"]);
        command.arg(self.path("keys.toml")).arg("--lmk").arg(self.path("lmk"));
        command
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, with its directory.
    #[track_caller]
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(&path, text).expect("written");
        path
    }

    /// Writes a certificate, which is its own authority, and its key.
    #[track_caller]
    pub(crate) fn certificate(&self, certificate: &str, key: &str, authority: &str) {
        let pair = KeyPair::generate().expect("a key");
        let parameters =
            CertificateParams::new(["pinion.bank.example".to_owned()]).expect("a name");
        let pem = parameters.self_signed(&pair).expect("signed").pem();
        self.write(certificate, &pem);
        self.write(authority, &pem);
        self.write(key, &pair.serialize_pem());
    }
}

/// A command of the binary.
pub(crate) fn pinion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(arguments);
    command
}

/// What `pinion check` says of a configuration that it takes.
#[track_caller]
pub(crate) fn checked(config: &Path) -> Value {
    let mut command = pinion(&["check", "--json", "--config"]);
    let output = command.arg(config).output().expect("runs");
    let good = output.status.success();
    let text = String::from_utf8_lossy(if good { &output.stdout } else { &output.stderr });
    assert!(good, "{}: {text}", config.display());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
