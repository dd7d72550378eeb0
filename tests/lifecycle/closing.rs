//! Every open has exactly one close with the right reason, whatever ends the connection, and no output is lost
//! needlessly.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ringwheel::protocol::{LengthPrefixed, Lines, Raw};
use ringwheel::{Conn, Limits, Refusal, SendError, SendOutcome, SendStatus};
use support::{Event, Recorder, TestServer, eventually, listen, listen_roomy, pattern, take, text};

use crate::fragile::{Fragile, lending, obedient};

#[test]
fn the_peers_end_between_messages_is_peer() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"whole\n");
    client.finish();
    client.expect_eof();
    assert_eq!(events.close_reason(), "Peer");
    assert_eq!(events.messages(), [b"whole"]);
    server.finish(&events);
}

#[test]
fn the_peers_end_in_a_message_is_truncated() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"whole\nhal");
    client.finish();
    client.expect_eof();
    assert_eq!(events.close_reason(), "Truncated");
    assert_eq!(events.messages(), [b"whole"]);
    server.finish(&events);
}

#[test]
fn the_peers_end_in_a_large_message_is_truncated() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let server = TestServer::start(listen(LengthPrefixed::u32_be()), recorder);
    let mut client = server.connect();
    client.send(&200_000u32.to_be_bytes());
    client.send(&pattern(1, 199_999));
    drop(client);
    assert_eq!(events.close_reason(), "Truncated");
    server.finish(&events);
}

#[test]
fn pending_output_reaches_a_peer_that_ended_within_a_message() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.send("answer");
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"question\nhal");
    client.finish();
    assert_eq!(client.receive_rest(), b"answer\n");
    assert_eq!(events.close_reason(), "Truncated");
    server.finish(&events);
}

#[test]
fn a_connection_that_says_nothing_is_opened_and_closed() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    drop(server.connect());
    assert!(matches!(events.next(), Event::Open(_)));
    assert!(matches!(events.next(), Event::HalfClose(_)));
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn close_in_on_message_is_local() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.send(b"close");
    client.expect_eof();
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn close_in_on_open_is_local_and_sends_what_was_queued_before() {
    let (recorder, events) = obedient();
    let recorder = recorder.on_open(|conn| {
        conn.send(b"no room");
        conn.close();
        assert_eq!(
            conn.send(b"too late"),
            SendStatus::Refused(Refusal::Closing)
        );
        assert!(!conn.is_open());
    });
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    assert_eq!(client.receive_rest(), b"no room");
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn close_in_on_timer_is_local() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder.on_timer(|conn, _| conn.close()));
    let mut client = server.connect();
    client.send(b"timer");
    client.expect_eof();
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn close_in_on_half_close_is_peer_because_the_peer_ended_first() {
    let (recorder, events) = obedient();
    let recorder = recorder.on_half_close(|conn| {
        conn.send(b"goodbye");
        conn.close();
    });
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.finish();
    assert_eq!(client.receive_rest(), b"goodbye");
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn close_in_on_drained_is_local() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_message(|conn, _| send_until_above_high_water(conn))
        .on_drained(|conn| conn.close());
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert!(client.drain().unwrap() > 0);
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

/// Waits until so many connections are left, also of those that linger without the handler.
#[track_caller]
pub(crate) fn eventually_left(server: &TestServer, count: usize) {
    eventually("connections are gone", || {
        server.handle().stats().connections == count
    });
}

fn send_until_above_high_water(conn: &mut Conn<'_, Raw>) {
    while conn.send(&[b'.'; 4096]) == SendStatus::Queued {}
}

/// Leaves output pending, however much the kernel takes.
pub(crate) fn send_more_than_fits(conn: &mut Conn<'_, Raw>) {
    assert_eq!(conn.send(&vec![b'.'; 6 << 20]), SendStatus::AboveHighWater);
}

/// The handler was told of the end only once the peer had ended its stream, or after the close timeout: a user that was sent
/// away, or had broken the protocol, stayed in its tables for that long.
#[test]
fn the_handler_is_told_of_the_end_although_the_peer_is_silent() {
    for (word, reason) in [
        (&b"close"[..], "Local"),
        (b"refuse", "Protocol(Refused)"),
        (b"panic", "Panic"),
        (b"panic in unpack", "Panic"),
        (b"shutdown", "Local"),
    ] {
        let (recorder, events, handles) = lending();
        let listen = listen(Fragile).close_timeout(Duration::from_secs(3600));
        let server = TestServer::start(listen, recorder);
        let mut client = server.connect();
        let handle = take(&handles);
        let sent = match word {
            b"shutdown" => handle.close().is_ok(),
            word => client.try_send(word).is_ok(),
        };
        assert!(sent);
        assert_eq!(events.close_reason(), reason);
        assert!(!handle.is_alive());
        assert_eq!(handle.close(), Err(SendError::Closed(())));
        // The socket lingers without the handler.
        assert_eq!(server.handle().stats().connections, 1);
        client.finish();
        eventually_left(&server, 0);
        server.finish(&events);
    }
}

/// Messages that are on their way when the handler is told of the end have their completions afterwards.
#[test]
fn completions_come_after_the_end_once_the_output_has_left() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, outcome) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let told = told.clone();
        conn.send_then(&vec![b'.'; 6 << 20], move |outcome| {
            told.send(outcome).unwrap();
        });
        conn.close();
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(events.close_reason(), "Local");
    assert!(outcome.try_recv().is_err(), "the peer has read nothing");
    assert_eq!(client.drain().unwrap(), 6 << 20);
    assert_eq!(take(&outcome), SendOutcome::Written);
    server.finish(&events);
}

