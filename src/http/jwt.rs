//! Bearer tokens that a configured issuer signed: RS256 or ES256, and nothing else.
//!
//! **Never here:** what the subject may do (`client`).

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use crate::domain::clock::WallMillis;

/// How far the issuer's clock may be off.
const LEEWAY_SECONDS: u64 = 30;

/// Signatures that are accepted. The token does not choose: the configuration does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Signature {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

/// Whose tokens are believed.
pub struct Issuer {
    key: DecodingKey,
    validation: Validation,
}

/// The file has no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PEM section PUBLIC KEY")]
pub struct NoPublicKey;

/// What of a token counts.
#[derive(Deserialize)]
struct Claims {
    sub: Box<str>,
    exp: u64,
    #[serde(default)]
    nbf: u64,
}

impl Issuer {
    /// From the public key in PEM; tokens must be for `audience`.
    ///
    /// # Errors
    /// [`NoPublicKey`].
    pub fn new(pem: &[u8], signature: Signature, audience: &str) -> Result<Self, NoPublicKey> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| NoPublicKey)?;
        let (key, algorithm) = match signature {
            Signature::Es256 => (DecodingKey::from_ec_der(&key), Algorithm::ES256),
            Signature::Rs256 => (DecodingKey::from_rsa_der(&key), Algorithm::RS256),
        };
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "sub", "aud"]);
        // Times are compared here, with the switch's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self { key, validation })
    }

    /// The subject of a token that is genuine and in force.
    pub(super) fn subject(&self, token: &str, wall: WallMillis) -> Option<Box<str>> {
        let claims = decode::<Claims>(token, &self.key, &self.validation).ok()?.claims;
        let now = wall.0 / 1000;
        let in_force = claims.nbf.saturating_sub(LEEWAY_SECONDS) <= now
            && now < claims.exp.saturating_add(LEEWAY_SECONDS);
        in_force.then_some(claims.sub)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({:?})", self.validation.algorithms)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    };
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    const NOW: WallMillis = WallMillis(1_800_000_000_000);

    enum Signer {
        Es(EcdsaKeyPair),
        Rs(Box<RsaKeyPair>),
    }

    impl Signer {
        fn es() -> Self {
            Self::Es(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        }

        fn rs() -> Self {
            Self::Rs(Box::new(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap()))
        }

        fn pem(&self) -> String {
            let der = match self {
                Self::Es(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
                Self::Rs(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
            };
            let text = STANDARD.encode(der);
            format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
        }

        fn token(&self, header: &str, claims: &str) -> String {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let signed = format!("{}.{}", part(header), part(claims));
            let random = SystemRandom::new();
            let signature = match self {
                Self::Es(key) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
                Self::Rs(key) => {
                    let mut signature = vec![0; key.public_modulus_len()];
                    key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
                        .unwrap();
                    signature
                }
            };
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    const GOOD: &str = r#"{"sub":"bank","aud":"pinion","exp":1800000060}"#;

    #[test]
    fn genuine_tokens_in_force() {
        for (signer, signature, header) in [
            (Signer::es(), Signature::Es256, r#"{"alg":"ES256","typ":"JWT"}"#),
            (Signer::rs(), Signature::Rs256, r#"{"alg":"RS256"}"#),
        ] {
            let issuer = Issuer::new(signer.pem().as_bytes(), signature, "pinion").unwrap();
            for (claims, want) in [
                (GOOD, Some("bank")),
                (r#"{"sub":"bank","aud":["x","pinion"],"exp":1800000060}"#, Some("bank")),
                (r#"{"sub":"bank","aud":"pinion","exp":1799999980}"#, Some("bank")),
                (r#"{"sub":"bank","aud":"pinion","exp":1799999970}"#, None),
                (r#"{"sub":"bank","aud":"pinion","exp":1800000060,"nbf":1800000031}"#, None),
                (
                    r#"{"sub":"bank","aud":"pinion","exp":1800000060,"nbf":1800000030}"#,
                    Some("bank"),
                ),
                (r#"{"sub":"bank","aud":"other","exp":1800000060}"#, None),
                (r#"{"sub":"bank","exp":1800000060}"#, None),
                (r#"{"aud":"pinion","exp":1800000060}"#, None),
                (r#"{"sub":"bank","aud":"pinion"}"#, None),
            ] {
                let token = signer.token(header, claims);
                assert_eq!(issuer.subject(&token, NOW).as_deref(), want, "{claims}");
            }
            let token = signer.token(header, GOOD);
            let changed = token.replacen('.', ".e", 1);
            assert_eq!(issuer.subject(&changed, NOW), None);
            assert_eq!(issuer.subject("nonsense", NOW), None);
        }
    }

    #[test]
    fn the_token_does_not_choose_its_algorithm() {
        let (es, other) = (Signer::es(), Signer::es());
        let issuer = Issuer::new(es.pem().as_bytes(), Signature::Es256, "pinion").unwrap();
        assert_eq!(issuer.subject(&other.token(r#"{"alg":"ES256"}"#, GOOD), NOW), None);
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"RS256"}"#, "{}"] {
            assert_eq!(issuer.subject(&es.token(header, GOOD), NOW), None, "{header}");
        }
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let unsigned = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(GOOD));
        assert_eq!(issuer.subject(&unsigned, NOW), None);
    }

    #[test]
    fn no_key() {
        assert!(Issuer::new(b"", Signature::Es256, "pinion").is_err());
    }
}
