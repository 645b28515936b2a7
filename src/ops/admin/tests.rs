//! The endpoints over a real socket, as curl and Prometheus see them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::limits;
use crate::ops::health::Latch;

async fn start(readiness: Arc<Readiness>) -> SocketAddr {
    let status = || {
        json!({
            "node": "n1 <b>",
            "links": [{ "name": "atm-1", "connections": 2 }, { "name": "<script>", "connections": 0 }],
        })
    };
    let admin = Admin::new(Metrics::install().unwrap(), readiness, Arc::new(status));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(admin.serve(listener, std::future::pending()));
    address
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[track_caller]
fn check(answer: &str, code: u16, contains: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    for part in contains {
        assert!(answer.contains(part), "no {part:?} in\n{answer}");
    }
}

#[tokio::test]
async fn each_path_answers() {
    let address = start(Arc::new(Readiness::new())).await;
    check(&ask(address, "GET", "/live").await, 200, &["{\"live\":true}"]);
    let metrics = ask(address, "GET", "/metrics").await;
    check(&metrics, 200, &["content-type: text/plain; version=0.0.4", "pinion_build_info{"]);
    let status = ask(address, "GET", "/status").await;
    check(&status, 200, &["content-type: application/json", "\"name\":\"atm-1\""]);
    check(&ask(address, "GET", "/console.css").await, 200, &["text/css", "color-scheme"]);
    check(&ask(address, "HEAD", "/live").await, 200, &[]);
}

#[tokio::test]
async fn wrong_paths_and_methods_are_told_so_in_json() {
    let address = start(Arc::new(Readiness::new())).await;
    let missing = ask(address, "GET", "/nothing").await;
    check(&missing, 404, &["application/json", "\"error\":\"no such path\"", "/status"]);
    let posted = ask(address, "POST", "/status").await;
    check(&posted, 405, &["application/json", "allow: GET,HEAD", "method"]);
}

#[tokio::test]
async fn ready_only_when_every_latch_is_open() {
    let readiness = Arc::new(Readiness::new());
    let address = start(Arc::clone(&readiness)).await;
    let starting = ask(address, "GET", "/ready").await;
    check(&starting, 503, &["\"ready\":false", "\"store\":\"starting\"", "\"draining\":\"open\""]);
    for latch in [Latch::Hsm, Latch::Links, Latch::Store] {
        readiness.open(latch);
    }
    check(&ask(address, "GET", "/ready").await, 200, &["\"ready\":true", "\"store\":\"open\""]);
    readiness.close(Latch::Store, "the disk is full");
    let full = ask(address, "GET", "/ready").await;
    check(&full, 503, &["\"store\":\"the disk is full\""]);
}

#[tokio::test]
async fn the_page_escapes_and_loads_nothing_from_elsewhere() {
    let address = start(Arc::new(Readiness::new())).await;
    let page = ask(address, "GET", "/").await;
    check(
        &page,
        200,
        &[
            "content-security-policy: default-src 'none'; style-src 'self'",
            "x-frame-options: DENY",
            "<td>atm-1</td><td>2</td>",
            "&lt;script&gt;",
            "n1 &lt;b&gt;",
        ],
    );
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
}

#[tokio::test]
async fn connections_past_the_bound_are_closed_at_once() {
    let address = start(Arc::new(Readiness::new())).await;
    let mut held = Vec::new();
    for _ in 0..limits::ADMIN_CONNECTIONS_MAX {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    let mut extra = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    // Closed by the server: end of stream, or a reset where the close overtakes the read.
    assert!(matches!(extra.read(&mut byte).await, Ok(0) | Err(_)));
    let first = &mut held[0];
    first.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    check(&answer, 200, &["live"]);
}

/// Says what it was asked.
struct Echo;

impl Control for Echo {
    fn act(&self, act: Act) -> futures_util::future::BoxFuture<'_, Result<Value, ActRefused>> {
        Box::pin(async move {
            match act {
                Act::Drain { host } if host == "nobody" => {
                    Err(ActRefused::NotFound("no node \"nobody\"".to_owned()))
                }
                other => Ok(json!({ "asked": format!("{other:?}") })),
            }
        })
    }
}

async fn start_with_control() -> SocketAddr {
    let admin = Admin::new(
        Metrics::install().unwrap(),
        Arc::new(Readiness::new()),
        Arc::new(|| json!({ "links": [] })),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(admin.with_control(Arc::new(Echo)).serve(listener, std::future::pending()));
    address
}

async fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const LOCAL: &str = "host: 127.0.0.1:9090\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn an_operator_acts_from_this_machine_with_json() {
    let address = start_with_control().await;
    let drained = post(address, "/admin/hosts/postilion-1/drain", LOCAL, "").await;
    check(&drained, 200, &["Drain { host: \\\"postilion-1\\\" }"]);
    let settled = post(
        address,
        "/admin/unsettled/00ff/settle",
        "host: localhost\r\ncontent-type: application/json\r\n",
        "{\"by\": \"ann\", \"reason\": \"told by the bank\"}",
    )
    .await;
    check(&settled, 200, &["key: \\\"00ff\\\", reason: \\\"ann: told by the bank\\\""]);
    check(&post(address, "/admin/hosts/nobody/drain", LOCAL, "").await, 404, &["no node"]);
    check(&post(address, "/admin/hosts/x/format", LOCAL, "").await, 404, &["no such act"]);
    for (path, body, code, contains) in [
        ("/admin/hsm/a/drain", "", 200, "DrainDevice { device: \\\"a\\\", force: false }"),
        ("/admin/hsm/a/drain", "{\"force\":true}", 200, "force: true"),
        ("/admin/hsm/a/resume", "{}", 200, "ResumeDevice { device: \\\"a\\\" }"),
        ("/admin/hsm/a/drain", "{\"force\":1}", 400, "the body must be"),
        ("/admin/hsm/a/wipe", "", 404, "no such act"),
    ] {
        check(&post(address, path, LOCAL, body).await, code, &[contains]);
    }
}

/// What a page in a browser could send: its own name for our address, or a form.
#[tokio::test]
async fn a_page_in_a_browser_cannot_act() {
    let address = start_with_control().await;
    let path = "/admin/hosts/postilion-1/drain";
    let rebound = "host: evil.example:9090\r\ncontent-type: application/json\r\n";
    check(&post(address, path, rebound, "").await, 403, &["Host"]);
    let form = "host: 127.0.0.1\r\ncontent-type: text/plain\r\n";
    check(&post(address, path, form, "").await, 403, &["content type"]);
    let listed = ask(address, "GET", "/admin/unsettled").await;
    check(&listed, 403, &["Host"]);
}

#[tokio::test]
async fn a_reason_is_needed_bounded_and_free_of_card_numbers() {
    let address = start_with_control().await;
    let settle =
        async |body: &str| post(address, "/admin/unsettled/00ff/settle", LOCAL, body).await;
    check(&settle("{\"by\": \"ann\", \"reason\": \" \"}").await, 400, &["must not be empty"]);
    check(&settle("{\"reason\": \"x\"}").await, 400, &["must be"]);
    check(&settle("not json").await, 400, &["must be"]);
    let long = format!("{{\"by\": \"ann\", \"reason\": \"{}\"}}", "x".repeat(200));
    check(&settle(&long).await, 400, &["too long"]);
    let card = "{\"by\": \"ann\", \"reason\": \"card 5060990000000151002\"}";
    check(&settle(card).await, 400, &["card number"]);
    let huge = "x".repeat(limits::ADMIN_BODY_BYTES_MAX + 1);
    check(&settle(&huge).await, 413, &[]);
}
