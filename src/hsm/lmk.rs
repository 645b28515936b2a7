//! The local master key: 32 random bytes in a file of its own, under which everything else is kept.
//!
//! It encrypts nothing itself. Each use has a key of its own, derived by HMAC-SHA-256 over a label (the one-step form
//! of NIST SP 800-108), so that a PIN never meets a key that seals keys. **Never here:** the sealed key file
//! (`keyfile`).

use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use zeroize::Zeroizing;

use crate::hsm::key::{KeyError, TestKeys};
use crate::hsm::keyfile::KeyFileError;
use crate::hsm::published;

/// Bytes of the key.
pub const LMK_BYTES: usize = 32;
/// Longest LMK file: 64 hex digits and white space.
const FILE_BYTES_MAX: usize = 128;

/// The key. Wiped on drop.
pub struct Lmk(Zeroizing<[u8; LMK_BYTES]>);

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// MACs the audit chain, where no key of that type is loaded.
    Audit,
    /// Names the LMK: a value that reveals nothing of it.
    Identity,
    /// Hashes account numbers, where no key of that type is loaded.
    PanHash,
    /// Seals account numbers, where no key of that type is loaded.
    PanSeal,
    /// Encrypts PINs.
    Pins,
    /// Seals keys in the key file.
    SealKeys,
}

impl Use {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Audit => b"pinion lmk 1 audit",
            Self::Identity => b"pinion lmk 1 identity",
            Self::PanHash => b"pinion lmk 1 pan-hash",
            Self::PanSeal => b"pinion lmk 1 pan-seal",
            Self::Pins => b"pinion lmk 1 pins",
            Self::SealKeys => b"pinion lmk 1 seal-keys",
        }
    }
}

impl Lmk {
    /// Takes the bytes.
    ///
    /// # Errors
    /// [`KeyError`] of the key named `lmk`.
    pub fn new(bytes: Zeroizing<[u8; LMK_BYTES]>, test_keys: TestKeys) -> Result<Self, KeyError> {
        if bytes.iter().all(|b| *b == 0) {
            return Err(KeyError::AllZero { name: "lmk".into() });
        }
        if test_keys == TestKeys::Refused && published::is_published(&bytes[..]) {
            return Err(KeyError::Published { name: "lmk".into() });
        }
        Ok(Self(bytes))
    }

    /// The published LMK of the demo.
    #[must_use]
    pub fn demo() -> Self {
        Self(Zeroizing::new(published::DEMO_LMK))
    }

    /// Makes a random one.
    ///
    /// # Errors
    /// [`KeyFileError::Random`].
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut bytes = Zeroizing::new([0; LMK_BYTES]);
        getrandom::fill(&mut bytes[..]).map_err(|_| KeyFileError::Random)?;
        Ok(Self(bytes))
    }

    /// Reads the file: 64 hex digits, readable by its owner only, or handed over by systemd (`LoadCredential=`).
    ///
    /// # Errors
    /// [`KeyFileError`] names the file.
    pub fn read(path: &Path, test_keys: TestKeys) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.into(), doing: "read", source };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let bits = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        if !is_private(path, bits, credentials.as_deref()) {
            return Err(KeyFileError::Permissions { path: path.into(), mode: bits });
        }
        let mut text = Zeroizing::new([0; FILE_BYTES_MAX]);
        let mut len = 0;
        while len < FILE_BYTES_MAX {
            match file.read(&mut text[len..]).map_err(io)? {
                0 => break,
                count => len += count,
            }
        }
        let mut bytes = Zeroizing::new([0; LMK_BYTES]);
        hex::decode_to_slice(text[..len].trim_ascii(), &mut bytes[..])
            .map_err(|_| KeyFileError::LmkForm { path: path.into() })?;
        Self::new(bytes, test_keys)
            .map_err(|source| KeyFileError::Key { path: Some(path.into()), source })
    }

    /// Writes a new file, readable by its owner only. An existing file is never overwritten.
    ///
    /// # Errors
    /// [`KeyFileError`] names the file.
    pub fn create_file(&self, path: &Path) -> Result<(), KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.into(), doing: "create", source };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let mut text = Zeroizing::new([0; 2 * LMK_BYTES + 1]);
        let (digits, end) = text.split_at_mut(2 * LMK_BYTES);
        hex::encode_to_slice(&self.0[..], digits)
            .map_err(|_| KeyFileError::LmkForm { path: path.into() })?;
        end.fill(b'\n');
        file.write_all(&text[..]).map_err(io)?;
        file.sync_all().map_err(io)?;
        sync_directory(path).map_err(io)
    }

    /// The key for one use.
    #[must_use]
    pub fn derive(&self, purpose: Use) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        // HMAC takes keys of any length, so the error cannot occur; zeros would fail every later check.
        if let Ok(mac) = Hmac::<sha2::Sha256>::new_from_slice(&self.0[..]) {
            key.copy_from_slice(&mac.chain_update(purpose.label()).finalize().into_bytes());
        }
        key
    }

    /// Eight bytes that name it in a key file.
    #[must_use]
    pub fn identity(&self) -> [u8; 8] {
        self.derive(Use::Identity).first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for Lmk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lmk(****)")
    }
}

/// Whether nobody but the switch can read a file of this mode. A credential of systemd may be a file of root's that an
/// access list opens to the service's user: then the group's bits are the mask of that list, and the directory lets
/// nobody else in.
fn is_private(path: &Path, bits: u32, credentials: Option<&Path>) -> bool {
    let is_credential = path.parent().is_some_and(|parent| credentials == Some(parent));
    let others = bits & 0o077;
    others == 0 || is_credential && others == 0o040
}

/// Makes the entry of a new or renamed file durable.
pub(crate) fn sync_directory(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    std::fs::File::open(parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_credential_may_show_a_bit_of_the_group() {
        let credentials = Path::new("/run/credentials/pinion.service");
        for (path, bits, credentials, want) in [
            ("/etc/pinion/lmk", 0o400, None, true),
            ("/etc/pinion/lmk", 0o600, Some(credentials), true),
            ("/etc/pinion/lmk", 0o440, None, false),
            ("/etc/pinion/lmk", 0o440, Some(credentials), false),
            ("/run/credentials/pinion.service/lmk", 0o400, Some(credentials), true),
            ("/run/credentials/pinion.service/lmk", 0o440, Some(credentials), true),
            ("/run/credentials/pinion.service/lmk", 0o440, None, false),
            ("/run/credentials/other.service/lmk", 0o440, Some(credentials), false),
            ("/run/credentials/pinion.service/../x/lmk", 0o440, Some(credentials), false),
            ("/run/credentials/pinion.service/lmk", 0o460, Some(credentials), false),
            ("/run/credentials/pinion.service/lmk", 0o444, Some(credentials), false),
        ] {
            assert_eq!(is_private(Path::new(path), bits, credentials), want, "{path} {bits:o}");
        }
    }
}
