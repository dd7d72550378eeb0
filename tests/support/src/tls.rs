//! Certificates, and clients that speak TLS over any blocking stream.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use ringwheel::{Pem, Tls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, Stream};
use rustls::{DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use socket2::{Domain, SockRef, Socket, Type};

use super::{DEADLINE, TestServer};

pub type Version = &'static SupportedProtocolVersion;
pub const VERSIONS: [Version; 2] = [&TLS12, &TLS13];
/// The name in the server's certificate.
pub const NAME: &str = "ringwheel.test";

/// Issues the certificates of tests.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Issued {
    /// In PEM.
    pub chain: String,
    /// In PEM.
    pub key: String,
    pub der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Authority {
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Authority {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
        }
    }

    /// The authority that clients trust, the same in all tests of a process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Authority> = OnceLock::new();
        SHARED.get_or_init(|| Authority::new("authority of the tests"))
    }

    #[track_caller]
    pub fn issue(&self, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("host names");
        // Strict clients, such as Python from 3.13 on, demand it.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// The authority's own certificate in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn root(&self) -> Pem {
        Pem::bytes(self.pem())
    }

    /// Settings of a client that trusts this authority.
    #[track_caller]
    pub fn client(&self, versions: &[Version], identity: Option<&Issued>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).expect("a root");
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions that are known")
            .with_webpki_verifier(verifier.build().expect("a verifier"));
        match identity {
            Some(identity) => {
                builder.with_client_auth_cert(vec![identity.der.clone()], identity.key())
            }
            None => Ok(builder.with_no_client_auth()),
        }
        .expect("a key that fits")
    }
}

impl Issued {
    pub fn pems(&self) -> (Pem, Pem) {
        (Pem::bytes(&self.chain), Pem::bytes(&self.key))
    }

    #[track_caller]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key_der.clone()).expect("a key")
    }

    /// Settings of a server that a test changes before it uses them.
    #[track_caller]
    pub fn server_config(&self) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that are known")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], self.key())
            .expect("a key that fits")
    }
}

/// Settings of a server with a certificate of the shared authority.
#[track_caller]
pub fn server_tls() -> Tls {
    let (chain, key) = server_identity().pems();
    let builder = Tls::builder().certificate(chain, key);
    builder.build().expect("settings that can be used")
}

/// The certificate of [`server_tls`].
pub fn server_identity() -> &'static Issued {
    static SERVER: OnceLock<Issued> = OnceLock::new();
    SERVER.get_or_init(|| Authority::shared().issue(&[NAME]))
}

/// Settings of clients that trust the shared authority and speak these versions.
#[track_caller]
pub fn client_config(versions: &[Version]) -> Arc<ClientConfig> {
    Arc::new(Authority::shared().client(versions, None))
}

/// Settings of clients that trust the shared authority, shared by all that do not matter otherwise.
pub fn any_client() -> &'static Arc<ClientConfig> {
    static ANY: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    ANY.get_or_init(|| client_config(&VERSIONS))
}

/// Settings of clients that take any certificate, for a server in another process.
pub fn careless_client(versions: &[Version]) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Careless(
        provider
            .signature_verification_algorithms
            .supported_schemes(),
    );
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions that are known");
    let builder = builder.dangerous();
    let builder = builder.with_custom_certificate_verifier(Arc::new(verifier));
    Arc::new(builder.with_no_client_auth())
}

/// Takes any certificate and any signature.
#[derive(Debug)]
struct Careless(Vec<SignatureScheme>);

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Connects with deadlines for all calls, and with a small receive buffer if it is `narrow`.
#[track_caller]
pub fn connect(address: SocketAddr, narrow: bool) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    if narrow {
        socket.set_recv_buffer_size(4096).expect("a small buffer");
    }
    let connected = socket.connect_timeout(&address.into(), DEADLINE);
    connected.expect("the server accepts");
    let stream = TcpStream::from(socket);
    for deadline in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        deadline(&stream, Some(DEADLINE)).expect("a socket");
    }
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// A client that speaks TLS. Records can be made apart from the stream, so that a test cuts or changes them.
pub struct TlsClient<S = TcpStream> {
    pub tls: ClientConnection,
    pub stream: S,
}

impl TlsClient {
    /// Connects, and completes the handshake.
    #[track_caller]
    pub fn open(server: &TestServer) -> Self {
        Self::open_with(server.addr(), any_client())
    }

