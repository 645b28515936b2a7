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
    check(&posted, 405, &["application/json", "allow: GET,HEAD", "read-only"]);
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
