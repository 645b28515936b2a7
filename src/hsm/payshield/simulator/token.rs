//! Clear test keys as a device would give them out: for the demo, whose world is published, and for tests.

use zeroize::Zeroizing;

use crate::hsm::payshield::simulator::key::{Lmk, OpenKey, SealedKey, Sealing};
use crate::hsm::payshield::simulator::lmk::Kind;
use crate::hsm::payshield::wire::key::{BLOCK_HEADER, KeyType, Scheme};

/// A key under the published LMK with id 00: with the scheme of its length under a variant LMK, else as a key block of
/// this usage. `None` where there is no such key, as an AES key under a variant LMK.
#[must_use]
pub fn token(
    lmk: Kind,
    key_type: KeyType,
    usage: [u8; 2],
    aes: bool,
    clear: &[u8],
) -> Option<String> {
    let key = OpenKey::new(Zeroizing::new(clear.to_vec()), aes);
    let form = match (lmk, clear.len()) {
        (Kind::Variant, 8) => Sealing::Scheme(Scheme::Bare, key_type),
        (Kind::Variant, 16) => Sealing::Scheme(Scheme::U, key_type),
        (Kind::Variant, _) => Sealing::Scheme(Scheme::T, key_type),
        (Kind::TdesBlock | Kind::AesBlock, _) => {
            let mut header: [u8; BLOCK_HEADER] = *b"00000P0TN00N0000";
            header[0] = if lmk == Kind::AesBlock { b'1' } else { b'0' };
            header[5..7].copy_from_slice(&usage);
            header[7] = if aes { b'A' } else { b'T' };
            Sealing::Block(header)
        }
    };
    let sealed = Lmk::new(lmk, 0).seal(&key, &form, &[0; 16]).ok()?;
    let text = match sealed {
        SealedKey::Ecb(scheme, digits) => {
            scheme.letter().into_iter().chain(digits).collect::<Vec<_>>()
        }
        SealedKey::Block(block) => std::iter::once(b'S').chain(block).collect(),
        SealedKey::Tr31(block) => std::iter::once(b'R').chain(block).collect(),
    };
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `shared/domain/hsm.md` 3.3: keys of the public samples.
    #[test]
    fn a_test_key_has_the_text_that_devices_gave() {
        let clear = hex::decode("0123456789ABCDEFFEDCBA9876543210").unwrap();
        for (code, text) in [
            (b"001", "U063A0E7C0F2124E56192A4510F395ED7"),
            (b"002", "U1750CDFB0757D3B3994430636DBB281B"),
            (b"70D", "U8699395CD2688A2C9009FCA6FB1EB852"),
            (b"009", "U8E3D3E2FD5919657F05A1AA90D32A014"),
        ] {
            let token = token(Kind::Variant, KeyType(*code), *b"P0", false, &clear);
            assert_eq!(token.as_deref(), Some(text));
        }
        let block = token(Kind::TdesBlock, KeyType::ZPK, *b"P0", false, &clear).unwrap();
        assert!(block.starts_with("S00072P0TN00N0000"), "{block}");
    }
}
