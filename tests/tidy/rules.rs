//! Rules quoted in code: `//= FILE#N` and `//# words` must stand in FILE as rule N, and every rule must be quoted.
//!
//! **Never here:** whether the code keeps the rule; that is for the tests of the code. Where next:
//! `spec/pin-change.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::text::{files, sources};

/// The files of rules.
const RULES: &[&str] = &["spec/pin-change.md"];

/// Paragraphs `**N** words` of a file of rules, with blanks evened out.
fn rules(text: &str) -> BTreeMap<&str, String> {
    let numbered = text.split("\n\n").filter_map(|p| p.strip_prefix("**")?.split_once("** "));
    numbered.map(|(number, words)| (number, even(words))).collect()
}

fn even(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Quotes of a source file: line, the rule they name, their words.
fn quotes(text: &str) -> Vec<(usize, &str, String)> {
    let mut found: Vec<(usize, &str, String)> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if let Some(rule) = line.strip_prefix("//= ") {
            found.push((index + 1, rule, String::new()));
            inside = true;
        } else if let (Some(words), true, Some(quote)) =
            (line.strip_prefix("//# "), inside, found.last_mut())
        {
            quote.2 = even(&format!("{} {words}", quote.2));
        } else {
            inside = false;
        }
    }
    found
}

#[test]
fn quoted_rules_exist_and_every_rule_is_quoted() {
    let files = files();
    let mut faults = Vec::new();
    let mut open = BTreeSet::new();
    let mut known = BTreeMap::new();
    for path in RULES {
        let file = files.iter().find(|f| f.path == *path).expect("a file of rules");
        for (number, words) in rules(&file.text) {
            open.insert(format!("{path}#{number}"));
            known.insert(format!("{path}#{number}"), words);
        }
    }
    assert!(10 < known.len(), "the rules are read from the wrong place");
    for file in sources() {
        for (line, rule, words) in quotes(&file.text) {
            open.remove(rule);
            match known.get(rule) {
                None => faults.push(format!("{}:{line}: no rule {rule}", file.path)),
                Some(rule) if words.is_empty() || !rule.contains(&words) => {
                    faults.push(format!("{}:{line}: quoted otherwise than it stands", file.path));
                }
                Some(_) => {}
            }
        }
    }
    faults
        .extend(open.iter().map(|rule| format!("{rule}: quoted by no code: quote it, or drop it")));
    assert!(faults.is_empty(), "\n\n{}\n\n", faults.join("\n"));
}

#[test]
fn quotes_are_read_with_their_lines() {
    let text = "a();\n    //= spec/x.md#1.2\n    //# One\n    //# two.\n    b(); // c\n//# stray\n";
    assert_eq!(quotes(text), [(2, "spec/x.md#1.2", "One two.".to_owned())]);
    let rules = rules("# T\n\n**1.2** One\ntwo.\n\nThree.\n");
    assert_eq!(rules.into_iter().collect::<Vec<_>>(), [("1.2", "One two.".to_owned())]);
}

/// What the README promises is shown by tests; those it names must be there.
#[test]
fn tests_named_in_the_readme_exist() {
    let files = files();
    let text = |path: &str| files.iter().find(|f| f.path == path).map(|f| f.text.as_str());
    let readme = text("README.md").unwrap_or_default();
    let (_, rest) = readme.split_once("<!-- tests -->").expect("the mark `<!-- tests -->`");
    let (named, _) = rest.split_once("<!-- end of tests -->").expect("the mark of the end");
    let is_test = |name: &str| name.contains('_') && name.chars().all(crate::text::is_word);
    let tests: BTreeSet<_> = named.split('`').skip(1).step_by(2).filter(|n| is_test(n)).collect();
    assert!(10 < tests.len(), "the names are read from the wrong place");
    let gone: Vec<_> = tests
        .into_iter()
        .filter(|name| !files.iter().any(|f| f.is("rs") && f.text.contains(&format!("fn {name}("))))
        .collect();
    assert!(gone.is_empty(), "README.md names tests that are not there: {gone:?}");
}
