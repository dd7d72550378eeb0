//! The handler decides on a connection whose deadline has passed: last words, an orderly end, or more time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, Limits, Listen, SendStatus, Timeout, TimeoutDecision};
use support::{
    Client, DEADLINE, Event, Events, Hold, Recorder, TestServer, deliberate_panic, listen,
    listen_roomy, pattern,
};

const SHORT: Duration = Duration::from_millis(100);
/// More than the kernel takes from a connection with a small send buffer.
const FLOOD: usize = 6 << 20;

/// A way to miss a deadline: the listener's terms, and what the client sends.
struct Case {
    timeout: Timeout,
    listen: Listen<Lines>,
    words: &'static [u8],
}

/// All deadlines of which a peer can be told.
fn cases() -> [Case; 3] {
    let case = |timeout, listen, words| Case {
        timeout,
        listen,
        words,
    };
    [
        case(
            Timeout::Idle,
            listen(Lines::new()).idle_timeout(SHORT),
            b"whole\n",
        ),
        case(
            Timeout::FirstMessage,
            listen(Lines::new()).first_message_timeout(SHORT),
            b"par",
        ),
        case(
            Timeout::Message,
            listen(Lines::new()).message_timeout(SHORT),
            b"whole\npar",
        ),
    ]
}

/// Starts a server after its client has sent `words`, so that they come before any deadline.
fn start(
    listen: Listen<Lines>,
    words: &[u8],
    action: impl Fn(&mut Conn<'_, Lines>, Timeout) -> TimeoutDecision + Send + Sync + 'static,
) -> (TestServer, Events, Client) {
    let (recorder, events) = Recorder::<Lines>::new();
    let (server, client) = TestServer::start_late(listen, recorder.on_timeout(action), words);
    (server, events, client)
}

fn timeouts(events: &Events) -> usize {
    events.count(|event| matches!(event, Event::Timeout(..)))
}

#[test]
fn close_sends_last_words_and_the_reason_is_the_deadline() {
    for case in cases() {
        let began = Instant::now();
        let (server, events, mut client) = start(case.listen, case.words, |conn, timeout| {
            assert!(conn.send(&format!("{timeout:?}")).is_queued());
            TimeoutDecision::Close
        });
        let words = format!("{:?}\n", case.timeout);
        assert_eq!(client.receive_rest(), words.as_bytes());
        assert!(began.elapsed() >= SHORT);
        drop(client);
        let reason = format!("Timeout({:?})", case.timeout);
        assert_eq!(events.close_reason(), reason);
        assert_eq!(timeouts(&events), 1);
        server.finish(&events);
    }
}

#[test]
fn evict_ends_at_once_and_what_was_sent_is_flushed_if_it_fits() {
    for case in cases() {
        let (server, events, mut client) =
            start(case.listen, case.words, |_, _| TimeoutDecision::Evict);
        client.expect_ended();
        // It ends without waiting for the peer's end of stream.
        let reason = format!("Timeout({:?})", case.timeout);
        assert_eq!(events.close_reason(), reason);
        assert_eq!(timeouts(&events), 1);
        server.finish(&events);
    }
}

#[test]
fn stay_gives_the_full_time_again_and_again() {
    for case in cases() {
        let (told, times) = channel();
        let began = Instant::now();
        let (server, events, mut client) = start(case.listen, case.words, move |_, timeout| {
            told.send((timeout, Instant::now())).unwrap();
            TimeoutDecision::Stay
        });
        for nth in 1..=4 {
            let (timeout, at) = times.recv_timeout(DEADLINE).unwrap();
            assert_eq!(timeout, case.timeout);
            // From the beginning: a callback may come late by itself, and the next time counts from when it was due to run.
            assert!(at - began >= nth * SHORT, "{timeout:?} came early");
        }
        // It is as open as before.
        client.send(b"\n");
        let messages = || events.messages().last().cloned();
        support::eventually("the message is delivered", || {
            messages().is_some_and(|line| line != b"whole")
        });
        server.finish(&events);
    }
}

#[test]
fn a_message_that_is_whole_after_stay_ends_the_wait() {
    for case in &mut cases()[1..] {
        let listen = std::mem::replace(&mut case.listen, listen(Lines::new()));
        let (server, events, mut client) = start(listen, case.words, |_, _| TimeoutDecision::Stay);
        assert_eq!(events.timeout(), case.timeout);
        client.send(b"t\n");
        support::eventually("the message is delivered", || {
            events.messages().last().is_some_and(|line| line == b"part")
        });
        let before = timeouts(&events);
        server.let_pass(3 * SHORT);
        assert_eq!(timeouts(&events), before);
        server.finish(&events);
    }
}

#[test]
fn a_handler_that_closes_or_aborts_has_decided() {
    for decision in [
        TimeoutDecision::Stay,
        TimeoutDecision::Close,
        TimeoutDecision::Evict,
    ] {
        for case in cases() {
            let (server, events, mut client) = start(case.listen, case.words, move |conn, _| {
                conn.send("bye");
                conn.close();
                decision
            });
            assert_eq!(client.receive_rest(), b"bye\n");
            drop(client);
            assert_eq!(events.close_reason(), "Local");
            server.finish(&events);
        }
        let case = cases().into_iter().next().unwrap();
        let (server, events, mut client) = start(case.listen, case.words, move |conn, _| {
            conn.abort();
            decision
        });
        client.expect_reset();
        assert_eq!(events.close_reason(), "Aborted");
        server.finish(&events);
    }
}

#[test]
fn a_panic_ends_the_connection_in_order_and_no_other() {
    for case in cases() {
        let (server, events, mut client) = start(case.listen, case.words, |conn, _| {
            conn.send("words before the panic");
            deliberate_panic()
        });
        assert_eq!(client.receive_rest(), b"words before the panic\n");
        drop(client);
        assert_eq!(events.close_reason(), "Panic");
        let mut next = server.connect();
        next.send(b"next\n");
        support::eventually("the worker goes on", || {
            events.messages().last().is_some_and(|line| line == b"next")
        });
        server.finish(&events);
    }
}

#[test]
fn a_peer_that_has_ended_its_stream_still_gets_last_words() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_half_close(|_| {}).on_timeout(|conn, _| {
        conn.send("last words");
        TimeoutDecision::Close
    });
    let server = TestServer::start(listen(Lines::new()).idle_timeout(SHORT), recorder);
    let mut client = server.connect();
    client.finish();
    assert_eq!(client.receive_rest(), b"last words\n");
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.finish(&events);
}

