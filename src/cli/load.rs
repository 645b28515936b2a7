//! `pinion load`: many ATMs on a few connections, every request a real PIN change of a card of its own.
//!
//! A card goes from its first PIN to its second and back, one request at a time, so every answer is expected to be an
//! approval; at the end each card that was left with its second PIN is changed back. Messages are encoded before the
//! run; on the way only numbers are patched in, because the generator shares the machine with what it measures.
//! **Never here:** a production key: blocks are made with a clear test key. Where next: `drive` for the loop, `deck`
//! for cards and messages, `line` for one connection, `report` for the numbers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use zeroize::Zeroizing;

use crate::cli::{Failure, boot};
use crate::iso8583::frame::Framing;
use crate::sim::dukpt::KSN_BYTES;

mod deck;
mod drive;
mod line;
mod report;

use deck::Deck;
use drive::{Pace, Plan};

/// Arguments of `pinion load`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pinion load --to 127.0.0.1:8583 --connections 8 --in-flight 32 --duration 30s\n  \
    pinion load --to 127.0.0.1:8583 --rate 30000 --cards cards.csv --json\n  \
    pinion load --to 127.0.0.1:9000 --bdk bdk.pos --ksn FFFF9876543210E00001 --ksn-field 62")]
pub(super) struct Load {
    /// Where the switch listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8583")]
    to: SocketAddr,
    /// Dialect of the link.
    #[arg(long, default_value = "iso87-ascii")]
    dialect: String,
    /// Framing of the link.
    #[arg(long, default_value = "be2")]
    framing: Framing,
    /// Connections, each a terminal of its own.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Closed loop: requests each connection keeps in flight.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Fixed rate instead: requests a second over all connections. Latency counts from the moment a request was due,
    /// so a switch that stalls is charged for the requests it kept from being sent.
    #[arg(long, conflicts_with = "in_flight", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How long to measure: `30s`, `500ms`, `2m`.
    #[arg(long, default_value = "30s", value_parser = duration)]
    duration: Duration,
    /// How long to run before measuring.
    #[arg(long, default_value = "3s", value_parser = duration)]
    warm_up: Duration,
    /// Cards from a CSV file with a column `pan`, and `seq` where a number has several cards.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bin", "count", "seed"])]
    cards: Option<PathBuf>,
    /// Cards as `pinion cards generate` makes them: their BIN.
    #[arg(long, default_value = "476173")]
    bin: String,
    /// How many of them.
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// Which sequence of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The PIN every card has, and the one it gets in turn.
    #[arg(long, num_args = 2, value_names = ["FIRST", "SECOND"], default_values = ["1357", "2468"])]
    pins: Vec<String>,
    /// Hex file with the clear test key of the link's PIN blocks; the demo's `zpk.atm` if not given.
    #[arg(long, value_name = "FILE")]
    zpk: Option<PathBuf>,
    /// Be DUKPT terminals (TDES): base derivation key of the demo world, by name. Every message has a serial number of
    /// its own; a card that comes again sends those it had.
    #[arg(long, value_name = "NAME", requires = "ksn", conflicts_with_all = ["zpk", "bdk_file"])]
    bdk: Option<String>,
    /// The same with a key of one's own: a file with its clear value in hex. A test key.
    #[arg(long, value_name = "FILE", requires = "ksn", conflicts_with = "zpk")]
    bdk_file: Option<PathBuf>,
    /// Key serial number, twenty hex digits, with which the first connection begins. Each further connection is the
    /// terminal with the next number.
    #[arg(long, value_name = "HEX")]
    ksn: Option<String>,
    /// Field of the key serial number, sent as text.
    #[arg(long, value_name = "N", default_value_t = 62, requires = "ksn")]
    ksn_field: u8,
    /// Process id of the switch, to show what one change costs it.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Load {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let dialect = boot::load_dialect(&self.dialect).map_err(Failure::Usage)?;
        let cards = match &self.cards {
            Some(file) => deck::from_file(file)?,
            None => deck::generated(&self.bin, self.seed, self.count)?,
        };
        if cards.len() < usize::from(self.connections) {
            return Err(Failure::Usage("every connection needs a card of its own".to_owned()));
        }
        let pin_key = self.pin_key()?;
        let [first, second] = self.pins.as_slice() else {
            return Err(Failure::Usage("--pins takes two".to_owned()));
        };
        let run = deck::Run {
            dialect: &dialect,
            framing: &self.framing,
            pin_key: &pin_key,
            pins: [first.as_bytes(), second.as_bytes()],
        };
        let share = cards.len().div_ceil(usize::from(self.connections));
        let decks = cards
            .chunks(share)
            .zip(0..)
            .map(|(cards, number)| Deck::new(&run, number, cards))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let pace = match self.rate {
            Some(rate) => Pace::Rate(f64::from(rate)),
            None => Pace::Closed { in_flight: usize::from(self.in_flight) },
        };
        let plan = Plan {
            to: self.to,
            pace,
            warm_up: self.warm_up,
            duration: self.duration,
            server_pid: self.server_pid,
        };
        let report = drive::drive(&plan, &dialect, &self.framing, decks)?;
        report.print(self.json);
        if 0 < report.errors() {
            return Err(anyhow!("{} requests were not answered", report.errors()).into());
        }
        if report.all_approved() { Ok(()) } else { Err(Failure::Declined) }
    }
}

impl Load {
    /// The zone key, or what the keys of DUKPT terminals are derived from.
    fn pin_key(&self) -> Result<deck::PinKey, Failure> {
        let usage = |what: &str| Failure::Usage(what.to_owned());
        let bdk = match (&self.bdk, &self.bdk_file) {
            (Some(name), _) => deck::clear_key(None, name)?,
            (None, Some(file)) => deck::clear_key(Some(file), "")?,
            (None, None) if self.ksn.is_some() => {
                return Err(usage("--ksn goes with --bdk or --bdk-file"));
            }
            (None, None) => {
                return Ok(deck::PinKey::Zone(deck::clear_key(self.zpk.as_deref(), "zpk.atm")?));
            }
        };
        let bdk = bdk.as_slice().try_into();
        let bdk = bdk.map_err(|_| usage("a base derivation key has 16 bytes"))?;
        let mut first = [0; KSN_BYTES];
        hex::decode_to_slice(self.ksn.as_deref().unwrap_or_default(), &mut first)
            .map_err(|_| usage("--ksn takes twenty hex digits"))?;
        Ok(deck::PinKey::Derived { bdk: Zeroizing::new(bdk), first, field: self.ksn_field })
    }
}

/// `30s`, `500ms`, `2m`; a bare number is seconds.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().with_context(|| format!("{text}: no whole number"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs).context("too long"),
        unit => Err(anyhow!("{unit}: no unit; one of ms, s, m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<u64>) {
        let millis = duration(text).ok().map(|d| u64::try_from(d.as_millis()).unwrap());
        assert_eq!(millis, want, "{text}");
    }

    #[test]
    fn durations() {
        check("30s", Some(30_000));
        check("30", Some(30_000));
        check("500ms", Some(500));
        check("2m", Some(120_000));
        check("2h", None);
        check("s", None);
        check("99999999999999999999s", None);
    }
}
