//! A message as a terminal fills it in: fields in ascending order, written by any dialect that knows them.
//!
//! Values are small and inline, so that a load generator can build one message after the other in the same place.
//! **Never here:** which fields a PIN change needs (`terminal`), framing, answers.

use std::fmt;

use bytes::BytesMut;

use crate::iso8583::{Builder, Dialect, EncodeError, FieldSpec, Format, Length};
use crate::sim::pin_pad::MacPad;

/// Longest value: Postilion's DE 53.
const VALUE_BYTES_MAX: usize = 48;

/// Whether a value is characters or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Binary,
    Text,
}

/// One value, inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value {
    bytes: [u8; VALUE_BYTES_MAX],
    len: u8,
    kind: Kind,
}

impl Value {
    fn new(kind: Kind, from: &[u8]) -> Self {
        let len = from.len().min(VALUE_BYTES_MAX);
        let mut bytes = [0; VALUE_BYTES_MAX];
        bytes[..len].copy_from_slice(&from[..len]);
        // `len` is at most 48.
        Self { bytes, len: u8::try_from(len).unwrap_or(0), kind }
    }

    /// The value: ASCII where it is text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether it is text.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.kind == Kind::Text
    }
}

/// Account data passes through here: only kind and length are shown.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.kind, self.len)
    }
}

/// A field, or one sub-field of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number.
    pub number: u8,
    /// The sub-field, where the value is not the whole field.
    pub sub: Option<u32>,
    /// Its value.
    pub value: Value,
}

/// One message to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    mti: [u8; 4],
    fields: Vec<Field>,
}

impl Request {
    /// A message of that type without fields.
    #[must_use]
    pub fn new(mti: [u8; 4]) -> Self {
        Self { mti, fields: Vec::with_capacity(24) }
    }

    /// Its type, ASCII digits.
    #[must_use]
    pub fn mti(&self) -> [u8; 4] {
        self.mti
    }

    /// Its fields, ascending.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The value of a whole field.
    #[must_use]
    pub fn get(&self, number: u8) -> Option<&Value> {
        let whole = |field: &&Field| field.number == number && field.sub.is_none();
        self.fields.iter().find(whole).map(|field| &field.value)
    }

    /// Sets a text field. More than 48 characters are cut, and the dialect then refuses the length.
    pub fn text(&mut self, number: u8, ascii: &[u8]) -> &mut Self {
        self.put(number, None, Value::new(Kind::Text, ascii))
    }

    /// Sets a binary field of at most 48 bytes.
    pub fn binary(&mut self, number: u8, bytes: &[u8]) -> &mut Self {
        self.put(number, None, Value::new(Kind::Binary, bytes))
    }

    /// Sets a binary sub-field of at most 48 bytes; the field holds no other.
    pub fn binary_sub(&mut self, number: u8, sub: u32, bytes: &[u8]) -> &mut Self {
        self.put(number, Some(sub), Value::new(Kind::Binary, bytes))
    }

    pub(super) fn put(&mut self, number: u8, sub: Option<u32>, value: Value) -> &mut Self {
        let field = Field { number, sub, value };
        match self.fields.binary_search_by_key(&number, |field| field.number) {
            Ok(at) => self.fields[at] = field,
            Err(at) => self.fields.insert(at, field),
        }
        self
    }

    /// Turns the message into its repeat: the origin digit of its type becomes 1 (0100 to 0101).
    pub fn repeat(&mut self) -> &mut Self {
        self.mti[3] = b'1';
        self
    }

    /// Appends the message in a dialect, with a MAC in DE 64 or 128 where a key is given.
    ///
    /// Numbers shorter than their fixed field get zeros on the left, texts get spaces on the right.
    ///
    /// # Errors
    /// [`EncodeError`]: the dialect does not know a field, or its length; `out` is then as it was.
    pub fn write(
        &self,
        dialect: &Dialect,
        mac: Option<&MacPad>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let mut builder = Builder::new(dialect, self.mti, out);
        for field in &self.fields {
            let value = field.value.as_bytes();
            match (field.sub, field.value.kind) {
                (Some(sub), Kind::Binary) => {
                    builder.composite(field.number, |inner| inner.binary(sub, value))?;
                }
                (Some(sub), Kind::Text) => {
                    builder.composite(field.number, |inner| inner.text(sub, value))?;
                }
                (None, Kind::Binary) => builder.binary(field.number, value)?,
                (None, Kind::Text) => {
                    let mut wide = [0; VALUE_BYTES_MAX];
                    builder.text(field.number, widen(dialect, field.number, value, &mut wide))?;
                }
            }
        }
        match mac {
            None => builder.finish(),
            Some(pad) => {
                let mac = pad.mac(builder.begin_mac()?);
                builder.finish_with_mac(&mac[..mac_bytes(dialect)])?;
            }
        }
        Ok(())
    }
}

/// How many bytes of a MAC the dialect carries: the leftmost ones. DE 64 and 128 have the same length.
fn mac_bytes(dialect: &Dialect) -> usize {
    let length = dialect.field(128).or_else(|| dialect.field(64)).map(FieldSpec::length);
    match length {
        Some(Length::Fixed(bytes)) => usize::try_from(bytes).map_or(8, |bytes| bytes.min(8)),
        Some(Length::Variable { .. }) | None => 8,
    }
}

fn widen<'a>(
    dialect: &Dialect,
    number: u8,
    value: &'a [u8],
    wide: &'a mut [u8; VALUE_BYTES_MAX],
) -> &'a [u8] {
    let Some(spec) = dialect.field(number) else { return value };
    let Length::Fixed(length) = spec.length() else { return value };
    let missing = usize::try_from(length).unwrap_or(0).saturating_sub(value.len());
    let Some(wide) = wide.get_mut(..value.len() + missing) else { return value };
    if spec.format() == Format::N {
        wide[..missing].fill(b'0');
        wide[missing..].copy_from_slice(value);
    } else {
        wide[..value.len()].copy_from_slice(value);
        wide[value.len()..].fill(b' ');
    }
    wide
}
