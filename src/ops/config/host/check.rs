//! The rules `[postilion]` must keep beyond its types: bounds, relations between times, elements nobody may fix.
//!
//! Bounds come from `limits`. **Never here:** a default, a conversion.

use std::net::SocketAddr;

use crate::domain::forward::Stan;
use crate::host::Fixed;
use crate::limits;
use crate::ops::config::check::{First, given, institution, name, within};
use crate::ops::config::host::{Postilion, StanRange};
use crate::ops::config::source::ConfigError;
use crate::ops::config::{Config, StoreKind};

/// Elements that the switch fills from the request or the answer, and what it would be to fix one.
const NOT_FIXED: &[(&[u8], &str)] = &[
    (&[2, 14, 23, 35, 36, 45, 52, 53, 55], "carries the card or a PIN: it comes from the request"),
    (&[3, 7, 11, 12, 13, 37, 39, 90], "tells one transaction from another"),
    (&[32], "has a key of its own: institution"),
    (&[33], "has a key of its own: forwarding_institution"),
    (&[64, 128], "is the MAC"),
    (&[0, 1], "is no element of data"),
];

/// Checks the section.
pub(crate) fn check(config: &Config, postilion: &Postilion) -> Result<(), ConfigError> {
    let source = &config.source;
    let texts =
        [("dialect", &postilion.dialect), ("framing", &postilion.framing), ("zpk", &postilion.zpk)];
    for (key, text) in texts {
        given(source, &at(key), text)?;
    }
    institution(source, &at("institution"), &postilion.institution)?;
    let forwarding = &postilion.forwarding_institution;
    institution(source, &at("forwarding_institution"), forwarding)?;
    check_times(config, postilion)?;
    let connections = 1..=limits::HOST_CONNECTIONS_MAX;
    within(source, &at("connections"), postilion.connections, connections)?;
    let in_flight = 1..=limits::IN_FLIGHT_PER_NODE_MAX;
    within(source, &at("in_flight"), postilion.in_flight, in_flight)?;
    check_stan(config, postilion)?;
    check_match_fields(config, postilion)?;
    check_codes(config, postilion)?;
    check_fields(config, postilion)?;
    if let Some(exchange) = &postilion.key_exchange {
        given(source, &at("key_exchange.zmk"), &exchange.zmk)?;
        let grace = 0..=limits::KEY_GRACE_SECONDS_MAX;
        within(source, &at("key_exchange.grace_seconds"), exchange.grace_seconds, grace)?;
        if let Some(hours) = exchange.every_hours {
            let range = 1..=limits::KEY_EXCHANGE_HOURS_MAX;
            within(source, &at("key_exchange.every_hours"), hours, range)?;
        }
    }
    check_nodes(config, postilion)
}

fn at(key: &str) -> String {
    format!("postilion.{key}")
}

fn check_times(config: &Config, postilion: &Postilion) -> Result<(), ConfigError> {
    let source = &config.source;
    let bounded =
        |key: &str, value: u64, low: u64, high: u64| within(source, &at(key), value, low..=high);
    bounded("request_ms", postilion.request_ms, 1, limits::REQUEST_MS_MAX)?;
    if config.limits.request_ms <= postilion.request_ms {
        let reason = format!(
            "{} is not less than limits.request_ms ({}): the caller would be gone first",
            postilion.request_ms, config.limits.request_ms
        );
        return Err(source.error(&at("request_ms"), reason));
    }
    bounded("echo_seconds", postilion.echo_seconds, 1, limits::ECHO_SECONDS_MAX)?;
    let echo_seconds = postilion.echo_seconds;
    bounded("echo_answer_seconds", postilion.echo_answer_seconds, 1, echo_seconds)?;
    bounded("connect_ms", postilion.connect_ms, 1, limits::CONNECT_MS_MAX)?;
    let reconnect_max_ms = postilion.reconnect_max_ms;
    bounded("reconnect_max_ms", reconnect_max_ms, 1, limits::RECONNECT_MS_MAX)?;
    bounded("reconnect_ms", postilion.reconnect_ms, 1, reconnect_max_ms)?;

    let breaker = &postilion.breaker;
    let failures = 1..=limits::BREAKER_FAILURES_MAX;
    within(source, &at("breaker.failures"), breaker.failures, failures)?;
    bounded("breaker.open_ms", breaker.open_ms, 1, limits::BREAKER_OPEN_MS_MAX)?;
    // Not `within`: neither 0 nor what is no number is a share.
    if !(0.0 < breaker.eject_share && breaker.eject_share <= 1.0) {
        let reason = format!("{} is outside: above 0, up to 1", breaker.eject_share);
        return Err(source.error(&at("breaker.eject_share"), reason));
    }

    let reversals = &postilion.reversals;
    bounded("reversals.first_ms", reversals.first_ms, 0, limits::REVERSAL_WAIT_MS_MAX)?;
    let retry_max_ms = reversals.retry_max_ms;
    bounded("reversals.retry_max_ms", retry_max_ms, 1, limits::REVERSAL_WAIT_MS_MAX)?;
    bounded("reversals.retry_ms", reversals.retry_ms, 1, retry_max_ms)?;
    let alarm_max = limits::UNSETTLED_ALARM_SECONDS_MAX;
    bounded("reversals.alarm_seconds", reversals.alarm_seconds, 1, alarm_max)
}