#[test]
fn a_connection_that_has_ended_its_own_stream_is_decided_on_too() {
    let (recorder, events) = Recorder::<Lines>::new();
    let heard = Arc::new(AtomicBool::new(false));
    let has_heard = heard.clone();
    let recorder = recorder
        .on_open(|conn| conn.shutdown_write())
        .on_message(move |_, _| has_heard.store(true, Ordering::Relaxed))
        .on_timeout(move |conn, _| {
            assert!(!conn.send("too late").is_queued());
            match heard.load(Ordering::Relaxed) {
                false => TimeoutDecision::Stay,
                true => TimeoutDecision::Close,
            }
        });
    let server = TestServer::start(listen(Lines::new()).idle_timeout(SHORT), recorder);
    let mut client = server.connect();
    client.expect_eof();
    events.timeout();
    client.send(b"still heard\n");
    assert_eq!(events.message(), b"still heard");
    events.timeout();
    drop(client);
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    assert!(timeouts(&events) >= 2);
    server.finish(&events);
}

#[test]
fn a_connection_that_closes_already_is_not_decided_on() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_message(|conn, _| conn.close())
        .on_timeout(|_, _| TimeoutDecision::Stay);
    let listen = listen(Raw)
        .idle_timeout(SHORT)
        .message_timeout(SHORT)
        .close_timeout(3 * SHORT);
    let (server, mut client) = TestServer::start_late(listen, recorder, b"x");
    // The client does not end its stream, so the close runs into its own limit.
    client.expect_eof();
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(timeouts(&events), 0);
    server.finish(&events);
}

