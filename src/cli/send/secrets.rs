//! Keys and PINs of `pinion send`: from files, from a terminal without echo, or from the demo world by name.
//!
//! A real PIN or key on a command line is visible to every user of the machine and stays in the shell's history: PINs
//! are taken from there only under a published demo key. **Never here:** using them.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::read_file;
use crate::cli::Failure;
use crate::domain::pin::BlockFormat;
use crate::sim::dukpt::{KSN_BYTES, pin_key};
use crate::sim::pin_pad::{MacPad, PadError, PinPad, TypedPin};
use crate::sim::world::World;

/// Keys the terminal holds.
#[derive(Debug, Args)]
pub(super) struct Keys {
    /// Zone PIN key of the demo world, by name.
    #[arg(long, value_name = "NAME", default_value = "zpk.atm")]
    demo_key: String,
    /// Zone PIN key: a file with its clear value in hex. A test key: a real one belongs into an HSM.
    #[arg(long, value_name = "FILE")]
    zpk_file: Option<PathBuf>,
    /// Be a DUKPT terminal (TDES): base derivation key of the demo world, by name.
    #[arg(long, value_name = "NAME", requires = "ksn")]
    #[arg(conflicts_with_all = ["zpk_file", "bdk_file", "demo_key"])]
    bdk: Option<String>,
    /// The same with a key of one's own: a file with its clear value in hex. A test key.
    #[arg(long, value_name = "FILE", requires = "ksn", conflicts_with_all = ["zpk_file", "demo_key"])]
    bdk_file: Option<PathBuf>,
    /// Key serial number of the transaction: twenty hex digits, sent as text.
    #[arg(long, value_name = "HEX")]
    ksn: Option<String>,
    /// Field of the key serial number.
    #[arg(long, value_name = "N", default_value_t = 62, requires = "ksn")]
    ksn_field: u8,
    /// Layout of the PIN blocks.
    #[arg(long, value_enum, default_value = "iso0")]
    pin_block_format: Layout,
    /// Put a MAC under this key of the demo world.
    #[arg(long, value_name = "NAME", conflicts_with = "mac_key_file")]
    mac_demo_key: Option<String>,
    /// Put a MAC under the key in this file, clear, in hex.
    #[arg(long, value_name = "FILE")]
    mac_key_file: Option<PathBuf>,
}

/// Words for the layouts that fit a field of eight bytes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Layout {
    Iso0,
    Iso1,
    Iso3,
}

impl Keys {
    /// The pad the PINs are typed into.
    pub(super) fn pin_pad(&self) -> Result<PinPad, Failure> {
        let format = match self.pin_block_format {
            Layout::Iso0 => BlockFormat::Iso0,
            Layout::Iso1 => BlockFormat::Iso1,
            Layout::Iso3 => BlockFormat::Iso3,
        };
        let bytes = match (&self.bdk, &self.bdk_file, &self.zpk_file) {
            (Some(name), ..) => self.derived(&from_world(name)?)?,
            (None, Some(path), _) => self.derived(&from_file(path)?)?,
            (None, None, Some(path)) => from_file(path)?,
            (None, None, None) => from_world(&self.demo_key)?,
        };
        PinPad::new(&bytes, format).map_err(unusable)
    }

    /// The key of the transaction's PIN blocks.
    fn derived(&self, bdk: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let bad = |what: &str| Failure::Usage(what.into());
        let bdk = bdk.try_into().map_err(|_| bad("a base derivation key has 16 bytes"))?;
        let mut ksn = [0; KSN_BYTES];
        hex::decode_to_slice(self.ksn.as_deref().unwrap_or_default(), &mut ksn)
            .map_err(|_| bad("--ksn takes twenty hex digits"))?;
        Ok(Zeroizing::new(pin_key(bdk, ksn).to_vec()))
    }

