//! [`Buffer`]: bytes to or from a socket, wiped when they are done with: a few of them are clear PINs (BA, NG).
//!
//! **Never here:** what the bytes mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::{Zeroize, Zeroizing};

/// A row of bytes with a front that was done with.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    /// Bytes in front that are done with.
    done: usize,
    /// Bytes that were ever filled since it was last wiped.
    filled: usize,
    secret: bool,
}

impl Buffer {
    /// What is left.
    pub(super) fn left(&self) -> &[u8] {
        self.bytes.get(self.done..self.filled).unwrap_or_default()
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.done == self.filled
    }

    /// A clear PIN is in it: it is wiped as soon as it is empty.
    pub(super) fn has_secret(&mut self) {
        self.secret = true;
    }

    /// Takes bytes off the front.
    pub(super) fn skip(&mut self, count: usize) {
        self.done = (self.done + count).min(self.filled);
        if self.is_empty() {
            if self.secret {
                self.bytes.get_mut(..self.filled).unwrap_or_default().zeroize();
                self.secret = false;
            }
            (self.done, self.filled) = (0, 0);
        }
    }

    /// Room for so many more bytes, at its end. What moves leaves nothing behind.
    fn room(&mut self, count: usize) -> &mut [u8] {
        if self.bytes.len() < self.filled + count && 0 < self.done {
            self.bytes.copy_within(self.done..self.filled, 0);
            let kept = self.filled - self.done;
            self.bytes.get_mut(kept..self.filled).unwrap_or_default().zeroize();
            (self.done, self.filled) = (0, kept);
        }
        let wanted = self.filled + count;
        if self.bytes.len() < wanted {
            // A new row and not a longer one, whose old place would keep its bytes.
            let mut longer = Zeroizing::new(vec![0; wanted.next_power_of_two()]);
            if let Some(front) = longer.get_mut(..self.filled) {
                front.copy_from_slice(self.bytes.get(..self.filled).unwrap_or_default());
            }
            self.bytes = longer;
        }
        self.bytes.get_mut(self.filled..wanted).unwrap_or_default()
    }

    /// Appends so many bytes, which the caller fills.
    pub(super) fn grow(&mut self, count: usize) -> &mut [u8] {
        let _ = self.room(count);
        let start = self.filled;
        self.filled += count;
        self.bytes.get_mut(start..self.filled).unwrap_or_default()
    }

    /// Reads once; an end of the stream is an error.
    pub(super) fn poll_read<IO: AsyncRead>(
        &mut self,
        io: Pin<&mut IO>,
        cx: &mut Context<'_>,
        count: usize,
    ) -> Poll<io::Result<()>> {
        let mut room = ReadBuf::new(self.room(count));
        ready!(io.poll_read(cx, &mut room))?;
        let read = room.filled().len();
        if read == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.filled += read;
        Poll::Ready(Ok(()))
    }

    /// Writes all that is left.
    pub(super) fn poll_write<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match ready!(io.as_mut().poll_write(cx, self.left()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.skip(count),
            }
        }
        io.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buffer: &mut Buffer, bytes: &[u8]) {
        buffer.grow(bytes.len()).copy_from_slice(bytes);
    }

    #[test]
    fn bytes_come_out_in_order_whatever_moves() {
        let mut buffer = Buffer::default();
        let (mut put_in, mut taken) = (Vec::new(), Vec::new());
        for step in 0_u8..200 {
            let bytes = vec![step; usize::from(step % 7)];
            put(&mut buffer, &bytes);
            put_in.extend(bytes);
            let some = buffer.left().len() / 2;
            taken.extend_from_slice(&buffer.left()[..some]);
            buffer.skip(some);
        }
        taken.extend_from_slice(buffer.left());
        assert_eq!(put_in, taken);
        assert!(buffer.bytes.len() < 64, "the front is used again");
    }

    #[test]
    fn a_secret_is_wiped_when_it_is_done_with() {
        let mut buffer = Buffer::default();
        put(&mut buffer, b"usual");
        buffer.skip(5);
        put(&mut buffer, b"1234");
        buffer.has_secret();
        buffer.skip(3);
        assert_eq!(buffer.left(), b"4");
        buffer.skip(1);
        assert!(buffer.bytes.iter().take(4).all(|byte| *byte == 0));
        // What is moved to the front leaves nothing where it was.
        let mut moved = Buffer::default();
        put(&mut moved, b"abcd1234");
        moved.skip(4);
        let _ = moved.grow(4);
        assert_eq!(moved.left(), b"1234\0\0\0\0");
    }
}
