//! `pinion cards`: import, export, show and generate cards in the store of a stopped switch.
//!
//! **Never here:** keys, the HSM, the configuration. The caller's closure opens the store and brings them as
//! [`OpenCards`]. Nothing but what was asked for goes to stdout; progress goes to stderr, only on a terminal.

use std::io::{BufRead as _, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::card::generate::generate;
use crate::card::product::Products;
use crate::card::transfer::{Form, Import, MakeReference, export, import};
use crate::card::{CardKey, CardRecord};
use crate::cli::Failure;
use crate::cli::stores::OpenStore;
use crate::domain::pan::Pan;
use crate::domain::pin::Reference;
use crate::domain::request::IdentityKind;
use crate::domain::vault::Vault;

/// Cards between two moves of the progress bar.
const PROGRESS_STEP: u64 = 1024;

/// Manage the card store.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: pinion cards import --config pinion.toml cards.csv")]
pub(super) struct CardsArgs {
    #[command(subcommand)]
    command: CardsCommand,
}

/// Which store.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Place {
    /// Configuration that names the store and its keys.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of a demo (`pinion demo --data DIR`).
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum CardsCommand {
    /// Write every card to a file or stdout, in the form that import reads. The output holds clear numbers.
    #[command(after_help = "Example: pinion cards export --data ./demo --output cards.csv")]
    Export {
        #[command(flatten)]
        place: Place,
        /// Where to; stdout if not given.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// JSON instead of CSV. A file named *.json is JSON anyway.
        #[arg(long)]
        json: bool,
    },
    /// Make cards for load tests under a product's BIN, the same for the same seed.
    #[command(
        after_help = "Example: pinion cards generate --data ./load --product visa-debit 1000000"
    )]
    Generate {
        #[command(flatten)]
        place: Place,
        /// Configured product.
        #[arg(long, value_name = "NAME")]
        product: String,
        /// Which sequence of numbers.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// PIN of every card. Load tests only: whoever has the numbers has the PINs.
        #[arg(long, default_value = "1234")]
        pin: String,
        /// How many cards.
        count: u64,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read cards from a CSV or JSON file: all of them, or none if one is wrong.
    #[command(after_help = "Example: pinion cards import --config pinion.toml cards.csv")]
    Import {
        #[command(flatten)]
        place: Place,
        /// Replace cards that are in the store already.
        #[arg(long)]
        replace: bool,
        /// CSV with a header line, or *.json.
        file: PathBuf,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one card, its number masked, its reference not at all.
    #[command(after_help = "Example: echo 4761739001010010 | pinion cards show --data ./demo -")]
    Show {
        #[command(flatten)]
        place: Place,
        /// Sequence number, where several cards have the number.
        #[arg(long)]
        seq: Option<u16>,
        /// Which name the value is.
        #[arg(long, value_enum, default_value_t = By::Pan)]
        by: By,
        /// The number or other name; `-` reads it from stdin, so that it stays out of the shell's history.
        value: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What a card is named by.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum By {
    /// Card id of the issuer's platform.
    CardId,
    /// Account number.
    Pan,
    /// Token that stands for the number.
    PanToken,
    /// Payment-instrument id.
    PaymentInstrument,
}

/// An open store and what it needs from outside.
pub(super) struct OpenCards {
    /// The store.
    pub store: OpenStore,
    /// Hashes and seals numbers.
    pub vault: Arc<dyn Vault>,
    /// The configured products.
    pub products: Products,
    /// Makes the reference of a PIN (the HSM's job); an error refuses the card.
    pub reference: Box<MakeReference<'static>>,
}

impl CardsArgs {
    /// Runs the command. `open` opens the store that a [`Place`] names.
    ///
    /// # Errors
    /// What `open` says, or what went wrong with the file or the store.
    pub(super) fn run(
        self,
        open: impl FnOnce(&Place) -> Result<OpenCards, Failure>,
    ) -> Result<(), Failure> {
        match self.command {
            CardsCommand::Export { place, output, json } => {
                Ok(run_export(&open(&place)?, output, json)?)
            }
            CardsCommand::Generate { place, product, seed, pin, count, json } => {
                Ok(run_generate(open(&place)?, &product, seed, &pin, count, json)?)
            }
            CardsCommand::Import { place, replace, file, json } => {
                Ok(run_import(open(&place)?, replace, &file, json)?)
            }
            CardsCommand::Show { place, seq, by, value, json } => {
                Ok(run_show(&open(&place)?, seq, by, value, json)?)
            }
        }
    }
}

fn run_export(cards: &OpenCards, output: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let total = cards.store.cards_count()?;
    let (bar, progress) = progress(Some(total), "cards");
    let named_json = output.as_deref().is_some_and(|path| Form::of(path) == Form::Json);
    let form = if json || named_json { Form::Json } else { Form::Csv };
    let vault = &*cards.vault;
    if let Some(path) = output {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("{}: not created", path.display()))?;
        export(&cards.store, vault, form, BufWriter::new(&file), progress)?;
        file.sync_all()?;
    } else {
        let out = BufWriter::new(std::io::stdout());
        export(&cards.store, vault, form, out, progress)?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn run_generate(
    mut cards: OpenCards,
    product: &str,
    seed: u64,
    pin: &str,
    count: u64,
    json: bool,
) -> anyhow::Result<()> {
    let Some(product) = cards.products.named(product).cloned() else {
        let mut names: Vec<&str> = cards.products.iter().map(|p| &*p.name).collect();
        names.sort_unstable();
        bail!("no product {product:?}; there are: {}", names.join(", "));
    };
    let (bar, progress) = progress(Some(count), "cards");
    let made = generate(
        &mut cards.store,
        &*cards.vault,
        &product,
        seed,
        count,
        |pan| (cards.reference)(&product, pan, Some(pin)),
        progress,
    )?;
    bar.finish_and_clear();
    cards.store.close()?;
    tell(json, "generated", made)
}

fn run_import(
    mut cards: OpenCards,
    replace: bool,
    file: &std::path::Path,
    json: bool,
) -> anyhow::Result<()> {
    let (bar, mut progress) = progress(None, "rows checked and written");
    let mut by = Import {
        vault: &*cards.vault,
        products: &cards.products,
        replace,
        reference: &mut *cards.reference,
        progress: &mut progress,
    };
    let imported = import(&mut cards.store, file, &mut by)?;
    bar.finish_and_clear();
    cards.store.close()?;
    tell(json, "imported", imported)
}

/// The outcome on stdout.
fn tell(json: bool, what: &str, count: u64) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::json!({ what: count }))?;
    } else {
        writeln!(out, "{count} cards {what}")?;
    }
    Ok(())
}

fn run_show(
    cards: &OpenCards,
    seq: Option<u16>,
    by: By,
    mut value: String,
    json: bool,
) -> anyhow::Result<()> {
    if value == "-" {
        value.clear();
        std::io::stdin().lock().read_line(&mut value)?;
    }
    let value = value.trim();
    let found = match by {
        By::Pan => {
            let pan = Pan::parse(value.as_bytes()).context("the number is none")?;
            cards.store.find(CardKey::Pan(cards.vault.pan_hash(&pan), seq))?
        }
        By::CardId => cards.store.find(CardKey::Identity(IdentityKind::CardId, value))?,
        By::PanToken => cards.store.find(CardKey::Identity(IdentityKind::PanToken, value))?,
        By::PaymentInstrument => {
            cards.store.find(CardKey::Identity(IdentityKind::PaymentInstrument, value))?
        }
    };
    let Some(card) = found else {
        bail!("no such card, or several with this number: give --seq");
    };
    let shown = shown(&card, cards)?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::Value::Object(shown))?;
    } else {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        for (name, value) in &shown {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            table.add_row([name.clone(), value]);
        }
        writeln!(out, "{table}")?;
    }
    Ok(())
}