    /// The field of the key serial number and its text, on a DUKPT terminal.
    pub(super) fn serial_number(&self) -> Result<Option<(u8, &str)>, Failure> {
        match (&self.ksn, self.bdk.is_some() || self.bdk_file.is_some()) {
            (Some(ksn), true) => Ok(Some((self.ksn_field, ksn))),
            (Some(_), false) => Err(Failure::Usage("--ksn goes with --bdk or --bdk-file".into())),
            (None, _) => Ok(None),
        }
    }

    /// What makes MACs, where a key is named.
    pub(super) fn mac(&self) -> Result<Option<MacPad>, Failure> {
        let bytes = match (&self.mac_key_file, &self.mac_demo_key) {
            (Some(path), _) => from_file(path)?,
            (None, Some(name)) => from_world(name)?,
            (None, None) => return Ok(None),
        };
        MacPad::new(&bytes).map(Some).map_err(unusable)
    }

    fn are_of_the_demo(&self) -> bool {
        self.zpk_file.is_none() && self.bdk_file.is_none()
    }
}

fn unusable(reason: PadError) -> Failure {
    Failure::Usage(reason.to_string())
}

fn from_file(path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = read_file(path)?;
    let digits = text.trim_ascii();
    hex::decode(digits)
        .map(Zeroizing::new)
        .map_err(|_| Failure::Usage(format!("{}: not one key in hex", path.display())))
}

fn from_world(name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let world = World::embedded().map_err(|error| Failure::Other(error.into()))?;
    world.clear_key(name).map(|key| Zeroizing::new(key.to_vec())).ok_or_else(|| {
        let known: Vec<_> = world.keys.keys().map(String::as_str).collect();
        Failure::Usage(format!("no demo key {name:?}: one of {}", known.join(", ")))
    })
}

/// PINs the cardholder types.
#[derive(Args)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct Pins {
    /// Current PIN; under a demo key only. Without it: asked for, or a line of stdin.
    #[arg(long, value_name = "DIGITS")]
    pin: Option<String>,
    /// New PIN; under a demo key only. Without it: asked for, or a line of stdin.
    #[arg(long, value_name = "DIGITS")]
    new_pin: Option<String>,
    /// File with the current PIN on the first line and the new one on the second.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pin", "new_pin"])]
    pins_file: Option<PathBuf>,
}

impl std::fmt::Debug for Pins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pins(****)")
    }
}

impl Pins {
    /// The current PIN where it is needed, and the new one.
    pub(super) fn read(
        &self,
        keys: &Keys,
        current: bool,
        new: bool,
    ) -> Result<(Option<TypedPin>, Option<TypedPin>), Failure> {
        if !keys.are_of_the_demo() && (self.pin.is_some() || self.new_pin.is_some()) {
            return Err(Failure::Usage(
                "--pin and --new-pin are for demo keys: every user of this machine can see a command line; \
                 leave them out and type the PINs, or use --pins-file"
                    .into(),
            ));
        }
        if let Some(path) = &self.pins_file {
            let text = read_file(path)?;
            let mut lines = text.split(|byte| *byte == b'\n');
            let mut next = |wanted: bool, name| {
                wanted.then(|| typed(name, lines.next().unwrap_or_default())).transpose()
            };
            return Ok((next(current, "current")?, next(new, "new")?));
        }
        let ask = |wanted: bool, given: &Option<String>, name| match given {
            _ if !wanted => Ok(None),
            Some(digits) => typed(name, digits.as_bytes()).map(Some),
            None => ask(name).map(Some),
        };
        Ok((ask(current, &self.pin, "current")?, ask(new, &self.new_pin, "new")?))
    }
}

fn typed(name: &str, digits: &[u8]) -> Result<TypedPin, Failure> {
    TypedPin::new(digits.trim_ascii())
        .map_err(|reason| Failure::Usage(format!("{name} PIN: {reason}")))
}

