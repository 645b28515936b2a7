//! Which rule decides, for whom, and that an explanation tells what a decision does.

use proptest::prelude::*;

use super::*;

const VERVE: &str = "5060990000000151002";
const CHIP: &str = "5413330089010012";
const DEBIT: &str = "5413340089010011";
const STRANGER: &str = "4000000000000002";

fn products() -> Vec<ProductRoute> {
    let product =
        |name: &str, bin: &str, route| ProductRoute { name: name.into(), bin: bin.into(), route };
    vec![
        product("debit", "5413", Route::Postilion),
        product("chip", "541333", Route::Cms),
        product("verve", "506099", Route::Postilion),
    ]
}

/// A rule without conditions.
fn rule(name: &str, to: Target) -> Rule {
    Rule {
        name: name.into(),
        bins: vec![],
        institutions: vec![],
        links: vec![],
        products: vec![],
        wish: None,
        to,
    }
}

fn table(policy: Policy, rules: Vec<Rule>, fallback: Fallback) -> Table {
    let links = vec!["atm-1".into(), "vcr-1".into()];
    Table::new(Plan { policy, rules, fallback, products: products(), links })
}

/// A request: number, wish, institution, link.
type Asked<'a> = (&'a str, Option<bool>, &'a str, Option<u16>);

fn ask<'t>(table: &'t Table, asked: Asked<'_>) -> (Decision<'t>, Explanation<'t>) {
    let (pan, wish, institution, link) = asked;
    let pan = Pan::parse(pan.as_bytes()).unwrap();
    let institution = (!institution.is_empty()).then(|| Tag::new(institution.as_bytes()));
    let question = Question { pan: &pan, wish, institution, link: link.map(LinkId) };
    (table.decide(question), table.explain(question))
}

#[track_caller]
fn check(table: &Table, asked: Asked<'_>, route: Option<Route>, rule: &str) {
    let (decision, _) = ask(table, asked);
    assert_eq!((decision.route, decision.rule), (route, rule), "{asked:?}");
}

const CMS: Option<Route> = Some(Route::Cms);
const POSTILION: Option<Route> = Some(Route::Postilion);

#[test]
fn without_rules_the_longest_bin_wins_and_a_wish_decides_only_for_strangers() {
    let table = table(Policy::Client, vec![], Fallback::Product);
    check(&table, (CHIP, None, "", None), CMS, "product of the BIN");
    check(&table, (CHIP, Some(true), "", None), CMS, "product of the BIN");
    check(&table, (DEBIT, None, "", None), POSTILION, "product of the BIN");
    check(&table, (VERVE, Some(false), "", None), POSTILION, "product of the BIN");
    check(&table, (STRANGER, Some(true), "", None), POSTILION, "wish of the caller");
    check(&table, (STRANGER, Some(false), "", None), CMS, "wish of the caller");
    check(&table, (STRANGER, None, "", None), CMS, "default of the table");
}

#[test]
fn another_default_holds_for_all_that_no_rule_decides() {
    for (fallback, route) in
        [(Fallback::Cms, CMS), (Fallback::Postilion, POSTILION), (Fallback::None, None)]
    {
        let rules = vec![Rule { bins: vec!["4000".into()], ..rule("strangers", Target::Client) }];
        let table = table(Policy::Client, rules, fallback);
        for asked in [(CHIP, Some(true), "", None), (VERVE, None, "", None)] {
            check(&table, asked, route, "default of the table");
        }
        check(&table, (STRANGER, None, "", None), route, "default of the table");
        check(&table, (STRANGER, Some(true), "", None), POSTILION, "strangers");
    }
}

/// Each condition by itself: who meets it, who does not.
#[test]
fn each_condition() {
    let catch = |change: fn(&mut Rule)| {
        let mut rule = rule("catch", Target::None);
        change(&mut rule);
        table(Policy::Client, vec![rule], Fallback::Cms)
    };
    let bins = catch(|rule| rule.bins = vec!["99".into(), "54133".into()]);
    check(&bins, (CHIP, None, "", None), None, "catch");
    check(&bins, (VERVE, None, "", None), CMS, "default of the table");

    let institutions = catch(|rule| rule.institutions = vec!["11".into(), "627629".into()]);
    check(&institutions, (CHIP, None, "627629", None), None, "catch");
    check(&institutions, (CHIP, None, "62762", None), CMS, "default of the table");
    check(&institutions, (CHIP, None, "6276290", None), CMS, "default of the table");
    check(&institutions, (CHIP, None, "", None), CMS, "default of the table");

    let links = catch(|rule| rule.links = vec![LinkId(7), LinkId(1)]);
    check(&links, (CHIP, None, "", Some(1)), None, "catch");
    check(&links, (CHIP, None, "", Some(0)), CMS, "default of the table");
    check(&links, (CHIP, None, "", None), CMS, "default of the table");

    let products = catch(|rule| rule.products = vec![1]);
    check(&products, (CHIP, None, "", None), None, "catch");
    // The shorter BIN of the same number's first digits is another product.
    check(&products, (DEBIT, None, "", None), CMS, "default of the table");
    check(&products, (STRANGER, None, "", None), CMS, "default of the table");

    let wish = catch(|rule| rule.wish = Some(false));
    check(&wish, (CHIP, Some(false), "", None), None, "catch");
    check(&wish, (CHIP, Some(true), "", None), CMS, "default of the table");
    check(&wish, (CHIP, None, "", None), CMS, "default of the table");
}

