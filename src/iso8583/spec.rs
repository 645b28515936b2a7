//! A dialect: everything that differs between two peers' messages, as data.
//!
//! The built-in ones are `spec/*.toml`, embedded; [`Dialect::load`] reads another file of the same form, described in
//! `spec/README.md`. **Never here:** what a PIN change is: the sections for that are kept unread for whoever knows.
//! Where next: `load` compiles a file, `message` reads by it.

use std::sync::{Arc, LazyLock};

use super::bitmap::{BitmapForm, FIELD_NUMBER_MAX};
use super::field::FieldSpec;
use super::item::Item;
use super::load;
use super::wire::Wire;

/// Slots of a table indexed by field number; slot 0 stays empty.
pub(super) const SLOTS: usize = FIELD_NUMBER_MAX as usize + 1;

/// How the message type travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtiEncoding {
    /// Four ASCII digits.
    Ascii,
    /// Two bytes of packed digits.
    Bcd,
    /// Four EBCDIC digits.
    Ebcdic,
}

impl MtiEncoding {
    /// Bytes on the wire.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Ascii | Self::Ebcdic => 4,
            Self::Bcd => 2,
        }
    }
}

/// How one family of peers writes ISO 8583.
#[derive(Debug)]
pub struct Dialect {
    pub(super) name: Box<str>,
    pub(super) title: Box<str>,
    pub(super) version: u16,
    pub(super) origin: Box<str>,
    pub(super) mti: MtiEncoding,
    pub(super) bitmap: BitmapForm,
    pub(super) bitmaps: u8,
    pub(super) fields: Box<[Option<FieldSpec>; SLOTS]>,
    pub(super) wires: Box<[Wire; SLOTS]>,
    pub(super) sections: Item,
}

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        /// Names of the embedded dialects and their files.
        pub(super) const BUILTIN: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../spec/", $name, ".toml"))),)*];
    };
}

builtin!(
    "iso87-ascii",
    "iso87-ascii-hex",
    "iso87-bcd",
    "iso93-ascii",
    "iso93-bcd",
    "cmf",
    "postilion",
    "mastercard",
    "visa",
);

static LOADED: LazyLock<Vec<Option<Arc<Dialect>>>> = LazyLock::new(|| {
    let load = |(_, text): &(&str, &str)| Dialect::load(text, "built-in").ok().map(Arc::new);
    BUILTIN.iter().map(load).collect()
});

impl Dialect {
    /// An embedded dialect.
    #[must_use]
    pub fn builtin(name: &str) -> Option<Arc<Self>> {
        let at = BUILTIN.iter().position(|(known, _)| *known == name)?;
        LOADED.get(at)?.clone()
    }

    /// The names of the embedded dialects.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// The text of an embedded dialect's file, to start one's own from.
    #[must_use]
    pub fn builtin_text(name: &str) -> Option<&'static str> {
        BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// Reads a dialect file. `origin` is the file's name for errors.
    ///
    /// # Errors
    ///
    /// The first rule the file breaks, with file, line, field and key.
    pub fn load(text: &str, origin: &str) -> Result<Self, SpecError> {
        load::dialect(text, origin)
    }

    /// The name that configuration uses.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The year of the standard: 1987, 1993 or 2003.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The file it was read from.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How the message type travels.
    #[must_use]
    pub fn mti_encoding(&self) -> MtiEncoding {
        self.mti
    }

    /// How bitmaps travel.
    #[must_use]
    pub fn bitmap_form(&self) -> BitmapForm {
        self.bitmap
    }

    /// Most bitmaps a message may have.
    #[must_use]
    pub fn bitmaps(&self) -> u8 {
        self.bitmaps
    }

    /// What the dialect says of field `n`.
    #[must_use]
    pub fn field(&self, n: u8) -> Option<&FieldSpec> {
        self.fields.get(usize::from(n))?.as_ref()
    }

    /// The fields it defines, ascending.
    pub fn fields(&self) -> impl Iterator<Item = &FieldSpec> {
        self.fields.iter().flatten()
    }

    /// A section of the file that the codec does not read, such as `pin_change` or `responses`.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Item> {
        self.sections.get(name)
    }

    /// Whether bit `n` announces a further bitmap.
    pub(super) fn announces(&self, n: u8) -> bool {
        (n == 1 && self.bitmaps > 1) || (n == 65 && self.bitmaps > 2)
    }
}

/// What is wrong with a dialect file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}: {}{problem}", place(field, key))]
pub struct SpecError {
    /// The file.
    pub origin: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The field or sub-field, as `127.25`; empty outside fields.
    pub field: Box<str>,
    /// The key; empty when it is about no single key.
    pub key: Box<str>,
    /// The rule it breaks.
    pub problem: SpecProblem,
}

fn place(field: &str, key: &str) -> String {
    match (field, key) {
        ("", "") => String::new(),
        ("", key) => format!("{key}: "),
        (field, "") => format!("field {field}: "),
        (field, key) => format!("field {field}, {key}: "),
    }
}

/// The rule a dialect file breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecProblem {
    /// Not TOML.
    #[error("{0}")]
    Syntax(Box<str>),
    /// A key that must be there is not.
    #[error("is missing")]
    Missing,
    /// A key that means nothing here.
    #[error("is no key of a dialect file")]
    UnknownKey,
    /// A value of the wrong type.
    #[error("must be {0}")]
    Type(&'static str),
    /// A word outside the list.
    #[error("must be one of {0}")]
    Choice(&'static str),
    /// Any other rule, in words.
    #[error("{0}")]
    Rule(&'static str),
}
