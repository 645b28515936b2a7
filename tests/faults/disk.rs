//! Disks that are full or read-only, and a directory that is taken: refusals, never a false approval, nothing lost.
//!
//! "Full" is made in two ways: a limit on the size of files, which any user may set, and where this process may
//! mount one, a small file system of its own. **Never here:** what the store does inside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, prlimit};

use crate::support::message::{Client, Message, change, echo, verify};
use crate::support::node::{Node, PINS, Setup};
use crate::support::{PATIENCE, eventually, poll};

/// Ignores the signal of a file that grows too large, as a service manager may: the write fails instead.
const IGNORING: &str = "trap '' XFSZ; exec \"$@\"";
const CARDS: u64 = 60;

/// Cards and the PIN that was acknowledged last.
type Ledger = Vec<(String, usize)>;

fn ledger(node: &Node) -> Ledger {
    node.pans.iter().map(|pan| (pan.clone(), 0)).collect()
}

/// Changes every PIN `rounds` times, all acknowledged.
#[track_caller]
fn fill(node: &Node, ledger: &mut Ledger, rounds: usize) {
    let mut client = Client::connect(node.atm);
    for _ in 0..rounds {
        let requests: Vec<Message> = ledger
            .iter()
            .map(|(pan, pin)| change(pan, PINS[*pin], PINS[1 - pin], node.number()))
            .collect();
        let codes = client.codes(&requests);
        assert!(codes.iter().all(|code| code == "00"), "{codes:?}");
        for (_, pin) in ledger.iter_mut() {
            *pin = 1 - *pin;
        }
    }
}

/// Changes PINs until one is refused with 96; that request. What was approved before is in the ledger.
#[track_caller]
fn until_refused(node: &Node, ledger: &mut Ledger, most: usize) -> (usize, Message) {
    let mut client = Client::connect(node.atm);
    for step in 0..most {
        let at = step % ledger.len();
        let (pan, pin) = &mut ledger[at];
        let request = change(pan, PINS[*pin], PINS[1 - *pin], node.number());
        match client.code(&request).as_str() {
            "00" => *pin = 1 - *pin,
            "96" => return (at, request),
            code => panic!("a change on a full disk is answered {code}"),
        }
    }
    panic!("{most} changes are approved on a full disk");
}

/// Everything is refused, readiness says the store, the links live.
#[track_caller]
fn refuses_all(node: &Node, ledger: &Ledger) {
    let mut client = Client::connect(node.other);
    for (pan, pin) in ledger.iter().take(20) {
        let request = change(pan, PINS[*pin], PINS[1 - pin], node.number());
        assert_eq!(client.code(&request), "96");
        assert_eq!(client.code(&verify(pan, PINS[*pin], node.number())), "96");
    }
    assert_eq!(client.code(&echo(node.number())), "00", "the link lives");
    eventually("/ready says 503", || {
        node.page("/ready").filter(|(status, _)| *status == 503).map(|_| ())
    });
    eventually("the metric behind the alert says it", || {
        let (_, page) = node.page("/metrics")?;
        page.contains("pinion_ready{latch=\"store\"} 0").then_some(())
    });
    let ready = node.json("/ready");
    assert_ne!(ready["latches"]["store"], "open", "{ready}");
    let why = node.json("/status")["store"]["poisoned"].as_str().unwrap_or_default().to_owned();
    assert!(!why.is_empty(), "/status says why");
    eprintln!("store: {why}");
}

/// After a start with space: every acknowledged PIN is right, the refused request was done or was not, and its
/// repeat is approved either way.
#[track_caller]
fn recovers(node: &mut Node, ledger: &mut Ledger, refused: (usize, Message)) {
    node.start();
    let mut client = Client::connect(node.atm);
    let (at, request) = refused;
    assert_eq!(client.code(&request.under("0101")), "00", "the repeat of the refused change");
    ledger[at].1 = 1 - ledger[at].1;
    let requests: Vec<Message> =
        ledger.iter().map(|(pan, pin)| verify(pan, PINS[*pin], node.number())).collect();
    let codes = client.codes(&requests);
    assert!(codes.iter().all(|code| code == "00"), "acknowledged PINs are right: {codes:?}");
    drop(client);
    fill(node, ledger, 1);
    node.stop();
    node.audit();
}

