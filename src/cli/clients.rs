//! `pinion clients`: who may use the HTTP doors: added with a new token, listed, revoked.
//!
//! A token is printed once and kept nowhere; the file has its SHA-256. The file is replaced whole or not at all, and
//! its comments stay. **Never here:** what a client may do while the switch runs (`http`). Where next:
//! `ops::config::http` for the file.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::{Failure, boot};
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::keyfile::KeyFile;
use crate::hsm::lmk::Lmk;
use crate::http::{Door, Presentation, hashed};
use crate::ops::config::{ClientRight, Config, HttpClient, HttpClients};

/// Bytes of a token before they are text.
const TOKEN_BYTES: usize = 32;

/// Arguments of `pinion clients`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pinion clients --config pinion.toml add bank-1 --door firstvision-apac --zpk zpk.bank-1\n  \
    pinion clients --config pinion.toml list\n  \
    pinion clients --config pinion.toml revoke bank-1")]
pub(super) struct ClientsArgs {
    /// The configuration file, whose `[http]` names the file of clients.
    #[arg(long, global = true, default_value = "pinion.toml")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a client and print its new token, once.
    #[command(
        after_help = "Example: pinion clients add app-1 --door p100 --right set --bin 476174"
    )]
    Add(Box<Add>),
    /// List the clients.
    #[command(after_help = "Example: pinion clients list --json")]
    List,
    /// Take a client out.
    #[command(after_help = "Example: pinion clients revoke app-1")]
    Revoke {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// Its name: a-z, 0-9, '-', '_', '.'.
    name: String,
    /// A door it may use. May be repeated.
    #[arg(long = "door", value_name = "DOOR", required = true, value_parser = door)]
    doors: Vec<Door>,
    /// What it may ask for: change, set or reveal. May be repeated; change if not given.
    #[arg(long = "right", value_name = "RIGHT", value_parser = right)]
    rights: Vec<ClientRight>,
    /// Its zone PIN key.
    #[arg(long, value_name = "KEY")]
    zpk: Option<String>,
    /// A zone PIN key by key association, as `IVL=zpk.bank-1`. May be repeated.
    #[arg(long = "association", value_name = "NAME=KEY")]
    associations: Vec<String>,
    /// Its RSA key.
    #[arg(long, value_name = "KEY")]
    rsa_key: Option<String>,
    /// How it pads: oaep-sha256, oaep-sha1 or pkcs1-v1_5.
    #[arg(long, value_name = "PADDING", requires = "rsa_key")]
    rsa_padding: Option<String>,
    /// An organization whose cards it may name. May be repeated; all if not given.
    #[arg(long = "organization", value_name = "NUMBER")]
    organizations: Vec<u16>,
    /// Digits that its cards' numbers begin with. May be repeated; any if not given.
    #[arg(long = "bin", value_name = "DIGITS")]
    bins: Vec<String>,
    /// Its `X-ClientID` at firstvision-latam.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Requests a second.
    #[arg(long, default_value_t = 100)]
    per_second: u32,
    /// Requests at once.
    #[arg(long, default_value_t = 100)]
    burst: u32,
    /// It brings tokens that the configured issuer signs; none is made.
    #[arg(long)]
    jwt: bool,
    /// It must sign its requests: a secret is made, kept in the key file, and printed once.
    #[arg(long)]
    signature: bool,
}

fn door(text: &str) -> Result<Door, String> {
    let known = || Door::ALL.map(Door::name).join(", ");
    Door::named(text).ok_or_else(|| format!("no such door: one of {}", known()))
}

fn right(text: &str) -> Result<ClientRight, String> {
    let all = [ClientRight::Change, ClientRight::Set, ClientRight::Reveal];
    let found = all.into_iter().find(|right| right.label() == text);
    found.ok_or_else(|| "no such right: change, set or reveal".to_owned())
}

