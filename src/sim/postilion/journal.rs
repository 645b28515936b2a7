//! The simulator's file: one line of JSON an event, written before the answer leaves, read again at start.
//!
//! A line is handed to the operating system, not to the disk: it survives the end of the process, which is what tests
//! do to it, not the end of the machine. A last line without its end was never answered for and is dropped. The file
//! holds clear PINs and keys of test cards. **Never here:** what an event means (`book`).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::sim::postilion::event::Event;

/// Name of the file in its directory.
const FILE: &str = "postilion.jsonl";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has it.
    #[error("{path}: another simulator uses it; give each a directory of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no event.
    #[error("{path}, line {line}: no event of the simulator; move the file away to start afresh")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// The open file, and lines not written yet.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    lines: Vec<u8>,
}

impl Drop for Journal {
    /// Closing the file is not enough where a child has a copy of it.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Journal {
    /// Opens or makes the file in `directory` and hands every event of it to `replay`, in order.
    pub(super) fn open(
        directory: &Path,
        mut replay: impl FnMut(Event),
    ) -> Result<Self, JournalError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { path, source }
        };
        std::fs::create_dir_all(directory).map_err(io(directory))?;
        let path = directory.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(JournalError::Io { path, source }),
        }
        let mut whole = 0;
        let mut reader = BufReader::new(&file);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let bytes = reader.read_until(b'\n', &mut text).map_err(io(&path))?;
            if text.last() != Some(&b'\n') {
                break;
            }
            let event = serde_json::from_slice(&text);
            replay(event.map_err(|_| JournalError::Line { path: path.clone(), line })?);
            whole += u64::try_from(bytes).unwrap_or(0);
        }
        file.set_len(whole).map_err(io(&path))?;
        file.seek(SeekFrom::Start(whole)).map_err(io(&path))?;
        Ok(Self { file, lines: Vec::new() })
    }

    /// Adds a line; [`Self::write`] writes it.
    pub(super) fn push(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.lines, event)?;
        self.lines.push(b'\n');
        Ok(())
    }

    /// Writes the lines added since.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.lines);
        self.lines.clear();
        written
    }
}
