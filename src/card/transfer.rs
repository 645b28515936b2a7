//! Cards as CSV and JSON: import with errors that name the line and column, export of the same form.
//!
//! Fields are those of the demo world: `pan`, `seq`, `expiry` (YYMM), `product` (or `organization` and `logo`),
//! `status`, `account_status`, `account_type`, `pin_suppressed`, `pin_tries_used`, one of `pvv`, `offset` and `lmk_pin`
//! (hex), and the identities. A file is read twice: once to check every row, then to write, so that a wrong row changes
//! nothing. **Never here:** a PAN in an error, a PIN. An `lmk_pin` that is no hex, or none of the three, is asked from
//! the caller.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use serde::Deserialize;

use crate::card::embedded::BulkError;
use crate::card::product::{Product, Products};
use crate::card::{Cards, Load};
use crate::domain::pan::{Pan, PanHash};
use crate::domain::pin::Reference;
use crate::domain::vault::{Vault, VaultError};

mod row;
#[cfg(test)]
pub(crate) mod tests;

use row::{COLUMNS, Row};

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One header line, one line a card.
    Csv,
    /// An array of objects, or an object with a member `cards` that is one.
    Json,
}

impl Form {
    /// By the file's extension: `.json`, else CSV.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if json { Self::Json } else { Self::Csv }
    }
}

