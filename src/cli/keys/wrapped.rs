//! `pinion keys import --under` and `pinion keys export`: keys that travel under a zone master key.
//!
//! **Never here:** a clear key on the screen; what a block says (`hsm::exchange::block`).

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::keys::input::{read_block, read_file};
use crate::cli::keys::{Import, Keys, KeysError, describe, parse_check_value, print};
use crate::hsm::exchange::block::{Wrapping, unwrap_block, uses, wrap_block};
use crate::hsm::exchange::{unwrap, wrap};
use crate::hsm::key::{Algorithm, ClearKey};
use crate::hsm::tr31::Version;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("form").required(true))]
pub(super) struct Export {
    /// Name of the key: a ZPK, ZAK, PVK, BDK or SIGNATURE that did not come with the order to stay.
    name: String,
    /// The ZMK to wrap it under: at least as strong as the key.
    #[arg(long, value_name = "NAME")]
    under: String,
    /// As a TR-31 key block, of version B under triple DES and D under AES if none is given.
    #[arg(long, value_name = "VERSION", group = "form", num_args = 0..=1)]
    #[arg(value_parser = parse_version)]
    #[expect(clippy::option_option, reason = "the option may come without a value")]
    tr31: Option<Option<Version>>,
    /// In ECB (X9.17), hex: TDES keys only, for a partner who reads no key blocks.
    #[arg(long, group = "form")]
    ecb: bool,
    /// Key usage to write where a type has several: V2 for PVVs, V1 for IBM 3624.
    #[arg(long, value_name = "CODE", requires = "tr31")]
    usage: Option<String>,
    /// Tell the receiver never to pass it on (exportability N).
    #[arg(long = "final", requires = "tr31")]
    final_copy: bool,
    /// Write it to this new file instead of the screen.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn parse_version(text: &str) -> Result<Version, String> {
    let letter = <[u8; 1]>::try_from(text.as_bytes()).ok();
    let version = letter.and_then(|[letter]| Version::of(letter.to_ascii_uppercase()));
    version.ok_or_else(|| "one of A, B, C, D".into())
}

impl Keys {
    /// The key of `import --under`; `None` where the command line names no ZMK.
    pub(super) fn import_under(&self, import: &Import) -> Result<Option<ClearKey>, KeysError> {
        let Some(zmk) = &import.under else { return Ok(None) };
        let (name, key_type) = (&*import.new.name, import.new.key_type);
        let stated = import.kcv.as_deref().map(parse_check_value).transpose()?;
        let (_, file) = self.open(self.test_keys())?;
        let zmk = file.get(zmk)?;
        let key = match (&import.tr31, &import.wrapped, stated) {
            (Some(block), _, _) => {
                let block = read_block(block)?;
                unwrap_block(zmk, name, key_type, &block, stated, self.test_keys())?
            }
            (None, Some(wrapped), Some(stated)) => {
                if import.new.algorithm.is_some_and(|a| a != Algorithm::Tdes) {
                    return Err(KeysError::Usage("ECB carries TDES keys only".into()));
                }
                let wrapped = read_file(wrapped)?;
                unwrap(zmk, name, key_type, &wrapped, stated, self.test_keys())?
            }
            (None, Some(_), None) => {
                return Err(KeysError::Usage("--wrapped needs the sender's --kcv".into()));
            }
            (None, None, _) => return Err(KeysError::Usage("give --tr31 or --wrapped".into())),
        };
        if import.new.algorithm.is_some_and(|a| a != key.algorithm()) {
            let actual = key.algorithm();
            return Err(KeysError::Input(format!(
                "key {name}: the block holds a key for {actual}"
            )));
        }
        Ok(Some(key))
    }

    /// Shows or writes a key under another.
    pub(super) fn export(&self, export: &Export) -> Result<(), KeysError> {
        let (_, file) = self.open(self.test_keys())?;
        let (key, zmk) = (file.get(&export.name)?, file.get(&export.under)?);
        let text = match export.tr31 {
            Some(version) => {
                let usage = export.usage.as_deref().map(|code| usage(key, code)).transpose()?;
                wrap_block(zmk, key, Wrapping { version, usage, final_copy: export.final_copy })?
            }
            None => wrap(zmk, key)?,
        };
        if let Some(path) = &export.out {
            super::input::write_new(path, &text)?;
        }
        let form = if export.ecb { "ecb" } else { "tr31" };
        if self.json {
            let mut shown = describe(key);
            shown["under"] = json!({
                "name": zmk.name(),
                "kcv": hex::encode_upper(zmk.check_value()),
            });
            shown[form] = export.out.is_none().then_some(text).into();
            print(&shown.to_string());
            return Ok(());
        }
        if export.out.is_none() {
            print(&text);
        }
        let [of_key, of_zmk] = [key, zmk].map(|key| hex::encode_upper(key.check_value()));
        let under = zmk.name();
        print(&format!("{} check value {of_key}, under {under} check value {of_zmk}", key.name()));
        Ok(())
    }
}

/// One of the usages a key's type may have.
fn usage(key: &ClearKey, code: &str) -> Result<[u8; 2], KeysError> {
    let (usages, _) = uses(key.key_type());
    let found = usages.iter().find(|usage| usage[..] == *code.to_ascii_uppercase().as_bytes());
    found.copied().ok_or_else(|| {
        let known: Vec<_> = usages.iter().map(|usage| String::from_utf8_lossy(usage)).collect();
        let key_type = key.key_type();
        KeysError::Usage(format!("--usage for a {key_type}: one of {}", known.join(", ")))
    })
}
