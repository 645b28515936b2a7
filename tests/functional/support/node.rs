//! A running switch: the real binary with a configuration, keys and cards of the demo world, on free ports.
//!
//! Keys and cards are made once by `pinion keys` and `pinion cards import`, and copied for each node, so that every
//! test has a state of its own. What the binary writes to stdout and stderr goes to one file, which is searched for
//! card data and keys when the node ends. **Never here:** a private item of the crate.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::hsm::{self, Device};
use super::iso::Dialect;
use super::ports::free_port;
use super::store::Database;
use super::vectors::{VECTORS, WORLD, key};
use super::wire::{Connection, get, tcp};
use super::{eventually, iso, store};

/// A command of the binary.
pub(crate) fn pinion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(arguments).env_remove("PINION_DEMO_PORT_BASE").stdin(Stdio::null());
    command
}

/// Runs a command of the binary that must succeed.
#[track_caller]
pub(crate) fn done(arguments: &[&str], input: &str) -> String {
    let mut command = pinion(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("read");
    let Output { status, stdout, stderr } = child.wait_with_output().expect("ended");
    assert!(status.success(), "{arguments:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// One `[[link]]` of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) dialect: &'static Dialect,
    pub(crate) zpk: &'static str,
    /// Further lines of the table.
    pub(crate) lines: String,
}

impl Link {
    pub(crate) fn new(name: &'static str, dialect: &'static Dialect) -> Self {
        Self { name, dialect, zpk: "zpk.atm", lines: String::new() }
    }

    pub(crate) fn with(mut self, lines: &str) -> Self {
        self.lines.push_str(lines);
        self.lines.push('\n');
        self
    }
}

/// The links of the demo world, with its rights.
pub(crate) fn world_links() -> Vec<Link> {
    let all = r#"rights = ["change", "reverse", "verify", "unblock"]"#;
    let mut acquirer =
        Link::new("acquirer-1", &iso::ISO87_BCD).with("mac = { key = \"zak.acquirer\" }");
    acquirer.zpk = "zpk.acquirer";
    vec![
        Link::new("atm-1", &iso::ISO87_ASCII).with(all),
        acquirer,
        Link::new("postilion-in", &iso::POSTILION).with(all),
        Link::new("vcr-1", &iso::ISO87_ASCII).with("channel = \"I\""),
        Link::new("iso93", &iso::ISO93_ASCII).with(all),
    ]
}

/// Keys and cards, made once a run of the tests and kept between runs of the same binary.
static TEMPLATE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = fs::metadata(env!("CARGO_BIN_EXE_pinion")).expect("the binary");
    let stamp = made.modified().expect("a time").duration_since(std::time::UNIX_EPOCH);
    let stamp = stamp.expect("after 1970").as_nanos();
    // Ports of devices are others in each run, and nothing of the template depends on them.
    let text = configuration(&[], 1, "").replace(&hsm_lines(), &family());
    let contents = [VECTORS.to_string(), WORLD.to_string(), text].concat();
    let ready =
        place.join(format!("template-{stamp}-{:08x}", crc32fast::hash(contents.as_bytes())));
    if ready.exists() {
        return ready;
    }
    for old in fs::read_dir(place).expect("a directory").flatten() {
        if old.file_name().to_string_lossy().starts_with("template-") {
            let _ = fs::remove_dir_all(old.path());
        }
    }
    let making = TempDir::new_in(place).expect("a directory");
    make_template(making.path());
    // Another process may have been faster; its template is as good.
    if fs::rename(making.path(), &ready).is_ok() {
        let _ = making.keep();
    }
    ready
});

