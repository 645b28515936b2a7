//! [`Table`]: the rules of one configuration, and the walk through them.
//!
//! **Never here:** allocation on the way to a decision.

use crate::domain::pan::Pan;
use crate::domain::request::{LinkId, Tag};
use crate::route::rule::{Facts, Rule, Verdict};
use crate::route::{Decision, Fallback, Policy, Question, Route};

const BY_PRODUCT: &str = "product of the BIN";
const BY_WISH: &str = "wish of the caller";
const BY_DEFAULT: &str = "default of the table";

/// What a table is made of.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What becomes of wishes.
    pub policy: Policy,
    /// Asked in this order.
    pub rules: Vec<Rule>,
    /// What holds where none decides.
    pub fallback: Fallback,
    /// The products. A rule names one by its place here.
    pub products: Vec<ProductRoute>,
    /// Names of the links, by their numbers: for explanations.
    pub links: Vec<Box<str>>,
}

/// A product as routing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductRoute {
    /// Its name.
    pub name: Box<str>,
    /// Digits its card numbers begin with.
    pub bin: Box<str>,
    /// Where its requests go where no rule decides.
    pub route: Route,
}

/// The routes of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(super) plan: Plan,
    // BINs in the order of their bytes, each with its product's place in the plan.
    bins: Vec<(Box<str>, u16)>,
    // Lengths that occur among the BINs, longest first.
    lengths: Vec<usize>,
}

impl Table {
    /// A table of this plan. Products beyond the first 65536 are not found; configuration refuses far fewer.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let places = plan.products.iter().zip(0..=u16::MAX);
        let mut bins: Vec<_> = places.map(|(product, at)| (product.bin.clone(), at)).collect();
        bins.sort_unstable();
        let mut lengths: Vec<_> = bins.iter().map(|(bin, _)| bin.len()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        Self { plan, bins, lengths }
    }

    /// A table without rules: every card goes where its product says.
    #[must_use]
    pub fn of_products(products: impl IntoIterator<Item = ProductRoute>) -> Self {
        Self::new(Plan { products: products.into_iter().collect(), ..Plan::default() })
    }

    /// Decides. Allocates nothing.
    #[must_use]
    pub fn decide(&self, question: Question<'_>) -> Decision<'_> {
        let facts = self.facts(&question);
        let decided = self.plan.rules.iter().find_map(|rule| match rule.judge(&facts) {
            Verdict::Decides(route) => Some((route, &*rule.name)),
            Verdict::Fails(_) | Verdict::NotReached | Verdict::Passes => None,
        });
        let (route, rule) = decided.unwrap_or_else(|| self.fall_back(&facts));
        Decision { route, rule, wish_overridden: question.wish != facts.wish }
    }

    /// The product a number belongs to: the one with the longest BIN it begins with.
    #[must_use]
    pub fn product(&self, pan: &Pan) -> Option<&ProductRoute> {
        let at = self.product_of(pan.expose_digits())?;
        self.plan.products.get(usize::from(at))
    }

    /// What becomes of wishes.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.plan.policy
    }

    /// The name of a link or door.
    #[must_use]
    pub fn link_name(&self, link: LinkId) -> Option<&str> {
        self.plan.links.get(usize::from(link.0)).map(|name| &**name).or_else(|| link.door())
    }

    /// The product at a place of the plan, as rules name them.
    #[must_use]
    pub fn product_at(&self, place: u16) -> Option<&ProductRoute> {
        self.plan.products.get(usize::from(place))
    }

    pub(super) fn facts<'q>(&self, question: &'q Question<'_>) -> Facts<'q> {
        let digits = question.pan.expose_digits();
        Facts {
            digits,
            wish: self.plan.policy.apply(question.wish),
            institution: question.institution.as_ref().map(Tag::as_str),
            link: question.link,
            product: self.product_of(digits),
        }
    }

    fn product_of(&self, digits: &[u8]) -> Option<u16> {
        self.lengths.iter().find_map(|length| {
            let head = digits.get(..*length)?;
            let at = self.bins.binary_search_by(|(bin, _)| bin.as_bytes().cmp(head)).ok()?;
            self.bins.get(at).map(|(_, place)| *place)
        })
    }

    fn fall_back(&self, facts: &Facts<'_>) -> (Option<Route>, &'static str) {
        let product = facts.product.and_then(|place| self.product_at(place));
        match (self.plan.fallback, product, facts.wish) {
            (Fallback::None, _, _) => (None, BY_DEFAULT),
            (Fallback::Postilion, _, _) => (Some(Route::Postilion), BY_DEFAULT),
            (Fallback::Product, Some(product), _) => (Some(product.route), BY_PRODUCT),
            (Fallback::Product, None, Some(wish)) => (Some(Route::of_wish(wish)), BY_WISH),
            (Fallback::Cms, _, _) | (Fallback::Product, None, None) => {
                (Some(Route::Cms), BY_DEFAULT)
            }
        }
    }
}
