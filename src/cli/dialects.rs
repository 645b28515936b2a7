//! `pinion dialects`: the built-in dialects, or one field table.
//!
//! **Never here:** what a dialect is (`iso8583::spec`).

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Failure, decode};
use crate::iso8583::{Dialect, FieldSpec, Inner, Length, MtiEncoding, Secrecy};

/// Arguments of `pinion dialects`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pinion dialects
  pinion dialects postilion
  pinion dialects iso87-bcd --toml > mine.toml")]
pub(super) struct Dialects {
    /// A built-in dialect or a file whose name ends in .toml; without it, all built-in ones are listed.
    name: Option<String>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    /// Print the dialect's file, to start one's own from.
    #[arg(long, requires = "name", conflicts_with = "json")]
    toml: bool,
}

impl Dialects {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Some(name) = &self.name else { return self.list() };
        if self.toml {
            let text = Dialect::builtin_text(name);
            let text = text.ok_or_else(|| Failure::Usage(format!("no built-in dialect {name:?}")));
            return decode::put(text?);
        }
        let dialect = decode::dialect(name)?;
        if self.json {
            let mut document = summary(&dialect);
            let fields: Vec<_> = dialect.fields().map(field).collect();
            document["fields"] = fields.into();
            return decode::put(&format!("{document}\n"));
        }
        let mut out = format!("{} · {}\n", dialect.name(), dialect.title());
        let bitmap = if dialect.bitmap_form().bytes() == 8 { "binary" } else { "hex" };
        let mti = mti(dialect.mti_encoding());
        // Writing to a text cannot fail.
        let _ = writeln!(out, "message type {mti}, up to {} bitmaps {bitmap}\n", dialect.bitmaps());
        let mut lines =
            vec![["field", "name", "holds", "length", "encoding", "shown"].map(str::to_owned)];
        for spec in dialect.fields() {
            table(&mut lines, spec, &spec.number().to_string(), 0);
        }
        columns(&mut out, &lines);
        decode::put(&out)
    }

    fn list(&self) -> Result<(), Failure> {
        let all: Vec<_> = Dialect::builtin_names().filter_map(Dialect::builtin).collect();
        if self.json {
            let all: Vec<_> = all.iter().map(|dialect| summary(dialect)).collect();
            return decode::put(&format!("{}\n", Value::from(all)));
        }
        let head = ["name", "title", "version", "fields", "message type", "bitmap"];
        let mut lines = vec![head.map(str::to_owned)];
        for dialect in &all {
            let bitmap = if dialect.bitmap_form().bytes() == 8 { "binary" } else { "hex" };
            lines.push([
                dialect.name().to_owned(),
                dialect.title().to_owned(),
                dialect.version().to_string(),
                dialect.fields().count().to_string(),
                mti(dialect.mti_encoding()).to_owned(),
                format!("{bitmap}, up to {}", dialect.bitmaps()),
            ]);
        }
        let mut out = String::new();
        columns(&mut out, &lines);
        decode::put(&out)
    }
}

fn mti(encoding: MtiEncoding) -> &'static str {
    match encoding {
        MtiEncoding::Ascii => "ascii",
        MtiEncoding::Bcd => "bcd",
        MtiEncoding::Ebcdic => "ebcdic",
    }
}

fn summary(dialect: &Dialect) -> Value {
    json!({
        "name": dialect.name(),
        "title": dialect.title(),
        "version": dialect.version(),
        "fields_defined": dialect.fields().count(),
        "mti": mti(dialect.mti_encoding()),
        "bitmap": if dialect.bitmap_form().bytes() == 8 { "binary" } else { "hex" },
        "bitmaps": dialect.bitmaps(),
    })
}

fn secrecy(spec: &FieldSpec) -> &'static str {
    match spec.secrecy() {
        Secrecy::Masked => "masked",
        Secrecy::Public => "public",
        Secrecy::Secret => "secret",
    }
}

/// As a dialect file writes it: a number, or a dot for each digit of the prefix and the longest content.
fn length(spec: &FieldSpec) -> String {
    match spec.length() {
        Length::Fixed(units) => units.to_string(),
        Length::Variable { digits, max } => format!("{}{max}", ".".repeat(digits.into())),
    }
}

/// Tags are named in hexadecimal.
fn key(inner: &Inner, number: u32) -> String {
    match inner {
        Inner::Tlv(_) | Inner::DataSets(_) => format!("{number:02X}"),
        _ => number.to_string(),
    }
}

fn field(spec: &FieldSpec) -> Value {
    let mut document = json!({
        "number": spec.number(),
        "name": spec.name(),
        "format": spec.format().label(),
        "length": length(spec),
        "encoding": spec.encoding().label(),
        "secrecy": secrecy(spec),
    });
    if let Some(inner) = spec.inner() {
        let subs = inner.subs().iter().map(|sub| {
            let mut document = field(sub);
            document["number"] = key(inner, sub.number()).into();
            document
        });
        document["inner"] = inner.label().into();
        document["sub"] = subs.collect::<Vec<_>>().into();
    }
    document
}

fn table(lines: &mut Vec<[String; 6]>, spec: &FieldSpec, path: &str, depth: usize) {
    let shown = if spec.secrecy() == Secrecy::Public { "" } else { secrecy(spec) };
    let inner = spec.inner().map_or(String::new(), |inner| format!(" ({})", inner.label()));
    lines.push([
        path.to_owned(),
        format!("{}{}", "  ".repeat(depth), spec.name()),
        format!("{}{inner}", spec.format().label()),
        length(spec),
        spec.encoding().label().to_owned(),
        shown.to_owned(),
    ]);
    for (inner, sub) in spec.inner().into_iter().flat_map(|i| i.subs().iter().map(move |s| (i, s)))
    {
        table(lines, sub, &format!("{path}.{}", key(inner, sub.number())), depth + 1);
    }
}

fn columns<const N: usize>(out: &mut String, lines: &[[String; N]]) {
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
}
