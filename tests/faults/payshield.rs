//! Devices that are killed, frozen and restarted while PINs change: nobody is told anything wrong, and the switch goes
//! on by itself.
//!
//! Five seconds for each trouble; twenty with `PINION_TEST_LONG=1`. **Never here:** the client's own states, which its
//! unit tests have.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::hsm::{Device, check_value, section, token};
use crate::support::message::{Client, change, verify};
use crate::support::node::{Node, PINS, Setup, WORLD, WRONG};
use crate::support::{eventually, let_pass};

pub(crate) const CARDS: usize = 24;
const CALLERS: usize = 4;

/// Quick to find a device again, so that the test is.
pub(crate) const QUICK: &str = "timeout_ms = 300\nhealth_seconds = 1\nreconnect_ms = 20\nreconnect_max_ms = 200\n\
                     breaker = { failures = 5, open_ms = 300 }\n";

pub(crate) fn span() -> Duration {
    let long = std::env::var_os("PINION_TEST_LONG").is_some();
    Duration::from_secs(if long { 20 } else { 5 })
}

pub(crate) fn node_with(ports: &[u16]) -> Node {
    let hsm = section(&WORLD, ports, QUICK);
    Node::new(&Setup { level: "info", hsm: &hsm, cards: CARDS as u64, ..Setup::DEFAULT })
}

/// Sends a signal to a simulator: stopped it says nothing, and its connections stay.
#[track_caller]
fn signal(device: &Device, signal: Signal) {
    let children = format!("/proc/{0}/task/{0}/children", device.child.id());
    let text = std::fs::read_to_string(children).expect("its children");
    let id = text.split_whitespace().next().expect("a child").parse().expect("a number");
    kill_process(Pid::from_raw(id).expect("a pid"), signal).expect("a signal");
}

/// What one caller was told, and the PIN each of its cards has by that.
#[derive(Default)]
struct Book {
    told: BTreeMap<String, usize>,
    pins: BTreeMap<String, usize>,
}

/// Changes PINs to and fro, guesses wrong now and then, and believes what it is told.
fn call(node: &Node, which: usize, stop: &AtomicBool) -> Book {
    let pans: Vec<_> = node.pans.iter().skip(which).step_by(CALLERS).collect();
    let mut book = Book::default();
    let mut client = Client::connect(node.atm);
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let pan = pans[turn % pans.len()];
        let has = *book.pins.entry(pan.clone()).or_insert(0);
        let guess = turn % 7 == 3;
        let current = if guess { WRONG } else { PINS[has] };
        let code = client.code(&change(pan, current, PINS[1 - has], node.number()));
        match code.as_str() {
            "00" => {
                assert!(!guess, "a wrong PIN was taken for the right one");
                book.pins.insert(pan.clone(), 1 - has);
            }
            "55" => assert!(guess, "the right PIN was taken for a wrong one"),
            // No device; nothing has changed, and no try is used.
            "86" | "91" => {}
            other => panic!("{other} to a change"),
        }
        *book.told.entry(code).or_default() += 1;
    }
    book
}

/// Calls while `trouble` happens, then holds every card against the books.
#[track_caller]
pub(crate) fn during(node: &Node, trouble: impl FnOnce()) -> BTreeMap<String, usize> {
    let stop = AtomicBool::new(false);
    let books: Vec<Book> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|which| {
                scope.spawn({
                    let stop = &stop;
                    move || call(node, which, stop)
                })
            })
            .collect();
        trouble();
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().expect("a caller that ends well")).collect()
    });
    eventually("a device is usable", || node.page("/ready").filter(|(status, _)| *status == 200));
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    let mut client = Client::connect(node.atm);
    for book in &books {
        for (pan, has) in &book.pins {
            let code = client.code(&verify(pan, PINS[*has], node.number()));
            assert_eq!(code, "00", "a card has another PIN than its holder was told");
            let back = client.code(&change(pan, PINS[*has], PINS[0], node.number()));
            assert!(["00", "89"].contains(&back.as_str()), "{back}");
        }
        for (code, count) in &book.told {
            *told.entry(code.clone()).or_default() += count;
        }
    }
    told
}

pub(crate) fn state(node: &Node, device: usize) -> String {
    let status = node.json("/status");
    status["hsm"]["devices"][device]["state"].as_str().expect("a state").to_owned()
}

