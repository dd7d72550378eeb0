//! A peer that has ended its stream may still read: it gets all output for it.

use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Refusal, SendStatus};
use support::{DEADLINE, Event, Recorder, TestServer, listen, listen_roomy, pattern, text};

#[test]
fn all_requests_are_answered_after_the_peers_end() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        conn.send(text(line));
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    let questions: String = (0..10_000)
        .map(|number| format!("question {number}\n"))
        .collect();
    client.send(questions.as_bytes());
    client.finish();
    assert!(client.receive_rest() == questions.as_bytes());
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn mebibytes_of_output_reach_a_half_open_peer_that_reads_late() {
    let payload = pattern(1, 6 << 20);
    let (recorder, events) = Recorder::<Raw>::new();
    let to_send = payload.clone();
    let recorder = recorder.on_message(move |conn, _| {
        assert_eq!(conn.send(&to_send), SendStatus::AboveHighWater);
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    client.finish();
    events.message();
    // Several turns of the loop pass before the first byte is read.
    for _ in 0..20 {
        drop(server.connect());
        assert_eq!(events.close_reason(), "Peer");
    }
    assert!(client.receive_rest() == payload);
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn messages_held_back_by_pressure_are_delivered_before_the_peers_end() {
    let (recorder, events) = Recorder::<Lines>::new();
    let answer = "x".repeat(60_000);
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&answer);
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(&b"more\n".repeat(200));
    client.finish();
    assert_eq!(client.receive_rest().len(), 200 * 60_001);
    assert_eq!(events.close_reason(), "Peer");
    let events_so_far = events.so_far();
    let end = events_so_far
        .iter()
        .position(|event| matches!(event, Event::HalfClose(_)));
    let last = events_so_far
        .iter()
        .rposition(|event| matches!(event, Event::Message(..)));
    assert!(last < end, "on_half_close came before the last message");
    assert_eq!(events.messages().len(), 200);
    server.finish(&events);
}

#[test]
fn a_handler_may_go_on_sending_until_it_closes() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_half_close(|conn| {
            conn.set_timer(Duration::from_millis(5), 0).unwrap();
        })
        .on_timer(|conn, count| {
            conn.send(&[b'0' + count as u8]);
            match count {
                4 => conn.close(),
                _ => {
                    conn.set_timer(Duration::from_millis(1), count + 1).unwrap();
                }
            }
        });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.finish();
    assert_eq!(client.receive_rest(), b"01234");
    assert_eq!(events.close_reason(), "Peer");
    assert_eq!(
        events.count(|event| matches!(event, Event::HalfClose(_))),
        1,
        "on_half_close is called once"
    );
    server.finish(&events);
}

#[test]
fn another_thread_can_answer_a_half_open_peer() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (handles, lent) = channel();
    let recorder = recorder.on_half_close(move |conn| handles.send(conn.handle()).unwrap());
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"question");
    client.finish();
    let handle = lent.recv_timeout(DEADLINE).unwrap();
    handle.send(Bytes::from_static(b"answer")).unwrap();
    assert_eq!(client.receive(6), b"answer");
    handle.close().unwrap();
    client.expect_eof();
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn after_shutdown_write_messages_still_arrive() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        if line == b"last" {
            conn.send("goodbye");
            conn.shutdown_write();
            assert!(!conn.is_open());
        } else {
            assert_eq!(conn.send("more"), SendStatus::Refused(Refusal::Closing));
        }
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"last\n");
    assert_eq!(client.receive_rest(), b"goodbye\n");
    client.send(b"one\ntwo\n");
    drop(client);
    assert_eq!(events.close_reason(), "Peer");
    assert_eq!(events.messages(), [&b"last"[..], b"one", b"two"]);
    server.finish(&events);
}

#[test]
fn shutdown_write_waits_for_pending_output() {
    let payload = pattern(2, 6 << 20);
    let (recorder, events) = Recorder::<Raw>::new();
    let to_send = payload.clone();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&to_send);
        conn.shutdown_write();
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert!(client.receive_rest() == payload);
    drop(client);
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn when_both_have_ended_their_streams_the_connection_closes_by_itself() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_half_close(|conn| conn.shutdown_write());
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.finish();
    client.expect_eof();
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn on_half_close_is_not_called_while_reading_is_paused() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (handles, lent) = channel();
    let recorder = recorder.on_open(move |conn| {
        conn.pause_reading();
        handles.send(conn.handle()).unwrap();
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    let paused = lent.recv_timeout(DEADLINE).unwrap();
    client.send(b"late");
    client.finish();
    // Meanwhile another connection opens and closes.
    let mut other = server.connect();
    lent.recv_timeout(DEADLINE).unwrap().close().unwrap();
    other.expect_eof();
    drop(other);
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(events.messages().len(), 0);
    paused.run(|conn| conn.resume_reading()).unwrap();
    assert_eq!(events.message(), b"late");
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}