/// Subscriptions, timers and visits end with the connection, although its socket lingers.
#[test]
fn nothing_reaches_the_handler_after_the_end() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_open(|conn| _ = conn.subscribe("room").unwrap())
        .on_message(|conn, _| {
            conn.set_interval(Duration::from_millis(1), 1).unwrap();
            conn.close();
        });
    let listen = listen(Raw).close_timeout(Duration::from_secs(3600));
    let server = TestServer::start(listen, recorder);
    let (mut client, other) = (server.connect(), server.connect());
    client.send(b"go");
    events.close();
    let connections = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    let (told, counts) = channel();
    connections
        .on_worker(0, move |_, connections| {
            told.send((connections.subscribers("room"), connections.ids().len()))
                .unwrap();
        })
        .unwrap();
    assert_eq!(take(&counts), (1, 1));
    assert_eq!(server.handle().stats().connections, 2);
    server.let_pass(Duration::from_millis(20));
    drop((client, other));
    server.finish(&events);
}

#[test]
fn a_protocol_error_ends_the_connection_after_its_farewell() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.ping();
    client.send(b"refuse");
    assert_eq!(client.receive_rest(), b"farewell");
    drop(client);
    assert_eq!(events.close_reason(), "Protocol(Refused)");
    server.finish(&events);
}

#[test]
fn a_protocol_error_does_not_lose_the_answers_before_it() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        conn.send(text(line));
    });
    let server = TestServer::start(listen(Lines::new().max_length(8)), recorder);
    let mut client = server.connect();
    client.send(b"one\ntwo\nmuch too long\nthree\n");
    assert_eq!(client.receive_rest(), b"one\ntwo\n");
    drop(client);
    assert_eq!(events.close_reason(), "Protocol(TooLong { limit: 8 })");
    server.finish(&events);
}

#[test]
fn after_close_no_message_of_the_burst_is_delivered() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        if line == b"close" {
            conn.close();
        }
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"one\nclose\nnever\nnever\n");
    client.expect_eof();
    let _ = client.try_send(b"nor this\n");
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(events.messages(), [&b"one"[..], b"close"]);
    server.finish(&events);
}

