//! Throw-away PostgreSQL clusters for tests, from the machine's own binaries.
//!
//! A cluster lives in a temporary directory, listens on loopback and runs as an unprivileged user, since PostgreSQL
//! refuses root. A shell keeps it: when the test's process ends, however it ends, the shell stops the cluster and
//! removes the directory. **Never here:** what the switch puts into it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Tries, five milliseconds apart, that a cluster gets to start.
const TRIES: usize = 6000;

/// The role that owns the databases. Whoever reaches the port is trusted.
const ROLE: &str = "pinion";

/// Runs the command, and ends it when its own standard input does.
const KEEPER: &str =
    "\"$@\" & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid; rm -rf \"$DIRECTORY\"";

/// A running cluster.
pub(crate) struct Cluster {
    directory: PathBuf,
    pub(crate) port: u16,
    keeper: Child,
}

impl Cluster {
    /// A new cluster with these settings beside the defaults, each as `name=value`.
    #[track_caller]
    pub(crate) fn start(settings: &[&str]) -> Self {
        let directory = directory();
        let data = directory.join("data").display().to_string();
        let flags = ["-A", "trust", "-U", ROLE, "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        run(tool("initdb").args(flags).arg(data).current_dir(&directory));
        Self::serve(directory, None, settings)
    }

    /// A standby that streams from this cluster, under an application name for `synchronous_standby_names`, on a port
    /// that another one left or any.
    #[track_caller]
    pub(crate) fn standby(&self, name: &str, port: Option<u16>, settings: &[&str]) -> Self {
        let directory = directory();
        let from = format!("{} application_name={name}", self.conninfo("postgres"));
        let mut copy = tool("pg_basebackup");
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", &from, "-D"]);
        run(copy.arg(directory.join("data")).current_dir(&directory));
        Self::serve(directory, port, settings)
    }

    #[track_caller]
    fn serve(directory: PathBuf, port: Option<u16>, settings: &[&str]) -> Self {
        // Between choosing a port and taking it somebody else may be faster.
        for _ in 0..5 {
            let port = port.unwrap_or_else(free_port);
            let _ = fs::remove_file(directory.join("log"));
            let mut keeper = keep(&directory, port, settings);
            let ready = || {
                let mut ask = tool("pg_isready");
                ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
                ask.current_dir(&directory).status().expect("pg_isready").success()
            };
            let pid = directory.join("data/postmaster.pid");
            for _ in 0..TRIES {
                if ready() {
                    return Self { directory, port, keeper };
                }
                std::thread::park_timeout(Duration::from_millis(5));
                let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
                if !pid.exists() && log.contains("FATAL") {
                    break;
                }
            }
            // Closing its input would remove the directory.
            keeper.kill().expect("killed");
            keeper.wait().expect("ended");
        }
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        panic!("PostgreSQL does not start in {}: {log}", directory.display());
    }

    /// Where a database of it is.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://{ROLE}@127.0.0.1:{}/{database}", self.port)
    }

    /// The same, with a second cluster: whichever takes writes.
    pub(crate) fn url_with(&self, other: &Self, database: &str) -> String {
        let (one, two) = (self.port, other.port);
        format!(
            "postgresql://{ROLE}@127.0.0.1:{one},127.0.0.1:{two}/{database}\
             ?target_session_attrs=read-write"
        )
    }

    fn conninfo(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user={ROLE} dbname={database}", self.port)
    }

    /// What statements print, one row a line; they must succeed.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        let mut ask = tool("psql");
        ask.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.conninfo(database)]);
        run(ask.args(["-c", text]).current_dir(&self.directory))
    }

    /// Makes a database, empty or as a copy of another.
    #[track_caller]
    pub(crate) fn create(&self, database: &str, template: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {database} TEMPLATE {template}"));
    }

    /// Removes a database, whoever is connected to it.
    #[track_caller]
    pub(crate) fn remove(&self, database: &str) {
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"));
    }

    /// The directory of a database's tables, with everything written to it.
    #[track_caller]
    pub(crate) fn files(&self, database: &str) -> PathBuf {
        self.sql(database, "CHECKPOINT");
        let path = format!("SELECT oid FROM pg_database WHERE datname = '{database}'");
        self.directory.join("data/base").join(self.sql("postgres", &path).trim())
    }

    /// A standby takes writes from now on.
    #[track_caller]
    pub(crate) fn promote(&self) {
        assert_eq!(self.sql("postgres", "SELECT pg_promote(true, 60)").trim(), "t", "promoted");
    }

    /// SIGKILL: its processes end without writing anything.
    #[track_caller]
    pub(crate) fn kill(&self) {
        kill_process(self.pid(), Signal::KILL).expect("killed");
    }

    fn pid(&self) -> Pid {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).expect("a pid");
        let pid = file.lines().next().and_then(|line| line.trim().parse().ok());
        pid.and_then(Pid::from_raw).expect("a pid")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its input ends: the shell does the rest.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn keep(directory: &Path, port: u16, settings: &[&str]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log"));
    let log = log.expect("a log");
    let data = directory.join("data").display().to_string();
    let sockets = format!("unix_socket_directories={}", directory.display());
    let common = ["listen_addresses=127.0.0.1", &sockets, "max_connections=300"];
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh"]).args(as_user()).arg(binary("postgres"));
    keeper.args(["-D", &data, "-p", &port.to_string()]);
    for setting in common.iter().chain(settings) {
        keeper.args(["-c", setting]);
    }
    keeper.env("DIRECTORY", directory).current_dir(directory).stdin(Stdio::piped());
    keeper.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("started")
}

/// A directory that the unprivileged user owns.
fn directory() -> PathBuf {
    let directory = tempfile::Builder::new().prefix("pinion-postgres-").tempdir();
    let directory = directory.expect("a directory").keep();
    if let Some((_, user, group)) = user() {
        std::os::unix::fs::chown(&directory, Some(user), Some(group)).expect("given away");
    }
    directory
}

/// Whom the server runs as when we are root: name, user and group.
fn user() -> Option<(String, u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut parts = line.split(':').skip(2);
        let user = parts.next()?.parse().ok()?;
        Some((name.to_owned(), user, parts.next()?.parse().ok()?))
    };
    Some(of("postgres").or_else(|| of("nobody")).expect("an unprivileged user"))
}

fn as_user() -> Vec<String> {
    let Some((_, user, group)) = user() else { return Vec::new() };
    ["setpriv", &format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups"]
        .map(Into::into)
        .into()
}

/// A program of PostgreSQL, run as the unprivileged user.
fn tool(name: &str) -> Command {
    let mut words = as_user();
    words.push(binary(name).display().to_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

/// Of the newest version that is installed.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").map(Iterator::flatten);
    let versions = versions.into_iter().flatten();
    let newest = versions.max_by_key(|entry| {
        entry.file_name().to_str().and_then(|version| version.parse::<u32>().ok()).unwrap_or(0)
    });
    let newest = newest.expect("Debian's package postgresql: `make test` installs it");
    newest.path().join("bin").join(name)
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("started");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {told}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}
