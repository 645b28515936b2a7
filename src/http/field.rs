//! Tables of fields: what a door reads from a body, a query or a path, and the one reader that goes by them.
//!
//! The same tables make the schemas of `openapi`, so that what is read and what is documented cannot differ. Values of
//! text are wiped. **Never here:** a field of any door, a vendor's code for a fault.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use zeroize::Zeroizing;

/// One field of a body, a query or a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name as it is documented.
    pub(super) name: &'static str,
    /// Other names it is accepted under.
    pub(super) aliases: &'static [&'static str],
    /// What it may hold.
    pub(super) shape: Shape,
    /// Whether it must be there.
    pub(super) required: bool,
    /// What it is: for the documentation.
    pub(super) says: &'static str,
}

impl Field {
    /// A field that must be there.
    pub(super) const fn required(name: &'static str, shape: Shape, says: &'static str) -> Self {
        Self { name, aliases: &[], shape, required: true, says }
    }

    /// A field that may be there.
    pub(super) const fn optional(name: &'static str, shape: Shape, says: &'static str) -> Self {
        Self { name, aliases: &[], shape, required: false, says }
    }

    /// The same field under other names as well.
    pub(super) const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A text.
    Text {
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// Which characters.
        of: Chars,
    },
}

/// Characters of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chars {
    /// Any.
    Any,
    /// Decimal digits.
    Digits,
    /// Hex digits.
    Hex,
    /// ASCII letters and digits.
    Letters,
}

impl Chars {
    fn fit(self, text: &str) -> bool {
        text.bytes().all(|b| match self {
            Self::Any => true,
            Self::Digits => b.is_ascii_digit(),
            Self::Hex => b.is_ascii_hexdigit(),
            Self::Letters => b.is_ascii_alphanumeric(),
        })
    }
}

/// What is wrong with a field. Never its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing in it, or blanks only.
    Blank,
    /// A character that may not be there.
    Characters,
    /// Too short or too long.
    Length,
    /// It must be there and is not.
    Missing,
    /// None of the allowed values.
    NotAllowed,
    /// Out of its range.
    Range,
    /// It is there more than once.
    Twice,
    /// A value of another type.
    Type,
}

impl Fault {
    /// A few words for an error's text.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Blank => "must not be blank",
            Self::Characters => "has a character that is not allowed",
            Self::Length => "has a wrong length",
            Self::Missing => "is required",
            Self::NotAllowed => "is not one of the allowed values",
            Self::Range => "is out of range",
            Self::Twice => "is given more than once",
            Self::Type => "has a wrong type",
        }
    }
}

/// A field and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) field: &'static str,
    pub(super) fault: Fault,
}

/// A value as it came.
enum Value {
    Boolean(bool),
    Integer(i64),
    /// A fraction, a number beyond 64 bits, a list, an object.
    Other,
    Text(Zeroizing<String>),
}

impl Value {
    fn fault(&self, shape: Shape) -> Option<Fault> {
        match (shape, self) {
            (Shape::Boolean, Self::Boolean(_)) => None,
            (Shape::Integer { min, max }, Self::Integer(number)) => {
                (!(min..=max).contains(number)).then_some(Fault::Range)
            }
            (Shape::OneOf(_) | Shape::Text { min: 1.., .. }, Self::Text(text))
                if text.trim().is_empty() =>
            {
                Some(Fault::Blank)
            }
            (Shape::OneOf(allowed), Self::Text(text)) => {
                (!allowed.contains(&text.as_str())).then_some(Fault::NotAllowed)
            }
            (Shape::Text { min, max, of }, Self::Text(text)) => {
                if !(min..=max).contains(&text.chars().count()) {
                    return Some(Fault::Length);
                }
                (!of.fit(text)).then_some(Fault::Characters)
            }
            (_, Self::Boolean(_) | Self::Integer(_) | Self::Other | Self::Text(_)) => {
                Some(Fault::Type)
            }
        }
    }
}

/// The fields of one table that were there, and what is wrong with them.
#[derive(Default)]
pub(super) struct Values {
    found: Vec<(&'static Field, Value)>,
    problems: Vec<Problem>,
}

/// Why a body is no set of fields at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Nothing in it.
    Empty,
    /// No JSON, or no object.
    NotAnObject,
}

