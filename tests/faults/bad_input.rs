//! Garbage, half frames, floods of connections and deaf peers on one link, while the other is served as ever.
//!
//! Where a message can be answered it is answered 30; where it cannot, the connection is closed and counted by its
//! reason. **Never here:** what a message means when it is right.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::message::{Client, Message, change, echo, framed, verify};
use crate::support::node::{Node, PINS, Setup};
use crate::support::{PATIENCE, Random, eventually, let_pass, now};

/// The noise goes to `atm-1`; a frame must be whole within a second there.
const NOISY: Setup<'_> = Setup {
    link: "frame_seconds = 1\nconnections = 700",
    cards: 4,
    level: "debug",
    ..Setup::DEFAULT
};

/// Latencies of the other link while `noise` runs.
#[track_caller]
fn served_meanwhile<T>(node: &Node, noise: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    let pid = node.pid();
    let (result, mut took) = std::thread::scope(|scope| {
        let quiet = scope.spawn(|| {
            let mut client = Client::connect(node.other);
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) || took.len() < 20 {
                let begun = now();
                let request = verify(&node.pans[0], PINS[0], node.number());
                assert_eq!(client.code(&request), "00");
                took.push(begun.elapsed());
                let_pass(Duration::from_millis(2));
            }
            took
        });
        let end = End(&over);
        let result = noise();
        drop(end);
        (result, quiet.join().expect("the other link is served"))
    });
    took.sort();
    let (half, most) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!("other link: {} requests, median {half:?}, longest {most:?}", took.len());
    // Bounds for a busy machine; a link that waits for the noise waits for a second or more.
    assert!(half < Duration::from_millis(100), "median {half:?}");
    assert!(most < Duration::from_millis(2500), "longest {most:?}");
    assert_eq!(node.pid(), pid);
    assert_eq!(node.page("/live").map(|(status, _)| status), Some(200));
    result
}

/// Says that the noise is over, also when it fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What came back for some bytes: whole frames until the peer closes, or falls silent after it answered an echo.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Answers(Vec<String>),
    Closed,
}

/// Sends bytes and an echo behind them, so that an answer to the echo says: all before it was dealt with.
fn offer(port: u16, bytes: &[u8], number: u32) -> Came {
    let mut client = Client::connect(port);
    let mark = echo(number);
    let mut codes = Vec::new();
    // A peer that has closed already refuses the rest; its answers still count.
    if client.write(bytes).is_ok() && client.write(&mark.framed()).is_ok() {
        while let Ok(answer) = client.read() {
            if answer.mti == "0810" && answer.stan() == number {
                return Came::Answers(codes);
            }
            codes.push(answer.code().to_owned());
        }
    }
    Came::Closed
}

fn sound(node: &Node) -> Message {
    change(&node.pans[1], PINS[0], PINS[1], node.number())
}

#[test]
fn what_can_be_answered_is_answered_30_and_the_rest_is_closed_and_counted() {
    let node = Node::started(&NOISY);
    let answered = |codes: &[&str]| Came::Answers(codes.iter().map(|c| (*c).to_owned()).collect());
    let sound = sound(&node);
    let whole = sound.encode();
    let mut bad_bits = whole.clone();
    // Field 120 is announced and not there.
    bad_bits[4 + 14] |= 1;
    served_meanwhile(&node, || {
        for (name, bytes, came) in [
            (
                "letters in field 4",
                sound.clone().with(4, "12X456789012").framed(),
                answered(&["30"]),
            ),
            (
                "letters in field 2",
                sound.clone().with(2, "54133400700000X0").framed(),
                answered(&["30"]),
            ),
            ("no field 52", sound.clone().without(52).framed(), answered(&["30"])),
            ("no field 125", sound.clone().without(125).framed(), answered(&["30"])),
            ("no field 3", sound.clone().without(3).framed(), answered(&["30"])),
            ("a long field 125", sound.clone().with(125, [7; 17]).framed(), answered(&["30"])),
            ("a field too many", framed(&bad_bits), answered(&["30"])),
            ("cut in field 125", framed(&whole[..whole.len() - 3]), answered(&["30"])),
            ("cut in field 2", framed(&whole[..26]), answered(&["30"])),
            ("bytes behind", framed(&[&whole[..], b"more"].concat()), answered(&["30"])),
            ("an answer", sound.clone().under("0110").framed(), answered(&[])),
            ("cut in the bitmap", framed(&whole[..9]), Came::Closed),
            ("letters for a type", framed(b"XXXXXXXXXXXXXXXXXXXXXXXX"), Came::Closed),
            ("an empty frame", framed(b""), answered(&[])),
            ("too long", vec![0xFF; 300], Came::Closed),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), Came::Closed),
        ] {
            let got = offer(node.atm, &bytes, node.number());
            assert_eq!(got, came, "{name}");
        }
    });
    for why in ["unreadable", "unexpected", "too_long"] {
        let count = node.metric("pinion_frames_rejected_total", &["atm-1", why]);
        assert!(0 < count, "{why} is not counted");
    }
    assert_eq!(node.metric("pinion_frames_rejected_total", &["atm-2"]), 0);
    let mut client = Client::connect(node.atm);
    assert_eq!(client.code(&sound), "00", "none of them did anything");
}