impl ClientsArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        let Some(http) = &config.http else {
            return Err(config.error("http", "missing: the doors and their clients").into());
        };
        let file = &http.clients;
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(anyhow!("{}: {error}", file.display()).into()),
        };
        let had = HttpClients::parse(&text, &file.display().to_string())?;
        match &self.command {
            Command::Add(add) => self.add(&config, file, text, add),
            Command::List => {
                self.list(&had.clients);
                Ok(())
            }
            Command::Revoke { name } => self.revoke(file, &text, &had, name),
        }
    }

    fn add(
        &self,
        config: &Config,
        file: &Path,
        mut text: String,
        add: &Add,
    ) -> Result<(), Failure> {
        let has_latam = add.doors.iter().any(|d| d.presentation() == Presentation::BearerAndApiKey);
        let token = if add.jwt { None } else { Some(secret(URL_SAFE_NO_PAD_TEXT)?) };
        let api_key = if has_latam { Some(secret(URL_SAFE_NO_PAD_TEXT)?) } else { None };
        let entry = add.entry(token.as_deref(), api_key.as_deref());
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&entry);
        let origin = file.display().to_string();
        let hsm = boot::open_hsm(config, boot::clock())?;
        let signed_tokens = config.http.as_ref().is_some_and(|http| http.jwt.is_some());
        boot::resolve(&HttpClients::parse(&text, &origin)?, signed_tokens, &*hsm)?;
        let signing = if add.signature {
            let key = format!("signature.{}", add.name);
            let signing = sign(config, &key)?;
            let _ = writeln!(text, "signature_key = {}", quoted(&key));
            Some(signing)
        } else {
            None
        };
        write(file, &text).with_context(|| origin.clone())?;
        let secrets = [("token", &token), ("apikey", &api_key), ("signature secret", &signing)];
        let shown = secrets.iter().filter_map(|(what, text)| Some((*what, text.as_deref()?)));
        if self.json {
            let mut document = json!({ "client": add.name });
            for (what, text) in shown {
                document[what.replace(' ', "_")] = text.as_str().into();
            }
            say!("{document}");
            return Ok(());
        }
        say!("client {} added to {origin}", add.name);
        for (what, text) in shown {
            say!("{what:<17} {}", text.as_str());
        }
        say!("What is printed here is kept nowhere. Send the switch SIGHUP to let the client in.");
        Ok(())
    }

    fn list(&self, clients: &[HttpClient]) {
        let rights = |client: &HttpClient| {
            client.rights.iter().map(|right| right.label()).collect::<Vec<_>>()
        };
        let credential = |client: &HttpClient| match client.token_sha256 {
            Some(_) => "token",
            None => "jwt",
        };
        if self.json {
            let row = |client: &HttpClient| {
                json!({
                    "name": client.name,
                    "doors": client.doors,
                    "credential": credential(client),
                    "rights": rights(client),
                    "organizations": client.organizations,
                    "bins": client.bins,
                    "signature": client.signature_key.is_some(),
                    "per_second": client.per_second,
                    "burst": client.burst,
                })
            };
            let rows = Value::Array(clients.iter().map(row).collect());
            say!("{rows}");
            return;
        }
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["name", "doors", "credential", "rights", "a second"]);
        for client in clients {
            table.add_row([
                client.name.clone(),
                client.doors.join(", "),
                credential(client).to_owned(),
                rights(client).join(", "),
                client.per_second.to_string(),
            ]);
        }
        say!("{table}");
    }

    fn revoke(
        &self,
        file: &Path,
        text: &str,
        had: &HttpClients,
        name: &str,
    ) -> Result<(), Failure> {
        let at = had.clients.iter().position(|client| client.name == name);
        let at = at.ok_or_else(|| anyhow!("no client {name:?} in {}", file.display()))?;
        let left = without(text, at);
        // What is left must be the same file but for the one client.
        let after = HttpClients::parse(&left, &file.display().to_string())?;
        let others = had.clients.iter().filter(|client| client.name != name);
        if !after.clients.iter().eq(others) {
            return Err(anyhow!(
                "the client's table cannot be told apart: edit {} by hand",
                file.display()
            )
            .into());
        }
        write(file, &left).with_context(|| file.display().to_string())?;
        if self.json {
            say!("{}", json!({ "revoked": name }));
            return Ok(());
        }
        say!("client {name} is out of {}", file.display());
        say!("Send the switch SIGHUP to shut it out.");
        Ok(())
    }
}

impl Add {
    fn entry(&self, token: Option<&String>, api_key: Option<&String>) -> String {
        let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
        let mut text = String::from("\n[[client]]\n");
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key} = {value}");
        };
        line("name", quoted(&self.name));
        line("doors", list(self.doors.iter().map(|door| quoted(door.name())).collect()));
        let digest = |secret: &String| quoted(&hex::encode(hashed(secret)));
        if let Some(token) = token {
            line("token_sha256", digest(token));
        }
        if let Some(api_key) = api_key {
            line("api_key_sha256", digest(api_key));
        }
        if let Some(id) = &self.client_id {
            line("client_id", quoted(id));
        }
        if !self.rights.is_empty() {
            line("rights", list(self.rights.iter().map(|right| quoted(right.label())).collect()));
        }
        if !self.organizations.is_empty() {
            line("organizations", list(self.organizations.iter().map(u16::to_string).collect()));
        }
        if !self.bins.is_empty() {
            line("bins", list(self.bins.iter().map(|bin| quoted(bin)).collect()));
        }
        if let Some(zpk) = &self.zpk {
            line("zpk", quoted(zpk));
        }
        if !self.associations.is_empty() {
            let pair = |pair: &String| {
                let (name, key) = pair.split_once('=').unwrap_or((pair, ""));
                format!("{} = {}", quoted(name), quoted(key))
            };
            let pairs: Vec<_> = self.associations.iter().map(pair).collect();
            line("key_associations", format!("{{ {} }}", pairs.join(", ")));
        }
        if let Some(key) = &self.rsa_key {
            line("rsa_key", quoted(key));
        }
        if let Some(padding) = &self.rsa_padding {
            line("rsa_padding", quoted(padding));
        }
        line("per_second", self.per_second.to_string());
        line("burst", self.burst.to_string());
        text
    }
}

