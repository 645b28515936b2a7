//! What an operator relies on: health pages, metrics, reload, stopping.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::eventually;
use crate::support::iso::{ISO87_ASCII, POSTILION};
use crate::support::node::{Node, Place, pinion, world_links};
use crate::support::ports::{free_base, free_port};
use crate::support::request::{Terminal, bare};
use crate::support::store::{is_postgres, is_skipped};
use crate::support::vectors::{PLAIN, VERVE, further_cards, unknown_card};
use crate::support::wire::framed;

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");

#[test]
fn health_pages() {
    let node = Node::world();
    for (path, status) in [("/live", 200), ("/ready", 200), ("/status", 200), ("/nowhere", 404)] {
        let (got, body) = node.get(path);
        assert_eq!(got, status, "{path}");
        serde_json::from_str::<Value>(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"));
    }
    let mut atm = node.connect("atm-1");
    assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "00");
    let status: Value = serde_json::from_str(&node.get("/status").1).expect("JSON");
    let link = &status["links"][0];
    assert_eq!((&link["name"], &link["connections"]), (&"atm-1".into(), &1.into()));
    assert_eq!(link["dialect"], "iso87-ascii");
    assert_eq!(status["ready"], true);
    assert_eq!(status["unsettled"], 0);
    let kind = if is_postgres() { "postgres" } else { "embedded" };
    assert_eq!(status["store"]["kind"], kind);
    assert_eq!(
        status.get("switches").is_some(),
        is_postgres(),
        "an embedded store is of one switch"
    );
    let zpk = status["keys"].as_array().expect("keys").iter().find(|key| key["name"] == "zpk.atm");
    assert_eq!(zpk.expect("the key")["kcv"], "56562A");
    let (status, page) = node.get("/");
    assert!(status == 200 && page.contains("atm-1"), "the page for a browser");
}

/// One of everything that is counted.
fn traffic(node: &Node) {
    let mut atm = node.connect("atm-1");
    let card = &further_cards()[0];
    let change = ATM.change(card, "1234", "2580");
    for (request, code) in [
        (ATM.verify(card, "1234"), "00"),
        (ATM.verify(card, "4321"), "55"),
        (ATM.unblock(card), "00"),
        (change.clone(), "00"),
        (change.as_mti("0101"), "00"),
        (ATM.reversal("0420", &change), "00"),
        (ATM.change(card, "1234", "7777"), "89"),
        (ATM.change(&unknown_card(), "1234", "2580"), "14"),
        (ATM.change(VERVE, "1234", "2580"), "91"),
        (bare(&ISO87_ASCII, "0100", "920000", card), "30"),
        (bare(&ISO87_ASCII, "0100", "500000", card), "12"),
    ] {
        assert_eq!(atm.code(&request), code);
    }
    atm.send_bytes(&[0xFF, 0xFF]);
    assert!(atm.is_closed());
}

#[test]
fn metrics_have_their_names_and_their_labels_are_closed() {
    let node = Node::world();
    traffic(&node);
    let (_, page) = node.get("/metrics");
    for name in [
        "pinion_build_info",
        "pinion_commit_batch_size",
        "pinion_commit_seconds",
        "pinion_declines_total",
        "pinion_frames_rejected_total",
        "pinion_in_flight",
        "pinion_links_up",
        "pinion_request_seconds",
        "pinion_requests_total",
        "pinion_shed_total",
        "pinion_stage_seconds",
    ] {
        assert!(page.contains(&format!("# TYPE {name} ")), "{name} is not there:\n{page}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, _) = line.split_once(['{', ' ']).expect("a sample");
        assert!(name.starts_with("pinion_"), "{line}");
        let labels = line.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
        for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once('=').expect("a label");
            check_label(label, value.trim_matches('"'), line);
        }
    }
}

#[track_caller]
fn check_label(label: &str, value: &str, line: &str) {
    let of = |set: &[&str]| set.contains(&value);
    let closed = match label {
        "hsm" => of(&["hsm-1", "hsm-2"]),
        "command" => value.len() == 2,
        "link" => world_links().iter().any(|link| link.name == value),
        "operation" => of(&["change", "reverse", "unblock", "verify", "other"]),
        "route" => of(&["cms", "postilion", "none"]),
        "stage" => of(&["decode", "dedupe", "route", "hsm", "commit", "host", "encode"]),
        "code" => {
            (2..=4).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric())
        }
        "result" => of(&["sent", "no_chip_data", "failed", "repeated"]),
        "latch" => of(&["draining", "hosts", "hsm", "links", "store"]),
        "reason" | "why" => value.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
        "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
        "version" => value == env!("CARGO_PKG_VERSION"),
        "commit" => true,
        _ => false,
    };
    assert!(closed, "label {label}={value:?} is of no closed set: {line}");
}