#[test]
fn files_that_may_not_grow_stop_changes_and_lose_none() {
    let mut node = Node::new(&Setup { cards: CARDS, level: "info", ..Setup::DEFAULT });
    node.shell = Some(IGNORING);
    node.start();
    let mut ledger = ledger(&node);
    fill(&node, &mut ledger, 10);
    let pid = node.pid();
    let limit = Rlimit { current: Some(64 * 1024), maximum: None };
    prlimit(Some(pid), Resource::Fsize, limit).expect("a limit");
    let refused = until_refused(&node, &mut ledger, 1000);
    refuses_all(&node, &ledger);
    assert_eq!(node.pid(), pid, "the process lives");
    node.stop();
    recovers(&mut node, &mut ledger, refused);
}

/// A small file system in memory, gone with the test.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "none"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_file_system_stops_changes_and_loses_none() {
    let aside = tempfile::tempdir().expect("a directory");
    let Some(small) = Small::mount(aside.path()) else {
        eprintln!("skipped: this process may not mount; the limit on file sizes covers the rest");
        return;
    };
    let store = &aside.path().join("store").display().to_string();
    let setup = Setup { level: "info", store, cards: CARDS, ..Setup::DEFAULT };
    let mut node = Node::new(&setup);
    node.start();
    let mut ledger = ledger(&node);
    fill(&node, &mut ledger, 3);
    let filler = small.0.join("filler");
    // Ends with an error: that is the point.
    let _ = fs::write(&filler, vec![1_u8; 8 << 20]);
    let refused = until_refused(&node, &mut ledger, 5000);
    refuses_all(&node, &ledger);
    node.stop();
    // Still full: the start says so, or works as far as it can.
    let (code, _, said) = node.attempt(&["audit", "verify"]);
    eprintln!("on the full disk: {code:?} {said}");
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {said}");
    fs::remove_file(&filler).expect("removed");
    recovers(&mut node, &mut ledger, refused);
}

#[test]
fn a_directory_that_is_taken_is_refused() {
    let mut node = Node::started(&Setup { cards: 3, ..Setup::DEFAULT });
    for arguments in [&["serve"][..], &["audit", "verify"], &["cards", "export"]] {
        let (code, stdout, said) = node.attempt(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(stdout.is_empty(), "{arguments:?}: {stdout}");
        let pid = node.pid().as_raw_nonzero().to_string();
        assert!(said.contains(&pid), "{arguments:?} does not name process {pid}: {said}");
    }
    let mut client = Client::connect(node.atm);
    assert_eq!(client.code(&verify(&node.pans[0], PINS[0], node.number())), "00");
    drop(client);
    node.stop();
}

/// Root may write anywhere, so root runs the binary as somebody else.
#[test]
fn a_read_only_directory_is_refused_at_start() {
    let node = Node::new(&Setup { cards: 3, ..Setup::DEFAULT });
    let store = node.path("store");
    let binary = node.path("pinion");
    fs::copy(env!("CARGO_BIN_EXE_pinion"), &binary).expect("copied");
    let mut command = Command::new(&binary);
    command.args(["serve", "--config", &node.config()]);
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        let nobody = 65_534;
        fs::set_permissions(node.path(""), fs::Permissions::from_mode(0o755)).expect("set");
        for name in ["keys.toml", "lmk.key", "pinion.toml"] {
            chown(node.path(name), Some(nobody), Some(nobody)).expect("owner");
        }
        command.uid(nobody).gid(nobody);
    }
    let log = node.path("refused.log");
    command.stderr(fs::File::create(&log).expect("a log"));
    writable(&store, false);
    let mut child = command.spawn().expect("started");
    let ended = poll(PATIENCE, || child.try_wait().expect("a status"));
    // Before anything fails, so that the directory can be removed.
    writable(&store, true);
    let _ = child.kill();
    let said = fs::read_to_string(&log).expect("text");
    let code = ended.expect("it does not serve from a directory that it may not write").code();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&store.display().to_string()), "names the directory: {said}");
    node.audit();
}

/// Sets the rights of a directory and all in it.
fn writable(path: &Path, on: bool) {
    let set = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    if !path.is_dir() {
        return set(if on { 0o644 } else { 0o444 });
    }
    set(if on { 0o755 } else { 0o555 });
    for entry in fs::read_dir(path).expect("a directory") {
        writable(&entry.expect("an entry").path(), on);
    }
}
