//! ISO 8583: bytes to message and back, by dialects that are data.
//!
//! [`decode`] checks every field in one pass and borrows; [`Builder`] writes straight into the output. **Never here:**
//! sockets, keys, or what a PIN change is: a dialect's sections about that are handed out unread. Where next: `spec`
//! for dialects, `frame` for the stream, `message` for reading, `build` for writing, `tlv` for chip data, `json` for
//! the form that tools use, `explain` for people.

pub mod bitmap;
pub mod build;
pub mod compose;
pub mod composite;
pub mod encoding;
pub mod explain;
pub mod field;
pub mod frame;
pub mod item;
pub mod json;
mod load;
pub mod mac;
pub mod message;
pub mod spec;
pub mod sub;
pub mod tlv;
mod wire;

pub use bitmap::{Bitmap, BitmapForm, FIELD_NUMBER_MAX};
pub use build::{Builder, EncodeError};
pub use compose::CompositeBuilder;
pub use composite::{Entry, Inner, Key, walk};
pub use encoding::{Charset, TEXT_BYTES_MAX, Text};
pub use field::{Encoding, FieldSpec, Format, Length, PrefixEncoding, Rule, Secrecy};
pub use item::Item;
pub use json::{JsonError, from_json, to_json};
pub use mac::MacView;
pub use message::{DecodeError, Layout, Message, decode};
pub use spec::{Dialect, MtiEncoding, SpecError, SpecProblem};
pub use sub::Sub;

#[cfg(test)]
mod tests;
