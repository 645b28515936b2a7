//! Reading an archive: whole or not at all. **Never here:** which store it goes into.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::card::archive::{ArchiveError, FORMAT, Known, Line, MANIFEST, Manifest, Part, proof};
use crate::card::{CardRecord, Unsettled, codec};
use crate::domain::vault::Vault;

/// An archive whose files are what the manifest says.
#[derive(Debug)]
pub struct Archive {
    place: PathBuf,
    manifest: Manifest,
    /// Where the records of each node begin in the file.
    chains: BTreeMap<u16, u64>,
}

impl Archive {
    /// Opens the directory and compares every file with the manifest, and the keys with `vault`.
    ///
    /// # Errors
    /// [`ArchiveError`] names the file that is wrong.
    pub fn open(place: &Path, vault: &dyn Vault) -> Result<Self, ArchiveError> {
        let file = place.join(MANIFEST);
        let failed = |source| ArchiveError::Io { file: file.clone(), source };
        let text = std::fs::read(&file).map_err(failed)?;
        let damaged = |why: String| ArchiveError::Damaged { file: file.clone(), why };
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.format != FORMAT {
            let why = format!("layout {} is not known: use the newest program", manifest.format);
            return Err(damaged(why));
        }
        if manifest.keys != proof(vault) {
            return Err(ArchiveError::OtherKeys);
        }
        let mut archive = Self { place: place.to_owned(), manifest, chains: BTreeMap::new() };
        for part in Part::ALL {
            archive.verify(part)?;
        }
        Ok(archive)
    }

    /// What it holds.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn verify(&mut self, part: Part) -> Result<(), ArchiveError> {
        let path = self.place.join(part.file());
        let (mut digest, mut count, mut at) = (Sha256::new(), 0_u64, 0_u64);
        let mut reader = open(&path)?;
        let mut line = String::new();
        while next(&mut reader, &mut line, &path)? {
            if part == Part::Journal
                && let Some(node) = Line::decode(&decode(&line, &path)?).map(|line| line.node)
            {
                self.chains.entry(node).or_insert(at);
            }
            digest.update(line.as_bytes());
            count += 1;
            at += line.len() as u64;
        }
        let sha256 = hex::encode(digest.finalize());
        match self.manifest.parts.get(&part) {
            Some(summary) if summary.count == count && summary.sha256 == sha256 => Ok(()),
            _ => {
                let why = format!("{count} lines with digest {sha256}, not what the manifest says");
                Err(ArchiveError::Damaged { file: path, why })
            }
        }
    }

    fn each<T>(
        &self,
        part: Part,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<impl Iterator<Item = Result<T, ArchiveError>>, ArchiveError> {
        let path = self.place.join(part.file());
        Lines::new(path, 0, read)
    }

    pub(crate) fn cards(
        &self,
    ) -> Result<impl Iterator<Item = Result<CardRecord, ArchiveError>>, ArchiveError> {
        self.each(Part::Cards, |bytes| codec::decode_card(bytes).ok())
    }

    pub(crate) fn known(
        &self,
    ) -> Result<impl Iterator<Item = Result<Known, ArchiveError>>, ArchiveError> {
        self.each(Part::Transactions, Known::decode)
    }

    /// In the order they were sent.
    pub(crate) fn unsettled(
        &self,
    ) -> Result<impl Iterator<Item = Result<Unsettled, ArchiveError>>, ArchiveError> {
        self.each(Part::Unsettled, |bytes| codec::decode_open(bytes).ok())
    }

    /// The records of all nodes, node by node.
    pub(crate) fn journal(
        &self,
    ) -> Result<impl Iterator<Item = Result<Line, ArchiveError>>, ArchiveError> {
        self.each(Part::Journal, Line::decode)
    }

    /// The records of one node, in order.
    pub(crate) fn journal_of(
        &self,
        node: u16,
    ) -> Result<impl Iterator<Item = Result<Line, ArchiveError>>, ArchiveError> {
        let path = self.place.join(Part::Journal.file());
        let from = self.chains.get(&node).copied().unwrap_or(u64::MAX);
        let lines = Lines::new(path, from, Line::decode)?;
        Ok(lines.take_while(move |line| line.as_ref().map_or(true, |line| line.node == node)))
    }
}

/// The lines of a file from a place on.
struct Lines<F> {
    path: PathBuf,
    reader: BufReader<File>,
    line: String,
    read: F,
}

impl<F> Lines<F> {
    fn new(path: PathBuf, from: u64, read: F) -> Result<Self, ArchiveError> {
        let mut reader = open(&path)?;
        let from = if from == u64::MAX { SeekFrom::End(0) } else { SeekFrom::Start(from) };
        reader.seek(from).map_err(|source| ArchiveError::Io { file: path.clone(), source })?;
        Ok(Self { path, reader, line: String::new(), read })
    }
}

impl<T, F: Fn(&[u8]) -> Option<T>> Iterator for Lines<F> {
    type Item = Result<T, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        match next(&mut self.reader, &mut self.line, &self.path) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        let read = decode(&self.line, &self.path).and_then(|bytes| {
            let why = "a line cannot be read".to_owned();
            (self.read)(&bytes)
                .ok_or_else(|| ArchiveError::Damaged { file: self.path.clone(), why })
        });
        Some(read)
    }
}

impl Line {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (node, rest) = bytes.split_first_chunk()?;
        let (position, record) = rest.split_first_chunk()?;
        let (node, position) = (u16::from_le_bytes(*node), u64::from_le_bytes(*position));
        Some(Self { node, position, record: record.to_vec() })
    }
}

fn open(path: &Path) -> Result<BufReader<File>, ArchiveError> {
    let failed = |source| ArchiveError::Io { file: path.to_owned(), source };
    Ok(BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?))
}

/// Reads one line, with its end.
fn next(
    reader: &mut BufReader<File>,
    line: &mut String,
    path: &Path,
) -> Result<bool, ArchiveError> {
    line.clear();
    let failed = |source| ArchiveError::Io { file: path.to_owned(), source };
    Ok(reader.read_line(line).map_err(failed)? != 0)
}

fn decode(line: &str, path: &Path) -> Result<Vec<u8>, ArchiveError> {
    let damaged = |_| {
        let why = "a line is not hexadecimal".to_owned();
        ArchiveError::Damaged { file: path.to_owned(), why }
    };
    hex::decode(line.trim_end()).map_err(damaged)
}