#[test]
fn all_conditions_must_hold_and_the_first_rule_wins() {
    let both = Rule {
        bins: vec!["5413".into()],
        institutions: vec!["627629".into()],
        ..rule("both", Target::None)
    };
    let cards = Rule { bins: vec!["541333".into()], ..rule("cards", Target::Postilion) };
    let client = Rule { bins: vec!["5".into()], ..rule("client", Target::Client) };
    let all = rule("all", Target::Cms);
    let table = table(Policy::Client, vec![both, cards, client, all], Fallback::Postilion);
    check(&table, (CHIP, None, "627629", None), None, "both");
    check(&table, (CHIP, None, "", None), POSTILION, "cards");
    check(&table, (VERVE, Some(true), "", None), POSTILION, "client");
    check(&table, (VERVE, Some(false), "", None), CMS, "client");
    check(&table, (VERVE, None, "", None), CMS, "all");
    check(&table, (STRANGER, Some(true), "627629", None), CMS, "all");
}

#[test]
fn a_policy_turns_wishes_round_before_rules_see_them() {
    let rules = || {
        vec![
            Rule { wish: Some(false), ..rule("refused", Target::None) },
            rule("client", Target::Client),
        ]
    };
    // Policy, wish asked, route, rule, overridden.
    for (policy, wish, route, name, overridden) in [
        (Policy::Client, Some(true), POSTILION, "client", false),
        (Policy::Client, Some(false), None, "refused", false),
        (Policy::Client, None, CMS, "product of the BIN", false),
        (Policy::ForceActive, Some(true), POSTILION, "client", false),
        (Policy::ForceActive, Some(false), POSTILION, "client", true),
        (Policy::ForceActive, None, CMS, "product of the BIN", false),
        (Policy::ForceCms, Some(true), None, "refused", true),
        (Policy::ForceCms, Some(false), None, "refused", false),
        (Policy::ForceCms, None, CMS, "product of the BIN", false),
    ] {
        let table = table(policy, rules(), Fallback::Product);
        let (decision, explanation) = ask(&table, (CHIP, wish, "", None));
        let want = Decision { route, rule: name, wish_overridden: overridden };
        assert_eq!(decision, want, "{policy:?} {wish:?}");
        assert_eq!((explanation.asked, explanation.policy), (wish, policy));
        assert_eq!(explanation.asked != explanation.wish, overridden);
    }
    // The product still wins over the forced wish; the override is told all the same.
    let table = table(Policy::ForceActive, vec![], Fallback::Product);
    let (decision, _) = ask(&table, (CHIP, Some(false), "", None));
    let rule = "product of the BIN";
    assert_eq!(decision, Decision { route: CMS, rule, wish_overridden: true });
}

#[test]
fn the_product_of_a_number() {
    let table = table(Policy::Client, vec![], Fallback::Product);
    let of = |pan: &str| {
        let pan = Pan::parse(pan.as_bytes()).unwrap();
        table.product(&pan).map(|product| &*product.name)
    };
    assert_eq!(of(CHIP), Some("chip"));
    assert_eq!(of(DEBIT), Some("debit"));
    assert_eq!(of(VERVE), Some("verve"));
    assert_eq!(of(STRANGER), None);
    let pan = Pan::parse(CHIP.as_bytes()).unwrap();
    assert_eq!(Table::default().product(&pan), None);
}

#[test]
fn an_explanation_tells_every_rule() {
    let rules = vec![
        Rule { links: vec![LinkId(1)], ..rule("voice", Target::None) },
        rule("client", Target::Client),
        Rule { products: vec![2], ..rule("verve", Target::Postilion) },
        rule("rest", Target::Cms),
    ];
    let table = table(Policy::ForceActive, rules, Fallback::Product);
    let (_, explanation) = ask(&table, (VERVE, None, "", Some(0)));
    let verdicts: Vec<_> = explanation.rules.iter().map(|c| c.verdict).collect();
    let want = [
        Verdict::Fails(Condition::Links),
        Verdict::Passes,
        Verdict::Decides(POSTILION),
        Verdict::NotReached,
    ];
    assert_eq!(verdicts, want);
    assert_eq!(
        explanation.to_string(),
        "product verve; wish none; voice fails on links; client leaves it to the client, who wishes nothing; \
         verve decides postilion; rest not reached; postilion by verve"
    );
    let (_, explanation) = ask(&table, (VERVE, Some(false), "", Some(1)));
    let shown = explanation.to_string();
    assert!(shown.starts_with("product verve; wish false, true by policy force-active; voice"));
    assert!(shown.ends_with(
        "voice decides none; client not reached; verve not reached; rest not reached; none by voice"
    ));
    let hidden = format!("{shown} {explanation:?}");
    assert!(!hidden.contains(VERVE), "an explanation holds no card number: {hidden}");
}