fn stalled(decision: TimeoutDecision) -> (TestServer, Events, Client) {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_message(|conn, _| {
            assert_eq!(conn.send(&pattern(1, FLOOD)), SendStatus::AboveHighWater);
        })
        .on_timeout(move |_, _| decision);
    let listen = listen_roomy(Raw)
        .send_buffer_size(128 * 1024)
        .write_stall_timeout(Some(SHORT));
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    client.send(b"go");
    (server, events, client)
}

#[test]
fn a_peer_that_takes_nothing_may_stay_and_gets_it_all_in_the_end() {
    let (server, events, mut client) = stalled(TimeoutDecision::Stay);
    for _ in 0..3 {
        assert_eq!(events.timeout(), Timeout::WriteStall);
    }
    assert!(client.receive(FLOOD) == pattern(1, FLOOD));
    events.drained();
    let before = timeouts(&events);
    server.let_pass(3 * SHORT);
    assert_eq!(timeouts(&events), before, "nothing is pending");
    server.finish(&events);
}

#[test]
fn a_peer_that_takes_nothing_cannot_be_told() {
    for decision in [TimeoutDecision::Close, TimeoutDecision::Evict] {
        let (server, events, mut client) = stalled(decision);
        assert_eq!(events.timeout(), Timeout::WriteStall);
        assert_eq!(events.close_reason(), "Timeout(WriteStall)");
        client.expect_reset();
        assert_eq!(timeouts(&events), 1);
        server.finish(&events);
    }
}

#[test]
fn what_is_sent_on_a_write_stall_beyond_the_limit_ends_the_connection_once() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_message(|conn, _| while conn.send(&[0; 4096]) == SendStatus::Queued {})
        .on_timeout(|conn, _| {
            while conn.send(&[0; 4096]) != SendStatus::Refused(ringwheel::Refusal::OutputLimit) {}
            TimeoutDecision::Stay
        });
    let limits = Limits::default()
        .low_water(1024)
        .high_water(64 * 1024)
        .output(128 * 1024);
    let listen = listen(Raw)
        .limits(limits)
        .send_buffer_size(16 * 1024)
        .write_stall_timeout(Some(SHORT));
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    assert_eq!(events.close_reason(), "OutputLimit");
    client.expect_reset();
    assert_eq!(timeouts(&events), 1);
    server.finish(&events);
}

#[test]
fn last_words_that_the_peer_does_not_take_have_the_time_of_a_close() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_timeout(|conn, _| {
        conn.send(&pattern(1, FLOOD));
        TimeoutDecision::Close
    });
    let listen = listen_roomy(Raw)
        .send_buffer_size(128 * 1024)
        .idle_timeout(SHORT)
        .close_timeout(SHORT);
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    support::eventually("the close is over", || {
        server.handle().stats().connections == 0
    });
    client.expect_reset();
    server.finish(&events);
}

#[test]
fn a_longer_time_that_is_set_with_stay_holds_from_then_on() {
    const LONG: Duration = Duration::from_millis(400);
    for case in cases() {
        let (told, times) = channel();
        let (server, events, _client) = start(case.listen, case.words, move |conn, timeout| {
            match timeout {
                Timeout::Idle => conn.set_idle_timeout(Some(LONG)),
                Timeout::Message => conn.set_message_timeout(Some(LONG)),
                // The time of a first message is the listener's alone.
                _ => {}
            }
            told.send(Instant::now()).unwrap();
            TimeoutDecision::Stay
        });
        let first = times.recv_timeout(DEADLINE).unwrap();
        let second = times.recv_timeout(DEADLINE).unwrap();
        let next = match case.timeout {
            Timeout::FirstMessage => SHORT,
            _ => LONG,
        };
        assert!(second - first >= next, "{:?}", case.timeout);
        server.finish(&events);
    }
}

