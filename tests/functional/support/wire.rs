//! Sockets of the tests: a connection that speaks one dialect, and the few lines of HTTP that the admin port needs.
//!
//! **Never here:** what a message means. A read that takes longer than the patience of the tests fails.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::PATIENCE;
use super::iso::{Dialect, Message};
use super::vectors::retail_mac;

/// One connection to a link, framed by two bytes of length.
pub(crate) struct Connection<S = TcpStream> {
    pub(crate) stream: S,
    pub(crate) dialect: &'static Dialect,
    /// Requests are sent with a MAC under this key, and answers must carry one.
    pub(crate) mac: Option<Vec<u8>>,
}

/// A plain stream to a port of this machine.
pub(crate) fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A frame around bytes.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a short message");
    [&length.to_be_bytes()[..], message].concat()
}

impl<S: Read + Write> Connection<S> {
    /// The message as bytes, with its MAC where the connection has one.
    pub(crate) fn bytes(&self, message: &Message) -> Vec<u8> {
        match &self.mac {
            Some(key) => sealed(self.dialect, key, message),
            None => self.dialect.encode(message),
        }
    }

    pub(crate) fn send(&mut self, message: &Message) {
        let bytes = self.bytes(message);
        self.send_bytes(&framed(&bytes));
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("written");
    }

    /// The bytes of the next frame, or `None` at the end of the stream.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 2];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("no answer: {error}"),
        }
        let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut frame).expect("the rest of a frame");
        Some(frame)
    }

    #[track_caller]
    pub(crate) fn receive(&mut self) -> Message {
        let frame = self.frame().expect("an answer, not the end of the stream");
        let (message, before_last) = self.dialect.decode(&frame);
        if let Some(key) = &self.mac {
            let last = message.fields.keys().last().copied();
            let last = last.filter(|n| matches!(n, 64 | 128)).expect("an answer with a MAC");
            let mac = retail_mac(key, &frame[..before_last]);
            assert_eq!(message.fields[&last], mac, "the MAC of an answer: {message:?}");
        }
        message
    }

    /// Sends a request and waits for its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Message) -> Message {
        self.send(request);
        self.receive()
    }

    /// The response code of a request's answer.
    #[track_caller]
    pub(crate) fn code(&mut self, request: &Message) -> String {
        self.ask(request).code()
    }

    /// Whether the peer has closed.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.frame().is_none()
    }
}

/// A message with its MAC in field 64 or 128, over everything before it.
pub(crate) fn sealed(dialect: &Dialect, key: &[u8], message: &Message) -> Vec<u8> {
    let last = message.fields.keys().last().copied().unwrap_or(0);
    let field = if last < 64 { 64 } else { 128 };
    let mut bytes = dialect.encode(&message.clone().with(field, [0; 8]));
    let covered = bytes.len() - 8;
    let mac = retail_mac(key, &bytes[..covered]);
    bytes[covered..].copy_from_slice(&mac);
    bytes
}

/// Status and body of `GET path`.
pub(crate) fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