fn make_template(at: &Path) {
    let path = |name: &str| at.join(name).display().to_string();
    let (keys, lmk) = (path("keys.toml"), path("lmk.key"));
    let files = ["keys", "--keys", &keys, "--lmk", &lmk, "--allow-test-keys"];
    done(&[&files[..], &["init"]].concat(), "");
    // With devices, the world's keys are theirs.
    let held = WORLD["keys"].as_object().expect("keys").iter();
    for (name, described) in held.filter(|_| !with_devices()) {
        // Two components: the key with a mask, and the mask.
        let mask = [0x5A_u8; 16];
        let masked: Vec<u8> = key(name).iter().zip(mask).map(|(k, m)| k ^ m).collect();
        let parts = ["a", "b"].map(|part| path(&format!("{name}.{part}")));
        fs::write(&parts[0], hex::encode_upper(masked)).expect("written");
        fs::write(&parts[1], hex::encode_upper(mask)).expect("written");
        let key_type = described["type"].as_str().expect("a type");
        let import = ["import", name, "--type", key_type, "--json"];
        let components = ["--component", &parts[0], "--component", &parts[1]];
        let shown = done(&[&files[..], &import, &components].concat(), "");
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["kcv"], described["kcv"], "check value of {name}");
        for part in &parts {
            fs::remove_file(part).expect("removed");
        }
    }

    let mut cards = WORLD["cards"].as_array().expect("cards").clone();
    for (pan, card) in VECTORS["cards"].as_object().expect("cards") {
        let Some(import) = card.get("import") else { continue };
        let mut row = import.clone();
        row["pan"] = pan.as_str().into();
        row["product"] = card["product"].clone();
        row["pvv"] = card["references"][card["pin"].as_str().expect("a PIN")].clone();
        cards.push(row);
    }
    fs::write(at.join("cards.json"), Value::from(cards).to_string()).expect("written");
    if store::is_postgres() {
        return;
    }
    let config = at.join("import.toml");
    let text = configuration(&[(Link::new("atm-1", &iso::ISO87_ASCII), 1)], 2, "");
    fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    done(&["cards", "import", "--config", &config, &path("cards.json")], "");
}

/// The family of the HSM that the tests run with: `PINION_TEST_HSM=payshield` for devices.
fn family() -> String {
    std::env::var("PINION_TEST_HSM").unwrap_or_default()
}

/// Whether devices do the PIN work.
pub(crate) fn with_devices() -> bool {
    match family().as_str() {
        "" | "soft" => false,
        "payshield" => true,
        other => panic!("PINION_TEST_HSM={other}: soft or payshield"),
    }
}

/// Further lines of `[hsm]`: two simulated devices, started once a run of the tests.
fn hsm_lines() -> String {
    static DEVICES: LazyLock<[Device; 2]> =
        LazyLock::new(|| [Device::start(&[]), Device::start(&[])]);
    if !with_devices() {
        return String::new();
    }
    hsm::section(&WORLD, &[DEVICES[0].port, DEVICES[1].port], "")
}

/// The products of the demo world, as its configuration has them.
fn products() -> &'static str {
    let demo = include_str!("../../../deploy/demo/pinion.toml");
    &demo[demo.find("[[product]]").expect("products")..]
}

/// A configuration of these links with the world's products. `more` comes before the links: sections of its own.
pub(crate) fn configuration(links: &[(Link, u16)], admin: u16, more: &str) -> String {
    let store = store::section();
    let mut text = format!(
        "[node]\nname = \"test\"\n\n{store}\n\n\
         [hsm]\nkeys = \"keys.toml\"\nlmk = \"lmk.key\"\nallow_test_keys = true\n{}\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\n[log]\nlevel = \"trace\"\n\n{more}\n",
        hsm_lines()
    );
    for (Link { name, dialect, zpk, lines }, port) in links {
        let dialect = dialect.name;
        // A link without a zone key has its key among its lines.
        let zpk = if zpk.is_empty() { String::new() } else { format!("zpk = \"{zpk}\"\n") };
        write!(
            text,
            "[[link]]\nname = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\ndialect = \"{dialect}\"\n\
             {zpk}{lines}\n"
        )
        .expect("text");
    }
    text + products()
}

/// A directory with keys, cards and a configuration, and nothing running yet.
pub(crate) struct Place {
    directory: TempDir,
    links: BTreeMap<&'static str, (Link, u16)>,
    pub(crate) admin: u16,
    database: Option<Database>,
}

impl Place {
    pub(crate) fn new(links: Vec<Link>) -> Self {
        let directory = TempDir::new().expect("a directory");
        copy(&TEMPLATE, directory.path());
        let links: Vec<_> = links.into_iter().map(|link| (link, free_port())).collect();
        let place = Self {
            directory,
            admin: free_port(),
            links: links.iter().map(|(link, port)| (link.name, (link.clone(), *port))).collect(),
            database: Database::new(&TEMPLATE),
        };
        let text = configuration(&links, place.admin, "");
        place.write(&match &place.database {
            Some(own) => own.configure(&text),
            None => text,
        });
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the files of its store are.
    pub(crate) fn store(&self) -> PathBuf {
        self.database.as_ref().map_or_else(|| self.path("store"), Database::files)
    }

    pub(crate) fn config(&self) -> String {
        self.path("pinion.toml").display().to_string()
    }

    pub(crate) fn read(&self) -> String {
        fs::read_to_string(self.config()).expect("the configuration")
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(self.path("pinion.toml"), text).expect("written");
    }

    /// Changes the configuration by replacing a text that must be there.
    #[track_caller]
    pub(crate) fn replace(&self, from: &str, to: &str) {
        let text = self.read();
        assert!(text.contains(from), "no {from:?} in the configuration");
        self.write(&text.replacen(from, to, 1));
    }

    pub(crate) fn port(&self, link: &str) -> u16 {
        self.links[link].1
    }

    /// Starts a node here and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Node {
        let log = self.path("output.log");
        let child = spawn(&["serve", "--config", &self.config()], &log);
        let mut node = Node { place: self, child, log };
        node.wait_ready();
        node
    }
}