#[test]
fn metrics_count_what_happened() {
    let node = Node::world();
    traffic(&node);
    let count = |name: &str, labels: &[(&str, &str)]| node.metric(name, labels);
    for (labels, want) in [
        (&[("operation", "change"), ("code", "00")][..], 2),
        (&[("operation", "verify"), ("code", "00")], 1),
        (&[("operation", "verify"), ("code", "55")], 1),
        (&[("operation", "unblock"), ("code", "00")], 1),
        (&[("operation", "reverse"), ("code", "00")], 1),
        (&[("operation", "other"), ("code", "30")], 1),
        (&[("operation", "other"), ("code", "12")], 1),
        (&[("route", "postilion"), ("code", "91")], 1),
        (&[("link", "atm-1")], 11),
        (&[("link", "vcr-1")], 0),
    ] {
        assert_eq!(count("pinion_requests_total", labels), want, "{labels:?}");
    }
    for (reason, want) in [("wrong_pin", 1), ("new_pin_unacceptable", 1), ("card_unknown", 1)] {
        assert_eq!(count("pinion_declines_total", &[("reason", reason)]), want, "{reason}");
    }
    assert_eq!(count("pinion_request_seconds_count", &[("link", "atm-1")]), 11);
    let too_long = [("link", "atm-1"), ("why", "too_long")];
    assert_eq!(count("pinion_frames_rejected_total", &too_long), 1);
    assert_eq!(count("pinion_in_flight", &[("link", "atm-1")]), 0);
    eventually("the closed connection is gone", || {
        (count("pinion_links_up", &[("link", "atm-1")]) == 0).then_some(())
    });
}

/// SIGHUP: new rights at once for new connections, soon for those that are up.
#[test]
fn reload_takes_rights_away() {
    let node = Node::world();
    let mut up = node.connect("atm-1");
    assert_eq!(up.code(&ATM.unblock(PLAIN)), "00");
    node.place.replace(", \"unblock\"]", "]");
    node.signal(Signal::HUP);
    eventually("the reload is logged", || {
        node.output().contains("configuration reloaded").then_some(())
    });
    assert_eq!(node.connect("atm-1").code(&ATM.unblock(PLAIN)), "58");
    eventually("the old connection follows", || {
        (up.code(&ATM.unblock(PLAIN)) == "58").then_some(())
    });
    assert_eq!(up.code(&ATM.verify(PLAIN, "1234")), "00");
}

/// A file that cannot be used leaves everything as it was, and the log says what is wrong with it.
#[test]
fn a_bad_reload_changes_nothing() {
    let node = Node::world();
    let good = node.place.read();
    let port = node.place.port("atm-1");
    let other_port =
        good.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", free_port()));
    let line = |text: &str| good[..good.find(text).expect("in the file")].lines().count() + 1;
    for (what, text, logged) in [
        ("not TOML", good.replace("[log]", "[log"), format!("{}: log", line("[log]"))),
        ("an unknown key", good.replace("level =", "levle ="), format!("{}: log", line("level ="))),
        (
            "no such zone key",
            good.replace("\nzpk = \"zpk.acquirer\"", "\nzpk = \"zpk.nobody\""),
            "link[1].zpk: ".into(),
        ),
        (
            "no such dialect",
            good.replace("= \"postilion\"\nzpk", "= \"p2\"\nzpk"),
            "link[2].dialect: ".into(),
        ),
        ("another port", other_port, "link[0]: ".into()),
        (
            "a link fewer",
            good.replace(&good[..good.find("[[product]]").unwrap()], &two_links(&good)),
            "link".into(),
        ),
    ] {
        let before = node.output().len();
        // Rights that must not come into force with the rest of the file.
        node.place.write(&text.replace(", \"unblock\"]", "]"));
        node.signal(Signal::HUP);
        let log = eventually(what, || {
            let log = node.output().split_off(before);
            log.contains("reload refused").then_some(log)
        });
        assert!(log.contains(&logged), "{what}: {logged:?} is not in {log}");
        assert_eq!(node.connect("atm-1").code(&ATM.unblock(PLAIN)), "00", "{what}");
    }
    node.place.write(&good);
    node.signal(Signal::HUP);
    eventually("the good file", || node.output().contains("configuration reloaded").then_some(()));
}

/// The head of a configuration with its first two links only.
fn two_links(good: &str) -> String {
    let parts: Vec<_> = good.split("[[link]]").collect();
    parts[..3].join("[[link]]")
}