/// A text of TOML. Control characters and the like are refused by whoever reads it as a name.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// How random bytes become text.
type Spelling = fn(&[u8]) -> String;

const URL_SAFE_NO_PAD_TEXT: Spelling = |bytes| URL_SAFE_NO_PAD.encode(bytes);

fn secret(spelled: Spelling) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(Zeroizing::new(spelled(bytes.as_slice())))
}

/// Makes a secret for signatures and puts it into the key file. The key is the text as it is printed: 32 hex digits.
fn sign(config: &Config, name: &str) -> Result<Zeroizing<String>, Failure> {
    let spelled = secret(|bytes| hex::encode(bytes.get(..16).unwrap_or_default()))?;
    let refused = |error: crate::hsm::keyfile::KeyFileError| Failure::Config(error.to_string());
    let test_keys = if config.hsm.allow_test_keys { TestKeys::Allowed } else { TestKeys::Refused };
    let lmk = Lmk::read(&config.hsm.lmk, test_keys).map_err(refused)?;
    let mut keys = KeyFile::read(&config.hsm.keys, &lmk, test_keys).map_err(refused)?;
    let bytes = Zeroizing::new(spelled.as_bytes().to_vec());
    let key = ClearKey::new(name, KeyType::Signature, Algorithm::Hmac, bytes, test_keys)
        .map_err(|error| Failure::Config(error.to_string()))?;
    keys.replace(key).map_err(refused)?;
    keys.write(&config.hsm.keys, &lmk).map_err(refused)?;
    Ok(spelled)
}

/// The text without the `at`th `[[client]]`: from its line to that of the next table.
fn without(text: &str, at: usize) -> String {
    let mut seen = 0;
    let mut inside = false;
    let keep = |line: &&str| {
        let trimmed = line.trim_start();
        if trimmed.starts_with("[[client]]") {
            inside = seen == at;
            seen += 1;
        } else if trimmed.starts_with('[') && !trimmed.starts_with("[client.") {
            inside = false;
        }
        !inside
    };
    text.split_inclusive('\n').filter(keep).collect()
}

/// Replaces the file whole: a reader sees the old one or the new one.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = || {
        let mut options = OpenOptions::new();
        let mut new = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&temporary, file)?;
        crate::hsm::lmk::sync_directory(file)
    };
    written().inspect_err(|_| {
        // Best effort: what matters is that the old file stands.
        let _ = std::fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_goes_and_the_rest_stays() {
        let text = "# ours\n[[client]]\nname = \"a\"\n\n[[client]]\nname = \"b\"\n[client.key_associations]\n\
                    IVL = \"k\"\n# of c\n[[client]]\nname = \"c\"\n";
        assert_eq!(
            without(text, 1),
            "# ours\n[[client]]\nname = \"a\"\n\n[[client]]\nname = \"c\"\n"
        );
        assert_eq!(without(text, 3), text);
    }

    #[test]
    fn an_entry_is_read_as_it_was_meant() {
        let add = Add {
            name: "bank".into(),
            doors: vec![Door::FirstvisionLatam, Door::FirstvisionApac],
            rights: vec![ClientRight::Change, ClientRight::Set],
            zpk: Some("zpk.bank".into()),
            associations: vec!["IVL=zpk.bank".into(), "I V=zpk.bank".into()],
            rsa_key: Some("rsa.bank".into()),
            rsa_padding: Some("pkcs1-v1_5".into()),
            organizations: vec![600, 601],
            bins: vec!["476173".into()],
            client_id: Some("00970".into()),
            per_second: 5,
            burst: 7,
            jwt: false,
            signature: false,
        };
        let text = add.entry(Some(&"one".to_owned()), Some(&"two".to_owned()));
        let all = HttpClients::parse(&text, "clients.toml").unwrap();
        let client = &all.clients[0];
        assert_eq!(client.token_sha256, Some(hashed("one")));
        assert_eq!(client.api_key_sha256, Some(hashed("two")));
        assert_eq!(client.key_associations["I V"], "zpk.bank");
        assert_eq!((client.per_second, client.burst), (5, 7));
        assert_eq!(client.organizations.as_deref(), Some(&[600, 601][..]));
    }
}
