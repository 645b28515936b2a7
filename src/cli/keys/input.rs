//! What `pinion keys` reads: components and wrapped keys in hex, typed or from files, and key pairs as PEM.
//!
//! **Never here:** what becomes of them; a key that a terminal shows while it is typed.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use crate::cli::keys::KeysError;
use crate::hsm::key::{KEY_BYTES_MAX, rsa};
use crate::hsm::keyfile::KeyFileError;
use crate::hsm::tr31::BLOCK_BYTES_MAX;

/// Longest line or file that carries a component: hex in groups with white space.
const INPUT_BYTES_MAX: usize = 512;
/// Longest PEM file that is read: a key pair of 4096 bits takes a fifth of it.
const PEM_BYTES_MAX: usize = 16 * 1024;

/// Hex of a file, or of one line of standard input for `-`. White space does not count.
pub(super) fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    if path == Path::new("-") {
        return prompt(1, 1);
    }
    let io = |source| KeyFileError::Io { path: path.into(), doing: "read", source };
    let mut text = Zeroizing::new(Vec::with_capacity(INPUT_BYTES_MAX + 1));
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(io)?;
    parse_hex(&text).map_err(|why| KeysError::Input(format!("{}: {why}", path.display())))
}

/// The key block of a file, or of standard input for `-`. White space around it does not count.
pub(super) fn read_block(path: &Path) -> Result<Vec<u8>, KeysError> {
    let limit = BLOCK_BYTES_MAX as u64 + 64;
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_until(b'\n', &mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text))
    };
    read.map_err(|source| KeyFileError::Io { path: path.into(), doing: "read", source })?;
    Ok(text.trim_ascii().to_vec())
}

/// Writes a wrapped key to a file that is not there yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), KeysError> {
    let io = |source| KeyFileError::Io { path: path.into(), doing: "create", source };
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(io)?;
    writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(io)?;
    Ok(())
}

/// The PKCS #8 document of a PEM file.
pub(super) fn read_pem(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let io = |source| KeyFileError::Io { path: path.into(), doing: "read", source };
    let mut text = Zeroizing::new(Vec::with_capacity(PEM_BYTES_MAX));
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(PEM_BYTES_MAX as u64).read_to_end(&mut text).map_err(io)?;
    rsa::from_pem(&text).map_err(|why| KeysError::Input(format!("{}: {why}", path.display())))
}

/// Asks on standard error, reads a line of standard input, and keeps a terminal from showing it.
pub(super) fn prompt(number: usize, count: usize) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    prompt_for(&format!("component {number} of {count}"))
}

/// The same, with a text of its own.
pub(super) fn prompt_for(what: &str) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let input = std::io::stdin();
    let failed = |e: std::io::Error| KeysError::Input(format!("standard input: {e}"));
    let silent = input.is_terminal().then(|| Silence::start(&input));
    if silent.is_some() {
        let _ = write!(std::io::stderr(), "{what}: ");
    }
    let mut line = Zeroizing::new(Vec::with_capacity(INPUT_BYTES_MAX + 1));
    let limit = INPUT_BYTES_MAX as u64 + 1;
    input.lock().take(limit).read_until(b'\n', &mut line).map_err(failed)?;
    if silent.is_some() {
        let _ = writeln!(std::io::stderr());
    }
    parse_hex(&line).map_err(|why| KeysError::Input(format!("{what}: {why}")))
}

pub(super) fn parse_hex(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut digits = Zeroizing::new(Vec::with_capacity(INPUT_BYTES_MAX));
    digits.extend(text.iter().filter(|b| !b.is_ascii_whitespace()).take(INPUT_BYTES_MAX));
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 2]);
    if bytes.is_empty() || bytes.len() > KEY_BYTES_MAX {
        return Err(format!("{} hex digits; a key has 32, 48 or 64", digits.len()));
    }
    if let Err(error) = hex::decode_to_slice(&digits[..], &mut bytes) {
        bytes.zeroize();
        // The error of the crate shows the character; a wrong one is still part of a key.
        return Err(match error {
            hex::FromHexError::InvalidHexCharacter { index, .. } => {
                format!("character {} is no hex digit", index + 1)
            }
            _ => format!("{} hex digits; a key has 32, 48 or 64", digits.len()),
        });
    }
    Ok(bytes)
}

/// A terminal that does not show what is typed, until dropped.
struct Silence(Option<(std::io::Stdin, rustix::termios::Termios)>);

impl Silence {
    fn start(input: &std::io::Stdin) -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let Ok(before) = tcgetattr(input) else { return Self(None) };
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        match tcsetattr(input, OptionalActions::Flush, &silent) {
            Ok(()) => Self(Some((std::io::stdin(), before))),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some((input, before)) = &self.0 {
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(input, now, before);
        }
    }
}