#[test]
fn a_deadline_that_is_lifted_with_stay_does_not_come_back() {
    for case in [0, 2] {
        let case = cases().into_iter().nth(case).unwrap();
        let (server, events, _client) = start(case.listen, case.words, move |conn, _| {
            conn.set_idle_timeout(None);
            conn.set_message_timeout(None);
            TimeoutDecision::Stay
        });
        assert_eq!(events.timeout(), case.timeout);
        server.let_pass(4 * SHORT);
        assert_eq!(timeouts(&events), 1);
        server.finish(&events);
    }
}

#[test]
fn a_draining_server_still_asks_about_those_that_it_waits_for() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_timeout(|conn, _| {
        conn.send("bye");
        TimeoutDecision::Close
    });
    let server = TestServer::start(
        listen(Lines::new()).idle_timeout(2 * SHORT),
        recorder.staying(),
    );
    let mut client = server.connect();
    events.open();
    server.handle().shutdown(DEADLINE);
    assert_eq!(client.receive_rest(), b"bye\n");
    drop(client);
    server.join();
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    events.assert_lifecycles();
}

#[test]
fn a_worker_that_is_held_up_in_the_callback_holds_no_silence_against_others() {
    let (recorder, events) = Recorder::<Lines>::new();
    let first = Arc::new(Mutex::new(None));
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_timeout(move |conn, _| {
        let mut first = first.lock().unwrap();
        if first.is_none() {
            *first = Some(conn.id());
            hold.enter();
            thread::sleep(3 * SHORT);
        }
        TimeoutDecision::Evict
    });
    let server = TestServer::start(listen(Lines::new()).idle_timeout(2 * SHORT), recorder);
    let _silent = server.connect();
    let mut lively = server.connect();
    lively.send(b"1\n");
    grip.wait();
    // The worker stands still now, for longer than the idle time.
    lively.send(b"2\n");
    grip.release();
    support::eventually("the worker goes on", || events.messages().len() == 2);
    server.finish(&events);
}

/// A peer that reads a little at a time kept all of its pending output in the server's memory, since any byte put the write
/// stall off.
#[test]
fn a_peer_that_takes_its_output_too_slowly_is_stalled() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| _ = conn.send(&pattern(1, FLOOD)));
    let listen = listen_roomy(Raw)
        .send_buffer_size(16 * 1024)
        .write_stall_timeout(Some(3 * SHORT))
        .min_send_rate(8 << 20);
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    let start = Instant::now();
    let is_close = |event: &Event| matches!(event, Event::Close(..));
    while events.count(is_close) == 0 {
        assert!(start.elapsed() < DEADLINE, "it is still there");
        let _ = client.try_receive(2048);
        server.let_pass(Duration::from_millis(5));
    }
    let stalled = |event: &Event| matches!(event, Event::Timeout(_, Timeout::WriteStall));
    assert_eq!(events.count(stalled), 1);
    assert!(client.drain().is_err(), "a reset, not an end of stream");
    server.finish(&events);
}

/// The answer to a peer that reads all the time was cut off when the close timeout had passed.
#[test]
fn a_close_lasts_while_the_peer_reads() {
    const TIME: Duration = Duration::from_secs(1);
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.send(&pattern(1, FLOOD));
        conn.close();
    });
    let listen = listen_roomy(Raw)
        .send_buffer_size(16 * 1024)
        .close_timeout(TIME);
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    let mut received = 0;
    let start = Instant::now();
    // At this pace the output leaves in more than two times.
    while start.elapsed() < TIME * 5 / 2 {
        received += client.receive_some(8 * 1024).len();
        server.let_pass(Duration::from_millis(10));
    }
    assert!(received < FLOOD, "the rest is pending still");
    received += client.drain().expect("no reset");
    assert_eq!(received, FLOOD);
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(server.handle().stats().output_lost, 0);
    server.finish(&events);
}
