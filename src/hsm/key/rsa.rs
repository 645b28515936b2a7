//! RSA key pairs as PKCS #8: made, read, checked, and their public halves shown.
//!
//! **Never here:** decryption (`soft::rsa`), a private key on the way out.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Shortest modulus, in bits.
pub const BITS_MIN: usize = 2048;
/// Longest modulus, in bits.
pub const BITS_MAX: usize = 4096;
/// Longest PKCS #8 document of such a key: nine numbers, of which two are as long as the modulus and five half as long.
pub(crate) const PKCS8_BYTES_MAX: usize = 2560;

/// Lengths that are made.
pub const BITS_MADE: [usize; 3] = [2048, 3072, 4096];

/// Why a document is no acceptable key pair. Carries nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RsaError {
    /// Another length.
    #[error("{bits} bits; an RSA key has {BITS_MIN} to {BITS_MAX}")]
    Bits {
        /// What came.
        bits: usize,
    },
    /// No key pair, or one whose numbers do not belong together.
    #[error("no unencrypted PKCS #8 document of an RSA key pair")]
    Form,
    /// Nothing could be made.
    #[error("no key pair could be made")]
    Generate,
}

/// Makes a key pair and gives its PKCS #8 document.
///
/// # Errors
/// [`RsaError::Bits`] for a length other than [`BITS_MADE`].
pub fn generate(bits: usize) -> Result<Zeroizing<Vec<u8>>, RsaError> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        bits => return Err(RsaError::Bits { bits }),
    };
    let key = PrivateDecryptingKey::generate(size).map_err(|_| RsaError::Generate)?;
    // AWS-LC wipes its own buffer on drop.
    let pkcs8 = key.as_der().map_err(|_| RsaError::Generate)?;
    Ok(Zeroizing::new(pkcs8.as_ref().to_vec()))
}

/// The PKCS #8 document of a PEM file with a `PRIVATE KEY`.
///
/// # Errors
/// [`RsaError::Form`].
pub fn from_pem(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, RsaError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| RsaError::Form)?;
    Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec()))
}

/// Bits of the modulus of an acceptable key pair.
///
/// # Errors
/// [`RsaError`].
pub fn bits(pkcs8: &[u8]) -> Result<usize, RsaError> {
    let bits = parse(pkcs8)?.key_size_bits();
    if (BITS_MIN..=BITS_MAX).contains(&bits) { Ok(bits) } else { Err(RsaError::Bits { bits }) }
}

/// The public key of a pair: `SubjectPublicKeyInfo`, DER.
///
/// # Errors
/// [`RsaError::Form`].
pub fn public_der(pkcs8: &[u8]) -> Result<Vec<u8>, RsaError> {
    let public = parse(pkcs8)?.public_key().as_der().map_err(|_| RsaError::Form)?;
    Ok(public.as_ref().to_vec())
}

/// The public key of a pair as PEM, with a line end at its end.
///
/// # Errors
/// [`RsaError::Form`].
pub fn public_pem(pkcs8: &[u8]) -> Result<String, RsaError> {
    let text = STANDARD.encode(public_der(pkcs8)?);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    Ok(pem)
}

/// SHA-256 of the public key, which names the pair.
///
/// # Errors
/// [`RsaError::Form`].
pub fn fingerprint(pkcs8: &[u8]) -> Result<[u8; 32], RsaError> {
    Ok(Sha256::digest(public_der(pkcs8)?).into())
}

/// The modulus of a public key, big-endian, without leading zeros: `SEQUENCE { algorithm, BIT STRING { SEQUENCE {
/// INTEGER n, INTEGER e } } }` (RFC 8017 A.1.1 in RFC 5280 4.1).
pub(crate) fn modulus(public: &[u8]) -> Option<&[u8]> {
    let (info, _) = element(0x30, public)?;
    let (_algorithm, rest) = element(0x30, info)?;
    let (bits, _) = element(0x03, rest)?;
    let (key, _) = element(0x30, bits.strip_prefix(&[0])?)?;
    let (number, _) = element(0x02, key)?;
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..)
}

/// The content of the DER element at the head of `bytes`, and what follows it. Lengths of up to two bytes.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [first, 0x82, high, low, rest @ ..] if *first == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        [first, 0x81, length, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, length @ ..=0x7F, rest @ ..] if *first == tag => (usize::from(*length), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn parse(pkcs8: &[u8]) -> Result<PrivateDecryptingKey, RsaError> {
    PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| RsaError::Form)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Made by the Python package cryptography.
    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../tests/vectors/rsa.json")).unwrap()
    }

    #[test]
    fn documents_of_another_program_are_read_as_it_reads_them() {
        for (name, key) in vectors()["keys"].as_object().unwrap() {
            let text = |field: &str| key[field].as_str().unwrap();
            let pkcs8 = from_pem(text("pem").as_bytes()).unwrap();
            assert_eq!(hex::encode(&pkcs8[..]), text("pkcs8"), "{name}");
            assert_eq!(bits(&pkcs8), Ok(usize::try_from(key["bits"].as_u64().unwrap()).unwrap()));
            assert_eq!(public_pem(&pkcs8).unwrap(), text("public_pem"), "{name}");
            assert_eq!(hex::encode(fingerprint(&pkcs8).unwrap()), text("public_sha256"), "{name}");
            let public = public_der(&pkcs8).unwrap();
            assert_eq!(hex::encode(modulus(&public).unwrap()), text("modulus"), "{name}");
            assert!(pkcs8.len() <= PKCS8_BYTES_MAX, "{name}");
            assert_eq!(bits(&pkcs8[1..]), Err(RsaError::Form), "{name}");
        }
        assert_eq!(from_pem(b"-----BEGIN X-----"), Err(RsaError::Form));
    }

    #[test]
    fn a_made_pair_is_one() {
        let pkcs8 = generate(2048).unwrap();
        assert_eq!(bits(&pkcs8), Ok(2048));
        assert_ne!(generate(2048).unwrap(), pkcs8);
        assert_eq!(generate(1024), Err(RsaError::Bits { bits: 1024 }));
    }
}