/// A card as an operator may see it.
fn shown(
    card: &CardRecord,
    cards: &OpenCards,
) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let pan = cards.vault.open_pan(&card.sealed_pan)?;
    let product = cards.products.get(card.product);
    let reference = match card.reference {
        Reference::None => "none",
        Reference::Offset { .. } => "offset",
        Reference::Lmk(_) => "PIN under the LMK",
        Reference::Pvv(_) => "PVV",
    };
    let mut shown = serde_json::json!({
        "pan": pan.masked().to_string(),
        "seq": format!("{:03}", card.sequence),
        "expiry": format!("{:04}", card.expiry),
        "product": product.map_or("not configured", |p| &p.name),
        "organization": card.product.organization,
        "logo": card.product.logo,
        "status": card.status,
        "account_status": card.account_status,
        "account_type": card.account_type,
        "pin_suppressed": card.pin_suppressed,
        "pin_tries_used": card.pin_tries_used,
        "changes": card.changes,
        "version": card.version,
        "reference": reference,
        "last_change_undoable": card.undo.is_some(),
    });
    if let Some(identities) = &card.identities {
        for (name, value) in [
            ("pan_token", &identities.pan_token),
            ("payment_instrument_id", &identities.payment_instrument),
            ("card_id", &identities.card_id),
            ("external_user_id", &identities.external_user_id),
            ("account_id", &identities.account_id),
            ("person_id", &identities.person_id),
        ] {
            if let Some(value) = value {
                shown[name] = serde_json::Value::from(&**value);
            }
        }
    }
    match shown {
        serde_json::Value::Object(members) => Ok(members),
        _ => bail!("a card is an object"),
    }
}

/// A bar on stderr, hidden unless that is a terminal, and what moves it.
pub(super) fn progress(total: Option<u64>, what: &'static str) -> (ProgressBar, impl FnMut(u64)) {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = match total {
        Some(_) => "{bar:40} {human_pos}/{human_len} {msg} {per_sec} {eta}",
        None => "{spinner} {human_pos} {msg} {per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    let moving = bar.clone();
    (bar, move |done| {
        if done % PROGRESS_STEP == 0 {
            moving.set_position(done);
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        cards: CardsArgs,
    }

    #[test]
    fn the_command_lines_of_the_help_parse() {
        Line::command().debug_assert();
        for line in [
            "cards import --config pinion.toml cards.csv",
            "cards export --data ./demo --output cards.csv",
            "cards generate --data ./load --product visa-debit 1000000",
            "cards show --data ./demo -",
            "cards show --data ./demo --by card-id 9eefa38e",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in ["cards import cards.csv", "cards import --data d --config c cards.csv"] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