    #[track_caller]
    pub fn open_with(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::open_over(connect(address, false), config)
    }

    /// Connects with a receive buffer that is soon full, and completes the handshake.
    #[track_caller]
    pub fn open_narrow(address: SocketAddr) -> Self {
        Self::open_over(connect(address, true), any_client())
    }

    /// Sends bytes while it receives as many answers as `answer` says, so that neither side waits for the other.
    #[track_caller]
    pub fn exchange(&mut self, bytes: &[u8], answer: usize) -> Vec<u8> {
        let records = self.seal(bytes);
        let mut stream = self.stream.try_clone().expect("a descriptor");
        thread::scope(|scope| {
            scope.spawn(move || stream.write_all(&records).expect("the server reads"));
            self.receive(answer)
        })
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        let socket = SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    }
}

impl<S: Read + Write> TlsClient<S> {
    /// A client that has sent nothing yet.
    #[track_caller]
    pub fn around(stream: S, config: &Arc<ClientConfig>) -> Self {
        Self::around_named(stream, config, NAME)
    }

    /// As [`around`](Self::around), and the client asks for a server's name.
    #[track_caller]
    pub fn around_named(stream: S, config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a host name");
        let mut tls = ClientConnection::new(config.clone(), name).expect("settings that fit");
        tls.set_buffer_limit(None);
        TlsClient { tls, stream }
    }

    #[track_caller]
    pub fn open_over(stream: S, config: &Arc<ClientConfig>) -> Self {
        let mut client = Self::around(stream, config);
        client.shake().expect("a handshake");
        client
    }

    /// Completes the handshake.
    pub fn shake(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() || self.tls.wants_write() {
            self.tls.complete_io(&mut self.stream)?;
        }
        Ok(())
    }

    /// All records that are ready to be sent.
    pub fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).expect("a vector");
        }
        records
    }

    /// Records of these bytes, which are not sent.
    pub fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(bytes).expect("no limit");
        self.records()
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        let records = self.seal(bytes);
        self.send_raw(&records);
    }

    /// Says `close_notify`, and leaves the stream open.
    #[track_caller]
    pub fn finish(&mut self) {
        self.tls.send_close_notify();
        let records = self.records();
        self.send_raw(&records);
    }

    /// Reads once: nothing after the server's `close_notify`.
    pub fn try_receive_some(&mut self, at_most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; at_most];
        let count = Stream::new(&mut self.tls, &mut self.stream).read(&mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    #[track_caller]
    pub fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let received = Stream::new(&mut self.tls, &mut self.stream).read_exact(&mut bytes);
        if let Err(error) = received {
            panic!("fewer than {length} bytes arrived: {error}");
        }
        bytes
    }

    /// Reads until the server's `close_notify`. An end of stream without it is an error, and so is an alert.
    pub fn try_receive_rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Stream::new(&mut self.tls, &mut self.stream).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[track_caller]
    pub fn receive_rest(&mut self) -> Vec<u8> {
        self.try_receive_rest().expect("close_notify")
    }

    /// Reads until `close_notify`, with nothing before it, and then the end of stream.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.receive_rest(), b"", "nothing before close_notify");
        self.expect_eof();
    }

    /// Expects the end of the stream below.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let read = self.stream.read(&mut [0]).expect("an end of stream");
        assert_eq!(read, 0, "nothing behind close_notify");
    }

    /// Expects an alert of the server, whatever comes before it, and then the end of stream.
    #[track_caller]
    pub fn expect_alert(&mut self, alert: AlertDescription) {
        let error = match self.tls.is_handshaking() {
            true => self.shake().expect_err("an alert"),
            false => self.try_receive_rest().expect_err("an alert"),
        };
        let found = error.get_ref().and_then(|it| it.downcast_ref());
        assert_eq!(found, Some(&Error::AlertReceived(alert)), "{error}");
    }

    #[track_caller]
    pub fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes);
        self.receive(bytes.len())
    }

    /// Checks that the server echoes.
    #[track_caller]
    pub fn ping(&mut self) {
        assert_eq!(self.ask(b"ping\n"), b"ping\n");
    }

    /// Expects a reset, whatever comes before it.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        let error = self.try_receive_rest().expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
}
