//! What the tests of this module share: settings, requests, and a node that does what a test scripts. **Never here:**
//! anything that ships.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::domain::clock::{Clock, Now, WallMillis};
use crate::domain::forward::{Details, Forwarded, Stan};
use crate::domain::outcome::HostCode;
use crate::domain::pan::{Pan, SealedPan};
use crate::domain::pin::{BlockFormat, KeyId, ZonePin};
use crate::domain::request::{Tag, Trace, TransactionKey};
use crate::host::{
    Advice, Booking, BreakerRule, Fixed, Forward, KeyTaker, NodeSettings, Refused, Settings, Side,
    Timers, Zone,
};
use crate::iso8583::frame::Framing;
use crate::iso8583::{Builder, Dialect, Layout, decode};

/// Settings of nodes at these addresses, with times that a test can wait for.
pub(super) fn settings(addresses: &[String]) -> Settings {
    let codes = |codes: &[&str]| {
        codes.iter().map(|code| HostCode::new(code.as_bytes()).unwrap()).collect::<Vec<_>>()
    };
    let nodes = addresses.iter().enumerate().map(|(at, address)| NodeSettings {
        name: format!("node-{}", at + 1).into(),
        address: address.as_str().into(),
    });
    Settings {
        dialect: Dialect::builtin("postilion").unwrap(),
        framing: Framing::BE2,
        zone: Zone { key: KeyId(0), format: BlockFormat::Iso0 },
        new_pin: Side::First,
        institution: Tag::new(b"111111"),
        forwarding_institution: Tag::new(b"222222"),
        terminal: Tag::new(b"PINION01"),
        request_time: Duration::from_millis(400),
        connections: 1,
        in_flight: 64,
        timers: Timers {
            echo: Duration::from_secs(30),
            answer: Duration::from_secs(1),
            frame: Duration::from_secs(1),
            drain: Duration::from_secs(2),
        },
        sign_on: true,
        connect_time: Duration::from_secs(1),
        reconnect: Duration::from_millis(20),
        reconnect_max: Duration::from_millis(100),
        match_fields: vec![41, 11],
        approved: codes(&["00"]),
        codes: Vec::new(),
        retry_codes: codes(&["68", "90", "91", "96"]),
        fields: vec![fixed("22", "011")],
        breaker: BreakerRule { failures: 5, open: Duration::from_millis(500), eject_share: 0.5 },
        new_key_every: None,
        stans: Stan(1)..=Stan::MAX,
        nodes: nodes.collect(),
    }
}

/// The runtime's time, which a test may pause; the wall stands still.
#[derive(Clone, Copy)]
pub(super) struct TestClock {
    start: tokio::time::Instant,
    pub(super) wall: WallMillis,
}

impl TestClock {
    #[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
    pub(super) fn start() -> Self {
        // 2026-11-22 07:38:01 UTC.
        Self { start: tokio::time::Instant::now(), wall: WallMillis(1_795_333_081_000) }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        self.start.elapsed()
    }

    fn wall(&self) -> WallMillis {
        self.wall
    }

    fn random(&self) -> [u8; 16] {
        [0x55; 16]
    }
}

/// Takes keys that begin with 4B, refuses others with 88.
pub(super) struct TestTaker;

impl KeyTaker for TestTaker {
    fn take(&self, field: &[u8]) -> BoxFuture<'_, Result<(), Refused>> {
        let good = field.len() == 48 && field[0] == 0x4B;
        async move { if good { Ok(()) } else { Err(Refused { code: *b"88" }) } }.boxed()
    }
}

/// A clock and a taker, as the nodes want them.
pub(super) fn world() -> (Arc<dyn Clock>, Arc<dyn KeyTaker>) {
    (Arc::new(TestClock::start()), Arc::new(TestTaker))
}

/// A node that does what a test says.
pub(super) struct Peer {
    listener: TcpListener,
    pub(super) address: String,
}

/// One connection of it.
pub(super) struct Talk {
    stream: TcpStream,
    dialect: Arc<Dialect>,
}

impl Peer {
    pub(super) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    /// The next connection, as it comes.
    pub(super) async fn accept(&self) -> Talk {
        let (stream, _) = self.listener.accept().await.unwrap();
        Talk { stream, dialect: Dialect::builtin("postilion").unwrap() }
    }

    /// The next connection, signed on.
    pub(super) async fn signed_on(&self) -> Talk {
        let mut talk = self.accept().await;
        let sign_on = talk.read().await;
        assert_eq!(talk.text(&sign_on, 70), "001");
        talk.answer(&sign_on, "00").await;
        talk
    }
}

impl Talk {
    /// The next message.
    pub(super) async fn read(&mut self) -> Vec<u8> {
        self.try_read().await.expect("a message")
    }

    /// The next message; `None` when the connection has ended.
    pub(super) async fn try_read(&mut self) -> Option<Vec<u8>> {
        let length = self.stream.read_u16().await.ok()?;
        let mut message = vec![0; length.into()];
        self.stream.read_exact(&mut message).await.ok()?;
        Some(message)
    }

