//! Throw-away PostgreSQL clusters for tests: real servers from the machine's binaries, each in a directory of its own.
//!
//! A file on its own, so that unit tests (`src/card/postgres/tests.rs`) and black-box tests include the same one. The
//! server runs as an unprivileged user, and dies with the process that started it. **Never here:** an assumption about
//! the machine but that Debian's package `postgresql` is there; without it the test fails and says so.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

/// Where Debian puts the newest one's programs.
const PLACES: &str = "/usr/lib/postgresql";
/// Begins the names of the directories.
const PREFIX: &str = "pinion-postgres-";

/// A server with its directory.
pub(crate) struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    /// The thread that the server is a child of.
    keeper: SyncSender<(Order, SyncSender<()>)>,
}

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each user of this file needs a part of it")]
pub(crate) enum Order {
    Start,
    /// Sessions are ended, and what is committed is written out.
    Stop,
    /// As a crash of the machine's processes.
    Kill,
    /// As the machine itself: SIGKILL, and none of its processes writes anything any more.
    Vanish,
}

static SHARED: OnceLock<Cluster> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);
static CLUSTERS: AtomicU32 = AtomicU32::new(0);

#[expect(dead_code, reason = "each user of this file needs a part of it")]
impl Cluster {
    /// The one all tests of this process share: each takes a database of its own.
    pub(crate) fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// One of its own, for a test that stops it. `settings` are `name=value`.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let (bin, dir) = (programs(), directory());
        let data = dir.join("data");
        let mut initdb = unprivileged(&bin.join("initdb"));
        initdb.args(["--no-sync", "--no-instructions", "--auth=trust", "--username=pinion"]);
        succeed(initdb.args(["--encoding=UTF8", "--locale=C", "--pgdata"]).arg(data));
        Self::serve(bin, dir, super::ports::free_port(), settings)
    }

    /// A standby that streams from this one, under a name for `synchronous_standby_names`; on a port that a server left
    /// that is gone, or any.
    pub(crate) fn standby(&self, name: &str, port: Option<u16>) -> Self {
        let (bin, dir) = (self.bin.clone(), directory());
        let from = format!("{}?application_name={name}", self.url("postgres"));
        let mut copy = unprivileged(&bin.join("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"]);
        succeed(copy.args(["--no-sync", "--dbname", &from, "--pgdata"]).arg(dir.join("data")));
        let port = port.unwrap_or_else(super::ports::free_port);
        Self::serve(bin, dir, port, &[])
    }

    fn serve(bin: PathBuf, dir: PathBuf, port: u16, settings: &[&str]) -> Self {
        let data = dir.join("data");
        let mut server = unprivileged(&bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(&dir).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "shared_buffers=64MB", "max_connections=200"]
        {
            server.args(["-c", setting]);
        }
        for setting in settings {
            server.args(["-c", setting]);
        }
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let cluster = Self { bin, dir, port, keeper: keep(server) };
        cluster.order(Order::Start);
        cluster
    }

    /// Makes a database and returns its URL.
    pub(crate) fn database(&self) -> String {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database, over TCP on the loopback.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://pinion@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a database that is here or, when this one is gone, on its standby: on whichever takes writes.
    pub(crate) fn url_with(&self, standby: &Self, database: &str) -> String {
        let (one, two) = (self.port, standby.port);
        format!(
            "postgresql://pinion@127.0.0.1:{one},127.0.0.1:{two}/{database}\
             ?target_session_attrs=read-write"
        )
    }

    /// Makes a database of this name, as a copy of another.
    pub(crate) fn create(&self, name: &str, template: &str) {
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
    }

    /// Removes a database, whoever is connected to it.
    pub(crate) fn remove(&self, name: &str) {
        self.psql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    }

    /// The directory of a database's tables, with everything written to it.
    pub(crate) fn files(&self, name: &str) -> PathBuf {
        self.psql(name, "CHECKPOINT");
        let number = format!("SELECT oid FROM pg_database WHERE datname = '{name}'");
        self.dir.join("data/base").join(self.psql("postgres", &number))
    }

    /// What a statement prints, run in the database of that name or URL.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let url = if database.contains("://") { database.to_owned() } else { self.url(database) };
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        let output = succeed(psql.args(["--dbname", &url, "--command", sql]));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Stops, kills or starts the server, and waits until that is done.
    pub(crate) fn order(&self, order: Order) {
        let (done, wait) = sync_channel(1);
        self.keeper.send((order, done)).expect("the server's thread");
        wait.recv().expect("the server's thread");
        if order == Order::Start {
            let mut tries = 0;
            // What its log says is no sign: it may be of the life before, or of a client.
            while !self.is_ready() {
                tries += 1;
                let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                assert!(tries < 5000, "PostgreSQL does not start: {}", log());
            }
        }
    }

    /// Runs a statement in a session that stays: what it locks is held until the process is killed.
    pub(crate) fn session(&self, database: &str, sql: &str) -> Child {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--dbname", &self.url(database)]);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("psql");
        // It waits for more.
        let typed =
            child.stdin.as_mut().expect("its input").write_all(format!("{sql};\n").as_bytes());
        typed.expect("psql takes the statement");
        child
    }

    /// Writes a file beside its data, which only the server may read, and has it read by `reload`.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.join("data").join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the server's only");
        if let Some(user) = user() {
            succeed(Command::new("chown").arg(user).arg(&path));
        }
    }

    /// Has its settings and files read again. Sessions that are made from now on follow them.
    pub(crate) fn reload(&self) {
        self.psql("postgres", "SELECT pg_reload_conf()");
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it listens on the loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn is_ready(&self) -> bool {
        let mut ask = Command::new(self.bin.join("pg_isready"));
        ask.args(["--quiet", "--timeout=1", "--host=127.0.0.1", "--port", &self.port.to_string()]);
        ask.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.order(Order::Kill);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A thread that lives as long as the process: the system kills a child when the thread that made it ends.
fn keep(mut server: Command) -> SyncSender<(Order, SyncSender<()>)> {
    let (orders, waiting) = sync_channel::<(Order, SyncSender<()>)>(1);
    std::thread::spawn(move || {
        let mut child: Option<Child> = None;
        while let Ok((order, done)) = waiting.recv() {
            match order {
                Order::Start => child = Some(server.spawn().expect("PostgreSQL starts")),
                Order::Stop => end(child.take(), "INT"),
                Order::Kill => end(child.take(), "QUIT"),
                Order::Vanish => end(child.take(), "KILL"),
            }
            let _ = done.send(());
        }
        end(child, "QUIT");
    });
    orders
}

fn end(child: Option<Child>, signal: &str) {
    let Some(mut child) = child else { return };
    succeed(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
    let _ = child.wait();
}

/// A new directory that the unprivileged user owns.
fn directory() -> PathBuf {
    let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    remove_old();
    let dir = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
    std::fs::create_dir(&dir).expect("a directory for PostgreSQL");
    if let Some(user) = user() {
        succeed(Command::new("chown").arg(user).arg(&dir));
    }
    dir
}

/// The newest of Debian's programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir(PLACES).into_iter().flatten().flatten();
    let newest = versions.filter_map(|v| v.file_name().to_str()?.parse::<u32>().ok()).max();
    let bin = Path::new(PLACES).join(newest.unwrap_or_default().to_string()).join("bin");
    let message = "no PostgreSQL server: install Debian's package `postgresql`, or run `make test`";
    assert!(bin.join("initdb").exists(), "{message}");
    bin
}

/// Who runs the server, where we are root: it refuses to be root itself.
fn user() -> Option<&'static str> {
    let output = Command::new("id").arg("-u").output().expect("id");
    (output.stdout.trim_ascii() == b"0").then(|| {
        let known = Command::new("id").args(["-u", "postgres"]).output().expect("id");
        if known.status.success() { "postgres" } else { "nobody" }
    })
}

/// The program as that user; a server then ends with its parent.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.current_dir("/").args(["--pdeathsig", "QUIT"]);
    if let Some(user) = user() {
        let group = Command::new("id").args(["-g", user]).output().expect("id");
        let group = String::from_utf8_lossy(&group.stdout).trim().to_owned();
        command.args(["--clear-groups", "--reuid", user, "--regid", &group]);
    }
    command.arg("--").arg(program);
    command
}

/// Directories of processes that are gone.
fn remove_old() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let pid = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}