/// One line of stdin; on a terminal with a prompt and without echo.
fn ask(name: &str) -> Result<TypedPin, Failure> {
    let failed = |error: std::io::Error| Failure::Other(anyhow::Error::new(error).context("stdin"));
    let stdin = std::io::stdin();
    let _quiet = if stdin.is_terminal() {
        eprint!("{name} PIN: ");
        // A prompt that cannot be shown is no reason not to read.
        let _ = std::io::stderr().flush();
        Some(Quiet::new().map_err(failed)?)
    } else {
        None
    };
    let mut line = Zeroizing::new(String::with_capacity(64));
    stdin.lock().read_line(&mut line).map_err(failed)?;
    typed(name, line.as_bytes())
}

/// Echo is off while this lives.
struct Quiet(Termios);

impl Quiet {
    fn new() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
        eprintln!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(zpk_file: Option<PathBuf>) -> Keys {
        Keys {
            demo_key: "zpk.atm".into(),
            zpk_file,
            bdk: None,
            bdk_file: None,
            ksn: None,
            ksn_field: 62,
            pin_block_format: Layout::Iso0,
            mac_demo_key: None,
            mac_key_file: None,
        }
    }

    fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn pins_on_a_command_line_need_a_demo_key() {
        let dir = tempfile::tempdir().unwrap();
        let zpk = file(&dir, "zpk.hex", "2315208C9110AD40A8B6C7D5E5F20210\n");
        let pins = Pins { pin: Some("1234".into()), new_pin: Some("5678".into()), pins_file: None };
        assert!(pins.read(&keys(None), true, true).is_ok());
        let refused = pins.read(&keys(Some(zpk.clone())), true, true).unwrap_err().to_string();
        assert!(refused.contains("--pins-file"), "{refused}");

        let pins_file = Some(file(&dir, "pins", "1234\r\n5678\n"));
        let pins = Pins { pin: None, new_pin: None, pins_file };
        let (current, new) = pins.read(&keys(Some(zpk.clone())), true, true).unwrap();
        assert_eq!((current.map(|p| p.len()), new.map(|p| p.len())), (Some(4), Some(4)));
        let (current, new) = pins.read(&keys(Some(zpk.clone())), false, false).unwrap();
        assert!(current.is_none() && new.is_none());
        assert!(keys(Some(zpk)).pin_pad().is_ok());
    }

    #[track_caller]
    fn check(keys: &Keys, want: &str) {
        let error = keys.pin_pad().unwrap_err();
        assert!(matches!(error, Failure::Usage(_)) && error.to_string().contains(want), "{error}");
    }

    #[test]
    fn keys_that_are_none_are_named() {
        let dir = tempfile::tempdir().unwrap();
        check(&Keys { demo_key: "zpk.none".into(), ..keys(None) }, "one of bdk.pos");
        check(&keys(Some(dir.path().join("missing"))), "missing");
        check(&keys(Some(file(&dir, "text", "no key"))), "not one key in hex");
        check(&keys(Some(file(&dir, "short", "00112233"))), "a key of 4 bytes");
        let terminal = |ksn: Option<&str>| Keys {
            bdk: Some("bdk.pos".into()),
            ksn: ksn.map(Into::into),
            ..keys(None)
        };
        check(&terminal(Some("FFFF9876543210E0000")), "twenty hex digits");
        check(&Keys { bdk: Some("zpk.none".into()), ..terminal(Some("00")) }, "one of bdk.pos");
        let right = terminal(Some("FFFF9876543210E00001"));
        assert!(right.pin_pad().is_ok());
        assert_eq!(right.serial_number().unwrap(), Some((62, "FFFF9876543210E00001")));
        let alone = Keys { ksn: Some("FFFF9876543210E00001".into()), ..keys(None) };
        assert!(alone.serial_number().unwrap_err().to_string().contains("--bdk"));
        assert!(keys(None).mac().unwrap().is_none());
    }
}
