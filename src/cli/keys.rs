//! `pinion keys`: make, take in and list the keys of the software HSM.
//!
//! Keys come from the machine's randomness, from files or from standard input. **Never here:** a clear key on the
//! command line (other users of the machine see it there) or on the screen; what is shown is check values. Where next:
//! `hsm::keyfile` for the file, `hsm::exchange` for components and wrapped keys.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::hsm::exchange::{ExchangeError, combine};
use crate::hsm::key::{
    Algorithm, CheckValue, ClearKey, KeyError, KeyType, MacMethod, Terms, TestKeys, check_value,
    rsa, set_odd_parity,
};
use crate::hsm::keyfile::{KeyFile, KeyFileError};
use crate::hsm::lmk::{LMK_BYTES, Lmk};

mod ceremony;
mod input;
mod wrapped;

use ceremony::Ceremony;
use wrapped::Export;

use input::{prompt, read_file, read_pem};

/// Arguments of `pinion keys`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pinion keys init\n  \
    pinion keys generate pvk.visa --type PVK\n  \
    pinion keys import zmk.partner --type ZMK --components 3\n  \
    pinion keys import zpk.atm --type ZPK --under zmk.partner --tr31 zpk.block\n  \
    pinion keys import zpk.old --type ZPK --under zmk.partner --wrapped zpk.hex --kcv 56562A\n  \
    pinion keys export zpk.atm --under zmk.partner --tr31\n  \
    pinion keys generate rsa.partner --type RSA --bits 3072\n  \
    pinion keys public rsa.partner\n  \
    pinion keys list --json")]
pub(super) struct Keys {
    /// The sealed key file.
    #[arg(long = "keys", global = true, value_name = "FILE")]
    #[arg(default_value = "pinion-keys.toml")]
    file: PathBuf,
    /// The local master key; only its owner may read it.
    #[arg(long, global = true, value_name = "FILE", default_value = "pinion.lmk")]
    lmk: PathBuf,
    /// Take published test keys, which protect nothing.
    #[arg(long = "allow-test-keys", global = true)]
    published: bool,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the local master key, at random or from components, and a key file with the three keys of the vault.
    ///
    /// With a key file in place it restores the local master key from its components.
    #[command(after_help = "Example: pinion keys init --components 3")]
    Init(Parts),
    /// Make a random key.
    #[command(after_help = "Example: pinion keys generate zpk.atm --type ZPK")]
    Generate(Generate),
    /// Take in a key from components, one wrapped under a ZMK, or an RSA key pair.
    #[command(after_help = "Example: pinion keys import zpk.atm --type ZPK --components 2")]
    Import(Import),
    /// Make a key from components that several custodians enter, and a record of it.
    ///
    /// Dual control: no person sees more than one component, and the key exists only in the sealed file. Each
    /// custodian compares the check value of the component with the form; at the end all compare that of the key.
    /// Whoever does not agree ends the ceremony, and nothing is kept. The record has names, times and check values.
    #[command(after_help = "Examples:\n  \
        pinion keys ceremony zmk.partner --type ZMK --custodian Ana --custodian Bo --custodian Cem \\\n      \
        --kcv E14F4E --record ceremonies.jsonl\n  \
        pinion keys ceremony bdk.pos --type BDK --algorithm AES --custodian Ana --custodian Bo --json")]
    Ceremony(Ceremony),
    /// Wrap a key under a ZMK for a partner: as a TR-31 key block, or in ECB.
    #[command(after_help = "Examples:\n  \
        pinion keys export zpk.partner --under zmk.partner --tr31\n  \
        pinion keys export pvk.visa --under zmk.partner --tr31 B --usage V2 --final\n  \
        pinion keys export zpk.old --under zmk.partner --ecb --json")]
    Export(Export),
    /// List the keys with their check values.
    #[command(after_help = "Example: pinion keys list --json")]
    List,
    /// Print the public half of an RSA key pair as PEM: for those who send PINs encrypted under it.
    #[command(after_help = "Example: pinion keys public rsa.partner > rsa.partner.pem")]
    Public {
        /// Name of the key pair.
        name: String,
    },
    /// Open every key and check it as `serve` would.
    #[command(after_help = "Example: pinion keys check --keys keys.toml --lmk lmk.key")]
    Check,
}

