//! Frames: two bytes of length, big-endian, which count what follows them. TCP carries nothing else.
//!
//! Every length is one, so a stream is never out of step until its end. **Never here:** what is in a frame.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the length.
pub const LENGTH_BYTES: usize = 2;
/// Longest frame without its length.
pub const BODY_BYTES_MAX: usize = u16::MAX as usize;

/// The body of the first frame, if all of it is there.
#[must_use]
pub fn first(stream: &[u8]) -> Option<&[u8]> {
    let (length, rest) = stream.split_first_chunk::<LENGTH_BYTES>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Takes the first frame off the front of `stream`; `None` while it is not all there.
pub fn take(stream: &mut BytesMut) -> Option<Bytes> {
    let length = usize::from(u16::from_be_bytes(*stream.first_chunk::<LENGTH_BYTES>()?));
    if stream.len() < LENGTH_BYTES + length {
        stream.reserve(LENGTH_BYTES + length - stream.len());
        return None;
    }
    stream.advance(LENGTH_BYTES);
    Some(stream.split_to(length).freeze())
}

/// The body is longer than two bytes can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a body of {length} bytes is longer than the {BODY_BYTES_MAX} a frame can hold")]
pub struct TooLong {
    /// Its bytes.
    pub length: usize,
}

/// Appends a frame whose body `fill` appends.
///
/// # Errors
/// [`TooLong`]; `out` is then as it was.
pub fn put(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) -> Result<(), TooLong> {
    let start = out.len();
    out.put_u16(0);
    fill(out);
    let length = out.len().saturating_sub(start + LENGTH_BYTES);
    let Ok(prefix) = u16::try_from(length) else {
        out.truncate(start);
        return Err(TooLong { length });
    };
    out[start..start + LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
    Ok(())
}
