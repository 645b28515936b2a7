//! One record of the audit as JSON, for an auditor's own tools. **Never here:** a card number, a PIN in any form, a
//! reference: what a record has of them stays where it is.

use serde_json::{Map, Value, json};

use crate::card::codec::{Body, Record};
use crate::card::{Entry, Settled, Settlement, Unsettled};
use crate::domain::forward::Forwarded;
use crate::domain::outcome::Declined;

/// The record in words.
pub(super) fn line(record: &Record) -> Value {
    let mut line = Map::new();
    line.insert("record".into(), json!(record.sequence));
    line.insert("at".into(), json!(record.at.0));
    let (kind, more) = match &record.body {
        Body::Bulk(note) => {
            let more =
                json!({ "cards": note.cards, "complete": note.complete, "source": note.source });
            ("bulk", more)
        }
        Body::Change { entry, intent, reopens, card } => {
            let mut more = described(entry);
            more["intent"] = json!(intent);
            let reopened = reopens.as_deref().map(|change| change.entry.key.text().to_string());
            more["reopens"] = json!(reopened);
            more["card_version"] = json!(card.as_ref().map(|card| card.version));
            ("request", more)
        }
        Body::Intent(change) => ("intent", intent(change)),
        Body::Note(text) => ("note", json!({ "text": text })),
        Body::Settled { key, settlement } => {
            ("settled", settled(&key.text().to_string(), settlement))
        }
    };
    line.insert("kind".into(), json!(kind));
    if let Value::Object(more) = more {
        line.extend(more);
    }
    Value::Object(line)
}

fn described(entry: &Entry) -> Value {
    let (outcome, host_code) = match entry.declined {
        None => ("approved", None),
        Some(Declined { reason, host }) => (reason.label(), host),
    };
    json!({
        "key": entry.key.text().to_string(),
        "operation": entry.operation.label(),
        "outcome": outcome,
        "host_code": host_code.map(|code| code.as_str().to_owned()),
        "link": entry.link.0,
        "stan": entry.trace.stan.as_str(),
        "rrn": entry.trace.rrn.as_str(),
        "terminal": entry.trace.terminal.as_str(),
        "original": entry.original.map(|original| original.text().to_string()),
        "overridden": entry.overridden,
    })
}

fn intent(change: &Unsettled) -> Value {
    let mut line = described(&change.entry);
    let Forwarded { host, stan, .. } = &change.forwarded;
    line["host"] = json!(host.0);
    line["host_stan"] = json!(std::str::from_utf8(&stan.digits()).unwrap_or_default());
    line
}

fn settled(key: &str, settlement: &Settlement) -> Value {
    match &settlement.how {
        Settled::ByHand { reason } => json!({ "key": key, "how": "by hand", "reason": reason }),
        Settled::Reversed { host, code } => {
            let code = code.map(|code| code.as_str().to_owned());
            json!({ "key": key, "how": "reversed", "host": host.0, "host_code": code })
        }
    }
}
