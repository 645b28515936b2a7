//! [`Table::explain`]: every rule's part in a decision, for the command and for traces.
//!
//! An [`Explanation`] holds names, conditions and verdicts, nothing of the card but its product, so it may be logged.
//! **Never here:** a decision of its own: each verdict comes from the function that `decide` asks.

use std::fmt;

use crate::route::rule::{Rule, Verdict};
use crate::route::table::{ProductRoute, Table};
use crate::route::{Decision, Fallback, Policy, Question, Route};

/// One rule and what it made of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Considered<'t> {
    /// The rule.
    pub rule: &'t Rule,
    /// What it made of it.
    pub verdict: Verdict,
}

/// How a decision came about. `Display` writes it on one line, for traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'t> {
    /// What becomes of wishes.
    pub policy: Policy,
    /// The caller's wish.
    pub asked: Option<bool>,
    /// The wish after the policy.
    pub wish: Option<bool>,
    /// The product of the card.
    pub product: Option<&'t ProductRoute>,
    /// Every rule, in order.
    pub rules: Vec<Considered<'t>>,
    /// What holds where no rule decides.
    pub fallback: Fallback,
    /// What came out.
    pub decision: Decision<'t>,
}

impl Table {
    /// Tells how [`Table::decide`] comes to its decision. Allocates: not for every request.
    #[must_use]
    pub fn explain(&self, question: Question<'_>) -> Explanation<'_> {
        let facts = self.facts(&question);
        let mut open = true;
        let rules = self.plan.rules.iter().map(|rule| {
            let verdict = if open { rule.judge(&facts) } else { Verdict::NotReached };
            open &= !matches!(verdict, Verdict::Decides(_));
            Considered { rule, verdict }
        });
        Explanation {
            rules: rules.collect(),
            policy: self.plan.policy,
            asked: question.wish,
            wish: facts.wish,
            product: facts.product.and_then(|place| self.product_at(place)),
            fallback: self.plan.fallback,
            decision: self.decide(question),
        }
    }
}

/// A word for where to, or nowhere.
fn to(route: Option<Route>) -> &'static str {
    route.map_or("none", Route::label)
}

fn wish(wish: Option<bool>) -> &'static str {
    match wish {
        None => "none",
        Some(false) => "false",
        Some(true) => "true",
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decides(route) => write!(f, "decides {}", to(*route)),
            Self::Fails(condition) => write!(f, "fails on {}", condition.label()),
            Self::NotReached => f.write_str("not reached"),
            Self::Passes => f.write_str("leaves it to the client, who wishes nothing"),
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = self.product.map_or("none", |product| &product.name);
        write!(f, "product {product}; wish {}", wish(self.asked))?;
        if self.decision.wish_overridden {
            write!(f, ", {} by policy {}", wish(self.wish), self.policy.label())?;
        }
        for Considered { rule, verdict } in &self.rules {
            write!(f, "; {} {verdict}", rule.name)?;
        }
        write!(f, "; {} by {}", to(self.decision.route), self.decision.rule)
    }
}