    /// Whether a message comes within a while.
    pub(super) async fn hears(&mut self, within: Duration) -> bool {
        let mut one = [0];
        let peeked = tokio::time::timeout(within, self.stream.peek(&mut one)).await;
        matches!(peeked, Ok(Ok(1..)))
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(super) async fn write(&mut self, message: &[u8]) {
        self.raw(&framed(message)).await;
    }

    /// Answers with a code.
    pub(super) async fn answer(&mut self, request: &[u8], code: &str) {
        let answer = self.answer_to(request, code, &[]);
        self.write(&answer).await;
    }

    /// The answer with a code, and with other text in some elements.
    pub(super) fn answer_to(&self, request: &[u8], code: &str, others: &[(u8, &str)]) -> Vec<u8> {
        let mut layout = Layout::new();
        let request = decode(&self.dialect, request, &mut layout).unwrap();
        let [a, b, c, _] = request.mti();
        let mut out = BytesMut::new();
        let mut builder = Builder::new(&self.dialect, [a, b, c + 1, b'0'], &mut out);
        for field in [2, 3, 7, 11, 12, 13, 32, 37, 39, 41, 42, 70, 90, 127] {
            let other = others.iter().find(|(number, _)| *number == field);
            match (field, other) {
                (39, _) if code.is_empty() => {}
                (39, _) => builder.text(39, code.as_bytes()).unwrap(),
                (_, Some((_, text))) => builder.text(field, text.as_bytes()).unwrap(),
                _ => builder.copy(&request, field).unwrap(),
            }
        }
        builder.finish();
        out.to_vec()
    }

    /// An 0800 of the node's own.
    pub(super) fn network(&self, code: &str, key: Option<&[u8]>) -> Vec<u8> {
        let mut out = BytesMut::new();
        let mut builder = Builder::new(&self.dialect, *b"0800", &mut out);
        builder.text(7, b"1122073801").unwrap();
        builder.text(11, b"654321").unwrap();
        if let Some(key) = key {
            builder.binary(53, key).unwrap();
        }
        builder.text(70, code.as_bytes()).unwrap();
        builder.finish();
        out.to_vec()
    }

    /// Answers a wish for a key with DE 53.
    pub(super) fn key_answer(&self, request: &[u8], key: &[u8]) -> Vec<u8> {
        let mut layout = Layout::new();
        let request = decode(&self.dialect, request, &mut layout).unwrap();
        let mut out = BytesMut::new();
        let mut builder = Builder::new(&self.dialect, *b"0810", &mut out);
        builder.copy(&request, 11).unwrap();
        builder.text(39, b"00").unwrap();
        builder.binary(53, key).unwrap();
        builder.copy(&request, 70).unwrap();
        builder.finish();
        out.to_vec()
    }

    /// The text of an element.
    pub(super) fn text(&self, message: &[u8], field: u8) -> String {
        let mut layout = Layout::new();
        let message = decode(&self.dialect, message, &mut layout).unwrap();
        message
            .text(field)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

/// A request towards the nodes, owned.
pub(super) struct Request {
    pub(super) key: TransactionKey,
    pub(super) pan: Pan,
    pub(super) current: ZonePin,
    pub(super) new: ZonePin,
    pub(super) trace: Trace,
    pub(super) forwarded: Forwarded,
}

impl Request {
    pub(super) fn new(key: u8, booking: Booking) -> Self {
        let block = |byte| ZonePin::new(&[byte; 8], BlockFormat::Iso0, KeyId(0)).unwrap();
        Self {
            key: TransactionKey([key; 16]),
            pan: Pan::parse(b"5060990000000151002").unwrap(),
            current: block(0xC1),
            new: block(0xA2),
            trace: Trace {
                stan: Tag::new(b"000777"),
                rrn: Tag::new(b"632607000777"),
                terminal: Tag::new(b"ATM00042"),
            },
            forwarded: Forwarded {
                host: booking.host,
                stan: booking.stan,
                transmitted: WallMillis(1_795_333_081_000),
                pan: SealedPan([0; SealedPan::BYTES]),
                sequence: Some(1),
                institution: Tag::new(b"636092"),
                details: Details::default(),
            },
        }
    }

    pub(super) fn forward(&self) -> Forward<'_> {
        Forward {
            key: &self.key,
            pan: &self.pan,
            current: &self.current,
            new: &self.new,
            trace: &self.trace,
            forwarded: &self.forwarded,
        }
    }

    pub(super) fn advice(&self, repeat: bool) -> Advice<'_> {
        Advice {
            original: &self.key,
            pan: &self.pan,
            trace: &self.trace,
            forwarded: &self.forwarded,
            at: WallMillis(1_795_333_085_000),
            repeat,
        }
    }
}

/// An element with a fixed content, by its key in a configuration.
pub(super) fn fixed(key: &str, text: &str) -> Fixed {
    let (field, sub) = match key.split_once('.') {
        Some((field, sub)) => (field, Some(sub.parse().unwrap())),
        None => (key, None),
    };
    Fixed { field: field.parse().unwrap(), sub, text: text.into() }
}