impl Values {
    /// Reads the fields of `table` from a JSON object. Fields that are not in the table are ignored; `null` is absent.
    pub(super) fn of_json(table: &'static [Field], body: &[u8]) -> Result<Self, Unreadable> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Unreadable::Empty);
        }
        let mut values = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = reader.deserialize_map(ObjectReader { table, values: &mut values });
        read.and_then(|()| reader.end()).map_err(|_| Unreadable::NotAnObject)?;
        values.check(table);
        Ok(values)
    }

    /// Reads the fields of `table` from texts: a query or a path.
    pub(super) fn of_texts<'a>(
        table: &'static [Field],
        texts: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut values = Self::default();
        for (name, text) in texts {
            let Some(field) = table.iter().find(|field| field.is_called(name)) else { continue };
            let value = match field.shape {
                Shape::Boolean => text.parse().map_or(Value::Other, Value::Boolean),
                Shape::Integer { .. } => {
                    let digits = text.strip_prefix('-').unwrap_or(text);
                    let is_number = !digits.is_empty() && Chars::Digits.fit(digits);
                    is_number
                        .then(|| text.parse().ok())
                        .flatten()
                        .map_or(Value::Other, Value::Integer)
                }
                Shape::OneOf(_) | Shape::Text { .. } => Value::Text(Zeroizing::new(text.into())),
            };
            values.put(field, value);
        }
        values.check(table);
        values
    }

    fn put(&mut self, field: &'static Field, value: Value) {
        if self.found.iter().any(|(had, _)| had.name == field.name) {
            self.problems.push(Problem { field: field.name, fault: Fault::Twice });
        } else {
            self.found.push((field, value));
        }
    }

    fn check(&mut self, table: &'static [Field]) {
        for field in table {
            let found = self.found.iter().find(|(had, _)| had.name == field.name);
            let fault = match found {
                Some((_, value)) => value.fault(field.shape),
                None => field.required.then_some(Fault::Missing),
            };
            self.problems.extend(fault.map(|fault| Problem { field: field.name, fault }));
        }
    }

    /// What is wrong, in the order of the table; empty when nothing is.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.found.iter().find(|(field, _)| field.name == name).map(|(_, value)| value)
    }

    /// The text of a field, where it is there.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            Value::Boolean(_) | Value::Integer(_) | Value::Other => None,
        }
    }

    /// The number of a field, where it is there.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Integer(number) => Some(*number),
            Value::Boolean(_) | Value::Other | Value::Text(_) => None,
        }
    }

    /// The truth of a field, where it is there.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Boolean(truth) => Some(*truth),
            Value::Integer(_) | Value::Other | Value::Text(_) => None,
        }
    }
}

struct ObjectReader<'a> {
    table: &'static [Field],
    values: &'a mut Values,
}

impl<'de> Visitor<'de> for ObjectReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(KeyReader(self.table))? {
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if let Some(value) = map.next_value_seed(ValueReader)? {
                self.values.put(field, value);
            }
        }
        Ok(())
    }
}

struct KeyReader(&'static [Field]);

impl<'de> DeserializeSeed<'de> for KeyReader {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyReader {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|field| field.is_called(name)))
    }
}

struct ValueReader;

