//! An echo by each protocol and version, on each way from a listener to a worker.

use ringwheel::protocol::{LengthPrefixed, Lines, Protocol, Raw};
use ringwheel::{Listen, Server, ServerBuilder};
use support::tls::{TlsClient, VERSIONS, client_config, server_tls};
use support::{Recorder, TestServer, listen, pattern, raw_echo, text};

/// Ways from a listener to a worker: one that accepts itself, an acceptor, and workers that share a port.
fn ways<P: Protocol + Clone>(protocol: &P) -> impl Iterator<Item = (ServerBuilder, Listen<P>)> {
    let ways = [(1, false), (3, false), (3, cfg!(unix))];
    ways.into_iter().map(move |(workers, reuse_port)| {
        let listen = listen(protocol.clone()).tls(server_tls());
        let builder = Server::builder().workers(workers);
        (builder, listen.reuse_port(reuse_port))
    })
}

#[test]
fn raw_bytes_come_back_on_every_way_in_every_version() {
    for (builder, listen) in ways(&Raw) {
        let (echo, events) = raw_echo();
        let server = TestServer::start_on(builder, listen, echo);
        for version in VERSIONS {
            let config = client_config(&[version]);
            let mut clients: Vec<TlsClient> = (0..6)
                .map(|_| TlsClient::open_with(server.addr(), &config))
                .collect();
            for round in 0..3 {
                for (index, client) in clients.iter_mut().enumerate() {
                    let bytes = pattern(round * 10 + index as u64, 1 + 999 * index);
                    assert!(client.ask(&bytes) == bytes);
                    assert_eq!(client.tls.protocol_version(), Some(version.version));
                }
            }
            for mut client in clients {
                client.finish();
                client.expect_end();
                assert_eq!(events.close_reason(), "Peer");
            }
        }
        server.finish(&events);
    }
}

#[test]
fn lines_come_back_on_every_way() {
    for (builder, listen) in ways(&Lines::new()) {
        let (recorder, events) = Recorder::<Lines>::new();
        let echo = recorder.on_message(|conn, line| _ = conn.send(text(line)));
        let server = TestServer::start_on(builder, listen, echo);
        let mut client = TlsClient::open(&server);
        client.ping();
        // A line in two records.
        client.send(b"pi");
        assert_eq!(client.exchange(b"ng\nand\n", 9), b"ping\nand\n");
        server.finish(&events);
    }
}

#[test]
fn frames_with_lengths_come_back_on_every_way() {
    for (builder, listen) in ways(&LengthPrefixed::u32_be()) {
        let (recorder, events) = Recorder::<LengthPrefixed>::new();
        let echo = recorder.on_message(|conn, bytes| _ = conn.send(bytes));
        let server = TestServer::start_on(builder, listen, echo);
        let mut client = TlsClient::open(&server);
        for length in [0, 1, 16 * 1024 - 4, 16 * 1024, 100_000] {
            let frame = [&(length as u32).to_be_bytes()[..], &pattern(1, length)].concat();
            assert!(client.ask(&frame) == frame);
        }
        server.finish(&events);
    }
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_delivered() {
    for version in VERSIONS {
        let (echo, events) = raw_echo();
        let server = TestServer::start(listen(Raw).tls(server_tls()), echo);
        let stream = support::tls::connect(server.addr(), false);
        let mut client = TlsClient::around(stream, &client_config(&[version]));
        // rustls keeps the bytes until it may send them, in TLS 1.3 with the last message of the handshake.
        let early = client.seal(b"ping\n");
        client.send_raw(&early);
        client.shake().unwrap();
        assert_eq!(client.receive(5), b"ping\n");
        client.ping();
        server.finish(&events);
    }
}

#[test]
fn plain_and_sealed_listeners_live_side_by_side() {
    let (echo, _events) = raw_echo();
    let builder = Server::builder().workers(2);
    let builder = builder.listen_with(listen(Raw), echo.clone()).unwrap();
    let sealed = listen(Raw).tls(server_tls());
    let server = TestServer::spawn(builder.listen_with(sealed, echo).unwrap());
    let mut plain = server.connect();
    let mut sealed = TlsClient::open_with(server.addr_of(1), support::tls::any_client());
    for _ in 0..3 {
        plain.ping();
        sealed.ping();
    }
    let added = server.handle();
    let added = added
        .listen(listen(Raw).tls(server_tls()), raw_echo().0)
        .unwrap();
    let address = added[0].socket_addr().unwrap();
    TlsClient::open_with(address, support::tls::any_client()).ping();
}

#[test]
fn a_client_that_says_all_at_once_is_answered() {
    for version in VERSIONS {
        let (echo, events) = raw_echo();
        let server = TestServer::start(listen(Raw).tls(server_tls()), echo);
        let stream = support::tls::connect(server.addr(), false);
        let mut client = TlsClient::around(stream, &client_config(&[version]));
        let hello = client.seal(&pattern(4, 100_000));
        client.send_raw(&hello);
        while client.tls.is_handshaking() {
            // The last message of the handshake, what was to be sent, and the end leave together.
            assert!(client.tls.read_tls(&mut client.stream).unwrap() > 0);
            client.tls.process_new_packets().unwrap();
            if !client.tls.is_handshaking() {
                client.tls.send_close_notify();
            }
            let records = client.records();
            client.send_raw(&records);
        }
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.receive_rest() == pattern(4, 100_000));
        assert_eq!(events.close_reason(), "Peer");
        server.finish(&events);
    }
}