fn spawn(arguments: &[&str], log: &Path) -> Child {
    let output = File::options().create(true).append(true).open(log).expect("a log");
    let stderr = output.try_clone().expect("a log");
    pinion(arguments).stdout(output).stderr(stderr).spawn().expect("started")
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).expect("a directory");
            copy(&entry.path(), &target);
        } else {
            // Keeps holes: the store reserves more than it fills.
            let status = Command::new("cp")
                .args(["--sparse=always", "--preserve=mode"])
                .args([entry.path(), target])
                .status();
            assert!(status.expect("cp").success());
        }
    }
}

/// A running switch. Ends with the test.
pub(crate) struct Node {
    pub(crate) place: Place,
    child: Child,
    log: PathBuf,
}

impl Node {
    /// A node with the links of the demo world.
    #[track_caller]
    pub(crate) fn world() -> Self {
        Place::new(world_links()).start()
    }

    #[track_caller]
    fn wait_ready(&mut self) {
        let admin = self.place.admin;
        eventually("/ready is 200", || {
            if let Some(status) = self.child.try_wait().expect("a status") {
                panic!("ended at once: {status}: {}", self.output());
            }
            get(admin, "/ready").filter(|(status, _)| *status == 200)
        });
    }

    /// A new connection to a link.
    #[track_caller]
    pub(crate) fn connect(&self, link: &str) -> Connection {
        let (configured, port) = &self.place.links[link];
        let mac = configured.lines.contains("mac =").then(|| key("zak.acquirer"));
        Connection { stream: tcp(*port), dialect: configured.dialect, mac }
    }

    /// Status and body of a page of the admin port.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.place.admin, path).expect("an answer of the admin port")
    }

    /// What a counter or gauge stands at, over all series with these labels; zero where there is none.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let (_, page) = self.get("/metrics");
        let wanted = |line: &&str| {
            line.split(['{', ' ']).next() == Some(name)
                && labels
                    .iter()
                    .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        };
        let values = page.lines().filter(wanted).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    }

    /// What the process wrote so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("a signal");
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().expect("a status"))
    }

    /// Ends the process by SIGTERM, which must succeed.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "after SIGTERM: {status}: {}", self.output());
    }

    /// Starts it again after its end, with whatever the configuration says now.
    #[track_caller]
    pub(crate) fn again(mut self) -> Self {
        self.child = spawn(&["serve", "--config", &self.place.config()], &self.log);
        self.wait_ready();
        self
    }

    /// Kills the process without a warning and starts it again.
    #[track_caller]
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
        self.child = spawn(&["serve", "--config", &self.place.config()], &self.log);
        self.wait_ready();
    }

    /// Stops the node and reads its cards: each row of `pinion cards export` by number.
    #[track_caller]
    pub(crate) fn cards(&mut self) -> BTreeMap<String, Value> {
        self.stop();
        let exported = done(&["cards", "export", "--json", "--config", &self.place.config()], "");
        let exported: Value = serde_json::from_str(&exported).expect("JSON");
        let rows = exported.as_array().or_else(|| exported["cards"].as_array()).expect("cards");
        let by_pan = |row: &Value| (row["pan"].as_str().unwrap_or_default().into(), row.clone());
        rows.iter().map(by_pan).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let last: Vec<_> = output.lines().rev().take(12).collect();
            last.iter().rev().for_each(|line| eprintln!("{line}"));
        } else {
            assert_no_leak(&self.output());
        }
    }
}

/// Fails when a log holds a card number, a PIN block or a key of the world.
#[track_caller]
pub(crate) fn assert_no_leak(log: &str) {
    let upper = log.to_uppercase();
    let absent = |what: &str, secret: &str| {
        assert!(!upper.contains(secret), "a {what} is in the log, ending in {}", &secret[12..]);
    };
    for (pan, card) in VECTORS["cards"].as_object().expect("cards") {
        absent("card number", pan);
        for blocks in card["blocks"].as_object().expect("zones").values() {
            for block in blocks.as_object().expect("blocks").values() {
                absent("PIN block", block.as_str().expect("hex"));
            }
        }
    }
    for key in WORLD["keys"].as_object().expect("keys").values() {
        absent("key", key["clear"].as_str().expect("hex"));
    }
}
