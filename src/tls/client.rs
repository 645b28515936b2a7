//! TLS towards a server of ours: its certificate is checked against our authorities, always; ours is shown where we
//! have one. **Never here:** sockets, the choice of a name to check (whoever connects knows it), authorities of the
//! system: whom to trust is named, or nobody is.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use crate::tls::{TlsError, certificates, private_key, roots};

/// Where TLS towards a server comes from. All are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// Authorities of the server's certificate.
    pub ca: PathBuf,
    /// Our own certificate, with those between it and the root, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Reads the files.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn client(files: &ClientFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let authorities: RootCertStore = roots(&files.ca)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|reason| TlsError::Certificate { file: files.ca.clone(), number: 1, reason })?
        .with_root_certificates(authorities);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|reason| TlsError::Key {
                certificate: certificate.clone(),
                key: key.clone(),
                reason,
            })?,
    };
    // Connections live for days: a handshake saved is worth nothing, and a cache would be a lock between them.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
