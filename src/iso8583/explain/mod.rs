//! A message explained for people: one row a field or sub-field, with its place, its value and what the value means.
//!
//! What the dialect calls masked or secret is hidden unless the caller asks for clear values, and so is everything
//! inside such a field and everything the dialect does not know. **Never here:** printing, colours, JSON. Where next:
//! `meaning` for codes, `parts` for what is inside a field, `broken` for messages that do not decode.

use super::composite::Inner;
use super::field::{FieldSpec, Format, Secrecy};
use super::message::Message;
use super::spec::Dialect;

mod broken;
mod meaning;
mod parts;

pub use broken::{Break, Peek, broken};

/// One line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it starts in the message, from 0; `None` for a part that shares its bytes with its neighbour.
    pub offset: Option<usize>,
    /// Bytes on the wire, length prefix and tag included; 0 where it has no bytes of its own.
    pub bytes: usize,
    /// 0 for a field, 1 for a sub-field, and so on.
    pub depth: usize,
    /// `127.25.12`, `55.9F26`.
    pub path: String,
    /// The dialect's name for it.
    pub name: String,
    /// Its value.
    pub shown: Shown,
    /// What the value means; empty when nothing is to be said.
    pub note: String,
}

/// A value as it may be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Upper-case hex of bytes.
    Bytes(String),
    /// Hidden, and what may be said of it.
    Hidden(String),
    /// It is what the rows below it are.
    Parts,
    /// Characters; control characters as `\xNN`.
    Text(String),
}

/// What the four digits of a message type mean. Empty for anything but four digits.
#[must_use]
pub fn message_type(mti: [u8; 4]) -> String {
    meaning::message_type(mti)
}

/// What a response code of `dialect` means; empty when unknown.
#[must_use]
pub fn response_code(dialect: &Dialect, code: &str) -> String {
    meaning::response(dialect, code)
}

/// One row a field, sub-fields after their field. A message that was only partly decoded gives the rows there are.
#[must_use]
pub fn rows(message: &Message<'_>, clear: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (n, spec) in message.fields() {
        let (Some(raw), Some((value, units)), Some(offset)) =
            (message.raw(n), message.content(n), message.offset(n))
        else {
            continue;
        };
        let place = Place { offset: Some(offset), bytes: raw.len(), depth: 0, path: n.to_string() };
        let mut eye = Eye { dialect: message.dialect(), clear, rows: &mut rows };
        eye.field(spec, place, Content { value, units }, Secrecy::Public);
    }
    rows
}

/// Where a row stands.
struct Place {
    offset: Option<usize>,
    bytes: usize,
    depth: usize,
    path: String,
}

impl Place {
    /// Where the content of `length` bytes starts.
    fn content_at(&self, length: usize) -> Option<usize> {
        self.offset.map(|at| at + self.bytes.saturating_sub(length))
    }
}

/// Content on the wire, with its length in units.
#[derive(Clone, Copy)]
struct Content<'a> {
    value: &'a [u8],
    units: u32,
}

/// Who looks, and where the rows go.
struct Eye<'e> {
    dialect: &'e Dialect,
    clear: bool,
    rows: &'e mut Vec<Row>,
}

impl Eye<'_> {
    /// A field and what is inside it. `around` is the secrecy of the field it stands in.
    fn field(&mut self, spec: &FieldSpec, place: Place, content: Content<'_>, around: Secrecy) {
        let secrecy = stricter(around, spec.secrecy());
        let at = self.rows.len();
        let hides = !self.clear && secrecy != Secrecy::Public;
        let inside = match spec.inner() {
            Some(inner) if !hides || matches!(inner, Inner::Structured) => {
                self.parts(spec, inner, &place, content, secrecy)
            }
            _ => parts::Inside::Nothing,
        };
        let (shown, note) = match inside {
            parts::Inside::Divided => (Shown::Parts, String::new()),
            parts::Inside::Failed(rule) => {
                let holds = spec.inner().is_some_and(holds_secrets);
                let secrecy = if holds { Secrecy::Secret } else { secrecy };
                (self.show(spec, content, secrecy), format!("does not divide: {rule}"))
            }
            parts::Inside::Nothing | parts::Inside::Beside => {
                let shown = self.show(spec, content, secrecy);
                let note = self.note(&place.path, &shown);
                (shown, note)
            }
        };
        let Place { offset, bytes, depth, path } = place;
        let name = spec.name().to_owned();
        self.rows.insert(at, Row { offset, bytes, depth, path, name, shown, note });
    }

    fn note(&self, path: &str, shown: &Shown) -> String {
        match shown {
            Shown::Text(text) => meaning::of(self.dialect, path, text),
            Shown::Bytes(_) | Shown::Hidden(_) | Shown::Parts => String::new(),
        }
    }

    fn show(&self, spec: &FieldSpec, content: Content<'_>, secrecy: Secrecy) -> Shown {
        let mut out = Vec::new();
        if !self.clear && secrecy != Secrecy::Public {
            let readable = spec.text_into(content.value, content.units, &mut out).is_some();
            let masked = (secrecy == Secrecy::Masked && readable).then(|| mask(&out)).flatten();
            return Shown::Hidden(masked.unwrap_or_else(|| hidden(content.value.len())));
        }
        if spec.format() == Format::B {
            return match spec.binary_into(content.value, &mut out) {
                Some(()) => Shown::Bytes(hex::encode_upper(&out)),
                None => Shown::Bytes(hex::encode_upper(content.value)),
            };
        }
        match spec.text_into(content.value, content.units, &mut out) {
            Some(()) => Shown::Text(printable(&out)),
            None => Shown::Bytes(hex::encode_upper(content.value)),
        }
    }
}

fn stricter(a: Secrecy, b: Secrecy) -> Secrecy {
    match (a, b) {
        (Secrecy::Secret, _) | (_, Secrecy::Secret) => Secrecy::Secret,
        (Secrecy::Masked, _) | (_, Secrecy::Masked) => Secrecy::Masked,
        (Secrecy::Public, Secrecy::Public) => Secrecy::Public,
    }
}

/// Whether something inside may not be shown, so that an undivided value may not be shown either.
fn holds_secrets(inner: &Inner) -> bool {
    inner
        .subs()
        .iter()
        .any(|sub| sub.secrecy() != Secrecy::Public || sub.inner().is_some_and(holds_secrets))
}

/// First six and last four of an account number; of anything else nothing.
fn mask(text: &[u8]) -> Option<String> {
    let digits = text.strip_suffix(b"F").unwrap_or(text);
    if digits.len() < 13 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (first, rest) = digits.split_at(6);
    let (hidden, last) = rest.split_at(rest.len() - 4);
    Some(format!("{}{}{}", printable(first), "*".repeat(hidden.len()), printable(last)))
}

fn hidden(bytes: usize) -> String {
    match bytes {
        1 => "*** (1 byte)".into(),
        bytes => format!("*** ({bytes} bytes)"),
    }
}

/// Latin-1 as characters, what cannot be seen as `\xNN`.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' | 0xA1..=0xFF => out.push(char::from(*byte)),
            other => {
                out.push_str("\\x");
                out.push_str(&hex::encode_upper([*other]));
            }
        }
    }
    out
}
