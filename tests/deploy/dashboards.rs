//! The dashboards of Grafana: every expression is one of `PromQL` to promtool, every name one of ours.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::promql::Uses;
use crate::{approved, deploy, list, rules, text};

const DASHBOARDS: [&str; 2] = ["grafana/operations.json", "grafana/performance.json"];

/// Title, expression and legend of every query of a dashboard.
fn queries(name: &str) -> Vec<(String, String, String)> {
    let board: Value = serde_json::from_str(&deploy(name)).expect("JSON");
    let panels = list(&board, "/panels").iter().filter(|panel| panel["type"] != "row");
    let queries: Vec<_> = panels
        .flat_map(|panel| {
            let title = format!("{name}: {}", text(panel, "/title"));
            list(panel, "/targets").iter().map(move |target| {
                let expression = text(target, "/expr").to_owned();
                (title.clone(), expression, text(target, "/legendFormat").to_owned())
            })
        })
        .collect();
    assert!(10 < queries.len(), "{name} is read from the wrong place");
    queries
}

/// What Grafana puts in for its variables.
fn filled_in(expression: &str) -> String {
    expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
}

#[test]
fn dashboards_use_our_metrics_and_labels() {
    let recorded = rules::recorded();
    let known = |name: &str| {
        let labels = recorded.get(name).unwrap_or_else(|| panic!("no rule records {name}"));
        labels.clone()
    };
    for (title, expression, legend) in DASHBOARDS.iter().flat_map(|name| queries(name)) {
        let uses = Uses::of(&expression);
        uses.check(&title, &known);
        let mut kept = uses.grouped.clone();
        if kept.is_empty() {
            kept = uses.labels(&known);
        }
        for label in legend.split("{{").skip(1).filter_map(|part| part.split("}}").next()) {
            assert!(kept.contains(label), "{title}: the legend's {label} is not in {kept:?}");
        }
    }
}

#[test]
fn promtool_reads_every_expression() {
    let all = DASHBOARDS.iter().flat_map(|name| queries(name));
    let rules: Vec<_> = all
        .enumerate()
        .map(|(n, (_, expression, _))| {
            json!({ "record": format!("dashboard:query:{n}"), "expr": filled_in(&expression) })
        })
        .collect();
    let count = rules.len();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dashboards.yml");
    // JSON is YAML.
    let text = json!({ "groups": [{ "name": "dashboards", "rules": rules }] }).to_string();
    std::fs::write(&file, text).expect("written");
    let text = approved(Command::new("promtool").args(["check", "rules"]).arg(&file));
    assert!(text.contains(&format!("SUCCESS: {count} rules found")), "{text}");
}

/// Panels can be told apart, lie in the grid beside each other, and the variables are there.
#[test]
fn dashboards_are_whole() {
    let mut uids = BTreeSet::new();
    for name in DASHBOARDS {
        let board: Value = serde_json::from_str(&deploy(name)).expect("JSON");
        assert!(uids.insert(text(&board, "/uid").to_owned()), "{name}: its uid is taken");
        let variables = list(&board, "/templating/list").iter().map(|v| text(v, "/name"));
        assert_eq!(variables.collect::<Vec<_>>(), ["datasource", "instance"]);
        let query = text(&board, "/templating/list/1/definition");
        assert_eq!(query, "label_values(pinion_build_info, instance)");
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in list(&board, "/panels") {
            assert!(ids.insert(panel["id"].as_u64()), "{name}: an id twice");
            let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
            assert!(at("x") + at("w") <= 24, "{name}: {} is too wide", panel["title"]);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(cells.insert((x, y)), "{name}: {} lies on another", panel["title"]);
                }
            }
        }
    }
}
