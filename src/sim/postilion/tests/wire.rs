//! The simulator over TCP and HTTP, and its file.

use std::net::SocketAddr;

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::sim::postilion::tests::{Answer, Ask, NEW_1111, P1111, P2222, P3333, P4444, PAN, read};
use crate::sim::postilion::{Options, Running, StartError, TestCards, start};

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn options() -> Options {
    Options::new(vec![any_port(), any_port()], Some(any_port()))
}

struct Line {
    stream: TcpStream,
    bytes: BytesMut,
}

impl Line {
    async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream, bytes: BytesMut::new() }
    }

    async fn signed_on(address: SocketAddr) -> Self {
        let mut line = Self::to(address).await;
        let sign_on = Ask::new("0800", &[(7, "1122093000"), (11, "000001"), (70, "001")]);
        assert_eq!(line.ask(&sign_on).await[&39], "00");
        line
    }

    async fn send(&mut self, ask: &Ask) {
        let mut bytes = BytesMut::new();
        ask.write(&mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next answer; `None` when the connection ended.
    async fn next(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = read(&mut self.bytes) {
                return Some(answer);
            }
            if !matches!(self.stream.read_buf(&mut self.bytes).await, Ok(1..)) {
                return None;
            }
        }
    }

    async fn ask(&mut self, ask: &Ask) -> Answer {
        self.send(ask).await;
        self.next().await.expect("an answer")
    }
}

