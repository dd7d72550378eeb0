//! Deadlines that a handler sets for one connection.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::TimeoutDecision;
use ringwheel::protocol::Lines;
use support::{
    DEADLINE, Event, Events, Recorder, TestServer, eventually, lending, listen, take, text,
};

const SHORT: Duration = Duration::from_millis(100);
const FAR: Duration = Duration::from_secs(3600);

/// Sets the idle time that a line names in milliseconds, or none; after `msg` that of a message.
fn obedient() -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        let millis = |word: &str| word.parse().ok().map(Duration::from_millis);
        match text(line).split_once(' ') {
            Some(("idle", time)) => conn.set_idle_timeout(millis(time)),
            Some(("msg", time)) => conn.set_message_timeout(millis(time)),
            _ => {}
        }
        conn.send("ok");
    });
    (recorder, events)
}

fn is_closed(events: &Events) -> bool {
    events.count(|event| matches!(event, Event::Close(..))) > 0
}

#[test]
fn a_longer_idle_time_holds_from_when_it_is_set() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Lines::new()).idle_timeout(SHORT), recorder);
    let mut client = server.connect();
    client.send(b"idle 500\n");
    let start = Instant::now();
    client.receive(3);
    client.expect_eof();
    // The last sign of life was before the clock was asked.
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.finish(&events);
}

#[test]
fn a_shorter_idle_time_holds_from_when_it_is_set() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Lines::new()).idle_timeout(FAR), recorder);
    let mut client = server.connect();
    client.send(b"idle 50\n");
    assert_eq!(client.receive_rest(), b"ok\n");
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.finish(&events);
}

#[test]
fn where_the_listener_has_no_idle_time_a_connection_may_have_one() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    let mut other = server.connect();
    client.send(b"idle 50\n");
    assert_eq!(client.receive_rest(), b"ok\n");
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.let_pass(2 * SHORT);
    other.send(b"still here\n");
    assert_eq!(other.receive(3), b"ok\n");
    server.finish(&events);
}

#[test]
fn no_idle_time_is_for_ever_until_another_is_set() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Lines::new()).idle_timeout(SHORT), recorder);
    let mut client = server.connect();
    client.send(b"idle never\n");
    client.receive(3);
    server.let_pass(4 * SHORT);
    assert!(!is_closed(&events));
    client.send(b"idle never\nidle 3600000\nidle 50\n");
    assert_eq!(client.receive_rest(), b"ok\nok\nok\n");
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.finish(&events);
}

#[test]
fn an_idle_time_that_is_set_in_on_open_replaces_the_listeners() {
    for (of_listener, own) in [
        (Some(FAR), Some(SHORT)),
        (Some(SHORT), Some(4 * SHORT)),
        (None, Some(SHORT)),
        (Some(SHORT), None),
    ] {
        let (recorder, events) = Recorder::<Lines>::new();
        let recorder = recorder
            .on_open(move |conn| conn.set_idle_timeout(own))
            .on_timeout(|_, _| TimeoutDecision::Close);
        let mut terms = listen(Lines::new());
        if let Some(idle) = of_listener {
            terms = terms.idle_timeout(idle);
        }
        let server = TestServer::start(terms, recorder);
        let start = Instant::now();
        let mut client = server.connect();
        match own {
            Some(own) => {
                client.expect_eof();
                assert!(start.elapsed() >= own);
                drop(client);
                assert_eq!(events.close_reason(), "Timeout(Idle)");
            }
            None => {
                server.let_pass(4 * SHORT);
                assert!(!is_closed(&events));
            }
        }
        server.finish(&events);
    }
}

#[test]
fn silence_before_the_call_counts() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (recorder, lent) = lending(recorder);
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    let handle = take(&lent);
    server.let_pass(2 * SHORT);
    let (told, idle) = channel();
    handle
        .run(move |conn| {
            told.send(conn.idle_for()).unwrap();
            conn.set_idle_timeout(Some(SHORT));
        })
        .unwrap();
    assert!(take(&idle) >= SHORT, "so it is over already");
    client.expect_eof();
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.finish(&events);
}

