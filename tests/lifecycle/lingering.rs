//! The end of a close: what the kernel holds reaches a peer that goes on sending.

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Listen, SendOutcome};
use support::{Client, DEADLINE, Events, Recorder, TestServer, eventually, listen, pattern, take};

const SHORT: Duration = Duration::from_millis(100);
/// Bytes that the kernel takes at once, although the peer reads nothing.
const BODY: usize = 48 * 1024;

#[track_caller]
fn eventually_gone(server: &TestServer) {
    eventually("the connection is gone", || {
        server.handle().stats().connections == 0
    });
}

/// A server that answers with the body and closes, and a client that has asked and whose answer is with the kernel.
fn closing(listen: Listen<Raw>) -> (TestServer, Events, Client) {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, outcome) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let told = told.clone();
        conn.send_then(&pattern(1, BODY), move |outcome| {
            told.send(outcome).unwrap();
        });
        conn.close();
    });
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    assert_eq!(take(&outcome), SendOutcome::Written);
    assert_eq!(events.close_reason(), "Local");
    (server, events, client)
}

/// The socket was closed after the close timeout, so the next byte of the peer was answered with a reset, and what the kernel
/// had not delivered was lost.
#[test]
fn a_peer_that_sends_gets_all_behind_the_close() {
    for is_silent_at_first in [false, true] {
        let (server, events, mut client) = closing(listen(Raw).close_timeout(SHORT));
        for _ in 0..5 {
            if !is_silent_at_first {
                client.send(b".");
            }
            server.let_pass(SHORT);
        }
        let mut received = Vec::new();
        while received.len() < BODY {
            client.send(b".");
            received.extend(client.receive_some(2048));
        }
        assert!(received == pattern(1, BODY), "another body");
        client.expect_eof();
        drop(client);
        eventually_gone(&server);
        assert_eq!(server.handle().stats().output_lost, 0);
        server.finish(&events);
    }
}

/// The least rate bounds the wait for a peer that does not end.
#[test]
fn a_peer_that_does_not_end_is_gone_once_it_could_have_read_all() {
    const RATE: u32 = 96 * 1024;
    let limited = listen(Raw).close_timeout(SHORT).min_send_rate(RATE);
    let start = Instant::now();
    let (server, events, mut client) = closing(limited);
    assert_eq!(client.receive(BODY).len(), BODY);
    client.expect_eof();
    eventually_gone(&server);
    assert!(start.elapsed() >= Duration::from_millis(500), "BODY / RATE");
    assert_eq!(server.handle().stats().output_lost, 0);
    server.finish(&events);
}

/// A flood is read at a slow pace by then, but the reset behind it is noticed.
#[test]
fn a_peer_that_floods_behind_the_close_is_not_read_for_ever() {
    let (server, events, client) = closing(listen(Raw).close_timeout(SHORT));
    let mut flood = client.second_half();
    let mut stream = flood.stream().try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    server.let_pass(3 * SHORT);
    let start = Instant::now();
    let mut is_full = 0;
    // Behind a pace nothing is taken for most of the time.
    while is_full < 20 {
        assert!(start.elapsed() < DEADLINE, "all of the flood is read");
        if stream.write(&[0; 64 * 1024]).is_ok_and(|taken| taken > 0) {
            is_full = 0;
        } else {
            is_full += 1;
            server.let_pass(Duration::from_millis(10));
        }
    }
    stream.set_nonblocking(false).unwrap();
    // It gets the rest all the same.
    assert!(flood.receive(BODY) == pattern(1, BODY));
    drop(stream);
    drop(flood);
    client.reset();
    eventually_gone(&server);
    server.finish(&events);
}
