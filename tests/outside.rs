//! Judges that are not ours, against the running demo: schemathesis reads `/openapi.json` and asks whatever it allows,
//! Chromium opens `/docs`. `make test` installs both.
//!
//! **Never here:** a door's own cases (`tests/functional/http`).

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test: what is not there fails it")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long the demo may take to be there.
const PATIENCE: Duration = Duration::from_mins(1);

/// The demo, with every port shifted.
struct Demo {
    child: Child,
    base: u16,
    directory: TempDir,
}

impl Demo {
    #[track_caller]
    fn start(from: u16) -> Self {
        let free = |base: &u16| {
            [1500, 8080, 8583, 8584, 8585, 8586, 8590, 8591, 8592, 9090]
                .iter()
                .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, base + port)).is_ok())
        };
        let base = (0..9).map(|n| from + n * 1_013).find(free).expect("free ports");
        let directory = TempDir::new().expect("a directory");
        let child = Command::new(env!("CARGO_BIN_EXE_pinion"))
            .args(["demo", "--data"])
            .arg(directory.path().join("state"))
            .env("PINION_DEMO_PORT_BASE", base.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let demo = Self { child, base, directory };
        #[expect(clippy::disallowed_methods, reason = "a test waits for another process")]
        let now = Instant::now;
        let begun = now();
        while demo.get("/openapi.json").is_none() {
            assert!(now() - begun < PATIENCE, "the demo is not there");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        demo
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.base + 8080)
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.base + 8080)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What each door wants to be asked with (`contract.md`).
const DOORS: [(&str, &[&str]); 5] = [
    (
        "/cards/pin/pin-change",
        &[
            "Authorization: Bearer demo-firstvision-latam",
            "apikey: demo-apikey",
            "X-ClientID: 00970",
        ],
    ),
    (
        "/v1/cards/{paymentInstrumentId}/pinBlockChange",
        &["Authorization: Bearer demo-firstvision-apac"],
    ),
    ("/card-management/api/v1/card/changePin", &["Authorization: Bearer demo-postcard"]),
    ("/v1/card/pin", &["x-api-key: demo-p100"]),
    ("/v2/cards/{cardId}/pin", &["Authorization: ApiKey demo-equals"]),
];

/// No server error and no undocumented status, content type or body, whatever the document allows or forbids.
#[test]
fn schemathesis_finds_nothing() {
    let demo = Demo::start(14_000);
    for (path, headers) in DOORS {
        let mut command = Command::new("st");
        // It leaves its examples where it runs.
        command.current_dir(demo.directory.path());
        command.args(["run", &format!("{}/openapi.json", demo.address())]);
        command.args(["--include-path", path, "--max-examples", "40", "--seed", "1"]);
        command.args(["--phases", "examples,coverage,fuzzing", "--warnings", "off"]);
        command.args(["--checks", "not_a_server_error,status_code_conformance"]);
        command.args(["--checks", "content_type_conformance,response_schema_conformance"]);
        for header in headers {
            command.args(["-H", header]);
        }
        let output = command.output().expect("schemathesis: run the tests by `make test`");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{path}\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("No issues found") || text.contains("passed"), "{path}\n{text}");
    }
}

/// A real browser builds the page from the document, with nothing from elsewhere, and shows every operation.
#[test]
fn chromium_shows_the_operations() {
    let demo = Demo::start(15_500);
    let profile = TempDir::new().expect("a directory");
    let shot = profile.path().join("docs.png");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-quic"])
        .args(["--window-size=1200,2000", "--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
        .arg(format!("--screenshot={}", shot.display()))
        .arg(format!("{}/docs", demo.address()))
        .output()
        .expect("chromium: run the tests by `make test`");
    let page = String::from_utf8_lossy(&output.stdout);
    for (path, _) in DOORS {
        assert!(page.contains(path), "{path} is not on the page: {page}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "a link elsewhere: {page}");
    let image = std::fs::read(&shot).expect("a screenshot");
    assert!(10_000 < image.len(), "a page with something on it: {} bytes", image.len());
}
