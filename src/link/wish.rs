//! The wish of an ISO message (active-active or not): where a dialect keeps it, and how it is read.
//!
//! No standard has an element for it. A dialect may name one by `active` in `[pin_change]`; a link reads it with
//! `active = "message"`. **Never here:** what becomes of a wish (`route`).

use crate::domain::outcome::Reason;
use crate::iso8583::{Dialect, Format, Item, Message, Secrecy, SpecError};
use crate::link::map::{needed, number, only_known, texts};

/// Where the wish of a link's requests comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// From the configuration: always this one, or none.
    Fixed(Option<bool>),
    /// From the element of the message that the dialect names.
    Message,
}

/// The element that carries the wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WishElement {
    pub(super) field: u8,
    sub: Option<u32>,
    yes: Vec<Box<str>>,
    no: Vec<Box<str>>,
}

impl WishElement {
    /// Reads and checks the key `active` of `[pin_change]`, where it is there.
    pub(super) fn of(section: &Item, dialect: &Dialect) -> Result<Option<Self>, SpecError> {
        let Some(item) = section.get("active") else { return Ok(None) };
        if !item.is_table() {
            return Err(item.error("active", "must be a table: field, sub, yes, no"));
        }
        only_known(item, &["field", "sub", "yes", "no"])?;
        let sub = match item.get("sub") {
            None => None,
            Some(sub) => {
                let number = sub.as_integer().and_then(|n| u32::try_from(n).ok());
                Some(number.ok_or_else(|| sub.error("sub", "must be a number"))?)
            }
        };
        let element = Self {
            field: number(needed(item, "field")?, "field")?,
            sub,
            yes: texts(item, "yes")?,
            no: texts(item, "no")?,
        };
        element.check(item, dialect)?;
        Ok(Some(element))
    }

    fn check(&self, item: &Item, dialect: &Dialect) -> Result<(), SpecError> {
        let Some(field) = dialect.field(self.field) else {
            return Err(item.error("field", "has no rule in [fields]: add it or name another"));
        };
        let spec = match self.sub {
            None => field,
            Some(sub) => field
                .inner()
                .and_then(|inner| inner.sub(sub))
                .ok_or_else(|| item.error("sub", "is no sub-field that the dialect describes"))?,
        };
        if spec.format() == Format::B || spec.secrecy() != Secrecy::Public {
            return Err(item.error("field", "must be text, and nothing that is masked"));
        }
        if self.yes.is_empty() || self.no.is_empty() {
            return Err(item.error("yes, no", "must not be empty"));
        }
        if self.yes.iter().any(|yes| self.no.contains(yes)) {
            return Err(item.error("yes, no", "must not share a value"));
        }
        Ok(())
    }

