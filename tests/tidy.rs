//! Rules of the source that no compiler checks. Each failure names the file, the line and the fix.
//!
//! Layers (who may import whom), file headers, banned words, secrets, sizes, Markdown, metric names. Lists of
//! exceptions are ratchets: they may shrink, and a stale entry fails too.

#![expect(clippy::unwrap_used, reason = "a test: a file that cannot be read fails it")]

use std::collections::BTreeSet;
use std::fmt::Display;

use pinion::ops::metrics::CATALOGUE;

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/text.rs"]
mod text;

use text::{File, code, files, line_of, name, prose, sources, words};

/// What each layer may import beside the ones below it (design: "left may use right, never back"). Modules of one layer
/// do not know each other. `pin` is in no layer: see [`PIN_USERS`].
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &["limits"],
    &["iso8583", "peer", "tls"],
    &["card", "host", "hsm", "route"],
    &["switch"],
    &["http", "link", "ops", "sim"],
    &["cli"],
];
/// Who may handle clear PINs.
const PIN_USERS: &[&str] =
    &["src/hsm/payshield/simulator", "src/hsm/soft", "src/hsm/tests", "src/pin"];
/// Imports nothing of ours.
const LEAVES: &[&str] = &["domain", "limits"];
/// No lock shared between requests (design, rule 10).
const LOCK_FREE: &[&str] =
    &["card", "host", "http", "iso8583", "link", "peer", "pin", "route", "switch"];
/// No socket, file, task or thread of its own (design, "One message, one straight line").
const PURE: &[&str] = &["domain", "pin", "route", "switch"];
/// Types that carry card data or keys: never `Display`, never `Serialize`.
#[rustfmt::skip]
const SECRETS: &[&str] = &[
    "Account12", "CardName", "CardRecord", "ClearKey", "ClearPin", "LmkPin", "Pan", "PanHash", "PinRequest",
    "Reference", "SealedPan", "Undo", "WrappedKey", "ZonePin",
];
/// Of those, the ones whose derived `Debug` would print the bytes.
#[rustfmt::skip]
const RAW_SECRETS: &[&str] = &[
    "Account12", "ClearKey", "ClearPin", "LmkPin", "Pan", "PanHash", "Reference", "SealedPan", "WrappedKey",
    "ZonePin",
];
/// Errors of `iso8583` and `pin` that may hold text: those about what an operator wrote, not about messages.
const ERRORS_ABOUT_SETTINGS: &[&str] = &["DialectError", "FramingError", "SpecError"];
/// Files past [`LINES_MAX`] or [`LINES_WITH_TESTS_MAX`], with the length they may not exceed.
const LONG_FILES: &[(&str, usize)] = &[];
/// Metrics of the outside contract that nothing emits yet.
const METRICS_TO_COME: &[&str] = &[];

/// Lines of a source file without the tests at its end: the soft cap.
const LINES_MAX: usize = 500;
/// Lines of a source file with them, and of a file of tests.
const LINES_WITH_TESTS_MAX: usize = 800;
const COLUMNS_MAX: usize = 120;

const PRINTERS: &[&str] = &["src/cli", "src/main.rs", "tests", "benches", "fuzz", "build.rs"];
/// Words in code, what to write instead, and where they are allowed.
const BANNED: &[(&str, &str, &[&str])] = &[
    ("todo!", "write it, or leave it out", &[]),
    ("unimplemented!", "write it, or leave it out", &[]),
    ("dbg!", "use tracing, or nothing", &[]),
    ("unbounded_channel", "use a bounded channel and say what happens when it is full", &[]),
    ("thread::sleep", "wait for the event, or use a timer", &[]),
    ("println!", "use tracing; only the command line prints", PRINTERS),
    ("print!", "use tracing; only the command line prints", PRINTERS),
    ("eprintln!", "use tracing: it panics when stderr is closed", PRINTERS),
];

/// Collects what is wrong, and fails with all of it.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, file: &File, line: usize, fault: impl Display) {
        self.0.push(format!("{}:{line}: {fault}", file.path));
    }

    /// Adds one fault for each place where `word` stands in `code`.
    fn words(&mut self, file: &File, code: &str, word: &str, instead: &str) {
        for (line, _) in words(code, word) {
            self.add(file, line, format_args!("`{word}`: {instead}"));
        }
    }

    #[track_caller]
    fn none(self) {
        assert!(self.0.is_empty(), "\n\n{}\n\n", self.0.join("\n"));
    }
}

