//! A switch under test: a directory with keys, cards and a configuration, and the real binary that runs on it.
//!
//! The same ports serve all its lives, so clients find it again after a kill. Output of every life is appended to
//! one file. **Never here:** what is sent to it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::leak::Secrets;
use super::message::pans;
use super::ports::free_port;
use super::{PATIENCE, eventually};

/// Keys of the demo world, in a form that the command line imports.
pub(crate) static WORLD: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../world/world.json")).expect("the demo world")
});

/// A directory with the key files, made once.
static KEYS: LazyLock<TempDir> = LazyLock::new(|| {
    // What is static is never dropped: it stays until the build's directory is cleaned.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (keys, lmk) = (path("keys.toml"), path("lmk.key"));
    let base = ["keys", "--allow-test-keys", "--keys", &keys, "--lmk", &lmk];
    done(&[&base[..], &["init"]].concat());
    // What a switch with devices has beside them.
    fs::copy(path("keys.toml"), path("keys-beside.toml")).expect("copied");
    for (name, key) in WORLD["keys"].as_object().expect("keys") {
        // Two components: all but a mask, and the mask.
        let clear = hex::decode(key["clear"].as_str().expect("hex")).expect("hex");
        let masked: Vec<u8> = clear.iter().map(|byte| byte ^ 0xA5).collect();
        let (one, two) = (path("one"), path("two"));
        fs::write(&one, hex::encode_upper(masked)).expect("written");
        fs::write(&two, "A5".repeat(clear.len())).expect("written");
        let key_type = key["type"].as_str().expect("a type");
        let import = ["import", name, "--type", key_type, "--component", &one, "--component", &two];
        done(&[&base[..], &import].concat());
    }
    dir
});

/// Every clear key of the demo world, in hexadecimal.
pub(crate) fn clear_keys() -> Vec<String> {
    let keys = WORLD["keys"].as_object().expect("keys").values();
    keys.map(|key| key["clear"].as_str().expect("hex").to_owned()).collect()
}

pub(crate) fn pinion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed; its standard output.
#[track_caller]
fn done(arguments: &[&str]) -> String {
    let output = pinion(arguments).output().expect("started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// What a node is made of.
pub(crate) struct Setup<'a> {
    /// Further lines of the table of the link `atm-1`.
    pub(crate) link: &'a str,
    /// The `[log]` level.
    pub(crate) level: &'a str,
    /// Further lines of `[hsm]`. With them the key file has the vault's keys only: the world's are the devices'.
    pub(crate) hsm: &'a str,
    /// Further tables. `{port}` is replaced by a port of its own, which is [`Node::extra`].
    pub(crate) more: &'a str,
    /// Where the store is; a directory beside the configuration unless given.
    pub(crate) store: &'a str,
    /// The tables `[store]` of a switch whose store is PostgreSQL.
    pub(crate) database: &'a str,
    /// Cards with six-digit PINs to generate.
    pub(crate) cards: u64,
    /// Their PIN.
    pub(crate) pin: &'a str,
}

impl Setup<'_> {
    pub(crate) const DEFAULT: Self = Self {
        link: "",
        level: "debug",
        hsm: "",
        more: "",
        store: "store",
        database: "",
        cards: 0,
        pin: PINS[0],
    };
}

/// Two PINs that the demo's rules allow, and one that no card has. Six digits, so that they can be searched for.
pub(crate) const PINS: [&str; 2] = ["917364", "582046"];
pub(crate) const WRONG: &str = "739105";

/// The product of the generated cards: an IBM offset, four to six digits.
const PRODUCT: &str = "mc-offset";
const BIN: &str = "541334";

/// A switch and its directory.
pub(crate) struct Node {
    directory: TempDir,
    /// Port of the link `atm-1`.
    pub(crate) atm: u16,
    /// Port of the link `atm-2`, which is like it.
    pub(crate) other: u16,
    /// Port of whatever [`Setup::more`] adds.
    pub(crate) extra: u16,
    admin: u16,
    /// Numbers of its cards.
    pub(crate) pans: Vec<String>,
    pub(crate) secrets: Secrets,
    /// Runs the binary instead of the shell's own `exec "$@"`.
    pub(crate) shell: Option<&'static str>,
    child: Option<Child>,
    next: AtomicU32,
}

