//! Resets, by an abort or by the peer: they are noticed at once, and lose what is pending.

use std::io::ErrorKind;
use std::sync::mpsc::channel;

use ringwheel::protocol::Raw;
use ringwheel::{SendOutcome, Server};
use support::{Client, DEADLINE, Hold, Recorder, TestServer, listen, listen_roomy, take};

use crate::closing::{eventually_left, send_more_than_fits};
use crate::fragile::{Fragile, obedient};

#[test]
fn abort_resets_and_loses_pending_output() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.send(b"abort");
    client.expect_reset();
    assert_eq!(events.close_reason(), "Aborted");
    server.finish(&events);
}

#[test]
fn abort_in_on_open_resets() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder.on_open(|conn| conn.abort()));
    // The reset may arrive before `connect` has returned.
    match Client::try_connect(server.addr()) {
        Ok(mut client) => client.expect_reset(),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(events.close_reason(), "Aborted");
    server.finish(&events);
}

#[test]
fn abort_in_any_callback_resets() {
    type Script = fn(Recorder<Fragile>) -> Recorder<Fragile>;
    let in_timer: Script = |recorder| recorder.on_timer(|conn, _| conn.abort());
    let in_half_close: Script = |recorder| recorder.on_half_close(|conn| conn.abort());
    let after_close: Script = |recorder| {
        recorder.on_timer(|conn, _| {
            conn.close();
            conn.abort();
        })
    };
    let scripts = [(in_timer, &b"timer"[..], false), (in_half_close, b"", true)];
    for (script, trigger, finishes) in scripts {
        let (recorder, events) = obedient();
        let server = TestServer::start(listen(Fragile), script(recorder));
        let mut client = server.connect();
        client.send(trigger);
        if finishes {
            client.finish();
        }
        client.expect_reset();
        assert_eq!(events.close_reason(), "Aborted");
        server.finish(&events);
    }
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), after_close(recorder));
    let mut client = server.connect();
    client.send(b"timer");
    client.expect_reset();
    assert_eq!(
        events.close_reason(),
        "Local",
        "the first cause counts if no output was lost"
    );
    server.finish(&events);
}

#[test]
fn a_reset_by_the_peer_is_io() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.ping();
    client.reset();
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

#[test]
fn a_reset_is_noticed_although_reading_is_paused() {
    let (recorder, events) = obedient();
    let server = TestServer::start(
        listen(Fragile),
        recorder.on_open(|conn| conn.pause_reading()),
    );
    let client = server.connect();
    events.open();
    client.reset();
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

#[test]
fn a_reset_is_noticed_although_the_peer_had_ended_its_stream() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder.on_half_close(|_| {}));
    let mut client = server.connect();
    client.finish();
    events.half_close();
    client.reset();
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

/// Both come in one event, and the read that meets the end of the stream meets no error: such connections stayed for ever.
#[test]
fn a_reset_directly_behind_the_end_of_the_stream_is_noticed() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_half_close(|_| {});
    let recorder = recorder.on_message(move |_, _| hold.enter());
    let server = TestServer::start_on(Server::builder().workers(1), listen(Raw), recorder);
    let mut client = server.connect();
    let mut other = server.connect();
    other.send(b"hold");
    grip.wait();
    client.finish();
    client.reset_and_arrive();
    grip.release();
    assert!(events.close_reason().starts_with("Io("));
    drop(other);
    drop(server);
}

#[test]
fn a_reset_while_output_is_pending_is_io() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (blocked, is_blocked) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        send_more_than_fits(conn);
        blocked.send(()).unwrap();
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    is_blocked.recv_timeout(DEADLINE).unwrap();
    client.reset();
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

#[test]
fn a_reset_that_loses_the_output_of_a_close_is_told_by_its_completion() {
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
    events.message();
    assert_eq!(events.close_reason(), "Local");
    client.reset();
    assert_eq!(take(&outcome), SendOutcome::Lost);
    eventually_left(&server, 0);
    assert_eq!(server.handle().stats().output_lost, 1);
    server.finish(&events);
}
