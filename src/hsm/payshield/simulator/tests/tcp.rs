//! Over TCP: pipelined and split frames, garbage, faults. No connection is closed for what it sends.
//!
//! **Never here:** what commands answer.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hsm::payshield::simulator::{FaultRules, Kind, Options, Running, StartError, start};
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
    device.tell(rules(r#"{"loss":1}"#)).unwrap();
    stream.write_all(&framed(&["0001NC"])).await.unwrap();
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(200), stream.read(&mut byte)).await.is_err(), "answered");
    device.tell(rules(r#"{"close":1}"#)).unwrap();
    stream.write_all(&framed(&["0001NC"])).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 9])).await.unwrap().unwrap(), 0);
}
