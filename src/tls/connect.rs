//! TLS towards one peer whose name is known when the configuration is read.
//!
//! **Never here:** files (`client`), sockets.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use crate::tls::{ClientFiles, TlsError, client};

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
    pub fn load(files: &ClientFiles, name: &str) -> Result<Self, TlsError> {
        let unnamed = |_| TlsError::PeerName { name: name.into() };
        let name = ServerName::try_from(name.to_owned()).map_err(unnamed)?;
        Ok(Self { config: client(files)?, name })
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