/// Where components come from.
#[derive(Debug, Args)]
struct Parts {
    /// A file with one component in hex (`-` reads one line of standard input). Give two or more.
    #[arg(long = "component", value_name = "FILE", conflicts_with = "components")]
    files: Vec<PathBuf>,
    /// Ask for so many components; a terminal does not show them.
    #[arg(long, value_name = "N")]
    components: Option<usize>,
}

#[derive(Debug, Args)]
struct New {
    /// Name: a-z, 0-9, '.', '-', '_'.
    name: String,
    /// ZMK, ZPK, ZAK, PVK, BDK, RSA, SIGNATURE, PAN-HASH, PAN-SEAL or AUDIT.
    #[arg(long = "type", value_name = "TYPE")]
    key_type: KeyType,
    /// TDES, AES, HMAC or RSA; the type's usual one if not given.
    #[arg(long)]
    algorithm: Option<Algorithm>,
    /// Put it in the place of the key of that name.
    #[arg(long)]
    replace: bool,
    /// How a ZAK makes MACs: x9.19, x9.19-pad2 or cmac; x9.19 for TDES and cmac for AES if not given.
    #[arg(long, value_name = "METHOD")]
    mac: Option<MacMethod>,
    /// Never pass it on: `export` refuses it for ever.
    #[arg(long)]
    never_export: bool,
}

impl New {
    /// The key under the terms of the command line. What a key block says of its key is kept, and may be tightened.
    fn bind(&self, key: ClearKey) -> Result<ClearKey, KeysError> {
        let had = key.terms();
        let never_exported = had.never_exported || self.never_export;
        Ok(key.with_terms(Terms { never_exported, mac: self.mac.or(had.mac) })?)
    }
}

#[derive(Debug, Args)]
struct Generate {
    #[command(flatten)]
    new: New,
    /// Length of an RSA key: 2048, 3072 or 4096.
    #[arg(long)]
    bits: Option<usize>,
}

#[derive(Debug, Args)]
struct Import {
    #[command(flatten)]
    new: New,
    #[command(flatten)]
    parts: Parts,
    /// The ZMK it is wrapped under.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["files", "components"])]
    under: Option<String>,
    /// A file with the TR-31 key block (`-`: standard input).
    #[arg(long, value_name = "FILE", requires = "under", conflicts_with = "wrapped")]
    tr31: Option<PathBuf>,
    /// A file with the wrapped key in hex, ECB (`-`: standard input).
    #[arg(long, value_name = "FILE", requires = "under")]
    wrapped: Option<PathBuf>,
    /// A file with an RSA key pair: PKCS #8, unencrypted, PEM. Remove it afterwards.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "components", "under"])]
    pem: Option<PathBuf>,
    /// The sender's check value, six hex digits; a key block needs none.
    #[arg(long, value_name = "HEX", requires = "under")]
    kcv: Option<String>,
}

/// Why a `keys` command was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum KeysError {
    /// A component or a wrapped key.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The key file or the LMK file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// What was typed or read is no key.
    #[error("{0}")]
    Input(String),
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
}

impl From<KeyError> for KeysError {
    fn from(error: KeyError) -> Self {
        Self::File(error.into())
    }
}

impl KeysError {
    /// Exit code of the contract: 64 bad usage, 78 bad configuration, 1 otherwise.
    #[must_use]
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::File(_) => 78,
            Self::Exchange(_) | Self::Input(_) => 1,
        }
    }
}

impl Keys {
    /// Runs the command.
    ///
    /// # Errors
    /// [`KeysError`]; nothing was changed then.
    pub(super) fn run(&self) -> Result<(), KeysError> {
        match &self.command {
            Command::Init(parts) => self.init(parts),
            Command::Generate(new) => self.generate(new),
            Command::Import(import) => self.import(import),
            Command::Ceremony(ceremony) => self.ceremony(ceremony),
            Command::Export(export) => self.export(export),
            Command::List => self.list(),
            Command::Public { name } => self.public(name),
            Command::Check => self.check(),
        }
    }

    fn test_keys(&self) -> TestKeys {
        if self.published { TestKeys::Allowed } else { TestKeys::Refused }
    }

    fn open(&self, test_keys: TestKeys) -> Result<(Lmk, KeyFile), KeysError> {
        let lmk = Lmk::read(&self.lmk, test_keys)?;
        let file = KeyFile::read(&self.file, &lmk, test_keys)?;
        Ok((lmk, file))
    }

