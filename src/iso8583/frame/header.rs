//! What stands between the length and the message: TPDU, BASE I header, a fixed text.
//!
//! A [`Header`] is a small inline copy kept beside the message, because the answer must carry the request's header back
//! with the two addresses exchanged. **Never here:** the meaning of the addresses; the switch routes by data elements.

use bytes::{BufMut, BytesMut};

use super::FrameError;

/// Longest header kept: a BASE I reject header (26 bytes) and the original header it carries (22).
const HEADER_BYTES_MAX: usize = 48;
/// Bytes of a BASE I header (jPOS `BASE1Header`).
const VISA_BYTES: usize = 22;
/// Bytes of a BASE I header that says why a message was rejected: bitmap 2 and code 2 more.
const VISA_REJECT_BYTES: usize = 26;
/// A TPDU: id, destination, source.
const TPDU_BYTES: usize = 5;

/// The header a frame came with, without the length. Empty where the framing has none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl Header {
    /// No header.
    pub const EMPTY: Self = Self { bytes: [0; HEADER_BYTES_MAX], len: 0 };

    /// Keeps up to 48 bytes; `None` for more.
    pub(super) fn new(from: &[u8]) -> Option<Self> {
        let mut header = Self::EMPTY;
        header.bytes.get_mut(..from.len())?.copy_from_slice(from);
        header.len = u8::try_from(from.len()).ok()?;
        Some(header)
    }

    /// Its bytes as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether the framing has no header, or the frame was a bare poll.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The four digits of a BASE I reject code, as two BCD bytes: the network sends one of our messages back.
    ///
    /// Such a message gets no answer. `None` for every other frame.
    #[must_use]
    pub fn reject_code(&self) -> Option<[u8; 2]> {
        // jPOS BASE1Header: header length 26 and the first bit of the reject bitmap. No other header of ours starts
        // with its own length of 26 bytes.
        match self.as_bytes() {
            [26, rest @ ..] if VISA_REJECT_BYTES - 1 <= rest.len() && rest[21] & 0x80 != 0 => {
                Some([rest[23], rest[24]])
            }
            _ => None,
        }
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({} bytes)", self.len)
    }
}

/// Which header a framing has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderRule {
    None,
    /// `own` is what we send when there is nothing to reflect, and where `exact`, what we demand.
    Constant {
        own: Header,
        exact: bool,
    },
    /// `own`: id, destination, source of our own requests.
    Tpdu {
        own: [u8; TPDU_BYTES],
        swap: bool,
    },
    /// Destination and source of our own requests, three BCD bytes each.
    Visa {
        destination: [u8; 3],
        source: [u8; 3],
    },
}

impl HeaderRule {
    /// Fewest bytes the header can have.
    pub(super) fn bytes_min(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Constant { own, .. } => own.as_bytes().len(),
            Self::Tpdu { .. } => TPDU_BYTES,
            Self::Visa { .. } => VISA_BYTES,
        }
    }

    /// Length of the header at the start of `available`, the part of a body of `room` bytes that has come so far.
    /// `None`: more bytes are needed. `base` is where the body starts in the frame, for errors.
    pub(super) fn measure(
        &self,
        available: &[u8],
        room: usize,
        base: usize,
    ) -> Result<Option<usize>, FrameError> {
        let min = self.bytes_min();
        if room < min {
            return Err(FrameError::LengthTooShort { length: room, min });
        }
        match self {
            Self::Constant { own, exact: true } => {
                let differs =
                    own.as_bytes().iter().zip(available).position(|(want, got)| want != got);
                if let Some(at) = differs {
                    return Err(FrameError::BadHeader { at: base + at });
                }
            }
            Self::Visa { .. } => return measure_visa(available, room, base),
            Self::None | Self::Constant { exact: false, .. } | Self::Tpdu { .. } => (),
        }
        Ok((min <= available.len()).then_some(min))
    }

    /// Appends the header of an answer to `request`, or of a request of our own.
    pub(super) fn write(&self, request: Option<&Header>, dst: &mut BytesMut) {
        let request = request.map_or(&[][..], Header::as_bytes);
        match self {
            Self::None => (),
            Self::Constant { own, .. } => {
                let own = own.as_bytes();
                dst.put_slice(if request.len() == own.len() { request } else { own });
            }
            Self::Tpdu { own, swap } => match request {
                [id, d1, d2, s1, s2] if *swap => dst.put_slice(&[*id, *s1, *s2, *d1, *d2]),
                [_, _, _, _, _] => dst.put_slice(request),
                _ => dst.put_slice(own),
            },
            Self::Visa { destination, source } => {
                let mut header = [0; VISA_BYTES];
                if let Some(first) = request.first_chunk::<VISA_BYTES>() {
                    header = *first;
                    header[5..8].copy_from_slice(&first[8..11]);
                    header[8..11].copy_from_slice(&first[5..8]);
                } else {
                    // Header format 1 and text format 2, as jPOS BASE1Header writes them.
                    (header[1], header[2]) = (1, 2);
                    header[5..8].copy_from_slice(destination);
                    header[8..11].copy_from_slice(source);
                }
                header[0] = 22;
                dst.put_slice(&header);
            }
        }
    }

    /// Writes into a finished body what the header says of its length.
    pub(super) fn finish(&self, body: &mut [u8]) {
        if let Self::Visa { .. } = self
            && let Ok(total) = u16::try_from(body.len())
            && let Some(field) = body.get_mut(3..5)
        {
            field.copy_from_slice(&total.to_be_bytes());
        }
    }
}

fn measure_visa(available: &[u8], room: usize, base: usize) -> Result<Option<usize>, FrameError> {
    let one = |at: usize| -> Result<Option<usize>, FrameError> {
        let Some(&byte) = available.get(at) else {
            return Ok(None);
        };
        let length = usize::from(byte);
        if length != VISA_BYTES && length != VISA_REJECT_BYTES {
            return Err(FrameError::BadHeader { at: base + at });
        }
        if room < at + length {
            return Err(FrameError::LengthTooShort { length: room, min: at + length });
        }
        Ok(Some(at + length))
    };
    let Some(first) = one(0)? else {
        return Ok(None);
    };
    let Some(&format) = available.get(1) else {
        return Ok(None);
    };
    // The first bit of the header format says that the original header follows (jPOS VAPChannel).
    let end = if format & 0x80 == 0 { Some(first) } else { one(first)? };
    match end {
        Some(end) if HEADER_BYTES_MAX < end => Err(FrameError::BadHeader { at: base + first }),
        Some(end) => Ok((end <= available.len()).then_some(end)),
        None => Ok(None),
    }
}
