//! The rules of Prometheus: promtool reads them and plays the cases; each alert has two cases and a section of the
//! runbook, and each name is one of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use pinion::domain::outcome::{Reason, Side};
use serde_json::Value;

use crate::promql::Uses;
use crate::{approved, deploy, list, repository, run, text, yaml};

fn rules() -> Vec<Value> {
    let file = &yaml(&repository("deploy/prometheus/pinion.rules.yml"))[0];
    list(file, "/groups").iter().flat_map(|group| list(group, "/rules").to_vec()).collect()
}

fn alerts() -> Vec<Value> {
    let alerts: Vec<_> = rules().into_iter().filter(|rule| rule.get("alert").is_some()).collect();
    assert!(20 < alerts.len(), "the rules are read from the wrong place");
    alerts
}

/// Labels of each recorded metric: those its expression keeps.
pub(crate) fn recorded() -> BTreeMap<String, BTreeSet<String>> {
    let records = rules().into_iter().filter(|rule| rule.get("record").is_some());
    records
        .map(|rule| {
            let kept = Uses::of(text(&rule, "/expr")).grouped;
            let kept = kept.into_iter().filter(|label| label != "le").collect();
            (text(&rule, "/record").to_owned(), kept)
        })
        .collect()
}

#[test]
fn promtool_takes_rules_and_configuration() {
    let directory = repository("deploy/prometheus");
    for arguments in [["check", "rules", "pinion.rules.yml"], ["check", "config", "prometheus.yml"]]
    {
        let mut promtool = Command::new("promtool");
        let text = approved(promtool.current_dir(&directory).args(arguments));
        assert!(text.contains("SUCCESS"), "{text}");
    }
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let directory = repository("deploy/prometheus");
    let mut promtool = Command::new("promtool");
    approved(promtool.current_dir(&directory).args(["test", "rules", "pinion.tests.yml"]));
}

/// The judge can fail: without a rule's condition, its quiet case rings.
#[test]
fn a_rule_that_always_fires_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let rules = deploy("prometheus/pinion.rules.yml")
        .replace("pinion_hosts_up == 0", "pinion_hosts_up >= 0");
    std::fs::write(directory.path().join("pinion.rules.yml"), rules).expect("written");
    let tests = directory.path().join("pinion.tests.yml");
    std::fs::write(&tests, deploy("prometheus/pinion.tests.yml")).expect("written");
    let (good, text) = run(Command::new("promtool").args(["test", "rules"]).arg(tests));
    assert!(!good && text.contains("PinionHostDown is quiet"), "{text}");
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let file = &yaml(&repository("deploy/prometheus/pinion.tests.yml"))[0];
    let (mut firing, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for case in list(file, "/tests").iter().flat_map(|test| list(test, "/alert_rule_test")) {
        let expected = case.get("exp_alerts").and_then(Value::as_array);
        let side = if expected.is_some_and(|e| !e.is_empty()) { &mut firing } else { &mut quiet };
        side.insert(text(case, "/alertname").to_owned());
    }
    let alerts: BTreeSet<_> = alerts().iter().map(|a| text(a, "/alert").to_owned()).collect();
    assert_eq!(firing, alerts);
    assert_eq!(quiet, alerts);
}

#[test]
fn every_alert_has_its_section_in_the_runbook() {
    let runbook = deploy("RUNBOOK.md");
    let sections: Vec<_> = runbook.split("\n### ").skip(1).collect();
    let alerts = alerts();
    for alert in &alerts {
        let name = text(alert, "/alert");
        let section = sections.iter().find(|section| section.lines().next() == Some(name));
        let section = section.unwrap_or_else(|| panic!("deploy/RUNBOOK.md: no section {name}"));
        for part in ["- **Means:** ", "- **Look at:** ", "- **Do:** "] {
            assert!(section.contains(part), "deploy/RUNBOOK.md: {name} has no {part}");
        }
        let link = format!("deploy/RUNBOOK.md#{}", name.to_lowercase());
        assert_eq!(text(alert, "/annotations/runbook"), link);
        let severity = text(alert, "/labels/severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
    }
    let names: BTreeSet<_> = alerts.iter().map(|alert| text(alert, "/alert")).collect();
    assert_eq!(sections.len(), names.len(), "a section without an alert");
}

#[test]
fn rules_use_our_metrics_and_labels() {
    let recorded = recorded();
    let known = |name: &str| {
        let labels = recorded.get(name).unwrap_or_else(|| panic!("no rule records {name}"));
        labels.clone()
    };
    for rule in rules() {
        let name = rule.get("alert").or_else(|| rule.get("record")).and_then(Value::as_str);
        Uses::of(text(&rule, "/expr")).check(name.unwrap_or_default(), &known);
    }
}

/// What the ratio calls our own fault is what the code calls so.
#[test]
fn own_declines_are_those_of_our_side() {
    let rules = rules();
    let rule = rules.iter().find(|rule| rule["record"] == "pinion:own_declines:ratio5m");
    let uses = Uses::of(text(rule.expect("the rule"), "/expr"));
    let (_, matchers) = &uses.metrics[0];
    let listed: BTreeSet<_> = matchers[0].1.split('|').collect();
    let ours = Reason::ALL.iter().filter(|reason| reason.side() == Side::Us);
    assert_eq!(listed, ours.map(|reason| reason.label()).collect());
}
