//! An explanation as text: columns, colours on a terminal, bytes with carets under them.
//!
//! **Never here:** deciding what may be seen; what comes in is masked already.

use std::fmt::Write as _;

use crate::iso8583::Message;
use crate::iso8583::explain::{self, Break, Peek, Row, Shown};

/// Values longer than this go on in the next line.
const VALUE_WIDTH: usize = 64;
/// Fields of a bitmap in one line.
const BITS_PER_LINE: usize = 16;

/// Colours, or none.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// Colours only on a terminal, and not where `NO_COLOR` is set (no-color.org).
    pub(crate) fn of(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { coloured: terminal && !refused }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Beside the point.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What to look at.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What is wrong.
    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What is right.
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is hidden.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
}

/// The message type and the bitmaps.
pub(super) fn heading(
    out: &mut String,
    message: &Message<'_>,
    header: &[u8],
    count: Option<(usize, usize)>,
    style: Style,
) {
    let dialect = message.dialect();
    let number = count.map_or(String::new(), |(at, of)| format!("message {at} of {of} · "));
    let length = message.bytes().len();
    let title = format!("{number}{} · {} · {length} bytes", dialect.name(), dialect.title());
    line(out, &style.bold(&title));
    if !header.is_empty() {
        line(out, &format!("header {}", hex::encode_upper(header)));
    }
    out.push('\n');
    let mti = message.mti();
    if mti == [0; 4] {
        return;
    }
    let digits = String::from_utf8_lossy(&mti).into_owned();
    let meaning = explain::message_type(mti);
    let name = format!("{:<8}", "MTI");
    line(out, &format!("{}  {name} {}  {meaning}", offset(Some(0), style), style.bold(&digits)));
    let wire = message.bitmap_wire();
    let form = dialect.bitmap_form();
    let at = dialect.mti_encoding().bytes();
    for (index, word) in wire.chunks(form.bytes()).enumerate() {
        let name = if index == 0 { "bitmap" } else { "" };
        // A bitmap in hexadecimal characters reads as it stands.
        let text = match form.bytes() {
            8 => hex::encode_upper(word),
            _ => word.iter().map(|byte| char::from(*byte)).collect(),
        };
        let place = offset(Some(at + index * form.bytes()), style);
        line(out, &format!("{place}  {name:<8} {text}"));
    }
    let bits: Vec<String> = message.present().iter().map(|bit| bit.to_string()).collect();
    for row in bits.chunks(BITS_PER_LINE) {
        let row: Vec<_> = row.iter().map(|bit| format!("{bit:>3}")).collect();
        line(out, &format!("{:22}{}", "", row.join(" ")));
    }
    out.push('\n');
}

/// The fields, in columns.
pub(super) fn rows(out: &mut String, rows: &[Row], style: Style) {
    let width = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let indent = |row: &Row| "  ".repeat(row.depth);
    let path = width(&|row| row.path.chars().count()).max(5);
    let name = width(&|row| row.name.chars().count() + 2 * row.depth).clamp(4, 48);
    let bytes = width(&|row| row.bytes.to_string().len()).max(5);
    if !rows.is_empty() {
        let head = format!(
            "{:>5} {:>6}  {:<path$}  {:<name$}  {:>bytes$}  value",
            "byte", "", "field", "name", "bytes"
        );
        line(out, &style.dim(&head));
    }
    for row in rows {
        let label: String = format!("{}{}", indent(row), row.name).chars().take(name).collect();
        let length = if row.bytes == 0 { String::new() } else { row.bytes.to_string() };
        let shown_path = style.bold(&format!("{:<path$}", row.path));
        let place = offset(row.offset, style);
        let _ = write!(out, "{place}  {shown_path}  {label:<name$}  {length:>bytes$}  ");
        let text = match &row.shown {
            Shown::Bytes(text) | Shown::Text(text) | Shown::Hidden(text) => text.as_str(),
            Shown::Parts => "",
        };
        let characters: Vec<char> = text.chars().collect();
        for (index, chunk) in characters.chunks(VALUE_WIDTH).enumerate() {
            let chunk: String = chunk.iter().collect();
            if index > 0 {
                let _ = write!(
                    out,
                    "\n{:indent$}",
                    "",
                    indent = 12 + 2 + path + 2 + name + 2 + bytes + 2
                );
            }
            out.push_str(&match row.shown {
                Shown::Hidden(_) => style.yellow(&chunk),
                _ => chunk,
            });
        }
        if !row.note.is_empty() {
            let gap = if text.is_empty() { "" } else { "  " };
            out.push_str(gap);
            out.push_str(&style.dim(&row.note));
        }
        end(out);
    }
}

/// Where and why it broke.
pub(super) fn broken(out: &mut String, broken: &Break, length: usize, style: Style) {
    let error = broken.error;
    let field = match error.field {
        0 | 1 => broken.name.clone(),
        n => format!("field {n} ({})", broken.name),
    };
    out.push('\n');
    let text = format!(
        "broke at byte {0} (0x{0:04X}) of {length}: {field}: {1}",
        error.offset, error.rule
    );
    line(out, &style.red(&text));
    if !broken.wants.is_empty() {
        line(out, &format!("the dialect wants {}", broken.wants));
    }
    out.push('\n');
    peek(out, &broken.peek, style);
    if !broken.hints.is_empty() {
        out.push('\n');
    }
    for hint in &broken.hints {
        line(out, &format!("hint: {hint}"));
    }
}

fn peek(out: &mut String, peek: &Peek, style: Style) {
    for (index, bytes) in peek.bytes.chunks(16).enumerate() {
        let at = peek.start + 16 * index;
        let hex: Vec<String> = bytes
            .iter()
            .map(|byte| byte.map_or_else(|| "**".into(), |byte| hex::encode([byte])))
            .collect();
        let text: String = bytes
            .iter()
            .map(|byte| match byte {
                Some(byte @ b' '..=b'~') => char::from(*byte),
                Some(_) => '.',
                None => '*',
            })
            .collect();
        line(out, &format!("{}  {:<47}  {text}", offset(Some(at), style), hex.join(" ")));
        let points = |at| peek.point.contains(&at);
        if (at..at + bytes.len()).any(points) {
            let marks: String =
                (at..at + bytes.len()).map(|at| if points(at) { "^^ " } else { "   " }).collect();
            line(out, &format!("{:14}{}", "", style.red(marks.trim_end())));
        }
    }
    let after = peek.start + peek.bytes.len();
    if peek.point.is_empty() {
        let column = 14 + 3 * (peek.point.start - peek.start.min(peek.point.start)) % 48;
        line(out, &format!("{:column$}{}", "", style.red("^ the message ends here")));
    } else if after < peek.point.end {
        line(out, &style.dim(&format!("{:14}… to byte {}", "", peek.point.end - 1)));
    }
}

/// Decimal and hexadecimal.
fn offset(at: Option<usize>, style: Style) -> String {
    at.map_or_else(|| " ".repeat(12), |at| style.dim(&format!("{at:>5} 0x{at:04X}")))
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    end(out);
}

/// Ends a line without blanks before the end.
fn end(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}