#[test]
fn random_and_mutated_frames_never_kill() {
    let mut random = Random::new("random_and_mutated_frames_never_kill");
    let node = Node::started(&NOISY);
    let whole = sound(&node).encode();
    served_meanwhile(&node, || {
        for round in 0..400 {
            let mut bytes = match round % 4 {
                0 => framed(&random.bytes(1 + round)),
                1 => framed(&whole[..random.below(whole.len())]),
                _ => framed(&whole),
            };
            if 2 <= round % 4 {
                for _ in 0..=random.below(4) {
                    let at = 2 + random.below(bytes.len() - 2);
                    bytes[at] ^= 1 << random.below(8);
                }
                if round % 4 == 3 {
                    let end = 2 + random.below(bytes.len() - 2);
                    bytes.truncate(end);
                    bytes.extend(random.bytes(20));
                }
            }
            let mut stream = tcp(node.atm);
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // Whatever comes, it ends: an answer and a close, or a close.
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{bytes:02X?}"),
            }
        }
    });
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// Waits until the peer closes.
#[track_caller]
fn closed(mut stream: TcpStream, what: &str) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "{what} is answered"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}: {error}"),
    }
}

#[test]
fn half_frames_are_closed_in_time_and_idle_connections_cost_nothing() {
    let node = Node::started(&NOISY);
    served_meanwhile(&node, || {
        let idle: Vec<_> = (0..500).map(|_| tcp(node.atm)).collect();
        let whole = sound(&node).framed();
        let mut halves = Vec::new();
        for count in [1, 2, 3, 30, whole.len() - 1] {
            let mut stream = tcp(node.atm);
            stream.write_all(&whole[..count]).expect("written");
            halves.push(stream);
        }
        // A TLS client hello: its first bytes are a length that never comes.
        let mut hello = tcp(node.atm);
        hello.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).expect("written");
        halves.push(hello);
        // One byte now and then does not keep a frame alive.
        let mut slow = tcp(node.atm);
        let (begun, mut bytes) = (now(), whole.iter());
        eventually("a frame sent byte by byte is cut off", || {
            let_pass(Duration::from_millis(100));
            let byte = bytes.next().expect("it is cut off before it is whole");
            slow.write_all(&[*byte]).is_err().then_some(())
        });
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        for half in halves {
            closed(half, "a half frame");
        }
        let mut client = Client::connect(node.atm);
        assert_eq!(client.code(&echo(node.number())), "00", "beside 500 idle connections");
        drop(idle);
    });
    let halves = node.metric("pinion_frames_rejected_total", &["atm-1", "half_frame"]);
    assert_eq!(halves, 6);
    assert_eq!(node.metric("pinion_frames_rejected_total", &["atm-1", "foreign"]), 1, "TLS");
}

#[test]
fn peers_that_hang_up_or_never_read_harm_nobody() {
    let node = Node::started(&NOISY);
    served_meanwhile(&node, || {
        for round in 0..300 {
            let mut stream = tcp(node.atm);
            let request = verify(&node.pans[2], PINS[0], node.number()).framed();
            stream.write_all(&request).expect("written");
            if round % 2 == 0 {
                // Closes with a reset.
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set");
            }
        }
        let mut deaf = deaf(node.atm);
        let flood: Vec<u8> = (0..500).flat_map(|_| echo(node.number()).framed()).collect();
        eventually("a peer that reads nothing is closed", || match deaf.write(&flood) {
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(()),
        });
    });
    let deaf = node.metric("pinion_frames_rejected_total", &["atm-1", "slow_reader"]);
    assert_eq!(deaf, 1, "counted as a slow reader");
    eventually("nothing is left in flight", || {
        let left = node.metric("pinion_in_flight", &["atm-1"]);
        let up = node.metric("pinion_links_up", &["atm-1"]);
        (left == 0 && up == 0).then_some(())
    });
    // The cards of those who hung up are whole: a request was served or it was not.
    let mut client = Client::connect(node.atm);
    assert_eq!(client.code(&verify(&node.pans[2], PINS[0], node.number())), "00");
}

/// A connection with little room for answers, which it never takes.
fn deaf(port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&address.into()).expect("a connection");
    socket.set_nonblocking(true).expect("set");
    socket.into()
}

/// More connections than a link may hold are closed at once; those it holds are served.
#[test]
fn connections_past_the_bound_are_closed_and_counted() {
    let node = Node::started(&Setup { link: "connections = 5", cards: 1, ..Setup::DEFAULT });
    let mut held: Vec<_> = (0..5).map(|_| Client::connect(node.atm)).collect();
    for client in &mut held {
        assert_eq!(client.code(&echo(node.number())), "00");
    }
    for _ in 0..20 {
        closed(tcp(node.atm), "a connection too many");
    }
    let many = node.metric("pinion_frames_rejected_total", &["atm-1", "too_many_connections"]);
    assert_eq!(many, 20);
    for client in &mut held {
        assert_eq!(client.code(&verify(&node.pans[0], PINS[0], node.number())), "00");
    }
    drop(held);
    eventually("there is room again", || {
        let mut client = Client::try_connect(node.atm).ok()?;
        client.write(&echo(node.number()).framed()).ok()?;
        client.read().ok()
    });
}
