//! Frames on a byte stream: where a message starts and ends, and the header its answer must carry back.
//!
//! [`Framing`] is the configured form (`be2`, `ascii4+header:ISO70100000`, …), [`FrameCodec`] reads and writes it.
//! A message leaves the read buffer as a reference-counted slice, not as a copy; an answer is built in the write buffer
//! between [`FrameCodec::begin`] and [`FrameCodec::end`].
//!
//! **Never here:** sockets, timers, what a message says. After a [`FrameError`] the stream has lost its place: close
//! it. Where next: `prefix` for lengths, `header` for headers, `framing` for the configuration's words.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::limits::FRAME_BYTES_MAX;

mod framing;
mod header;
mod prefix;
#[cfg(test)]
mod tests;

pub use framing::{Framing, FramingError};
pub use header::Header;

/// What came in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message, with the header its answer reflects.
    Message {
        /// The message without length, header and trailer. Never empty.
        message: Bytes,
        /// The header it came with.
        header: Header,
    },
    /// A keep-alive without a message. The link echoes or ignores it.
    Poll(Header),
}

/// Why a stream is no stream of frames. Numbers and offsets into the frame, never its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A constant byte of the header or the filler differs.
    #[error(
        "byte {at} of the frame is not the header this link is configured with: compare `framing` with the peer's"
    )]
    BadHeader {
        /// Offset in the frame, from 0.
        at: usize,
    },
    /// The trailer byte differs.
    #[error(
        "byte {at} of the frame is not the configured trailer: compare `framing` with the peer's"
    )]
    BadTrailer {
        /// Offset in the frame, from 0.
        at: usize,
    },
    /// The peer speaks another protocol.
    #[error(
        "the peer speaks {protocol}, this link does not: check the peer's port and the link's `tls`"
    )]
    Foreign {
        /// `HTTP` or `TLS`.
        protocol: &'static str,
    },
    /// The stream broke.
    #[error("stream: {0}")]
    Io(io::ErrorKind),
    /// A digit of the length is none.
    #[error("byte {at} of the frame is no digit of a length: compare `framing` with the peer's")]
    LengthNotANumber {
        /// Offset in the frame, from 0.
        at: usize,
    },
    /// The length leaves no room for header and trailer, or for itself where it counts itself.
    #[error("a frame of {length} bytes cannot hold the {min} its framing needs")]
    LengthTooShort {
        /// What the prefix says.
        length: usize,
        /// What the framing needs.
        min: usize,
    },
    /// The length is beyond the limit.
    #[error("a frame of {length} bytes is longer than the limit of {max}")]
    TooLong {
        /// What the prefix says.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The stream ended inside a frame.
    #[error("the peer closed inside a frame, after {have} of its bytes")]
    Truncated {
        /// Bytes that came.
        have: usize,
    },
}

impl FrameError {
    /// Every label of [`Self::why`], so that counters can be made at start.
    pub const WHY: [&'static str; 7] =
        ["bad_header", "bad_length", "bad_trailer", "foreign", "io", "too_long", "truncated"];

    /// Label for `pinion_frames_rejected_total{why}`.
    #[must_use]
    pub const fn why(&self) -> &'static str {
        match self {
            Self::BadHeader { .. } => "bad_header",
            Self::LengthNotANumber { .. } | Self::LengthTooShort { .. } => "bad_length",
            Self::BadTrailer { .. } => "bad_trailer",
            Self::Foreign { .. } => "foreign",
            Self::Io(_) => "io",
            Self::TooLong { .. } => "too_long",
            Self::Truncated { .. } => "truncated",
        }
    }
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

/// Where a frame under construction starts in the write buffer.
#[derive(Debug)]
#[must_use = "a frame that was begun must be ended"]
pub struct Mark {
    start: usize,
}

/// Reads and writes one framing. One value per direction of a connection; cloning is a copy of a few words.
#[derive(Clone, Debug)]
pub struct FrameCodec {
    framing: Framing,
    body_max: usize,
    // Nothing has been read yet: the only time when another protocol is looked for.
    fresh: bool,
}

impl FrameCodec {
    /// A codec that takes frames up to [`FRAME_BYTES_MAX`], or to what the prefix can write.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self::with_bytes_max(framing, FRAME_BYTES_MAX)
    }

    /// A codec with a lower limit, in bytes without the length prefix. A higher one has no effect.
    #[must_use]
    pub fn with_bytes_max(framing: Framing, bytes_max: usize) -> Self {
        let body_max = bytes_max.min(FRAME_BYTES_MAX).min(framing.prefix.body_max());
        Self { framing, body_max, fresh: true }
    }

    /// The framing.
    #[must_use]
    pub fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Starts a frame at the end of `dst`: room for the length, then the header. The caller appends the message.
    ///
    /// With `answered` the header is that of the request, its addresses exchanged; without, the link's own.
    pub fn begin(&self, dst: &mut BytesMut, answered: Option<&Header>) -> Mark {
        let start = dst.len();
        dst.put_bytes(0, self.framing.prefix.bytes());
        self.framing.header.write(answered, dst);
        Mark { start }
    }

