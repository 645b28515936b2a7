//! One connection of a simulated node: reads whatever has come, takes a turn, writes its answers with one call.
//!
//! No task and no timer of its own for a request that nothing holds back. **Never here:** what an answer is (`turn`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::domain::clock::Clock as _;
use crate::iso8583::frame::{FrameCodec, Framing};
use crate::iso8583::{Dialect, Layout};
use crate::limits::READ_BYTES;
use crate::sim::postilion::shared::Shared;
use crate::sim::postilion::turn::{Session, Step};

/// Keys that may wait to be pushed on one connection; the admin port gives up on more.
const PUSHES_MAX: usize = 4;
/// Room made before a read: some three hundred requests.
const ROOM: usize = 8 * READ_BYTES;

/// The dialect of every node.
pub(super) const DIALECT: &str = "postilion";

/// Counts the connection as long as it is there.
struct Open {
    shared: Arc<Shared>,
    index: usize,
    id: u64,
}

impl Open {
    fn new(shared: Arc<Shared>, index: usize, id: u64) -> Self {
        if let Some(node) = shared.core().node(index) {
            node.open += 1;
            node.counters.connections += 1;
        }
        Self { shared, index, id }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(node) = self.shared.core().node(self.index) {
            node.open -= 1;
            node.lines.retain(|(id, _)| *id != self.id);
        }
    }
}

/// Serves one connection until it ends. Whatever has been decided stays decided if this is cut short.
pub(super) async fn serve(shared: Arc<Shared>, index: usize, id: u64, stream: TcpStream) {
    let open = Open::new(shared, index, id);
    // How it ended is the peer's business.
    let _ = converse(&open, stream).await;
}

async fn converse(open: &Open, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(dialect) = Dialect::builtin(DIALECT) else { return Ok(()) };
    let (pushes, mut keys_to_push) = mpsc::channel(PUSHES_MAX);
    let codec = FrameCodec::new(Framing::BE2);
    let mut session = Session::new(&dialect, codec, open.index, open.id, pushes);
    let mut layout = Layout::new();
    let mut input = BytesMut::with_capacity(ROOM);
    let mut out = BytesMut::with_capacity(ROOM);
    loop {
        let (step, wait) = {
            let mut core = open.shared.core();
            let step = session.turn(&mut core, &mut layout, &mut input, &mut out);
            let wait = session.next_due().map(|due| due.saturating_sub(core.clock.now()));
            (step, wait)
        };
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
        }
        match step {
            Step::Close => return stream.shutdown().await,
            Step::Slow { bytes, ms } => {
                dribble(&mut stream, &bytes, ms).await?;
                continue;
            }
            Step::Wait => {}
        }
        input.reserve(READ_BYTES);
        tokio::select! {
            read = stream.read_buf(&mut input), if session.has_room() => {
                if read? == 0 {
                    return Ok(());
                }
            }
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            Some(push) = keys_to_push.recv() => {
                session.push(&mut open.shared.core(), push, &mut out);
            }
        }
    }
}

/// Byte by byte over so many milliseconds.
async fn dribble(stream: &mut TcpStream, bytes: &[u8], ms: u64) -> io::Result<()> {
    let each = Duration::from_millis(ms) / u32::try_from(bytes.len().max(1)).unwrap_or(u32::MAX);
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        sleep(each).await;
    }
    Ok(())
}
