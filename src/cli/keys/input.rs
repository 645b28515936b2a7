//! What `pinion keys` reads: components and wrapped keys in hex, typed or from files, and key pairs as PEM.
//!
//! **Never here:** what becomes of them; a key that a terminal shows while it is typed.

use std::io::{BufRead, IsTerminal, Read, Stdin, Write};
use std::path::Path;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::{Zeroize, Zeroizing};

use crate::cli::keys::KeysError;
use crate::hsm::key::{KEY_BYTES_MAX, rsa};
use crate::hsm::keyfile::KeyFileError;
use crate::hsm::tr31::BLOCK_BYTES_MAX;

/// Longest line or file that carries a component: hex in groups with white space.
const INPUT_BYTES_MAX: usize = 512;
/// How often somebody who types no hex is asked.
const TRIES_AT_A_TERMINAL: u32 = 3;
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

/// The same, with a text of its own. Whoever sits at a terminal and types no hex is asked again.
pub(super) fn prompt_for(what: &str) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let input = std::io::stdin();
    let silence = if input.is_terminal() { Some(Silence::start(&input)?) } else { None };
    let mut left = if silence.is_some() { TRIES_AT_A_TERMINAL } else { 1 };
    loop {
        left -= 1;
        match parse_hex(&typed(&input, silence.as_ref(), what)?) {
            Ok(bytes) => return Ok(bytes),
            Err(why) if left == 0 => return Err(KeysError::Input(format!("{what}: {why}"))),
            Err(why) => {
                let _ = writeln!(std::io::stderr(), "{why}: enter it again");
            }
        }
    }
}

/// One line, as long as a component may be; what is longer is cut off after that. It stays in no other buffer.
fn typed(
    input: &Stdin,
    silence: Option<&Silence<'_>>,
    what: &str,
) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let failed = |e: std::io::Error| KeysError::Input(format!("standard input: {e}"));
    if silence.is_some() {
        let _ = write!(std::io::stderr(), "{what}: ");
    }
    let mut line = Zeroizing::new(Vec::with_capacity(INPUT_BYTES_MAX + 1));
    let mut byte = Zeroizing::new([0]);
    loop {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(input, &mut byte[..]));
        if read.map_err(|error| failed(error.into()))? == 0 || byte[0] == b'\n' {
            break;
        }
        if silence.is_some_and(|silence| silence.is_interrupt(byte[0])) {
            return Err(KeysError::Input("interrupted: nothing was kept".into()));
        }
        if line.len() <= INPUT_BYTES_MAX {
            line.push(byte[0]);
        }
    }
    if silence.is_some() {
        let _ = writeln!(std::io::stderr());
    }
    Ok(line)
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

/// A terminal that does not show what is typed, until dropped. An interrupt (Ctrl-C) is a character meanwhile, and ends
/// the line: as a signal it would end the program before the terminal is as it was.
struct Silence<'i> {
    input: &'i Stdin,
    before: Termios,
}

impl<'i> Silence<'i> {
    /// Whatever was typed ahead is thrown away: the terminal has shown it.
    fn start(input: &'i Stdin) -> Result<Self, KeysError> {
        let failed = |error: rustix::io::Errno| {
            KeysError::Input(format!(
                "the terminal would show what is typed: {}; use another one, or --component",
                std::io::Error::from(error)
            ))
        };
        let before = tcgetattr(input).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VEOL] =
            before.special_codes[SpecialCodeIndex::VINTR];
        silent.special_codes[SpecialCodeIndex::VEOL2] =
            before.special_codes[SpecialCodeIndex::VQUIT];
        tcsetattr(input, OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Self { input, before })
    }

    /// Zero is what stands there for no character at all.
    fn is_interrupt(&self, byte: u8) -> bool {
        let codes = &self.before.special_codes;
        let ends = [SpecialCodeIndex::VINTR, SpecialCodeIndex::VQUIT];
        byte != 0 && ends.into_iter().any(|end| codes[end] == byte)
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.input, OptionalActions::Now, &self.before);
    }
}