/// Why a file was not imported. `line` counts from 1; for JSON it is the card's place in the array.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {column}: {why}", file = file.display())]
pub struct ImportError {
    /// The file.
    pub file: Box<Path>,
    /// The line, 0 where the whole file is meant.
    pub line: u64,
    /// The column or member.
    pub column: &'static str,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The store refused the card.
    #[error("{0} (card {1})")]
    Bulk(Box<BulkError>, Box<str>),
    /// The file cannot be opened.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The row is no row of this form.
    #[error("{0}")]
    Form(Box<str>),
    /// The value breaks its rule.
    #[error("{0}")]
    Rule(&'static str),
    /// The same card stands in the file twice.
    #[error("card {0} stands in the file twice")]
    Twice(Box<str>),
    /// No product of that name or number.
    #[error("no such product in the configuration")]
    UnknownProduct,
    /// The vault failed.
    #[error("{0}")]
    Vault(#[from] VaultError),
}

/// Makes the reference of a card of this product and number from its PIN, if there is one (the HSM's job). An error
/// refuses the card.
pub type MakeReference<'a> =
    dyn FnMut(&Product, &Pan, Option<&str>) -> Result<Reference, &'static str> + 'a;

/// What an import needs from outside.
pub struct Import<'a> {
    /// Hashes and seals numbers.
    pub vault: &'a dyn Vault,
    /// The configured products.
    pub products: &'a Products,
    /// Replace cards that are there.
    pub replace: bool,
    /// Makes the reference of a card whose row has none that can be stored: from the row's `pin_for_tests`, if it has
    /// one (the HSM's job). An error refuses the row.
    pub reference: &'a mut MakeReference<'a>,
    /// Called after each card with how many are done, checked first and then written.
    pub progress: &'a mut dyn FnMut(u64),
}

/// Imports a file: all of it or, when a row is wrong, nothing. Returns how many cards.
///
/// # Errors
/// [`ImportError`] names file, line and column.
pub fn import(
    store: &mut impl Cards,
    path: &Path,
    by: &mut Import<'_>,
) -> Result<u64, ImportError> {
    let mut seen: HashSet<(PanHash, u16)> = HashSet::new();
    let mut done = 0;
    each_row(path, |line, row| {
        let fail = |(column, why)| ImportError { file: path.into(), line, column, why };
        let pan = row.pan().map_err(fail)?;
        let card = row.card(&pan, by).map_err(fail)?;
        if !seen.insert((card.pan_hash, card.sequence)) {
            return Err(fail(("pan", Why::Twice(masked(&pan)))));
        }
        store
            .check_new(&card, by.replace)
            .map_err(|e| fail(("pan", Why::Bulk(e.into(), masked(&pan)))))?;
        done += 1;
        (by.progress)(done);
        Ok(())
    })?;
    drop(seen);
    let whole = |e: BulkError| ImportError {
        file: path.into(),
        line: 0,
        column: "file",
        why: Why::Bulk(e.into(), "-".into()),
    };
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let mut bulk = store.load(&name).map_err(whole)?;
    each_row(path, |line, row| {
        let fail = |(column, why)| ImportError { file: path.into(), line, column, why };
        let pan = row.pan().map_err(fail)?;
        let card = row.card(&pan, by).map_err(fail)?;
        bulk.put(card, by.replace).map_err(|e| fail(("pan", Why::Bulk(e.into(), masked(&pan)))))?;
        done += 1;
        (by.progress)(done);
        Ok(())
    })?;
    bulk.finish().map_err(whole)
}

fn masked(pan: &Pan) -> Box<str> {
    pan.masked().to_string().into()
}

fn each_row(
    path: &Path,
    mut take: impl FnMut(u64, Row) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let fail = |line, why| ImportError { file: path.into(), line, column: "row", why };
    let file = File::open(path).map_err(|e| fail(0, e.into()))?;
    match Form::of(path) {
        Form::Csv => {
            let mut reader = csv::ReaderBuilder::new()
                .trim(csv::Trim::All)
                .comment(Some(b'#'))
                .from_reader(BufReader::new(file));
            let headers = reader.headers().cloned();
            let headers = headers.map_err(|e| fail(1, Why::Form(csv_error(&e))))?;
            if let Some(unknown) = headers.iter().find(|h| !COLUMNS.contains(h)) {
                let why = format!("column {unknown:?} is not known; known: {}", COLUMNS.join(" "));
                return Err(fail(1, Why::Form(why.into())));
            }
            let mut record = csv::StringRecord::new();
            loop {
                let line = reader.position().line();
                match reader.read_record(&mut record) {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(e) => return Err(fail(line, Why::Form(csv_error(&e)))),
                }
                let line = record.position().map_or(line, csv::Position::line);
                let row = Row::of_columns(headers.iter().zip(record.iter()));
                take(line, row)?;
            }
        }
        Form::Json => {
            // serde_json's messages quote values, which may be numbers of cards: only where it broke is told.
            let rows: Rows = serde_json::from_reader(BufReader::new(file)).map_err(|e| {
                let what = if e.is_data() { "a member has a wrong type" } else { "not JSON" };
                let why = format!("{what} (line {}, column {})", e.line(), e.column());
                fail(0, Why::Form(why.into()))
            })?;
            (1..).zip(rows.into_vec()).try_for_each(|(at, row)| take(at, row))
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Rows {
    Bare(Vec<Row>),
    World { cards: Vec<Row> },
}

impl Rows {
    fn into_vec(self) -> Vec<Row> {
        match self {
            Self::Bare(rows) | Self::World { cards: rows } => rows,
        }
    }
}

/// What went wrong, without the row's text.
fn csv_error(error: &csv::Error) -> Box<str> {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} columns, the header has {expected_len}").into()
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".into(),
        csv::ErrorKind::Io(e) => e.to_string().into(),
        _ => "not CSV".into(),
    }
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The cards cannot be read.
    #[error("{0}")]
    Store(#[from] BulkError),
    /// The file cannot be written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A number does not open.
    #[error("{0}")]
    Vault(#[from] VaultError),
}

/// Writes every card in the form that [`import`] reads. The output holds clear numbers: it is as secret as the store.
/// Versions, change counts and undo are not part of it. Returns how many.
///
/// # Errors
/// [`ExportError`] at the first card that cannot be written.
pub fn export(
    store: &impl Cards,
    vault: &dyn Vault,
    form: Form,
    mut out: impl Write + Send,
    mut progress: impl FnMut(u64) + Send,
) -> Result<u64, ExportError> {
    let mut done: u64 = 0;
    let mut failed = None;
    let mut rows = RowWriter::new(form, &mut out)?;
    store.each_card(&mut |card| {
        if failed.is_none() {
            failed = Row::of_card(card, vault)
                .map_err(ExportError::from)
                .and_then(|row| Ok(rows.write(&row)?))
                .err();
            done += 1;
            progress(done);
        }
    })?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    rows.finish()?;
    out.flush()?;
    Ok(done)
}

/// Writes rows in one form.
enum RowWriter<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Json { out: W, first: bool },
}

impl<W: Write> RowWriter<W> {
    fn new(form: Form, mut out: W) -> std::io::Result<Self> {
        match form {
            Form::Csv => Ok(Self::Csv(Box::new(csv::Writer::from_writer(out)))),
            Form::Json => {
                out.write_all(b"[")?;
                Ok(Self::Json { out, first: true })
            }
        }
    }

    fn write(&mut self, row: &Row) -> std::io::Result<()> {
        match self {
            Self::Csv(csv) => csv.serialize(row).map_err(std::io::Error::other),
            Self::Json { out, first } => {
                out.write_all(if *first { b"\n" } else { b",\n" })?;
                *first = false;
                serde_json::to_writer(out, row).map_err(std::io::Error::other)
            }
        }
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Csv(mut csv) => csv.flush(),
            Self::Json { mut out, .. } => out.write_all(b"\n]\n"),
        }
    }
}
