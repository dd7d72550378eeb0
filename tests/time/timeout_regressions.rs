//! Regressions of timers and timeouts: timers that fired early, and peers that were evicted although they had done
//! their part.

use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, Limits, Listen, ServerHandle, TimeoutDecision};
use support::{
    Client, Event, Events, Hold, Recorder, TestServer, behind_an_acceptor, eventually, lending,
    listen, listen_roomy, raw_echo, take, text,
};

const SHORT: Duration = Duration::from_millis(150);

/// A task scheduled while the worker was held up ran early: its delay was counted from the beginning of that iteration.
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
    // This task is already due, so the worker looks at the clock again without sleeping.
    server.handle().run_after(Duration::ZERO, || {});
    grip.release();
    assert!(take(&has_run) - start >= SHORT);
    server.finish(&events);
}

/// The same for the deadlines of a connection that came while the worker was held up.
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
    eventually("the connection was handed over", || {
        server.handle().connections_per_worker() == [2, 0]
    });
    grip.release();
    late.expect_ended();
    assert!(start.elapsed() >= SHORT);
    assert_eq!(events.close_reason(), "Timeout(FirstMessage)");
    server.finish(&events);
}

/// Evicting a silent peer that had not read its answer ended the stream as if the answer were complete.
#[test]
fn an_eviction_with_output_pending_resets() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (sent, is_sent) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&vec![0; 7 << 20]);
        conn.flush();
        sent.send(conn.write_buffer_len()).unwrap();
    });
    // Above the high-water mark its silence would not count.
    let limits = Limits::default().output(8 << 20).high_water(8 << 20);
    let listen = listen(Raw)
        .limits(limits)
        .send_buffer_size(64 * 1024)
        .idle_timeout(SHORT);
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    assert!(take(&is_sent) > 0, "more than the kernel takes");
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    assert!(client.drain().is_err(), "a reset, not an end of stream");
    server.finish(&events);
}

/// A peer was evicted as idle although its bytes had arrived while the loop was held up, because the poll's events were
/// full. Here the bytes arrive after the poll, and the loop looks at the clock once more before the next poll.
#[test]
fn a_peer_whose_bytes_no_poll_has_reported_is_not_idle() {
    bytes_that_no_poll_has_reported_are_answered(listen(Raw).idle_timeout(SHORT));
}

/// The same for the first message.
#[test]
fn a_first_message_that_no_poll_has_reported_is_in_time() {
    bytes_that_no_poll_has_reported_are_answered(listen(Raw).first_message_timeout(SHORT));
}

/// Sends bytes while the loop is held up beyond the timeout of `listen`, and expects the echo.
#[track_caller]
fn bytes_that_no_poll_has_reported_are_answered(listen: Listen<Raw>) {
    let (echo, events) = raw_echo();
    let (hold, grip) = Hold::new();
    let echo = echo.on_open(move |_| {
        hold.enter();
        thread::sleep(2 * SHORT);
    });
    let server = TestServer::start(listen, echo);
    let mut client = server.connect();
    grip.wait();
    client.send(b"here");
    server.handle().run_after(Duration::ZERO, || {});
    grip.release();
    assert_eq!(client.receive(4), b"here");
    server.finish(&events);
}

/// Pauses reading for longer than any timeout here.
fn pause_for_long(conn: &mut Conn<'_, Lines>) {
    conn.pause_reading();
    conn.set_timer(3 * SHORT, 0).unwrap();
}

/// Messages that had arrived together with the one at which the handler paused did not count as activity, since they
/// were already read: the peer was evicted as idle.
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

/// A peer was evicted because its first message was not delivered, although the handler had paused reading in
/// `on_open`.
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

/// A close was requested in the same iteration as another connection's slow callback, which used up the close's
/// deadline: output was lost before the peer had a chance to read it.
#[test]
fn a_slow_callback_does_not_use_up_the_deadline_of_another_close() {
    close_beside_a_slow_callback(|_| ());
}

/// The same if the loop looks at the clock once more before the next iteration.
#[test]
fn a_slow_callback_does_not_use_up_the_deadline_even_if_the_loop_looks_at_the_clock_at_once() {
    close_beside_a_slow_callback(|server| _ = server.handle().run_after(Duration::ZERO, || {}));
}

