//! Which metrics and labels an expression of `PromQL` uses. Whether it is one at all is promtool's to say.

use std::collections::BTreeSet;

use pinion::ops::health::Latch;
use pinion::ops::metrics::{CATALOGUE, Kind};

/// What an expression uses.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Metrics, each with its matchers: label and value.
    pub(crate) metrics: Vec<(String, Vec<(String, String)>)>,
    /// Labels of `by`, `on` and their like.
    pub(crate) grouped: BTreeSet<String>,
}

/// Labels that Prometheus adds.
const SCRAPED: [&str; 2] = ["instance", "job"];

impl Uses {
    pub(crate) fn of(expression: &str) -> Self {
        let mut uses = Self::default();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                rest = after(rest, '"').1;
            } else if first == '[' {
                rest = after(rest, ']').1;
            } else if first.is_ascii_alphanumeric() || first == '_' {
                let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                let (name, next) = rest.split_at(end);
                rest = uses.word(name, next.trim_start());
            } else {
                rest = &rest[first.len_utf8()..];
            }
        }
        uses
    }

    /// Takes one word in, and gives what comes after it.
    fn word<'t>(&mut self, name: &str, next: &'t str) -> &'t str {
        let lists = ["by", "without", "on", "ignoring", "group_left", "group_right"];
        if lists.contains(&name) && next.starts_with('(') {
            let (labels, next) = after(next, ')');
            self.grouped.extend(labels.split(',').map(|label| label.trim().to_owned()));
            return next;
        }
        let keywords = ["and", "or", "unless", "offset", "bool"];
        let is_number = name.starts_with(|c: char| c.is_ascii_digit());
        // An aggregation may have its labels between its name and its argument.
        let is_aggregation = ["by ", "by(", "without "].iter().any(|word| next.starts_with(word));
        if is_number
            || is_aggregation
            || next.starts_with('(')
            || keywords.contains(&name)
            || lists.contains(&name)
        {
            return next;
        }
        let (mut matchers, mut next) = (Vec::new(), next);
        if next.starts_with('{') {
            let (inside, behind) = after(next, '}');
            next = behind;
            for matcher in inside.split_inclusive("\",").map(str::trim) {
                let label: String = matcher.chars().take_while(|c| is_name(*c)).collect();
                let value = matcher.split('"').nth(1).unwrap_or_default().to_owned();
                if !label.is_empty() {
                    matchers.push((label, value));
                }
            }
        }
        self.metrics.push((name.to_owned(), matchers));
        next
    }

    /// Labels that what it uses may have. `recorded` tells those of a recorded metric.
    #[track_caller]
    pub(crate) fn labels(&self, recorded: &dyn Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
        self.metrics.iter().flat_map(|(metric, _)| labels_of(metric, recorded)).collect()
    }

    /// Fails on a metric or a label that is not ours.
    #[track_caller]
    pub(crate) fn check(&self, place: &str, recorded: &dyn Fn(&str) -> BTreeSet<String>) {
        assert!(!self.metrics.is_empty(), "{place}: no metric");
        for (metric, matchers) in &self.metrics {
            let known = labels_of(metric, recorded);
            for (label, value) in matchers {
                assert!(known.contains(label), "{place}: {metric} has no label {label}: {known:?}");
                check_values(place, label, value);
            }
        }
        let known = self.labels(recorded);
        for label in &self.grouped {
            assert!(known.contains(label), "{place}: no label {label} in {known:?}");
        }
    }
}

/// Values of those labels whose sets are public in the code.
#[track_caller]
fn check_values(place: &str, label: &str, value: &str) {
    let known: Vec<&str> = match label {
        "reason" => pinion::domain::outcome::Reason::ALL.iter().map(|r| r.label()).collect(),
        "latch" => Latch::ALL.iter().map(|latch| latch.label()).collect(),
        "stage" => pinion::switch::Stage::ALL.iter().map(|stage| stage.label()).collect(),
        "route" => pinion::route::Route::ALL.iter().map(|route| route.label()).collect(),
        _ => return,
    };
    for one in value.split('|') {
        assert!(known.contains(&one), "{place}: no {label} {one:?}: {known:?}");
    }
}

/// Labels of one metric.
#[track_caller]
fn labels_of(name: &str, recorded: &dyn Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
    if name == "up" {
        return SCRAPED.map(str::to_owned).into();
    }
    if name.contains(':') {
        return recorded(name);
    }
    let parts = ["_bucket", "_count", "_sum"];
    let stripped = parts.iter().find_map(|part| name.strip_suffix(part));
    let found = CATALOGUE.iter().find(|metric| match metric.kind {
        Kind::Histogram => Some(metric.name) == stripped,
        Kind::Counter | Kind::Gauge => metric.name == name,
    });
    let found = found.unwrap_or_else(|| panic!("no metric {name} in ops::metrics::CATALOGUE"));
    let more = name.ends_with("_bucket").then_some("le");
    found.labels.iter().copied().chain(SCRAPED).chain(more).map(str::to_owned).collect()
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// What stands between the first character and the next `end` outside of a string, and what comes after it.
fn after(text: &str, end: char) -> (&str, &str) {
    let mut quoted = false;
    let found = text.char_indices().skip(1).find(|(_, c)| {
        let here = *c == end && !quoted;
        quoted ^= *c == '"';
        here
    });
    let at = found.map_or(text.len(), |(at, _)| at);
    (&text[1..at], text.get(at + 1..).unwrap_or_default())
}

#[test]
fn an_expression_is_taken_apart() {
    let uses = Uses::of(
        "sum by (le, host) (rate(a_b{x=~\"1|2, }\", y!=\"z\"}[$__rate_interval])) / on (host) 5m * c:d offset 10m",
    );
    let matchers = [("x", "1|2, }"), ("y", "z")].map(|(l, v)| (l.to_owned(), v.to_owned()));
    assert_eq!(uses.metrics, [("a_b".to_owned(), matchers.to_vec()), ("c:d".to_owned(), vec![])]);
    assert_eq!(uses.grouped, ["host", "le"].map(str::to_owned).into());
}
