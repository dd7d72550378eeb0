//! The end of a server with open connections and handshakes under way.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Limits, Listen, Server, ServerBuilder};
use support::tls::{TlsClient, VERSIONS, Version, client_config, connect, server_tls};
use support::{DEADLINE, Recorder, TestServer, eventually, listen, pattern, raw_echo};

fn sealed() -> Listen<Raw> {
    listen(Raw).tls(server_tls())
}

/// Ways from a listener to a worker: one that accepts itself, an acceptor, and workers that share a port.
fn ways() -> impl Iterator<Item = (ServerBuilder, Listen<Raw>)> {
    let ways = [(1, false), (2, false), (2, cfg!(unix))];
    ways.into_iter().map(|(workers, reuse_port)| {
        let builder = Server::builder().workers(workers);
        (builder, sealed().reuse_port(reuse_port))
    })
}

#[track_caller]
fn accept(server: &TestServer, count: u64) {
    eventually("all are accepted", || {
        server.handle().stats().accepted == count
    });
}

/// A client that has sent half of its first message.
#[track_caller]
fn half(server: &TestServer, version: Version) -> (TlsClient, Vec<u8>) {
    let stream = connect(server.addr(), false);
    let mut client = TlsClient::around(stream, &client_config(&[version]));
    let mut hello = client.records();
    let rest = hello.split_off(hello.len() / 2);
    client.send_raw(&hello);
    (client, rest)
}

#[test]
fn a_drain_says_close_notify_and_lets_handshakes_end() {
    for version in VERSIONS {
        for (builder, listen) in ways() {
            let (echo, events) = raw_echo();
            let server = TestServer::start_on(builder, listen, echo);
            let mut open = TlsClient::open_with(server.addr(), &client_config(&[version]));
            open.ping();
            let (mut half, rest) = half(&server, version);
            let mut silent = server.connect();
            accept(&server, 3);
            server.handle().shutdown(DEADLINE);
            open.expect_end();
            silent.expect_eof();
            drop(open);
            half.send_raw(&rest);
            half.shake().unwrap();
            half.expect_end();
            drop(half);
            let handle = server.handle().clone();
            server.join();
            assert_eq!(handle.stats().connections, 0);
            events.assert_lifecycles();
        }
    }
}

#[test]
fn a_drain_resets_what_is_not_done_at_its_deadline() {
    let body = pattern(1, 4 << 20);
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(move |conn, _| _ = conn.send(&body));
    let limits = Limits::default().output(8 << 20);
    let listen = sealed().limits(limits).send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    let mut deaf = TlsClient::open_narrow(server.addr());
    deaf.send(b"go");
    assert_eq!(events.message(), b"go");
    let (mut half, _rest) = half(&server, VERSIONS[1]);
    accept(&server, 2);
    let began = Instant::now();
    server.handle().shutdown(Duration::from_millis(100));
    let end = half.stream.read(&mut [0]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    server.join();
    assert!(began.elapsed() < DEADLINE);
    deaf.try_receive_rest()
        .expect_err("a cut that can be noticed");
    events.assert_lifecycles();
}

/// A stop said `close_notify`, as if all had been sent and read, and then reset the stream.
#[test]
fn a_stop_resets_what_is_open_and_leaves_nothing() {
    for (builder, listen) in ways() {
        let (echo, events) = raw_echo();
        let server = TestServer::start_on(builder, listen, echo);
        let mut open = TlsClient::open(&server);
        open.ping();
        let (half, _rest) = half(&server, VERSIONS[1]);
        accept(&server, 2);
        let handle = server.handle().clone();
        server.finish(&events);
        assert_eq!(handle.stats().connections, 0);
        assert_eq!(handle.connections_per_worker().iter().sum::<usize>(), 0);
        open.expect_reset();
        drop(half);
    }
}

#[test]
fn many_open_connections_all_end_in_order() {
    for (builder, listen) in ways() {
        let (echo, events) = raw_echo();
        let server = TestServer::start_on(builder, listen, echo);
        let mut clients: Vec<TlsClient> = (0..60).map(|_| TlsClient::open(&server)).collect();
        for client in &mut clients {
            // Not answered yet when the drain begins, perhaps.
            client.send(b"last");
        }
        server.handle().shutdown(DEADLINE);
        for mut client in clients {
            let last = client.receive_rest();
            assert!(last == b"last" || last.is_empty());
            client.expect_eof();
        }
        server.join();
        events.assert_lifecycles();
    }
}
