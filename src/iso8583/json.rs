//! A message as JSON and back: what `pinion decode --json` prints and `pinion encode` reads.
//!
//! `{"mti": "0100", "fields": {"2": "4761...", "52": "<hex>", "127": {"2": "..."}}}`: text as text (one character a
//! byte, Latin-1), binary as upper-case hex, composites as objects in wire order. What an object or a text could not
//! bring back byte for byte is given whole as text or hex, or as `{"raw": "<hex of the wire bytes>"}`; a bitmap that
//! the fields do not imply is given as `"bitmap"`. **Never here:** the hot path; all of this allocates. Where next:
//! `build`, `composite`.

use bytes::BytesMut;
use serde_json::{Map, Value};

use super::bitmap::Bitmap;
use super::build::{Builder, EncodeError, check_raw, put_binary, put_composite, put_text};
use super::compose::CompositeBuilder;
use super::composite::{Inner, Key, walk, walk_tlv};
use super::field::{FieldSpec, Format, Rule, Secrecy};
use super::message::Message;
use super::spec::Dialect;

/// What a hidden value shows.
const HIDDEN: &str = "***";

/// Why a JSON document is no message of the dialect. It never carries a value of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// `mti` is missing or not four digits.
    #[error("\"mti\" must be a text of four digits")]
    Mti,
    /// `fields` is missing or no object.
    #[error("\"fields\" must be an object")]
    Fields,
    /// A key of `fields` is no field number.
    #[error("a key of \"fields\" is no field number from 2 to 192")]
    Number,
    /// A key of a composite field is no sub-field.
    #[error("field {field}: a key is no sub-field or tag")]
    SubField {
        /// The field or sub-field around it.
        field: u32,
    },
    /// A value has the wrong form: text where the field wants hex, a number, a list.
    #[error(
        "field {field}: the value must be text, hex for a binary field, or an object for a composite one"
    )]
    Form {
        /// The field or sub-field.
        field: u32,
    },
    /// `bitmap` does not announce exactly the fields.
    #[error("\"bitmap\" does not announce exactly the fields")]
    Bitmap,
    /// A value does not fit its field.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// The message as JSON. With `clear` it is complete; without, masked and secret values are hidden, and so is
/// everything the dialect does not know.
#[must_use]
pub fn to_json(message: &Message<'_>, clear: bool) -> Value {
    let mut fields = Map::new();
    for (n, spec) in message.fields() {
        let (Some(raw), Some((value, units))) = (message.raw(n), message.content(n)) else {
            continue;
        };
        fields.insert(n.to_string(), show(spec, raw, value, units, clear));
    }
    let mut root = Map::new();
    root.insert("mti".into(), String::from_utf8_lossy(&message.mti()).into());
    if message.bitmap_wire() != implied_bitmap(message) {
        root.insert("bitmap".into(), hex::encode_upper(message.bitmap_wire()).into());
    }
    root.insert("fields".into(), fields.into());
    root.into()
}

/// The bitmaps a builder writes for the fields of `message`.
fn implied_bitmap(message: &Message<'_>) -> Vec<u8> {
    let dialect = message.dialect();
    let mut bitmap = *message.present();
    let bitmaps = usize::from(bitmap.last().unwrap_or(1).div_ceil(64));
    if bitmaps > 1 {
        bitmap.insert(1);
    }
    if bitmaps > 2 {
        bitmap.insert(65);
    }
    let form = dialect.bitmap_form();
    let mut wire = vec![0; bitmaps * form.bytes()];
    for (index, slot) in wire.chunks_mut(form.bytes()).enumerate() {
        form.write(bitmap.word(index), slot);
    }
    wire
}

/// A field as JSON: the first form that brings its wire bytes back.
fn show(spec: &FieldSpec, raw: &[u8], value: &[u8], units: u32, clear: bool) -> Value {
    if !clear && spec.secrecy() != Secrecy::Public {
        return hidden(spec, value, units);
    }
    let brings_back = |json: &Value| {
        let mut out = BytesMut::new();
        put(spec, json, &mut out).is_ok() && out == raw
    };
    let divided = |clear| spec.inner().and_then(|inner| object(inner, value, clear));
    if let Some(whole) = divided(true).filter(brings_back) {
        return if clear { whole } else { divided(false).unwrap_or_else(|| HIDDEN.into()) };
    }
    if !clear && spec.inner().is_some_and(holds_secrets) {
        return HIDDEN.into();
    }
    plain(spec, value, units)
        .filter(brings_back)
        .unwrap_or_else(|| Value::Object(Map::from_iter([("raw".into(), hex_of(raw))])))
}

/// Whether something inside may not be shown, so that an undivided value may not be shown either.
fn holds_secrets(inner: &Inner) -> bool {
    inner
        .subs()
        .iter()
        .any(|sub| sub.secrecy() != Secrecy::Public || sub.inner().is_some_and(holds_secrets))
}