    /// The wish of a message. Without the element there is none; one that says neither yes nor no is a format error.
    pub(super) fn read(&self, message: &Message<'_>) -> Result<Option<bool>, Reason> {
        let text = match self.sub {
            None if !message.has(self.field) => return Ok(None),
            None => message.text(self.field),
            Some(sub) => match message.sub(self.field, &[sub]) {
                None => return Ok(None),
                Some(sub) => sub.text(),
            },
        };
        let text = text.ok_or(Reason::FormatError)?;
        let is = |values: &[Box<str>]| values.iter().any(|v| v.as_bytes() == text.as_bytes());
        if is(&self.yes) {
            Ok(Some(true))
        } else if is(&self.no) {
            Ok(Some(false))
        } else {
            Err(Reason::FormatError)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::iso8583::{Builder, Layout, decode};
    use crate::link::PinMap;

    /// The built-in dialect with the element `active` in its map.
    fn dialect(name: &str, active: &str) -> Dialect {
        let text = format!("base = \"{name}\"\n\n[pin_change]\n{active}\n");
        Dialect::load(&text, "mine.toml").unwrap()
    }

    const FIELD: &str = r#"active = { field = 60, yes = ["1", "Y"], no = ["0", "N"] }"#;
    const SUB: &str = r#"active = { field = 127, sub = 33, yes = ["0001"], no = ["0000"] }"#;

    fn read(
        dialect: &Dialect,
        fill: impl FnOnce(&mut Builder<'_, '_>),
    ) -> Result<Option<bool>, Reason> {
        let map = PinMap::of(dialect).unwrap();
        let mut bytes = BytesMut::new();
        let mut builder = Builder::new(dialect, *b"0600", &mut bytes);
        builder.text(11, b"000001").unwrap();
        fill(&mut builder);
        builder.finish();
        let mut layout = Layout::new();
        map.active.unwrap().read(&decode(dialect, &bytes, &mut layout).unwrap())
    }

    #[test]
    fn the_wish_in_an_element() {
        let dialect = dialect("iso87-ascii", FIELD);
        let with = |text: &[u8]| read(&dialect, |message| message.text(60, text).unwrap());
        assert_eq!(with(b"1"), Ok(Some(true)));
        assert_eq!(with(b"Y"), Ok(Some(true)));
        assert_eq!(with(b"N"), Ok(Some(false)));
        assert_eq!(with(b"0"), Ok(Some(false)));
        assert_eq!(with(b"y"), Err(Reason::FormatError));
        assert_eq!(with(b"10"), Err(Reason::FormatError));
        assert_eq!(with(&[b'1'; 999]), Err(Reason::FormatError), "longer than any text");
        assert_eq!(read(&dialect, |_| {}), Ok(None));
    }

    #[test]
    fn the_wish_in_a_sub_element() {
        let dialect = dialect("postilion", SUB);
        let with = |number, text: &[u8]| {
            read(&dialect, |message| message.composite(127, |sub| sub.text(number, text)).unwrap())
        };
        assert_eq!(with(33, b"0001"), Ok(Some(true)));
        assert_eq!(with(33, b"0000"), Ok(Some(false)));
        assert_eq!(with(33, b"6000"), Err(Reason::FormatError));
        assert_eq!(with(2, b"switch key"), Ok(None));
        assert_eq!(read(&dialect, |_| {}), Ok(None));
    }

    #[track_caller]
    fn check_refused(name: &str, active: &str, want: &str) {
        let error = PinMap::of(&dialect(name, active)).unwrap_err().to_string();
        assert!(error.starts_with("mine.toml:4: "), "{error}");
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_wish_that_cannot_be_read_is_refused_with_its_line() {
        check_refused("iso87-ascii", "active = 60", "must be a table");
        check_refused("iso87-ascii", "active = { yes = [\"1\"], no = [\"0\"] }", "is missing");
        let with = |more: &str| format!("active = {{ {more}, yes = [\"1\"], no = [\"0\"] }}");
        check_refused("iso87-ascii", &with("field = 60, tag = 1"), "no key of this section");
        check_refused("iso87-ascii", &with("field = 1"), "must be a field, 2 to 192");
        check_refused("iso87-ascii", &with("field = 190"), "has no rule in [fields]");
        check_refused(
            "iso87-ascii",
            &with("field = 52"),
            "must be text, and nothing that is masked",
        );
        check_refused("iso87-ascii", &with("field = 60, sub = 2"), "is no sub-field");
        check_refused("postilion", &with("field = 127, sub = 99"), "is no sub-field");
        let lists =
            |yes: &str, no: &str| format!("active = {{ field = 60, yes = {yes}, no = {no} }}");
        check_refused("iso87-ascii", &lists("[]", "[\"0\"]"), "must not be empty");
        check_refused("iso87-ascii", &lists("[\"1\"]", "[\"1\"]"), "must not share a value");
        check_refused("iso87-ascii", &lists("[1]", "[\"0\"]"), "must be a list of texts");
    }

    #[test]
    fn a_dialect_without_the_key_has_no_wish() {
        let with_key = dialect("postilion", SUB);
        let without = Dialect::builtin("postilion").unwrap();
        assert!(!PinMap::of(&without).unwrap().carries_wish());
        assert!(PinMap::of(&with_key).unwrap().carries_wish());
    }
}
