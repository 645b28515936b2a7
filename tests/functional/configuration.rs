//! Bad command lines and bad configurations: the exit code, the place that is named, and that nothing was started.

use std::net::TcpStream;
use std::process::Output;

use serde_json::Value;

use crate::support::node::{Place, done, pinion, world_links};
use crate::support::store::needed_line;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = pinion(arguments).output().expect("ended");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn bad_usage_is_64_and_help_is_0() {
    for (arguments, code) in [
        (&[][..], 64),
        (&["nonsense"], 64),
        (&["serve"], 64),
        (&["serve", "--config"], 64),
        (&["serve", "--config", "a.toml", "--nonsense"], 64),
        (&["check"], 64),
        (&["demo", "extra"], 64),
        (&["cards"], 64),
        (&["cards", "show", "4761739001010010"], 64),
        (&["--help"], 0),
        (&["serve", "--help"], 0),
        (&["check", "--help"], 0),
        (&["demo", "--help"], 0),
        (&["--version"], 0),
    ] {
        let (got, stdout, stderr) = run(arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {stderr}");
        if code == 0 {
            assert!(!stdout.is_empty() && stderr.is_empty(), "{arguments:?}");
        } else {
            assert!(stdout.is_empty() && !stderr.is_empty(), "{arguments:?}: {stdout}");
        }
    }
    for command in ["serve", "check", "demo", "cards", "keys"] {
        let (_, help, _) = run(&[command, "--help"]);
        assert!(help.contains(&format!("pinion {command}")), "an example of {command}");
    }
    let demo =
        pinion(&["demo", "--exit"]).env("PINION_DEMO_PORT_BASE", "many").output().expect("ended");
    assert_eq!(demo.status.code(), Some(64), "{}", String::from_utf8_lossy(&demo.stderr));
}

/// Each row breaks the good configuration in one place; both commands name it and start nothing.
#[test]
fn bad_configuration_is_78_and_names_its_place() {
    let place = Place::new(world_links());
    let good = place.read();
    let first = format!("127.0.0.1:{}", place.port("atm-1"));
    let second = format!("127.0.0.1:{}", place.port("acquirer-1"));
    let (needed, needed_key) = needed_line();
    let rows: [(&str, &str, &str, &str); 25] = [
        ("no TOML", "[log]", "[log", "log"),
        ("an unknown section", "[log]", "[lok]", "lok"),
        ("an unknown key", "level =", "levle =", "log.levle"),
        ("an unknown word", "\"trace\"", "\"loud\"", "log.level"),
        ("a number for a text", "name = \"test\"", "name = 7", "node.name"),
        ("no node", "[node]\nname = \"test\"", "", "node"),
        ("no directory or number", needed, "", needed_key),
        ("a name with a blank", "name = \"atm-1\"", "name = \"ATM 1\"", "link[0].name"),
        ("a name twice", "name = \"acquirer-1\"", "name = \"atm-1\"", "link[1].name"),
        ("an address twice", &second, &first, "link[1].listen"),
        ("no address", &first, "here", "link[0].listen"),
        ("an unknown dialect", "\"iso87-bcd\"", "\"iso88\"", "link[1].dialect"),
        ("no dialect file", "\"iso87-bcd\"", "\"mine.toml\"", "link[1].dialect"),
        (
            "an unknown framing",
            "zpk = \"zpk.acquirer\"",
            "zpk = \"zpk.acquirer\"\nframing = \"be9\"",
            "link[1].framing",
        ),
        ("an unknown zone key", "\"zpk.acquirer\"", "\"zpk.nobody\"", "link[1].zpk"),
        ("an unknown MAC key", "key = \"zak.acquirer\"", "key = \"zak.nobody\"", "link[1].mac.key"),
        ("an unknown right", "\"verify\", \"unblock\"", "\"verify\", \"all\"", "link[0].rights"),
        ("an unknown channel", "channel = \"I\"", "channel = \"Z\"", "link[3].channel"),
        ("a public admin port", "listen = \"127.0.0.1:", "listen = \"0.0.0.0:", "admin.listen"),
        ("a BIN twice", "bin = \"541333\"", "bin = \"476173\"", "product[1].bin"),
        ("an unknown PVK", "pvk = \"pvk.visa\"", "pvk = \"pvk.nobody\"", "product[0].pvk"),
        ("a PVK of another type", "pvk = \"pvk.visa\"", "pvk = \"zpk.atm\"", "product[0].p"),
        ("a method without its key", "pvk = \"pvk.visa\"\n", "", "product[0].pvk"),
        (
            "a PIN of three digits",
            "pin_lengths = [4]",
            "pin_lengths = [3]",
            "product[0].pin_lengths",
        ),
        (
            "too many in flight",
            "rights = [",
            "in_flight = 1000000\nrights = [",
            "link[0].in_flight",
        ),
    ];
    for (what, from, to, key) in rows {
        assert!(good.contains(from), "{what}: {from:?} is not in the configuration");
        place.write(&good.replacen(from, to, 1));
        check_refused(&place, what, key);
    }
    place.write(&good);
}

#[track_caller]
fn check_refused(place: &Place, what: &str, key: &str) {
    let config = place.config();
    for command in ["check", "serve"] {
        let (code, stdout, stderr) = run(&[command, "--config", &config]);
        assert_eq!(code, Some(78), "{command}, {what}: {stderr}");
        assert!(stdout.is_empty(), "{command}, {what}: {stdout}");
        assert_eq!(stderr.lines().count(), 1, "{command}, {what}: {stderr}");
        let said = stderr.trim_end().strip_prefix("pinion: ").unwrap_or(&stderr);
        let rest =
            said.strip_prefix(&format!("{config}:")).unwrap_or_else(|| panic!("{what}: {said}"));
        let (line, rest) = rest.split_once(": ").unwrap_or_else(|| panic!("{what}: {said}"));
        assert!(line.parse::<usize>().is_ok_and(|line| 0 < line), "{what}: {said}");
        let (named, reason) = rest.split_once(": ").unwrap_or_else(|| panic!("{what}: {said}"));
        assert!(named.starts_with(key), "{command}, {what}: {named} instead of {key}");
        assert!(!reason.is_empty(), "{what}: {said}");
        let port = place.port("atm-1");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{what}: something listens");
    }
}

/// The line is the one an editor shows.
#[test]
fn the_line_is_the_one_of_the_key() {
    let place = Place::new(world_links());
    let good = place.read();
    let at =
        good.lines().position(|line| line.starts_with("dialect = \"iso87-bcd\"")).expect("a line");
    place.write(&good.replacen("\"iso87-bcd\"", "\"iso88\"", 1));
    let (_, _, stderr) = run(&["check", "--config", &place.config()]);
    assert!(stderr.contains(&format!(":{}: link[1].dialect: ", at + 1)), "{stderr}");
}

/// Keys: a file that is not there, a wrong local master key, published keys without consent.
#[test]
fn bad_keys_are_78() {
    let place = Place::new(world_links());
    let config = place.config();
    let good = place.read();
    for (what, from, to, said) in [
        ("no key file", "\"keys.toml\"", "\"none.toml\"", "none.toml"),
        ("no local master key", "\"lmk.key\"", "\"none.key\"", "none.key"),
        ("no consent", "allow_test_keys = true", "allow_test_keys = false", "allow_test_keys"),
    ] {
        place.write(&good.replacen(from, to, 1));
        for command in ["check", "serve"] {
            let (code, _, stderr) = run(&[command, "--config", &config]);
            assert_eq!(code, Some(78), "{command}, {what}: {stderr}");
            assert!(stderr.contains(said), "{command}, {what}: {stderr}");
        }
    }
    place.write(&good);
    let lmk = place.path("other.key").display().to_string();
    let keys = place.path("other.toml").display().to_string();
    done(&["keys", "--keys", &keys, "--lmk", &lmk, "init"], "");
    place.write(&good.replacen("\"lmk.key\"", "\"other.key\"", 1));
    let (code, _, stderr) = run(&["serve", "--config", &config]);
    assert_eq!(code, Some(78), "another local master key: {stderr}");
}

#[test]
fn a_configuration_that_is_not_there() {
    for command in ["check", "serve"] {
        let (code, _, stderr) = run(&[command, "--config", "nowhere/pinion.toml"]);
        assert_eq!(code, Some(78), "{command}");
        assert!(stderr.contains("nowhere/pinion.toml:1: file: "), "{command}: {stderr}");
    }
}

#[test]
fn check_tells_what_it_would_listen_on() {
    let place = Place::new(world_links());
    let config = place.config();
    let text = done(&["check", "--config", &config], "");
    for link in world_links() {
        let port = place.port(link.name);
        let line = text.lines().find(|line| line.contains(link.name)).expect("a line a link");
        assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
        assert!(line.contains(link.dialect.name), "{line}");
        assert_eq!(line.contains("MAC"), link.name == "acquirer-1", "{line}");
    }
    let document = done(&["check", "--json", "--config", &config], "");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["listens"].as_array().expect("listens").len(), world_links().len());
    assert_eq!(document["products"], 5);
}