/// Why `module` may not import `target`, if so.
fn import_fault(file: &File, module: &str, target: &str) -> Option<String> {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let allowed = match (module, target) {
        (_, "pin") => {
            let user = PIN_USERS.iter().any(|user| file.path.starts_with(user));
            return (!user).then(|| {
                "only hsm::soft and the simulated payShield may use `pin`: go through `Hsm`".into()
            });
        }
        ("pin", _) => LEAVES.contains(&target),
        _ if LEAVES.contains(&module) => false,
        _ => layer(target) < layer(module),
    };
    let fix = "move the type down to `domain`, or hand the value in as an argument";
    (!allowed && module != target).then(|| format!("`{module}` may not use `{target}`: {fix}"))
}

#[test]
fn imports_go_one_way() {
    let mut faults = Faults::default();
    for file in sources() {
        let Some(module) = file.module() else { continue };
        if module != "pin" && !LAYERS.iter().any(|layer| layer.contains(&module)) {
            faults.add(
                &file,
                1,
                format_args!("`{module}` has no layer: add it to LAYERS in tests/tidy.rs"),
            );
        }
        let code = code(&file.text);
        faults.words(&file, &code, "super::super", "hides the module: write `crate::...`");
        for (line, rest) in words(&code, "crate::") {
            if rest.starts_with('{') {
                let fix = "write one `use crate::module::...` each";
                faults.add(&file, line, format_args!("`crate::{{` hides the layers: {fix}"));
            } else if let Some(fault) = import_fault(&file, module, name(rest)) {
                faults.add(&file, line, fault);
            }
        }
    }
    faults.none();
}

#[test]
fn the_core_opens_nothing_and_spawns_nothing() {
    let banned = ["std::fs", "tokio::fs", "tokio::net", "std::net", "std::thread", "tokio::spawn"];
    let mut faults = Faults::default();
    for file in sources().iter().filter(|f| f.is_of(PURE)) {
        let code = code(file.shipped());
        for word in banned {
            faults.words(file, &code, word, "take what it gives as an argument or through a trait");
        }
    }
    faults.none();
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let mut faults = Faults::default();
    for file in sources() {
        let first = file.text.lines().next().unwrap_or_default();
        // A bare module name is no description.
        if !first.starts_with("//! ") || !first.trim_start_matches("//! ").contains(' ') {
            let form = "its one job, what never happens in it, where to look next";
            faults.add(&file, 1, format_args!("begin with `//!`: {form}"));
        }
    }
    faults.none();
}

#[test]
fn banned_words_are_absent_from_code() {
    let mut faults = Faults::default();
    for file in files().iter().filter(|f| f.is("rs")) {
        let code = code(&file.text);
        for (word, instead, allowed) in BANNED {
            if !allowed.iter().any(|place| file.path.starts_with(place)) {
                faults.words(file, &code, word, instead);
            }
        }
        for attribute in ["#[allow(", "#![allow("] {
            for (line, rest) in words(&code, attribute) {
                if !rest.split(")]").next().unwrap_or(rest).contains("reason") {
                    faults.add(
                        file,
                        line,
                        "write #[expect(lint, reason = \"...\")], never a bare allow",
                    );
                }
            }
        }
    }
    faults.none();
}

#[test]
fn the_hot_modules_share_no_lock() {
    let mut faults = Faults::default();
    for file in sources().iter().filter(|f| f.is_of(LOCK_FREE)) {
        let code = code(&file.text);
        for word in ["Mutex", "RwLock", "parking_lot", "Condvar"] {
            let instead = "use ArcSwap, an atomic, papaya, or a task that owns the state";
            faults.words(file, &code, word, instead);
        }
    }
    faults.none();
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut faults = Faults::default();
    for file in files().iter().filter(|f| !f.is("lock") && !f.is("json")) {
        for mark in marks {
            faults.words(file, &file.text, mark, "do it, or leave no mark");
        }
    }
    faults.none();
}

/// The attributes right above a line that hold a derive.
fn derives_above(code: &str, line: usize) -> String {
    let above: Vec<_> = code.lines().take(line - 1).collect();
    let attributes = above.iter().rev().take_while(|l| !l.contains(['}', ';']));
    attributes.filter(|l| l.contains("derive")).copied().collect()
}

#[test]
fn secrets_cannot_be_shown_or_serialized() {
    let mut faults = Faults::default();
    for file in sources() {
        let code = code(&file.text);
        for secret in SECRETS {
            for shown in ["Display", "Serialize", "LowerHex", "UpperHex"] {
                let fix = "a secret has none: give `expose_...`, or a masked form";
                faults.words(&file, &code, &format!("{shown} for {secret}"), fix);
            }
            for (line, _) in
                ["struct", "enum"].iter().flat_map(|k| words(&code, &format!("{k} {secret}")))
            {
                let derives = derives_above(&code, line);
                let derives = |word: &str| !words(&derives, word).is_empty();
                if derives("Serialize") || (RAW_SECRETS.contains(secret) && derives("Debug")) {
                    faults.add(
                        &file,
                        line,
                        "a secret derives no Serialize and no Debug: write a masked Debug",
                    );
                }
            }
        }
    }
    faults.none();
}

