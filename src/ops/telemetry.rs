//! The log: lines on stderr, as JSON or as text, never in the way of a request.
//!
//! A line goes to a bounded queue; one thread writes the queue to stderr. When stderr is slow the queue fills, further
//! lines are dropped and counted (`pinion_log_lines_dropped_total`); when it is closed they are lost. Neither stops the
//! switch. [`Guard`] waits at the end until what is queued has been written.
//!
//! **Never here:** card data. Types that carry it have no `Display`, and their `Debug` masks.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::limits;
use crate::ops::config::{Log, LogFormat, LogLevel};

/// Longest wait for the queue at the end of the process.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The process has a subscriber already.
    #[error("another log subscriber is installed in this process")]
    Taken,
    /// The writing thread did not start.
    #[error("cannot start the log thread: {0}")]
    Thread(#[source] io::Error),
}

/// Starts the log of this process, on stderr. A panic is logged by its place only: its message may hold data.
///
/// # Errors
/// See [`TelemetryError`].
pub fn init(log: &Log) -> Result<Guard, TelemetryError> {
    let (writer, guard) = queue(Box::new(io::stderr())).map_err(TelemetryError::Thread)?;
    let subscriber = subscriber(log, writer);
    tracing::dispatcher::set_global_default(subscriber).map_err(|_| TelemetryError::Taken)?;
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name().unwrap_or(""), "panic");
    }));
    Ok(guard)
}

fn subscriber(log: &Log, writer: LineWriter) -> tracing::Dispatch {
    let level = match log.level {
        LogLevel::Trace => Level::TRACE,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_ansi(false)
        .log_internal_errors(false);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).finish().into(),
        LogFormat::Text => builder.finish().into(),
    }
}

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Takes one whole line a call, as `tracing-subscriber` writes them.
#[derive(Clone)]
struct LineWriter {
    queue: SyncSender<Item>,
    dropped: Arc<dyn Fn() + Send + Sync>,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let fits = line.len() <= limits::LOG_LINE_BYTES_MAX;
        if !fits || self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            (self.dropped)();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Keep it until the end of the process: its drop waits, for a second at most, until the queue has been written. It
/// does not wait for a queue that is full: a stderr that let it fill will not empty it now.
#[must_use = "dropped at once it ends nothing, dropped last it writes the last lines"]
pub struct Guard {
    queue: SyncSender<Item>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            // An error is a thread that ended or a stderr that does not move: either way there is no more to wait for.
            let _ = wait.recv_timeout(FLUSH_WAIT);
        }
    }
}

fn queue(out: Box<dyn Write + Send>) -> io::Result<(LineWriter, Guard)> {
    let (queue, lines) = sync_channel(limits::LOG_LINES_MAX);
    std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&lines, out))?;
    let dropped = Arc::new(|| metrics::counter!("pinion_log_lines_dropped_total").increment(1));
    Ok((LineWriter { queue: queue.clone(), dropped }, Guard { queue }))
}

/// Writes until the last sender is gone. An error of stderr loses the line, never the thread.
fn write_lines(lines: &Receiver<Item>, mut out: Box<dyn Write + Send>) {
    for item in lines {
        match item {
            Item::Line(line) => drop(out.write_all(&line)),
            Item::Flush(done) => {
                drop(out.flush());
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn log(format: LogFormat, level: LogLevel) -> Log {
        Log { format, level, ..Log::default() }
    }

    /// A stderr that hands each line to the test.
    struct Lines(Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.send(line.to_vec()).map_err(io::Error::other)?;
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: &Log, work: impl FnOnce()) -> Vec<String> {
        let (to, lines) = channel();
        let (writer, guard) = queue(Box::new(Lines(to))).unwrap();
        tracing::dispatcher::with_default(&subscriber(log, writer), work);
        drop(guard);
        lines.try_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn one_json_object_a_line() {
        let lines = logged(&log(LogFormat::Json, LogLevel::Info), || {
            tracing::info!(link = "atm-1", connections = 3, "link up");
            tracing::debug!("not at this level");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "link up");
        assert_eq!((&line["link"], &line["connections"]), (&"atm-1".into(), &3.into()));
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn text_has_no_escape_codes() {
        let lines = logged(&log(LogFormat::Text, LogLevel::Debug), || {
            tracing::debug!(link = "atm-1", "closed");
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("DEBUG") && lines[0].contains("closed link=\"atm-1\""));
        assert!(!lines[0].contains('\u{1b}'), "{lines:?}");
    }

    #[test]
    fn a_closed_stderr_loses_lines_and_nothing_else() {
        let (to, lines) = channel();
        drop(lines);
        let (mut writer, guard) = queue(Box::new(Lines(to))).unwrap();
        for _ in 0..3 {
            assert_eq!(writer.write(b"x\n").unwrap(), 2);
        }
        drop(guard);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, lines) = sync_channel(2);
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let dropped = Arc::new(move || _ = counted.fetch_add(1, Ordering::Relaxed));
        let mut writer = LineWriter { queue, dropped };
        for _ in 0..5 {
            writer.write_all(b"x\n").unwrap();
        }
        writer.write_all(&[b'x'; limits::LOG_LINE_BYTES_MAX + 1]).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 4);
        assert_eq!(lines.try_iter().count(), 2);
    }
}