/// One HTTP request: status and JSON body.
async fn http(sim: &Running, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(sim.admin().unwrap()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

async fn pin(sim: &Running) -> Value {
    let (status, card) = http(sim, "GET", &format!("/cards/{PAN}"), "").await;
    assert_eq!(status, 200);
    card["pin"].clone()
}

#[tokio::test]
async fn two_nodes_one_set_of_cards() {
    let sim = start(options()).await.unwrap();
    let [one, two] = *sim.nodes() else { panic!("two nodes") };
    let mut first = Line::signed_on(one).await;
    let mut second = Line::signed_on(two).await;
    assert_eq!(first.ask(&Ask::change("000001", P1111, P2222)).await[&39], "00");
    assert_eq!(pin(&sim).await, "2222");
    assert_eq!(second.ask(&Ask::reversal("0420", "000001")).await[&39], "00");
    assert_eq!(pin(&sim).await, "1111");

    // An answer is lost: the change is made, its repeat on the other node is told so.
    let faults = json!({ "node": 1, "faults": { "drop_answer": { "share": 1 } } }).to_string();
    assert_eq!(http(&sim, "POST", "/faults", &faults).await.0, 200);
    let lost = Ask::change("000002", P1111, P3333);
    first.send(&lost).await;
    let echo = Ask::new("0800", &[(7, "1122093000"), (11, "000077"), (70, "301")]);
    assert_eq!(first.ask(&echo).await[&11], "000077", "nothing came before the echo's answer");
    assert_eq!(pin(&sim).await, "3333");
    assert_eq!(second.ask(&lost.clone().repeat()).await[&39], "00");
    assert_eq!(http(&sim, "POST", "/faults", "{}").await.0, 200);

    // A stopped node has neither connections nor a listener, a started one has the old address.
    assert_eq!(http(&sim, "POST", "/nodes/1/stop", "").await.0, 200);
    assert_eq!(first.next().await, None);
    assert!(TcpStream::connect(one).await.is_err());
    assert_eq!(second.ask(&Ask::change("000003", P3333, P4444)).await[&39], "00");
    assert_eq!(http(&sim, "POST", "/nodes/1/start", "").await.0, 200);
    let mut first = Line::signed_on(one).await;
    assert_eq!(first.ask(&Ask::change("000004", P4444, P1111)).await[&39], "00");

    let (_, state) = http(&sim, "GET", "/state?touched=true", "").await;
    assert_eq!(state["cards"].as_array().unwrap().len(), 1);
    let changes = state["cards"][0]["changes"].as_array().unwrap();
    let all = |what: &str| changes.iter().map(|change| change[what].clone()).collect::<Value>();
    assert_eq!(all("state"), json!(["reversed", "superseded", "superseded", "applied"]));
    assert_eq!(all("node"), json!([1, 1, 2, 1]));
    assert_eq!(all("times_processed"), json!([1, 1, 1, 1]));
    let node = &state["nodes"][0];
    assert_eq!(
        (&node["up"], &node["signed_on"], &node["connections"]),
        (&json!(true), &json!(1), &json!(1))
    );
    assert_eq!(node["faults"], json!({ "drop_answer": 1 }));
    assert_eq!(node["received"], json!({ "0800": 3, "0600": 3 }));
    assert_eq!(state["nodes"][1]["answered"], json!({ "00": 4 }));
    assert_eq!(http(&sim, "POST", "/reset", "").await.0, 200);
    assert_eq!(sim.state()["nodes"][0]["received"], json!({}));
    sim.stop().await;
    assert!(TcpStream::connect(two).await.is_err());
}

#[tokio::test]
async fn held_back_answers_come_and_slow_ones_are_whole() {
    let sim = start(options()).await.unwrap();
    let mut line = Line::signed_on(sim.nodes()[0]).await;
    let mut from = P1111;
    for (number, fault) in ["answer_late", "delay", "slow_bytes"].into_iter().enumerate() {
        let faults = json!({ "faults": { fault: { "share": 1, "ms": 20 } } }).to_string();
        assert_eq!(http(&sim, "POST", "/faults", &faults).await.0, 200);
        let to = [P2222, P3333, P4444][number];
        let answer = line.ask(&Ask::change(&format!("00000{number}"), from, to)).await;
        assert_eq!(answer[&39], "00", "{fault}");
        from = to;
    }
    assert_eq!(pin(&sim).await, "4444");
}

#[tokio::test]
async fn a_key_is_pushed_on_command() {
    let sim = start(options()).await.unwrap();
    assert_eq!(http(&sim, "POST", "/rekey", "{}").await.0, 409, "nobody is signed on");
    let mut line = Line::signed_on(sim.nodes()[1]).await;
    let asked = async {
        let asked = line.next().await.unwrap();
        let fields = [(7, asked[&7].as_str()), (11, &asked[&11]), (39, "00"), (70, "101")];
        line.send(&Ask::new("0810", &fields)).await;
        asked
    };
    let told = json!({ "wrong_check_value": true }).to_string();
    let ((status, answer), asked) = tokio::join!(http(&sim, "POST", "/rekey", &told), asked);
    assert_eq!((status, &answer["node"], &answer["code"]), (200, &json!(2), &json!("00")));
    assert_ne!(answer["check_value"], asked[&53][32..38], "as it was told to be");
    assert_eq!(sim.state()["keys"]["check_values"][1], answer["check_value"]);
}

#[tokio::test]
async fn the_admin_port_refuses_what_makes_no_sense() {
    let sim = start(options()).await.unwrap();
    for (method, path, body, want) in [
        ("POST", "/faults", r#"{"faults":{"delay":{"share":2}}}"#, 400),
        ("POST", "/faults", r#"{"node":3}"#, 400),
        ("POST", "/faults", "nonsense", 400),
        ("POST", "/rekey", r#"{"node":0}"#, 404),
        ("POST", "/nodes/3/stop", "", 404),
        ("POST", "/nodes/0/start", "", 404),
        ("GET", "/cards/4761739001010010", "", 404),
        ("GET", "/nothing", "", 404),
        ("GET", "/faults", "", 405),
    ] {
        assert_eq!(http(&sim, method, path, body).await.0, want, "{method} {path} {body}");
    }
}

/// Everything that was answered is there again: PINs, tries, identities, remembered reversals, keys. A torn last line
/// is dropped, and the file goes on behind the whole ones.
#[tokio::test]
async fn the_file_brings_the_state_back() {
    let directory = tempfile::tempdir().unwrap();
    let kept = || Options { data: Some(directory.path().to_owned()), ..options() };
    let sim = start(kept()).await.unwrap();
    assert!(matches!(start(kept()).await, Err(StartError::Journal(_))), "one process a directory");
    let mut line = Line::signed_on(sim.nodes()[0]).await;
    for (ask, code) in [
        (Ask::change("000001", P1111, P2222), "00"),
        (Ask::change("000002", P2222, P3333), "00"),
        (Ask::reversal("0420", "000002"), "00"),
        (Ask::change("000003", P1111, P3333), "55"),
        (Ask::reversal("0420", "000009"), "25"),
        (Ask::new("0800", &[(7, "1122093000"), (11, "000005"), (70, "101")]), "00"),
    ] {
        assert_eq!(line.ask(&ask).await[&39], code);
    }
    let before = sim.state();
    sim.stop().await;
    let path = directory.path().join("postilion.jsonl");
    let mut file = std::fs::read(&path).unwrap();
    let whole = file.len();
    file.extend_from_slice(br#"{"change":{"code":"00","node":1,"pan":"5060"#);
    std::fs::write(&path, &file).unwrap();

    let sim = start(kept()).await.unwrap();
    let after = sim.state();
    for part in ["cards", "reversals_remembered"] {
        assert_eq!(after[part], before[part], "{part}");
    }
    assert_eq!(after["keys"]["check_values"], before["keys"]["check_values"]);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), u64::try_from(whole).unwrap());
    let mut line = Line::signed_on(sim.nodes()[1]).await;
    for (ask, code) in [
        (Ask::change("000001", P1111, P2222).repeat(), "00"),
        (Ask::reversal("0421", "000002"), "00"),
        (Ask::change("000009", P2222, P4444), "94"),
        (Ask::change("000010", NEW_1111, P4444), "81"),
        (Ask::change("000011", P2222, P4444), "00"),
    ] {
        assert_eq!(line.ask(&ask).await[&39], code);
    }
    sim.stop().await;
    let sim = start(kept()).await.unwrap();
    assert_eq!(pin(&sim).await, "4444");
    sim.stop().await;
    std::fs::write(&path, "{}\n").unwrap();
    let error = start(kept()).await.unwrap_err().to_string();
    assert!(error.contains("line 1: no event"), "{error}");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let cards = |pin: &str, bin: &str, count| {
        let (pin, bin) = (pin.to_owned(), bin.to_owned());
        Options { cards: Some(TestCards { bin, seed: 1, count, pin }), ..options() }
    };
    let remote = Options::new(vec!["0.0.0.0:0".parse().unwrap()], None);
    for (options, want) in [
        (Options::new(Vec::new(), None), "1 to 16 nodes"),
        (remote, "not loopback"),
        (Options { zpk: "nope".to_owned(), ..options() }, "nope: no triple-DES key"),
        (cards("111", "506099", 1), "4 to 12 digits"),
        (cards("1111", "50609x", 1), "a BIN of"),
    ] {
        let error = start(options).await.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    let sim = start(cards("4321", "506099", 3)).await.unwrap();
    let pan = crate::card::generate::pan("506099", 1, 2).unwrap();
    assert_eq!(sim.card(&pan).unwrap()["pin"], "4321");
    assert_eq!(sim.state()["cards"].as_array().unwrap().len(), 4);
}