fn hidden(spec: &FieldSpec, value: &[u8], units: u32) -> Value {
    let mut text = Vec::new();
    let readable = spec.text_into(value, units, &mut text).is_some();
    let number = readable && text.len() >= 13 && text.iter().all(u8::is_ascii_digit);
    if spec.secrecy() != Secrecy::Masked || !number {
        return HIDDEN.into();
    }
    let end = text.len() - 4;
    for digit in &mut text[6..end] {
        *digit = b'*';
    }
    latin(&text).into()
}

fn plain(spec: &FieldSpec, value: &[u8], units: u32) -> Option<Value> {
    let mut out = Vec::new();
    if spec.format() == Format::B {
        spec.binary_into(value, &mut out)?;
        return Some(hex_of(&out));
    }
    spec.text_into(value, units, &mut out)?;
    Some(latin(&out).into())
}

fn hex_of(bytes: &[u8]) -> Value {
    hex::encode_upper(bytes).into()
}

/// Latin-1 bytes as characters.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Characters as Latin-1 bytes.
fn unlatin(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

fn object(inner: &Inner, value: &[u8], clear: bool) -> Option<Value> {
    if matches!(inner, Inner::Positional(_)) {
        return None;
    }
    let mut out = Map::new();
    for entry in walk(inner, value) {
        let entry = entry.ok()?;
        let unknown = !clear && entry.spec.is_none();
        let (key, json) = match (inner, entry.key) {
            (Inner::Bitmap { .. }, Key::Number(n)) => {
                let spec = entry.spec?;
                (n.to_string(), show(spec, entry.raw, entry.value, entry.units, clear))
            }
            (Inner::Tagged { length_digits: 0, .. }, Key::Number(n)) if n > 0 => {
                let public = entry.spec.is_some_and(|s| s.secrecy() == Secrecy::Public);
                let json = plain(entry.spec?, entry.value, entry.units)?;
                (n.to_string(), if clear || public { json } else { HIDDEN.into() })
            }
            (Inner::Tagged { charset, .. }, Key::Number(n)) => {
                let public = entry.spec.is_some_and(|s| s.secrecy() == Secrecy::Public);
                let text: Vec<u8> =
                    entry.value.iter().map(|b| charset.charset().to_latin(*b)).collect();
                let json = match entry.spec {
                    _ if !clear && !public => HIDDEN.into(),
                    Some(spec) if spec.format() == Format::B => hex_of(entry.value),
                    _ => latin(&text).into(),
                };
                (n.to_string(), json)
            }
            (Inner::DataSets(_), Key::Tag(id)) => {
                (format!("{id:02X}"), data_set(inner, entry.value, clear))
            }
            (_, Key::Tag(tag)) => {
                let public = entry.spec.is_some_and(|s| s.secrecy() == Secrecy::Public);
                let json = if clear || public { hex_of(entry.value) } else { HIDDEN.into() };
                (format!("{tag:02X}"), json)
            }
            (_, Key::Name(name)) => {
                (latin(name), if unknown { HIDDEN.into() } else { latin(entry.value).into() })
            }
            (_, Key::Number(_)) => return None,
        };
        if out.insert(key, json).is_some() {
            return None;
        }
    }
    Some(out.into())
}

fn data_set(inner: &Inner, value: &[u8], clear: bool) -> Value {
    let mut out = Map::new();
    for entry in walk_tlv(inner, value) {
        let Ok(entry) = entry else { return if clear { hex_of(value) } else { HIDDEN.into() } };
        let Some(tag) = entry.key.number() else { continue };
        let public = entry.spec.is_some_and(|s| s.secrecy() == Secrecy::Public);
        let json = if clear || public { hex_of(entry.value) } else { HIDDEN.into() };
        if out.insert(format!("{tag:02X}"), json).is_some() {
            return if clear { hex_of(value) } else { HIDDEN.into() };
        }
    }
    out.into()
}

/// The message that `json` describes.
///
/// # Errors
///
/// The first thing in it that the dialect cannot write.
pub fn from_json(dialect: &Dialect, json: &Value) -> Result<BytesMut, JsonError> {
    let mti = json.get("mti").and_then(Value::as_str).ok_or(JsonError::Mti)?;
    let mti: [u8; 4] = mti.as_bytes().try_into().map_err(|_| JsonError::Mti)?;
    if !mti.iter().all(u8::is_ascii_digit) {
        return Err(JsonError::Mti);
    }
    let fields = json.get("fields").and_then(Value::as_object).ok_or(JsonError::Fields)?;
    let mut numbered = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        let number: u8 = key.parse().map_err(|_| JsonError::Number)?;
        numbered.push((number, value));
    }
    numbered.sort_by_key(|(number, _)| *number);
    let mut out = BytesMut::new();
    let mut builder = Builder::new(dialect, mti, &mut out);
    for (number, value) in &numbered {
        let spec = builder.open(*number)?;
        put(spec, value, builder.out)?;
        builder.close(*number);
    }
    let Some(bitmap) = json.get("bitmap") else {
        builder.finish();
        return Ok(out);
    };
    let wire = bitmap.as_str().and_then(|text| hex::decode(text).ok()).ok_or(JsonError::Bitmap)?;
    let form = dialect.bitmap_form();
    let bitmaps = u8::try_from(wire.len() / form.bytes()).map_err(|_| JsonError::Bitmap)?;
    builder.announce(bitmaps);
    builder.finish();
    let at = dialect.mti_encoding().bytes();
    let slot = out.get_mut(at..at + wire.len()).ok_or(JsonError::Bitmap)?;
    let words = |bytes: &[u8]| {
        let mut bitmap = Bitmap::EMPTY;
        for (index, chunk) in bytes.chunks(form.bytes()).enumerate() {
            bitmap.set_word(index, form.read(chunk).filter(|_| chunk.len() == form.bytes())?);
        }
        Some(bitmap)
    };
    if words(&wire).is_none() || words(&wire) != words(slot) {
        return Err(JsonError::Bitmap);
    }
    slot.copy_from_slice(&wire);
    Ok(out)
}

