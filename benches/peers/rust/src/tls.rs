//! The options and the server configuration of the peers that speak TLS.

use std::io::{self, Error};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The whole command line of a peer that speaks TLS only, and echoes bytes.
#[derive(Clone, Debug, Args)]
pub struct TlsPeerOptions {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub addr: SocketAddr,
    /// The certificate.
    #[command(flatten)]
    pub tls: TlsOptions,
}

/// The certificate of a peer that speaks TLS.
#[derive(Clone, Debug, Args)]
pub struct TlsOptions {
    /// PEM file with the certificate, and its chain if there is one
    #[arg(long, value_name = "FILE")]
    pub tls_cert: PathBuf,
    /// PEM file with the private key
    #[arg(long, value_name = "FILE")]
    pub tls_key: PathBuf,
}

impl TlsOptions {
    /// The configuration that all Rust peers share: TLS 1.3 and 1.2 by ring, and tickets without state, so that any number of
    /// clients can resume.
    ///
    /// # Errors
    /// Fails if a file cannot be read, or the key does not belong to the certificate.
    pub fn config(&self) -> io::Result<Arc<ServerConfig>> {
        let chain = CertificateDer::pem_file_iter(&self.tls_cert)
            .and_then(Iterator::collect)
            .map_err(named(&self.tls_cert))?;
        let key = PrivateKeyDer::from_pem_file(&self.tls_key).map_err(named(&self.tls_key))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(named(&self.tls_cert))?;
        config.ticketer = ring::Ticketer::new().map_err(Error::other)?;
        Ok(Arc::new(config))
    }
}

/// Adds the file's name to an error.
fn named<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> Error {
    move |error| Error::other(format!("{}: {error}", path.display()))
}