impl Node {
    /// Makes the directory and the cards. Nothing runs yet.
    pub(crate) fn new(setup: &Setup<'_>) -> Self {
        let directory = TempDir::new().expect("a directory");
        let keys = if setup.hsm.is_empty() { "keys.toml" } else { "keys-beside.toml" };
        for (from, to) in [(keys, "keys.toml"), ("lmk.key", "lmk.key")] {
            fs::copy(KEYS.path().join(from), directory.path().join(to)).expect("copied");
        }
        let mut node = Self {
            directory,
            atm: free_port(),
            other: free_port(),
            extra: free_port(),
            admin: free_port(),
            pans: pans(BIN, 7, setup.cards),
            secrets: Secrets::new(&clear_keys()),
            shell: None,
            child: None,
            next: AtomicU32::new(1),
        };
        fs::write(node.path("pinion.toml"), node.configuration(setup)).expect("written");
        if 0 < setup.cards {
            if !setup.database.is_empty() {
                node.command(&["store", "migrate"]);
            }
            let count = setup.cards.to_string();
            let which = ["--product", PRODUCT, "--seed", "7", "--pin", setup.pin, &count];
            done(&[&["cards", "generate", "--config", &node.config()], &which[..]].concat());
        }
        node.note_secrets();
        node
    }

    /// Another switch over the same store, which has the cards already.
    pub(crate) fn beside(first: &Self, setup: &Setup<'_>) -> Self {
        let mut node = Self::new(setup);
        node.pans.clone_from(&first.pans);
        node.note_secrets();
        node
    }

    fn note_secrets(&mut self) {
        for pan in &self.pans {
            for pin in [PINS[0], PINS[1], WRONG] {
                self.secrets.card(pan, pin);
            }
        }
    }

    fn configuration(&self, setup: &Setup<'_>) -> String {
        let Self { atm, other, extra, admin, .. } = self;
        let Setup { link, level, hsm, more, store, database, .. } = setup;
        let embedded = format!("[store]\ndirectory = \"{store}\"\n");
        let store = if database.is_empty() { &embedded } else { *database };
        let more = more.replace("{port}", &extra.to_string());
        let demo = include_str!("../../../deploy/demo/pinion.toml");
        let products = &demo[demo.find("[[product]]").expect("products")..];
        let common = "dialect = \"iso87-ascii\"\nzpk = \"zpk.atm\"\nchannel = \"A\"\n\
                      rights = [\"change\", \"reverse\", \"verify\", \"unblock\"]\n";
        format!(
            "[node]\nname = \"faults\"\n{store}\
             [hsm]\nkeys = \"keys.toml\"\nlmk = \"lmk.key\"\nallow_test_keys = true\n{hsm}\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n[log]\nformat = \"text\"\n\
             level = \"{level}\"\n\
             [[link]]\nname = \"atm-1\"\nlisten = \"127.0.0.1:{atm}\"\n{common}{link}\n\
             [[link]]\nname = \"atm-2\"\nlisten = \"127.0.0.1:{other}\"\n{common}\n\
             {more}\n{products}"
        )
    }

    /// The same, running.
    #[track_caller]
    pub(crate) fn started(setup: &Setup<'_>) -> Self {
        let mut node = Self::new(setup);
        node.start();
        node
    }

