//! `[routing]` and `[[route]]`: the table that comes out, and what is refused.

use super::{DEMO, SHORT, check};
use crate::domain::pan::Pan;
use crate::domain::request::LinkId;
use crate::ops::config::Config;
use crate::route::{Fallback, Policy, Question, Route, Rule, Target};

/// [`SHORT`] ends before line 39.
fn with(text: &str) -> Config {
    Config::parse(&format!("{SHORT}{text}"), "p.toml").unwrap()
}

#[test]
fn without_the_sections_wishes_count_and_products_route() {
    let config = with("");
    assert_eq!(config.routing.policy, Policy::Client);
    assert_eq!(config.routing.default, Fallback::Product);
    assert!(config.routing.rules.is_empty());
}

#[test]
fn policies_and_defaults_by_name() {
    for (text, policy) in [
        ("client", Policy::Client),
        ("force-active", Policy::ForceActive),
        ("force_active", Policy::ForceActive),
        ("force-cms", Policy::ForceCms),
        ("force_cms", Policy::ForceCms),
    ] {
        assert_eq!(with(&format!("[routing]\npolicy = \"{text}\"\n")).routing.policy, policy);
    }
    for fallback in [Fallback::Cms, Fallback::None, Fallback::Postilion, Fallback::Product] {
        let text = format!("[routing]\ndefault = \"{}\"\n", fallback.label());
        assert_eq!(with(&text).routing.default, fallback);
    }
}

#[test]
fn names_become_numbers() {
    let config = with(
        "[[route]]\nname = \"one\"\nbins = [\"47\", \"541334\"]\ninstitutions = [\"627629\"]\n\
         links = [\"atm-2\", \"atm-1\"]\nproducts = [\"offset\"]\nwish = true\nto = \"none\"\n\
         [[route]]\nname = \"two\"\nto = \"client\"\n",
    );
    let one = Rule {
        name: "one".into(),
        bins: vec!["47".into(), "541334".into()],
        institutions: vec!["627629".into()],
        links: vec![LinkId(1), LinkId(0)],
        products: vec![1],
        wish: Some(true),
        to: Target::None,
    };
    let two = Rule {
        name: "two".into(),
        bins: vec![],
        institutions: vec![],
        links: vec![],
        products: vec![],
        wish: None,
        to: Target::Client,
    };
    assert_eq!(config.routing.rules, [one, two]);
    let table = config.route_table();
    assert_eq!(table.link_name(LinkId(1)), Some("atm-2"));
    assert_eq!(table.product_at(1).map(|product| &*product.name), Some("offset"));
}

#[test]
fn rules_that_are_refused() {
    let rule = |more: &str| format!("[[route]]\nname = \"r\"\nto = \"cms\"\n{more}\n");
    check("", "[routing]\npolicy = \"force\"\n", "40: routing.policy: unknown variant `force`");
    check("", "[routing]\ndefault = \"client\"\n", "40: routing.default: unknown variant `client`");
    check("", "[routing]\nroute = []\n", "40: routing.route: unknown field `route`");
    check("", "[[route]]\nto = \"cms\"\n", "39: route[0].name: missing");
    check("", "[[route]]\nname = \"r\"\n", "39: route[0].to: missing");
    check("", "[[route]]\nname = \"\"\nto = \"cms\"\n", "40: route[0].name: 1 to 32 lower-case");
    check("", "[[route]]\nname = \"a b\"\nto = \"cms\"\n", "40: route[0].name: 1 to 32 lower-case");
    check("", &rule("").replace("cms", "ist"), "41: route[0].to: unknown variant `ist`");
    check("", &rule("bin = \"4\""), "42: route[0].bin: unknown field `bin`");
    check("", &rule("wish = \"yes\""), "42: route[0].wish: invalid type: string \"yes\"");
    check("", &rule("bins = []"), "42: route[0].bins: empty: name what it should match");
    check("", &rule("bins = [\"4\", \"4x\"]"), "42: route[0].bins[1]: 1 to 12 digits");
    check("", &rule("bins = [\"\"]"), "42: route[0].bins[0]: 1 to 12 digits");
    check("", &rule("bins = [\"1234567890123\"]"), "42: route[0].bins[0]: 1 to 12 digits");
    check("", &rule("institutions = [\"A\"]"), "42: route[0].institutions[0]: 1 to 11 digits");
    check(
        "",
        &rule("links = [\"atm-1\",\n\"atm-9\"]"),
        "43: route[0].links[1]: there is no \"atm-9\"; there are: atm-1, atm-2, \
         firstvision-latam, firstvision-apac, postcard, p100, equals",
    );
    check(
        "",
        &rule("products = [\"verve\"]"),
        "42: route[0].products[0]: there is no \"verve\"; there are: visa, offset",
    );
    let twice = rule("") + &rule("");
    check("", &twice, "44: route[1].name: another rule before it is called \"r\"");
    let many: Vec<_> =
        (0..257).map(|n| format!("[[route]]\nname = \"r{n}\"\nto = \"cms\"\n")).collect();
    let many = many.concat();
    check("", &many, "39: route: more than 256 rules");
    let many = vec!["\"4\""; 1025].join(",");
    check("", &rule(&format!("bins = [{many}]")), "42: route[0].bins: 1025 is outside 1 to 1024");
}

/// Without a node, each route to Postilion is worth a warning; it is no error.
#[test]
fn routes_to_nobody_are_warned_of() {
    let shown = |config: &Config| -> Vec<String> {
        config.warnings().iter().map(|w| format!("{}: {}", w.line(), w.key())).collect()
    };
    assert_eq!(shown(&with("")), Vec::<String>::new());
    let rules = "[routing]\ndefault = \"postilion\"\n[[route]]\nname = \"r\"\nto = \"postilion\"\n";
    assert_eq!(shown(&with(rules)), ["40: routing.default", "43: route[0].to"]);
    let empty = format!("{rules}[postilion]\nzpk = \"zpk.atm\"\n");
    assert_eq!(shown(&with(&empty)).len(), 2, "a section without a node");
    let node = format!("{empty}[[postilion.node]]\nname = \"p\"\naddress = \"p:1\"\n");
    assert_eq!(shown(&with(&node)), Vec::<String>::new());
    let product = SHORT.replacen("route = \"cms\"", "route = \"postilion\"", 1);
    let config = Config::parse(&product, "p.toml").unwrap();
    assert_eq!(shown(&config), ["28: product[0].route"]);
}

/// The demo's routes: the Verve card lives on Postilion, the others here.
#[test]
fn the_demo_routes_by_product() {
    let table = Config::parse(DEMO, "pinion.toml").unwrap().route_table();
    for (pan, product, route) in [
        ("4761739001010010", "visa-debit", Route::Cms),
        ("5413330089010012", "mc-chip", Route::Cms),
        ("5060990000000151002", "verve", Route::Postilion),
    ] {
        let pan = Pan::parse(pan.as_bytes()).unwrap();
        assert_eq!(table.product(&pan).map(|p| &*p.name), Some(product));
        let question = Question { pan: &pan, wish: None, institution: None, link: Some(LinkId(0)) };
        assert_eq!(table.decide(question).route, Some(route));
    }
}
