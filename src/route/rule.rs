//! One rule of the table: its conditions, and where it sends what meets them.
//!
//! **Never here:** names to look up. Links and products are numbers by the time a rule exists.

use serde::Deserialize;

use crate::domain::request::LinkId;
use crate::route::Route;

/// One rule. Every condition that is given must hold; an empty list or `None` is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name: in traces and explanations.
    pub name: Box<str>,
    /// The card's number begins with one of these digits.
    pub bins: Vec<Box<str>>,
    /// The receiving institution is one of these.
    pub institutions: Vec<Box<str>>,
    /// The request came by one of these links.
    pub links: Vec<LinkId>,
    /// The card belongs to one of these products, by their places in the list of products.
    pub products: Vec<u16>,
    /// The request has this wish, after the policy.
    pub wish: Option<bool>,
    /// Where to.
    pub to: Target,
}

/// Where a rule sends what meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Where the wish says; without one the next rules are asked.
    Client,
    /// Our own card records.
    Cms,
    /// Nowhere: the institution is not served.
    None,
    /// The active-active hosts.
    Postilion,
}

impl Target {
    /// As the configuration writes it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Cms => "cms",
            Self::None => "none",
            Self::Postilion => "postilion",
        }
    }
}

/// A condition of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// [`Rule::bins`].
    Bins,
    /// [`Rule::institutions`].
    Institutions,
    /// [`Rule::links`].
    Links,
    /// [`Rule::products`].
    Products,
    /// [`Rule::wish`].
    Wish,
}

impl Condition {
    /// Its key in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bins => "bins",
            Self::Institutions => "institutions",
            Self::Links => "links",
            Self::Products => "products",
            Self::Wish => "wish",
        }
    }
}

/// What a rule makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It decides: where to, or nowhere.
    Decides(Option<Route>),
    /// This condition does not hold.
    Fails(Condition),
    /// A rule before it decided.
    NotReached,
    /// It leaves it to the client, who wishes nothing.
    Passes,
}

/// A question with the policy applied and the card's product found.
#[derive(Clone, Copy)]
pub(super) struct Facts<'q> {
    pub(super) digits: &'q [u8],
    pub(super) wish: Option<bool>,
    pub(super) institution: Option<&'q str>,
    pub(super) link: Option<LinkId>,
    pub(super) product: Option<u16>,
}

impl Rule {
    /// What it makes of a request that no rule before it decided.
    pub(super) fn judge(&self, facts: &Facts<'_>) -> Verdict {
        if let Some(condition) = self.failing(facts) {
            return Verdict::Fails(condition);
        }
        match (self.to, facts.wish) {
            (Target::Client, Some(wish)) => Verdict::Decides(Some(Route::of_wish(wish))),
            (Target::Client, None) => Verdict::Passes,
            (Target::Cms, _) => Verdict::Decides(Some(Route::Cms)),
            (Target::None, _) => Verdict::Decides(None),
            (Target::Postilion, _) => Verdict::Decides(Some(Route::Postilion)),
        }
    }

    /// The first condition that does not hold.
    fn failing(&self, facts: &Facts<'_>) -> Option<Condition> {
        let bins = || self.bins.iter().any(|bin| facts.digits.starts_with(bin.as_bytes()));
        let institution = |known: &str| self.institutions.iter().any(|named| **named == *known);
        if !self.bins.is_empty() && !bins() {
            Some(Condition::Bins)
        } else if !self.institutions.is_empty() && !facts.institution.is_some_and(institution) {
            Some(Condition::Institutions)
        } else if !self.links.is_empty() && !facts.link.is_some_and(|id| self.links.contains(&id)) {
            Some(Condition::Links)
        } else if !self.products.is_empty()
            && !facts.product.is_some_and(|product| self.products.contains(&product))
        {
            Some(Condition::Products)
        } else if self.wish.is_some() && self.wish != facts.wish {
            Some(Condition::Wish)
        } else {
            None
        }
    }
}
