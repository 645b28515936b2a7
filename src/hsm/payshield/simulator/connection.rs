//! One connection: commands as they come, answers as soon as they are due, all of a wake-up with one write.
//!
//! One task and one loop. What the peer does not read is kept up to a bound; then nothing more is read of it. Answers
//! that are held back are tasks of their own, also up to a bound. **Never here:** what a command is answered
//! (`device`), which faults there are (`fault`).

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use crate::hsm::payshield::simulator::server::Shared;
use crate::hsm::payshield::wire::frame;
use crate::limits::{READ_BYTES, SIM_ANSWERS_MAX as ANSWERS_MAX, SIM_OUTPUT_BYTES_MAX};

/// An answer that was held back.
struct Due {
    bytes: BytesMut,
    partial: bool,
}

/// What one connection has under way.
struct Connection<'s> {
    shared: &'s Arc<Shared>,
    lmk: u8,
    input: BytesMut,
    output: BytesMut,
    /// Answers that are held back, and where they come from.
    held: usize,
    tasks: JoinSet<()>,
    answers: mpsc::Sender<Due>,
    /// Answers are gathered until then.
    gathering: Option<Pin<Box<Sleep>>>,
    /// A fault ends it.
    closes: bool,
}

impl Connection<'_> {
    fn full(&self) -> bool {
        ANSWERS_MAX <= self.held || SIM_OUTPUT_BYTES_MAX <= self.output.len()
    }

    /// Answers whole frames, as many as there is room for. Whether there may be more of them.
    fn answer(&mut self) -> bool {
        let mut taken = 0;
        while !self.full() && !self.closes {
            let Some(body) = frame::first(self.input.get(taken..).unwrap_or_default()) else {
                break;
            };
            taken += frame::LENGTH_BYTES + body.len();
            self.shared.commands.fetch_add(1, Ordering::Relaxed);
            let fate = self.shared.fate(body);
            if fate.closes || fate.lost {
                self.closes = fate.closes;
            } else if fate.ms == 0 && !fate.partial {
                if 0 < fate.gather_ms && self.output.is_empty() {
                    self.gathering = Some(Box::pin(sleep(Duration::from_millis(fate.gather_ms))));
                }
                self.shared.answer(self.lmk, body, fate.error, &mut self.output);
            } else {
                let mut bytes = BytesMut::new();
                self.shared.answer(self.lmk, body, fate.error, &mut bytes);
                let answers = self.answers.clone();
                self.held += 1;
                self.tasks.spawn(async move {
                    sleep(Duration::from_millis(fate.ms)).await;
                    drop(answers.send(Due { bytes, partial: fate.partial }).await);
                });
            }
        }
        self.input.advance(taken);
        while self.tasks.try_join_next().is_some() {}
        self.full()
    }

    /// Writes what can be written now, without waiting.
    fn write_now(&mut self, writer: &WriteHalf<'_>) -> io::Result<()> {
        if self.output.is_empty() || self.gathering.is_some() {
            return Ok(());
        }
        match writer.try_write(&self.output) {
            Ok(written) => {
                self.wrote(written);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.output.advance(bytes);
        self.shared.writes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves one connection to its end.
pub(super) async fn converse(
    shared: &Arc<Shared>,
    lmk: u8,
    mut stream: TcpStream,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.split();
    let (answers, mut due) = mpsc::channel(ANSWERS_MAX);
    let mut it = Connection {
        shared,
        lmk,
        input: BytesMut::with_capacity(READ_BYTES),
        output: BytesMut::with_capacity(READ_BYTES),
        held: 0,
        tasks: JoinSet::new(),
        answers,
        gathering: None,
        closes: false,
    };
    let mut open = true;
    loop {
        let full = it.answer();
        it.write_now(&writer)?;
        // The peer may send no more and still read: what is held back or kept is written.
        if it.closes || !open && it.held == 0 && it.output.is_empty() {
            return Ok(());
        }
        let may_write = !it.output.is_empty() && it.gathering.is_none();
        it.input.reserve(READ_BYTES);
        tokio::select! {
            Some(answer) = due.recv(), if 0 < it.held => {
                it.held -= 1;
                if answer.partial {
                    dribble(&mut writer, &mut it, &answer.bytes).await?;
                } else {
                    it.output.extend_from_slice(&answer.bytes);
                }
            }
            read = reader.read_buf(&mut it.input), if open && !full => open = read? != 0,
            written = writer.write(&it.output), if may_write => {
                let written = written?;
                it.wrote(written);
            }
            () = ended(it.gathering.as_mut()) => it.gathering = None,
        }
    }
}

/// When gathering ends; never, where there is none.
async fn ended(gathering: Option<&mut Pin<Box<Sleep>>>) {
    match gathering {
        Some(gathering) => gathering.await,
        None => pending().await,
    }
}

/// One byte at a time, each in a segment of its own, behind what was there before.
async fn dribble(
    writer: &mut WriteHalf<'_>,
    it: &mut Connection<'_>,
    bytes: &[u8],
) -> io::Result<()> {
    writer.write_all(&it.output).await?;
    it.output.clear();
    for byte in bytes {
        writer.write_all(&[*byte]).await?;
        tokio::task::yield_now().await;
    }
    it.shared.writes.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