/// An error about a message holds numbers and static text, so that it can be logged as it is.
#[test]
fn errors_of_the_codec_and_of_pins_hold_no_text() {
    let mut faults = Faults::default();
    for file in sources().iter().filter(|f| f.is_of(&["iso8583", "pin"])) {
        let code = code(&file.text);
        for (line, rest) in ["enum", "struct"].iter().flat_map(|word| words(&code, word)) {
            let error = name(rest.trim_start());
            let body = rest.split("\n}").next().unwrap_or(rest);
            let holds = ["String", "Vec", "Box"].iter().any(|word| !words(body, word).is_empty());
            if error.ends_with("Error") && holds && !ERRORS_ABOUT_SETTINGS.contains(&error) {
                faults.add(
                    file,
                    line,
                    format_args!("`{error}` holds text: keep field, offset and rule only"),
                );
            }
        }
    }
    faults.none();
}

#[test]
fn files_and_lines_stay_short() {
    let mut faults = Faults::default();
    let files = files();
    for file in files.iter().filter(|f| f.is("rs")) {
        let lines = file.text.lines().count();
        let is_long = LINES_MAX < file.shipped().lines().count() || LINES_WITH_TESTS_MAX < lines;
        match LONG_FILES.iter().find(|(path, _)| *path == file.path) {
            Some((_, max)) if *max < lines => {
                let fault = format!("past the {max} lines of LONG_FILES: split it by job");
                faults.add(file, lines, fault);
            }
            Some(_) if !is_long => faults.add(file, lines, "short again: take it off LONG_FILES"),
            None if is_long => {
                let caps = format!("{LINES_MAX} lines, {LINES_WITH_TESTS_MAX} with its tests");
                faults.add(file, lines, format_args!("longer than {caps}: split it by job"));
            }
            Some(_) | None => {}
        }
        for (index, line) in file.text.lines().enumerate() {
            if COLUMNS_MAX < line.chars().count() {
                faults.add(
                    file,
                    index + 1,
                    format_args!("longer than {COLUMNS_MAX} columns: wrap it"),
                );
            }
        }
    }
    let gone = LONG_FILES.iter().filter(|(path, _)| files.iter().all(|f| f.path != *path));
    faults.0.extend(gone.map(|(path, _)| format!("{path}: gone: take it off LONG_FILES")));
    faults.none();
}

#[test]
fn no_trailing_blanks_and_no_tabs() {
    let checked = ["css", "html", "js", "md", "rs", "service", "toml", "yaml", "yml"];
    let mut faults = Faults::default();
    for file in files().iter().filter(|f| checked.iter().any(|extension| f.is(extension))) {
        for (index, line) in file.text.lines().enumerate() {
            if line.ends_with([' ', '\r']) || line.contains('\t') {
                faults.add(file, index + 1, "a blank at the end, or a tab: take it out");
            }
        }
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            faults.add(file, file.text.lines().count(), "no newline at the end: add one");
        }
    }
    faults.none();
}

#[test]
fn markdown_has_one_title() {
    let mut faults = Faults::default();
    for file in files().iter().filter(|f| f.is("md")) {
        let titles = prose(&file.text).filter(|line| line.starts_with("# ")).count();
        if titles != 1 {
            faults.add(file, 1, format_args!("{titles} titles (`# `): have exactly one"));
        }
    }
    faults.none();
}

#[test]
fn the_changelog_has_its_form() {
    let files = files();
    let file = files.iter().find(|f| f.path == "CHANGELOG.md").expect("CHANGELOG.md");
    let groups = ["### Safety and performance", "### Features", "### Internals"];
    let (mut faults, mut next) = (Faults::default(), 0);
    for line in prose(&file.text).filter(|line| line.starts_with("##")) {
        if let Some(version) = line.strip_prefix("## ") {
            next = 0;
            let dated = |(n, date): (&str, &str)| n.split('.').count() == 3 && date.len() == 10;
            if version != "Unreleased" && !version.split_once(" - ").is_some_and(dated) {
                let form = "write `## Unreleased` or `## 1.2.3 - 2026-01-31`";
                faults.0.push(format!("CHANGELOG.md: `{line}`: {form}"));
            }
        } else if let Some(at) = groups.iter().skip(next).position(|group| *group == line) {
            next += at + 1;
        } else {
            faults.0.push(format!("CHANGELOG.md: `{line}`: only {groups:?}, in this order"));
        }
    }
    faults.none();
}