#[test]
fn after_abort_no_message_of_the_burst_is_delivered() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(
        listen(Lines::new()),
        recorder.on_message(|conn, _| conn.abort()),
    );
    let mut client = server.connect();
    client.send(b"one\nnever\n");
    client.expect_reset();
    assert_eq!(events.close_reason(), "Aborted");
    assert_eq!(events.messages(), [b"one"]);
    server.finish(&events);
}

#[test]
fn pending_output_is_flushed_at_a_close() {
    let payload = pattern(2, 4 << 20);
    let (recorder, events) = Recorder::<Raw>::new();
    let to_send = payload.clone();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&to_send);
        conn.close();
    });
    let server = TestServer::start(listen_roomy(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    // The client reads nothing before the close has begun.
    events.message();
    assert!(client.receive_rest() == payload);
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn a_close_lingers_until_the_peer_has_ended() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut neighbour = server.connect();
    let mut client = server.connect();
    client.send(b"close");
    client.expect_eof();
    // The socket still accepts input, so that no reset destroys bytes that the peer has not read yet.
    for _ in 0..10 {
        client.send(&[0; 10_000]);
        neighbour.ping();
    }
    assert_eq!(server.handle().stats().connections, 2);
    client.finish();
    eventually_left(&server, 1);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn a_close_lingers_no_longer_than_its_timeout() {
    let timeout = Duration::from_millis(150);
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile).close_timeout(timeout), recorder);
    let mut client = server.connect();
    let start = Instant::now();
    client.send(b"close");
    client.expect_eof();
    eventually_left(&server, 0);
    assert!(start.elapsed() >= timeout);
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(server.handle().stats().output_lost, 0);
    server.finish(&events);
}

#[test]
fn a_close_that_cannot_flush_times_out() {
    let timeout = Duration::from_millis(150);
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, outcome) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let told = told.clone();
        conn.send_then(&vec![b'.'; 6 << 20], move |outcome| {
            told.send(outcome).unwrap();
        });
        conn.close();
    });
    let server = TestServer::start(
        listen_roomy(Raw)
            .send_buffer_size(128 * 1024)
            .close_timeout(timeout),
        recorder,
    );
    let mut client = server.connect();
    let start = Instant::now();
    client.send(b"go");
    // The handler has heard of the end when it began; the completion tells what became of the output.
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(take(&outcome), SendOutcome::Lost);
    assert!(start.elapsed() >= timeout);
    client.expect_reset();
    eventually_left(&server, 0);
    assert_eq!(server.handle().stats().output_lost, 1);
    server.finish(&events);
}

#[test]
fn a_slot_is_reused_and_events_of_the_old_connection_do_not_reach_the_new_one() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    for round in 0..200 {
        let mut client = server.connect();
        client.ping();
        if round % 2 == 0 {
            client.reset()
        } else {
            drop(client)
        }
        let mut next = server.connect();
        next.ping();
        drop(next);
    }
    server.finish(&events);
    assert_eq!(events.count(|event| matches!(event, Event::Open(_))), 400);
}

#[test]
fn every_end_of_a_connection_reduces_the_count() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    for end in [
        &b"close"[..],
        b"abort",
        b"panic",
        b"refuse",
        b"panic in pack",
    ] {
        let mut client = server.connect();
        client.send(end);
        client.expect_ended();
    }
    eventually("no connection is counted any more", || {
        server.handle().stats().connections == 0
    });
    assert_eq!(server.handle().connections_per_worker(), [0]);
    assert_eq!(server.handle().stats().accepted, 5);
    server.finish(&events);
}

#[test]
fn an_input_limit_ends_the_connection_with_its_reason() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let listen = listen(LengthPrefixed::u32_be()).limits(Limits::default().input(1000));
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    client.send(&2000u32.to_be_bytes());
    client.expect_eof();
    drop(client);
    assert_eq!(events.close_reason(), "InputLimit");
    server.finish(&events);
}
