//! TLS clients of programs that show a certificate for `localhost`, which the client gets as a PEM text.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, Stream};

use super::tls::{TlsClient, connect};

impl TlsClient {
    /// Connects to a server whose certificate is for `localhost`, and is the one in the PEM text `trusted` or was issued by it.
    #[track_caller]
    pub fn connect(address: SocketAddr, trusted: &str) -> Self {
        Self::try_connect(address, trusted).expect("the handshake succeeds")
    }

    /// As [`connect`](Self::connect), with the protocols that the client offers (ALPN).
    #[track_caller]
    pub fn connect_with(address: SocketAddr, trusted: &str, alpn: &[&str]) -> Self {
        let client = open(address, trusted, alpn, b"");
        client.expect("the handshake succeeds")
    }

    /// As [`connect`](Self::connect), with bytes that go before the handshake.
    #[track_caller]
    pub fn connect_behind(address: SocketAddr, trusted: &str, header: &[u8]) -> Self {
        let client = open(address, trusted, &[], header);
        client.expect("the handshake succeeds")
    }

    /// As [`connect`](Self::connect), to a server whose certificate the client may refuse.
    pub fn try_connect(address: SocketAddr, trusted: &str) -> io::Result<Self> {
        open(address, trusted, &[], b"")
    }

    /// The protocol that both sides have agreed on (ALPN).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The stream inside TLS.
    pub fn plain(&mut self) -> impl Read + Write {
        Stream::new(&mut self.tls, &mut self.stream)
    }
}

fn open(address: SocketAddr, trusted: &str, alpn: &[&str], header: &[u8]) -> io::Result<TlsClient> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(root.expect("it is PEM")).expect("a certificate");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut stream = connect(address, false);
    stream.write_all(header)?;
    let mut client = TlsClient::around_named(stream, &Arc::new(config), "localhost");
    client.shake()?;
    Ok(client)
}
