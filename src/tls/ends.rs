//! When certificates end.
//!
//! The verifier is asked about a certificate at the end of all time: it says since when it would refuse it, which is
//! what counts, and no second reader of X.509 is needed. **Never here:** a judgement; who it is for, who signed it.

use std::path::Path;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

use crate::tls::{TlsError, certificates};

/// When the first of a file's certificates ends, in seconds since 1970: no peer takes the chain from then on. `None`
/// where the verifier reads none of them, as authorities in the form before version 3.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn first_end(file: &Path) -> Result<Option<u64>, TlsError> {
    Ok(certificates(file)?.iter().filter_map(end).min())
}

fn end(certificate: &CertificateDer<'_>) -> Option<u64> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let never = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    // Time is looked at before the path to an authority is: none is needed.
    let judged = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &RootCertStore::empty(),
        &[],
        never,
        aws_lc_rs::default_provider().signature_verification_algorithms.all,
    );
    match judged {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(not_after.as_secs())
        }
        _ => None,
    }
}