#[test]
fn a_device_that_is_killed_frozen_and_restarted_costs_no_answer() {
    let (first, second) = (Device::start(&[]), Device::start(&[]));
    let ports = [first.port, second.port];
    let mut node = node_with(&ports);
    node.start();
    eventually("both are up", || (node.metric("pinion_hsm_up", &[]) == 2).then_some(()));
    let refused = |told: &BTreeMap<String, usize>| {
        told.iter()
            .filter(|(code, _)| ["86", "91"].contains(&code.as_str()))
            .map(|(_, n)| n)
            .sum::<usize>()
    };

    let told = during(&node, || {
        let_pass(span() / 5);
        signal(&first, Signal::STOP);
        let_pass(span() / 2);
        signal(&first, Signal::CONT);
        eventually("it is up again", || (state(&node, 0) == "up").then_some(()));
        let_pass(span() / 5);
    });
    eprintln!("frozen: {told:?}");
    assert_eq!(refused(&told), 0, "the other device was there all the time: {told:?}");
    assert!(100 < told["00"], "{told:?}");

    let told = during(&node, || {
        let_pass(span() / 5);
        drop(first);
        eventually("it is down", || (state(&node, 0) == "down").then_some(()));
        let_pass(span() / 2);
    });
    eprintln!("killed: {told:?}");
    assert_eq!(refused(&told), 0, "the other device was there all the time: {told:?}");

    let first = Device::start_at(ports[0], &[]);
    eventually("it is up again", || (state(&node, 0) == "up").then_some(()));

    // Both are gone: 86 at once, and not ready; then one comes, and the switch goes on.
    let mut back = None;
    let told = during(&node, || {
        drop(first);
        drop(second);
        eventually("not ready", || node.page("/ready").filter(|(status, _)| *status == 503));
        let begun = crate::support::now();
        let mut client = Client::connect(node.atm);
        let code = client.code(&verify(&node.pans[0], PINS[0], node.number()));
        assert_eq!(code, "86");
        assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
        let_pass(span() / 5);
        back = Some(Device::start_at(ports[1], &[]));
        eventually("it is up again", || (state(&node, 1) == "up").then_some(()));
        let_pass(span() / 5);
    });
    eprintln!("both gone: {told:?}");
    assert!(0 < refused(&told) && 0 < told["00"], "{told:?}");
    node.stop();
    node.audit();
    drop(back);
}

#[test]
fn a_device_with_another_lmk_does_nothing_and_is_told() {
    let (right, other) = (Device::start(&[]), Device::start(&["--lmk", "tdes-block"]));
    let mut node = node_with(&[right.port, other.port]);
    node.start();
    assert_eq!((state(&node, 0).as_str(), state(&node, 1).as_str()), ("up", "quarantined"));
    assert_eq!(node.metric("pinion_hsm_quarantined", &["hsm-2"]), 1);
    assert!(node.output().contains("165126"), "the log has the check value of the other LMK");
    let told = during(&node, || let_pass(span() / 5));
    assert_eq!(told.keys().collect::<Vec<_>>(), ["00", "55"], "{told:?}");
    node.stop();
}

/// Two devices speak EBCDIC, and the switch is told so of one of them: that one does everything, the other nothing.
#[test]
fn a_device_that_speaks_ebcdic_serves_when_it_is_said_so() {
    let [right, other] = [0, 1].map(|_| Device::start(&["--ebcdic"]));
    // NC and what it answers, by code page 037.
    let nc = hex::decode("0006F1F2F3F4D5C3").expect("hex");
    let nd = "0021F1F2F3F4D5C4F0F0F2F6F8F6F0F4F0F0F0F0F0F0F0F0F0F0F1F0F8F460F0F9F0F6";
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, right.port)).expect("connected");
    stream.write_all(&nc).expect("written");
    let mut answer = [0; 35];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(hex::encode_upper(answer), nd);

    let hsm = section(&WORLD, &[right.port, other.port], QUICK);
    let hsm = hsm.replacen("[[hsm.device]]\n", "[[hsm.device]]\nebcdic = true\n", 1);
    let setup = Setup { level: "info", hsm: &hsm, cards: CARDS as u64, ..Setup::DEFAULT };
    let mut node = Node::new(&setup);
    node.start();
    assert_eq!((state(&node, 0).as_str(), state(&node, 1).as_str()), ("up", "down"));
    let said = node.json("/status")["hsm"]["devices"][1]["last_error"].to_string();
    assert!(said.contains("check header and ebcdic of [[hsm.device]]"), "{said}");
    assert!(0 < node.metric("pinion_hsm_closed_total", &["hsm-2", "unreadable"]));
    let told = during(&node, || let_pass(span() / 5));
    assert_eq!(told.keys().collect::<Vec<_>>(), ["00", "55"], "{told:?}");
    assert_eq!(state(&node, 1), "down");
    node.stop();
    node.audit();
}

