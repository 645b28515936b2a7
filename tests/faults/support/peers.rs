//! Two simulated Postilion nodes in a process of their own, told over their admin port what to do wrong.
//!
//! **Never here:** what the switch is told.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::node::pinion;
use super::ports::free_port;
use super::{PATIENCE, eventually};

/// BIN of the cards that live at Postilion, and the sequence of them that tests use.
pub(crate) const BIN: &str = "506099";
pub(crate) const SEED: u64 = 7;

/// The nodes.
pub(crate) struct Peers {
    directory: TempDir,
    /// Ports of the two nodes.
    pub(crate) nodes: [u16; 2],
    admin: u16,
    pub(crate) child: Child,
}

impl Peers {
    /// Starts them with so many cards of this PIN.
    #[track_caller]
    pub(crate) fn start(cards: usize, pin: &str, seed: u64) -> Self {
        let directory = TempDir::new().expect("a directory");
        let (nodes, admin) = ([free_port(), free_port()], free_port());
        let at = |port: u16| format!("127.0.0.1:{port}");
        let log = File::create(directory.path().join("output.log")).expect("a log");
        let data = directory.path().join("data").display().to_string();
        let child = pinion(&["sim", "postilion", "--listen", &at(nodes[0])])
            .args(["--listen", &at(nodes[1]), "--admin", &at(admin), "--data", &data])
            .args(["--bin", BIN, "--card-seed", &SEED.to_string(), "--pin", pin])
            .args(["--cards", &cards.to_string(), "--seed", &seed.to_string()])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("started");
        let peers = Self { directory, nodes, admin, child };
        eventually("the simulated nodes are there", || peers.ask("GET", "/state", ""));
        peers
    }

    /// The section of a configuration that leads to them, with time-outs short enough for tests.
    pub(crate) fn section(&self, more: &str) -> String {
        let [one, two] = self.nodes;
        format!(
            "[postilion]\nzpk = \"zpk.postilion\"\nrequest_ms = 700\nreconnect_ms = 20\n\
             reconnect_max_ms = 200\n{more}\n[postilion.breaker]\nopen_ms = 100\n\
             [postilion.reversals]\nretry_ms = 40\nretry_max_ms = 400\n\
             [[postilion.node]]\nname = \"postilion-1\"\naddress = \"127.0.0.1:{one}\"\n\
             [[postilion.node]]\nname = \"postilion-2\"\naddress = \"127.0.0.1:{two}\"\n"
        )
    }

    /// What its admin port answers; `None` when it does not.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        assert!(head.contains(" 200 "), "{path}: {answer}");
        serde_json::from_str(body).ok()
    }

    /// Tells it something.
    #[track_caller]
    pub(crate) fn tell(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, &body.to_string()).expect("an answer of the simulator")
    }

    /// Everything it knows of cards that were asked for.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        self.ask("GET", "/state?touched=true", "").expect("the simulator's state")
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read(self.directory.path().join("output.log")).unwrap_or_default();
            eprintln!("simulator: {}", String::from_utf8_lossy(&log));
        }
    }
}