/// What the rules mean, written a second time over names and strings.
fn by_the_book(table: &Table, asked: Asked<'_>) -> (Option<Route>, bool) {
    let (number, asked_wish, institution, link) = asked;
    let plan = &table.plan;
    let wish = match (plan.policy, asked_wish) {
        (Policy::ForceActive, Some(_)) => Some(true),
        (Policy::ForceCms, Some(_)) => Some(false),
        _ => asked_wish,
    };
    let matching = plan.products.iter().filter(|product| number.starts_with(&*product.bin));
    let product = matching.max_by_key(|product| product.bin.len());
    for rule in &plan.rules {
        let named = |at: &u16| Some(&plan.products[usize::from(*at)]) == product;
        let holds = (rule.bins.is_empty()
            || rule.bins.iter().any(|bin| number.starts_with(&**bin)))
            && (rule.institutions.is_empty()
                || rule.institutions.iter().any(|named| &**named == institution))
            && (rule.links.is_empty() || rule.links.iter().any(|id| Some(id.0) == link))
            && (rule.products.is_empty() || rule.products.iter().any(named))
            && rule.wish.is_none_or(|wanted| wish == Some(wanted));
        let route = match (holds, rule.to) {
            (false, _) => continue,
            (true, Target::Client) if wish.is_none() => continue,
            (true, Target::Client) => wish.map(Route::of_wish),
            (true, Target::Cms) => CMS,
            (true, Target::Postilion) => POSTILION,
            (true, Target::None) => None,
        };
        return (route, wish != asked_wish);
    }
    let route = match plan.fallback {
        Fallback::Cms => CMS,
        Fallback::Postilion => POSTILION,
        Fallback::None => None,
        Fallback::Product => match product {
            Some(product) => Some(product.route),
            None => Some(wish.map_or(Route::Cms, Route::of_wish)),
        },
    };
    (route, wish != asked_wish)
}

fn some_of<T: Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    proptest::sample::subsequence(all, 0..=2)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let bins = some_of(vec!["5", "5413", "541333", "4000"]);
    let institutions = some_of(vec!["11", "22"]);
    let links = some_of(vec![LinkId(0), LinkId(1)]);
    let products = some_of(vec![0, 1, 2]);
    let wish = proptest::option::of(any::<bool>());
    let to = prop_oneof![
        Just(Target::Client),
        Just(Target::Cms),
        Just(Target::None),
        Just(Target::Postilion)
    ];
    let rule = (bins, institutions, links, products, wish, to).prop_map(
        |(bins, institutions, links, products, wish, to)| Rule {
            name: "r".into(),
            bins: bins.into_iter().map(Into::into).collect(),
            institutions: institutions.into_iter().map(Into::into).collect(),
            links,
            products,
            wish,
            to,
        },
    );
    let named = |mut rules: Vec<Rule>| {
        for (at, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("rule-{at}").into();
        }
        rules
    };
    proptest::collection::vec(rule, 0..6).prop_map(named)
}

proptest! {
    #[test]
    fn explanation_decision_and_the_book_agree(
        rules in rules(),
        policy in prop_oneof![Just(Policy::Client), Just(Policy::ForceActive), Just(Policy::ForceCms)],
        fallback in prop_oneof![
            Just(Fallback::Cms), Just(Fallback::None), Just(Fallback::Postilion), Just(Fallback::Product)
        ],
        pan in proptest::sample::select(vec![VERVE, CHIP, DEBIT, STRANGER]),
        wish in proptest::option::of(any::<bool>()),
        institution in proptest::sample::select(vec!["", "11", "22", "33"]),
        link in proptest::option::of(0_u16..3),
    ) {
        let table = table(policy, rules, fallback);
        let asked = (pan, wish, institution, link);
        let (decision, explanation) = ask(&table, asked);
        let (route, overridden) = by_the_book(&table, asked);
        prop_assert_eq!((decision.route, decision.wish_overridden), (route, overridden));

        prop_assert_eq!(explanation.decision, decision);
        prop_assert_eq!(explanation.rules.len(), table.plan.rules.len());
        let decides = |c: &&Considered<'_>| matches!(c.verdict, Verdict::Decides(_));
        let deciding: Vec<_> = explanation.rules.iter().filter(decides).collect();
        match deciding[..] {
            [] => {
                prop_assert!(decision.rule.contains(' '));
                prop_assert!(explanation.rules.iter().all(|c| c.verdict != Verdict::NotReached));
            }
            [only] => {
                prop_assert_eq!(&*only.rule.name, decision.rule);
                prop_assert_eq!(only.verdict, Verdict::Decides(decision.route));
                let at = explanation.rules.iter().position(|c| c == only).unwrap();
                let after = &explanation.rules[at + 1..];
                prop_assert!(after.iter().all(|c| c.verdict == Verdict::NotReached));
                let before = &explanation.rules[..at];
                prop_assert!(before.iter().all(|c| c.verdict != Verdict::NotReached));
            }
            _ => prop_assert!(false, "two rules decide: {}", explanation),
        }
    }
}