/// Puts `text` into the configuration, and waits for what the switch says of it.
#[track_caller]
fn reload(node: &Node, text: &str) -> String {
    let before = node.output().len();
    std::fs::write(node.config(), text).expect("written");
    node.signal(Signal::HUP);
    eventually("the reload", || {
        let log = node.output().split_off(before);
        ["configuration reloaded", "reload refused"]
            .iter()
            .any(|what| log.contains(what))
            .then_some(log)
    })
}

/// A key of the configuration by its old name, and what it is replaced by.
#[track_caller]
fn replaced(text: &str, name: &str, line: &str, by: &str) -> String {
    let at = text.find(&format!("name = \"{name}\"\ntype")).expect("the key");
    let (before, after) = text.split_at(at);
    let from = after.lines().find(|given| given.starts_with(line)).expect("the line");
    format!("{before}{}", after.replacen(from, by, 1))
}

/// While PINs change under them, keys get other names, and one is taken away: nobody is told anything but of his PIN.
/// A reload once forgot a key at once, and what was under way with it was answered 88.
#[test]
fn keys_change_by_reload_without_a_lost_request() {
    let devices = [Device::start(&[]), Device::start(&[])];
    let mut node = node_with(&[devices[0].port, devices[1].port]);
    let good = std::fs::read_to_string(node.config()).expect("the configuration");
    let clear = |name: &str| {
        let text = WORLD["keys"][name]["clear"].as_str().expect("hex").to_owned();
        hex::decode(text).expect("hex")
    };
    // At first the key of the link is another one, with which no block says a PIN.
    let other = clear("zpk.acquirer");
    let other_token = format!("token = \"{}\"", token("ZPK", &other));
    let check = format!("check_value = \"{}\"", check_value(&other));
    let first = replaced(&good, "zpk.atm", "token", &other_token);
    let first = replaced(&first, "zpk.atm", "check_value", &check);
    std::fs::write(node.config(), &first).expect("written");
    node.start();
    eventually("both are up", || (node.metric("pinion_hsm_up", &[]) == 2).then_some(()));
    let mut client = Client::connect(node.atm);
    let mut now = |node: &Node| client.code(&verify(&node.pans[0], PINS[0], node.number()));
    assert_eq!(now(&node), "81");

    // The right key with a check value that is not its own, and as a key of another type.
    let wrong = replaced(&good, "zpk.atm", "check_value", "check_value = \"000000\"");
    let other_type = replaced(&good, "zpk.atm", "type", "type = \"TPK\"");
    for (what, text, why) in [
        ("a wrong check value", &wrong, "the configuration says 000000"),
        ("another type", &other_type, "correct type or token"),
    ] {
        let said = reload(&node, text);
        for part in ["reload refused", "pinion.toml:", "hsm.key[", "key zpk.atm", why] {
            assert!(said.contains(part), "{what}: {part:?} is not in {said}");
        }
        assert_eq!(now(&node), "81", "{what}: the keys before it serve");
        assert_eq!(node.metric("pinion_hsm_up", &[]), 2, "{what}");
    }
    assert!(reload(&node, &good).contains("configuration reloaded"));
    assert_eq!(now(&node), "00");

    let mut reloads = 0;
    let told = during(&node, || {
        let names = ["zpk.one", "zpk.two", "zpk.atm"];
        for name in names.iter().cycle().take(12) {
            let_pass(span() / 30);
            let renamed = good.replace("\"zpk.atm\"", &format!("\"{name}\""));
            assert!(reload(&node, &renamed).contains("configuration reloaded"));
            reloads += 1;
            let said =
                reload(&node, &replaced(&renamed, name, "check_value", "check_value = \"000000\""));
            assert!(said.contains("reload refused"), "{said}");
        }
    });
    eprintln!("{reloads} reloads: {told:?}");
    assert_eq!(told.keys().collect::<Vec<_>>(), ["00", "55"], "{told:?}");
    assert!(100 < told["00"], "{told:?}");
    assert_eq!(node.metric("pinion_hsm_up", &[]), 2);
    node.stop();
}

/// The configuration's check value is not the device's: exit 78, and the key is named.
#[test]
fn a_key_that_is_another_refuses_the_start() {
    let device = Device::start(&[]);
    let node = node_with(&[device.port]);
    let text = std::fs::read_to_string(node.config()).expect("the configuration");
    let at = text.find("name = \"zpk.atm\"\ntype").expect("the key");
    let (before, after) = text.split_at(at);
    let wrong = after.replacen("check_value = \"", "check_value = \"000000\" # ", 1);
    std::fs::write(node.config(), format!("{before}{wrong}")).expect("written");
    let (status, _, stderr) = node.attempt(&["serve"]);
    assert_eq!(status, Some(78), "{stderr}");
    assert!(
        stderr.contains("hsm.key[") && stderr.contains("zpk.atm") && stderr.contains("000000"),
        "{stderr}"
    );
}