#[test]
fn no_paths_of_one_machine() {
    let banned = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut faults = Faults::default();
    for file in files() {
        for path in banned {
            for (at, _) in file.text.match_indices(path) {
                let line = line_of(&file.text, at);
                faults.add(
                    &file,
                    line,
                    format_args!("`{path}` means nothing elsewhere: make it relative"),
                );
            }
        }
    }
    faults.none();
}

/// The labels of a metrics macro: each `"name" =>` up to the macro's closing parenthesis.
fn labels(rest: &str) -> BTreeSet<&str> {
    let mut depth = 0;
    let end = rest.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth < 0
    });
    let pairs: Vec<_> = rest[..end.unwrap_or(rest.len())].split("=>").collect();
    let before = pairs.iter().rev().skip(1);
    let quoted = before.filter_map(|before| before.trim_end().strip_suffix('"'));
    quoted.filter_map(|quoted| quoted.rsplit('"').next()).collect()
}

#[test]
fn metrics_in_the_source_are_those_of_the_catalogue() {
    let (mut faults, mut used) = (Faults::default(), BTreeSet::new());
    for file in sources() {
        let text = file.shipped();
        for (at, quoted) in text.match_indices("\"pinion_") {
            let metric = name(&text[at + 1..]);
            // The rows of the catalogue itself are no use of a metric; its macros are.
            let row = file.path == "src/ops/metrics.rs" && !text[..at].ends_with("!(");
            if row || !text[at + quoted.len()..].trim_start_matches(text::is_word).starts_with('"')
            {
                continue;
            }
            let known = CATALOGUE.iter().find(|known| known.name == metric);
            let listed = known.map(|known| known.labels.iter().copied().collect());
            let given = labels(&text[at + 1 + metric.len() + 1..]);
            if listed.as_ref() != Some(&given) {
                let fault = format!("`{metric}` with {given:?}: CATALOGUE has {listed:?}");
                faults.add(&file, line_of(text, at), fault);
            }
            used.insert(metric.to_owned());
        }
    }
    for metric in CATALOGUE {
        match (used.contains(metric.name), METRICS_TO_COME.contains(&metric.name)) {
            (true, true) => {
                faults.0.push(format!("{}: emitted: take it off METRICS_TO_COME", metric.name));
            }
            (false, false) => {
                faults.0.push(format!("{}: in CATALOGUE, and nothing emits it", metric.name));
            }
            (true, false) | (false, true) => {}
        }
    }
    faults.none();
}

/// The rules above are only as good as what they read.
#[test]
fn code_is_told_from_comments_and_strings() {
    let text = "let a = \"crate::pin\"; // crate::pin\nlet b = 'x'; /* dbg! */ fn f<'a>(x: &'a str) {}\n\
                let c = r#\"unimplemented!\"#; let d = '\\''; let e = ['€', b'\"']; dbg!(1)";
    let code = code(text);
    assert_eq!(code.lines().count(), 3);
    assert!(!code.contains("pin") && !code.contains("unimplemented"), "{code}");
    assert!(code.contains("fn f<'a>(x: &'a str)"), "{code}");
    assert_eq!(words(&code, "dbg!"), [(3, "(1)")]);
    assert_eq!(words("a println! eprintln!", "println!").len(), 1);
}

#[test]
fn the_layer_table_says_what_the_design_says() {
    let fault = |path: &str, target: &str| {
        let file = File { path: path.into(), text: String::new() };
        import_fault(&file, file.module().unwrap(), target).is_some()
    };
    for (path, target, refused) in [
        ("src/card/gates.rs", "domain", false),
        ("src/card/gates.rs", "hsm", true),
        ("src/hsm/mod.rs", "card", true),
        ("src/hsm/mod.rs", "pin", true),
        ("src/hsm/soft/ops.rs", "pin", false),
        ("src/hsm/payshield/simulator/run/verify.rs", "pin", false),
        ("src/hsm/payshield/wire/field.rs", "pin", true),
        ("src/switch/cms.rs", "hsm", false),
        ("src/switch/cms.rs", "link", true),
        ("src/switch/cms.rs", "pin", true),
        ("src/iso8583/mac.rs", "limits", false),
        ("src/iso8583/mac.rs", "pin", true),
        ("src/iso8583/mac.rs", "card", true),
        ("src/pin/pvv.rs", "domain", false),
        ("src/pin/pvv.rs", "iso8583", true),
        ("src/domain/pan.rs", "limits", true),
        ("src/link/codes.rs", "ops", true),
        ("src/cli/serve.rs", "link", false),
        ("src/link/session.rs", "link", false),
    ] {
        assert_eq!(fault(path, target), refused, "{path} importing {target}");
    }
}
