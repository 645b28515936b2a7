//! TLS of a connection we make: the peer's certificate is checked against named authorities, ours is shown.
//!
//! **Never here:** a store of authorities of the system: whom to trust is named, or nobody is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use crate::tls::{TlsError, certificates, private_key};

/// Where a connector's TLS comes from. All are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectFiles {
    /// Authorities of the peer's certificate.
    pub ca: PathBuf,
    /// Our certificate and its private key, where the peer wants one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// TLS towards one peer.
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsConnector {
    /// Reads the files. `name` is the name, or the address, that the peer's certificate must have.
    ///
    /// # Errors
    /// [`TlsError`] names the file, or the name.
    pub fn load(files: &ConnectFiles, name: &str) -> Result<Self, TlsError> {
        let unnamed = |_| TlsError::PeerName { name: name.into() };
        let name = ServerName::try_from(name.to_owned()).map_err(unnamed)?;
        let mut roots = RootCertStore::empty();
        for (index, authority) in certificates(&files.ca)?.into_iter().enumerate() {
            roots.add(authority).map_err(|reason| TlsError::Certificate {
                file: files.ca.clone(),
                number: index + 1,
                reason,
            })?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let unusable = |reason| TlsError::Certificate { file: files.ca.clone(), number: 1, reason };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots);
        let mut config = match &files.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|reason| TlsError::Key {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    reason,
                })?,
        };
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { config: Arc::new(config), name })
    }

    /// Shakes hands over a connection. The caller bounds the time.
    ///
    /// # Errors
    /// What the library says of the peer.
    pub async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
    ) -> std::io::Result<TlsStream<IO>> {
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), io).await
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsConnector({:?})", self.name)
    }
}