/// Writes a field, prefix included, from its JSON.
fn put(spec: &FieldSpec, json: &Value, out: &mut BytesMut) -> Result<(), JsonError> {
    let form = JsonError::Form { field: spec.number() };
    match json {
        Value::Object(object) => match (object.get("raw"), object.len()) {
            (Some(raw), 1) if !matches!(spec.inner(), Some(Inner::Structured)) => {
                let raw = raw.as_str().and_then(|text| hex::decode(text).ok()).ok_or(form)?;
                let failed = |rule| EncodeError { field: spec.number(), rule };
                check_raw(&spec.wire, &raw).map_err(failed)?;
                out.extend_from_slice(&raw);
                Ok(())
            }
            _ => {
                let mut bad = None;
                let done = put_composite(spec, out, |builder| {
                    object.iter().try_for_each(|(key, value)| {
                        put_sub(builder, spec, key, value).map_err(|error| {
                            bad = Some(error);
                            EncodeError { field: spec.number(), rule: Rule::Kind }
                        })
                    })
                });
                match bad {
                    Some(error) => Err(error),
                    None => Ok(done?),
                }
            }
        },
        Value::String(text) if spec.format() == Format::B => {
            Ok(put_binary(spec, &hex::decode(text).map_err(|_| form)?, out)?)
        }
        Value::String(text) => Ok(put_text(spec, &unlatin(text).ok_or(form)?, out)?),
        _ => Err(form),
    }
}

fn put_sub(
    builder: &mut CompositeBuilder<'_>,
    parent: &FieldSpec,
    key: &str,
    json: &Value,
) -> Result<(), JsonError> {
    let unknown = JsonError::SubField { field: parent.number() };
    let number = |radix| u32::from_str_radix(key, radix).map_err(|_| unknown);
    let form = |field| JsonError::Form { field };
    let text = |field| json.as_str().ok_or_else(|| form(field));
    let bytes = |field| hex::decode(text(field)?).map_err(|_| form(field));
    match parent.inner() {
        Some(Inner::Bitmap { .. }) => {
            let spec = builder.open(number(10)?)?;
            put(spec, json, builder.out)
        }
        Some(inner @ Inner::Tagged { .. }) => {
            let tag = number(10)?;
            if inner.sub(tag).is_some_and(|spec| spec.format() == Format::B) {
                return Ok(builder.binary(tag, &bytes(tag)?)?);
            }
            Ok(builder.text(tag, &unlatin(text(tag)?).ok_or_else(|| form(tag))?)?)
        }
        Some(Inner::Tlv(_)) => {
            let tag = number(16)?;
            Ok(builder.binary(tag, &bytes(tag)?)?)
        }
        Some(Inner::DataSets(_)) => {
            let id = number(16)?;
            let Value::Object(tags) = json else { return Ok(builder.binary(id, &bytes(id)?)?) };
            let mut tlv = BytesMut::new();
            for (tag, value) in tags {
                let tag = u32::from_str_radix(tag, 16).map_err(|_| unknown)?;
                let value = value
                    .as_str()
                    .and_then(|text| hex::decode(text).ok())
                    .ok_or_else(|| form(tag))?;
                super::compose::tlv(&mut tlv, tag, &value)
                    .ok_or(EncodeError { field: tag, rule: Rule::TooLong })?;
            }
            Ok(builder.binary(id, &tlv)?)
        }
        Some(Inner::Structured) => {
            let name = unlatin(key).ok_or(unknown)?;
            let value = unlatin(text(parent.number())?).ok_or_else(|| form(parent.number()))?;
            Ok(builder.named(&name, &value)?)
        }
        Some(Inner::Positional(_)) | None => Err(unknown),
    }
}
