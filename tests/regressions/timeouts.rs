//! Timers that were early, and peers that were given up although they had done their part.

use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::Conn;
use ringwheel::protocol::{Lines, Raw};

use crate::hold::Hold;
use crate::support::{Client, Recorder, TestServer, eventually, listen, text};
use crate::{SHORT, behind_an_acceptor, raw_echo, take};

/// A task that was scheduled while the worker was held up ran early: its time was counted from the beginning of that
/// iteration.
#[test]
fn run_after_is_not_early_on_a_busy_worker() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |_, _| {
        thread::sleep(2 * SHORT);
        hold.enter();
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    grip.wait();
    let (ran, has_run) = channel();
    let start = Instant::now();
    server
        .handle()
        .run_after(SHORT, move || ran.send(Instant::now()).unwrap());
    // It is already due, so the worker does not sleep before it looks at the clock again.
    server.handle().run_after(Duration::ZERO, || {});
    grip.release();
    assert!(take(&has_run) - start >= SHORT);
    server.finish(&events);
}

/// As above, for the deadlines of a connection that came meanwhile.
#[test]
fn deadlines_of_a_connection_that_comes_while_its_worker_is_busy_are_not_early() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |_, _| {
        thread::sleep(2 * SHORT);
        hold.enter();
    });
    let listen = listen(Raw).first_message_timeout(SHORT);
    let server = TestServer::start_on(behind_an_acceptor(), listen, recorder);
    let mut busy = server.connect();
    busy.send(b"go");
    grip.wait();
    let start = Instant::now();
    let mut late = server.connect();
    eventually("it was handed over", || {
        server.handle().connections() == [2, 0]
    });
    grip.release();
    late.expect_ended();
    assert!(start.elapsed() >= SHORT);
    assert_eq!(events.close_reason(), "Timeout(FirstMessage)");
    server.finish(&events);
}

/// Evicting a silent peer that had not read its answer ended the stream as if the answer were whole.
#[test]
fn an_eviction_with_output_pending_resets() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (sent, is_sent) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&vec![0; 7 << 20]);
        conn.flush();
        sent.send(conn.write_buffer_len()).unwrap();
    });
    let listen = listen(Raw).send_buffer_size(64 * 1024).idle_timeout(SHORT);
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    assert!(take(&is_sent) > 0, "more than the kernel takes");
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    assert!(client.drain().is_err(), "a reset, not an end of stream");
    server.finish(&events);
}

/// A peer whose bytes had come while the loop was held up, but beyond the events that one poll gives, was evicted as idle.
/// Here they have come after the poll, and the loop looks at the clock once more before the next.
#[test]
fn a_peer_whose_bytes_no_poll_has_told_of_is_not_idle() {
    let (echo, events) = raw_echo();
    let (hold, grip) = Hold::new();
    let echo = echo.on_open(move |_| {
        hold.enter();
        thread::sleep(2 * SHORT);
    });
    let server = TestServer::start(listen(Raw).idle_timeout(SHORT), echo);
    let mut client = server.connect();
    grip.wait();
    client.send(b"here");
    server.handle().run_after(Duration::ZERO, || {});
    grip.release();
    assert_eq!(client.receive(4), b"here");
    server.finish(&events);
}

/// As above, for the first message.
#[test]
fn a_first_message_that_no_poll_has_told_of_is_in_time() {
    let (echo, events) = raw_echo();
    let (hold, grip) = Hold::new();
    let echo = echo.on_open(move |_| {
        hold.enter();
        thread::sleep(2 * SHORT);
    });
    let server = TestServer::start(listen(Raw).first_message_timeout(SHORT), echo);
    let mut client = server.connect();
    grip.wait();
    client.send(b"here");
    server.handle().run_after(Duration::ZERO, || {});
    grip.release();
    assert_eq!(client.receive(4), b"here");
    server.finish(&events);
}

/// Pauses for longer than any timeout here.
fn pause_for_long(conn: &mut Conn<'_, Lines>) {
    conn.pause_reading();
    conn.set_timer(3 * SHORT, 0).unwrap();
}

/// What had come with the message at which the handler paused did not count, since it was read already: the peer was evicted
/// as idle.
#[test]
fn a_peer_whose_messages_wait_for_a_paused_handler_is_not_idle() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder
        .on_message(|conn, line| {
            conn.send(text(line));
            if line == b"work" {
                pause_for_long(conn);
            }
        })
        .on_timer(|conn, _| conn.resume_reading());
    let listen = listen(Lines::new()).idle_timeout(SHORT);
    let (server, mut client) = TestServer::start_late(listen, recorder, b"work\nnext\n");
    assert_eq!(client.receive(10), b"work\nnext\n");
    server.finish(&events);
}

/// A handler that had paused in `on_open` lost its peer for not having heard the first message.
#[test]
fn a_first_message_that_waits_for_a_paused_handler_is_in_time() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder
        .on_open(pause_for_long)
        .on_message(|conn, line| {
            conn.send(text(line));
        })
        .on_timer(|conn, _| conn.resume_reading());
    let listen = listen(Lines::new()).first_message_timeout(SHORT);
    let (server, mut client) = TestServer::start_late(listen, recorder, b"first\n");
    assert_eq!(client.receive(6), b"first\n");
    server.finish(&events);
}

/// A close that was asked for in the same iteration as another connection's slow callback had its deadline used up by that:
/// the output was lost before the peer had a chance to take it.
#[test]
fn a_slow_callback_does_not_use_up_the_time_of_anothers_close() {
    close_beside_a_slow_callback(|_| ());
}

/// As above, when the loop looks at the clock once more before the next iteration.
#[test]
fn nor_if_the_loop_notices_at_once() {
    close_beside_a_slow_callback(|server| _ = server.handle().run_after(Duration::ZERO, || {}));
}

/// `meanwhile` happens within the slow callback.
fn close_beside_a_slow_callback(meanwhile: impl FnOnce(&TestServer)) {
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let (told, is_alive) = channel();
    let closing = Arc::new(OnceLock::new());
    let closed = closing.clone();
    let recorder = recorder
        .on_message(move |conn, bytes| match bytes {
            b"close" => {
                conn.send(&vec![0; 4 << 20]);
                conn.close();
                assert!(closed.set(conn.remote()).is_ok());
            }
            b"slow" => {
                // Fires right behind the close's deadline.
                conn.set_timer(2 * SHORT, 0).unwrap();
                thread::sleep(3 * SHORT);
                hold.enter();
            }
            _ => hold.enter(),
        })
        .on_timer(move |conn, token| match token {
            // What that has ended will have gone in the next iteration.
            0 => _ = conn.set_timer(SHORT / 10, 1).unwrap(),
            _ => told.send(closing.get().unwrap().is_alive()).unwrap(),
        });
    let listen = listen(Raw).close_timeout(SHORT).send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    let (mut client, mut other) = (server.connect(), server.connect());
    other.send(b"hold");
    grip.wait();
    // Both are told of by the poll that follows.
    client.send(b"close");
    other.send(b"slow");
    grip.release();
    grip.wait();
    meanwhile(&server);
    grip.release();
    assert!(take(&is_alive));
    server.finish(&events);
}
