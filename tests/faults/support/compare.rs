//! Compares what callers were told with what the simulated hosts believe and with what the switch's journal says.
//!
//! **Never here:** a look into the switch's own files: its journal is read through `pinion audit export`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::caller::{Line, PIN, part};

/// What the switch's journal says of one forwarded change.
#[derive(Debug, Default)]
pub(crate) struct Journaled {
    pub(crate) outcome: String,
    /// The node it was meant for first, from 0.
    pub(crate) host: u64,
    host_code: bool,
    reopened: bool,
    settled: bool,
}

/// The switch's journal and the hosts' agree on every change, by its key.
#[track_caller]
pub(crate) fn journals(state: &Value, exported: &str) -> BTreeMap<String, Journaled> {
    let mut journal: BTreeMap<String, Journaled> = BTreeMap::new();
    let lines = exported.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    // Intents first: of two switches over one store one may end what the other sent.
    let (intents, rest): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line["kind"] == "intent");
    for line in intents.into_iter().chain(rest) {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        match line["kind"].as_str() {
            Some("intent") => {
                let change = journal.entry(text("key")).or_default();
                change.outcome = text("outcome");
                change.host = line["host"].as_u64().expect("a node");
            }
            Some("request") if !line["intent"].is_null() => {
                let change = journal.get_mut(&text("key")).expect("an intent before its outcome");
                change.outcome = text("outcome");
                change.host_code = !line["host_code"].is_null();
            }
            Some("request") if !line["reopens"].is_null() => {
                journal.get_mut(&text("reopens")).expect("a forwarded change").reopened = true;
            }
            Some("settled") => journal.get_mut(&text("key")).expect("a change").settled = true,
            _ => {}
        }
    }
    let mut at_host: BTreeMap<String, String> = BTreeMap::new();
    for change in state["cards"]
        .as_array()
        .expect("cards")
        .iter()
        .flat_map(|card| card["changes"].as_array().expect("changes"))
    {
        let key = change["switch_key"].as_str().expect("a key").to_lowercase();
        let state = change["state"].as_str().expect("a state").to_owned();
        assert!(journal.contains_key(&key), "{key}: a host has a change that the journal has not");
        assert_eq!(at_host.insert(key, state), None, "one change, one key");
    }
    for (key, change) in &journal {
        let state = at_host.get(key).map_or("absent", String::as_str);
        let taken_back = change.reopened || change.outcome == "outcome_unknown";
        let allowed: &[&str] = match (change.outcome.as_str(), taken_back) {
            (_, true) => &["absent", "declined", "reversed"],
            ("approved", false) => &["applied", "superseded"],
            ("not_sent", false) => &["absent"],
            (_, false) => &["absent", "declined"],
        };
        assert!(allowed.contains(&state), "{key}: {change:?}, but the host has it {state}");
        assert_eq!(
            taken_back, change.settled,
            "{key}: {change:?} is settled when it is taken back"
        );
        assert!(change.outcome != "host_declined" || change.host_code, "{key}: without its code");
    }
    assert!(500 < journal.len(), "only {} changes were forwarded", journal.len());
    journal
}

/// Compares every caller's book with what the hosts believe, and counts what they were told.
#[track_caller]
pub(crate) fn books<'l>(
    state: &Value,
    all: &[String],
    books: &'l [Vec<Line>],
) -> BTreeMap<&'l str, usize> {
    let cards = state["cards"].as_array().expect("cards");
    let cards = cards.iter().map(|card| (card["pan"].as_str().expect("a number"), card)).collect();
    let mut counts = BTreeMap::new();
    for (which, lines) in books.iter().enumerate() {
        let pans: Vec<&String> = part(all, which).collect();
        book(&cards, &pans, lines, &mut counts);
    }
    counts
}

/// Compares one caller's book with what the hosts believe.
#[track_caller]
fn book<'l>(
    cards: &BTreeMap<&str, &Value>,
    pans: &[&String],
    lines: &'l [Line],
    counts: &mut BTreeMap<&'l str, usize>,
) {
    for (at, pan) in pans.iter().enumerate() {
        let mine: Vec<&Line> = lines.iter().filter(|line| line.card == at).collect();
        let Some(card) = cards.get(pan.as_str()) else {
            assert!(
                mine.iter().all(|line| line.told != "00"),
                "a change told 00 is not at the host"
            );
            continue;
        };
        let changes = card["changes"].as_array().expect("changes");
        for line in &mine {
            *counts.entry(&line.told).or_default() += 1;
            let at_host: Vec<&Value> = changes
                .iter()
                .filter(|change| change["terminal"] == line.terminal.as_str())
                .collect();
            assert!(at_host.len() <= 1, "{}: two changes for one request", line.terminal);
            let state = at_host
                .first()
                .map_or("absent", |change| change["state"].as_str().expect("a state"));
            let processed = at_host
                .first()
                .map_or(0, |change| change["times_processed"].as_u64().expect("a count"));
            assert!(processed <= 1, "{}: applied {processed} times", line.terminal);
            let taken_back = line.reversal.as_ref().is_some_and(|(_, told)| told == "00");
            let allowed: &[&str] = match (line.told.as_str(), taken_back) {
                ("00", false) => &["applied", "superseded"],
                (_, true) => &["reversed"],
                (_, false) => &["absent", "declined", "reversed"],
            };
            assert!(
                allowed.contains(&state),
                "{}: told {}, reversed {taken_back}, but the host has it {state}",
                line.terminal,
                line.told
            );
        }
        let last = mine.iter().rev().find(|line| line.told == "00" && line.reversal.is_none());
        let want = last.map_or(PIN, |line| &line.to);
        assert_eq!(card["pin"], want, "the PIN of card {at} is not the last one told 00");
    }
}
