//! `[routing]` and `[[route]]`: the ordered rules that say CMS or Postilion, checked into a [`Table`].
//!
//! Names of links and products become numbers here, where an unknown one can still be told with its line. **Never
//! here:** what a rule means: that is `route`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::domain::request::LinkId;
use crate::limits;
use crate::ops::config::check::{name, within};
use crate::ops::config::product::is_digits;
use crate::ops::config::source::{ConfigError, Source};
use crate::ops::config::{Config, Link, Product};
use crate::route::{Fallback, Plan, Policy, ProductRoute, Route, Rule, Table, Target};

/// `[routing]` with the rules of `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// What becomes of wishes.
    pub policy: Policy,
    /// What holds where no rule decides.
    pub default: Fallback,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// `[routing]` as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutingText {
    #[serde(default)]
    policy: Policy,
    #[serde(default)]
    default: Fallback,
}

/// `[[route]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    name: String,
    bins: Option<Vec<String>>,
    institutions: Option<Vec<String>>,
    links: Option<Vec<String>>,
    products: Option<Vec<String>>,
    wish: Option<bool>,
    to: Target,
}

impl RoutingText {
    /// Checks the rules and resolves their names.
    pub(super) fn check(
        self,
        rules: Vec<RuleText>,
        source: &Source,
        links: &[Link],
        products: &[Product],
    ) -> Result<Routing, ConfigError> {
        if limits::ROUTE_RULES_MAX < rules.len() {
            let reason = format!("more than {} rules", limits::ROUTE_RULES_MAX);
            return Err(source.error("route", reason));
        }
        let links: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        let products: Vec<_> = products.iter().map(|product| product.name.as_str()).collect();
        let mut names = BTreeSet::new();
        let mut checked = Vec::new();
        for (index, rule) in rules.into_iter().enumerate() {
            let at = format!("route[{index}]");
            if !names.insert(rule.name.clone()) {
                let reason = format!("another rule before it is called {:?}", rule.name);
                return Err(source.error(&format!("{at}.name"), reason));
            }
            checked.push(rule.check(source, &at, &links, &products)?);
        }
        Ok(Routing { policy: self.policy, default: self.default, rules: checked })
    }
}

impl RuleText {
    fn check(
        self,
        source: &Source,
        at: &str,
        links: &[&str],
        products: &[&str],
    ) -> Result<Rule, ConfigError> {
        name(source, &format!("{at}.name"), &self.name)?;
        let list = |key: &'static str, values| List::of(source, format!("{at}.{key}"), values);
        let known: Vec<&str> = links.iter().copied().chain(LinkId::DOORS).collect();
        let number = |place: u16| match links.len().checked_sub(usize::from(place) + 1) {
            Some(_) => Some(LinkId(place)),
            None => known.get(usize::from(place)).and_then(|name| LinkId::of_door(name)),
        };
        let named = list("links", self.links)?.places(&known)?;
        Ok(Rule {
            name: self.name.into(),
            bins: list("bins", self.bins)?.digits(1..=12)?,
            institutions: list("institutions", self.institutions)?.digits(1..=11)?,
            links: named.into_iter().filter_map(number).collect(),
            products: list("products", self.products)?.places(products)?,
            wish: self.wish,
            to: self.to,
        })
    }
}

/// The values of one condition, and the key they stand under.
struct List<'a> {
    source: &'a Source,
    key: String,
    values: Vec<String>,
}

impl<'a> List<'a> {
    fn of(
        source: &'a Source,
        key: String,
        values: Option<Vec<String>>,
    ) -> Result<Self, ConfigError> {
        if let Some(values) = &values {
            if values.is_empty() {
                let reason = "empty: name what it should match, or leave the key out";
                return Err(source.error(&key, reason));
            }
            within(source, &key, values.len(), 1..=limits::ROUTE_VALUES_MAX)?;
        }
        Ok(Self { source, key, values: values.unwrap_or_default() })
    }

    fn error(&self, index: usize, reason: impl std::fmt::Display) -> ConfigError {
        self.source.error(&format!("{}[{index}]", self.key), reason)
    }

    fn digits(self, length: RangeInclusive<usize>) -> Result<Vec<Box<str>>, ConfigError> {
        let bad = |text: &String| !is_digits(text) || !length.contains(&text.len());
        if let Some(index) = self.values.iter().position(bad) {
            let (low, high) = length.into_inner();
            return Err(self.error(index, format!("{low} to {high} digits, as text")));
        }
        Ok(self.values.into_iter().map(Into::into).collect())
    }

    /// The places of names in the list of what is configured.
    fn places(self, known: &[&str]) -> Result<Vec<u16>, ConfigError> {
        let place = |(index, name): (usize, &String)| {
            let found = known.iter().zip(0_u16..).find(|(known, _)| *known == name);
            found.map(|(_, place)| place).ok_or_else(|| {
                let there = if known.is_empty() { "none".into() } else { known.join(", ") };
                self.error(index, format!("there is no {name:?}; there are: {there}"))
            })
        };
        self.values.iter().enumerate().map(place).collect()
    }
}

impl Config {
    /// The table that routes by this configuration.
    #[must_use]
    pub fn route_table(&self) -> Table {
        let products = self.products.iter().map(|product| ProductRoute {
            name: product.name.as_str().into(),
            bin: product.bin.as_str().into(),
            route: product.route,
        });
        Table::new(Plan {
            policy: self.routing.policy,
            rules: self.routing.rules.clone(),
            fallback: self.routing.default,
            products: products.collect(),
            links: self.links.iter().map(|link| link.name.as_str().into()).collect(),
        })
    }

    /// Routes to Postilion while no node of it is configured: allowed, but hardly meant.
    pub(super) fn unserved_routes(&self) -> Vec<ConfigError> {
        if self.postilion.as_ref().is_some_and(|postilion| !postilion.nodes.is_empty()) {
            return Vec::new();
        }
        let default =
            (self.routing.default == Fallback::Postilion).then(|| "routing.default".into());
        let rules = self.routing.rules.iter().enumerate();
        let rules = rules.filter(|(_, rule)| rule.to == Target::Postilion);
        let products = self.products.iter().enumerate();
        let products = products.filter(|(_, product)| product.route == Route::Postilion);
        let keys = default
            .into_iter()
            .chain(rules.map(|(index, _)| format!("route[{index}].to")))
            .chain(products.map(|(index, _)| format!("product[{index}].route")));
        let reason =
            "no [[postilion.node]] is configured: what goes there is answered as unavailable (91)";
        keys.map(|key: String| self.error(&key, reason)).collect()
    }
}