    /// Ends a frame: appends the trailer, writes the length. Without a message in between it is a poll.
    ///
    /// # Errors
    /// [`FrameError::TooLong`]; the frame is then taken out of `dst` again.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a mark is used up: it cannot end two frames"
    )]
    pub fn end(&self, dst: &mut BytesMut, mark: Mark) -> Result<(), FrameError> {
        if let Some(trailer) = self.framing.trailer {
            dst.put_u8(trailer);
        }
        let body_at = mark.start + self.framing.prefix.bytes();
        let length = dst.len().saturating_sub(body_at);
        if self.body_max < length {
            dst.truncate(mark.start);
            return Err(FrameError::TooLong { length, max: self.body_max });
        }
        let (prefix, body) = dst[mark.start..].split_at_mut(body_at - mark.start);
        self.framing.header.finish(body);
        self.framing.prefix.write(length, prefix);
        Ok(())
    }

    /// Takes a frame that was begun out of `dst` again.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a mark is used up: it cannot end two frames"
    )]
    pub fn cancel(&self, dst: &mut BytesMut, mark: Mark) {
        dst.truncate(mark.start);
    }

    /// Appends a poll: a length of zero and nothing else.
    pub fn poll(&self, dst: &mut BytesMut) {
        let start = dst.len();
        dst.put_bytes(0, self.framing.prefix.bytes());
        self.framing.prefix.write(0, &mut dst[start..]);
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Framing { prefix, header: rule, trailer } = self.framing;
        // Before the length is read: that of `GET ` is past every limit, and its error would name the wrong cause.
        if self.fresh {
            refuse_foreign(src)?;
        }
        let Some(body) = prefix.read(src, self.body_max)? else {
            return Ok(None);
        };
        let body_at = prefix.bytes();
        if body == 0 {
            src.advance(body_at);
            self.fresh = false;
            return Ok(Some(Frame::Poll(Header::EMPTY)));
        }
        let tail = usize::from(trailer.is_some());
        let end = body_at + body;
        let available = &src[body_at..src.len().min(end)];
        let header_bytes = rule.measure(available, body.saturating_sub(tail), body_at)?;
        let (Some(header_bytes), true) = (header_bytes, end <= src.len()) else {
            // Bounded: `end` is at most a prefix above the limit.
            src.reserve(end.saturating_sub(src.len()));
            return Ok(None);
        };
        if trailer.is_some_and(|want| src[end - 1] != want) {
            return Err(FrameError::BadTrailer { at: end - 1 });
        }
        // `measure` accepted no header longer than the room, nor one longer than a `Header` keeps.
        let message_at = body_at + header_bytes;
        let header =
            Header::new(&src[body_at..message_at]).ok_or(FrameError::BadHeader { at: body_at })?;
        self.fresh = false;
        src.advance(message_at);
        let message = src.split_to(body - header_bytes - tail).freeze();
        src.advance(tail);
        Ok(Some(if message.is_empty() {
            Frame::Poll(header)
        } else {
            Frame::Message { message, header }
        }))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(FrameError::Truncated { have: src.len() }),
            frame => Ok(frame),
        }
    }
}

/// A request of our own: one message under the link's own header. An empty message is a poll.
impl Encoder<&[u8]> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, message: &[u8], dst: &mut BytesMut) -> Result<(), FrameError> {
        if message.is_empty() {
            self.poll(dst);
            return Ok(());
        }
        let mark = self.begin(dst, None);
        dst.put_slice(message);
        self.end(dst, mark)
    }
}

/// An answer: the header is the request's and is reflected.
impl Encoder<Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), FrameError> {
        let (message, header) = match frame {
            Frame::Poll(header) if header.is_empty() => {
                self.poll(dst);
                return Ok(());
            }
            Frame::Poll(header) => (Bytes::new(), header),
            Frame::Message { message, header } => (message, header),
        };
        let mark = self.begin(dst, Some(&header));
        dst.put_slice(&message);
        self.end(dst, mark)
    }
}

/// A peer that starts with TLS or HTTP is told so in the log. Without this, `16 03` would be a length of 5635 and the
/// connection would wait for bytes that never come. A first frame of exactly such a length and start is not ISO 8583:
/// no message of it starts with `01 xx xx 01`, or with `T ` and the like.
fn refuse_foreign(src: &[u8]) -> Result<(), FrameError> {
    /// First four bytes of the requests of RFC 9110, and of an HTTP/2 preface.
    const HTTP: [&[u8; 4]; 9] =
        [b"CONN", b"DELE", b"GET ", b"HEAD", b"OPTI", b"PATC", b"POST", b"PRI ", b"PUT "];
    if HTTP.iter().any(|method| src.starts_with(&method[..])) {
        return Err(FrameError::Foreign { protocol: "HTTP" });
    }
    // A TLS record of type handshake, version 3.x, that carries a client hello (RFC 8446, 5.1).
    if let [0x16, 0x03, 0..=4, _, _, 0x01, ..] = src {
        return Err(FrameError::Foreign { protocol: "TLS" });
    }
    Ok(())
}
