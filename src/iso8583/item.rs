//! A parsed TOML file that remembers where each value stood.
//!
//! Dialects inherit from each other, so a value carries its own file and line: an error in an inherited key names the
//! file that holds it. **Never here:** what a key means. Where next: `load` compiles the codec's part, other modules
//! compile the sections they own.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::spec::{SpecError, SpecProblem};

/// One value with its place.
#[derive(Clone, Debug)]
pub struct Item {
    origin: Arc<str>,
    line: usize,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Box<str>),
    Integer(i64),
    Boolean(bool),
    List(Vec<Item>),
    Table(Vec<(Box<str>, Item)>),
    Other,
}

impl Item {
    /// Parses a file. `origin` is the name that errors show.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Self, SpecError> {
        let origin: Arc<str> = origin.into();
        let line_of = |at: usize| text.get(..at).map_or(1, |s| s.matches('\n').count() + 1);
        match DeTable::parse(text) {
            Ok(table) => {
                let line = line_of(0);
                let value = table_of(table.get_ref(), &origin, &line_of);
                Ok(Self { origin, line, value })
            }
            Err(error) => Err(SpecError {
                line: error.span().map_or(1, |span| line_of(span.start)),
                origin,
                field: Box::default(),
                key: Box::default(),
                problem: SpecProblem::Syntax(error.message().into()),
            }),
        }
    }

    /// The file it stands in.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The line it stands on, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The value of `key`, when this is a table that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().find(|(name, _)| *name == key).map(|(_, item)| item)
    }

    /// Keys and values, when this is a table.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let entries: &[(Box<str>, Self)] = match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|(key, item)| (&**key, item))
    }

    /// Whether this is a table.
    #[must_use]
    pub fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }

    /// The elements, when this is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, when this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when this is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self.value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// The truth value, when this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Boolean(truth) => Some(truth),
            _ => None,
        }
    }

    /// An error at this value. `key` is its name, `what` the rule it breaks.
    #[must_use]
    pub fn error(&self, key: &str, what: &'static str) -> SpecError {
        self.problem("", key, SpecProblem::Rule(what))
    }

    pub(super) fn problem(&self, field: &str, key: &str, problem: SpecProblem) -> SpecError {
        SpecError {
            origin: Arc::clone(&self.origin),
            line: self.line,
            field: field.into(),
            key: key.into(),
            problem,
        }
    }

    /// Lays `over` on top: tables merge key by key, everything else is replaced. A table that gives a `format` is a
    /// whole field and replaces the one below.
    pub(super) fn overlay(&mut self, over: &Self) {
        match (&mut self.value, &over.value) {
            (Value::Table(mine), Value::Table(theirs)) if over.get("format").is_none() => {
                self.origin = Arc::clone(&over.origin);
                self.line = over.line;
                for (key, item) in theirs {
                    match mine.iter_mut().find(|(name, _)| name == key) {
                        Some((_, slot)) => slot.overlay(item),
                        None => mine.push((key.clone(), item.clone())),
                    }
                }
            }
            _ => *self = over.clone(),
        }
    }
}

fn table_of(table: &DeTable<'_>, origin: &Arc<str>, line_of: &dyn Fn(usize) -> usize) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let mut item = item_of(value, origin, line_of);
        item.line = line_of(key.span().start);
        (Box::from(key.get_ref().as_ref()), item)
    });
    Value::Table(entries.collect())
}

fn item_of(
    value: &Spanned<DeValue<'_>>,
    origin: &Arc<str>,
    line_of: &dyn Fn(usize) -> usize,
) -> Item {
    let line = line_of(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.as_ref().into()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other, Value::Integer),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| item_of(item, origin, line_of)).collect())
        }
        DeValue::Table(table) => table_of(table, origin, line_of),
        DeValue::Float(_) | DeValue::Datetime(_) => Value::Other,
    };
    Item { origin: Arc::clone(origin), line, value }
}

/// The text of `key`, or its default.
pub(super) fn word<'a>(
    item: &'a Item,
    path: &str,
    key: &str,
    default: Option<&'static str>,
) -> Result<&'a str, SpecError> {
    match (item.get(key), default) {
        (Some(value), _) => {
            value.as_str().ok_or_else(|| value.problem(path, key, SpecProblem::Type("a text")))
        }
        (None, Some(default)) => Ok(default),
        (None, None) => Err(item.problem(path, key, SpecProblem::Missing)),
    }
}

/// The truth value of `key`; absent is false.
pub(super) fn flag(item: &Item, path: &str, key: &str) -> Result<bool, SpecError> {
    match item.get(key) {
        None => Ok(false),
        Some(value) => {
            let wrong = || value.problem(path, key, SpecProblem::Type("true or false"));
            value.as_bool().ok_or_else(wrong)
        }
    }
}

/// The number of `key`, which must be there and within bounds.
pub(super) fn integer(
    item: &Item,
    path: &str,
    key: &str,
    least: i64,
    most: i64,
) -> Result<u32, SpecError> {
    let value = item.get(key).ok_or_else(|| item.problem(path, key, SpecProblem::Missing))?;
    let number = value.as_integer().filter(|n| (least..=most).contains(n));
    let number = number.and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| value.problem(path, key, SpecProblem::Rule("is out of range")))
}

/// The table of `key`, which must be there.
pub(super) fn table<'a>(item: &'a Item, path: &str, key: &str) -> Result<&'a Item, SpecError> {
    match item.get(key) {
        Some(value) if value.is_table() => Ok(value),
        Some(value) => Err(value.problem(path, key, SpecProblem::Type("a table"))),
        None => Err(item.problem(path, key, SpecProblem::Missing)),
    }
}
