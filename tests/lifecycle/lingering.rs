//! The end of a close: what the kernel holds reaches a peer that goes on sending, and nothing waits for ever.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Conn, ConnHandle, Listen, SendOutcome, SourceStep};
use support::{
    Client, DEADLINE, Events, Recorder, TestServer, eventually, lending, listen, pattern, take,
};

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

/// A server whose handler answers with this source and closes. Returns the outcomes of the sources, and the handles.
fn drawing(
    listen: Listen<Raw>,
    source: impl Fn(&mut Conn<'_, Raw>) -> SourceStep + Clone + Send + Sync + 'static,
) -> (
    TestServer,
    Events,
    Receiver<SendOutcome>,
    Receiver<ConnHandle<Raw>>,
) {
    let (recorder, events) = Recorder::<Raw>::new();
    let (recorder, handles) = lending(recorder);
    let (told, outcomes) = channel();
    let recorder = recorder.on_message(move |conn, message| {
        let told = told.clone();
        conn.send_from_then(source.clone(), move |outcome| {
            told.send(outcome).unwrap();
        });
        match message {
            b"close" => conn.close(),
            b"end" => conn.shutdown_write(),
            // The peer ends, and so the handler closes.
            _ => {}
        }
    });
    let server = TestServer::start(listen, recorder);
    (server, events, outcomes, handles)
}

/// Such a source held its connection for ever, whatever the peer and the handler did.
#[test]
fn a_close_does_not_wait_for_a_source_that_sends_nothing() {
    for step in [SourceStep::Wait, SourceStep::More] {
        for request in ["close", "end", "wait"] {
            let (server, events, outcomes, _handles) =
                drawing(listen(Raw).close_timeout(SHORT), move |_| step);
            let mut client = server.connect();
            let start = Instant::now();
            client.send(request.as_bytes());
            if request != "close" {
                client.finish();
            }
            assert_eq!(take(&outcomes), SendOutcome::Lost, "{request} {step:?}");
            assert!(start.elapsed() >= SHORT);
            assert_eq!(events.close_reason(), "Timeout(SourceStall)");
            client.expect_reset();
            eventually_gone(&server);
            assert_eq!(server.handle().stats().output_lost, 1);
            server.finish(&events);
        }
    }
}

/// Each byte that a source sends and the peer takes begins the time anew.
#[test]
fn a_close_waits_for_a_source_that_sends_now_and_then() {
    let step = |conn: &mut Conn<'_, Raw>| {
        conn.send(b".");
        SourceStep::Wait
    };
    let long = 10 * SHORT;
    let (server, events, outcomes, handles) = drawing(listen(Raw).close_timeout(long), step);
    let mut client = server.connect();
    let handle = take(&handles);
    client.send(b"close");
    let start = Instant::now();
    while start.elapsed() < 2 * long {
        assert_eq!(client.receive(1), b".");
        let resumed = Instant::now();
        server.let_pass(SHORT);
        handle.resume_sources().unwrap();
        if resumed.elapsed() > long / 2 {
            eprintln!("inconclusive: the machine is too busy for this test");
            return;
        }
    }
    assert_eq!(client.receive(1), b".");
    assert!(outcomes.try_recv().is_err());
    // The peer takes the last byte; then nothing more comes.
    assert_eq!(take(&outcomes), SendOutcome::Lost);
    assert_eq!(events.close_reason(), "Timeout(SourceStall)");
    server.finish(&events);
}

/// The peer must take what a source sends at the least rate, as it must the rest of a close.
#[test]
fn a_close_does_not_wait_for_a_peer_that_does_not_take_what_a_source_sends() {
    let step = |conn: &mut Conn<'_, Raw>| {
        conn.send(&[0; 16 * 1024]);
        SourceStep::More
    };
    let listen = listen(Raw).close_timeout(SHORT).send_buffer_size(16 * 1024);
    let (server, events, outcomes, _handles) = drawing(listen, step);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"close");
    assert_eq!(take(&outcomes), SendOutcome::Lost);
    assert_eq!(events.close_reason(), "Timeout(WriteStall)");
    let mut rest = client.stream();
    assert!(rest.read_to_end(&mut Vec::new()).is_err(), "a reset");
    let _ = rest.shutdown(Shutdown::Both);
    eventually_gone(&server);
    assert_eq!(server.handle().stats().output_lost, 1);
    server.finish(&events);
}
