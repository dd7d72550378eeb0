//! Regressions at the end of connections.

use std::sync::mpsc::channel;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, Limits};
use support::{DEADLINE, Event, Recorder, TestServer, deliberate_panic, eventually, listen, take};

/// A close in a callback panicked the worker if more messages were held back than the input limit allows for one, and
/// more input was waiting.
#[test]
fn a_close_with_held_back_messages_beyond_the_input_limit_does_not_panic_the_worker() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (handles, lent) = channel();
    let recorder = recorder
        .on_open(move |conn| {
            conn.pause_reading();
            handles.send(conn.handle()).unwrap();
        })
        .on_message(|conn, line| match line {
            b"ping" => {
                conn.send("ping");
            }
            _ if conn.stats().messages_in == 1 => conn.pause_reading(),
            _ => conn.close(),
        });
    let limits = Limits::default().input(8 * 1024);
    let server = TestServer::start(listen(Lines::new()).limits(limits), recorder);
    let mut neighbour = server.connect();
    let resume = |conn: &mut Conn<'_, Lines>| conn.resume_reading();
    take(&lent).run(resume).unwrap();
    neighbour.ping();
    let mut client = server.connect();
    let handle = take(&lent);
    client.send(&b"123456789\n".repeat(6000));
    handle.run(resume).unwrap();
    events.wait_for(|event| {
        matches!(event, Event::Message(_, line) if line == b"123456789").then_some(())
    });
    client.send(b"and more\n");
    neighbour.ping();
    handle.run(resume).unwrap();
    client.expect_eof();
    drop(client);
    neighbour.ping();
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

/// A handle that `on_open` had given away before it panicked stayed alive for ever.
#[test]
fn a_handle_to_a_connection_whose_on_open_panicked_is_stale() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (handles, lent) = channel();
    let recorder = recorder.on_open(move |conn| {
        handles.send(conn.handle()).unwrap();
        deliberate_panic();
    });
    let server = TestServer::start(listen(Raw), recorder);
    server.connect().expect_ended();
    let handle = take(&lent);
    eventually("the handle is stale", || !handle.is_alive());
    server.finish(&events);
}

/// An abort had no effect on a connection that was already closing in order, until its close deadline.
#[test]
fn an_abort_cuts_an_orderly_close_short() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.close();
        conn.abort();
    });
    let server = TestServer::start(listen(Raw).close_timeout(10 * DEADLINE), recorder);
    let mut client = server.connect();
    client.send(b"go");
    client.expect_ended();
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}
