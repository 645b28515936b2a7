//! One terminal's connection to one link of the demo, over real TCP.
//!
//! Everything about the link (address, dialect, framing, keys) comes from the demo's configuration and its world.
//! **Never here:** what is asked, what is expected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder;

use crate::cli::boot;
use crate::domain::clock::{Clock, SystemClock};
use crate::iso8583::Dialect;
use crate::iso8583::frame::{Frame, FrameCodec};
use crate::limits::FRAME_BYTES_MAX;
use crate::ops::config::Link;
use crate::sim::pin_pad::{MacPad, PinPad};
use crate::sim::request::Request;
use crate::sim::terminal::Terminal;
use crate::sim::world::World;

/// Longest wait for an answer on loopback.
const ANSWER: Duration = Duration::from_secs(20);

/// A terminal at a link.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) dialect: Arc<Dialect>,
    pub(super) terminal: Terminal,
    pub(super) pad: PinPad,
    pub(super) mac: Option<MacPad>,
    /// A MAC key that is not the link's.
    pub(super) wrong_mac: MacPad,
    /// The last change, for its repeat and its reversal.
    pub(super) last: Option<Request>,
    codec: FrameCodec,
    stream: Option<TcpStream>,
}

/// What went over the wire.
pub(super) struct Exchange {
    pub(super) sent: BytesMut,
    pub(super) answer: BytesMut,
    pub(super) took: Duration,
}

impl Line {
    /// A terminal for `link`; it connects when it first asks.
    pub(super) fn new(link: &Link, world: &World) -> anyhow::Result<Self> {
        let key = |name: &str| {
            world.clear_key(name).ok_or_else(|| anyhow!("the demo world has no key {name:?}"))
        };
        let zpk = key(link.zpk.as_deref().unwrap_or_default())?;
        let mac = match &link.mac {
            Some(mac) => Some(MacPad::new(key(&mac.key)?)?),
            None => None,
        };
        let dialect = boot::load_dialect(&link.dialect).map_err(anyhow::Error::msg)?;
        let terminal = Terminal::new(dialect.name(), "TOUR0001", "PINION DEMO", "970970");
        Ok(Self {
            name: link.name.clone(),
            address: link.listen,
            terminal: terminal.with_context(|| format!("no terminal speaks {}", link.dialect))?,
            dialect,
            pad: PinPad::new(zpk, link.pin_block_format)?,
            mac,
            wrong_mac: MacPad::new(key("zmk.partner")?)?,
            last: None,
            codec: FrameCodec::new(link.framing.parse()?),
            stream: None,
        })
    }

    /// Sends one message and waits for one. After a failure the next question connects anew.
    pub(super) async fn exchange(
        &mut self,
        message: &[u8],
        clock: SystemClock,
    ) -> anyhow::Result<Exchange> {
        let mut frame = BytesMut::new();
        let mark = self.codec.begin(&mut frame, None);
        frame.extend_from_slice(message);
        self.codec.end(&mut frame, mark)?;
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let started = clock.now();
        let answer = tokio::time::timeout(ANSWER, converse(&mut self.codec, &mut stream, &frame))
            .await
            .map_err(|_| anyhow!("no answer within {} s", ANSWER.as_secs()))??;
        let took = clock.now().saturating_sub(started);
        self.stream = Some(stream);
        Ok(Exchange { sent: BytesMut::from(message), answer, took })
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let connect = tokio::time::timeout(ANSWER, TcpStream::connect(self.address));
        let stream = connect.await.map_err(|_| anyhow!("connect: no answer"))?;
        let stream = stream.with_context(|| format!("connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn converse(
    codec: &mut FrameCodec,
    stream: &mut TcpStream,
    frame: &[u8],
) -> anyhow::Result<BytesMut> {
    stream.write_all(frame).await.context("send")?;
    let mut received = BytesMut::with_capacity(FRAME_BYTES_MAX);
    loop {
        if let Some(frame) = codec.decode(&mut received).context("the answer's frame")? {
            let Frame::Message { message, .. } = frame else { continue };
            return Ok(BytesMut::from(&message[..]));
        }
        if stream.read_buf(&mut received).await.context("receive")? == 0 {
            bail!("the link closed the connection without an answer");
        }
    }
}