    fn init(&self, parts: &Parts) -> Result<(), KeysError> {
        let restoring = self.file.exists();
        let lmk = match self.components(parts, Algorithm::Aes)? {
            Some(bytes) => {
                let bytes = <[u8; LMK_BYTES]>::try_from(&bytes[..]).map_err(|_| {
                    KeysError::Input(format!("the local master key has {LMK_BYTES} bytes"))
                })?;
                Lmk::new(Zeroizing::new(bytes), self.test_keys())?
            }
            None if restoring => {
                return Err(KeysError::Usage(format!(
                    "{}: there are keys already, and a new local master key would not open them; \
                     restore theirs with --component, or give another --keys file",
                    self.file.display()
                )));
            }
            None => Lmk::generate()?,
        };
        if restoring {
            // It must be the one that seals them.
            KeyFile::read(&self.file, &lmk, self.test_keys())?;
            lmk.create_file(&self.lmk)?;
        } else {
            lmk.create_file(&self.lmk)?;
            let mut file = KeyFile::empty();
            for (key_type, name) in KeyType::DATA {
                let algorithm = usual(key_type);
                file.add(ClearKey::generate(name, key_type, algorithm)?)?;
            }
            file.write(&self.file, &lmk)?;
        }
        let identity = hex::encode_upper(lmk.identity());
        if self.json {
            print(&json!({ "lmk": identity, "keys": self.file.display().to_string() }).to_string());
            return Ok(());
        }
        print(&format!("local master key {identity} in {}", self.lmk.display()));
        print(&format!("keys in {}", self.file.display()));
        print(
            "Keep a copy of the local master key apart from the key file: without it no key opens.",
        );
        Ok(())
    }

    fn generate(&self, generate: &Generate) -> Result<(), KeysError> {
        let new = &generate.new;
        let algorithm = new.algorithm.unwrap_or_else(|| usual(new.key_type));
        let key = match (algorithm, generate.bits) {
            (Algorithm::Rsa, Some(bits)) if !rsa::BITS_MADE.contains(&bits) => {
                return Err(KeysError::Usage("--bits takes 2048, 3072 or 4096".into()));
            }
            (Algorithm::Rsa, Some(bits)) => ClearKey::generate_rsa(&new.name, new.key_type, bits)?,
            (_, Some(_)) => return Err(KeysError::Usage("--bits goes with RSA only".into())),
            (_, None) => ClearKey::generate(&new.name, new.key_type, algorithm)?,
        };
        self.keep(key, new)
    }

    fn import(&self, import: &Import) -> Result<(), KeysError> {
        let new = &import.new;
        if let Some(key) = self.import_under(import)? {
            return self.keep(key, new);
        }
        let algorithm = new.algorithm.unwrap_or_else(|| usual(new.key_type));
        if let Some(path) = &import.pem {
            let (name, key_type, test_keys) = (&*new.name, new.key_type, self.test_keys());
            let bytes = read_pem(path)?;
            let key = ClearKey::new(name, key_type, Algorithm::Rsa, bytes, test_keys)?;
            return self.keep(key, new);
        }
        if algorithm == Algorithm::Rsa {
            return Err(KeysError::Usage("give the key pair as --pem".into()));
        }
        let mut bytes = self.components(&import.parts, algorithm)?.ok_or_else(|| {
            KeysError::Usage("give --component, --components, --under or --pem".into())
        })?;
        if algorithm == Algorithm::Tdes {
            // Two components of odd parity make even parity; the key is the same either way.
            set_odd_parity(&mut bytes);
        }
        let key = ClearKey::new(&new.name, new.key_type, algorithm, bytes, self.test_keys())?;
        self.keep(key, new)
    }

    fn keep(&self, key: ClearKey, new: &New) -> Result<(), KeysError> {
        let key = new.bind(key)?;
        let shown = describe(&key);
        let name = key.name().to_owned();
        self.seal(key, new.replace)?;
        if self.json {
            print(&shown.to_string());
        } else {
            let of = |field: &str| shown[field].as_str().unwrap_or_default().to_owned();
            let (key_type, algorithm) = (of("type"), of("algorithm"));
            print(&format!("{name} {key_type} {algorithm} check value {}", of("kcv")));
        }
        Ok(())
    }