    /// A number that no request of this node had.
    pub(crate) fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self) -> String {
        self.path("pinion.toml").display().to_string()
    }

    /// Starts the binary and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.child = Some(self.spawn());
        eventually("the node is ready", || {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().expect("a status"))
            {
                panic!("ended at once: {status}: {}", self.output());
            }
            self.page("/ready").filter(|(status, _)| *status == 200)
        });
    }

    /// Starts the binary without waiting for anything. The caller has the process.
    #[track_caller]
    pub(crate) fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.path("output.log"));
        let log = log.expect("a log");
        let config = self.config();
        let mut command = pinion(&["serve", "--config", &config]);
        if let Some(script) = self.shell {
            command = Command::new("/bin/sh");
            command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_pinion")]);
            command.args(["serve", "--config", &config]).stdin(Stdio::null());
        }
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        command.spawn().expect("started")
    }

    /// Hands the process to a test that kills and starts it while others use the node.
    #[track_caller]
    pub(crate) fn take_child(&mut self) -> Child {
        self.child.take().expect("running")
    }

    /// Takes the process back.
    pub(crate) fn give_child(&mut self, child: Child) {
        self.child = Some(child);
    }

    /// Process id of the running binary.
    #[track_caller]
    pub(crate) fn pid(&self) -> Pid {
        let id = self.child.as_ref().expect("running").id();
        i32::try_from(id).ok().and_then(Pid::from_raw).expect("a pid")
    }

    /// SIGKILL.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal");
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("running");
        eventually("the process ends", || child.try_wait().expect("a status"))
    }

    /// SIGTERM, which must end well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "{status}: {}", self.output());
    }

    /// What a command of the binary on this directory prints. The node must not run.
    #[track_caller]
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        done(&[arguments, &["--config", &self.config()]].concat())
    }

    /// Status, standard output and standard error of a command that may fail.
    pub(crate) fn attempt(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let config = self.config();
        let output =
            pinion(&[arguments, &["--config", &config]].concat()).output().expect("started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Exit code, standard output and standard error of an operator's command to the running node.
    pub(crate) fn operate(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let admin = format!("127.0.0.1:{}", self.admin);
        let output = pinion(&[arguments, &["--admin", &admin]].concat()).output().expect("started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// The audit chain holds. The node must not run.
    #[track_caller]
    pub(crate) fn audit(&self) {
        self.command(&["audit", "verify"]);
    }

    /// Wrong PINs that the store counts for each card, in the order of [`Node::pans`]. The node must not run.
    #[track_caller]
    pub(crate) fn tries(&self) -> Vec<u64> {
        let exported = self.command(&["cards", "export", "--json"]);
        let exported: Value = serde_json::from_str(&exported).expect("JSON");
        let rows = exported.as_array().or_else(|| exported["cards"].as_array()).expect("cards");
        let used = |pan: &String| {
            let row = rows.iter().find(|row| row["pan"] == pan.as_str()).expect("a card");
            row["pin_tries_used"].as_str().and_then(|used| used.parse().ok()).expect("a count")
        };
        self.pans.iter().map(used).collect()
    }

    /// Status and body of a page of the admin port, kept for the search at the end.
    pub(crate) fn page(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let kept = File::options().create(true).append(true).open(self.path("pages.log"));
        kept.expect("a file").write_all(answer.as_bytes()).expect("written");
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// A page of the admin port as JSON.
    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        let (_, body) = self.page(path).expect("a page");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The sum of all series of a metric whose labels contain these texts.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let (_, page) = self.page("/metrics").expect("metrics");
        let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        let values = page.lines().filter(of_name).filter(|l| labels.iter().all(|x| l.contains(x)));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Memory of the running binary.
    #[track_caller]
    pub(crate) fn resident_kib(&self) -> u64 {
        let status =
            read(&Path::new("/proc").join(self.pid().as_raw_nonzero().to_string()).join("status"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("its memory")
    }

    /// What all its lives wrote.
    pub(crate) fn output(&self) -> String {
        read(&self.path("output.log"))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.output().lines().rev().take(8).collect::<Vec<_>>().join("\n"));
            return;
        }
        for name in ["output.log", "pages.log"] {
            self.secrets.search(name, &fs::read(self.path(name)).unwrap_or_default());
        }
        let output = self.output();
        assert!(!output.contains("panic"), "a panic is in the log");
    }
}
