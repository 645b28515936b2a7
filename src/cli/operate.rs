//! `pinion unsettled`, `pinion hosts` and `pinion hsm`: an operator's acts on a running switch, over its admin port.
//!
//! The running switch has its store open, so these commands ask it instead of reading the files. **Never here:** a
//! decision: the switch makes it.

use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use axum::http::Method;
use clap::{Args, Subcommand};
use comfy_table::Table;
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::exchange::{Ask, exchange};
use crate::limits::ADMIN_ANSWER_BYTES_MAX;

/// The switch an act is for.
#[derive(Debug, Args)]
struct Target {
    /// Its admin port. It takes acts from its own machine only.
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `pinion unsettled`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion unsettled list\n  \
                        pinion unsettled settle 0f3c... --by ann --reason \"undone at the host by hand, ticket 812\"")]
pub(super) struct Unsettled {
    #[command(subcommand)]
    act: UnsettledAct,
}

#[derive(Debug, Subcommand)]
enum UnsettledAct {
    /// Changes whose outcome at a host is unknown, oldest first.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// One of them.
    Show {
        /// Its key, as `list` prints it.
        key: String,
        #[command(flatten)]
        target: Target,
    },
    /// End one without the host: its reversal is sent no more. Who and why go into the audit.
    Settle {
        /// Its key, as `list` prints it.
        key: String,
        /// Who says so.
        #[arg(long)]
        by: String,
        /// Why, without card data.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Arguments of `pinion hosts`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion hosts list\n  pinion hosts drain postilion-1")]
pub(super) struct Hosts {
    #[command(subcommand)]
    act: HostsAct,
}

#[derive(Debug, Subcommand)]
enum HostsAct {
    /// Nodes, their connections and what they are doing.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Give a node no new requests; what is under way is finished.
    Drain {
        /// Its name.
        host: String,
        #[command(flatten)]
        target: Target,
    },
    /// Give a node requests again.
    Resume {
        /// Its name.
        host: String,
        #[command(flatten)]
        target: Target,
    },
    /// Ask a node for a new zone key under the zone master key.
    ExchangeKey {
        /// Its name.
        host: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Arguments of `pinion hsm`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pinion hsm list\n  pinion hsm drain payshield-1")]
pub(super) struct Devices {
    #[command(subcommand)]
    act: DevicesAct,
}

#[derive(Debug, Subcommand)]
enum DevicesAct {
    /// Devices, their connections, what they have under way, whether they are drained.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Give a device no new commands; what is under way is finished. A restart of the switch forgets it.
    Drain {
        /// Its name.
        device: String,
        /// Also if no other device takes commands: every request gets 86 then.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Give a device commands again.
    Resume {
        /// Its name.
        device: String,
        #[command(flatten)]
        target: Target,
    },
}

impl Unsettled {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.act {
            UnsettledAct::List { target } => {
                let answer = target.get("/admin/unsettled")?;
                target.print_list(&answer, "unsettled")
            }
            UnsettledAct::Show { key, target } => {
                let answer = target.get(&format!("/admin/unsettled/{}", plain(&key)?))?;
                target.print(&answer);
                Ok(())
            }
            UnsettledAct::Settle { key, by, reason, target } => {
                let path = format!("/admin/unsettled/{}/settle", plain(&key)?);
                let answer = target.post(&path, &json!({ "by": by, "reason": reason }))?;
                target.print(&answer);
                Ok(())
            }
        }
    }
}

impl Hosts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, act, target) = match self.act {
            HostsAct::List { target } => {
                let answer = target.get("/status")?;
                return target.print_list(&answer, "hosts");
            }
            HostsAct::Drain { host, target } => (host, "drain", target),
            HostsAct::Resume { host, target } => (host, "resume", target),
            HostsAct::ExchangeKey { host, target } => (host, "exchange-key", target),
        };
        let path = format!("/admin/hosts/{}/{act}", plain(&host)?);
        let answer = target.post(&path, &json!({}))?;
        target.print(&answer);
        Ok(())
    }
}

impl Devices {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (device, act, body, target) = match self.act {
            DevicesAct::List { target } => {
                let answer = target.get("/status")?;
                let hsm = &answer["hsm"];
                if hsm["kind"] == "soft" && !target.json {
                    say!("no devices: the software module does the PIN work");
                    return Ok(());
                }
                return target.print_list(hsm, "devices");
            }
            DevicesAct::Drain { device, force, target } => {
                (device, "drain", json!({ "force": force }), target)
            }
            DevicesAct::Resume { device, target } => (device, "resume", json!({}), target),
        };
        let path = format!("/admin/hsm/{}/{act}", plain(&device)?);
        let answer = target.post(&path, &body)?;
        target.print(&answer);
        Ok(())
    }
}

/// Names and keys stand in a path as they are.
fn plain(name: &str) -> Result<&str, Failure> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !name.is_empty() && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(Failure::Usage(format!("{name:?}: letters, digits, - _ . only")))
}

impl Target {
    fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, String::new())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, body.to_string())
    }

    fn ask(&self, method: Method, path: &str, body: String) -> Result<Value, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let headers = &[];
        let ask = Ask { method, path, headers, body, bytes_max: ADMIN_ANSWER_BYTES_MAX };
        let (code, answer) = runtime.block_on(exchange(self.admin, ask))?;
        let answer: Value = serde_json::from_slice(&answer).context("the answer is no JSON")?;
        if code == 200 {
            return Ok(answer);
        }
        let why = answer["error"].as_str().unwrap_or("no reason given");
        Err(anyhow!("{}: {code}: {why}", self.admin).into())
    }

    fn print(&self, answer: &Value) {
        match answer.as_object() {
            Some(object) if !self.json => {
                for (name, value) in object {
                    say!("{name:24} {}", cell(value));
                }
            }
            _ => say!("{answer}"),
        }
    }

    /// One line a row; as JSON one document a line.
    fn print_list(&self, answer: &Value, name: &str) -> Result<(), Failure> {
        let rows = answer[name].as_array().context("the switch does not tell that")?;
        if self.json {
            for row in rows {
                say!("{row}");
            }
            return Ok(());
        }
        let Some(first) = rows.first().and_then(Value::as_object) else {
            say!("none");
            return Ok(());
        };
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(first.keys());
        for row in rows {
            table.add_row(first.keys().map(|key| cell(&row[key])));
        }
        say!("{table}");
        Ok(())
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_leave_its_place_in_the_path_is_refused() {
        assert!(plain("postilion-1").is_ok());
        for bad in ["", "a/b", "..%2f", "a b", "a?b"] {
            assert!(plain(bad).is_err(), "{bad}");
        }
    }
}
