//! Decides who handles a request: Postilion (active-active) or the card management system.
//!
//! A [`Table`] is a snapshot made from the configuration and replaced whole on reload. It answers a [`Question`] with
//! a [`Decision`] that names the rule behind it, and [`Table::explain`] tells every rule's part in it. In this order:
//!
//! 1. The [`Policy`] may turn the wish of the caller round. What is said below of a wish is said of the wish after it.
//! 2. The first rule decides whose conditions all hold. One that leaves it to the client decides only if there is a
//!    wish.
//! 3. Where no rule does, the [`Fallback`] does: by default the route of the card's product, which wins over a wish;
//!    for a card of no product the wish; without one the CMS, where an unknown number is a card unknown.
//!
//! **Never here:** sockets, card records, health of a host. Where next: `rule` for conditions, `table` for the walk,
//! `explain` for people.

mod explain;
mod rule;
mod table;
#[cfg(test)]
mod tests;

use serde::Deserialize;

use crate::domain::pan::Pan;
use crate::domain::request::{LinkId, Tag};

pub use explain::{Considered, Explanation};
pub use rule::{Condition, Rule, Target, Verdict};
pub use table::{Plan, ProductRoute, Table};

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Our own card records.
    Cms,
    /// The active-active switch beyond us.
    Postilion,
}

impl Route {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cms, Self::Postilion];

    /// A word for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cms => "cms",
            Self::Postilion => "postilion",
        }
    }

    /// What a caller's wish (`isActiveActive`) asks for.
    #[must_use]
    pub const fn of_wish(active: bool) -> Self {
        if active { Self::Postilion } else { Self::Cms }
    }
}

/// What becomes of callers' wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// They count.
    #[default]
    Client,
    /// Requests that are not active-active are restricted: a wish of `false` becomes `true`.
    #[serde(alias = "force_active")]
    ForceActive,
    /// Postilion is not to be wished for: a wish of `true` becomes `false`.
    #[serde(alias = "force_cms")]
    ForceCms,
}

impl Policy {
    /// As the configuration writes it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ForceActive => "force-active",
            Self::ForceCms => "force-cms",
        }
    }

    /// The wish that counts. Who wishes nothing is not forced to.
    const fn apply(self, wish: Option<bool>) -> Option<bool> {
        match (self, wish) {
            (Self::ForceActive, Some(false)) => Some(true),
            (Self::ForceCms, Some(true)) => Some(false),
            (Self::Client | Self::ForceActive | Self::ForceCms, wish) => wish,
        }
    }
}

/// What holds where no rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// The CMS.
    Cms,
    /// Nobody: the institution is not served.
    None,
    /// Postilion.
    Postilion,
    /// The route of the card's product; of a card of no product the wish; else the CMS.
    #[default]
    Product,
}

impl Fallback {
    /// As the configuration writes it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cms => "cms",
            Self::None => "none",
            Self::Postilion => "postilion",
            Self::Product => "product",
        }
    }
}

/// What the table looks at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The card's number.
    pub pan: &'a Pan,
    /// The caller's wish (`isActiveActive`), where the link or door carries one.
    pub wish: Option<bool>,
    /// Receiving institution (DE 100, `rid`), where the request names one. Compared as it is written.
    pub institution: Option<Tag>,
    /// Which link or door it came by; `None` where that is not known.
    pub link: Option<LinkId>,
}

/// Where to, and which rule said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'t> {
    /// Where to; `None` for nowhere, which is [`crate::domain::outcome::Reason::NoRoute`].
    pub route: Option<Route>,
    /// The rule's name, for traces and `/status`; without a rule, what stood in for one. Names have no blanks, the
    /// stand-ins do.
    pub rule: &'t str,
    /// The policy turned the caller's wish round, whether or not that changed the route.
    pub wish_overridden: bool,
}