/// Runs `meanwhile` within the slow callback.
fn close_beside_a_slow_callback(meanwhile: impl FnOnce(&TestServer)) {
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let (told, connections) = channel();
    let server_handle = Arc::new(OnceLock::<ServerHandle>::new());
    let counter = server_handle.clone();
    let recorder = recorder
        .on_message(move |conn, bytes| match bytes {
            b"close" => {
                conn.send(&vec![0; 4 << 20]);
                conn.close();
            }
            b"slow" => {
                // Fires right after the close's deadline.
                conn.set_timer(2 * SHORT, 0).unwrap();
                thread::sleep(3 * SHORT);
                hold.enter();
            }
            _ => hold.enter(),
        })
        .on_timer(move |conn, token| match token {
            // Connections that end because of this callback will be gone in the next iteration.
            0 => _ = conn.set_timer(SHORT / 10, 1).unwrap(),
            _ => told
                .send(counter.get().unwrap().stats().connections)
                .unwrap(),
        });
    let listen = listen_roomy(Raw)
        .close_timeout(SHORT)
        .send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    assert!(server_handle.set(server.handle().clone()).is_ok());
    let (mut client, mut other) = (server.connect(), server.connect());
    other.send(b"hold");
    grip.wait();
    // The next poll reports both.
    client.send(b"close");
    other.send(b"slow");
    grip.release();
    grip.wait();
    meanwhile(&server);
    grip.release();
    assert_eq!(take(&connections), 2);
    server.finish(&events);
}

/// A close on a loop that had nothing else to do got its deadline twice: the deadline fell into the iteration after the
/// one of the request, which was taken as the sign of a slow callback.
#[test]
fn a_close_on_a_quiet_loop_gets_its_deadline_once() {
    // A machine that holds the loop up rightly extends the deadline, but not again and again.
    assert!((0..10).any(|_| close_is_over_in_time()));
}

/// True if the close of a peer that reads nothing is over when 1.5 times its deadline has passed on the worker's clock.
fn close_is_over_in_time() -> bool {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, connections) = channel();
    let server_handle = Arc::new(OnceLock::<ServerHandle>::new());
    let clock = server_handle.clone();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&vec![0; 4 << 20]);
        conn.close();
        let (handle, told) = (clock.get().unwrap().clone(), told.clone());
        // Called from here, it does not wake the loop.
        clock.get().unwrap().run_after(SHORT * 3 / 2, move || {
            told.send(handle.stats().connections).unwrap();
        });
    });
    // The kernel's buffers may take some more within the time, which is not enough.
    let listen = listen(Raw)
        .close_timeout(SHORT)
        .min_send_rate(u32::MAX)
        .send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    assert!(server_handle.set(server.handle().clone()).is_ok());
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"close");
    let is_over = take(&connections) == 0;
    server.finish(&events);
    is_over
}

const PAUSE: u64 = 1;
const RESUME: u64 = 2;
const LOOK: u64 = 3;

/// Pauses reading from 1/4 to 3/4 of [`SHORT`], and checks after 6/4 if the connection is still there.
fn pause_for_half_of_the_time(conn: &mut Conn<'_, Lines>) {
    for (token, quarters) in [(PAUSE, 1), (RESUME, 3), (LOOK, 6)] {
        conn.set_timer(SHORT * quarters / 4, token).unwrap();
    }
}

fn pausing_for_half_of_the_time() -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_timer(|conn, token| match token {
        PAUSE => conn.pause_reading(),
        RESUME => conn.resume_reading(),
        _ => {}
    });
    (recorder, events)
}

/// Checks that a peer that was held back for half of the timeout gets the whole timeout again, and only once.
#[track_caller]
fn assert_evicted_after_the_look(events: &Events, reason: &str) {
    let is_timer_or_close = |event: &Event| match event {
        Event::Timer(_, token) => Some(Ok(*token)),
        Event::Close(_, ending) => Some(Err(ending.reason.clone())),
        _ => None,
    };
    for token in [PAUSE, RESUME, LOOK] {
        assert_eq!(events.wait_for(is_timer_or_close), Ok(token));
    }
    assert_eq!(events.close_reason(), reason);
}