/// SIGTERM: what is under way is answered, new work goes elsewhere, the exit code is 0.
#[test]
fn sigterm_answers_what_is_under_way() {
    let mut node = Node::world();
    let mut atm = node.connect("atm-1");
    let mut idle = node.connect("vcr-1");
    let cards = further_cards();
    let requests: Vec<_> = cards.iter().map(|card| ATM.change(card, "1234", "2580")).collect();
    let bytes: Vec<u8> = requests.iter().flat_map(|r| framed(&atm.bytes(r))).collect();
    atm.send_bytes(&bytes);
    // The first answer tells that all of them have been read: they came in one piece.
    let mut codes = vec![atm.receive().code()];
    node.signal(Signal::TERM);
    codes.extend((1..requests.len()).map(|_| atm.receive().code()));
    assert!(codes.iter().all(|code| code == "00"), "{codes:?}");
    assert!(atm.is_closed() && idle.is_closed(), "connections end");
    assert!(node.ended().success());
    assert!(std::net::TcpStream::connect(("127.0.0.1", node.place.port("atm-1"))).is_err());
    // Nothing was lost.
    let stored = node_cards(&node);
    for card in &cards {
        let want = crate::support::vectors::reference(card, "2580");
        assert!(stored.contains(&want), "...{}", &card[12..]);
    }
}

fn node_cards(node: &Node) -> String {
    crate::support::node::done(&["cards", "export", "--config", &node.place.config()], "")
}

#[test]
fn sigint_ends_it_too() {
    let mut node = Node::world();
    node.signal(Signal::INT);
    assert!(node.ended().success());
}

/// Two processes on one directory would each believe to be the only writer.
#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    if is_skipped("a_second_process_on_the_same_directory_is_refused") {
        return;
    }
    let node = Node::world();
    let mut other = node.place.read();
    for name in ["atm-1", "acquirer-1", "postilion-in", "vcr-1", "iso93"] {
        let port = node.place.port(name);
        other = other.replace(&format!(":{port}\""), &format!(":{}\"", free_port()));
    }
    other = other.replace(&format!(":{}\"", node.place.admin), &format!(":{}\"", free_port()));
    let config = node.place.path("second.toml");
    std::fs::write(&config, other).expect("written");
    for command in ["serve", "cards export"] {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        let config = config.display().to_string();
        arguments.extend(["--config", &config]);
        let output = pinion(&arguments).output().expect("ended");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("store"), "{command}: which directory: {said}");
        assert!(said.contains("in use") || said.contains("another process"), "{command}: {said}");
    }
    assert_eq!(node.connect("atm-1").code(&ATM.verify(PLAIN, "1234")), "00", "the first goes on");
}

/// A port somebody else has: no half of a switch is left running.
#[test]
fn a_taken_port_is_refused() {
    let place = Place::new(world_links());
    let taken = std::net::TcpListener::bind(("127.0.0.1", place.port("vcr-1"))).expect("bound");
    let output = pinion(&["serve", "--config", &place.config()]).output().expect("ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let address = taken.local_addr().expect("bound").to_string();
    assert!(said.contains("vcr-1") && said.contains(&address), "{said}");
}

/// The demo has the ports and the links of the contract, wherever they are shifted to.
#[test]
fn the_demo_keeps_its_contract() {
    if is_skipped("the_demo_keeps_its_contract") {
        return;
    }
    let directory = tempfile::TempDir::new().expect("a directory");
    let data = directory.path().display().to_string();
    let log = std::fs::File::create(directory.path().join("log")).expect("a log");
    let base = free_base();
    let mut demo = pinion(&["demo", "--data", &data])
        .env("PINION_DEMO_PORT_BASE", base.to_string())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("started");
    let ready = || crate::support::wire::get(base + 9090, "/ready").filter(|(s, _)| *s == 200);
    eventually("the demo is ready", ready);
    for (port, dialect, name) in [
        (8583, &ISO87_ASCII, "atm-1"),
        (8585, &POSTILION, "postilion-in"),
        (8586, &ISO87_ASCII, "vcr-1"),
    ] {
        let stream = crate::support::wire::tcp(base + port);
        let mut link = crate::support::wire::Connection { stream, dialect, mac: None };
        let blocked = Terminal::new(dialect, "zpk.atm").change("4761739001010101", "1234", "2580");
        assert_eq!(link.code(&blocked), "41", "{name}");
    }
    let stream = crate::support::wire::tcp(base + 8584);
    let mac = Some(crate::support::vectors::key("zak.acquirer"));
    let dialect = &crate::support::iso::ISO87_BCD;
    let mut link = crate::support::wire::Connection { stream, dialect, mac };
    let lost = Terminal::new(dialect, "zpk.acquirer").change("4761739001010101", "1234", "2580");
    assert_eq!(link.code(&lost), "41", "acquirer-1");
    demo.kill().expect("killed");
    demo.wait().expect("ended");
    let log = std::fs::read_to_string(directory.path().join("log")).expect("a log");
    crate::support::node::assert_no_leak(&log);
}