    /// Puts a key into the file.
    fn seal(&self, key: ClearKey, replace: bool) -> Result<(), KeysError> {
        let (lmk, mut file) = self.open(self.test_keys())?;
        if replace { file.replace(key) } else { file.add(key) }?;
        file.write(&self.file, &lmk)?;
        Ok(())
    }

    fn list(&self) -> Result<(), KeysError> {
        // Listing published keys harms nobody; `check` is what refuses them.
        let (_, file) = self.open(TestKeys::Allowed)?;
        if self.json {
            print(&Value::Array(file.keys().iter().map(describe).collect()).to_string());
            return Ok(());
        }
        print(&format!("{:<32} {:<8} {:<9} {:>4}  {}", "NAME", "TYPE", "ALGORITHM", "BITS", "KCV"));
        for key in file.keys() {
            print(&format!(
                "{:<32} {:<8} {:<9} {:>4}  {}",
                key.name(),
                key.key_type().name(),
                key.algorithm().name(),
                key.bits(),
                hex::encode_upper(key.check_value())
            ));
        }
        Ok(())
    }

    fn public(&self, name: &str) -> Result<(), KeysError> {
        let (_, file) = self.open(TestKeys::Allowed)?;
        let key = file.get(name)?;
        if key.algorithm() != Algorithm::Rsa {
            return Err(KeysError::Usage(format!(
                "key {name} has no public half: it is no RSA key"
            )));
        }
        let source = |source| KeyError::Rsa { name: name.into(), source };
        let pem = rsa::public_pem(key.expose_bytes()).map_err(source)?;
        if self.json {
            let mut shown = describe(key);
            shown["public"] = pem.into();
            print(&shown.to_string());
        } else {
            print(pem.trim_end());
        }
        Ok(())
    }

    fn check(&self) -> Result<(), KeysError> {
        let (lmk, file) = self.open(self.test_keys())?;
        for (key_type, name) in KeyType::DATA {
            if !file.keys().iter().any(|key| key.key_type() == key_type) {
                return Err(KeyFileError::Missing { key_type, name }.into());
            }
        }
        let (count, identity) = (file.keys().len(), hex::encode_upper(lmk.identity()));
        print(&if self.json {
            json!({ "ok": true, "keys": count, "lmk": identity }).to_string()
        } else {
            format!("{count} keys open under local master key {identity}")
        });
        Ok(())
    }

    /// Reads the components and shows the check value of each. `None` when none were asked for.
    fn components(
        &self,
        parts: &Parts,
        algorithm: Algorithm,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
        let mut components = Vec::new();
        let count = parts.components.unwrap_or(parts.files.len());
        if count == 0 && parts.components.is_none() {
            return Ok(None);
        }
        for number in 1..=count {
            let component = match parts.files.get(number - 1) {
                Some(path) if path != Path::new("-") => read_file(path)?,
                _ => prompt(number, count)?,
            };
            if !self.json {
                let value = hex::encode_upper(check_value(algorithm, &component));
                print(&format!("component {number} check value {value}"));
            }
            components.push(component);
        }
        Ok(Some(combine(&components)?))
    }
}

/// The algorithm a type usually has.
fn usual(key_type: KeyType) -> Algorithm {
    key_type.algorithms().first().copied().unwrap_or(Algorithm::Tdes)
}

fn describe(key: &ClearKey) -> Value {
    let mac = (key.key_type() == KeyType::Zak).then(|| key.mac_method().name());
    let mut shown = json!({
        "name": key.name(),
        "type": key.key_type().name(),
        "algorithm": key.algorithm().name(),
        "bits": key.bits(),
        "kcv": hex::encode_upper(key.check_value()),
        "exportable": key.is_exportable(),
    });
    if let Some(mac) = mac {
        shown["mac"] = mac.into();
    }
    shown
}

fn parse_check_value(text: &str) -> Result<CheckValue, KeysError> {
    let mut value = CheckValue::default();
    hex::decode_to_slice(text, &mut value)
        .map_err(|_| KeysError::Usage("--kcv takes six hex digits".into()))?;
    Ok(value)
}

fn print(line: &str) {
    say!("{line}");
}

#[cfg(test)]
mod tests;
