//! Finding one sub-field: by positions, bits or tags, through as many levels as there are.
//!
//! **Never here:** copying more than a short text; what is on the wire is borrowed. Where next: `composite` walks the
//! wire, `message` asks.

use super::composite::{Inner, Key, number, walk, walk_tlv};
use super::encoding::{Charset, Text};
use super::field::{FieldSpec, Length};
use super::wire::Wire;

/// A sub-field that somebody asked for.
#[derive(Clone)]
pub struct Sub<'a> {
    pub(super) spec: Option<&'a FieldSpec>,
    pub(super) content: Content<'a>,
}

#[derive(Clone)]
pub(super) enum Content<'a> {
    /// On the wire as it is.
    Wire { value: &'a [u8], units: u32 },
    /// Cut out of its field's text.
    Cut(Text),
}

impl Sub<'_> {
    /// What the dialect knows of it.
    #[must_use]
    pub fn spec(&self) -> Option<&FieldSpec> {
        self.spec
    }

    /// Its content in wire encoding; of a positional sub-field its text.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match &self.content {
            Content::Wire { value, .. } => value,
            Content::Cut(text) => text,
        }
    }

    /// Its canonical text, when it holds text of at most [`super::TEXT_BYTES_MAX`] bytes.
    #[must_use]
    pub fn text(&self) -> Option<Text> {
        match (&self.content, self.spec) {
            (Content::Cut(text), _) => Some(text.clone()),
            (Content::Wire { value, units }, Some(spec)) => {
                let mut text = Text::new();
                spec.text_into(value, *units, &mut text)?;
                Some(text)
            }
            (Content::Wire { value, .. }, None) => Text::copy_of(value),
        }
    }

    /// Its bytes, when it holds bytes: at most [`super::TEXT_BYTES_MAX`], un-hexed.
    #[must_use]
    pub fn binary(&self) -> Option<Text> {
        match (&self.content, self.spec) {
            (Content::Wire { value, .. }, Some(spec)) => {
                let mut text = Text::new();
                spec.binary_into(value, &mut text)?;
                Some(text)
            }
            (Content::Wire { value, .. }, None) => Text::copy_of(value),
            (Content::Cut(_), _) => None,
        }
    }
}

impl std::fmt::Debug for Sub<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sub({} bytes)", self.value().len())
    }
}

/// Finds the sub-field that `path` leads to.
pub(super) fn find<'a>(
    spec: &'a FieldSpec,
    value: &'a [u8],
    units: u32,
    path: &[u32],
) -> Option<Sub<'a>> {
    let Some((number, deeper)) = path.split_first() else {
        return Some(Sub { spec: Some(spec), content: Content::Wire { value, units } });
    };
    let inner = spec.inner()?;
    if let Inner::Positional(subs) = inner {
        return if deeper.is_empty() { cut(spec, value, units, subs, *number) } else { None };
    }
    for entry in walk(inner, value) {
        let entry = entry.ok()?;
        if entry.key.number() != Some(*number) {
            continue;
        }
        return match (inner, entry.spec, deeper) {
            (_, spec, []) => Some(Sub {
                spec,
                content: Content::Wire { value: entry.value, units: entry.units },
            }),
            (Inner::DataSets(_), _, [tag]) => tag_in(inner, entry.value, *tag),
            (_, Some(spec), _) => find(spec, entry.value, entry.units, deeper),
            (_, None, _) => None,
        };
    }
    None
}

fn tag_in<'a>(inner: &'a Inner, value: &'a [u8], tag: u32) -> Option<Sub<'a>> {
    for entry in walk_tlv(inner, value) {
        let entry = entry.ok()?;
        if entry.key == Key::Tag(tag) {
            let content = Content::Wire { value: entry.value, units: entry.units };
            return Some(Sub { spec: entry.spec, content });
        }
    }
    None
}

fn cut<'a>(
    spec: &FieldSpec,
    value: &[u8],
    units: u32,
    subs: &'a [FieldSpec],
    number: u32,
) -> Option<Sub<'a>> {
    let mut text = Text::new();
    spec.text_into(value, units, &mut text)?;
    let mut rest: &[u8] = &text;
    for sub in subs {
        let (value, after) = positional(&sub.wire, sub.length, rest)?;
        if sub.number == number {
            return Some(Sub { spec: Some(sub), content: Content::Cut(Text::copy_of(value)?) });
        }
        rest = after;
    }
    None
}

/// One positional sub-field off the text of its field. A length prefix is in digits of that text.
fn positional<'t>(wire: &Wire, length: Length, text: &'t [u8]) -> Option<(&'t [u8], &'t [u8])> {
    match length {
        Length::Fixed(units) => text.split_at_checked(units as usize + usize::from(wire.signed)),
        Length::Variable { digits, max } => {
            let (length, rest) = text.split_at_checked(usize::from(digits))?;
            let length = number(length, Charset::Ascii)?;
            if length > max { None } else { rest.split_at_checked(length as usize) }
        }
    }
}
