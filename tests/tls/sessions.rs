//! What a handler is told of a session: version, names, certificates, resumption.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use ringwheel::protocol::Raw;
use ringwheel::{Listen, Server, Tls};
use rustls::{AlertDescription, CipherSuite, HandshakeKind, ProtocolVersion};
use support::tls::{
    Authority, TlsClient, VERSIONS, any_client, client_config, connect, server_identity, server_tls,
};
use support::{Events, Recorder, TestServer, listen, raw_echo, take};

/// What the handler is told of a session when it opens.
#[derive(Debug)]
struct Told {
    version: ProtocolVersion,
    suite: CipherSuite,
    name: Option<String>,
    alpn: Option<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
    is_resumed: bool,
}

fn telling_echo() -> (Recorder<Raw>, Events, Receiver<Told>) {
    let (echo, events) = raw_echo();
    let (sessions, told) = channel();
    let echo = echo.on_open(move |conn| {
        let tls = conn.tls().expect("a session");
        let certificates = tls.peer_certificates().iter();
        let session = Told {
            version: tls.version(),
            suite: tls.cipher_suite(),
            name: tls.server_name().map(str::to_owned),
            alpn: tls.alpn().map(<[u8]>::to_vec),
            certificates: certificates.map(|it| it.to_vec()).collect(),
            is_resumed: tls.is_resumed(),
        };
        sessions.send(session).unwrap();
    });
    (echo, events, told)
}

fn sealed(tls: Tls) -> Listen<Raw> {
    listen(Raw).tls(tls)
}

#[test]
fn a_handler_is_told_of_the_session() {
    let (chain, key) = server_identity().pems();
    let tls = Tls::builder()
        .certificate(chain, key)
        .alpn(["first", "second"]);
    let (echo, events, told) = telling_echo();
    let server = TestServer::start(sealed(tls.build().unwrap()), echo);
    for version in VERSIONS {
        let mut config = Authority::shared().client(&[version], None);
        config.alpn_protocols = vec![b"unknown".to_vec(), b"second".to_vec()];
        let mut client = TlsClient::open_with(server.addr(), &Arc::new(config));
        client.ping();
        let session = take(&told);
        assert_eq!(session.version, version.version);
        assert_eq!(
            Some(session.suite),
            client.tls.negotiated_cipher_suite().map(|it| it.suite())
        );
        assert_eq!(session.name.as_deref(), Some(support::tls::NAME));
        assert_eq!(session.alpn.as_deref(), Some(&b"second"[..]));
        assert_eq!(client.tls.alpn_protocol(), Some(&b"second"[..]));
        assert!(session.certificates.is_empty() && !session.is_resumed);
    }
    let mut config = Authority::shared().client(&VERSIONS, None);
    config.alpn_protocols = vec![b"unknown".to_vec()];
    let mut client = TlsClient::around(connect(server.addr(), false), &Arc::new(config));
    client.expect_alert(AlertDescription::NoApplicationProtocol);
    // A client without a list is served.
    TlsClient::open(&server).ping();
    assert_eq!(take(&told).alpn, None);
    server.finish(&events);
}

#[test]
fn a_handler_of_a_plain_listener_is_told_of_no_session() {
    let (echo, events) = raw_echo();
    let echo = echo.on_open(|conn| assert!(conn.tls().is_none()));
    let server = TestServer::start(listen(Raw), echo);
    server.connect().ping();
    server.finish(&events);
}

#[test]
fn certificates_of_clients_are_demanded_verified_and_told() {
    let stranger = Authority::new("a stranger").issue(&["stranger.test"]);
    let known = Authority::shared().issue(&["known.test"]);
    for is_required in [true, false] {
        let (chain, key) = server_identity().pems();
        let tls = Tls::builder().certificate(chain, key);
        let root = Authority::shared().root();
        let tls = match is_required {
            true => tls.require_client_certificates(root),
            false => tls.request_client_certificates(root),
        };
        let (echo, events, told) = telling_echo();
        let server = TestServer::start(sealed(tls.build().unwrap()), echo);
        for version in VERSIONS {
            let config = |identity| Arc::new(Authority::shared().client(&[version], identity));
            let begin = |config| TlsClient::around(connect(server.addr(), false), &config);
            TlsClient::open_with(server.addr(), &config(Some(&known))).ping();
            assert_eq!(take(&told).certificates, [known.der.to_vec()]);
            let mut nobody = begin(config(None));
            if is_required {
                // In TLS 1.3 the client's side is done before the server has seen its certificate.
                let is_done_early = version.version == ProtocolVersion::TLSv1_3;
                assert!(!is_done_early || nobody.shake().is_ok());
                nobody.expect_alert(AlertDescription::CertificateRequired);
            } else {
                nobody.shake().unwrap();
                nobody.ping();
                assert!(take(&told).certificates.is_empty());
            }
            let mut wrong = begin(config(Some(&stranger)));
            let end = wrong.shake().and_then(|()| wrong.try_receive_rest());
            let end = end.unwrap_err().to_string();
            assert!(end.contains("alert"), "{end}");
        }
        assert!(told.try_recv().is_err(), "the handler met no stranger");
        server.finish(&events);
    }
}

#[test]
fn sessions_are_resumed_by_tickets_on_every_worker_and_after_a_reload() {
    let tls = server_tls();
    let (echo, events, told) = telling_echo();
    let builder = Server::builder().workers(3);
    let server = TestServer::start_on(builder, sealed(tls.clone()), echo);
    for version in VERSIONS {
        let config = client_config(&[version]);
        for number in 0..8 {
            if number == 4 {
                let (chain, key) = server_identity().pems();
                tls.reload_with(Tls::builder().certificate(chain, key))
                    .unwrap();
            }
            let mut client = TlsClient::open_with(server.addr(), &config);
            // The tickets of TLS 1.3 come before the pong.
            client.ping();
            let session = take(&told);
            let kind = client.tls.handshake_kind().unwrap();
            assert_eq!(session.is_resumed, number > 0, "{version:?} {number}");
            assert_eq!(kind == HandshakeKind::Resumed, number > 0);
            client.finish();
            client.expect_end();
        }
    }
    server.finish(&events);
}

#[test]
fn the_handler_can_ask_for_the_session_until_the_connection_ends() {
    let (echo, events) = raw_echo();
    let (told, closes) = channel();
    let echo = echo
        .on_message(|conn, message| {
            assert!(conn.tls().is_some());
            conn.send(message);
        })
        .on_close(move |conn| told.send(conn.tls().is_some()).unwrap());
    let server = TestServer::start(sealed(server_tls()), echo);
    let mut client = TlsClient::open_with(server.addr(), any_client());
    client.ping();
    drop(client);
    assert!(take(&closes));
    assert_eq!(events.close_reason(), "Truncated");
    server.finish(&events);
}
