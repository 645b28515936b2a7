//! Bytes and structures: frames, keys, PIN fields, every command and its answer, and what each error code means.
//!
//! ```text
//! length 2 │ header m │ code 2 │ fields ... │ %nn │ X'19 + up to 32
//! ```
//!
//! Fields are read one after the other, and each says how long it is: nothing is ever split at a byte that could be
//! data. Where a length depends on what is not in the command (a single or double bare key, a KSN), the readings are
//! tried in a fixed order and the one that uses up every byte is it. What was read writes the same bytes again. A
//! device may be set to EBCDIC: then every character is translated, and no binary field. **Never here:** a socket, a
//! clear key, arithmetic. Where next: `command` for the commands, `error` and `listed` for the codes.

pub mod command;
pub mod error;
pub mod field;
pub mod frame;
pub mod key;
mod layout;
mod listed;
pub mod message;
pub mod option;
pub mod pin_field;
pub mod scan;
#[cfg(test)]
mod tests;

pub use self::command::Request;
pub use self::error::{Class, ErrorCode, Meaning, has_data, meaning};
pub use self::listed::listed;
pub use self::message::{
    Answer, Envelope, Scratch, decode_answer, decode_request, encode_answer, encode_request,
};
pub use self::scan::{Fault, Field, Settings};
