//! The demo's HTTP doors: its clients' file and the RSA key pair of the door `postcard`, made at the first start.
//!
//! **Never here:** the doors (`http`).

use std::path::Path;

use crate::hsm::key::{ClearKey, KeyType, TestKeys, rsa};
use crate::hsm::keyfile::KeyFile;
use crate::hsm::lmk::Lmk;
use crate::ops::config::Config;

/// The demo's clients, with the credentials of the outside contract.
const CLIENTS: &str = include_str!("../../../deploy/demo/clients.toml");
/// The key pair under which clients of `postcard` encrypt.
const RSA: &str = "rsa.postcard";
const RSA_BITS: usize = 2048;

/// Where the public half of the key pair lies.
pub(super) const PUBLIC: &str = "rsa.postcard.pem";

/// Writes what is not there yet: clients, key pair, its public half.
pub(super) fn write(config: &Config, lmk: &Lmk, data: &Path) -> anyhow::Result<()> {
    if let Some(http) = &config.http
        && !http.clients.exists()
    {
        std::fs::write(&http.clients, CLIENTS)?;
    }
    let mut keys = KeyFile::read(&config.hsm.keys, lmk, TestKeys::Allowed)?;
    if keys.get(RSA).is_err() {
        keys.add(ClearKey::generate_rsa(RSA, KeyType::Rsa, RSA_BITS)?)?;
        keys.write(&config.hsm.keys, lmk)?;
    }
    let public = rsa::public_pem(keys.get(RSA)?.expose_bytes())?;
    Ok(std::fs::write(data.join(PUBLIC), public)?)
}