/// A pause that ended shortly before the deadline did not count: the peer was evicted although reading had been paused
/// for part of the time.
#[test]
fn a_message_gets_its_whole_timeout_again_after_a_pause() {
    let (recorder, events) = pausing_for_half_of_the_time();
    let recorder = recorder.on_message(|conn, _| pause_for_half_of_the_time(conn));
    let listen = listen(Lines::new()).message_timeout(SHORT);
    let (server, _client) = TestServer::start_late(listen, recorder, b"go\nbegun");
    assert_evicted_after_the_look(&events, "Timeout(Message)");
    server.finish(&events);
}

/// The same for the first message.
#[test]
fn a_first_message_gets_its_whole_timeout_again_after_a_pause() {
    let (recorder, events) = pausing_for_half_of_the_time();
    let recorder = recorder.on_open(pause_for_half_of_the_time);
    let listen = listen(Lines::new()).first_message_timeout(SHORT);
    let server = TestServer::start(listen, recorder);
    let _client = server.connect();
    assert_evicted_after_the_look(&events, "Timeout(FirstMessage)");
    server.finish(&events);
}

/// The same for a peer whose bytes arrive while the loop is held up beyond the deadline: that input was read before the
/// deadline was judged, and made the pause forgotten. So a peer that spoke was evicted, and one that was silent was not.
#[test]
fn a_pause_is_not_forgotten_because_the_peer_speaks() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |_, line| {
        if line == b"hold" {
            hold.enter();
            thread::sleep(2 * SHORT);
        }
    });
    let (recorder, handles) = lending(recorder);
    let listen = listen(Lines::new()).message_timeout(SHORT);
    let server = TestServer::start(listen, recorder);
    let (mut slow, mut holder, mut other) = (server.connect(), server.connect(), server.connect());
    let handle = take(&handles);
    slow.send(b"begun");
    let (told, is_told) = channel();
    eventually("the message has begun", || {
        let told = told.clone();
        let look = move |conn: &mut Conn<'_, Lines>| told.send(conn.read_buffer_len()).unwrap();
        handle.run(look).unwrap();
        take(&is_told) > 0
    });
    handle
        .run(|conn| {
            conn.pause_reading();
            conn.resume_reading();
        })
        .unwrap();
    holder.send(b"hold\n");
    grip.wait();
    // No poll reports this byte before the deadline is judged: the loop looks at the clock for the task.
    slow.send(b"!");
    server.handle().run_after(Duration::ZERO, || {});
    other.send(b"next\n");
    grip.release();
    assert_eq!(events.message(), b"hold");
    let timeout_or_message = |event: &Event| match event {
        Event::Timeout(..) => Some("evicted"),
        Event::Message(..) => Some("next"),
        _ => None,
    };
    assert_eq!(events.wait_for(timeout_or_message), "next");
    assert_eq!(events.wait_for(timeout_or_message), "evicted");
    server.finish(&events);
}

/// A peer that waited in silence for the answer was evicted as idle, although the handler had paused reading: it could not
/// have been heard. Afterwards it has the whole idle time again.
#[test]
fn a_silent_peer_whose_reading_is_paused_is_not_idle() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (resumed, times) = channel();
    let timed_out = resumed.clone();
    let recorder = recorder
        .on_message(|conn, _| pause_for_long(conn))
        .on_timer(move |conn, _| {
            conn.send("answer");
            conn.resume_reading();
            resumed.send(conn.now()).unwrap();
        })
        .on_timeout(move |conn, _| {
            timed_out.send(conn.now()).unwrap();
            TimeoutDecision::Evict
        });
    let listen = listen(Lines::new()).idle_timeout(SHORT);
    let (server, mut client) = TestServer::start_late(listen, recorder, b"work\n");
    assert_eq!(client.receive_rest(), b"answer\n");
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    let (resumed, timed_out) = (take(&times), take(&times));
    assert!(timed_out - resumed >= SHORT, "a whole idle time");
    server.finish(&events);
}

/// The same for a peer whose output is above the high-water mark: the deadline of a write stall bounds that.
#[test]
fn a_silent_peer_whose_output_is_above_high_water_is_not_idle() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| _ = conn.send(&vec![0; 7 << 20]));
    let listen = listen_roomy(Raw)
        .send_buffer_size(64 * 1024)
        .idle_timeout(SHORT)
        .write_stall_timeout(Some(3 * SHORT));
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    assert_eq!(events.close_reason(), "Timeout(WriteStall)");
    server.finish(&events);
}