impl<'de> DeserializeSeed<'de> for ValueReader {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Boolean(truth)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Integer(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(i64::try_from(number).map_or(Value::Other, Value::Integer)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::Other))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::Text(Zeroizing::new(text.into()))))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(Value::Other))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Some(Value::Other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Field] = &[
        Field::required("pin", Shape::Text { min: 4, max: 4, of: Chars::Digits }, "").also(&["p"]),
        Field::optional("channel", Shape::OneOf(&["A", "W"]), ""),
        Field::optional("offset", Shape::Integer { min: 0, max: 9999 }, ""),
        Field::optional("active", Shape::Boolean, ""),
    ];

    #[track_caller]
    fn check(body: &str, want: Result<&[(&str, Fault)], Unreadable>) {
        let got = Values::of_json(TABLE, body.as_bytes())
            .map(|values| values.problems().iter().map(|p| (p.field, p.fault)).collect::<Vec<_>>());
        assert_eq!(got.as_deref().map_err(|e| *e), want, "{body}");
    }

    #[test]
    fn bodies() {
        check(r#"{"pin":"1234"}"#, Ok(&[]));
        check(
            r#" {"p":"1234","channel":"A","offset":0,"active":true,"more":{"pin":[1]}} "#,
            Ok(&[]),
        );
        check(r#"{"pin":"1234","offset":null}"#, Ok(&[]));
        check("{}", Ok(&[("pin", Fault::Missing)]));
        check(r#"{"pin":null}"#, Ok(&[("pin", Fault::Missing)]));
        check(r#"{"pin":1234}"#, Ok(&[("pin", Fault::Type)]));
        check(r#"{"pin":["1234"]}"#, Ok(&[("pin", Fault::Type)]));
        check(r#"{"pin":{}}"#, Ok(&[("pin", Fault::Type)]));
        check(r#"{"pin":"123"}"#, Ok(&[("pin", Fault::Length)]));
        check(r#"{"pin":"12e4"}"#, Ok(&[("pin", Fault::Characters)]));
        check(r#"{"pin":"    "}"#, Ok(&[("pin", Fault::Blank)]));
        check(r#"{"pin":"1234","p":"4321"}"#, Ok(&[("pin", Fault::Twice)]));
        check(r#"{"pin":"1234","channel":"B"}"#, Ok(&[("channel", Fault::NotAllowed)]));
        check(r#"{"pin":"1234","channel":""}"#, Ok(&[("channel", Fault::Blank)]));
        check(r#"{"pin":"1234","offset":10000}"#, Ok(&[("offset", Fault::Range)]));
        check(r#"{"pin":"1234","offset":-1}"#, Ok(&[("offset", Fault::Range)]));
        for other in ["0.5", "1e3", "18446744073709551615", "\"1\"", "true"] {
            let body = format!(r#"{{"pin":"1234","offset":{other}}}"#);
            check(&body, Ok(&[("offset", Fault::Type)]));
        }
        for empty in ["", "  \n"] {
            check(empty, Err(Unreadable::Empty));
        }
        for no_object in
            ["null", "[]", "\"a\"", "{", "{}{}", r#"{"pin":"12"#, "{'pin':1}", "\u{feff}{}"]
        {
            check(no_object, Err(Unreadable::NotAnObject));
        }
    }

    #[test]
    fn an_escaped_name_is_the_same_name() {
        check(r#"{"\u0070in":"\u00312\u00334"}"#, Ok(&[]));
    }

    /// Nesting is skipped without a call for each level, so a body cannot use up the stack.
    #[test]
    fn deep_nesting_is_skipped() {
        for name in ["x", "pin"] {
            let deep = format!("{{\"{name}\":{}{}}}", "[".repeat(8000), "]".repeat(8000));
            let values = Values::of_json(TABLE, deep.as_bytes()).unwrap_or_default();
            let fault = values.problems().first().map(|problem| problem.fault);
            assert_eq!(fault, Some(if name == "x" { Fault::Missing } else { Fault::Type }));
        }
    }

    #[test]
    fn queries() {
        for (text, want) in [
            ("true", None),
            ("false", None),
            ("True", Some(Fault::Type)),
            ("1", Some(Fault::Type)),
            ("", Some(Fault::Type)),
        ] {
            let values = Values::of_texts(TABLE, [("pin", "1234"), ("active", text)].into_iter());
            let got = values.problems().first().map(|p| p.fault);
            assert_eq!(got, want, "{text:?}");
            assert_eq!(values.boolean("active"), text.parse().ok());
        }
        let numbers = [("1", None), ("+1", Some(Fault::Type)), ("", Some(Fault::Type))];
        for (text, want) in numbers {
            let values = Values::of_texts(TABLE, [("pin", "1234"), ("offset", text)].into_iter());
            assert_eq!(values.problems().first().map(|p| p.fault), want, "{text:?}");
        }
    }
}
