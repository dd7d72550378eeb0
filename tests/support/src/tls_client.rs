//! A TLS client whose calls all have a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::DEADLINE;

/// A connection over TLS to the server under test.
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

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
        self.stream.conn.alpn_protocol()
    }

    /// The stream inside TLS.
    pub fn stream(&mut self) -> impl Read + Write {
        &mut self.stream
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        let sent = self.stream.write_all(bytes);
        sent.and_then(|()| self.stream.flush())
            .expect("the server reads");
    }

    #[track_caller]
    pub fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        if let Err(error) = self.stream.read_exact(&mut bytes) {
            panic!("fewer than {length} bytes arrived: {error}");
        }
        bytes
    }

    /// Sends bytes, and receives the same number.
    #[track_caller]
    pub fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes);
        self.receive(bytes.len())
    }

    /// Reads until the server says `close_notify`. An end of stream without it fails the test.
    #[track_caller]
    pub fn receive_rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            panic!("no close_notify after {} bytes: {error}", bytes.len());
        }
        bytes
    }

    /// Says `close_notify`; reading goes on.
    #[track_caller]
    pub fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().expect("the server reads");
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
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut socket = TcpStream::connect_timeout(&address, DEADLINE)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(DEADLINE))?;
    socket.set_nodelay(true)?;
    socket.write_all(header)?;
    let mut stream = StreamOwned::new(session, socket);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(TlsClient { stream })
}
