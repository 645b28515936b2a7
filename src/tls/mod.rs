//! TLS of a listener: certificates from files, client certificates where an authority is named, reload without a gap.
//! `client` and `connect` are the other end: TLS towards a server. `ends` tells when certificates end.
//!
//! [`Tls`] is made at start and given to every connection of its listener; [`Tls::reload`] reads the files again and
//! swaps the result in, so that connections under way keep the old certificate and new ones get the new.
//!
//! **Never here:** sockets, timeouts (the caller bounds the handshake), checking of peers by name: who may ask what is
//! a right of the link. Sessions are not resumed: links live for days, and a cache would be a lock between connections.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

mod client;
mod connect;
mod ends;
#[cfg(test)]
mod tests;

pub use client::{ClientFiles, client};
pub use connect::TlsConnector;
pub use ends::first_end;

/// Where a listener's TLS comes from. All are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The listener's certificate, then those between it and the root.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
    /// Authorities of client certificates. With it, a client without a certificate of theirs is refused.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be set up. Names the file and what to do; never a byte of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate is unusable.
    #[error("{}: certificate {number} is unusable: {reason}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// Which one, from 1.
        number: usize,
        /// What the library says of it.
        reason: rustls::Error,
    },
    /// A file holds no item of the kind it is there for.
    #[error("{}: holds no {kind}; expected a PEM section of that kind", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// `certificate` or `private key`.
        kind: &'static str,
    },
    /// Key and certificate do not belong together, or the key is of a kind that is not served.
    #[error("{} and {}: {reason}", certificate.display(), key.display())]
    Key {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library says of them.
        reason: rustls::Error,
    },
    /// A file is not PEM.
    #[error("{}: not PEM: {reason}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// The rule that broke.
        reason: &'static str,
    },
    /// A peer has no name a certificate could have.
    #[error("{name:?} is no host name and no address that a certificate could have")]
    PeerName {
        /// As given.
        name: Box<str>,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read: {reason}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The verifier of client certificates cannot be made.
    #[error("{}: no verifier of client certificates: {reason}", file.display())]
    Verifier {
        /// The file of authorities.
        file: PathBuf,
        /// What the library says.
        reason: rustls::server::VerifierBuilderError,
    },
}

/// TLS of one listener.
pub struct Tls {
    files: TlsFiles,
    protocols: &'static [&'static [u8]],
    acceptor: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        Self::load_for(files, &[])
    }

    /// As [`Tls::load`], for a listener that speaks one of several protocols: their ALPN names, the liked one first.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn load_for(
        files: TlsFiles,
        protocols: &'static [&'static [u8]],
    ) -> Result<Self, TlsError> {
        let config = server_config(&files, protocols)?;
        Ok(Self { files, protocols, acceptor: ArcSwap::from_pointee(config) })
    }

    /// Reads the files again. New connections get what they hold now.
    ///
    /// # Errors
    /// [`TlsError`]; the listener then goes on with what it had.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.acceptor.store(Arc::new(server_config(&self.files, self.protocols)?));
        Ok(())
    }

    /// The acceptor for one new connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.acceptor.load_full())
    }

    /// Where it came from.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.files)
    }
}

fn server_config(files: &TlsFiles, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
    let no_key = |reason| TlsError::Key {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        reason,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(no_key)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => builder.with_client_cert_verifier(client_verifier(file, provider)?),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(no_key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

fn client_verifier(
    file: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file)?), provider)
        .build()
        .map_err(|reason| TlsError::Verifier { file: file.to_owned(), reason })
}

/// The authorities of a file.
fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, authority) in certificates(file)?.into_iter().enumerate() {
        roots.add(authority).map_err(|reason| TlsError::Certificate {
            file: file.to_owned(),
            number: index + 1,
            reason,
        })?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(file, "certificate", &error))?;
    if found.is_empty() {
        return Err(not_pem(file, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| not_pem(file, "private key", &error))
}

/// The text is wiped: it may be a private key.
fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|reason| TlsError::Read { file: file.to_owned(), reason })
}

/// The library's own text quotes the line that broke, which may be a line of a key.
fn not_pem(file: &Path, kind: &'static str, error: &pem::Error) -> TlsError {
    let file = file.to_owned();
    let reason = match error {
        pem::Error::NoItemsFound => return TlsError::Empty { file, kind },
        pem::Error::MissingSectionEnd { .. } => "a section has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "a section cannot be read",
    };
    TlsError::Pem { file, reason }
}
