//! What is inside a field, as rows: parts by position, by bitmap, by tag, and Postilion's XML in 127.25.
//!
//! **Never here:** rules of the wire; `composite` divides, this only names and shows.

use super::{Content, Eye, Place, Row, Shown, hidden, holds_secrets, mask, printable, stricter};
use crate::iso8583::composite::{Entry, Inner, Key, walk, walk_tlv};
use crate::iso8583::field::{FieldSpec, Format, Rule, Secrecy};
use crate::iso8583::sub::find;
use crate::iso8583::tlv::{self, TagSecrecy};

/// What became of a field's inside.
pub(super) enum Inside {
    /// Rows follow, and the field itself still has a value worth a line.
    Beside,
    /// Rows follow that are all of it.
    Divided,
    /// It breaks a rule; what could be read follows.
    Failed(Rule),
    /// There is none.
    Nothing,
}

impl Eye<'_> {
    /// Adds the rows of what is inside.
    pub(super) fn parts(
        &mut self,
        spec: &FieldSpec,
        inner: &Inner,
        place: &Place,
        content: Content<'_>,
        secrecy: Secrecy,
    ) -> Inside {
        if content.value.is_empty() {
            return Inside::Nothing;
        }
        if let Inner::Positional(subs) = inner {
            if place.path == "3" && secrecy == Secrecy::Public {
                // Its note says what the three parts mean.
                return Inside::Nothing;
            }
            return self.positional(spec, subs, place, content, secrecy);
        }
        if content.value.first() == Some(&b'<') && self.elements(place, content.value, secrecy) {
            return Inside::Divided;
        }
        let mut at = place.content_at(content.value.len());
        if let Inner::Bitmap { form, bits, .. } = inner {
            at = at.map(|at| at + form.bytes() * usize::from(*bits) / 64);
        }
        for entry in walk(inner, content.value) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(rule) => return Inside::Failed(rule),
            };
            let key = match (inner, entry.key) {
                (Inner::DataSets(_), Key::Tag(id)) => format!("{id:02X}"),
                (_, Key::Tag(tag)) => format!("{tag:02X}"),
                (_, Key::Number(number)) => number.to_string(),
                (_, Key::Name(_)) => "…".into(),
            };
            let below = Place {
                offset: at,
                bytes: entry.raw.len(),
                depth: place.depth + 1,
                path: format!("{}.{key}", place.path),
            };
            at = at.map(|at| at + entry.raw.len());
            self.entry(inner, below, &entry, secrecy);
        }
        Inside::Divided
    }

    fn entry(&mut self, inner: &Inner, place: Place, entry: &Entry<'_>, around: Secrecy) {
        let content = Content { value: entry.value, units: entry.units };
        match (inner, entry.key, entry.spec) {
            (Inner::DataSets(_), Key::Tag(_), _) => self.data_set(inner, place, entry, around),
            (_, Key::Tag(tag), spec) => self.tag(place, tag, spec, entry.value, around),
            (_, Key::Name(name), _) => {
                let known = if names_nothing(name) { printable(name) } else { hidden(name.len()) };
                let text = printable(entry.value);
                let shown = if self.clear || around == Secrecy::Public {
                    Shown::Text(text)
                } else {
                    Shown::Hidden(hidden(entry.value.len()))
                };
                self.push(place, known, shown);
            }
            (_, Key::Number(_), Some(spec)) => self.field(spec, place, content, around),
            (_, Key::Number(_), None) => {
                let shown = self.unknown(entry.value);
                self.push(place, "not in the dialect".into(), shown);
            }
        }
    }

    fn push(&mut self, place: Place, name: String, shown: Shown) {
        let Place { offset, bytes, depth, path } = place;
        self.rows.push(Row { offset, bytes, depth, path, name, shown, note: String::new() });
    }

    /// An unknown value may be anything: only its length is told.
    fn unknown(&self, value: &[u8]) -> Shown {
        match std::str::from_utf8(value) {
            _ if !self.clear => Shown::Hidden(hidden(value.len())),
            Ok(text) if text.chars().all(|c| matches!(c, ' '..='~')) => Shown::Text(text.into()),
            _ => Shown::Bytes(hex::encode_upper(value)),
        }
    }

    /// Parts of a text, by position. They are as long on the wire as in the text only where a character is a byte.
    fn positional(
        &mut self,
        spec: &FieldSpec,
        subs: &[FieldSpec],
        place: &Place,
        content: Content<'_>,
        secrecy: Secrecy,
    ) -> Inside {
        let whole = content.value.len() == content.units as usize;
        let mut at = place.content_at(content.value.len()).filter(|_| whole);
        let start = self.rows.len();
        for sub in subs {
            let found = find(spec, content.value, content.units, &[sub.number()]);
            let Some(part) = found else {
                self.rows.truncate(start);
                return Inside::Failed(Rule::SubFields);
            };
            let bytes = if whole { part.value().len() } else { 0 };
            let path = format!("{}.{}", place.path, sub.number());
            let below = Place { offset: at, bytes, depth: place.depth + 1, path };
            at = at.map(|at| at + bytes);
            let secrecy = stricter(secrecy, sub.secrecy());
            let shown = if self.clear || secrecy == Secrecy::Public {
                Shown::Text(printable(part.value()))
            } else {
                let masked = mask(part.value()).filter(|_| secrecy == Secrecy::Masked);
                Shown::Hidden(masked.unwrap_or_else(|| hidden(part.value().len())))
            };
            let note = self.note(&below.path, &shown);
            self.push(below, sub.name().to_owned(), shown);
            if let Some(row) = self.rows.last_mut() {
                row.note = note;
            }
        }
        if spec.inner().is_some_and(holds_secrets) { Inside::Divided } else { Inside::Beside }
    }

    fn tag(
        &mut self,
        place: Place,
        tag: u32,
        spec: Option<&FieldSpec>,
        value: &[u8],
        around: Secrecy,
    ) {
        let tag = tlv::Tag::new(tag);
        let known = tag.and_then(tlv::info);
        let listed = known.map(|known| match known.secrecy {
            TagSecrecy::Masked => Secrecy::Masked,
            TagSecrecy::Public => Secrecy::Public,
            TagSecrecy::Secret => Secrecy::Secret,
        });
        let secrecy = match (spec.map(FieldSpec::secrecy), listed) {
            (Some(a), Some(b)) => stricter(a, b),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Secrecy::Secret,
        };
        let secrecy = stricter(around, secrecy);
        let name = spec.map(FieldSpec::name).or_else(|| known.map(|known| known.name));
        let name = name.unwrap_or("not in the dialect").to_owned();
        if tag.is_some_and(tlv::Tag::is_constructed) {
            let depth = place.depth + 1;
            let path = place.path.clone();
            let start = place.content_at(value.len());
            self.push(place, name, Shown::Parts);
            self.template(value, start, depth, &path, around);
            return;
        }
        let shown = if self.clear || secrecy == Secrecy::Public {
            Shown::Bytes(hex::encode_upper(value))
        } else {
            let digits = hex::encode_upper(value);
            let masked = mask(digits.as_bytes()).filter(|_| secrecy == Secrecy::Masked);
            Shown::Hidden(masked.unwrap_or_else(|| hidden(value.len())))
        };
        self.push(place, name, shown);
    }

    /// The elements of a template, such as an issuer script.
    fn template(
        &mut self,
        value: &[u8],
        start: Option<usize>,
        depth: usize,
        path: &str,
        around: Secrecy,
    ) {
        for element in tlv::elements(value) {
            let Ok(element) = element else {
                let shown = self.unknown(value);
                let place = Place { offset: None, bytes: 0, depth, path: format!("{path}.…") };
                return self.push(place, "does not divide".into(), shown);
            };
            let place = Place {
                offset: start.map(|start| start + element.at()),
                bytes: element.as_bytes().len(),
                depth,
                path: format!("{path}.{}", element.tag()),
            };
            // Bounded: a template inside a template is shorter than it by a tag and a length.
            self.tag(place, element.tag().number(), None, element.value(), around);
        }
    }

    fn data_set(&mut self, inner: &Inner, place: Place, entry: &Entry<'_>, around: Secrecy) {
        let mut at = place.content_at(entry.value.len());
        let (depth, path) = (place.depth + 1, place.path.clone());
        self.push(place, "Data set".into(), Shown::Parts);
        for element in walk_tlv(inner, entry.value) {
            let Ok(element) = element else {
                let shown = self.unknown(entry.value);
                let place = Place { offset: None, bytes: 0, depth, path: format!("{path}.…") };
                return self.push(place, "does not divide".into(), shown);
            };
            let Some(tag) = element.key.number() else { continue };
            let bytes = element.raw.len();
            let place = Place { offset: at, bytes, depth, path: format!("{path}.{tag:02X}") };
            at = at.map(|at| at + bytes);
            self.tag(place, tag, element.spec, element.value, around);
        }
    }

    /// The leaves of the XML that older Postilion nodes put into 127.25. `false` when it is none.
    fn elements(&mut self, place: &Place, value: &[u8], around: Secrecy) -> bool {
        let Ok(text) = std::str::from_utf8(value) else { return false };
        let start = self.rows.len();
        let mut rest = text;
        while let Some(open) = rest.find('<') {
            let Some((tag, after)) = rest[open + 1..].split_once('>') else { break };
            rest = after;
            let Some((content, close)) = after.split_once("</") else { continue };
            if tag.starts_with(['/', '?']) || content.contains('<') || !close.starts_with(tag) {
                continue;
            }
            let lower = tag.to_ascii_lowercase();
            let secret = ["track", "pan", "name", "pin"].iter().any(|word| lower.contains(word));
            let hides = secret || around != Secrecy::Public;
            let shown = if hides && !self.clear {
                Shown::Hidden(hidden(content.len()))
            } else {
                Shown::Text(printable(content.as_bytes()))
            };
            let path = format!("{}.…", place.path);
            let below = Place { offset: None, bytes: 0, depth: place.depth + 1, path };
            self.push(below, printable(tag.as_bytes()), shown);
        }
        start < self.rows.len()
    }
}

/// A key of structured data is shown when it cannot hold an account number or a PIN.
fn names_nothing(name: &[u8]) -> bool {
    name.iter().filter(|byte| byte.is_ascii_digit()).count() < 4
}

/// Whether the undivided bytes of a field may be looked at.
pub(super) fn open_to_all(spec: &FieldSpec) -> bool {
    spec.secrecy() == Secrecy::Public
        && !spec.inner().is_some_and(holds_secrets)
        && !(spec.format() == Format::B && spec.inner().is_some())
}