/// Trace numbers of six digits, and more of them than requests can be unanswered at once: the sequence comes round.
fn check_stan(config: &Config, postilion: &Postilion) -> Result<(), ConfigError> {
    let source = &config.source;
    let StanRange { first, last } = postilion.stan;
    within(source, &at("stan.first"), first, 1..=Stan::MAX.0)?;
    within(source, &at("stan.last"), last, 1..=Stan::MAX.0)?;
    if last < first {
        let reason = format!("{last} is less than stan.first ({first}): the range is empty");
        return Err(source.error(&at("stan.last"), reason));
    }
    let room = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
    let unanswered = postilion.nodes.len().max(1).saturating_mul(postilion.in_flight);
    if room <= unanswered {
        let reason = format!(
            "{room} numbers are not more than the {unanswered} requests that may be unanswered \
             (in_flight of each node): make the range longer, or in_flight less"
        );
        return Err(source.error(&at("stan"), reason));
    }
    Ok(())
}

impl Config {
    /// All trace numbers for a switch over a database that others may share: a node would see two live requests under
    /// one number.
    pub(in crate::ops::config) fn shared_trace_numbers(&self) -> Option<ConfigError> {
        let postilion = self.postilion.as_ref()?;
        let meets_others = self.store.kind == StoreKind::Postgres
            && !postilion.nodes.is_empty()
            && postilion.stan == StanRange::default();
        let reason = "another switch over this database would use the same trace numbers: give each a range of its own";
        meets_others.then(|| self.error(&at("stan"), reason))
    }
}

fn check_match_fields(config: &Config, postilion: &Postilion) -> Result<(), ConfigError> {
    let (source, key) = (&config.source, at("match_fields"));
    let fields = &postilion.match_fields;
    within(source, &key, fields.len(), 1..=limits::MATCH_FIELDS_MAX)?;
    for (index, field) in fields.iter().enumerate() {
        let here = format!("{key}[{index}]");
        within(source, &here, *field, 2..=128)?;
        if fields[..index].contains(field) {
            return Err(source.error(&here, format!("{field} is named before")));
        }
    }
    if !fields.contains(&11) {
        return Err(source.error(&key, "must contain 11: a node's requests differ by trace number"));
    }
    Ok(())
}

fn check_codes(config: &Config, postilion: &Postilion) -> Result<(), ConfigError> {
    let source = &config.source;
    let code = |key: &str, code: &str| {
        let good = (2..=4).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
        let reason = "a response code has 2 to 4 letters or digits, as text";
        if good { Ok(()) } else { Err(source.error(key, reason)) }
    };
    let approved = &postilion.approved;
    within(source, &at("approved"), approved.len(), 1..=limits::HOST_CODES_MAX)?;
    for (index, text) in approved.iter().enumerate() {
        code(&at(&format!("approved[{index}]")), text)?;
    }
    within(source, &at("codes"), postilion.codes.len(), 0..=limits::HOST_CODES_MAX)?;
    for text in postilion.codes.keys() {
        let key = at(&format!("codes.{text}"));
        code(&key, text)?;
        if approved.contains(text) {
            return Err(source.error(&key, "approves: it has no reason"));
        }
    }
    let retry_codes = &postilion.reversals.retry_codes;
    let key = at("reversals.retry_codes");
    within(source, &key, retry_codes.len(), 0..=limits::HOST_CODES_MAX)?;
    for (index, text) in retry_codes.iter().enumerate() {
        let key = format!("{key}[{index}]");
        code(&key, text)?;
        if approved.contains(text) {
            return Err(source.error(&key, "approves: the reversal would be sent for ever"));
        }
    }
    Ok(())
}

fn check_fields(config: &Config, postilion: &Postilion) -> Result<(), ConfigError> {
    let source = &config.source;
    let fields = &postilion.fields;
    within(source, &at("fields"), fields.len(), 0..=limits::HOST_FIELDS_MAX)?;
    for element in fields {
        let key = at(&format!("fields.{}", element.key()));
        let Fixed { field, sub, text: value } = element;
        if let Some((_, why)) = NOT_FIXED.iter().find(|(numbers, _)| numbers.contains(field)) {
            return Err(source.error(&key, format!("cannot be fixed: {field} {why}")));
        }
        if postilion.match_fields.contains(field) {
            return Err(source.error(&key, "cannot be fixed: match_fields names it"));
        }
        if (*field, *sub) == (127, Some(2)) {
            return Err(source.error(&key, "cannot be fixed: the switch key names one transaction"));
        }
        if sub.is_some() && fields.iter().any(|other| other.field == *field && other.sub.is_none())
        {
            return Err(source.error(&key, format!("{field} is fixed as a whole already")));
        }
        within(source, &key, value.len(), 1..=limits::HOST_FIELD_BYTES_MAX).map_err(|_| {
            source.error(&key, format!("1 to {} bytes", limits::HOST_FIELD_BYTES_MAX))
        })?;
        if !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Err(source.error(&key, "printable ASCII only"));
        }
    }
    Ok(())
}

/// Names and addresses that occur once only, and none that leads back to ourselves.
fn check_nodes(config: &Config, postilion: &Postilion) -> Result<(), ConfigError> {
    let source = &config.source;
    within(source, &at("node"), postilion.nodes.len(), 0..=limits::HOST_NODES_MAX)?;
    let mut first = First::new(source);
    for (index, node) in postilion.nodes.iter().enumerate() {
        let key = |key: &str| at(&format!("node[{index}].{key}"));
        name(source, &key("name"), &node.name)?;
        first.of("name of a node", &node.name, key("name"))?;
        let address = node.address.to_string();
        first.of("address", &address, key("address"))?;
        let address: Option<SocketAddr> = address.parse().ok();
        let own = config.links.iter().find(|link| Some(link.listen) == address);
        if let Some(link) = own {
            let reason = format!("is where link {:?} listens: requests would go round", link.name);
            return Err(source.error(&key("address"), reason));
        }
    }
    Ok(())
}
