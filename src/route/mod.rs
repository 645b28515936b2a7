//! Decides who handles a request: Postilion (active-active) or the card management system.
//!
//! A [`Table`] is a snapshot made from the configuration and replaced whole on reload. It answers a [`Question`] with
//! a [`Decision`] that carries its reason. **Never here:** sockets, card records, health of a host.

use crate::domain::pan::Pan;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

/// What the table looks at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The card's number.
    pub pan: &'a Pan,
    /// The caller's wish (`isActiveActive`), where the link or door carries one.
    pub wish: Option<bool>,
}

/// Where to, and which rule said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where to.
    pub route: Route,
    /// The rule, for traces and `/status`.
    pub why: &'static str,
}

/// The routes of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Table {
    // Longest prefix first, so that the first hit is the most specific one.
    bins: Vec<(Box<str>, Route)>,
}

impl Table {
    /// Collects the routes of products: digits a number begins with, and where it lives.
    #[must_use]
    pub fn new(bins: impl IntoIterator<Item = (Box<str>, Route)>) -> Self {
        let mut bins: Vec<_> = bins.into_iter().collect();
        bins.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        Self { bins }
    }

    /// Decides. The product's own route comes first; a wish decides only for numbers of no product; the CMS is the
    /// default, where an unknown number is a card unknown.
    #[must_use]
    pub fn decide(&self, question: Question<'_>) -> Decision {
        let digits = question.pan.expose_digits();
        let product = self.bins.iter().find(|(bin, _)| digits.starts_with(bin.as_bytes()));
        match (product, question.wish) {
            (Some((_, route)), _) => Decision { route: *route, why: "product of the BIN" },
            (None, Some(true)) => Decision { route: Route::Postilion, why: "wish of the caller" },
            (None, Some(false) | None) => Decision { route: Route::Cms, why: "default" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pan: &str, wish: Option<bool>, want: (Route, &str)) {
        let table = Table::new([
            ("5413".into(), Route::Postilion),
            ("541333".into(), Route::Cms),
            ("506099".into(), Route::Postilion),
        ]);
        let pan = Pan::parse(pan.as_bytes()).unwrap();
        let got = table.decide(Question { pan: &pan, wish });
        assert_eq!((got.route, got.why), want);
    }

    #[test]
    fn the_longest_bin_wins_and_a_wish_decides_only_where_no_product_does() {
        check("5413330089010012", None, (Route::Cms, "product of the BIN"));
        check("5413340089010011", None, (Route::Postilion, "product of the BIN"));
        check("5060990000000151002", Some(false), (Route::Postilion, "product of the BIN"));
        check("4000000000000002", Some(true), (Route::Postilion, "wish of the caller"));
        check("4000000000000002", Some(false), (Route::Cms, "default"));
        check("4000000000000002", None, (Route::Cms, "default"));
    }
}
