//! [`KeyError`]: what can be wrong with a key, and what to do then.
//!
//! **Never here:** a byte of a key. Where next: `hsm::key`, which finds it.

use crate::hsm::key::rsa::RsaError;
use crate::hsm::key::{Algorithm, KeyType, MacMethod};

/// Why bytes are not an acceptable key. Names the key, never its bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The type does not go with the algorithm.
    #[error("key {name}: a {key_type} cannot be a key for {algorithm}; use {}", names(*key_type))]
    Algorithm {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
        /// The algorithm that does not fit.
        algorithm: Algorithm,
    },
    /// All bytes are zero.
    #[error("key {name}: all zeros; enter the components again, or generate another key")]
    AllZero {
        /// Key.
        name: Box<str>,
    },
    /// Two neighbouring thirds or halves are the same: triple DES would be single DES.
    #[error(
        "key {name}: part {part} equals the part before it, which makes triple DES single DES; \
         generate another key"
    )]
    EqualParts {
        /// Key.
        name: Box<str>,
        /// Second or third eight bytes.
        part: u8,
    },
    /// Another number of bytes than the algorithm takes.
    #[error(
        "key {name}: {bytes} bytes; a {key_type} for {algorithm} takes {lengths:?}",
        lengths = key_type.lengths(*algorithm)
    )]
    Length {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
        /// Algorithm.
        algorithm: Algorithm,
        /// What came.
        bytes: usize,
    },
    /// A MAC method that the key cannot have.
    #[error("key {name}: a {key_type} for {algorithm} makes no MACs by {method}")]
    Mac {
        /// Key.
        name: Box<str>,
        /// Its type.
        key_type: KeyType,
        /// Its algorithm.
        algorithm: Algorithm,
        /// The method.
        method: MacMethod,
    },
    /// A name other than lower-case letters, digits, `.`, `-`, `_`.
    #[error("key name {name:?}: use 1 to 64 of a-z, 0-9, '.', '-', '_', starting with a letter")]
    Name {
        /// As given.
        name: Box<str>,
    },
    /// A byte has an even number of one bits.
    #[error(
        "key {name}: byte {byte} has even parity; a DES key has odd parity in every byte: \
         it was entered wrong or decrypted under another key"
    )]
    Parity {
        /// Key.
        name: Box<str>,
        /// First such byte, from 1.
        byte: usize,
    },
    /// No acceptable RSA key pair.
    #[error("key {name}: {source}")]
    Rsa {
        /// Key.
        name: Box<str>,
        /// What is wrong with it.
        source: RsaError,
    },
    /// A published key.
    #[error(
        "key {name}: this is a published test key and protects nothing; generate one with \
         `pinion keys generate`, or set allow_test_keys = true in a test installation"
    )]
    Published {
        /// Key.
        name: Box<str>,
    },
}

fn names(key_type: KeyType) -> String {
    let names: Vec<_> = key_type.algorithms().iter().map(|a| a.name()).collect();
    names.join(" or ")
}
