//! The TLS session of a connection, as a handler sees it.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};

/// The TLS session of a connection: [`Conn::tls`](crate::Conn::tls).
///
/// ```
/// use ringwheel::{Conn, protocol::Lines};
///
/// /// Greets a client with what TLS tells of it.
/// fn greet(conn: &mut Conn<'_, Lines>) {
///     let greeting = match conn.tls() {
///         Some(tls) if tls.peer_certificates().is_empty() => "welcome, whoever you are".to_owned(),
///         Some(tls) => format!("welcome, holder of a certificate, to {:?}", tls.server_name()),
///         None => "nothing here is secret".to_owned(),
///     };
///     conn.send(&greeting);
/// }
/// ```
#[derive(Clone, Copy)]
pub struct TlsSession<'a> {
    state: &'a CommonState,
    server_name: Option<&'a str>,
}

impl<'a> TlsSession<'a> {
    pub(super) fn new(state: &'a CommonState, server_name: Option<&'a str>) -> Self {
        TlsSession { state, server_name }
    }

    /// The version of the protocol: `TLSv1_2` or `TLSv1_3`.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        let version = self.state.protocol_version();
        version.unwrap_or(ProtocolVersion::Unknown(0))
    }

    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    #[must_use]
    pub fn cipher_suite(&self) -> CipherSuite {
        let suite = self.state.negotiated_cipher_suite();
        suite.map_or(CipherSuite::Unknown(0), |suite| suite.suite())
    }

    /// The name of the server that the client has asked for (SNI), in lower case. `None` if it sent none, or an IP address.
    ///
    /// The client chooses the name freely: it may be one for which no certificate was set.
    #[must_use]
    pub fn server_name(&self) -> Option<&'a str> {
        self.server_name
    }

    /// The protocol that both sides have agreed on (ALPN), such as `http/1.1`. `None` if the client offers none, or if none was set.
    #[must_use]
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.state.alpn_protocol()
    }

    /// The client's certificates in DER, its own first. Empty if it has not presented any. The client has proved that it has the
    /// private key, and its certificate was verified against the roots that were set.
    #[must_use]
    pub fn peer_certificates(&self) -> &'a [CertificateDer<'static>] {
        self.state.peer_certificates().unwrap_or_default()
    }

    /// True if the session continues an earlier one. A client's certificates are then those that the earlier session has verified.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.state.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

impl fmt::Debug for TlsSession<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("version", &self.version())
            .field("cipher_suite", &self.cipher_suite())
            .field("server_name", &self.server_name)
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("peer_certificates", &self.peer_certificates().len())
            .field("is_resumed", &self.is_resumed())
            .finish()
    }
}
