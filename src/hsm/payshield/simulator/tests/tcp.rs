//! Over TCP: pipelined and split frames, garbage, faults. No connection is closed for what it sends.
//!
//! **Never here:** what commands answer.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hsm::payshield::simulator::{
    FaultRules, Kind, Options, Running, Setup, StartError, start,
};
use crate::hsm::payshield::wire::frame;

const PATIENCE: Duration = Duration::from_secs(20);

async fn running(change: impl FnOnce(&mut Options)) -> Running {
    let mut options = Options::new(vec!["127.0.0.1:0".parse().unwrap()]);
    change(&mut options);
    start(options).await.unwrap()
}

fn framed(bodies: &[&str]) -> BytesMut {
    let mut out = BytesMut::new();
    for body in bodies {
        frame::put(&mut out, |out| out.extend_from_slice(body.as_bytes())).unwrap();
    }
    out
}

/// The next answers, as many as asked for.
async fn answers(stream: &mut TcpStream, count: usize) -> Vec<String> {
    let (mut come, mut taken) = (BytesMut::new(), Vec::new());
    while taken.len() < count {
        while let Some(body) = frame::take(&mut come) {
            taken.push(String::from_utf8(body.to_vec()).unwrap());
        }
        if taken.len() < count {
            let read = timeout(PATIENCE, stream.read_buf(&mut come)).await;
            assert_ne!(read.expect("an answer in time").unwrap(), 0, "closed after {taken:?}");
        }
    }
    assert!(come.is_empty());
    taken
}

#[tokio::test]
async fn pipelined_split_and_senseless_frames_are_all_answered() {
    let device = running(|_| {}).await;
    let mut stream = TcpStream::connect(device.ports()[0]).await.unwrap();
    let many = framed(&["0001B20001A", "0002ZZ\u{7f}", "0003", "00", "", "0004NC", "0005B2FFFFA"]);
    stream.write_all(&many).await.unwrap();
    let want = ["0001B300A", "0002Z[68", "0003ZZ51", "00ZZ51", "ZZ51"];
    let got = answers(&mut stream, 7).await;
    assert_eq!(got[..5], want);
    assert!(got[5].starts_with("0004ND002686040000000000"));
    assert_eq!(got[6], "0005B380");
    let split = framed(&["0006B20002OK"]);
    for byte in &split {
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(answers(&mut stream, 1).await, ["0006B300OK"]);
    // Half a frame, and no more: the others go on.
    let mut half = TcpStream::connect(device.ports()[0]).await.unwrap();
    half.write_all(&split[..5]).await.unwrap();
    drop(half);
    // The longest frame there is: its data are short of the length by ten bytes.
    let longest = format!("0007B2FFFF{}", "x".repeat(0xFFFF - 10));
    stream.write_all(&framed(&[&longest, "0008B20002OK"])).await.unwrap();
    assert_eq!(answers(&mut stream, 2).await, ["0007B380", "0008B300OK"]);
    device.stop().await;
}

#[tokio::test]
async fn a_port_for_each_lmk() {
    let any = || "127.0.0.1:0".parse().unwrap();
    let device = running(|options| {
        options.listen = vec![any(), any(), any()];
        options.setup.lmks = vec![Kind::Variant, Kind::AesBlock];
        options.setup.settings.header = 1;
    })
    .await;
    for (port, command, want) in
        [(0, "1NC", "268604"), (1, "2NC", "268604"), (2, "3NC", "9D04A0"), (0, "4NC%01", "9D04A0")]
    {
        let mut stream = TcpStream::connect(device.ports()[port]).await.unwrap();
        stream.write_all(&framed(&[command])).await.unwrap();
        assert_eq!(answers(&mut stream, 1).await[0][5..11], *want);
    }
    let mut options = Options::new(vec![any(), any(), any()]);
    assert!(matches!(start(options.clone()).await, Err(StartError::Ports { max: 2, lmks: 1 })));
    options.listen = vec!["0.0.0.0:0".parse().unwrap()];
    assert!(matches!(start(options).await, Err(StartError::Remote { .. })));
}

/// A device has so many connections: one more is closed, and is there again when another has gone.
#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let device = running(|options| options.setup.sockets = 2).await;
    let address = device.ports()[0];
    let mut two = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&framed(&["0001NO00"])).await.unwrap();
        assert_eq!(answers(&mut stream, 1).await, ["0001NP003100021084-090600000"]);
        two.push(stream);
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(timeout(PATIENCE, third.read(&mut [0; 9])).await.unwrap().unwrap(), 0);
    drop(two.pop());
    let served = async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let asked = stream.write_all(&framed(&["0002B20001A"])).await;
            if asked.is_ok() && stream.read(&mut [0; 32]).await.is_ok_and(|count| 0 < count) {
                break;
            }
        }
    };
    timeout(PATIENCE, served).await.expect("a place is free again");
    let none = Options {
        setup: Setup { sockets: 0, ..Setup::default() },
        ..Options::new(vec!["127.0.0.1:0".parse().unwrap()])
    };
    assert!(matches!(start(none).await, Err(StartError::Sockets)));
}

