//! One run with every kind of request, at the most talkative log level: nothing secret is in what was written.
//!
//! Every other test's output is searched the same way when its node ends. Searched here besides: what the commands
//! print, the pages of the admin port, and the files of the store, where numbers rest encrypted. **Never here:**
//! how to search (`support::leak`).

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::eventually;
use crate::support::message::{
    Client, Message, change, framed, network, pin_block, reversal, unblock, verify,
};
use crate::support::node::{Node, PINS, Setup, WRONG};

const MAC_LINK: &str = r#"
[[link]]
name = "sealed"
listen = "127.0.0.1:{port}"
dialect = "iso87-ascii"
zpk = "zpk.atm"
channel = "A"
mac = { key = "zak.acquirer" }
"#;

/// Requests of every kind about some cards, each with the code of its answer where that is certain.
fn every_kind(node: &Node) -> Vec<(Message, Option<&'static str>)> {
    let [first_card, second, guessed, other, ..] = &node.pans[..] else { panic!("cards") };
    let next = || node.number();
    let first = change(first_card, PINS[0], PINS[1], next());
    let undone = change(second, PINS[0], PINS[1], next());
    let unknown = "5413340999999990";
    let mut requests = vec![
        (first.clone(), Some("00")),
        (first.clone().under("0101"), Some("00")),
        // The same key for another card.
        (verify(second, PINS[0], first.stan()).with(37, &first.fields[&37]), Some("94")),
        (verify(first_card, PINS[1], next()), Some("00")),
        (undone.clone(), Some("00")),
        (reversal(&undone, next()), None),
        (verify(unknown, WRONG, next()), Some("14")),
        (change(other, PINS[0], "111111", next()), Some("89")),
        (change(other, PINS[0], "123456", next()), Some("89")),
        (change(other, PINS[0], PINS[0], next()), Some("89")),
        (change(other, PINS[0], "1234567", next()), Some("89")),
        // The block of another card, and one under no key at all.
        (verify(other, PINS[0], next()).with(52, pin_block(first_card, PINS[0])), None),
        (verify(other, PINS[0], next()).with(52, [0x5A; 8]), None),
        (verify(other, PINS[0], next()).with(52, [0; 8]), None),
        (
            verify(other, PINS[0], next())
                .without(2)
                .with(35, format!("{other}=49122010000012300000")),
            None,
        ),
        (verify(other, PINS[0], next()).with(35, format!("{other}X4912")), Some("30")),
        (verify(other, PINS[0], next()).with(4, "12X456789012"), Some("30")),
        (verify(other, PINS[0], next()).with(3, "010000"), Some("12")),
        (verify(other, PINS[0], next()).under("0200"), None),
        (unblock(other, next()), Some("00")),
        (network("001", next()), Some("00")),
        (network("301", next()), Some("00")),
        (network("999", next()), None),
        (network("002", next()), Some("00")),
    ];
    for _ in 0..4 {
        requests.push((verify(guessed, WRONG, next()), None));
    }
    requests.push((verify(guessed, WRONG, next()), Some("75")));
    requests.push((unblock(guessed, next()), Some("00")));
    requests
}

/// Every PIN that [`every_kind`] sends.
fn remember(node: &mut Node) {
    for pan in node.pans.clone() {
        for pin in ["111111", "123456", "1234567", "5678"] {
            node.secrets.card(&pan, pin);
        }
    }
    node.secrets.card("5413340999999990", WRONG);
}

#[test]
fn nothing_secret_is_written_whatever_is_asked() {
    let setup = Setup { level: "trace", more: MAC_LINK, cards: 4, ..Setup::DEFAULT };
    let mut node = Node::new(&setup);
    remember(&mut node);
    node.start();
    let mut client = Client::connect(node.atm);
    for (request, expected) in every_kind(&node) {
        let answer = client.ask(&request);
        for field in [35, 52, 53, 125] {
            assert!(!answer.fields.contains_key(&field), "field {field} in an answer");
        }
        if let Some(code) = expected {
            let (mti, kind) = (&request.mti, request.text(3));
            assert_eq!(answer.code(), code, "{mti} {kind} {}", request.stan());
        }
    }
    // Without a MAC, and with a wrong one.
    let mut sealed = Client::connect(node.extra);
    let bare = verify(&node.pans[3], PINS[0], node.number());
    for request in [bare.clone(), bare.with(128, [9; 8])] {
        let answer = sealed.write(&request.framed()).and_then(|()| sealed.read());
        assert_eq!(answer.expect("an answer").code(), "63");
    }

    // Numbers where nobody expects them.
    let pan = node.pans[0].clone();
    for bytes in [
        framed(format!("0100{pan}{pan}{pan}").as_bytes()),
        format!("GET /cards/{pan}?pin={} HTTP/1.1\r\n\r\n", PINS[0]).into_bytes(),
        [&[0xFF, 0xFF][..], pan.as_bytes(), &pin_block(&pan, PINS[0])].concat(),
        framed(&verify(&pan, PINS[0], node.number()).encode()[..60]),
        verify(&pan, PINS[0], node.number()).framed()[..70].to_vec(),
    ] {
        let mut stray = Client::connect(node.atm);
        stray.write(&bytes).expect("written");
        stray.end();
        while stray.read().is_ok() {}
    }
    for page in ["/", "/metrics", "/status", "/ready", "/live"] {
        assert_eq!(node.page(page).map(|(status, _)| status), Some(200), "{page}");
    }
    assert_eq!(node.page(&format!("/cards/{pan}")).map(|(status, _)| status), Some(404));
    node.signal(Signal::HUP);
    eventually("the configuration is read again", || {
        node.output().contains("configuration reloaded").then_some(())
    });
    // The log of a start after a kill, with records to replay.
    node.kill();
    node.start();
    node.stop();

    let told = node.output().lines().filter(|line| line.contains("answered")).count();
    assert!(15 < told, "the log is silent: {told} answers");
    commands(&node, &pan);
    at_rest(&node);
}

/// What commands print: a number masked to six and four digits, and nothing more.
fn commands(node: &Node, pan: &str) {
    for arguments in [
        &["cards", "show", pan][..],
        &["cards", "show", "--json", pan],
        &["audit", "verify"],
        &["check"],
    ] {
        let (code, stdout, stderr) = node.attempt(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        node.secrets.search("what a command prints", stdout.as_bytes());
        node.secrets.search("what a command says", stderr.as_bytes());
        if arguments.contains(&"show") {
            let masked = format!("{}******{}", &pan[..6], &pan[12..]);
            assert!(stdout.contains(&masked), "{masked} is not in {stdout}");
        }
    }
    let (code, stdout, stderr) = node.attempt(&["cards", "show", "5413340999999990"]);
    assert_eq!(code, Some(1));
    node.secrets.search("what a command prints", stdout.as_bytes());
    node.secrets.search("what a command says", stderr.as_bytes());
}

/// No clear number, PIN, block or zone key in any file of the directory.
fn at_rest(node: &Node) {
    let mut files = 0;
    each_file(&node.path("."), &mut |path| {
        let mut bytes = fs::read(path).expect("read");
        // The store reserves room it has not filled.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        node.secrets.search(&path.display().to_string(), &bytes);
        files += 1;
    });
    assert!(5 < files, "{files} files were searched");
}

fn each_file(directory: &Path, visit: &mut impl FnMut(&PathBuf)) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            each_file(&path, visit);
        } else {
            visit(&path);
        }
    }
}
