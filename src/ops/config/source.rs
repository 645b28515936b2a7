//! Where each key of a configuration file stands, and the one form of its errors: `file:line: key: reason`.
//!
//! [`Source`] remembers the line of every key, so that whoever finds a value wrong, now or while building the runtime
//! from it, can name its place. **Never here:** what a key means.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}: {key}: {reason}")]
pub struct ConfigError {
    origin: String,
    line: usize,
    key: String,
    reason: String,
}

impl ConfigError {
    /// Control characters become blanks, so that an error is one line whatever the file holds.
    fn new(origin: &str, line: usize, key: &str, reason: &str) -> Self {
        let clean = |text: &str| text.trim_end().replace(|c: char| c.is_control(), " ");
        let key = if key.trim().is_empty() { "file" } else { key };
        Self { origin: clean(origin), line, key: clean(key), reason: clean(reason) }
    }

    /// An error of the file as a whole: it cannot be read, is too long, is no text.
    pub(super) fn of_file(origin: &str, reason: impl fmt::Display) -> Self {
        Self::new(origin, 1, "file", &reason.to_string())
    }

    /// The file, as it was named on the command line.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The key as a dotted path, for example `link[0].listen`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, and what would be right.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// The lines of a configuration's keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Source {
    origin: String,
    lines: BTreeMap<String, usize>,
}

impl Source {
    /// The file, as it was named on the command line.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// An error at `key`: a dotted path such as `link[0].mac.key`. A key that is not in the file is reported at the
    /// line of its table.
    #[must_use]
    pub fn error(&self, key: &str, reason: impl fmt::Display) -> ConfigError {
        let mut place = key;
        let line = loop {
            if let Some(line) = self.lines.get(place) {
                break *line;
            }
            match place.rfind(['.', '[']) {
                Some(end) => place = &place[..end],
                None => break 1,
            }
        };
        ConfigError::new(&self.origin, line, key, &reason.to_string())
    }
}

/// A parsed document with the place of everything in it.
pub(super) struct Document<'t> {
    line_starts: Vec<usize>,
    table: Spanned<DeTable<'t>>,
    source: Source,
    nodes: Vec<(Range<usize>, String)>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str, origin: &str) -> Result<Self, ConfigError> {
        let table = DeTable::parse(text).map_err(|e| syntax_error(text, origin, &e))?;
        let source = Source { origin: origin.to_owned(), lines: BTreeMap::new() };
        let line_starts = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        let mut document = Self { line_starts, table, source, nodes: Vec::new() };
        let root = document.table.get_ref().clone();
        document.note_table("", &root);
        Ok(document)
    }

    /// Turns the document into `T`.
    pub(super) fn read<T: serde::de::DeserializeOwned>(self) -> Result<(T, Source), ConfigError> {
        let deserializer = toml::Deserializer::from(self.table.clone());
        match T::deserialize(deserializer) {
            Ok(value) => Ok((value, self.source)),
            Err(error) => Err(self.wrong_value(&error)),
        }
    }

    fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at) + 1
    }

    fn note_table(&mut self, parent: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref();
            let path =
                if parent.is_empty() { name.to_string() } else { format!("{parent}.{name}") };
            self.source.lines.insert(path.clone(), self.line_of(key.span().start));
            self.nodes.push((key.span(), path.clone()));
            self.note_value(path, value);
        }
    }

    fn note_value(&mut self, path: String, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.note_table(&path, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.source.lines.insert(path.clone(), self.line_of(item.span().start));
                    self.note_value(path, item);
                }
            }
            _ => {}
        }
        self.nodes.push((value.span(), path));
    }

    /// Names the key of a value that serde refused: the smallest piece of the document around it.
    fn wrong_value(&self, error: &toml::de::Error) -> ConfigError {
        let wrong = error.span().unwrap_or_default();
        let at = wrong.start;
        let around = self.nodes.iter();
        let around = around.filter(|(span, _)| span.start <= at && wrong.end <= span.end);
        // The document's own span is empty: a key missing at the top is in no table.
        let around = around.filter(|_| wrong != self.table.span());
        let node = around.min_by_key(|(span, _)| span.len());
        let mut key = node.map_or_else(String::new, |(_, path)| path.clone());
        let reason = error.message().trim_end();
        // Serde names a missing key in its message only.
        if let Some(missing) =
            reason.strip_prefix("missing field `").and_then(|r| r.strip_suffix('`'))
        {
            let separator = if key.is_empty() { "" } else { "." };
            key = format!("{key}{separator}{missing}");
            return ConfigError::new(&self.source.origin, self.line_of(at), &key, "missing");
        }
        ConfigError::new(&self.source.origin, self.line_of(at), &key, reason)
    }
}

/// Names the key of a line that is no TOML, as far as the line tells it.
fn syntax_error(text: &str, origin: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(text.len(), |span| span.start);
    let line = line_of(text, at);
    let header = text
        .lines()
        .take(line)
        .filter_map(|l| l.trim_start().strip_prefix('['))
        .last()
        .map(|l| l.trim_start_matches('[').split(']').next().unwrap_or("").trim());
    let here = text.lines().nth(line - 1).unwrap_or("").trim();
    let name =
        if here.starts_with('[') { None } else { here.split_once('=').map(|(k, _)| k.trim()) };
    let key = match (header, name) {
        (Some(header), Some(name)) => format!("{header}.{name}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => String::new(),
    };
    let key: String = key.chars().take(64).collect();
    ConfigError::new(origin, line, &key, error.message())
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.split(|b| *b == b'\n').count()
}
