//! Values of `[postilion]` that are texts with a form of their own: addresses, elements, reasons.
//!
//! **Never here:** a bound or a relation between keys (`check`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::domain::outcome::Reason;
use crate::host::Fixed;

/// Where a host listens: a name or an IP address, and a port. The name is resolved when it is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name, IPv4 address, or IPv6 address without its brackets.
    pub host: String,
    /// Port, not 0.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a host and a port, such as \"postilion-1.bank:8591\" or \"[::1]:8591\"";
        let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(FORM)?;
        let named = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(inner) => {
                let inner = inner.ok_or(FORM)?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| FORM)?;
                inner
            }
            None if !host.is_empty() && host.bytes().all(named) => host,
            None => return Err(FORM),
        };
        Ok(Self { host: host.into(), port })
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Reads a key: no leading zeros, so that one element has one key.
fn place(key: &str) -> Option<(u8, Option<u32>)> {
    let (field, sub) = match key.split_once('.') {
        Some((field, sub)) => (field, Some(sub)),
        None => (key, None),
    };
    let plain = |digits: &str| !digits.starts_with(['0', '+']);
    let field = Some(field).filter(|f| plain(f))?.parse().ok()?;
    let sub = match sub {
        Some(sub) => Some(Some(sub).filter(|s| plain(s))?.parse().ok()?),
        None => None,
    };
    Some((field, sub))
}

/// Elements by key, in the order of their numbers.
pub(super) fn read_fields<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Fixed>, D::Error> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Place(u8, Option<u32>);
    impl<'de> Deserialize<'de> for Place {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let key = String::deserialize(from)?;
            let (field, sub) = place(&key).ok_or_else(|| {
                D::Error::custom(format!("{key:?} is no element such as \"22\" or \"127.3\""))
            })?;
            Ok(Self(field, sub))
        }
    }
    let fields = BTreeMap::<Place, String>::deserialize(from)?;
    let fields = fields.into_iter();
    Ok(fields.map(|(Place(field, sub), text)| Fixed { field, sub, text: text.into() }).collect())
}

/// Reasons by response code, each by its label.
pub(super) fn read_codes<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Reason>, D::Error> {
    struct Label(Reason);
    impl<'de> Deserialize<'de> for Label {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let label = String::deserialize(from)?;
            // An answer of a host is never "not sent".
            let mut known = Reason::ALL.iter().filter(|reason| **reason != Reason::NotSent);
            let reason = known.clone().find(|reason| reason.label() == label);
            reason.copied().map(Self).ok_or_else(|| {
                let known: Vec<_> = known.by_ref().map(|reason| reason.label()).collect();
                D::Error::custom(format!("no reason {label:?}: one of {}", known.join(", ")))
            })
        }
    }
    let codes = BTreeMap::<String, Label>::deserialize(from)?;
    Ok(codes.into_iter().map(|(code, Label(reason))| (code, reason)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, port) in [
            ("127.0.0.1:8591", "127.0.0.1", 8591),
            ("node_1.bank-a.example:1", "node_1.bank-a.example", 1),
            ("[::1]:65535", "::1", 65535),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for bad in
            ["", "host", "host:", ":1", "host:0", "host:65536", "::1:80", "[host]:1", "[::1:1"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        assert!("a b:1".parse::<Address>().is_err());
    }

    #[test]
    fn keys_of_elements() {
        for (key, field, sub) in [("22", 22, None), ("127.3", 127, Some(3))] {
            assert_eq!(place(key), Some((field, sub)));
            let element = Fixed { field, sub, text: "".into() };
            assert_eq!(element.key(), key);
        }
        for bad in ["", "x", "022", "+22", "256", "22.", ".3", "127.0", "127.03", "127.3.1", " 22"]
        {
            assert_eq!(place(bad), None, "{bad:?}");
        }
    }
}
