//! Handshakes that are slow, cut, many, behind a PROXY header, or on a Unix socket.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::time::Duration;

use ringwheel::protocol::Raw;
use ringwheel::{Listen, Server, ServerStats, TrustedNetworks};
use support::tls::{TlsClient, VERSIONS, Version, any_client, client_config, connect, server_tls};
use support::{TestServer, eventually, listen, raw_echo, take};

fn sealed() -> Listen<Raw> {
    listen(Raw).tls(server_tls())
}

fn begin(server: &TestServer, version: Version) -> TlsClient {
    TlsClient::around(connect(server.addr(), false), &client_config(&[version]))
}

#[track_caller]
fn assert_stats(server: &TestServer, what: &str, reached: impl Fn(ServerStats) -> bool) {
    eventually(what, || reached(server.handle().stats()));
}

/// Sends all that the client has to say in pieces of a byte, until the handshake is done.
fn shake_bytewise(client: &mut TlsClient) {
    while client.tls.is_handshaking() || client.tls.wants_write() {
        for byte in client.records() {
            client.send_raw(&[byte]);
        }
        if client.tls.is_handshaking() {
            assert!(client.tls.read_tls(&mut client.stream).unwrap() > 0);
            client.tls.process_new_packets().unwrap();
        }
    }
}

#[test]
fn a_handshake_may_come_in_single_bytes() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(sealed(), echo);
    for version in VERSIONS {
        let mut client = begin(&server, version);
        shake_bytewise(&mut client);
        for byte in client.seal(b"ping\n") {
            client.send_raw(&[byte]);
        }
        assert_eq!(client.receive(5), b"ping\n");
        client.finish();
        client.expect_end();
    }
    server.finish(&events);
}

#[test]
fn a_handshake_may_come_in_records_of_one_byte() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(sealed(), echo);
    for version in VERSIONS {
        let mut client = begin(&server, version);
        let hello = client.records();
        // A handshake message may be cut into records anywhere (RFC 8446, section 5.1).
        let records = hello[5..].iter().map(|byte| [22, 3, 1, 0, 1, *byte]);
        client.send_raw(&records.flatten().collect::<Vec<u8>>());
        client.shake().unwrap();
        client.ping();
    }
    server.finish(&events);
}

#[test]
fn half_a_client_hello_is_reset_at_the_deadline() {
    let (echo, events) = raw_echo();
    let listen = sealed().opening_timeout(Duration::from_millis(50));
    let server = TestServer::start(listen, echo);
    let silent = connect(server.addr(), false);
    let mut half = begin(&server, VERSIONS[1]);
    let hello = half.records();
    half.send_raw(&hello[..hello.len() / 2]);
    assert_eq!(half.shake().unwrap_err().kind(), ErrorKind::ConnectionReset);
    let end = std::io::Read::read(&mut &silent, &mut [0]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    assert_stats(&server, "both are counted", |stats| {
        stats.openings_late == 2 && stats.connections == 0
    });
    server.finish(&events);
    assert!(events.so_far().is_empty(), "the handler met nobody");
}

#[test]
fn a_peer_that_leaves_in_its_handshake_is_counted_apart() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(sealed(), echo);
    let mut half = begin(&server, VERSIONS[0]);
    let hello = half.records();
    half.send_raw(&hello[..20]);
    drop(half);
    let mut answered = begin(&server, VERSIONS[0]);
    let hello = answered.records();
    answered.send_raw(&hello);
    assert!(answered.tls.read_tls(&mut answered.stream).unwrap() > 0);
    answered.reset();
    assert_stats(&server, "both are counted", |stats| {
        stats.openings_abandoned == 2 && stats.connections == 0
    });
    server.finish(&events);
    assert!(events.so_far().is_empty());
}

#[test]
fn a_flood_of_halves_gives_way_to_those_who_come() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(1).opening_limit(8);
    let server = TestServer::start_on(builder, sealed(), echo);
    let mut flood = Vec::new();
    for _ in 0..40 {
        let mut half = begin(&server, VERSIONS[1]);
        let hello = half.records();
        half.send_raw(&hello[..100]);
        flood.push(half);
    }
    assert_stats(&server, "most have given way", |stats| {
        stats.openings_displaced == 32 && stats.connections == 8
    });
    TlsClient::open(&server).ping();
    server.finish(&events);
}

/// A peer that sent a byte now and then kept its place before others that were about to begin.
#[test]
fn a_byte_is_no_progress() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(1).opening_limit(2);
    let server = TestServer::start_on(builder, sealed(), echo);
    let mut bystander = TlsClient::open(&server);
    // The pongs show that the server has gone through all that came before.
    let mut settle = || (0..3).for_each(|_| bystander.ping());
    let mut dripper = begin(&server, VERSIONS[1]);
    assert_stats(&server, "the first begins", |stats| stats.accepted == 2);
    let mut honest = begin(&server, VERSIONS[1]);
    assert_stats(&server, "the second begins", |stats| stats.accepted == 3);
    settle();
    let hello = dripper.records();
    for byte in &hello[..10] {
        dripper.send_raw(&[*byte]);
        settle();
    }
    let _third = begin(&server, VERSIONS[1]);
    assert_stats(&server, "one has given way", |stats| {
        stats.openings_displaced == 1
    });
    honest.shake().expect("the other has given way");
    honest.ping();
    let end = dripper.shake().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    server.finish(&events);
}

#[test]
fn the_proxy_header_comes_before_the_handshake() {
    const CLIENT: &str = "192.0.2.7:56324";
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
    let (echo, events) = raw_echo();
    let (addresses, told) = channel();
    let echo = echo.on_open(move |conn| {
        let name = conn.tls().unwrap().server_name().map(str::to_owned);
        addresses.send((conn.peer_addr().clone(), name)).unwrap();
    });
    let proxies = TrustedNetworks::of(["127.0.0.1"]).unwrap();
    let builder = Server::builder().workers(2);
    let server = TestServer::start_on(builder, sealed().proxy_protocol(proxies), echo);
    for version in VERSIONS {
        for whole in [true, false] {
            let mut client = begin(&server, version);
            let words = [HEADER, &client.records()].concat();
            match whole {
                true => client.send_raw(&words),
                false => words.iter().for_each(|byte| client.send_raw(&[*byte])),
            }
            client.shake().unwrap();
            client.ping();
            let (address, name) = take(&told);
            assert_eq!(address, CLIENT.parse::<SocketAddr>().unwrap());
            assert_eq!(name.as_deref(), Some(support::tls::NAME));
        }
    }
    // A handshake without a header is no header.
    let mut client = begin(&server, VERSIONS[1]);
    let end = client.shake().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.handle().stats().headers_refused, 1);
    server.finish(&events);
}

#[test]
#[cfg(unix)]
fn a_unix_socket_may_be_sealed() {
    use std::os::unix::net::UnixStream;

    let path = std::env::temp_dir().join(format!("ringwheel-tls-unix-{}", std::process::id()));
    for workers in [1, 2] {
        let (echo, events) = raw_echo();
        let listen = Listen::unix_with(Raw, &path).tls(server_tls());
        let builder = Server::builder().workers(workers);
        let server = TestServer::start_on(builder, listen, echo);
        let open = || {
            let stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
            TlsClient::open_over(stream, any_client())
        };
        let (mut client, mut cut) = (open(), open());
        client.ping();
        cut.ping();
        client.finish();
        client.expect_end();
        assert_eq!(events.close_reason(), "Peer");
        drop(cut);
        assert_eq!(events.close_reason(), "Truncated");
        server.finish(&events);
    }
}