/// A peer that sends all before it reads anything loses nothing, and closing its sending half neither.
#[tokio::test]
async fn a_peer_that_reads_late_gets_every_answer() {
    let device = running(|_| {}).await;
    let mut stream = TcpStream::connect(device.ports()[0]).await.unwrap();
    let bodies: Vec<_> = (0..20_000).map(|n| format!("{:04}B20001A", n % 10_000)).collect();
    let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
    stream.write_all(&framed(&bodies)).await.unwrap();
    stream.shutdown().await.unwrap();
    let got = answers(&mut stream, 20_000).await;
    assert!(got.iter().zip(&bodies).all(|(got, sent)| *got == sent.replace("B20001", "B300")));
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 9])).await.unwrap().unwrap(), 0);
}

/// Answers that are gathered leave together, however the commands came.
#[tokio::test]
async fn answers_are_gathered() {
    let device = running(|options| options.faults.gather_ms = 300).await;
    let mut stream = TcpStream::connect(device.ports()[0]).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for body in ["0001B20001A", "0002B20001B", "0003B20001C"] {
        stream.write_all(&framed(&[body])).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut come = BytesMut::with_capacity(4096);
    timeout(PATIENCE, stream.read_buf(&mut come)).await.unwrap().unwrap();
    assert_eq!(come, framed(&["0001B300A", "0002B300B", "0003B300C"]));
}

#[tokio::test]
async fn faults_on_command() {
    let device = running(|_| {}).await;
    let mut stream = TcpStream::connect(device.ports()[0]).await.unwrap();
    let headers: Vec<_> = (0..40).map(|n| format!("{n:04}B20001A")).collect();
    let bodies: Vec<_> = headers.iter().map(String::as_str).collect();
    let rules = |json: &str| serde_json::from_str::<FaultRules>(json).unwrap();
    device.tell(rules(r#"{"reorder":1,"reorder_ms":200,"partial":true,"seed":3}"#)).unwrap();
    stream.write_all(&framed(&bodies)).await.unwrap();
    let mut got = answers(&mut stream, 40).await;
    assert!(!got.is_sorted(), "none was overtaken");
    got.sort();
    let want: Vec<_> = (0..40).map(|n| format!("{n:04}B300A")).collect();
    assert_eq!(got, want);
    device.tell(rules(r#"{"errors":{"B2":"41"}}"#)).unwrap();
    stream.write_all(&framed(&["0001B20001A", "0002N0000"])).await.unwrap();
    assert_eq!(answers(&mut stream, 2).await, ["0001B341", "0002N100"]);
    device.tell(rules(r#"{"latency_ms":400}"#)).unwrap();
    stream.write_all(&framed(&["0003B20001A"])).await.unwrap();
    let early = timeout(Duration::from_millis(100), stream.readable()).await;
    assert!(early.is_err(), "answered at once");
    assert_eq!(answers(&mut stream, 1).await, ["0003B300A"]);
    device.tell(rules(r#"{"loss":1}"#)).unwrap();
    stream.write_all(&framed(&["0001NC"])).await.unwrap();
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(200), stream.read(&mut byte)).await.is_err(), "answered");
    device.tell(rules(r#"{"close":1}"#)).unwrap();
    stream.write_all(&framed(&["0001NC"])).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 9])).await.unwrap().unwrap(), 0);
}
