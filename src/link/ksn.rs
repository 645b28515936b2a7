//! Where a link's messages carry the key serial number of their PIN blocks, and how it is read.
//!
//! The place is the link's configuration, since no standard has one; how the number travels is the dialect's: bytes in
//! a binary field, hexadecimal digits in one of text. A serial number names a terminal, so none of it is logged, and an
//! answer has it only where the dialect gives that field back: it is no secret, and the sender's own. **Never here:**
//! the key it names (`hsm`).

use crate::domain::pin::{BlockFormat, Ksn};
use crate::iso8583::{Dialect, FieldSpec, Format, Message, Text};

/// A field, or a sub-field of it at the end of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KsnPlace {
    field: u8,
    path: Box<[u32]>,
}

impl KsnPlace {
    /// Reads a place as the configuration has it: `62`, `127.9`, `48.3.1`.
    ///
    /// # Errors
    /// What is wrong with it, in this dialect.
    pub fn new(text: &str, dialect: &Dialect) -> Result<Self, String> {
        let unread = || format!("{text:?} is no field: give its number, or a path such as 127.9");
        let mut parts = text.split('.');
        let field: u8 = parts.next().and_then(|n| n.parse().ok()).ok_or_else(unread)?;
        let path: Box<[u32]> =
            parts.map(|n| n.parse().map_err(|_| unread())).collect::<Result<_, _>>()?;
        let no_rule = || format!("{text:?} is none that dialect {} describes", dialect.name());
        let mut spec: &FieldSpec = dialect.field(field).ok_or_else(no_rule)?;
        for sub in &path {
            spec = spec.inner().and_then(|inner| inner.sub(*sub)).ok_or_else(no_rule)?;
        }
        match spec.format() {
            Format::N | Format::Z | Format::Xn => {
                let name = spec.name();
                Err(format!("{text:?} ({name}) holds digits: a serial number is bytes or hex text"))
            }
            _ => Ok(Self { field, path }),
        }
    }

    /// The serial number, if the message has one of the length that goes with the blocks: twelve bytes with AES, ten
    /// (or eight) with triple DES.
    pub(super) fn read(&self, message: &Message<'_>, format: BlockFormat) -> Option<Ksn> {
        let (binary, text) = if self.path.is_empty() {
            (message.binary(self.field), message.text(self.field))
        } else {
            let sub = message.sub(self.field, &self.path)?;
            (sub.binary(), sub.text())
        };
        let ksn = match binary {
            Some(bytes) => Ksn::new(bytes.as_bytes()),
            None => of_digits(&text?),
        };
        ksn.filter(|ksn| (ksn.bytes().len() == 12) == (format == BlockFormat::Iso4))
    }
}

impl std::fmt::Display for KsnPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.field)?;
        self.path.iter().try_for_each(|sub| write!(f, ".{sub}"))
    }
}

/// Hexadecimal digits; blanks behind them fill a field of fixed length.
fn of_digits(text: &Text) -> Option<Ksn> {
    let digits = text.as_bytes().trim_ascii_end();
    let mut bytes = [0; 12];
    let bytes = bytes.get_mut(..digits.len() / 2)?;
    hex::decode_to_slice(digits, bytes).ok()?;
    Ksn::new(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::iso8583::{Builder, Layout, decode};

    fn place(dialect: &str, text: &str) -> Result<KsnPlace, String> {
        KsnPlace::new(text, &Dialect::builtin(dialect).unwrap())
    }

    #[test]
    fn places_that_a_dialect_has() {
        for (dialect, text) in [
            ("iso87-ascii", "62"),
            ("iso87-bcd", "55"),
            ("postilion", "127.9"),
            ("postilion", "127.29"),
        ] {
            assert_eq!(place(dialect, text).unwrap().to_string(), text);
        }
        for (dialect, text, want) in [
            ("iso87-ascii", "", "is no field"),
            ("iso87-ascii", "62.", "is no field"),
            ("iso87-ascii", "DE62", "is no field"),
            ("iso87-ascii", "300", "is no field"),
            ("iso87-ascii", "190", "none that dialect iso87-ascii describes"),
            ("iso87-ascii", "62.1", "none that dialect iso87-ascii describes"),
            ("postilion", "127.99", "none that dialect postilion describes"),
            ("iso87-ascii", "11", "holds digits"),
            ("postilion", "127.33", "holds digits"),
        ] {
            let got = place(dialect, text).unwrap_err();
            assert!(got.contains(want), "{text}: {got}");
        }
    }

    fn read(
        dialect: &str,
        text: &str,
        format: BlockFormat,
        fill: impl FnOnce(&mut Builder<'_, '_>),
    ) -> Option<Vec<u8>> {
        let dialect = Dialect::builtin(dialect).unwrap();
        let place = KsnPlace::new(text, &dialect).unwrap();
        let mut bytes = BytesMut::new();
        let mut builder = Builder::new(&dialect, *b"0600", &mut bytes);
        builder.text(11, b"000001").unwrap();
        fill(&mut builder);
        builder.finish();
        let mut layout = Layout::new();
        let message = decode(&dialect, &bytes, &mut layout).unwrap();
        place.read(&message, format).map(|ksn| ksn.bytes().to_vec())
    }

    /// Serial numbers of the standards' samples.
    #[test]
    fn text_and_bytes() {
        use BlockFormat::{Iso0, Iso4};
        let (ten, twelve) = ("FFFF9876543210E00001", "123456789012345600000001");
        let text = |value: &str, format| {
            read("iso87-ascii", "62", format, |m| m.text(62, value.as_bytes()).unwrap())
        };
        assert_eq!(text(ten, Iso0), Some(hex::decode(ten).unwrap()));
        assert_eq!(text(&ten.to_lowercase(), Iso0), Some(hex::decode(ten).unwrap()));
        assert_eq!(text(&format!("{ten}    "), Iso0), Some(hex::decode(ten).unwrap()));
        assert_eq!(text(&ten[4..], Iso0), Some(hex::decode(&ten[4..]).unwrap()));
        assert_eq!(text(twelve, Iso4), Some(hex::decode(twelve).unwrap()));
        for (value, format) in [
            (twelve, Iso0),
            (ten, Iso4),
            (&ten[2..], Iso0),
            (&ten[1..], Iso0),
            ("FFFF9876543210E0000G", Iso0),
            (" FFFF9876543210E0000", Iso0),
        ] {
            assert_eq!(text(value, format), None, "{value}");
        }
        assert_eq!(text(&"F".repeat(500), Iso0), None);
        assert_eq!(read("iso87-ascii", "62", Iso0, |_| {}), None, "absent");
        let bytes = hex::decode(ten).unwrap();
        let binary = read("iso87-bcd", "55", Iso0, |m| m.binary(55, &bytes).unwrap());
        assert_eq!(binary, Some(bytes));
        let sub = read("postilion", "127.9", Iso4, |m| {
            m.composite(127, |sub| sub.text(9, twelve.as_bytes())).unwrap();
        });
        assert_eq!(sub, Some(hex::decode(twelve).unwrap()));
        let other = read("postilion", "127.9", Iso4, |m| {
            m.composite(127, |sub| sub.text(2, b"switch key")).unwrap();
        });
        assert_eq!(other, None, "another sub-field only");
    }
}
