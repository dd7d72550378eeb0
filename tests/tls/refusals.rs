//! Handshakes that are refused: peers that speak something else, that want what the server has not, and code of the user that
//! panics.

use std::io::{ErrorKind, Read};
use std::sync::Arc;

use ringwheel::protocol::Raw;
use ringwheel::{Server, Tls};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use support::tls::{
    Authority, TlsClient, VERSIONS, any_client, client_config, connect, server_identity, server_tls,
};
use support::{Client, Event, TestServer, deliberate_panic, eventually, listen, raw_echo};

/// Reads an alert record and the end of the stream. Returns the alert's description.
#[track_caller]
fn alert(client: &mut Client) -> u8 {
    let record = client.receive_rest();
    let [21, 3, _, 0, 2, 2, description] = record[..] else {
        panic!("no fatal alert: {record:?}");
    };
    description
}

#[test]
fn http_and_garbage_get_an_alert_and_are_counted() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw).tls(server_tls()), echo);
    let words: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: ringwheel.test\r\n\r\n",
        b"\x80\x2e\x01\x00\x02 the hello of SSL 2",
        &[0; 300],
        &[0xff; 70_000],
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for (index, words) in words.iter().enumerate() {
        let mut client = server.connect();
        client.send(words);
        let description = alert(&mut client);
        assert!([10, 47, 50, 70].contains(&description), "{description}");
        let stats = server.handle().stats();
        assert_eq!(stats.handshakes_failed, index as u64 + 1);
    }
    TlsClient::open(&server).ping();
    let opened = events.count(|event| matches!(event, Event::Open(_)));
    assert_eq!(opened, 1, "the handler meets only the last");
    server.finish(&events);
}

#[test]
fn a_hello_without_a_version_that_is_served_gets_an_alert() {
    let (echo, events) = raw_echo();
    let (chain, key) = server_identity().pems();
    let tls = Tls::builder().certificate(chain, key).only_tls13();
    let server = TestServer::start(listen(Raw).tls(tls.build().unwrap()), echo);
    let stream = connect(server.addr(), false);
    let mut client = TlsClient::around(stream, &client_config(&VERSIONS[..1]));
    client.expect_alert(AlertDescription::ProtocolVersion);
    TlsClient::open(&server).ping();
    server.finish(&events);
}

#[test]
fn a_handshake_that_never_ends_is_cut_at_its_limit() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw).tls(server_tls()), echo);
    let mut client = server.connect();
    // A message of the longest that is allowed, in records of which the last does not come.
    let mut record = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    record.resize(5 + 16 * 1024, 0);
    for number in 0..4 {
        if number == 1 {
            record[5..9].fill(0);
        }
        client.send(&record);
    }
    client.expect_ended();
    drop(client);
    eventually("it is counted, and gone", || {
        let stats = server.handle().stats();
        (stats.handshakes_failed, stats.connections) == (1, 0)
    });
    server.finish(&events);
}

/// Panics for one name.
#[derive(Debug)]
struct Resolver(Arc<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some("panic.test") => deliberate_panic(),
            _ => Some(self.0.clone()),
        }
    }
}

#[test]
fn a_resolver_that_panics_ends_its_connection_and_no_other() {
    let identity = server_identity();
    let mut config = identity.server_config();
    let key = config.crypto_provider().key_provider;
    let key = key.load_private_key(identity.key()).unwrap();
    let certified = CertifiedKey::new(vec![identity.der.clone()], key);
    config.cert_resolver = Arc::new(Resolver(Arc::new(certified)));
    let (echo, events) = raw_echo();
    let sealed = listen(Raw).tls(Tls::from_config(Arc::new(config)));
    let server = TestServer::start_on(Server::builder().workers(2), sealed, echo);
    let mut bystander = TlsClient::open(&server);
    for number in 1..=20 {
        let stream = connect(server.addr(), false);
        let mut client = TlsClient::around_named(stream, any_client(), "panic.test");
        let end = client.shake().unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        assert_eq!(server.handle().stats().handshakes_failed, number);
        bystander.ping();
        let mut other = TlsClient::open(&server);
        other.ping();
        other.finish();
        other.expect_end();
    }
    server.finish(&events);
}

/// Panics at the certificate of one client.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    panics_at: CertificateDer<'static>,
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match *end_entity == self.panics_at {
            true => deliberate_panic(),
            false => self
                .inner
                .verify_client_cert(end_entity, intermediates, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[test]
fn a_verifier_that_panics_ends_its_connection_and_no_other() {
    let authority = Authority::shared();
    let [good, bad] = ["good.test", "bad.test"].map(|name| authority.issue(&[name]));
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let identity = server_identity();
    let provider = identity.server_config().crypto_provider().clone();
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = Verifier {
        inner: inner.build().unwrap(),
        panics_at: bad.der.clone(),
    };
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(vec![identity.der.clone()], identity.key())
        .unwrap();
    let (echo, events) = raw_echo();
    let sealed = listen(Raw).tls(Tls::from_config(Arc::new(config)));
    let server = TestServer::start(sealed, echo);
    let mut failed = 0;
    for version in VERSIONS {
        let [good, bad] = [&good, &bad].map(|identity| {
            let config = authority.client(&[version], Some(identity));
            Arc::new(config)
        });
        let mut bystander = TlsClient::open_with(server.addr(), &good);
        for _ in 0..5 {
            let mut client = TlsClient::around(connect(server.addr(), false), &bad);
            // In TLS 1.3 the client's side is done before the server has seen the certificate.
            let end = client.shake().and_then(|()| client.try_receive_rest());
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
            failed += 1;
            assert_eq!(server.handle().stats().handshakes_failed, failed);
            bystander.ping();
        }
    }
    server.finish(&events);
}

#[test]
fn a_refused_peer_that_goes_on_sending_still_finds_the_alert() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw).tls(server_tls()), echo);
    let mut client = server.connect();
    client.send(b"POST /upload HTTP/1.1\r\nContent-Length: 40000\r\n\r\n");
    for _ in 0..4 {
        client.send(&[b'x'; 10_000]);
    }
    client.finish();
    let record = client.receive_rest();
    assert_eq!((record.len(), record[0]), (7, 21));
    assert_eq!(client.stream().read(&mut [0]).unwrap(), 0);
    server.finish(&events);
}