#[test]
fn setting_it_with_every_message_evicts_nobody_who_talks() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    let start = Instant::now();
    let mut last = start;
    while start.elapsed() < Duration::from_secs(2) {
        let sent = Instant::now();
        if client.try_send(b"idle 1000\n").is_err() || client.try_receive(3).is_err() {
            // A machine that stands still for longer than the idle time is not at fault.
            assert!(
                last.elapsed() >= Duration::from_secs(1),
                "evicted while it talked"
            );
            break;
        }
        last = sent;
        thread::sleep(Duration::from_millis(20));
    }
    let _ = client.drain();
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.finish(&events);
}

#[test]
fn a_message_timeout_may_be_set_where_the_listener_has_none() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"msg 50\n");
    client.receive(3);
    client.send(b"part");
    client.expect_ended();
    assert_eq!(events.close_reason(), "Timeout(Message)");
    server.finish(&events);
}

#[test]
fn a_message_timeout_holds_for_what_begins_in_the_same_read() {
    let (recorder, events) = obedient();
    let listen = listen(Lines::new());
    let (server, mut client) = TestServer::start_late(listen, recorder, b"msg 50\npart");
    assert_eq!(client.receive(3), b"ok\n");
    client.expect_ended();
    assert_eq!(events.close_reason(), "Timeout(Message)");
    server.finish(&events);
}

#[test]
fn a_message_timeout_may_be_lifted_and_set_again() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Lines::new()).message_timeout(SHORT), recorder);
    let mut client = server.connect();
    client.send(b"msg never\n");
    client.receive(3);
    client.send(b"one that takes its ");
    server.let_pass(4 * SHORT);
    client.send(b"time\n");
    assert_eq!(client.receive(3), b"ok\n");
    client.send(b"msg 50\nan");
    client.receive(3);
    client.expect_ended();
    assert_eq!(events.close_reason(), "Timeout(Message)");
    assert_eq!(events.messages()[1], b"one that takes its time");
    server.finish(&events);
}

#[test]
fn a_message_that_has_begun_is_watched_from_when_a_time_is_set() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (recorder, lent) = lending(recorder);
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    let handle = take(&lent);
    client.send(b"part");
    let (told, unread) = channel();
    eventually("it has arrived", || {
        let told = told.clone();
        handle
            .run(move |conn| told.send(conn.read_buffer_len()).unwrap())
            .unwrap();
        take(&unread) == 4
    });
    let start = Instant::now();
    handle
        .run(|conn| conn.set_message_timeout(Some(SHORT)))
        .unwrap();
    client.expect_ended();
    assert!(start.elapsed() >= SHORT);
    assert_eq!(events.close_reason(), "Timeout(Message)");
    server.finish(&events);
}

#[test]
fn deadlines_are_those_of_one_connection() {
    let (recorder, events) = obedient();
    let terms = listen(Lines::new()).idle_timeout(FAR).message_timeout(FAR);
    let server = TestServer::start(terms, recorder);
    let mut clients = [server.connect(), server.connect(), server.connect()];
    clients[0].send(b"idle 50\n");
    clients[1].send(b"msg 50\npart");
    clients[2].send(b"part");
    let mut reasons = [events.close_reason(), events.close_reason()];
    reasons.sort();
    assert_eq!(reasons, ["Timeout(Idle)", "Timeout(Message)"]);
    server.let_pass(2 * SHORT);
    clients[2].send(b"y\n");
    assert_eq!(clients[2].receive(3), b"ok\n");
    server.finish(&events);
}

#[test]
fn no_deadline_is_too_long_to_be_set() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.set_idle_timeout(Some(Duration::MAX));
        conn.set_message_timeout(Some(Duration::MAX));
        conn.set_timer(Duration::MAX, 0).unwrap();
        conn.set_interval(Duration::MAX, 0).unwrap();
        conn.send("ok");
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"x\npart");
    assert_eq!(client.receive(3), b"ok\n");
    server.let_pass(SHORT);
    client.send(b"y\n");
    assert_eq!(client.receive(3), b"ok\n");
    server.finish(&events);
    assert!(DEADLINE < Duration::MAX);
}
